"""What `promtool` and `amtool` say of the rules, their tests, and the example for Alertmanager."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from alerts import build
from alerts.build import Values
from alerts.rules import ALERTS
from tests.e2e.programs import program

FOLDER = build.FOLDER
RULE_TESTS = sorted((FOLDER / "tests").glob("*.yml"))
EXAMPLE = build.EXAMPLE


def run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def everything_enabled(tmp_path: Path) -> Path:
    """Rules with the optional alerts as well, and the tests beside them."""
    thresholds = build.load()
    thresholds["settings"]["slice"] = "team"
    for alert in thresholds["alerts"].values():
        alert["enabled"] = True
    for name, text in build.rule_files(Values(thresholds)).items():
        (tmp_path / name).write_text(text, "utf-8")
    shutil.copytree(FOLDER / "tests", tmp_path / "tests")
    return tmp_path


def test_promtool_accepts_the_rules(everything_enabled: Path) -> None:
    run(program("promtool"), "check", "rules", FOLDER / "recording.yml", FOLDER / "alerts.yml")
    run(program("promtool"), "check", "rules", everything_enabled / "alerts.yml")


@pytest.mark.timeout(600)  # promtool takes minutes for some where a machine is busy
@pytest.mark.parametrize("file", [path.name for path in RULE_TESTS])
def test_alerts_fire_on_their_fault_alone(everything_enabled: Path, file: str) -> None:
    run(program("promtool"), "test", "rules", everything_enabled / "tests" / file)


def test_the_folder_of_the_rules_can_be_named_as_a_whole(tmp_path: Path) -> None:
    config = tmp_path / "prometheus.yml"
    config.write_text(yaml.safe_dump({"rule_files": [str(FOLDER / "*.yml")]}), "utf-8")
    said = run(program("promtool"), "check", "config", config)
    assert "2 rule files found" in said


@pytest.mark.parametrize("file", [path.name for path in (FOLDER / "tests/native").glob("*.yml")])
def test_alerts_fire_on_native_histograms_as_well(everything_enabled: Path, file: str) -> None:
    """`PROMTOOL_3` names a promtool of Prometheus 3; that of Debian 12 cannot read such a test."""
    newest = os.environ.get("PROMTOOL_3", program("promtool"))
    if "version 2" in run(newest, "--version"):
        pytest.skip("promtool 2 knows no native histograms with custom buckets")
    run(newest, "test", "rules", everything_enabled / "tests" / "native" / file)


def test_every_alert_is_shown_to_fire_for_every_reason_and_to_end() -> None:
    fires: set[tuple[str, Any]] = set()
    quiet: set[str] = set()
    for path in RULE_TESTS:
        for test in yaml.safe_load(path.read_text("utf-8"))["tests"]:
            for case in test.get("alert_rule_test", []):
                for expected in case.get("exp_alerts", []):
                    fires.add((case["alertname"], expected["exp_labels"].get("reason", "")))
                if not case.get("exp_alerts"):
                    quiet.add(case["alertname"])
    assert fires == {(alert.name, rule.reason) for alert in ALERTS for rule in alert.rules}
    assert quiet == {alert.name for alert in ALERTS}


def test_amtool_accepts_the_example() -> None:
    run(program("amtool"), "check-config", EXAMPLE)


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        ("alertname=ComfyControlQueueStuck account=studio severity=critical", "studio-pager"),
        ("alertname=ComfyControlQueueStuck account=studio severity=warning", "studio-chat"),
        ("alertname=ComfyControlQueueStuck account=agency severity=critical", "agency-pager"),
        ("alertname=ComfyControlQueueStuck account=agency severity=warning", "agency-chat"),
        ("alertname=ComfyControlCardinalityCapReached account=agency severity=info", "agency-chat"),
        ("alertname=ComfyControlCardinalityCapReached account=studio severity=info", "studio-chat"),
        ("alertname=ComfyControlExporterAbsent severity=critical", "studio-pager"),
        ("alertname=ComfyControlConfigReloadFailed severity=warning", "studio-chat"),
        ("alertname=NodeDown severity=critical", "everything-else"),
    ],
)
def test_the_example_routes_by_severity_and_account(labels: str, receiver: str) -> None:
    run(
        program("amtool"), "config", "routes", "test", f"--config.file={EXAMPLE}",
        f"--verify.receivers={receiver}", *labels.split(),
    )  # fmt: skip
