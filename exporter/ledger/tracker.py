"""The rules by which observations become facts.

Pure: no clock, no socket, no metric, no state. Each function takes the stored state of one
workflow and a new observation of it, and returns the state to store and the facts that follow. The
rules are those of docs/design.md, "Observing", "Durations" and "Counting once".
"""

from dataclasses import dataclass, replace
from math import inf
from typing import Final

from exporter.interfaces.observations import (
    Moment,
    Observation,
    Removed,
    Status,
    Tracked,
    known_status,
)
from exporter.ledger.counting import CountingRules, counts, is_past_keeping, must_wait_for_list
from exporter.ledger.facts import (
    Discovered,
    Dropped,
    EnteredQueue,
    Fact,
    Failed,
    Finished,
    Ignored,
    OutputsMade,
    Ran,
    Started,
)
from exporter.ledger.phases import PhaseSight, created_by_clocks, follow
from exporter.ledger.runs import (
    CLOCK_SLACK_SECONDS,
    STALE_SECONDS,
    contradict,
    ended_before_it_was_open,
    ends_with_those_of_this_run,
    is_about_earlier_run,
    is_earlier_end,
    is_later,
    is_new_run,
    is_on_record,
    is_recorded_end,
    may_be_about_earlier_run,
    note_end,
    note_settled,
    our_clock_slow_by,
    precision_of,
    settled_by,
    settled_by_when,
    slow_by,
    starts_with_that_of_this_run,
    without_earlier_start,
    without_idle_stamp,
)
from exporter.ledger.workflow import Workflow

ABSURD_SECONDS: Final = 30 * 86_400.0
"""Seconds. No wait and no run lasts longer; a stamp that says so is wrong."""

START_UNCERTAINTY_SECONDS: Final = 30.0
"""Seconds. A start is estimated between two of our observations only if they are no further apart
than this."""

CAUSE_PATIENCE_SECONDS: Final = 3600.0
"""Seconds for which a failure waits for its cause before it is counted under `unknown`, and an
outcome waits for the stamps of its run before its duration is left out."""

SECOND_TELLING_SECONDS: Final = 10.0
"""Seconds. If the last snapshot lacks a cause or a stamp, it is asked for after this time: it may
be available a moment later, or from another endpoint."""

ABSENT_SECONDS: Final = 20.0
"""Seconds. The service may show a cause some time after the end. If the full answer about the
single workflow has none after this time, there is none. `LEFT_OUT` in `exporter/retrying.py`
decides when it is asked for until then."""

ABSENT_IN_STREAM_SECONDS: Final = 60.0
"""Seconds. After this time a stream without a cause is believed too: if other requests fail, the
full answer about the single workflow may take hours."""


@dataclass(frozen=True, slots=True)
class Change:
    """What follows from one observation or request."""

    workflow: Workflow | None
    """The new state of the workflow; None: it was not tracked, and still is not."""
    facts: tuple[Fact, ...] = ()
    is_end_uncounted: bool = False
    """Whether its end is recorded, but is none of those that are counted."""


def track(workflow: Workflow | None, tracked: Tracked) -> Change:
    """A source named an id: new ids are tracked, and dropped ones that are named again."""
    if workflow is None:
        fresh = Workflow(
            account=tracked.account,
            workflow_id=tracked.workflow_id,
            source=tracked.source,
            first_seen=tracked.at,
        )
        return Change(fresh, (Discovered(tracked.source),))
    if workflow.phase == "settled" and tracked.source == "pushed":
        # If it runs again, the new run counts as pushed.
        return Change(replace(workflow, source=tracked.source))
    if workflow.phase == "dropped" and tracked.again:
        revived = replace(
            workflow, phase="open", source=tracked.source, first_seen=tracked.at, ended_at=None
        )
        return Change(revived, (Discovered(tracked.source),))
    if workflow.phase == "open" and (workflow.source == "listing" or tracked.source == "pushed"):
        # This id was named by a user, so it gets a stream before others. A pushed id is not
        # untracked when the configuration no longer names it.
        return Change(replace(workflow, source=tracked.source))
    return Change(workflow)


