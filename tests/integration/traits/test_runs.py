"""Settled ids that run again, or are only edited."""

import time
from pathlib import Path
from typing import Any

import pytest

from exporter.simulator import Simulator
from tests.integration.following.exporting import PATIENCE
from tests.integration.traits.comparing import Case, Cases, counted

FOUND_SECONDS = 90.0
"""For what only a look that comes now and then can find."""


def settled(case: Case, count: int) -> list[str]:
    """So many that have run and were counted."""
    made = [case.simulator.create(duration="3s") for _ in range(count)]
    case.all_ended(count)
    case.exporter.until(lambda _: counted(case.exporter).outcomes == {"completed": count}, PATIENCE)
    return made


@pytest.mark.slow
@pytest.mark.parametrize("ends_in", ["accepted", "queued"])
def test_a_run_that_ends_before_it_starts_is_a_run(cases: Cases, ends_in: str) -> None:
    case = cases.follow(cases.service(""))
    case.ready()
    made = settled(case, 8)
    for number, each in enumerate(made):
        outcome = ("failed", "cancelled")[number % 2]
        case.simulator.workflow(each).execute(outcome=outcome, ends_in=ends_in, duration="1s")
    case.agrees(16)


@pytest.mark.slow
def test_an_edit_is_no_run(cases: Cases) -> None:
    case = cases.follow(cases.service(""))
    case.ready()
    for number, each in enumerate(settled(case, 8)):
        case.simulator.workflow(each).edit(to_top=number % 2 == 0)
    case.agrees(8)


def at_depth(simulator: Simulator, depth: int) -> str:
    """The id that has so many rows above it."""
    return simulator.call(lambda engine: next(engine.world.registers["studio"].below(depth)).id)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seconds", [6, 40])
def test_a_run_far_down_the_list_is_found(cases: Cases, seconds: int) -> None:
    simulator = cases.service("start: {finished: 250, finished_age: {min: 30m, max: 5h}}")
    case = cases.follow(simulator)
    case.ready()
    time.sleep(2.5)  # it is past its first look, and reads no more than the top
    for depth in range(150, 155):
        workflow = simulator.workflow(at_depth(simulator, depth))
        assert workflow.execute(outcome="completed", duration=f"{seconds * 10}s")
    case.agrees(5, FOUND_SECONDS)


@pytest.fixture
def push_token(tmp_path: Path) -> dict[str, Any]:
    path = tmp_path / "push-token"
    path.write_text("push-me", encoding="utf-8")
    return {"push": {"token_file": str(path)}}


@pytest.mark.slow
@pytest.mark.parametrize("is_configured", [False, True])
def test_a_settled_id_that_is_pushed_while_it_runs_again_is_looked_at(
    cases: Cases, push_token: dict[str, Any], is_configured: bool
) -> None:
    simulator = cases.service("")
    made = [simulator.create(duration="20s") for _ in range(3)]
    named: dict[str, Any] = {"workflows": made} if is_configured else {}
    case = cases.follow(simulator, **push_token, **named)
    if not is_configured:
        case.exporter.app.pushed.push("studio", made)
    case.all_ended(3)
    case.exporter.until(lambda _: counted(case.exporter).outcomes == {"completed": 3}, PATIENCE)
    for each in made:
        simulator.workflow(each).execute(outcome="cancelled", duration="60s")
        simulator.wait_for_status(each, "running", PATIENCE)
    case.exporter.app.pushed.push("studio", made)
    case.agrees(6)


@pytest.mark.slow
def test_a_run_that_only_a_stream_tells_whole_between_two_looks_at_the_list_is_counted(
    cases: Cases, push_token: dict[str, Any]
) -> None:
    simulator = cases.service("")
    case = cases.follow(simulator, listing={"interval": "10m", "reconcile": False}, **push_token)
    case.ready()
    made = [simulator.create(duration="20s") for _ in range(3)]
    case.exporter.app.pushed.push("studio", made)
    case.all_ended(3)
    case.exporter.until(lambda _: counted(case.exporter).outcomes == {"completed": 3}, PATIENCE)
    for each in made:
        simulator.workflow(each).execute(outcome="cancelled", duration="60s")
        simulator.wait_for_status(each, "running", PATIENCE)
    pages = simulator.truth().requests["list"]
    case.exporter.app.pushed.push("studio", made)
    case.agrees(6)
    assert simulator.truth().requests["list"] == pages


@pytest.mark.slow
def test_an_id_that_is_pushed_again_and_did_not_run_is_counted_once(
    cases: Cases, push_token: dict[str, Any]
) -> None:
    simulator = cases.service("")
    made = [simulator.create(duration="20s") for _ in range(3)]
    case = cases.follow(simulator, **push_token)
    case.exporter.app.pushed.push("studio", made)
    case.all_ended(3)
    case.exporter.until(lambda _: counted(case.exporter).outcomes == {"completed": 3}, PATIENCE)
    case.exporter.app.pushed.push("studio", made)
    case.agrees(3)


@pytest.mark.slow
def test_a_row_that_the_ledger_has_forgotten_is_not_counted_again(cases: Cases) -> None:
    lookback = 4.0
    case = cases.follow(cases.service(""), more={"lookback": lookback})
    case.ready()
    made = settled(case, 8)
    # Kept until one ends that ended twice as long after it as the list is read back.
    time.sleep(2 * lookback + 1)
    case.simulator.create(duration="3s")
    case.exporter.until(lambda m: m("exporter_ledger_workflows", state="settled") == 1, PATIENCE)
    for each in made:
        case.simulator.workflow(each).edit(to_top=True)
    case.agrees(9)
