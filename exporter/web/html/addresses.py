"""Converts a table's query to its URL and back, so that a view can be sent to a colleague.

/workflows?phase=settled&account=studio&status=failed&slice.team=a&id=a1b2&sort=-ended&page=2
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final, get_args
from urllib.parse import urlencode

from exporter.interfaces.views import SortKey, WorkflowQuery

PER_PAGE: Final = 50
MOST_PER_PAGE: Final = 500

_SLICE: Final = "slice."
_LONGEST: Final = 200
_MOST_SLICES: Final = 20
_SORT_KEYS: Final = frozenset(get_args(SortKey))
_FALLING: Final = frozenset({"age", "run", "seen", "ended"})
"""Columns that are sorted from the largest value down at first: users look for the largest."""


def parse(pairs: Iterable[tuple[str, str]]) -> WorkflowQuery:
    """Read a query from a URL; invalid parts are ignored."""
    given: dict[str, str] = {}
    slices: dict[str, str] = {}
    for name, text in pairs:
        value = text.strip()[:_LONGEST]
        if not value:
            continue
        if name.startswith(_SLICE) and len(slices) < _MOST_SLICES:
            slices[name.removeprefix(_SLICE)[:_LONGEST]] = value
        else:
            given[name] = value
    settled = given.get("phase") == "settled"
    sort = given.get("sort", "")
    key = sort.removeprefix("-")
    if key not in _SORT_KEYS:
        key = "ended" if settled else "age"
        sort = f"-{key}"
    return WorkflowQuery(
        account=given.get("account"),
        status=given.get("status"),
        phase="settled" if settled else "open",
        node_type=given.get("node_type"),
        slices=slices,
        prefix=given.get("id", ""),
        sort=key,  # type: ignore[arg-type]  # looked up above
        descending=sort.startswith("-"),
        page=_whole(given.get("page"), 1, 1_000_000),
        per_page=_whole(given.get("per_page"), PER_PAGE, MOST_PER_PAGE),
    )


def unparse(query: WorkflowQuery) -> str:
    """The part of a URL after `?`; default values are left out."""
    usual = parse([("phase", query.phase)])
    pairs: list[tuple[str, str]] = []
    if query.phase == "settled":
        pairs.append(("phase", query.phase))
    pairs += [
        (name, value)
        for name, value in (
            ("account", query.account),
            ("status", query.status),
            ("node_type", query.node_type),
            ("id", query.prefix),
        )
        if value
    ]
    pairs += [(f"{_SLICE}{label}", value) for label, value in sorted(query.slices.items())]
    if (query.sort, query.descending) != (usual.sort, usual.descending):
        pairs.append(("sort", f"{'-' if query.descending else ''}{query.sort}"))
    if query.per_page != usual.per_page:
        pairs.append(("per_page", str(query.per_page)))
    if query.page != 1:
        pairs.append(("page", str(query.page)))
    return urlencode(pairs, errors="replace")


def turned(query: WorkflowQuery, key: SortKey) -> WorkflowQuery:
    """The same table sorted by `key`; reversed if it is already sorted by it."""
    falling = not query.descending if query.sort == key else key in _FALLING
    return replace(query, sort=key, descending=falling, page=1)


def at_page(query: WorkflowQuery, page: int) -> WorkflowQuery:
    """Another page of the same table."""
    return replace(query, page=page)


def in_phase(query: WorkflowQuery, *, settled: bool) -> WorkflowQuery:
    """The same query for open workflows, or for ended ones."""
    return replace(
        query,
        phase="settled" if settled else "open",
        sort="ended" if settled else "age",
        descending=True,
        page=1,
        # Hardly any status occurs in both tables, so keeping it would show an empty table.
        status=None,
        node_type=None,
    )


def fields(query: WorkflowQuery) -> Mapping[str, str]:
    """Values that a form must pass on in addition to its own choices."""
    kept: dict[str, str] = {}
    if query.phase == "settled":
        kept["phase"] = query.phase
    usual = parse([("phase", query.phase)])
    if (query.sort, query.descending) != (usual.sort, usual.descending):
        kept["sort"] = f"{'-' if query.descending else ''}{query.sort}"
    if query.per_page != usual.per_page:
        kept["per_page"] = str(query.per_page)
    return kept


def _whole(text: str | None, usual: int, most: int) -> int:
    if text is None or not text.isascii() or not text.isdecimal() or len(text) > 9:
        return usual
    return min(max(1, int(text)), most)
