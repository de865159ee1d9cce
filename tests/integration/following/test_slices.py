"""Slices of workflows of which only a stream, or a push, has told."""

from pathlib import Path
from typing import Any

import pytest

from exporter.interfaces.observations import Traits
from tests.integration.following.exporting import NO_LIMIT, PATIENCE, Bench, Exporter

TEAM = {"label": "team", "from": "tag", "match": "^team[:=](.+)$", "values": 5}
TEMPLATE = {"label": "template", "from": "name", "match": "^([a-z-]+)", "values": 5}

# Only runners with all tags of a workflow would take it; here they are moved by hand.
DAY = "limit: {enabled: false}"


@pytest.fixture
def push(tmp_path: Path) -> dict[str, Any]:
    file = tmp_path / "push"
    file.write_text("push-token")
    return {"push": {"token_file": str(file)}, "rate_limit": NO_LIMIT}


def finished(exporter: Exporter, **labels: str) -> None:
    exporter.until(lambda m: m.total("workflows_finished_total", **labels) == 1)


def test_one_request_tells_the_name_and_the_tags_of_a_named_id(
    bench: Bench, push: dict[str, Any]
) -> None:
    simulator = bench.simulate(DAY)
    account = bench.account(simulator, **push)
    exporter = bench.export(account)
    exporter.reload(account, slices=[TEAM, TEMPLATE])
    workflow = simulator.create(scripted=True, name="sdxl-portrait v12", tags=("team:video",))
    exporter.app.pushed.push("studio", [workflow])
    simulator.wait_until(lambda truth: truth.streams_open == 1, PATIENCE)
    simulator.workflow(workflow).advance("completed")
    finished(exporter, team="video", template="sdxl-portrait", status="completed")
    assert exporter.scrape().total("workflows_finished_total") == 1
    assert simulator.truth().requests["get"] == 1


def test_a_push_that_tells_them_costs_no_request(bench: Bench, push: dict[str, Any]) -> None:
    simulator = bench.simulate(DAY)
    account = bench.account(simulator, **push)
    exporter = bench.export(account)
    exporter.reload(account, slices=[TEAM])
    workflow = simulator.create(scripted=True)
    told = {workflow: Traits("sdxl", ("gpu", "team=art"))}
    exporter.app.pushed.push("studio", [workflow], told)
    simulator.wait_until(lambda truth: truth.streams_open == 1, PATIENCE)
    simulator.workflow(workflow).advance("completed")
    finished(exporter, team="art")
    assert simulator.truth().requests.get("get", 0) == 0


def test_without_slices_nothing_is_asked_for_them(bench: Bench, push: dict[str, Any]) -> None:
    simulator = bench.simulate(DAY)
    exporter = bench.export(bench.account(simulator, **push))
    workflow = simulator.create(scripted=True, tags=("team:video",))
    exporter.app.pushed.push("studio", [workflow])
    simulator.wait_until(lambda truth: truth.streams_open == 1, PATIENCE)
    simulator.workflow(workflow).advance("completed")
    finished(exporter)
    assert simulator.truth().requests.get("get", 0) == 0
