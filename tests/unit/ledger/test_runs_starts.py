"""What a start tells of an end: whose it is, and how long that run took."""

from dataclasses import replace

import pytest

from exporter.comfycontrol import Cause
from exporter.interfaces.observations import Observation, Status
from exporter.ledger.facts import Discovered, Failed, Finished, Ignored, Started
from exporter.ledger.rows import workflow_of, workflow_row
from exporter.ledger.runs import (
    CLOCK_SLACK_SECONDS,
    ENDS_KEPT,
    SAME_CLOCK_SECONDS,
    ZONE_SECONDS,
    starts_with_that_of_this_run,
    without_earlier_start,
    without_idle_stamp,
)
from tests.unit.ledger.ledgers import uuid
from tests.unit.ledger.test_runs import END, SEEN_OVER, START, is_new, row, settled
from tests.unit.ledger.test_tracker import T0, Track, at, seen


class TestAnEndThatIsNeverStamped:
    """The list of a service may leave out `completed_at` for good: the start is what is new."""

    LATER = row(START + 500, None, updated=END + 520)

    @pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
    def test_a_start_after_the_recorded_end_is_that_of_a_new_run(self, status: str) -> None:
        for workflow in (settled(), settled("stream"), settled(None)):
            assert is_new(workflow, replace(self.LATER, status=status))

    def test_the_start_on_record_or_one_before_the_end_is_not(self) -> None:
        for start in (START, START + 20, None):
            assert not is_new(settled(), replace(self.LATER, started_at=start))

    def test_it_may_follow_the_end_that_this_way_has_shown_before_that_end_was_seen(self) -> None:
        assert is_new(settled(), replace(self.LATER, started_at=END + 0.5))

    def test_a_start_may_be_stamped_after_what_never_ran(self) -> None:
        assert not is_new(replace(settled(), started_at=None), self.LATER)

    def test_a_start_after_an_invalid_run_is_that_of_a_new_one(self) -> None:
        unstarted = replace(settled(None), started_at=None, status=Status.INVALID)
        assert is_new(unstarted, self.LATER)

    def test_not_where_the_row_was_written_before_the_end_was_seen(self) -> None:
        early = replace(self.LATER, updated_at=SEEN_OVER + CLOCK_SLACK_SECONDS)
        assert not is_new(settled("stream"), early)

    def test_a_stream_must_have_shown_the_recorded_end(self) -> None:
        told = replace(self.LATER, via="stream", updated_at=None)
        assert is_new(settled("stream"), told)
        assert not is_new(settled(None), told)

    def test_both_runs_count(self) -> None:
        track = Track()
        track.sees(seen("failed", 6, via="listing", created=0, started=2, updated=5))
        facts = track.sees(seen("cancelled", 90, via="listing", created=0, started=70, updated=80))
        assert Finished(Status.CANCELLED, None) in facts


class TestAnEndThatIsPutRight:
    def test_to_before_its_own_start_it_is_the_same(self) -> None:
        for end in (START - 5, START - 500):
            assert not is_new(settled(), row(START, end, updated=END + 60, service=END + 61))

    def test_a_start_that_came_after_an_end_without_one_is_still_no_proof(self) -> None:
        unstarted = replace(settled(), started_at=None)
        assert not is_new(unstarted, row(END + 5, END, updated=END + 60))

    def test_without_starts_a_row_from_before_it_was_seen_is_the_same_by_a_faster_clock(
        self,
    ) -> None:
        unstarted = replace(settled("stream"), started_at=None)
        edge = SEEN_OVER + CLOCK_SLACK_SECONDS
        later = SEEN_OVER + SAME_CLOCK_SECONDS + 1
        assert not is_new(unstarted, row(None, later, updated=edge))
        assert is_new(unstarted, row(None, later, updated=edge + 0.5))
        # Whenever it was written: another run would hardly end so soon.
        assert not is_new(unstarted, row(None, later - 1, updated=later + 60))

    def test_without_starts_an_end_that_moves_by_a_moment_is_the_same(self) -> None:
        unstarted = replace(settled("listing"), started_at=None, status=Status.CANCELLED)
        moved = replace(row(None, END + CLOCK_SLACK_SECONDS), status="cancelled")
        assert not is_new(unstarted, moved)
        assert not is_new(unstarted, replace(moved, completed_at=END + 0.05))
        assert is_new(unstarted, replace(moved, completed_at=END + CLOCK_SLACK_SECONDS + 0.5))
        assert is_new(unstarted, replace(moved, status="failed"))
        assert is_new(replace(unstarted, started_at=START), moved)

    @pytest.mark.parametrize(("lead", "is_other"), [(2, False), (5, False), (6, True)])
    def test_a_row_all_by_a_clock_that_is_seconds_ahead_of_the_streams_is_the_same(
        self, lead: float, is_other: bool
    ) -> None:
        workflow = replace(settled("stream"), started_at=END - 1.25, settled_at=END)
        told = row(END - 1.25 + lead, END + lead, updated=END + lead + 1)
        assert is_new(workflow, told) == is_other

    def test_in_whole_seconds_the_next_run_may_be_as_long(self) -> None:
        whole = replace(
            settled("stream"), started_at=T0 + 159, stream_ended_at=T0 + 160, settled_at=T0 + 160
        )
        assert is_new(whole, row(T0 + 164, T0 + 165, updated=T0 + 166))


