"""YAML as plain data, with the line of every key and all errors of its form.

PyYAML's own loader has no lines, accepts a key that occurs twice, builds objects for tags, and
expands aliases without limit. This one reads PyYAML's tree of nodes instead.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias, cast

import yaml

from exporter.config.errors import ErrorEntry, key_path

Data: TypeAlias = "bool | int | float | str | list[Data] | dict[str, Data] | None"
"""The types of values in a document. A YAML timestamp stays text."""

KeyPath: TypeAlias = tuple[str | int, ...]
"""Keys and positions from the top of the document to one value."""


class Plain(str):
    """A scalar without quotes, exactly as written.

    Its reader decides what it means: `1` may be a number, a name or the value of a header.
    """

    __slots__ = ()


_DEEPEST = 24
_MOST_VALUES = 20_000
"""PyYAML takes half a second for this many, and nothing else in the process runs meanwhile."""
_LONGEST_NUMBER = 64

_TAG = "tag:yaml.org,2002:"
_MERGE = f"{_TAG}merge"
_NULL = f"{_TAG}null"
_TEXTS = {f"{_TAG}{name}" for name in ("str", "timestamp", "value")}
_NUMBERS = {f"{_TAG}{name}" for name in ("bool", "int", "float")}

# PyYAML quotes what it found, which could be part of a secret. Only single characters, as written
# by `repr`, and its own names of tokens (`<block end>`) are shown.
_QUOTED = re.compile(r"""'[^']*'|"[^"]*\"""")
_HARMLESS = re.compile(r""".(.|\\.|\\x..|\\u.{4}|<[a-z ]+>).""")

# From messages of PyYAML to hints; the first match is used.
_HINTS = (
    ("'\\t'", "Indent with spaces: YAML takes no tabs there."),
    ("mapping values are not allowed", "Check the indentation, and quote a value that holds `: `."),
    ("that cannot start any token", "Put the value in quotes."),
    ("undefined alias", "Put a value that starts with `*` in quotes."),
    ("duplicate anchor", "Give each anchor its own name."),
    ("another document", "Leave one document in the file, without a `---` between."),
    (
        f"more than {_MOST_VALUES:,} values",
        "Split it. Long lists of ids belong into `workflow_files`, an id to a line after `- `.",
    ),
    ("levels deep", "Check the brackets and the indentation."),
    ("but got '{'", "Inside `{…}` and `[…]`, put a value with `${VAR}` in quotes."),
    ("end of stream", "Close the quotes or brackets opened before."),
    ("end of scalar", "Close the quotes opened before."),
)
_HINT = "Check the indentation, quotes and brackets here and on the line before."


