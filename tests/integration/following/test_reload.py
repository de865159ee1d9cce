"""A configuration that changes under a running exporter; what stays the same goes on."""

import threading
import uuid
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.config import Config, TokenSource, TokenUnreadableError
from exporter.config.id_files import IdFile, read_ids
from exporter.simulator import Simulator
from tests.integration.following.exporting import (
    LISTED,
    PATIENCE,
    QUIET,
    Bench,
    hurried,
    never_again,
)

TWO = f"{QUIET}\naccounts: [{{name: studio, tokens: [cfc_studio]}}, {{name: agency}}]"


def streaming(simulator: Simulator, count: int) -> None:
    simulator.wait_until(lambda truth: truth.streams_open == count, PATIENCE)


def subscribed(simulator: Simulator) -> int:
    return simulator.truth().requests.get("subscribe", 0)


def test_ids_come_and_go_without_touching_the_streams_of_others(bench: Bench) -> None:
    simulator = bench.simulate()
    first, second, third, late = (simulator.create(scripted=True) for _ in range(4))
    exporter = bench.export(bench.account(simulator, workflows=[first, second, third]))
    streaming(simulator, 3)
    exporter.reload(bench.account(simulator, workflows=[first, second, late]))
    metrics = exporter.until(lambda m: m.total("workflows_dropped_total") == 1)
    assert metrics("workflows_dropped_total", account="studio", reason="withdrawn") == 1
    simulator.wait_until(
        lambda truth: truth.streams_open == 3 and truth.requests["subscribe"] == 4, PATIENCE
    )
    # Named again: followed again.
    exporter.reload(bench.account(simulator, workflows=[first, second, third, late]))
    streaming(simulator, 4)
    for workflow in (first, second, third, late):
        simulator.workflow(workflow).advance("completed")
    metrics = exporter.until_finished(4)
    assert metrics("workflows_finished_total", account="studio", status="completed") == 4
    assert subscribed(simulator) == 5


def test_an_id_that_moves_into_a_file_and_back_keeps_its_stream(
    bench: Bench, tmp_path: Path
) -> None:
    simulator = bench.simulate()
    workflow = simulator.create(scripted=True)
    file = tmp_path / "ids.yml"
    file.write_text(yaml.safe_dump([workflow]))
    in_config = bench.account(simulator, workflows=[workflow], push=push(tmp_path))
    in_file = bench.account(simulator, workflow_files=[str(file)], push=push(tmp_path))
    exporter = bench.export(in_config)
    streaming(simulator, 1)
    exporter.reload(in_file)
    exporter.reload(in_config)
    exporter.reload(in_file)
    assert exporter.scrape().total("workflows_dropped_total") == 0
    simulator.workflow(workflow).advance("completed")
    exporter.until_finished(1)
    assert subscribed(simulator) == 1


def push(folder: Path) -> dict[str, str]:
    file = folder / "push"
    file.write_text("push-token")
    return {"token_file": str(file)}


def test_an_id_that_was_pushed_first_is_not_withdrawn_by_the_file(
    bench: Bench, tmp_path: Path
) -> None:
    simulator = bench.simulate()
    workflow = simulator.create(scripted=True)
    exporter = bench.export(bench.account(simulator, push=push(tmp_path)))
    exporter.app.pushed.push("studio", [workflow])
    streaming(simulator, 1)
    exporter.reload(bench.account(simulator, push=push(tmp_path), workflows=[workflow]))
    exporter.reload(bench.account(simulator, push=push(tmp_path)))
    assert exporter.scrape().total("workflows_dropped_total") == 0
    assert simulator.truth().streams_open == 1


def test_an_id_that_was_pushed_as_well_is_not_withdrawn_by_the_file(
    bench: Bench, tmp_path: Path
) -> None:
    simulator = bench.simulate()
    workflow = simulator.create(scripted=True)
    allowed = bench.account(simulator, push=push(tmp_path))
    exporter = bench.export({**allowed, "workflows": [workflow]})
    streaming(simulator, 1)
    exporter.app.pushed.push("studio", [workflow])
    exporter.reload(allowed)
    assert exporter.scrape().total("workflows_dropped_total") == 0
    simulator.workflow(workflow).advance("completed")
    exporter.until_finished(1)
    assert subscribed(simulator) == 1


def test_an_id_that_was_withdrawn_is_followed_anew_when_a_file_names_it(
    bench: Bench, tmp_path: Path
) -> None:
    simulator = bench.simulate()
    stays, comes_back = (simulator.create(scripted=True) for _ in range(2))
    file = tmp_path / "ids.yml"
    file.write_text(yaml.safe_dump([comes_back]))
    exporter = bench.export(bench.account(simulator, workflows=[stays, comes_back]))
    streaming(simulator, 2)
    exporter.reload(bench.account(simulator, workflows=[stays]))
    streaming(simulator, 1)
    exporter.reload(bench.account(simulator, workflows=[stays], workflow_files=[str(file)]))
    streaming(simulator, 2)


