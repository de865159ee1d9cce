"""What the first rows of the boards say: their own expressions, asked by `promtool`."""

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from alerts.build import load
from dashboards.answer import STANDS_STILL
from dashboards.build import board_files
from tests.e2e.programs import program
from tests.promql import filled

FILES = board_files(load())
QUEUED = 'comfycontrol_workflows{account="studio", status="queued"}'
ENDS = 'comfycontrol_workflows_finished_total{account="studio", status="completed"}'
OLDEST = 'comfycontrol_oldest_workflow_created_timestamp_seconds{account="studio", status="queued"}'
FIRES = (
    'ALERTS{alertname="ComfyControlQueueStuck", alertstate="firing", severity="critical",'
    ' account="studio"}'
)
RULES = 'account:comfycontrol_workflows_waiting:sum{account="studio"}'

Found = Sequence[tuple[str, float]]


def asked(title: str, ref: str, board: str = "overview", by: str = "account") -> str:
    """An expression of a panel, as Grafana sends it."""
    document = json.loads(FILES[f"comfycontrol-{board}.json"])
    (panel,) = [p for p in document["panels"] if p["title"] == title]
    (target,) = [t for t in panel["targets"] if t["refId"] == ref]
    return filled(target["expr"], __interval_ms="60000", __rate_interval="2m", by=by)


