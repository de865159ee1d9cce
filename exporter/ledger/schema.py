"""The tables of the ledger on disk: how each is read, and how missing steps are applied."""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Final
from uuid import uuid4

from exporter.ledger.damage import UNREADABLE, DamagedError
from exporter.ledger.rows import (
    WORKFLOW_COLUMNS,
    Row,
    account_of,
    baseline_of,
    counter_of,
    histogram_of,
    mark_of,
    workflow_of,
)
from exporter.ledger.seal import Digest, Seal, checksum, digest_of
from exporter.ledger.steps import STEPS
from exporter.ledger.store import AccountMarks
from exporter.ledger.words import (
    UnknownWordError,
    words_of_held,
    words_of_total,
    words_of_workflow,
    words_until,
)

MIGRATIONS: Final = tuple(step.sql for step in STEPS)

SEALED_FROM: Final = 2
"""The step that added the checksums. A later step that adds a column to one of the tables below
must allow NULL in it, and must be noted in `exporter.ledger.seal`."""

UNSETTLED: Final = (
    "(phase = 'open' OR cause_owed_since IS NOT NULL OR duration_owed_since IS NOT NULL "
    "OR held IS NOT NULL)"
)
"""The condition for rows that are held in memory; the index of the same name uses it too."""

INDEXES: Final = ("unsettled", "created", "ended")


@dataclass(frozen=True, slots=True)
class Table:
    """A table whose rows carry a checksum of all their other columns, in this order."""

    name: str
    key: tuple[str, ...]
    """The columns of the key, which are the first ones."""
    columns: tuple[str, ...]

    @property
    def listed(self) -> str:
        """The names of its columns, with the checksum last."""
        return ", ".join((*self.columns, "checksum"))

    @property
    def is_key(self) -> str:
        """The SQL condition that selects the row with one key."""
        return " AND ".join(f"{column} = ?" for column in self.key)

    @property
    def upsert(self) -> str:
        """The statement that writes a row and its checksum; it replaces an existing row."""
        # Only this row is ever changed, even if an index is damaged.
        written = (*self.columns[len(self.key) :], "checksum")
        return (
            f"INSERT INTO {self.name} ({self.listed}) "  # noqa: S608 - constants
            f"VALUES ({', '.join('?' * (len(self.columns) + 1))}) "
            f"ON CONFLICT ({', '.join(self.key)}) DO UPDATE SET "
            f"{', '.join(f'{column} = excluded.{column}' for column in written)}"
        )


_MARKS: Final = {"cutoff": "line", "watermark": "frontier"}
"""Columns whose name differs from that of the field in the marks."""

ACCOUNTS: Final = Table(
    "accounts",
    ("account",),
    ("account", "name", *(_MARKS.get(mark.name, mark.name) for mark in fields(AccountMarks))),
)
WORKFLOWS: Final = Table("workflows", ("account", "workflow"), WORKFLOW_COLUMNS)
COUNTERS: Final = Table(
    "counters", ("name", "labels"), ("name", "labels", "value", "appeared", "exemplar")
)
HISTOGRAMS: Final = Table(
    "histograms",
    ("name", "labels"),
    ("name", "labels", "bounds", "counts", "sum", "exemplars", "appeared"),
)
MARKS: Final = Table("marks", ("name",), ("name", "value"))
BASELINES: Final = Table(
    "baselines",
    ("account", "status"),
    ("account", "status", "value", "compared_at", "since"),
)
TABLES: Final = (ACCOUNTS, WORKFLOWS, COUNTERS, HISTOGRAMS, MARKS, BASELINES)


def intact(table: Table, found: Row) -> Row:
    """Check a row, and return it without its checksum, the last value.

    Raises:
        ValueError: the row is damaged.
    """
    row = found[:-1]
    if checksum(table.name, row) != found[-1]:
        raise ValueError("the checksum is another")
    return row


# The seal -----------------------------------------------------------------------------------------


def read_seal(database: sqlite3.Connection) -> Seal:
    """Read the ledger's seal.

    Raises:
        ValueError, TypeError, LookupError: it is damaged or missing.
        sqlite3.Error: it cannot be read.
    """
    rows = database.execute("SELECT part, content, checksum FROM seal ORDER BY part").fetchall()
    parts = [content for part, content, found in rows if found == checksum("seal", (part, content))]
    return Seal.parse(*parts)


def write_seal(database: sqlite3.Connection, seal: Seal, before: Seal | None = None) -> None:
    """Replace the previous seal, within the transaction that it seals."""
    content, words = seal.parts()
    parts = [(1, content)] if before and before.words == seal.words else [(1, content), (2, words)]
    database.executemany(
        "INSERT OR REPLACE INTO seal (part, content, checksum) VALUES (?, ?, ?)",
        [(*part, checksum("seal", part)) for part in parts],
    )


