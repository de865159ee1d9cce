"""The ledger on disk: SQLite in WAL mode, one process at a time."""

import fcntl
import json
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import astuple
from pathlib import Path
from typing import Any, Final

from exporter.ledger.store import (
    AccountMarks,
    Batch,
    Kept,
    StoreFailed,
    StoreLost,
    WorkflowKey,
)
from exporter.ledger.totals import CounterTotal, Exemplar, HistogramTotal
from exporter.ledger.workflow import Workflow
from exporter.observations import Moment, Status

log = logging.getLogger(__name__)

FILE_NAME: Final = "ledger.sqlite3"
LOCK_NAME: Final = "ledger.lock"

MIGRATIONS: Final = (
    """
    CREATE TABLE accounts (
        account INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        line REAL,
        frontier REAL
    );
    CREATE TABLE workflows (
        account INTEGER NOT NULL REFERENCES accounts,
        workflow BLOB NOT NULL,          -- the UUID's 16 bytes
        source TEXT NOT NULL,
        phase TEXT NOT NULL,
        run INTEGER NOT NULL,
        status TEXT,
        unknown_status TEXT,
        first_seen REAL NOT NULL,
        last_seen REAL,
        created_at REAL,
        started_at REAL,
        ended_at REAL,
        entered_queue INTEGER NOT NULL,
        waited INTEGER NOT NULL,         -- whether it was seen waiting
        start_wait REAL,
        start_observed INTEGER NOT NULL,
        outputs_counted INTEGER NOT NULL,
        cause_owed_since REAL,
        PRIMARY KEY (account, workflow)
    ) WITHOUT ROWID;
    CREATE INDEX unsettled ON workflows (account)
        WHERE phase = 'open' OR cause_owed_since IS NOT NULL;
    CREATE INDEX created ON workflows (account, created_at);
    CREATE INDEX ended ON workflows (account, ended_at) WHERE phase != 'open';
    CREATE TABLE counters (
        name TEXT NOT NULL,
        labels TEXT NOT NULL,            -- JSON list, the account first
        value REAL NOT NULL,
        appeared INTEGER NOT NULL,
        exemplar TEXT,                   -- JSON: workflow id, value, Unix seconds
        PRIMARY KEY (name, labels)
    ) WITHOUT ROWID;
    CREATE TABLE histograms (
        name TEXT NOT NULL,
        labels TEXT NOT NULL,
        bounds TEXT NOT NULL,            -- JSON list
        counts TEXT NOT NULL,            -- JSON list, one more than bounds
        sum REAL NOT NULL,
        exemplars TEXT NOT NULL,
        PRIMARY KEY (name, labels)
    ) WITHOUT ROWID;
    CREATE TABLE marks (
        name TEXT PRIMARY KEY,
        value INTEGER NOT NULL
    ) WITHOUT ROWID;
    """,
)
"""The schema, step by step: `PRAGMA user_version` says how many were taken. Never edit one that
was released; add another."""

_WORKFLOW_COLUMNS: Final = (
    "source, phase, run, status, unknown_status, first_seen, last_seen, created_at, started_at, "
    "ended_at, entered_queue, waited, start_wait, start_observed, outputs_counted, "
    "cause_owed_since"
)
_PLACES: Final = ", ".join("?" * 18)

_DAMAGE: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class LedgerInUse(Exception):  # noqa: N818 - says what happened
    """Another process has this ledger open. The text is one line for a person."""


class CannotOpenLedger(Exception):  # noqa: N818 - says what happened
    """The storage folder cannot be used. The text is one line for a person."""


