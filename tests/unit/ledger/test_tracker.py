"""The tracker's rules, one by one. No clock, no sleep: moments are handed in."""

from dataclasses import replace

import pytest

from exporter.comfycontrol import Cause
from exporter.interfaces.observations import (
    DropReason,
    Moment,
    Observation,
    Removed,
    Source,
    Status,
    Tracked,
    Via,
)
from exporter.ledger import tracker
from exporter.ledger.counting import CountingRules
from exporter.ledger.facts import (
    Discovered,
    Dropped,
    EnteredQueue,
    Fact,
    Failed,
    Finished,
    Ignored,
    OutputsMade,
    PhasePassed,
    Ran,
    Started,
)
from exporter.ledger.workflow import Workflow

T0 = 1_700_000_000.0
"""The line: when the account was first looked at."""

RULES = CountingRules(cutoff=T0, listed=True)
UNLISTED = replace(RULES, listed=False)


def at(seconds: float) -> Moment:
    """So many seconds after the line."""
    return Moment(wall=T0 + seconds, monotonic=1000.0 + seconds)


def seen(
    status: str,
    seconds: float = 10.0,
    *,
    via: Via = "stream",
    position: int | None = None,
    created: float | None = None,
    updated: float | None = None,
    started: float | None = None,
    completed: float | None = None,
    cause: Cause | None = None,
    outputs: int | None = None,
    service: float | None = None,
) -> Observation:
    """An observation at so many seconds; its stamps are seconds after the line too."""

    def stamp(value: float | None) -> float | None:
        return None if value is None else T0 + value

    return Observation(
        account="studio",
        workflow_id="w1",
        via=via,
        at=at(seconds),
        status=status,
        queue_position=position,
        created_at=stamp(created),
        updated_at=stamp(updated),
        started_at=stamp(started),
        completed_at=stamp(completed),
        cause=cause,
        outputs=outputs,
        service_wall=stamp(service),
    )


class Track:
    """Feeds one workflow and collects the facts."""

    def __init__(self, rules: CountingRules = RULES, source: Source | None = None) -> None:
        self.rules = rules
        self.workflow: Workflow | None = None
        self.facts: list[Fact] = []
        self.phases: list[PhasePassed] = []
        if source is not None:
            self.apply(tracker.track(None, Tracked("studio", "w1", source, at(0))))

    def apply(self, change: tracker.Change) -> tuple[Fact, ...]:
        """The facts that follow; those of phases apart, as they say nothing of the others."""
        self.workflow = change.workflow
        facts = tuple(f for f in change.facts if not isinstance(f, PhasePassed))
        self.facts.extend(facts)
        self.phases.extend(f for f in change.facts if isinstance(f, PhasePassed))
        return facts

    def sees(self, observation: Observation) -> tuple[Fact, ...]:
        return self.apply(tracker.observe(self.workflow, observation, self.rules))

    @property
    def known(self) -> Workflow:
        assert self.workflow is not None
        return self.workflow


class TestLife:
    def test_a_whole_life_gives_each_fact_once(self) -> None:
        track = Track()
        track.sees(seen("accepted", 1, via="listing", created=0.5))
        track.sees(seen("queued", 2, position=3))
        track.sees(seen("queued", 4, position=1))
        track.sees(seen("running", 6, started=5))
        track.sees(seen("completed", 20, started=5, completed=18.25, outputs=2))
        assert track.facts == [
            Discovered("listing"),
            EnteredQueue(3),
            Started(4.5),
            Finished(Status.COMPLETED, 13.25),
            OutputsMade(2),
        ]
        assert track.known.phase == "settled"
        assert track.known.queue_position is None

    def test_a_short_job_seen_only_at_its_end_is_counted_whole(self) -> None:
        track = Track()
        facts = track.sees(
            seen("completed", 10, via="listing", created=1, started=2, completed=4.5)
        )
        assert facts == (Discovered("listing"), Started(1.0), Finished(Status.COMPLETED, 2.5))

    @pytest.mark.parametrize("status", ["completed", "failed", "cancelled", "invalid"])
    def test_every_final_status_settles(self, status: str) -> None:
        track = Track()
        track.sees(seen("queued", 1))
        track.sees(seen(status, 2))
        assert track.known.phase == "settled"
        assert [f for f in track.facts if isinstance(f, Finished)] == [
            Finished(Status(status), None)
        ]

    def test_the_first_final_status_wins(self) -> None:
        track = Track()
        track.sees(seen("running", 1, started=1))
        track.sees(seen("cancelled", 2, started=1, completed=2))
        assert track.sees(seen("completed", 3, started=1, completed=3)) == (Ignored("late"),)
        assert track.known.status is Status.CANCELLED

    def test_the_same_end_again_is_a_duplicate(self) -> None:
        track = Track()
        final = seen("completed", 2, started=1, completed=2)
        track.sees(seen("running", 1, started=1))
        track.sees(final)
        assert track.sees(final) == (Ignored("duplicate"),)


class TestMovingForward:
    def test_a_late_observation_changes_nothing(self) -> None:
        track = Track()
        track.sees(seen("running", 5, started=4))
        assert track.sees(seen("queued", 6, position=2)) == (Ignored("late"),)
        assert track.known.status is Status.RUNNING
        assert track.known.queue_position is None

    def test_a_repeated_observation_is_a_duplicate_and_refreshes_the_sight(self) -> None:
        track = Track()
        track.sees(seen("queued", 1, position=2))
        assert track.sees(seen("queued", 9, position=2)) == (Ignored("duplicate"),)
        assert track.known.last_seen == at(9)

    def test_a_new_position_is_news(self) -> None:
        track = Track()
        track.sees(seen("queued", 1, position=2))
        assert track.sees(seen("queued", 3, position=1)) == ()
        assert track.known.queue_position == 1

    def test_an_older_position_that_arrives_later_does_not_count(self) -> None:
        track = Track()
        track.sees(seen("queued", 9, position=1))
        track.sees(seen("queued", 3, position=7))
        assert track.known.queue_position == 1

    def test_the_list_tells_no_position_and_wipes_out_none(self) -> None:
        track = Track()
        track.sees(seen("queued", 1, position=4))
        track.sees(seen("queued", 3, via="listing", created=0))
        assert track.known.queue_position == 4
        assert track.known.position_at == at(1).monotonic

    def test_a_position_counts_only_while_queued(self) -> None:
        track = Track()
        track.sees(seen("running", 1, position=1, started=1))
        track.sees(seen("accepted", 1, position=1))
        assert track.known.queue_position is None
        assert not any(isinstance(f, EnteredQueue) for f in track.facts)

    def test_the_entry_position_is_the_first_one_told(self) -> None:
        track = Track()
        track.sees(seen("queued", 1, via="listing", created=0))
        track.sees(seen("queued", 2, position=5))
        track.sees(seen("queued", 3, position=4))
        assert [f for f in track.facts if isinstance(f, EnteredQueue)] == [EnteredQueue(5)]


