"""Whatever the service's documents leave open, totals, causes and durations are right."""

import time

import pytest

from tests.integration.following.exporting import NO_LIMIT, Bench, Exporter, Metrics
from tests.integration.silent.cases import cases
from tests.integration.silent.service import Case, Service

LOOKS = 2
"""How often each account's list is read whole in a step, at least."""
PATIENCE = 120.0
"""Seconds for a step on a busy machine, and for what is owed at the end."""


def account(number: int) -> str:
    """The name of a case's account, which its token ends in."""
    return f"a{number}"


@pytest.mark.timeout(900)
def test_what_the_documents_leave_open_is_counted_once_and_right(bench: Bench) -> None:
    """All cases at once, an account each: a test for each would wait as long for each."""
    known = cases()
    with Service(known) as service:
        exporter = bench.export(
            *(
                {
                    "name": account(number),
                    "token": f"cfc_{account(number)}",
                    "base_url": service.base_url,
                    "rate_limit": NO_LIMIT,
                    "listing": {"interval": "2s"},
                }
                for number in range(len(known))
            )
        )
        for step in range(max(len(case.steps) for case in known)):
            for case in known:
                case.step = min(step, len(case.steps) - 1)
            _until_read(service, known, exporter)
            time.sleep(2.0)  # streams, and the rest of a pass
        deadline = time.monotonic() + PATIENCE
        while (wrong := _wrong(known, exporter.scrape())) and time.monotonic() < deadline:
            time.sleep(1.0)
        bench.close()
    assert wrong == {}


def _until_read(service: Service, known: list[Case], exporter: Exporter) -> None:
    """Wait until each account's list was read, where its service lets it be."""
    before = dict(service.listed)

    def is_read(case: Case) -> bool:
        refused = case.refuses.get(case.step)
        if refused is not None and not refused[1].endswith("*"):
            return True
        return service.listed[case.name] >= before.get(case.name, 0) + LOOKS

    exporter.until(lambda _: all(map(is_read, known)), PATIENCE)


def _wrong(known: list[Case], metrics: Metrics) -> dict[str, str]:
    """What was counted of each case that is not as expected."""
    found = {}
    for number, case in enumerate(known):
        outcomes = _outcomes(account(number), metrics)
        causes = _causes(account(number), metrics)
        ran = metrics.total("workflow_run_duration_seconds_sum", account=account(number))
        measured = metrics.total("workflow_run_duration_seconds_count", account=account(number))
        is_right = (
            outcomes == case.expected
            and (case.causes is None or causes == case.causes)
            and (case.seconds is None or abs(ran - case.seconds) < 0.01)
            and case.measured in {None, measured}
        )
        if not is_right:
            found[case.name] = f"{outcomes}, {causes}, {ran} s of {measured}, for {case.expected}"
    return found


def _outcomes(name: str, metrics: Metrics) -> dict[str, int]:
    totals = {
        status: int(metrics.total("workflows_finished_total", account=name, status=status))
        for status in ("completed", "failed", "cancelled", "invalid", "other")
    }
    return {status: total for status, total in totals.items() if total}


def _causes(name: str, metrics: Metrics) -> dict[tuple[str, str], int]:
    return {
        (dict(labels)["node_type"], dict(labels)["exception_type"]): int(value)
        for labels, value in metrics.series("workflow_failures_total").items()
        if dict(labels)["account"] == name
    }
