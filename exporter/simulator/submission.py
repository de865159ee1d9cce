"""Parses requests that create workflows.

The service takes a multipart form. Its public pages do not settle every field, so names are taken
liberally: the graph as ``workflow``, ``workflow_json``, ``file`` or ``prompt`` (a file or a text),
``name``, and ``tags`` (repeated, or parted by commas, or a JSON list). A JSON body with the same
keys works too. Other fields (input images and the like) are ignored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

if TYPE_CHECKING:
    from starlette.requests import Request

_GRAPH_FIELDS = ("workflow", "workflow_json", "file", "prompt")
_TAG_FIELDS = ("tags", "tags[]", "tag")
_MOST_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Submission:
    """A requested workflow."""

    name: str | None
    tags: tuple[str, ...]
    graph: dict[str, Any]
    valid: bool
    """Whether the service's validation takes the graph; otherwise the workflow ends as invalid."""


async def read_submission(request: Request) -> Submission:
    """Read the body of a request to create a workflow.

    Raises:
        HTTPException: 400 for a body that is no form, has no graph, or a name or tag that is too
            long; 413 for one of more than 32 MiB.
    """
    if int(request.headers.get("content-length") or 0) > _MOST_BYTES:
        raise HTTPException(413, "The body is larger than 32 MiB.")
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        document = _object(await request.body(), "The body")
        values = {key: each if isinstance(each, list) else [each] for key, each in document.items()}
    elif kind in ("multipart/form-data", "application/x-www-form-urlencoded"):
        values = await _form(request)
    else:
        raise HTTPException(
            400, "Send a multipart form: -F workflow=@graph.json -F name=… -F tags=…"
        )
    graph = _graph(values)
    return Submission(
        name=_name(values),
        tags=_tags(values),
        graph=graph,
        valid=bool(graph) and all(_is_node(node) for node in graph.values()),
    )


async def _form(request: Request) -> dict[str, list[Any]]:
    values: dict[str, list[Any]] = {}
    async with request.form(max_part_size=_MOST_BYTES) as form:
        for key, value in form.multi_items():
            read = await value.read() if isinstance(value, UploadFile) else value
            values.setdefault(key, []).append(read)
    return values


def _graph(values: dict[str, list[Any]]) -> dict[str, Any]:
    found = next((values[key][0] for key in _GRAPH_FIELDS if values.get(key)), None)
    if found is None:
        raise HTTPException(
            400, "The field workflow is missing: the graph in ComfyUI's API format."
        )
    if isinstance(found, dict):
        return found
    return _object(found if isinstance(found, bytes | str) else b"", "The field workflow")


def _object(text: bytes | str, what: str) -> dict[str, Any]:
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise HTTPException(400, f"{what} is not JSON.") from None
    if not isinstance(document, dict):
        raise HTTPException(400, f"{what} is not a JSON object.")
    return document


def _name(values: dict[str, list[Any]]) -> str | None:
    found = next(iter(values.get("name", [])), None)
    if found is None:
        return None
    if not isinstance(found, str) or not 1 <= len(found) <= 200:
        raise HTTPException(400, "Invalid name: must be a text of 1 to 200 characters.")
    return found


def _tags(values: dict[str, list[Any]]) -> tuple[str, ...]:
    tags: list[str] = []
    for field in _TAG_FIELDS:
        for found in values.get(field, []):
            if not isinstance(found, str):
                raise HTTPException(400, "Invalid tags: must be texts.")
            tags += _split_tags(found)
    if any(len(tag) > 100 for tag in tags):
        raise HTTPException(400, "Invalid tags: each must be of at most 100 characters.")
    return tuple(dict.fromkeys(tags))


def _split_tags(text: str) -> list[str]:
    if text.startswith("["):
        try:
            listed = orjson.loads(text)
        except orjson.JSONDecodeError:
            listed = None
        if isinstance(listed, list) and all(isinstance(each, str) for each in listed):
            return [each for each in listed if each]
    return [part.strip() for part in text.split(",") if part.strip()]


def _is_node(node: object) -> bool:
    return isinstance(node, dict) and isinstance(node.get("class_type"), str)
