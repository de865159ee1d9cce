"""One workflow's event stream, from its headers to its end."""

from __future__ import annotations

import enum
import hashlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import sseclient
import urllib3.exceptions

from exporter.comfycontrol.failures import CALL_ERRORS
from exporter.comfycontrol.framing import EventFraming
from exporter.comfycontrol.snapshot import MalformedSnapshotError, Snapshot, parse_snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    import requests

    from exporter.comfycontrol.connections import Call

# A read returns what has arrived, up to this number of bytes.
_READ_SIZE = 65536

# Of longer data only the digest is kept: with many streams, the memory between two events must stay
# small.
_KEEP_WHOLE = 16384

# Names of events by which servers and proxies only keep the connection alive.
_KEEP_ALIVE = frozenset({"ping", "heartbeat", "keepalive", "keep-alive", "keep_alive"})


class StreamEnding(enum.Enum):
    """How a stream ended at the level of bytes.

    It does not say what that means for the workflow.
    """

    EOF = "eof"
    """Cleanly, between two events. If a stream without a length is cut at that place, it looks the
    same."""

    CUT = "cut"
    """In the middle: a reset, a broken transfer, or an unfinished event."""

    SILENT = "silent"
    """No snapshot for too long, even if other bytes arrived."""

    OVERSIZE = "oversize"
    """An event was larger than the limit."""

    ABORTED = "aborted"
    """We aborted it."""


@dataclass(frozen=True, slots=True)
class NewSnapshot:
    """A snapshot that differs from the previous one.

    Attributes:
        snapshot: its content.
        malformed_fields: the names of fields that could not be used and were left out.
    """

    snapshot: Snapshot
    malformed_fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RepeatedSnapshot:
    """A snapshot that equals the last one byte for byte, and was not parsed again."""

    snapshot: Snapshot


@dataclass(frozen=True, slots=True)
class MalformedReading:
    """An event that was not a snapshot."""


SnapshotReading = NewSnapshot | RepeatedSnapshot | MalformedReading


class EventReader:
    """Turns events into readings: new ones, and repeated ones.

    Attributes:
        updates: how many snapshots have come, including malformed ones.
    """

    __slots__ = ("_keep_whole", "_last", "_last_data", "updates")

    def __init__(self, keep_whole: int = _KEEP_WHOLE) -> None:
        """Begin with no snapshot seen. Of data longer than `keep_whole` only a digest is kept."""
        self.updates = 0
        self._keep_whole = keep_whole
        self._last: Snapshot | None = None
        self._last_data: str | bytes = ""

    def read(self, name: str, data: str) -> SnapshotReading | None:
        """Make a reading of an event; None: it is not a snapshot event, and is not counted."""
        kept = _keep(data, self._keep_whole)
        if self._last is not None and kept == self._last_data:
            self.updates += 1
            return RepeatedSnapshot(self._last)
        try:
            parsed = parse_snapshot(data)
        except MalformedSnapshotError:
            if name.lower() in _KEEP_ALIVE:
                return None
            self.updates += 1
            return MalformedReading()
        self.updates += 1
        self._last, self._last_data = parsed.snapshot, kept
        return NewSnapshot(parsed.snapshot, parsed.malformed_fields)

    def repeated(self) -> RepeatedSnapshot:
        """Note that the last snapshot was repeated."""
        assert self._last is not None  # noqa: S101 - for the type checker: it was the last one
        self.updates += 1
        return RepeatedSnapshot(self._last)


@dataclass(frozen=True, slots=True)
class TakenEvents:
    """The parts of an open stream, for another reader.

    Attributes:
        response: the answer, with its body unread.
        call: the call, which is still running.
        silence: seconds that may pass without a well-formed snapshot.
        gap: seconds that may pass without a byte.
        on_end: must be called once, when the connection was released.
    """

    response: requests.Response
    call: Call
    silence: float
    gap: float
    on_end: Callable[[], None]


class Stream:
    """The snapshots of one workflow as they arrive. One thread may iterate over it, once.

    Problems of the service or the network never raise; the iteration ends, and ``ending`` says how.
    Another thread ends it by ``call.abort()``. To stop earlier, call ``close()``.

    Attributes:
        opened_at: when the headers had arrived, by the client's monotonic clock.
        ending: how it ended; None before that, and if the owner stopped reading.
    """

    def __init__(  # noqa: PLR0913 - all but two by name
        self,
        response: requests.Response,
        call: Call,
        *,
        silence: float,
        gap: float,
        opened_at: float,
        on_end: Callable[[], None],
    ) -> None:
        """Read an answer whose status and content type have been checked.

        Args:
            response: the answer, unread.
            call: the call whose socket it reads; its deadline is already set for the first
                snapshot.
            silence: seconds that may pass without a well-formed snapshot.
            gap: seconds that may pass without a byte; the socket's timeout checks this.
            opened_at: when the headers had arrived.
            on_end: called once, when the connection was released.
        """
        self.opened_at = opened_at
        self.ending: StreamEnding | None = None
        self._response = response
        self._call = call
        self._silence = silence
        self._gap = gap
        self._on_end = on_end
        self._closed = False
        self._events = EventReader()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[SnapshotReading]:
        try:
            for event in sseclient.SSEClient(self._read_blocks()).events():
                reading = self._events.read(event.event, event.data)
                if reading is None:
                    continue
                if not isinstance(reading, MalformedReading):
                    self._see_life()
                yield reading
        finally:
            self.close()

    def close(self) -> None:
        """Release the connection, from the thread that reads. Calling it again does nothing.

        It goes back to the pool only if the answer has been read to its very end.
        """
        if self._closed:
            return
        self._closed = True
        self._call.finish()
        self._response.close()
        self._on_end()

    @property
    def updates(self) -> int:
        """How many snapshots have come, malformed ones among them.

        The service's limit of about 120 updates counts the same.
        """
        return self._events.updates

    def take_over(self) -> TakenEvents:
        """Give everything to another reader. This stream cannot be used after that."""
        self._closed = True
        self._call.due = None
        return TakenEvents(self._response, self._call, self._silence, self._gap, self._on_end)

    def _see_life(self) -> None:
        self._call.due = time.monotonic() + self._silence

    def _read_blocks(self) -> Iterator[bytes]:
        """Read event blocks until the stream ends, and record how it ended."""
        framing = EventFraming()
        while not self._closed:
            try:
                chunk = self._response.raw.read1(_READ_SIZE, decode_content=True)
            except urllib3.exceptions.ReadTimeoutError:
                self._end(StreamEnding.SILENT)
                return
            except CALL_ERRORS:
                self._end(StreamEnding.CUT)
                return
            # A socket that was shut down looks like a clean end.
            if self._call.aborted or self._call.expired or not chunk:
                self._end(StreamEnding.CUT if framing.unterminated else StreamEnding.EOF)
                return
            yield from framing.feed(chunk)
            if framing.oversized:
                self._end(StreamEnding.OVERSIZE)
                return

    def _end(self, ending: StreamEnding) -> None:
        """Record the ending; if we ended it ourselves, that is recorded, not how it looked."""
        if self._call.aborted:
            ending = StreamEnding.ABORTED
        elif self._call.expired:
            ending = StreamEnding.SILENT
        self.ending = ending


def _keep(data: str, keep_whole: int) -> str | bytes:
    """Return what to remember of an event's data, to tell whether the next one equals it."""
    if len(data) <= keep_whole:
        return data
    return hashlib.blake2b(data.encode(), digest_size=32).digest()
