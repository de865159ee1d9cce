"""`kill -9` at random moments, over real processes: every outcome is counted exactly once.

The suite kills a few times; `CRASH_KILLS=100` makes it a hundred, which takes some minutes.
"""

import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.programs import EXPORTER, Process, Stage, metrics_page, with_hold
from tests.ports import free_port

KILLS = int(os.environ.get("CRASH_KILLS", "15"))
WORKFLOWS = 200
FINISHED = 50
"""At the start."""
SPEED = 10
LIMIT = {"requests": 40, "per": "10s" if KILLS >= 50 else "4s", "cooldown": "10s"}
"""The service's own, or a hastier one for those who wait for the suite."""
LONGEST_LIFE = 2.6
"""Seconds from the start of a process to its end; half of that on average. A third of a second of
it goes by before the first request."""
HOLD = 1.0
"""Seconds for which a new series stands at 0: some lives are shorter, and some are longer."""
LATE_CAUSE = 400
"""Seconds within which everything is known at the end, however hostile the service is."""

SCENARIO: dict[str, Any] = {
    "accounts": [{"name": "studio", "tokens": ["cfc_studio"]}],
    "arrivals": {
        # They go on arriving until shortly before the last kill.
        "rate": WORKFLOWS / (KILLS * LONGEST_LIFE / 2) / SPEED,
        "max_workflows": WORKFLOWS,
    },
    "start": {"finished": FINISHED},
    "limit": LIMIT,
    "runners": [{"name": "gpu", "count": 20}],
    "jobs": [
        {
            "name": "image",
            "duration": {"median": "12s", "sigma": 0.6, "min": "2s", "max": "60s"},
            "outputs": {"min": 1, "max": 3},
        }
    ],
    "outcomes": {"failed": 0.3, "cancelled": 0.08, "invalid": 0.05, "without_cause": 0.1},
}

FAULTS: list[dict[str, Any]] = [
    {"kind": "drop", "probability": 0.2, "after": {"min": 1, "max": 5}},
    {"kind": "drop", "probability": 0.1, "how": "reset", "cut": "in_chunk"},
    {"kind": "garbage", "probability": 0.1},
    {"kind": "framing", "probability": 0.3},
    {"kind": "malformed_snapshot", "probability": 0.2, "count": 3, "after": {"min": 0, "max": 5}},
    {"kind": "latency", "probability": 0.3, "delay": {"min": "0.1s", "max": "1s"}},
    {"kind": "status", "probability": 0.1, "code": 503},
    {"kind": "status", "probability": 0.05, "code": 500, "body": "html"},
    {"kind": "edge_page", "probability": 0.05, "code": 200},
    {"kind": "reset", "probability": 0.05},
    {"kind": "hang_up", "probability": 0.05},
    {"kind": "malformed_list", "probability": 0.1},
]

COUNTED = (
    "comfycontrol_workflows_finished_total",
    "comfycontrol_workflow_failures_total",
    "comfycontrol_workflows_discovered_total",
    "comfycontrol_workflow_run_duration_seconds_count",
    "comfycontrol_workflow_time_to_start_seconds_count",
    "comfycontrol_workflow_outputs_total",
)

LISTED = "comfycontrol_listing_last_success_timestamp_seconds"


class Scrape:
    """What /metrics says of workflows that are over."""

    def __init__(self, url: str) -> None:
        text = metrics_page(url)
        samples = [s for f in text_string_to_metric_families(text) for s in f.samples]
        self.values = {
            (sample.name, *(sample.labels[label] for label in sorted(sample.labels))): sample.value
            for sample in samples
            if sample.name in COUNTED
        }
        self.listed = any(s.name == LISTED and s.value for s in samples)

    def by_labels(self, name: str) -> Counter[tuple[str, ...]]:
        """One metric's series that are not 0, by their labels after the account."""
        return Counter({key[2:]: int(v) for key, v in self.values.items() if key[0] == name and v})

    def total(self, name: str) -> int:
        """The sum over all series of a metric."""
        return sum(self.by_labels(name).values())


class Exporters:
    """One exporter after another in the same folder."""

    def __init__(self, stage: Stage, config: Path) -> None:
        self._stage = stage
        self._config = config
        self._started = 0
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._process: Process | None = None
        self._shown: dict[tuple[str, ...], float] = {}
        self.scrapes = 0

    def start(self) -> None:
        """Begin the next one."""
        self._started += 1
        self._process = self._stage.start(
            f"exporter-{self._started}",
            [
                *with_hold(HOLD), f"--config.file={self._config}",
                f"--storage.path={self._stage.folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{self._port}",
            ],
        )  # fmt: skip

    def scrape(self) -> Scrape:
        """What it shows; never less than any scrape before has shown."""
        scrape = Scrape(self.url)
        lower = {k: v for k, v in self._shown.items() if scrape.values.get(k, 0.0) < v}
        assert not lower, "a crash has taken back what was shown"
        self._shown = scrape.values
        self.scrapes += 1
        return scrape

    def kill_at(self, moment: float) -> None:
        """Scrape as fast as it goes until then; then kill it."""
        while time.monotonic() < moment:
            try:
                self.scrape()
            except requests.RequestException:
                time.sleep(0.01)  # it is not listening yet
        self.kill()

    def kill(self) -> None:
        """`kill -9`."""
        assert self._process is not None
        self._process.check_alive()
        self._stage.kill(f"exporter-{self._started}")
        assert "Traceback" not in self._process.output
        assert "level=error" not in self._process.output


