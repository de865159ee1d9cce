"""The life of workflows by pure rules: an injected clock, injected randomness, no network."""

from __future__ import annotations

import itertools
import math
import random
import time
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.simulator import PLANTED, ServiceStatus, SimulatedCause, load_scenario, parse_scenario
from exporter.simulator.by_hand import Move
from exporter.simulator.causes import CAUSES
from exporter.simulator.clock import DayClock
from exporter.simulator.register import Register
from exporter.simulator.workflow import Workflow, draw_cause, iso
from exporter.simulator.world import World

EPOCH_MS = 1_700_000_000_000
EXACT = """
stages: {accepted: 1s, uploaded: 2s, pickup: 500ms, cancelling: 3s}
jobs: [{name: image, duration: 10s, outputs: 2}]
"""


def make(text: str = EXACT, *, seed: int = 1, speed: float = 1.0) -> World:
    def stamp(day: float) -> int:
        return EPOCH_MS + math.floor(day / speed * 1000)

    return World(parse_scenario(text), seed=seed, stamp=stamp)


def statuses(world: World, workflow: Workflow, times: list[float]) -> list[str]:
    told = []
    for at in times:
        world.advance_to(at)
        told.append(workflow.status.value)
    return told


def test_a_life_from_its_creation_to_its_end() -> None:
    world = make()
    workflow = world.create(5.0, "studio")
    assert statuses(world, workflow, [5.9, 6.0, 7.9, 8.0, 8.4, 8.5, 18.4, 18.5]) == [
        "accepted",
        "uploaded",
        "uploaded",
        "queued",
        "queued",
        "running",
        "running",
        "completed",
    ]
    row = workflow.truth()
    assert row.created_ms == EPOCH_MS + 5_000
    assert row.started_ms == EPOCH_MS + 8_500
    assert row.completed_ms == EPOCH_MS + 18_500
    assert (row.run_seconds, row.time_to_start_seconds) == (10.0, 3.5)
    assert (row.outputs, row.first_queue_position) == (2, 1)


def test_events_happen_when_they_were_due_however_late_the_driver_is() -> None:
    late, punctual = make(), make()
    rows = []
    for world, steps in ((late, [1000.0]), (punctual, [n / 10 for n in range(10_000)])):
        workflow = world.create(0.0, "studio")
        for step in steps:
            world.advance_to(step)
        rows.append(workflow.truth())
    assert rows[0] == rows[1]


def test_a_runner_runs_one_at_a_time_first_in_first_out() -> None:
    world = make()
    made = [world.create(n * 0.1, "studio") for n in range(4)]
    world.advance_to(4.0)
    assert [each.status.value for each in made] == ["running", "queued", "queued", "queued"]
    assert [world.place(each) for each in made] == [None, 1, 2, 3]
    assert [each.first_queue_position for each in made] == [1, 2, 3, 4]
    world.advance_to(14.5)
    assert [world.place(each) for each in made] == [None, None, 1, 2]
    world.advance_to(100.0)
    starts = [each.started_ms or 0 for each in made]
    assert [later - earlier for earlier, later in itertools.pairwise(starts)] == [10_500] * 3


def test_tags_decide_where_a_workflow_goes() -> None:
    world = make(
        EXACT
        + "runners: [{name: a, tags: [image]}, {name: b, tags: [image, fast]}, {name: c, count: 2}]"
    )
    fast = [world.create(0.0, "studio", tags=("image", "fast")) for _ in range(2)]
    free = [world.create(0.0, "studio") for _ in range(4)]
    nowhere = world.create(0.0, "studio", tags=("gold",))
    world.advance_to(3.2)
    # The second one goes where there is more room, though nothing is in a queue yet.
    assert [each.runner.name for each in fast if each.runner] == ["b", "b"]
    assert len({each.runner.name for each in free if each.runner}) == 3
    assert nowhere.status is ServiceStatus.ACCEPTED


