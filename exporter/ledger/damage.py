"""Distinguishes damage of the ledger's file from temporary failures."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_DAMAGE: Final = (
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_FORMAT,
    # The row has a length that none of our rows has.
    sqlite3.SQLITE_TOOBIG,
)
_PASSING: Final = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_NOMEM)

UNREADABLE: Final = (
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    RecursionError,
    MemoryError,
)
"""The exceptions that Python raises for a value that we never wrote. SQLite's messages quote the
schema. If that is no longer valid text, they end in a UnicodeDecodeError, which is a ValueError."""


class DamagedError(Exception):
    """The file holds what we never wrote."""


def code_of(error: sqlite3.Error) -> int | None:
    """SQLite's primary error code; None if the error is not from SQLite."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the file is damaged, so that trying again does not help."""
    code = code_of(error)
    # An operational error without a code is about invalid text.
    return code in _DAMAGE or (code is None and isinstance(error, sqlite3.OperationalError))


def is_passing(error: sqlite3.Error) -> bool:
    """Whether the error is temporary, and the connection still usable."""
    return code_of(error) in _PASSING


@contextmanager
def reading() -> Iterator[None]:
    """Use this around correct statements and values that we wrote: any failure means damage.

    SQLite finds damage only in its own structure; other damage shows in the values.
    """
    try:
        yield
    except UNREADABLE as error:
        raise DamagedError(f"a row is not what was written ({type(error).__name__})") from error
    except sqlite3.Error as error:
        if is_damage(error) or code_of(error) == sqlite3.SQLITE_ERROR:
            # Our statements are correct, so the tables are damaged.
            raise DamagedError(str(error)) from error
        raise