class TestUnknownStatus:
    def test_it_is_kept_counted_and_not_final(self) -> None:
        track = Track()
        track.sees(seen("queued", 1, position=2))
        assert track.sees(seen("paused", 2)) == (Ignored("unknown_status"),)
        assert track.known.phase == "open"
        assert track.known.unknown_status == "paused"
        assert track.known.status is Status.QUEUED
        assert track.known.queue_position is None

    def test_a_known_status_follows_it(self) -> None:
        track = Track()
        track.sees(seen("paused", 2))
        track.sees(seen("running", 3, started=2))
        assert track.known.unknown_status is None
        track.sees(seen("completed", 9, started=2, completed=8))
        assert Finished(Status.COMPLETED, 6.0) in track.facts

    def test_after_the_end_it_is_late(self) -> None:
        track = Track()
        track.sees(seen("completed", 9, started=2, completed=8))
        assert track.sees(seen("archived", 10)) == (Ignored("late"),)


class TestCauses:
    OOM = Cause("KSampler", "torch.OutOfMemoryError")

    def test_a_stream_tells_the_cause_with_the_end(self) -> None:
        track = Track()
        track.sees(seen("running", 1, started=1))
        track.sees(seen("failed", 2, started=1, completed=2, cause=self.OOM))
        assert track.facts[-1] == Failed("KSampler", "torch.OutOfMemoryError")
        assert track.known.cause_pending_since is None

    def test_a_cause_that_the_last_snapshot_lacks_may_be_there_a_moment_later(self) -> None:
        track = Track()
        track.sees(seen("failed", 2, started=1, completed=2))
        assert not any(isinstance(f, Failed) for f in track.facts)
        assert track.known.ask_from == at(12).monotonic
        assert track.sees(seen("failed", 3, started=1, completed=2)) == (Ignored("duplicate"),)
        paid = track.sees(seen("failed", 4, started=1, completed=2, cause=self.OOM))
        assert paid == (Failed("KSampler", "torch.OutOfMemoryError"),)

    @pytest.mark.parametrize("cause", [None, Cause(None, None)])
    def test_no_cause_told_by_either_way_for_long_means_unknown(self, cause: Cause | None) -> None:
        track = Track()
        track.sees(seen("failed", 2, started=1, completed=2, cause=cause))
        answers: list[tuple[float, Via]] = [(3, "stream"), (13, "detail"), (18, "stream")]
        for second, via in answers:
            again = seen("failed", second, via=via, started=1, completed=2, cause=cause)
            assert track.sees(again) == (Ignored("duplicate"),)
        paid = track.sees(seen("failed", 23, via="detail", started=1, completed=2, cause=cause))
        assert paid == (Failed(None, None),)
        assert track.known.cause_pending_since is None

    def test_so_does_no_cause_told_by_a_stream_long_after(self) -> None:
        track = Track()
        track.sees(seen("failed", 2, started=1, completed=2))
        assert track.sees(seen("failed", 63, started=1, completed=2)) == (Failed(None, None),)

    def test_a_cause_that_every_answer_leaves_out_for_long_is_still_taken(self) -> None:
        track = Track()
        track.sees(seen("failed", 2, via="listing", created=0, started=1, completed=2))
        answers: list[tuple[float, Via]] = [(3, "stream"), (13, "detail"), (18, "stream")]
        for second, via in answers:
            track.sees(seen("failed", second, via=via, started=1, completed=2))
        paid = track.sees(seen("failed", 23, via="detail", started=1, completed=2, cause=self.OOM))
        assert paid == (Failed("KSampler", "torch.OutOfMemoryError"),)

    def test_the_list_leaves_it_owed_and_a_stream_pays(self) -> None:
        track = Track()
        facts = track.sees(seen("failed", 2, via="listing", created=0, started=1, completed=2))
        assert Finished(Status.FAILED, 1.0) in facts
        assert not any(isinstance(f, Failed) for f in facts)
        assert track.known.cause_pending_since == at(2)
        paid = track.sees(seen("failed", 30, started=1, completed=2, cause=self.OOM))
        assert paid == (Failed("KSampler", "torch.OutOfMemoryError"),)
        again = track.sees(seen("failed", 31, started=1, completed=2, cause=self.OOM))
        assert again == (Ignored("duplicate"),)

    def test_the_list_again_does_not_pay(self) -> None:
        track = Track()
        listed = seen("failed", 2, via="listing", created=0, started=1, completed=2)
        track.sees(listed)
        assert track.sees(listed) == (Ignored("duplicate"),)
        assert track.known.cause_pending_since is not None

    def test_it_is_forgiven_as_unknown_once(self) -> None:
        track = Track()
        track.sees(seen("failed", 2, via="listing", created=0, started=1, completed=2))
        assert track.apply(tracker.forgive(track.known)) == (Failed(None, None),)
        assert track.apply(tracker.forgive(track.known)) == ()

    def test_a_workflow_deleted_meanwhile_is_unknown(self) -> None:
        track = Track()
        track.sees(seen("failed", 2, via="listing", created=0, started=1, completed=2))
        gone = Removed("studio", "w1", "not_found", at(5))
        assert track.apply(tracker.drop(track.workflow, gone)) == (Failed(None, None),)
        assert track.known.phase == "settled"


class TestOutputs:
    def test_a_stream_adds_the_outputs_to_an_end_the_list_told(self) -> None:
        track = Track()
        track.sees(seen("completed", 2, via="listing", created=0, started=1, completed=2))
        late = seen("completed", 3, started=1, completed=2, outputs=4)
        assert track.sees(late) == (OutputsMade(4),)
        assert track.sees(late) == (Ignored("duplicate"),)


