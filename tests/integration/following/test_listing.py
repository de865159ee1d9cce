"""What the list alone can tell: outcomes without streams, causes owed, pages gone wrong."""

import time
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

from exporter.app.app import clocks
from exporter.following import list_pages
from exporter.following.tempo import Tempo
from exporter.interfaces.observations import Moment
from exporter.simulator import Truth, service
from exporter.simulator.malformed import LIST_VARIANTS
from exporter.simulator.workflow import ServiceStatus
from tests.integration.following.exporting import (
    LISTED,
    PATIENCE,
    QUIET,
    Bench,
    Metrics,
    hurried,
    never_again,
)

CAUSE = {"node_type": "KSampler", "exception_type": "ValueError", "exception_message": "no"}


def has_struck(times: int, truth: Truth) -> bool:
    return truth.faults.get("malformed_list") == times


def has_discovered(count: int, metrics: Metrics) -> bool:
    return metrics.total("workflows_discovered_total") == count


def has_passed_since(passed: float | None, metrics: Metrics) -> bool:
    return metrics("listing_last_success_timestamp_seconds", account="studio") != passed


def causes(metrics: Metrics) -> float:
    return metrics.total("workflow_failures_total")


def test_more_workflows_than_streams_are_watched_by_the_list_and_nothing_is_lost(
    bench: Bench,
) -> None:
    simulator = bench.simulate()
    workflows = [simulator.create(scripted=True) for _ in range(24)]
    exporter = bench.export(bench.account(simulator, max_streams=3, **LISTED))
    metrics = exporter.until(lambda m: m("workflows_watched_by_listing", account="studio") == 21)
    assert metrics("streams", account="studio") == 3
    assert metrics.total("workflows") == 24
    statuses = ["completed", "failed", "cancelled", "invalid"]
    for number, workflow in enumerate(workflows):
        simulator.workflow(workflow).advance("running")
        simulator.workflow(workflow).advance(statuses[number % 4], cause=CAUSE)
    exporter.until_finished(24)
    metrics = exporter.until(lambda m: causes(m) == 6)
    for status in statuses:
        assert metrics("workflows_finished_total", account="studio", status=status) == 6
    # One that is invalid never ran.
    assert metrics.total("workflow_run_duration_seconds_count") == 18
    assert metrics.total("workflows_discovered_total") == 24
    assert simulator.truth().streams_open_most <= 3 + 4  # and four for causes


def test_what_was_over_before_the_first_look_is_not_counted_and_what_was_open_is(
    bench: Bench,
) -> None:
    simulator = bench.simulate(
        f"{QUIET}\nstart: {{finished: 350, finished_age: {{min: 1000, max: 20000}}}}"
    )
    workflow = simulator.create(scripted=True)
    exporter = bench.export(bench.account(simulator, **LISTED))
    simulator.wait_until(lambda truth: truth.streams_open == 1, PATIENCE)
    simulator.workflow(workflow).advance("completed")
    exporter.until_finished(1)
    metrics = exporter.until_listed()
    assert metrics.total("workflows_finished_total") == 1
    assert metrics.total("workflow_failures_total") == 0


