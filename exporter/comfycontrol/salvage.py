"""Reads the valid parts of a malformed JSON document.

Used only if the parser refuses a document as a whole. A value that is not JSON (a lone surrogate,
an invalid byte, NaN, an unbounded number, a raw control character) or that is nested too deeply is
left out. A row that is broken in another way is left out as well; the next one begins where the
next row begins.

It reads from left to right, string by string and bracket by bracket, and builds only the upper
levels, which contain everything that is used. The steps for one document are bounded, and so are
its time and its memory, whatever the document contains.
"""

from __future__ import annotations

import re
from math import inf
from typing import Final

import orjson

LEVELS: Final = 5
"""How many levels of objects and arrays are read; deeper values are not kept. The tags in a page,
also in an envelope, and the parts of a cause in a snapshot are within these levels."""

MOST_MEMBERS: Final = 10_000
"""The largest number of members of one object or array; one with more counts as unreadable."""

MOST_STEPS: Final = 1_000_000
"""The largest number of strings, brackets and values that are read in one document; this takes two
seconds."""

_TAIL_SIZE: Final = 4096


class BrokenText:
    """Replaces a value that cannot be read; its type is none of JSON's."""

    def __repr__(self) -> str:
        return "UNREADABLE"


UNREADABLE: Final = BrokenText()


class Salvaged(dict[str, object]):
    """An object that could not be read completely.

    Attributes:
        damaged: the names of its members that contain, at any level, an unreadable value.
    """

    def __init__(self) -> None:
        super().__init__()
        self.damaged: set[str] = set()


_SPACE = re.compile(r"[ \t\r\n]*+")
_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_BARE = re.compile(r'[^ \t\r\n,:\[\]{}"]++')
# A string without an end extends to the end of the text. Repeated brackets count as one step: a row
# can be nested a hundred thousand levels deep.
_STRUCTURE = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|\[++|\]++|\{++|\}++', re.DOTALL)
_NEXT_ROW = re.compile(r",[ \t\r\n]*+(?=\{)")
# The end of the rows and of the document, with nothing but plain members in between.
_TAIL = re.compile(r'\](?:\s*+,\s*+"[^"\\]*+"\s*+:\s*+[^\s,"\[\]{}]++)*+\s*+\}\s*+\Z')

_CLOSERS = {"{": "}", "[": "]"}


class _BrokenError(Exception):
    """At this place is neither JSON nor anything that can be skipped."""


class _EndlessError(Exception):
    """The document needs more steps than allowed."""


def salvage_object(
    data: str | bytes, *, max_depth: int, rows: str | None = None
) -> Salvaged | None:
    """Read what can be read of an object.

    Args:
        data: the document. It may begin with a byte-order mark.
        max_depth: the largest nesting depth; a deeper value counts as unreadable.
        rows: the name of the member whose elements are rows, each of which may be broken. Rows
            beyond the largest number of members are returned as None.

    Returns:
        The object, with ``UNREADABLE`` for each value that cannot be read. None if it is not an
        object, or has no proper end, because then it is unknown what is missing.
    """
    text = data if isinstance(data, str) else data.decode("utf-8", "surrogateescape")
    reader = _Reader(text.removeprefix("\ufeff"), max_depth, rows)
    try:
        return reader.document()
    except (_BrokenError, _EndlessError):
        return None


