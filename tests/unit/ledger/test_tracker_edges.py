"""The tracker at the edges of its rules: what is kept, and what just counts or just does not."""

from dataclasses import replace
from math import inf

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from exporter.comfycontrol import Cause
from exporter.interfaces.observations import Removed, Source, Status, Tracked, Via
from exporter.ledger import tracker
from exporter.ledger.facts import (
    Discovered,
    Dropped,
    EnteredQueue,
    Failed,
    Finished,
    Ignored,
    OutputsMade,
    Ran,
    Started,
)
from exporter.ledger.runs import STALE_SECONDS
from exporter.ledger.tracker import (
    ABSENT_IN_STREAM_SECONDS,
    ABSENT_SECONDS,
    ABSURD_SECONDS,
    SECOND_TELLING_SECONDS,
    START_UNCERTAINTY_SECONDS,
)
from exporter.ledger.workflow import Held, Workflow
from tests.unit.ledger.test_tracker import T0, UNLISTED, Track, at, seen

CAUSE = Cause("KSampler", "ValueError")


def named(workflow: Workflow, source: Source, *, again: bool = False) -> tracker.Change:
    """A source names it."""
    return tracker.track(workflow, Tracked("studio", "w1", source, at(50), again=again))


def given_up(seconds: float = 40) -> Removed:
    """The service will tell nothing more of it."""
    return Removed("studio", "w1", "not_found", at(seconds))


def settled_early() -> Track:
    """One whose end a stream told without the stamp of its end."""
    track = Track()
    track.sees(seen("running", 2, created=0, started=1))
    track.sees(seen("completed", 6, started=1))
    return track


class TestWhoNamesIt:
    @pytest.mark.parametrize(
        ("first", "then", "kept"),
        [
            ("listing", "file", "file"),
            ("listing", "configured", "configured"),
            ("configured", "pushed", "pushed"),
            ("configured", "file", "configured"),
            ("pushed", "configured", "pushed"),
        ],
    )
    def test_who_cares_most_is_its_source(self, first: Source, then: Source, kept: Source) -> None:
        change = named(replace(Track(source="file").known, source=first), then)
        assert change.workflow is not None
        assert (change.workflow.source, change.facts) == (kept, ())

    def test_of_a_settled_one_only_a_push_is_remembered(self) -> None:
        track = Track()
        track.sees(seen("completed", 6, via="listing", created=0, started=1, completed=5))
        pushed = named(track.known, "pushed")
        assert pushed.workflow == replace(track.known, source="pushed")
        assert named(track.known, "file").workflow == track.known

    def test_a_dropped_one_that_is_named_again_begins_as_a_new_one(self) -> None:
        track = Track(source="pushed")
        track.apply(tracker.drop(track.workflow, given_up()))
        assert track.known.ended_at == at(40).wall
        assert named(track.known, "file").workflow == track.known
        revived = named(track.known, "file", again=True)
        assert revived.workflow == replace(
            track.known, phase="open", source="file", first_seen=at(50), ended_at=None
        )
        assert revived.facts == (Discovered("file"),)

    def test_what_is_given_up_has_no_position_any_more(self) -> None:
        track = Track()
        track.sees(seen("queued", 2, position=3))
        track.apply(tracker.drop(track.workflow, given_up()))
        assert (track.known.phase, track.known.queue_position) == ("dropped", None)

    def test_what_has_settled_is_neither_given_up_nor_withdrawn(self) -> None:
        track = Track(source="file")
        track.sees(seen("completed", 6, via="listing", created=0, started=1, completed=5))
        for change in (
            tracker.drop(track.known, given_up()),
            tracker.untrack(track.known, given_up(), listed=False),
        ):
            assert change == tracker.Change(track.known)

    def test_withdrawn_is_what_the_list_has_shown_and_goes_on_with(self) -> None:
        unseen = Track(source="file")
        dropped = tracker.untrack(unseen.known, given_up(), listed=True)
        assert dropped.facts == (Dropped("not_found"),)
        unlisted = tracker.untrack(replace(unseen.known, created_at=T0), given_up(), listed=False)
        assert unlisted.facts == (Dropped("not_found"),)

    def test_what_nobody_named_is_not_withdrawn(self) -> None:
        track = Track()
        track.sees(seen("queued", 1, via="listing"))
        change = tracker.untrack(track.known, given_up(), listed=False)
        assert change == tracker.Change(track.known)
        assert tracker.untrack(None, given_up(), listed=True) == tracker.Change(None)


