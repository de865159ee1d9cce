"""A new run, or the same one by a clock that is ahead or behind: what tells them apart."""

from dataclasses import replace

import pytest

from exporter.interfaces.observations import Moment, Observation
from exporter.ledger.facts import Finished
from exporter.ledger.runs import (
    CLOCK_SLACK_SECONDS,
    SLOW_CLOCK_SECONDS,
    SOURCES_APART_SECONDS,
    STALE_SECONDS,
    ZONE_SECONDS,
)
from tests.unit.ledger.test_runs import END, SEEN_OVER, START, T0, is_new, row, settled
from tests.unit.ledger.test_tracker import Track, seen


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

    def test_nor_does_such_a_row_tell_of_a_run_that_ended_later(self) -> None:
        assert not is_new(settled(), row(START + 10, END + 100, updated=SEEN_OVER))
        assert is_new(settled(), row(END + 10, END + 100, updated=SEEN_OVER))

    def test_an_undated_row_is_an_old_one_while_a_replica_may_lag(self) -> None:
        edge = SEEN_OVER + STALE_SECONDS
        assert not is_new(settled(), row(START - 300, END - 250, service=edge))
        assert is_new(settled(), row(START - 300, END - 250, service=edge + 1))

    def test_a_stamp_that_alone_has_moved_was_put_right(self) -> None:
        assert not is_new(settled(), row(START, END - 20, updated=self.LATER))

    def test_so_was_a_start_that_has_moved_alone(self) -> None:
        assert not is_new(settled(), row(START - 5, END, updated=self.LATER))

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

    @pytest.mark.parametrize("which", ["row", "record"])
    @pytest.mark.parametrize(
        ("status", "seconds", "shift", "expected"),
        [
            ("failed", STALE_SECONDS + 1, 250.0, True),
            ("failed", STALE_SECONDS - 1, 250.0, False),  # a lagging replica of a run before
            ("failed", STALE_SECONDS + 1, ZONE_SECONDS, False),  # its time zone was corrected
            ("completed", STALE_SECONDS + 1, 250.0, False),
        ],
    )
    def test_but_another_status_is_that_of_another_run(
        self, which: str, status: str, seconds: float, shift: float, *, expected: bool
    ) -> None:
        workflow = settled() if which == "row" else replace(settled(), started_at=None)
        start = None if which == "row" else START - 300
        seen = row(start, END - shift, service=SEEN_OVER + seconds, status=status)
        assert is_new(workflow, seen) is expected

    def test_where_nobody_knows_when_the_end_was_seen_a_row_without_start_is_none(self) -> None:
        timeless = replace(settled(), settled_at=None)
        assert not is_new(timeless, row(None, END - 250, updated=self.LATER))

    @pytest.mark.parametrize("seconds", [STALE_SECONDS - 1, STALE_SECONDS + 1])
    @pytest.mark.parametrize("status", ["failed", "completed"])
    def test_where_nothing_tells_the_time_another_status_is_that_of_another_run(
        self, seconds: float, status: str
    ) -> None:
        """Once no replica can lag any more: the first final status of a run stays."""
        seen = row(None, END - 200, updated=END - 200, status=status)
        over_at = Moment(seen.at.wall - seconds, seen.at.monotonic - seconds)
        workflow = replace(settled(), settled_at=None, last_seen=over_at)
        assert is_new(workflow, seen) == (status == "failed" and seconds > STALE_SECONDS)


