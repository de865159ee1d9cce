"""The truth and the wire agree: counts, and stamps to the millisecond."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    Service = Any

DAY = """
limit: {enabled: false}
arrivals: {rate: 2, max_workflows: 60}
start: {finished: 30, open: 5, open_age: {min: 1s, max: 20s}}
runners: [{name: gpu, count: 20}]
jobs: [{name: image, duration: {median: 5s, sigma: 0.5}, outputs: {min: 1, max: 3}}]
outcomes: {failed: 0.3, cancelled: 0.1, invalid: 0.1, without_cause: 0.2, before_running: 0.3}
"""


def listed(service: Service) -> dict[str, dict[str, Any]]:
    first = service.get("/v1/workflow?per_page=100").json()
    assert first["total"] <= 100
    return {each["id"]: each for each in first["workflows"]}


def test_the_list_and_the_truth_agree_to_the_millisecond(start: Callable[..., Service]) -> None:
    service = start(DAY, speed=100.0)
    truth = service.simulator.wait_until(
        lambda truth: len(truth.workflows) == 95 and not truth.open(), 20
    )
    told = listed(service)
    assert len(told) == 95
    for row in truth.workflows:
        item = told[row.id]
        assert (item["status"], item["name"]) == (row.status, row.name)
        assert item["created_at"] == row.created_at
        assert item["started_at"] == row.started_at
        assert item["completed_at"] == row.completed_at
    assert sum(truth.counts(after_start=True).values()) == 65
    assert len(truth.final("studio")) == 95
    assert truth.final("nobody") == []


def test_no_stamp_is_ever_in_the_future(start: Callable[..., Service]) -> None:
    service = start(DAY, speed=100.0)
    while service.simulator.truth().open():
        truth = service.simulator.truth()
        now = time.time_ns() // 1_000_000
        for row in truth.workflows:
            stamps = [row.created_ms, row.started_ms, row.completed_ms]
            known = [stamp for stamp in stamps if stamp is not None]
            assert known == sorted(known)
            assert known[-1] <= truth.taken_ms <= now


def test_two_runs_of_one_seed_are_the_same_day(start: Callable[..., Service]) -> None:
    days = []
    for speed in (100.0, 300.0):
        service = start(DAY, speed=speed, seed=42)
        truth = service.simulator.wait_until(
            lambda truth: len(truth.workflows) == 95 and not truth.open(), 20
        )
        days.append(
            [
                (row.id, row.status, row.node_type, row.outputs, row.first_queue_position)
                for row in truth.workflows
            ]
        )
    assert days[0] == days[1]


def test_a_bare_look_at_one_workflow_does_not_take_the_whole_truth(
    start: Callable[..., Service],
) -> None:
    service = start(DAY, speed=100.0)
    identity = service.simulator.create(outcome="failed", cause=None, duration="1s")
    row = service.simulator.wait_for_status(identity, "failed", 10)
    assert (row.node_type, row.exception_type) == (None, None)
    assert service.simulator.truth().workflow(identity) == row


def test_the_truth_says_which_ends_any_answer_has_carried(start: Callable[..., Service]) -> None:
    service = start("")
    simulator = service.simulator
    made = simulator.create(duration="100ms")
    workflow = simulator.workflow(made)
    for outcome in ("completed", "cancelled", "invalid"):
        simulator.wait_until(lambda truth: not truth.open(), 20)
        if outcome != "cancelled":  # the second run is never looked at
            assert not workflow_truth(simulator, made)[-1].shown
            service.get(f"/v1/workflow/{made}")
        assert workflow.execute(outcome=outcome, duration="100ms")
    simulator.wait_until(lambda truth: not truth.open(), 20)
    listed(service)
    told = workflow_truth(simulator, made)
    assert [each.shown for each in told] == [True, False, True, True]
    assert [each.stood_seconds is None for each in told] == [False, False, False, True]


def workflow_truth(simulator: Any, identity: str) -> list[Any]:
    return [each for each in simulator.truth().workflows if each.id == identity]
