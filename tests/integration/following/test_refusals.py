"""Ids that are refused: by the service itself or by an edge, for a while or for good."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from exporter.following.tempo import Tempo
from exporter.simulator import Simulator
from tests.integration.following.exporting import (
    LISTED,
    PATIENCE,
    Bench,
    Exporter,
    hurried,
)
from tests.integration.following.standin import Reply, StandIn, page, refusal

HASTE = 100
"""So many times as fast do the exporter's clocks run: ten minutes are six seconds."""


def streaming(simulator: Simulator, count: int) -> None:
    simulator.wait_until(lambda truth: truth.streams_open == count, PATIENCE)


def pass_(exporter: Exporter, seconds: float) -> None:
    """Let so much time pass by the exporter's hasty clocks."""
    until = exporter.app._now().monotonic + seconds
    exporter.until(lambda _: exporter.app._now().monotonic >= until)


def dropped(exporter: Exporter) -> float:
    return exporter.scrape().total("workflows_dropped_total")


EVERYTHING = {
    "edge 403": {"kind": "edge_page", "code": 403},
    "edge 404": {"kind": "edge_page", "code": 404},
    "edge 400": {"kind": "edge_page", "code": 400},
    "empty 404": {"kind": "status", "code": 404, "body": "empty"},
    "own 404": {"kind": "status", "code": 404},
    "own 403": {"kind": "status", "code": 403},
    "own 400": {"kind": "status", "code": 400},
}


@pytest.mark.parametrize("fault", EVERYTHING.values(), ids=EVERYTHING)
@pytest.mark.parametrize("how", [{}, LISTED], ids=["named", "listed"])
def test_what_everything_gets_for_a_while_loses_no_id(
    bench: Bench, fault: dict[str, Any], how: dict[str, Any]
) -> None:
    simulator = bench.simulate()
    workflows = [simulator.create(scripted=True) for _ in range(5)]
    # More of them than streams, so that some are polled, or looked for in the list.
    exporter = bench.export(
        bench.account(simulator, workflows=workflows, max_streams=3, **how),
        now=hurried(HASTE),
        tempo=Tempo(poll=0.05),
    )
    exporter.until(lambda m: m.total("workflows", status="accepted") == 5)
    simulator.set_faults(fault, {"kind": "drop", "after": 0})
    exporter.until(lambda m: m.total("api_requests_total", code=str(fault["code"])) >= 6)
    pass_(exporter, 45)
    assert dropped(exporter) == 0
    simulator.set_faults()
    for workflow in workflows:
        simulator.workflow(workflow).advance("completed")
    metrics = exporter.until_finished(5)
    assert metrics.total("workflows_dropped_total") == 0
    # One usable answer ends no outage: it takes two, or some seconds.
    exporter.until(lambda m: m("account_up", account="studio") == 1)


@pytest.mark.parametrize("fault", EVERYTHING.values(), ids=EVERYTHING)
def test_a_restart_within_it_loses_none_either(
    bench: Bench, fault: dict[str, Any], tmp_path: Path
) -> None:
    simulator = bench.simulate()
    workflows = [simulator.create(scripted=True) for _ in range(3)]
    account = bench.account(simulator, workflows=workflows)
    first = bench.export(account, storage=tmp_path)
    first.until(lambda m: m.total("workflows", status="accepted") == 3)
    assert first.app.stop()
    simulator.set_faults(fault)
    exporter = bench.export(account, now=hurried(HASTE), storage=tmp_path)
    exporter.until(lambda m: m.total("api_requests_total", code=str(fault["code"])) >= 6)
    pass_(exporter, 45)
    simulator.set_faults()
    for workflow in workflows:
        simulator.workflow(workflow).advance("completed")
    metrics = exporter.until_finished(3)
    assert metrics.total("workflows_dropped_total") == 0


