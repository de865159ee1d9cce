"""A real Prometheus scrapes an exporter that follows the simulator, and its answers are true."""

import subprocess
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

import pytest
import requests
import yaml

from tests.e2e.programs import EXPORTER, Stage, program, with_hold
from tests.ports import free_port

SCENARIO = {
    "description": "A hundred workflows in half a minute, with every outcome.",
    "accounts": [
        {"name": "studio", "weight": 2, "tokens": ["cfc_studio"]},
        {"name": "agency", "weight": 1, "tokens": ["cfc_agency"]},
    ],
    # Nothing arrives in the first eight real seconds: what ends before the exporter's first look
    # is not its to count.
    "arrivals": {"max_workflows": 100, "bursts": [{"at": "400s", "size": 10, "every": "20s"}]},
    "runners": [{"name": "gpu", "count": 6}],
    "jobs": [
        {"name": "image", "duration": {"median": "9s", "sigma": 0.5, "min": "2s", "max": "40s"}}
    ],
    "outcomes": {"failed": 0.2, "cancelled": 0.08, "invalid": 0.05, "without_cause": 0.1},
}
SPEED = 10


class Prometheus:
    """Asks a running Prometheus."""

    def __init__(self, url: str) -> None:
        self._url = url

    def query(self, expression: str, at: float | None = None) -> dict[tuple[str, ...], float]:
        """An instant vector: label values in the order of their names, and the value.

        `at` is a Unix time; None: now.
        """
        asked = {"query": expression} | ({} if at is None else {"time": repr(at)})
        answer = requests.get(f"{self._url}/api/v1/query", params=asked, timeout=10).json()
        assert answer["status"] == "success", answer
        return {
            tuple(value for _, value in sorted(series["metric"].items())): float(series["value"][1])
            for series in answer["data"]["result"]
        }

    def scalar(self, expression: str) -> float:
        """The one value of an expression, or 0."""
        return sum(self.query(expression).values())

    def exemplars(self, expression: str) -> set[str]:
        """Workflow ids behind an expression."""
        answer = requests.get(
            f"{self._url}/api/v1/query_exemplars",
            params={"query": expression, "start": "0", "end": "9999999999"},
            timeout=10,
        ).json()
        return {e["labels"]["workflow_id"] for s in answer["data"] for e in s["exemplars"]}


def counted(workflows: Iterable[dict[str, Any]], *keys: str) -> dict[tuple[str, ...], float]:
    """How many there are by these keys, as Prometheus would give them."""
    return {k: float(n) for k, n in Counter(tuple(w[k] for k in keys) for w in workflows).items()}


