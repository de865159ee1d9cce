"""Which run of a workflow an observation is about: the last recorded one, or a new one. Pure.

The service can execute an id again. A new run must be counted, and the same end must not be
counted twice, although the service may show it with other stamps: with seconds in a stream and
milliseconds in the list, or by different clocks. So what one way of asking (streams, or the list
and single answers) has shown of an end is compared with what the same way shows now. If only the
other way has shown it, time decides: what we saw as over cannot end later than when we saw it.

Stamps are Unix seconds; `settled_at` and `updated_at` are by the service's clock, the start and the
end of a run may be by a runner's.
"""

from dataclasses import replace
from typing import Final

from exporter.interfaces.observations import (
    DOCUMENTED_ENDS,
    Observation,
    Status,
    Via,
    known_status,
)
from exporter.ledger.workflow import Workflow

CLOCK_SLACK_SECONDS: Final = 2.0
"""Tolerance in seconds: the service gives its clock in whole seconds (the Date header), and answers
take a moment."""

SAME_CLOCK_SECONDS: Final = 5.0
"""Seconds. An end that was seen within this time of its stamp was stamped by the service's own
clock, or by one that agrees with it."""

STALE_SECONDS: Final = 120.0
"""Seconds. A replica of the service may lag behind, but not for longer than this."""

ZONE_SECONDS: Final = 900.0
"""Seconds. Time zones differ by multiples of this."""

SOURCES_APART_SECONDS: Final = 60.0
"""Seconds. Streams and the list may take their stamps from different clocks of the service, but
these do not differ by more. Clocks of runners do."""

SLOW_CLOCK_SECONDS: Final = 3600.0
"""Seconds. No runner's clock is wrong by more than this."""

FINE_SECONDS: Final = 0.1
"""Seconds. If stamps are finer than this, two runs are hardly ever equally long."""

ENDS_KEPT: Final = 8
"""How many ends of earlier runs are stored for a workflow, and how many starts."""

FIRST_STAMP_SECONDS: Final = 30.0
"""Seconds. An end may be shown without its stamp at first; a stamp that arrives within this time
belongs to it."""

_NOISE: Final = 5e-7
"""Seconds. A Unix time in a float is accurate to a quarter of a microsecond, and so the difference
of two is to half of one."""

_UNITS: Final = tuple((10**digits, _NOISE * 10**digits, 10.0**-digits) for digits in range(4))
"""For each precision of stamps: units in a second, the noise in units, the unit in seconds."""


def precision_of(stamp: float) -> float:
    """The unit of a stamp's precision, in seconds: 1, 0.1, 0.01, 0.001 or a microsecond.

    A precise stamp that happens to be round is treated as a coarse one. This is rare, and makes
    "the same end" more likely, which is the safe side.
    """
    for per_second, noise, unit in _UNITS:
        scaled = stamp * per_second
        if abs(scaled - round(scaled)) < noise:
            return unit
    return 1e-6


def is_later(stamp: float, than: float) -> bool:
    """Whether a stamp is later by more than the coarser precision of the two."""
    if stamp <= than:
        return False  # mostly they are the same, and the precision takes longer to find
    return stamp - than > _coarsest(stamp, than)


def contradict(start: float, end: float) -> bool:
    """Whether a start lies certainly after its end.

    Stamps are cut or rounded to their precision. Either way, two that differ by the coarser
    precision or more are in this order.
    """
    return start - end >= max(precision_of(start), precision_of(end)) - _NOISE


def _coarsest(*stamps: float) -> float:
    """The coarsest precision of these stamps, and what floats add to it.

    Durations between them that differ by no more are equal.
    """
    return max(map(precision_of, stamps)) + _NOISE


def reported_end(workflow: Workflow, via: Via) -> tuple[float | None, int]:
    """The latest end shown by this source (`via`), and the number of its run; 0: none."""
    if via == "stream":
        return workflow.stream_ended_at, workflow.stream_ended_run
    return workflow.listed_ended_at, workflow.listed_ended_run


