"""What a document holds, with or without an envelope around it. Pure.

The service's documents show no envelope, but do not exclude one. So one level is opened, by the
usual names, and only if it is unambiguous what is inside.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from exporter.comfycontrol.documents import Fields

if TYPE_CHECKING:
    from collections.abc import Mapping

_MAX_TOTAL: Final = 2**53
_DATA: Final = "data"


def workflow_in(document: Mapping[str, object]) -> Mapping[str, object]:
    """The object that is the workflow: the document, or what `workflow` or `data` holds.

    The inner object is the workflow if it has a status, and only it has an id, or the document has
    no status of a workflow. An envelope may have a status of its own, such as `success` or 200. In
    all other cases it is the document.
    """
    for name in ("workflow", _DATA):
        inner = document.get(name)
        if not isinstance(inner, dict) or not _has_text(inner, "status"):
            continue
        if not _has_text(document, "status") or (
            _has_text(inner, "id") and not _has_text(document, "id")
        ):
            return inner
    return document


def rows_in(document: Mapping[str, object], name: str) -> tuple[list[object] | None, int | None]:
    """The rows of a page, and how many rows there are on all pages.

    The rows are what `name` holds, in the document or in the object that `data` holds, or what
    `data` itself holds. Without rows, the page is empty if the total is 0, or if `name` is null:
    some serializers write an empty list so. An empty `data` could be anything, so it needs the
    total.

    Returns:
        None for what the document does not say.
    """
    total = _total_of(document)
    inner = document.get(_DATA)
    if document.get(name) is None and inner is not None:
        if isinstance(inner, dict):
            within = _total_of(inner)
            return _rows_of(inner, name, total if within is None else within)
        if isinstance(inner, list) and (total == 0 or any(isinstance(row, dict) for row in inner)):
            return inner, total
    return _rows_of(document, name, total)


def _rows_of(
    document: Mapping[str, object], name: str, total: int | None
) -> tuple[list[object] | None, int | None]:
    rows = document.get(name)
    if rows is None and (total == 0 or (total is None and name in document)):
        return [], total
    return rows if isinstance(rows, list) else None, total


def _total_of(document: Mapping[str, object]) -> int | None:
    return Fields(document).whole_number("total", _MAX_TOTAL)


def _has_text(document: Mapping[str, object], name: str) -> bool:
    return Fields(document).text(name) is not None
