"""Whether a settled workflow has run again, at the edges of each rule.

A run that is taken for the one before is never counted; the same run taken for a new one counts
twice. `tests/property/test_runs.py` draws whole stories; here is one step of each.
"""

from dataclasses import replace
from math import inf, nextafter

import pytest

from exporter.interfaces.observations import Moment, Observation, Status, Via
from exporter.ledger.runs import (
    CLOCK_SLACK_SECONDS,
    FIRST_STAMP_SECONDS,
    SAME_CLOCK_SECONDS,
    STALE_SECONDS,
    is_later,
    is_new_run,
    may_be_about_earlier_run,
    precision_of,
)
from exporter.ledger.workflow import Workflow

T0 = 1_700_000_000.0
FINE = 0.123457
"""What makes a stamp one to the microsecond."""

START, END, SEEN_OVER = T0 + 100 + FINE, T0 + 160 + FINE, T0 + 161.0
"""The run on record: when it started and ended, and when the service said that it was over."""


def settled(told_by: Via | None = "listing", *, run: int = 1) -> Workflow:
    """One that has ended, and by which way its end was told with a stamp; None: by none."""
    workflow = Workflow(
        account="studio",
        workflow_id="w1",
        source="listing",
        first_seen=Moment(T0, 1000.0),
        phase="settled",
        status=Status.COMPLETED,
        run=run,
        created_at=T0 + 1,
        started_at=START,
        ended_at=END,
        settled_at=SEEN_OVER,
    )
    if told_by == "stream":
        return replace(workflow, stream_ended_at=END, stream_ended_run=run)
    if told_by == "listing":
        return replace(workflow, listed_ended_at=END, listed_ended_run=run)
    return workflow


def row(
    start: float | None,
    end: float | None,
    *,
    updated: float | None = None,
    service: float | None = None,
    status: str = "completed",
    via: Via = "listing",
) -> Observation:
    """What is told now."""
    return Observation(
        account="studio",
        workflow_id="w1",
        via=via,
        at=Moment(T0 + 9000, 10_000.0),
        status=status,
        created_at=T0 + 1,
        started_at=start,
        completed_at=end,
        updated_at=updated,
        service_wall=service,
    )


def is_new(workflow: Workflow, seen: Observation, *, listed: bool = True) -> bool:
    """Whether it has run again."""
    return is_new_run(workflow, seen, listed=listed)


class TestPrecision:
    """A stamp is known only as exactly as it was told, and "later" means later by more."""

    @pytest.mark.parametrize(
        ("part", "unit"),
        [(0.0, 1.0), (0.3, 0.1), (0.07, 0.01), (0.123, 0.001), (0.999, 0.001), (FINE, 1e-6)],
    )
    def test_the_unit_in_which_a_stamp_was_told(self, part: float, unit: float) -> None:
        assert precision_of(T0 + part) == unit

    @pytest.mark.parametrize(("part", "unit"), [(0.0, 1.0), (0.3, 0.1), (0.123, 0.001)])
    def test_a_stamp_that_was_computed_may_be_one_float_off(self, part: float, unit: float) -> None:
        for towards in (-inf, inf):
            assert precision_of(nextafter(T0 + part, towards)) == unit

    def test_a_millisecond_more_is_never_later_whatever_a_float_makes_of_it(self) -> None:
        # None is round, nor are the next two: those are taken for less precise ones.
        stamps = [(1_700_000_000_003 + 7910 * each) / 1000 for each in range(1000)]
        assert not any(is_later(stamp + 0.001, stamp) for stamp in stamps)
        assert all(is_later(stamp + 0.002, stamp) for stamp in stamps)

    def test_to_the_second_it_is_later_from_the_second_second_on(self) -> None:
        assert not is_later(T0 + 1, T0)
        assert is_later(T0 + 2, T0)

    def test_the_coarser_of_the_two_tells(self) -> None:
        assert not is_later(T0 + 161, END)
        assert not is_later(END, T0 + 160)
        assert is_later(END + 0.5, END)