def test_what_ends_while_the_first_look_goes_on_is_counted(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulator = bench.simulate()
    ends = simulator.workflow(simulator.create(scripted=True))
    for _ in range(120):
        simulator.workflow(simulator.create(scripted=True)).advance("completed")
    read = list_pages.ListPages.deeper

    def late(self: list_pages.ListPages, *which: Any) -> Any:
        # An outage between the first page and the second: by then it is over.
        later = datetime.fromtimestamp(time.time() + 60, UTC).isoformat()
        ends.advance("completed", completed_at=later)
        return read(self, *which)

    monkeypatch.setattr(list_pages.ListPages, "deeper", late)
    exporter = bench.export(bench.account(simulator, **LISTED))
    exporter.until_finished(1)
    metrics = exporter.until_listed()
    assert metrics.total("workflows_finished_total") == 1


def test_a_cause_that_only_a_stream_can_tell_costs_one_request(bench: Bench) -> None:
    simulator = bench.simulate()
    stays = simulator.create(scripted=True)
    exporter = bench.export(bench.account(simulator, workflows=[stays], max_streams=1, **LISTED))
    simulator.wait_until(lambda truth: truth.streams_open == 1, PATIENCE)
    exporter.until_listed()
    failed = [simulator.create(scripted=True) for _ in range(6)]
    for workflow in failed:
        simulator.workflow(workflow).advance("failed", cause=CAUSE)
    exporter.until(lambda m: causes(m) == 6)
    metrics = exporter.scrape()
    assert (
        metrics(
            "workflow_failures_total",
            account="studio",
            node_type="KSampler",
            exception_type="ValueError",
        )
        == 6
    )
    # One for the stream, and one for each cause; nothing is asked twice.
    assert simulator.truth().requests["subscribe"] == 7


def test_causes_that_cannot_be_had_hold_up_no_others(bench: Bench) -> None:
    simulator = bench.simulate()
    stays = simulator.create(scripted=True)
    exporter = bench.export(
        bench.account(simulator, workflows=[stays], max_streams=1, **LISTED), jitter=never_again
    )
    simulator.wait_until(lambda truth: truth.streams_open == 1, PATIENCE)
    exporter.until_listed()
    hopeless = [simulator.create(scripted=True) for _ in range(8)]
    simulator.set_faults(
        *({"kind": "status", "code": 500, "workflow": workflow} for workflow in hopeless)
    )
    for workflow in hopeless:
        simulator.workflow(workflow).advance("failed", cause=CAUSE)
    exporter.until_finished(8)
    for _ in range(3):
        simulator.workflow(simulator.create(scripted=True)).advance("failed", cause=CAUSE)
    exporter.until(lambda m: causes(m) == 3)
    assert simulator.truth().requests["subscribe"] == 1 + 8 + 3


def test_the_cause_of_a_workflow_that_was_deleted_is_unknown(bench: Bench) -> None:
    simulator = bench.simulate()
    stays = simulator.create(scripted=True)
    exporter = bench.export(
        bench.account(simulator, workflows=[stays], max_streams=1, **LISTED), now=hurried(200)
    )
    simulator.wait_until(lambda truth: truth.streams_open == 1, PATIENCE)
    exporter.until_listed()
    failed = simulator.create(scripted=True)
    simulator.set_faults({"kind": "status", "code": 404, "workflow": failed})
    simulator.workflow(failed).advance("failed", cause=CAUSE)
    exporter.until(
        lambda m: (
            m(
                "workflow_failures_total",
                account="studio",
                node_type="unknown",
                exception_type="unknown",
            )
            == 1
        )
    )
    # By both ways, and until that has lasted.
    requests = simulator.truth().requests
    assert 3 <= requests["subscribe"] - 1 + requests["get"] <= 8


def test_an_open_workflow_that_was_deleted_is_dropped(bench: Bench) -> None:
    simulator = bench.simulate()
    workflows = [simulator.create(scripted=True) for _ in range(3)]
    exporter = bench.export(bench.account(simulator, max_streams=1, **LISTED), now=hurried(200))
    exporter.until(lambda m: m("workflows_watched_by_listing", account="studio") == 2)
    streamed = set(exporter.app.read().accounts["studio"].followed)
    simulator.workflow(next(w for w in workflows if w not in streamed)).delete()
    metrics = exporter.until(lambda m: m.total("workflows_dropped_total") == 1)
    assert metrics("workflows_dropped_total", account="studio", reason="not_found") == 1
    assert metrics.total("workflows") == 2


def test_a_workflow_that_was_deleted_while_its_stream_was_open_is_dropped(bench: Bench) -> None:
    simulator = bench.simulate()
    workflow = simulator.create(scripted=True)
    exporter = bench.export(bench.account(simulator, **LISTED), now=hurried(100))
    simulator.wait_until(lambda truth: truth.streams_open == 1, PATIENCE)
    simulator.workflow(workflow).delete()
    metrics = exporter.until(lambda m: m.total("workflows_dropped_total") == 1)
    assert metrics("workflows_dropped_total", account="studio", reason="not_found") == 1


def test_one_missing_workflow_that_cannot_be_asked_for_stops_no_listing(bench: Bench) -> None:
    simulator = bench.simulate()
    workflows = [simulator.create(scripted=True) for _ in range(2)]
    exporter = bench.export(bench.account(simulator, max_streams=1, **LISTED), jitter=never_again)
    exporter.until(lambda m: m("workflows_watched_by_listing", account="studio") == 1)
    simulator.set_faults({"kind": "status", "code": 500, "endpoints": ["get"]})
    streamed = set(exporter.app.read().accounts["studio"].followed)
    simulator.workflow(next(w for w in workflows if w not in streamed)).delete()
    exporter.until(lambda m: m.total("api_requests_total", endpoint="get", code="500") >= 1)
    late = simulator.create(scripted=True)
    exporter.until(lambda m: m.total("workflows_discovered_total") == 3)
    simulator.workflow(late).advance("completed")
    exporter.until_finished(1)


def test_no_malformed_page_loses_anything(bench: Bench) -> None:
    simulator = bench.simulate()
    exporter = bench.export(bench.account(simulator, **LISTED), tempo=Tempo(open_check=0.0))
    for count, variant in enumerate(LIST_VARIANTS, start=1):
        simulator.set_faults({"kind": "malformed_list", "variant": variant, "times": 1})
        workflow = simulator.create(scripted=True)
        simulator.wait_until(partial(has_struck, count), PATIENCE)
        exporter.until(partial(has_discovered, count))
        simulator.workflow(workflow).advance("completed")
        exporter.until_finished(count)
    metrics = exporter.scrape()
    assert metrics.total("workflows_finished_total") == len(LIST_VARIANTS)
    assert metrics("account_up", account="studio") == 1


def test_a_new_entry_that_cannot_be_read_is_read_again_though_it_has_ended(bench: Bench) -> None:
    # Nothing is read twice by chance, and the filters would not show what has ended.
    simulator = bench.simulate()
    exporter = bench.export(bench.account(simulator, **LISTED), tempo=Tempo(list_overlap=0.0))
    exporter.until(lambda m: m("account_up", account="studio") == 1)
    simulator.set_faults({"kind": "status", "code": 503, "endpoints": ["list"]})
    exporter.until(lambda m: m.total("api_requests_total", endpoint="list", code="503") >= 1)
    for _ in range(150):
        workflow = simulator.create(scripted=True)
        simulator.workflow(workflow).advance("completed")
    simulator.set_faults({"kind": "malformed_list", "variant": "item_without_id", "times": 2})
    metrics = exporter.until_finished(150)
    assert metrics.total("workflows_finished_total") == 150


def test_one_missing_workflow_that_may_not_be_seen_does_not_close_the_account(
    bench: Bench,
) -> None:
    simulator = bench.simulate()
    workflows = [simulator.create(scripted=True) for _ in range(2)]
    exporter = bench.export(bench.account(simulator, max_streams=1, **LISTED), now=hurried(200))
    exporter.until(lambda m: m("workflows_watched_by_listing", account="studio") == 1)
    streamed = set(exporter.app.read().accounts["studio"].followed)
    simulator.set_faults({"kind": "status", "code": 403, "endpoints": ["get"]})
    simulator.workflow(next(w for w in workflows if w not in streamed)).delete()
    metrics = exporter.until(lambda m: m.total("workflows_dropped_total") == 1)
    assert metrics("workflows_dropped_total", account="studio", reason="forbidden") == 1
    assert metrics("account_up", account="studio") == 1
    # Asked for seldom, for the list would show it as well.
    asked = metrics("api_requests_total", account="studio", endpoint="get", code="403")
    assert asked is not None
    assert 3 <= asked <= 6


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "code": 503, "body": "html"},
        {"kind": "edge_page", "code": 200},
        {"kind": "redirect"},
        {"kind": "reset"},
        {"kind": "gzip_bomb"},
        {"kind": "status", "code": 429, "retry_after": 1},
    ],
    ids=lambda fault: str(fault["kind"]),
)
def test_a_list_that_cannot_be_read_is_read_again(bench: Bench, fault: dict[str, Any]) -> None:
    simulator = bench.simulate()
    simulator.set_faults({**fault, "endpoints": ["list"], "times": 1})
    simulator.create(scripted=True)
    exporter = bench.export(bench.account(simulator, **LISTED))
    metrics = exporter.until(lambda m: m.total("workflows_discovered_total") == 1)
    assert metrics("account_up", account="studio") == 1


