"""What an exporter has counted, beside what anyone who follows the service must have counted."""

import time
from collections import Counter
from dataclasses import dataclass
from textwrap import dedent
from typing import Any

import pytest

from exporter.ledger.forms import COUNTERS
from exporter.simulator import Simulator, Truth
from tests.integration.following.exporting import Bench, Exporter

APP: dict[str, Any] = {}
"""What every exporter here is given besides its configuration. The one place for how long a new
series is held at 0, and for telling that the service is known to be fresh."""

QUICK = """
stages: {accepted: 100ms, uploaded: 100ms, pickup: 100ms}
runners: [{name: gpu, count: 8}]
"""
"""What happens to a workflow before it runs does not take long."""

LISTING: dict[str, Any] = {"listing": {"interval": "2s"}}
"""Listed at a pace that the service's limit bears: these tests never lift it."""

PATIENCE = 40.0
"""Seconds for what an exporter within the limit does in some passes of the list."""

STAYS_SECONDS = 5.0
"""For so long nothing more may be counted once all is right: what is counted twice comes late."""

MOST_REQUESTS = 30
"""In any 10 s: what the documented limit leaves after the default reserve."""

TOLERANCE_SECONDS = 1e-6


@dataclass(frozen=True)
class Counted:
    """What an exporter shows of an account."""

    outcomes: dict[str, int]
    causes: dict[tuple[str, str], int]
    runs: dict[str, int]
    run_seconds: dict[str, float]


def counted(exporter: Exporter) -> Counted:
    """What this exporter has counted until now."""
    metrics = exporter.scrape()
    outcomes = metrics.series("workflows_finished_total")
    runs = metrics.series("workflow_run_duration_seconds_count")
    seconds = metrics.series("workflow_run_duration_seconds_sum")
    return Counted(
        {dict(labels)["status"]: int(value) for labels, value in outcomes.items()},
        _causes(exporter),
        {dict(labels)["status"]: int(value) for labels, value in runs.items()},
        {dict(labels)["status"]: value for labels, value in seconds.items()},
    )


def _causes(exporter: Exporter) -> dict[tuple[str, str], int]:
    # Not from a scrape: series with labels that nobody could know are held at 0 for a while.
    totals = exporter.app._ledger.snapshot().totals
    found: Counter[tuple[str, str]] = Counter()
    for kept, total in totals.counters_named("failures"):
        labels = COUNTERS["failures"].named(kept)
        found[labels["node_type"], labels["exception_type"]] += int(total.value)
    return {cause: count for cause, count in found.items() if count}


def differences(found: Counted, truth: Truth) -> list[str]:
    """Every way in which the two disagree."""
    told = []
    if found.outcomes != truth.outcomes():
        told.append(f"outcomes: {found.outcomes}, in truth {truth.outcomes()}")
    if found.causes != truth.causes():
        told.append(f"causes: {found.causes}, in truth {truth.causes()}")
    durations = truth.run_durations()
    if found.runs != {status: each.count for status, each in durations.items()}:
        told.append(f"runs: {found.runs}, in truth {durations}")
    for status, each in durations.items():
        sum_ = found.run_seconds.get(status, 0.0)
        if not each.least - TOLERANCE_SECONDS <= sum_ <= each.most + TOLERANCE_SECONDS:
            told.append(f"seconds of {status}: {sum_}, in truth {each}")
    return told


@dataclass
class Case:
    """A service with a trait, and an exporter that follows it within the service's real limit."""

    simulator: Simulator
    exporter: Exporter

    def ready(self) -> None:
        """Wait until the exporter has read the list once: the line is drawn."""
        self.exporter.until(
            lambda m: m("listing_last_success_timestamp_seconds", account="studio"), PATIENCE
        )

    def all_ended(self, count: int, seconds: float = PATIENCE) -> Truth:
        """Wait until so many executions have ended since the start."""
        return self.simulator.wait_until(lambda truth: len(truth.reported()) >= count, seconds)

    def agrees(self, count: int, seconds: float = PATIENCE) -> None:
        """Wait until the exporter has counted what happened, and see that it stays so.

        Args:
            count: executions that must have ended, so that nothing agrees by being empty.
            seconds: how long counting may take after they have.
        """
        self.all_ended(count, seconds)
        deadline = time.monotonic() + seconds
        while differences(counted(self.exporter), self.simulator.truth()):
            if time.monotonic() > deadline:
                break
            time.sleep(0.1)
        else:
            time.sleep(STAYS_SECONDS)
        truth = self.simulator.truth()
        assert len(truth.reported()) == count, truth.outcomes()
        if found := differences(counted(self.exporter), truth):
            pytest.fail("\n".join(found))
        self.is_polite()

    def is_polite(self) -> None:
        """See that no request was refused, and how near to it they came."""
        truth = self.simulator.truth()
        assert sum(truth.refusals.values()) == 0, truth.refusals
        assert truth.busiest_window <= MOST_REQUESTS, truth.busiest_window


class Cases:
    """Starts services and exporters, and stops them with the test."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench

    def service(self, scenario: str, *, base: str = QUICK, speed: float = 10.0) -> Simulator:
        """Start a service with the documented limit.

        Args:
            scenario: what is special about it.
            base: what else there is.
            speed: seconds of its day in a real one.
        """
        return self.bench.simulate(f"{base}\n{dedent(scenario)}", speed=speed)

    def follow(
        self,
        simulator: Simulator,
        *,
        more: dict[str, Any] | None = None,
        **account: Any,
    ) -> Case:
        """Start an exporter.

        Args:
            simulator: what it follows.
            more: what `Bench.export` takes besides accounts.
            account: of its configuration, in the place of being listed.
        """
        config = self.bench.account(simulator, **(account or LISTING))
        del config["rate_limit"]
        return Case(simulator, self.bench.export(config, **APP, **(more or {})))


@pytest.fixture
def cases(bench: Bench) -> Cases:
    """Starts services and exporters, and stops them with the test."""
    return Cases(bench)
