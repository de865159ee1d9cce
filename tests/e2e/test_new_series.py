"""The first failure of a node, as several real Prometheus see it.

Two of them scrape from one address under one name, somebody else looks in between and asks first
after each crash, and a third comes late. A new series stands at 0 for seconds here, and they
scrape as much more often.
"""

from collections.abc import Mapping
from typing import Any

import pytest
import requests
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.programs import EXPORTER, Stage, metrics_page, program, with_hold
from tests.e2e.test_prometheus import Prometheus
from tests.ports import free_port

HOLD = 5.0
SCRAPE = "1s"

SCENARIO = {
    "description": "Nothing comes by itself.",
    "accounts": [{"name": "studio", "tokens": ["cfc_studio"]}],
    "limit": {"enabled": False},
}

FAILURES = "comfycontrol_workflow_failures_total"
BAD_GATEWAYS = 'comfycontrol_api_requests_total{code="502"}'
ALL = f"sum({FAILURES})"


class World:
    """Simulator and exporter, and anyone who looks at them."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        sim, self._port = free_port(), free_port()
        self._service = f"http://127.0.0.1:{sim}/_simulator"
        scenario = stage.folder / "scenario.yml"
        scenario.write_text(yaml.safe_dump(SCENARIO))
        stage.start(
            "simulator",
            [
                EXPORTER, "simulate", f"--scenario={scenario}", "--speed=10",
                f"--listen-address=127.0.0.1:{sim}",
            ],
        )  # fmt: skip
        stage.until("the simulator answers", lambda: requests.get(self._service, timeout=10).ok)
        self._config = stage.folder / "config.yml"
        account = {
            "name": "studio",
            "token": "cfc_studio",
            "base_url": f"http://127.0.0.1:{sim}",
            "listing": {"interval": "1s"},
            "rate_limit": {"requests": 1000, "per": "10s"},
        }
        self._config.write_text(yaml.safe_dump({"accounts": [account]}))

    def start_exporter(self) -> None:
        self.stage.start(
            "exporter",
            [
                *with_hold(HOLD), f"--config.file={self._config}",
                f"--storage.path={self.stage.folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{self._port}",
            ],
        )  # fmt: skip

    def start_prometheus(self, name: str) -> Prometheus:
        """Start one. It takes some seconds to find its target."""
        port = free_port()
        config = self.stage.folder / "prometheus.yml"
        targets = [{"targets": [f"127.0.0.1:{self._port}"]}]
        config.write_text(
            yaml.safe_dump(
                {
                    "global": {"scrape_interval": SCRAPE},
                    "scrape_configs": [{"job_name": "comfycontrol", "static_configs": targets}],
                }
            )
        )
        self.stage.start(
            name,
            [
                program("prometheus"), f"--config.file={config}",
                f"--storage.tsdb.path={self.stage.folder / name}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
        )  # fmt: skip
        return Prometheus(f"http://127.0.0.1:{port}")

    def _tell_service(self, method: str, path: str, body: object) -> Mapping[str, Any]:
        answer = requests.request(method, f"{self._service}/{path}", json=body, timeout=10)
        assert answer.ok, answer.text
        document: Mapping[str, Any] = answer.json()
        return document

    def fail(self, *nodes: str) -> None:
        """One workflow fails in each of these."""
        for node in nodes:
            made = self._tell_service("POST", "workflows", {"account": "studio", "scripted": True})
            cause = {"node_type": node, "exception_type": "ValueError"}
            end = {"status": "failed", "cause": cause}
            self._tell_service("POST", f"workflows/{made['id']}/advance", end)

    def break_the_way(self, times: int) -> None:
        """A proxy answers in the place of the service, so often."""
        fault = {"kind": "status", "code": 502, "times": times, "endpoints": ["list"]}
        self._tell_service("PUT", "faults", [fault])

    def look(self) -> dict[str, float]:
        """What a person is shown of failures, by node."""
        page = metrics_page(f"http://127.0.0.1:{self._port}")
        return {
            sample.labels["node_type"]: sample.value
            for family in text_string_to_metric_families(page)
            for sample in family.samples
            if sample.name == FAILURES
        }

    def first_pass(self) -> dict[str, float]:
        """What is shown to a person who asks before anybody else."""
        shown: dict[str, float] = {}

        def is_answered() -> bool:
            shown.update(self.look())
            return True

        self.stage.until("the exporter answers", is_answered)
        return shown

    def crash(self) -> None:
        self.stage.kill("exporter")
        self.start_exporter()


def steps(prometheus: Prometheus, series: str) -> dict[tuple[str, ...], float]:
    """What `increase()` makes of a series that began at 0, up to its last sample.

    At that very moment there is nothing that it could extrapolate.
    """
    (last,) = set(prometheus.query(f"timestamp({series})").values())
    return prometheus.query(f"increase({series}[10m])", at=last)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_who_scrapes_sees_every_step_and_who_comes_late_sees_none(stage: Stage) -> None:
    world = World(stage)
    world.start_exporter()
    steady = [world.start_prometheus("prometheus-1"), world.start_prometheus("prometheus-2")]
    stage.until("both scrape", lambda: all(p.query("comfycontrol_account_up") for p in steady))

    # Killed while the series are new, with more failures while it is down.
    world.fail("KSampler", "KSampler", "VAEDecode")
    stage.until("somebody sees them at 0", lambda: len(world.look()) == 2)
    assert set(world.look().values()) == {0.0}
    stage.kill("exporter")
    world.fail("KSampler", "LoraLoader")
    world.start_exporter()
    assert set(world.first_pass().values()) == {0.0}
    stage.until("both have every failure", lambda: all(p.scalar(ALL) == 5 for p in steady))

    # Killed when they are old: nobody is shown 0 once more, nor for the first time.
    late = world.start_prometheus("prometheus-3")
    world.crash()
    assert world.first_pass() == {"KSampler": 3, "VAEDecode": 1, "LoraLoader": 1}
    stage.until("it has scraped twice", lambda: late.query(f"count_over_time({FAILURES}[1m]) > 1"))
    assert late.scalar(ALL) == 5
    assert set(late.query(f"increase({FAILURES}[1m])").values()) == {0.0}

    # From now on it is one like the others. What the process itself counts is no exception.
    world.fail("KSampler", "CLIPLoader")
    world.break_the_way(3)
    everybody = [*steady, late]
    stage.until("all have every failure", lambda: all(p.scalar(ALL) == 7 for p in everybody))
    stage.until("and bad gateway", lambda: all(p.scalar(BAD_GATEWAYS) == 3 for p in everybody))

    told = {"KSampler": 4.0, "VAEDecode": 1.0, "LoraLoader": 1.0, "CLIPLoader": 1.0}
    for prometheus in steady:
        found = steps(prometheus, FAILURES)
        assert sorted(found.values()) == sorted(told.values())
        for node, count in told.items():
            one = f'{FAILURES}{{node_type="{node}"}}'
            assert set(steps(prometheus, one).values()) == {count}, node
    rose = late.query(f"max_over_time({FAILURES}[10m]) - min_over_time({FAILURES}[10m])")
    assert sorted(rose.values()) == [0.0, 0.0, 1.0, 1.0]
    for prometheus in everybody:
        assert set(steps(prometheus, BAD_GATEWAYS).values()) == {3.0}
        assert set(prometheus.query(f"resets({FAILURES}[10m])").values()) == {0.0}
