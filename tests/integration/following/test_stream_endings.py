"""Every way in which a stream can end, what it is called, and what follows from it."""

import time
from typing import Any

import pytest

from exporter.comfycontrol import Timeouts
from exporter.simulator import Simulator
from tests.integration.following.exporting import LISTED, PATIENCE, QUIET, Bench, never_again

HASTY = Timeouts(headers=1.0, silence=1.0, read=1.0)


def streaming(simulator: Simulator, count: int = 1) -> None:
    """Wait until that many streams are open at the service."""
    simulator.wait_until(lambda truth: truth.streams_open == count, PATIENCE)


def opened(simulator: Simulator, count: int) -> None:
    """Wait until that many streams were opened, ever."""
    simulator.wait_until(lambda truth: truth.streams_opened >= count, PATIENCE)


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled", "invalid"])
def test_a_final_status_ends_it_for_good(bench: Bench, status: str) -> None:
    simulator = bench.simulate()
    workflow = simulator.create(scripted=True)
    exporter = bench.export(bench.account(simulator, workflows=[workflow]))
    streaming(simulator)
    simulator.workflow(workflow).advance("running")
    exporter.until(lambda m: m("workflows", account="studio", status="running") == 1)
    simulator.workflow(workflow).advance(status)
    exporter.until_ended("finished")
    metrics = exporter.until_finished(1)
    assert metrics("workflows_finished_total", account="studio", status=status) == 1
    assert metrics.total("workflows_finished_total") == 1
    # `invalid` too, though the service keeps that stream open: we close it from our side.
    streaming(simulator, 0)
    exporter.until_streams_ended({"finished": 1})
    assert simulator.truth().requests["subscribe"] == 1
    exporter.until(lambda m: m("streams", account="studio") == 0)


def test_the_limit_of_the_service_is_followed_by_a_stream_at_once(bench: Bench) -> None:
    simulator = bench.simulate(f"{QUIET}\nstreams: {{interval: 1s}}")
    workflow = simulator.create(scripted=True)
    exporter = bench.export(bench.account(simulator, workflows=[workflow]), jitter=never_again)
    opened(simulator, 2)
    simulator.workflow(workflow).advance("completed")
    exporter.until_finished(1)
    exporter.until_ended("finished")
    ended = exporter.streams_ended()
    assert ended.pop("finished") == 1
    assert set(ended) == {"limit"}


@pytest.mark.parametrize(
    ("cut", "how", "framing"),
    [
        ("in_event", "eof", "chunked"),
        ("in_event", "eof", "close"),
        ("in_event", "reset", "chunked"),
        ("in_event", "clean", "chunked"),
        ("in_chunk", "eof", "chunked"),
        ("between_events", "eof", "close"),
        ("between_events", "reset", "close"),
        ("between_events", "clean", "chunked"),
    ],
)
def test_a_drop_backs_off_and_opens_another(bench: Bench, cut: str, how: str, framing: str) -> None:
    simulator = bench.simulate()
    simulator.set_faults(
        {"kind": "drop", "cut": cut, "how": how, "framing": framing, "times": 1, "after": 2}
    )
    workflow = simulator.create(scripted=True)
    exporter = bench.export(bench.account(simulator, workflows=[workflow]))
    exporter.until_ended("dropped")
    opened(simulator, 2)
    simulator.workflow(workflow).advance("completed", outputs=3)
    metrics = exporter.until_finished(1)
    exporter.until_streams_ended({"dropped": 1, "finished": 1})
    assert metrics("workflow_outputs_total", account="studio") == 3


def test_a_drop_is_not_followed_by_a_stream_at_once(bench: Bench) -> None:
    simulator = bench.simulate()
    simulator.set_faults({"kind": "drop", "times": 1})
    workflow = simulator.create(scripted=True)
    other = simulator.create(scripted=True)
    exporter = bench.export(
        bench.account(simulator, workflows=[workflow, other]), jitter=never_again
    )
    exporter.until_ended("dropped")
    for one in (workflow, other):
        simulator.workflow(one).advance("completed")
    exporter.until_finished(1)
    assert simulator.truth().requests["subscribe"] == 2