class TestDropped:
    def test_the_last_word_of_its_stream_does_not_open_it_again(self) -> None:
        track = Track(source="pushed")
        track.apply(tracker.drop(track.workflow, given_up()))
        assert track.sees(seen("running", 41, started=1)) == (Ignored("late"),)
        assert track.known.phase == "dropped"

    def test_one_that_shows_up_is_discovered_again_and_no_longer_over(self) -> None:
        track = Track(source="pushed")
        track.apply(tracker.drop(track.workflow, given_up()))
        facts = track.sees(seen("queued", 50, via="listing", created=1))
        assert facts == (Discovered("pushed"),)
        assert track.known.ended_at is None

    def test_one_that_shows_up_as_over_long_ago_is_not_counted(self) -> None:
        track = Track(source="file")
        track.apply(tracker.drop(track.workflow, given_up()))
        old = seen("completed", 50, via="listing", created=-9000, started=-8000, completed=-7000)
        assert track.sees(old) == ()

    def test_the_end_of_an_earlier_run_does_not_open_it_either(self) -> None:
        track = Track()
        old = seen("failed", 6, via="listing", created=0, started=1, completed=5, updated=5)
        track.sees(old)
        track.sees(seen("running", 30, via="listing", created=0, started=25, updated=25))
        track.apply(tracker.drop(track.workflow, given_up()))
        assert track.sees(replace(old, at=at(400))) == (Ignored("late"),)


class TestRunningAgain:
    def test_what_belongs_to_the_workflow_stays_and_what_belongs_to_the_run_goes(self) -> None:
        track = Track(source="pushed")
        track.sees(seen("queued", 1, position=4))
        track.sees(seen("running", 3, via="listing", created=0, started=2))
        end = seen("completed", 6, via="listing", created=0, started=2, completed=5.25, updated=6)
        track.sees(end)
        held = Held(at(1), ())
        before = replace(track.known, slices=(("team", "video"),), held=held)
        track.workflow = before
        track.sees(seen("queued", 500, via="listing", created=0, updated=490))
        after = track.known
        assert (after.run, after.phase, after.status) == (2, "open", Status.QUEUED)
        assert after.earlier_ends == (T0 + 5.25,)
        assert after.start_observed
        assert not after.outputs_counted
        assert not after.entered_queue
        assert (after.started_at, after.cause_pending_since) == (None, None)
        for name in (
            "account",
            "workflow_id",
            "source",
            "first_seen",
            "created_at",
            "ended_at",
            "listed_ended_at",
            "listed_ended_run",
            "stream_ended_at",
            "stream_ended_run",
            "settled_at",
            "slices",
            "held",
        ):
            assert getattr(after, name) == getattr(before, name), name

    def test_a_stream_that_shows_the_new_run_leaves_the_creation(self) -> None:
        track = Track(UNLISTED)
        track.sees(seen("completed", 6, via="listing", created=0, started=2, completed=5))
        track.sees(seen("running", 500, started=490))
        assert (track.known.run, track.known.created_at) == (2, T0)

    def test_the_ends_that_streams_told_are_remembered_as_well(self) -> None:
        track = Track()
        track.sees(seen("running", 3, created=0, started=2))
        track.sees(seen("completed", 6, started=2, completed=5))
        track.sees(seen("running", 500, via="listing", created=0, started=490, updated=490))
        assert (track.known.stream_ended_at, track.known.stream_ended_run) == (T0 + 5, 1)

    def test_an_old_end_is_late_while_a_replica_may_lag_so_much(self) -> None:
        track = Track()
        old = seen("failed", 6, via="listing", created=0, started=1, completed=5, updated=5)
        track.sees(old)
        track.sees(seen("queued", 30, via="listing", created=0, updated=25))
        edge = 30 + STALE_SECONDS
        assert track.sees(replace(old, at=at(edge))) == (Ignored("late"),)
        assert track.sees(replace(old, at=at(edge + 1))) == (Dropped("not_found"),)

    def test_of_one_that_was_not_seen_since_its_first_sight_counts(self) -> None:
        track = Track()
        old = seen("failed", 6, via="listing", created=0, started=1, completed=5, updated=5)
        track.sees(old)
        track.sees(seen("queued", 30, via="listing", created=0, updated=25))
        track.workflow = replace(track.known, last_seen=None, first_seen=at(0))
        assert track.sees(replace(old, at=at(STALE_SECONDS))) == (Ignored("late"),)
        assert track.sees(replace(old, at=at(STALE_SECONDS + 1))) == (Dropped("not_found"),)

    def test_one_that_never_ran_again_is_as_it_was_before(self) -> None:
        track = Track()
        old = seen("expired", 6, via="listing", created=0, started=1, completed=5, updated=5)
        track.sees(old)
        track.sees(seen("queued", 30, via="listing", created=0, updated=25))
        for latest in (seen("queued", 31, position=4), seen("paused", 32)):
            track.sees(latest)
            again = Track()
            again.workflow = track.known
            again.sees(replace(old, at=at(400)))
            known = again.known
            assert (known.phase, known.run, known.status) == ("settled", 1, Status.OTHER)
            assert (known.unknown_status, known.queue_position) == (None, None)
            assert known.outputs_counted

    def test_the_phases_of_the_second_run_are_not_measured_from_the_creation(self) -> None:
        track = Track()
        track.sees(
            seen("completed", 6, via="listing", created=0, started=1, completed=5, updated=5)
        )
        track.phases.clear()
        track.sees(seen("accepted", 30, via="listing", created=28, updated=29, service=30))
        track.sees(seen("running", 31, via="listing", created=28, started=31, updated=31))
        assert track.known.run == 2
        assert [phase.seconds for phase in track.phases][:1] == [None]


