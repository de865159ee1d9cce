"""What is remembered of the ends of a workflow, and what is known for one of an earlier run."""

from dataclasses import replace

import pytest

from exporter.interfaces.observations import Moment, Observation, Status, Via
from exporter.ledger.runs import (
    CLOCK_SLACK_SECONDS,
    ENDS_KEPT,
    FIRST_STAMP_SECONDS,
    SAME_CLOCK_SECONDS,
    SLOW_CLOCK_SECONDS,
    STALE_SECONDS,
    ended_before_it_was_open,
    ends_with_those_of_this_run,
    is_about_earlier_run,
    is_new_run,
    note_end,
    note_settled,
    settled_by_when,
    slow_by,
)
from exporter.ledger.workflow import Workflow
from tests.unit.ledger.test_runs import END, SEEN_OVER, START, T0, row, settled


class TestRememberingAnEnd:
    """The same end is told by each way with its own stamps; that of another run is not kept."""

    def test_the_other_way_tells_it_with_its_own_stamp(self) -> None:
        told = row(START, END + 0.5, via="stream")
        noted = note_end(settled("listing"), told)
        assert (noted.stream_ended_at, noted.stream_ended_run) == (END + 0.5, 1)
        assert (noted.listed_ended_at, noted.listed_ended_run) == (END, 1)
        noted = note_end(settled("stream"), replace(told, via="listing"))
        assert (noted.listed_ended_at, noted.listed_ended_run) == (END + 0.5, 1)

    def test_without_a_start_it_is_the_same_where_it_is_not_earlier(self) -> None:
        told = row(None, END + 0.5, via="stream")
        for workflow in (settled("listing"), replace(settled("listing"), settled_at=None)):
            assert note_end(workflow, told).stream_ended_at == END + 0.5

    def test_an_earlier_end_by_a_clock_that_agrees_is_of_another_run(self) -> None:
        earlier = row(None, END - 0.5, via="stream")
        for seen_over in (SEEN_OVER, END + SAME_CLOCK_SECONDS, None):
            workflow = replace(settled("listing"), settled_at=seen_over)
            assert note_end(workflow, earlier) == workflow
        apart = replace(settled("listing"), settled_at=END + SAME_CLOCK_SECONDS + 1)
        assert note_end(apart, earlier).stream_ended_at == END - 0.5

    def test_with_another_start_it_is_of_another_run(self) -> None:
        workflow = settled("listing")
        assert note_end(workflow, row(START - 50, END + 0.5, via="stream")) == workflow

    @pytest.mark.parametrize("settled_at", [SEEN_OVER + 600, None])
    def test_a_later_end_without_a_start_is_of_another_run(self, settled_at: float | None) -> None:
        workflow = replace(settled("listing"), settled_at=settled_at)
        edge = END + CLOCK_SLACK_SECONDS
        assert note_end(workflow, row(None, edge, via="stream")).stream_ended_at == edge
        assert note_end(workflow, row(None, edge + 1, via="stream")) == workflow
        # Neither has a start: what a stream shows waits for the list.
        unstarted = replace(workflow, started_at=None)
        assert note_end(unstarted, row(None, edge + 1, via="stream")) == unstarted
        streamed = replace(settled("stream"), started_at=None)
        assert note_end(streamed, row(None, edge + 1)).listed_ended_at == edge + 1

    def test_a_start_after_the_end_of_a_run_that_never_started_is_of_another_run(self) -> None:
        workflow = replace(settled("listing"), settled_at=SEEN_OVER + 600, started_at=None)
        assert note_end(workflow, row(END + 1, END + 1.5, via="stream")) == workflow
        # It was stamped after it was cancelled.
        late = row(END + 1, END + 0.5, via="stream")
        assert note_end(workflow, late).stream_ended_at == END + 0.5

    def test_what_a_stream_tells_of_later_than_we_saw_the_end_waits_for_the_list(self) -> None:
        edge = SEEN_OVER + CLOCK_SLACK_SECONDS
        workflow = settled("listing")
        assert note_end(workflow, row(START, edge, via="stream")).stream_ended_at == edge
        assert note_end(workflow, row(START, edge + 1, via="stream")) == workflow
        timeless = replace(workflow, settled_at=None)
        assert note_end(timeless, row(START, edge + 1, via="stream")).stream_ended_at == edge + 1
        by_list = note_end(settled("stream"), row(START, edge + 1))
        assert by_list.listed_ended_at == edge + 1

    def test_a_later_stamp_by_the_same_way_puts_it_right_and_an_earlier_one_does_not(self) -> None:
        assert note_end(settled(), row(START, END + 1)).listed_ended_at == END + 1
        assert note_end(settled(), row(START, END - 1)) == settled()

    def test_the_end_of_a_run_before_is_not_that_of_this_one(self) -> None:
        second = replace(settled(run=2), listed_ended_run=1, earlier_ends=(END - 500,))
        assert note_end(second, row(None, END)) == second
        assert note_end(second, row(None, END - 500)) == second
        # By a slower clock, but with the start of this run.
        assert note_end(second, row(START, END - 90)).listed_ended_at == END - 90
        assert note_end(second, row(START + 5, END - 90)) == second

    @pytest.mark.parametrize("told", [row(START, None), row(START, END + 1, status="running")])
    def test_what_is_no_end_is_not_remembered(self, told: Observation) -> None:
        assert note_end(settled(), told) == settled()


