"""The disk of a run: a real folder, in which SQLite works, and which fails as it is told.

A killed process leaves what the system has taken. A commit can be cut in the middle: of its frames
in the log a part is there, and of the last one a part of its bytes. A power cut leaves of what was
not synced any frames that the seed draws; the others hold zeros, or are not there.
"""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from tests.simulation.scheduler import world

if TYPE_CHECKING:
    from pathlib import Path
    from random import Random

_LOG: Final = "ledger.sqlite3-wal"
_HEADER: Final = 32
_FRAME: Final = 4096 + 24

_ERRORS: Final = {
    "full": (sqlite3.SQLITE_FULL, "database or disk is full", errno.ENOSPC),
    "read-only": (sqlite3.SQLITE_READONLY, "attempt to write a readonly database", errno.EROFS),
    "failing": (sqlite3.SQLITE_IOERR, "disk I/O error", errno.EIO),
}
_WRITES: Final = ("INSERT", "UPDATE", "DELETE", "REPLACE", "COMMIT", "BEGIN IMMEDIATE", "CREATE")


class Disk:
    """Where the exporter of this run keeps what it keeps."""

    def __init__(
        self, folder: Path, random: Random, *, loses_power: bool, has_boot_id: bool = True
    ) -> None:
        self._root = folder
        self._random = random
        self._number = 0
        self.folder = folder / "0"
        self.folder.mkdir(parents=True)
        self._has_boot_id = has_boot_id
        self.boot = folder / "boot_id"
        self.restart_machine()
        self.fault: str | None = None
        self.dies_in_commit: int | None = None
        """In so many commits from now the process dies."""
        self.commits = 0
        self.lost_a_note = False
        """Something could not be written, so that the next start may know less."""
        self._loses_power = loses_power
        """Whether a power cut will come: else nobody will ask what was synced."""
        self._has_changed = True
        """Whether SQLite did anything since the log was last read."""
        self._read_as: tuple[int, int] | None = None
        """The file and the size that the log had then."""
        self._synced = b""
        """The log, as far as no power cut can take it."""
        self._torn_log: bytes | None = None

    def restart_machine(self) -> None:
        """From now on the system's boot is another one."""
        text = f"{self._random.getrandbits(128):032x}"
        if not self._has_boot_id:
            return  # as where the system has none
        self.boot.write_text(
            f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}\n", "ascii"
        )

    # What the exporter does with it -----------------------------------------------------------

    def may_write(self) -> None:
        """See whether the disk takes anything.

        Raises:
            OSError: it does not.
        """
        if self.fault is not None:
            self.lost_a_note = True
            _, text, number = _ERRORS[self.fault]
            raise OSError(number, text)

    def execute(self, database: sqlite3.Connection, sql: str, run: Any) -> Any:
        """Run a statement, or fail as the disk does."""
        here = world()
        is_commit = sql.startswith("COMMIT")
        if sql.startswith(_WRITES):
            here.give_way()
            if self.fault is not None:
                code, text, _ = _ERRORS[self.fault]
                error = sqlite3.OperationalError(text)
                error.sqlite_errorcode = code
                raise error
        self._has_changed = True
        if is_commit:
            self.commits += 1
            if self.dies_in_commit is not None:
                self.dies_in_commit -= 1
                if self.dies_in_commit < 0 and here.current is not None:
                    self.dies_in_commit = None
                    self._die_in(run)
        return run()

    def _die_in(self, run: Any) -> None:
        where = self._random.random()
        before = self._log()
        if where > 0.2:
            run()
            after = self._log()
            if where < 0.8 and len(after) > len(before) and after.startswith(before):
                self._torn_log = after[: self._random.randint(len(before), len(after))]
        world().die_here()

    def fsync(self, handle: int) -> None:
        """What is written to a file is safe from now on; a folder's names are never in danger."""
        world().give_way()
        if self.fault == "failing":
            raise OSError(errno.EIO, "disk I/O error")
        if self._loses_power:
            self._note_synced()

    def touched(self) -> None:
        """SQLite does something that is no single statement."""
        self._has_changed = True

    def _note_synced(self) -> None:
        """What the log holds now is synced."""
        read_as = None
        with suppress(FileNotFoundError):
            status = (self.folder / _LOG).stat()
            read_as = status.st_ino, status.st_size
        if self._has_changed or read_as != self._read_as:
            # Most files that are synced are others, and reading the log takes long.
            self._synced, self._has_changed, self._read_as = self._log(), False, read_as

    def _log(self) -> bytes:
        path = self.folder / _LOG
        return path.read_bytes() if path.exists() else b""

    # What is left of it -----------------------------------------------------------------------

    def after_kill(self, *, power_cut: bool) -> None:
        """Go on with what the end of the process, or of the power, has left."""
        old = self.folder
        self.lost_a_note = False
        self._number += 1
        # A copy: the dead process cannot close its files, and SQLite would still see them open.
        self.folder = self._root / str(self._number)
        shutil.copytree(old, self.folder)
        torn, self._torn_log = self._torn_log, None
        if power_cut:
            self.restart_machine()
            torn = self._after_power_cut(self._log())
        if torn is not None:
            (self.folder / _LOG).write_bytes(torn)
        self._note_synced()

    def _after_power_cut(self, log: bytes) -> bytes:
        synced = self._synced
        # Frames of a log that began again stand where older ones stood, so what was synced is as
        # far as the two agree. SQLite itself syncs the head of a log, and all of it before that
        # goes into the file.
        safe = min(len(log), _HEADER)
        while safe < len(log) and log[safe : safe + _FRAME] == synced[safe : safe + _FRAME]:
            safe += _FRAME
        kept = bytearray(log[:safe])
        for begin in range(safe, len(log), _FRAME):
            frame = log[begin : begin + _FRAME]
            fate = self._random.random()
            if fate < 0.3:
                break
            kept += frame if fate < 0.8 else bytes(len(frame))
        return bytes(kept)


class _Connection(sqlite3.Connection):
    """A connection to the disk of this run."""

    def execute(self, sql: str, *parameters: Any) -> Any:
        run = lambda: super(_Connection, self).execute(sql, *parameters)  # noqa: E731
        return DISK.execute(self, sql, run)

    def executemany(self, sql: str, *parameters: Any) -> Any:
        run = lambda: super(_Connection, self).executemany(sql, *parameters)  # noqa: E731
        return DISK.execute(self, sql, run)

    def executescript(self, sql_script: str) -> sqlite3.Cursor:
        DISK.touched()
        return super().executescript(sql_script)

    def close(self) -> None:
        DISK.touched()
        super().close()


DISK: Disk = None  # type: ignore[assignment]


def begin(disk: Disk) -> None:
    """From now on this is the disk."""
    global DISK  # noqa: PLW0603 - connections find their disk by it
    DISK = disk


def connect(path: Any, **options: Any) -> sqlite3.Connection:
    """In the place of `sqlite3.connect`."""
    return sqlite3.connect(path, factory=_Connection, **options)


def fsync(handle: int) -> None:
    DISK.fsync(handle)


def pwrite(handle: int, data: bytes, place: int) -> int:
    DISK.may_write()
    return os.pwrite(handle, data, place)


def open_(path: Any, flags: int, *more: Any) -> int:
    if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        DISK.may_write()
    return os.open(path, flags, *more)
