"""Checksums of what the ledger keeps, by which damage shows. Pure.

Each row carries a checksum of what it holds. The seal, a row of its own that is written with every
transaction, carries for each table how many rows it has and the sum of their checksums: by that a
row that is missing, doubled, or left from an earlier time shows. The seal also says which ledger
this is and how many transactions it has taken, which the witness beside the file knows as well.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Final

Value = str | bytes | int | float | None
"""What SQLite keeps. A truth value is an integer there, so it must be one for the checksum."""

_TURNS_AT: Final = 2**64


def checksum(table: str, row: Sequence[Value]) -> int:
    """64 bits, with a sign as SQLite has it, of the values of a row of this table."""
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

    def text(self) -> str:
        """As it is kept."""
        return json.dumps(
            {
                "ledger": self.ledger,
                "step": self.step,
                "schema": self.schema,
                "commits": self.commits,
                "digests": {name: [d.rows, d.total] for name, d in self.digests.items()},
                "words": sorted(self.words),
            },
            separators=(",", ":"),
        )

    @classmethod
    def parse(cls, text: str) -> "Seal":
        """From what was kept.

        Raises:
            ValueError, TypeError, LookupError: it is none.
        """
        kept = json.loads(text)
        return cls(
            ledger=str(kept["ledger"]),
            step=int(kept["step"]),
            schema=int(kept["schema"]),
            commits=int(kept["commits"]),
            digests={
                str(name): Digest(int(rows), int(total))
                for name, (rows, total) in kept["digests"].items()
            },
            words=frozenset(map(str, kept["words"])),
        )

    def digest(self, name: str) -> Digest:
        """That of one table."""
        return self.digests.get(name, Digest())


class Draft:
    """The next seal, while a transaction goes on."""

    def __init__(self, seal: Seal) -> None:
        self._seal = seal
        self._digests = dict(seal.digests)
        self._words: set[str] = set()
        self.changes: list[tuple[tuple[int, bytes], int | None, int | None]] = []
        """The workflows that were written, as account and id with the checksums that their rows
        had before and have now; None: there was none, or there is none now."""

    @property
    def is_changed(self) -> bool:
        """Whether any row was written."""
        return self._digests != self._seal.digests

    def change(self, name: str, before: int | None, after: int | None) -> None:
        """A row has another checksum now; None: there was none, or there is none now."""
        digest = self._digests.get(name, Digest())
        if before is not None:
            digest = digest.plus(before, -1)
        if after is not None:
            digest = digest.plus(after)
        self._digests[name] = digest

    def use(self, words: Iterable[str]) -> None:
        """Rows hold these words now."""
        self._words.update(words)

    def sealed(self) -> Seal:
        """The seal that is to be kept with what was written."""
        return replace(
            self._seal,
            commits=self._seal.commits + 1,
            digests=self._digests,
            words=self._seal.words | self._words,
        )