class TestShownByTheOtherSourceAlone:
    """A stream has shown the recorded end, and the list shows a run by a slow clock; or reversed.

    The two may use different clocks, so the run must be earlier by more than these can differ.
    """

    LATER = SEEN_OVER + CLOCK_SLACK_SECONDS + 1
    BY_STREAM = settled("stream")

    def earlier(self, by: float, *, longer: float = 10.0) -> Observation:
        return row(START - by - longer, END - by, updated=self.LATER)

    def test_a_newer_row_that_is_minutes_earlier_is_a_new_run(self) -> None:
        assert is_new(self.BY_STREAM, self.earlier(250))
        # The list has shown an end of the run before only.
        again = replace(settled("stream", run=2), listed_ended_at=T0 + 20, listed_ended_run=1)
        assert is_new(again, self.earlier(250))

    def test_an_earlier_end_of_the_run_before_is_not_compared_with_it(self) -> None:
        again = replace(settled("stream", run=2), listed_ended_at=END - 5, listed_ended_run=1)
        assert not is_new(again, self.earlier(10))

    def test_it_may_be_as_long_to_the_second(self) -> None:
        coarse = replace(self.BY_STREAM, started_at=T0 + 100, stream_ended_at=T0 + 160)
        assert is_new(coarse, row(START - 250, END - 250.3, updated=self.LATER))

    @pytest.mark.parametrize("by", [SOURCES_APART_SECONDS, 10.0])
    def test_the_clocks_of_two_sources_may_be_a_minute_apart(self, by: float) -> None:
        assert not is_new(self.BY_STREAM, self.earlier(by))
        assert is_new(self.BY_STREAM, self.earlier(SOURCES_APART_SECONDS + 1))

    def test_the_two_may_tell_it_in_different_time_zones(self) -> None:
        assert not is_new(self.BY_STREAM, self.earlier(4 * ZONE_SECONDS, longer=0))

    def test_an_undated_row_or_an_older_one_may_be_the_same_run(self) -> None:
        undated = row(START - 260, END - 250, service=self.LATER + STALE_SECONDS)
        assert not is_new(self.BY_STREAM, undated)
        assert not is_new(self.BY_STREAM, row(START - 260, END - 250, updated=SEEN_OVER))

    def test_nor_is_it_one_without_a_start(self) -> None:
        assert not is_new(self.BY_STREAM, row(None, END - 250, updated=self.LATER))
        queued = replace(self.BY_STREAM, started_at=None)
        assert not is_new(queued, self.earlier(250))


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


def _ends(track: Track) -> int:
    return sum(isinstance(fact, Finished) for fact in track.facts)


class TestOurOwnClock:
    """Nothing gives the service's time, and our clock is slow: seen by what rows were stamped."""

    SLOW = 30.0

    def _track(self, *, by_row: bool) -> Track:
        track = Track()
        if not by_row:
            track.sees(self._at(seen("queued", 12, via="listing", created=0)))
        else:
            track.sees(
                self._at(seen("running", 12, via="listing", created=0, started=11, updated=11))
            )
        over = seen("completed", 20, via="stream", started=11)
        track.sees(self._at(over))
        assert _ends(track) == 1
        return track

    def _at(self, told: Observation) -> Observation:
        wall = told.at.wall - self.SLOW
        return replace(told, service_wall=None, at=replace(told.at, wall=wall))

    def _row(self, moment: float, start: float, end: float) -> Observation:
        row = seen(
            "completed",
            moment,
            via="listing",
            created=0,
            started=start,
            completed=end,
            updated=end,
        )
        return self._at(row)

    @pytest.mark.parametrize("by_row", [True, False])
    def test_the_first_stamp_of_an_end_belongs_to_it_although_it_was_started_again(
        self, *, by_row: bool
    ) -> None:
        # Found in simulated time (seed 71914): it was requeued, so its start is a later one.
        track = self._track(by_row=by_row)
        track.sees(self._row(22, 12, 14))
        track.sees(self._row(90, 12, 14))
        assert _ends(track) == 1

    def test_also_later_if_a_row_has_shown_how_slow_our_clock_is(self) -> None:
        track = self._track(by_row=True)
        track.sees(self._row(90, 12, 14))
        assert _ends(track) == 1

    def test_a_run_that_started_after_it_is_a_new_one(self) -> None:
        track = self._track(by_row=True)
        track.sees(self._row(90, 70, 80))
        assert _ends(track) == 2