class TestSeenOver:
    """Where those who told the end told no time, the first row with that very end tells it."""

    TIMELESS = replace(settled(), settled_at=None)

    def test_by_when_it_was_written_or_else_by_when_it_was_told(self) -> None:
        told = row(START, END, updated=END + 5, service=END + 60)
        assert note_settled(self.TIMELESS, told).settled_at == END + 5
        told = row(START, END, service=END + 60)
        assert note_settled(self.TIMELESS, told).settled_at == END + 60

    def test_it_is_told_once(self) -> None:
        assert note_settled(settled(), row(START, END, updated=END + 5)) == settled()

    def test_a_row_with_that_end_was_written_earlier_than_a_fast_clock_told(self) -> None:
        fast = replace(settled(), settled_at=END + 3600)
        told = row(START, END, updated=END + 5, service=END + 3700)
        assert note_settled(fast, told).settled_at == END + 5
        assert note_settled(fast, replace(told, updated_at=None)) == fast
        # Where `updated_at` does not change with the end, the end itself shows it.
        told = row(START, END, updated=START + 5, service=END + 3700)
        assert note_settled(fast, told).settled_at == END

    def test_by_when_it_is_over(self) -> None:
        for updated, service, by in (
            (END + 1, END + 3600, END + 1),
            (END + 1, END - 3600, END + 1),
            (START, END + 5, END),
            # Its runner's clock is fast.
            (END - 240, END - 238, END - 238),
            (None, END + 5, END + 5),
            (END + 1, None, END + 1),
            (None, None, None),
        ):
            told = row(START, END, updated=updated, service=service)
            assert settled_by_when(told) == by

    def test_by_the_time_of_a_slow_clock_it_is_over_later_than_that(self) -> None:
        told = row(START, END, via="stream", service=END - 60)
        assert settled_by_when(told, slow_by=20) == END  # it is slower still
        # It is right again, or another one.
        right = replace(told, service_wall=END + 1)
        assert settled_by_when(right, slow_by=20) == END + 1
        nearly = END - SAME_CLOCK_SECONDS
        assert settled_by_when(replace(told, service_wall=nearly), slow_by=20) == nearly
        assert settled_by_when(told, slow_by=70) == END + 10
        untold = replace(told, completed_at=None)
        assert settled_by_when(untold, slow_by=20) == END - 40

    def test_a_row_that_was_written_later_than_its_answer_shows_a_slow_clock(self) -> None:
        edge = END - CLOCK_SLACK_SECONDS
        assert slow_by(settled(), row(START, END, updated=END, service=edge)) == 0
        assert slow_by(settled(), row(START, END, updated=END, service=edge - 1)) == (
            CLOCK_SLACK_SECONDS + 1
        )
        new = replace(row(None, None, service=END), created_at=END + 9, updated_at=None)
        assert slow_by(settled(), new) == 9
        known = replace(settled(), slow_by=20.0)
        assert slow_by(known, new) == 20
        assert slow_by(known, row(START, END, via="stream", service=END)) == 20
        assert slow_by(known, row(START, END, updated=END)) == 20

    def test_by_a_slow_clock_only_the_time_between_two_answers_counts(self) -> None:
        over = END - 90  # by a clock that is 90 s slow
        unstamped = replace(
            settled(),
            started_at=None,
            settled_at=over,
            listed_ended_at=None,
            stream_ended_at=None,
            listed_ended_run=0,
            stream_ended_run=0,
        )
        told = row(END - 1, END, updated=END, service=over + FIRST_STAMP_SECONDS)
        assert not is_new_run(unstamped, told, listed=True)
        assert is_new_run(
            unstamped, replace(told, service_wall=over + FIRST_STAMP_SECONDS + 1), listed=True
        )
        # It was known to be that slow when the end was seen.
        known = replace(unstamped, slow_by=80.0, settled_at=over + 80)
        assert not is_new_run(known, told, listed=True)
        later = replace(told, service_wall=over + FIRST_STAMP_SECONDS + 1)
        assert is_new_run(known, later, listed=True)
        # By our own monotonic clock, long after; also if what was known was forgotten.
        long_ago = replace(unstamped, last_seen=Moment(told.at.wall - 99, told.at.monotonic - 99))
        assert is_new_run(long_ago, told, listed=True)
        just_now = Moment(told.at.wall, told.at.monotonic - FIRST_STAMP_SECONDS)
        assert not is_new_run(replace(unstamped, last_seen=just_now), told, listed=True)
        # A lagging row of the time when it ran.
        start = over + 80 + SAME_CLOCK_SECONDS
        running = replace(row(start, None, updated=start, service=over + 3), status="running")
        assert not is_new_run(known, running, listed=True)
        assert is_new_run(known, replace(running, started_at=start + 1), listed=True)
        assert is_new_run(known, replace(running, via="detail"), listed=True)
        # A lagging row looks new too.
        queued = replace(row(None, None, updated=END - 60, service=over + 3), status="queued")
        assert not is_new_run(unstamped, queued, listed=True)
        assert is_new_run(unstamped, replace(queued, service_wall=END - 60), listed=True)

    def test_the_row_of_the_end_replaces_the_time_of_a_slow_clock(self) -> None:
        slow = replace(settled("listing"), settled_at=END - 60)
        edge = END - CLOCK_SLACK_SECONDS
        assert note_settled(slow, row(START, END, updated=END, service=edge - 1)).settled_at == END
        # The clock may be right, and the end by a runner's clock that is fast.
        assert note_settled(slow, row(START, END, updated=END, service=edge)) == slow
        # It may be written a moment after the end; what is written later shows an edit.
        last = END + SAME_CLOCK_SECONDS
        assert note_settled(slow, row(START, END, updated=last, service=edge)).settled_at == last
        edited = END + SAME_CLOCK_SECONDS + 1
        assert note_settled(slow, row(START, END, updated=edited, service=edge - 1)) == slow

    def test_a_stamp_that_is_missing_may_come_with_a_later_row(self) -> None:
        told = row(START, None, updated=END, service=END + 60)
        assert settled_by_when(told) == END + 60
        assert settled_by_when(replace(told, service_wall=END + 3600)) == END + STALE_SECONDS

    @pytest.mark.parametrize(
        "told",
        [
            row(START, END + 1, updated=END + 5),
            row(START, None, updated=END + 5),
            row(START, END, updated=END + 5, status="running"),
            row(START, END, service=END + 5, via="stream"),
        ],
        ids=["another end", "no end", "not over", "told by the other way"],
    )
    def test_only_by_a_row_with_that_very_end(self, told: Observation) -> None:
        assert note_settled(self.TIMELESS, told) == self.TIMELESS

    def test_not_by_the_end_of_a_run_before(self) -> None:
        second = replace(self.TIMELESS, run=2)
        assert note_settled(second, row(START, END, updated=END + 5)) == second