def test_an_event_that_was_cut_off_is_not_believed(bench: Bench) -> None:
    simulator = bench.simulate()
    workflow = simulator.create(scripted=True)
    simulator.set_faults(
        {"kind": "drop", "cut": "in_event", "framing": "close", "after": 0, "times": 3}
    )
    exporter = bench.export(bench.account(simulator, workflows=[workflow]))
    exporter.until_ended("dropped", 3)
    metrics = exporter.until(lambda m: m("workflows", account="studio", status="accepted") == 1)
    assert simulator.truth().streams_opened == 4
    assert metrics.total("stream_snapshots_total", result="malformed") == 0


@pytest.mark.parametrize("comments", [True, False])
def test_silence_ends_it_whatever_comments_arrive(bench: Bench, comments: bool) -> None:
    simulator = bench.simulate()
    workflow = simulator.create(scripted=True)
    simulator.set_faults({"kind": "silence", "comments": comments})
    exporter = bench.export(bench.account(simulator, workflows=[workflow]), timeouts=HASTY)
    exporter.until_ended("silent")
    simulator.set_faults()
    simulator.workflow(workflow).advance("completed")
    exporter.until_finished(1)
    exporter.until_ended("finished")
    ended = exporter.streams_ended()
    assert ended.pop("finished") == 1
    assert set(ended) == {"silent"}


def test_a_stream_of_nothing_but_malformed_snapshots_is_malformed(bench: Bench) -> None:
    simulator = bench.simulate()
    workflow = simulator.create(scripted=True)
    simulator.set_faults(
        {"kind": "malformed_snapshot", "variant": "not_json", "after": 0, "count": 100_000}
    )
    exporter = bench.export(bench.account(simulator, workflows=[workflow]), timeouts=HASTY)
    metrics = exporter.until_ended("malformed")
    assert metrics.total("stream_snapshots_total", result="malformed") > 10
    assert metrics.total("stream_snapshots_total", result="new") == 0
    simulator.set_faults()
    opened(simulator, 2)
    simulator.workflow(workflow).advance("completed")
    exporter.until_finished(1)


def test_malformed_snapshots_among_good_ones_end_nothing(bench: Bench) -> None:
    simulator = bench.simulate()
    workflow = simulator.create(scripted=True)
    simulator.workflow(workflow).advance("running")
    simulator.set_faults({"kind": "malformed_snapshot", "variant": "any", "after": 1, "count": 36})
    exporter = bench.export(bench.account(simulator, workflows=[workflow]))
    simulator.wait_until(lambda truth: truth.snapshots_sent > 40, PATIENCE)
    simulator.workflow(workflow).advance("failed", cause=None)
    metrics = exporter.until_finished(1)
    exporter.until_streams_ended({"finished": 1})
    assert metrics("workflows_finished_total", account="studio", status="failed") == 1
    assert metrics.total("stream_snapshots_total", result="malformed") > 20
    assert metrics("observations_ignored_total", account="studio", reason="unknown_status") == 1


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ({"kind": "status", "code": 500}, "refused"),
        ({"kind": "status", "code": 503, "body": "html"}, "refused"),
        ({"kind": "status", "code": 502, "body": "empty"}, "refused"),
        ({"kind": "status", "code": 418}, "refused"),
        ({"kind": "edge_page", "code": 200}, "refused"),
        ({"kind": "edge_page", "code": 503}, "refused"),
        ({"kind": "redirect"}, "refused"),
        ({"kind": "redirect", "code": 308, "location": "/v1/workflow"}, "refused"),
        ({"kind": "no_answer"}, "dropped"),
        ({"kind": "slow_headers"}, "dropped"),
        ({"kind": "reset"}, "dropped"),
        ({"kind": "hang_up"}, "dropped"),
        ({"kind": "garbage_answer"}, "dropped"),
        ({"kind": "endless_header"}, "dropped"),
        ({"kind": "endless_header", "one_line": True}, "dropped"),
        ({"kind": "gzip_bomb"}, "malformed"),
        ({"kind": "huge_event"}, "malformed"),
        ({"kind": "huge_event", "ended": False}, "malformed"),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else None,
)
def test_an_answer_that_is_none_is_refused_and_asked_for_again(
    bench: Bench, fault: dict[str, Any], reason: str
) -> None:
    simulator = bench.simulate()
    workflow = simulator.create(scripted=True)
    simulator.set_faults({**fault, "endpoints": ["subscribe"], "times": 1})
    exporter = bench.export(bench.account(simulator, workflows=[workflow]), timeouts=HASTY)
    exporter.until_ended(reason)
    opened(simulator, 1)
    simulator.workflow(workflow).advance("completed")
    metrics = exporter.until_finished(1)
    exporter.until_streams_ended({reason: 1, "finished": 1})
    assert metrics("workflows_finished_total", account="studio", status="completed") == 1
    assert metrics("account_up", account="studio") == 1


