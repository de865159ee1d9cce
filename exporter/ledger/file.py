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
from exporter.ledger.witness import LOCK_NAME, Finding, Witness

log = logging.getLogger(__name__)

FILE_NAME: Final = "ledger.sqlite3"

PROBE_NAME: Final = "writable.probe"
"""This file is written and removed to test whether the folder is writable. The ledger itself is
never used for this test: closing a second handle of it would release SQLite's locks."""

BUSY_SECONDS: Final = 2.0
"""Seconds to wait for another program that holds the file while we open it. Once the file is open,
only this process can use it."""


_ENDINGS: Final = ("", "-wal", "-shm", "-journal")
_NAMES: Final = (LOCK_NAME, *(FILE_NAME + ending for ending in _ENDINGS))


class LedgerInUseError(Exception):
    """Another process has this ledger open. The text is one line for a person."""


class _GoneError(Exception):
    """The file no longer exists, or another file has replaced it."""


class LedgerFile:
    """An SQLite file in WAL mode in a folder of its own, for one process at a time.

    A file that turns out to be damaged is renamed, and a new one is created. As long as that is not
    possible, or the disk fails, every call raises StoreError, and the next call tries again.

    Args:
        folder: created if it does not exist.
        now: returns the time of both clocks (wall and monotonic).
        on_undone: called when the file was opened or a transaction was rolled back: data that was
            read or written before may no longer exist.

    Raises:
        LedgerInUseError: another process has it open.
        OpenLedgerError: the folder cannot be created, read or written, or a newer version of the
            exporter wrote it.
    """

    def __init__(
        self, folder: Path, now: Callable[[], Moment], on_undone: Callable[[], None]
    ) -> None:
        self.path: Final = folder / FILE_NAME
        self.losses = 0
        """How many files were renamed because of damage, or had disappeared."""
        self.doubt: str | None = None
        """Why the file that existed at the start is not trusted although it can be read. In that
        case only rows with a correct checksum are used."""
        self.is_new = False
        """Whether this process created the open file."""
        self.seal: Seal | None = None
        """The seal stored in the open file; None: it has no seal, or an invalid one."""
        self._folder = folder
        self._now = now
        self._on_undone = on_undone
        self._database: sqlite3.Connection | None = None
        self._inode: tuple[int, int] | None = None
        # Whether the stored data is lost and a new file could not be created yet, and whether the
        # old file has already been renamed.
        self._is_lost = False
        self._is_aside = False
        self._is_closed = False
        # Whether the last call failed: the connection may be broken, or the cause may be elsewhere.
        self._is_suspect = False
        self._is_synced = True
        # Some file systems do not allow a write-ahead log. Without it, each transaction waits for
        # the disk.
        self._has_log = True
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._witness = Witness(folder, FILE_NAME)
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
        """Whether the stored data is lost and a new file could not be created yet."""
        return self._is_lost and not self._is_closed

    # Calls ------------------------------------------------------------------------------------

    @contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """Give the database for one call; every failure is raised as a StoreError."""
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
            # SQLite's message quotes the schema, which is not valid text here.
            self.lose("its schema is damaged")
        except (DamagedError, _GoneError) as error:
            self.lose(str(error))
        except OSError as error:
            raise StoreError(error.strerror or type(error).__name__) from error

    @contextmanager
    def transaction(self) -> Iterator[tuple[sqlite3.Connection, Draft]]:
        """Give the database for one transaction: everything done with it is committed, or nothing.

        Code that writes a row must also note it in the draft of the next seal, which is committed
        in the same transaction.
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
        # If the disk is full, SQLite may have rolled the transaction back already.
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
        """Make stored data safe against a power cut."""
        if self._is_synced or not self._has_log:
            return
        with self.connection():
            # SQLite's locks are on the database file, so closing this file releases none of them.
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
        """Close the file and unlock the folder. Calling it again does nothing."""
        if self._is_closed:
            return
        self._is_closed = True
        self._close_database()
        self._witness.close()

    def finding(self) -> Finding | None:
        """Why it is not certain that the open file is as it was left.

        None: it is, or the file itself shows what is wrong with it.
        """
        if self.seal is None:
            return None
        return self._witness.finding(self.seal.ledger, self.seal.commits)

    def record(self) -> None:
        """If there is no record, note which file is open: later starts compare it with that."""
        if self.seal is not None and not self._witness.has_record:
            self._witness.note(self.seal.ledger, self.seal.commits)

    # Opening, and starting over --------------------------------------------------------------

    def _open_first(self) -> None:
        try:
            try:
                self._check_first()
                self._open_file(begin=True)
            except DamagedError as error:
                self._restart(str(error))
        except OSError as error:
            raise self._unusable(error) from error
        except sqlite3.Error as error:
            if (reason := unwritable(self._folder, _NAMES)) is not None:
                raise OpenLedgerError(f"cannot use the ledger: {reason}") from error
            if code_of(error) == sqlite3.SQLITE_BUSY:
                raise LedgerInUseError(f"another program has {self.path} open") from error
            raise OpenLedgerError(f"cannot open {self.path}: {error}") from error

    def _unusable(self, error: OSError) -> OpenLedgerError:
        """Say why the folder cannot be used, and name the file that caused it, if there is one."""
        if isinstance(error, NotOursError):
            return OpenLedgerError(f"cannot use the ledger: {error.reason}")
        if isinstance(error, PermissionError) and (reason := unwritable(self._folder, _NAMES)):
            return OpenLedgerError(f"cannot use the ledger: {reason}")
        return OpenLedgerError(f"cannot use {self._folder}: {error.strerror}")

    def _check_first(self) -> None:
        """Find out whether this is the first start.

        It is, unless something shows an earlier one.
        """
        earlier = None if self.path.exists() else self._witness.earlier_life
        if earlier is not None:
            raise DamagedError(f"it is not there, and {earlier} is")

    def _open_file(self, *, begin: bool) -> sqlite3.Connection:
        """Open the file; with `begin`, accept any existing file, or create a new one.

        Raises:
            DamagedError: the file is not a ledger.
            _GoneError: it is not the file that was open before.
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
                # This is safe if the process ends at any moment; `sync` also protects against a
                # power cut.
                database.execute("PRAGMA synchronous = NORMAL")
                database.execute("PRAGMA journal_size_limit = 16777216")
                # Takes the lock, and shows whether the file is writable at all.
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
            # The ledger's memory has all the data, so nothing needs to be saved from this file.
            database.close()
            raise DamagedError(verdict.doubt)
        self._has_log = mode == "wal"
        self.seal, self.doubt = verdict.seal, verdict.doubt
        # The record of another ledger stays: it shows that this one does not belong here.
        is_first = is_fresh or (verdict.is_first_seal and not self._witness.has_record)
        if is_first and self.seal is not None:
            self._witness.note(self.seal.ledger, self.seal.commits, synced=True)
        self._on_undone()
        self._is_lost = False
        self._database = database
        return database

    def _migrate(self, database: sqlite3.Connection, taken: int) -> None:
        migrate(database, taken, MIGRATIONS)

    def _restart(self, reason: str) -> sqlite3.Connection:
        """Rename the file, if there is one, and create a new one."""
        if not self._is_aside:
            aside = self._set_aside()
            log.error(
                "the ledger is damaged or missing, starting a new one: from now on, what has "
                "ended by now is not counted again",
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
        """Rename the file; return the new name, or None if there is no file."""
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(self._now().wall))
        aside = f"{FILE_NAME}.damaged-{stamp}"
        for number in count(2):
            if not (self._folder / aside).exists():
                break
            aside = f"{FILE_NAME}.damaged-{stamp}-{number}"
        found = self.path.exists()
        # The file is renamed before it is closed, because closing would write to it and delete its
        # log. The log is renamed first: a log that is left behind must never be used with a new
        # file.
        for ending in ("-wal", ""):
            path = self.path.with_name(FILE_NAME + ending)
            if path.exists():
                path.rename(path.with_name(aside + ending))
        self._close_database()
        return aside if found else None

    def _close_database(self) -> None:
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
        """Return the open file; open it again if a failure has closed it."""
        if self._is_closed:
            raise StoreError("the ledger is closed")
        if self._database is not None and self._is_suspect and self._may_be_opened_again():
            self._close_database()
        if self._database is not None:
            return self._database
        try:
            if self._is_lost:
                return self._restart("nothing could be put in its place before")
            return self._open_file(begin=False)
        except (_GoneError, DamagedError) as error:
            self.lose(str(error))
        except (OSError, sqlite3.Error, OpenLedgerError) as error:
            raise StoreError(f"cannot open it again: {error}") from error

    def _may_be_opened_again(self) -> bool:
        """Whether opening the file again may help.

        A connection may never work again after its disk was unavailable, so a new one is tried. But
        not while nothing can be written: a new one could not be opened then, and this one can still
        read. Reading shows which workflows are new and which were counted long ago.
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
        """Make sure that the open file is still the one in the folder.

        A deleted file can still be written, but the data would be lost.

        Raises:
            _GoneError: it is not the file that was open before.
            OSError: this cannot be determined.
        """
        try:
            inode = self._inode_now()
        except FileNotFoundError as error:
            raise _GoneError("it was deleted") from error
        if inode != self._inode:
            raise _GoneError("another file is in its place")

    def lose(self, reason: str) -> NoReturn:
        """Start over with a new file, now or as soon as possible: the stored data is lost."""
        self._is_lost = True
        self._is_aside = False
        try:
            self._restart(reason)
        except (OSError, sqlite3.Error, DamagedError, OpenLedgerError) as error:
            self._close_database()
            log.error(  # noqa: TRY400 - it is not about where in the code
                "could not create a new ledger yet",
                extra={"file": str(self.path), "reason": str(error)},
            )
        raise StoreLostError(reason)
