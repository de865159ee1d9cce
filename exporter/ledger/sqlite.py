"""The ledger on disk: reads and writes its file."""

import logging
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from math import inf
from pathlib import Path
from typing import Final

from exporter.interfaces.observations import Moment
from exporter.ledger.contents import (
    delete_ended,
    every_workflow,
    find,
    load,
    make_account,
    prune,
    write,
)
from exporter.ledger.damage import reading
from exporter.ledger.file import FILE_NAME, LedgerFile, LedgerInUseError
from exporter.ledger.open_limits import DEFAULT_MOST_OPEN
from exporter.ledger.opening import OpenLedgerError, newer
from exporter.ledger.rows import packed
from exporter.ledger.seal import Draft
from exporter.ledger.store import (
    Batch,
    Pruned,
    RestoredState,
    StoreError,
    StoreLostError,
    WorkflowKey,
)
from exporter.ledger.totals import Shown
from exporter.ledger.walk import SLICE_SECONDS, Walk
from exporter.ledger.words import UnknownWordError
from exporter.ledger.workflow import Workflow

log = logging.getLogger(__name__)

PRUNE_AT_ONCE: Final = 2_000
"""How many old rows one transaction deletes at most: others wait for it."""


class SqliteStore:
    """Keeps the ledger in a folder.

    `LedgerFile` explains what happens if the file is damaged or missing, or if the disk fails.

    Args:
        folder: created if it does not exist.
        now: returns the time of both clocks (wall and monotonic).

    Raises:
        LedgerInUseError: another process has it open.
        OpenLedgerError: the folder cannot be created, read or written, or a newer version of the
            exporter wrote it.
    """

    def __init__(self, folder: Path, now: Callable[[], Moment]) -> None:
        # Loaded workflows count as last seen at this moment, before any new observation.
        self._began = now().monotonic
        # The accounts' numbers. A number from a transaction that was rolled back is not valid.
        self._accounts: dict[str, int] = {}
        self._file = LedgerFile(folder, now, on_undone=self._accounts.clear)
        self._walk = Walk()

    @property
    def path(self) -> Path:
        """The full path of the file."""
        return self._file.path.absolute()

    @property
    def is_new(self) -> bool:
        """Whether this process created the file: then counters begin at 0."""
        return self._file.is_new

    # Reading ----------------------------------------------------------------------------------

    def load(self, most_open: Callable[[str], int] = lambda _: DEFAULT_MOST_OPEN) -> RestoredState:
        """Read everything except settled workflows. If the file is damaged, start over.

        Raises:
            OpenLedgerError: the file cannot be read, or a newer version of the exporter wrote
                it, and nothing in it was changed.
        """
        doubt, finding = self._file.doubt, self._file.finding()
        try:
            with self._file.connection() as database:
                found = load(database, self._file.seal, self._began, most_open)
                if not found.damage and self._file.seal is not None:
                    found.damage.extend(self._walk.first(database, self._file.seal))
        except UnknownWordError as error:
            self.close()
            raise newer(self._file.path, str(error)) from error
        except StoreLostError:
            return RestoredState(lost=True)
        except StoreError as error:
            raise OpenLedgerError(f"cannot read {self._file.path}: {error}") from error
        damage = [*([] if doubt is None else [doubt]), *found.damage]
        if damage:
            with suppress(StoreLostError):
                self._file.lose("; ".join(damage))
            # It is no longer known which workflows were closed.
            return replace(found.kept, closed=0, latest_ends={}, lost=True)
        lost = self._file.losses > 0
        if finding is None:
            return replace(found.kept, lost=lost)
        log.log(
            logging.ERROR if finding.is_fault else logging.WARNING,
            finding.message,
            extra={"file": str(self._file.path), "reason": finding.reason},
        )
        return replace(
            found.kept,
            lost=lost,
            faults=int(finding.is_fault),
            contradicted=finding.is_contradiction,
        )

    def record(self) -> None:
        """If there is no record of the ledger, write one.

        Only the exporter does this at its start. A command that only reads does not: the missing
        record is still to be counted by the exporter.
        """
        self._file.record()

    def everything(self) -> Iterator[Workflow]:
        """All workflows, including settled ones, read a few thousand rows at a time.

        Raises:
            StoreError: the file cannot be read, or a row in it is damaged.
        """
        with self._reading() as database:
            yield from every_workflow(database, self._began)

    def find_closed(self, key: WorkflowKey) -> Workflow | None:
        """A workflow that is settled or dropped, or that was not loaded at the start."""
        if self._file.is_lost:
            return None
        # This is outside the block: an invalid id is an error of the caller, not damage of the
        # file.
        id_ = packed(key[1])
        with self._reading() as database:
            number = self._account(database, key[0])
            return find(database, number, key[0], id_, self._began)

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        try:
            with self._file.connection() as database, reading():
                yield database
        except UnknownWordError as error:
            raise StoreError(str(newer(self._file.path, str(error)))) from error

    def committed(self) -> Shown | None:
        """Return None: no other process shows this data."""
        return None

    @property
    def verifying(self) -> bool:
        """Whether there are rows that were not checked since the start."""
        # A new file after a loss holds only what this process has written, so it needs no check.
        return not (self._walk.is_done or self._file.seal is None or self._file.losses)

    def verify(self) -> None:
        """Check some of the rows that were not checked since the start."""
        seal = self._file.seal
        if seal is not None and self.verifying:
            with self._reading() as database:
                self._walk.go_on(database, seal, SLICE_SECONDS)

    def created_after(self, account: str, created_at: float) -> int:
        """How many workflows of an account were created after this time (Unix seconds)."""
        with self._file.connection() as database:
            younger: int = database.execute(
                "SELECT count(*) FROM workflows WHERE account = ? AND created_at > ?",
                (self._account(database, account), created_at),
            ).fetchone()[0]
            return younger

    # Writing ----------------------------------------------------------------------------------

    def persist(self, batch: Batch) -> None:
        """Store all of a batch, or none of it."""
        with self._writing() as (database, draft):
            write(database, draft, batch, partial(self._account_made, database, draft))

    def sync(self) -> None:
        """Make stored data safe against a power cut."""
        self._file.sync()

    def prune_ended_before(self, account: str, ended_at: float) -> Pruned:
        """Delete closed workflows that ended before this (Unix seconds), except pending ones."""
        with self._writing() as (database, draft):
            number = self._account(database, account)
            if number is None:
                return Pruned()
            with reading():
                old = delete_ended(database, draft, number, ended_at, PRUNE_AT_ONCE)
            settled = [workflow for workflow in old if workflow.phase == "settled"]
            latest_created = max(
                (inf if w.created_at is None else w.created_at for w in settled), default=None
            )
            latest_end = max((w.ended_at for w in settled if w.ended_at is not None), default=None)
            if settled:
                prune(database, draft, number, latest_created, latest_end)
            return Pruned(len(old), latest_created, latest_end)

    @contextmanager
    def _writing(self) -> Iterator[tuple[sqlite3.Connection, Draft]]:
        try:
            with self._file.transaction() as (database, draft):
                yield database, draft
        except UnknownWordError as error:
            raise StoreError(str(newer(self._file.path, str(error)))) from error
        self._walk.note(draft.changes)

    def close(self) -> None:
        """Close the file and unlock the folder."""
        self._file.close()

    # Accounts ---------------------------------------------------------------------------------

    def _account(self, database: sqlite3.Connection, name: str) -> int | None:
        """An account's number; None while nothing is stored of it."""
        number = self._accounts.get(name)
        if number is None:
            row = database.execute(
                "SELECT account FROM accounts WHERE name = ?", (name,)
            ).fetchone()
            if row is None:
                return None
            number = self._accounts[name] = int(row[0])
        return number

    def _account_made(self, database: sqlite3.Connection, draft: Draft, name: str) -> int:
        """An account's number; a new one if it has none. Call it inside a transaction."""
        number = self._account(database, name)
        if number is None:
            number = self._accounts[name] = make_account(database, draft, name)
        return number


__all__ = ["FILE_NAME", "PRUNE_AT_ONCE", "LedgerInUseError", "OpenLedgerError", "SqliteStore"]
