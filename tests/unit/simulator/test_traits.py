"""Traits: what is told, what happens, and what can be known of it, by an injected clock."""

import itertools
import math
from datetime import datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.simulator import (
    ScenarioError,
    ServiceStatus,
    SimulatedCause,
    load_scenario,
    parse_scenario,
)
from exporter.simulator.course import Course
from exporter.simulator.faults import parse_faults
from exporter.simulator.past import Past, reach_of
from exporter.simulator.reporting import Reporting
from exporter.simulator.traits.paging import Paging
from exporter.simulator.traits.stamps import Precision
from exporter.simulator.workflow import Workflow
from exporter.simulator.world import World

EPOCH_MS = 1_700_000_000_000
EXACT = """
stages: {accepted: 1s, uploaded: 2s, pickup: 500ms, cancelling: 3s}
jobs: [{name: image, duration: 10s, outputs: 2}]
"""
CAUSE = SimulatedCause("KSampler", "ValueError", "no")


def make(traits: str, more: str = "", *, seed: int = 1, paused: bool = False) -> World:
    def stamp(day: float) -> int:
        return EPOCH_MS + math.floor(day * 1000)

    scenario = parse_scenario(f"{EXACT}\n{more}\ntraits:\n{traits}")
    world = World(scenario, seed=seed, stamp=stamp)
    Course(world, seed=seed).paused = paused
    return world


def failed(world: World) -> Workflow:
    workflow = world.create(
        world.now,
        "studio",
        outcome=ServiceStatus.FAILED,
        duration=10.0,
        ends_in=ServiceStatus.RUNNING,
    )
    world.advance_to(world.now + 20.0)
    assert workflow.status is ServiceStatus.FAILED
    return workflow


def rows(world: World) -> list[Workflow]:
    return world.registers["studio"].page(1, 100)


def test_the_bundled_scenario_has_every_trait_on() -> None:
    traits, nothing = load_scenario("traits").traits, parse_scenario("").traits
    for name in type(traits).model_fields:
        assert getattr(traits, name) != getattr(nothing, name), name


def test_a_mistake_in_a_trait_is_told_with_its_key() -> None:
    with pytest.raises(ScenarioError) as caught:
        make("  pagin: {most: 5}\n  reruns: [{rate: 1, deep: 3}]\n  missing: [{stamp: ended_at}]")
    assert str(caught.value).splitlines() == [
        (
            "scenario: traits.missing[0].stamp: input should be 'created_at', 'updated_at', "
            "'started_at' or 'completed_at'"
        ),
        "scenario: traits.reruns[0].deep: unknown key; did you mean 'depth'?",
        "scenario: traits.pagin: unknown key; did you mean 'paging'?",
    ]


@given(
    st.integers(0, 4_000_000_000 * 10**9),
    st.sampled_from(["s", "ms", "us", "ns"]),
    st.sampled_from(["truncated", "rounded"]),
    st.sampled_from(["Z", "+00:00"]),
)
def test_a_stamp_is_told_as_precisely_as_asked_for(
    exact: int, unit: Any, rounding: Any, zone: Any
) -> None:
    precision = Precision(unit=unit, rounding=rounding, zone=zone)
    step = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}[unit]
    told = precision.nanoseconds(exact)
    assert told % step == 0
    assert (
        -step / 2 <= told - exact <= step / 2 if rounding == "rounded" else 0 <= exact - told < step
    )
    text = precision.text(exact)
    assert text.endswith(zone)
    # A datetime counts microseconds.
    parsed = datetime.fromisoformat(text)
    assert int(parsed.timestamp()) == told // 10**9
    assert parsed.microsecond == told // 1000 % 10**6


def test_each_place_has_a_precision_of_its_own_and_lengths_stay_as_they_are() -> None:
    world = make("  stamps: {list: s, subscribe: ns, get: {unit: us, zone: ''}}")
    workflow, reporting = failed(world), Reporting(world)
    row, snapshot = reporting.row(workflow), reporting.snapshot(workflow)
    assert (row["started_at"], row["completed_at"]) == (
        "2023-11-14T22:13:23Z",
        "2023-11-14T22:13:33Z",
    )
    assert snapshot["started_at"].startswith("2023-11-14T22:13:23.5")
    assert snapshot["started_at"][20:] == snapshot["completed_at"][20:]
    assert len(snapshot["started_at"]) == len("2023-11-14T22:13:23.500000000Z")
    assert not orjson.loads(reporting.detail_json(workflow))["created_at"].endswith("Z")
    assert world.truth(workflow).told.run_seconds == (10.0, 10.0)


