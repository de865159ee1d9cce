"""Causes that the list does not show, where a stream is stale, unreadable, or none at all."""

from collections.abc import Iterator
from itertools import repeat
from time import time as clock

import pytest

from exporter.app.maintenance import EXPIRY_SECONDS
from exporter.following.tempo import Tempo
from exporter.interfaces.observations import Observation
from exporter.ledger.ledger import Ledger
from tests.integration.following.exporting import LISTED, QUIET, Bench, Exporter, Metrics, hurried
from tests.integration.following.standin import CAUSE, Reply, StandIn, page, refusal

EVENTS = "text/event-stream"


def causes(metrics: Metrics, count: int) -> bool:
    """Whether so many failures were counted, all under what the service says."""
    counted = metrics(
        "workflow_failures_total",
        account="studio",
        node_type=CAUSE["node_type"],
        exception_type=CAUSE["exception_type"],
    )
    assert metrics.total("workflow_failures_total") == (counted or 0)
    return counted == count


def watching(
    bench: Bench,
    service: StandIn,
    *,
    haste: float = 1,
    expiry: float = EXPIRY_SECONDS,
    tempo: Tempo = Tempo(),  # noqa: B008 - a constant
) -> Exporter:
    """Whose only stream is taken: the rest is watched by the list."""
    stays = service.create(status="running")
    exporter = bench.export(
        service.account(workflows=[stays], max_streams=1, **LISTED),
        now=hurried(haste),
        expiry=expiry,
        tempo=tempo,
    )
    exporter.until(lambda m: m("streams", account="studio") == 1)
    exporter.until_listed()
    return exporter


def fail(service: StandIn, **fields: object) -> str:
    workflow = service.create(status="running")
    service.end(workflow, "failed", **fields)
    return workflow


def stale(service: StandIn, workflow: str) -> Reply:
    """The stream of a replica that is behind."""
    return Reply(
        kind=EVENTS,
        events=repeat(service.snapshot(workflow, status="running", completed_at=None, cause=None)),
    )


def test_a_stale_stream_holds_up_no_other_cause(bench: Bench, service: StandIn) -> None:
    exporter = watching(bench, service, tempo=Tempo(cause=0.3))
    behind: set[str] = set()
    service.instead = {
        "subscribe": lambda workflow: stale(service, workflow) if workflow in behind else None,
        "get": lambda workflow: refusal(404) if workflow in behind else None,
    }
    for _ in range(8):
        workflow = service.create(status="running")
        behind.add(workflow)
        service.end(workflow, "failed")
    exporter.until_finished(8)
    for _ in range(3):
        fail(service)
    # Two rounds of four that are behind, and then it is their turn.
    exporter.until(lambda m: causes(m, 3), seconds=5.0)
    behind.clear()
    exporter.until(lambda m: causes(m, 11))


def test_a_stream_that_says_nothing_holds_up_no_other_cause(bench: Bench, service: StandIn) -> None:
    exporter = watching(bench, service, tempo=Tempo(cause=0.3))
    silent = {fail(service) for _ in range(4)}

    def nothing() -> Iterator[bytes]:
        service._ended.wait()
        yield b"{}"

    service.instead = {
        "subscribe": lambda workflow: (
            Reply(kind=EVENTS, events=nothing()) if workflow in silent else None
        )
    }
    exporter.until_finished(4)
    fail(service)
    # By the other way theirs are told as well.
    exporter.until(lambda m: causes(m, 5))


HUGE = b'{"status":"failed","pad":"' + b"x" * (1100 * 1024) + b'"}'

STREAMS = {
    "over a megabyte": Reply(kind=EVENTS, events=[HUGE]),
    "NaN": Reply(kind=EVENTS, events=[b'{"status":"failed","progress":NaN}']),
    "no status": Reply(kind=EVENTS, events=[b'{"cause":null}'] * 3),
    "not JSON": Reply(kind=EVENTS, events=[b"oops"] * 500),
    "nothing": Reply(kind=EVENTS, events=[]),
    "a document": Reply(b'{"status":"failed"}'),
    "a page": page(200),
    "a page 403": page(403),
    "own 404": refusal(404),
    "own 400": refusal(400),
    "own 403": refusal(403),
    "500": refusal(500),
    "503 page": page(503),
    "501": refusal(501),
    "302": Reply(status=302),
}


@pytest.mark.parametrize("reply", STREAMS.values(), ids=STREAMS)
def test_a_cause_that_its_stream_cannot_tell_is_asked_for_the_other_way(
    bench: Bench, service: StandIn, reply: Reply
) -> None:
    exporter = watching(bench, service)
    struck = fail(service)
    service.instead = {"subscribe": lambda workflow: reply if workflow == struck else None}
    exporter.until(lambda m: causes(m, 1))
    assert service.asked["subscribe", struck] == 1
    assert service.asked["get", struck] == 1


def test_what_neither_way_can_tell_costs_eight_requests_and_is_unknown(
    bench: Bench, service: StandIn
) -> None:
    exporter = watching(bench, service, haste=600, expiry=1.0)
    struck = fail(service)
    service.instead = {
        # Of a snapshot with one bad field the rest would count, and say that there is no cause.
        "subscribe": lambda workflow: STREAMS["not JSON"] if workflow == struck else None,
        "get": lambda workflow: Reply(b"NaN") if workflow == struck else None,
    }
    exporter.until(
        lambda m: m.total("workflow_failures_total", node_type="unknown") == 1, seconds=30
    )
    assert 4 <= service.asked["subscribe", struck] + service.asked["get", struck] <= 8