def test_while_the_list_is_refused_with_429_no_pass_begins_early(bench: Bench) -> None:
    simulator = bench.simulate()
    simulator.set_faults({"kind": "status", "code": 429, "retry_after": 0})
    exporter = bench.export(bench.account(simulator, listing={"interval": "1h", "lookback": "24h"}))
    exporter.until(lambda m: m.total("api_requests_total", code="429") >= 1)
    with pytest.raises(TimeoutError):
        simulator.wait_until(lambda truth: truth.requests["list"] > 1, 0.3)


def test_a_long_history_costs_no_more_than_its_last_minutes(bench: Bench) -> None:
    simulator = bench.simulate(
        f"{QUIET}\nstart: {{finished: 20000, finished_age: {{min: 100000, max: 8000000}}}}"
    )
    exporter = bench.export(bench.account(simulator, **LISTED))
    workflow = simulator.create(scripted=True)
    exporter.until(lambda m: m.total("workflows_discovered_total") == 1)
    first = simulator.truth().requests["list"]
    assert first <= 12
    simulator.wait_until(lambda truth: truth.requests["list"] >= first + 2, PATIENCE)
    simulator.workflow(workflow).advance("completed")
    assert exporter.until_finished(1).total("workflows_finished_total") == 1


OLD_AND_STUCK = f"""
{QUIET}
start:
  finished: 1500
  finished_age: {{min: 10000, max: 30000}}
  open: 3
  open_age: 31000
runners: [{{name: gpu, stopped: [{{from: 0}}]}}]
"""


