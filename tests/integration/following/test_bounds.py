"""What a service, or anyone who pushes, sends without end stays within bounds."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.following.exporting import LISTED, NO_LIMIT, Bench
from tests.integration.following.odd_service import OddService, Row, iso


@pytest.fixture
def service() -> Iterator[OddService]:
    with OddService() as service:
        yield service


@pytest.fixture
def other() -> Iterator[OddService]:
    with OddService() as service:
        yield service


def account(service: OddService, name: str = "studio", **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "token": f"cfc_{name}",
        "base_url": service.base_url,
        "rate_limit": NO_LIMIT,
        "max_streams": 1,
        **LISTED,
        **more,
    }


def finish(service: OddService, row: Row) -> None:
    now = iso(time.time())
    service.change(row, status="completed", started_at=now, updated_at=now, completed_at=now)


def test_what_is_beyond_the_limit_of_open_workflows_is_counted_once_there_is_room(
    bench: Bench, service: OddService, other: OddService
) -> None:
    service.always = 500
    rows = [service.add("running", age=300 - n) for n in range(300)]
    exporter = bench.export(
        account(service, max_open_workflows=100), account(other, "agency"), lookback=3600
    )
    exporter.until_listed()
    metrics = exporter.until(lambda m: m("open_workflows_limit_reached", account="studio") == 1)
    assert metrics("open_workflows_limit", account="studio") == 100
    assert metrics.total("workflows", account="studio") == 100
    assert (metrics("open_workflows_beyond_limit_total", account="studio") or 0) >= 200
    # Another account is as it ever was.
    assert metrics("open_workflows_limit_reached", account="agency") == 0
    other.add()
    exporter.until(lambda m: m.total("workflows_finished_total", account="agency") == 1)
    for row in rows[:150]:
        finish(service, row)
    exporter.until(lambda m: m.total("workflows_finished_total", account="studio") == 150)
    for row in rows[150:]:
        finish(service, row)
    exporter.until(lambda m: m.total("workflows_finished_total", account="studio") == 300)
    exporter.until(lambda m: m("open_workflows_limit_reached", account="studio") == 0)


def test_no_more_than_so_many_rows_of_a_page_are_taken(bench: Bench, service: OddService) -> None:
    service.always = 5000
    for n in range(3000):
        service.add("running", age=4000 - n)
    exporter = bench.export(account(service))
    exporter.until_listed()
    metrics = exporter.scrape()
    assert metrics.total("workflows", account="studio") == 1000
    assert (metrics("listing_rows_malformed_total", account="studio") or 0) >= 2000