def is_new_run(workflow: Workflow, seen: Observation, *, listed: bool) -> bool:
    """Whether this observation shows that a settled workflow was executed again.

    `listed`: the account's list is read. Then a stream that has not shown the last end proves
    nothing, because its stamps may come from another clock than those of the list.
    """
    told, told_run = reported_end(workflow, seen.via)
    this_way = told is not None and told_run == workflow.run
    is_told_by_list = listed and workflow.listed_ended_run == workflow.run
    if seen.via == "stream" and is_told_by_list and not this_way:
        return False
    if seen.is_over:
        if seen.completed_at is None:
            return _has_become_invalid(workflow, seen) or _has_started_again(
                workflow, seen, told if this_way else None
            )
        return _has_ended_again(workflow, seen, seen.completed_at, told, this_way=this_way)
    return _is_open_again(workflow, seen, told if this_way else None)


def _has_ended_again(
    workflow: Workflow, seen: Observation, end: float, told: float | None, *, this_way: bool
) -> bool:
    start = seen.started_at
    if _is_corrected(workflow, seen, end) or is_on_record(workflow, end):
        return False  # an edit, or an answer of a lagging replica
    if start is not None and is_later(start, end):
        # It was cancelled before it started, and the start stamp came afterwards: such a start
        # proves nothing.
        start, seen = None, replace(seen, started_at=None)
    if workflow.status is Status.INVALID and _is_unstamped(workflow):
        # An invalid run never starts, and never gets another status.
        return known_status(seen.status) is not Status.INVALID and not _was_written_before_end(
            workflow, seen
        )
    if told is not None and not is_later(end, told):
        is_earlier = this_way and is_later(told, end)
        return (is_earlier and _ran_on_slower_clock(workflow, seen, (start, end), told)) or (
            not this_way and _ran_on_much_slower_clock(workflow, seen, (start, end))
        )
    if this_way and told is not None and start is not None:
        # Both stamps are new: this is a run on another runner, whether its clock is fast or not.
        return _starts_after(workflow, start, told) or _ran_on_slower_clock(
            workflow, seen, (start, end), told
        )
    same_way = told if this_way else None
    if _lies_in_the_future(workflow, seen, end, same_way) or _is_moved(
        workflow, seen, end, same_way
    ):
        return False
    return (
        this_way
        or _has_ended_since(workflow, seen, end)
        or _ran_on_much_slower_clock(workflow, seen, (start, end))
    )


def _is_moved(workflow: Workflow, seen: Observation, end: float, told: float | None) -> bool:
    """Whether a row shows the recorded end, which was stamped again a moment later.

    Neither has a start. A second run that ends so soon in the same way, without a start, is much
    less likely.
    """
    if told is None:
        return False
    is_alike = seen.started_at is None and workflow.started_at is None
    is_same_status = known_status(seen.status) is workflow.status
    return is_alike and is_same_status and end - told <= CLOCK_SLACK_SECONDS


def _is_unstamped(workflow: Workflow) -> bool:
    """Whether no source has shown a stamp of the recorded end."""
    told = (reported_end(workflow, "stream"), reported_end(workflow, "listing"))
    return not any(end is not None and run == workflow.run for end, run in told)


def _was_written_before_end(workflow: Workflow, seen: Observation) -> bool:
    """Whether a row was written before or when the recorded run was seen to have ended."""
    updated, settled = seen.updated_at, workflow.settled_at
    if updated is None or settled is None:
        return False
    return updated <= settled + CLOCK_SLACK_SECONDS


def _has_become_invalid(workflow: Workflow, seen: Observation) -> bool:
    """Whether an end without a stamp belongs to a new run that was found invalid.

    It does if the recorded end has a stamp and the row is clearly newer. Otherwise it is the same
    end, shown before its stamp is known.
    """
    is_stamped = not _is_unstamped(workflow)
    has_become = known_status(seen.status) is Status.INVALID is not workflow.status
    if not (has_become and is_stamped) or seen.via == "stream":
        return False
    # If there was no earlier run and the time of the recorded end is unknown, this can only be a
    # later run.
    is_first = workflow.run == 1 and workflow.settled_at is None
    return is_first or _is_newer_than_end(workflow, seen)