class TestTimeToStart:
    def test_by_the_stamps_when_both_are_known(self) -> None:
        track = Track()
        track.sees(seen("running", 9, via="listing", created=2, started=8.125))
        assert Started(6.125) in track.facts

    def test_a_running_snapshot_without_its_stamp_waits_for_it(self) -> None:
        track = Track()
        track.sees(seen("running", 9, via="listing", created=2))
        assert not any(isinstance(f, Started) for f in track.facts)
        track.sees(seen("running", 11, started=8))
        assert Started(6.0) in track.facts

    def test_once_only(self) -> None:
        track = Track()
        for second in (9, 11, 13):
            track.sees(seen("running", second, via="listing", created=2, started=8))
        track.sees(seen("completed", 20, started=8, completed=19))
        assert sum(isinstance(f, Started) for f in track.facts) == 1

    def test_who_never_started_has_none(self) -> None:
        track = Track()
        track.sees(seen("queued", 1, via="listing", created=0))
        track.sees(seen("cancelled", 5, via="listing", created=0, completed=4))
        assert not any(isinstance(f, Started) for f in track.facts)

    def test_without_a_creation_time_by_our_first_sight_of_it_waiting(self) -> None:
        track = Track(UNLISTED, source="configured")
        track.sees(seen("accepted", 3))
        track.sees(seen("queued", 5, position=1))
        assert track.sees(seen("running", 7, started=6.5)) == (Started(4.0),)

    def test_first_seen_running_is_never_guessed(self) -> None:
        track = Track(UNLISTED, source="configured")
        track.sees(seen("running", 7, started=6.5))
        track.sees(seen("completed", 9, started=6.5, completed=8))
        assert not any(isinstance(f, Started) for f in track.facts)

    def test_a_long_gap_in_sight_is_never_guessed(self) -> None:
        track = Track(UNLISTED, source="configured")
        track.sees(seen("queued", 5))
        track.sees(seen("running", 500, started=6.5))
        track.sees(seen("running", 502, started=6.5))
        assert not any(isinstance(f, Started) for f in track.facts)

    def test_a_start_missed_between_two_sights_is_placed_by_the_run(self) -> None:
        track = Track(UNLISTED, source="configured")
        track.sees(seen("queued", 4))
        track.sees(seen("queued", 6))
        # It ran for 3 s and ended when it was seen: it started at 7.
        assert Started(3.0) in track.sees(seen("completed", 10, started=6.9, completed=9.9))

    def test_on_a_listed_account_the_list_may_still_tell(self) -> None:
        track = Track(source="pushed")
        track.sees(seen("queued", 3))
        track.sees(seen("running", 5, started=4.5))
        assert not any(isinstance(f, Started) for f in track.facts)
        assert Started(3.5) in track.sees(seen("running", 7, via="listing", created=1, started=4.5))

    def test_and_if_it_never_does_our_sight_counts_at_the_end(self) -> None:
        track = Track(source="pushed")
        track.sees(seen("queued", 3))
        track.sees(seen("running", 5, started=4.5))
        assert Started(2.0) in track.sees(seen("completed", 9, started=4.5, completed=8))

    def test_waiting_in_an_earlier_process_is_not_measured(self) -> None:
        track = Track(UNLISTED, source="configured")
        track.sees(seen("queued", 3))
        track.workflow = replace(track.known, waiting_lost=True)
        track.sees(seen("running", 5, started=4.5))
        assert not any(isinstance(f, Started) for f in track.facts)


class TestPhases:
    def test_a_life_that_was_seen_closely_has_each_phase_measured(self) -> None:
        track = Track()
        track.sees(seen("accepted", 3, via="listing", created=1.5, service=3))
        track.sees(seen("uploaded", 5))
        track.sees(seen("uploaded", 7))
        track.sees(seen("queued", 9, position=3))
        track.sees(seen("queued", 11, position=1))
        track.sees(seen("running", 13, started=12))
        track.sees(seen("completed", 20, started=12, completed=18))
        assert track.phases == [
            PhasePassed(Status.ACCEPTED, 3.0),
            PhasePassed(Status.UPLOADED, 4.0),
            PhasePassed(Status.QUEUED, 4.0),
        ]

    def test_what_ends_before_it_runs_has_not_passed_the_phase_that_it_was_in(self) -> None:
        track = Track()
        track.sees(seen("uploaded", 1, via="listing", created=0.5, service=1))
        track.sees(seen("queued", 2))
        track.sees(seen("cancelled", 3))
        assert [fact.phase for fact in track.phases] == [Status.ACCEPTED, Status.UPLOADED]

    def test_a_run_that_was_only_seen_at_its_end_leaves_each_phase_uncertain(self) -> None:
        track = Track()
        track.sees(seen("failed", 60, via="listing", created=1, started=2, completed=50))
        assert [fact.seconds for fact in track.phases] == [None, None, None]

    def test_a_new_run_does_not_begin_with_the_creation(self) -> None:
        track = Track()
        track.sees(seen("completed", 60, via="listing", created=58, started=59, completed=60))
        track.phases.clear()
        track.sees(seen("running", 62, via="listing", created=58, started=61.5, service=62))
        assert track.known.run == 2
        assert [fact.seconds for fact in track.phases] == [None, None, None]

    def test_what_was_over_at_the_first_look_has_no_phases(self) -> None:
        track = Track()
        track.sees(seen("completed", 1, via="listing", created=-9, started=-8, completed=-7))
        assert not track.phases


class TestAnomalies:
    def test_a_negative_wait_is_counted_and_not_observed(self) -> None:
        track = Track()
        facts = track.sees(seen("running", 9, via="listing", created=8, started=5))
        assert Ignored("anomalous_duration") in facts
        assert not any(isinstance(f, Started) for f in facts)
        assert Ignored("anomalous_duration") not in track.sees(seen("running", 11, started=5))

    def test_a_negative_run_is_counted_and_not_observed(self) -> None:
        track = Track()
        track.sees(seen("running", 9, started=8))
        facts = track.sees(seen("completed", 12, started=8, completed=6))
        assert facts == (Ignored("anomalous_duration"), Finished(Status.COMPLETED, None))

    @pytest.mark.parametrize(
        ("started", "completed", "observed"),
        [
            (8.625, 8, 0.0),  # the end is cut to the second
            (9, 8.625, 0.0),  # the start is rounded up
            (8, 7, None),  # cut or rounded, a start in second 8 is not before an end in second 7
            (8.5, 8.4, None),
            (8.625, 8.614, None),  # milliseconds contradict each other
            (9.001, 8, None),
        ],
    )
    def test_an_end_before_its_start_by_less_than_their_precision_is_a_run_of_no_time(
        self, started: float, completed: float, observed: float | None
    ) -> None:
        track = Track()
        track.sees(seen("running", 9, started=started))
        facts = track.sees(seen("completed", 12, started=started, completed=completed))
        assert Finished(Status.COMPLETED, observed) in facts
        assert (Ignored("anomalous_duration") in facts) == (observed is None)

    @pytest.mark.parametrize("status", ["cancelled", "failed"])
    @pytest.mark.parametrize("later", [False, True])
    def test_a_start_after_the_end_is_no_start(self, status: str, later: bool) -> None:
        track = Track()
        facts = track.sees(seen("queued", 2, via="listing", created=1))
        if later:
            facts += track.sees(seen(status, 9, via="listing", created=1, completed=8))
        facts += track.sees(seen(status, 12, via="listing", created=1, started=10, completed=8))
        assert not [fact for fact in facts if isinstance(fact, Started)]
        assert len([fact for fact in facts if isinstance(fact, Finished)]) == 1

    def test_a_start_that_is_a_whole_second_by_chance_is_asked_for_more_precisely(self) -> None:
        # Found in a day of 2,000 workflows: it failed in the queue, 910 ms before its start stamp.
        track = Track()
        track.sees(seen("queued", 2, via="listing", created=1))
        facts = track.sees(
            seen("failed", 12, via="listing", created=1.581, started=11, completed=10.09)
        )
        assert Finished(Status.FAILED, None) in facts
        precise = seen("failed", 13, via="detail", started=11.000583, completed=10.090583)
        facts += track.sees(precise)
        assert not [fact for fact in facts if isinstance(fact, Started | Ran)]
        assert track.known.duration_pending_since is None

    @pytest.mark.parametrize(
        ("created", "started", "observed"),
        [(8.625, 8, 0.0), (8.625, 8.614, 0.0), (8.001, 6.001, 0.0), (8.001, 6, None)],
    )
    def test_a_start_before_its_creation_by_less_than_clocks_differ_is_a_wait_of_no_time(
        self, created: float, started: float, observed: float | None
    ) -> None:
        facts = Track().sees(seen("running", 9, via="listing", created=created, started=started))
        waits = [fact.seconds for fact in facts if isinstance(fact, Started)]
        assert waits == ([] if observed is None else [observed])
        assert (Ignored("anomalous_duration") in facts) == (observed is None)

    def test_an_absurd_run_too(self) -> None:
        track = Track()
        track.sees(seen("running", 9, started=-40 * 86_400))
        facts = track.sees(seen("completed", 12, started=-40 * 86_400, completed=12))
        assert Finished(Status.COMPLETED, None) in facts


