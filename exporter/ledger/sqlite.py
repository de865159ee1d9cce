"""The ledger on disk: what is read from its file, and written to it."""

import sqlite3
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from math import inf
from pathlib import Path
from typing import Final

from exporter.ledger.file import FILE_NAME, CannotOpenLedger, LedgerFile, LedgerInUse, reading
from exporter.ledger.schema import WORKFLOW_COLUMNS, closed_ones, load, packed, workflow_of, write
from exporter.ledger.store import Batch, Forgotten, Kept, StoreFailed, StoreLost, WorkflowKey
from exporter.ledger.workflow import Workflow
from exporter.observations import Moment

FORGET_AT_ONCE: Final = 2_000
"""Old rows dropped in one transaction: others wait for it."""


class SqliteStore:
    """Keeps the ledger in a folder.

    `LedgerFile` says what becomes of one that is damaged, gone, or on a disk that fails.

    Args:
        folder: made if it is not there.
        now: both clocks.

    Raises:
        LedgerInUse: another process has it open.
        CannotOpenLedger: the folder cannot be made, read or written, or a newer version of the
            exporter wrote it.
    """

    def __init__(self, folder: Path, now: Callable[[], Moment]) -> None:
        # What comes back from the disk was last seen before anything that is seen from now on.
        self._began = now().monotonic
        # Their numbers. One that was given in a transaction that is undone is no more.
        self._accounts: dict[str, int] = {}
        self._file = LedgerFile(folder, now, on_undone=self._accounts.clear)

    # Reading ----------------------------------------------------------------------------------

    def load(self) -> Kept:
        """Everything but the settled workflows. Begins anew when the file is damaged.

        Raises:
            CannotOpenLedger: the file cannot be read.
        """
        try:
            with self._file.connection() as database, reading():
                kept = load(database, self._began)
        except StoreLost:
            return Kept(lost=True)
        except StoreFailed as error:
            raise CannotOpenLedger(f"cannot read {self._file.path}: {error}") from error
        try:
            with self._file.connection() as database, reading():
                closed, latest_ends = closed_ones(database)
        except StoreLost:
            return replace(kept, lost=True)
        except StoreFailed as error:
            raise CannotOpenLedger(f"cannot read {self._file.path}: {error}") from error
        return replace(kept, closed=closed, latest_ends=latest_ends, lost=self._file.losses > 0)

    def find_closed(self, key: WorkflowKey) -> Workflow | None:
        """A workflow that is settled or dropped."""
        if self._file.is_lost:
            return None
        workflow = packed(key[1])
        with self._file.connection() as database, reading():
            row = database.execute(
                f"SELECT workflow, {WORKFLOW_COLUMNS} FROM workflows "  # noqa: S608 - constants
                "WHERE account = ? AND workflow = ? AND phase != 'open'",
                (self._account(database, key[0]), workflow),
            ).fetchone()
            return None if row is None else workflow_of(key[0], row, self._began)

    def created_after(self, account: str, created_at: float) -> int:
        """How many workflows of an account are younger (Unix seconds)."""
        with self._file.connection() as database:
            younger: int = database.execute(
                "SELECT count(*) FROM workflows WHERE account = ? AND created_at > ?",
                (self._account(database, account), created_at),
            ).fetchone()[0]
            return younger

    # Writing ----------------------------------------------------------------------------------

    def keep(self, batch: Batch) -> None:
        """Keep all of a batch, or none of it."""
        with self._file.transaction() as database:
            write(database, batch, partial(self._account_made, database))

    def sync(self) -> None:
        """See to it that what was kept outlives a power cut as well."""
        self._file.sync()

    def forget_ended_before(self, account: str, ended_at: float) -> Forgotten:
        """Drop closed workflows that ended before this (Unix seconds) and owe nothing."""
        with self._file.transaction() as database:
            number = self._account(database, account)
            old = database.execute(
                "SELECT workflow, phase, created_at, ended_at FROM workflows "
                "WHERE account = ? AND phase != 'open' AND ended_at < ? "
                "AND cause_owed_since IS NULL AND duration_owed_since IS NULL "
                "ORDER BY ended_at LIMIT ?",
                (number, ended_at, FORGET_AT_ONCE),
            ).fetchall()
            if not old:
                return Forgotten()
            settled = [(created, end) for _, phase, created, end in old if phase == "settled"]
            latest_created = max((inf if c is None else c for c, _ in settled), default=None)
            latest_end = max((end for _, end in settled), default=None)
            database.executemany(
                "DELETE FROM workflows WHERE account = ? AND workflow = ?",
                [(number, workflow) for workflow, *_ in old],
            )
            database.execute(
                "UPDATE accounts SET "
                "pruned_created = max(coalesce(pruned_created, :created), :created), "
                "pruned_ended = max(coalesce(pruned_ended, :ended), :ended) "
                "WHERE account = :account AND :ended IS NOT NULL",
                {"created": latest_created, "ended": latest_end, "account": number},
            )
            return Forgotten(len(old), latest_created, latest_end)

    def close(self) -> None:
        """Let go of the file, and of the folder."""
        self._file.close()

    # Accounts ---------------------------------------------------------------------------------

    def _account(self, database: sqlite3.Connection, name: str) -> int | None:
        """An account's number; None while nothing is kept of it."""
        number = self._accounts.get(name)
        if number is None:
            row = database.execute(
                "SELECT account FROM accounts WHERE name = ?", (name,)
            ).fetchone()
            if row is None:
                return None
            number = self._accounts[name] = int(row[0])
        return number

    def _account_made(self, database: sqlite3.Connection, name: str) -> int:
        """An account's number, given now if it has none. Inside a transaction."""
        number = self._account(database, name)
        if number is None:
            row = database.execute(
                "INSERT INTO accounts (name) VALUES (?) RETURNING account", (name,)
            ).fetchone()
            number = self._accounts[name] = int(row[0])
        return number


__all__ = ["FILE_NAME", "FORGET_AT_ONCE", "CannotOpenLedger", "LedgerInUse", "SqliteStore"]
