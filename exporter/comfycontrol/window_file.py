"""What of the request window outlives the process.

The service remembers the last ten seconds of our requests even if we are killed. So each request
is noted in a small file that is mapped into memory: no system call, no wait, and what was written
is there after a `kill -9`. Times are those of the monotonic clock, which goes on from process to
process until the machine is restarted; the file says in which life of the machine it was written.
"""

import math
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

_MAGIC: Final = b"ccxwin01"
_HEADER: Final = struct.Struct("<8s16sd")
"""Magic, the machine's boot, and the end of the cooldown."""
_RECORD: Final = struct.Struct("<dd")
"""When a request was sent, and when its answer began (not a number: it has not)."""

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class EarlierRequest:
    """A request of an earlier process; times in seconds of the monotonic clock."""

    sent: float
    answered: float | None
    """None: it was under way when that process ended."""


class WindowFile:
    """The file of one address' window.

    Args:
        path: made if it is not there; whatever else it held is overwritten.
        records: how many requests it holds; the oldest give way.
        boot: sixteen bytes that tell this life of the machine from others.

    Raises:
        OSError: the file cannot be made or written.
    """

    def __init__(self, path: Path, records: int, boot: bytes) -> None:
        self._records = records
        size = _HEADER.size + records * _RECORD.size
        with path.open("a+b") as file:
            file.seek(0)
            content = file.read(size + 1)
            fresh = len(content) != size or _HEADER.unpack_from(content)[:2] != (_MAGIC, boot)
            if fresh:
                file.truncate(0)
                file.write(_HEADER.pack(_MAGIC, boot, -math.inf))
                file.write(_RECORD.pack(-math.inf, -math.inf) * records)
                file.flush()
            self._map = mmap.mmap(file.fileno(), size)
        # Go on behind the youngest: what gives way must be the oldest, whoever wrote it.
        self._next = 1 + max(
            range(records),
            key=lambda number: _RECORD.unpack_from(self._map, self._place(number))[0],
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
        """The requests that are in the file."""
        found = []
        for number in range(self._records):
            sent, answered = _RECORD.unpack_from(self._map, self._place(number))
            if sent > -math.inf:
                found.append(EarlierRequest(sent, None if math.isnan(answered) else answered))
        return found

    @property
    def closed_until(self) -> float:
        """End of the cooldown; minus infinity when there was none."""
        until: float = _HEADER.unpack_from(self._map)[2]
        return until

    def close_until(self, moment: float) -> None:
        """Note a cooldown."""
        struct.pack_into("<d", self._map, _HEADER.size - 8, moment)

    def sent(self, moment: float) -> int:
        """Note that a request is about to be sent; the number of its record."""
        number, self._next = self._next % self._records, self._next + 1
        _RECORD.pack_into(self._map, self._place(number), moment, math.nan)
        return number

    def answered(self, number: int, moment: float) -> None:
        """Note that its answer has begun, or that it was never sent (minus infinity)."""
        struct.pack_into("<d", self._map, self._place(number) + 8, moment)

    def _place(self, number: int) -> int:
        return _HEADER.size + number * _RECORD.size
