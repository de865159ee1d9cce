"""Two exporters on one address, who know nothing of each other and together want too much."""

from exporter.simulator import Truth
from tests.integration.following.exporting import PATIENCE, Bench, Metrics

LIMIT = {"requests": 20, "per": "1s", "cooldown": "1s"}
"""The service's, in a hurry: each of the two takes three quarters of it for its own."""

SCENARIO = f"limit: {LIMIT}"

WORKFLOWS = 80


def allowed(metrics: Metrics) -> float:
    return metrics.total("request_budget_limit")


def refused(truth: Truth) -> int:
    return sum(truth.refusals.values())


def test_both_give_way_and_neither_loses_anything(bench: Bench) -> None:
    simulator = bench.simulate(SCENARIO)
    account = bench.account(
        simulator, rate_limit=LIMIT, listing={"interval": "2s", "lookback": "24h"}
    )
    workflows = [simulator.create(scripted=True) for _ in range(WORKFLOWS)]
    # A stream for each of them from both: thirty requests a second, where twenty are allowed.
    exporters = [bench.export(account, fresh_services=False) for _ in range(2)]
    simulator.wait_until(lambda truth: refused(truth) > 0, PATIENCE)
    for exporter in exporters:
        exporter.until(lambda m: allowed(m) < 15)
    for workflow in workflows:
        simulator.workflow(workflow).advance("failed")
    for exporter in exporters:
        metrics = exporter.until(
            lambda m: m.total("workflow_failures_total") >= WORKFLOWS, 3 * PATIENCE
        )
        assert metrics.total("workflows_finished_total", status="failed") == WORKFLOWS
        assert metrics.total("workflow_failures_total") == WORKFLOWS
    truth = simulator.truth()
    # Three in a hundred, as measured; who does not give way is refused a third of what it asks.
    assert refused(truth) < 0.1 * sum(truth.requests.values())
    # When all is quiet, each has its share back.
    for exporter in exporters:
        exporter.until(lambda m: allowed(m) == 15, 2 * PATIENCE)
