"""Secrets, in a type that never prints them."""

import re
from pathlib import Path
from typing import Any, NoReturn, Self

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from exporter.config.faults import fault
from exporter.files.plain import UnreadableError, read_plain

MASK: str = "<secret>"
"""What stands for a secret wherever one would be printed."""

_LARGEST = 16 * 1024
_VISIBLE = re.compile(r"[\x21-\x7e]+")


class TokenUnreadableError(Exception):
    """A token that cannot be read now. The text names the file and the reason, never the content.

    Attributes:
        reason: What is wrong, without the file's name.
        remedy: What fixes it, in full sentences.
    """

    def __init__(self, reason: str, remedy: str, path: Path | None = None) -> None:
        """Say what is wrong, what fixes it, and with which file, if there is one."""
        self.reason = reason
        self.remedy = remedy
        subject = "token" if path is None else f"token file {str(path)!r}"
        super().__init__(f"{subject} {reason}. {remedy}")


def _checked(text: str) -> str:
    """A token as it goes into an HTTP header, or `TokenUnreadableError`."""
    token = text.strip()
    alone = "Give the token alone, in one line."
    if not token:
        raise TokenUnreadableError("is empty", alone)
    if token.split(maxsplit=1)[0].lower() == "bearer":
        raise TokenUnreadableError("has a scheme before it", "Leave out `Bearer`: it is added.")
    if any(c.isspace() for c in token):
        raise TokenUnreadableError("has white space or a line break inside", alone)
    if not token.isascii():
        raise TokenUnreadableError("has characters outside ASCII", alone)
    if not _VISIBLE.fullmatch(token):
        raise TokenUnreadableError("has control characters", alone)
    if len(token) > _LARGEST:
        raise TokenUnreadableError("is longer than 16 KiB", alone)
    return token


def _content(path: Path) -> str:
    """The text of a token file, or `TokenUnreadableError`."""
    readable = "Name a file that holds the token alone and that this user can read."
    try:
        content = read_plain(path, _LARGEST).content
    except UnreadableError as error:
        reason = error.reason
    else:
        # Every byte is a character here, so that the rule for ASCII is the one that speaks.
        return content.decode("latin-1")
    raise TokenUnreadableError(reason, readable, path)


class TokenSource:
    """Where a token comes from. It can be asked again: a file may have been rotated since.

    Neither `str`, `repr`, a dump, a schema nor a pickle of it holds the token. Two sources are
    equal when they give the same literal token or name the same file: a reload can tell a change.
    """

    __slots__ = ("_path", "_token")

    def __init__(self, *, token: str | None = None, path: Path | None = None) -> None:
        """Take one of the two; `literal` and `file` say it better."""
        self._token = token
        self._path = path

    @classmethod
    def literal(cls, token: str) -> Self:
        """A token that never changes; white space around it is taken off.

        Raises:
            TokenUnreadableError: It is empty, or no HTTP header could carry it.
        """
        return cls(token=_checked(token))

    @classmethod
    def file(cls, path: Path) -> Self:
        """A token in a file, read whenever it is asked for, and not before."""
        return cls(path=path)

    @property
    def path(self) -> Path | None:
        """The file, or `None` for a literal token."""
        return self._path

    def read(self) -> str:
        """The token as it is now; for a file, read again.

        Raises:
            TokenUnreadableError: The file is missing or unreadable, or what it holds is no token.
        """
        if self._token is not None:
            return self._token
        if self._path is None:
            raise TokenUnreadableError("was not given", "Give a token or a token file.")
        try:
            return _checked(_content(self._path))
        except TokenUnreadableError as error:
            reason, remedy = error.reason, error.remedy
        raise TokenUnreadableError(reason, remedy, self._path)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TokenSource):
            return NotImplemented
        return (self._token, self._path) == (other._token, other._path)

    def __hash__(self) -> int:
        return hash((self._token, self._path))

    def __repr__(self) -> str:
        return f"TokenSource({MASK if self._path is None else repr(str(self._path))})"

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled: a pickle holds what it pickles in plain text."""
        raise TypeError("a token source cannot be pickled")

    @classmethod
    def _validated(cls, value: object) -> "TokenSource":
        if isinstance(value, TokenSource):
            return value
        if not isinstance(value, str):
            raise fault("is not text", "Write `token: ${COMFYCONTROL_TOKEN}`, or use `token_file`.")
        try:
            return cls.literal(value)
        except TokenUnreadableError as error:
            raise fault(error.reason, error.remedy) from None

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: type[Any], handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Take a text or a source; dump a mask."""
        del source, handler
        return core_schema.no_info_plain_validator_function(
            cls._validated,
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda _: MASK, return_schema=core_schema.str_schema()
            ),
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """A string that tools must hide."""
        del schema, handler
        return {"type": "string", "minLength": 1, "format": "password", "writeOnly": True}
