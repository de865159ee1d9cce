"""Decides which log lines are written, so that no client can fill or block the log."""

import copy
import logging
import os
import select
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Final, TextIO

WINDOW_SECONDS: Final = 60.0
"""Seconds after which repeated lines are summarised."""

MOST_SAME: Final = 5
"""The largest number of identical lines within one window."""

MOST_ALIKE: Final = 100
"""The largest number of warnings and errors with the same text, within one window."""

MOST_KINDS: Final = 5_000
"""The largest number of distinct texts within one window."""

MOST_PENDING: Final = 1_000
"""The largest number of lines that wait because the reader of the log is slow."""

_OWN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


@dataclass(slots=True)
class _Kind:
    since: float
    written: int = 0
    suppressed: int = 0
    last: logging.LogRecord | None = None


class Repeats:
    """Decides which lines are written. Pure, except for the records that it stores.

    The first few identical lines are written, and the first hundred warnings that differ only in
    their fields. The others are counted, and reported in one line with `repeated` a minute after
    the first. Debug lines are always written.
    """

    def __init__(self) -> None:
        self.suppressed = 0
        """How many lines were counted and not written."""
        self._kinds: dict[Hashable, _Kind] = {}

    def take(self, record: logging.LogRecord, now: float) -> bool:
        """Return whether this line must be written."""
        if record.levelno < logging.INFO or hasattr(record, "repeated"):
            return True
        said = (record.name, record.levelno, str(record.msg))
        marks = _marks(record)
        kinds = [(self._kind((said, str(record.args), marks), now), MOST_SAME)]
        if record.levelno >= logging.WARNING:
            kinds.append((self._kind((said, dict(marks).get("client")), now), MOST_ALIKE))
        for kind, most in kinds:
            if kind.written >= most:
                kind.suppressed += 1
                kind.last = record
                self.suppressed += 1
                return False
        for kind, _ in kinds:
            kind.written += 1
        return True

    def due(self, now: float, *, everything: bool = False) -> Iterator[logging.LogRecord]:
        """A summary of each text that was repeated and whose window is over; or of all texts."""
        for key, kind in list(self._kinds.items()):
            if not everything and now - kind.since < WINDOW_SECONDS:
                continue
            del self._kinds[key]
            if kind.last is not None:
                summary = copy.copy(kind.last)
                summary.__dict__["repeated"] = kind.suppressed
                summary.created = time.time()
                yield summary

    def _kind(self, key: Hashable, now: float) -> _Kind:
        kind = self._kinds.get(key)
        if kind is not None and now - kind.since >= WINDOW_SECONDS and kind.last is None:
            kind = None
        if kind is None:
            if len(self._kinds) >= MOST_KINDS:
                # Memory is limited too: further texts share one counter.
                key = None
                kind = self._kinds.get(key)
            if kind is None:
                kind = self._kinds[key] = _Kind(now)
        return kind


def _marks(record: logging.LogRecord) -> tuple[tuple[str, str], ...]:
    marks = [(k, str(v)) for k, v in vars(record).items() if k not in _OWN]
    if record.exc_info and record.exc_info[0]:
        marks.append(("error", record.exc_info[0].__name__))
    return tuple(sorted(marks))


class LineWriter:
    """Writes lines to a stream without ever blocking.

    A pipe without a reader, or a stopped terminal, would block each thread that logs. Here, lines
    wait. If too many wait, or a disk is full, lines are lost and counted.

    Args:
        stream: the target; its descriptor is used, if it has one.
        loss_line: creates the line that says how many lines were lost.
        monotonic: a clock that measures durations.
    """

    def __init__(
        self,
        stream: TextIO,
        loss_line: Callable[[int], str],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.lost = 0
        """How many lines could not be written."""
        self._stream = stream
        self._loss_line = loss_line
        self._monotonic = monotonic
        self._is_cut = False
        self._pending: deque[bytes] = deque()
        self._unreported = 0

    def write(self, line: str) -> None:
        """Write a whole line, now or as soon as there is room."""
        descriptor = self._descriptor()
        if descriptor is None:
            try:
                self._stream.write(line)
                self._stream.flush()
            except (OSError, ValueError):
                self.lost += 1
            return
        if len(self._pending) >= MOST_PENDING:
            self.lost += 1
            self._unreported += 1
        else:
            start = "\n" if self._is_cut and not self._pending else ""
            self._is_cut = self._is_cut and not start
            self._pending.append((start + line).encode("utf-8", "backslashreplace"))
        self.drain()

    def drain(self, patience: float = 0.0) -> None:
        """Write waiting lines; wait at most `patience` seconds for room."""
        descriptor = self._descriptor()
        if descriptor is None or not self._pending:
            return
        end = self._monotonic() + patience
        while self._pending and self._has_room(descriptor, max(0.0, end - self._monotonic())):
            line = self._pending.popleft()
            try:
                # A pipe that is writable takes this many bytes without blocking.
                written = os.write(descriptor, line[: select.PIPE_BUF])
            except OSError:
                self._lose()
                continue
            if written < len(line):
                self._is_cut = True
                self._pending.appendleft(line[written:])
                continue
            self._is_cut = False
            if self._unreported:
                lost, self._unreported = self._loss_line(self._unreported), 0
                self._pending.appendleft(lost.encode())

    def _lose(self) -> None:
        self.lost += 1
        self._unreported += 1
        if self._is_cut and self._pending:
            # A part of the line is written already, so the next text must begin on a new line.
            self._is_cut = False
            self._pending[0] = b"\n" + self._pending[0]

    def _has_room(self, descriptor: int, seconds: float) -> bool:
        poll = select.poll()
        poll.register(descriptor, select.POLLOUT)
        try:
            return bool(poll.poll(seconds * 1000))
        except OSError:
            return False

    def _descriptor(self) -> int | None:
        try:
            return self._stream.fileno()
        except (OSError, ValueError, AttributeError):
            return None