@pytest.mark.timeout(240)
def test_promql_answers_equal_the_simulators_truth(stage: Stage) -> None:
    prometheus_program = program("prometheus")
    sim, exporter, prom = free_port(), free_port(), free_port()
    scenario = stage.folder / "scenario.yml"
    scenario.write_text(yaml.safe_dump(SCENARIO))
    simulator_url = f"http://127.0.0.1:{sim}"
    stage.start(
        "simulator",
        [
            EXPORTER, "simulate", "--scenario", str(scenario), "--speed", str(SPEED),
            "--seed", "7", "--listen-address", f"127.0.0.1:{sim}",
        ],
    )  # fmt: skip
    stage.until("the simulator answers", lambda: requests.get(f"{simulator_url}/_simulator/truth"))

    config = stage.folder / "config.yml"
    config.write_text(
        yaml.safe_dump(
            {
                "accounts": [
                    {
                        "name": name,
                        "token": f"cfc_{name}",
                        "base_url": simulator_url,
                        "listing": {"interval": "2s"},
                    }
                    for name in ("studio", "agency")
                ]
            }
        )
    )
    exporter_process = stage.start(
        "exporter",
        [
            *with_hold(3), f"--config.file={config}", f"--web.listen-address=127.0.0.1:{exporter}",
            f"--storage.path={stage.folder / 'data'}",
        ],
    )  # fmt: skip
    prometheus_config = stage.folder / "prometheus.yml"
    prometheus_config.write_text(
        yaml.safe_dump(
            {
                "global": {"scrape_interval": "1s"},
                "scrape_configs": [
                    {
                        "job_name": "comfycontrol",
                        "static_configs": [{"targets": [f"127.0.0.1:{exporter}"]}],
                    }
                ],
            }
        )
    )
    stage.start(
        "prometheus",
        [
            prometheus_program, f"--config.file={prometheus_config}",
            f"--storage.tsdb.path={stage.folder / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{prom}", "--enable-feature=exemplar-storage",
        ],
    )  # fmt: skip
    prometheus_url = f"http://127.0.0.1:{prom}"
    stage.until(
        "Prometheus is ready", lambda: requests.get(f"{prometheus_url}/-/ready", timeout=10).ok
    )
    prometheus = Prometheus(prometheus_url)
    stage.until(
        "Prometheus has scraped",
        lambda: prometheus.query("comfycontrol_listing_last_success_timestamp_seconds"),
    )

    def truth() -> dict[str, Any]:
        answer: dict[str, Any] = requests.get(
            f"{simulator_url}/_simulator/truth", timeout=10
        ).json()
        return answer

    assert not truth()["workflows"], "the programs took longer to start than the first arrival"
    finals = {"completed", "failed", "cancelled", "invalid"}

    def all_ended() -> bool:
        workflows = truth()["workflows"]
        return len(workflows) == 100 and all(w["status"] in finals for w in workflows)

    stage.until("every workflow has ended", all_ended, 120)
    told = truth()
    ends = told["workflows"]
    stage.until(
        "Prometheus has every outcome, and every cause",
        lambda: (
            prometheus.scalar("sum(comfycontrol_workflows_finished_total)") == 100
            and prometheus.scalar("sum(comfycontrol_workflow_failures_total)")
            == sum(w["status"] == "failed" for w in ends)
        ),
        40,
    )

    # Counts, exactly.
    finished = prometheus.query(
        "sum by (account, status) (comfycontrol_workflows_finished_total) > 0"
    )
    assert finished == counted(ends, "account", "status")
    failed = [
        {
            **w,
            "node_type": w["node_type"] or "unknown",
            "exception_type": w["exception_type"] or "unknown",
        }
        for w in ends
        if w["status"] == "failed"
    ]
    assert prometheus.query(
        "sum by (account, exception_type, node_type) (comfycontrol_workflow_failures_total)"
    ) == counted(failed, "account", "exception_type", "node_type")

    # Durations, to the millisecond.
    ran: dict[tuple[str, ...], float] = defaultdict(float)
    for w in ends:
        if w["started_ms"] is not None and w["completed_ms"] is not None:
            ran[w["account"], w["status"]] += (w["completed_ms"] - w["started_ms"]) / 1000
    sums = prometheus.query(
        "sum by (account, status) (comfycontrol_workflow_run_duration_seconds_sum) > 0"
    )
    assert sums == pytest.approx(dict(ran), abs=0.0005)
    waited: dict[tuple[str, ...], float] = defaultdict(float)
    starts: Counter[tuple[str, ...]] = Counter()
    for w in ends:
        if w["started_ms"] is not None:
            waited[w["account"],] += (w["started_ms"] - w["created_ms"]) / 1000
            starts[w["account"],] += 1
    assert prometheus.query(
        "sum by (account) (comfycontrol_workflow_time_to_start_seconds_sum)"
    ) == pytest.approx(dict(waited), abs=0.0005)
    assert prometheus.query(
        "sum by (account) (comfycontrol_workflow_time_to_start_seconds_count)"
    ) == {k: float(n) for k, n in starts.items()}

    # Every series of a counter was seen at 0 before its first step.
    for name in ("comfycontrol_workflows_finished_total", "comfycontrol_workflow_failures_total"):
        assert set(prometheus.query(f"min_over_time({name}[10m])").values()) == {0.0}

    # Nothing is left of workflows that are gone.
    stage.until(
        "live series are gone",
        lambda: (
            not prometheus.query("comfycontrol_workflow_queue_position")
            and prometheus.scalar("sum(comfycontrol_workflows)") == 0
        ),
    )

    # Exemplars lead to real workflows, of the right kind.
    failed_ids = {w["id"] for w in failed}
    shown = prometheus.exemplars("comfycontrol_workflow_failures_total")
    assert shown
    assert shown <= failed_ids
    assert prometheus.exemplars("comfycontrol_workflow_run_duration_seconds_bucket") <= {
        w["id"] for w in ends
    }

    # Within the limit: not one refusal.
    assert sum(told["refusals"].values()) == 0
    assert exporter_process.terminate() == 0
    assert "Traceback" not in exporter_process.output


def test_promtool_has_nothing_to_say_about_the_plain_text(stage: Stage) -> None:
    promtool = program("promtool")
    port = free_port()
    stage.start("demo", [EXPORTER, "demo", "--speed=20", f"--web.listen-address=127.0.0.1:{port}"])
    url = f"http://127.0.0.1:{port}/metrics"

    def shows_failures() -> bool:
        return "comfycontrol_workflow_failures_total{" in requests.get(url, timeout=10).text

    stage.until("something has failed", shows_failures)
    page = requests.get(url, headers={"Accept": "text/plain"}, timeout=10)
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=page.content, capture_output=True, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")
