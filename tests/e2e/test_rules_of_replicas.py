"""Every test of the rules once more, as replicas are scraped: accounts have no instance."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from alerts import build
from alerts.build import Values
from exporter.metrics.scraping import of_accounts_pattern
from tests.e2e.programs import program

TESTS = build.FOLDER / "tests"
FILES = [path.name for path in sorted(TESTS.glob("*.yml")) if path.name != "replicas.yml"]

OF_ACCOUNTS = re.compile(of_accounts_pattern())
OF_PROCESSES = "ComfyControlRateLimited"
"""Of an account, and yet each process's own: it counts requests."""

TOLD_APART = {
    "two exporters that were started from the environment alone; the token of one is refused",
    "histograms become native ones at one exporter, and a relabeling drops a counter of another",
    "the only account is down from the start, and another exporter waits for ids to be pushed",
    "two exporters follow an account of one name; the queue of one stands still",
    "restarts in the middle of work",
    "two exporters with different caps, and each is told its own",
}
"""Tests in which one account is that of two exporters: without `instance` it is one."""


@pytest.mark.timeout(600)  # promtool takes minutes for some where a machine is busy
@pytest.mark.parametrize("file", FILES)
def test_the_rules_work_where_accounts_have_no_instance(tmp_path: Path, file: str) -> None:
    thresholds = build.load()
    thresholds["settings"]["slice"] = "team"
    for alert in thresholds["alerts"].values():
        alert["enabled"] = True
    for name, text in build.rule_files(Values(thresholds)).items():
        (tmp_path / name).write_text(text, "utf-8")
    # All values as they are written: 0x60 is no number.
    document = yaml.load((TESTS / file).read_text("utf-8"), yaml.BaseLoader)
    tests = [as_of_replicas(test) for test in document["tests"]]
    assert {test["name"] for test in tests if has_one_twice(test)} <= TOLD_APART
    document["tests"] = [test for test in tests if not has_one_twice(test)]
    assert document["tests"]
    rewritten = tmp_path / "tests" / file
    rewritten.parent.mkdir()
    rewritten.write_text(yaml.safe_dump(document, sort_keys=False), "utf-8")
    done = subprocess.run(
        [program("promtool"), "test", "rules", rewritten],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("series", "dropped"),
    [
        (
            'comfycontrol_account_up{instance="a", account="x"}',
            'comfycontrol_account_up{account="x"}',
        ),
        (
            'comfycontrol_account_up{account="x", instance="a"}',
            'comfycontrol_account_up{account="x"}',
        ),
        ('comfycontrol_account_held{instance="a", account="x"}', None),
        ('up{job="comfycontrol", instance="a"}', None),
    ],
)
def test_what_belongs_to_an_account_loses_its_instance(series: str, dropped: str | None) -> None:
    assert without_instance(series) == (dropped or series)


def as_of_replicas(test: dict[str, Any]) -> dict[str, Any]:
    """A test, with its series as they are scraped from replicas, and what is to be seen of them."""
    for series in test["input_series"]:
        series["series"] = without_instance(series["series"])
    for case in test.get("alert_rule_test", ()):
        for expected in case.get("exp_alerts", ()):
            if "account" in expected["exp_labels"] and case["alertname"] != OF_PROCESSES:
                expected["exp_labels"].pop("instance", None)
    for case in test.get("promql_expr_test", ()):
        for sample in case.get("exp_samples", ()):
            sample["labels"] = without_instance(sample["labels"])
            sample["value"] = float(sample["value"])
    return test


def without_instance(series: str) -> str:
    """A series as replicas have it."""
    name = series.partition("{")[0]
    is_alert = not name and "account=" in series and OF_PROCESSES not in series
    if not (OF_ACCOUNTS.fullmatch(name) or ":" in name or is_alert):
        return series
    return re.sub(r'instance="[^"]*", |(, )?instance="[^"]*"', "", series)


def has_one_twice(test: dict[str, Any]) -> bool:
    """Whether two of its series are one."""
    names = [re.sub(r"\s", "", series["series"]) for series in test["input_series"]]
    return len(set(names)) < len(names)
