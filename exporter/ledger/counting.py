"""Which outcomes are counted: those since the first start, and none twice. Pure."""

from dataclasses import dataclass
from math import inf
from typing import Final, Literal

from exporter.interfaces.observations import Observation
from exporter.ledger.runs import SLOW_CLOCK_SECONDS, precision_of
from exporter.ledger.workflow import Workflow

FIRST_LOOK_SECONDS: Final = 900.0
"""The first look reads the list back for this time: what was over then is known."""


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


NotCounted = Literal["first_look", "before_line", "no_line", "pruned", "untold"]
"""Why the end of a workflow is recorded and not counted.

- `first_look`: it was over when the account was first looked at, ever;
- `before_line`: by its stamps it had ended by then;
- `no_line`: nobody knew yet when that was;
- `pruned`: it may have been counted long ago, by a row that is gone;
- `untold`: no stamp shows when it was created or ended.
"""


def counts(workflow: Workflow, seen: Observation, rules: CountingRules) -> bool:
    """Whether the end of this workflow is ours to count (see `why_not_counted`)."""
    return why_not_counted(workflow, seen, rules) is None


def why_not_counted(
    workflow: Workflow, seen: Observation, rules: CountingRules
) -> NotCounted | None:
    """Why the end of this workflow is not ours to count; None: it is.

    What we saw open always is, and so is a new run of what had ended. What was over when we first
    saw it is by its stamps, unless it was over at the account's first look, ever.

    No clock of ours has a say: a step of it must neither lose an outcome nor repeat one. With no
    stamp that tells, or no line yet, a pushed id is taken for new (its sender has just
    submitted it), others for old.
    """
    was_open = workflow.status is not None or workflow.unknown_status is not None
    if was_open or workflow.run > 1 or not seen.is_over:
        return None
    if seen.first_look:
        return "first_look"
    created = workflow.created_at if seen.created_at is None else seen.created_at
    if created is None:
        created = seen.created_no_earlier
    if rules.line == inf:
        return None if workflow.source == "pushed" else "no_line"
    if created is None and seen.completed_at is None:
        return None if workflow.source == "pushed" else "untold"
    if _may_be_pruned(created, seen.completed_at, rules):
        return "pruned"
    return None if _is_after_line(created, seen, rules.line) else "before_line"


def must_wait_for_list(workflow: Workflow, seen: Observation, rules: CountingRules) -> bool:
    """Whether only the list can tell if an end is ours to count, and is about to.

    A stream shows no creation, and its stamp of the end may be missing, or be by the clock of a
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


def _is_after_line(created: float | None, seen: Observation, line: float) -> bool:
    """Whether what we never saw open was over only after the line.

    What was created after the line was, whatever stamps its end lacks and whichever clock stamped
    it; so was what ended after the line by every clock that stamped its end.
    """
    if created is not None and _may_be_after(created, line):
        return True
    if created is not None and created > line - FIRST_LOOK_SECONDS:
        # It would be known, had it been over by then, whatever a runner's clock says.
        ended = seen.completed_at if seen.updated_at is None else seen.updated_at
    elif seen.completed_at is None or seen.updated_at is None:
        ended = seen.completed_at
    else:
        # Somebody may have edited an old one, so both must say so.
        ended = min(seen.completed_at, seen.updated_at)
    return ended is not None and _may_be_after(ended, line)


def _may_be_after(stamp: float, line: float) -> bool:
    """Whether a stamp may be after the cutoff: with seconds only, it is up to one second too early.

    What was over at the first look is known from there, whatever its stamps. Where the line is the
    newest stamp that the service gave, a stamp to the millisecond that equals it has drawn it.
    """
    precision = precision_of(stamp)
    return stamp + (precision if precision >= 0.01 else 0.0) > line


def _may_be_pruned(created: float | None, end: float | None, rules: CountingRules) -> bool:
    """Whether this may be a workflow that was counted long ago, and whose row is gone."""
    if rules.pruned_created is None or rules.pruned_ended is None:
        return False
    if created is not None and created > rules.pruned_created:
        return False
    return end is None or end <= rules.pruned_ended