def test_an_old_open_workflow_is_not_searched_for_in_every_pass(bench: Bench) -> None:
    # With tags, the ledger knows next to nothing of what stands above them.
    simulator = bench.simulate(OLD_AND_STUCK, speed=10)
    exporter = bench.export(
        bench.account(
            simulator,
            max_streams=1,
            workflows=[each.id for each in simulator.truth().open()],
            listing={"interval": "1s", "tags": ["another"]},
        )
    )
    # One of the three was running, and ends; the runner takes no other.
    metrics = exporter.until(lambda m: m.total("workflows") == 2)
    pages = []
    for _ in range(6):
        passed = metrics("listing_last_success_timestamp_seconds", account="studio")
        metrics = exporter.until(partial(has_passed_since, passed))
        pages.append(metrics.total("listing_pages_total"))
    assert metrics("workflows_watched_by_listing", account="studio") == 1
    # The top and the page on which it stands; the first times may still search.
    assert pages[-1] - pages[-3] <= 8
    assert metrics.total("api_requests_total", endpoint="get") == 0


def test_every_finished_workflow_costs_one_stream(bench: Bench) -> None:
    simulator = bench.simulate()
    workflows = [simulator.create(scripted=True) for _ in range(30)]
    exporter = bench.export(bench.account(simulator, **LISTED))
    simulator.wait_until(lambda truth: truth.streams_open >= 30, PATIENCE)
    for status in ("queued", "running", "completed"):
        for workflow in workflows:
            simulator.workflow(workflow).advance(status)
    exporter.until_finished(30)
    exporter.until_streams_ended({"finished": 30})
    assert simulator.truth().requests["subscribe"] == 30
    assert simulator.truth().requests.get("get", 0) == 0


