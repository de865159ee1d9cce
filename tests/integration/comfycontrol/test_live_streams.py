"""Streams on an event loop beside each other: none holds up the others, nor is held up unfairly."""

from __future__ import annotations

import asyncio
import contextlib
import selectors
import threading
import time
from typing import TYPE_CHECKING

import pytest

from exporter.comfycontrol import (
    Call,
    LiveStream,
    MalformedReading,
    SnapshotReading,
    StreamEnding,
    Timeouts,
)

if TYPE_CHECKING:
    import ssl

    from tests.integration.comfycontrol.conftest import MakeClient, Peer, Serve

WORKFLOW = "a1b2c3d4-e5f6-7890-abcd-ef1234567890"
MIB = 1024 * 1024
SOON = 10.0


def event(status: str, padding: int = 0) -> bytes:
    return b'data: {"status":"%s","more":"%s"}\n\n' % (status.encode(), b"x" * padding)


def status(reading: SnapshotReading) -> str:
    return "-" if isinstance(reading, MalformedReading) else reading.snapshot.status


@pytest.fixture(params=["plain", "TLS"])
def tls(request: pytest.FixtureRequest, server_tls: ssl.SSLContext) -> ssl.SSLContext | None:
    if request.param == "plain":
        return None
    request.getfixturevalue("trusted")
    return server_tls


def test_while_the_owner_is_busy_the_service_has_to_wait(
    serve: Serve, make_client: MakeClient, tls: ssl.SSLContext | None
) -> None:
    sent = 0
    events = 4000

    def handler(peer: Peer) -> None:
        nonlocal sent
        peer.read_request()
        peer.head()
        for number in range(events):
            sent += peer.sock.send(event(f"status-{number}", 16_000))

    opened = make_client(serve(handler, tls).url).subscribe(WORKFLOW, Call())

    async def read() -> tuple[int, int]:
        stream = LiveStream(opened)
        await anext(stream)
        before = -1
        while sent > before:  # until nothing more goes on its way
            before = sent
            await asyncio.sleep(0.5)
        count = 1
        async for _ in stream:
            count += 1
        return before, count

    held, count = asyncio.run(asyncio.wait_for(read(), 60))
    # What two sockets hold, and a little of ours.
    assert held < 24 * MIB
    assert count == events


def test_what_waited_while_the_loop_was_held_up_is_a_sign_of_life(
    serve: Serve, make_client: MakeClient
) -> None:
    second, third = threading.Event(), threading.Event()

    def handler(peer: Peer) -> None:
        peer.read_request()
        peer.head("Transfer-Encoding: chunked")
        peer.chunk(event("first"))
        second.wait(SOON)
        peer.chunk(event("second"))
        third.wait(SOON)
        peer.chunk(event("third"))
        peer.send(b"0\r\n\r\n")

    opened = make_client(serve(handler).url, Timeouts(silence=1.0)).subscribe(WORKFLOW, Call())

    async def read() -> tuple[list[str], StreamEnding | None]:
        stream = LiveStream(opened)
        seen = [status(await anext(stream))]
        following = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        second.set()
        time.sleep(1.3)  # noqa: ASYNC251 - it holds up the loop on purpose
        seen.append(status(await following))
        third.set()
        seen += [status(reading) async for reading in stream]
        return seen, stream.ending

    assert asyncio.run(read()) == (["first", "second", "third"], StreamEnding.EOF)


class CountingSelector(selectors.DefaultSelector):
    """Counts the polls that found something."""

    found = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(timeout)
        self.found += bool(ready)
        return ready


def test_a_large_event_is_not_read_in_as_many_polls_as_it_has_records(
    serve: Serve, make_client: MakeClient, tls: ssl.SSLContext | None
) -> None:
    begun, is_sent = threading.Event(), threading.Event()

    def handler(peer: Peer) -> None:
        peer.read_request()
        peer.head()
        begun.wait(SOON)
        peer.send(event("large", 60_000))
        is_sent.set()
        peer.wait_until_gone()

    opened = make_client(serve(handler, tls).url).subscribe(WORKFLOW, Call())
    selector = CountingSelector()

    async def read() -> int:
        with contextlib.closing(LiveStream(opened)) as stream:
            following = asyncio.ensure_future(anext(stream))
            await asyncio.sleep(0)
            begun.set()
            is_sent.wait(SOON)  # it has arrived before the loop polls again
            before = selector.found
            assert status(await following) == "large"
            return selector.found - before

    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
        assert runner.run(read()) <= 2


def test_a_flood_leaves_the_others_their_turn(serve: Serve, make_client: MakeClient) -> None:
    count = 640

    def handler(peer: Peer) -> None:
        peer.read_request()
        peer.head()
        peer.send(b"".join(event(f"status-{number}") for number in range(count)))

    opened = make_client(serve(handler).url).subscribe(WORKFLOW, Call())

    async def read() -> int:
        most = in_a_row = 0

        async def others() -> None:
            nonlocal in_a_row
            while True:
                in_a_row = 0
                await asyncio.sleep(0)

        task = asyncio.create_task(others())
        stream = LiveStream(opened)
        async for _ in stream:
            in_a_row += 1
            most = max(most, in_a_row)
        task.cancel()
        assert stream.updates == count
        return most

    assert asyncio.run(read()) <= 32


def test_who_is_cancelled_lets_the_connection_go_at_once(
    serve: Serve, make_client: MakeClient, tls: ssl.SSLContext | None
) -> None:
    gone = threading.Event()

    def handler(peer: Peer) -> None:
        peer.read_request()
        peer.head()
        peer.send(event("first"))
        peer.wait_until_gone()
        gone.set()

    opened = make_client(serve(handler, tls).url).subscribe(WORKFLOW, Call())

    async def follow(first: asyncio.Event) -> None:
        with contextlib.closing(LiveStream(opened)) as stream:
            async for _ in stream:
                first.set()

    async def cancel() -> bool:
        first = asyncio.Event()
        task = asyncio.create_task(follow(first))
        await first.wait()
        task.cancel()
        await asyncio.wait((task,))
        return task.cancelled()

    assert asyncio.run(cancel())
    assert gone.wait(SOON)