def stories_are_true(url: str, workflows: list[dict[str, Any]], before: set[str]) -> None:
    """See that the history tells of each workflow what it was counted as, or why it was not."""
    query = "phase=settled&per_page=1000"
    table = requests.get(f"{url}/api/v1/workflows?{query}", timeout=10).json()
    shown = {row["id"]: row for row in table["workflows"]}
    assert shown.keys() == {workflow["id"] for workflow in workflows}
    for workflow in workflows:
        story = requests.get(f"{url}/api/v1/workflows/{workflow['id']}", timeout=10).json()
        counted = [event for event in story["events"] if event["what"] == "counted"]
        if workflow["id"] in before:
            assert (story["counted_as"], counted) == ("", [])
            assert "first read" in story["not_counted_because"]
        else:
            assert shown[workflow["id"]]["status"] == story["counted_as"] == workflow["status"]
            assert len(counted) == 1


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    yield stage
    stage.close()


@pytest.mark.slow
@pytest.mark.timeout(120 + 8 * KILLS + 2 * LATE_CAUSE)
@pytest.mark.parametrize("faults", [[], FAULTS], ids=["good", "hostile"])
def test_totals_are_the_truth_whenever_it_is_killed(
    stage: Stage, faults: list[dict[str, Any]]
) -> None:
    simulator_port = free_port()
    simulator = f"http://127.0.0.1:{simulator_port}"
    scenario = stage.folder / "scenario.yml"
    scenario.write_text(yaml.safe_dump(SCENARIO))
    stage.start(
        "simulator",
        [
            EXPORTER, "simulate", "--scenario", str(scenario), "--speed", str(SPEED),
            "--seed", "11", "--listen-address", f"127.0.0.1:{simulator_port}",
        ],
    )  # fmt: skip

    def truth() -> dict[str, Any]:
        found: dict[str, Any] = requests.get(f"{simulator}/_simulator/truth", timeout=10).json()
        return found

    stage.until("the simulator answers", truth)
    requests.post(f"{simulator}/_simulator/pause", timeout=10).raise_for_status()
    # Some have arrived by then; what is over at the first look of all is not counted, ever.
    stage.until("they are over", lambda: all(map(_is_over, truth()["workflows"])))
    before = {workflow["id"] for workflow in truth()["workflows"]}

    config = stage.folder / "config.yml"
    account = {
        "name": "studio",
        "token": "cfc_studio",
        "base_url": simulator,
        "listing": {"interval": "2s"},
        "rate_limit": LIMIT,
    }
    config.write_text(yaml.safe_dump({"accounts": [account]}))
    exporters = Exporters(stage, config)
    exporters.start()
    stage.until("the list was read", lambda: exporters.scrape().listed)
    exporters.kill()

    requests.put(f"{simulator}/_simulator/faults", json=faults, timeout=10).raise_for_status()
    requests.post(f"{simulator}/_simulator/resume", timeout=10).raise_for_status()
    moments = random.Random(3)
    for _ in range(KILLS):
        exporters.start()
        exporters.kill_at(time.monotonic() + moments.uniform(0.05, LONGEST_LIFE))
    exporters.start()

    def is_all_known() -> bool:
        told = truth()
        ours = [w for w in told["workflows"] if w["id"] not in before]
        if len(told["workflows"]) < FINISHED + WORKFLOWS or not all(map(_is_over, ours)):
            return False
        failed = sum(w["status"] == "failed" for w in ours)
        scrape = exporters.scrape()
        return (
            scrape.total("comfycontrol_workflows_finished_total") >= len(ours)
            and scrape.total("comfycontrol_workflow_failures_total") >= failed
        )

    stage.until("everything is counted", is_all_known, seconds=LATE_CAUSE)
    # And nothing is counted once more by the passes that follow.
    pages = truth()["requests"]["list"]
    stage.until("the list is read again", lambda: truth()["requests"]["list"] >= pages + 3)

    told = truth()
    ours = [w for w in told["workflows"] if w["id"] not in before]
    scrape = exporters.scrape()
    name = "comfycontrol_workflows_finished_total"
    assert scrape.by_labels(name) == Counter((w["status"],) for w in ours)
    assert scrape.by_labels("comfycontrol_workflow_failures_total") == Counter(
        (w["exception_type"] or "unknown", w["node_type"] or "unknown")
        for w in ours
        if w["status"] == "failed"
    )
    assert scrape.total("comfycontrol_workflows_discovered_total") == len(ours)
    ran = Counter((w["status"],) for w in ours if w["started_ms"] and w["completed_ms"])
    runs = scrape.by_labels("comfycontrol_workflow_run_duration_seconds_count")
    started = sum(w["started_ms"] is not None for w in ours)
    starts = scrape.total("comfycontrol_workflow_time_to_start_seconds_count")
    if faults:
        # Where all that was ever read of a stamp was malformed, no duration is made up.
        assert runs <= ran
        assert starts <= started
    else:
        assert (runs, starts) == (ran, started)
    assert sum(told["refusals"].values()) == 0
    stories_are_true(exporters.url, told["workflows"], before)
    print(  # noqa: T201 - for anyone who runs it with -s
        f"{KILLS} kills, {exporters.scrapes} scrapes, {len(ours)} workflows, "
        f"{sum(told['requests'].values())} requests, {told['faults']} faults"
    )
    exporters.kill()


def _is_over(workflow: dict[str, Any]) -> bool:
    return workflow["completed_ms"] is not None or workflow["status"] == "invalid"