def drop(workflow: Workflow | None, removed: Removed) -> Change:
    """Drop an id about which the service gives no more answers."""
    if workflow is None:
        return Change(None)
    if workflow.phase == "open":
        dropped = replace(workflow, phase="dropped", queue_position=None, ended_at=removed.at.wall)
        return Change(dropped, (Dropped(removed.reason),))
    return forgive(workflow)


def untrack(workflow: Workflow | None, removed: Removed, *, listed: bool) -> Change:
    """Untrack an id that its source no longer names; the list may continue to track it."""
    if workflow is None or workflow.phase != "open" or workflow.source == "listing":
        return Change(workflow)
    if listed and workflow.created_at is not None:
        return Change(replace(workflow, source="listing"))
    return drop(workflow, removed)


def forgive(workflow: Workflow) -> Change:
    """Stop waiting: a pending cause becomes `unknown`, and a pending duration is left out."""
    if workflow.pending_since is None:
        return Change(workflow)
    settled = replace(workflow, cause_pending_since=None, duration_pending_since=None)
    return Change(settled, () if workflow.cause_pending_since is None else (Failed(None, None),))


def observe(workflow: Workflow | None, seen: Observation, rules: CountingRules) -> Change:
    """Apply an observation of a workflow."""
    change = _observe(workflow, seen, rules)
    if change.is_end_uncounted and workflow is None and is_past_keeping(seen, rules):
        # Its row was removed, or would be at once. A short list shows such rows with each pass.
        return Change(None)
    if change.is_end_uncounted and workflow is not None and workflow.phase == "open":
        # A source named it although it had ended before counting began, or was counted long ago.
        return Change(change.workflow, (*change.facts, Dropped("ended_before")))
    return change


def _observe(workflow: Workflow | None, seen: Observation, rules: CountingRules) -> Change:
    facts: list[Fact] = []
    seen = without_earlier_start(workflow, without_idle_stamp(seen))
    if workflow is None:
        workflow = _newly_listed(seen)
        if counts(workflow, seen, rules):
            facts.append(Discovered(workflow.source))
    elif workflow.phase == "settled":
        if not is_new_run(workflow, seen, listed=rules.listed):
            return _after_the_end(workflow, seen, rules)
        facts.extend(forgive(workflow).facts)
        facts.append(Discovered(workflow.source))
        workflow = _next_run(workflow)
        seen = without_earlier_start(workflow, seen)
    elif workflow.phase == "dropped":
        if seen.via == "stream" or is_about_earlier_run(workflow, seen):
            # This is a late event of the stream that it had until it was dropped, or nothing new.
            return Change(workflow, (Ignored("late"),))
        # It exists after all: the service did not know it yet when we asked, or hid it for a while.
        workflow = replace(workflow, phase="open", ended_at=None)
        if counts(workflow, seen, rules):
            facts.append(Discovered(workflow.source))
    elif (
        is_about_earlier_run(workflow, seen)
        or may_be_about_earlier_run(workflow, seen)
        or ended_before_it_was_open(workflow, seen)
    ):
        open_until = workflow.first_seen if workflow.last_seen is None else workflow.last_seen
        if seen.at.monotonic - open_until.monotonic <= STALE_SECONDS:
            return Change(workflow, (Ignored("late"),))
    return _while_open(workflow, seen, rules, facts)


def _newly_listed(seen: Observation) -> Workflow:
    return Workflow(
        account=seen.account,
        workflow_id=seen.workflow_id,
        source="listing",
        first_seen=seen.at,
    )


