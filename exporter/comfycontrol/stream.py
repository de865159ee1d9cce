"""One workflow's event stream when it was opened, and what its events say."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

from exporter.comfycontrol.snapshot import MalformedSnapshotError, Snapshot, parse_snapshot

if TYPE_CHECKING:
    from collections.abc import Callable

    import requests

    from exporter.comfycontrol.connections import Call

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

    __slots__ = ("_hash", "_last", "updates")

    def __init__(self) -> None:
        """Begin with no snapshot seen."""
        self.updates = 0
        self._last: Snapshot | None = None
        # Of its data only a hash of 64 bits: with many streams, the memory between two events must
        # stay small.
        self._hash = 0

    def read(self, name: str, data: str) -> SnapshotReading | None:
        """Make a reading of an event; None: it is not a snapshot event, and is not counted."""
        if self._last is not None and hash(data) == self._hash:
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
        self._last, self._hash = parsed.snapshot, hash(data)
        return NewSnapshot(parsed.snapshot, parsed.malformed_fields)

    def repeated(self) -> RepeatedSnapshot:
        """Note that the last snapshot was repeated."""
        assert self._last is not None  # noqa: S101 - for the type checker: it was the last one
        self.updates += 1
        return RepeatedSnapshot(self._last)


@dataclass(frozen=True, slots=True)
class Stream:
    """An event stream that was opened, and whose body is unread: for a `LiveStream`, or to close.

    Attributes:
        response: the answer; its status and content type have been checked.
        call: the call, which is still running.
        silence: seconds that may pass without a well-formed snapshot.
        gap: seconds that may pass without a byte.
        on_end: must be called when the connection was released.
    """

    response: requests.Response
    call: Call
    silence: float
    gap: float
    on_end: Callable[[], None]

    def close(self) -> None:
        """Close the connection, unread."""
        self.call.finish()
        self.response.close()
        self.on_end()