class TestEarlierRuns:
    """A replica that lags shows old things: the end of the run before does not end this one."""

    @staticmethod
    def again(told_by: Via | None = "listing") -> Workflow:
        """One that has run before and is open now."""
        return replace(
            settled(told_by),
            phase="open",
            status=Status.RUNNING,
            run=2,
            started_at=START + 1000,
            earlier_ends=(END - 500,),
        )

    def test_the_first_run_has_none_before_it(self) -> None:
        assert not is_about_earlier_run(replace(self.again(), run=1), row(None, END - 500))

    def test_nor_has_what_is_not_over(self) -> None:
        assert not is_about_earlier_run(self.again(), row(START, None, status="running"))
        assert not is_about_earlier_run(self.again(), row(START, END, status="running"))

    def test_an_end_that_is_on_record_is_old_whenever_its_row_was_written(self) -> None:
        late = SEEN_OVER + 5000
        assert is_about_earlier_run(self.again(), row(START, END, updated=late))
        assert is_about_earlier_run(self.again(), row(None, END - 500, updated=late))
        by_other_way = row(START, END, updated=late, via="stream")
        assert is_about_earlier_run(self.again(), by_other_way)

    def test_a_row_that_was_written_by_the_time_we_saw_the_end_is_old(self) -> None:
        new_end = END + 2000
        assert is_about_earlier_run(self.again(), row(None, new_end, updated=SEEN_OVER))
        assert not is_about_earlier_run(self.again(), row(None, new_end, updated=SEEN_OVER + 1))

    def test_an_end_before_the_one_on_record_is_old_unless_this_run_has_that_start(self) -> None:
        assert is_about_earlier_run(self.again(), row(START, END - 20))
        assert is_about_earlier_run(self.again(), row(None, END - 20))
        # By the clock of a runner that is behind.
        assert not is_about_earlier_run(self.again(), row(START + 1000, END - 20))
        assert not is_about_earlier_run(self.again(), row(START + 1000, END + 2000))

    def test_where_the_other_way_told_the_end_time_decides(self) -> None:
        workflow = self.again("stream")
        edge = SEEN_OVER + CLOCK_SLACK_SECONDS
        assert is_about_earlier_run(workflow, row(None, edge))
        assert not is_about_earlier_run(workflow, row(None, edge + 1))

    def test_or_the_best_stamp_where_nobody_told_the_time(self) -> None:
        workflow = replace(self.again("stream"), settled_at=None)
        edge = END + CLOCK_SLACK_SECONDS
        assert is_about_earlier_run(workflow, row(None, edge))
        assert not is_about_earlier_run(workflow, row(None, edge + 1))
        assert not is_about_earlier_run(replace(workflow, ended_at=None), row(None, edge))

    def test_an_end_without_a_stamp_is_that_of_the_run_that_is_open(self) -> None:
        assert not is_about_earlier_run(self.again(), row(None, None, status="invalid"))

    def test_what_was_told_of_an_older_run_is_not_that_of_the_one_before(self) -> None:
        third = replace(self.again(), run=3)
        # The list has not told the end of the second run.
        assert is_about_earlier_run(third, row(None, SEEN_OVER - 0.5))

    def test_the_ends_of_both_ways_are_remembered_each_once(self) -> None:
        workflow = replace(settled(), stream_ended_at=T0 + 160, stream_ended_run=1)
        assert ends_with_those_of_this_run(workflow) == (T0 + 160, END)
        same = replace(settled(), stream_ended_at=END, stream_ended_run=1, earlier_ends=(1.0,))
        assert ends_with_those_of_this_run(same) == (1.0, END)
        of_before = replace(settled(), listed_ended_run=0)
        assert ends_with_those_of_this_run(of_before) == ()

    def test_only_the_last_few_are(self) -> None:
        before = tuple(float(n) for n in range(ENDS_KEPT))
        kept = ends_with_those_of_this_run(replace(settled(), earlier_ends=before))
        assert kept == (*before[1:], END)