def _next_run(workflow: Workflow) -> Workflow:
    return Workflow(
        account=workflow.account,
        workflow_id=workflow.workflow_id,
        source=workflow.source,
        first_seen=workflow.first_seen,
        run=workflow.run + 1,
        created_at=workflow.created_at,
        ended_at=workflow.ended_at,
        stream_ended_at=workflow.stream_ended_at,
        stream_ended_run=workflow.stream_ended_run,
        listed_ended_at=workflow.listed_ended_at,
        listed_ended_run=workflow.listed_ended_run,
        earlier_ends=ends_with_those_of_this_run(workflow),
        earlier_starts=starts_with_that_of_this_run(workflow),
        settled_at=workflow.settled_at,
        slow_by=workflow.slow_by,
        our_clock_slow_by=workflow.our_clock_slow_by,
        slices=workflow.slices,
        held=workflow.held,
        # `created_at` belongs to the first run, so it does not show how long this run waited.
        start_observed=True,
    )


def _never_ran_again(workflow: Workflow, seen: Observation) -> Change:
    """Undo a new run: the end of the earlier run was shown for longer than a replica lags.

    So the report that the workflow runs again was wrong.
    """
    settled = replace(
        workflow,
        phase="settled",
        status=known_status(seen.status) or Status.OTHER,
        unknown_status=None,
        queue_position=None,
        run=workflow.run - 1,
        outputs_counted=True,
    )
    return Change(settled, (Dropped("not_found"),))


def _after_the_end(workflow: Workflow, seen: Observation, rules: CountingRules) -> Change:
    """Add to a recorded end what is still missing.

    That may be the cause, the outputs, or the stamps of the run.
    """
    if seen.completed_at is not None and is_on_record(workflow, seen.completed_at):
        # A lagging replica shows the run before: its cause and stamps do not belong to this run.
        return Change(workflow, (Ignored("late"),))
    status = _status_of(seen)
    facts: list[Fact] = []
    after = note_settled(note_end(workflow, seen), seen)
    if status is workflow.status and _has_run_after_all(after, seen):
        # The end was reported without a start, as if it never ran.
        after = replace(after, duration_pending_since=seen.at, start_observed=after.run > 1)
    # The service may rename the status of what is over ("archived"); its cause stays the same.
    is_same = status is workflow.status
    since = after.cause_pending_since
    if (
        since is not None
        and seen.via != "listing"
        and (is_same or (status is Status.OTHER and is_recorded_end(after, seen)))
        and _is_cause_known(seen, since)
    ):
        facts.append(_failure(seen))
        after = replace(after, cause_pending_since=None)
    if is_same and status is Status.COMPLETED and seen.outputs and not after.outputs_counted:
        facts.append(OutputsMade(seen.outputs))
        after = replace(after, outputs_counted=True)
    is_final = status is not None and status.final
    if is_final and after.duration_pending_since is not None and is_recorded_end(after, seen):
        after = _pay_duration(after, seen, rules, facts)
    if not facts:
        facts.append(Ignored("duplicate" if is_same else "late"))
    return Change(after, tuple(facts))


def _has_run_after_all(workflow: Workflow, seen: Observation) -> bool:
    """Whether this shows the start of a counted run that seemed to have ended in the queue.

    A start that lies after the end proves nothing: a runner stamped a workflow that was cancelled.
    An extra request is made only if the stamps do not show which of the two comes first.
    """
    start, end = seen.started_at, seen.completed_at
    is_known = workflow.started_at is not None or workflow.duration_pending_since is not None
    if start is None or is_known or workflow.outputs_counted:
        return False
    if workflow.status is Status.COMPLETED:
        return False  # it was known that it ran, and its start was waited for
    if end is None:
        # Its end stamp may arrive a moment later.
        return workflow.cause_pending_since is not None and seen.via != "listing"
    return is_recorded_end(workflow, seen) and not contradict(start, end)


def _is_cause_known(seen: Observation, since: Moment) -> bool:
    """Whether this shows the cause, or is a later full answer that shows there is none."""
    if _shows_whole_cause(seen):
        return True
    if seen.cause_unreadable:
        return False  # there is a cause, and the other endpoint may show it
    enough = ABSENT_SECONDS if seen.via == "detail" else ABSENT_IN_STREAM_SECONDS
    return seen.at.monotonic - since.monotonic >= enough