def check(folder: Path, series: Mapping[str, str], expression: str, at: str, found: Found) -> None:
    """That the expression finds this, a sample a minute, at that time."""
    samples = [{"labels": labels, "value": value} for labels, value in found]
    test: dict[str, Any] = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [{"expr": expression, "eval_time": at, "exp_samples": samples}],
    }
    file = folder / "test.yml"
    file.write_text(yaml.safe_dump({"evaluation_interval": "1m", "tests": [test]}))
    done = subprocess.run(
        [program("promtool"), "test", "rules", file], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


PROGRESS = 'comfycontrol_last_progress_timestamp_seconds{account="studio"}'

MOVES = {QUEUED: "3x60", PROGRESS: "0+60x60", OLDEST: "600x60"}
STOPPED = MOVES | {PROGRESS: "0+60x22 1320x38"}


@pytest.mark.parametrize(
    ("series", "at", "found"),
    [
        pytest.param(MOVES, "40m", [('{account="studio"}', 0)], id="it moves"),
        pytest.param(STOPPED, "40m", [('{account="studio"}', 18 * 60)], id="since the last end"),
        pytest.param(
            STOPPED | {OLDEST: "2100x60"}, "40m", [('{account="studio"}', 300)],
            id="no longer than the oldest has waited: before it, nothing had to move",
        ),
        pytest.param(STOPPED | {QUEUED: "0x60"}, "40m", [], id="nothing waits"),
        pytest.param(
            {QUEUED: "3x60", OLDEST: "600x60"}, "40m", [('{account="studio"}', 1800)],
            id="nothing has ever started",
        ),
        pytest.param({}, "40m", [], id="nothing is known"),
    ],
)  # fmt: skip
def test_for_how_long_it_stands_still(
    tmp_path: Path, series: dict[str, str], at: str, found: Found
) -> None:
    check(tmp_path, series, filled(STANDS_STILL), at, found)


def of_farm(series: Mapping[str, str]) -> dict[str, str]:
    return {name.replace('"studio"', '"farm"'): values for name, values in series.items()}


def test_of_two_accounts_the_one_that_stands_still_is_named(tmp_path: Path) -> None:
    series = STOPPED | of_farm(MOVES)

    check(tmp_path, series, asked("Stands still", "A"), "40m", [('{account="studio"}', 18 * 60)])


@pytest.mark.parametrize(
    ("series", "found"),
    [
        pytest.param({RULES: "0x60", QUEUED: "0x60"}, [("{}", 0)], id="nothing fires"),
        pytest.param(STOPPED | {RULES: "3x60"}, [("{}", 1)], id="nothing fires yet"),
        pytest.param(MOVES, [("{}", 2)], id="nobody evaluates the rules"),
        pytest.param(STOPPED | {RULES: "3x60", FIRES: "1x60"}, [], id="something fires"),
    ],
)
def test_whether_nothing_fires(tmp_path: Path, series: dict[str, str], found: Found) -> None:
    check(tmp_path, series, asked("Alerts", "E"), "40m", found)


def test_what_fires_is_named_as_its_runbook_is(tmp_path: Path) -> None:
    found = [('{account="studio", alertname="QueueStuck", severity="critical"}', 4.0)]

    check(tmp_path, {FIRES: "1x60"}, asked("What fires", "A"), "40m", found)


def outcomes(account: str, completed: str, failed: str, up: int = 1) -> dict[str, str]:
    name = "comfycontrol_workflows_finished_total"
    return {
        f'comfycontrol_account_up{{account="{account}"}}': f"{up}x90",
        f'{name}{{account="{account}", status="completed"}}': completed,
        f'{name}{{account="{account}", status="failed"}}': failed,
    }


@pytest.mark.parametrize(
    ("series", "found"),
    [
        pytest.param(
            outcomes("one", "0+5x90", "0x90") | outcomes("two", "0x90", "0+1x90"),
            [('{account="two", over="1 h", whose="two"}', 0)], id="one of two fails always",
        ),
        pytest.param(
            outcomes("one", "0x90", "0x80 1x10"), [], id="one failure is no ratio",
        ),
        pytest.param(
            outcomes("one", "0+1x12 12x78", "0x90"),
            [('{account="one", over="6 h", whose="one"}', 1)],
            id="few an hour: over a longer time",
        ),
        pytest.param(
            outcomes("one", "0+5x90", "0x90", up=0), [], id="an account that is down",
        ),
    ],
)  # fmt: skip
def test_the_success_ratio_is_that_of_the_worst_account(
    tmp_path: Path, series: dict[str, str], found: Found
) -> None:
    check(tmp_path, series, asked("Success ratio", "A"), "85m", found)


def teams() -> dict[str, str]:
    """Half of what one team of two sends fails, and the account as a whole looks well."""
    ended = 'comfycontrol_workflows_finished_total{account="studio", team="'
    failures = 'comfycontrol_workflow_failures_total{account="studio", team="'
    return {
        'comfycontrol_account_up{account="studio"}': "1x90",
        f'{ended}art", status="completed"}}': "0+20x90",
        f'{ended}art", status="failed"}}': "0x90",
        f'{ended}video", status="completed"}}': "0+1x90",
        f'{ended}video", status="failed"}}': "0+1x90",
        f'{failures}video", node_type="VAEDecode", exception_type="KeyError"}}': "0x80 0+1x10",
        f'{failures}video", node_type="KSampler", exception_type="KeyError"}}': "0+1x90",
    }


@pytest.mark.parametrize(
    ("title", "ref", "found"),
    [
        (
            "Success ratio", "A",
            [('{account="studio", team="video", whose="video", over="1 h"}', 0.5)],
        ),
        (
            "Fails most", "A",
            [('{account="studio", team="video", whose="video", node_type="KSampler"}', 30)],
        ),
        (
            "Who waits and who fails, by $by", "A",
            [('{whose="art"}', 0.0), ('{whose="video"}', 0.5)],
        ),
        (
            "Who waits and who fails, by $by", "H",
            [('{whose="video", node_type="KSampler"}', 60)],
        ),
    ],
)  # fmt: skip
def test_the_failing_team_is_named(tmp_path: Path, title: str, ref: str, found: Found) -> None:
    check(tmp_path, teams(), asked(title, ref, by="team"), "85m", found)


def test_where_the_wait_goes(tmp_path: Path) -> None:
    phase = "comfycontrol_workflow_phase_duration_seconds"
    labels = '{account="studio", phase="queued"}'
    series = {f"{phase}_sum{labels}": "0+30x60", f"{phase}_count{labels}": "0+2x60"}

    check(tmp_path, series, asked("Where the wait goes", "C"), "40m", [("{}", 15.0)])


def test_where_nothing_is_queued_the_place_is_0(tmp_path: Path) -> None:
    series = {QUEUED: "0x60", **of_farm({QUEUED: "2x60"})}
    series['comfycontrol_queue_position_max{account="farm"}'] = "2x60"
    found = [('{account="farm"}', 2.0), ('{account="studio"}', 0.0)]

    check(tmp_path, series, asked("Queue positions", "A"), "40m", found)


def test_an_account_that_is_down_has_no_place(tmp_path: Path) -> None:
    check(tmp_path, {ENDS: "0x60"}, asked("Queue positions", "A"), "40m", [])


def test_of_twelve_accounts_those_that_are_down_are_named(tmp_path: Path) -> None:
    up = "comfycontrol_account_up"
    series = {f'{up}{{account="brand-{n}"}}': "0x60" if n == 4 else "1x60" for n in range(12)}

    check(tmp_path, series, asked("Accounts", "B"), "40m", [('{account="brand-4"}', 0)])
    cause = 'comfycontrol_account_down{account="brand-4", cause="token_refused"}'
    named = [('{account="brand-4", cause="token_refused"}', 0.0)]
    check(tmp_path, series | {cause: "1x60"}, asked("Accounts", "B"), "40m", named)
    check(tmp_path, series, asked("Accounts", "C"), "40m", [])
    check(tmp_path, series, asked("Accounts", "D"), "40m", [("{}", 11)])


def test_a_bar_counts_what_rose_within_it(tmp_path: Path) -> None:
    """One scrape lies between two bars; what rose there belongs to one of them."""
    series = outcomes("studio", "0x30 1x30", "0x60")

    for at, found in (("30m", 0), ("31m", 1), ("33m", 0)):
        check(tmp_path, series, asked("Outcomes", "A"), at, [("{}", found)])
