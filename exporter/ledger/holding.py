"""When the facts of a workflow are counted: as soon as its slices are decided. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from exporter.interfaces.observations import Moment, Traits
from exporter.ledger.facts import SLICED, Fact, SlicedFact
from exporter.ledger.slicing import Cap, SliceRule, decide, is_decided
from exporter.ledger.workflow import Held, Workflow

PATIENCE_SECONDS: Final = 60.0
"""How long a fact waits for the name and the tags of its workflow; then it has the defaults."""


@dataclass(frozen=True, slots=True)
class Counted:
    """A workflow, and what is to be counted of it now."""

    workflow: Workflow
    facts: tuple[tuple[Fact, float], ...]
    """Each with the Unix time at which it became known."""


def take(  # noqa: PLR0913, PLR0917 - what there is to know of it
    before: Workflow | None,
    workflow: Workflow,
    facts: Sequence[Fact],
    at: Moment,
    traits: Traits | None,
    rules: Sequence[SliceRule],
    capped: Cap,
) -> Counted:
    """What to count now of facts that have just become known, and what to hold.

    Args:
        before: the workflow as it was; None: it is new.
        workflow: as it is now.
        facts: that follow from what was learnt.
        at: when.
        traits: of the workflow, where they are known now.
        rules: the slices that are configured.
        capped: gives a value, or `other` where the account has too many of them.
    """
    new = tuple([(fact, at.wall) for fact in facts])
    if is_decided(workflow.slices, rules):
        return _released(workflow, new)
    sliced: tuple[tuple[SlicedFact, float], ...] = tuple(
        (fact, wall) for fact, wall in new if isinstance(fact, SLICED)
    )
    was_over = before is not None and before.phase == "settled" and before.held is None
    if workflow.phase == "settled" and was_over:
        # Its outcome was counted before there were these slices. What follows goes with it.
        if sliced:
            workflow = replace(workflow, slices=decide(workflow.slices, None, rules, capped))
    elif traits is not None and (workflow.phase == "open" or sliced or workflow.held):
        workflow = replace(workflow, slices=decide(workflow.slices, traits, rules, capped))
    if is_decided(workflow.slices, rules):
        return _released(workflow, new)
    if sliced:
        held = workflow.held or Held(at, ())
        workflow = replace(workflow, held=replace(held, facts=(*held.facts, *sliced)))
    return Counted(workflow, tuple(one for one in new if not isinstance(one[0], SLICED)))


def release(
    workflow: Workflow, monotonic: float, rules: Sequence[SliceRule], capped: Cap
) -> Counted | None:
    """What is counted of a workflow whose facts have waited long enough; None: they wait on."""
    if workflow.held is None:
        return None
    if not is_decided(workflow.slices, rules):
        if monotonic - workflow.held.since.monotonic < PATIENCE_SECONDS:
            return None
        workflow = replace(workflow, slices=decide(workflow.slices, None, rules, capped))
    return _released(workflow, ())


def _released(workflow: Workflow, new: tuple[tuple[Fact, float], ...]) -> Counted:
    if workflow.held is None:
        return Counted(workflow, new)
    return Counted(replace(workflow, held=None), (*workflow.held.facts, *new))