@pytest.mark.parametrize("ends_in", ["accepted", "uploaded", "queued", "running"])
@pytest.mark.parametrize("outcome", [ServiceStatus.FAILED, ServiceStatus.CANCELLED])
def test_a_workflow_can_end_badly_in_any_stage(outcome: ServiceStatus, ends_in: str) -> None:
    world = make()
    blocking = world.create(0.0, "studio", duration=1000)
    world.advance_to(4.0)
    workflow = world.create(4.0, "studio", outcome=outcome, ends_in=ServiceStatus(ends_in))
    seen: list[str] = []
    world.on_change = lambda each: seen.append(each.status.value) if each is workflow else None
    world.advance_to(3000.0)
    assert seen[-2:-1] == ([ends_in] if ends_in != "accepted" else [])
    assert seen[-1] == outcome.value
    row = workflow.truth()
    assert (row.started_ms is not None) is (ends_in == "running")
    assert row.completed_ms is not None
    assert (row.node_type is not None) is (outcome is ServiceStatus.FAILED)
    assert blocking.status is ServiceStatus.COMPLETED
    assert not world.runners[0].queue


def test_a_queued_one_that_is_to_end_in_the_queue_never_runs() -> None:
    world = make()
    workflow = world.create(
        0.0, "studio", duration=100, outcome=ServiceStatus.FAILED, ends_in=ServiceStatus.QUEUED
    )
    after = world.create(0.0, "studio")
    world.advance_to(50.0)
    assert workflow.truth().started_ms is None
    assert (workflow.status, after.status) == (ServiceStatus.FAILED, ServiceStatus.COMPLETED)


def test_what_is_refused_has_neither_start_nor_end() -> None:
    world = make()
    workflow = world.create(0.0, "studio", outcome=ServiceStatus.INVALID)
    world.advance_to(100.0)
    row = workflow.truth()
    assert (row.status, row.started_ms, row.completed_ms) == ("invalid", None, None)


@pytest.mark.parametrize(
    ("asked", "status", "ended"),
    [(0.5, "cancelled", 3.5), (2.0, "cancelled", 5.0), (5.0, "cancelled", 8.0)],
)
def test_a_cancellation_takes_effect_seconds_later(asked: float, status: str, ended: float) -> None:
    world = make()
    workflow = world.create(0.0, "studio")
    assert world.cancel(asked, workflow)
    world.advance_to(ended - 0.001)
    assert not workflow.status.final
    world.advance_to(1000.0)
    assert workflow.status.value == status
    assert workflow.completed_ms == EPOCH_MS + round(ended * 1000)
    assert not world.cancel(1000.0, workflow)
    assert world.runners[0].running is None


def test_a_workflow_can_complete_before_its_cancellation() -> None:
    world = make()
    workflow = world.create(0.0, "studio")
    assert world.cancel(12.0, workflow)
    world.advance_to(1000.0)
    assert workflow.status is ServiceStatus.COMPLETED
    assert workflow.completed_ms == EPOCH_MS + 13_500


def test_a_new_execution_is_a_new_row_under_the_same_id() -> None:
    world = make()
    workflow = world.create(0.0, "studio", outcome=ServiceStatus.FAILED, cause=None)
    assert not world.execute(1.0, workflow)
    world.advance_to(20.0)
    first = world.truth(workflow)
    assert (first.status, first.node_type) == ("failed", None)
    assert world.execute(20.0, workflow)
    assert (workflow.status, workflow.started_ms) == (ServiceStatus.ACCEPTED, None)
    world.advance_to(100.0)
    assert workflow.earlier == [replace(first, stood_seconds=6.5)]
    row = workflow.truth()
    assert (row.id, row.created_ms, row.execution) == (first.id, first.created_ms, 1)
    assert row.started_ms == EPOCH_MS + 23_500


def test_a_stopped_runner_starts_nothing_until_it_goes_on() -> None:
    world = make(EXACT + "runners: [{name: a, stopped: [{from: 2s, to: 60s}]}]")
    workflow = world.create(0.0, "studio")
    world.advance_to(60.4)
    assert workflow.status.value == "queued"
    world.advance_to(60.5)
    assert workflow.status.value == "running"