class TestAnOldEnd:
    """A run that nobody recorded ended before this one began, and a replica still shows it."""

    OLD = seen("failed", 3, via="stream", started=-9000, completed=-8990, service=3)

    def test_it_does_not_end_a_workflow_that_was_seen_open(self) -> None:
        track = Track()
        track.sees(seen("queued", 1, via="listing", created=-9100))
        assert track.sees(self.OLD) == (Ignored("late"),)
        track.sees(seen("running", 5, via="listing", created=-9100, started=4))
        assert track.sees(replace(self.OLD, at=at(6))) == (Ignored("late"),)
        facts = track.sees(seen("completed", 9, started=4, completed=8))
        assert Finished(Status.COMPLETED, 4.0) in facts

    def test_unless_nothing_shows_it_open_for_longer_than_a_replica_lags(self) -> None:
        track = Track()
        track.sees(seen("queued", 1, via="listing", created=0))
        late = STALE_SECONDS + 1
        assert track.sees(replace(self.OLD, at=at(late))) == (Ignored("late"),)
        facts = track.sees(replace(self.OLD, at=at(late + 1)))
        assert Finished(Status.FAILED, 10.0) in facts


class TestNothingTellsTheTime:
    """Answers without Date and rows without `updated_at`."""

    def test_a_run_that_fails_in_its_queue_counts_although_a_stream_showed_its_end_first(
        self,
    ) -> None:
        track = Track()
        track.sees(seen("running", 1, via="listing", created=0, started=0))
        track.sees(seen("completed", 9, via="listing", started=1, completed=8))
        track.sees(seen("failed", 500, via="stream", completed=499))
        facts = track.sees(seen("failed", 502, via="listing", completed=499))
        assert Finished(Status.FAILED, None) in facts
        again = track.sees(seen("failed", 504, via="listing", completed=499))
        assert not any(isinstance(fact, Finished | Dropped) for fact in again)


