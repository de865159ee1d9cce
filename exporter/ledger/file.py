"""The ledger's file: locked, opened, migrated, set aside when damaged, and created again."""

import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Final, NoReturn

from exporter.files.storage import NotOursError, check_ours, renew_ours, unwritable
from exporter.interfaces.observations import Moment
from exporter.ledger.damage import DamagedError, code_of, is_damage, is_passing, reading
from exporter.ledger.opening import (
    OpenLedgerError,
    connect,
    examine,
    look_at_header,
    put_in_place,
)
from exporter.ledger.schema import MIGRATIONS, migrate, read_seal, write_seal
from exporter.ledger.seal import Draft, Seal
from exporter.ledger.store import StoreError, StoreLostError
from exporter.ledger.witness import LOCK_NAME, Witness

log = logging.getLogger(__name__)

FILE_NAME: Final = "ledger.sqlite3"

PROBE_NAME: Final = "writable.probe"
"""Written and removed to see whether the folder takes anything. Never the ledger itself: to close
a second handle of it would give SQLite's locks away."""

BUSY_SECONDS: Final = 2.0
"""How long another program may hold the file when we open it; from then on it is ours alone."""


_ENDINGS: Final = ("", "-wal", "-shm", "-journal")
_NAMES: Final = (LOCK_NAME, *(FILE_NAME + ending for ending in _ENDINGS))


class LedgerInUseError(Exception):
    """Another process has this ledger open. The text is one line for a person."""


class _GoneError(Exception):
    """The file is not there any more, or another one is in its place."""


