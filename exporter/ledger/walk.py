"""Checks every workflow's row once after the start, a few at a time."""

import sqlite3
import time
from collections.abc import Iterable
from typing import Final

from exporter.ledger.damage import DamagedError, reading
from exporter.ledger.rows import workflow_of
from exporter.ledger.schema import WORKFLOWS, intact
from exporter.ledger.seal import Digest, Seal

FIRST_ROWS: Final = 4_000
"""How many rows are checked at the start, before anything is observed, however long that takes: if
a row that is missing is found only later, its workflow may have been counted again by then. It
takes 0.03 s on a quiet machine."""

FIRST_SECONDS: Final = 0.03
"""The start checks more rows than that as long as it has not taken so many seconds."""

SLICE_SECONDS: Final = 0.004
"""After the start: seconds for which it may block other uses of the store at a time."""

ROWS_AT_ONCE: Final = 100

_ROWS: Final = (
    f"SELECT {', '.join(f'w.{column}' for column in WORKFLOWS.columns)}, w.checksum, "  # noqa: S608
    "(SELECT count(*) FROM workflows i INDEXED BY created WHERE i.account = w.account "
    "AND i.created_at IS w.created_at AND i.workflow = w.workflow), "
    "w.phase = 'open' OR (SELECT count(*) FROM workflows i INDEXED BY ended "
    "WHERE i.phase != 'open' AND i.account = w.account AND i.ended_at IS w.ended_at "
    "AND i.workflow = w.workflow) "
    "FROM workflows w WHERE (w.account, w.workflow) > (?, ?) "
    f"ORDER BY w.account, w.workflow LIMIT {ROWS_AT_ONCE}"
)

_SOURCE, _PHASE, _STATUS = map(WORKFLOWS.columns.index, ("source", "phase", "status"))

_Key = tuple[int, bytes]


class Walk:
    """Checks all rows in the order of their keys: checksum, index entries, and the sum of all.

    Rows are also written meanwhile. A row that was already checked changes the sum when it is
    written.
    """

    def __init__(self) -> None:
        self.is_done = False
        self._behind: _Key = (-1, b"")
        self._digest = Digest()
        # Combinations of words that were already checked and are known.
        self._read: set[tuple[object, ...]] = set()

    def first(self, database: sqlite3.Connection, seal: Seal) -> list[str]:
        """Check at least 4,000 rows, and as many more as the start has time for.

        The damage found is returned.

        Raises:
            UnknownWordError: a newer version wrote one of them.
            sqlite3.Error: they cannot be read.
        """
        try:
            with reading():
                self.go_on(database, seal, FIRST_SECONDS, least=FIRST_ROWS)
        except DamagedError as error:
            return [str(error)]
        return []

    def go_on(
        self, database: sqlite3.Connection, seal: Seal, seconds: float, least: int = 0
    ) -> None:
        """Check more rows for about this many seconds, and at least this many rows.

        Raises:
            DamagedError: a row is damaged, or the sum of all is wrong.
            UnknownWordError: a newer version wrote one of them.
            sqlite3.Error: they cannot be read.
        """
        until = time.perf_counter() + seconds
        while not self.is_done:
            rows = database.execute(_ROWS, self._behind).fetchall()
            for *found, is_created, is_ended in rows:
                row = intact(WORKFLOWS, tuple(found))
                words = row[_SOURCE], row[_PHASE], row[_STATUS]
                if words not in self._read:
                    workflow_of("", row, 0.0)
                    self._read.add(words)
                if not (is_created and is_ended):
                    raise DamagedError("workflows: an index lacks a row")
                self._digest = self._digest.plus(found[-1])
            if len(rows) < ROWS_AT_ONCE:
                self.is_done = True
                if self._digest != seal.digest("workflows"):
                    raise DamagedError("workflows: rows are missing, or from an earlier time")
            else:
                self._behind = rows[-1][0], rows[-1][1]
            least -= len(rows)
            if least <= 0 and time.perf_counter() >= until:
                return

    def note(self, changes: Iterable[tuple[_Key, int | None, int | None]]) -> None:
        """Note that rows were written, with their checksums before and after."""
        if self.is_done:
            return
        for key, before, after in changes:
            if key <= self._behind:
                if before is not None:
                    self._digest = self._digest.plus(before, -1)
                if after is not None:
                    self._digest = self._digest.plus(after)
