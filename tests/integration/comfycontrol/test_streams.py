"""Streams over real sockets: every event at once, in every framing, and every way of ending."""

from __future__ import annotations

import gzip
import threading
import time
import tracemalloc
import zlib
from typing import TYPE_CHECKING, Any

import pytest

from exporter.comfycontrol import (
    Call,
    Client,
    MalformedReading,
    NewSnapshot,
    RepeatedSnapshot,
    SnapshotReading,
    StreamEnding,
    Timeouts,
)
from tests.integration.comfycontrol.on_a_loop import OnALoop

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.comfycontrol.conftest import MakeClient, Peer, Serve

WORKFLOW = "a1b2c3d4-e5f6-7890-abcd-ef1234567890"
QUICK = Timeouts(silence=0.5)
KIB, MIB = 1024, 1024 * 1024


def event(status: str) -> bytes:
    return b'data: {"status":"%s"}\n\n' % status.encode()


def drain(stream: OnALoop) -> tuple[list[SnapshotReading], StreamEnding | None]:
    return list(stream), stream.ending


def statuses(readings: list[SnapshotReading]) -> list[str]:
    return [
        reading.snapshot.status if not isinstance(reading, MalformedReading) else "-"
        for reading in readings
    ]


class Framing:
    """A way to frame a body: how it begins, how a piece of it is sent, and how it ends."""

    def __init__(
        self,
        *headers: str,
        piece: Callable[[Peer, bytes], None] | None = None,
        last: bytes = b"",
        version: bytes = b"HTTP/1.1",
    ) -> None:
        self._headers = headers
        self._piece = piece
        self._last = last
        self._version = version

    def begin(self, peer: Peer) -> None:
        head = "\r\n".join((" 200 OK", "Content-Type: text/event-stream", *self._headers, "", ""))
        peer.send(self._version, head.encode())

    def piece(self, peer: Peer, data: bytes) -> None:
        if self._piece is None:
            peer.send(data)
        else:
            self._piece(peer, data)

    def end(self, peer: Peer) -> None:
        peer.send(self._last)


EVENTS = [event(f"status-{number}") for number in range(5)]
LENGTH = sum(map(len, EVENTS))
FRAMINGS = {
    "a chunk an event": Framing(
        "Transfer-Encoding: chunked", piece=lambda peer, data: peer.chunk(data), last=b"0\r\n\r\n"
    ),
    "one big chunk": Framing(
        f"Transfer-Encoding: chunked\r\n\r\n{LENGTH:x}", last=b"\r\n0\r\n\r\n"
    ),
    "content length": Framing(f"Content-Length: {LENGTH}"),
    "end of file": Framing("Connection: close"),
    "HTTP/1.0": Framing(version=b"HTTP/1.0"),
}
# The head of the big chunk stands where the headers have just ended.
FRAMINGS["one big chunk"].begin = lambda peer: peer.send(  # type: ignore[method-assign]
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % LENGTH
)


@pytest.mark.parametrize("framing", FRAMINGS.values(), ids=FRAMINGS.keys())
@pytest.mark.parametrize("over_tls", [False, True], ids=["plain", "TLS"])
def test_every_event_is_there_before_the_next_is_sent(
    framing: Framing,
    over_tls: bool,
    serve: Serve,
    make_client: MakeClient,
    server_tls: Any,
    trusted: str,
) -> None:
    seen = threading.Semaphore(0)

    def handler(peer: Peer) -> None:
        peer.read_request()
        framing.begin(peer)
        for number, piece in enumerate(EVENTS):
            if number:
                assert seen.acquire(timeout=5)
            framing.piece(peer, piece)
        framing.end(peer)

    server = serve(handler, server_tls if over_tls else None)
    stream = OnALoop(make_client(server.url).subscribe(WORKFLOW))
    readings = []
    for reading in stream:
        readings.append(reading)
        seen.release()
    assert statuses(readings) == [f"status-{number}" for number in range(5)]
    assert stream.ending is StreamEnding.EOF
    assert stream.updates == 5


def subscribe_to(
    script: Callable[[Peer], object],
    serve: Serve,
    make_client: MakeClient,
    timeouts: Timeouts = QUICK,
) -> OnALoop:
    def handler(peer: Peer) -> None:
        peer.read_request()
        script(peer)

    return OnALoop(make_client(serve(handler).url, timeouts).subscribe(WORKFLOW))


def chunked(*chunks: bytes, last: bytes = b"0\r\n\r\n") -> Callable[[Peer], None]:
    def script(peer: Peer) -> None:
        peer.head("Transfer-Encoding: chunked")
        for chunk in chunks:
            peer.chunk(chunk)
        peer.send(last)

    return script


def until_the_end(*parts: bytes) -> Callable[[Peer], None]:
    def script(peer: Peer) -> None:
        peer.head("Connection: close")
        peer.send(*parts)

    return script


def short_of_its_length(peer: Peer) -> None:
    peer.head("Content-Length: 1000")
    peer.send(event("running"))


def compressed_and_broken(peer: Peer) -> None:
    peer.head("Connection: close", "Content-Encoding: gzip")
    peer.send(b"this is not what gzip makes")