def _shows_whole_cause(seen: Observation) -> bool:
    """Whether this names the node and the exception. Otherwise the rest may be shown later."""
    cause = seen.cause
    return bool(cause and cause.node_type and cause.exception_type)


def _pay_duration(
    workflow: Workflow, seen: Observation, rules: CountingRules, facts: list[Fact]
) -> Workflow:
    start, end = (
        workflow.started_at if seen.started_at is None else seen.started_at,
        seen.completed_at,
    )
    if start is None or end is None:
        return workflow
    if not workflow.start_observed and workflow.status is not Status.COMPLETED:
        if contradict(start, end):
            # A runner stamped it too late: it never started.
            return replace(workflow, duration_pending_since=None, start_observed=True)
        if _are_alike(start, end) and seen.via != "detail":
            return workflow  # see `_may_never_have_run`
    workflow = replace(workflow, started_at=start, duration_pending_since=None)
    workflow = _note_start(workflow, seen, rules, facts)
    seconds = _between(start, end, facts)
    if seconds is not None and workflow.status is not None:
        facts.append(Ran(workflow.status, seconds))
    return workflow


def _status_of(seen: Observation) -> Status | None:
    """The status as we count it; None: an unknown status without an end."""
    status = known_status(seen.status)
    return Status.OTHER if status is None and seen.is_over else status


def _while_open(
    workflow: Workflow, seen: Observation, rules: CountingRules, facts: list[Fact]
) -> Change:
    status = _status_of(seen)
    if is_earlier_end(workflow, seen):
        return _never_ran_again(workflow, seen)
    newest = workflow.last_seen is None or seen.at.monotonic >= workflow.last_seen.monotonic
    before = workflow
    workflow = replace(
        workflow,
        last_seen=seen.at if newest else workflow.last_seen,
        last_via=seen.via if newest else workflow.last_via,
        created_at=seen.created_at if workflow.created_at is None else workflow.created_at,
        started_at=_later_of(workflow.started_at, seen.started_at),
        slow_by=slow_by(workflow, seen),
        our_clock_slow_by=our_clock_slow_by(workflow, seen),
    )
    if known_status(seen.status) is None:
        facts.append(Ignored("unknown_status"))
    if status is None:
        if newest:
            workflow = replace(workflow, unknown_status=seen.status, queue_position=None)
    elif status.final and must_wait_for_list(before, seen, rules):
        return Change(workflow, tuple(facts))
    elif status.final:
        return _settle(workflow, status, seen, rules, facts)
    elif workflow.status is not None and status.rank < workflow.status.rank:
        facts.append(Ignored("late"))
    else:
        if newest and workflow.unknown_status is not None:
            workflow = replace(workflow, unknown_status=None)
        workflow = _note_phases(workflow, status, seen, facts)
        workflow = _advance(workflow, status, seen, facts, newest=newest)
        if _same_news(before, workflow) and before.last_seen is not None:
            facts.append(Ignored("duplicate"))
    workflow = _note_start(workflow, seen, rules, facts)
    return Change(workflow, tuple(facts))


def _later_of(known: float | None, told: float | None) -> float | None:
    """The later of two stamps, as of the starts of a requeued run.

    The same stamp in another precision is the same.
    """
    if known is None or told is None:
        return told if known is None else known
    return told if is_later(told, known) else known


def _advance(
    workflow: Workflow, status: Status, seen: Observation, facts: list[Fact], *, newest: bool
) -> Workflow:
    if status is Status.RUNNING:
        if workflow.status is status:
            return workflow  # this is the case for thousands of snapshots a second
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


def _note_phases(
    workflow: Workflow, reached: Status, seen: Observation, facts: list[Fact]
) -> Workflow:
    """Count the phases that it has left."""
    created = None
    if workflow.run == 1:  # otherwise the stamp belongs to another run
        created = created_by_clocks(workflow.created_at, seen.service_wall, seen.at)
    before = PhaseSight(workflow.status, workflow.entered, workflow.waiting_until)
    progress = follow(before, reached, seen.at, created)
    facts.extend(progress.facts)
    if progress.entered == workflow.entered:
        return workflow  # creating a new object is most of the cost of an observation
    return replace(workflow, entered=progress.entered)