class TestTheLine:
    def test_what_had_ended_before_is_recorded_and_not_counted(self) -> None:
        track = Track()
        old = seen("completed", 1, via="listing", created=-100, started=-90, completed=-5)
        assert track.sees(old) == ()
        assert track.known.phase == "settled"
        assert track.sees(old) == (Ignored("duplicate"),)

    def test_a_failure_before_it_owes_no_cause(self) -> None:
        track = Track()
        track.sees(seen("failed", 1, via="listing", created=-100, started=-90, completed=-5))
        assert track.known.cause_pending_since is None

    def test_what_was_open_then_counts(self) -> None:
        track = Track()
        track.sees(seen("running", 1, via="listing", created=-100, started=-90))
        track.sees(seen("completed", 9, via="listing", created=-100, started=-90, completed=8))
        assert Finished(Status.COMPLETED, 98.0) in track.facts

    def test_what_ended_after_it_unseen_counts(self) -> None:
        track = Track()
        track.sees(seen("cancelled", 9, via="listing", created=-100, updated=3))
        assert Finished(Status.CANCELLED, None) in track.facts

    @pytest.mark.parametrize("step", [-400.0, 0.0, 40 * 86_400.0])
    def test_our_own_clock_has_no_say_in_it(self, step: float) -> None:
        track = Track()
        end = seen("completed", 500, created=1, started=2, completed=3)
        facts = track.sees(replace(end, at=Moment(end.at.wall + step, end.at.monotonic)))
        assert Finished(Status.COMPLETED, 1.0) in facts

    def test_what_the_very_first_look_shows_as_over_was(self) -> None:
        track = Track()
        late = seen("completed", 1, via="listing", created=-9, started=-8, completed=0.5)
        assert track.sees(replace(late, first_pass=True)) == ()
        assert track.known.phase == "settled"

    def test_what_is_told_to_the_second_may_be_from_after_the_line(self) -> None:
        # Created and over within the second in which the line was drawn.
        rules = replace(RULES, cutoff=T0 + 0.4)
        told = seen("completed", 2, via="listing", created=0, started=0, completed=0)
        assert Finished(Status.COMPLETED, 0.0) in Track(rules).sees(told)
        assert Track(rules).sees(replace(told, first_pass=True)) == ()
        earlier = seen("completed", 2, via="listing", created=-1, started=-1, completed=-1)
        assert Track(rules).sees(earlier) == ()
        precise = seen("completed", 2, via="listing", created=0.21, started=0.3, completed=0.391)
        assert Track(rules).sees(precise) == ()

    def test_the_row_whose_stamp_has_drawn_the_line_is_not_after_it(self) -> None:
        # Its record may be lost, by a power cut in the first minute.
        rules = replace(RULES, cutoff=T0 + 0.391)
        drew = seen("completed", 2, via="listing", created=0.21, started=0.3, completed=0.391)
        assert Track(rules).sees(drew) == ()
        next_ = seen("completed", 2, via="listing", created=0.21, started=0.3, completed=0.392)
        assert any(isinstance(fact, Finished) for fact in Track(rules).sees(next_))

    def test_a_configured_id_that_was_over_is_not_counted(self) -> None:
        for told in (seen("completed", 1, started=-9, completed=-5), seen("invalid", 1)):
            track = Track(UNLISTED, source="configured")
            assert track.sees(told) == (Dropped("ended_before"),)
            assert track.sees(told) == (Ignored("duplicate"),)

    def test_one_that_nobody_named_is_not_dropped_when_it_was_over(self) -> None:
        told = seen("completed", 1, via="listing", created=-20, started=-9, completed=-5)
        assert tracker.observe(None, told, RULES).facts == ()

    def test_a_dropped_one_that_was_over_is_dropped_once(self) -> None:
        track = Track(UNLISTED, source="configured")
        track.apply(tracker.drop(track.workflow, Removed("studio", "w1", "not_found", at(1))))
        told = seen("completed", 2, via="detail", created=-20, started=-9, completed=-5)
        assert track.sees(told) == ()

    def test_a_pushed_id_that_ended_by_a_slow_clock_is_judged_by_its_row(self) -> None:
        told = seen("completed", 9, via="listing", started=-99, completed=-90, updated=8)
        assert Finished(Status.COMPLETED, 9.0) in Track(source="pushed").sees(told)
        # Nobody has just submitted this one: an old workflow may have been edited.
        assert Dropped("ended_before") in Track(source="configured").sees(told)
        old = replace(told, updated_at=T0 - 1)
        assert Dropped("ended_before") in Track(source="pushed").sees(old)

    def test_a_pushed_id_without_stamps_is_taken_for_new(self) -> None:
        track = Track(UNLISTED, source="pushed")
        assert Finished(Status.INVALID, None) in track.sees(seen("invalid", 1))