def _has_started_again(workflow: Workflow, seen: Observation, told: float | None) -> bool:
    """Whether an end without a stamp belongs to a new run, because its start is a new one.

    It is if the recorded run had a start and the new one is later than its end. If that run had
    none, its start may have been stamped after it was cancelled, unless it was invalid. A stream
    must have shown the recorded end itself.
    """
    may_start_late = workflow.started_at is None and workflow.status is not Status.INVALID
    if seen.started_at is None or may_start_late:
        return False
    if told is None and (seen.via == "stream" or _was_written_before_end(workflow, seen)):
        return False
    over_by = _over_by(workflow, told)
    return over_by is not None and _starts_after(workflow, seen.started_at, over_by)


def _over_by(workflow: Workflow, told: float | None) -> float | None:
    """The time by which the recorded run was over: `told`, or when it was seen to have ended."""
    if told is not None:
        return told
    return _ended_by_our_clock(workflow) if workflow.settled_at is None else workflow.settled_at


def _ended_by_our_clock(workflow: Workflow) -> float | None:
    """When the recorded run was over, if the answers gave no time: our clock may be slow."""
    return None if workflow.ended_at is None else workflow.ended_at + workflow.our_clock_slow_by


def _is_corrected(workflow: Workflow, seen: Observation, end: float) -> bool:
    """Whether this is another end of the recorded run, perhaps a wrong one before its start."""
    start = seen.started_at
    is_before_start = start is not None and is_later(start, end) and _is_start_of(workflow, seen)
    return is_before_start or _is_restated(workflow, seen, end)


def _is_restated(workflow: Workflow, seen: Observation, end: float) -> bool:
    """Whether the end only moved together with the creation time, as a time zone is corrected.

    The service may also renew the creation time when the workflow is executed again. If that run is
    as long as the one before, only the size of the shift tells the two apart.
    """
    before, now, ended = workflow.created_at, seen.created_at, workflow.ended_at
    if before is None or now is None or ended is None or not is_later(now, before):
        return False
    shift, unit = now - before, _coarsest(before, now, ended, end)
    return abs((end - ended) - shift) <= unit and _is_by_zones(shift, unit)


def _is_by_zones(shift: float, unit: float) -> bool:
    """Whether two time zones differ by this much."""
    return abs(shift - round(shift / ZONE_SECONDS) * ZONE_SECONDS) <= unit


def _ran_on_slower_clock(
    workflow: Workflow, seen: Observation, run: tuple[float | None, float], told: float
) -> bool:
    """Whether a row shows a new run on a runner whose clock is behind that of the earlier runner.

    Both its end and its start differ from all recorded ones. An edit changes neither of them, and a
    correction of one leaves the other. A corrected time zone or clock moves both by the same
    amount, and never beyond the time at which the recorded run was seen to have ended. A row that
    was written before the recorded end was seen belongs to an earlier run.
    """
    (start, end), started = run, workflow.started_at
    updated, settled = seen.updated_at, workflow.settled_at
    is_dated = updated is not None and settled is not None
    if _was_written_before_end(workflow, seen):
        return False
    wall = seen.service_wall
    if updated is None and wall is not None and settled and wall <= settled + STALE_SECONDS:
        return False  # it may come from a lagging replica, and belong to a run that we never saw
    has_ended_since = settled is not None and end > settled + CLOCK_SLACK_SECONDS
    shift, unit = told - end, _coarsest(end, told)
    by_zones = _is_by_zones(shift, unit)
    if start is None or started is None:
        # One of the two runs has a start and the other has none. A later answer may bring the
        # missing stamp.
        has_other_start = start is not started
        is_newer = is_dated or (not by_zones and _has_another_status(workflow, seen))
        return (has_other_start and is_newer) or (has_ended_since and not by_zones)
    if not is_later(start, started) and not is_later(started, start):
        return False
    unit = max(unit, _coarsest(start, started))
    if abs((started - start) - shift) > unit:
        return True
    # In whole seconds, many runs are as long as the one before.
    return (unit >= 1.0 or has_ended_since) and not by_zones


