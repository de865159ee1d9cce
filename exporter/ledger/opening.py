"""Whether a file is one of our ledgers, and how a new one replaces it."""

import os
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from exporter.files.storage import make_ours, open_ours
from exporter.ledger.damage import DamagedError, reading
from exporter.ledger.schema import SEALED_FROM, read_seal, schema_checksum
from exporter.ledger.seal import Seal
from exporter.ledger.words import unknown_of

SCRATCH_NAME: Final = "fresh-ledger.sqlite3"
"""A fresh ledger until it is whole: whatever has the ledger's own name was whole once."""

LAST_STEP: Final = 255
"""The schema never gets further. A file that says so is damaged; it was not written by a newer
version."""

_HEADER_BYTES: Final = 100
_MAGIC: Final = b"SQLite format 3\x00"
_WAL_FORMAT: Final = 2


class OpenLedgerError(Exception):
    """The storage folder cannot be used. The text is one line for a person."""


def newer(path: Path, word: str) -> OpenLedgerError:
    """The refusal of a file in which a word is found that this version does not know."""
    return OpenLedgerError(
        f"{path} was written by a newer version of the exporter: this one does not know "
        f"{word[:100]!r}"
    )


def connect(path: Path, busy_seconds: float) -> sqlite3.Connection:
    """A connection for all threads: the ledger lets in one at a time."""
    database = sqlite3.connect(
        path,
        timeout=busy_seconds,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=64,
    )
    # Invalid text must not hide the rows behind it: its checksum detects it.
    database.text_factory = lambda text: text.decode("utf-8", "surrogateescape")
    return database


def put_in_place(path: Path, migrate: Callable[[sqlite3.Connection, int], None]) -> None:
    """Make a fresh ledger, which appears in its place whole.

    Args:
        path: where it is to be; nothing is there.
        migrate: takes the steps of the schema that follow a number of them.

    Raises:
        OSError, sqlite3.Error: it cannot be written.
    """
    scratch = path.with_name(SCRATCH_NAME)
    try:
        for ending in ("", "-journal"):
            scratch.with_name(SCRATCH_NAME + ending).unlink(missing_ok=True)
        # SQLite would let everybody read it. Its log takes over the mode.
        os.close(make_ours(scratch))
        database = connect(scratch, 0.0)
        try:
            migrate(database, 0)
        finally:
            database.close()
        scratch.rename(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


def look_at_header(path: Path) -> None:
    """Find what SQLite would not call damage.

    Only while this process has the file not open: to close a second handle of it would give
    SQLite's locks away.

    Raises:
        DamagedError: it is no file of SQLite's.
        OSError: it cannot be read.
    """
    handle = open_ours(path, os.O_RDONLY)
    try:
        header = os.read(handle, _HEADER_BYTES)
    finally:
        os.close(handle)
    if not header:
        # SQLite would make a database of it.
        raise DamagedError("it is empty")
    if not header.startswith(_MAGIC) or len(header) < _HEADER_BYTES:
        raise DamagedError("it is no database")
    if max(header[18:20]) > _WAL_FORMAT:
        # SQLite would only read it.
        raise DamagedError("its header is damaged")


@dataclass(frozen=True, slots=True)
class OpeningVerdict:
    """What an open file is."""

    seal: Seal | None
    """What it says of itself; None: it does not, or not credibly."""
    doubt: str | None = None
    """What speaks against it, though it can be read: then nothing in it is believed that does not
    prove itself, and nothing more is written to it."""


def examine(
    database: sqlite3.Connection,
    path: Path,
    steps: int,
    migrate: Callable[[sqlite3.Connection, int], None],
) -> OpeningVerdict:
    """Tell whether it is a ledger, and ours; bring one that is older up to date.

    Args:
        database: the open file.
        path: its name, for people.
        steps: how many steps of the schema this version knows.
        migrate: takes those that follow a number of them.

    Raises:
        DamagedError: it is none, and has nothing to be saved.
        OpenLedgerError: a newer version of the exporter wrote it.
        sqlite3.Error: the disk fails, or a step cannot be taken.
    """
    with reading():
        taken = int(database.execute("PRAGMA user_version").fetchone()[0])
    try:
        with reading():
            seal = read_seal(database)
    except DamagedError:
        seal = None
    step = taken if seal is None or steps < taken <= LAST_STEP else seal.step
    if steps < step <= LAST_STEP:
        raise OpenLedgerError(
            f"{path} was written by a newer version of the exporter (schema {step}; "
            f"this one knows {steps})"
        )
    if seal is None:
        if not 0 < taken < SEALED_FROM:
            return OpeningVerdict(None, "its seal is missing or damaged")
    else:
        unknown = unknown_of(seal.words)
        if unknown is not None:
            raise newer(path, unknown)
        if taken != seal.step:
            return OpeningVerdict(
                seal, f"it says that its schema is {taken}, and it was {seal.step}"
            )
        if schema_checksum(database) != seal.schema:
            return OpeningVerdict(seal, "its schema is damaged")
    if taken < steps:
        migrate(database, taken)
        seal = read_seal(database)
    return OpeningVerdict(seal)
