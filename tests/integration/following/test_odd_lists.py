"""What the documents leave open of the list, over real sockets: everything is counted once."""

import time
from collections.abc import Callable, Iterator
from typing import Any, Literal

import pytest

from exporter.app.app import clocks
from exporter.comfycontrol import Timeouts
from exporter.following.tempo import Tempo
from exporter.interfaces.observations import Moment
from tests.integration.following.exporting import LISTED, NO_LIMIT, Bench, Exporter, Metrics
from tests.integration.following.odd_service import OddService, Row, iso

MANNERS: dict[str, dict[str, Any]] = {
    "at most 50": {"most": 50},
    "at most 10": {"most": 10},
    "at most 10, no total": {"most": 10, "total": lambda _: None},
    "at most 50, total a string": {"most": 50, "total": str},
    "at most 50, total stale": {"most": 50, "total": lambda _: 7},
    "at most 50, 404 beyond": {"most": 50, "total": lambda _: None, "beyond": 404},
    "always 30": {"always": 30},
    "always 30, no total, last again": {
        "always": 30,
        "total": lambda _: None,
        "beyond": "last",
    },
    "always 150": {"always": 150},
    "more than are taken": {"always": 300},
    "from 0": {"first_page": 0},
    "from 0, at most 50, 400 beyond": {"first_page": 0, "most": 50, "beyond": 400},
    "total too great": {"total": lambda total: total + 100},
}


@pytest.fixture
def service() -> Iterator[OddService]:
    with OddService() as service:
        yield service


def export(bench: Bench, service: OddService, **more: Any) -> Exporter:
    account = {
        "name": "studio",
        "token": "cfc_any",
        "base_url": service.base_url,
        "rate_limit": more.pop("rate_limit", NO_LIMIT),
        "max_streams": 1,
        **LISTED,
    }
    return bench.export(account, **more)


def list_faults(metrics: Metrics) -> float:
    return metrics.total("api_requests_total", endpoint="list", code="503")


def outage(service: OddService, exporter: Exporter, meanwhile: Callable[[], object]) -> None:
    """Let something happen while the exporter cannot see it."""
    refused = list_faults(exporter.scrape())
    service.is_down = True
    # Two, for one may have been on its way before.
    exporter.until(lambda m: list_faults(m) >= refused + 2)
    meanwhile()
    service.is_down = False


def some_passes(service: OddService, exporter: Exporter, passes: int = 3) -> Metrics:
    """Go on for so many passes more."""
    before = service.count()
    return exporter.until(lambda _: service.count() >= before + passes)


# Row 9: how the list is cut into pages ----------------------------------------------------------


@pytest.mark.parametrize("manner", MANNERS)
def test_whatever_pages_hold_and_totals_say_all_are_counted(
    manner: str, bench: Bench, service: OddService
) -> None:
    for name, value in MANNERS[manner].items():
        setattr(service, name, value)
    for age in range(130, 100, -1):
        service.add(age=age)
    exporter = export(bench, service)
    exporter.until_listed()

    def meanwhile() -> None:
        for _ in range(305):
            service.add()

    outage(service, exporter, meanwhile)
    assert exporter.until_finished(305).total("workflows_finished_total") == 305
    assert some_passes(service, exporter).total("workflows_finished_total") == 305


def test_a_page_of_one_row_is_a_page(bench: Bench, service: OddService) -> None:
    service.most = 1
    exporter = export(bench, service)
    exporter.until_listed()
    outage(service, exporter, lambda: [service.add() for _ in range(40)])
    assert exporter.until_finished(40).total("workflows_finished_total") == 40


