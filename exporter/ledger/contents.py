"""What a process reads from the ledger's tables at its start, and what it writes to them.

Everything is verified before it is used: a row by its checksum, a table by its seal.
"""

import sqlite3
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final, TypeVar

from exporter.interfaces.observations import Baseline, Status
from exporter.ledger.damage import UNREADABLE, code_of, is_damage, reading
from exporter.ledger.history_rows import read_history, write_history
from exporter.ledger.open_limits import MostWanted
from exporter.ledger.rows import (
    Row,
    account_of,
    account_row,
    baseline_of,
    baseline_row,
    counter_of,
    counter_row,
    histogram_of,
    histogram_row,
    mark_of,
    workflow_of,
    workflow_row,
)
from exporter.ledger.schema import (
    ACCOUNTS,
    BASELINES,
    COUNTERS,
    HISTOGRAMS,
    MARKS,
    TABLES,
    UNSETTLED,
    WORKFLOWS,
    Table,
    intact,
)
from exporter.ledger.seal import Digest, Draft, Seal, checksum
from exporter.ledger.store import AccountMarks, Batch, RestoredState
from exporter.ledger.words import words_of_held, words_of_total, words_of_workflow
from exporter.ledger.workflow import Workflow

QUICK_CHECKED_PAGES: Final = 2_048
"""In pages: SQLite checks the structure of files up to this size (8 MiB, some 40,000 workflows) at
the start. This cannot be done in parts, and would take too long for larger files."""

_TOLD: Final = 3
"""How many damaged rows of a table are named one by one."""


# Reading ------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Found:
    """What was read."""

    kept: RestoredState = field(default_factory=RestoredState)
    """All rows with a correct checksum."""
    damage: list[str] = field(default_factory=list)
    """Descriptions of everything else, for messages."""


def load(
    database: sqlite3.Connection,
    seal: Seal | None,
    monotonic: float,
    most_open: Callable[[str], int],
) -> Found:
    """Read everything except settled workflows, and open ones beyond each account's limit.

    The others stay in the file, where `find` finds them.

    Raises:
        UnknownWordError: a newer version wrote it.
        sqlite3.Error: the disk fails.
    """
    reader = _Reader(database, seal)
    accounts = {
        number: (name, marks)
        for number, name, marks in reader.read(ACCOUNTS, account_of, lambda row: str(row[1]))
    }
    reader.check_names({number: name for number, (name, _) in accounts.items()})
    counters = dict(reader.read(COUNTERS, counter_of, _series))
    histograms = dict(reader.read(HISTOGRAMS, histogram_of, _series))
    marks = dict(reader.read(MARKS, mark_of, lambda row: str(row[0])))
    baselines = {
        (accounts[number][0], status): baseline
        for number, status, baseline in reader.read(BASELINES, baseline_of, _series)
        if number in accounts or reader.miss(f"baselines: account {number} is not there")
    }
    unsettled = MostWanted(most_open)
    # Close the cursor here in any case, because the file may be closed next.
    with closing(reader.unsettled()) as rows:
        for row in rows:
            # Every row is read, even if it is not held: if any of them has a word of a newer
            # version, the file is refused.
            if row[0] in accounts or reader.miss(f"workflows: account {row[0]} is not there"):
                unsettled.add(workflow_of(accounts[row[0]][0], row, monotonic))
    closed, latest_ends = reader.closed(unsettled.open)
    reader.check_structure()
    history = () if reader.damage else read_history(database)
    kept = RestoredState(
        unsettled=tuple(unsettled),
        accounts=dict(accounts.values()),
        counters=counters,
        histograms=histograms,
        announced=marks.get("announced", 0),
        appeared=max(
            max((total.appeared for total in counters.values()), default=0),
            max((total.appeared for total in histograms.values()), default=0),
        ),
        closed=closed,
        latest_ends=latest_ends,
        baselines=baselines,
        history=history,
    )
    return Found(kept, reader.damage)


_T = TypeVar("_T")