class TestWhoTells:
    """A stream's word of a new run counts where its clock is known, or the list cannot tell."""

    LATER = row(END + 300, END + 350, via="stream")

    def test_where_the_list_has_told_the_end_a_stream_waits_for_it(self) -> None:
        assert not is_new(settled("listing"), self.LATER)
        of_before = replace(
            settled("listing", run=2), stream_ended_at=END - 500, stream_ended_run=1
        )
        assert not is_new(of_before, self.LATER)

    def test_where_it_has_not_or_there_is_none_the_stream_is_believed(self) -> None:
        assert is_new(settled("listing"), self.LATER, listed=False)
        assert is_new(settled(None), self.LATER)
        assert is_new(settled("stream"), self.LATER)


class TestInvalid:
    """What is invalid has no stamps: only a newer row tells that it is another run."""

    LATER = SEEN_OVER + CLOCK_SLACK_SECONDS + 1

    @pytest.mark.parametrize("told_by", ["stream", "listing"])
    def test_a_newer_row_that_is_invalid_is_a_new_run_whoever_told_the_end(
        self, told_by: Via
    ) -> None:
        seen = row(None, None, status="invalid", updated=self.LATER)
        assert is_new(settled(told_by), seen)

    def test_it_is_not_where_the_row_is_no_newer(self) -> None:
        edge = SEEN_OVER + CLOCK_SLACK_SECONDS
        assert not is_new(settled(), row(None, None, status="invalid", updated=edge))
        assert not is_new(settled(), row(None, None, status="invalid", service=self.LATER))

    def test_it_is_not_where_no_stamp_of_this_run_was_told(self) -> None:
        seen = row(None, None, status="invalid", updated=self.LATER)
        assert not is_new(settled(None), seen)
        of_the_run_before = replace(settled(run=2), listed_ended_run=1)
        assert not is_new(of_the_run_before, seen)

    def test_it_is_not_where_a_stream_says_so(self) -> None:
        seen = row(None, None, status="invalid", updated=self.LATER, via="stream")
        assert not is_new(settled("stream"), seen)

    def test_what_was_invalid_and_has_started_has_run_again(self) -> None:
        invalid = replace(settled(None), status=Status.INVALID, started_at=None)
        assert is_new(invalid, row(T0 + 200, T0 + 260))
        assert not is_new(invalid, row(T0 + 200, T0 + 260, status="invalid"))


class TestEndWithoutStamp:
    """The end on record has no stamp: the first one that is told is most likely its own."""

    UNSTAMPED = replace(settled(None), started_at=None, ended_at=SEEN_OVER)

    def test_without_a_start_it_is_its_own_for_half_a_minute(self) -> None:
        edge = SEEN_OVER + FIRST_STAMP_SECONDS
        assert not is_new(self.UNSTAMPED, row(None, SEEN_OVER - 5))
        assert not is_new(self.UNSTAMPED, row(None, edge))
        assert is_new(self.UNSTAMPED, row(None, edge + 1))

    def test_with_a_start_it_is_new_where_that_is_after_the_end(self) -> None:
        edge = SEEN_OVER + CLOCK_SLACK_SECONDS
        assert not is_new(self.UNSTAMPED, row(edge - 4, edge + 100))
        assert not is_new(self.UNSTAMPED, row(edge, edge + 100))
        assert is_new(self.UNSTAMPED, row(edge + 2, edge + 100))

    def test_a_row_that_was_written_before_the_end_was_seen_is_its_own_by_whatever_clock(
        self,
    ) -> None:
        edge = SEEN_OVER + CLOCK_SLACK_SECONDS
        for start in (None, SEEN_OVER + 261):
            assert not is_new(self.UNSTAMPED, row(start, SEEN_OVER + 265, updated=edge))
            assert is_new(self.UNSTAMPED, row(start, SEEN_OVER + 265, updated=edge + 1))

    def test_a_start_that_is_known_already_is_none(self) -> None:
        again = replace(self.UNSTAMPED, started_at=SEEN_OVER + 50)
        assert not is_new(again, row(SEEN_OVER + 50, SEEN_OVER + 100))

    def test_where_nobody_knows_when_it_was_seen_over_the_best_end_decides(self) -> None:
        timeless = replace(self.UNSTAMPED, settled_at=None)
        assert not is_new(timeless, row(None, SEEN_OVER + 1000))
        assert not is_new(timeless, row(SEEN_OVER - 50, SEEN_OVER + 1000))
        assert is_new(timeless, row(SEEN_OVER + 50, SEEN_OVER + 1000))


