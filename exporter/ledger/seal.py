"""Checksums of the stored ledger, to detect damage. Pure.

Each row has a checksum of its content. The seal is one row that is written with every transaction.
It has, for each table, the number of rows and the sum of their checksums, so a row that is missing,
doubled, or older than the rest is detected. The seal also identifies the ledger and says how many
transactions it has taken; the witness beside the file records the same.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Final

Value = str | bytes | int | float | None
"""A value that SQLite stores. It stores a boolean as an integer, so the checksum needs an integer
too."""

_TURNS_AT: Final = 2**64

_json: Final = json.JSONEncoder(separators=(",", ":")).encode


_FIRST_COLUMNS: Final = {"workflows": 24}
"""For tables that got more columns later: how many columns they had when checksums were added.
While the later columns are NULL, a row's checksum is the same as without them, so a step that adds
columns need not change a million rows."""


def checksum(table: str, row: Sequence[Value]) -> int:
    """The checksum of a row of this table: 64 bits, as a signed integer for SQLite."""
    first = _FIRST_COLUMNS.get(table, len(row))
    while len(row) > first and row[-1] is None:
        row = row[:-1]
    # `ascii` is the same for the same values in every version of Python, unlike `repr`.
    digest = blake2b(ascii((table, *row)).encode("ascii"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


@dataclass(frozen=True, slots=True)
class Digest:
    """The combined checksum of a set of rows; their order does not matter."""

    rows: int = 0
    total: int = 0
    """The sum of the rows' checksums, modulo 2 to the power of 64."""

    def plus(self, checksum: int, rows: int = 1) -> "Digest":
        """The digest with one row more, or with one row less if `rows` is -1."""
        return Digest(self.rows + rows, (self.total + rows * checksum) % _TURNS_AT)


def digest_of(checksums: Iterable[int]) -> Digest:
    """The digest of rows with these checksums."""
    digest = Digest()
    for one in checksums:
        digest = digest.plus(one)
    return digest


@dataclass(frozen=True, slots=True)
class Seal:
    """The seal of a ledger: its id, its version and the digests of its tables."""

    ledger: str
    """The id of this ledger; 32 hexadecimal digits."""
    step: int
    """The step of the schema, the same as `PRAGMA user_version`."""
    schema: int
    """The checksum of the text of the schema."""
    commits: int = 0
    """How many transactions the ledger has taken."""
    digests: Mapping[str, Digest] = field(default_factory=dict)
    """The digest of each table, and a separate one of `unsettled` workflows."""
    words: frozenset[str] = frozenset()
    """Every word that any of its rows may hold."""

    def parts(self) -> tuple[str, str]:
        """The stored form, in two parts.

        The first part changes with each transaction. The second part, the words, rarely changes.
        """
        digests = {name: [digest.rows, digest.total] for name, digest in self.digests.items()}
        content = [self.ledger, self.step, self.schema, self.commits, digests]
        return _json(content), _json(sorted(self.words))

    @classmethod
    def parse(cls, content: str, words: str) -> "Seal":
        """A seal from its stored form.

        Raises:
            ValueError, TypeError, LookupError: it is not a seal.
        """
        ledger, step, schema, commits, digests = json.loads(content)
        return cls(
            ledger=str(ledger),
            step=int(step),
            schema=int(schema),
            commits=int(commits),
            digests={
                str(name): Digest(int(rows), int(total)) for name, (rows, total) in digests.items()
            },
            words=frozenset(map(str, json.loads(words))),
        )

    def digest(self, name: str) -> Digest:
        """The digest of one table."""
        return self.digests.get(name, Digest())


class Draft:
    """Collects the changes for the next seal during a transaction."""

    def __init__(self, seal: Seal) -> None:
        self._seal = seal
        self._rows: dict[str, int] = {}
        self._totals: dict[str, int] = {}
        self._words: set[str] = set()
        self.changes: list[tuple[tuple[int, bytes], int | None, int | None]] = []
        """The workflows that were written: account and id, and the checksums of the row before and
        now. None: there was no row before, or there is none now."""

    def change(self, name: str, before: int | None, after: int | None) -> None:
        """Note that a row's checksum changed.

        None: there was no row before, or there is none now.
        """
        rows, total = self._rows.get(name, 0), self._totals.get(name, 0)
        if before is not None:
            rows, total = rows - 1, total - before
        if after is not None:
            rows, total = rows + 1, total + after
        self._rows[name], self._totals[name] = rows, total

    def use(self, words: Iterable[str]) -> None:
        """Note that rows hold these words now."""
        self._words.update(words)

    def sealed(self) -> Seal:
        """The seal to store with what was written; unchanged if nothing was written."""
        if not self._rows:
            return self._seal
        digests = dict(self._seal.digests)
        for name, rows in self._rows.items():
            before = digests.get(name, Digest())
            total = (before.total + self._totals[name]) % _TURNS_AT
            digests[name] = Digest(before.rows + rows, total)
        return replace(
            self._seal,
            commits=self._seal.commits + 1,
            digests=digests,
            words=self._seal.words | self._words,
        )
