"""A service that asks us to stay away, on whatever answer: anyone who would ask does so."""

import time
from collections.abc import Mapping
from typing import Any

import pytest

from exporter.following.tempo import Tempo
from exporter.simulator import Simulator
from tests.integration.following.exporting import LISTED, PATIENCE, Bench, Exporter, hurried

AWAY = 2


def away(endpoint: str, *, code: int = 503, seconds: int = AWAY) -> Mapping[str, Any]:
    return {
        "kind": "status",
        "code": code,
        "retry_after": seconds,
        "body": "html",
        "endpoints": [endpoint],
    }


def stays_away(
    simulator: Simulator, exporter: Exporter, refused: str, code: int, endpoints: tuple[str, ...]
) -> None:
    """See that of these nothing is asked from the first such answer on until the wait is over."""
    exporter.until(lambda m: m.total("api_requests_total", endpoint=refused, code=str(code)) >= 1)
    began = time.monotonic()
    # Anyone who follows a stream wants another one now.
    simulator.drop_connections()
    # A moment for those that were under way together.
    time.sleep(0.3)

    def asked() -> int:
        requests = simulator.truth().requests
        return sum(requests.get(endpoint, 0) for endpoint in endpoints)

    before = asked()
    simulator.wait_until(lambda _: asked() > before, PATIENCE)
    assert time.monotonic() - began > AWAY - 0.5


@pytest.mark.parametrize("code", [500, 503, 404, 401])
def test_on_an_answer_to_the_list_all_of_the_account(bench: Bench, code: int) -> None:
    simulator = bench.simulate()
    for _ in range(3):
        simulator.create(scripted=True)
    exporter = bench.export(bench.account(simulator, **LISTED))
    exporter.until(lambda m: m.total("streams") == 3)
    simulator.set_faults(away("list", code=code))
    stays_away(simulator, exporter, "list", code, ("list", "subscribe"))
    simulator.set_faults()
    exporter.until(lambda m: m.total("streams") == 3)


def test_on_an_answer_about_one_all_streams_but_not_the_list(bench: Bench) -> None:
    simulator = bench.simulate()
    simulator.set_faults(away("subscribe"))
    workflows = [simulator.create(scripted=True) for _ in range(40)]
    # More than can be asked for in one moment: the others are told by the first.
    limit = {"requests": 20, "per": "1s", "reserve": 0}
    exporter = bench.export(
        bench.account(simulator, workflows=workflows, rate_limit=limit, **LISTED)
    )
    stays_away(simulator, exporter, "subscribe", 503, ("subscribe",))
    for workflow in workflows:
        simulator.workflow(workflow).advance("completed")
    # Outcomes are counted while nobody may open a stream.
    exporter.until_finished(40)


def test_causes(bench: Bench) -> None:
    simulator = bench.simulate()
    exporter = bench.export(bench.account(simulator, **LISTED))
    exporter.until(lambda m: m("account_up", account="studio") == 1)
    simulator.set_faults(away("subscribe"))
    for _ in range(8):
        simulator.workflow(simulator.create(scripted=True)).advance("failed")
    exporter.until_finished(8)
    stays_away(simulator, exporter, "subscribe", 503, ("subscribe",))
    simulator.set_faults()
    metrics = exporter.until(lambda m: m.total("workflow_failures_total") == 8)
    assert metrics.total("workflow_failures_total", node_type="unknown") == 0


def test_polls(bench: Bench) -> None:
    simulator = bench.simulate()
    simulator.set_faults(away("get", seconds=3600))
    workflows = [simulator.create(scripted=True) for _ in range(5)]
    # Who is young is not polled; so time flies.
    account = bench.account(simulator, workflows=workflows, max_streams=1)
    exporter = bench.export(account, now=hurried(20), tempo=Tempo(poll=0.05))
    exporter.until(lambda m: m.total("api_requests_total", endpoint="get", code="503") >= 1)
    time.sleep(0.5)
    assert simulator.truth().requests["get"] == 1


def test_runners(bench: Bench) -> None:
    simulator = bench.simulate()
    simulator.set_faults(away("runners"))
    account = bench.account(simulator, runners={"interval": "10s"}, **LISTED)
    exporter = bench.export(account)
    stays_away(simulator, exporter, "runners", 503, ("runners",))
    simulator.set_faults()
    exporter.until(lambda m: m.total("api_requests_total", endpoint="runners", code="200") >= 1)
