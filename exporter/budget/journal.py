"""The request journal: the part of the request window that survives the process.

The service remembers the last ten seconds of our requests even if we are killed. So each request
is recorded in a small file, by one write that returns before the request is sent: the record
survives a `kill -9`. (The file is not mapped into memory: on some kinds of full disk, writing to a
mapped page kills the process.) Times are those of the monotonic clock, which continues from process
to process until the machine is restarted, whatever happens to its date; the file says during which
boot of the machine it was written.

A file in which a request is missing is worse than none, because it would be trusted. So the file
says since when it is complete, and it is emptied when a request cannot be recorded.
"""

import logging
import math
import os
import struct
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from exporter.budget.sliding_window import EarlierRequest, WindowMemory
from exporter.files.storage import open_ours, renew_ours

log = logging.getLogger(__name__)

_MAGIC: Final = b"ccxwin03"
_HEADER: Final = struct.Struct("<8s16sQddd")
"""Magic bytes, id of the machine's boot, number of records, time from which no record is missing,
end of the cooldown, and the share left at that time."""
_REFUSAL: Final = struct.Struct("<dd")
_RECORD: Final = struct.Struct("<dd")
"""When a request was sent, and when its answer began (NaN: it has not begun)."""
_MOMENT: Final = struct.Struct("<d")
_NO_RECORD: Final = _RECORD.pack(-math.inf, -math.inf)

_MOST_BYTES: Final = 1 << 23
"""The largest valid size of the file in bytes."""

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