class LedgerFile:
    """An SQLite file in WAL mode in a folder of its own, for one process at a time.

    A file that turns out to be damaged is set aside under a new name, and a fresh one begun.
    While that cannot be done, or the disk fails, every call raises StoreError and tries again
    the next time.

    Args:
        folder: made if it is not there.
        now: both clocks.
        on_undone: called when the file was opened, or a transaction rolled back: what was read
            or written before may be there no more.

    Raises:
        LedgerInUseError: another process has it open.
        OpenLedgerError: the folder cannot be made, read or written, or a newer version of the
            exporter wrote it.
    """

    def __init__(
        self, folder: Path, now: Callable[[], Moment], on_undone: Callable[[], None]
    ) -> None:
        self.path: Final = folder / FILE_NAME
        self.losses = 0
        """How many files were set aside, or found gone."""
        self.doubt: str | None = None
        """What speaks against the file that was there at the start, though it can be read: then
        nothing in it is believed that does not prove itself."""
        self.is_new = False
        """Whether the open file was begun by this process."""
        self.seal: Seal | None = None
        """What the open file says of itself; None: it does not, or not credibly."""
        self._folder = folder
        self._now = now
        self._on_undone = on_undone
        self._database: sqlite3.Connection | None = None
        self._inode: tuple[int, int] | None = None
        # What was kept is gone, and the fresh file could not be begun yet; whether the old one
        # is out of its way.
        self._is_lost = False
        self._is_aside = False
        self._is_closed = False
        # The last call failed: the connection may never work again, or not be to blame.
        self._is_suspect = False
        self._is_synced = True
        # Some file systems may not allow one: then each transaction waits for the disk separately.
        self._has_log = True
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._witness = Witness(folder)
        except BlockingIOError as error:
            raise LedgerInUseError(
                f"another exporter has the ledger in {folder} open; give each its own "
                "--storage.path"
            ) from error
        except FileExistsError as error:
            raise OpenLedgerError(f"cannot use {folder}: it is not a folder") from error
        except OSError as error:
            raise self._unusable(error) from error
        try:
            self._open_first()
        except BaseException:
            self._witness.close()
            raise

    @property
    def is_lost(self) -> bool:
        """What was kept is gone, and the fresh file could not be begun yet."""
        return self._is_lost and not self._is_closed

    # Calls ------------------------------------------------------------------------------------

    @contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """The database, for one call; every failure comes out as one of the store's."""
        database = self._ready()
        try:
            yield database
        except sqlite3.Error as error:
            if is_damage(error):
                self.lose(str(error))
            if not is_passing(error):
                self._is_suspect = True
            raise StoreError(str(error)) from error
        except UnicodeDecodeError:
            # SQLite quotes a schema that is no text.
            self.lose("its schema is damaged")
        except (DamagedError, _GoneError) as error:
            self.lose(str(error))
        except OSError as error:
            raise StoreError(error.strerror or type(error).__name__) from error

    @contextmanager
    def transaction(self) -> Iterator[tuple[sqlite3.Connection, Draft]]:
        """The database, for a transaction: all that is done with it is kept, or nothing.

        The one who writes a row tells the draft of the next seal, which is kept with it.
        """
        with self.connection() as database:
            self._check_place()
            if self.seal is None:
                raise DamagedError(self.doubt or "it has no seal")
            database.execute("BEGIN IMMEDIATE")
            try:
                draft = Draft(self.seal)
                yield database, draft
                sealed = draft.sealed()
                if sealed is not self.seal:
                    write_seal(database, sealed, before=self.seal)
                database.execute("COMMIT")
            except BaseException:
                self._roll_back(database)
                raise
            self.seal = sealed
            self._witness.note(sealed.ledger, sealed.commits, synced=not self._has_log)
            self._is_synced = False

    def _roll_back(self, database: sqlite3.Connection) -> None:
        self._on_undone()
        # A full disk may have rolled it back already.
        if database.in_transaction:
            try:
                database.execute("ROLLBACK")
            except sqlite3.Error as error:
                log.debug("rolling back failed", extra={"reason": str(error)})
                return
        # A commit that reported a failure may still have been made.
        with suppress(sqlite3.Error, DamagedError), reading():
            self.seal = read_seal(database)

    def sync(self) -> None:
        """See to it that what was kept outlives a power cut as well."""
        if self._is_synced or not self._has_log:
            return
        with self.connection():
            # SQLite locks the other file, so closing this one gives no lock away.
            for name in (FILE_NAME + "-wal", "."):
                try:
                    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
                    handle = os.open(self._folder / name, flags)
                except FileNotFoundError as error:
                    raise _GoneError("its log was deleted") from error
                try:
                    os.fsync(handle)
                finally:
                    os.close(handle)
            if self.seal is not None:
                self._witness.note(self.seal.ledger, self.seal.commits, synced=True)
        self._is_synced = True

    def close(self) -> None:
        """Let go of the file, and of the folder. Calling it again does nothing."""
        if self._is_closed:
            return
        self._is_closed = True
        self._let_go()
        self._witness.close()

    def contradiction(self) -> str | None:
        """What speaks against the open file, which is without fault in itself."""
        if self.seal is None:
            return None
        return self._witness.contradicts(self.seal.ledger, self.seal.commits)

    # Opening, and starting over --------------------------------------------------------------

    def _open_first(self) -> None:
        try:
            try:
                self._check_first()
                self._open_file(begin=True)
            except DamagedError as error:
                self._begin_anew(str(error))
        except OSError as error:
            raise self._unusable(error) from error
        except sqlite3.Error as error:
            if (reason := unwritable(self._folder, _NAMES)) is not None:
                raise OpenLedgerError(f"cannot use the ledger: {reason}") from error
            if code_of(error) == sqlite3.SQLITE_BUSY:
                raise LedgerInUseError(f"another program has {self.path} open") from error
            raise OpenLedgerError(f"cannot open {self.path}: {error}") from error

    def _unusable(self, error: OSError) -> OpenLedgerError:
        """Why the folder cannot be used, by the file that is to blame where there is one."""
        if isinstance(error, NotOursError):
            return OpenLedgerError(f"cannot use the ledger: {error.reason}")
        if isinstance(error, PermissionError) and (reason := unwritable(self._folder, _NAMES)):
            return OpenLedgerError(f"cannot use the ledger: {reason}")
        return OpenLedgerError(f"cannot use {self._folder}: {error.strerror}")

    def _check_first(self) -> None:
        """A start is the first one if nothing shows an earlier one."""
        earlier = None if self.path.exists() else self._witness.earlier_life(FILE_NAME)
        if earlier is not None:
            raise DamagedError(f"it is not there, and {earlier} is")

    def _open_file(self, *, begin: bool) -> sqlite3.Connection:
        """Open the file; to `begin`, any that is there, or a fresh one.

        Raises:
            DamagedError: it is no ledger.
            _GoneError: it is not the one that was open before.
            OpenLedgerError: a newer version of the exporter wrote it.
            sqlite3.Error: anything else.
        """
        is_fresh = begin and not self.path.exists()
        if is_fresh:
            put_in_place(self.path, self._migrate)
            self.is_new = True
        elif not begin:
            self._check_place()
        # SQLite would follow links.
        for ending in _ENDINGS:
            check_ours(self.path.with_name(FILE_NAME + ending))
        look_at_header(self.path)
        database = connect(self.path, BUSY_SECONDS)
        try:
            with reading():
                # No other process may write, so no shared memory is needed.
                database.execute("PRAGMA locking_mode = EXCLUSIVE")
                mode = database.execute("PRAGMA journal_mode = WAL").fetchone()[0]
                # Safe against the end of the process at any moment; `sync` is for the power.
                database.execute("PRAGMA synchronous = NORMAL")
                database.execute("PRAGMA journal_size_limit = 16777216")
                # Takes the lock, and shows whether it may be written at all.
                database.execute("BEGIN IMMEDIATE")
                database.execute("ROLLBACK")
            verdict = examine(database, self.path, len(MIGRATIONS), self._migrate)
            self._inode = self._inode_now()
        except BaseException as error:
            database.close()
            if isinstance(error, sqlite3.Error) and is_damage(error):
                raise DamagedError(str(error)) from error
            raise
        if verdict.doubt is not None and not begin:
            # Memory has all of it, and needs nothing to be saved.
            database.close()
            raise DamagedError(verdict.doubt)
        self._has_log = mode == "wal"
        self.seal, self.doubt = verdict.seal, verdict.doubt
        if is_fresh and self.seal is not None:
            self._witness.note(self.seal.ledger, self.seal.commits, synced=True)
        self._on_undone()
        self._is_lost = False
        self._database = database
        return database

    def _migrate(self, database: sqlite3.Connection, taken: int) -> None:
        migrate(database, taken, MIGRATIONS)

    def _begin_anew(self, reason: str) -> sqlite3.Connection:
        """Set the file aside, if there is one, and begin a fresh one."""
        if not self._is_aside:
            aside = self._set_aside()
            log.error(
                "the ledger is damaged or missing, starting a new one: what has ended by now "
                "is not counted again",
                extra={
                    "file": str(self.path),
                    "reason": reason,
                    "set_aside": aside or "nothing was there",
                },
            )
            self._is_aside = True
            self.losses += 1
        try:
            return self._open_file(begin=True)
        except DamagedError:
            self._is_aside = False
            raise

    def _set_aside(self) -> str | None:
        """Give the file another name; which, or None where there is none."""
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(self._now().wall))
        aside = f"{FILE_NAME}.damaged-{stamp}"
        for number in count(2):
            if not (self._folder / aside).exists():
                break
            aside = f"{FILE_NAME}.damaged-{stamp}-{number}"
        found = self.path.exists()
        # Renamed before it is closed: closing would write to it, and take its log away. The log
        # first: one that is left behind must never meet a fresh file.
        for ending in ("-wal", ""):
            path = self.path.with_name(FILE_NAME + ending)
            if path.exists():
                path.rename(path.with_name(aside + ending))
        self._let_go()
        return aside if found else None

    def _let_go(self) -> None:
        if self._database is None:
            return
        database, self._database = self._database, None
        self._is_suspect = False
        try:
            database.close()
        except sqlite3.Error as error:
            log.debug(
                "closing the ledger failed", extra={"file": str(self.path), "reason": str(error)}
            )

    def _ready(self) -> sqlite3.Connection:
        """The open file; opened again where a failure has closed it."""
        if self._is_closed:
            raise StoreError("the ledger is closed")
        if self._database is not None and self._is_suspect and self._may_be_opened_again():
            self._let_go()
        if self._database is not None:
            return self._database
        try:
            if self._is_lost:
                return self._begin_anew("nothing could be put in its place before")
            return self._open_file(begin=False)
        except (_GoneError, DamagedError) as error:
            self.lose(str(error))
        except (OSError, sqlite3.Error, OpenLedgerError) as error:
            raise StoreError(f"cannot open it again: {error}") from error

    def _may_be_opened_again(self) -> bool:
        """Whether there is anything to win by it.

        A connection on a disk that was away may never work again, so a new one is tried. Not
        while nothing can be written: then none could be opened, and this one still reads, which
        tells the workflows that are new from those that were counted long ago.
        """
        if self._database is not None and self._database.in_transaction:
            return True
        probe = self._folder / PROBE_NAME
        try:
            os.close(renew_ours(probe))
            probe.unlink()
        except OSError:
            return False
        return True

    def _inode_now(self) -> tuple[int, int]:
        status = self.path.lstat()
        return status.st_dev, status.st_ino

    def _check_place(self) -> None:
        """A file that was deleted can still be written, and nobody would ever read it.

        Raises:
            _GoneError: it is not the one that was open before.
            OSError: that cannot be determined.
        """
        try:
            inode = self._inode_now()
        except FileNotFoundError as error:
            raise _GoneError("it was deleted") from error
        if inode != self._inode:
            raise _GoneError("another file is in its place")

    def lose(self, reason: str) -> NoReturn:
        """What was kept is gone: start over, now or as soon as it can be done."""
        self._is_lost = True
        self._is_aside = False
        try:
            self._begin_anew(reason)
        except (OSError, sqlite3.Error, DamagedError, OpenLedgerError) as error:
            self._let_go()
            log.error(  # noqa: TRY400 - it is not about where in the code
                "could not create a new ledger yet",
                extra={"file": str(self.path), "reason": str(error)},
            )
        raise StoreLostError(reason)
