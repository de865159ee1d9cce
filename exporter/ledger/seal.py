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
"""What SQLite keeps. A truth value is an integer there, so it must be one for the checksum."""

_TURNS_AT: Final = 2**64

_json: Final = json.JSONEncoder(separators=(",", ":")).encode


_FIRST_COLUMNS: Final = {"workflows": 24}
"""How many columns a table had when rows got their checksums, where more came later. While those
at the end hold nothing, a row has the checksum that it had without them: so a step that adds some
need not touch a million rows."""


def checksum(table: str, row: Sequence[Value]) -> int:
    """64 bits, with a sign as SQLite has it, of the values of a row of this table."""
    first = _FIRST_COLUMNS.get(table, len(row))
    while len(row) > first and row[-1] is None:
        row = row[:-1]
    # `ascii` is the same for the same values in every version of Python, unlike `repr`.
    digest = blake2b(ascii((table, *row)).encode("ascii"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


@dataclass(frozen=True, slots=True)
class Digest:
    """What a set of rows comes to, in whatever order."""

    rows: int = 0
    total: int = 0
    """The sum of their checksums, modulo 2 to the 64."""

    def plus(self, checksum: int, rows: int = 1) -> "Digest":
        """With one more row, or with -1 one less."""
        return Digest(self.rows + rows, (self.total + rows * checksum) % _TURNS_AT)


def digest_of(checksums: Iterable[int]) -> Digest:
    """What rows of these checksums come to."""
    digest = Digest()
    for one in checksums:
        digest = digest.plus(one)
    return digest


@dataclass(frozen=True, slots=True)
class Seal:
    """What the ledger says of itself as a whole."""

    ledger: str
    """Tells this ledger from all others; 32 hexadecimal digits."""
    step: int
    """The step of the schema, as `PRAGMA user_version` has it."""
    schema: int
    """The checksum of the text of the schema."""
    commits: int = 0
    """How many transactions it has taken."""
    digests: Mapping[str, Digest] = field(default_factory=dict)
    """By table, and of `unsettled` workflows once more by themselves."""
    words: frozenset[str] = frozenset()
    """Every word that any of its rows may hold."""

    def parts(self) -> tuple[str, str]:
        """As it is kept: what changes with each transaction, and the words, which hardly do."""
        digests = {name: [digest.rows, digest.total] for name, digest in self.digests.items()}
        content = [self.ledger, self.step, self.schema, self.commits, digests]
        return _json(content), _json(sorted(self.words))

    @classmethod
    def parse(cls, content: str, words: str) -> "Seal":
        """From what was kept.

        Raises:
            ValueError, TypeError, LookupError: it is none.
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
        """That of one table."""
        return self.digests.get(name, Digest())


class Draft:
    """The next seal, while a transaction goes on."""

    def __init__(self, seal: Seal) -> None:
        self._seal = seal
        self._rows: dict[str, int] = {}
        self._totals: dict[str, int] = {}
        self._words: set[str] = set()
        self.changes: list[tuple[tuple[int, bytes], int | None, int | None]] = []
        """The workflows that were written, as account and id with the checksums that their rows
        had before and have now; None: there was none, or there is none now."""

    def change(self, name: str, before: int | None, after: int | None) -> None:
        """A row has another checksum now; None: there was none, or there is none now."""
        rows, total = self._rows.get(name, 0), self._totals.get(name, 0)
        if before is not None:
            rows, total = rows - 1, total - before
        if after is not None:
            rows, total = rows + 1, total + after
        self._rows[name], self._totals[name] = rows, total

    def use(self, words: Iterable[str]) -> None:
        """Rows hold these words now."""
        self._words.update(words)

    def sealed(self) -> Seal:
        """The seal that is to be kept with what was written; the same where nothing was."""
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
