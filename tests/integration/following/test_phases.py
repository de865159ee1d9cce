"""How long workflows waited, and for what, as a service shows it that is looked at now and then."""

import time
from itertools import pairwise
from pathlib import Path

from exporter.app.accounts import STOP_SECONDS
from tests.integration.following.exporting import LISTED, Bench, Exporter, Metrics

QUIET = "limit: {enabled: false}"
STAY = 0.6
"""Seconds in each phase."""
PHASES = ("accepted", "uploaded", "queued")


def seconds(metrics: Metrics, phase: str) -> float:
    return metrics.total("workflow_phase_duration_seconds_sum", phase=phase)


def results(metrics: Metrics) -> dict[str, float]:
    return {
        result: metrics.total("workflow_phases_total", result=result)
        for result in ("measured", "uncertain")
    }


def until_seen(exporter: Exporter, status: str) -> None:
    exporter.until(lambda m: m.total("workflows", status=status) == 1)


def test_each_phase_is_as_long_as_it_was(bench: Bench) -> None:
    simulator = bench.simulate(QUIET)
    exporter = bench.export(bench.account(simulator, **LISTED))
    exporter.until_listed()
    began: dict[str, float] = {}
    seen: dict[str, float] = {}
    began["accepted"] = time.monotonic()
    workflow = simulator.create(scripted=True)
    for status in (*PHASES, "running"):
        began.setdefault(status, time.monotonic())
        simulator.workflow(workflow).advance(status)
        until_seen(exporter, status)
        seen[status] = time.monotonic()
        time.sleep(STAY)
    metrics = exporter.scrape()
    assert results(metrics) == {"measured": 3, "uncertain": 0}
    for phase, after in pairwise((*PHASES, "running")):
        # The service tells its clock in whole seconds, so when the first began is known to half a
        # one. When the exporter saw the others begin and end is known to how long we waited for it,
        # and to how long its answer took: it may be dated before the change that it shows.
        error = 0.5 if phase == "accepted" else 0.1
        least, most = began[after] - seen[phase], seen[after] - began[phase]
        assert least - error <= seconds(metrics, phase) <= most + error


def test_what_changed_while_nobody_looked_is_uncertain(bench: Bench, tmp_path: Path) -> None:
    simulator = bench.simulate(QUIET)
    account = bench.account(simulator, **LISTED)
    first = bench.export(account, storage=tmp_path)
    first.until_listed()
    one, other = (simulator.create(scripted=True) for _ in range(2))
    for workflow in (one, other):
        simulator.workflow(workflow).advance("queued")
    first.until(lambda m: m.total("workflows", status="queued") == 2)
    before = results(first.scrape())
    assert first.app.stop(STOP_SECONDS)
    simulator.workflow(one).advance("running")
    second = bench.export(account, storage=tmp_path)
    until_seen(second, "running")
    until_seen(second, "queued")
    after = results(second.scrape())
    assert after == {**before, "uncertain": before["uncertain"] + 1}
    time.sleep(STAY)
    simulator.workflow(other).advance("running")
    second.until(lambda m: m.total("workflows", status="running") == 2)
    metrics = second.scrape()
    assert results(metrics) == {**after, "measured": after["measured"] + 1}
    assert seconds(metrics, "queued") > STAY
