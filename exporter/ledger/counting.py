"""Which outcomes are ours to count: those since the first start, and none a second time. Pure."""

from dataclasses import dataclass
from math import inf
from typing import Final, Literal

from exporter.ledger.runs import is_over
from exporter.ledger.workflow import Workflow
from exporter.observations import Observation

FIRST_LOOK_SECONDS: Final = 900.0
"""The first look reads the list back for this time: what was over then is known."""

SLOW_CLOCK_SECONDS: Final = 3600.0
"""No runner's clock is slower than this."""


@dataclass(frozen=True, slots=True)
class CountingRules:
    """What of an account decides whether, and how, its workflows count."""

    line: float
    """Unix seconds, by the service's clock: what was over by then and is not known is recorded and
    not counted. It is when this account was first looked at, ever. Infinity: not drawn yet."""
    listed: bool
    """Whether the account's list is read: it may yet tell a `created_at` that is unknown now."""
    pruned_created: float | None = None
    """The latest creation of a settled workflow whose row was pruned; Unix seconds."""
    pruned_ended: float | None = None
    """The latest end of one; Unix seconds."""


def counts(workflow: Workflow, seen: Observation, rules: CountingRules) -> bool:
    """Whether the end of this workflow is ours to count.

    What we saw open always is, and so is a new run of what had ended. What was over when we first
    saw it is by its stamps, unless it was over at the account's first look, ever.
    """
    if workflow.status is not None or workflow.unknown_status is not None or workflow.run > 1:
        return True
    return not is_over(seen) or (not seen.first_look and _is_new_to_us(workflow, seen, rules))


NotCounted = Literal["first_look", "before_line", "no_line", "pruned", "untold"]
"""Why the end of a workflow is recorded and not counted.

- `first_look`: it was over when the account was first looked at, ever;
- `before_line`: by its stamps it had ended by then;
- `no_line`: nobody knew yet when that was;
- `pruned`: it may have been counted long ago, by a row that is gone;
- `untold`: no stamp tells when it was created or ended.
"""


def why_not_counted(
    workflow: Workflow, seen: Observation, rules: CountingRules
) -> NotCounted | None:
    """Why the end of this workflow is not ours to count; None: it is (see `counts`)."""
    if counts(workflow, seen, rules):
        return None
    if seen.first_look:
        return "first_look"
    if rules.line == inf:
        return "no_line"
    created = workflow.created_at if seen.created_at is None else seen.created_at
    if created is None:
        created = seen.created_no_earlier
    if created is None and seen.completed_at is None:
        return "untold"
    if _may_be_pruned(created, seen.completed_at, rules):
        return "pruned"
    return "before_line"


def must_wait_for_list(workflow: Workflow, seen: Observation, rules: CountingRules) -> bool:
    """Whether only the list can tell if an end is ours to count, and is about to.

    A stream tells no creation, and its stamp of the end may be missing, or be by the clock of a
    runner that is slow by some minutes.
    """
    return (
        rules.listed
        and rules.line < inf
        and seen.via == "stream"
        and (seen.completed_at is None or rules.line - seen.completed_at < SLOW_CLOCK_SECONDS)
        and workflow.created_at is None
        and not counts(workflow, seen, rules)
    )


def _is_new_to_us(workflow: Workflow, seen: Observation, rules: CountingRules) -> bool:
    """Whether what we never saw open was over only after the line, and was never counted before.

    What was created after the line is, whatever stamps its end lacks and whichever clock stamped
    it; so is what ended after the line by every clock that stamped its end. No clock of ours has a
    say: a step of it must neither lose an outcome nor repeat one. With no stamp that tells, or no
    line yet, a pushed id is taken for new (whoever pushes has just submitted it), others for old.
    """
    created = workflow.created_at if seen.created_at is None else seen.created_at
    if created is None:
        created = seen.created_no_earlier
    told = rules.line < inf and not (created is None and seen.completed_at is None)
    if not told:
        return workflow.source == "pushed"
    if _may_be_pruned(created, seen.completed_at, rules):
        return False
    if created is not None and created > rules.line:
        return True
    if created is not None and created > rules.line - FIRST_LOOK_SECONDS:
        # It would be known, had it been over by then, whatever a runner's clock says.
        ended = seen.completed_at if seen.updated_at is None else seen.updated_at
    else:
        # Somebody may have edited an old one, so both must say so.
        stamps = (seen.completed_at, seen.updated_at)
        ended = min((s for s in stamps if s is not None), default=None)
        if seen.completed_at is None:
            return False
    return ended is not None and ended > rules.line


def _may_be_pruned(created: float | None, end: float | None, rules: CountingRules) -> bool:
    """Whether this may be a workflow that was counted long ago, and whose row is gone."""
    if rules.pruned_created is None or rules.pruned_ended is None:
        return False
    if created is not None and created > rules.pruned_created:
        return False
    return end is None or end <= rules.pruned_ended
