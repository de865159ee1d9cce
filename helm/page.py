"""The comments of `values.yaml`, for the table in the README and the descriptions of the schema."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import yaml

_MARK = "# -- "
_HEADING = "## "


@dataclass(frozen=True, slots=True)
class Value:
    """One value that has a description.

    Attributes:
        section: The heading above it.
        path: Its dotted path.
        default: As JSON.
        description: In Markdown.
    """

    section: str
    path: str
    default: str
    description: str


class Undocumented(Exception):  # noqa: N818 - says what it is
    """Keys without a description, if not all keys below them have one."""


def documented(text: str) -> list[Value]:
    """Every value with a description, in the order of the file.

    Raises:
        Undocumented: with the paths of what is not.
    """
    lines = text.splitlines()
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(node, yaml.MappingNode)  # noqa: S101 - it is our own file
    missing: list[str] = []
    found = list(_values(node, lines, "", missing))
    if missing:
        raise Undocumented("no description in values.yaml: " + ", ".join(missing))
    return found


def _values(
    node: yaml.MappingNode, lines: list[str], path: str, missing: list[str]
) -> Iterator[Value]:
    for key, value in node.value:
        place = f"{path}.{key.value}" if path else key.value
        line = key.start_mark.line
        description = _description(lines, line)
        inner = isinstance(value, yaml.MappingNode) and value.value and not value.flow_style
        if description:
            whole = yaml.safe_load(yaml.serialize(value))
            inside = inner and any(
                _description(lines, part.start_mark.line) for part, _ in value.value
            )
            default = "" if inside else json.dumps(whole, ensure_ascii=False)
            yield Value(_section(lines, line), place, default, description)
            if inside and isinstance(value, yaml.MappingNode):
                yield from _values(value, lines, place, missing)
        elif inner and isinstance(value, yaml.MappingNode):
            yield from _values(value, lines, place, missing)
        else:
            missing.append(place)


def _description(lines: list[str], line: int) -> str:
    """The comment directly above a line, from its mark on."""
    above: list[str] = []
    for text in reversed(lines[:line]):
        stripped = text.strip()
        if not stripped.startswith("#"):
            return ""
        if stripped.startswith(_MARK):
            return " ".join([stripped.removeprefix(_MARK), *reversed(above)])
        above.append(stripped.removeprefix("# "))
    return ""


def _section(lines: list[str], line: int) -> str:
    for text in reversed(lines[:line]):
        if text.startswith(_HEADING):
            return text.removeprefix(_HEADING)
    return ""


def table(values: list[Value]) -> str:
    """Markdown tables, one for each section."""
    parts: list[str] = []
    section = None
    for value in values:
        if value.section != section:
            section = value.section
            parts.append(f"\n### {section}\n\n| value | default | meaning |\n| --- | --- | --- |\n")
        default = f"`{value.default}`" if value.default else ""
        cells = (f"`{value.path}`", default, value.description)
        parts.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n")
    return "".join(parts)
