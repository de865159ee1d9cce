"""The history's rows in the ledger's file. They are for people: no count depends on them.

So they are not in the seal. A damaged row is left out, and the ledger is not affected.
"""

import sqlite3
from collections.abc import Mapping
from typing import Final
from zlib import crc32

from exporter.ledger.damage import UNREADABLE, code_of, is_damage
from exporter.ledger.store import HistoryKey, HistoryRow

MOST_ROWS: Final = 20_000
"""How many rows are read at a start, the latest ones. The history normally stores far fewer."""


def read_history(database: sqlite3.Connection) -> tuple[tuple[HistoryKey, HistoryRow], ...]:
    """All undamaged rows, the oldest first.

    Raises:
        sqlite3.Error: the disk fails.
    """
    found: list[tuple[HistoryKey, HistoryRow]] = []
    try:
        for kind, number, content, checksum in database.execute(
            "SELECT kind, number, content, checksum FROM history "
            "ORDER BY kind DESC, number DESC LIMIT ?",
            (MOST_ROWS,),
        ):
            if isinstance(content, bytes) and crc32(content) == checksum:
                found.append((("", str(kind), int(number)), content))
    except UNREADABLE:
        return tuple(reversed(found))
    except sqlite3.Error as error:
        # Our statement is correct: if SQLite rejects it, the table is damaged.
        if not is_damage(error) and code_of(error) != sqlite3.SQLITE_ERROR:
            raise
    return tuple(reversed(found))


def write_history(
    database: sqlite3.Connection, rows: Mapping[HistoryKey, HistoryRow | None]
) -> None:
    """Write these rows, and delete those that are None, within a transaction."""
    if not rows:
        return
    database.executemany(
        "DELETE FROM history WHERE kind = ? AND number = ?",
        [key[1:] for key, row in rows.items() if row is None],
    )
    database.executemany(
        "INSERT OR REPLACE INTO history (kind, number, content, checksum) VALUES (?, ?, ?, ?)",
        [(*key[1:], row, crc32(row)) for key, row in rows.items() if row is not None],
    )
