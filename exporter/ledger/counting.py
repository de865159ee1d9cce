"""Which outcomes are counted: those since the first start, and none twice. Pure."""

from dataclasses import dataclass
from math import inf
from typing import Final, Literal

from exporter.interfaces.observations import Observation
from exporter.ledger.runs import (
    CLOCK_SLACK_SECONDS,
    SLOW_CLOCK_SECONDS,
    first_seen_by_service,
    precision_of,
)
from exporter.ledger.workflow import Workflow

FIRST_PASS_SECONDS: Final = 900.0
"""Seconds. The first reading of the list goes back this far: what had ended by then is known."""


@dataclass(frozen=True, slots=True)
class CountingRules:
    """The properties of an account that decide whether and how its workflows count."""

    cutoff: float
    """The counting cutoff in Unix seconds, by the service's clock: an unknown workflow that had
    ended by then is recorded but not counted. It is the time when this account's list was first
    read. Infinity: not set yet."""
    listed: bool
    """Whether the account's list is read: it may still show a `created_at` that is unknown now."""
    pruned_created: float | None = None
    """The latest creation time of a settled workflow whose row was pruned; Unix seconds."""
    pruned_ended: float | None = None
    """The latest end of a settled workflow whose row was pruned; Unix seconds."""


NotCounted = Literal["first_pass", "before_cutoff", "no_cutoff", "pruned", "untold"]
"""Why the end of a workflow is recorded and not counted.

- `first_pass`: it had ended when the account's list was first read;
- `before_cutoff`: by its stamps it had ended before the counting cutoff;
- `no_cutoff`: the counting cutoff was not set yet;
- `pruned`: it may have been counted long ago, and its row was removed since;
- `untold`: no stamp shows when it was created or ended.
"""


def counts(workflow: Workflow, seen: Observation, rules: CountingRules) -> bool:
    """Whether the end of this workflow must be counted (see `why_not_counted`)."""
    return why_not_counted(workflow, seen, rules) is None


def why_not_counted(
    workflow: Workflow, seen: Observation, rules: CountingRules
) -> NotCounted | None:
    """Why the end of this workflow must not be counted; None: it must be.

    A workflow that we saw open is always counted, and so is a new run of one that had ended. For
    one that had ended when we first saw it, the stamps decide, unless it had ended when the
    account's list was first read.

    Our own clock is never used: a step of it must neither lose an outcome nor count one twice. If
    no stamp shows it, or the cutoff is not set yet, a pushed id counts as new (its sender has just
    submitted it), and any other as old.
    """
    was_open = workflow.status is not None or workflow.unknown_status is not None
    is_known = was_open or workflow.run > 1 or _has_ended_since_it_was_named(workflow, seen)
    if is_known or not seen.is_over:
        return None
    if seen.first_pass:
        return "first_pass"
    created = workflow.created_at if seen.created_at is None else seen.created_at
    if created is None:
        created = seen.created_no_earlier
    if rules.cutoff == inf:
        return None if workflow.source == "pushed" else "no_cutoff"
    if created is None and seen.completed_at is None:
        return None if workflow.source == "pushed" else "untold"
    if _may_be_pruned(created, seen.completed_at, rules):
        return "pruned"
    # A pushed id is probably new, whatever a runner's clock says.
    is_young = (
        workflow.source == "pushed"
        if created is None
        else (created > rules.cutoff - FIRST_PASS_SECONDS)
    )
    is_after = _is_after_cutoff(created, seen, rules.cutoff, is_young=is_young)
    return None if is_after else "before_cutoff"


def _has_ended_since_it_was_named(workflow: Workflow, seen: Observation) -> bool:
    """Whether a workflow that a source named ended only after that.

    The service may not have answered before, not even to an earlier process, so nobody has seen it
    open. Both stamps must be later: the end may be by a fast clock, and an edit moves the other.
    """
    end, named = seen.completed_at, first_seen_by_service(workflow, seen)
    if workflow.source == "listing" or end is None or named is None:
        return False
    written = end if seen.updated_at is None else min(end, seen.updated_at)
    return written > named + CLOCK_SLACK_SECONDS


def is_past_keeping(seen: Observation, rules: CountingRules) -> bool:
    """Whether an end that is not counted is so old that the rows of its time were pruned.

    Not if rows were lost: then nobody knows which of these are old.
    """
    return (
        seen.completed_at is not None
        and rules.pruned_created != inf
        and _may_be_pruned(seen.created_at, seen.completed_at, rules)
    )


def must_wait_for_list(workflow: Workflow, seen: Observation, rules: CountingRules) -> bool:
    """Whether only the list can show if an end must be counted, and will do so soon.

    A stream shows no creation time. Its stamp of the end may be missing, or come from the clock of
    a runner that is some minutes slow.
    """
    return (
        rules.listed
        and rules.cutoff < inf
        and seen.via == "stream"
        and (seen.completed_at is None or rules.cutoff - seen.completed_at < SLOW_CLOCK_SECONDS)
        and workflow.created_at is None
        and not counts(workflow, seen, rules)
    )


def _is_after_cutoff(
    created: float | None, seen: Observation, cutoff: float, *, is_young: bool
) -> bool:
    """Whether a workflow that we never saw open ended only after the counting cutoff.

    It did if it was created after the cutoff, even if stamps of its end are missing or come from
    another clock. It also did if it ended after the cutoff by every clock that stamped its end.

    `is_young`: if it had ended by the cutoff, it would be known already.
    """
    if created is not None and _may_be_after(created, cutoff):
        return True
    if is_young:
        ended = seen.completed_at if seen.updated_at is None else seen.updated_at
    elif seen.completed_at is None or seen.updated_at is None:
        ended = seen.completed_at
    else:
        # An old workflow may have been edited, so both stamps must be after the cutoff.
        ended = min(seen.completed_at, seen.updated_at)
    return ended is not None and _may_be_after(ended, cutoff)


def _may_be_after(stamp: float, cutoff: float) -> bool:
    """Whether a stamp may be after the cutoff: with seconds only, it is up to one second too early.

    What had ended at the first reading is already known, whatever its stamps. If the cutoff is the
    newest stamp that the service gave, then a stamp in milliseconds that equals it is that stamp
    itself.
    """
    precision = precision_of(stamp)
    return stamp + (precision if precision >= 0.01 else 0.0) > cutoff


def _may_be_pruned(created: float | None, end: float | None, rules: CountingRules) -> bool:
    """Whether this may be a workflow that was counted long ago and whose row was removed."""
    if rules.pruned_created is None or rules.pruned_ended is None:
        return False
    if created is not None and created > rules.pruned_created:
        return False
    return end is None or end <= rules.pruned_ended