class SqliteStore:
    """Keeps the ledger in a folder.

    A file that turns out to be damaged is set aside under a new name, and a fresh one begun.

    Args:
        folder: made if it is not there.
        now: both clocks.

    Raises:
        LedgerInUse: another process has it open.
        CannotOpenLedger: the folder cannot be made, read or written, or a newer version of the
            exporter wrote it.
    """

    def __init__(self, folder: Path, now: Callable[[], Moment]) -> None:
        self._folder = folder
        self._now = now
        self._path = folder / FILE_NAME
        self._accounts: dict[str, int] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise CannotOpenLedger(f"cannot use {folder}: {error.strerror}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise LedgerInUse(
                f"another exporter has the ledger in {folder} open; give each its own "
                "--storage.path"
            ) from error
        try:
            self._open_or_begin_anew()
        except sqlite3.Error as error:
            os.close(self._lock)
            raise CannotOpenLedger(f"cannot open {self._path}: {error}") from error

    # Reading ----------------------------------------------------------------------------------

    def load(self) -> Kept:
        """Everything but the settled workflows. Begins anew when the file is damaged."""
        try:
            return self._load()
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise
            self._begin_anew()
            return self._load()

    def find_closed(self, key: WorkflowKey) -> Workflow | None:
        """A workflow that is settled or dropped."""
        row = self._ask(
            f"SELECT workflow, {_WORKFLOW_COLUMNS} FROM workflows "  # noqa: S608 - constants
            "WHERE account = ? AND workflow = ? AND phase != 'open'",
            (self._account(key[0]), _packed(key[1])),
        ).fetchone()
        return None if row is None else _workflow(key[0], row, self._now().monotonic)

    def created_after(self, account: str, created_at: float) -> int:
        """How many workflows of an account are younger (Unix seconds)."""
        count: int = self._ask(
            "SELECT count(*) FROM workflows WHERE account = ? AND created_at > ?",
            (self._account(account), created_at),
        ).fetchone()[0]
        return count

    def closed(self) -> int:
        """How many workflows are settled or dropped; reads an index through, so not for often."""
        count: int = self._ask(
            "SELECT count(*) FROM workflows WHERE phase != 'open'", ()
        ).fetchone()[0]
        return count

    # Writing ----------------------------------------------------------------------------------

    def keep(self, batch: Batch) -> None:
        """Keep all of a batch, or none of it."""
        with self._transaction():
            for name, marks in batch.accounts.items():
                self._database.execute(
                    "UPDATE accounts SET line = ?, frontier = ? WHERE account = ?",
                    (marks.line, marks.frontier, self._account_made(name)),
                )
            self._database.executemany(
                f"INSERT OR REPLACE INTO workflows VALUES ({_PLACES})",  # noqa: S608 - constants
                [self._row(key, workflow) for key, workflow in batch.workflows.items()],
            )
            self._database.executemany(
                "INSERT OR REPLACE INTO counters VALUES (?, ?, ?, ?, ?)",
                [
                    (name, _json(labels), t.value, t.appeared, _packed_exemplar(t.exemplar))
                    for (name, labels), t in batch.counters.items()
                ],
            )
            self._database.executemany(
                "INSERT OR REPLACE INTO histograms VALUES (?, ?, ?, ?, ?, ?)",
                [
                    (
                        name,
                        _json(labels),
                        _json(t.bounds),
                        _json(t.counts),
                        t.sum,
                        _json([None if e is None else astuple(e) for e in t.exemplars]),
                    )
                    for (name, labels), t in batch.histograms.items()
                ],
            )
            if batch.announced is not None:
                self._database.execute(
                    "INSERT OR REPLACE INTO marks VALUES ('announced', ?)", (batch.announced,)
                )

    def forget_ended_before(self, account: str, ended_at: float) -> int:
        """Drop closed workflows that ended before this (Unix seconds) and owe nothing."""
        return self._ask(
            "DELETE FROM workflows WHERE account = ? AND phase != 'open' AND ended_at < ? "
            "AND cause_owed_since IS NULL",
            (self._account(account), ended_at),
        ).rowcount

    def close(self) -> None:
        """Let go of the file, and of the folder."""
        self._database.close()
        os.close(self._lock)

    # The file ---------------------------------------------------------------------------------

    def _open_or_begin_anew(self) -> None:
        try:
            self._open()
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise
            self._begin_anew()

    def _open(self) -> None:
        # One connection for all threads: the ledger lets in one at a time.
        self._database = sqlite3.connect(
            self._path, isolation_level=None, check_same_thread=False, cached_statements=64
        )
        run = self._database.execute
        run("PRAGMA journal_mode = WAL")
        # Safe against the end of the process at any moment. A power cut may take the last
        # moments back, all of them together: then they are counted again.
        run("PRAGMA synchronous = NORMAL")
        run("PRAGMA foreign_keys = ON")
        self._migrate()
        self._accounts.clear()

    def _migrate(self) -> None:
        taken = self._database.execute("PRAGMA user_version").fetchone()[0]
        if taken > len(MIGRATIONS):
            self._database.close()
            os.close(self._lock)
            raise CannotOpenLedger(
                f"{self._path} was written by a newer version of the exporter (schema {taken}; "
                f"this one knows {len(MIGRATIONS)})"
            )
        for number, step in enumerate(MIGRATIONS[taken:], taken + 1):
            self._database.executescript(
                f"BEGIN IMMEDIATE; {step}; PRAGMA user_version = {number}; COMMIT;"
            )

    def _begin_anew(self) -> None:
        """Set the damaged file aside, and begin a fresh one."""
        self._database.close()
        suffix = time.strftime(".damaged-%Y%m%dT%H%M%SZ", time.gmtime(self._now().wall))
        for ending in ("", "-wal", "-shm"):
            path = self._path.with_name(FILE_NAME + ending)
            if path.exists():
                path.rename(path.with_name(FILE_NAME + suffix + ending))
        log.error(
            "the ledger was damaged: it is set aside and a fresh one begun; what had ended by now "
            "is not counted again, and what the damaged one alone knew is lost",
            extra={"file": str(self._path), "set_aside": FILE_NAME + suffix},
        )
        self._open()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._roll_back()
                raise
            self._database.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back()
            self._fail(error)

    def _roll_back(self) -> None:
        # Numbers that were given in this transaction are no more.
        self._accounts.clear()
        # A full disk may have rolled it back already.
        if self._database.in_transaction:
            try:
                self._database.execute("ROLLBACK")
            except sqlite3.Error:
                log.debug("rolling back failed", extra={"file": str(self._path)})

    def _ask(self, statement: str, values: tuple[object, ...]) -> sqlite3.Cursor:
        try:
            return self._database.execute(statement, values)
        except sqlite3.Error as error:
            self._fail(error)
            raise

    def _fail(self, error: sqlite3.Error) -> None:
        if isinstance(error, sqlite3.DatabaseError) and _is_damage(error):
            try:
                self._begin_anew()
            except (sqlite3.Error, OSError) as again:
                raise StoreFailed(type(again).__name__) from again
            raise StoreLost("the file was damaged") from error
        raise StoreFailed(str(error)) from error

    def _account(self, name: str) -> int | None:
        """An account's number; None while nothing is kept of it."""
        number = self._accounts.get(name)
        if number is None:
            row = self._ask("SELECT account FROM accounts WHERE name = ?", (name,)).fetchone()
            if row is None:
                return None
            number = self._accounts[name] = int(row[0])
        return number

    def _account_made(self, name: str) -> int:
        """An account's number, given now if it has none. Inside a transaction."""
        number = self._account(name)
        if number is None:
            row = self._database.execute(
                "INSERT INTO accounts (name) VALUES (?) RETURNING account", (name,)
            ).fetchone()
            number = self._accounts[name] = int(row[0])
        return number

    # Rows -------------------------------------------------------------------------------------

    def _row(self, key: WorkflowKey, workflow: Workflow) -> tuple[object, ...]:
        return (
            self._account_made(key[0]),
            _packed(key[1]),
            workflow.source,
            workflow.phase,
            workflow.run,
            None if workflow.status is None else workflow.status.value,
            workflow.unknown_status,
            workflow.first_seen.wall,
            None if workflow.last_seen is None else workflow.last_seen.wall,
            workflow.created_at,
            workflow.started_at,
            workflow.ended_at,
            workflow.entered_queue,
            workflow.waiting_lost or workflow.waiting_from is not None,
            workflow.start_wait,
            workflow.start_observed,
            workflow.outputs_counted,
            workflow.cause_owed_since,
        )

    def _load(self) -> Kept:
        run = self._database.execute
        monotonic = self._now().monotonic
        names = dict(run("SELECT account, name FROM accounts").fetchall())
        unsettled = [
            _workflow(names[row[0]], row[1:], monotonic)
            for row in run(
                f"SELECT account, workflow, {_WORKFLOW_COLUMNS} FROM workflows "  # noqa: S608
                "WHERE phase = 'open' OR cause_owed_since IS NOT NULL"
            )
        ]
        marks = {
            name: AccountMarks(line, frontier)
            for name, line, frontier in run("SELECT name, line, frontier FROM accounts")
        }
        counters = {
            (name, tuple(json.loads(labels))): CounterTotal(value, _exemplar(exemplar), appeared)
            for name, labels, value, appeared, exemplar in run("SELECT * FROM counters")
        }
        histograms = {
            (name, tuple(json.loads(labels))): HistogramTotal(
                tuple(json.loads(bounds)),
                json.loads(counts),
                total,
                [None if e is None else Exemplar(*e) for e in json.loads(exemplars)],
            )
            for name, labels, bounds, counts, total, exemplars in run("SELECT * FROM histograms")
        }
        announced = run("SELECT value FROM marks WHERE name = 'announced'").fetchone()
        return Kept(
            unsettled=unsettled,
            accounts=marks,
            counters=counters,
            histograms=histograms,
            announced=0 if announced is None else announced[0],
        )


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in _DAMAGE


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _packed(workflow_id: str) -> bytes:
    return bytes.fromhex(workflow_id.replace("-", ""))