def schema_checksum(database: sqlite3.Connection) -> int:
    """The checksum of the schema's text, because SQLite does not detect all damage to it."""
    names = ("seal", "history", *(table.name for table in TABLES), *INDEXES)
    rows = database.execute(
        "SELECT name, type, tbl_name, sql FROM sqlite_schema "  # noqa: S608 - constants
        f"WHERE name IN ({', '.join('?' * len(names))}) ORDER BY name",
        names,
    ).fetchall()
    return checksum("sqlite_schema", [value for row in rows for value in row])


# Steps --------------------------------------------------------------------------------------------


def migrate(database: sqlite3.Connection, taken: int, steps: tuple[str, ...]) -> None:
    """Apply the missing steps of the schema, all of them or none.

    Raises:
        DamagedError: the existing tables are not those that the earlier steps create.
        sqlite3.Error: a step cannot be applied.
    """
    if not _holds(database, steps[:taken]):
        raise DamagedError(f"it does not hold the tables of schema {taken}")
    seal = read_seal(database) if taken >= SEALED_FROM else None
    script = "; ".join(steps[taken:])
    try:
        database.executescript(f"BEGIN IMMEDIATE; {script}; PRAGMA user_version = {len(steps)};")
        if seal is None:
            digests, words = _seal_rows(database, words_until(taken))
            seal = Seal(uuid4().hex, 0, 0, digests=digests, words=frozenset(words))
        write_seal(
            database,
            replace(seal, step=len(steps), schema=schema_checksum(database)),
        )
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise


def _holds(database: sqlite3.Connection, steps: tuple[str, ...]) -> bool:
    """Whether it has exactly the tables, columns and indexes that these steps create."""
    model = sqlite3.connect(":memory:", isolation_level=None)
    try:
        model.executescript(";".join(steps))
        expected = _shape(model)
    finally:
        model.close()
    found = _shape(database)
    return expected.items() <= found.items() if steps else not found


def _shape(database: sqlite3.Connection) -> dict[str, tuple[str, ...]]:
    shape: dict[str, list[str]] = {}
    for kind, name, column in database.execute(
        "SELECT s.type, s.name, c.name FROM sqlite_schema s LEFT JOIN pragma_table_info(s.name) c "
        "WHERE s.name NOT LIKE 'sqlite!_%' ESCAPE '!' ORDER BY s.name, c.cid"
    ):
        shape.setdefault(f"{kind} {name}", []).append(str(column))
    return {name: tuple(columns) for name, columns in shape.items()}


def _seal_rows(
    database: sqlite3.Connection, known: frozenset[str]
) -> tuple[dict[str, Digest], set[str]]:
    """Give every row of an older ledger its checksum; a damaged row gets none."""
    words: set[str] = set()
    digests = {
        table.name: digest_of(
            _seal_row(database, table, row, known, words) for row in _all_rows(database, table)
        )
        for table in TABLES
    }
    digests["unsettled"] = digest_of(
        found
        for (found,) in database.execute(f"SELECT checksum FROM workflows WHERE {UNSETTLED}")  # noqa: S608
        if found is not None
    )
    return digests, words


_AT_ONCE: Final = 5_000


def _all_rows(database: sqlite3.Connection, table: Table) -> Iterator[Row]:
    """All rows, in the order of their keys, while they are being changed."""
    columns, key = ", ".join(table.columns), ", ".join(table.key)
    order = f"ORDER BY {key} LIMIT {_AT_ONCE}"
    condition, after = "", ()
    while True:
        rows = database.execute(
            f"SELECT {columns} FROM {table.name} {condition} {order}",  # noqa: S608
            after,
        ).fetchall()
        yield from rows
        if len(rows) < _AT_ONCE:
            return
        after = rows[-1][: len(table.key)]
        condition = f"WHERE ({key}) > ({', '.join('?' * len(table.key))})"


def _seal_row(
    database: sqlite3.Connection, table: Table, row: Row, known: frozenset[str], words: set[str]
) -> int:
    sealed = checksum(table.name, row)
    try:
        found = _words(table, row)
    except (UnknownWordError, *UNREADABLE):
        found = None
    # A row without a checksum is reported as damaged when it is read.
    if found is not None and found <= known:
        words.update(found)
        database.execute(
            f"UPDATE {table.name} SET checksum = ? WHERE {table.is_key}",  # noqa: S608
            (sealed, *row[: len(table.key)]),
        )
    return sealed


def _words(table: Table, row: Row) -> frozenset[str]:
    """The words of a row; fails if a row of an older version cannot have these values."""
    if table is WORKFLOWS:
        workflow = workflow_of("", row, 0.0)
        return words_of_workflow(workflow.source, workflow.phase, workflow.status) | words_of_held(
            workflow.held
        )
    if table is COUNTERS:
        (name, labels), _ = counter_of(row)
        return words_of_total("counter", name, labels)
    if table is HISTOGRAMS:
        (histogram, labels), _ = histogram_of(row)
        return words_of_total("histogram", histogram, labels)
    if table is MARKS:
        return frozenset([f"mark {mark_of(row)[0]}"])
    if table is BASELINES:
        return frozenset([f"status {baseline_of(row)[1].value}"])
    account_of(row)
    return frozenset()