class _Reader:
    """Reads table after table, even if one of them is damaged."""

    def __init__(self, database: sqlite3.Connection, seal: Seal | None) -> None:
        self._database = database
        self._seal = seal
        self.damage: list[str] = []

    def miss(self, damage: str) -> bool:
        """Note some damage; return False."""
        self.damage.append(damage)
        return False

    def read(
        self, table: Table, parse: Callable[[Row], _T], name: Callable[[Row], str]
    ) -> list[_T]:
        """All rows of a table with a correct checksum; `name` names a row in messages."""
        statement = f"SELECT {table.listed} FROM {table.name}"  # noqa: S608 - constants
        rows = list(self._proven(table.name, table, statement, name))
        parsed = []
        for row in rows:
            try:
                parsed.append(parse(row))
            except UNREADABLE as error:
                self.miss(f"{table.name}: {name(row)} cannot be read ({type(error).__name__})")
        return parsed

    def check_names(self, names: Mapping[int, str]) -> None:
        """Check that the index by which accounts are found contains all of them."""
        statement = "SELECT account, name FROM accounts INDEXED BY sqlite_autoindex_accounts_1"
        known = len(self.damage)
        found: dict[int, str] = dict(self._rows("accounts", statement))
        if found != names and len(self.damage) == known:
            self.miss("accounts: the index has others than the table")

    def unsettled(self) -> Generator[Row]:
        """The rows of unsettled workflows, on which the table and the index agree."""
        columns = ", ".join(f"w.{column}" for column in WORKFLOWS.columns)
        statement = (
            f"SELECT {columns}, i.checksum "  # noqa: S608 - constants
            "FROM (SELECT account, workflow, checksum FROM workflows INDEXED BY unsettled "
            f"WHERE {UNSETTLED}) i LEFT JOIN workflows w "
            "ON w.account = i.account AND w.workflow = i.workflow"
        )
        return self._proven("unsettled", WORKFLOWS, statement, lambda _: "one")

    def closed(self, unsettled_open: int) -> tuple[int, dict[str, float]]:
        """How many workflows are closed, and each account's latest end."""
        # Counting a whole table reads only its smallest index, not the rows.
        counted = list(self._rows("workflows", "SELECT count(*) FROM workflows"))
        workflows = counted[0][0] if counted else 0
        if counted and self._seal is not None:
            expected = self._seal.digest("workflows").rows
            if workflows != expected:
                self.miss(f"workflows: {workflows} rows where {expected} were written")
        latest_ends = self._rows(
            "workflows",
            "SELECT name, (SELECT ended_at FROM workflows WHERE account = accounts.account "
            "AND phase != 'open' AND phase = 'settled' ORDER BY ended_at DESC LIMIT 1) "
            "FROM accounts",
        )
        return workflows - unsettled_open, {
            str(name): end for name, end in latest_ends if isinstance(end, float)
        }

    def check_structure(self) -> None:
        """Let SQLite check the structure of a file that is not large."""
        pages = list(self._rows("the file", "PRAGMA page_count"))
        if not pages or pages[0][0] > QUICK_CHECKED_PAGES:
            return
        found = [row[0] for row in self._rows("the file", f"PRAGMA quick_check({_TOLD})")]
        if found and found != ["ok"]:
            self.damage.extend(str(line).replace("\n", " ") for line in found)

    def _rows(self, name: str, statement: str) -> Iterator[Row]:
        """The rows that a statement returns, up to the first damage."""
        try:
            yield from self._database.execute(statement)
        except UNREADABLE as error:
            self.miss(f"{name}: {type(error).__name__}")
        except sqlite3.Error as error:
            if not is_damage(error) and code_of(error) != sqlite3.SQLITE_ERROR:
                raise
            self.miss(f"{name}: {error}")

    def _proven(
        self, name: str, table: Table, statement: str, told: Callable[[Row], str]
    ) -> Generator[Row]:
        """The rows of a statement that have a correct checksum; their sum is checked too.

        They are returned one after the other; a wrong sum is noted at the end.
        """
        known = len(self.damage)
        found = Digest()
        damaged = []
        for row in self._rows(name, statement):
            try:
                proven = intact(table, row)
            except ValueError:
                damaged.append(told(row))
            else:
                found = found.plus(checksum(table.name, proven))
                yield proven
        if damaged:
            more = f" and {len(damaged) - _TOLD} more" if len(damaged) > _TOLD else ""
            self.miss(f"{name}: the checksum is wrong of {', '.join(damaged[:_TOLD])}{more}")
        if self._seal is None or len(self.damage) > known:
            # Damaged rows already explain a wrong sum.
            return
        expected = self._seal.digest(name)
        if found.rows != expected.rows:
            self.miss(f"{name}: {found.rows} rows where {expected.rows} were written")
        elif found != expected:
            self.miss(f"{name}: rows are from an earlier time")