# Row 8: a row that cannot be read ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("instead", "costs_row"),
    [
        (b'"\\ud83d"', False),
        (b'"cut \xf0\x9f off"', False),
        (b"NaN", False),
        (b"1e999", False),
        (b"[" * 5000 + b"]" * 5000, False),
        (b'"a " too many"', True),
        (b'"never ends', True),
    ],
    ids=["surrogate", "bytes", "nan", "infinity", "deep", "quote", "unended"],
)
def test_one_row_that_cannot_be_read_costs_no_other(
    instead: bytes, costs_row: bool, bench: Bench, service: OddService
) -> None:
    exporter = export(bench, service)
    exporter.until_listed()
    service.spoil = lambda body: body.replace(b'"@spoilt@"', instead)

    def meanwhile() -> None:
        for number in range(150):
            service.add(name="@spoilt@" if number == 100 else "n")

    outage(service, exporter, meanwhile)
    counted = 149 if costs_row else 150
    metrics = exporter.until_finished(counted)
    assert metrics.total("listing_rows_malformed_total") >= 1
    assert some_passes(service, exporter).total("workflows_finished_total") == counted


# Row 10: pages that are too large, or take too long ---------------------------------------------


def test_rows_of_200_kb_are_counted_all(bench: Bench, service: OddService) -> None:
    exporter = export(bench, service)
    exporter.until_listed()
    filler = "x" * 200_000
    outage(service, exporter, lambda: [service.add(graph=filler) for _ in range(90)])
    assert exporter.until_finished(90).total("workflows_finished_total") == 90


def test_a_row_that_is_too_large_by_itself_costs_that_row(
    bench: Bench, service: OddService
) -> None:
    exporter = export(bench, service)
    exporter.until_listed()
    heavy = "x" * 9_000_000

    def meanwhile() -> None:
        for number in range(120):
            service.add(graph=heavy if number == 60 else "")

    outage(service, exporter, meanwhile)
    metrics = exporter.until_finished(119)
    assert metrics.total("listing_rows_malformed_total") >= 1
    assert some_passes(service, exporter).total("workflows_finished_total") == 119


def test_pages_that_take_too_long_are_asked_for_in_parts(bench: Bench, service: OddService) -> None:
    exporter = export(bench, service, timeouts=Timeouts(body=0.3), tempo=Tempo(list_retry=0.0))
    exporter.until_listed()

    def meanwhile() -> None:
        for _ in range(90):
            service.add()
        service.stalls = lambda body: body.count(b'"id"') > 30

    outage(service, exporter, meanwhile)
    assert exporter.until_finished(90).total("workflows_finished_total") == 90


# Row 4: what runs again far down the list -------------------------------------------------------


@pytest.fixture
def deep(service: OddService) -> Row:
    """A settled workflow, 150 rows down the list."""
    row = service.add(age=900, completed_at=iso(time.time() - 890))
    for age in range(650, 500, -1):
        service.add(age=age)
    return row


@pytest.mark.parametrize("filters", [(), ("running", "queued"), None], ids=["none", "two", "all"])
def test_what_runs_again_far_down_the_list_is_seen_running(
    filters: tuple[str, ...] | None,
    bench: Bench,
    service: OddService,
    deep: Row,
) -> None:
    tempo = Tempo(open_check=0.0)
    if filters is None:
        service.ignores_filters = True
        tempo = Tempo(open_check=0.0, sweep=0.0)
    elif filters == ():
        service.filters = ()
        tempo = Tempo(open_check=0.0, sweep=0.0)
    exporter = export(bench, service, tempo=tempo)
    exporter.until_listed()
    service.change(deep, status="running", started_at=iso(time.time()), completed_at=None)
    exporter.until(lambda m: m("workflows", account="studio", status="running") == 1)
    now = iso(time.time() + 1)
    service.change(deep, status="completed", completed_at=now, updated_at=now)
    assert exporter.until_finished(1).total("workflows_finished_total") == 1


def test_what_ran_again_between_two_looks_is_found_by_the_sweep(
    bench: Bench, service: OddService, deep: Row
) -> None:
    exporter = export(bench, service, tempo=Tempo(sweep=0.0))
    exporter.until_listed()
    some_passes(service, exporter, 10)
    # In the same status as before: no total tells of it.
    started, ended = iso(time.time() + 1), iso(time.time() + 2)
    service.change(deep, started_at=started, completed_at=ended, updated_at=ended)
    assert exporter.until_finished(1).total("workflows_finished_total") == 1


