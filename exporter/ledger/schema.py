"""The tables of the ledger on disk, and how its values stand in them."""

import json
import sqlite3
from collections.abc import Callable
from dataclasses import asdict, astuple
from typing import Any, Final, TypeVar, get_args

from exporter.ledger.store import AccountMarks, Batch, Kept
from exporter.ledger.totals import (
    CounterName,
    CounterTotal,
    Exemplar,
    HistogramName,
    HistogramTotal,
    Labels,
)
from exporter.ledger.workflow import Phase, Workflow
from exporter.observations import Baseline, Moment, Source, Status

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
    """
    ALTER TABLE accounts ADD COLUMN pruned_created REAL;
    ALTER TABLE accounts ADD COLUMN pruned_ended REAL;
    ALTER TABLE workflows ADD COLUMN stream_ended_at REAL;
    ALTER TABLE workflows ADD COLUMN listed_ended_at REAL;
    ALTER TABLE workflows ADD COLUMN settled_at REAL;
    ALTER TABLE workflows ADD COLUMN duration_owed_since REAL;
    DROP INDEX unsettled;
    CREATE INDEX unsettled ON workflows (account)
        WHERE phase = 'open' OR cause_owed_since IS NOT NULL OR duration_owed_since IS NOT NULL;
    """,
    """
    CREATE TABLE baselines (
        account INTEGER NOT NULL REFERENCES accounts,
        status TEXT NOT NULL,
        value INTEGER NOT NULL,
        compared_at REAL NOT NULL,
        since REAL NOT NULL,
        PRIMARY KEY (account, status)
    ) WITHOUT ROWID;
    """,
)
"""The schema, step by step: `PRAGMA user_version` says how many were taken. Never edit one that
was released; add another."""

WORKFLOW_COLUMNS: Final = (
    "source, phase, run, status, unknown_status, first_seen, last_seen, created_at, started_at, "
    "ended_at, entered_queue, waited, start_wait, start_observed, outputs_counted, "
    "cause_owed_since, stream_ended_at, listed_ended_at, settled_at, duration_owed_since"
)
UNSETTLED: Final = (
    "(phase = 'open' OR cause_owed_since IS NOT NULL OR duration_owed_since IS NOT NULL)"
)
"""The rows that are held in memory, as the index of the same name has them."""

_KEEP_WORKFLOW: Final = (
    f"INSERT OR REPLACE INTO workflows (account, workflow, {WORKFLOW_COLUMNS}) "  # noqa: S608
    f"VALUES ({', '.join('?' * 22)})"
)


def _row(number: int, workflow_id: str, workflow: Workflow) -> tuple[object, ...]:
    return (
        number,
        packed(workflow_id),
        workflow.source,
        workflow.phase,
        workflow.run,
        None if workflow.status is None else workflow.status.value,
        workflow.unknown_status,
        workflow.first_seen.wall,
        _wall_of(workflow.last_seen),
        workflow.created_at,
        workflow.started_at,
        workflow.ended_at,
        workflow.entered_queue,
        workflow.has_waited,
        workflow.start_wait,
        workflow.start_observed,
        workflow.outputs_counted,
        _wall_of(workflow.cause_owed_since),
        workflow.stream_ended_at,
        workflow.listed_ended_at,
        workflow.settled_at,
        _wall_of(workflow.duration_owed_since),
    )


def workflow_of(account: str, row: tuple[Any, ...], monotonic: float) -> Workflow:
    """A workflow from its row."""
    (
        packed, source, phase, run, status, unknown_status, first_seen, last_seen, created_at,
        started_at, ended_at, entered_queue, waited, start_wait, start_observed,
        outputs_counted, cause_owed_since, stream_ended_at, listed_ended_at, settled_at,
        duration_owed_since,
    ) = row  # fmt: skip
    # What another process measured by its monotonic clock means nothing here: a wait that it saw
    # begin is never guessed, and being out of sight or in debt counts from now.
    return Workflow(
        account=account,
        workflow_id=_unpacked(packed),
        source=_one_of(get_args(Source), source),
        first_seen=Moment(float(first_seen), monotonic),
        phase=_one_of(get_args(Phase), phase),
        run=int(run),
        status=None if status is None else Status(status),
        unknown_status=unknown_status,
        last_seen=_moment(last_seen, monotonic),
        created_at=_number(created_at),
        started_at=_number(started_at),
        ended_at=_number(ended_at),
        entered_queue=bool(entered_queue),
        waiting_lost=bool(waited),
        start_wait=_number(start_wait),
        start_observed=bool(start_observed),
        outputs_counted=bool(outputs_counted),
        cause_owed_since=_moment(cause_owed_since, monotonic),
        stream_ended_at=_number(stream_ended_at),
        listed_ended_at=_number(listed_ended_at),
        settled_at=_number(settled_at),
        duration_owed_since=_moment(duration_owed_since, monotonic),
    )


