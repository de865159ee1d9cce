"""`scripts/demo-monitoring`, and what it shares with `compose.yaml`."""

import subprocess
from pathlib import Path

import pytest
import requests

from tests import runbooks
from tests.e2e.programs import EXPORTER, Stage, program
from tests.e2e.test_prometheus import Prometheus
from tests.ports import free_port

ROOT = Path(__file__).parents[2]


def test_promtool_accepts_the_configuration_and_the_rules_it_names() -> None:
    done = subprocess.run(
        [program("promtool"), "check", "config", "examples/monitoring/prometheus.yml"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 rule files found" in done.stdout


@pytest.mark.slow
def test_one_command_starts_the_chain_and_ends_it(stage: Stage) -> None:
    for name in ("prometheus", "prometheus-alertmanager"):
        program(name)
    exporter, prom, manager = free_port(), free_port(), free_port()
    script = stage.start(
        "demo-monitoring",
        [str(ROOT / "scripts" / "demo-monitoring"), "--speed=20"],
        {
            "COMFYCONTROL_EXPORTER_COMMAND": EXPORTER,
            "EXPORTER_PORT": str(exporter),
            "PROMETHEUS_PORT": str(prom),
            "ALERTMANAGER_PORT": str(manager),
            "TMPDIR": str(stage.folder),
        },
    )
    url = f"http://127.0.0.1:{prom}"
    stage.until("Prometheus is ready", lambda: requests.get(f"{url}/-/ready", timeout=10).ok)
    assert f"http://localhost:{prom}/alerts" in script.output
    prometheus = Prometheus(url)
    stage.until(
        "workflows end, and the rules say so",
        lambda: prometheus.scalar("account:comfycontrol_workflows_ran:increase30m") > 0,
    )
    groups = requests.get(f"{url}/api/v1/rules", timeout=10).json()["data"]["groups"]
    faults = {rule["name"]: rule.get("lastError") for g in groups for rule in g["rules"]}
    assert len(faults) >= 28
    assert not any(faults.values()), faults
    managers = requests.get(f"{url}/api/v1/alertmanagers", timeout=10).json()["data"]
    assert [m["url"] for m in managers["activeAlertmanagers"]] == [
        f"http://localhost:{manager}/api/v2/alerts"
    ]
    assert requests.get(f"http://127.0.0.1:{manager}/-/ready", timeout=10).ok
    assert prometheus.query('ALERTS{alertstate="firing"}') == {}

    # Whatever a runbook says to paste is answered.
    for alert in runbooks.names():
        for query in runbooks.queries_of(alert):
            prometheus.query(query)

    children = _children(script.pid)
    assert len(children) == 3
    assert script.terminate() == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in children)
    assert not list(stage.folder.glob("tmp.*")), "its folder is gone with it"


def _children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text("utf-8").split()
