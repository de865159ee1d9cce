"""What of the request window outlives the process.

The service remembers the last ten seconds of our requests even if we are killed. So each request
is noted in a small file, by one write that the system has taken before the request is sent: it is
there after a `kill -9`. (Not mapped into memory: on a full disk of some kinds, touching a mapped
page kills the process.) Times are those of the monotonic clock, which goes on from process to
process until the machine is restarted; the file says in which life of the machine it was written.
"""

import logging
import math
import os
import struct
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

log = logging.getLogger(__name__)

_MAGIC: Final = b"ccxwin02"
_HEADER: Final = struct.Struct("<8s16sdd")
"""Magic, the machine's boot, the end of the cooldown, and the share that was left by then."""
_REFUSAL: Final = struct.Struct("<dd")
_RECORD: Final = struct.Struct("<dd")
"""When a request was sent, and when its answer began (not a number: it has not)."""
_MOMENT: Final = struct.Struct("<d")

_MOST_BYTES: Final = 1 << 20
"""No file of ours is larger."""

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class EarlierRequest:
    """A request of an earlier process; times in seconds of the monotonic clock."""

    sent: float
    answered: float | None
    """None: it was under way when that process ended."""


class WindowFile:
    """The file of one address' window.

    Where a note cannot be written later on, that is said once, and the exporter goes on: the
    worst is a refusal after a restart.

    Args:
        path: made if it is not there; whatever else it held is overwritten.
        records: how many requests it holds; the oldest give way.
        boot: sixteen bytes that tell this life of the machine from others.

    Raises:
        OSError: the file cannot be made, read or written.
    """

    def __init__(self, path: Path, records: int, boot: bytes) -> None:
        self._path = path
        self._records = records
        self._failed = False
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        weakref.finalize(self, os.close, self._file)
        content = os.pread(self._file, _MOST_BYTES, 0)
        closed_until, share = _refusal(content, boot)
        self.closed_until: Final = closed_until
        """End of the cooldown of the earlier process; minus infinity when there was none."""
        self.share: Final = share
        """Requests a period that the earlier process allowed itself then; infinity when no
        refusal had made it less."""
        self._earlier: Final = _requests(content, boot)[-records:]
        if len(content) != _place(records) or not _is_ours(content, boot):
            self._rewrite(boot)
            self._next = len(self._earlier)
        else:
            # Go on behind the youngest: what gives way must be the oldest, whoever wrote it.
            self._next = 1 + max(
                range(records),
                key=lambda number: _RECORD.unpack_from(content, _place(number))[0],
            )

    @classmethod
    def on_this_machine(cls, path: Path, records: int) -> Self:
        """The file, for this life of the machine."""
        try:
            boot = bytes.fromhex(_BOOT_ID.read_text("ascii").strip().replace("-", ""))
        except (OSError, ValueError):
            # Elsewhere than on Linux a restart of the machine shows in times that lie ahead.
            boot = bytes(16)
        return cls(path, records, boot)

    def earlier(self) -> list[EarlierRequest]:
        """The requests of the earlier process, the oldest first."""
        return list(self._earlier)

    def refused(self, closed_until: float, share: float) -> None:
        """Note a cooldown, and the share from its end on."""
        self._write(_REFUSAL.pack(closed_until, share), _HEADER.size - _REFUSAL.size)

    def sent(self, moment: float) -> int:
        """Note that a request is about to be sent; the number of its record."""
        number, self._next = self._next % self._records, self._next + 1
        self._write(_RECORD.pack(moment, math.nan), _place(number))
        return number

    def answered(self, number: int, moment: float) -> None:
        """Note that its answer has begun, or that it was never sent (minus infinity)."""
        self._write(_MOMENT.pack(moment), _place(number) + _MOMENT.size)

    def _write(self, data: bytes, place: int) -> None:
        try:
            os.pwrite(self._file, data, place)
        except OSError as error:
            if not self._failed:
                log.warning(
                    "requests cannot be remembered over a restart",
                    extra={"file": str(self._path), "reason": error.strerror},
                )
            self._failed = True

    def _rewrite(self, boot: bytes) -> None:
        """Lay the file out for this many records, with those that it had."""
        records = [
            _RECORD.pack(e.sent, math.nan if e.answered is None else e.answered)
            for e in self._earlier
        ]
        records += [_RECORD.pack(-math.inf, -math.inf)] * (self._records - len(records))
        content = _HEADER.pack(_MAGIC, boot, self.closed_until, self.share) + b"".join(records)
        if os.pwrite(self._file, content, 0) != len(content):
            raise OSError(None, "it could be written in part only")
        os.ftruncate(self._file, len(content))


def _place(number: int) -> int:
    return _HEADER.size + number * _RECORD.size


def _is_ours(content: bytes, boot: bytes) -> bool:
    return len(content) >= _HEADER.size and _HEADER.unpack_from(content)[:2] == (_MAGIC, boot)


def _refusal(content: bytes, boot: bytes) -> tuple[float, float]:
    if not _is_ours(content, boot):
        return -math.inf, math.inf
    _, _, until, share = _HEADER.unpack_from(content)
    return until, share


def _requests(content: bytes, boot: bytes) -> list[EarlierRequest]:
    """What is in the file, the oldest first: the limit may have been another then."""
    if not _is_ours(content, boot):
        return []
    whole = (len(content) - _HEADER.size) // _RECORD.size
    found = [_RECORD.unpack_from(content, _place(number)) for number in range(whole)]
    return [
        EarlierRequest(sent, None if math.isnan(answered) else answered)
        for sent, answered in sorted(record for record in found if record[0] > -math.inf)
    ]
