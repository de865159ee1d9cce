"""Whether a settled workflow has run again, at the edges of each rule.

A run that is taken for the one before is never counted; the same run taken for a new one counts
twice. `tests/property/test_runs.py` draws whole stories; here is one step of each.
"""

from dataclasses import replace

import pytest

from exporter.interfaces.observations import Moment, Observation, Status, Via
from exporter.ledger.runs import (
    CLOCK_SLACK_SECONDS,
    FIRST_STAMP_SECONDS,
    SAME_CLOCK_SECONDS,
    SLOW_CLOCK_SECONDS,
    STALE_SECONDS,
    ZONE_SECONDS,
    is_new_run,
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


class TestFasterClock:
    """A row that was written by the time we saw the end, and whose run is as long, is that run."""

    SHIFT = 300.0

    def seen(self, *, longer: float = 0.0, updated: float | None = SEEN_OVER) -> Observation:
        return row(START + self.SHIFT, END + self.SHIFT + longer, updated=updated)

    def test_it_is_the_same_run_by_a_clock_that_is_ahead(self) -> None:
        assert not is_new(settled("stream"), self.seen())
        edge = SEEN_OVER + CLOCK_SLACK_SECONDS
        assert not is_new(settled("stream"), self.seen(updated=edge))

    def test_it_is_another_where_the_row_is_newer(self) -> None:
        edge = SEEN_OVER + CLOCK_SLACK_SECONDS
        assert is_new(settled("stream"), self.seen(updated=edge + 1))

    def test_undated_it_is_the_same_run_as_far_as_any_clock_is_off(self) -> None:
        assert not is_new(settled("stream"), self.seen(updated=None))
        furthest = SLOW_CLOCK_SECONDS
        assert not is_new(settled("stream"), row(START + furthest, END + furthest))
        assert is_new(settled("stream"), row(START + furthest + 1, END + furthest + 1))

    def test_it_is_another_where_its_length_differs(self) -> None:
        assert is_new(settled("stream"), self.seen(longer=0.5))
        assert is_new(settled("stream"), self.seen(longer=-0.5))

    def test_a_length_without_a_start_is_none(self) -> None:
        assert is_new(replace(settled("stream"), started_at=None), self.seen())
        assert is_new(settled("stream"), row(None, END + self.SHIFT, updated=SEEN_OVER))

    @pytest.mark.parametrize("coarse", ["start", "end", "started", "other"])
    def test_lengths_are_equal_within_the_coarsest_of_the_four_stamps(self, coarse: str) -> None:
        stamps = {
            "start": START + self.SHIFT,
            "end": END + self.SHIFT,
            "started": START,
            "other": END,
        }
        stamps[coarse] = (
            T0 + round(stamps[coarse] - T0) + (1 if coarse in {"end", "started"} else 0)
        )
        workflow = replace(
            settled("stream"),
            started_at=stamps["started"],
            stream_ended_at=stamps["other"],
        )
        seen = row(stamps["start"], stamps["end"], updated=SEEN_OVER)
        assert not is_new(workflow, seen)

    def test_to_the_second_lengths_may_differ_by_one(self) -> None:
        workflow = replace(settled("stream"), started_at=T0 + 100, stream_ended_at=T0 + 160)
        seen = row(T0 + 400, T0 + 461, updated=SEEN_OVER)
        assert not is_new(workflow, seen)
        assert is_new(workflow, row(T0 + 400, T0 + 462, updated=SEEN_OVER))


class TestSlowerClock:
    """The same way tells an end that lies before the one on record."""

    LATER = SEEN_OVER + CLOCK_SLACK_SECONDS + 1

    def test_both_stamps_differ_by_different_times(self) -> None:
        assert is_new(settled(), row(START - 300, END - 250, updated=self.LATER))

    def test_a_row_that_was_written_before_we_saw_the_end_is_an_old_one(self) -> None:
        edge = SEEN_OVER + CLOCK_SLACK_SECONDS
        assert not is_new(settled(), row(START - 300, END - 250, updated=edge))

    def test_an_undated_row_is_an_old_one_while_a_replica_may_lag(self) -> None:
        edge = SEEN_OVER + STALE_SECONDS
        assert not is_new(settled(), row(START - 300, END - 250, service=edge))
        assert is_new(settled(), row(START - 300, END - 250, service=edge + 1))

    def test_a_stamp_that_alone_has_moved_was_put_right(self) -> None:
        assert not is_new(settled(), row(START, END - 20, updated=self.LATER))

    def test_a_run_as_long_as_before_was_put_right(self) -> None:
        assert not is_new(settled(), row(START - 300, END - 300, updated=self.LATER))

    def test_it_has_started_and_the_one_on_record_had_not(self) -> None:
        cancelled = replace(settled(), started_at=None)
        assert is_new(cancelled, row(START - 300, END - 250, updated=self.LATER))
        assert is_new(settled(), row(None, END - 250, updated=self.LATER))

    def test_without_any_start_it_is_no_new_run(self) -> None:
        cancelled = replace(settled(), started_at=None)
        assert not is_new(cancelled, row(None, END - 250, updated=self.LATER))

    @pytest.mark.parametrize("which", ["row", "record"])
    def test_an_undated_row_of_a_run_without_a_start_may_be_the_same(self, which: str) -> None:
        # Later than any replica lags, but who knows when it was written?
        now = SEEN_OVER + STALE_SECONDS + 100
        workflow = settled() if which == "row" else replace(settled(), started_at=None)
        start = None if which == "row" else START - 300
        assert not is_new(workflow, row(start, END - 250, service=now))

    def test_where_nobody_knows_when_the_end_was_seen_a_row_without_start_is_none(self) -> None:
        timeless = replace(settled(), settled_at=None)
        assert not is_new(timeless, row(None, END - 250, updated=self.LATER))


class TestSecondsAndZones:
    """To the second, many a run is as long as the one before: only whole zones were put right."""

    LATER = SEEN_OVER + CLOCK_SLACK_SECONDS + 1
    COARSE = replace(settled(), started_at=T0 + 5000, listed_ended_at=T0 + 5060, ended_at=T0 + 5060)

    def moved(self, by: float, *, longer: float = 0.0) -> Observation:
        return row(T0 + 5000 - by, T0 + 5060 - by + longer, updated=self.LATER)

    @pytest.mark.parametrize("zones", [1, 2, 4])
    def test_whole_zones_were_put_right(self, zones: int) -> None:
        shift = zones * ZONE_SECONDS
        assert not is_new(self.COARSE, self.moved(shift))
        # Each stamp is cut to the second.
        assert not is_new(self.COARSE, self.moved(shift + 1))
        assert not is_new(self.COARSE, self.moved(shift - 1))

    @pytest.mark.parametrize("shift", [240.0, ZONE_SECONDS + 2, 2 * ZONE_SECONDS - 2, 450.0])
    def test_any_other_time_is_that_of_a_new_run(self, shift: float) -> None:
        assert is_new(self.COARSE, self.moved(shift))

    def test_to_the_second_a_run_that_is_one_second_longer_is_as_long(self) -> None:
        assert not is_new(self.COARSE, self.moved(ZONE_SECONDS, longer=1))
        assert is_new(self.COARSE, self.moved(ZONE_SECONDS, longer=2))

    def test_to_a_tenth_of_a_second_no_run_is_by_chance_as_long(self) -> None:
        tenths = replace(
            self.COARSE, started_at=T0 + 5000.1, listed_ended_at=T0 + 5060.3, ended_at=T0 + 5060.3
        )
        seen = row(T0 + 4760.1, T0 + 4820.3, updated=T0 + 5064)
        assert not is_new(replace(tenths, settled_at=T0 + 5061), seen)
        # Nobody puts an end right to a time after it was seen to be over.
        assert is_new(tenths, seen)

    @pytest.mark.parametrize("coarse", ["start", "end", "started", "told"])
    def test_one_stamp_to_the_second_makes_lengths_equal_to_the_second(self, coarse: str) -> None:
        stamps = {"start": START - 240, "end": END - 240, "started": START, "told": END}
        stamps[coarse] = T0 + round(stamps[coarse] - T0)
        workflow = replace(
            settled(),
            started_at=stamps["started"],
            listed_ended_at=stamps["told"],
            ended_at=stamps["told"],
        )
        # By chance as long: four minutes are no zone.
        seen = row(stamps["start"], stamps["end"], updated=self.LATER)
        assert is_new(workflow, seen)
        zone = ZONE_SECONDS - 240
        seen = row(stamps["start"] - zone, stamps["end"] - zone, updated=self.LATER)
        assert not is_new(workflow, seen)


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
