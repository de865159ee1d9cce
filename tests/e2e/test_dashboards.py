"""Every expression of the dashboards finds something in a real Prometheus, or is rightly empty."""

import json
import math
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import yaml

from dashboards.build import BOARDS, render
from tests.e2e.programs import EXPORTER, Stage, free_port, program
from tests.promql import filled

ACCOUNTS = ("studio", "agency")
SPEED = 5
SCENARIO = {
    "description": "More arrives than two runners carry, and much of it fails.",
    "accounts": [{"name": name, "tokens": [f"cfc_{name}"]} for name in ACCOUNTS],
    "arrivals": {"rate": 0.35, "bursts": [{"at": "30s", "size": 20}]},
    "runners": [{"name": "gpu", "count": 2}],
    "jobs": [
        {"name": "image", "duration": {"median": "9s", "sigma": 0.5, "min": "2s", "max": "40s"}}
    ],
    "outcomes": {"failed": 0.4, "cancelled": 0.05, "invalid": 0.05, "before_running": 0.1},
}

RIGHTLY_EMPTY = {
    " offset 1w": "this Prometheus has not been there for a week",
    " offset 5m": "nor for five minutes",
}
"""What an expression holds that finds nothing here, and why."""


def expressions() -> Iterator[tuple[str, str, bool]]:
    """The panel's name, the expression, and whether it is asked for one moment alone."""
    for board in BOARDS.values():
        document = json.loads(render(board()))
        for panel in document["panels"]:
            for target in panel.get("targets", ()):
                name = f"{document['uid']}: {panel['title']} {target['refId']}"
                yield name, target["expr"], target["instant"]


class Asking:
    """Asks as Grafana does."""

    def __init__(self, url: str) -> None:
        self._url = url

    def finds(self, expression: str, *, instant: bool) -> bool:
        """Whether there is a number in what comes back."""
        now = time.time()
        if instant:
            path, when = "query", {"time": str(now)}
        else:
            path, when = "query_range", {"start": str(now - 60), "end": str(now), "step": "5"}
        answer: dict[str, Any] = requests.get(
            f"{self._url}/api/v1/{path}", params={"query": expression, **when}, timeout=10
        ).json()
        assert answer["status"] == "success", (answer, expression)
        return any(
            not math.isnan(float(value))
            for series in answer["data"]["result"]
            for _, value in series.get("values") or [series["value"]]
        )


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_expression_finds_something_or_is_rightly_empty(stage: Stage) -> None:
    prometheus = program("prometheus")
    sim, exporter, prom = free_port(), free_port(), free_port()
    (stage.folder / "scenario.yml").write_text(yaml.safe_dump(SCENARIO))
    (stage.folder / "config.yml").write_text(
        yaml.safe_dump(
            {
                "accounts": [
                    {
                        "name": name,
                        "token": f"cfc_{name}",
                        "base_url": f"http://127.0.0.1:{sim}",
                        "listing": {"interval": "2s"},
                    }
                    for name in ACCOUNTS
                ]
            }
        )
    )
    targets = [{"targets": [f"127.0.0.1:{exporter}"]}]
    (stage.folder / "prometheus.yml").write_text(
        yaml.safe_dump(
            {
                "global": {"scrape_interval": "1s"},
                # Any name of a job will do.
                "scrape_configs": [{"job_name": "gpu-farm", "static_configs": targets}],
            }
        )
    )
    stage.start(
        "simulator",
        [
            EXPORTER, "simulate", f"--scenario={stage.folder / 'scenario.yml'}",
            f"--speed={SPEED}", "--seed=5", f"--listen-address=127.0.0.1:{sim}",
        ],
    )  # fmt: skip
    stage.until(
        "the simulator answers",
        lambda: requests.get(f"http://127.0.0.1:{sim}/_simulator", timeout=10).ok,
    )
    stage.start(
        "exporter",
        [
            EXPORTER, f"--config.file={stage.folder / 'config.yml'}",
            f"--storage.path={stage.folder / 'data'}", f"--web.listen-address=127.0.0.1:{exporter}",
        ],
    )  # fmt: skip
    stage.start(
        "prometheus",
        [
            prometheus, f"--config.file={stage.folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={stage.folder / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{prom}",
        ],
    )  # fmt: skip
    url = f"http://127.0.0.1:{prom}"
    stage.until("Prometheus is ready", lambda: requests.get(f"{url}/-/ready", timeout=10).ok)
    asking = Asking(url)
    stage.until(
        "something has failed, and something is queued",
        lambda: asking.finds(
            "sum(comfycontrol_workflow_failures_total) > 5 "
            "and sum(comfycontrol_workflow_queue_position) > 5",
            instant=True,
        ),
        120,
    )

    missing = {
        panel: (filled(expression, window="1m", __rate_interval="10s", __range="5m"), instant)
        for panel, expression, instant in expressions()
    }
    empty = {
        panel
        for panel, (asked, _) in missing.items()
        if any(part in asked for part in RIGHTLY_EMPTY)
    }
    deadline = time.monotonic() + 100  # some look at whole minutes
    while not missing.keys() <= empty and time.monotonic() < deadline:
        for panel, (asked, instant) in list(missing.items()):
            if asking.finds(asked, instant=instant):
                del missing[panel]
        time.sleep(1)

    assert missing.keys() == empty, [missing.get(panel) for panel in missing.keys() ^ empty]