def _ran_on_much_slower_clock(
    workflow: Workflow, seen: Observation, run: tuple[float | None, float]
) -> bool:
    """Whether a row shows a new run on a slow runner, if only the other source showed the last end.

    The row must be newer than that end. The two sources may use different clocks, so the new end
    must be earlier by more than these can differ, and both runs must have a start.
    """
    other = _told_the_other_way(workflow, seen.via)
    if other is None or None in (run[0], workflow.started_at, seen.updated_at, workflow.settled_at):
        return False
    is_much_earlier = other - run[1] > SOURCES_APART_SECONDS
    return is_much_earlier and _ran_on_slower_clock(workflow, seen, run, other)


def _has_another_status(workflow: Workflow, seen: Observation) -> bool:
    """Whether a row shows another final status, when no replica can lag any more.

    The first final status of a run stays.
    """
    is_other = known_status(seen.status) is not workflow.status
    return is_other and _is_newer_than_end(workflow, seen)


def _lies_in_the_future(
    workflow: Workflow, seen: Observation, end: float, told: float | None
) -> bool:
    """Whether an end was stamped by another clock than the stamp it would be compared with.

    Nothing ends later than now. But the clock that stamped the recorded end may be fast, and that
    of the Date header slow: a row cannot have been written later than now either.
    """
    if seen.service_wall is None:
        return False
    now = seen.service_wall if seen.updated_at is None else max(seen.service_wall, seen.updated_at)
    ahead = CLOCK_SLACK_SECONDS
    if told is not None and workflow.settled_at is not None:
        lead = told - workflow.settled_at
        if lead > CLOCK_SLACK_SECONDS:
            # This is less than the real difference, because the end was seen some time after it
            # happened.
            ahead = lead + STALE_SECONDS
    return end > now + ahead


def _has_ended_since(workflow: Workflow, seen: Observation, end: float) -> bool:
    """Whether an end is new, if this source never showed the end of the last run."""
    start, settled_at = seen.started_at, workflow.settled_at
    other = _told_the_other_way(workflow, seen.via)
    if other is None:
        return _is_past_unstamped_end(workflow, seen, end)
    if not is_later(end, other) or _is_by_another_clock(workflow, seen, end, other):
        return False
    if settled_at is not None and end > settled_at + CLOCK_SLACK_SECONDS:
        # This end is later than when we saw the run as ended. If the start is the old one, only the
        # stamp was corrected.
        if start is None:
            # If neither has a start, and the row was written before that or ended a moment later,
            # this is the recorded end by the list's clock, which is ahead of that of the stream.
            is_alike = workflow.started_at is None
            is_near = end <= max(settled_at, other) + SAME_CLOCK_SECONDS
            return not (is_alike and (is_near or _was_written_before_end(workflow, seen)))
        return _starts_after(workflow, start, None)
    if settled_at is None:
        return start is None or _starts_after(workflow, start, other)
    clocks_agree = abs(settled_at - other) <= SAME_CLOCK_SECONDS
    may_be_compared = clocks_agree or _ended_otherwise(workflow, seen, end, other)
    return may_be_compared and start is not None and _starts_after(workflow, start, other)


def _ended_otherwise(workflow: Workflow, seen: Observation, end: float, other: float) -> bool:
    """Whether both ends have a documented status, and not the same one.

    Then they are ends of two runs: a stream may still show the failure of a run when the next one
    is over, for example after a restart. Unless the run is as long: then the service shows another
    status of the same run now, by another clock.
    """
    start, started = seen.started_at, workflow.started_at
    statuses = {workflow.status, known_status(seen.status)}
    if len(statuses) == 1 or not statuses <= set(DOCUMENTED_ENDS):
        return False
    if start is None or started is None:
        return True
    return abs((end - other) - (start - started)) > _coarsest(start, end, started, other)


