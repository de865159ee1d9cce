"""The history's rows in the database. They are for people: no count depends on them."""

from collections.abc import Mapping
from typing import Final

from exporter.ledger.postgres.link import Cursor
from exporter.ledger.store import HistoryKey, HistoryRow

MOST_ROWS: Final = 5_000
"""How many rows of one account its next holder reads, the latest ones. The history normally stores
fewer."""


def read_history(
    cursor: Cursor, account: str, number: int
) -> tuple[tuple[HistoryKey, HistoryRow], ...]:
    """All rows of an account, the oldest first."""
    cursor.execute(
        "SELECT kind, number, content FROM comfycontrol_history WHERE account = %s "
        "ORDER BY number DESC LIMIT %s",
        (number, MOST_ROWS),
    )
    return tuple(
        ((account, str(kind), int(row)), bytes(content))
        for kind, row, content in reversed(cursor.fetchall())
    )


def write_history(
    cursor: Cursor, account: int, rows: Mapping[HistoryKey, HistoryRow | None]
) -> None:
    """Write these rows of an account, and delete those that are None, within a transaction."""
    dropped = [(account, *key[1:]) for key, row in rows.items() if row is None]
    written = [(account, *key[1:], row) for key, row in rows.items() if row is not None]
    if dropped:
        cursor.executemany(
            "DELETE FROM comfycontrol_history WHERE account = %s AND kind = %s AND number = %s",
            dropped,
        )
    if written:
        cursor.executemany(
            "INSERT INTO comfycontrol_history (account, kind, number, content) "
            "VALUES (%s, %s, %s, %s) ON CONFLICT (account, kind, number) "
            "DO UPDATE SET content = excluded.content",
            written,
        )
