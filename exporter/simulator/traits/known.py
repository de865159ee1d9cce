"""What a client can know about an execution from all documents together."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

from exporter.simulator.traits.chance import PLACES, Place
from exporter.simulator.traits.stamps import StampName, exact_stamps
from exporter.simulator.workflow import Reported, ServiceStatus

if TYPE_CHECKING:
    from exporter.simulator.traits import Traits
    from exporter.simulator.workflow import Workflow

_LONGEST_RUN = 30 * 86400.0
_NOTHING = Reported(None, None, None)


def known(workflow: Workflow, traits: Traits) -> Reported:
    """What all documents together finally show about the present execution."""
    if not workflow.status.final:
        return _NOTHING
    if workflow.word is not None:
        # Nobody knows an unknown status for an end, unless it comes with one.
        ended = any(_told(workflow, traits, place, "completed_at") for place in PLACES)
        outcome = "other" if ended else None
    else:
        outcome = workflow.status.value
    return Reported(outcome, _cause(workflow, traits, outcome), _run(workflow, traits))


def _cause(workflow: Workflow, traits: Traits, outcome: str | None) -> tuple[str, str] | None:
    cause = workflow.cause
    if outcome != ServiceStatus.FAILED.value or cause is None:
        return None
    for place in ("subscribe", "get"):
        hidden = [each for each in traits.causes if each.lasts is None]
        if not any(each.concerns(workflow, place) for each in hidden):
            return cause.node_type, cause.exception_type
    return None


def _run(workflow: Workflow, traits: Traits) -> tuple[float, float] | None:
    if (
        workflow.started_ms is None
        or workflow.completed_ms is None
        or not 0 <= workflow.completed_ms - workflow.started_ms <= _LONGEST_RUN * 1000
    ):
        return None
    told = [
        (
            _told(workflow, traits, place, "started_at"),
            _told(workflow, traits, place, "completed_at"),
        )
        for place in PLACES
    ]
    pairs = [(s, e) for s, e in told if s is not None and e is not None]
    if not pairs:  # no place tells both: from two places, then
        starts = [s for s, _ in told if s is not None]
        pairs = list(product(starts, [e for _, e in told if e is not None]))
    lengths = [max(0, end - start) / 1e9 for start, end in pairs]
    return (min(lengths), max(lengths)) if lengths else None


def _told(workflow: Workflow, traits: Traits, place: Place, name: StampName) -> int | None:
    """A stamp as one endpoint finally shows it, in nanoseconds; None: it never does."""
    exact = exact_stamps(workflow)[name]
    for missing in traits.missing:
        if missing.stamp == name and missing.lasts is None and missing.concerns(workflow, place):
            return None
    return None if exact is None else traits.stamps.of(place).nanoseconds(exact)
