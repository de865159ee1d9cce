"""A whole day at the service's real limit: what the exporter shows is what happened."""

from collections import Counter

import pytest

from exporter.simulator import Truth
from tests.integration.following.exporting import Bench, Metrics

WORKFLOWS = 60

# Nothing arrives in the first second, so that the test can pause it before.
DAY = f"""
arrivals: {{rate: 1, spacing: fixed, max_workflows: {WORKFLOWS}}}
runners: [{{name: gpu, count: 8}}]
jobs: [{{name: image, duration: {{median: 12s, sigma: 0.7, min: 2s, max: 60s}}}}]
outcomes: {{failed: 0.25, cancelled: 0.1, invalid: 0.05, without_cause: 0.2}}
phases: [{{from: 0s, to: 10s, rate_factor: 0}}]
"""


def outcomes(metrics: Metrics) -> dict[str, int]:
    found = metrics.series("workflows_finished_total")
    return {dict(labels)["status"]: int(value) for labels, value in found.items()}


def causes(metrics: Metrics) -> Counter[tuple[str, str]]:
    found = metrics.series("workflow_failures_total")
    return Counter(
        {
            (dict(labels)["node_type"], dict(labels)["exception_type"]): int(value)
            for labels, value in found.items()
        }
    )


def true_causes(truth: Truth) -> Counter[tuple[str, str]]:
    return Counter(
        (each.node_type or "unknown", each.exception_type or "unknown")
        for each in truth.workflows
        if each.status == "failed"
    )


@pytest.mark.slow
def test_sixty_workflows_at_ten_times_the_speed_are_counted_once_and_draw_no_429(
    bench: Bench,
) -> None:
    simulator = bench.simulate(DAY, speed=10)
    simulator.pause()
    account = bench.account(simulator, listing={"interval": "5s"})
    del account["rate_limit"]
    exporter = bench.export(account, fresh_services=False)
    # What ends before the list was read once does not count, and a start may take a while.
    exporter.until_listed()
    simulator.resume()
    truth = simulator.wait_until(lambda truth: len(truth.final()) == WORKFLOWS, 60)
    exporter.until_finished(WORKFLOWS, 60)
    failed = truth.counts().get("failed", 0)
    metrics = exporter.until(lambda m: m.total("workflow_failures_total") == failed, 60)

    assert outcomes(metrics) == truth.counts()
    assert causes(metrics) == true_causes(truth)
    assert metrics.total("workflows_discovered_total") == WORKFLOWS
    assert metrics.total("workflows") == 0
    runs = [each.run_seconds for each in truth.workflows if each.run_seconds is not None]
    assert metrics.total("workflow_run_duration_seconds_count") == len(runs)
    assert metrics.total("workflow_run_duration_seconds_sum") == pytest.approx(sum(runs), abs=1e-6)
    waits = [w.time_to_start_seconds for w in truth.workflows if w.started_ms is not None]
    assert metrics.total("workflow_time_to_start_seconds_count") == len(waits)
    assert metrics.total("workflow_time_to_start_seconds_sum") == pytest.approx(
        sum(wait for wait in waits if wait is not None), abs=1e-6
    )
    assert metrics.total("workflows_dropped_total") == 0

    after = simulator.truth()
    assert sum(after.refusals.values()) == 0
    assert after.busiest_window <= 30
    # One stream each at the most, one more for a cause, and no asking one by one.
    assert after.requests["subscribe"] <= WORKFLOWS + failed
    assert after.requests.get("get", 0) == 0
    assert sum(after.requests.values()) == metrics.total("api_requests_total")
