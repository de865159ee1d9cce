"""Causes that are missing or unreadable in one endpoint, but not in another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import orjson
from pydantic import Field

from exporter.simulator.schema import Seconds, Share, StrictModel
from exporter.simulator.traits.broken import VALUES
from exporter.simulator.traits.chance import Place, concerns

if TYPE_CHECKING:
    from exporter.simulator.workflow import Workflow


class HiddenCause(StrictModel):
    """A cause that cannot be read at one endpoint, permanently or for a while."""

    share: Share = 1.0
    """Of the failed executions."""
    places: tuple[Place, ...] = ("subscribe",)
    form: Literal["untold", "too_long", "nan", "too_deep"] = "untold"
    """``untold``: the cause is null; ``too_long``: its message is; the others spoil all of it."""
    size: Annotated[int, Field(ge=0, le=64 * 1024 * 1024)] = 1_200_000
    """Bytes of a message that is too long."""
    lasts: Seconds | None = Field(default=None, alias="for")
    """For how long after the end; null: permanently."""

    def concerns(self, workflow: Workflow, place: Place) -> bool:
        """Whether this execution's cause cannot be read here."""
        return place in self.places and concerns(workflow, f"cause/{self.form}", self.share)

    def apply(self, document: dict[str, Any], workflow: Workflow, place: Place, now: float) -> None:
        """Hide the cause, while it is hidden."""
        is_told = document.get("cause") or document.get("error_node")
        if not is_told or not self.concerns(workflow, place):
            return
        ended = workflow.ended_day
        if self.lasts is not None and ended is not None and now >= ended + self.lasts:
            return
        if self.form == "untold":
            names = ("error_node", "exception_type", "exception_message")
            document |= dict.fromkeys(["cause"] if "cause" in document else names)
        elif self.form == "too_long":
            whole = document.get("cause", document)
            whole["exception_message"] += "x" * self.size
        else:
            document["queue_number"] = orjson.Fragment(VALUES[self.form])
