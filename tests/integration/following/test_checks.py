"""Settled ids that somebody names again: maybe they run once more."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.following import rechecker
from exporter.following.rechecker import Rechecker
from exporter.simulator import Simulator
from exporter.sources.files import WatchedFiles
from exporter.sources.pushed import Pushed
from tests.integration.following.exporting import PATIENCE, Bench, Exporter, hurried
from tests.integration.following.standin import StandIn, page, stamp

PUSHED = Pushed(taken_up=0, known=0, looked_at=1)


@pytest.fixture
def push(tmp_path: Path) -> dict[str, Any]:
    file = tmp_path / "push"
    file.write_text("push-token")
    return {"push": {"token_file": str(file)}}


def streaming(simulator: Simulator, count: int = 1) -> None:
    simulator.wait_until(lambda truth: truth.streams_open == count, PATIENCE)


def run_again(service: StandIn, workflow: str) -> None:
    """It is executed once more: by its stamps well after it ended."""
    service.rows[workflow] |= {
        "status": "running",
        "started_at": stamp(-5),
        "updated_at": stamp(-5),
        "completed_at": None,
    }


def finish(service: StandIn, workflow: str, *, in_seconds: float = 0.0) -> None:
    service.end(workflow, "completed", completed_at=stamp(-in_seconds))


def followed_to_its_end(bench: Bench, service: StandIn, **more: Any) -> tuple[Exporter, str]:
    workflow = service.create()
    exporter = bench.export(service.account(**more), now=hurried(10))
    exporter.app.pushed.push("studio", [workflow])
    exporter.until(lambda m: m("streams", account="studio") == 1)
    finish(service, workflow)
    exporter.until_finished(1)
    return exporter, workflow


def test_a_pushed_id_that_runs_again_and_is_pushed_again_is_followed_and_counted(
    bench: Bench, service: StandIn, push: dict[str, Any]
) -> None:
    exporter, workflow = followed_to_its_end(bench, service, **push)
    run_again(service, workflow)
    assert exporter.app.pushed.push("studio", [workflow]) == PUSHED
    exporter.until(lambda m: m("streams", account="studio") == 1)
    assert exporter.app.pushed.push("studio", [workflow]) == Pushed(0, 1, 0)
    finish(service, workflow, in_seconds=9)
    metrics = exporter.until_finished(2)
    assert metrics.total("workflows_finished_total") == 2
    assert service.asked["get", workflow] == 1


def test_one_that_only_the_list_had_named_is_followed_as_a_pushed_one(
    bench: Bench, service: StandIn, push: dict[str, Any]
) -> None:
    workflow = service.create()
    exporter = bench.export(service.account(listing={"interval": "1h"}, **push))
    exporter.until(lambda m: m("streams", account="studio") == 1)
    finish(service, workflow)
    exporter.until_finished(1)
    exporter.until(lambda m: m("streams", account="studio") == 0)  # that of the first run
    run_again(service, workflow)
    assert exporter.app.pushed.push("studio", [workflow]) == PUSHED
    exporter.until(lambda m: m("streams", account="studio") == 1)
    assert [each.source for each in exporter.app.pushed.open_workflows("studio")] == ["pushed"]


def test_one_that_is_not_seen_to_run_yet_is_looked_at_again(
    bench: Bench, service: StandIn, push: dict[str, Any]
) -> None:
    exporter, workflow = followed_to_its_end(bench, service, **push)
    exporter.app.pushed.push("studio", [workflow])
    exporter.until(lambda _: service.asked["get", workflow] == 2)
    run_again(service, workflow)
    exporter.until(lambda m: m("streams", account="studio") == 1)
    finish(service, workflow, in_seconds=9)
    assert exporter.until_finished(2).total("workflows_finished_total") == 2


def test_one_that_does_not_run_again_is_looked_at_three_times_and_counted_once(
    bench: Bench, service: StandIn, push: dict[str, Any]
) -> None:
    exporter, workflow = followed_to_its_end(bench, service, **push)
    began = exporter.app._now().monotonic
    exporter.app.pushed.push("studio", [workflow])
    exporter.until(lambda _: service.asked["get", workflow] == 3)
    assert exporter.app._now().monotonic - began >= 30
    exporter.until(lambda _: exporter.watched_by(Rechecker)._order.next() is None)
    metrics = exporter.scrape()
    assert metrics.total("workflows_finished_total") == 1
    assert metrics.total("workflows_dropped_total") == 0
    assert service.asked["get", workflow] == 3


@pytest.mark.parametrize("how", ["configured", "file"])
def test_an_id_that_is_named_again_by_the_configuration_is_looked_at(
    bench: Bench, service: StandIn, push: dict[str, Any], tmp_path: Path, how: str
) -> None:
    file = tmp_path / "ids.yml"
    file.write_text("[]")
    terms = {**push, "workflow_files": [str(file)]}
    exporter, workflow = followed_to_its_end(bench, service, **terms)
    run_again(service, workflow)
    if how == "configured":
        exporter.reload(service.account(workflows=[workflow], **terms))
    else:
        file.write_text(yaml.safe_dump([workflow]))
        exporter.watched_by(WatchedFiles).check()
    exporter.until(lambda m: m("streams", account="studio") == 1)
    finish(service, workflow, in_seconds=9)
    assert exporter.until_finished(2).total("workflows_finished_total") == 2


def test_what_the_configuration_goes_on_naming_is_not_looked_at(
    bench: Bench, service: StandIn, tmp_path: Path
) -> None:
    workflow = service.create()
    account = service.account(workflows=[workflow])
    first = bench.export(account, storage=tmp_path)
    first.until(lambda m: m("streams", account="studio") == 1)
    finish(service, workflow)
    first.until_finished(1)
    first.reload(account)
    assert first.app.stop()
    # Every start names all of them: that is no reason to ask for thousands.
    other = service.create()
    second = bench.export({**account, "workflows": [workflow, other]}, storage=tmp_path)
    second.until(lambda m: m("streams", account="studio") == 1)
    assert second.watched_by(Rechecker)._order.next() is None
    assert service.asked["get", workflow] == 0


def test_a_look_outlasts_an_outage(bench: Bench, service: StandIn, push: dict[str, Any]) -> None:
    exporter, workflow = followed_to_its_end(bench, service, **push)
    run_again(service, workflow)
    service.instead = {"get": lambda _: page(503), "subscribe": lambda _: page(503)}
    exporter.app.pushed.push("studio", [workflow])
    exporter.until(lambda _: service.asked["get", workflow] >= 4)
    service.instead = {}
    exporter.until(lambda m: m("streams", account="studio") == 1)


def test_too_many_are_not_all_looked_at_and_that_is_told(
    bench: Bench,
    service: StandIn,
    push: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(rechecker, "MOST_WAITING", 2)
    workflows = [service.create() for _ in range(5)]
    exporter = bench.export(service.account(**push))
    exporter.app.pushed.push("studio", workflows)
    exporter.until(lambda m: m("streams", account="studio") == 5)
    for workflow in workflows:
        finish(service, workflow)
    exporter.until_finished(5)
    service.instead = {"get": lambda _: page(503)}
    assert exporter.app.pushed.push("studio", workflows) == Pushed(0, 0, 5)
    exporter.until(lambda _: "named again" in caplog.text)
    [line] = [each for each in caplog.records if "named again" in each.getMessage()]
    assert line.__dict__["left_out"] == 3


def test_an_id_that_was_dropped_is_taken_up_when_it_is_pushed_again(
    bench: Bench, push: dict[str, Any]
) -> None:
    simulator = bench.simulate()
    workflow = simulator.create(scripted=True)
    simulator.set_faults({"kind": "status", "code": 403, "workflow": workflow})
    exporter = bench.export(bench.account(simulator, **push), now=hurried(100))
    exporter.app.pushed.push("studio", [workflow])
    exporter.until(lambda m: m.total("workflows_dropped_total", reason="forbidden") == 1)
    simulator.set_faults()
    assert exporter.app.pushed.push("studio", [workflow]) == Pushed(1, 0, 0)
    streaming(simulator)