class TestCreatedAgain:
    """A service may renew `created_at` with each run, which may be as long as the last one."""

    @staticmethod
    def shifted(by: float) -> bool:
        told = row(START + by, END + by, updated=END + by)
        return is_new(settled(), replace(told, created_at=T0 + 1 + by))

    @pytest.mark.parametrize("by", [30.0, 500.0, 7000.5])
    def test_a_run_of_the_same_length_is_new(self, by: float) -> None:
        assert self.shifted(by)

    @pytest.mark.parametrize("zones", [1, 4, 8])
    def test_stamps_in_another_time_zone_are_those_of_the_same_run(self, zones: int) -> None:
        assert not self.shifted(zones * ZONE_SECONDS)


class TestStartsOfEarlierRuns:
    def test_what_ends_in_its_queue_with_the_start_of_the_run_before_did_not_run(self) -> None:
        track = Track()
        track.sees(
            seen("completed", 6, via="listing", created=0, started=2, completed=5, updated=5)
        )
        track.sees(seen("queued", 500, via="listing", created=0, updated=490))
        end = seen(
            "cancelled", 520, via="listing", created=0, started=2, completed=510, updated=510
        )
        assert track.sees(end) == (Finished(Status.CANCELLED, None),)
        assert track.known.started_at is None

    def test_the_start_of_this_run_stays(self) -> None:
        workflow = replace(settled(run=2), earlier_starts=(START - 500,))
        assert without_earlier_start(workflow, row(START, END)).started_at == START
        assert without_earlier_start(workflow, row(START - 500, END)).started_at is None
        assert without_earlier_start(workflow, row(None, END)).started_at is None

    def test_it_may_be_told_in_another_precision(self) -> None:
        workflow = replace(settled(run=2), earlier_starts=(START - 500,))
        told = row(float(int(START - 500)), END, via="stream")
        assert without_earlier_start(workflow, told).started_at is None

    def test_the_last_few_are_kept_each_once(self) -> None:
        before = tuple(float(n) for n in range(1, ENDS_KEPT + 1))
        kept = starts_with_that_of_this_run(replace(settled(), earlier_starts=before))
        assert kept == (*before[1:], START)
        same = replace(settled(), earlier_starts=(START,))
        assert starts_with_that_of_this_run(same) == (START,)
        unstarted = replace(settled(), started_at=None)
        assert starts_with_that_of_this_run(unstarted) == ()

    def test_they_outlive_a_restart_beside_the_ends(self) -> None:
        workflow = replace(
            settled(run=2),
            workflow_id=uuid(1),
            earlier_ends=(END - 400, END - 300),
            earlier_starts=(START - 500,),
        )
        read = workflow_of("studio", workflow_row(1, uuid(1), workflow), 0.0)
        assert read.earlier_ends == workflow.earlier_ends
        assert read.earlier_starts == workflow.earlier_starts
        assert not workflow.is_stored_like(replace(workflow, earlier_starts=()))