def test_a_run_below_the_precision_has_a_range_of_lengths() -> None:
    world = make("  stamps: {subscribe: s}")
    workflow = world.create(0.0, "studio", duration=0.7, outcome=ServiceStatus.COMPLETED)
    world.advance_to(10.0)
    least, most = world.truth(workflow).told.run_seconds or (0.0, 0.0)
    assert least == pytest.approx(0.7)
    assert most == 1.0


def test_a_stamp_is_missing_where_and_for_as_long_as_asked_for() -> None:
    world = make("  missing: [{stamp: completed_at, places: [subscribe], for: 5s}]")
    workflow, reporting = failed(world), Reporting(world)
    assert workflow.ended_day == 13.5
    for now, is_missing in ((13.5, True), (18.4, True), (18.5, False)):
        world.now = now
        assert (reporting.snapshot(workflow)["completed_at"] is None) == is_missing
        assert reporting.row(workflow)["completed_at"] is not None
    assert world.truth(workflow).told.run_seconds == (10.0, 10.0)


@pytest.mark.parametrize(
    ("missing", "is_known"),
    [
        ("{stamp: completed_at}", False),
        ("{stamp: started_at}", False),
        ("{stamp: started_at, places: [list, get]}", True),
        ("{stamp: completed_at, absent: true, places: [subscribe, get]}", True),
        ("{stamp: completed_at, for: 1h}", True),
    ],
)
def test_a_length_is_known_where_any_place_finally_tells_both_stamps(
    missing: str, is_known: bool
) -> None:
    world = make(f"  missing: [{missing}]")
    workflow = failed(world)
    assert (world.truth(workflow).told.run_seconds is not None) == is_known
    assert ("absent" in missing) == ("completed_at" not in Reporting(world).snapshot(workflow))


def test_a_start_that_turns_up_late_is_late_from_the_start_on() -> None:
    world = make("  missing: [{stamp: started_at, places: [list], since: start, for: 4s}]")
    workflow, reporting = world.create(0.0, "studio", duration=10.0), Reporting(world)
    world.advance_to(7.0)
    assert reporting.row(workflow)["started_at"] is None
    assert reporting.snapshot(workflow)["started_at"] is not None
    world.advance_to(7.5)
    assert reporting.row(workflow)["started_at"] is not None


def test_a_new_status_is_filtered_and_counted_by_what_it_says() -> None:
    world = make(
        "  statuses: {words: [{word: timed_out, instead_of: failed}, "
        "{word: preparing, instead_of: uploaded}]}"
    )
    workflow = world.create(0.0, "studio", outcome=ServiceStatus.FAILED)
    world.advance_to(1.5)
    assert (workflow.status, workflow.reported_status) == (ServiceStatus.UPLOADED, "preparing")
    world.advance_to(100.0)
    assert Reporting(world).row(workflow)["status"] == "timed_out"
    register = world.registers["studio"]
    assert (register.count("failed"), register.count("timed_out")) == (0, 1)
    assert (world.truth(workflow).told.outcome, world.truth(workflow).told.cause) == ("other", None)


def test_an_unknown_status_that_never_comes_with_an_end_is_none() -> None:
    world = make(
        "  statuses: {words: [{word: gone, instead_of: failed}]}\n"
        "  missing: [{stamp: completed_at}]"
    )
    assert world.truth(failed(world)).told.outcome is None


@pytest.mark.parametrize(("case", "told"), [("upper", "FAILED"), ("title", "Failed")])
def test_a_status_in_another_case_stays_the_same_status(case: str, told: str) -> None:
    world = make(f"  statuses: {{case: {case}}}")
    workflow = failed(world)
    assert Reporting(world).row(workflow)["status"] == told
    assert Reporting(world).snapshot(workflow)["status"] == told
    assert world.registers["studio"].count("failed") == 1