class RequestJournal:
    """The journal of one address' request window. Nothing is recorded before `begin`.

    If a record cannot be written, that is logged once, and the exporter continues: the next start
    does not know the earlier requests, and sends fewer at first.

    Args:
        path: the file; created if it does not exist. Other content is overwritten.
        boot: sixteen bytes that identify the machine's present boot.
    """

    def __init__(self, path: Path, boot: bytes) -> None:
        self._path = path
        self._boot = boot
        self._file: int | None = None
        self._closing: weakref.finalize[[int], RequestJournal] | None = None
        self._is_logged = False
        self._records = 0
        self._next = 0
        # Record numbers of running requests. Many younger requests may be sent and answered before
        # a slow one is answered, and must not reuse its record.
        self._under_way: set[int] = set()
        self._closed_until, self._share = -math.inf, math.inf
        self.memory: Final = self._read()
        """The requests of earlier processes; None if the file has no complete record of them."""

    @classmethod
    def on_this_machine(cls, path: Path) -> Self:
        """Open the file for the machine's present boot."""
        try:
            boot = bytes.fromhex(_BOOT_ID.read_text("ascii").strip().replace("-", ""))
        except (OSError, ValueError):
            # Without a boot id (not Linux), a restart of the machine shows itself by recorded times
            # in the future. If there are none, old requests only seem more recent than they are,
            # which is harmless.
            boot = bytes(16)
        return cls(path, boot)

    def begin(self, memory: WindowMemory, records: int) -> bool:
        """Start recording, continuing from this memory.

        Args:
            memory: the requests that the process knows.
            records: how many requests are remembered; the oldest are replaced.

        Returns:
            Whether the file could be written. If not, an earlier process may have had the same
            problem, and what was read must not be trusted.
        """
        kept = sorted(memory.requests, key=lambda each: each.sent)[-records:]
        self._records, self._next = records, len(kept)
        self._closed_until, self._share = memory.closed_until, memory.share
        packed = [
            _RECORD.pack(each.sent, math.nan if each.answered is None else each.answered)
            for each in kept
        ]
        try:
            self._lay_out(b"".join(packed), memory.since)
        except OSError as error:
            self._lose(error)
            return False
        return True

    def grow(self, records: int) -> None:
        """Remember at least so many requests from now on."""
        if records <= self._records:
            return
        before, self._records = self._records, records
        # New requests get new records, and existing records keep their numbers.
        self._next = before
        if self._file is None:
            return
        try:
            content = os.pread(self._file, _MOST_BYTES, 0)
            if len(content) != _place(before):
                raise OSError(None, "somebody has changed it")  # noqa: TRY301 - as bad as any
            since = _HEADER.unpack_from(content)[3]
            self._lay_out(content[_HEADER.size :], since)
        except OSError as error:
            self._lose(error)

    def refused(self, closed_until: float, share: float) -> None:
        """Record a cooldown, and the share after its end."""
        self._closed_until, self._share = closed_until, share
        self._write(_REFUSAL.pack(closed_until, share), _HEADER.size - _REFUSAL.size)

    def sent(self, moment: float) -> int:
        """Record that a request is about to be sent; return the number of its record."""
        if self._file is None:
            # Requests that were sent meanwhile are missing.
            with suppress(OSError):
                self._lay_out(b"", moment)
        while (number := self._next % self._records) in self._under_way:
            self._next += 1
        self._next += 1
        self._under_way.add(number)
        self._write(_RECORD.pack(moment, math.nan), _place(number))
        return number

    def answered(self, number: int, moment: float) -> None:
        """Record that its answer has begun, or that it was never sent (minus infinity)."""
        self._under_way.discard(number)
        self._write(_MOMENT.pack(moment), _place(number) + _MOMENT.size)

    def _write(self, data: bytes, place: int) -> None:
        if self._file is None:
            return
        try:
            _write_all(self._file, data, place)
        except OSError as error:
            self._lose(error)

    def _lose(self, error: OSError) -> None:
        """Empty the file, because a record will be missing.

        An incomplete file is worse than an empty one.
        """
        with suppress(OSError):
            handle = open_ours(self._path, os.O_WRONLY | os.O_TRUNC)
            os.close(handle)
        self._use(None)
        if not self._is_logged:
            log.warning(
                "cannot save the request journal: the next start begins with fewer requests",
                extra={"file": str(self._path), "reason": error.strerror},
            )
        self._is_logged = True

    def _use(self, file: int | None) -> None:
        if self._closing is not None:
            self._closing()
        self._file = file
        self._closing = None if file is None else weakref.finalize(self, os.close, file)

    def _lay_out(self, records: bytes, since: float) -> None:
        """Replace the whole file atomically: a kill leaves either the old or the new one.

        Raises:
            OSError: it cannot be created or written, and the old file stays.
        """
        header = _HEADER.pack(
            _MAGIC, self._boot, self._records, since, self._closed_until, self._share
        )
        missing = self._records - len(records) // _RECORD.size
        content = header + records + missing * _NO_RECORD
        path = self._path.with_name(f"{self._path.name}.new")
        file = renew_ours(path)
        try:
            _write_all(file, content, 0)
            path.replace(self._path)
        except OSError:
            os.close(file)
            with suppress(OSError):
                path.unlink()
            raise
        self._use(file)

    def _read(self) -> WindowMemory | None:
        try:
            file = open_ours(self._path, os.O_RDONLY)
            try:
                content = os.pread(file, _MOST_BYTES, 0)
            finally:
                os.close(file)
        except OSError:
            return None
        return _memory_in(content, self._boot)


def _write_all(file: int, data: bytes, place: int) -> None:
    if os.pwrite(file, data, place) != len(data):
        raise OSError(None, "it could be written in part only")


def _place(number: int) -> int:
    return _HEADER.size + number * _RECORD.size


def _memory_in(content: bytes, boot: bytes) -> WindowMemory | None:
    """Read such a file's content; None if it is not ours, from another boot, or incomplete."""
    if len(content) < _HEADER.size:
        return None
    magic, its_boot, records, since, closed_until, share = _HEADER.unpack_from(content)
    if (magic, its_boot) != (_MAGIC, boot) or len(content) != _place(records):
        return None
    noted = [r for r in _RECORD.iter_unpack(content[_HEADER.size :]) if r[0] != -math.inf]
    requests = tuple(
        EarlierRequest(sent, None if math.isnan(answered) else answered)
        for sent, answered in sorted(noted)
    )
    if requests and len(requests) == records:
        # Older records were overwritten.
        since = max(since, requests[0].sent)
    return WindowMemory(requests, since, closed_until, share)