def _is_by_another_clock(workflow: Workflow, seen: Observation, end: float, other: float) -> bool:
    """Whether this is the recorded run, stamped by a clock ahead of that of the other source.

    The run is equally long: both stamps moved together, by no more than a clock may be wrong. If
    the row says when it was written, that was not after we saw the end.
    """
    settled, updated = workflow.settled_at, seen.updated_at
    start, started = seen.started_at, workflow.started_at
    lead = end - other
    if start is None or started is None or lead > SLOW_CLOCK_SECONDS:
        return False
    unit = _coarsest(start, end, started, other)
    if abs(lead - (start - started)) > unit:
        return False
    if settled is None or updated is None:
        return True
    # The row's own stamp may be by the clock that is ahead. In whole seconds, many runs are as
    # long as the one before.
    is_small = lead <= SAME_CLOCK_SECONDS and unit < FINE_SECONDS
    return updated <= settled + CLOCK_SLACK_SECONDS + (lead if is_small else 0.0)


def _is_past_unstamped_end(workflow: Workflow, seen: Observation, end: float) -> bool:
    """Whether a stamp belongs to a later run, when the recorded end has no stamp yet.

    By a fast clock, the end of the recorded run lies after the time at which it was seen. But its
    row was written before.
    """
    start, settled_at = seen.started_at, workflow.settled_at
    if _was_written_before_end(workflow, seen):
        return False
    if _is_too_soon(workflow, seen, FIRST_STAMP_SECONDS):
        return False
    if settled_at is None:
        return start is not None and _starts_after(workflow, start, _ended_by_our_clock(workflow))
    if start is None:
        return end > settled_at + FIRST_STAMP_SECONDS
    return _starts_after(workflow, start, settled_at + CLOCK_SLACK_SECONDS)


def _is_open_again(workflow: Workflow, seen: Observation, told: float | None) -> bool:
    """Whether an open status is clearly newer than the end, and not from a stale replica."""
    over_by = _over_by(workflow, told)
    start = seen.started_at
    if start is not None and _starts_after(workflow, start, over_by):
        # When the recorded run ended is not known well by a slow clock: a lagging row may show it.
        is_near = over_by is not None and start <= over_by + SAME_CLOCK_SECONDS
        is_unsure = told is None and is_near and seen.via == "listing"
        return not (is_unsure and _is_too_soon(workflow, seen, STALE_SECONDS))
    if known_status(seen.status) is None or seen.via == "stream":
        # An unknown status may be the service's word for an old end, and a stream does not say when
        # its snapshot was written.
        return False
    if known_status(seen.status) is Status.RUNNING and _is_start_of(workflow, seen):
        return False  # a new run has another start: a stale replica shows the run before its end
    return _is_newer_than_end(workflow, seen)


def _is_newer_than_end(workflow: Workflow, seen: Observation) -> bool:
    """Whether a row was written after the recorded end was seen, and not by a stale replica."""
    settled_at, since = workflow.settled_at, workflow.last_seen
    if _is_too_soon(workflow, seen, STALE_SECONDS):
        return False
    if settled_at is not None and seen.updated_at is not None:
        return seen.updated_at > settled_at + CLOCK_SLACK_SECONDS
    if settled_at is not None and seen.service_wall is not None:
        return seen.service_wall - settled_at > STALE_SECONDS
    # This is measured with our monotonic clock: from when we saw the end, or from a restart.
    return since is not None and seen.at.monotonic - since.monotonic > STALE_SECONDS


def _is_too_soon(workflow: Workflow, seen: Observation, seconds: float) -> bool:
    """Whether the clock of the answers is seen to be slow, and the end was seen just before.

    Then that end is not comparable with the stamps of a row, because nobody knows exactly how slow
    that clock is: only the time between the two answers counts. If the answers give no time, that
    clock is ours.
    """
    wall, slow, settled_at = seen.service_wall, workflow.slow_by, workflow.settled_at
    if wall is None and settled_at is None:
        wall, slow = seen.at.wall, workflow.our_clock_slow_by
        settled_at = _ended_by_our_clock(workflow)
    if wall is None or seen.updated_at is None or settled_at is None:
        return False
    since = workflow.last_seen
    if since is not None and seen.at.monotonic - since.monotonic > seconds:
        return False  # also after a restart, when it is forgotten how slow that clock was
    return _is_clock_slow(seen.updated_at, wall) and wall + slow <= settled_at + seconds


