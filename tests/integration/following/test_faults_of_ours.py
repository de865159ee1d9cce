"""A fault of our own, such as a ledger that cannot write, must not become load on the service."""

import threading
from functools import partial
from typing import Any

import pytest

from exporter.budget.sliding_window import Priority
from exporter.following.access import AccountAccess
from exporter.following.follower import Follower
from exporter.following.tempo import Tempo
from exporter.following.threads import NoThreadError
from exporter.interfaces.observations import Observation
from exporter.ledger.ledger import Ledger
from exporter.retrying import Backoff
from exporter.simulator import Truth
from tests.integration.following.exporting import LISTED, PATIENCE, Bench, Exporter, never_again


def break_ledger(monkeypatch: pytest.MonkeyPatch) -> None:
    def observe(_: Ledger, __: Observation) -> bool:
        raise OSError("no space left on device")

    monkeypatch.setattr(Ledger, "observe", observe)


def test_a_follower_whose_observations_are_not_taken_backs_off(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulator = bench.simulate()
    workflow, other = simulator.create(scripted=True), simulator.create(scripted=True)
    break_ledger(monkeypatch)
    exporter = bench.export(
        bench.account(simulator, workflows=[workflow, other]), jitter=never_again
    )
    exporter.until(lambda m: m.total("stream_snapshots_total") == 2)
    # Long enough for a supervisor that starts them again to have done so.
    looks = threading.Event()
    looks.wait(1.0)
    assert simulator.truth().requests["subscribe"] == 2


def test_when_the_ledger_takes_observations_again_everything_goes_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulator = bench.simulate()
    with monkeypatch.context() as broken:
        break_ledger(broken)
        workflow = simulator.create(scripted=True)
        exporter = bench.export(bench.account(simulator, workflows=[workflow], **LISTED))
        exporter.until(lambda m: m.total("listing_pages_total") >= 2)
        exporter.until(lambda m: m.total("stream_snapshots_total") >= 2)
    late = simulator.create(scripted=True)
    simulator.wait_until(lambda truth: truth.streams_open == 2, PATIENCE)
    for one in (workflow, late):
        simulator.workflow(one).advance("completed")
    exporter.until_finished(2)


def test_threads_that_cannot_be_had_are_had_later(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulator = bench.simulate()
    workflows = [simulator.create(scripted=True) for _ in range(3)]
    failures = iter([True])
    ask = AccountAccess.ask

    async def fail_at_first(
        access: AccountAccess, priority: Priority, *parts: Any, **how: Any
    ) -> Any:
        if priority is Priority.NAMED_STREAM and next(failures, False):
            raise NoThreadError("can't start new thread")
        return await ask(access, priority, *parts, **how)

    monkeypatch.setattr(AccountAccess, "ask", fail_at_first)
    bench.export(bench.account(simulator, workflows=workflows), tempo=Tempo(without_threads=1.0))
    simulator.wait_until(lambda truth: truth.streams_open == 3, PATIENCE)


def opened(count: int, truth: Truth) -> bool:
    return truth.streams_open >= count


def test_stopping_while_followers_are_being_started_leaves_none(bench: Bench) -> None:
    simulator = bench.simulate()
    workflows = [simulator.create(scripted=True) for _ in range(60)]
    for count in (0, 1, 20, 50):
        exporter: Exporter = bench.export(bench.account(simulator, workflows=workflows))
        if count:
            simulator.wait_until(partial(opened, count), PATIENCE)
        assert exporter.app.stop()
        supervisor = exporter.app._accounts.followed["studio"]._supervisor
        assert supervisor._followers == {}
        simulator.wait_until(lambda truth: truth.streams_open == 0, PATIENCE)


def test_a_follower_that_is_stopped_before_its_first_step_asks_nothing(bench: Bench) -> None:
    simulator = bench.simulate()
    # One that nobody else asks for either.
    workflow = "00000000-0000-4000-8000-000000000001"
    exporter = bench.export(bench.account(simulator, listing={"interval": "1h"}))
    exporter.until(lambda m: m("account_up", account="studio") == 1)
    ended = threading.Event()
    parts = exporter.app._accounts.followed["studio"]
    follower = Follower(
        parts._access,
        exporter.app._ledger,
        exporter.app._instruments,
        workflow,
        priority=Priority.NEW_STREAM,
        now=exporter.app._now,
        backoff=Backoff(never_again),
        on_end=lambda _: ended.set(),
    )
    before = simulator.truth().requests.get("subscribe", 0)

    def start_and_stop() -> None:
        follower.start()
        follower.stop()

    exporter.app._loop.call(start_and_stop)
    assert ended.wait(PATIENCE)
    assert simulator.truth().requests.get("subscribe", 0) == before


def test_a_follower_that_breaks_is_told_of_and_its_workflow_gets_another(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    simulator = bench.simulate()
    workflow = simulator.create(scripted=True)
    failures = iter([True])
    follow = Follower._follow

    async def fail_at_first(follower: Follower) -> None:
        if next(failures, False):
            raise LookupError("a fault of ours")
        await follow(follower)

    monkeypatch.setattr(Follower, "_follow", fail_at_first)
    bench.export(bench.account(simulator, workflows=[workflow]))
    simulator.wait_until(lambda truth: truth.streams_open == 1, PATIENCE)
    told = [r for r in caplog.records if r.getMessage() == "following failed"]
    assert [getattr(r, "error", None) for r in told] == ["LookupError"]
