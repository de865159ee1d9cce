"""Statuses in another case, and statuses that the documents do not know."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from exporter.simulator.schema import Share, StrictModel
from exporter.simulator.traits.chance import Place, concerns

if TYPE_CHECKING:
    from exporter.simulator.workflow import Workflow

KnownStatus = Literal[
    "accepted", "uploaded", "queued", "running", "completed", "failed", "cancelled", "invalid"
]


class Word(StrictModel):
    """A new status that is reported instead of a known one.

    The list filters and counts by the reported status, so these are not among ``status=failed``.
    """

    word: Annotated[str, Field(min_length=1, max_length=200)]
    instead_of: KnownStatus
    share: Share = 1.0
    """Of the executions that come to that status."""
    closes: bool = True
    """Whether a stream ends where it would have ended on the known one."""


class Statuses(StrictModel):
    """How statuses are written."""

    case: Literal["lower", "upper", "title", "mixed"] = "lower"
    """``mixed``: each execution and place has one of the others."""
    share: Share = 1.0
    """Of the executions, those that are written in that case; the rest is in lower case."""
    words: tuple[Word, ...] = ()

    def name(self, workflow: Workflow) -> None:
        """Give a workflow the new status in the place of the one that it has come to, if any."""
        found = (
            each
            for each in self.words
            if each.instead_of == workflow.status
            and concerns(workflow, f"word/{each.word}", each.share)
        )
        word = next(found, None)
        workflow.word = None if word is None else word.word
        workflow.closes = word is None or word.closes

    def apply(self, document: dict[str, Any], workflow: Workflow, place: Place, now: float) -> None:
        """Write the status in its case."""
        del now
        if not concerns(workflow, "case", self.share):
            return
        status: str = document["status"]
        case = self.case
        if case == "mixed":
            case = workflow.dice(f"case/{place}").choice(("lower", "upper", "title"))
        document["status"] = {"upper": status.upper(), "title": status.title()}.get(case, status)
