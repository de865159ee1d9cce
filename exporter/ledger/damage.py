"""Distinguishes damage of the ledger's file from temporary failures."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_DAMAGE: Final = (
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_FORMAT,
    # A length that none of our rows has.
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
"""What Python raises for a value that we never wrote. SQLite's own messages quote the schema: where
that is no text any more, they end in a UnicodeDecodeError, which is a ValueError."""


class DamagedError(Exception):
    """The file holds what we never wrote."""


def code_of(error: sqlite3.Error) -> int | None:
    """SQLite's own primary code, where the error is SQLite's."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the file is to blame, and no second try will help."""
    code = code_of(error)
    # Without a code an operational error is about text that is no text.
    return code in _DAMAGE or (code is None and isinstance(error, sqlite3.OperationalError))


def is_passing(error: sqlite3.Error) -> bool:
    """Whether the connection is as good as before."""
    return code_of(error) in _PASSING


@contextmanager
def reading() -> Iterator[None]:
    """Around statements that are right and values that we wrote: whatever fails is damage.

    SQLite finds damage only where it hurts its own structure; the rest shows in the values.
    """
    try:
        yield
    except UNREADABLE as error:
        raise DamagedError(f"a row is not what was written ({type(error).__name__})") from error
    except sqlite3.Error as error:
        if is_damage(error) or code_of(error) == sqlite3.SQLITE_ERROR:
            # Our statements are right: it is the tables that are not ours.
            raise DamagedError(str(error)) from error
        raise
