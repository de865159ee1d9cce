"""Ids that somebody named: right ones, wrong ones, early ones, and ones taken back."""

import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from exporter.following.poller import Poller
from exporter.following.tempo import Tempo
from exporter.history.outlook import STREAM_READ
from exporter.simulator import Simulator
from exporter.sources.files import WatchedFiles
from tests.integration.following.exporting import PATIENCE, QUIET, Bench, Exporter, hurried


@pytest.fixture
def push_token(tmp_path: Path) -> dict[str, Any]:
    file = tmp_path / "push"
    file.write_text("push-token")
    return {"push": {"token_file": str(file)}}


def dropped(exporter: Exporter, reason: str, count: int = 1) -> None:
    exporter.until(lambda m: m("workflows_dropped_total", account="studio", reason=reason) == count)


def streaming(simulator: Simulator, count: int = 1) -> None:
    simulator.wait_until(lambda truth: truth.streams_open == count, PATIENCE)


def asked(simulator: Simulator) -> int:
    requests = simulator.truth().requests
    return requests.get("subscribe", 0) + requests.get("get", 0)


def test_an_id_that_never_existed_is_dropped_after_the_grace_and_never_asked_for_again(
    bench: Bench, push_token: dict[str, Any]
) -> None:
    simulator = bench.simulate()
    never = str(uuid.uuid4())
    exporter = bench.export(
        bench.account(simulator, workflows=[never], **push_token), now=hurried(100)
    )
    dropped(exporter, "not_found")
    after = asked(simulator)
    # More than one 404, for it might have been a moment too early.
    assert after >= 2
    # Later, the supervisor and the poller look around again, and more than once.
    for count in (1, 2):
        workflow = simulator.create(scripted=True)
        exporter.app.pushed.push("studio", [workflow])
        streaming(simulator)
        exporter.on_loop(exporter.watched_by(Poller)._one_round())
        simulator.workflow(workflow).advance("completed")
        exporter.until_finished(count)
    assert asked(simulator) == after + 2
    dropped(exporter, "not_found")


def test_an_id_that_is_named_a_moment_too_early_is_followed(
    bench: Bench, push_token: dict[str, Any]
) -> None:
    simulator = bench.simulate()
    workflow = simulator.create(scripted=True)
    simulator.set_faults({"kind": "status", "code": 404, "workflow": workflow, "times": 3})
    exporter = bench.export(bench.account(simulator, **push_token))
    exporter.app.pushed.push("studio", [workflow])
    streaming(simulator)
    simulator.workflow(workflow).advance("completed")
    metrics = exporter.until_finished(1)
    assert metrics.total("workflows_dropped_total") == 0
    assert metrics("workflows_discovered_total", account="studio", source="pushed") == 1


@pytest.mark.parametrize(("code", "reason"), [(400, "malformed"), (403, "forbidden")])
def test_an_id_that_the_service_will_not_have_is_dropped_after_the_grace(
    bench: Bench, code: int, reason: str
) -> None:
    simulator = bench.simulate()
    workflow, good = simulator.create(scripted=True), simulator.create(scripted=True)
    simulator.set_faults({"kind": "status", "code": code, "workflow": workflow})
    exporter = bench.export(bench.account(simulator, workflows=[workflow, good]), now=hurried(100))
    began = exporter.app._now().monotonic
    dropped(exporter, reason)
    assert exporter.app._now().monotonic - began >= 30
    streaming(simulator)
    # More than one, for the service might have been behind.
    assert asked(simulator) >= 3
    assert exporter.scrape()("account_up", account="studio") == 1