def _series(row: Row) -> str:
    """The name of a series, as far as its row is readable."""
    name, labels = (str(value).encode("ascii", "replace").decode() for value in row[:2])
    return f"{name[:40]} {labels[:200]}"


# Writing ------------------------------------------------------------------------------------------


def write(
    database: sqlite3.Connection, draft: Draft, batch: Batch, number_of: Callable[[str], int]
) -> None:
    """Write a batch, within a transaction; `number_of` creates missing accounts."""
    for name, marks in batch.accounts.items():
        _change_marks(database, draft, number_of(name), partial(_moved, marks=marks))
    _write_workflows(
        database,
        draft,
        [
            (workflow_row(number_of(key[0]), key[1], workflow), workflow)
            for key, workflow in batch.workflows.items()
        ],
    )
    for (counter, labels), count in batch.counters.items():
        draft.use(words_of_total("counter", counter, labels))
        _write_row(database, draft, COUNTERS, counter_row(counter, labels, count))
    for (histogram, labels), observed in batch.histograms.items():
        draft.use(words_of_total("histogram", histogram, labels))
        _write_row(database, draft, HISTOGRAMS, histogram_row(histogram, labels, observed))
    for (account, status), baseline in batch.baselines.items():
        draft.use([f"status {status.value}"])
        _write_baseline(database, draft, number_of(account), status, baseline)
    write_history(database, batch.history)
    if batch.announced is not None:
        draft.use(["mark announced"])
        _write_row(database, draft, MARKS, ("announced", batch.announced))


def make_account(database: sqlite3.Connection, draft: Draft, name: str) -> int:
    """Create an account; return its number."""
    number = int(database.execute("SELECT coalesce(max(account), 0) FROM accounts").fetchone()[0])
    _write_row(database, draft, ACCOUNTS, account_row(number + 1, name, AccountMarks()))
    return number + 1


def prune(
    database: sqlite3.Connection,
    draft: Draft,
    number: int,
    created: float | None,
    ended: float | None,
) -> None:
    """Note that workflows of an account were deleted, none created or ended later than this."""
    _change_marks(
        database,
        draft,
        number,
        lambda kept: _moved(kept, replace(kept, pruned_created=created, pruned_ended=ended)),
    )


def _change_marks(
    database: sqlite3.Connection,
    draft: Draft,
    number: int,
    change: Callable[[AccountMarks], AccountMarks],
) -> None:
    found = database.execute(
        f"SELECT {ACCOUNTS.listed} FROM accounts WHERE account = ?",  # noqa: S608 - constants
        (number,),
    ).fetchone()
    with reading():
        _, name, kept = account_of(intact(ACCOUNTS, found))
    _write_row(database, draft, ACCOUNTS, account_row(number, name, change(kept)))


def _moved(kept: AccountMarks, marks: AccountMarks) -> AccountMarks:
    """The new marks; those that may only move forward keep the later value."""
    return replace(
        marks,
        cutoff=_latest(kept.cutoff, marks.cutoff),
        pruned_created=_latest(kept.pruned_created, marks.pruned_created),
        pruned_ended=_latest(kept.pruned_ended, marks.pruned_ended),
    )


def _latest(*stamps: float | None) -> float | None:
    return max((stamp for stamp in stamps if stamp is not None), default=None)


def delete_ended(
    database: sqlite3.Connection, draft: Draft, number: int, ended_at: float, most: int
) -> list[Workflow]:
    """Delete the workflows of an account that ended before this, the oldest first; return them."""
    rows = [
        intact(WORKFLOWS, row)
        for row in database.execute(
            f"SELECT {WORKFLOWS.listed} FROM workflows "  # noqa: S608 - constants
            "WHERE account = ? AND phase != 'open' AND ended_at < ? "
            "AND cause_owed_since IS NULL AND duration_owed_since IS NULL AND held IS NULL "
            "ORDER BY ended_at LIMIT ?",
            (number, ended_at, most),
        ).fetchall()
    ]
    database.executemany(
        "DELETE FROM workflows WHERE account = ? AND workflow = ?", [row[:2] for row in rows]
    )
    for row in rows:
        before = checksum(WORKFLOWS.name, row)
        draft.change("workflows", before, None)
        draft.changes.append((row[:2], before, None))
    return [workflow_of("", row, 0.0) for row in rows]


