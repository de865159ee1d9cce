"""JSON documents of the service, not trusted: sizes, depths and types are all checked.

A document that cannot be used at all raises an error. A single field that cannot be used is
recorded by name and left out, and the rest of the document is used.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, cast

import orjson

from exporter.comfycontrol.salvage import Salvaged, salvage_object
from exporter.comfycontrol.stamps import parse_stamp, read_number
from exporter.comfycontrol.text import clean, has_control_characters

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_DEPTH = 64
"""The largest nesting depth of objects and arrays in a document."""

MAX_QUEUE_NUMBER = 2**31 - 1
"""The largest queue position that is believed."""

MAX_TAGS = 64
"""The largest number of tags that are kept of one workflow."""


class MalformedDocumentError(ValueError):
    """A document of the service that cannot be used. Its text says why, and quotes nothing."""


def load_object(data: str | bytes, max_size: int, rows: str | None = None) -> dict[str, object]:
    """Parse a JSON object.

    A value in it that is not JSON (NaN, infinity, a lone surrogate, an invalid byte) or is nested
    too deeply becomes ``UNREADABLE``; all other values are kept.

    Args:
        data: the document.
        max_size: its largest size in bytes (for a string: characters).
        rows: the name of the member whose elements are rows, each of which may be broken.

    Raises:
        MalformedDocumentError: it is too long, not an object, or broken as a whole.
    """
    if len(data) > max_size:
        raise MalformedDocumentError("the document is too long")
    document = _parse(data)
    if document is None:
        document = salvage_object(data, max_depth=MAX_DEPTH, rows=rows)
    if document is None:
        raise MalformedDocumentError("the document is not a JSON object")
    return document


def _parse(data: str | bytes) -> dict[str, object] | None:
    """Parse a JSON object; None if it is not valid or too deep."""
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(document, dict):
        return None
    # With fewer brackets it cannot be that deep, so this check is not needed for most documents.
    if _brackets(data) > MAX_DEPTH and _is_too_deep(document):
        return None
    return document


def _brackets(data: str | bytes) -> int:
    if isinstance(data, str):
        return data.count("{") + data.count("[")
    return data.count(b"{") + data.count(b"[")


def _is_too_deep(document: dict[str, object]) -> bool:
    level: list[object] = [document]
    for _ in range(MAX_DEPTH):
        members = itertools.chain.from_iterable(
            container.values() if isinstance(container, dict) else cast("list[object]", container)
            for container in level
        )
        # The parser creates exactly these two types, never subclasses. Comparing the type takes
        # half the time, which matters for a snapshot with a large graph.
        level = [value for value in members if type(value) is dict or type(value) is list]
        if not level:
            return False
    return True


class Fields:
    """The fields of one object, each read with its type; the names of wrong ones are noted.

    Unreadable fields that are not used are noted as ``unread``. An absent field and a null one are
    None, and not malformed: the service leaves out and sets to null what is not known yet.
    """

    __slots__ = ("_children", "_document", "_malformed")

    def __init__(self, document: Mapping[str, object]) -> None:
        self._document = document
        self._malformed: list[str] = []
        self._children: list[str] = []

    @property
    def malformed(self) -> tuple[str, ...]:
        """The names of the fields that were wrong, in the order in which they were read."""
        if isinstance(self._document, Salvaged) and self._document.damaged.difference(
            self._malformed, self._children
        ):
            return (*self._malformed, "unread")
        return tuple(self._malformed)

    def reject(self, name: str) -> None:
        """Note that a field is wrong."""
        self._malformed.append(name)

    def text(self, name: str, *, label: str | None = None) -> str | None:
        """Read a string, cleaned; an empty one is None.

        Args:
            name: the field.
            label: the name to note if it is malformed; None: the field's name.
        """
        value = self._document.get(name)
        if value is None:
            return None
        if not isinstance(value, str):
            self.reject(label or name)
            return None
        return clean(value) or None

    def has_control_characters(self, name: str) -> bool:
        """Whether a string has control characters."""
        value = self._document.get(name)
        return isinstance(value, str) and has_control_characters(value)

    def text_or_number(self, name: str) -> str | None:
        """Read a string, or a whole number as its digits."""
        value = self._document.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        return self.text(name)

    def stamp(self, name: str) -> float | None:
        """Read a time, as seconds since the epoch."""
        value = self._document.get(name)
        if value is None:
            return None
        try:
            if isinstance(value, str):
                return parse_stamp(value)
            # `True` is an int in Python, but not a number in JSON.
            if isinstance(value, int | float) and not isinstance(value, bool):
                return read_number(value)
        except ValueError:
            pass
        self.reject(name)
        return None

    def whole_number(self, name: str, maximum: int) -> int | None:
        """Read a whole number from 0 to ``maximum``."""
        value = self._document.get(name)
        if value is None:
            return None
        # `True` is an int in Python, but not a number in JSON.
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= maximum:
            return value
        self.reject(name)
        return None

    def queue_number(self) -> int | None:
        """Read the position in the queue."""
        return self.whole_number("queue_number", MAX_QUEUE_NUMBER)

    def tags(self) -> tuple[str, ...]:
        """Read the tags, cleaned; at most ``MAX_TAGS`` of them."""
        value = self._document.get("tags")
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(tag, str) for tag in value):
            self.reject("tags")
            if not isinstance(value, list):
                return ()
        tags = (clean(tag) for tag in value[:MAX_TAGS] if isinstance(tag, str))
        return tuple(tag for tag in tags if tag)

    def objects(self, name: str) -> int | None:
        """Count the objects of an array."""
        value = self._document.get(name)
        if value is None:
            return None
        if not isinstance(value, list):
            self.reject(name)
            return None
        count = sum(isinstance(item, dict) for item in value)
        if count != len(value):
            self.reject(name)
        return count

    def child(self, name: str) -> Mapping[str, object] | None:
        """Read an object within this one."""
        value = self._document.get(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            self.reject(name)
            return None
        self._children.append(name)
        return value