def test_configured_ids_of_an_account_without_a_listing_are_counted(bench: Bench) -> None:
    simulator = bench.simulate()
    statuses = ["completed", "failed", "cancelled", "invalid"]
    workflows = {simulator.create(scripted=True): status for status in statuses}
    unnamed = simulator.create(scripted=True)
    exporter = bench.export(bench.account(simulator, workflows=list(workflows)))
    streaming(simulator, 4)
    for workflow, status in workflows.items():
        simulator.workflow(workflow).advance("running")
        simulator.workflow(workflow).advance(status)
    simulator.workflow(unnamed).advance("completed")
    metrics = exporter.until_finished(4)
    for status in statuses:
        assert metrics("workflows_finished_total", account="studio", status=status) == 1
    assert simulator.truth().requests == {"subscribe": 4}
    assert metrics("listing_last_success_timestamp_seconds", account="studio") is None


def test_an_id_that_was_over_before_we_first_looked_is_not_counted(bench: Bench) -> None:
    simulator = bench.simulate()
    workflow = simulator.create(scripted=True)
    simulator.workflow(workflow).advance("running")
    simulator.workflow(workflow).advance("completed", completed_at="2020-01-01T00:00:00Z")
    exporter = bench.export(bench.account(simulator, workflows=[workflow]))
    metrics = exporter.until_ended("finished")
    assert metrics.total("workflows_finished_total") == 0
    assert metrics.total("workflows") == 0


def test_pushed_ids_are_taken_up_once(bench: Bench, push_token: dict[str, Any]) -> None:
    simulator = bench.simulate()
    workflows = [simulator.create(scripted=True) for _ in range(3)]
    exporter = bench.export(bench.account(simulator, **push_token))
    first = exporter.app.pushed.push("studio", workflows[:2])
    second = exporter.app.pushed.push("studio", workflows)
    assert (first.taken_up, first.known) == (2, 0)
    assert (second.taken_up, second.known) == (1, 2)
    streaming(simulator, 3)
    for workflow in workflows:
        simulator.workflow(workflow).advance("completed")
    exporter.until_finished(3)
    assert asked(simulator) == 3


def test_an_id_that_is_pushed_while_it_waits_goes_before_those_that_only_the_list_shows(
    bench: Bench, push_token: dict[str, Any]
) -> None:
    # Streams of 240 s: none ends meanwhile.
    simulator = bench.simulate(speed=1)
    workflows = [simulator.create(scripted=True) for _ in range(60)]
    # Six requests a second: all of them take ten seconds.
    slow = {"requests": 8, "per": "1s", "reserve": 0.25}
    account = bench.account(simulator, listing={}, rate_limit=slow, **push_token)
    exporter = bench.export(account)
    # By then all the others have begun to wait for their turns.
    simulator.wait_until(lambda truth: truth.streams_open >= 8, PATIENCE)
    late = workflows[-1]
    assert exporter.app.pushed.push("studio", [late]).known == 1
    story = exporter.app.views.workflow

    def is_streamed(_: object) -> bool:
        found = story(late)
        return found is not None and found.row.next_step == STREAM_READ

    exporter.until(is_streamed)
    assert simulator.truth().streams_open <= 40


def test_a_pushed_id_that_is_taken_back_is_let_go(bench: Bench, push_token: dict[str, Any]) -> None:
    simulator = bench.simulate()
    workflow = simulator.create(scripted=True)
    exporter = bench.export(bench.account(simulator, **push_token))
    exporter.app.pushed.push("studio", [workflow])
    streaming(simulator)
    assert exporter.app.pushed.untrack("studio", workflow)
    streaming(simulator, 0)
    dropped(exporter, "withdrawn")
    assert exporter.scrape().total("workflows") == 0
    assert asked(simulator) == 1


def test_files_of_ids_are_followed_as_they_change(bench: Bench, tmp_path: Path) -> None:
    simulator = bench.simulate()
    first, second, third = (simulator.create(scripted=True) for _ in range(3))
    (tmp_path / "a.yml").write_text(f"- {first}\n- {second}\n")
    exporter = bench.export(bench.account(simulator, workflow_files=[str(tmp_path / "*.yml")]))
    streaming(simulator, 2)
    (tmp_path / "a.yml").write_text(f"- {second}\n")
    (tmp_path / "b.yml").write_text(f"- {third}\n- not an id\n")
    files = exporter.watched_by(WatchedFiles)
    files.check()
    exporter.until(lambda m: m.total("workflows", status="accepted") == 2)
    streaming(simulator, 2)
    dropped(exporter, "withdrawn")
    for workflow in (first, second, third):
        simulator.workflow(workflow).advance("completed")
    metrics = exporter.until_finished(2)
    assert metrics("workflows_discovered_total", account="studio", source="file") == 3
    # A settled one that leaves its file changes nothing.
    (tmp_path / "b.yml").unlink()
    files.check()
    assert exporter.scrape().total("workflows_finished_total") == 2
    assert exporter.scrape().total("workflows_dropped_total") == 1


