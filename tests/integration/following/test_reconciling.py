"""The service's totals against ours, over real sockets."""

from pathlib import Path

import pytest

from exporter.app.app import App
from exporter.config import Config
from exporter.following.reconciling import Pace
from exporter.interfaces.observations import Status as Known
from exporter.simulator import Simulator
from exporter.simulator.register import Register
from exporter.simulator.workflow import Workflow
from tests.integration.following.exporting import (
    LISTED,
    PATIENCE,
    Bench,
    Exporter,
    Metrics,
    soon,
)

HURRIED = Pace(every=0.6, settle=0.2, page=0.02, again=0.5)
"""Compared at once."""


class Hidden:
    """Workflows that a list shows only when they have ended, and it is asked for their status."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ids: set[str] = set()
        self._is_making = False
        page, count = Register.page, Register.count

        def shown(
            register: Register, number: int, per_page: int, status: str | None = None
        ) -> list[Workflow]:
            if status not in {None, "queued", "running"}:
                return page(register, number, per_page, status)
            # The open ones of one status are read too, now and then.
            rows = [
                w
                for w in reversed(list(register))
                if not self._hides(w) and status in {None, w.status}
            ]
            return rows[(number - 1) * per_page : number * per_page]

        def total(register: Register, status: str | None = None) -> int:
            hidden = 0 if status else sum(map(self._hides, register))
            return count(register, status) - hidden

        monkeypatch.setattr(Register, "page", shown)
        monkeypatch.setattr(Register, "count", total)

    def ends(self, simulator: Simulator, status: str) -> None:
        """One ends, and no list that is read has ever shown it."""
        self._is_making = True
        handle = simulator.workflow(simulator.create(scripted=True))
        self.ids.add(handle.id)
        handle.advance("running")
        handle.advance(status)
        self._is_making = False

    def _hides(self, workflow: Workflow) -> bool:
        return workflow.id in self.ids or (self._is_making and not workflow.status.final)


@pytest.fixture
def hidden(monkeypatch: pytest.MonkeyPatch) -> Hidden:
    return Hidden(monkeypatch)


def is_compared(metrics: Metrics) -> bool:
    return metrics("reconciliation_difference", account="studio", status="completed") == 0


def recovered(metrics: Metrics) -> float | None:
    return metrics("reconciliation_recovered_total", account="studio")


def live(simulator: Simulator, exporter: Exporter, count: int) -> None:
    """Some come and end in sight of everybody."""
    before = exporter.scrape().total("workflows_finished_total")
    handles = [simulator.workflow(simulator.create(scripted=True)) for _ in range(count)]
    for handle in handles:
        handle.advance("running")
    exporter.until(lambda m: m.total("workflows") == count)
    for handle in handles:
        handle.advance("completed")
    exporter.until_finished(int(before) + count)


def test_what_no_list_has_shown_is_found_by_its_total_and_counted_once(
    bench: Bench, hidden: Hidden
) -> None:
    simulator = bench.simulate()
    exporter = bench.export(bench.account(simulator, **LISTED), reconciling=HURRIED)
    live(simulator, exporter, 3)
    exporter.until(is_compared)
    hidden.ends(simulator, "failed")
    metrics = exporter.until(lambda m: recovered(m) == 1)
    assert metrics("workflows_finished_total", account="studio", status="failed") == 1
    metrics = exporter.until(
        lambda m: m("reconciliation_difference", account="studio", status="failed") == 0
    )
    assert metrics("service_workflows", account="studio", status="completed") == 3
    assert metrics("service_workflows", account="studio", status="failed") == 1
    # It has a cause like any other, and shows itself late without being counted again.
    exporter.until(lambda m: m.total("workflow_failures_total") == 1)
    hidden.ids.clear()
    passed = metrics("listing_last_success_timestamp_seconds", account="studio")
    metrics = exporter.until(
        lambda m: m("listing_last_success_timestamp_seconds", account="studio") != passed
    )
    assert metrics.total("workflows_finished_total") == 4
    # The simulator refuses to filter by `invalid`: it is not compared, and the rest is.
    assert metrics("service_workflows", account="studio", status="invalid") is None
    assert metrics("reconciliation_last_success_timestamp_seconds", account="studio")
    assert metrics("account_up", account="studio") == 1


def test_nothing_is_compared_where_the_configuration_says_so(bench: Bench) -> None:
    simulator = bench.simulate()
    account = bench.account(simulator, **LISTED)
    exporter = bench.export(account, reconciling=HURRIED)
    exporter.until(is_compared)
    for listing in ({"reconcile": False}, {"tags": ["production"]}):
        exporter.reload({**account, "listing": {"interval": "1s", **listing}})
        metrics = exporter.scrape()
        assert not any(
            metrics.series(name)
            for name in ("service_workflows", "reconciliation_last_success_timestamp_seconds")
        )
        # What is counted meanwhile by other rules is no difference later.
        assert exporter.app._ledger.baselines("studio") == {}
    exporter.reload(account)
    exporter.until(is_compared)


def test_what_was_missed_while_the_exporter_was_down_is_found_after_the_restart(
    bench: Bench, hidden: Hidden, tmp_path: Path
) -> None:
    simulator = bench.simulate()

    def start() -> Exporter:
        account = bench.account(simulator, **LISTED)
        config = Config.model_validate({"accounts": [account]})
        app = App(config, storage=tmp_path, jitter=soon, reconciling=HURRIED)
        app.start()
        return Exporter(app)

    exporter = start()
    live(simulator, exporter, 2)
    # Until the last of them had been counted for a while, they might have been there before.
    exporter.until(is_compared)
    exporter.until(lambda _: exporter.app._ledger.baselines("studio")[Known.COMPLETED].value == 0)
    exporter.app.stop()
    hidden.ends(simulator, "completed")
    exporter = start()
    metrics = exporter.until(lambda m: recovered(m) == 1)
    assert metrics.total("workflows_finished_total") == 3
    exporter.app.stop()


@pytest.mark.slow
def test_it_keeps_within_the_share_whatever_it_reads(bench: Bench, hidden: Hidden) -> None:
    simulator = bench.simulate("start: {finished: 400}", speed=1.0)
    greedy = Pace(every=1.0, settle=0.2, page=0.0, again=0.1)
    exporter = bench.export(
        bench.account(simulator, rate_limit={}, listing={"interval": "2s"}), reconciling=greedy
    )
    exporter.until(is_compared, 2 * PATIENCE)
    hidden.ends(simulator, "cancelled")
    exporter.until(lambda m: recovered(m) == 1, 2 * PATIENCE)
    truth = simulator.truth()
    assert not truth.refusals
    # What is left of the share is for the one who comes.
    assert truth.busiest_window <= 30