def test_a_file_of_ids_that_makes_no_sense_just_now_keeps_its_ids_when_another_is_added(
    bench: Bench, tmp_path: Path
) -> None:
    simulator = bench.simulate()
    workflows = [simulator.create(scripted=True) for _ in range(2)]
    files = [tmp_path / "first.yml", tmp_path / "second.yml"]
    for file, workflow in zip(files, workflows, strict=True):
        file.write_text(yaml.safe_dump([workflow]))
    exporter = bench.export(bench.account(simulator, workflow_files=[str(files[0])]))
    streaming(simulator, 1)
    files[0].write_text("{nonsense: [")
    exporter.reload(bench.account(simulator, workflow_files=[str(file) for file in files]))
    streaming(simulator, 2)
    assert exporter.scrape().total("workflows_dropped_total") == 0
    assert subscribed(simulator) == 2


def test_an_end_does_not_wait_for_a_reload_that_reads_what_never_answers(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulator = bench.simulate(TWO)
    account = bench.account(simulator, workflows=[simulator.create(scripted=True)])
    exporter = bench.export(account)
    streaming(simulator, 1)
    ids = tmp_path / "ids.yml"
    ids.write_text("[]")
    asked, answered = threading.Event(), threading.Event()

    def read_from_a_disk_that_is_gone(path: Path) -> IdFile:
        asked.set()
        assert answered.wait(2 * PATIENCE)
        return read_ids(path)

    # A network file system whose server is away blocks so; no file here can.
    monkeypatch.setattr("exporter.sources.files.read_ids", read_from_a_disk_that_is_gone)
    reload = threading.Thread(
        target=exporter.reload, args=({**account, "workflow_files": [str(ids)]},), daemon=True
    )
    reload.start()
    assert asked.wait(PATIENCE)
    ended: list[bool] = []
    end = threading.Thread(target=lambda: ended.append(exporter.app.stop()), daemon=True)
    end.start()
    end.join(PATIENCE)
    try:
        # It came; and told that something was left that would not end.
        assert ended == [False]
    finally:
        answered.set()
        reload.join(PATIENCE)
    assert not reload.is_alive()


def test_an_account_is_added_beside_another(bench: Bench) -> None:
    simulator = bench.simulate(TWO)
    ours, theirs = (simulator.create(name, scripted=True) for name in ("studio", "agency"))
    studio = bench.account(simulator, workflows=[ours])
    exporter = bench.export(studio)
    streaming(simulator, 1)
    exporter.until(lambda _: exporter.app.is_ready())
    # One that is never answered takes nobody's readiness.
    unanswered = bench.account(simulator, "agency", workflows=[theirs])
    unanswered["base_url"] = "http://127.0.0.1:9"
    exporter.reload(studio, unanswered)
    assert exporter.app.is_ready()
    metrics = exporter.scrape()
    # Its counters begin at 0, as those of any account do.
    assert metrics("workflows_finished_total", account="agency", status="failed") == 0
    exporter.reload(studio, bench.account(simulator, "agency", workflows=[theirs]))
    streaming(simulator, 2)
    for workflow in (ours, theirs):
        simulator.workflow(workflow).advance("completed")
    metrics = exporter.until_finished(2)
    assert metrics.total("workflows_finished_total", account="agency") == 1
    assert simulator.truth().requests["subscribe"] == 2


def test_an_account_goes_and_comes_back_and_nothing_is_lost_or_counted_twice(
    bench: Bench,
) -> None:
    simulator = bench.simulate(TWO)
    before, meanwhile, open_ = (simulator.create("agency", scripted=True) for _ in range(3))
    stays = simulator.create("studio", scripted=True)
    studio = bench.account(simulator, workflows=[stays])
    agency = bench.account(simulator, "agency", **LISTED)
    exporter = bench.export(studio, agency)
    streaming(simulator, 4)
    simulator.workflow(before).advance("completed")
    exporter.until_finished(1)

    exporter.reload(studio)
    streaming(simulator, 1)
    metrics = exporter.scrape()
    assert not [key for key in metrics._samples if ("account", "agency") in key[1]]
    assert metrics.total("exporter_ledger_workflows", state="open") == 1
    simulator.workflow(meanwhile).advance("failed")

    exporter.reload(studio, agency)
    metrics = exporter.until(lambda m: m.total("workflows_finished_total") == 2)
    assert metrics("workflows_finished_total", account="agency", status="completed") == 1
    assert metrics("workflows_finished_total", account="agency", status="failed") == 1
    streaming(simulator, 2)
    simulator.workflow(open_).advance("cancelled")
    simulator.workflow(stays).advance("completed")
    metrics = exporter.until_finished(4)
    assert metrics.total("workflows_finished_total") == 4
    assert metrics.total("workflows_discovered_total", account="agency") == 3


def test_an_account_that_moves_to_another_address_goes_on(bench: Bench) -> None:
    here, there = bench.simulate(), bench.simulate()
    old, new = here.create(scripted=True), there.create(scripted=True)
    exporter = bench.export(bench.account(here, workflows=[old]))
    streaming(here, 1)
    exporter.reload(bench.account(there, workflows=[new]))
    streaming(here, 0)
    streaming(there, 1)
    there.workflow(new).advance("completed")
    metrics = exporter.until_finished(1)
    assert len(metrics.series("request_budget_limit")) == 1


def test_ids_that_a_wrong_address_did_not_know_are_followed_at_the_right_one(
    bench: Bench,
) -> None:
    wrong, right = bench.simulate(), bench.simulate()
    workflow = right.create(scripted=True)
    # What is not found is given up after a minute or so.
    exporter = bench.export(bench.account(wrong, workflows=[workflow]), now=hurried(60))
    exporter.until(lambda m: m.total("workflows_dropped_total", reason="not_found") == 1)
    exporter.reload(bench.account(right, workflows=[workflow]))
    streaming(right, 1)
    right.workflow(workflow).advance("completed")
    exporter.until_finished(1)


def test_listing_is_turned_on_and_off(bench: Bench) -> None:
    simulator = bench.simulate()
    named, found = (simulator.create(scripted=True) for _ in range(2))
    named_only = bench.account(simulator, workflows=[named])
    exporter = bench.export(named_only)
    streaming(simulator, 1)
    exporter.reload({**named_only, **LISTED})
    streaming(simulator, 2)
    metrics = exporter.until(
        lambda m: m("listing_last_success_timestamp_seconds", account="studio")
    )
    assert metrics.total("workflows_discovered_total", source="listing") == 1
    exporter.reload(named_only)
    assert exporter.scrape()("listing_last_success_timestamp_seconds", account="studio") is None
    listed = simulator.truth().requests["list"]
    for workflow in (named, found):
        simulator.workflow(workflow).advance("completed")
    exporter.until_finished(2)
    assert simulator.truth().requests["list"] == listed
    assert subscribed(simulator) == 2


def test_more_streams_and_fewer(bench: Bench) -> None:
    simulator = bench.simulate(speed=10)
    workflows = [simulator.create(scripted=True) for _ in range(4)]
    many = bench.account(simulator, workflows=workflows, **LISTED)
    exporter = bench.export(many, now=hurried(20))
    streaming(simulator, 4)
    exporter.reload({**many, "max_streams": 5})
    fifth = simulator.create(scripted=True)
    streaming(simulator, 5)
    assert subscribed(simulator) == 5
    # Those above are closed once they have lasted a while; their ends are told by the list.
    exporter.reload({**many, "max_streams": 2})
    streaming(simulator, 2)
    for workflow in (*workflows, fifth):
        simulator.workflow(workflow).advance("completed")
    assert exporter.until_finished(5).total("workflows_finished_total") == 5


def test_the_limit_of_an_address_changes(bench: Bench) -> None:
    simulator = bench.simulate()
    account = bench.account(simulator, workflows=[simulator.create(scripted=True)])
    exporter = bench.export(account)
    streaming(simulator, 1)
    limit = {"requests": 40, "per": "10s", "reserve": 0.25}
    exporter.reload({**account, "rate_limit": limit})
    assert exporter.scrape().total("request_budget_limit") == 30
    assert simulator.truth().streams_open == 1


def test_changed_buckets_start_that_histogram_anew_and_no_other(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    simulator = bench.simulate()
    account = bench.account(simulator, **LISTED)
    workflow = simulator.create(scripted=True)
    exporter = bench.export(account)
    streaming(simulator, 1)
    simulator.workflow(workflow).advance("completed")
    metrics = exporter.until_finished(1)
    assert metrics.total("workflow_run_duration_seconds_count") == 1
    waits = metrics.total("workflow_time_to_start_seconds_count")
    assert waits == 1
    exporter.reload(account, run_duration_buckets=[1, 7])
    metrics = exporter.scrape()
    assert metrics.total("workflow_run_duration_seconds_count") == 0
    assert metrics.total("workflow_run_duration_seconds_bucket", le="7.0") == 0
    assert metrics.total("workflow_time_to_start_seconds_count") == 1
    assert metrics.total("workflows_finished_total") == 1
    assert "the histogram restarts at 0" in caplog.text


def test_a_token_that_cannot_be_read_changes_nothing(bench: Bench, tmp_path: Path) -> None:
    simulator = bench.simulate(TWO)
    workflow = simulator.create(scripted=True)
    studio = bench.account(simulator, workflows=[workflow])
    file = tmp_path / "token"
    file.write_text("cfc_something")
    agency = {**bench.account(simulator, "agency", **LISTED), "token_file": str(file)}
    del agency["token"]
    exporter = bench.export(studio)
    streaming(simulator, 1)
    vanished = _validated(studio, agency)
    file.unlink()
    with pytest.raises(TokenUnreadableError):
        exporter.app.reload(vanished)
    assert [account.name for account in exporter.app.config.accounts] == ["studio"]
    assert exporter.scrape()("account_up", account="agency") is None
    assert simulator.truth().streams_open == 1


def test_a_token_that_vanishes_after_it_was_read_spoils_nothing(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulator = bench.simulate(TWO)
    ours, theirs = (simulator.create(name, scripted=True) for name in ("studio", "agency"))
    studio = bench.account(simulator, workflows=[ours])
    exporter = bench.export(studio)
    streaming(simulator, 1)
    file = tmp_path / "token"
    file.write_text(simulator.tokens["studio"])
    read = TokenSource.read

    def read_once(source: TokenSource) -> str:
        token = read(source)
        if source.path == file:
            file.unlink()
        return token

    monkeypatch.setattr(TokenSource, "read", read_once)
    from_file = {**studio, "token_file": str(file)}
    del from_file["token"]
    exporter.reload(from_file, bench.account(simulator, "agency", workflows=[theirs]))
    streaming(simulator, 2)
    assert subscribed(simulator) == 2


def _validated(*accounts: dict[str, Any]) -> Config:
    return Config.model_validate({"accounts": list(accounts)})


def test_another_token_is_tried_at_once_where_the_old_one_was_refused(bench: Bench) -> None:
    simulator = bench.simulate()
    workflow = simulator.create(scripted=True)
    refused = bench.account(simulator, token="cfc_wrong", workflows=[workflow])
    # Without a change, nobody would try again before the test is over.
    exporter = bench.export(refused, jitter=never_again)
    exporter.until(lambda m: m("account_up", account="studio") == 0)
    exporter.reload(bench.account(simulator, workflows=[workflow]))
    exporter.until(lambda m: m("account_up", account="studio") == 1)
    streaming(simulator, 1)


def test_a_token_file_that_changes_is_noticed_without_a_refusal(
    bench: Bench, tmp_path: Path
) -> None:
    simulator = bench.simulate()
    workflow = simulator.create(scripted=True)
    file = tmp_path / "token"
    file.write_text("cfc_wrong")
    account = bench.account(simulator, workflows=[workflow], token_file=str(file))
    del account["token"]
    exporter = bench.export(account, jitter=never_again)
    exporter.until(lambda m: m("account_up", account="studio") == 0)
    file.write_text(simulator.tokens["studio"])
    exporter.until(lambda m: m("account_up", account="studio") == 1)


def test_pushing_is_allowed_and_forbidden(bench: Bench, tmp_path: Path) -> None:
    simulator = bench.simulate()
    account = bench.account(simulator, workflows=[str(uuid.uuid4())])
    exporter = bench.export(account)
    assert not exporter.app.pushed.allowed
    exporter.reload({**account, "push": push(tmp_path)})
    assert exporter.app.pushed.accounts_of("push-token") == ["studio"]
    exporter.reload(account)
    assert not exporter.app.pushed.allowed


def test_reloads_from_many_sides_and_an_end_among_them(bench: Bench) -> None:
    simulator = bench.simulate(TWO)
    workflows = [simulator.create(scripted=True) for _ in range(10)]
    studio = bench.account(simulator, workflows=workflows, **LISTED)
    agency = bench.account(simulator, "agency", **LISTED)
    exporter = bench.export(studio)
    configs = [(studio,), (studio, agency), (agency,), ({**studio, "max_streams": 3},)]

    def turn() -> None:
        for config in configs * 3:
            exporter.reload(*config)

    threads = [threading.Thread(target=turn) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE * 3)
        assert not thread.is_alive()
    exporter.reload(studio)
    streaming(simulator, 10)
    for workflow in workflows:
        simulator.workflow(workflow).advance("completed")
    assert exporter.until_finished(10).total("workflows_finished_total") == 10
    late = threading.Thread(target=turn)
    late.start()
    assert exporter.app.stop()
    late.join(PATIENCE)
    assert not late.is_alive()