def _has_run(workflow: Workflow, end: Status) -> bool:
    """Whether a workflow with this end has run, as far as is known."""
    return (
        workflow.status is Status.RUNNING
        or workflow.started_at is not None
        or end is Status.COMPLETED
    )


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
    ours = counts(workflow, seen, rules)
    is_unsure = _may_never_have_run(workflow, status, seen)
    settled = replace(
        workflow,
        phase="settled",
        status=status,
        unknown_status=None,
        queue_position=None,
        entered=None,
        started_at=_start_of_ended(workflow, seen),
        ended_at=seen.ended_at or seen.at.wall,
        settled_at=settled_by_when(seen, slow_by=workflow.slow_by),
    )
    settled = settled_by(settled, seen.via, seen.completed_at)
    if not ours:
        settled = replace(settled, start_observed=True, outputs_counted=True)
        return Change(settled, tuple(facts), is_end_uncounted=True)
    if _has_run(workflow, status):
        _note_phases(workflow, Status.RUNNING, seen, facts)
    if is_unsure or _lacks_stamps(settled, seen, had_run=workflow.status is Status.RUNNING):
        settled = replace(
            settled,
            duration_pending_since=seen.at,
            ask_from=seen.at.monotonic + SECOND_TELLING_SECONDS,
        )
    if is_unsure:
        facts.append(Finished(status, None))
    else:
        settled = _note_start(settled, seen, rules, facts)
        facts.append(Finished(status, _run_duration(settled, seen, facts)))
    if status is Status.COMPLETED and seen.outputs:
        facts.append(OutputsMade(seen.outputs))
        settled = replace(settled, outputs_counted=True)
    if status is Status.FAILED:
        settled = _settle_cause(settled, seen, facts)
    return Change(settled, tuple(facts))


def _start_of_ended(workflow: Workflow, seen: Observation) -> float | None:
    """The start of the run whose end this shows: the one in the same answer, if it has both stamps.

    A later start that was seen before belongs to a run after it: an outdated answer shows the end.
    """
    start, end = seen.started_at, seen.completed_at
    if start is None or end is None or contradict(start, end):
        return workflow.started_at
    return start


def _may_never_have_run(workflow: Workflow, status: Status, seen: Observation) -> bool:
    """Whether the stamps do not show if it ran for a moment, or ended in the queue.

    A workflow that ended in the queue may get a start stamp afterwards. Cut to the second, this
    looks like a run of no time. The full answer about the single workflow may be more precise; if
    it is not, it counts as a run of no time.
    """
    start, end = seen.started_at, seen.completed_at
    if start is None or end is None or workflow.status is Status.RUNNING or workflow.start_observed:
        return False
    may_end_in_queue = status in {Status.FAILED, Status.CANCELLED}
    return may_end_in_queue and _are_alike(start, end)


def _are_alike(start: float, end: float) -> bool:
    """Whether a start that is not before its end may be before it: one of them is a whole second.

    A precise stamp may also happen to be a whole second.
    """
    is_coarse = max(precision_of(start), precision_of(end)) >= 1.0
    return start >= end and not contradict(start, end) and is_coarse


def _settle_cause(settled: Workflow, seen: Observation, facts: list[Fact]) -> Workflow:
    if seen.via == "listing":
        # The list shows no cause. It is pending, and is asked for when the budget allows.
        return replace(settled, cause_pending_since=seen.at, ask_from=-inf)
    if not _shows_whole_cause(seen):
        return replace(
            settled,
            cause_pending_since=seen.at,
            ask_from=seen.at.monotonic + SECOND_TELLING_SECONDS,
        )
    facts.append(_failure(seen))
    return settled