class TestWhatAnEndStillOwes:
    @pytest.mark.parametrize(
        "cause", [Cause("KSampler", None), Cause(None, "ValueError"), Cause("", "ValueError")]
    )
    def test_half_a_cause_is_believed_if_the_rest_is_not_shown_later(self, cause: Cause) -> None:
        half = seen("failed", 2, started=1, completed=2, cause=cause)
        stays, grows = Track(), Track()
        answers: list[tuple[float, Via]] = [(2, "stream"), (13, "detail"), (18, "stream")]
        for seconds, via in answers:
            for track in (stays, grows):
                shown = track.sees(replace(half, at=at(seconds), via=via))
                assert not any(isinstance(fact, Failed) for fact in shown)
        whole = replace(half, at=at(19), cause=Cause("KSampler", "ValueError"))
        assert grows.sees(whole) == (Failed("KSampler", "ValueError"),)
        believed = stays.sees(replace(half, at=at(23), via="detail"))
        assert believed == (Failed(cause.node_type, cause.exception_type),)

    @pytest.mark.parametrize(
        ("via", "patience"),
        [("detail", ABSENT_SECONDS), ("stream", ABSENT_IN_STREAM_SECONDS)],
    )
    def test_an_absent_cause_is_believed_after_its_time(self, via: Via, patience: float) -> None:
        track = Track()
        end = seen("failed", 2, started=1, completed=2)
        track.sees(end)
        again = replace(end, via=via, at=at(2 + patience - 0.5))
        assert track.sees(again) == (Ignored("duplicate"),)
        assert track.sees(replace(again, at=at(2 + patience))) == (Failed(None, None),)

    def test_a_cause_that_is_there_and_cannot_be_read_is_not_taken_for_none(self) -> None:
        track = Track()
        end = seen("failed", 2, started=1, completed=2)
        track.sees(end)
        unreadable = replace(end, via="detail", at=at(900), cause_unreadable=True)
        assert track.sees(unreadable) == (Ignored("duplicate"),)
        assert track.known.cause_pending_since == at(2)

    def test_a_later_run_that_turns_out_to_have_started_did_not_wait_since_the_creation(
        self,
    ) -> None:
        track = Track()
        track.sees(seen("completed", 3, via="listing", created=0, started=1, completed=2))
        track.sees(seen("failed", 500, via="listing", created=0, completed=490))
        assert (track.known.run, track.known.started_at) == (2, None)
        told = seen("failed", 510, started=485, completed=490, cause=CAUSE)
        assert track.sees(told) == (Failed("KSampler", "ValueError"), Ran(Status.FAILED, 5.0))

    def test_the_cause_of_another_end_pays_nothing(self) -> None:
        track = Track()
        track.sees(seen("failed", 2, via="listing", created=0, started=1, completed=2))
        other = seen("cancelled", 3, started=1, completed=2, cause=CAUSE)
        assert track.sees(other) == (Ignored("late"),)
        assert track.known.cause_pending_since == at(2)

    def test_what_the_list_has_told_is_asked_for_at_once_and_a_stream_gets_its_moment(self) -> None:
        listed = Track()
        listed.sees(seen("failed", 2, via="listing", created=0, started=1, completed=2))
        assert listed.known.ask_from == -inf
        assert settled_early().known.ask_from == at(6 + SECOND_TELLING_SECONDS).monotonic

    def test_a_cause_is_asked_for_at_once_even_if_the_row_lacks_stamps_as_well(self) -> None:
        track = Track()
        track.sees(seen("failed", 2, via="listing", created=0, started=1))
        assert (track.known.cause_pending_since, track.known.duration_pending_since) == (
            at(2),
            at(2),
        )
        assert track.known.ask_from == -inf

    def test_outputs_count_once_and_only_of_what_completed(self) -> None:
        track = Track()
        track.sees(seen("completed", 2, via="listing", created=0, started=1, completed=2))
        none = seen("completed", 3, started=1, completed=2, outputs=0)
        assert track.sees(none) == (Ignored("duplicate"),)
        some = seen("completed", 4, started=1, completed=2, outputs=2)
        assert track.sees(some) == (OutputsMade(2),)
        cancelled = Track()
        cancelled.sees(seen("cancelled", 2, started=1, completed=2, outputs=2))
        cancelled.sees(seen("cancelled", 3, started=1, completed=2, outputs=2))
        assert not any(isinstance(fact, OutputsMade) for fact in cancelled.facts)

    def test_outputs_that_came_with_the_end_do_not_count_again(self) -> None:
        track = Track()
        end = seen("completed", 2, started=1, completed=2, outputs=2)
        track.sees(seen("running", 1, created=0, started=1))
        track.sees(end)
        assert track.sees(end) == (Ignored("duplicate"),)

    def test_what_is_not_ours_owes_nothing_later_either(self) -> None:
        track = Track()
        old = seen("completed", 1, created=-900, started=-800, completed=-700)
        track.sees(replace(old, via="listing"))
        assert track.known.start_observed
        assert track.sees(replace(old, outputs=3)) == (Ignored("duplicate"),)

    def test_a_duration_is_paid_by_the_stamp_that_was_missing(self) -> None:
        track = settled_early()
        assert track.sees(seen("completed", 7, via="listing", created=0)) == (Ignored("duplicate"),)
        assert track.known.duration_pending_since == at(6)
        paid = track.sees(seen("completed", 8, via="listing", created=0, completed=5))
        assert paid == (Ran(Status.COMPLETED, 4.0),)
        assert track.known.duration_pending_since is None

    def test_an_end_without_any_start_pays_nothing(self) -> None:
        track = Track()
        track.sees(seen("completed", 6, via="listing", created=0))
        told = seen("completed", 7, via="listing", created=0, completed=5)
        assert track.sees(told) == (Ignored("duplicate"),)
        assert track.known.duration_pending_since == at(6)

    def test_only_a_row_that_is_over_pays(self) -> None:
        track = settled_early()
        odd = seen("running", 8, via="listing", created=0, started=1, completed=5)
        assert track.sees(odd) == (Ignored("late"),)
        assert track.known.duration_pending_since == at(6)

    def test_an_impossible_duration_is_paid_as_an_anomaly(self) -> None:
        track = settled_early()
        paid = track.sees(seen("completed", 8, via="listing", created=0, started=7, completed=4))
        assert paid == (Ignored("anomalous_duration"),)
        assert track.known.duration_pending_since is None

    def test_once_it_is_forgiven_no_start_is_observed_any_more(self) -> None:
        track = Track()
        track.sees(seen("completed", 6, via="listing", created=0))
        track.apply(tracker.forgive(track.known))
        assert track.known.pending_since is None
        told = seen("completed", 8, via="detail", created=0, started=1, completed=5)
        assert track.sees(told) == (Ignored("duplicate"),)