def is_about_earlier_run(workflow: Workflow, seen: Observation) -> bool:
    """Whether an end belongs to a run before the open one, as a lagging replica may show."""
    if workflow.run == 1 or not seen.is_over:
        return False
    end, settled_at = seen.completed_at, workflow.settled_at
    if is_earlier_end(workflow, seen) or (end is not None and is_on_record(workflow, end)):
        return True
    if seen.updated_at is not None and settled_at is not None:
        return seen.updated_at <= settled_at
    if end is None:
        return False
    told, told_run = reported_end(workflow, seen.via)
    if told is not None and told_run == workflow.run - 1:
        # It is the end of an earlier run, or was stamped by a runner whose clock is behind. The
        # start may show which, or a later answer.
        return end < told and not _is_start_of(workflow, seen)
    over_by = workflow.ended_at if settled_at is None else settled_at
    return over_by is not None and end <= over_by + CLOCK_SLACK_SECONDS


def first_seen_by_service(workflow: Workflow, seen: Observation) -> float | None:
    """When it was first seen or named, by the service's clock; None if the answer gives no time.

    This follows from the time that has passed since: by our monotonic clock, or by our wall clock,
    which also counts from before a restart.
    """
    if seen.service_wall is None:
        return None
    first, now = workflow.first_seen, seen.at
    return seen.service_wall - max(now.monotonic - first.monotonic, now.wall - first.wall)


def ended_before_it_was_open(workflow: Workflow, seen: Observation) -> bool:
    """Whether an end lies long before an open workflow was seen open, so that it is not its end.

    It belongs to an earlier run that was never recorded, because nobody listed it. But a runner's
    clock may be wrong by hours, as with a wrong time zone. So an end is that of the open run if it
    has the start with which that run was seen running, or if its row was written after the
    workflow was first seen.
    """
    was_open = workflow.status is not None or workflow.unknown_status is not None
    end = seen.completed_at
    if not (was_open and seen.is_over) or end is None:
        return False
    if workflow.status is Status.RUNNING and _is_start_of(workflow, seen):
        return False
    known = [workflow.created_at, workflow.started_at]
    first_seen = first_seen_by_service(workflow, seen)
    if first_seen is not None:
        if seen.updated_at is not None and seen.updated_at > first_seen + CLOCK_SLACK_SECONDS:
            return False
        known.append(first_seen)
    return any(end < stamp - SLOW_CLOCK_SECONDS for stamp in known if stamp is not None)


def may_be_about_earlier_run(workflow: Workflow, seen: Observation) -> bool:
    """Whether an end without any stamp may belong to a run before the open one.

    An invalid run has no stamps, and a stream never shows when its snapshot was written.
    """
    if workflow.run == 1 or not seen.is_over or seen.completed_at is not None:
        return False
    over_by = workflow.ended_at if workflow.settled_at is None else workflow.settled_at
    return seen.updated_at is None or (over_by is not None and seen.updated_at <= over_by)


def is_earlier_end(workflow: Workflow, seen: Observation) -> bool:
    """Whether this is exactly the end of the run before the open one."""
    end = seen.completed_at
    if end is None or not seen.is_over:
        return False
    return any(
        told is not None and run == workflow.run - 1 and _is_same(end, told)
        for told, run in (reported_end(workflow, "stream"), reported_end(workflow, "listing"))
    )


def is_recorded_end(workflow: Workflow, seen: Observation) -> bool:
    """Whether this is exactly the end of the recorded run, as the same source has shown it."""
    told, run = reported_end(workflow, seen.via)
    if told is None or run != workflow.run or seen.completed_at is None:
        return False
    return _is_same(seen.completed_at, told)


