"""How stamps are written, and which of them are missing where, and for how long."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from exporter.simulator.schema import Seconds, Share, StrictModel
from exporter.simulator.traits.chance import PLACES, Place, concerns

if TYPE_CHECKING:
    from exporter.simulator.workflow import Workflow

StampName = Literal["created_at", "updated_at", "started_at", "completed_at"]

_DIGITS = {"s": 0, "ms": 3, "us": 6, "ns": 9}


class Precision(StrictModel):
    """How one place writes stamps; a plain unit means truncated to it."""

    unit: Literal["s", "ms", "us", "ns"] = "ms"
    rounding: Literal["truncated", "rounded"] = "truncated"
    zone: Literal["Z", "+00:00", ""] = "Z"

    @model_validator(mode="before")
    @classmethod
    def _plain_unit(cls, value: object) -> object:
        return {"unit": value} if isinstance(value, str) else value

    def nanoseconds(self, exact: int) -> int:
        """A stamp in nanoseconds since the epoch, in the precision of this endpoint."""
        step = int(10 ** (9 - _DIGITS[self.unit]))
        return (exact + (step // 2 if self.rounding == "rounded" else 0)) // step * step

    def text(self, exact: int) -> str:
        """A stamp as this place writes it."""
        seconds, rest = divmod(self.nanoseconds(exact), 1_000_000_000)
        digits = _DIGITS[self.unit]
        fraction = f".{rest:09}"[: digits + 1] if digits else ""
        written = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
        return f"{written}{fraction}{self.zone}"


MILLISECONDS = Precision()
"""As the service's own pages show stamps."""


class Stamps(StrictModel):
    """How precise the stamps of each place are; the service's clock itself counts nanoseconds."""

    list: Precision = MILLISECONDS
    subscribe: Precision = MILLISECONDS
    get: Precision = MILLISECONDS

    def of(self, place: Place) -> Precision:
        """How a place writes stamps."""
        precision: Precision = getattr(self, place)
        return precision

    def apply(self, document: dict[str, Any], workflow: Workflow, place: Place, now: float) -> None:
        """Write the stamps of a document again."""
        del now
        precision = self.of(place)
        for name, exact in exact_stamps(workflow).items():
            if exact is not None and name in document:
                document[name] = precision.text(exact)


class Missing(StrictModel):
    """A stamp that one endpoint does not show, permanently or for a while."""

    stamp: StampName
    places: tuple[Place, ...] = PLACES
    absent: bool = False
    """Whether the field is not there at all, rather than null."""
    share: Share = 1.0
    """Of the executions."""
    since: Literal["start", "end"] = "end"
    lasts: Seconds | None = Field(default=None, alias="for")
    """How long after the start, or the end, of the execution it is missing; null: for ever."""

    def concerns(self, workflow: Workflow, place: Place) -> bool:
        """Whether the stamp of this execution is ever missing here."""
        return place in self.places and concerns(workflow, f"missing/{self.stamp}", self.share)

    def apply(self, document: dict[str, Any], workflow: Workflow, place: Place, now: float) -> None:
        """Leave the stamp out, where it is missing now."""
        if self.stamp not in document or not self.concerns(workflow, place):
            return
        since = workflow.started_day if self.since == "start" else workflow.ended_day
        if self.lasts is not None and since is not None and now >= since + self.lasts:
            return
        if self.absent:
            del document[self.stamp]
        else:
            document[self.stamp] = None


def exact_stamps(workflow: Workflow) -> dict[StampName, int | None]:
    """The stamps in nanoseconds since the epoch.

    The world counts milliseconds. What is finer is the same for all stamps of a workflow, so that
    no length of time changes by it.
    """
    finer = int(workflow.id[:8], 16) % 1_000_000

    def exact(stamp_ms: int | None) -> int | None:
        return None if stamp_ms is None else stamp_ms * 1_000_000 + finer

    return {
        "created_at": exact(workflow.created_ms),
        "updated_at": exact(workflow.updated_ms),
        "started_at": exact(workflow.started_ms),
        "completed_at": exact(workflow.completed_ms),
    }