class TestSights:
    def test_what_arrives_late_does_not_take_back_the_latest_sight(self) -> None:
        track = Track()
        track.sees(seen("queued", 9, via="listing", created=0))
        track.sees(seen("queued", 3))
        assert (track.known.last_seen, track.known.last_via) == (at(9), "listing")
        track.sees(seen("queued", 9))
        assert track.known.last_via == "stream"

    def test_an_unknown_word_that_arrives_late_does_not_hide_what_came_after_it(self) -> None:
        track = Track()
        track.sees(seen("queued", 9, position=4))
        track.sees(seen("paused", 3))
        assert (track.known.unknown_status, track.known.queue_position) == (None, 4)

    def test_a_known_word_that_arrives_late_does_not_hide_the_unknown_one(self) -> None:
        track = Track()
        track.sees(seen("queued", 1))
        track.sees(seen("paused", 9))
        track.sees(seen("queued", 3))
        assert track.known.unknown_status == "paused"

    def test_the_first_sight_after_a_restart_is_no_duplicate(self) -> None:
        track = Track()
        track.sees(seen("queued", 1))
        track.workflow = replace(track.known, last_seen=None)
        assert track.sees(seen("queued", 2)) == ()
        assert track.sees(seen("queued", 3)) == (Ignored("duplicate"),)

    @pytest.mark.parametrize(
        "news",
        [{"position": 4}, {"created": 0.5}, {"started": 1.5}],
        ids=lambda news: next(iter(news)),
    )
    def test_whatever_is_told_for_the_first_time_is_news(self, news: dict[str, float]) -> None:
        track = Track(source="pushed")
        track.sees(seen("queued", 1))
        assert Ignored("duplicate") not in track.sees(seen("queued", 2, **news))  # type: ignore[arg-type]

    def test_the_creation_is_the_one_that_was_told_first(self) -> None:
        track = Track()
        track.sees(seen("queued", 1, via="listing", created=0.5))
        track.sees(seen("queued", 2, via="listing", created=0.75))
        assert track.known.created_at == T0 + 0.5

    def test_running_again_after_the_queue_has_no_position(self) -> None:
        track = Track()
        track.sees(seen("queued", 1, position=4))
        track.sees(seen("running", 2, started=2))
        assert track.known.queue_position is None
        assert track.known.status is Status.RUNNING

    def test_the_position_on_entry_counts_once_and_with_the_time_it_was_told(self) -> None:
        track = Track()
        track.sees(seen("queued", 1, position=0))
        track.sees(seen("queued", 5, position=0))
        assert [f for f in track.facts if isinstance(f, EnteredQueue)] == [EnteredQueue(0)]
        assert track.known.position_at == at(5).monotonic