def test_a_disabled_runner_takes_nothing_and_starts_nothing() -> None:
    world = make()
    workflow = world.create(0.0, "studio")
    world.advance_to(3.2)
    world.set_runner(world.runners[0], active=False)
    late = world.create(3.2, "studio")
    world.advance_to(30.0)
    assert (workflow.status, late.status) == (ServiceStatus.QUEUED, ServiceStatus.ACCEPTED)
    world.set_runner(world.runners[0], active=True)
    world.advance_to(90.0)
    assert (workflow.status, late.status) == (ServiceStatus.COMPLETED, ServiceStatus.COMPLETED)


def test_a_workflow_moved_by_hand_obeys_nobody_else() -> None:
    world = make()
    workflow = world.create(0.0, "studio")
    world.advance_to(4.0)
    other = world.create(4.0, "studio")
    world.move(5.0, workflow, Move(ServiceStatus.QUEUED, queue_position=9))
    world.cancel(5.0, workflow)
    world.advance_to(1000.0)
    assert (workflow.status, world.place(workflow)) == (ServiceStatus.QUEUED, 9)
    assert other.status is ServiceStatus.COMPLETED  # the slot was free for it
    world.move(
        1000.0,
        workflow,
        Move(ServiceStatus.FAILED, cause=SimulatedCause("n", "e", "m"), started_ms=7),
    )
    row = workflow.truth()
    assert (row.node_type, row.exception_type, row.started_ms) == ("n", "e", 7)


def test_a_move_straight_to_the_end_has_all_stamps() -> None:
    world = make()
    workflow = world.create(0.0, "studio", scripted=True)
    world.move(2.5, workflow, Move(ServiceStatus.COMPLETED, outputs=3))
    row = workflow.truth()
    assert row.started_ms == row.completed_ms == EPOCH_MS + 2500
    assert row.outputs == 3


def test_a_deleted_one_leaves_no_trace_but_a_count() -> None:
    world = make()
    first, second = world.create(0.0, "studio"), world.create(0.0, "studio")
    world.advance_to(5.0)
    world.delete(first)
    world.advance_to(100.0)
    assert list(world.every()) == [second]
    assert world.deleted == Counter(running=1)
    assert second.status is ServiceStatus.COMPLETED


def test_the_oldest_settled_ones_make_room() -> None:
    world = make(EXACT + "keep: 3")
    made = [world.create(n * 20.0, "studio") for n in range(5)]
    assert list(world.every()) == made[2:]
    assert world.deleted == Counter(completed=2)


def test_durations_are_shorter_by_the_speed_and_stamps_agree() -> None:
    world = make(speed=60.0)
    workflow = world.create(0.0, "studio", duration=60)
    world.advance_to(200.0)
    assert workflow.truth().run_seconds == 1.0


def signature(world: World) -> list[Any]:
    return [(each.truth(), each.cause, each.name) for each in world.every()]


@pytest.mark.parametrize("name", ["studio", "busy", "failing-node", "burst"])
def test_a_seed_gives_the_same_day_whatever_the_pace_of_its_driver(name: str) -> None:
    scenario = load_scenario(name)
    worlds = [World(scenario, seed=7, stamp=lambda day: math.floor(day * 1000)) for _ in range(2)]
    worlds[0].advance_to(400.0)
    for step in range(4001):
        worlds[1].advance_to(step / 10)
    assert signature(worlds[0]) == signature(worlds[1])
    other = World(scenario, seed=8, stamp=lambda day: math.floor(day * 1000))
    other.advance_to(400.0)
    assert signature(other) != signature(worlds[0])


def test_what_a_test_creates_does_not_change_what_arrives() -> None:
    text = EXACT + "arrivals: {rate: 1}\nrunners: [{name: a, count: 100}]"
    alone, disturbed = make(text), make(text)
    extra = disturbed.create(3.0, "studio").id
    for world in (alone, disturbed):
        world.advance_to(100.0)
    left = [each.truth() for each in disturbed.every() if each.id != extra]
    assert left == [each.truth() for each in alone.every()]