@dataclass(slots=True)
class Document:
    """A document, as far as it could be read.

    Attributes:
        data: The content; `None` if it has none or is not YAML.
        errors: The errors of its form.
        lines: Line, from 1, of each key and each entry of a list.
        faulty: Places with an error that was already reported.
    """

    data: Data = None
    errors: list[ErrorEntry] = field(default_factory=list)
    lines: dict[KeyPath, int] = field(default_factory=dict)
    faulty: set[KeyPath] = field(default_factory=set)

    def line(self, path: KeyPath) -> int | None:
        """The line of a value, or of the nearest value around it; `None` if unknown."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.lines:
                return self.lines[path[:end]]
        return None

    def has_error(self, path: KeyPath) -> bool:
        """Whether an error of this value, or of one around it, was reported: one is enough."""
        return any(path[:end] in self.faulty for end in range(len(path) + 1))

    def add_error(self, path: KeyPath, reason: str, hint: str, line: int | None = None) -> None:
        """Add an error, and prevent later checks of the same value from adding theirs."""
        self.errors.append(ErrorEntry(key_path(path), reason, hint, line or self.line(path)))
        self.faulty.add(path)


def read_document(text: str, *, as_written: bool = False) -> Document:
    """Read one YAML document. It raises nothing: errors are in `errors`.

    Args:
        text: The document.
        as_written: Keep the text of each scalar and key, as `Plain` if it has no quotes, instead of
            converting it to a number or a boolean. Nulls stay `None`.
    """
    document = Document()
    loader: _Loader | None = None
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        document.errors.append(
            _syntax_fault(
                error.problem or "breaks off",
                mark.line + 1 if mark else None,
                mark.column + 1 if mark else None,
            )
        )
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        problem = f"the character U+{ord(text[error.position]):04X} is not allowed"
        line, column = before.count("\n") + 1, error.position - before.rfind("\n")
        document.errors.append(_syntax_fault(problem, line, column, "Take it out."))
    except (ValueError, OverflowError):
        # PyYAML raises these for \U escapes and %YAML versions that are out of range.
        reached = loader.line + 1 if loader else None
        document.errors.append(_syntax_fault("a number out of range", reached, None))
    else:
        if root is not None:
            document.lines[()] = root.start_mark.line + 1
            _Builder(document, as_written=as_written).build(root)
    return document


class _Loader(yaml.SafeLoader):
    """PyYAML's loader, with a limited depth of nesting, so that Python's stack is sufficient."""

    depth = 0
    values = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self.depth += 1
        self.values += 1
        if self.depth > _DEEPEST:
            raise self._refusal(f"it is more than {_DEEPEST} levels deep")
        if self.values > _MOST_VALUES:
            raise self._refusal(f"it holds more than {_MOST_VALUES:,} values")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def _refusal(self, problem: str) -> yaml.composer.ComposerError:
        return yaml.composer.ComposerError(None, None, problem, self.get_mark())


def _syntax_fault(
    problem: str, line: int | None, column: int | None, hint: str | None = None
) -> ErrorEntry:
    if hint is None:
        hint = next((r for words, r in _HINTS if words in problem), _HINT)
    shown_problem = _QUOTED.sub(
        lambda quoted: quoted[0] if _HARMLESS.fullmatch(quoted[0]) else "(…)",
        problem.removeprefix("but "),
    )
    if problem.startswith("it "):
        # Refused by us, although it may be valid YAML.
        return ErrorEntry("", problem.removeprefix("it "), hint, line)
    place = f" at column {column}" if column is not None else ""
    return ErrorEntry("", f"is not YAML{place}: {shown_problem}", hint, line)


class _TooMuchError(Exception):
    """The document has more values than any configuration needs."""


class _Builder:
    """Converts nodes to data, and collects lines and errors."""

    def __init__(self, document: Document, *, as_written: bool) -> None:
        self._document = document
        self._as_written = as_written
        self._keys = _TEXTS | (_NUMBERS | {_NULL} if as_written else set())
        self._values = 0
        self._within: list[yaml.Node] = []
        self._reached = 1
        # Whether a merged mapping is being read: keys that exist already keep their lines.
        self._merging = 0

    def build(self, root: yaml.Node) -> None:
        """Fill the document."""
        try:
            self._document.data = self._value(root, ())
        except _TooMuchError:
            self._document.add_error(
                (),
                f"holds more than {_MOST_VALUES:,} values once its aliases are followed",
                "Split it, or write out what the aliases stand for.",
                self._reached,
            )

    def _value(self, node: yaml.Node, path: KeyPath) -> Data:
        self._values += 1
        if self._values > _MOST_VALUES:
            raise _TooMuchError
        line = node.start_mark.line + 1
        if len(self._within) >= _DEEPEST:
            hint = "Write out what the aliases stand for."
            reason = f"is more than {_DEEPEST} levels deep once aliases are followed"
            self._document.add_error(path, reason, hint, line)
            return None
        if any(node is outer for outer in self._within):
            self._document.add_error(
                path, "contains itself", "Write it out instead of an alias.", line
            )
            return None
        self._within.append(node)
        try:
            if isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map":
                return self._mapping(node, path)
            if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
                return self._sequence(node, path)
            if isinstance(node, yaml.ScalarNode):
                return self._scalar(node, path)
        finally:
            self._within.pop()
        return self._refused_tag(node, path)

    def _refused_tag(self, node: yaml.Node, path: KeyPath) -> Data:
        line = node.start_mark.line + 1
        self._document.add_error(
            path, "has a tag that is not allowed", "Leave out what begins with `!`.", line
        )
        return None

    def _sequence(self, node: yaml.SequenceNode, path: KeyPath) -> Data:
        entries: list[Data] = []
        for index, entry in enumerate(cast("Sequence[yaml.Node]", node.value)):
            self._note_line((*path, index), entry.start_mark.line + 1)
            entries.append(self._value(entry, (*path, index)))
        return entries

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> Data:
        data: dict[str, Data] = {}
        first: dict[str, int] = {}
        for key_node, value_node in self._pairs(node):
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag not in self._keys:
                hint = "Write a plain word, or put it in quotes: YAML reads `on` and 12 otherwise."
                self._add_fault_beside(path, "has a key that is not text", hint, line)
                continue
            key = "" if key_node.tag == _NULL else cast("str", key_node.value)
            if key in first:
                reason = f"is there twice: the first is on line {first[key]}"
                self._add_fault_beside((*path, key), reason, "Keep one of the two.", line)
                continue
            first[key] = line
            self._note_line((*path, key), line)
            data[key] = self._value(value_node, (*path, key))
        self._merge(node, path, data)
        return data

    def _note_line(self, path: KeyPath, line: int) -> None:
        if self._merging:
            self._document.lines.setdefault(path, line)
        else:
            self._document.lines[path] = line
            if len(path) == 1:
                self._reached = line

    def _add_fault_beside(self, path: KeyPath, reason: str, hint: str, line: int) -> None:
        """Add an error of one key, so that the rest of the mapping is still checked."""
        self._document.errors.append(ErrorEntry(key_path(path), reason, hint, line))

    @staticmethod
    def _pairs(node: yaml.MappingNode) -> Iterator[tuple[yaml.Node, yaml.Node]]:
        for key, value in cast("Sequence[tuple[yaml.Node, yaml.Node]]", node.value):
            if key.tag != _MERGE:
                yield key, value

    def _merge(self, node: yaml.MappingNode, path: KeyPath, data: dict[str, Data]) -> None:
        """Add the keys of the mappings that the merge key `<<` names, unless they exist already."""
        for key_node, value_node in cast("Sequence[tuple[yaml.Node, yaml.Node]]", node.value):
            if key_node.tag != _MERGE:
                continue
            several = isinstance(value_node, yaml.SequenceNode)
            sources = cast("Sequence[yaml.Node]", value_node.value) if several else [value_node]
            for source in sources:
                self._merging += 1
                merged = self._value(source, path)
                self._merging -= 1
                if isinstance(merged, Mapping):
                    for key, value in merged.items():
                        data.setdefault(key, value)
                else:
                    hint = "Name a mapping with an alias, as in `<<: *defaults`."
                    line = key_node.start_mark.line + 1
                    self._add_fault_beside(path, "has a `<<` that names no mapping", hint, line)

    def _scalar(self, node: yaml.ScalarNode, path: KeyPath) -> Data:
        text = cast("str", node.value)
        if node.tag == _NULL:
            return None
        if self._as_written and node.tag in self._keys | {_MERGE}:
            # If quoted, it is a number only with a tag such as `!!int`.
            return Plain(text) if not node.style or node.tag in _NUMBERS else text
        if node.tag not in _TEXTS | _NUMBERS:
            return self._refused_tag(node, path)
        # Parsing a very long number is slow, and Python refuses it.
        if node.tag in _TEXTS or len(text) > _LONGEST_NUMBER:
            return text
        try:
            return cast("bool | int | float", _constructed(node))
        except (ValueError, LookupError, OverflowError):
            # YAML takes `0x_` for a number, although it is none; and a tag may not fit its text.
            return text


def _constructed(node: yaml.ScalarNode) -> object:
    constructor = yaml.constructor.SafeConstructor()
    return constructor.construct_object(node)