HASTE = 20.0


@pytest.mark.parametrize("max_streams", [1, 10])
def test_a_cause_that_every_place_shows_only_later_is_asked_for_again(
    bench: Bench, max_streams: int
) -> None:
    late = "traits: {causes: [{form: untold, places: [subscribe, get], for: 15s}]}"
    simulator = bench.simulate(f"{QUIET}\n{late}", speed=HASTE)
    stays = simulator.create(scripted=True)
    account = bench.account(simulator, workflows=[stays], max_streams=max_streams, **LISTED)
    exporter = bench.export(account, now=hurried(HASTE))
    exporter.until(lambda m: m("streams", account="studio") == 1)
    exporter.until_listed()
    before = simulator.truth().requests
    failed = [simulator.create(scripted=True) for _ in range(6)]
    if max_streams > 1:
        exporter.until(lambda m: m("streams", account="studio") == 7)
        before = simulator.truth().requests
    for workflow in failed:
        simulator.workflow(workflow).advance("failed", cause=CAUSE)
    exporter.until(lambda m: causes(m, 6))
    after = simulator.truth().requests
    asked = [after.get(kind, 0) - before.get(kind, 0) for kind in ("subscribe", "get")]
    # At most one of each kind left it out, and then a stream showed it.
    assert asked[0] <= 12
    assert asked[1] <= 6


def test_a_cause_that_never_comes_takes_at_most_four_requests(bench: Bench) -> None:
    never = "traits: {causes: [{form: untold, places: [subscribe, get]}]}"
    simulator = bench.simulate(f"{QUIET}\n{never}", speed=HASTE)
    stays = simulator.create(scripted=True)
    account = bench.account(simulator, workflows=[stays], max_streams=1, **LISTED)
    exporter = bench.export(account, now=hurried(10 * HASTE))
    exporter.until(lambda m: m("streams", account="studio") == 1)
    exporter.until_listed()
    for _ in range(6):
        simulator.workflow(simulator.create(scripted=True)).advance("failed", cause=CAUSE)
    exporter.until(lambda m: m.total("workflow_failures_total", node_type="unknown") == 6)
    requests = simulator.truth().requests
    # If the machine is slow, less than all: an absence is believed by its time.
    assert requests["subscribe"] - 1 <= 12
    assert requests.get("get", 0) <= 12


def test_a_stale_stream_of_a_followed_workflow_does_not_keep_its_cause(
    bench: Bench, service: StandIn
) -> None:
    workflow = service.create(status="running")
    service.instead = {"subscribe": lambda workflow: stale(service, workflow)}
    exporter = bench.export(service.account(**LISTED), tempo=Tempo(settled_stream=0.3, cause=0.3))
    exporter.until(lambda m: m("streams", account="studio") == 1)
    service.end(workflow, "failed")
    exporter.until_finished(1)
    exporter.until(lambda m: causes(m, 1))


@pytest.mark.parametrize("status", ["FAILED", "Failed"])
def test_a_stream_that_begins_with_the_end_is_counted_in_whatever_case_it_is_written(
    bench: Bench, service: StandIn, status: str
) -> None:
    workflow = service.create(status="running")
    service.instead = {"subscribe": lambda _: refusal(503)}
    exporter = bench.export(service.account(workflows=[workflow]))
    exporter.until(lambda m: m.total("stream_ends_total", reason="refused") >= 1)
    service.end(workflow, status)
    service.instead = {}
    exporter.until_finished(1)
    metrics = exporter.until(lambda m: causes(m, 1))
    assert metrics("workflows_finished_total", account="studio", status="failed") == 1
    exporter.until(lambda m: m.total("stream_ends_total", reason="finished") == 1)


def test_an_end_that_can_only_be_read_from_a_stream_is_found_without_a_place_for_one(
    bench: Bench, service: StandIn
) -> None:
    workflows = [service.create(status="running") for _ in range(2)]
    # As where the graph within makes the answer larger than is taken.
    service.instead = {"get": lambda _: Reply(b'{"status":"running","workflow_json":NaN}')}
    exporter = bench.export(
        service.account(workflows=workflows, max_streams=1),
        now=hurried(100),
        tempo=Tempo(poll=0.05),
    )
    exporter.until(lambda m: m.total("workflows", status="running") == 2)
    for workflow in workflows:
        service.end(workflow, "failed")
    exporter.until_finished(2)
    exporter.until(lambda m: causes(m, 2))


@pytest.mark.parametrize("ahead", [None, 0.0, 3600.0, -3600.0])
def test_what_is_seen_carries_the_services_clock(
    bench: Bench, service: StandIn, monkeypatch: pytest.MonkeyPatch, ahead: float | None
) -> None:
    service.date = lambda: None if ahead is None else clock() + ahead
    workflows = [service.create(status="running") for _ in range(2)]
    seen: list[Observation] = []
    observe = Ledger.observe

    def note(ledger: Ledger, observation: Observation) -> bool:
        seen.append(observation)
        return observe(ledger, observation)

    monkeypatch.setattr(Ledger, "observe", note)
    exporter = bench.export(
        service.account(workflows=workflows, max_streams=1),
        now=hurried(100),
        tempo=Tempo(poll=0.05),
    )
    exporter.until(lambda m: m.total("workflows", status="running") == 2)
    assert {each.via for each in seen} == {"stream", "detail"}
    for each in seen:
        if ahead is None:
            assert each.service_wall is None
        else:
            assert each.service_wall is not None
            # The header tells whole seconds.
            assert -2.5 < each.service_wall - each.at.wall - ahead < 1.0