class TestTheEnd:
    def test_what_is_kept_of_it(self) -> None:
        track = Track()
        track.sees(seen("queued", 1, position=4))
        track.sees(seen("paused", 2))
        track.sees(
            seen("completed", 9, via="listing", created=0, started=2, completed=7, updated=8)
        )
        known = track.known
        assert (known.phase, known.queue_position, known.unknown_status) == ("settled", None, None)
        assert known.entered is None
        assert known.ended_at == T0 + 7
        assert known.settled_at == T0 + 8
        assert (known.listed_ended_at, known.listed_ended_run) == (T0 + 7, 1)

    def test_one_that_ends_in_the_queue_has_no_place_and_no_phase_any_more(self) -> None:
        track = Track()
        track.sees(seen("accepted", 1, via="listing", created=0, service=1))
        track.sees(seen("queued", 2, position=4))
        assert (track.known.queue_position, track.known.entered is None) == (4, False)
        track.sees(seen("cancelled", 3, completed=3))
        assert (track.known.queue_position, track.known.entered) == (None, None)

    @pytest.mark.parametrize("source", ["listing", "configured"])
    @pytest.mark.parametrize("via", ["listing", "stream"])
    def test_a_status_that_nobody_knows_is_reported_whether_or_not_the_end_counts(
        self, source: Source, via: Via
    ) -> None:
        # Over the list it is old and does not count; over a stream it must wait for the list.
        track = Track(source=source)
        told = seen("archived", 2, via=via, started=-700, completed=-600)
        dropped = (Dropped("ended_before"),) if via == "listing" else ()
        assert track.sees(told) == (Ignored("unknown_status"), *dropped)
        assert track.known.phase == ("settled" if via == "listing" else "open")

    def test_it_is_over_by_when_its_row_was_written_or_else_by_when_it_was_told(self) -> None:
        for service, updated, settled in ((12, 8, 8), (8, 12, 12), (None, 8, 8), (8, None, 8)):
            track = Track()
            track.sees(seen("running", 1, started=1))
            track.sees(seen("cancelled", 99, completed=7, service=service, updated=updated))
            assert track.known.settled_at == T0 + settled

    def test_by_our_own_clock_only_where_there_is_no_stamp_and_never_as_the_services(self) -> None:
        track = Track()
        track.sees(seen("running", 1, started=1))
        track.sees(seen("cancelled", 99))
        assert (track.known.ended_at, track.known.settled_at) == (at(99).wall, None)

    def test_an_end_that_only_the_list_can_judge_waits_for_it(self) -> None:
        track = Track(source="configured")
        assert track.sees(seen("completed", 2, started=-9, completed=-5)) == ()
        assert track.known.phase == "open"
        row = seen("completed", 3, via="listing", created=1, started=-9, completed=-5)
        assert Finished(Status.COMPLETED, 4.0) in track.sees(row)

    @pytest.mark.parametrize(
        ("status", "running", "started", "owes"),
        [
            ("completed", False, None, True),
            ("failed", True, None, True),
            ("failed", False, None, False),
            ("failed", False, 1.0, False),
        ],
    )
    def test_a_duration_is_owed_where_it_ran_and_a_stamp_is_missing(
        self, status: str, running: bool, started: float | None, owes: bool
    ) -> None:
        track = Track()
        track.sees(seen("running" if running else "queued", 1, via="listing", created=0))
        track.sees(seen(status, 9, via="listing", created=0, started=started, completed=8))
        assert (track.known.duration_pending_since is not None) == owes

    @pytest.mark.parametrize(
        ("seconds", "observed"),
        [(0.0, 0.0), (ABSURD_SECONDS, ABSURD_SECONDS), (ABSURD_SECONDS + 1, None), (-2.0, None)],
    )
    def test_a_run_lasts_from_nothing_to_thirty_days(
        self, seconds: float, observed: float | None
    ) -> None:
        track = Track()
        track.sees(seen("running", 1, via="listing", created=0, started=1))
        facts = track.sees(seen("completed", 9, started=1, completed=1 + seconds))
        assert Finished(Status.COMPLETED, observed) in facts
        assert (Ignored("anomalous_duration") in facts) == (observed is None)

    @given(st.integers(0, 10**9), st.integers(0, 10**9))
    @example(1_100_000, 2_200_000)
    def test_of_stamps_to_the_microsecond_the_duration_is_exact(
        self, start: int, length: int
    ) -> None:
        track = Track()
        started, completed = start / 1e6, (start + length) / 1e6
        track.sees(seen("running", 1, via="listing", created=0, started=started))
        facts = track.sees(seen("completed", 9, started=started, completed=completed))
        assert Finished(Status.COMPLETED, length / 1e6) in facts

    def test_start_and_end_that_were_told_together_make_the_duration(self) -> None:
        track = Track()
        track.sees(seen("running", 1, via="listing", created=0, started=1.5))
        facts = track.sees(seen("completed", 9, started=1, completed=4))
        assert Finished(Status.COMPLETED, 3.0) in facts


