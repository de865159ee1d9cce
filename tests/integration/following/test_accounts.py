"""Accounts that are refused and accepted again, and accounts that share an address."""

import uuid
from pathlib import Path

import pytest

from tests.integration.following.exporting import LISTED, PATIENCE, QUIET, Bench

TWO = f"{QUIET}\naccounts: [{{name: studio, tokens: [cfc_studio]}}, {{name: agency}}]"


def test_a_token_refused_at_the_start_recovers_when_it_is_accepted(bench: Bench) -> None:
    simulator = bench.simulate()
    workflow = simulator.create(scripted=True)
    exporter = bench.export(
        bench.account(simulator, token="cfc_early", workflows=[workflow], listing={})
    )
    metrics = exporter.until(lambda m: m.total("api_requests_total", code="401") >= 3)
    assert metrics("account_up", account="studio") == 0
    assert metrics.total("workflows_dropped_total") == 0
    simulator.accept_token("studio", "cfc_early")
    exporter.until(lambda m: m("account_up", account="studio") == 1)
    simulator.wait_until(lambda truth: truth.streams_open == 1, PATIENCE)
    simulator.workflow(workflow).advance("completed")
    exporter.until_finished(1)


def test_a_token_file_that_is_rotated_is_read_again(bench: Bench, tmp_path: Path) -> None:
    simulator = bench.simulate()
    workflow = simulator.create(scripted=True)
    file = tmp_path / "token"
    file.write_text(simulator.tokens["studio"])
    account = bench.account(simulator, token_file=str(file), **LISTED)
    del account["token"]
    exporter = bench.export(account)
    simulator.wait_until(lambda truth: truth.streams_open == 1, PATIENCE)
    token = simulator.rotate_token("studio")
    exporter.until(lambda m: m("account_up", account="studio") == 0)
    file.write_text(f"{token}\n")
    exporter.until(lambda m: m("account_up", account="studio") == 1)
    simulator.workflow(workflow).advance("completed")
    exporter.until_finished(1)


def test_ids_are_kept_through_an_outage_of_the_token(bench: Bench) -> None:
    simulator = bench.simulate()
    workflows = [simulator.create(scripted=True) for _ in range(20)]
    exporter = bench.export(bench.account(simulator, workflows=workflows))
    simulator.wait_until(lambda truth: truth.streams_open == 20, PATIENCE)
    asked = simulator.truth().requests["subscribe"]
    token = simulator.tokens["studio"]
    simulator.revoke_tokens("studio")
    simulator.drop_connections()
    exporter.until(lambda m: m.total("api_requests_total", code="401") >= 3)
    # One tries for all, backing off: it is never each by itself.
    assert simulator.truth().streams_open == 0
    simulator.accept_token("studio", token)
    simulator.wait_until(lambda truth: truth.streams_open == 20, PATIENCE)
    for workflow in workflows:
        simulator.workflow(workflow).advance("completed")
    metrics = exporter.until_finished(20)
    assert metrics.total("workflows_dropped_total") == 0
    assert simulator.truth().requests["subscribe"] > asked


def test_an_account_that_may_not_do_anything_keeps_its_ids(bench: Bench) -> None:
    simulator = bench.simulate()
    workflows = [simulator.create(scripted=True) for _ in range(5)]
    simulator.set_faults({"kind": "status", "code": 403, "endpoints": ["list"]})
    exporter = bench.export(bench.account(simulator, workflows=workflows, **LISTED))
    # The list closes the account; the streams, which are allowed, open it.
    exporter.until(lambda m: m.total("api_requests_total", endpoint="list", code="403") >= 2)
    simulator.wait_until(lambda truth: truth.streams_open == 5, PATIENCE)
    for workflow in workflows:
        simulator.workflow(workflow).advance("completed")
    assert exporter.until_finished(5).total("workflows_dropped_total") == 0


def test_one_refused_account_holds_up_no_other(bench: Bench) -> None:
    simulator = bench.simulate(TWO)
    workflow = simulator.create("agency", scripted=True)
    refused = bench.account(simulator, token="cfc_wrong", workflows=[str(uuid.uuid4())])
    exporter = bench.export(refused, bench.account(simulator, "agency", listing={}))
    simulator.wait_until(lambda truth: truth.streams_open == 1, PATIENCE)
    simulator.workflow(workflow).advance("completed")
    metrics = exporter.until_finished(1)
    assert metrics("account_up", account="studio") == 0
    assert metrics("account_up", account="agency") == 1


