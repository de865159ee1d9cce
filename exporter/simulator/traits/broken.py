"""Fields that no reader takes for what they should be, in one row or snapshot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import orjson
from pydantic import Field

from exporter.simulator.schema import Share, StrictModel
from exporter.simulator.traits.chance import Place, concerns

if TYPE_CHECKING:
    from exporter.simulator.workflow import Workflow

How = Literal["lone_surrogate", "invalid_utf8", "nan", "infinity", "too_deep"]

_DEPTH = 100_000

# What a serialiser would not write.
VALUES: dict[How, bytes] = {
    "lone_surrogate": b'"half a pair \\ud83d"',
    "invalid_utf8": b'"cut \xf0\x9f\xa6 off"',
    "nan": b"NaN",
    "infinity": b"1e999",
    "too_deep": b"[" * _DEPTH + b"]" * _DEPTH,
}
_TEXTS = ("lone_surrogate", "invalid_utf8")


class Broken(StrictModel):
    """One broken field in the documents about a workflow."""

    how: Annotated[tuple[How, ...], Field(min_length=1)] = get_args(How)
    """Each concerned execution has one of these."""
    share: Share = 0.1
    """Of the executions."""
    places: tuple[Place, ...] = ("list", "subscribe")
    field: str | None = None
    """Which field; without it one that decides nothing: texts in ``name`` (in a snapshot:
    ``prompt``), the others in a field that the documents do not name."""

    def apply(self, document: dict[str, Any], workflow: Workflow, place: Place, now: float) -> None:
        """Break a field, where it is to be broken."""
        del now
        if place not in self.places or not concerns(workflow, "broken", self.share):
            return
        how = workflow.dice("broken").choice(self.how)
        field = self.field
        if field is None and how in _TEXTS:
            field = "name" if "name" in document else "prompt"
        document[field or "progress"] = orjson.Fragment(VALUES[how])
