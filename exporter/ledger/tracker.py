"""The rules by which observations become facts.

Pure: no clock, no socket, no metric, no state of its own. Each function takes what is kept of
one workflow and what was learnt of it, and answers what is kept from then on and which facts
follow. The rules are those of docs/design.md, "Observing", "Durations" and "Counting once".
"""

from dataclasses import dataclass, replace
from math import inf
from typing import Final

from exporter.ledger.facts import (
    Discovered,
    Dropped,
    EnteredQueue,
    Fact,
    Failed,
    Finished,
    Ignored,
    OutputsMade,
    Started,
)
from exporter.ledger.workflow import Workflow
from exporter.observations import GivenUp, Observation, Status, TakenUp, known_status

ABSURD_SECONDS: Final = 30 * 86_400.0
"""No wait and no run lasts longer; a stamp that says so is wrong."""

START_UNCERTAINTY_SECONDS: Final = 30.0
"""Where a start is placed between two sights of ours, they must lie no further apart than this."""

CAUSE_PATIENCE_SECONDS: Final = 3600.0
"""How long a failure waits for its cause before it is counted under `unknown`."""


@dataclass(frozen=True, slots=True)
class CountingRules:
    """What of an account decides whether, and how, its workflows count."""

    line: float
    """Unix seconds: what had ended by then and is not known is recorded and not counted. It is
    when this account was first looked at, ever, and moves on past the end of each settled
    workflow whose row is dropped, so that none is ever counted again. Infinity: not drawn yet."""
    listed: bool
    """Whether a listing may yet tell a `created_at` that is unknown now."""


@dataclass(frozen=True, slots=True)
class Change:
    """What follows from one thing learnt."""

    workflow: Workflow | None
    """What is kept from now on; None: nothing was kept, and nothing is."""
    facts: tuple[Fact, ...] = ()


def take_up(workflow: Workflow | None, taken: TakenUp) -> Change:
    """A source named an id: new ones are taken up, and a dropped one that is named anew."""
    if workflow is None:
        fresh = Workflow(
            account=taken.account,
            workflow_id=taken.workflow_id,
            source=taken.source,
            first_seen=taken.at,
        )
        return Change(fresh, (Discovered(taken.source),))
    if workflow.phase == "dropped" and taken.anew:
        revived = replace(
            workflow, phase="open", source=taken.source, first_seen=taken.at, ended_at=None
        )
        return Change(revived, (Discovered(taken.source),))
    if workflow.phase == "open" and (workflow.source == "listing" or taken.source == "pushed"):
        # Somebody cares for this one by name: that is what earns it a stream before others. One
        # that was pushed is not withdrawn when the configuration names it no more.
        return Change(replace(workflow, source=taken.source))
    return Change(workflow)


def give_up(workflow: Workflow | None, given: GivenUp) -> Change:
    """The service will tell nothing more of this id."""
    if workflow is None:
        return Change(None)
    if workflow.phase == "open":
        dropped = replace(workflow, phase="dropped", queue_position=None, ended_at=given.at.wall)
        return Change(dropped, (Dropped(given.reason),))
    return forgive_cause(workflow)


def withdraw(workflow: Workflow | None, withdrawn: GivenUp, *, listed: bool) -> Change:
    """Whoever named this id names it no more: the list goes on with it, or nobody does."""
    if workflow is None or workflow.phase != "open" or workflow.source == "listing":
        return Change(workflow)
    if listed and workflow.created_at is not None:
        return Change(replace(workflow, source="listing"))
    return give_up(workflow, withdrawn)


def forgive_cause(workflow: Workflow) -> Change:
    """Count a failure whose cause will not be learnt any more under `unknown`."""
    if workflow.cause_owed_since is None:
        return Change(workflow)
    return Change(replace(workflow, cause_owed_since=None), (Failed(None, None),))


def observe(workflow: Workflow | None, seen: Observation, rules: CountingRules) -> Change:
    """The service said something of a workflow."""
    facts: list[Fact] = []
    if workflow is None:
        workflow = _newly_listed(seen)
        if _counts(workflow, seen, rules):
            facts.append(Discovered(workflow.source))
    elif workflow.phase == "settled":
        if not _is_new_run(workflow, seen):
            return _after_the_end(workflow, seen)
        facts.extend(forgive_cause(workflow).facts)
        facts.append(Discovered(workflow.source))
        workflow = _next_run(workflow)
    elif workflow.phase == "dropped":
        if seen.via == "stream":
            # A last word of the stream that it had until it was dropped.
            return Change(workflow, (Ignored("late"),))
        # It exists after all: too early for the service when we asked, or hidden for a while.
        # Whoever named it has been answered; from now on it is the list that follows it.
        workflow = replace(workflow, phase="open", source="listing", ended_at=None)
    return _while_open(workflow, seen, rules, facts)


