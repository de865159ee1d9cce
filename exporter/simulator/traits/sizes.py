"""Rows, snapshots and documents of a given size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import orjson
from pydantic import Field

from exporter.simulator.schema import Share, StrictModel
from exporter.simulator.traits.chance import Place, concerns

if TYPE_CHECKING:
    from exporter.simulator.workflow import Workflow

Size = Annotated[int, Field(ge=0, le=64 * 1024 * 1024)]

_TAG = "x" * 100


class Sizes(StrictModel):
    """The smallest size of a workflow's document at one endpoint, in bytes."""

    list: Size = 0
    subscribe: Size = 0
    get: Size = 0
    share: Share = 1.0
    """Of the executions."""
    filler: Literal["graph", "tags"] = "graph"
    """What fills it: a field that the documents do not name there, or more tags (not in streams,
    which have none)."""

    def apply(self, document: dict[str, Any], workflow: Workflow, place: Place, now: float) -> None:
        """Fill a document up."""
        del now
        wanted: int = getattr(self, place)
        if not wanted or not concerns(workflow, "size", self.share):
            return
        lacking = max(0, wanted - len(orjson.dumps(document)))
        if self.filler == "tags" and "tags" in document:
            document["tags"] = [*document["tags"], *([_TAG] * (lacking // (len(_TAG) + 3) + 1))]
        else:
            document["graph_preview"] = "x" * lacking
