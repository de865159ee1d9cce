"""Calls that are aborted, or overdue, in each phase of a connection's life."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from exporter.comfycontrol import (
    AbortedError,
    Call,
    RequestRecord,
    StreamEnding,
    Timeouts,
    UnreachableError,
    UnusableError,
)
from tests.integration.comfycontrol.on_a_loop import OnALoop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from exporter.comfycontrol import Client
    from tests.integration.comfycontrol.conftest import MakeClient, Peer, Serve

WORKFLOW = "a1b2c3d4-e5f6-7890-abcd-ef1234567890"
PAGE = b'{"workflows":[],"total":0}'


class Asking:
    """Lists workflows in a thread, and keeps what came of it."""

    def __init__(self, client: Client) -> None:
        self.call = Call()
        self.outcome: object = None
        self.ended_at = 0.0
        self._client = client
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.outcome = self._client.list_workflows(page=1, call=self.call)
        except Exception as error:  # noqa: BLE001 - whatever came of it
            self.outcome = error
        self.ended_at = time.monotonic()

    def join(self) -> object:
        self._thread.join(10)
        assert not self._thread.is_alive()
        return self.outcome


@contextlib.contextmanager
def crowded_address() -> Iterator[str]:
    """An address at which nobody answers: its queue is full, and the next one waits to connect."""
    with socket.socket() as listener, contextlib.ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def check_abort(asking: Asking, reached: threading.Event | None, *, settle: float = 0) -> None:
    if reached is not None:
        assert reached.wait(5)
    time.sleep(settle)  # nobody can tell from outside when a wait has begun
    assert asking.outcome is None
    begin = time.monotonic()
    asking.call.abort()
    assert time.monotonic() - begin < 0.1
    outcome = asking.join()
    assert isinstance(outcome, AbortedError)
    assert asking.call.aborted
    assert asking.ended_at - begin < 0.5


def test_abort_while_connecting(make_client: MakeClient, records: list[RequestRecord]) -> None:
    with crowded_address() as url:
        check_abort(Asking(make_client(url)), None, settle=0.1)
    assert [(record.endpoint, record.code) for record in records] == [("list", "error")]


def test_connecting_takes_no_longer_than_allowed(make_client: MakeClient) -> None:
    with crowded_address() as url:
        outcome = Asking(make_client(url, Timeouts(connect=0.2))).join()
    assert isinstance(outcome, UnreachableError)
    assert outcome.reason == "timeout"


def test_the_deadline_of_the_headers_holds_while_connecting(make_client: MakeClient) -> None:
    with crowded_address() as url:
        begin = time.monotonic()
        outcome = Asking(make_client(url, Timeouts(headers=0.2))).join()
    assert isinstance(outcome, UnreachableError)
    assert outcome.reason == "timeout"
    assert time.monotonic() - begin < 3


class Stuck:
    """A server that goes so far and no further, and says when it is there."""

    def __init__(self, *steps: Callable[[Peer], object]) -> None:
        self.reached = threading.Event()
        self._steps = steps

    def __call__(self, peer: Peer) -> None:
        for step in self._steps:
            step(peer)
        self.reached.set()
        peer.wait_until_gone()


def read_some(peer: Peer) -> None:
    assert peer.sock.recv(1)


def read_request(peer: Peer) -> None:
    assert peer.read_request()


def half_a_header(peer: Peer) -> None:
    peer.send(b"HTTP/1.1 200 OK\r\nContent-")


def half_a_body(peer: Peer) -> None:
    peer.head("Content-Length: 100", kind="application/json")
    peer.send(b"{")


def body_without_end(peer: Peer) -> None:
    peer.head("Connection: close", kind="application/json")
    peer.send(b"{")


PHASES: dict[str, tuple[Callable[[Peer], object], ...]] = {
    "waiting for headers": (read_request,),
    "within the headers": (read_request, half_a_header),
    "within the body": (read_request, half_a_body),
    "within a body to the end of file": (read_request, body_without_end),
}


@pytest.mark.parametrize("over_tls", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize("steps", PHASES.values(), ids=PHASES.keys())
def test_abort_in_a_phase_of_the_answer(
    steps: tuple[Callable[[Peer], object], ...],
    over_tls: bool,
    serve: Serve,
    make_client: MakeClient,
    server_tls: Any,
    trusted: str,
) -> None:
    stuck = Stuck(*steps)
    server = serve(stuck, server_tls if over_tls else None)
    check_abort(Asking(make_client(server.url)), stuck.reached, settle=0.1)


def test_abort_in_the_tls_handshake(serve: Serve, make_client: MakeClient) -> None:
    stuck = Stuck(read_some)
    server = serve(stuck)
    client = make_client(server.url.replace("http:", "https:"))
    check_abort(Asking(client), stuck.reached)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_abort_in_a_tunnel_that_does_not_open(
    scheme: str,
    serve: Serve,
    make_client: MakeClient,
    monkeypatch: pytest.MonkeyPatch,
    server_tls: Any,
    trusted: str,
) -> None:
    stuck = Stuck(read_request)
    proxy = serve(stuck, server_tls if scheme == "https" else None)
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    check_abort(Asking(make_client("https://service.test")), stuck.reached)


@pytest.mark.parametrize("over_tls", [False, True], ids=["plain", "TLS"])
def test_abort_on_a_connection_out_of_the_pool(
    over_tls: bool,
    serve: Serve,
    make_client: MakeClient,
    server_tls: Any,
    trusted: str,
) -> None:
    reached = threading.Event()

    def handler(peer: Peer) -> None:
        peer.read_request()
        peer.answer(PAGE)
        if peer.read_request():
            reached.set()
            peer.wait_until_gone()

    server = serve(handler, server_tls if over_tls else None)
    client = make_client(server.url)
    client.list_workflows(page=1)
    check_abort(Asking(client), reached)
    assert server.accepted == 1


@pytest.mark.parametrize("framing", ["Transfer-Encoding: chunked", "Connection: close"])
@pytest.mark.parametrize("over_tls", [False, True], ids=["plain", "TLS"])
def test_abort_of_a_stream(
    over_tls: bool,
    framing: str,
    serve: Serve,
    make_client: MakeClient,
    server_tls: Any,
    trusted: str,
) -> None:
    def begin(peer: Peer) -> None:
        peer.read_request()
        peer.head(framing)

    server = serve(Stuck(begin), server_tls if over_tls else None)
    call = Call()
    stream = OnALoop(make_client(server.url).subscribe(WORKFLOW, call))
    timer = threading.Timer(0.1, call.abort)
    begun = time.monotonic()
    timer.start()
    assert list(stream) == []
    assert time.monotonic() - begun < 0.6
    assert stream.ending is StreamEnding.ABORTED
    call.abort()


def test_abort_before_the_start_asks_nothing(
    serve: Serve, make_client: MakeClient, records: list[RequestRecord]
) -> None:
    server = serve(lambda peer: peer.wait_until_gone())
    call = Call()
    call.abort()
    with pytest.raises(AbortedError) as caught:
        make_client(server.url).list_workflows(page=1, call=call)
    assert caught.value.code == "error"
    assert records == []
    assert server.accepted == 0


def test_an_abort_that_comes_late_does_not_touch_who_has_the_connection_now(
    serve: Serve, make_client: MakeClient
) -> None:
    second = threading.Event()
    go_on = threading.Event()

    def handler(peer: Peer) -> None:
        peer.read_request()
        peer.answer(PAGE)
        if peer.read_request():
            second.set()
            go_on.wait(5)
            peer.answer(PAGE)

    server = serve(handler)
    client = make_client(server.url)
    finished = Call()
    client.list_workflows(page=1, call=finished)
    asking = Asking(client)
    assert second.wait(5)
    finished.abort()
    go_on.set()
    assert not isinstance(asking.join(), Exception)
    assert server.accepted == 1


def test_a_call_serves_again_after_a_deadline_and_not_after_an_abort(
    serve: Serve, make_client: MakeClient
) -> None:
    slow = threading.Event()

    def handler(peer: Peer) -> None:
        while peer.read_request():
            if not slow.is_set():
                slow.set()
                peer.wait_until_gone()
                return
            peer.answer(PAGE)

    client = make_client(serve(handler).url, Timeouts(headers=0.2))
    call = Call()
    with pytest.raises(UnreachableError):
        client.list_workflows(page=1, call=call)
    assert client.list_workflows(page=1, call=call).entries == 0
    call.abort()
    with pytest.raises(AbortedError):
        client.list_workflows(page=1, call=call)


def dribble(head: bytes, drop: bytes) -> Callable[[Peer], None]:
    def handler(peer: Peer) -> None:
        peer.read_request()
        peer.send(head)
        while True:
            peer.send(drop)
            time.sleep(0.02)

    return handler


DRIBBLES = {
    "a status line": dribble(b"HTTP/1.1 200 ", b"O"),
    "a header": dribble(b"HTTP/1.1 200 OK\r\nContent-Type: ", b"x"),
    "interim answers": dribble(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "other interim answers": dribble(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
}


@pytest.mark.parametrize("handler", DRIBBLES.values(), ids=DRIBBLES.keys())
def test_headers_have_a_deadline_whatever_dribbles_in(
    handler: Callable[[Peer], None],
    serve: Serve,
    make_client: MakeClient,
    records: list[RequestRecord],
) -> None:
    client = make_client(serve(handler).url, Timeouts(headers=0.4))
    begin = time.monotonic()
    with pytest.raises(UnreachableError) as caught:
        client.subscribe(WORKFLOW)
    assert 0.35 < time.monotonic() - begin < 1.2
    assert (caught.value.reason, caught.value.code) == ("timeout", "error")
    assert [(record.endpoint, record.code) for record in records] == [("subscribe", "error")]
    assert 0.35 < records[0].seconds < 1.2


def test_a_tunnel_has_the_deadline_of_the_headers(
    serve: Serve, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = serve(dribble(b"HTTP/1.1 200 OK\r\n", b"X-Header: x\r\n"))
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    client = make_client("https://service.test", Timeouts(headers=0.4))
    with pytest.raises(UnreachableError) as caught:
        client.subscribe(WORKFLOW)
    assert caught.value.reason == "timeout"


def test_a_body_has_a_deadline_whatever_dribbles_in(
    serve: Serve, make_client: MakeClient, records: list[RequestRecord]
) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9999\r\n\r\n"
    client = make_client(serve(dribble(head, b" ")).url, Timeouts(body=0.4))
    begin = time.monotonic()
    with pytest.raises(UnreachableError) as caught:
        client.list_workflows(page=1)
    assert 0.35 < time.monotonic() - begin < 1.2
    assert (caught.value.reason, caught.value.code) == ("timeout", "200")
    assert [record.code for record in records] == ["200"]


def endless_headers(part: bytes) -> Callable[[Peer], None]:
    def handler(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nX-Header: ")
        while True:
            peer.send(part)

    return handler


@pytest.mark.parametrize("part", [b"x" * 1024, b"x\r\nX-Header: "], ids=["line", "lines"])
def test_endless_headers_are_refused(part: bytes, serve: Serve, make_client: MakeClient) -> None:
    client = make_client(serve(endless_headers(part)).url)
    begin = time.monotonic()
    with pytest.raises(UnreachableError) as caught:
        client.list_workflows(page=1)
    assert caught.value.reason == "protocol"
    assert time.monotonic() - begin < 5


def test_an_endless_body_is_refused(serve: Serve, make_client: MakeClient) -> None:
    def handler(peer: Peer) -> None:
        peer.read_request()
        peer.head("Connection: close", kind="application/json")
        while True:
            peer.send(b" " * 65536)

    with pytest.raises(UnusableError):
        make_client(serve(handler).url).list_workflows(page=1)


@pytest.mark.parametrize("status", ["302 Found", "200 OK", "503 Busy"])
def test_the_body_of_an_answer_that_is_refused_is_not_read(
    status: str, serve: Serve, make_client: MakeClient
) -> None:
    def handler(peer: Peer) -> None:
        peer.read_request()
        peer.head("Connection: close", "Location: /elsewhere", status=status, kind="text/html")
        while True:
            peer.send(b"data: {}\n\n" * 1000)

    client = make_client(serve(handler).url)
    begin = time.monotonic()
    with pytest.raises(Exception, match="subscribe: an"):
        client.subscribe(WORKFLOW)
    assert time.monotonic() - begin < 5