class TestEndsBeforeItWasOpen:
    """An end of a run that nobody recorded, such as one of last year, does not end this one."""

    OPEN = Workflow(
        account="studio",
        workflow_id="w1",
        source="listing",
        first_seen=Moment(T0 - 900_000, 1000.0),  # our own clock is days behind
        status=Status.QUEUED,
    )

    @staticmethod
    def over(end: float | None, *, service: float | None = None) -> Observation:
        """An end, told 100 s after the workflow was first seen."""
        told = row(None, end, service=service, status="failed")
        return replace(told, at=Moment(T0 - 900_000 + 100, 1100.0))

    def test_by_more_than_a_clock_is_wrong_before_it_was_first_seen_by_the_services_clock(
        self,
    ) -> None:
        first_seen = T0 + 400
        edge = first_seen - SLOW_CLOCK_SECONDS
        assert not ended_before_it_was_open(self.OPEN, self.over(edge, service=T0 + 500))
        assert ended_before_it_was_open(self.OPEN, self.over(edge - 1, service=T0 + 500))
        # After a restart only the wall clock knows for how long; after a step only the other does.
        for moment in (Moment(T0 - 900_000 + 100, 1000.0), Moment(T0 - 990_000, 1100.0)):
            told = replace(self.over(edge, service=T0 + 500), at=moment)
            assert not ended_before_it_was_open(self.OPEN, told)
            assert ended_before_it_was_open(self.OPEN, replace(told, completed_at=edge - 1))
        # Nothing gives the service's time.
        assert not ended_before_it_was_open(self.OPEN, self.over(edge - 1))

    @pytest.mark.parametrize(
        "workflow", [replace(OPEN, created_at=T0), replace(OPEN, started_at=T0)]
    )
    def test_or_before_it_was_created_or_its_run_started(self, workflow: Workflow) -> None:
        assert not ended_before_it_was_open(workflow, self.over(T0 - SLOW_CLOCK_SECONDS))
        assert ended_before_it_was_open(workflow, self.over(T0 - SLOW_CLOCK_SECONDS - 1))

    def test_only_where_it_was_seen_open_and_the_end_has_a_stamp(self) -> None:
        workflow = replace(self.OPEN, created_at=T0)
        assert ended_before_it_was_open(
            replace(workflow, status=None, unknown_status="paused"), self.over(T0 - 9999)
        )
        assert not ended_before_it_was_open(replace(workflow, status=None), self.over(T0 - 9999))
        assert not ended_before_it_was_open(workflow, self.over(None))
        running = replace(self.over(T0 - 9999), status="running")
        assert not ended_before_it_was_open(workflow, running)

    def test_not_with_the_start_with_which_the_run_was_seen_running(self) -> None:
        """The clock of its runner is hours behind, as with a wrong time zone."""
        began = T0 - 7200
        running = replace(self.OPEN, status=Status.RUNNING, created_at=T0, started_at=began)
        told = replace(self.over(began + 5), started_at=began)
        assert not ended_before_it_was_open(running, told)
        assert ended_before_it_was_open(running, replace(told, started_at=began - 60))
        assert ended_before_it_was_open(running, replace(told, started_at=None))
        # A waiting workflow may still show the stamps of the run before.
        assert ended_before_it_was_open(replace(running, status=Status.QUEUED), told)

    def test_not_in_a_row_that_was_written_after_it_was_first_seen(self) -> None:
        first_seen = T0 + 400
        written = first_seen + CLOCK_SLACK_SECONDS
        told = self.over(T0 - 7200, service=T0 + 500)
        assert ended_before_it_was_open(self.OPEN, replace(told, updated_at=written))
        assert not ended_before_it_was_open(self.OPEN, replace(told, updated_at=written + 0.1))
        # Nothing gives the service's time.
        workflow = replace(self.OPEN, created_at=T0)
        told = replace(told, service_wall=None, updated_at=written + 0.1)
        assert ended_before_it_was_open(workflow, told)