def _is_same(stamp: float, other: float) -> bool:
    return not is_later(stamp, other) and not is_later(other, stamp)


def note_end(workflow: Workflow, seen: Observation) -> Workflow:
    """Record the end as this source shows it, unless it belongs to another run."""
    end = seen.completed_at
    told, told_run = reported_end(workflow, seen.via)
    if end is None or not seen.is_over or is_on_record(workflow, end):
        return workflow
    is_by_slower_clock = told_run != workflow.run and _is_start_of(workflow, seen)
    if told is not None and not is_later(end, told) and not is_by_slower_clock:
        return workflow
    other = _told_the_other_way(workflow, seen.via)
    if is_earlier_end(workflow, seen):
        return workflow
    if other is not None and _is_of_other_run(workflow, seen, end, other):
        return workflow
    return settled_by(workflow, seen.via, end)


def slow_by(workflow: Workflow, seen: Observation) -> float:
    """By how many seconds, at least, the clock of the answers has been seen to be slow.

    Nothing is created or written later than now: if a row says so, the clock of its answer is slow.
    """
    return _slower(workflow.slow_by, seen, seen.service_wall)


def our_clock_slow_by(workflow: Workflow, seen: Observation) -> float:
    """By how many seconds, at least, our own clock has been seen to be slow, in the same way."""
    return _slower(workflow.our_clock_slow_by, seen, seen.at.wall)


def _slower(known: float, seen: Observation, wall: float | None) -> float:
    stamps = [stamp for stamp in (seen.created_at, seen.updated_at) if stamp is not None]
    if wall is None or not stamps:
        return known
    newest = max(stamps)
    return max(newest - wall, known) if _is_clock_slow(newest, wall) else known


def _is_clock_slow(stamped: float, wall: float) -> bool:
    """Whether the clock of an answer is slow, because a row in it was stamped later."""
    return stamped > wall + CLOCK_SLACK_SECONDS


def settled_by_when(seen: Observation, *, slow_by: float = 0.0) -> float | None:
    """By when the run had ended whose end this shows, by the service's clock.

    That is when its row was written, or else the time of the answer. The clock of a proxy in front
    of the service may be slow or fast, and a replica may lag: what is written after the row is
    newer in any case. If `updated_at` does not change at the end of a run, its end is nearer. Our
    own clock is never used.

    `slow_by`: how slow the clock of the answers was seen to be, in seconds. It may be slower still,
    so the end itself may be nearer. If the end agrees with it, it is right now.
    """
    wall, updated, end = seen.service_wall, seen.updated_at, seen.completed_at
    if wall is None:
        return updated
    if end is not None and abs(end - wall) <= SAME_CLOCK_SECONDS:
        slow_by = 0.0
    wall += slow_by
    if updated is None:
        return max(wall, end or wall) if slow_by else wall
    if end is None:
        # Its stamp may arrive a moment later, and with it another `updated_at`.
        return min(max(wall, updated), updated + STALE_SECONDS)
    return max(updated, min(end, wall))


def note_settled(workflow: Workflow, seen: Observation) -> Workflow:
    """Record by when the run had ended, if a row with exactly its end shows that better.

    The answers that showed the end may have given no time, or the time of a clock that is fast or
    slow. It is slow if a row was written later than its answer. Then the row of the end itself,
    stamped by the service's own clock, shows the time better; the row of a later edit does not.
    """
    end = seen.completed_at
    if end is None or not seen.is_over or not is_recorded_end(workflow, seen):
        return workflow
    settled_at, updated, wall = workflow.settled_at, seen.updated_at, seen.service_wall
    if settled_at is None:
        settled_at = wall if updated is None else updated
    elif updated is not None:
        is_slow = wall is not None and _is_clock_slow(updated, wall)
        is_of_the_end = abs(updated - end) <= SAME_CLOCK_SECONDS
        by_row = settled_by_when(seen) or settled_at
        settled_at = (max if is_slow and is_of_the_end else min)(settled_at, by_row)
    if settled_at == workflow.settled_at:
        return workflow
    return replace(workflow, settled_at=settled_at)