@pytest.mark.parametrize(
    ("script", "ending", "expected"),
    [
        (chunked(event("running")), StreamEnding.EOF, ["running"]),
        (until_the_end(event("running")), StreamEnding.EOF, ["running"]),
        (until_the_end(), StreamEnding.EOF, []),
        (until_the_end(event("running"), b": bye"), StreamEnding.EOF, ["running"]),
        (chunked(event("running"), last=b""), StreamEnding.CUT, ["running"]),
        (chunked(event("running"), last=b"40\r\ndata: {"), StreamEnding.CUT, ["running"]),
        (chunked(event("running"), last=b"zz\r\n"), StreamEnding.CUT, ["running"]),
        (chunked(event("running"), b'data: {"status":"failed"}\n'), StreamEnding.CUT, ["running"]),
        (until_the_end(b'data: {"status":"failed"}'), StreamEnding.CUT, []),
        (short_of_its_length, StreamEnding.CUT, ["running"]),
        (compressed_and_broken, StreamEnding.CUT, []),
    ],
)
def test_an_end_is_clean_only_between_events_and_with_the_whole_body(
    script: Callable[[Peer], None],
    ending: StreamEnding,
    expected: list[str],
    serve: Serve,
    make_client: MakeClient,
) -> None:
    readings, ended = drain(subscribe_to(script, serve, make_client))
    assert statuses(readings) == expected
    assert ended is ending


def test_a_reset_cuts_the_stream(serve: Serve, make_client: MakeClient) -> None:
    seen = threading.Event()

    def script(peer: Peer) -> None:
        peer.head("Transfer-Encoding: chunked")
        peer.chunk(event("running"))
        seen.wait(5)
        peer.reset()

    stream = subscribe_to(script, serve, make_client)
    iterator = iter(stream)
    assert statuses([next(iterator)]) == ["running"]
    seen.set()
    assert list(iterator) == []
    assert stream.ending is StreamEnding.CUT


def test_readings_tell_new_repeated_and_malformed_apart(
    serve: Serve, make_client: MakeClient
) -> None:
    large = b'data: {"status":"running","prompt":"%s"}\n\n' % (b"x" * 100 * KIB)
    script = chunked(
        event("queued"),
        event("queued"),
        b"data: <html>\n\n",
        event("queued"),
        b'data: {"status":"queued","queue_number":-1}\n\n',
        large,
        large,
        b"event: ping\ndata: 2024-01-15\n\n",
        b"event: error\ndata: oh\n\n",
        b"event: status\n" + event("completed"),
    )
    stream = subscribe_to(script, serve, make_client)
    readings, ended = drain(stream)
    assert [type(reading) for reading in readings] == [
        *(NewSnapshot, RepeatedSnapshot, MalformedReading, RepeatedSnapshot, NewSnapshot),
        *(NewSnapshot, RepeatedSnapshot, MalformedReading, NewSnapshot),
    ]
    assert statuses(readings)[-1] == "completed"
    assert isinstance(readings[4], NewSnapshot)
    assert readings[4].malformed_fields == ("queue_number",)
    assert stream.updates == 9
    assert ended is StreamEnding.EOF


def comments(peer: Peer) -> None:
    peer.chunk(b": still here\n\n")


def malformed_events(peer: Peer) -> None:
    peer.chunk(b"data: still here\n\n")


def zeros_of_a_chunk_size(peer: Peer) -> None:
    peer.send(b"0")


def nothing(peer: Peer) -> None:
    pass


@pytest.mark.parametrize(
    "noise", [nothing, comments, malformed_events, zeros_of_a_chunk_size], ids=lambda f: f.__name__
)
def test_only_snapshots_are_life(
    noise: Callable[[Peer], None], serve: Serve, make_client: MakeClient
) -> None:
    gone = threading.Event()

    def script(peer: Peer) -> None:
        peer.head("Transfer-Encoding: chunked")
        peer.chunk(event("running"))
        while not gone.wait(0.02):
            noise(peer)

    stream = subscribe_to(script, serve, make_client)
    iterator = iter(stream)
    assert statuses([next(iterator)]) == ["running"]
    begin = time.monotonic()
    assert all(isinstance(reading, MalformedReading) for reading in iterator)
    took = time.monotonic() - begin
    gone.set()
    assert stream.ending is StreamEnding.SILENT
    # Exactly then: neither does a comment a moment before put it off, nor is it early.
    assert QUICK.silence - 0.05 < took < QUICK.silence + 0.4


@pytest.mark.parametrize("states", [1, 2], ids=["repeated", "new"])
def test_snapshots_are_life(states: int, serve: Serve, make_client: MakeClient) -> None:
    gone = threading.Event()

    def script(peer: Peer) -> None:
        peer.head("Transfer-Encoding: chunked")
        number = 0
        while not gone.wait(0.05):
            number += 1
            peer.chunk(event(f"status-{number % states}"))

    stream = subscribe_to(script, serve, make_client)
    begin = time.monotonic()
    kinds = set()
    for reading in stream:
        kinds.add(type(reading))
        if time.monotonic() - begin > 3 * QUICK.silence:
            gone.set()
    assert time.monotonic() - begin > 3 * QUICK.silence
    assert kinds == ({NewSnapshot, RepeatedSnapshot} if states == 1 else {NewSnapshot})


