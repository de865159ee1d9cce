"""Whatever the service's documents leave open, totals, causes and durations are right."""

import time
from collections.abc import Iterator
from functools import cache

import pytest

from tests.integration.following.exporting import NO_LIMIT, Bench, Exporter, Metrics
from tests.integration.silent.cases import cases
from tests.integration.silent.service import Case, Service

pytestmark = pytest.mark.timeout(900)

LOOKS = 2
"""How often each account's list is read whole in a step, at least."""
PATIENCE = 120.0
"""Seconds for a step on a busy machine, and for what is owed at the end."""

NAMES = [case.name for case in cases()]


@cache
def account(name: str) -> str:
    """The name of a case's account."""
    return f"a{NAMES.index(name)}"


@pytest.fixture(scope="module")
def followed() -> Iterator[dict[str, tuple[Case, Metrics]]]:
    """What was counted once all steps are over, by case."""
    bench, known = Bench(), cases()
    with Service(known) as service:
        exporter = bench.export(
            *(
                {
                    "name": account(case.name),
                    "token": f"cfc_{account(case.name)}",
                    "base_url": service.base_url,
                    "rate_limit": NO_LIMIT,
                    "listing": {"interval": "2s"},
                }
                for case in known
            )
        )
        try:
            for step in range(max(len(case.steps) for case in known)):
                for case in known:
                    case.step = min(step, len(case.steps) - 1)
                _until_read(service, known, exporter)
                time.sleep(2.0)  # streams, and the rest of a pass
            exporter.until(lambda m: all(_is_paid(case, m) for case in known), PATIENCE)
        except pytest.fail.Exception:
            pass  # the tests say which
        metrics = exporter.scrape()
        yield {case.name: (case, metrics) for case in known}
    bench.close()


def _until_read(service: Service, known: list[Case], exporter: Exporter) -> None:
    """Wait until each account's list was read, where its service lets it be."""
    before = dict(service.listed)

    def is_read(case: Case) -> bool:
        refused = case.refuses.get(case.step)
        if refused is not None and not refused[1].endswith("*"):
            return True
        return service.listed[case.name] >= before.get(case.name, 0) + LOOKS

    exporter.until(lambda _: all(map(is_read, known)), PATIENCE)


def counted(case: Case, metrics: Metrics) -> dict[str, int]:
    """Outcomes of a case, by status."""
    statuses = ("completed", "failed", "cancelled", "invalid", "other")
    totals = {
        s: int(metrics.total("workflows_finished_total", account=account(case.name), status=s))
        for s in statuses
    }
    return {status: total for status, total in totals.items() if total}


def causes(case: Case, metrics: Metrics) -> dict[tuple[str, str], int]:
    """Failures of a case, by node and exception."""
    return {
        (dict(labels)["node_type"], dict(labels)["exception_type"]): int(value)
        for labels, value in metrics.series("workflow_failures_total").items()
        if dict(labels)["account"] == account(case.name)
    }


def ran_for(case: Case, metrics: Metrics) -> float:
    """All runs of a case together, seconds."""
    return metrics.total("workflow_run_duration_seconds_sum", account=account(case.name))


def _is_paid(case: Case, metrics: Metrics) -> bool:
    return (
        counted(case, metrics) == case.expected
        and (case.causes is None or causes(case, metrics) == case.causes)
        and (
            case.seconds is None or ran_for(case, metrics) == pytest.approx(case.seconds, abs=0.01)
        )
    )


@pytest.mark.parametrize("name", NAMES)
def test_what_the_documents_leave_open_is_counted_once(
    followed: dict[str, tuple[Case, Metrics]], name: str
) -> None:
    case, metrics = followed[name]
    assert counted(case, metrics) == case.expected
    if case.causes is not None:
        assert causes(case, metrics) == case.causes
    if case.seconds is not None:
        assert ran_for(case, metrics) == pytest.approx(case.seconds, abs=0.01)