class TestEndToldTheOtherWay:
    """A stream told the end; now the list does, for the first time."""

    def test_it_is_new_where_it_ended_after_we_saw_the_end(self) -> None:
        later = SEEN_OVER + 300
        assert is_new(settled("stream"), row(later - 50, later + FINE))
        assert is_new(settled("stream"), row(None, later + FINE))

    def test_the_same_start_with_another_end_was_put_right(self) -> None:
        assert not is_new(settled("stream"), row(START, SEEN_OVER + 300 + FINE))

    def test_the_service_may_have_seen_it_end_up_to_its_slack_later(self) -> None:
        edge = SEEN_OVER + CLOCK_SLACK_SECONDS
        disagreeing = replace(settled("stream"), stream_ended_at=END - 60, ended_at=END - 60)
        # By its own clock it ended a minute before: the list's clock is another.
        assert not is_new(disagreeing, row(None, edge))
        assert is_new(disagreeing, row(None, edge + 1 + FINE))

    def test_within_it_only_a_start_after_the_end_by_the_same_clock_is_new(self) -> None:
        workflow = replace(settled("stream"), stream_ended_at=END - 1, ended_at=END - 1)
        assert is_new(workflow, row(END - 0.5, END))
        assert not is_new(workflow, row(START - 5, END))
        assert not is_new(workflow, row(None, END))
        # Another start, but from before that end: it was put right.
        assert not is_new(workflow, row(START + 10, END + 1))

    def test_by_clocks_that_disagree_nothing_is_concluded(self) -> None:
        lag = SAME_CLOCK_SECONDS
        agreeing = replace(settled("stream"), stream_ended_at=SEEN_OVER - lag)
        assert is_new(agreeing, row(SEEN_OVER - lag + 2, SEEN_OVER))
        apart = replace(agreeing, stream_ended_at=SEEN_OVER - lag - 1)
        assert not is_new(apart, row(SEEN_OVER - lag + 2, SEEN_OVER))

    def test_where_nobody_knows_when_it_was_seen_over_a_later_start_is_new(self) -> None:
        timeless = replace(settled("stream"), settled_at=None)
        assert is_new(timeless, row(None, END + 100))
        assert is_new(timeless, row(END + 50, END + 100))
        assert not is_new(timeless, row(END - 10, END + 100))
        assert not is_new(timeless, row(START, END + 100))


class TestMovedCreation:
    """An end that moved by as much as the creation is the same end: a zone was put right."""

    HOUR = 3600.0

    def is_new(self, by: float, *, before: float, now: float, ended: float, end: float) -> bool:
        """Whether a row whose start has moved as well tells of a new run."""
        workflow = replace(settled(), created_at=before, ended_at=ended, listed_ended_at=ended)
        return is_new(workflow, replace(row(START + by, end), created_at=now))

    def test_whole_seconds_may_differ_by_one(self) -> None:
        before, ended, hour = T0 + 1, T0 + 160, self.HOUR
        for off, new in ((0, False), (1, False), (-1, False), (2, True), (-2, True)):
            end = ended + hour + off
            assert new == self.is_new(hour, before=before, now=before + hour, ended=ended, end=end)

    @pytest.mark.parametrize("coarse", ["before", "now", "ended", "end", ""])
    def test_the_coarsest_of_the_four_stamps_tells_how_exactly(self, coarse: str) -> None:
        stamps = {"before": T0 + 1 + FINE, "ended": END}
        stamps |= {"now": stamps["before"] + self.HOUR, "end": END + self.HOUR}
        if coarse:
            stamps[coarse] = T0 + round(stamps[coarse] - T0)
        else:
            stamps["end"] += 0.125
        assert self.is_new(self.HOUR, **stamps) == (not coarse)

    def test_a_creation_that_has_not_moved_later_explains_nothing(self) -> None:
        before = T0 + 1 + FINE
        for now in (before, before - self.HOUR):
            assert self.is_new(self.HOUR, before=before, now=now, ended=END, end=END + self.HOUR)


