"""Writes rows of workflows: those of a batch in one statement, and only those that differ."""

from collections.abc import Sequence
from typing import Any, Final

from exporter.ledger.postgres.link import Cursor
from exporter.ledger.postgres.rows import plain
from exporter.ledger.postgres.schema import COLUMNS
from exporter.ledger.rows import WORKFLOW_COLUMNS, Row

TYPES: Final = {
    "workflow": "bytea",
    **dict.fromkeys(("account", "run", "stream_ended_run", "listed_ended_run"), "int4"),
    **dict.fromkeys(("entered_queue", "waited", "start_observed", "outputs_counted"), "int2"),
    **dict.fromkeys(
        ("source", "phase", "status", "unknown_status", "slices", "held", "earlier_ends"), "text"
    ),
}
"""The SQL types of the columns; all other columns are timestamps."""

_KEY: Final = ("account", "workflow")
_UPSERT: Final = (
    f"INSERT INTO comfycontrol_workflow ({COLUMNS}) SELECT * FROM unnest("  # noqa: S608 - constants
    + ", ".join(f"%s::{TYPES.get(name, 'float8')}[]" for name in WORKFLOW_COLUMNS)
    + ") ON CONFLICT (account, workflow) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in WORKFLOW_COLUMNS if name not in _KEY)
)


def write_workflows(cursor: Cursor, rows: Sequence[Row]) -> None:
    """Insert rows or replace existing ones; each key comes once."""
    if rows:
        values = [plain(row) for row in rows]
        cursor.execute(_UPSERT, [list(column) for column in zip(*values, strict=True)])


def differing(cursor: Cursor, account: int, rows: Sequence[Row]) -> list[Row]:
    """The rows of an account that are missing in the database or differ there.

    Reading twenty thousand rows takes a tenth of the time of writing them, and during a write
    nobody else can renew a lease.
    """
    place = WORKFLOW_COLUMNS.index("workflow")
    keys: list[Any] = [row[place] for row in rows]
    there = {
        bytes(row[place]): row
        for row in cursor.execute(
            f"SELECT {COLUMNS} FROM comfycontrol_workflow "  # noqa: S608 - constants
            "WHERE account = %s AND workflow = ANY(%s)",
            (account, keys),
        )
    }
    return [row for row in rows if there.get(row[place]) != plain(row)]