def write(database: sqlite3.Connection, batch: Batch, number_of: Callable[[str], int]) -> None:
    """Write a batch, within a transaction; `number_of` makes accounts that are not there."""
    for name, marks in batch.accounts.items():
        database.execute(
            "UPDATE accounts SET frontier = :frontier, "
            "pruned_created = :pruned_created, pruned_ended = :pruned_ended, "
            "line = CASE WHEN line IS NULL OR line < :line THEN :line ELSE line END "
            "WHERE account = :account",
            {**asdict(marks), "account": number_of(name)},
        )
    database.executemany(
        _KEEP_WORKFLOW,
        [_row(number_of(key[0]), key[1], workflow) for key, workflow in batch.workflows.items()],
    )
    database.executemany(
        "INSERT OR REPLACE INTO counters (name, labels, value, appeared, exemplar) "
        "VALUES (?, ?, ?, ?, ?)",
        [
            (name, _json(labels), t.value, t.appeared, _packed_exemplar(t.exemplar))
            for (name, labels), t in batch.counters.items()
        ],
    )
    database.executemany(
        "INSERT OR REPLACE INTO histograms (name, labels, bounds, counts, sum, exemplars) "
        "VALUES (?, ?, ?, ?, ?, ?)",
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
    for (account, status), baseline in batch.baselines.items():
        row = (number_of(account), status.value)
        if baseline is None:
            database.execute("DELETE FROM baselines WHERE account = ? AND status = ?", row)
        else:
            database.execute(
                "INSERT OR REPLACE INTO baselines (account, status, value, compared_at, since) "
                "VALUES (?, ?, ?, ?, ?)",
                (*row, baseline.value, baseline.compared_at, baseline.since),
            )
    if batch.announced is not None:
        database.execute(
            "INSERT OR REPLACE INTO marks (name, value) VALUES ('announced', ?)",
            (batch.announced,),
        )


def load(database: sqlite3.Connection, monotonic: float) -> Kept:
    """Everything but the settled workflows."""
    run = database.execute
    accounts = run(
        "SELECT account, name, line, frontier, pruned_created, pruned_ended FROM accounts"
    ).fetchall()
    names = {row[0]: str(row[1]) for row in accounts}
    # Totals that a newer version has added are none of ours, and stay.
    counters = {
        (_one_of(get_args(CounterName), name), _labels(labels)): CounterTotal(
            float(value), _exemplar(exemplar), int(appeared)
        )
        for name, labels, value, appeared, exemplar in run(
            "SELECT name, labels, value, appeared, exemplar FROM counters"
        )
        if name in get_args(CounterName)
    }
    histograms = {
        (_one_of(get_args(HistogramName), row[0]), _labels(row[1])): _histogram(*row[2:])
        for row in run("SELECT name, labels, bounds, counts, sum, exemplars FROM histograms")
        if row[0] in get_args(HistogramName)
    }
    announced = run("SELECT value FROM marks WHERE name = 'announced'").fetchone()
    return Kept(
        unsettled=[
            workflow_of(names[row[0]], row[1:], monotonic)
            for row in run(
                f"SELECT account, workflow, {WORKFLOW_COLUMNS} FROM workflows "  # noqa: S608
                f"WHERE {UNSETTLED}"
            )
        ],
        accounts={str(name): AccountMarks(*map(_number, marks)) for _, name, *marks in accounts},
        counters=counters,
        histograms=histograms,
        announced=0 if announced is None else int(announced[0]),
        appeared=max((total.appeared for total in counters.values()), default=0),
        baselines={
            (names[account], Status(status)): Baseline(int(value), float(compared_at), float(since))
            for account, status, value, compared_at, since in run(
                "SELECT account, status, value, compared_at, since FROM baselines"
            )
        },
    )


def closed_ones(database: sqlite3.Connection) -> tuple[int, dict[str, float]]:
    """How many workflows are closed, and each account's latest end."""
    # All, less the few that are open: counting a whole table reads its smallest index and looks at
    # no row, which a condition would make a hundred times as slow.
    closed = int(
        database.execute(
            "SELECT (SELECT count(*) FROM workflows) - (SELECT count(*) FROM workflows "  # noqa: S608
            f"WHERE {UNSETTLED} AND phase = 'open')"
        ).fetchone()[0]
    )
    latest_ends = database.execute(
        "SELECT name, (SELECT ended_at FROM workflows WHERE account = accounts.account "
        "AND phase != 'open' AND phase = 'settled' ORDER BY ended_at DESC LIMIT 1) FROM accounts"
    )
    return closed, {str(name): float(end) for name, end in latest_ends if end is not None}


def _histogram(bounds: str, counts: str, total: float, exemplars: str) -> HistogramTotal:
    histogram = HistogramTotal(
        tuple(map(float, json.loads(bounds))),
        list(map(int, json.loads(counts))),
        float(total),
        [None if e is None else Exemplar(*e) for e in json.loads(exemplars)],
    )
    if not len(histogram.counts) == len(histogram.exemplars) == len(histogram.bounds) + 1:
        raise ValueError("as many counts as there are buckets")
    return histogram


_T = TypeVar("_T")


def _one_of(known: tuple[_T, ...], value: object) -> _T:
    return known[known.index(value)]


def _number(value: Any) -> float | None:  # noqa: ANN401 - SQLite gives what is there
    return None if value is None else float(value)


def _moment(wall: Any, monotonic: float) -> Moment | None:  # noqa: ANN401
    return None if wall is None else Moment(float(wall), monotonic)


def _wall_of(moment: Moment | None) -> float | None:
    return None if moment is None else moment.wall


def _labels(text: str) -> Labels:
    return tuple(map(str, json.loads(text)))


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def packed(workflow_id: str) -> bytes:
    """An id as it stands in its column."""
    return bytes.fromhex(workflow_id.replace("-", ""))


def _unpacked(packed: bytes) -> str:
    digits = packed.hex()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _packed_exemplar(exemplar: Exemplar | None) -> str | None:
    return None if exemplar is None else _json(astuple(exemplar))


def _exemplar(text: str | None) -> Exemplar | None:
    return None if text is None else Exemplar(*json.loads(text))