class TestOfTheFuture:
    """Nothing ends later than now, unless a clock is fast that is known for it."""

    NOW = SEEN_OVER + 1000

    def test_an_end_ahead_of_the_service_by_more_than_its_slack_is_none(self) -> None:
        edge = self.NOW + CLOCK_SLACK_SECONDS
        assert is_new(settled(), row(None, edge, service=self.NOW))
        assert not is_new(settled(), row(None, edge + 1, service=self.NOW))
        assert is_new(settled(), row(None, edge + 1))

    def test_a_clock_that_was_fast_before_may_be_fast_again(self) -> None:
        lead = 300.0
        fast = replace(settled(), listed_ended_at=SEEN_OVER + lead)
        edge = self.NOW + lead + STALE_SECONDS
        assert is_new(fast, row(None, edge, service=self.NOW))
        assert not is_new(fast, row(None, edge + 1, service=self.NOW))

    def test_a_lead_within_the_slack_is_none(self) -> None:
        close = replace(settled(), listed_ended_at=SEEN_OVER + CLOCK_SLACK_SECONDS)
        late = self.NOW + CLOCK_SLACK_SECONDS + 1
        assert not is_new(close, row(None, late, service=self.NOW))


class TestOpenAgain:
    """What is open again was written after the end, and not by a replica that lags."""

    def test_a_row_is_newer_by_more_than_the_slack(self) -> None:
        edge = SEEN_OVER + CLOCK_SLACK_SECONDS
        assert not is_new(settled(), row(None, None, status="queued", updated=edge))
        assert is_new(settled(), row(None, None, status="queued", updated=edge + 1))

    def test_an_undated_row_is_newer_once_no_replica_lags_so_much(self) -> None:
        edge = SEEN_OVER + STALE_SECONDS
        assert not is_new(settled(), row(None, None, status="queued", service=edge))
        assert is_new(settled(), row(None, None, status="queued", service=edge + 1))

    def test_without_any_time_it_is_not_known_to_be_newer(self) -> None:
        assert not is_new(settled(), row(None, None, status="queued"))
        timeless = replace(settled(), settled_at=None)
        row_of_now = row(None, None, status="queued", updated=SEEN_OVER + 9000)
        assert not is_new(timeless, row_of_now)
        # Where no run came before it can only be one after it, else it may be from a replica.
        assert is_new(timeless, replace(row_of_now, status="invalid"))
        later = replace(settled(run=2), settled_at=None)
        assert not is_new(later, replace(row_of_now, status="invalid"))

    def test_a_word_that_nobody_knows_may_be_that_of_the_old_end(self) -> None:
        later = SEEN_OVER + 9000
        assert not is_new(settled(), row(None, None, status="archived", updated=later))

    def test_a_stream_does_not_tell_when_its_snapshot_is_from(self) -> None:
        later = SEEN_OVER + 9000
        seen = row(None, None, status="queued", service=later, via="stream")
        assert not is_new(settled("stream"), seen)

    @pytest.mark.parametrize("via", ["stream", "listing"])
    def test_by_one_clock_a_start_after_the_end_is_a_new_one(self, via: Via) -> None:
        started = row(END + 0.25, None, status="running", via=via)
        assert is_new(settled(via), started)
        assert not is_new(settled(via), row(END - 5, None, status="running", via=via))

    def test_by_two_clocks_it_is_one_after_the_end_was_seen(self) -> None:
        before, after = SEEN_OVER - 0.25, SEEN_OVER + 1 + FINE
        assert not is_new(settled("stream"), row(before, None, status="running"))
        assert is_new(settled("stream"), row(after, None, status="running"))

    def test_where_nobody_knows_when_that_was_the_best_end_decides(self) -> None:
        timeless = replace(settled("stream"), settled_at=None)
        assert not is_new(timeless, row(END - 5, None, status="running"))
        assert is_new(timeless, row(END + 0.25, None, status="running"))