def test_a_gap_between_bytes_longer_than_the_read_timeout_is_silence(
    serve: Serve, make_client: MakeClient
) -> None:
    def script(peer: Peer) -> None:
        peer.head("Connection: close")
        peer.wait_until_gone()

    timeouts = Timeouts(read=0.2, silence=30)
    assert drain(subscribe_to(script, serve, make_client, timeouts)) == ([], StreamEnding.SILENT)


def endless(part: bytes) -> Callable[[Peer], None]:
    def script(peer: Peer) -> None:
        peer.head("Connection: close")
        peer.send(b"data: ")
        while True:
            peer.send(part)

    return script


def bomb(peer: Peer) -> None:
    peer.head("Connection: close", "Content-Encoding: gzip")
    packer = zlib.compressobj(9, wbits=31)
    peer.send(packer.compress(b"data: "))
    for _ in range(512):
        peer.send(packer.compress(bytes(MIB)))
    peer.send(packer.flush())


@pytest.mark.parametrize(
    "script",
    [endless(b"x" * KIB), endless(b"x\ndata: " * KIB), bomb],
    ids=["endless line", "endless lines", "gzip bomb"],
)
def test_a_monstrous_event_ends_the_stream_in_flat_memory(
    script: Callable[[Peer], None], serve: Serve, make_client: MakeClient
) -> None:
    stream = subscribe_to(script, serve, make_client, Timeouts())
    tracemalloc.start()
    try:
        assert drain(stream) == ([], StreamEnding.OVERSIZE)
        # Both ends are measured: 3 MiB of these are the server's, where it packs the bomb.
        assert tracemalloc.get_traced_memory()[1] < 8 * MIB
    finally:
        tracemalloc.stop()


def test_a_bomb_of_blank_lines_ends_the_stream_in_flat_memory(
    serve: Serve, make_client: MakeClient
) -> None:
    def script(peer: Peer) -> None:
        peer.head("Connection: close", "Content-Encoding: gzip")
        packer = zlib.compressobj(9, wbits=31)
        while True:
            peer.send(packer.compress(b"\n" * MIB))

    stream = subscribe_to(script, serve, make_client)
    tracemalloc.start()
    try:
        # On a loop it is not unpacked for so long: others wait for their turn.
        expected = (
            StreamEnding.OVERSIZE
            if type(stream).__name__ == OnALoop.__name__
            else StreamEnding.SILENT
        )
        assert drain(stream) == ([], expected)
        assert tracemalloc.get_traced_memory()[1] < 16 * MIB
    finally:
        tracemalloc.stop()


def test_a_compressed_stream_is_read_though_none_was_asked_for(
    serve: Serve, make_client: MakeClient
) -> None:
    def script(peer: Peer) -> None:
        body = gzip.compress(event("queued") + event("running"))
        peer.head(f"Content-Length: {len(body)}", "Content-Encoding: gzip")
        peer.send(body)

    readings, ended = drain(subscribe_to(script, serve, make_client))
    assert statuses(readings) == ["queued", "running"]
    assert ended is StreamEnding.EOF


def test_a_stream_that_is_left_is_closed_and_not_used_again(
    serve: Serve, make_client: MakeClient
) -> None:
    def handler(peer: Peer) -> None:
        while peer.read_request():
            peer.head("Transfer-Encoding: chunked")
            peer.chunk(event("completed"))

    server = serve(handler)
    client = make_client(server.url)
    for _ in range(3):
        with OnALoop(client.subscribe(WORKFLOW)) as stream:
            for reading in stream:
                assert statuses([reading]) == ["completed"]
                stream.close()
        assert stream.ending is None
    assert server.accepted == 3


def test_a_stream_read_to_its_end_leaves_its_connection_for_the_next(
    serve: Serve, make_client: MakeClient
) -> None:
    def handler(peer: Peer) -> None:
        while peer.read_request():
            chunked(event("completed"))(peer)

    server = serve(handler)
    client = make_client(server.url)
    for _ in range(3):
        assert drain(OnALoop(client.subscribe(WORKFLOW)))[1] is StreamEnding.EOF
    assert server.accepted == 1


def test_closing_the_client_ends_its_streams(serve: Serve, make_client: MakeClient) -> None:
    def handler(peer: Peer) -> None:
        peer.read_request()
        peer.head("Transfer-Encoding: chunked")
        peer.chunk(event("running"))
        peer.wait_until_gone()

    client: Client = make_client(serve(handler).url)
    streams = [OnALoop(client.subscribe(WORKFLOW, Call())) for _ in range(3)]
    threads = [threading.Thread(target=list, args=(stream,)) for stream in streams]
    for thread in threads:
        thread.start()
    client.close()
    for thread in threads:
        thread.join(1)
    assert [stream.ending for stream in streams] == [StreamEnding.ABORTED] * 3