@pytest.mark.parametrize(
    "fault", [{"kind": "status", "code": 503}, {"kind": "redirect"}, {"kind": "reset"}]
)
def test_a_refusal_backs_off(bench: Bench, fault: dict[str, Any]) -> None:
    simulator = bench.simulate()
    workflow, other = simulator.create(scripted=True), simulator.create(scripted=True)
    simulator.set_faults({**fault, "workflow": workflow})
    exporter = bench.export(
        bench.account(simulator, workflows=[workflow, other]), jitter=never_again
    )
    streaming(simulator)
    simulator.workflow(other).advance("completed")
    exporter.until_finished(1)
    assert simulator.truth().requests["subscribe"] == 2


def test_a_429_is_followed_by_a_stream_when_the_budget_is_open_again(bench: Bench) -> None:
    simulator = bench.simulate()
    simulator.set_faults({"kind": "status", "code": 429, "retry_after": 1, "times": 1})
    workflow = simulator.create(scripted=True)
    exporter = bench.export(bench.account(simulator, workflows=[workflow]), jitter=never_again)
    streaming(simulator)
    exporter.until_streams_ended({"refused": 1})
    assert simulator.truth().requests["subscribe"] == 2


def test_a_service_that_refuses_for_ever_is_not_asked_in_a_hurry(bench: Bench) -> None:
    # With a Retry-After of 0 nothing but our own share holds us back, and that shrinks.
    simulator = bench.simulate()
    simulator.set_faults({"kind": "status", "code": 429, "retry_after": 0})
    workflows = [simulator.create(scripted=True) for _ in range(10)]
    limit = {"requests": 4, "per": "1s", "reserve": 0}
    began = time.monotonic()
    exporter = bench.export(
        bench.account(simulator, workflows=workflows, rate_limit=limit, **LISTED)
    )
    # Four that were under way together, and from then on one a second.
    exporter.until(lambda m: m.total("api_requests_total", code="429") >= 6)
    assert time.monotonic() - began >= 1.5


def test_stopping_ends_open_streams_as_shutdown(bench: Bench) -> None:
    simulator = bench.simulate()
    workflows = [simulator.create(scripted=True) for _ in range(20)]
    exporter = bench.export(bench.account(simulator, workflows=workflows))
    streaming(simulator, 20)
    exporter.until(lambda m: m("streams", account="studio") == 20)
    assert exporter.app.stop()
    exporter.until_streams_ended({"shutdown": 20})
    streaming(simulator, 0)


def test_odd_framing_is_no_ending(bench: Bench) -> None:
    simulator = bench.simulate(QUIET, speed=20)
    simulator.set_faults({"kind": "framing", "after": 0})
    workflow = simulator.create(scripted=True)
    exporter = bench.export(bench.account(simulator, workflows=[workflow]))
    streaming(simulator)
    simulator.workflow(workflow).advance("queued", queue_position=7)
    exporter.until(
        lambda m: m("workflow_queue_position", account="studio", workflow_id=workflow) == 7
    )
    simulator.workflow(workflow).advance("completed")
    exporter.until_finished(1)
    exporter.until_streams_ended({"finished": 1})