class TestNewRuns:
    @pytest.mark.parametrize("ahead", [3, 60, 300])
    def test_a_row_by_a_clock_ahead_of_the_streams_tells_of_no_run(self, ahead: float) -> None:
        track = Track()
        track.sees(seen("completed", 6, started=1, completed=5, service=6))
        start, end = 1.25 + ahead, 5.75 + ahead
        row = seen("completed", via="listing", created=0, started=start, completed=end, updated=5.5)
        for after in (8, 500):
            facts = track.sees(replace(row, at=at(after), service_wall=T0 + after))
            assert not any(isinstance(f, Finished) for f in facts)

    def test_a_row_of_a_later_run_that_is_as_long_counts(self) -> None:
        track = Track()
        track.sees(seen("completed", 6, started=1, completed=5, service=6))
        row = seen("completed", 70, via="listing", created=0, started=61, completed=65, updated=65)
        facts = track.sees(replace(row, service_wall=T0 + 70))
        assert Finished(Status.COMPLETED, 4.0) in facts

    def test_a_later_start_is_a_new_run(self) -> None:
        track = Track()
        track.sees(seen("running", 2, via="listing", created=0, started=1))
        track.sees(seen("completed", 6, started=1, completed=5))
        assert track.sees(seen("running", 21, started=20)) == (Discovered("listing"),)
        assert track.known.run == 2
        facts = track.sees(seen("failed", 31, started=20, completed=30, cause=TestCauses.OOM))
        assert facts == (
            Finished(Status.FAILED, 10.0),
            Failed("KSampler", "torch.OutOfMemoryError"),
        )
        # The wait of the first run says nothing about the second.
        assert sum(isinstance(f, Started) for f in track.facts) == 1

    def test_a_new_run_that_was_missed_until_its_end(self) -> None:
        track = Track()
        track.sees(seen("failed", 6, via="listing", created=0, started=1, completed=5))
        facts = track.sees(seen("completed", 40, via="listing", started=20, completed=30))
        assert facts == (
            Failed(None, None),  # the cause still owed of the first run will not be learnt
            Discovered("listing"),
            Finished(Status.COMPLETED, 10.0),
        )

    def test_a_time_that_only_the_row_tells_shows_what_comes_after_it(self) -> None:
        for status, started in (("queued", None), ("running", -300)):
            track = Track()
            track.sees(seen("running", 2, via="listing", created=0, updated=1, started=1))
            track.sees(seen("completed", 6, started=1))
            track.sees(
                seen(
                    "completed", 9, via="listing", created=0, started=1, completed=5.5, updated=5.5
                )
            )
            again = seen(status, 70, via="listing", created=0, updated=62, started=started)
            assert track.sees(again) == (Discovered("listing"),)

    def test_a_new_end_before_its_own_start_is_that_of_a_run_that_never_started(self) -> None:
        track = Track()
        track.sees(seen("completed", 6, via="listing", created=0, started=1, completed=5.25))
        failed = seen("failed", 80, via="listing", created=0, started=79.5, completed=78.25)
        facts = track.sees(failed)
        assert facts[0] == Discovered("listing")
        assert Finished(Status.FAILED, None) in facts
        assert track.sees(failed) == (Ignored("duplicate"),)

    def test_what_was_invalid_and_has_run_is_a_new_run_by_whatever_clock(self) -> None:
        track = Track()
        track.sees(seen("invalid", 2, via="listing", created=0))
        failed = seen("failed", 600, via="detail", started=-250, completed=-249, updated=120)
        assert Finished(Status.FAILED, 1.0) in track.sees(failed)
        assert not any(isinstance(f, Finished) for f in track.sees(failed))

    @pytest.mark.parametrize("status", ["cancelled", "failed", "timed_out"])
    @pytest.mark.parametrize("started", [None, 63.0], ids=["never", "after its end"])
    def test_what_was_invalid_and_ends_before_it_starts_is_a_new_run(
        self, status: str, started: float | None
    ) -> None:
        track = Track()
        track.sees(seen("invalid", 2, via="listing", created=0))
        again = seen(status, 65, via="listing", created=0, completed=62, started=started)
        assert any(isinstance(f, Finished) for f in track.sees(again))
        assert not any(isinstance(f, Finished) for f in track.sees(again))

    def test_what_was_invalid_after_a_run_runs_by_a_clock_that_is_behind_both(self) -> None:
        track = Track()
        track.sees(seen("completed", 6, via="listing", created=0, started=1, completed=5))
        track.sees(seen("invalid", 60, via="listing", created=0, updated=58))
        again = seen("completed", 99, via="detail", started=-90, completed=-85, updated=97)
        assert Finished(Status.COMPLETED, 5.0) in track.sees(again)
        assert not any(isinstance(f, Finished | Ran) for f in track.sees(again))

    def test_what_is_invalid_owes_no_duration(self) -> None:
        track = Track()
        track.sees(seen("invalid", 2, via="listing", created=0, updated=1))
        assert track.workflow is not None
        assert track.workflow.pending_since is None

    def test_what_has_run_and_is_invalid_is_a_new_run_though_nobody_told_the_time(self) -> None:
        track = Track()
        track.sees(seen("completed", 6, via="listing", created=0, started=1, completed=5))
        invalid = seen("invalid", 60, via="listing", created=0)
        assert Finished(Status.INVALID, None) in track.sees(invalid)

    @pytest.mark.parametrize("via", ["stream", "listing"])
    def test_an_end_without_a_time_may_be_that_of_the_run_before(self, via: Via) -> None:
        track = Track()
        track.sees(seen("invalid", 2, via="listing", created=0, updated=1))
        track.sees(seen("running", 40, via="listing", created=0, started=39, updated=39))
        assert track.sees(seen("invalid", 42, via=via)) == (Ignored("late"),)
        ended = seen(
            "completed", 50, via="listing", created=0, started=39, completed=45, updated=45
        )
        assert Finished(Status.COMPLETED, 6.0) in track.sees(ended)

    def test_an_end_without_a_time_is_believed_once_no_replica_lags_so_much(self) -> None:
        track = Track()
        track.sees(
            seen("completed", 6, via="listing", created=0, started=1, completed=5, updated=5)
        )
        track.sees(seen("queued", 40, via="listing", created=0, updated=39))
        assert track.sees(seen("invalid", 45, via="listing")) == (Ignored("late"),)
        assert Finished(Status.INVALID, None) in track.sees(seen("invalid", 165, via="listing"))

    @pytest.mark.parametrize(
        ("end", "counts"),
        [(52.25, True), (4.0, False), (484.0 - 900.0, False)],
        ids=["since", "perhaps the stamp put right", "a zone put right"],
    )
    def test_a_run_that_never_started_after_one_by_a_fast_clock(
        self, end: float, *, counts: bool
    ) -> None:
        track = Track()
        first = seen("failed", 6, via="listing", created=0, started=483, completed=484, updated=5)
        track.sees(first)
        again = seen("failed", 60, via="listing", created=0, completed=end)
        assert any(isinstance(f, Finished) for f in track.sees(again)) is counts

    @pytest.mark.parametrize(
        ("updated", "service", "counts"),
        [(60, None, True), (5.5, None, False), (None, 300, True), (None, 60, False)],
        ids=["ran again", "lags", "long since", "nobody knows when"],
    )
    def test_what_had_run_and_is_invalid_without_an_end_has_run_again(
        self, updated: float | None, service: float | None, counts: bool
    ) -> None:
        track = Track()
        end = seen("completed", 6, via="listing", created=0, started=1, completed=5, updated=5)
        track.sees(replace(end, service_wall=T0 + 6))
        invalid = seen("invalid", 60, via="listing", created=0, updated=updated, service=service)
        new = (Discovered("listing"), Finished(Status.INVALID, None))
        assert track.sees(invalid) == (new if counts else (Ignored("late"),))
        assert not any(isinstance(f, Finished) for f in track.sees(invalid))

    def test_a_run_that_a_stream_alone_has_told_counts_once(self) -> None:
        track = Track()
        track.sees(seen("completed", 6, started=1, completed=5))
        track.sees(seen("completed", 8, via="listing", created=0, started=1.25, completed=5.75))
        again = seen("failed", 40, started=30, completed=35, cause=TestCauses.OOM)
        assert Finished(Status.FAILED, 5.0) in track.sees(again)
        assert track.sees(again) == (Ignored("duplicate"),)
        row = seen("failed", 44, via="listing", created=0, started=30.25, completed=35.75)
        assert track.sees(row) == (Ignored("duplicate"),)
        old = seen("completed", 45, started=1, completed=5)
        assert track.sees(old) == (Ignored("late"),)

    def test_a_stream_that_tells_the_end_of_the_list_by_another_clock_tells_of_no_run(self) -> None:
        track = Track()
        track.sees(seen("completed", 8, via="listing", created=0, started=1.25, completed=5.75))
        facts = track.sees(seen("completed", 60, started=301, completed=305))
        assert facts == (Ignored("duplicate"),)

    def test_anything_else_about_a_settled_id_is_ignored(self) -> None:
        track = Track()
        track.sees(seen("completed", 6, via="listing", created=0, started=1, completed=5))
        for status in ("accepted", "queued", "running"):
            assert track.sees(seen(status, 9, started=1)) == (Ignored("late"),)
        assert track.known.run == 1

    def test_a_repeated_start_is_no_new_run_even_after_an_end_by_our_clock(self) -> None:
        track = Track()
        track.sees(seen("running", 2, started=7))
        # No stamp of its end: our clock stands in, and it is behind the service's.
        track.sees(seen("cancelled", 6, started=7))
        assert track.sees(seen("running", 8, started=7)) == (Ignored("late"),)

    def test_the_same_end_in_another_precision_is_the_same_end(self) -> None:
        track = Track()
        track.sees(seen("completed", 6, started=5, completed=5))
        facts = track.sees(
            seen("completed", 9, via="listing", created=4, started=5.125, completed=5.75)
        )
        assert facts == (Ignored("duplicate"),)

    def test_a_start_that_turns_up_after_a_cancellation_is_no_run(self) -> None:
        track = Track()
        track.sees(seen("cancelled", 6, via="listing", created=0, completed=5.5))
        late = seen("cancelled", 12, via="listing", created=0, started=7.25, completed=5.5)
        assert track.sees(late) == (Ignored("duplicate"),)

    def test_a_slow_date_header_does_not_make_an_older_sight_a_new_run(self) -> None:
        # Found in simulated time (seed 60): a copy that lagged told of the run before its end.
        track = Track()
        track.sees(seen("running", 3, via="listing", created=0, updated=2, started=2))
        end = seen("failed", 60, via="listing", created=0, updated=59, started=2, completed=59)
        track.sees(replace(end, service_wall=T0 + 6))
        older = seen("running", 62, via="listing", created=0, updated=50, started=2)
        assert track.sees(replace(older, service_wall=T0 + 8)) == (Ignored("late"),)
        assert track.known.phase == "settled"

    def test_an_open_row_with_the_start_of_the_recorded_run_is_no_new_run(self) -> None:
        # Found in simulated time (seed 27): the Date header was 44 s slow, and the list's row had
        # no `updated_at`.
        track = Track()
        end = seen("failed", 60, via="listing", created=0, started=50, completed=59)
        track.sees(replace(end, service_wall=T0 + 16))
        older = seen("running", 64, via="listing", created=0, updated=50, started=50)
        assert track.sees(replace(older, service_wall=T0 + 20)) == (Ignored("late"),)
        assert track.known.phase == "settled"

    def test_a_new_run_on_a_runner_whose_clock_is_fast_counts_at_once(self) -> None:
        track = Track()
        end = seen("completed", 6, via="listing", created=0, started=1, completed=5.5)
        track.sees(replace(end, service_wall=T0 + 6))
        fast = seen("completed", 40, via="listing", created=0, started=320, completed=330.5)
        facts = track.sees(replace(fast, service_wall=T0 + 40))
        assert facts == (Discovered("listing"), Finished(Status.COMPLETED, 10.5))

    @pytest.mark.parametrize(
        ("updated", "ended", "counts"),
        [
            (60, -189.75, True),
            (None, -189.75, False),
            (6, -189.75, False),
            (60, -195.75, False),
        ],
        ids=["ran again", "nobody knows when", "lags", "put right"],
    )
    def test_a_new_run_on_a_runner_whose_clock_is_slow(
        self, updated: float | None, ended: float, counts: bool
    ) -> None:
        track = Track()
        end = seen(
            "completed", 6, via="listing", created=0, started=1.25, completed=5.75, updated=6
        )
        track.sees(replace(end, service_wall=T0 + 6))
        slow = seen(
            "completed",
            60,
            via="listing",
            created=0,
            started=-200.25,
            completed=ended,
            updated=updated,
        )
        facts = track.sees(replace(slow, service_wall=T0 + 60))
        new = (Discovered("listing"), Finished(Status.COMPLETED, ended + 200.25))
        assert facts == (new if counts else (Ignored("duplicate"),))

    def test_stamps_that_all_moved_together_tell_of_no_run(self) -> None:
        track = Track()
        end = seen("completed", 6, via="listing", created=0, started=1, completed=5.5)
        track.sees(end)
        for hours in (1, 2):
            moved = 3600.0 * hours
            facts = track.sees(
                seen(
                    "completed",
                    40,
                    via="listing",
                    created=moved,
                    started=1 + moved,
                    completed=5.5 + moved,
                )
            )
            assert facts == (Ignored("duplicate"),)

    @pytest.mark.parametrize("status", ["failed", "cancelled", "invalid"])
    def test_it_may_end_again_before_it_starts(self, status: str) -> None:
        track = Track()
        track.sees(seen("completed", 6, via="listing", created=0, started=1, completed=5.5))
        facts = track.sees(seen(status, 40, via="listing", created=0, completed=30.5))
        assert facts == (Discovered("listing"), Finished(Status(status), None))

    def test_an_edit_is_no_run(self) -> None:
        track = Track()
        end = seen("completed", 6, via="listing", created=0, started=1, completed=5.5, updated=6)
        track.sees(end)
        assert track.sees(replace(end, updated_at=T0 + 5000)) == (Ignored("duplicate"),)

    def test_it_is_open_again_when_the_row_is_newer_than_its_end(self) -> None:
        track = Track()
        track.sees(seen("failed", 6, via="listing", created=0, started=1, completed=5, updated=5))
        stale = seen("running", 9, via="listing", created=0, started=1, updated=4)
        assert track.sees(stale) == (Ignored("late"),)
        newer = seen("queued", 20, via="listing", created=0, updated=18)
        assert Discovered("listing") in track.sees(newer)
        assert (track.known.phase, track.known.run) == ("open", 2)

    def test_a_replica_that_lags_does_not_end_the_new_run_with_the_old_end(self) -> None:
        track = Track()
        old = seen("failed", 6, via="listing", created=0, started=1, completed=5, updated=5)
        track.sees(old)
        track.sees(seen("running", 30, via="listing", created=0, started=25, updated=25))
        assert track.sees(old) == (Ignored("late"),)
        assert track.known.phase == "open"

    def test_a_new_run_that_nothing_shows_any_more_is_dropped(self) -> None:
        track = Track()
        old = seen("failed", 6, via="listing", created=0, started=1, completed=5, updated=5)
        track.sees(old)
        track.sees(seen("queued", 30, via="listing", created=0, updated=25))
        facts = track.sees(replace(old, at=at(400)))
        assert facts == (Dropped("not_found"),)
        assert (track.known.phase, track.known.run) == ("settled", 1)