def _lacks_stamps(workflow: Workflow, seen: Observation, *, had_run: bool) -> bool:
    """Whether the duration of a run must wait for a stamp that was missing with the end.

    A run that never started has no duration; whether it started may also become known later. An
    invalid workflow never starts.
    """
    if workflow.status is Status.INVALID:
        return False
    if seen.completed_at is None:
        return True
    return workflow.started_at is None and (had_run or workflow.status is Status.COMPLETED)


def _run_duration(workflow: Workflow, seen: Observation, facts: list[Fact]) -> float | None:
    """The duration in seconds, from a start and an end in the same answer.

    None: no answer has both.
    """
    start = workflow.started_at if seen.started_at is None else seen.started_at
    if start is None or seen.completed_at is None:
        return None
    return _between(start, seen.completed_at, facts)


def _between(start: float, end: float, facts: list[Fact], *, skew: float = 0.0) -> float | None:
    """Seconds between two stamps; None if they contradict each other.

    A stamp that is cut to the second may lie before an earlier one in milliseconds: then nothing,
    or less than a second, lies between them. The same holds for two clocks that differ.

    Args:
        start: the earlier stamp.
        end: the later one.
        facts: takes the anomaly.
        skew: seconds by which the clocks of the two stamps may differ.
    """
    seconds = end - start
    if seconds < 0 and (-seconds <= skew or not contradict(start, end)):
        return 0.0
    if 0 <= seconds <= ABSURD_SECONDS:
        # A Unix time in a float is accurate to a quarter of a microsecond. Digits below a
        # microsecond are noise, which would add up in the sums.
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
    """Observe the time to start, once.

    It comes from the service's stamps, or else from our own observations.
    """
    has_started = workflow.status is Status.RUNNING or workflow.started_at is not None
    if workflow.start_observed or not (has_started or workflow.phase == "settled"):
        return workflow
    if not has_started:
        # It may become known later, with the stamps of its run, whether it ever started.
        return replace(workflow, start_observed=workflow.duration_pending_since is None)
    if workflow.created_at is not None:
        if workflow.started_at is None:
            # It runs, but its start stamp is not known yet; a later observation brings it.
            return workflow
        if (
            workflow.phase == "settled"
            and seen.completed_at is not None
            and contradict(workflow.started_at, seen.completed_at)
        ):
            # Cancelled in the queue, and a runner stamped it afterwards: it never started.
            return replace(workflow, start_observed=True, start_wait=None)
        seconds = _waited(workflow.created_at, workflow.started_at, seen, facts)
    else:
        if workflow.start_wait is None:
            workflow = replace(workflow, start_wait=_wait_by_our_sights(workflow, seen))
        if rules.listed and workflow.phase == "open":
            # The list may still show when it was created, which is better than our observations.
            return workflow
        seconds = workflow.start_wait
    if seconds is not None:
        facts.append(Started(seconds))
    return replace(workflow, start_observed=True, start_wait=None)


def _waited(created: float, start: float, seen: Observation, facts: list[Fact]) -> float | None:
    """Seconds between creation and start; None if the stamps are wrong.

    The creation is stamped by the service, the start perhaps by a runner. If one of the runner's
    stamps is later than the answer that shows it, its clock is fast by an unknown time.
    """
    told = max((t for t in (seen.service_wall, seen.updated_at) if t is not None), default=inf)
    # Nothing is created later than now either: then the clock of the Date header is slow.
    is_told = created <= told + CLOCK_SLACK_SECONDS
    if is_told and max(start, seen.completed_at or start) > told + CLOCK_SLACK_SECONDS:
        facts.append(Ignored("anomalous_duration"))
        return None
    return _between(created, start, facts, skew=CLOCK_SLACK_SECONDS)


def _wait_by_our_sights(workflow: Workflow, seen: Observation) -> float | None:
    """Seconds from when we first saw it waiting to its start; None if this is uncertain.

    Its start lies between our last observation of it waiting and this one. If we first see it at
    the end of its run, the run's stamps show how long ago it started.
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