def _newly_listed(seen: Observation) -> Workflow:
    return Workflow(
        account=seen.account,
        workflow_id=seen.workflow_id,
        source="listing",
        first_seen=seen.at,
        created_at=seen.created_at,
    )


def _is_new_run(workflow: Workflow, seen: Observation) -> bool:
    """Re-executed: started again after the end that is on record.

    The end may be by our own clock where the service gave none, hence the second condition: a
    repeated stamp is never a new start, whatever the clocks say.
    """
    return (
        seen.started_at is not None
        and workflow.ended_at is not None
        and seen.started_at > workflow.ended_at
        and seen.started_at != workflow.started_at
    )


def _next_run(workflow: Workflow) -> Workflow:
    return Workflow(
        account=workflow.account,
        workflow_id=workflow.workflow_id,
        source=workflow.source,
        first_seen=workflow.first_seen,
        run=workflow.run + 1,
        created_at=workflow.created_at,
        # `created_at` is that of the first run, and this one was first seen started.
        start_observed=True,
    )


def _after_the_end(workflow: Workflow, seen: Observation) -> Change:
    """What a stream may add to an end that the list has told: the cause, or the outputs."""
    status = known_status(seen.status)
    if status is workflow.status and seen.via != "listing":
        if status is Status.FAILED and workflow.cause_owed_since is not None:
            return Change(replace(workflow, cause_owed_since=None), (_failure(seen),))
        if status is Status.COMPLETED and not workflow.outputs_counted and seen.outputs:
            return Change(replace(workflow, outputs_counted=True), (OutputsMade(seen.outputs),))
    return Change(workflow, (Ignored("duplicate" if status is workflow.status else "late"),))


def _while_open(
    workflow: Workflow, seen: Observation, rules: CountingRules, facts: list[Fact]
) -> Change:
    status = known_status(seen.status)
    newest = workflow.last_seen is None or seen.at.monotonic >= workflow.last_seen.monotonic
    before = workflow
    workflow = replace(
        workflow,
        last_seen=seen.at if newest else workflow.last_seen,
        created_at=seen.created_at if workflow.created_at is None else workflow.created_at,
        started_at=seen.started_at if workflow.started_at is None else workflow.started_at,
    )
    if status is None:
        facts.append(Ignored("unknown_status"))
        if newest:
            workflow = replace(workflow, unknown_status=seen.status, queue_position=None)
    elif status.final:
        return _settle(workflow, status, seen, rules, facts)
    elif workflow.status is not None and status.rank < workflow.status.rank:
        facts.append(Ignored("late"))
    else:
        if newest and workflow.unknown_status is not None:
            workflow = replace(workflow, unknown_status=None)
        workflow = _advance(workflow, status, seen, facts, newest=newest)
        if _same_news(before, workflow) and before.last_seen is not None:
            facts.append(Ignored("duplicate"))
    workflow = _note_start(workflow, seen, rules, facts)
    return Change(workflow, tuple(facts))


def _advance(
    workflow: Workflow, status: Status, seen: Observation, facts: list[Fact], *, newest: bool
) -> Workflow:
    if status is Status.RUNNING:
        return replace(workflow, status=status, queue_position=None)
    at = seen.at.monotonic
    workflow = replace(
        workflow,
        status=status,
        waiting_from=at if workflow.waiting_from is None else min(workflow.waiting_from, at),
        waiting_until=at if workflow.waiting_until is None else max(workflow.waiting_until, at),
    )
    if status is Status.QUEUED and seen.queue_position is not None and newest:
        if not workflow.entered_queue:
            facts.append(EnteredQueue(seen.queue_position))
        workflow = replace(
            workflow, queue_position=seen.queue_position, position_at=at, entered_queue=True
        )
    return workflow


def _same_news(before: Workflow, after: Workflow) -> bool:
    return (
        before.status is after.status
        and before.unknown_status == after.unknown_status
        and before.queue_position == after.queue_position
        and before.created_at == after.created_at
        and before.started_at == after.started_at
    )


