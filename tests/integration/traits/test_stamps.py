"""Stamps told in several ways, late, or by clocks that are wrong: an end is one end."""

from dataclasses import replace

import pytest

from exporter.app.app import clocks
from exporter.interfaces.observations import Moment
from tests.integration.traits.comparing import Cases


@pytest.mark.slow
@pytest.mark.parametrize(
    "stamps",
    [
        "{list: ms, subscribe: s}",
        "{list: s, subscribe: ms}",
        "{list: {unit: s, rounding: rounded}, subscribe: ns, get: us}",
    ],
)
def test_one_end_told_in_two_precisions_is_one_end(cases: Cases, stamps: str) -> None:
    simulator = cases.service(
        f"""
        traits: {{stamps: {stamps}}}
        jobs: [{{name: image, duration: {{min: 1s, max: 9s}}}}]
        outcomes: {{failed: 0.2, cancelled: 0.2, before_running: 0}}
        """
    )
    case = cases.follow(simulator)
    case.ready()
    for _ in range(20):
        simulator.create()
    case.agrees(20)


@pytest.mark.slow
def test_a_start_that_turns_up_after_the_end_is_no_new_run(cases: Cases) -> None:
    simulator = cases.service(
        """
        traits: {late_starts: {after: 40s}}
        jobs: [{name: image, duration: 1h}]
        """
    )
    case = cases.follow(simulator)
    case.ready()
    for _ in range(8):  # each runner has one that runs, and these wait behind it
        simulator.create()
    waiting = [
        simulator.create(outcome="cancelled", ends_in="queued", duration="20s") for _ in range(4)
    ] + [simulator.create(outcome="failed", ends_in="queued", duration="20s") for _ in range(4)]
    truth = simulator.wait_until(
        lambda truth: all(truth.workflow(each).started_ms for each in waiting), 20
    )
    for each in waiting:
        row = truth.workflow(each)
        assert row.completed_ms is not None
        assert (row.started_ms or 0) > row.completed_ms
    case.agrees(8)


@pytest.mark.slow
@pytest.mark.parametrize(
    "traits",
    [
        "{missing: [{stamp: completed_at}, {stamp: updated_at, absent: true}]}",
        "{missing: [{stamp: completed_at, absent: true}, {stamp: started_at}]}",
        "{clocks: {share: 1, by: 15m, way: slow}}",
        "{clocks: {share: 1, by: 15m, way: fast}}",
    ],
)
def test_what_is_over_at_first_sight_counts_by_when_it_was_created(
    cases: Cases, traits: str
) -> None:
    simulator = cases.service(
        f"""
        traits: {traits}
        start: {{finished: 20, finished_age: {{min: 10s, max: 1h}}}}
        # Nothing but the list tells of them before they are over.
        faults: [{{kind: status, endpoints: [subscribe], code: 503}}]
        """
    )
    case = cases.follow(simulator)
    case.ready()
    for number in range(12):
        simulator.create(duration="3s", outcome=("completed", "cancelled")[number % 2])
    case.agrees(12)


@pytest.mark.slow
@pytest.mark.parametrize("place", ["subscribe", "list"])
def test_an_end_whose_stamp_comes_a_moment_later_still_has_its_duration(
    cases: Cases, place: str
) -> None:
    simulator = cases.service(
        f"""
        traits: {{missing: [{{stamp: completed_at, places: [{place}], for: 30s}}]}}
        """
    )
    case = cases.follow(simulator)
    case.ready()
    for outcome in ("completed", "failed", "cancelled") * 2:
        simulator.create(duration="20s", outcome=outcome)
    case.agrees(6)


@pytest.mark.slow
@pytest.mark.parametrize("keeps", ["true", "false"])
def test_a_run_that_was_requeued_is_as_long_as_its_last_start_says(
    cases: Cases, keeps: str
) -> None:
    simulator = cases.service(
        f"traits: {{requeues: {{share: 1, keeps_start: {keeps}}}}}", speed=5.0
    )
    case = cases.follow(simulator)
    case.ready()
    for outcome in ("completed", "failed", "cancelled") * 2:
        simulator.create(duration="20s", outcome=outcome)
    case.agrees(6)
    assert case.exporter.scrape().total("workflow_time_to_start_seconds_count") == 6


@pytest.mark.slow
@pytest.mark.parametrize("hours", [1, -1])
def test_the_line_is_the_services_own_without_a_date_and_on_a_machine_with_a_wrong_clock(
    cases: Cases, hours: int
) -> None:
    def wrong() -> Moment:
        moment = clocks()
        return replace(moment, wall=moment.wall + hours * 3600)

    simulator = cases.service(
        """
        traits: {dates: {told: false}}
        start: {finished: 20, finished_age: {min: 10s, max: 1h}}
        """
    )
    still = [simulator.create(scripted=True) for _ in range(5)]
    case = cases.follow(simulator, more={"now": wrong})
    case.ready()
    for _ in range(15):
        simulator.create(duration="3s")
    for each in still:
        simulator.workflow(each).advance("completed")
    case.agrees(20)