class TestWaitBySights:
    """Where nobody tells the creation: from our first sight of it waiting to its start."""

    def test_sights_that_arrive_out_of_order_are_put_in_theirs(self) -> None:
        track = Track(UNLISTED, source="configured")
        for second in (6, 4, 8, 7):
            track.sees(seen("queued", second))
        assert track.sees(seen("running", 9, started=9)) == (Started(5.0),)

    @pytest.mark.parametrize(("more", "observed"), [(0.0, True), (1.0, False)])
    def test_the_start_must_lie_close_after_the_last_sight(
        self, more: float, observed: bool
    ) -> None:
        track = Track(UNLISTED, source="configured")
        track.sees(seen("queued", 5))
        gap = START_UNCERTAINTY_SECONDS + more
        facts = track.sees(seen("running", 5 + gap, started=6))
        assert facts == ((Started(gap),) if observed else ())

    def test_seen_at_its_end_it_started_as_long_ago_as_it_ran(self) -> None:
        track = Track(UNLISTED, source="configured")
        track.sees(seen("queued", 5))
        facts = track.sees(seen("completed", 100, started=50, completed=140))
        assert Started(5.0) in facts

    def test_a_start_is_not_before_the_last_sight_of_it_waiting(self) -> None:
        track = Track(UNLISTED, source="configured")
        track.sees(seen("queued", 5))
        track.sees(seen("queued", 9))
        facts = track.sees(seen("completed", 10, started=50, completed=60))
        assert Started(4.0) in facts

    def test_an_end_before_its_start_took_no_time(self) -> None:
        track = Track(UNLISTED, source="configured")
        track.sees(seen("queued", 5))
        facts = track.sees(seen("completed", 9, started=8, completed=7))
        assert Started(4.0) in facts

    def test_an_end_without_stamps_tells_no_start(self) -> None:
        track = Track(UNLISTED, source="configured")
        track.sees(seen("queued", 5))
        track.sees(seen("completed", 9, completed=7))
        assert not any(isinstance(fact, Started) for fact in track.facts)

    def test_what_was_noted_is_not_kept_once_it_is_observed(self) -> None:
        track = Track(source="pushed")
        track.sees(seen("queued", 3))
        track.sees(seen("running", 5, started=4.5))
        assert track.known.start_wait == 2.0
        # A later sight of it running makes it no longer.
        track.sees(seen("running", 25, started=4.5))
        assert track.known.start_wait == 2.0
        track.sees(seen("completed", 30, started=4.5, completed=28))
        assert track.known.start_observed
        assert replace(track.known, start_wait=None) == track.known

    def test_nor_where_its_stamps_say_that_it_never_started(self) -> None:
        track = Track(source="pushed")
        track.sees(seen("queued", 3))
        track.sees(seen("running", 5))
        waiting = track.known
        assert waiting.start_wait == 2.0
        track.sees(seen("cancelled", 9, via="listing", created=0, started=8, completed=6))
        assert replace(track.known, start_observed=True, start_wait=None) == track.known
        assert not any(isinstance(fact, Started) for fact in track.facts)

    def test_whether_it_started_stays_open_while_its_stamps_are_owed(self) -> None:
        track = Track()
        track.sees(seen("completed", 6, via="listing", created=0))
        assert not track.known.start_observed
        cancelled = Track()
        cancelled.sees(seen("queued", 1, via="listing", created=0))
        cancelled.sees(seen("cancelled", 6, via="listing", created=0, completed=5))
        assert cancelled.known.start_observed