class _Reader:
    """Reads one text. Positions are indices into it."""

    def __init__(self, text: str, max_depth: int, rows: str | None) -> None:
        self._text = text
        self._max_depth = max_depth
        self._rows = rows
        self._steps = 0
        self._losses = 0
        self._searched: tuple[float, int | None] = (inf, None)

    def document(self) -> Salvaged:
        at = self._space(0)
        if self._at(at) != "{":
            raise _BrokenError
        members, at = self._object(at, 1)
        if self._space(at) != len(self._text):
            raise _BrokenError
        return members

    def _at(self, at: int) -> str:
        return self._text[at : at + 1]

    def _space(self, at: int) -> int:
        match = _SPACE.match(self._text, at)
        return at if match is None else match.end()

    def _lost(self) -> object:
        """Return the replacement for an unreadable value."""
        self._losses += 1
        return UNREADABLE

    def _step(self) -> None:
        self._steps += 1
        if self._steps > MOST_STEPS:
            raise _EndlessError

    # Values -----------------------------------------------------------------------------------

    def _value(self, at: int, depth: int) -> tuple[object, int]:
        """Read the value that begins here; `depth` is its nesting depth."""
        self._step()
        match self._at(at):
            case '"':
                return self._string(at)
            case "{" | "[" as opener:
                return self._container(at, depth + 1, opener)
        bare = _BARE.match(self._text, at)
        if bare is None:
            raise _BrokenError
        return self._load(bare[0]), bare.end()

    def _string(self, at: int) -> tuple[object, int]:
        match = _STRING.match(self._text, at)
        if match is None:
            raise _BrokenError
        return self._load(match[0]), match.end()

    def _load(self, scalar: str) -> object:
        try:
            return orjson.loads(scalar)
        except orjson.JSONDecodeError:
            return self._lost()

    def _container(self, at: int, depth: int, opener: str) -> tuple[object, int]:
        if depth > LEVELS:
            return self._opaque(at, depth, opener)
        try:
            if opener == "{":
                return self._object(at, depth)
            return self._array(at, depth)
        except _BrokenError:
            # If the end of the value can be found, the values after it are not affected.
            return self._lost(), self._skip(at, depth)[0]

    def _opaque(self, at: int, depth: int, opener: str) -> tuple[object, int]:
        end, levels = self._skip(at, depth)
        if levels > self._max_depth:
            return self._lost(), end
        empty: object = Salvaged() if opener == "{" else []
        return empty, end

    def _skip(self, at: int, depth: int, before: int | None = None) -> tuple[int, int]:
        """Skip an object or array; return where it ends, and how deep it is."""
        text, closers = self._text, list[str]()
        deepest = depth
        for match in _STRUCTURE.finditer(text, at, len(text) if before is None else before):
            self._step()
            start = match.start()
            char = text[start]
            if char == '"':
                if match.end() - start < 2 or text[match.end() - 1] != '"':
                    break
            elif char in _CLOSERS:
                closers.extend(_CLOSERS[char] * (match.end() - start))
                deepest = max(deepest, depth + len(closers) - 1)
                if len(closers) > MOST_STEPS:
                    break
            else:
                closing = min(match.end() - start, len(closers))
                if closers[-closing:] != [char] * closing:
                    break
                del closers[-closing:]
                if not closers:
                    # Further closing brackets belong to the enclosing values.
                    return start + closing, deepest
        raise _BrokenError

    # Objects and arrays -----------------------------------------------------------------------

    def _object(self, at: int, depth: int) -> tuple[Salvaged, int]:
        members, count = Salvaged(), 0
        value: object
        at = self._space(at + 1)
        while self._at(at) != "}":
            count += 1
            if count > MOST_MEMBERS:
                raise _BrokenError
            losses = self._losses
            name, at = self._name(at)
            if depth == 1 and name == self._rows and self._at(at) == "[":
                value, at = self._read_rows(at)
            else:
                value, at = self._value(at, depth)
            members[name] = value
            if self._losses > losses:
                members.damaged.add(name)
            at = self._after(at, "}")
        return members, at + 1

    def _name(self, at: int) -> tuple[str, int]:
        """Read a member's name and the colon after it. An unreadable name becomes empty."""
        name, at = self._string(at)
        at = self._space(at)
        if self._at(at) != ":":
            raise _BrokenError
        return name if isinstance(name, str) else "", self._space(at + 1)

    def _array(self, at: int, depth: int) -> tuple[list[object], int]:
        elements: list[object] = []
        at = self._space(at + 1)
        while self._at(at) != "]":
            value, at = self._value(at, depth)
            elements.append(value)
            if len(elements) > MOST_MEMBERS:
                raise _BrokenError
            at = self._after(at, "]")
        return elements, at + 1

    def _after(self, at: int, closer: str) -> int:
        """Skip the comma after a member, or stay at the closing bracket."""
        at = self._space(at)
        if self._at(at) == ",":
            return self._space(at + 1)
        if self._at(at) != closer:
            raise _BrokenError
        return at

    # Rows -------------------------------------------------------------------------------------

    def _read_rows(self, at: int) -> tuple[list[object], int]:
        rows: list[object] = []
        at = self._space(at + 1)
        while self._at(at) != "]":
            row, at = self._row(at)
            rows.append(row if len(rows) < MOST_MEMBERS else None)
            # If the comma between two rows is missing, both rows are still read.
            at = self._space(at)
            if self._at(at) == ",":
                at = self._space(at + 1)
        return rows, at + 1

    def _row(self, at: int) -> tuple[object, int]:
        if self._at(at) == ",":
            self._step()
            return self._lost(), at
        try:
            row, end = self._member_of_rows(at)
        except _BrokenError:
            return self._lost(), self._end_of_broken(at)
        return row, end

    def _member_of_rows(self, at: int) -> tuple[object, int]:
        row: object
        match self._at(at):
            case "{":
                row, end = self._object(at, 3)
            case "[":
                raise _BrokenError  # it may contain everything that follows
            case _:
                row, end = self._value(at, 2)
        if self._at(self._space(end)) not in (",", "]", "{"):
            raise _BrokenError
        return row, end

    def _end_of_broken(self, at: int) -> int:
        """Where a broken row ends: at its closing bracket, but before the next row begins.

        An extra quote exchanges the inside and the outside of all later strings, so brackets alone
        are not reliable.
        """
        following = self._next_row(at)
        end = self._end_by_brackets(at, following)
        if end is not None and self._space(end) == len(self._text):
            raise _BrokenError  # the document was cut off after this row
        if following is not None:
            by_brackets = end is not None and self._at(self._space(end)) == ","
            return end if end is not None and by_brackets else following
        # This is the last row. If the document has an end, the rows end there.
        tail = _TAIL.search(self._text, max(at, len(self._text) - _TAIL_SIZE))
        if tail is None:
            raise _BrokenError
        return tail.start()

    def _end_by_brackets(self, at: int, before: int | None) -> int | None:
        if self._at(at) not in _CLOSERS:
            return None
        try:
            return self._skip(at, 3, before)[0]
        except _BrokenError:
            return None

    def _next_row(self, at: int) -> int | None:
        """The position of the comma before the next readable row with an id."""
        begin, found = self._searched
        if begin <= at and (found is None or at <= found):
            return found  # each position is read only once
        found = self._search_row(at)
        self._searched = at, found
        return found

    def _search_row(self, at: int) -> int | None:
        for match in _NEXT_ROW.finditer(self._text, at):
            self._step()
            try:
                row, _ = self._member_of_rows(match.end())
            except _BrokenError:
                continue
            if isinstance(row, dict) and "id" in row:
                return match.start()
        return None
