"""The witness file beside the ledger: it records that there is a ledger, and how far it had got.

A missing file, or an older one, looks correct in itself. So the lock file records which ledger is
in the folder and how many transactions it has taken. It is written after each transaction, by one
write that returns only when the system has it: the record survives a `kill -9`. After a power cut
only what was synced can be expected of the file. If there is no valid record, that is reported,
and an exporter that starts records the ledger that is there.
"""

import fcntl
import os
import struct
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from zlib import crc32

from exporter.files.storage import make_ours, open_ours

LOCK_NAME: Final = "ledger.lock"

_BEGINNING: Final = b"No ledger was begun here yet.\n"
_MAGIC: Final = b"ccledg01"
_RECORD: Final = struct.Struct("<8s16s16sQQ")
"""Magic bytes, id of the ledger, id of the machine's boot, number of transactions, and how many of
them were synced."""
_CHECK: Final = struct.Struct("<I")
_MOST_BYTES: Final = 4096

_OLDER: Final = (
    "the ledger is older than expected: later outcomes are counted again only if the list still "
    "shows them"
)
_UNKNOWN: Final = "there is no record of the ledger: whether it is complete cannot be checked"

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_UNKNOWN_BOOT: Final = bytes(16)
"""Used where there is no boot id (not Linux): then every start is treated as one after a power
cut."""


@dataclass(frozen=True, slots=True)
class LastNote:
    """The last record in the file."""

    ledger: str
    boot: bytes
    commits: int
    synced: int

    def contradicts(self, ledger: str, commits: int, boot: bytes) -> str | None:
        """What is wrong with a file that has this ledger id and this many transactions.

        None: nothing.
        """
        if ledger != self.ledger:
            return "it is another ledger than the one that was here"
        # A power cut may have removed any transaction that was not synced.
        is_same_boot = boot == self.boot != _UNKNOWN_BOOT
        missing = (self.commits if is_same_boot else self.synced) - commits
        return f"it lacks the last {missing} transactions" if missing > 0 else None

    def packed(self) -> bytes:
        """The record as bytes."""
        record = _RECORD.pack(
            _MAGIC, bytes.fromhex(self.ledger), self.boot, self.commits, self.synced
        )
        return record + _CHECK.pack(crc32(record))

    @classmethod
    def unpacked(cls, content: bytes) -> "LastNote | None":
        """A record from its bytes; None: it is missing or damaged."""
        if len(content) != _RECORD.size + _CHECK.size:
            return None
        record, check = content[: _RECORD.size], content[_RECORD.size :]
        if _CHECK.unpack(check) != (crc32(record),):
            return None
        magic, ledger, boot, commits, synced = _RECORD.unpack(record)
        return cls(ledger.hex(), boot, commits, synced) if magic == _MAGIC else None


@dataclass(frozen=True, slots=True)
class Finding:
    """What the record shows of a ledger, or why it cannot show anything."""

    message: str
    reason: str
    is_contradiction: bool = False
    """Whether the record shows that this is not the ledger as it was left."""
    is_fault: bool = True
    """No fault is a ledger without a record that is alone in the folder: a copy of it was put
    there."""


class Witness:
    """The lock file: held by one process at a time.

    Args:
        folder: where the ledger is.
        ledger_name: the name of the ledger's file.

    Raises:
        OSError: it cannot be opened or read. BlockingIOError, a subclass: another process holds it.
    """

    def __init__(self, folder: Path, ledger_name: str) -> None:
        self._path = folder / LOCK_NAME
        self._boot = _boot()
        try:
            self._handle = make_ours(self._path)
            self._is_fresh = True
        except FileExistsError:
            self._handle = open_ours(self._path, os.O_RDWR)
            self._is_fresh = False
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            content = os.pread(self._handle, _MOST_BYTES, 0)
            # Once the ledger is open, its log is there as well.
            traces = _traces(folder, ledger_name)
        except BaseException:
            os.close(self._handle)
            raise
        if self._is_fresh and not content:
            # If the process ends before a ledger is in place, the next start is still a first one.
            content = _BEGINNING
            with suppress(OSError):
                os.pwrite(self._handle, content, 0)
        self._was_begun = content != _BEGINNING
        self._last = LastNote.unpacked(content)
        self._size = len(content)
        self.earlier_life: Final = LOCK_NAME if self._was_begun else traces
        """The file that shows that there was a ledger in this folder; None: this is a first start,
        or a copy of a ledger was put into an empty folder."""

    @property
    def has_record(self) -> bool:
        """Whether it is known which ledger belongs here."""
        return self._last is not None

    def finding(self, ledger: str, commits: int) -> Finding | None:
        """What to report about a file that has this ledger id and this many transactions.

        None: nothing.
        """
        if self._last is not None:
            reason = self._last.contradicts(ledger, commits, self._boot)
            return None if reason is None else Finding(_OLDER, reason, is_contradiction=True)
        if self._was_begun:
            return Finding(_UNKNOWN, f"{LOCK_NAME} is damaged")
        if not self._is_fresh and not commits:
            # The first start was killed before it could record its ledger.
            return None
        reason = f"{LOCK_NAME} " + ("is missing" if self._is_fresh else "says that none was begun")
        if self.earlier_life is None:
            return Finding(_UNKNOWN, reason, is_fault=False)
        return Finding(_UNKNOWN, f"{reason}, and {self.earlier_life} is there")

    def note(self, ledger: str, commits: int, *, synced: bool = False) -> None:
        """Record that this ledger is in place, with this many transactions.

        Args:
            ledger: its id.
            commits: how many transactions it has taken.
            synced: whether all of them are safe against a power cut.
        """
        known = self._last
        if synced:
            until = commits
        elif known is not None and known.ledger == ledger:
            until = min(known.synced, commits)
        else:
            until = 0
        self._last = LastNote(ledger, self._boot, commits, until)
        packed = self._last.packed()
        # If it cannot be written, the next start can only verify less of the file.
        with suppress(OSError):
            os.pwrite(self._handle, packed, 0)
            if self._size != len(packed):
                os.ftruncate(self._handle, len(packed))
                self._size = len(packed)

    def close(self) -> None:
        """Unlock the folder; remove the file if no ledger was created."""
        if not self._was_begun and self._last is None:
            with suppress(OSError):
                self._path.unlink()
        os.close(self._handle)


def _traces(folder: Path, ledger_name: str) -> str | None:
    """A file that a ledger in this folder has left, other than itself and its record.

    Files of other programs, such as `lost+found`, do not matter.
    """
    return min(
        (
            name
            for name in (path.name for path in folder.iterdir())
            if name.startswith((f"{ledger_name}-", f"{ledger_name}.damaged-"))
            or (name.startswith("requests-") and name.endswith(".window"))
        ),
        default=None,
    )


def _boot() -> bytes:
    """Sixteen bytes that identify the machine's present boot."""
    try:
        boot = bytes.fromhex(_BOOT_ID.read_text("ascii").strip().replace("-", ""))
    except (OSError, ValueError):
        return _UNKNOWN_BOOT
    return boot if len(boot) == len(_UNKNOWN_BOOT) else _UNKNOWN_BOOT
