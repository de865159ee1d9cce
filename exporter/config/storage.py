"""Where the ledger is stored, if not in a folder."""

from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo

from exporter.config.errors import invalid
from exporter.config.files import Loading, located, nameable
from exporter.config.section import Section, absent_by_default
from exporter.files.plain import UnreadableError, read_plain

_LARGEST: Final = 16 * 1024


class DsnUnreadableError(Exception):
    """The connection string cannot be read now. The reason continues the file's name."""


def read_dsn(path: Path) -> str:
    """The connection string that a file holds, as it is now.

    Raises:
        DsnUnreadableError: it cannot be read, or holds none.
    """
    try:
        content = read_plain(path, _LARGEST).content
    except UnreadableError as error:
        raise DsnUnreadableError(error.reason) from None
    try:
        text = content.decode().strip()
    except UnicodeDecodeError:
        text = None
    # Outside of the handler: its error holds what was read.
    if text is None:
        raise DsnUnreadableError("is not text in UTF-8")
    if not text:
        raise DsnUnreadableError("is empty")
    if "\0" in text:
        raise DsnUnreadableError("has a character that no connection string has")
    return text


def _readable(path: Path, info: ValidationInfo) -> Path:
    if not isinstance(info.context, Loading):
        return path
    try:
        read_dsn(path)
    except DsnUnreadableError as error:
        # Some write the connection string where its file should be named.
        name = nameable(path, info.context.folder)
        which = "a file that" if name is None else f"the file {name}, which"
        reason = f"names {which} {error}"
    else:
        return path
    raise invalid(
        reason,
        "Name a file that this user can read and that holds a connection string alone, such as "
        "`postgresql://user:password@host/database`.",
    )


class Postgres(Section):
    """A PostgreSQL 14 or newer, which several replicas may share."""

    dsn_file: Annotated[Path, BeforeValidator(located), AfterValidator(_readable)] = Field(
        description="File with the connection string, as libpq takes it: a URL or `key=value` "
        "pairs. It is read again for each new connection, so that a password can be rotated.",
        examples=["/run/secrets/dsn"],
    )


class Storage(Section):
    """Where the ledger is kept. Absent: SQLite in the folder of `--storage.path`."""

    postgres: Postgres | None = Field(
        default=None,
        description="Keep it in PostgreSQL. Replicas with the same database share the accounts: "
        "each is held by one of them, and the others stand by.",
        examples=[{"dsn_file": "/run/secrets/dsn"}],
        json_schema_extra=absent_by_default,
    )


__all__ = ["DsnUnreadableError", "Postgres", "Storage", "read_dsn"]
