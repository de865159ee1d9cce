"""When the facts of a workflow are counted: as soon as its slices are decided. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from exporter.interfaces.observations import Moment, Traits
from exporter.ledger.facts import SLICED, Fact, SlicedFact
from exporter.ledger.slicing import Cap, SliceRule, decide, is_decided
from exporter.ledger.workflow import Held, Workflow

PATIENCE_SECONDS: Final = 60.0
"""Seconds for which a fact waits for the name and the tags of its workflow; after that it gets the
default slices."""


@dataclass(frozen=True, slots=True)
class Counted:
    """A workflow, and the facts to count now."""

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
    """Decide which of the facts that have just become known to count now, and which to hold.

    Args:
        before: the workflow as it was; None: it is new.
        workflow: as it is now.
        facts: the new facts.
        at: when they became known.
        traits: the name and tags of the workflow, if they are known now.
        rules: the slices that are configured.
        capped: returns a value, or `other` if the account has too many values.
    """
    new = tuple([(fact, at.wall) for fact in facts])
    if is_decided(workflow.slices, rules):
        return _released(workflow, new)
    sliced: tuple[tuple[SlicedFact, float], ...] = tuple(
        (fact, wall) for fact, wall in new if isinstance(fact, SLICED)
    )
    was_over = before is not None and before.phase == "settled" and before.held is None
    if workflow.phase == "settled" and was_over:
        # Its outcome was counted before these slices were configured. Later facts are counted in
        # the same way.
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
    """Count the facts of a workflow that have waited long enough; None: they must still wait."""
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
