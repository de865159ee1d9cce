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
"""The name of a new ledger until it is complete: a file with the ledger's own name was complete
once."""

LAST_STEP: Final = 255
"""No schema ever has more steps. A file with a higher number is damaged, not written by a newer
version."""

_HEADER_BYTES: Final = 100
_MAGIC: Final = b"SQLite format 3\x00"
_WAL_FORMAT: Final = 2


class OpenLedgerError(Exception):
    """The storage folder cannot be used. The text is one line for a person."""


def newer(path: Path, word: str) -> OpenLedgerError:
    """The error for a file that holds a word that this version does not know."""
    return OpenLedgerError(
        f"{path} was written by a newer version of the exporter: this one does not know "
        f"{word[:100]!r}"
    )


def connect(path: Path, busy_seconds: float) -> sqlite3.Connection:
    """Open one connection that all threads share: the ledger's lock lets one at a time use it."""
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
    """Create a new ledger; the file appears under its final name only when it is complete.

    Args:
        path: the place of the new file; nothing exists there.
        migrate: applies the steps of the schema after the given number of steps.

    Raises:
        OSError, sqlite3.Error: it cannot be written.
    """
    scratch = path.with_name(SCRATCH_NAME)
    try:
        for ending in ("", "-journal"):
            scratch.with_name(SCRATCH_NAME + ending).unlink(missing_ok=True)
        # SQLite would make the file readable for all users. Its log inherits the mode.
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
    """Find damage in the header that SQLite does not report.

    Call this only while this process does not have the file open: closing a second handle of it
    would release SQLite's locks.

    Raises:
        DamagedError: it is not an SQLite file.
        OSError: it cannot be read.
    """
    handle = open_ours(path, os.O_RDONLY)
    try:
        header = os.read(handle, _HEADER_BYTES)
    finally:
        os.close(handle)
    if not header:
        # SQLite would create a database in it.
        raise DamagedError("it is empty")
    if not header.startswith(_MAGIC) or len(header) < _HEADER_BYTES:
        raise DamagedError("it is no database")
    if max(header[18:20]) > _WAL_FORMAT:
        # SQLite would open it read-only.
        raise DamagedError("its header is damaged")


@dataclass(frozen=True, slots=True)
class OpeningVerdict:
    """What the check of an open file has shown."""

    seal: Seal | None
    """The seal stored in the file; None: it has no seal, or an invalid one."""
    doubt: str | None = None
    """Why the file is not trusted although it can be read. In that case only rows with a correct
    checksum are used, and nothing more is written to it."""
    is_first_seal: bool = False
    """Whether it got its seal just now: an older version had written it, and recorded nothing."""


def examine(
    database: sqlite3.Connection,
    path: Path,
    steps: int,
    migrate: Callable[[sqlite3.Connection, int], None],
) -> OpeningVerdict:
    """Check whether the file is one of our ledgers; migrate an older one.

    Args:
        database: the open file.
        path: its name, for messages.
        steps: how many steps of the schema this version knows.
        migrate: applies the steps after the given number of steps.

    Raises:
        DamagedError: it is not a ledger, and holds nothing that can be saved.
        OpenLedgerError: a newer version of the exporter wrote it.
        sqlite3.Error: the disk fails, or a step cannot be applied.
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
    is_first_seal = seal is None
    if taken < steps:
        migrate(database, taken)
        seal = read_seal(database)
    return OpeningVerdict(seal, is_first_seal=is_first_seal)