def test_arrivals_keep_their_rate_and_their_end() -> None:
    world = make(EXACT + "arrivals: {rate: 2, spacing: fixed, max_workflows: 30}")
    world.advance_to(10.0)
    assert len(world.workflows) == 20
    world.advance_to(100.0)
    assert len(world.workflows) == 30


def test_poisson_arrivals_have_the_mean_of_their_rate() -> None:
    world = make(EXACT + "arrivals: {rate: 10}\nrunners: [{name: a, count: 200}]")
    world.advance_to(200.0)
    assert len(world.workflows) == pytest.approx(2000, rel=0.1)


def test_phases_change_the_rate() -> None:
    world = make(
        EXACT
        + """
arrivals: {rate: 1, spacing: fixed}
phases: [{from: 10s, to: 20s, rate_factor: 0}, {from: 30s, rate_factor: 5}]
"""
    )
    counts = []
    for at in (9.9, 19.9, 29.9, 39.9):
        world.advance_to(at)
        counts.append(len(world.workflows))
    assert counts == [9, 10, 19, 69]


def test_arrivals_that_end_for_good_do_end() -> None:
    text = EXACT + "arrivals: {rate: 1}\nphases: [{from: 5s, rate_factor: 0}]"
    world = make(text)
    world.advance_to(1e6)
    assert len(world.workflows) < 20


def test_bursts_come_and_come_again() -> None:
    world = make(EXACT + "arrivals: {bursts: [{at: 5s, size: 7, every: 10s}]}")
    counts = []
    for at in (4.9, 5.0, 14.9, 15.0, 35.0):
        world.advance_to(at)
        counts.append(len(world.workflows))
    assert counts == [0, 7, 7, 14, 28]


def test_a_phase_brings_its_own_failures() -> None:
    world = make(
        """
arrivals: {rate: 5}
runners: [{name: a, count: 100}]
jobs: [{name: image, duration: 1s}]
phases:
  - from: 10s
    outcomes: {failed: 1}
    causes: [{node_type: Only, exception_type: E}]
"""
    )
    world.advance_to(60.0)
    late = [each for each in world.every() if each.created_ms >= EPOCH_MS + 10_000]
    early = [each for each in world.every() if each.created_ms < EPOCH_MS + 10_000]
    assert {each.status for each in early} == {ServiceStatus.COMPLETED}
    ended = [each.truth() for each in late if each.status.final]
    assert {(row.status, row.node_type) for row in ended} == {("failed", "Only")}


def test_the_start_holds_a_past_and_a_present() -> None:
    world = make(
        EXACT
        + """
start: {finished: 300, finished_age: {min: 1m, max: 1h}, open: 40, open_age: {min: 10s, max: 5m}}
runners: [{name: a, count: 4}]
outcomes: {failed: 0.2, cancelled: 0.1, invalid: 0.1}
"""
    )
    rows = [each.truth() for each in world.every()]
    assert [row.created_ms for row in rows] == sorted(row.created_ms for row in rows)
    assert all(row.at_start for row in rows)
    final = [row for row in rows if row.final_at_start]
    assert (len(final), len(rows)) == (300, 340)
    assert all((row.completed_ms or 0) <= EPOCH_MS for row in final)
    counts = Counter(each.status for each in world.every() if not each.final_at_start)
    assert counts[ServiceStatus.RUNNING] == 4
    assert counts[ServiceStatus.QUEUED] > 15
    for runner in world.runners:
        assert [runner.place(each) for each in runner.queue] == [*range(1, len(runner.queue) + 1)]
    world.advance_to(1000.0)
    assert all(each.status.final for each in world.every())


