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
"""Magic, the machine's boot, how many records there are, the moment from which on none is missing,
the end of the cooldown, and the share that was left by then."""
_REFUSAL: Final = struct.Struct("<dd")
_RECORD: Final = struct.Struct("<dd")
"""When a request was sent, and when its answer began (not a number: it has not)."""
_MOMENT: Final = struct.Struct("<d")
_NO_RECORD: Final = _RECORD.pack(-math.inf, -math.inf)

_MOST_BYTES: Final = 1 << 23
"""No file of ours is larger."""

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


class RequestJournal:
    """The file of one address' window. Nothing is noted before `begin`.

    Where a note cannot be written, that is said once, and the exporter goes on: the next start
    knows nothing of what was asked before, and asks less at first.

    Args:
        path: made if it is not there; whatever else it held is overwritten.
        boot: sixteen bytes that tell this life of the machine from others.
    """

    def __init__(self, path: Path, boot: bytes) -> None:
        self._path = path
        self._boot = boot
        self._file: int | None = None
        self._closing: weakref.finalize[[int], RequestJournal] | None = None
        self._is_told = False
        self._records = 0
        self._next = 0
        # Numbers of requests that are under way. Many younger ones may come and go before a slow
        # one is answered, and must not take its record.
        self._under_way: set[int] = set()
        self._closed_until, self._share = -math.inf, math.inf
        self.memory: Final = self._read()
        """What earlier processes left; None where there is nothing that can be read whole."""

    @classmethod
    def on_this_machine(cls, path: Path) -> Self:
        """The file, for this life of the machine."""
        try:
            boot = bytes.fromhex(_BOOT_ID.read_text("ascii").strip().replace("-", ""))
        except (OSError, ValueError):
            # Elsewhere than on Linux a restart of the machine shows in times that lie ahead. Where
            # it does not, what they tell of only seems younger than it is.
            boot = bytes(16)
        return cls(path, boot)

    def begin(self, memory: WindowMemory, records: int) -> bool:
        """Go on from this memory.

        Args:
            memory: what the process goes on with.
            records: how many requests are remembered; the oldest give way.

        Returns:
            Whether it could be written. Where it cannot, an earlier process may have had the same
            trouble, and what was read is not to be believed.
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
        """From now on remember so many requests at least."""
        if records <= self._records:
            return
        before, self._records = self._records, records
        # Those that come next get new records, and nobody's record changes its number.
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
        """Note a cooldown, and the share from its end on."""
        self._closed_until, self._share = closed_until, share
        self._write(_REFUSAL.pack(closed_until, share), _HEADER.size - _REFUSAL.size)

    def sent(self, moment: float) -> int:
        """Note that a request is about to be sent; the number of its record."""
        if self._file is None:
            # Requests that were sent in the meantime are missing.
            with suppress(OSError):
                self._lay_out(b"", moment)
        while (number := self._next % self._records) in self._under_way:
            self._next += 1
        self._next += 1
        self._under_way.add(number)
        self._write(_RECORD.pack(moment, math.nan), _place(number))
        return number

    def answered(self, number: int, moment: float) -> None:
        """Note that its answer has begun, or that it was never sent (minus infinity)."""
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
        """Something will be missing in it: an empty file is better than an incomplete one."""
        with suppress(OSError):
            handle = open_ours(self._path, os.O_WRONLY | os.O_TRUNC)
            os.close(handle)
        self._use(None)
        if not self._is_told:
            log.warning(
                "cannot save the request journal: the next start begins with fewer requests",
                extra={"file": str(self._path), "reason": error.strerror},
            )
        self._is_told = True

    def _use(self, file: int | None) -> None:
        if self._closing is not None:
            self._closing()
        self._file = file
        self._closing = None if file is None else weakref.finalize(self, os.close, file)

    def _lay_out(self, records: bytes, since: float) -> None:
        """Write the file whole, in place of what there is: a kill leaves the one or the other.

        Raises:
            OSError: it cannot be made or written, and what there was stays.
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
    """The content of such a file; None if it is not ours, of another boot, or incomplete."""
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
        # Older ones have given way.
        since = max(since, requests[0].sent)
    return WindowMemory(requests, since, closed_until, share)
