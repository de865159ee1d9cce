"""One address for several: two exporters who know nothing of each other, and two spellings."""

from exporter.simulator import Truth
from tests.integration.following.exporting import PATIENCE, Bench, Metrics

REQUESTS = 20
LIMIT = {"requests": REQUESTS, "per": "1s", "cooldown": "1s"}
"""The service's, in a hurry: each exporter takes three quarters of it for its own."""

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


TWO_ACCOUNTS = "accounts: [{name: studio, tokens: [cfc_studio]}, {name: agency}]"


def test_two_spellings_of_an_address_share_its_limit(bench: Bench) -> None:
    simulator = bench.simulate(f"{SCENARIO}\n{TWO_ACCOUNTS}", speed=1)
    port = simulator.base_url.rpartition(":")[2]

    def account(name: str, host: str) -> dict[str, object]:
        more = {"rate_limit": {**LIMIT, "reserve": 0}, "base_url": f"http://{host}:{port}"}
        return bench.account(simulator, name, **more, listing={"interval": "1h"})

    for name in ("studio", "agency"):
        for _ in range(20):
            simulator.create(name, scripted=True)
    exporter = bench.export(account("studio", "LocalHost"), account("agency", "127.0.0.1"))
    # Each of them wants more than all of the limit, with its list and twenty streams.
    exporter.until(lambda m: m.total("streams") == 40)
    (labels,) = exporter.scrape().series("request_budget_limit")
    assert dict(labels) == {"address": f"localhost:{port}"}
    # Whatever a reload makes of it, it stays the same.
    exporter.reload(account("studio", "127.1"), account("agency", "localhost"))
    exporter.until(lambda m: m.total("streams") == 40)
    (again,) = exporter.scrape().series("request_budget_limit")
    assert again == labels
    truth = simulator.truth()
    assert refused(truth) == 0
    assert truth.busiest_window <= REQUESTS