def _settle(
    workflow: Workflow,
    status: Status,
    seen: Observation,
    rules: CountingRules,
    facts: list[Fact],
) -> Change:
    counts = _counts(workflow, seen, rules)
    settled = replace(
        workflow,
        phase="settled",
        status=status,
        unknown_status=None,
        queue_position=None,
        ended_at=seen.ended_at or seen.at.wall,
    )
    if not counts:
        return Change(replace(settled, start_observed=True, outputs_counted=True))
    settled = _note_start(settled, seen, rules, facts)
    facts.append(Finished(status, _run_duration(settled, seen, facts)))
    if status is Status.COMPLETED and seen.outputs:
        facts.append(OutputsMade(seen.outputs))
        settled = replace(settled, outputs_counted=True)
    if status is Status.FAILED:
        if seen.via == "listing":
            # The list shows no cause: one request is owed for it, whenever there is room.
            settled = replace(settled, cause_owed_since=seen.at)
        else:
            facts.append(_failure(seen))
    return Change(settled, tuple(facts))


def _counts(workflow: Workflow, seen: Observation, rules: CountingRules) -> bool:
    """Whether the end of this workflow is ours to count.

    What we saw open always is. What was over when we first saw it is, unless it was over before
    the line. No clock of ours has a say in it: a step of it must neither lose an outcome nor
    repeat one. With no stamp of its end, or no line yet, a pushed id is taken for new (whoever
    pushes has just submitted it), any other for old.
    """
    if workflow.status is not None or workflow.unknown_status is not None:
        return True
    status = known_status(seen.status)
    if status is None or not status.final:
        return True
    end = seen.ended_at
    if seen.first_look:
        return False
    if end is None or rules.line == inf:
        return workflow.source == "pushed"
    return end > rules.line


def _run_duration(workflow: Workflow, seen: Observation, facts: list[Fact]) -> float | None:
    if workflow.started_at is None or seen.completed_at is None:
        return None
    return _plausible(seen.completed_at - workflow.started_at, facts)


def _plausible(seconds: float, facts: list[Fact]) -> float | None:
    if 0 <= seconds <= ABSURD_SECONDS:
        # A Unix time in a float is good to a quarter of a microsecond: what is below the
        # microsecond is noise, and it would add up in the sums.
        return round(seconds, 6)
    facts.append(Ignored("anomalous_duration"))
    return None


def _failure(seen: Observation) -> Failed:
    if seen.cause is None:
        return Failed(None, None)
    return Failed(seen.cause.node_type, seen.cause.exception_type)


def _note_start(
    workflow: Workflow, seen: Observation, rules: CountingRules, facts: list[Fact]
) -> Workflow:
    """Observe time to start, once: by the service's stamps, else by our own first sight."""
    has_started = workflow.status is Status.RUNNING or workflow.started_at is not None
    if workflow.start_observed or not (has_started or workflow.phase == "settled"):
        return workflow
    if not has_started:
        return replace(workflow, start_observed=True)
    if workflow.created_at is not None:
        if workflow.started_at is None:
            # Running without its stamp yet; a later observation brings it.
            return workflow
        seconds = _plausible(workflow.started_at - workflow.created_at, facts)
    else:
        if workflow.start_wait is None:
            workflow = replace(workflow, start_wait=_wait_by_our_sights(workflow, seen))
        if rules.listed and workflow.phase == "open":
            # The list may still tell when it was created, which is better than our sights.
            return workflow
        seconds = workflow.start_wait
    if seconds is not None:
        facts.append(Started(seconds))
    return replace(workflow, start_observed=True, start_wait=None)


def _wait_by_our_sights(workflow: Workflow, seen: Observation) -> float | None:
    """Seconds from our first sight of it waiting to its start, or None rather than a guess.

    Its start lies between our last sight of it waiting and this one of it started. Seen at the
    end of its run, the run's own stamps say how long ago it started.
    """
    if workflow.waiting_from is None or workflow.waiting_until is None or workflow.waiting_lost:
        return None
    latest = seen.at.monotonic
    if workflow.phase == "settled":
        if seen.completed_at is None or workflow.started_at is None:
            return None
        latest -= max(seen.completed_at - workflow.started_at, 0.0)
    if latest - workflow.waiting_until > START_UNCERTAINTY_SECONDS:
        return None
    return max(latest, workflow.waiting_until) - workflow.waiting_from