def test_while_nothing_else_is_answered_no_id_that_was_seen_is_dropped_however_long_it_lasts(
    bench: Bench,
) -> None:
    simulator = bench.simulate()
    workflows = [simulator.create(scripted=True) for _ in range(3)]
    exporter = bench.export(bench.account(simulator, workflows=workflows), now=hurried(400))
    exporter.until(lambda m: m.total("workflows", status="accepted") == 3)
    simulator.set_faults({"kind": "status", "code": 404}, {"kind": "drop", "after": 0})
    exporter.until(lambda m: m.total("api_requests_total", code="404") >= 6)
    pass_(exporter, 1500)
    assert dropped(exporter) == 0


@pytest.mark.parametrize(
    ("status", "reason"), [(404, "not_found"), (403, "forbidden"), (400, "malformed")]
)
def test_one_id_that_is_refused_for_ten_minutes_while_another_is_answered_is_dropped(
    bench: Bench, service: StandIn, status: int, reason: str
) -> None:
    gone, stays = service.create(), service.create()

    def subscribe(workflow: str) -> Reply:
        if workflow not in service.rows:
            return refusal(status)
        # As the service ends each after some minutes.
        until = time.monotonic() + 0.5

        def events() -> Iterator[bytes]:
            while workflow in service.rows and time.monotonic() < until:
                yield service.snapshot(workflow)

        return Reply(kind="text/event-stream", events=events())

    service.instead = {
        "subscribe": subscribe,
        "get": lambda workflow: None if workflow in service.rows else refusal(status),
    }
    exporter = bench.export(
        service.account(workflows=[gone, stays]), now=hurried(200), jitter=lambda: 0.002
    )
    exporter.until(lambda m: m.total("workflows", status="running") == 2)
    began = exporter.app._now().monotonic
    del service.rows[gone]
    metrics = exporter.until(lambda m: m.total("workflows_dropped_total") == 1)
    assert metrics("workflows_dropped_total", account="studio", reason=reason) == 1
    assert exporter.app._now().monotonic - began >= 600
    assert metrics.total("workflows") == 1
    assert metrics("account_up", account="studio") == 1


@pytest.mark.parametrize("kind", ["text/html", "text/plain", ""])
def test_an_id_that_nobody_saw_is_kept_while_an_edge_answers_for_it(
    bench: Bench, service: StandIn, kind: str
) -> None:
    named = service.create()
    reply = Reply(b"error code: 1020", 403, kind)
    service.instead = {"subscribe": lambda _: reply, "get": lambda _: reply}
    exporter = bench.export(service.account(workflows=[named]), now=hurried(HASTE))
    exporter.until(lambda m: m.total("api_requests_total", code="403") >= 5)
    pass_(exporter, 90)
    assert dropped(exporter) == 0
    assert exporter.scrape()("account_up", account="studio") == 0
    service.instead = {}
    exporter.until(lambda m: m("streams", account="studio") == 1)
    service.end(named, "completed")
    exporter.until_finished(1)


def test_a_page_that_never_ends_is_no_refusal_of_an_id_and_holds_nobody_up(
    bench: Bench, service: StandIn
) -> None:
    struck, good = service.create(), service.create()

    def endless(workflow: str) -> Reply | None:
        # By its type and its first bytes it could still be anything.
        dribble = iter(lambda: b"", None)
        return Reply(status=404, kind="text/html", events=dribble) if workflow == struck else None

    service.instead = {"subscribe": endless}
    exporter = bench.export(service.account(workflows=[struck, good]))
    exporter.until(lambda m: m.total("stream_ends_total", reason="refused") >= 1)
    service.instead = {}
    for workflow in (struck, good):
        service.end(workflow, "completed")
    metrics = exporter.until_finished(2)
    assert metrics.total("workflows_dropped_total") == 0


def test_an_edge_that_refuses_the_list_alone_is_no_refused_token(
    bench: Bench, service: StandIn
) -> None:
    workflow = service.create()
    service.instead = {"list": lambda _: page(403)}
    exporter = bench.export(service.account(workflows=[workflow], **LISTED))
    exporter.until(lambda m: m.total("api_requests_total", endpoint="list", code="403") >= 2)
    # Behind a closed gate no stream would have been opened.
    exporter.until(lambda m: m("streams", account="studio") == 1)
    service.instead = {}
    exporter.until(lambda m: m.total("listing_pages_total") >= 1)