class TestStatuses:
    def test_case_does_not_matter(self) -> None:
        track = Track()
        track.sees(seen("RUNNING", 1, started=1))
        assert Finished(Status.COMPLETED, 4.0) in track.sees(
            seen("Completed", 6, started=1, completed=5)
        )

    def test_an_unknown_one_with_an_end_is_an_end(self) -> None:
        track = Track()
        track.sees(seen("running", 1, started=1))
        facts = track.sees(seen("expired", 6, started=1, completed=5))
        assert facts == (Ignored("unknown_status"), Finished(Status.OTHER, 4.0))
        assert track.sees(seen("completed", 7, started=1, completed=5)) == (Ignored("late"),)

    def test_the_service_has_no_word_for_other(self) -> None:
        track = Track()
        track.sees(seen("other", 1))
        assert (track.known.phase, track.known.unknown_status) == ("open", "other")


class TestDurationsOwed:
    def test_the_list_tells_the_end_a_moment_later(self) -> None:
        track = Track()
        track.sees(seen("running", 2, created=0, started=1))
        assert Finished(Status.COMPLETED, None) in track.sees(seen("completed", 6, started=1))
        assert track.known.duration_pending_since == at(6)
        told = seen("completed", 8, via="listing", created=0, started=1, completed=5.5)
        assert track.sees(told) == (Ran(Status.COMPLETED, 4.5),)
        assert track.sees(told) == (Ignored("duplicate"),)

    def test_so_is_the_start_that_nobody_saw(self) -> None:
        track = Track()
        track.sees(seen("completed", 6, via="listing", created=0.5))
        told = seen("completed", 8, via="detail", created=0.5, started=1.5, completed=6)
        assert track.sees(told) == (Started(1.0), Ran(Status.COMPLETED, 4.5))

    def test_a_failure_whose_start_comes_with_its_cause_has_run_after_all(self) -> None:
        # Found in simulated time (seed 30): the list told the end without the start.
        track = Track()
        track.sees(seen("failed", 6, via="listing", created=0.5, completed=6))
        told = seen("failed", 8, started=1.5, completed=6, cause=TestCauses.OOM)
        assert track.sees(told) == (
            Failed("KSampler", "torch.OutOfMemoryError"),
            Started(1.0),
            Ran(Status.FAILED, 4.5),
        )
        assert track.sees(told) == (Ignored("duplicate"),)

    def test_where_its_end_is_not_told_with_it_the_duration_is_owed(self) -> None:
        track = Track()
        track.sees(seen("failed", 6, via="listing", created=0.5, completed=6))
        track.sees(seen("failed", 8, started=1.5, cause=TestCauses.OOM))
        assert track.known.duration_pending_since == at(8)
        told = seen("failed", 60, via="detail", created=0.5, started=1.5, completed=6)
        assert track.sees(told) == (Started(1.0), Ran(Status.FAILED, 4.5))

    @pytest.mark.parametrize("status", ["failed", "cancelled"])
    def test_so_has_what_the_list_shows_with_its_start_a_moment_later(self, status: str) -> None:
        track = Track()
        track.sees(seen(status, 6, via="listing", created=0.5, completed=6))
        told = seen(status, 11, via="listing", created=0.5, started=1.5, completed=6)
        assert track.sees(told) == (Started(1.0), Ran(Status(status), 4.5))
        assert track.sees(told) == (Ignored("duplicate"),)
        assert track.known.duration_pending_since is None

    @pytest.mark.parametrize(("status", "via"), [("failed", "listing"), ("cancelled", "stream")])
    def test_a_start_without_an_end_proves_nothing_unless_it_comes_with_the_cause(
        self, status: str, via: Via
    ) -> None:
        track = Track()
        track.sees(seen(status, 6, via="listing", created=0.5, completed=6))
        track.sees(seen(status, 8, via=via, started=1.5))
        assert track.known.duration_pending_since is None

    def test_nothing_of_a_run_before_belongs_to_this_one(self) -> None:
        """A replica that lags shows the run before in full, with its start and its cause."""
        track = Track()
        before = seen("failed", 12, via="detail", started=10, completed=11, cause=TestCauses.OOM)
        track.sees(before)
        track.sees(seen("failed", 3321, via="listing", completed=3320))
        told = replace(before, at=at(3324))
        assert track.sees(told) == (Ignored("late"),)
        assert track.known.cause_pending_since is not None

    def test_a_start_after_the_end_was_stamped_by_a_runner_that_came_too_late(self) -> None:
        track = Track()
        track.sees(seen("cancelled", 6, via="listing", created=0.5, completed=6))
        told = seen("cancelled", 11, via="listing", created=0.5, started=7, completed=6)
        assert track.sees(told) == (Ignored("duplicate"),)
        assert track.known.started_at is None

    @pytest.mark.parametrize(
        ("start", "ran"), [(6.4, ()), (6.1, (Started(5.6), Ran(Status.FAILED, 0.1)))]
    )
    def test_to_the_second_both_look_alike_until_a_better_answer(
        self, start: float, ran: tuple[Fact, ...]
    ) -> None:
        """Found in simulated time (seed 30429)."""
        track = Track()
        track.sees(seen("failed", 6, via="listing", created=0.5, completed=6.2))
        coarse = seen("failed", 7, started=6, completed=6, cause=TestCauses.OOM)
        assert track.sees(coarse) == (Failed("KSampler", "torch.OutOfMemoryError"),)
        assert track.known.duration_pending_since == at(7)
        told = seen("failed", 18, via="detail", created=0.5, started=start, completed=6.2)
        assert track.sees(told) == (ran or (Ignored("duplicate"),))
        assert track.known.duration_pending_since is None

    @pytest.mark.parametrize(
        ("start", "ran"),
        [
            (6.4, (Ignored("duplicate"),)),
            (6.1, (Started(5.6), Ran(Status.CANCELLED, 0.1))),
            (6.2, (Started(5.7), Ran(Status.CANCELLED, 0.0))),
        ],
    )
    def test_so_they_do_where_they_are_told_together(
        self, start: float, ran: tuple[Fact, ...]
    ) -> None:
        track = Track()
        told = seen("cancelled", 7, via="listing", created=0.5, started=6, completed=6)
        assert track.sees(told) == (Discovered("listing"), Finished(Status.CANCELLED, None))
        assert track.sees(told) == (Ignored("duplicate"),)
        told = seen("cancelled", 18, via="detail", created=0.5, started=start, completed=6.2)
        assert track.sees(told) == ran
        assert track.known.duration_pending_since is None
        assert track.sees(told) == (Ignored("duplicate"),)

    def test_a_run_by_a_slower_clock_does_not_pay_for_the_one_before(self) -> None:
        track = Track()
        track.sees(seen("failed", 6, via="listing", created=0, started=5, completed=5))
        assert track.known.duration_pending_since is not None
        track.sees(seen("completed", 20, started=-219, completed=-214))
        assert track.known.started_at == T0 + 5
        assert track.known.duration_pending_since is not None

    def test_what_was_seen_running_has_run_for_no_time(self) -> None:
        track = Track()
        track.sees(seen("running", 6, via="listing", created=0.5, started=6))
        told = seen("cancelled", 7, via="listing", created=0.5, started=6, completed=6)
        assert Finished(Status.CANCELLED, 0.0) in track.sees(told)

    def test_a_start_of_what_was_over_before_counting_began_is_none_of_ours(self) -> None:
        track = Track(rules=CountingRules(cutoff=T0 + 100, listed=True))
        track.sees(seen("cancelled", 150, via="listing", created=0.5, completed=6))
        told = seen("cancelled", 155, via="listing", created=0.5, started=1.5, completed=6)
        assert track.sees(told) == (Ignored("duplicate"),)

    def test_a_failure_that_never_ran_owes_none(self) -> None:
        track = Track()
        track.sees(seen("failed", 6, via="listing", created=0.5, completed=6))
        track.sees(seen("failed", 8, completed=6, cause=TestCauses.OOM))
        assert track.known.duration_pending_since is None

    def test_what_was_cancelled_before_it_started_owes_none(self) -> None:
        track = Track()
        track.sees(seen("queued", 2, created=0))
        track.sees(seen("cancelled", 6, completed=5))
        assert track.known.duration_pending_since is None

    def test_it_is_forgiven_without_a_guess(self) -> None:
        track = Track()
        track.sees(seen("completed", 6, created=0, started=1))
        assert track.apply(tracker.forgive(track.known)) == ()
        told = seen("completed", 8, via="listing", created=0, started=1, completed=5.5)
        assert track.sees(told) == (Ignored("duplicate"),)

    def test_a_run_that_was_requeued_lasted_from_its_later_start(self) -> None:
        track = Track()
        track.sees(seen("running", 2, created=0, started=1))
        track.sees(seen("queued", 4))
        track.sees(seen("running", 12, started=10))
        assert Finished(Status.COMPLETED, 5.0) in track.sees(seen("completed", 16, completed=15))


