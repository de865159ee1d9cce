"""The account's runners, from the service to a scrape."""

from typing import Any

import pytest

from exporter.simulator import Simulator
from tests.integration.following.exporting import Bench, Exporter, Metrics

FARM = """\
limit: {enabled: false}
runners:
  - {name: gpu, count: 120, tags: [sdxl, a100]}
  - {name: spare, count: 3, tags: [flux], status: disabled}
"""


@pytest.fixture
def farm(bench: Bench) -> Simulator:
    return bench.simulate(FARM)


def watch(bench: Bench, farm: Simulator, **runners: Any) -> Exporter:
    terms = {"interval": "10s"} | runners
    return bench.export(bench.account(farm, listing={}, runners=terms))


def active(metrics: Metrics) -> float | None:
    return metrics("runners", account="studio", status="active")


def by_tag(metrics: Metrics) -> dict[tuple[str, str], float]:
    found = metrics.series("runners_by_tag")
    return {(dict(k)["tag"], dict(k)["status"]): value for k, value in found.items()}


def test_runners_are_counted_over_all_pages_and_by_tag(bench: Bench, farm: Simulator) -> None:
    metrics = watch(bench, farm, by_tag=True).until(active)
    assert active(metrics) == 120
    assert metrics("runners", account="studio", status="disabled") == 3
    assert by_tag(metrics) == {
        ("sdxl", "active"): 120,
        ("a100", "active"): 120,
        ("flux", "disabled"): 3,
    }
    assert metrics("runners_last_success_timestamp_seconds", account="studio")
    assert metrics.total("api_requests_total", endpoint="runners", code="200") >= 2


def test_a_runner_that_is_disabled_is_seen(bench: Bench, farm: Simulator) -> None:
    exporter = watch(bench, farm)
    assert not by_tag(exporter.until(active))
    farm.set_runner("gpu-7", active=False)
    exporter.until(lambda m: active(m) == 119)


def test_without_the_block_nobody_asks_for_runners(bench: Bench, farm: Simulator) -> None:
    exporter = bench.export(bench.account(farm, listing={}))
    metrics = exporter.until_listed()
    assert active(metrics) is None
    assert not metrics.total("api_requests_total", endpoint="runners")


@pytest.mark.parametrize("status", [401, 403, 404, 500, 503])
def test_a_refusal_of_the_runners_withdraws_them_and_harms_nothing_else(
    bench: Bench, farm: Simulator, status: int
) -> None:
    exporter = watch(bench, farm)
    exporter.until(active)
    farm.set_faults({"kind": "status", "endpoints": ["runners"], "code": status})
    metrics = exporter.until(lambda m: active(m) is None)
    assert metrics("account_up", account="studio") == 1
    farm.set_faults()
    exporter.until(lambda m: active(m) == 120)


def test_a_reload_begins_and_ends_the_counting(bench: Bench, farm: Simulator) -> None:
    plain = bench.account(farm, listing={})
    exporter = bench.export(plain)
    exporter.until_listed()
    exporter.reload(plain | {"runners": {}})
    exporter.until(active)
    exporter.reload(plain)
    assert active(exporter.scrape()) is None


def test_a_runners_headers_reach_no_page(bench: Bench, farm: Simulator) -> None:
    exporter = watch(bench, farm, by_tag=True)
    exporter.until(active)
    secrets = farm.call(
        lambda engine: {v for r in engine.world.runners for v in (*r.headers.values(), r.endpoint)}
    )
    text = exporter.app.page.render("application/openmetrics-text").body.decode()
    assert not [secret for secret in secrets if secret in text]