def _unpacked(packed: bytes) -> str:
    digits = packed.hex()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _packed_exemplar(exemplar: Exemplar | None) -> str | None:
    return None if exemplar is None else _json(astuple(exemplar))


def _exemplar(text: str | None) -> Exemplar | None:
    return None if text is None else Exemplar(*json.loads(text))


def _workflow(account: str, row: tuple[Any, ...], monotonic: float) -> Workflow:
    """A workflow from its row."""
    (
        packed, source, phase, run, status, unknown_status, first_seen, last_seen, created_at,
        started_at, ended_at, entered_queue, waited, start_wait, start_observed,
        outputs_counted, cause_owed_since,
    ) = row  # fmt: skip
    # What another process measured by its monotonic clock means nothing here: a wait that it saw
    # begin is never guessed, and being out of sight counts from now.
    return Workflow(
        account=account,
        workflow_id=_unpacked(packed),
        source=source,
        first_seen=Moment(first_seen, monotonic),
        phase=phase,
        run=run,
        status=None if status is None else Status(status),
        unknown_status=unknown_status,
        last_seen=None if last_seen is None else Moment(last_seen, monotonic),
        created_at=created_at,
        started_at=started_at,
        ended_at=ended_at,
        entered_queue=bool(entered_queue),
        waiting_lost=bool(waited),
        start_wait=start_wait,
        start_observed=bool(start_observed),
        outputs_counted=bool(outputs_counted),
        cause_owed_since=cause_owed_since,
    )