class TestTakingUpAndGivingUp:
    def test_taken_up_once(self) -> None:
        track = Track(source="configured")
        again = tracker.track(track.workflow, Tracked("studio", "w1", "file", at(1)))
        assert again.facts == ()
        assert track.facts == [Discovered("configured")]

    def test_naming_a_listed_one_moves_it_forward_without_counting_it_twice(self) -> None:
        track = Track()
        track.sees(seen("queued", 1, via="listing", created=0))
        facts = track.apply(tracker.track(track.workflow, Tracked("studio", "w1", "pushed", at(2))))
        assert facts == ()
        assert track.known.source == "pushed"

    @pytest.mark.parametrize("reason", ["not_found", "malformed", "forbidden", "expired"])
    def test_given_up(self, reason: DropReason) -> None:
        track = Track(source="configured")
        facts = track.apply(tracker.drop(track.workflow, Removed("studio", "w1", reason, at(40))))
        assert facts == (Dropped(reason),)
        assert track.known.phase == "dropped"
        assert (
            track.apply(tracker.drop(track.workflow, Removed("studio", "w1", reason, at(41)))) == ()
        )

    def test_a_dropped_one_that_shows_up_is_open_again(self) -> None:
        track = Track(source="pushed")
        track.apply(tracker.drop(track.workflow, Removed("studio", "w1", "not_found", at(40))))
        track.sees(seen("queued", 50, via="listing", created=1))
        assert track.known.phase == "open"
        track.sees(seen("completed", 60, started=55, completed=59))
        assert Finished(Status.COMPLETED, 4.0) in track.facts

    def test_a_dropped_one_is_taken_up_again_when_it_is_named_anew(self) -> None:
        track = Track(source="pushed")
        track.apply(tracker.drop(track.workflow, Removed("studio", "w1", "not_found", at(40))))
        again = tracker.track(track.workflow, Tracked("studio", "w1", "configured", at(50)))
        assert again.facts == ()
        renamed = Tracked("studio", "w1", "pushed", at(50), again=True)
        pushed = tracker.track(track.workflow, renamed)
        assert pushed.facts == (Discovered("pushed"),)

    def test_giving_up_the_unknown_is_nothing(self) -> None:
        gone = Removed("studio", "w1", "not_found", at(0))
        assert tracker.drop(None, gone) == tracker.Change(None)

    def test_withdrawn_where_the_list_goes_on_with_it(self) -> None:
        track = Track(source="file")
        track.sees(seen("queued", 1, via="listing", created=0))
        withdrawn = Removed("studio", "w1", "withdrawn", at(2))
        assert track.apply(tracker.untrack(track.workflow, withdrawn, listed=True)) == ()
        assert track.known.source == "listing"
        assert track.known.phase == "open"

    def test_withdrawn_where_nobody_does(self) -> None:
        track = Track(UNLISTED, source="file")
        withdrawn = Removed("studio", "w1", "withdrawn", at(2))
        assert track.apply(tracker.untrack(track.workflow, withdrawn, listed=False)) == (
            Dropped("withdrawn"),
        )