class TestAnOutdatedEnd:
    def test_the_start_that_is_kept_is_the_one_that_came_with_the_end(self) -> None:
        """A replica that lags ends the first run when another has shown the second."""
        track = Track()
        track.sees(seen("queued", 1))
        track.sees(seen("running", 152, started=150))
        facts = track.sees(seen("completed", 164, started=40, completed=50))
        assert Finished(Status.COMPLETED, 10.0) in facts
        assert track.known.started_at == T0 + 40
        facts = track.sees(seen("running", 166, started=150))
        assert Discovered("listing") in facts
        facts = track.sees(seen("completed", 230, started=150, completed=220))
        assert Finished(Status.COMPLETED, 70.0) in facts


class TestARenamedStatus:
    CAUSE = Cause("KSampler", "ValueError")

    def test_the_cause_of_an_end_under_another_name_is_its_cause(self) -> None:
        track = Track()
        track.sees(seen("failed", 6, via="listing", created=0, started=2, completed=5))
        told = seen("archived", 30, via="detail", started=2, completed=5, cause=self.CAUSE)
        assert track.sees(told) == (Failed("KSampler", "ValueError"),)

    def test_that_of_another_end_is_not(self) -> None:
        track = Track()
        track.sees(seen("failed", 6, via="listing", created=0, started=2, completed=5))
        told = seen("archived", 30, via="detail", started=2, completed=3, cause=self.CAUSE)
        assert track.sees(told) == (Ignored("late"),)


class TestAnIdleStamp:
    """A service may change `updated_at` only when somebody edits the workflow."""

    def test_it_says_nothing_of_a_run_that_started_or_ended_later(self) -> None:
        for start, end in ((START, END), (START, None), (None, END)):
            told = row(start, end, updated=T0 + 1)
            assert without_idle_stamp(told) == replace(told, updated_at=None)

    @pytest.mark.parametrize(
        "told",
        [
            row(START, END, updated=END),
            row(START, END, updated=T0 + 50),
            row(T0 + 1, T0 + 2, updated=T0 + 1),
            row(T0 + 2, T0 + 1 + CLOCK_SLACK_SECONDS, updated=T0 + 1),
            row(None, None, updated=T0 + 1, status="invalid"),
            row(START, END),
        ],
        ids=["changed", "edited", "at once", "soon", "unstamped", "none"],
    )
    def test_any_other_stays(self, told: Observation) -> None:
        assert without_idle_stamp(told) == told

    def test_each_run_counts_once(self) -> None:
        track = Track()
        for number in range(3):
            began = number * 50 + 10.0
            running = seen("running", began + 2, via="listing", created=0, started=began, updated=0)
            track.sees(running)
            end = replace(running, at=at(began + 22), status="failed", completed_at=T0 + began + 20)
            assert Finished(Status.FAILED, 20.0) in track.sees(end)


class TestAFastRunner:
    """What its clock stamps is no time to start, if it is later than the answer that shows it."""

    @pytest.mark.parametrize(("start", "counts"), [(14, True), (14.5, False), (300, False)])
    def test_a_start_in_the_future(self, start: float, *, counts: bool) -> None:
        track = Track()
        track.sees(seen("queued", 5, via="listing", created=0, service=5))
        facts = track.sees(seen("running", 12, via="listing", created=0, started=start, service=12))
        assert (Started(start) in facts) == counts
        assert (Ignored("anomalous_duration") in facts) != counts
        assert track.known.start_observed

    def test_a_start_whose_end_is_in_the_future(self) -> None:
        track = Track()
        track.sees(seen("queued", 5, via="listing", created=0, service=5))
        facts = track.sees(
            seen("completed", 90, via="listing", created=0, started=80, completed=150, service=91)
        )
        assert Finished(Status.COMPLETED, 70.0) in facts
        assert Ignored("anomalous_duration") in facts

    def test_by_a_slow_header_the_row_itself_shows_the_time(self) -> None:
        track = Track()
        told = seen("running", 12, via="listing", created=0, started=10, updated=10, service=-50)
        assert Started(10.0) in track.sees(told)

    def test_a_header_from_before_the_creation_tells_nothing(self) -> None:
        track = Track()
        track.sees(seen("queued", 5, via="listing", created=0, service=-3600))
        assert Started(10.0) in track.sees(seen("running", 12, started=10, service=-3590))

    def test_where_nothing_tells_the_time_a_stamp_is_believed(self) -> None:
        track = Track()
        told = seen("running", 12, via="listing", created=0, started=300)
        assert Started(300.0) in track.sees(told)