@pytest.mark.parametrize("form", ["untold", "too_long", "nan", "too_deep"])
def test_a_cause_hidden_from_streams_is_known_from_elsewhere(form: str) -> None:
    world = make(f"  causes: [{{form: {form}}}]")
    workflow, reporting = failed(world), Reporting(world)
    text = reporting.snapshot_json(workflow)
    if form == "untold":
        assert orjson.loads(text)["cause"] is None
    elif form == "too_long":
        assert len(text) > 1024 * 1024
    else:
        with pytest.raises(orjson.JSONDecodeError):
            orjson.loads(text)
    cause = workflow.cause
    assert cause is not None
    detail = orjson.loads(reporting.detail_json(workflow))
    assert (detail["error_node"], detail["exception_type"]) == (
        cause.node_type,
        cause.exception_type,
    )
    assert world.truth(workflow).told.cause == (cause.node_type, cause.exception_type)


def test_a_cause_that_no_place_ever_tells_is_unknown() -> None:
    world = make("  causes: [{places: [subscribe, get]}]")
    workflow = failed(world)
    assert orjson.loads(Reporting(world).detail_json(workflow))["error_node"] is None
    assert world.truth(workflow).told.cause is None


@pytest.mark.parametrize("filler", ["graph", "tags"])
def test_rows_are_as_large_as_asked_for(filler: str) -> None:
    world = make(f"  sizes: {{list: 20000, subscribe: 5000, get: 30000, filler: {filler}}}")
    workflow, reporting = failed(world), Reporting(world)
    assert 20_000 <= len(orjson.dumps(reporting.row(workflow))) < 20_300
    assert 5_000 <= len(reporting.snapshot_json(workflow)) < 5_300
    assert 30_000 <= len(reporting.detail_json(workflow)) < 30_300


@pytest.mark.parametrize(
    ("how", "token"),
    [
        ("lone_surrogate", b'"half a pair \\ud83d"'),
        ("invalid_utf8", b"\xf0\x9f\xa6 off"),
        ("nan", b":NaN"),
        ("infinity", b":1e999"),
        ("too_deep", b"[[[[[["),
    ],
)
def test_one_field_is_broken_and_the_rest_of_the_row_is_good(how: str, token: bytes) -> None:
    world = make(f"  broken: [{{how: [{how}], share: 1}}]")
    workflow, reporting = failed(world), Reporting(world)
    for text in (orjson.dumps(reporting.row(workflow)), reporting.snapshot_json(workflow)):
        assert token in text
        assert b'"status":"failed"' in text
    assert token not in reporting.detail_json(workflow)