def ends_with_those_of_this_run(workflow: Workflow) -> tuple[float, ...]:
    """The ends to store when the recorded run becomes an earlier one."""
    told = (reported_end(workflow, "stream"), reported_end(workflow, "listing"))
    of_this_run = [end for end, run in told if end is not None and run == workflow.run]
    return tuple(dict.fromkeys((*workflow.earlier_ends, *of_this_run)))[-ENDS_KEPT:]


def starts_with_that_of_this_run(workflow: Workflow) -> tuple[float, ...]:
    """The starts to store when the recorded run becomes an earlier one."""
    of_this_run = () if workflow.started_at is None else (workflow.started_at,)
    return tuple(dict.fromkeys((*workflow.earlier_starts, *of_this_run)))[-ENDS_KEPT:]


def without_idle_stamp(seen: Observation) -> Observation:
    """The observation without an `updated_at` that the service does not change with a run.

    It equals the creation time although the workflow started or ended later.
    """
    updated, created = seen.updated_at, seen.created_at
    latest = max(seen.started_at or 0.0, seen.completed_at or 0.0)
    if updated is None or created is None or latest <= updated + CLOCK_SLACK_SECONDS:
        return seen
    return replace(seen, updated_at=None) if _is_same(updated, created) else seen


def without_earlier_start(workflow: Workflow | None, seen: Observation) -> Observation:
    """The observation without a start that belongs to an earlier run.

    The service may keep the start of the run before until the new run starts, so that one which
    is cancelled in the queue has it too. It does not show how long this run took.
    """
    start = seen.started_at
    if workflow is None or start is None:
        return seen
    if not any(_is_same(start, earlier) for earlier in workflow.earlier_starts):
        return seen
    return replace(seen, started_at=None)


def is_on_record(workflow: Workflow, end: float) -> bool:
    """Whether this end is one of an earlier run, as it was shown."""
    return any(_is_same(end, earlier) for earlier in workflow.earlier_ends)


def _is_start_of(workflow: Workflow, seen: Observation) -> bool:
    start, started = seen.started_at, workflow.started_at
    return start is not None and started is not None and _is_same(start, started)


def settled_by(workflow: Workflow, via: Via, end: float | None) -> Workflow:
    """Record that this source has shown this end of the recorded run."""
    if end is None:
        return workflow
    if via == "stream":
        return replace(workflow, stream_ended_at=end, stream_ended_run=workflow.run)
    return replace(workflow, listed_ended_at=end, listed_ended_run=workflow.run)


def _is_of_other_run(workflow: Workflow, seen: Observation, end: float, other: float) -> bool:
    settled_at = workflow.settled_at
    if seen.via == "stream" and settled_at is not None and end > settled_at + CLOCK_SLACK_SECONDS:
        return True  # it belongs to a new run, which the list will soon show
    if workflow.started_at is not None and seen.started_at is not None:
        # If the start differs, this is not a better stamp of the same end.
        return not _is_same(workflow.started_at, seen.started_at)
    start = seen.started_at
    if start is not None and not contradict(start, end) and is_later(start, other):
        # The recorded run ended in its queue. This one started after that.
        return True
    may_be_later = seen.via == "stream" or workflow.started_at is not None
    if may_be_later and end > other + CLOCK_SLACK_SECONDS:
        # One of the two runs may have ended before it started. If this were recorded as an end of
        # the earlier run, the list could not show it as a new one.
        return True
    return is_later(other, end) and (
        settled_at is None or abs(settled_at - other) <= SAME_CLOCK_SECONDS
    )


def _starts_after(workflow: Workflow, start: float, end: float | None) -> bool:
    return (end is None or is_later(start, end)) and (
        workflow.started_at is None or is_later(start, workflow.started_at)
    )


def _told_the_other_way(workflow: Workflow, via: Via) -> float | None:
    other, run = reported_end(workflow, _other_way(via))
    return other if run == workflow.run else None


def _other_way(via: Via) -> Via:
    return "listing" if via == "stream" else "stream"
