"""Who may end whose socket, without the network's timing."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from exporter.comfycontrol.connections import Call, _InterruptibleSocket

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def pair() -> Iterator[tuple[_InterruptibleSocket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with _InterruptibleSocket(fileno=ours.detach()) as sock, theirs:
        theirs.settimeout(0.05)
        yield sock, theirs


def is_open(theirs: socket.socket) -> bool:
    try:
        return theirs.recv(1) != b""
    except TimeoutError:
        return True


def test_an_abort_shuts_the_socket_down(
    pair: tuple[_InterruptibleSocket, socket.socket],
) -> None:
    call = Call()
    assert call.adopt(pair[0])
    assert is_open(pair[1])
    call.abort()
    assert not is_open(pair[1])
    assert call.aborted


def test_an_abort_leaves_a_socket_that_another_call_has_taken(
    pair: tuple[_InterruptibleSocket, socket.socket],
) -> None:
    before, now = Call(), Call()
    assert before.adopt(pair[0])
    assert now.adopt(pair[0])
    before.abort()
    before.finish()
    assert is_open(pair[1])
    now.abort()
    assert not is_open(pair[1])


def test_an_abort_leaves_a_socket_that_the_call_has_done_with(
    pair: tuple[_InterruptibleSocket, socket.socket],
) -> None:
    call = Call()
    assert call.adopt(pair[0])
    call.finish()
    call.abort()
    assert is_open(pair[1])


def test_an_aborted_call_takes_no_socket(
    pair: tuple[_InterruptibleSocket, socket.socket],
) -> None:
    call = Call()
    call.abort()
    call.abort()
    call.begin()
    assert not call.adopt(pair[0])
    assert is_open(pair[1])


def test_a_call_expires_only_when_it_is_due(
    pair: tuple[_InterruptibleSocket, socket.socket],
) -> None:
    call = Call()
    assert call.adopt(pair[0])
    call.expire(1e9)
    call.due = 10.0
    call.expire(9.9)
    assert is_open(pair[1])
    call.expire(10.0)
    assert not is_open(pair[1])
    assert (call.expired, call.aborted) == (True, False)
    call.begin()
    assert (call.expired, call.aborted) == (False, False)


def test_a_closed_socket_is_no_matter(pair: tuple[_InterruptibleSocket, socket.socket]) -> None:
    call = Call()
    assert call.adopt(pair[0])
    pair[0].close()
    call.abort()