def test_a_failure_does_not_have_a_backlog_read_again(bench: Bench) -> None:
    simulator = bench.simulate()
    exporter = bench.export(bench.account(simulator, **LISTED), tempo=Tempo(list_retry=0.0))
    exporter.until_listed()
    simulator.set_faults({"kind": "status", "code": 503, "endpoints": ["list"]})
    exporter.until(lambda m: m.total("api_requests_total", endpoint="list", code="503") >= 1)
    for _ in range(600):
        simulator.workflow(simulator.create(scripted=True)).advance("completed")
    before = exporter.scrape().total("listing_pages_total")
    simulator.set_faults(
        {"kind": "status", "code": 503, "endpoints": ["list"], "probability": 0.3},
        {"kind": "reset", "endpoints": ["list"], "probability": 0.2},
    )
    metrics = exporter.until_finished(600)
    assert metrics.total("workflows_finished_total") == 600
    # Six pages, their overlap, and what a pass or two looked at on top of them.
    assert metrics.total("listing_pages_total") - before <= 14


@pytest.mark.parametrize("minutes", [-30, 30])
def test_a_clock_that_is_wrong_has_nothing_read_again_and_again(
    bench: Bench, minutes: float
) -> None:
    def now() -> Moment:
        moment = clocks()
        return Moment(moment.wall + 60 * minutes, moment.monotonic)

    simulator = bench.simulate()
    began = time.time()
    for age in range(550, 300, -1):
        stamp = datetime.fromtimestamp(began - age, UTC).isoformat()
        simulator.workflow(simulator.create(scripted=True)).advance(
            "completed", created_at=stamp, completed_at=stamp
        )
    exporter = bench.export(bench.account(simulator, **LISTED), now=now)
    pages: list[float] = []
    passed = None
    for _ in range(6):
        metrics = exporter.until(partial(has_passed_since, passed))
        passed = metrics("listing_last_success_timestamp_seconds", account="studio")
        pages.append(metrics.total("listing_pages_total"))
    # A page for each pass, where the whole list is three.
    assert pages[-1] - pages[0] <= 7
    assert exporter.scrape().total("workflows_finished_total") == 0
    new = simulator.create(scripted=True)
    simulator.workflow(new).advance("completed")
    assert exporter.until_finished(1).total("workflows_finished_total") == 1


def test_an_old_workflow_that_nothing_can_run_is_found_by_its_own_filter(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "_FILTERS", {status.value: status for status in ServiceStatus})
    simulator = bench.simulate()
    for status in ("accepted", "uploaded"):
        old = simulator.workflow(simulator.create(scripted=True))
        old.advance(status, created_at="2024-01-15T14:30:05Z")
    # A page of younger ones above them, on which the first look ends.
    for _ in range(120):
        simulator.workflow(simulator.create(scripted=True)).advance(
            "completed", created_at="2024-01-15T14:31:05Z", completed_at="2024-01-15T14:32:05Z"
        )
    exporter = bench.export(bench.account(simulator, **LISTED))
    metrics = exporter.until(lambda m: m.total("workflows") == 2)
    assert metrics("workflows", account="studio", status="accepted") == 1
    assert metrics("workflows", account="studio", status="uploaded") == 1


def test_an_id_beyond_the_lookback_is_asked_for_by_itself(bench: Bench) -> None:
    simulator = bench.simulate(f"{QUIET}\nstart: {{finished: 300, finished_age: 1h}}")
    streamed, old = simulator.create(scripted=True), simulator.create(scripted=True)
    simulator.workflow(old).advance("running", created_at="2024-01-15T14:30:05Z")
    exporter = bench.export(
        bench.account(
            simulator,
            workflows=[streamed, old],
            max_streams=1,
            listing={"interval": "1s", "lookback": "1m"},
        ),
        now=hurried(40),
        tempo=Tempo(poll=0.05),
    )
    exporter.until(lambda m: m("workflows", account="studio", status="running") == 1)
    for workflow in (streamed, old):
        simulator.workflow(workflow).advance("completed")
    metrics = exporter.until_finished(2)
    assert metrics.total("workflows_dropped_total") == 0