def test_the_extra_looks_keep_to_the_share(bench: Bench, service: OddService) -> None:
    for age in range(700, 100, -1):
        service.add("running" if age % 2 else "completed", age=age)
    exporter = export(
        bench,
        service,
        rate_limit={"requests": 40, "per": "1s", "cooldown": "1s", "reserve": 0.25},
        tempo=Tempo(open_check=0.0, sweep=0.0),
    )
    exporter.until_listed()
    began, before = time.monotonic(), service.count()
    exporter.until(lambda _: time.monotonic() - began >= 4.0)
    # The looks live from the half that nobody uses.
    assert service.count() - before <= 4 * 30 * 0.7 + 10
    assert len(service.asked) <= 6 * 30


# Rows 11 and 16: a first start on a machine whose clock is wrong --------------------------------


@pytest.mark.parametrize("hours", [-1, 0, 1])
@pytest.mark.parametrize("tells_date", [True, False])
@pytest.mark.parametrize("over", [18, 0])
def test_the_line_is_drawn_by_the_service_alone(
    hours: float, tells_date: bool, over: int, bench: Bench, service: OddService
) -> None:
    def now() -> Moment:
        moment = clocks()
        return Moment(moment.wall + 3600 * hours, moment.monotonic)

    service.tells_date = tells_date
    for age in range(over + 30, 30, -1):
        service.add(age=age)
    exporter = export(bench, service, now=now)
    exporter.until_listed()
    time.sleep(1.1)  # the service tells its time in whole seconds
    for _ in range(62):
        service.add()
    assert exporter.until_finished(62).total("workflows_finished_total") == 62
    assert some_passes(service, exporter).total("workflows_finished_total") == 62


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_wrong_clock_has_nothing_read_again_where_nobody_tells_the_time(
    hours: float, bench: Bench, service: OddService
) -> None:
    def now() -> Moment:
        moment = clocks()
        return Moment(moment.wall + 3600 * hours, moment.monotonic)

    service.tells_date = False
    for age in range(550, 300, -1):
        service.add(age=age)
    exporter = export(bench, service, now=now)
    exporter.until_listed()
    before = service.count()
    some_passes(service, exporter, 12)
    with service.lock:
        deeper = [each for each in service.asked[before:] if each[1] > 1 and each[3] is None]
    assert len(deeper) <= 2


def test_rows_without_any_creation_time_are_counted(bench: Bench, service: OddService) -> None:
    for age in range(250, 100, -1):
        service.add(age=age, created_at=None)
    exporter = export(bench, service)
    exporter.until_listed()

    def meanwhile() -> None:
        for _ in range(250):
            service.add(created_at=None)

    outage(service, exporter, meanwhile)
    assert exporter.until_finished(250).total("workflows_finished_total") == 250


@pytest.mark.parametrize("order", ["created_at", "updated_at"])
def test_a_list_in_order_of_change_is_read_as_well(
    order: Literal["created_at", "updated_at"], bench: Bench, service: OddService
) -> None:
    old = [
        service.add("running", age=age, started_at=iso(time.time())) for age in range(400, 100, -1)
    ]
    exporter = export(bench, service)
    exporter.until(lambda m: m("workflows", account="studio", status="running") == 300)

    def meanwhile() -> None:
        for row in old[::2]:
            stamp = iso(time.time())
            service.change(row, status="completed", completed_at=stamp, updated_at=stamp)
        for _ in range(120):
            service.add()
        with service.lock:
            service.rows.sort(key=lambda row: str(row[order]), reverse=True)

    outage(service, exporter, meanwhile)
    assert exporter.until_finished(270).total("workflows_finished_total") == 270
