"""Ids of workflows: their form, and the files that list them."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from exporter.config.document import read_document
from exporter.config.errors import ErrorEntry, invalid, key_path
from exporter.uuids import UUID_PATTERN, normalize_workflow_id

# A word without special meaning in YAML: an id, or something written there by mistake.
_WORD = r"""(?P<quote>["']?)(?P<word>\w[\w.-]*(?: \w[\w.-]*)*)(?P=quote)"""
_PLAIN_LINE = re.compile(rf"(?P<indent> *)- +{_WORD}[ \t]*(?:[ \t]#.*)?", re.ASCII)
_PLAIN_ITEM = re.compile(rf"\s*{_WORD}\s*", re.ASCII)
_NO_ENTRY = re.compile(r"[ \t]*(?:#.*)?")
_REASON = "is not a workflow id"
_HINT = "Write the UUID that the service gave, such as `a1b2c3d4-e5f6-7890-abcd-ef1234567890`."


def parse_workflow_id(text: str) -> str:
    """Parse an id, and return it as the service writes it: a UUID in lower case, with dashes.

    Raises:
        ValueError: It is not a UUID in any usual spelling. The message does not contain it.
    """
    return normalize_workflow_id(text.strip())


def _valid_id(text: str) -> str:
    try:
        return parse_workflow_id(text)
    except ValueError:
        raise invalid(_REASON, _HINT) from None


WorkflowId = Annotated[
    str,
    AfterValidator(_valid_id),
    Field(json_schema_extra={"pattern": f"^{UUID_PATTERN}$"}),
]
"""A workflow's id in a model."""


def _words(text: str) -> list[tuple[str, int]] | None:
    """Read a list in one of the usual forms; return each entry with its line.

    The forms are one entry per line, or all in brackets as in JSON; `None`: it has another form.
    PyYAML would take seconds for a hundred thousand entries.
    """
    within = text.strip()
    if within.startswith("[") and within.endswith("]"):
        return _words_in_brackets(text)
    found: list[tuple[str, int]] = []
    indent: str | None = None
    for number, line in enumerate(text.splitlines(), 1):
        if entry := _PLAIN_LINE.fullmatch(line):
            if indent is None:
                indent = entry["indent"]
            elif indent != entry["indent"]:
                return None
            found.append((entry["word"], number))
        elif not _NO_ENTRY.fullmatch(line) and not (line == "---" and not found):
            return None
    return found


def _words_in_brackets(text: str) -> list[tuple[str, int]] | None:
    begin, end = text.index("["), text.rindex("]")
    line = 1 + text.count("\n", 0, begin)
    items = text[begin + 1 : end].split(",")
    if not items[-1].strip():
        # A comma may follow the last entry.
        items.pop()
    found: list[tuple[str, int]] = []
    for item in items:
        if not (entry := _PLAIN_ITEM.fullmatch(item)):
            return None
        found.append((entry["word"], line + item.count("\n", 0, entry.start("word"))))
        line += item.count("\n")
    return found


def _ids_of(words: list[tuple[str, int]]) -> tuple[list[str], list[ErrorEntry]]:
    ids: dict[str, None] = {}
    errors: list[ErrorEntry] = []
    for index, (word, line) in enumerate(words):
        try:
            ids[normalize_workflow_id(word)] = None
        except ValueError:
            errors.append(ErrorEntry(key_path((index,)), _REASON, _HINT, line))
    return list(ids), errors


def parse_workflow_ids(text: str) -> tuple[list[str], list[ErrorEntry]]:
    """Read a YAML list of ids; nothing is read from the environment.

    Valid ids are returned even if others are not: the caller decides what that means. Ids that
    occur twice are returned once. An empty file is an empty list.

    Returns:
        The ids in lower case, in the order of the file, and all errors.
    """
    if (words := _words(text)) is not None:
        return _ids_of(words)
    document = read_document(text)
    errors = list(document.errors)
    ids: dict[str, None] = {}
    entries = document.data
    if entries is not None and not isinstance(entries, list):
        hint = "Write one id to a line, each after `- `."
        return [], [*errors, ErrorEntry("", "is not a list of workflow ids", hint, 1)]
    for index, entry in enumerate(entries or ()):
        try:
            ids[parse_workflow_id(entry if isinstance(entry, str) else "")] = None
        except ValueError:
            path = (index,)
            if not document.has_error(path):
                errors.append(ErrorEntry(key_path(path), _REASON, _HINT, document.line(path)))
    return list(ids), errors