def test_invariants_over_a_long_busy_day() -> None:
    scenario = load_scenario("busy")
    world = World(scenario, seed=3, stamp=lambda day: math.floor(day * 1000))
    world.advance_to(3600.0)
    for workflow in world.every():
        row = workflow.truth()
        assert row.started_ms is None or row.created_ms <= row.started_ms
        if row.completed_ms is not None:
            assert (row.started_ms or row.created_ms) <= row.completed_ms <= 3600_000
        assert (row.completed_ms is not None) is (row.final and row.status != "invalid")
        assert (row.node_type is None) or row.status == "failed"
    by_runner: dict[str, list[tuple[int, int]]] = {}
    for workflow in world.every():
        if workflow.at_start or workflow.runner is None or workflow.started_ms is None:
            continue
        end = workflow.completed_ms or 3600_000
        by_runner.setdefault(workflow.runner.id, []).append((workflow.started_ms, end))
    assert len(by_runner) == 16
    for spans in by_runner.values():
        spans.sort()
        assert all(one[1] <= two[0] for one, two in itertools.pairwise(spans))


@pytest.mark.parametrize("name", ["studio", "steady", "busy", "failing-node"])
def test_no_bundled_queue_grows_without_end(name: str) -> None:
    world = World(load_scenario(name), seed=5, stamp=lambda day: math.floor(day * 1000))
    world.advance_to(7200.0)
    assert max(len(runner.queue) for runner in world.runners) < 40


def test_the_demo_is_lively() -> None:
    world = World(load_scenario("studio"), seed=1, stamp=lambda day: math.floor(day * 1000))
    queued = []
    for at in range(0, 1800, 10):
        world.advance_to(float(at))
        queued.append(sum(len(runner.queue) for runner in world.runners))
    assert sum(count > 0 for count in queued) > len(queued) / 2
    new = [row for row in (w.truth() for w in world.every()) if not row.at_start]
    counts = Counter(row.status for row in new)
    assert counts["failed"] / len(new) == pytest.approx(0.1, abs=0.05)
    assert counts["cancelled"] > 0
    assert counts["invalid"] > 0
    assert len({row.node_type for row in new if row.node_type}) >= 6


def test_messages_carry_planted_words() -> None:
    rng = random.Random(1)
    drawn = [draw_cause(rng, CAUSES) for _ in range(500)]
    assert any(PLANTED in each.exception_message for each in drawn)
    assert not any("{" in each.exception_message for each in drawn)
    assert len({each.node_type for each in drawn}) > 10


@given(st.integers(0, 4_102_444_800_000))
def test_a_stamp_is_written_to_the_millisecond(stamp: int) -> None:
    parsed = datetime.fromisoformat(iso(stamp))
    assert (parsed - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1) == stamp
    assert len(iso(stamp)) == 24


@pytest.mark.parametrize("speed", [0.0, -1.0, math.inf, math.nan])
def test_a_clock_needs_a_speed(speed: float) -> None:
    with pytest.raises(ValueError, match="speed must be"):
        DayClock(speed)


def test_the_clock_never_stamps_the_future() -> None:
    clock = DayClock(60.0)
    for _ in range(1000):
        assert clock.stamp(clock.now()) <= time.time_ns() // 1_000_000
    assert clock.stamp(60.0) - clock.stamp(0.0) == 1000


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.sampled_from(list(ServiceStatus))), max_size=80))
def test_pages_are_those_of_a_plain_list(moves: list[tuple[int, ServiceStatus]]) -> None:
    world, register = make(), Register()
    made = [world.create(0.0, "studio", scripted=True) for _ in range(31)]
    for workflow in made:
        register.add(workflow)
    for index, status in moves:
        before, made[index].status = made[index].status, status
        register.move(made[index], before)
    register.remove(made.pop(5))
    for status in (None, *ServiceStatus):
        wanted = [each for each in reversed(made) if status in (None, each.status)]
        assert register.count(status) == len(wanted)
        for page in range(1, 6):
            assert register.page(page, 7, status) == wanted[(page - 1) * 7 : page * 7]
    finals = [each for each in made if each.status.final]
    assert register.oldest_final() is (finals[0] if finals else None)