def test_an_account_never_sees_the_workflows_of_another(bench: Bench) -> None:
    simulator = bench.simulate(TWO)
    theirs = simulator.create("agency", scripted=True)
    ours = simulator.create("studio", scripted=True)
    exporter = bench.export(
        bench.account(simulator, "studio", workflows=[ours]),
        bench.account(simulator, "agency", workflows=[theirs]),
    )
    simulator.wait_until(lambda truth: truth.streams_open == 2, PATIENCE)
    simulator.workflow(theirs).advance("cancelled")
    metrics = exporter.until_finished(1)
    assert metrics("workflows_finished_total", account="agency", status="cancelled") == 1
    assert metrics.total("workflows_finished_total", account="studio") == 0


def test_two_accounts_at_one_address_share_its_limit(bench: Bench) -> None:
    scenario = "limit: {requests: 8, per: 1s, cooldown: 1s}\n" + TWO.removeprefix(QUIET)
    simulator = bench.simulate(scenario)
    workflows = [
        simulator.create(account, scripted=True)
        for account in ("studio", "agency")
        for _ in range(10)
    ]
    limit = {"requests": 8, "per": "1s", "cooldown": "1s", "reserve": 0}
    exporter = bench.export(
        *(
            bench.account(simulator, name, rate_limit=limit, **LISTED)
            for name in ("studio", "agency")
        ),
        fresh_services=False,
    )
    exporter.until(lambda m: m.total("workflows", account="agency") == 10)
    for workflow in workflows:
        simulator.workflow(workflow).advance("completed")
    metrics = exporter.until_finished(20)
    assert metrics.total("workflows_finished_total", account="studio") == 10
    assert len(metrics.series("request_budget_limit")) == 1
    assert metrics.total("request_budget_limit") == 8
    assert metrics.total("request_budget_wait_seconds_total") > 0
    truth = simulator.truth()
    assert sum(truth.refusals.values()) == 0
    assert truth.busiest_window <= 8


@pytest.mark.parametrize("code", [500, 503])
def test_an_outage_of_the_service_loses_nothing(bench: Bench, code: int) -> None:
    simulator = bench.simulate()
    workflows = [simulator.create(scripted=True) for _ in range(5)]
    exporter = bench.export(bench.account(simulator, **LISTED))
    simulator.wait_until(lambda truth: truth.streams_open == 5, PATIENCE)
    simulator.set_faults({"kind": "status", "code": code, "body": "html"})
    simulator.drop_connections()
    for workflow in workflows:
        simulator.workflow(workflow).advance("failed", cause=None)
    # One bad answer is no outage: it takes half a minute of them.
    exporter.until(lambda m: m("account_up", account="studio") == 0, seconds=60)
    simulator.set_faults()
    exporter.until_finished(5)
    # None has a cause: that is believed after a while.
    metrics = exporter.until(lambda m: m.total("workflow_failures_total") == 5, seconds=90)
    assert metrics("account_up", account="studio") == 1
    assert metrics.total("workflows_finished_total") == 5


@pytest.mark.parametrize("path", ["/v1", "/v2/deeper"])
def test_a_base_url_with_a_path_too_many_is_suspected(
    bench: Bench, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    simulator = bench.simulate()
    named = simulator.create(scripted=True)
    account = bench.account(simulator, **LISTED, workflows=[named])
    exporter = bench.export({**account, "base_url": simulator.base_url + path})
    exporter.until(lambda m: m.total("api_requests_total", endpoint="list", code="404") >= 4)
    exporter.until(lambda m: m.total("api_requests_total", endpoint="subscribe") >= 1)
    assert exporter.scrape()("account_up", account="studio") == 0
    assert not exporter.app.is_ready()
    (line,) = [r for r in caplog.records if "check its base_url" in r.message]
    assert line.__dict__["base_url"] == simulator.base_url + path
    reason = exporter.app.read().accounts["studio"].health.reason
    assert reason == "there is no list at its address (404); is base_url right?"