@given(st.integers(0, 250), st.integers(1, 100), st.sampled_from([0, 1]))
def test_pages_by_any_paging_have_every_row_once(total: int, asked: int, first: Any) -> None:
    for paging in (
        Paging(first=first),
        Paging(most=50, first=first),
        Paging(always=10, first=first),
    ):
        rows = paging.rows(asked)
        numbers = [paging.number(first + n, rows, total) for n in range(-(-total // rows))]
        assert numbers == list(range(1, len(numbers) + 1))
    clamped = Paging(beyond="last")
    assert clamped.number(99_999, 10, 25) == 3
    assert clamped.number(99_999, 10, 0) == 1


def test_clocks_of_runners_shift_what_they_stamp_and_no_length() -> None:
    world = make("  clocks: {share: 1, by: 1h, way: slow}")
    workflow = failed(world)
    row = world.truth(workflow)
    assert row.started_ms == EPOCH_MS + 3_500 - 3_600_000
    assert (row.created_ms, row.run_seconds) == (EPOCH_MS, 10.0)
    queued = world.create(
        20.0, "studio", outcome=ServiceStatus.CANCELLED, ends_in=ServiceStatus.ACCEPTED
    )
    world.advance_to(40.0)
    assert queued.completed_ms == EPOCH_MS + 21_000  # no runner had it


def test_one_stamp_of_a_wrong_clock_makes_no_length_where_it_ends_before_its_start() -> None:
    world = make("  clocks: {share: 1, by: 1h, way: fast, stamps: [started_at]}")
    row = world.truth(failed(world))
    assert (row.run_seconds, row.told.run_seconds) == (-3590.0, None)


@pytest.mark.parametrize("keeps", [False, True])
def test_a_run_that_is_requeued_starts_later(keeps: bool) -> None:
    world = make(f"  requeues: {{share: 1, keeps_start: {str(keeps).lower()}}}")
    workflow = world.create(0.0, "studio", duration=10.0, outcome=ServiceStatus.COMPLETED)
    seen: list[ServiceStatus] = []
    starts: set[int] = set()
    for tick in itertools.count():
        world.advance_to(tick / 10)
        if not seen or seen[-1] != workflow.status:
            seen.append(workflow.status)
        if workflow.status is ServiceStatus.QUEUED and len(seen) > 4:
            assert (workflow.started_ms is not None) == keeps
        if workflow.started_ms is not None:
            starts.add(workflow.started_ms)
        if workflow.status.final:
            break
    assert [str(each) for each in seen] == [
        *("accepted", "uploaded", "queued", "running", "queued", "running", "completed")
    ]
    assert len(starts) == 2
    row = world.truth(workflow)
    assert (row.started_ms, row.run_seconds, row.execution) == (max(starts), 10.0, 0)


def test_what_was_cancelled_in_its_queue_starts_afterwards() -> None:
    world = make("  late_starts: {after: 2s}", "runners: [{name: gpu, stopped: [{from: 0s}]}]")
    workflow = world.create(0.0, "studio")
    world.advance_to(5.0)
    world.cancel(5.0, workflow)
    world.advance_to(8.0)
    assert (workflow.status, workflow.started_ms) == (ServiceStatus.CANCELLED, None)
    world.advance_to(10.0)
    assert (workflow.completed_ms, workflow.started_ms) == (EPOCH_MS + 8_000, EPOCH_MS + 10_000)
    told = world.truth(workflow).told
    assert (told.outcome, told.run_seconds) == ("cancelled", None)


START = "start: {finished: 60, finished_age: {min: 100s, max: 1000s}}\noutcomes: {failed: 0.5}"


def test_settled_ones_run_again_at_their_depth_and_every_run_is_in_the_truth() -> None:
    world = make(
        "  reruns: [{rate: 1, depth: {min: 40, max: 50}, times: 12, duration: 1s,"
        " outcomes: {cancelled: 0.5, before_running: 0.5}}]",
        START,
    )
    order = [each.id for each in rows(world)]
    world.advance_to(200.0)
    assert [each.id for each in rows(world)] == order
    again = [each for each in rows(world) if each.execution]
    assert sum(each.execution for each in again) == 12
    assert {order.index(each.id) for each in again} <= set(range(40, 60))
    ended = [world.truth(each) for each in again]
    assert all(row.told.outcome in ("completed", "cancelled") for row in ended)
    assert {row.run_seconds for row in ended if row.status == "completed"} == {1.0}
    assert [len(each.earlier) for each in again] == [each.execution for each in again]


def test_they_may_be_picked_by_their_end_and_from_the_bottom() -> None:
    world = make(
        "  reruns: [{rate: 1, depth: {min: 5, max: 9}, from_bottom: true, times: 6, duration: 1s,"
        " ended: [failed], outcomes: {cancelled: 1}}]",
        START,
    )
    height = {each.id: number for number, each in enumerate(reversed(rows(world)))}
    world.advance_to(200.0)
    again = [each for each in rows(world) if each.execution]
    assert len(again) == 6
    assert all(each.earlier[0].status == "failed" for each in again)
    assert 5 <= min(height[each.id] for each in again) <= 15
    assert max(height[each.id] for each in again) < 40


def test_an_edit_moves_the_stamp_and_the_row_and_nothing_else() -> None:
    world = make("  edits: [{rate: 1, depth: 30, times: 1}]", START)
    before = {each.id: world.truth(each) for each in rows(world)}
    picked = rows(world)[30]
    world.advance_to(100.0)
    assert rows(world)[0] is picked
    assert picked.updated_ms > EPOCH_MS
    assert {each.id: world.truth(each) for each in rows(world)} == before


def test_a_list_by_update_has_what_changed_last_on_top() -> None:
    world = make("  paging: {order: updated}")
    first = world.create(0.0, "studio", scripted=True)
    second = world.create(0.0, "studio", scripted=True)
    assert rows(world) == [second, first]
    world.edit(first, 1.0)
    assert rows(world) == [first, second]
    stamps = [each.updated_ms for each in rows(world)]
    assert stamps == sorted(stamps, reverse=True)


def test_deleted_ones_stay_in_the_truth() -> None:
    world = make("  deletions: [{rate: 1, depth: 0, times: 3}]", START)
    world.advance_to(100.0)
    assert len(rows(world)) == 57
    assert sum(world.deleted.values()) == len(world.gone) == 3
    assert world.deletions["studio"] == world.deleted


def test_vanished_ones_come_back_where_they_were_and_live_on_meanwhile() -> None:
    world = make("  vanishing: [{rate: 1000, depth: 0, times: 1, for: 30s}]")
    world.create(0.0, "studio", scripted=True)
    workflow = world.create(0.0, "studio", outcome=ServiceStatus.COMPLETED, duration=10.0)
    world.create(0.0, "studio", scripted=True)
    picked = rows(world)[0]
    order = [each.id for each in rows(world)]
    world.advance_to(1.0)
    assert [each.id for each in rows(world)] == order[1:]
    assert picked.id not in world.workflows
    assert picked in list(world.every())
    world.hide(workflow)
    world.advance_to(20.0)
    assert workflow.status is ServiceStatus.COMPLETED
    world.show(workflow)
    world.advance_to(40.0)
    assert [each.id for each in rows(world)] == order
    assert world.registers["studio"].count("completed") == 1


def test_rest_and_window_hold_back_what_befalls() -> None:
    world = make("  reruns: [{rate: 50, depth: 0, rest: 5s, from: 20s, to: 40s}]")
    workflow = world.create(0.0, "studio", outcome=ServiceStatus.COMPLETED, duration=1.0)
    world.advance_to(19.9)
    assert workflow.execution == 0
    world.advance_to(1000.0)
    stamps = [row.completed_ms for row in workflow.earlier]
    assert 1 <= workflow.execution <= 4
    starts = [row.started_ms for row in workflow.earlier[1:]] + [workflow.started_ms]
    for ended, started in zip(stamps, starts, strict=True):
        assert started is None or started - (ended or 0) >= 5_000
    world = make("  edits: [{rate: 50, depth: 0}]", START, paused=True)
    world.advance_to(50.0)
    assert max(each.updated_ms for each in rows(world)) <= EPOCH_MS


@given(st.integers(0, 1000), st.lists(st.floats(0.1, 30.0), min_size=1, max_size=25))
def test_the_past_is_what_the_present_was(seed: int, steps: list[float]) -> None:
    world = make(
        "  replicas: [{lag: 20s}]\n  reruns: [{rate: 0.2, depth: 5}]\n"
        "  edits: [{rate: 0.2, depth: 5}]\n  deletions: [{rate: 0.05, depth: 8}]\n"
        "  vanishing: [{rate: 0.1, depth: 3, for: {min: 1s, max: 20s}}]",
        "arrivals: {rate: 0.5}\nstart: {finished: 10, open: 3}",
        seed=seed,
    )
    past, reporting = Past(world, reach_of(world.scenario.traits)), Reporting(world)
    world.on_change = past.note
    pages: list[tuple[float, list[dict[str, Any]]]] = []
    for step in steps:
        world.advance_to(world.now + step)
        shown = [reporting.row(each) for each in rows(world)]
        pages.append((world.now, shown))
        for then, expected in pages:
            if world.now - then <= 20.0:
                lag = world.now - then
                found = past.listed("studio", None, lag)[:100]
                assert [reporting.row(each) for each in found] == expected


def test_a_fault_can_recur() -> None:
    fault = parse_faults([{"kind": "status", "from": "10s", "to": "15s", "every": "1m"}])[0]
    found = [now for now in range(150) if fault.holds(now)]
    assert found == [*range(10, 15), *range(70, 75), *range(130, 135)]
    with pytest.raises(ScenarioError, match="every needs a to"):
        parse_faults([{"kind": "status", "every": "1m"}])


def test_a_seed_gives_the_same_day_with_traits_too() -> None:
    days = []
    for _ in range(2):
        text = load_scenario("traits")
        world = World(text, seed=7, stamp=lambda day: EPOCH_MS + math.floor(day * 1000))
        Course(world, seed=7)
        world.advance_to(900.0)
        days.append([world.truth(each) for each in world.every()])
    assert days[0] == days[1]
    assert any(row.told.outcome == "other" for row in days[0])
    assert any(row.execution for row in days[0])
