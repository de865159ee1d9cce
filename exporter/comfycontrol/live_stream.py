"""A workflow's event stream on an event loop: its socket is read without blocking.

`requests` opens it, and handles proxies, certificates, TLS and the status. After that only the
socket is needed, with a few hundred bytes of state, so one thread can read thousands of streams.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ssl
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self, cast

import sseclient

from exporter.comfycontrol.bodies import (
    Body,
    BrokenBodyError,
    ChunkedBody,
    EndlessBody,
    LengthBody,
    unpacking,
)
from exporter.comfycontrol.failures import CALL_ERRORS
from exporter.comfycontrol.framing import MAX_EVENT_SIZE, EventFraming, only_data
from exporter.comfycontrol.stream import (
    EventReader,
    MalformedReading,
    NewSnapshot,
    SnapshotReading,
    StreamEnding,
)

if TYPE_CHECKING:
    import http.client
    from collections.abc import Callable
    from io import BufferedReader, RawIOBase

    import requests

    from exporter.comfycontrol.connections import Call
    from exporter.comfycontrol.stream import Stream

_READS_AT_ONCE: Final = 8
"""How many reads from one socket are made before the others get their turn."""

_LARGE_READ: Final = 16384
"""In bytes. After a read that brings as many, which is a full TLS record, more has probably
arrived: the next read does not wait until the sockets are polled again."""

_READINGS_AT_ONCE: Final = 32
"""How many events of one stream are passed to its owner before the others get their turn."""

MOST_WAITING: Final = 64
"""While this many events wait for the owner, nothing more is read, so the service must wait."""

_PATIENCE: Final = 0.05
"""Seconds until it is checked again whether a stream is silent, while some of its events still
wait."""

_KEEP_WHOLE: Final = 16384
"""In bytes. Of longer events only the digest is kept."""

_WANTS = (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError)

# One buffer for all streams of a thread: the bytes of a read are copied out of it before the next
# read.
_buffer = bytearray(65536)
_view = memoryview(_buffer)


class TakenConnection:
    """The connection of an answer whose body is no longer read by `http.client` and urllib3.

    Attributes:
        has_pending: whether a part of the body may already be decrypted, so that polling the socket
            does not show it.
        hides_more: whether this may be so after every read, until a read finds nothing.
    """

    __slots__ = (
        "_connection",
        "_file",
        "_pool",
        "_socket",
        "_timeout",
        "body",
        "has_pending",
        "head",
        "hides_more",
        "unpacking",
    )

    def __init__(self, response: requests.Response, call: Call) -> None:
        """Take the socket, and the part of the body that was read ahead.

        Release the rest of the answer.

        Raises:
            OSError: the connection is broken, and was closed.
        """
        sock = call.socket
        assert sock is not None  # noqa: S101 - for the type checker: its headers were read from it
        raw = response.raw
        answer = cast("http.client.HTTPResponse", raw._fp)  # noqa: SLF001 - see below
        # There is no public way to get the file that `http.client` reads, or to return a connection
        # to the pool without the answer. All private attributes are read once, here.
        self._pool: Any = raw._pool  # noqa: SLF001
        self._connection: Any = raw._connection  # noqa: SLF001
        raw._connection = None  # noqa: SLF001
        self._socket = sock
        self._timeout = sock.gettimeout()
        self.body = _body_of(answer)
        self.unpacking = unpacking(response.headers.get("Content-Encoding"))
        self.head = b""
        self._file: RawIOBase | None = None
        self.has_pending = self.hides_more = False
        try:
            sock.setblocking(False)
            self._take_file(answer)
        except BaseException:
            self.close()
            raise
        finally:
            response.close()

    def _take_file(self, answer: http.client.HTTPResponse) -> None:
        file = cast("BufferedReader | None", answer.fp)
        if file is None:
            return  # the body ended with the headers
        with contextlib.suppress(*_WANTS):
            self.head = file.peek()
        self._file = file.detach()
        answer.fp = None  # type: ignore[assignment]
        # Our buffer is larger than a TLS record, so each read takes complete records, and OpenSSL
        # reads no further. Only the smaller buffer of `http.client` may have left a part of a
        # record. For TLS within TLS to a proxy, outer records contain inner ones.
        self.has_pending = isinstance(self._socket, ssl.SSLSocket)
        self.hides_more = self._file.__dict__.get("_sock") is not self._socket

    def fileno(self) -> int:
        """The file descriptor to wait on; negative: there is nothing more to read."""
        return -1 if self._file is None else self._file.fileno()

    def read_method(self) -> Callable[[bytearray], int | None]:
        """A function that reads what has arrived into a buffer, and returns the number of bytes.

        It returns None if nothing has arrived, and 0 at the end. It raises OSError if the
        connection broke, or has nothing yet.
        """
        if self._file is None:
            return lambda _: 0
        if self._file.__dict__.get("_sock") is not self._socket:
            return self._file.readinto
        # The file object would only call the socket, in many more steps.
        if isinstance(self._socket, ssl.SSLSocket):
            return cast("Callable[[bytearray], int]", partial(self._socket.read, len(_buffer)))
        return cast("Callable[[bytearray], int]", self._socket.recv_into)

    def release(self) -> None:
        """Return the connection to the pool: the body was read completely."""
        connection, self._connection = self._connection, None
        if connection is None or connection.sock is None:
            self.close()
            return
        self._socket.settimeout(self._timeout)
        self._close_file()
        self._pool._put_conn(connection)  # noqa: SLF001

    def close(self) -> None:
        """Close the connection. Never blocks."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._close_file()

    def _close_file(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None


def _body_of(answer: http.client.HTTPResponse) -> Body:
    if answer.chunked:
        return ChunkedBody()
    if answer.length is not None:
        return LengthBody(answer.length)
    return EndlessBody()


class LiveStream:
    """The snapshots of one workflow as they arrive, for one `async for` in one task.

    It is created and used in the thread of a running event loop. Problems of the service or the
    network never raise; the iteration ends, and ``ending`` says how. The code that creates it must
    call ``close()``. Any thread can end it by aborting its call.

    Attributes:
        ending: how it ended; None before that, and if the owner stopped reading.
        is_news: called for each snapshot while nothing else waits, with the loop's time; returns
            whether to wake the owner for it. None instead of a snapshot means one that equals the
            last one byte for byte. By default the owner is woken for all.
    """

    __slots__ = (
        "_call",
        "_closed",
        "_connection",
        "_ended",
        "_events",
        "_fault",
        "_framing",
        "_gap",
        "_given",
        "_given_at_deadline",
        "_heard",
        "_is_clean",
        "_is_paused",
        "_last_block",
        "_last_raw",
        "_life",
        "_loop",
        "_on_end",
        "_readinto",
        "_silence",
        "_timer",
        "_waiter",
        "_waiting",
        "ending",
        "is_news",
    )

    def __init__(self, stream: Stream) -> None:
        """Continue a stream that was opened and not read yet."""
        # From now on silence is timed here.
        stream.call.due = None
        self.ending: StreamEnding | None = None
        self.is_news: Callable[[NewSnapshot | None, float], bool] = _all_are
        self._loop = asyncio.get_running_loop()
        self._call = stream.call
        self._silence, self._gap, self._on_end = stream.silence, stream.gap, stream.on_end
        self._framing = EventFraming()
        self._events = EventReader()
        # Waiting for the owner: events, and later blocks that were not parsed yet. A block has the
        # bytes of its read with it, if that read contained nothing else.
        self._waiting: deque[SnapshotReading | tuple[bytes, bytes | None]] = deque()
        self._last_raw: bytes | None = None
        self._last_block: bytes | None = None
        self._is_clean = False
        self._ended: StreamEnding | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self._fault: Exception | None = None
        self._is_paused = False
        # How many events were passed to the owner, and how many must be before silence is checked.
        self._given = 0
        self._given_at_deadline: int | None = None
        self._heard = self._life = self._loop.time()
        self._connection: TakenConnection | None = None
        try:
            self._connection = TakenConnection(stream.response, stream.call)
            self._begin(self._connection)
        except CALL_ERRORS:
            self._end(StreamEnding.CUT)
        except BaseException:
            # No other code uses this connection any more.
            self.close()
            stream.response.close()
            raise

    @property
    def updates(self) -> int:
        """How many snapshots have come, including malformed ones."""
        return self._events.updates

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SnapshotReading:
        while True:
            while self._waiting:
                if self._given % _READINGS_AT_ONCE == _READINGS_AT_ONCE - 1:
                    await asyncio.sleep(0)
                self._given += 1
                item = self._waiting.popleft()
                reading = self._read(*item) if isinstance(item, tuple) else item
                if reading is not None:
                    return reading
            self._resume()
            if self._ended is not None or self._closed:
                self.ending = self._ended
                self.close()
                if self._fault is not None:
                    raise self._fault
                raise StopAsyncIteration
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    def close(self) -> None:
        """Release the connection. Calling it again does nothing.

        It goes back to the pool only if the answer has been read to its very end.
        """
        if self._closed:
            return
        self._closed = True
        self._leave_loop()
        self._call.finish()
        connection, self._connection = self._connection, None
        if connection is not None:
            if self._ended is StreamEnding.EOF and connection.body.reusable:
                connection.release()
            else:
                connection.close()
        self._on_end()

    # What the loop calls ----------------------------------------------------------------------

    def _begin(self, connection: TakenConnection) -> None:
        self._readinto = connection.read_method()
        if connection.head:
            self._take(connection, connection.head)
            connection.head = b""
        if connection.body.ended or connection.fileno() < 0:
            self._end_of_bytes(connection)
        if self._ended is not None:
            return
        self._loop.add_reader(connection.fileno(), self._on_readable)
        self._timer = self._loop.call_later(min(self._silence, self._gap), self._on_time)
        if connection.has_pending:
            self._loop.call_soon(self._on_readable)

    def _on_readable(self) -> None:
        connection = self._connection
        if connection is None or self._ended is not None or self._is_paused:
            return
        if len(self._waiting) >= MOST_WAITING:
            self._is_paused = True
            self._loop.remove_reader(connection.fileno())
            return
        try:
            if self._read_once(connection):
                self._read_on(connection)
        except Exception as fault:  # noqa: BLE001 - it is for the owner, not for the loop
            self._fault = fault
            self._end(StreamEnding.CUT)
        if self._waiting:
            self._wake()

    def _read_once(self, connection: TakenConnection) -> bool:
        """Process one read; return whether to read on at once.

        Otherwise, if bytes are left in the socket, the loop reports them again.
        """
        try:
            size = self._readinto(_buffer)
        except _WANTS:
            return False
        except CALL_ERRORS:
            self._end(StreamEnding.CUT)
            return False
        if size is None:
            return False
        if size == 0:
            self._end_of_bytes(connection)
            return False
        self._heard = self._loop.time()
        last = self._last_raw
        if (
            last is not None
            and size == len(last)
            and self._is_clean
            and not self._waiting
            and _buffer.startswith(last)
        ):
            # The same bytes, read in the same state as before, have the same meaning.
            self._repeat()
        else:
            self._take(connection, bytes(_view[:size]))
        return self._ended is None and (size >= _LARGE_READ or connection.hides_more)

    def _read_on(self, connection: TakenConnection) -> None:
        for _ in range(_READS_AT_ONCE - 1):
            if len(self._waiting) >= MOST_WAITING:
                break
            if not self._read_once(connection):
                return
        if connection.hides_more:
            self._loop.call_soon(self._on_readable)

    def _resume(self) -> None:
        """Continue reading, after the owner has taken everything that waited."""
        if not self._is_paused or self._connection is None or self._ended is not None:
            return
        self._is_paused = False
        # What arrived in the meantime was not read, so this time does not count as silence.
        self._heard = self._loop.time()
        self._loop.add_reader(self._connection.fileno(), self._on_readable)
        self._loop.call_soon(self._on_readable)  # TLS may have something pending

    def _on_time(self) -> None:
        if self._is_overdue() and self._given_at_deadline is None:
            # The loop may have been busy while data was waiting in the socket.
            self._on_readable()
            self._given_at_deadline = self._given + len(self._waiting)
        if self._ended is not None or self._closed:
            return
        if self._is_overdue():
            if self._given_at_deadline is not None and self._given < self._given_at_deadline:
                # One of the waiting events may be a snapshot, which shows that the stream is alive.
                self._timer = self._loop.call_later(_PATIENCE, self._on_time)
            else:
                self._end(StreamEnding.SILENT)
            return
        self._given_at_deadline = None
        due = min(self._life + self._silence, self._heard + self._gap)
        self._timer = self._loop.call_at(due, self._on_time)

    def _is_overdue(self) -> bool:
        now = self._loop.time()
        return now >= self._life + self._silence or now >= self._heard + self._gap

    # What arrives -----------------------------------------------------------------------------

    def _take(self, connection: TakenConnection, data: bytes) -> None:
        body, framing = connection.body, self._framing
        was_clean = self._is_clean
        blocks = self._unframe(connection, data)
        self._is_clean = (
            body.at_boundary and framing.between_events and connection.unpacking is None
        )
        raw = data if was_clean and self._is_clean and len(blocks) == 1 else None
        for number, block in enumerate(blocks):
            # One read can bring thousands of events: the rest is left for the owner, so that other
            # streams get their turn.
            if self._waiting or number >= _READINGS_AT_ONCE:
                self._waiting.append((block, raw))
            else:
                self._take_next(block, raw)
        if framing.oversized:
            self._end(StreamEnding.OVERSIZE)
        elif body.ended:
            self._end_of_bytes(connection)

    def _take_next(self, block: bytes, raw: bytes | None) -> None:
        """Process an event while no other waits; most events need not wake the owner."""
        if _keep(block) == self._last_block:
            self._remember(block, raw)
            self._repeat()
            return
        reading = self._read(block, raw)
        if reading is None:
            return
        if isinstance(reading, NewSnapshot) and not self.is_news(reading, self._life):
            return
        self._waiting.append(reading)

    def _unframe(self, connection: TakenConnection, data: bytes) -> list[bytes]:
        content = connection.body.feed(data)
        if connection.unpacking is None:
            return self._framing.feed(content)
        blocks: list[bytes] = []
        size = 0
        try:
            for part in connection.unpacking.feed(content):
                blocks += self._framing.feed(part)
                size += len(part)
                if size > MAX_EVENT_SIZE:
                    # A few bytes that decompress to millions would delay all other streams.
                    self._end(StreamEnding.OVERSIZE)
                if self._framing.oversized or self._ended is not None:
                    break
        except BrokenBodyError:
            self._end(StreamEnding.CUT)
        return blocks

    def _remember(self, block: bytes, raw: bytes | None) -> None:
        """Keep the whole read, or else the block, to recognise a repetition."""
        self._last_raw = raw if raw is not None and len(raw) <= _KEEP_WHOLE else None
        self._last_block = _keep(block) if self._last_raw is None else None

    def _repeat(self) -> None:
        self._life = self._heard
        if self.is_news(None, self._life):
            self._waiting.append(self._events.repeated())
        else:
            self._events.updates += 1

    def _read(self, block: bytes, raw: bytes | None) -> SnapshotReading | None:
        name, data = "message", only_data(block)
        if data is None:
            event = next(sseclient.SSEClient(iter((block,))).events(), None)
            if event is None:
                return None
            name, data = event.event, event.data
        reading = self._events.read(name, data)
        if reading is not None and not isinstance(reading, MalformedReading):
            self._life = self._loop.time()
            self._remember(block, raw)
        return reading

    # The end ----------------------------------------------------------------------------------

    def _end_of_bytes(self, connection: TakenConnection) -> None:
        is_whole = connection.body.is_whole() and not self._framing.unterminated
        self._end(StreamEnding.EOF if is_whole else StreamEnding.CUT)

    def _end(self, ending: StreamEnding) -> None:
        if self._ended is not None:
            return
        self._ended = StreamEnding.ABORTED if self._call.aborted else ending
        self._leave_loop()
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _leave_loop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._connection is not None and self._connection.fileno() >= 0:
            self._loop.remove_reader(self._connection.fileno())


def _all_are(_: NewSnapshot | None, _at: float) -> bool:
    return True


def _keep(block: bytes) -> bytes:
    """What to keep of a block, to find out whether the next one equals it."""
    if len(block) <= _KEEP_WHOLE:
        return block
    return hashlib.blake2b(block, digest_size=32).digest()
