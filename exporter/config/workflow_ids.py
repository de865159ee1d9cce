"""Ids of workflows: their form, and the files that list them."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from exporter.config.document import read_document
from exporter.config.faults import Fault, fault, key_path
from exporter.uuids import UUID_PATTERN, normalize_workflow_id

_UUID = re.compile(UUID_PATTERN)
_PLAIN_LINE = re.compile(
    rf"""(?P<indent> *)- +(?P<quote>["']?)(?P<id>{_UUID.pattern})(?P=quote)[ \t]*(?:[ \t]#.*)?"""
)
_NO_ENTRY = re.compile(r"[ \t]*(?:#.*)?")
_REASON = "is not a workflow id"
_REMEDY = "Write the UUID that the service gave, such as `a1b2c3d4-e5f6-7890-abcd-ef1234567890`."


def parse_workflow_id(text: str) -> str:
    """A workflow's id in the form that the service uses: a UUID in lower case.

    Raises:
        ValueError: It is no UUID in five groups of digits. The message does not repeat it.
    """
    return normalize_workflow_id(text.strip())


def _valid_id(text: str) -> str:
    try:
        return parse_workflow_id(text)
    except ValueError:
        raise fault(_REASON, _REMEDY) from None


WorkflowId = Annotated[
    str,
    AfterValidator(_valid_id),
    Field(json_schema_extra={"pattern": f"^{_UUID.pattern}$"}),
]
"""A workflow's id in a model."""


def _plain_ids(text: str) -> list[str] | None:
    """The ids of a file in the usual form, an id to a line; `None` where it has another.

    PyYAML takes seconds for a hundred thousand of them.
    """
    ids: dict[str, None] = {}
    indent: str | None = None
    for line in text.splitlines():
        if entry := _PLAIN_LINE.fullmatch(line):
            if indent is None:
                indent = entry["indent"]
            elif indent != entry["indent"]:
                return None
            ids[entry["id"].lower()] = None
        elif not _NO_ENTRY.fullmatch(line):
            return None
    return list(ids)


def parse_workflow_ids(text: str) -> tuple[list[str], list[Fault]]:
    """The ids in a file that is a YAML list of them; nothing is read from the environment.

    Good ids are given even beside bad ones: what to make of that is the caller's choice. An id that
    is there twice is given once. A file without content is a list without ids.

    Returns:
        The ids in lower case, in the order of the file, and everything that is wrong with it.
    """
    if (plain := _plain_ids(text)) is not None:
        return plain, []
    document = read_document(text)
    faults = list(document.faults)
    ids: dict[str, None] = {}
    entries = document.data
    if entries is not None and not isinstance(entries, list):
        remedy = "Write one id to a line, each after `- `."
        return [], [*faults, Fault("", "is not a list of workflow ids", remedy, 1)]
    for index, entry in enumerate(entries or ()):
        try:
            ids[parse_workflow_id(entry if isinstance(entry, str) else "")] = None
        except ValueError:
            path = (index,)
            if not document.is_faulty(path):
                faults.append(Fault(key_path(path), _REASON, _REMEDY, document.line(path)))
    return list(ids), faults
