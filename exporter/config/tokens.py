"""Secrets, in a type that never prints them."""

import re
from pathlib import Path
from typing import Any, NoReturn, Self

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from exporter.config.errors import invalid
from exporter.files.plain import UnreadableError, read_plain

MASK: str = "<secret>"
"""The text that is printed instead of a secret."""

_LARGEST = 16 * 1024
_VISIBLE = re.compile(r"[\x21-\x7e]+")


class TokenUnreadableError(Exception):
    """A token cannot be read now. The text names the file and the reason, never the content.

    Attributes:
        reason: The error, without the file's name.
        hint: How to fix it, in full sentences.
    """

    def __init__(self, reason: str, hint: str, path: Path | None = None) -> None:
        """Create it from the reason, the hint, and the file if there is one."""
        self.reason = reason
        self.hint = hint
        subject = "token" if path is None else f"token file {str(path)!r}"
        super().__init__(f"{subject} {reason}. {hint}")


def _checked(text: str) -> str:
    """Return a token that can be sent in an HTTP header, or raise `TokenUnreadableError`."""
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
    """Return the text of a token file, or raise `TokenUnreadableError`."""
    readable = "Name a file that holds the token alone and that this user can read."
    try:
        content = read_plain(path, _LARGEST).content
    except UnreadableError as error:
        reason = error.reason
    else:
        # Decoded so that every byte is a character; then the check for ASCII reports the error.
        return content.decode("latin-1")
    raise TokenUnreadableError(reason, readable, path)


class TokenSource:
    """The source of a token. It can be read again, because a file may be rotated.

    Its `str`, `repr`, dumps, schemas and pickles never contain the token. Two sources are equal if
    they have the same literal token or the same file, so a reload can detect a change.
    """

    __slots__ = ("_path", "_token")

    def __init__(self, *, token: str | None = None, path: Path | None = None) -> None:
        """Create it from one of the two; use `literal` or `file` instead."""
        self._token = token
        self._path = path

    @classmethod
    def literal(cls, token: str) -> Self:
        """A token that never changes; surrounding white space is removed.

        Raises:
            TokenUnreadableError: It is empty, or cannot be sent in an HTTP header.
        """
        return cls(token=_checked(token))

    @classmethod
    def file(cls, path: Path) -> Self:
        """A token in a file, which is read each time the token is needed."""
        return cls(path=path)

    @property
    def path(self) -> Path | None:
        """The file, or `None` for a literal token."""
        return self._path

    def read(self) -> str:
        """The present token; a file is read again.

        Raises:
            TokenUnreadableError: The file is missing or unreadable, or contains no token.
        """
        if self._token is not None:
            return self._token
        if self._path is None:
            raise TokenUnreadableError("was not given", "Give a token or a token file.")
        try:
            return _checked(_content(self._path))
        except TokenUnreadableError as error:
            reason, hint = error.reason, error.hint
        raise TokenUnreadableError(reason, hint, self._path)

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
        """Refuse pickling, because a pickle would contain the token in plain text."""
        raise TypeError("a token source cannot be pickled")

    @classmethod
    def _validated(cls, value: object) -> "TokenSource":
        if isinstance(value, TokenSource):
            return value
        if not isinstance(value, str):
            raise invalid(
                "is not text", "Write `token: ${COMFYCONTROL_TOKEN}`, or use `token_file`."
            )
        try:
            return cls.literal(value)
        except TokenUnreadableError as error:
            raise invalid(error.reason, error.hint) from None

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: type[Any], handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Accept a text or a source; serialise as a mask."""
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
        """A string that tools must not show."""
        del schema, handler
        return {"type": "string", "minLength": 1, "format": "password", "writeOnly": True}