def find(
    database: sqlite3.Connection, number: int | None, account: str, workflow: bytes, began: float
) -> Workflow | None:
    """Find a workflow that is settled or dropped, or open but not loaded at the start.

    Raises:
        UnknownWordError: a newer version wrote it.
        ValueError, TypeError: its row is damaged.
    """
    found = database.execute(
        f"SELECT {WORKFLOWS.listed} FROM workflows "  # noqa: S608 - constants
        "WHERE account = ? AND workflow = ?",
        (number, workflow),
    ).fetchone()
    if found is None:
        return None
    return workflow_of(account, intact(WORKFLOWS, found), began)


def every_workflow(database: sqlite3.Connection, began: float) -> Iterator[Workflow]:
    """All workflows, in the order of their keys.

    Raises:
        UnknownWordError: a newer version wrote one of them.
        ValueError, TypeError, LookupError: a row is damaged.
    """
    names = dict(database.execute("SELECT account, name FROM accounts").fetchall())
    behind: tuple[int, bytes] = (-1, b"")
    while True:
        rows = database.execute(
            f"SELECT {WORKFLOWS.listed} FROM workflows "  # noqa: S608 - constants
            f"WHERE (account, workflow) > (?, ?) ORDER BY account, workflow LIMIT {_AT_ONCE}",
            behind,
        ).fetchall()
        for row in rows:
            yield workflow_of(names[row[0]], intact(WORKFLOWS, row), began)
        if len(rows) < _AT_ONCE:
            return
        behind = rows[-1][:2]


_AT_ONCE: Final = 2_000

_FIND_CHECKSUM: Final = {
    table: f"SELECT checksum FROM {table.name} WHERE {table.is_key}"  # noqa: S608
    for table in TABLES
    if table is not WORKFLOWS
}
_UPSERT: Final = {table: table.upsert for table in TABLES}
_FIND_WORKFLOW: Final = f"SELECT checksum, {UNSETTLED} FROM workflows WHERE {WORKFLOWS.is_key}"  # noqa: S608


def _write_row(database: sqlite3.Connection, draft: Draft, table: Table, row: Row) -> None:
    before = database.execute(_FIND_CHECKSUM[table], row[: len(table.key)]).fetchone()
    after = checksum(table.name, row)
    draft.change(table.name, None if before is None else before[0], after)
    database.execute(_UPSERT[table], (*row, after))


def _write_baseline(
    database: sqlite3.Connection,
    draft: Draft,
    number: int,
    status: Status,
    baseline: Baseline | None,
) -> None:
    if baseline is not None:
        _write_row(database, draft, BASELINES, baseline_row(number, status, baseline))
        return
    key = (number, status.value)
    before = database.execute(_FIND_CHECKSUM[BASELINES], key).fetchone()
    if before is not None:
        draft.change(BASELINES.name, before[0], None)
        database.execute(f"DELETE FROM baselines WHERE {BASELINES.is_key}", key)  # noqa: S608


def _write_workflows(
    database: sqlite3.Connection,
    draft: Draft,
    rows: Sequence[tuple[Row, Workflow]],
) -> None:
    kept = []
    for row, workflow in rows:
        found = database.execute(_FIND_WORKFLOW, row[:2]).fetchone()
        before, was_unsettled = (None, False) if found is None else found
        after = checksum(WORKFLOWS.name, row)
        is_unsettled = workflow.is_unsettled
        draft.change("workflows", before, after)
        draft.change(
            "unsettled", before if was_unsettled else None, after if is_unsettled else None
        )
        draft.changes.append(((row[0], row[1]), before, after))
        draft.use(words_of_workflow(workflow.source, workflow.phase, workflow.status))
        draft.use(words_of_held(workflow.held))
        kept.append((*row, after))
    database.executemany(_UPSERT[WORKFLOWS], kept)