class TestAtTheLimits:
    """Each limit belongs to the side on which nothing is counted twice."""

    @pytest.mark.parametrize(("seconds", "is_later_run"), [(0.0, False), (0.5, True)])
    def test_without_a_time_of_the_service_our_clock_tells_when_a_row_is_not_stale(
        self, seconds: float, is_later_run: bool
    ) -> None:
        workflow = replace(settled(None), settled_at=None, last_seen=Moment(T0, 1000.0))
        at = Moment(T0, 1000.0 + STALE_SECONDS + seconds)
        assert is_new(workflow, replace(row(None, None, status="queued"), at=at)) == is_later_run

    @pytest.mark.parametrize(("seconds", "is_later_run"), [(0.0, False), (0.5, True)])
    def test_by_a_slower_clock_an_end_after_the_last_was_seen_is_new(
        self, seconds: float, is_later_run: bool
    ) -> None:
        # The recorded end is by a fast clock; neither run has a start.
        workflow = replace(settled("listing"), started_at=None, listed_ended_at=SEEN_OVER + 99.123)
        end = SEEN_OVER + CLOCK_SLACK_SECONDS + seconds
        assert is_new(workflow, row(None, end)) == is_later_run

    def test_a_start_after_the_end_proves_nothing_of_another_source_either(self) -> None:
        late = row(SEEN_OVER + 9, SEEN_OVER + CLOCK_SLACK_SECONDS - 0.5)
        assert not is_new(settled("stream"), late)

    @pytest.mark.parametrize(
        ("settled_at", "updated", "may_be"),
        [
            (SEEN_OVER, SEEN_OVER, True),
            (SEEN_OVER, SEEN_OVER + 0.5, False),
            (None, END, True),
            (None, END + 0.5, False),
            (None, None, True),
        ],
    )
    def test_an_end_without_a_stamp_is_of_the_run_before_if_its_row_is_as_old(
        self, settled_at: float | None, updated: float | None, may_be: bool
    ) -> None:
        workflow = replace(settled("listing", run=2), settled_at=settled_at)
        seen = row(None, None, updated=updated, status="invalid")
        assert may_be_about_earlier_run(workflow, seen) == may_be


class TestASlowHeader:
    def test_an_end_is_not_in_the_future_if_its_row_was_written_after_it(self) -> None:
        told = row(START + 500, END + 500, updated=END + 500, service=END - 3000)
        assert is_new(settled("stream"), told)
        assert not is_new(settled("stream"), replace(told, updated_at=None))


# Two ends that are told within a moment ----------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "now", "is_new"),
    [
        (Status.FAILED, "completed", True),
        (Status.FAILED, "Cancelled", True),
        (Status.COMPLETED, "failed", True),
        # The same status may be the same end by another clock, and so may an undocumented one.
        (Status.FAILED, "failed", False),
        (Status.OTHER, "failed", False),
        (Status.FAILED, "timed_out", False),
    ],
)
def test_an_end_of_another_kind_after_the_recorded_one_belongs_to_another_run(
    before: Status, now: str, *, is_new: bool
) -> None:
    # After a restart a stream still told the failure of a run, when the next one was over.
    seen_over = END + SAME_CLOCK_SECONDS + 60
    workflow = replace(settled("stream"), status=before, settled_at=seen_over)
    later = replace(row(END + 0.5, END + 4.7, updated=END + 4.7, service=seen_over), status=now)
    assert is_new_run(workflow, later, listed=True) is is_new
    # Not if its start is not after the recorded end, or there is none.
    for start in (END - 1, None):
        earlier = replace(later, started_at=start)
        assert not is_new_run(workflow, earlier, listed=True)


def test_an_end_of_another_kind_is_the_recorded_one_if_the_run_was_as_long() -> None:
    seen_over = END + SAME_CLOCK_SECONDS + 90
    workflow = replace(settled("stream"), status=Status.FAILED, settled_at=seen_over)
    lead = END - START + 10
    moved = row(START + lead, END + lead, updated=seen_over + 60, service=seen_over + 60)
    assert not is_new_run(workflow, moved, listed=True)
    shorter = replace(moved, started_at=START + lead + 1)
    assert is_new_run(workflow, shorter, listed=True)