def test_more_ids_than_streams_are_asked_for_one_by_one_without_a_listing(bench: Bench) -> None:
    simulator = bench.simulate(QUIET)
    workflows = [simulator.create(scripted=True) for _ in range(6)]
    exporter = bench.export(
        bench.account(simulator, workflows=workflows, max_streams=2),
        now=hurried(100),
        tempo=Tempo(poll=0.05),
    )
    streaming(simulator, 2)
    for workflow in workflows:
        simulator.workflow(workflow).advance(
            "failed",
            cause={
                "node_type": "KSampler",
                "exception_type": "ValueError",
                "exception_message": "no",
            },
        )
    exporter.until_finished(6)
    exporter.until(
        lambda m: (
            m(
                "workflow_failures_total",
                account="studio",
                node_type="KSampler",
                exception_type="ValueError",
            )
            == 6
        )
    )


def test_what_ends_after_the_start_counts_even_where_we_could_not_see_it_run(
    bench: Bench,
) -> None:
    simulator = bench.simulate()
    simulator.set_faults({"kind": "status", "code": 503})
    workflow = simulator.create(scripted=True)
    exporter = bench.export(bench.account(simulator, workflows=[workflow]))
    exporter.until_ended("refused")
    simulator.workflow(workflow).advance("running")
    simulator.workflow(workflow).advance("completed")
    simulator.set_faults()
    metrics = exporter.until_finished(1)
    assert metrics("workflows_finished_total", account="studio", status="completed") == 1


def test_a_pushed_id_has_its_stream_at_once_behind_a_crowd_of_listed_ones(
    bench: Bench, push_token: dict[str, Any]
) -> None:
    simulator = bench.simulate()
    for _ in range(150):
        simulator.create(scripted=True)
    limit = {"requests": 40, "per": "2s", "reserve": 0.5}
    account = bench.account(simulator, listing={"interval": "5s"}, **push_token, rate_limit=limit)
    exporter = bench.export(account)
    # All are known, and wait for their streams: over 15 s at this pace.
    exporter.until(lambda m: (m.total("workflows") or 0) == 150)
    simulator.wait_until(lambda truth: truth.streams_open >= 3, PATIENCE)
    pushed = simulator.create(scripted=True)
    exporter.app.pushed.push("studio", [pushed])
    followed = next(iter(exporter.app._accounts.followed.values())).reading
    exporter.until(lambda _: pushed in followed().followed, 6.0)
    assert len(followed().followed) < 100


@pytest.mark.slow
def test_a_pushed_id_has_its_stream_before_three_hundred_that_were_listed_before_it(
    bench: Bench, push_token: dict[str, Any]
) -> None:
    simulator = bench.simulate("limit: {}", speed=1)
    for _ in range(300):
        simulator.create(scripted=True)
    account = bench.account(simulator, listing={"interval": "5s"}, **push_token)
    del account["rate_limit"]
    exporter = bench.export(account)
    exporter.until(lambda m: m.total("workflows") == 300)
    workflow = simulator.create(scripted=True)
    began = time.monotonic()
    exporter.app.pushed.push("studio", [workflow])
    followed = exporter.app._accounts.followed["studio"]
    exporter.until(lambda _: workflow in followed._streaming(), seconds=60)
    # A place in the service's window comes free within its period of 10 s.
    assert time.monotonic() - began < 15
    assert simulator.truth().streams_open < 150
    assert simulator.truth().refusals == {}
