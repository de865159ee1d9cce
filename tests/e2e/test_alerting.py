"""Faults at the service, all the way to anyone who is on call: nothing between them is faked.

Simulator, exporter, Prometheus and Alertmanager run for real; the rules come from the same source
as those that users load, with seconds in the place of minutes, and Alertmanager's configuration is
the example, with a receiver of ours in each of its receivers.
"""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from alerts import build
from alerts.build import Values
from alerts.recordings import RECORDINGS
from alerts.rules import ALERTS
from tests.e2e.programs import EXPORTER, Process, Stage, program, with_hold
from tests.e2e.test_prometheus import Prometheus
from tests.ports import free_port

SCENARIO = {
    "description": "Nothing comes by itself.",
    "accounts": [
        {"name": "studio", "tokens": ["cfc_studio"]},
        {"name": "agency", "tokens": ["cfc_agency"]},
    ],
    "runners": [{"name": "gpu", "count": 12}],
    "limit": {"enabled": False},
}
SPEED = 5

NODE_TYPE = 'easy "full" Loader 画像'


@dataclass(frozen=True)
class Notice:
    """One alert in one message of Alertmanager."""

    receiver: str
    status: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]


class Webhook:
    """Takes what Alertmanager sends; the path of the request names the receiver."""

    def __init__(self) -> None:
        self._notices: list[Notice] = []
        self._lock = threading.Lock()

    def take(self, message: dict[str, Any]) -> None:
        with self._lock:
            self._notices += [
                Notice(message["receiver"], a["status"], a["labels"], a["annotations"])
                for a in message["alerts"]
            ]

    def notices(self, status: str, **labels: str) -> list[Notice]:
        """Those of this status that have these labels, and maybe others."""
        with self._lock:
            return [
                notice
                for notice in self._notices
                if notice.status == status and labels.items() <= notice.labels.items()
            ]


@contextmanager
def webhook() -> Iterator[tuple[Webhook, str]]:
    hook = Webhook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            hook.take(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Stay silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True)
    thread.start()
    try:
        yield hook, f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def in_seconds(window: str) -> str:
    """Hours become half minutes. Below a quarter minute there is too little in a window."""
    return f"{max(15, build.seconds(window) // 120)}s"


def hurried_rules(folder: Path) -> None:
    """The rules that users load, in a hurry."""
    thresholds = build.load()
    for alert in thresholds["alerts"].values():
        for terms in (alert, *(value for value in alert.values() if isinstance(value, dict))):
            if "for" in terms:
                terms["for"] = "3s"
    alerts = thresholds["alerts"]
    # Both are true of an account that is down, but must not be told then.
    alerts["ComfyControlObservationsStale"]["above_seconds"] = 8
    alerts["ComfyControlListingBehind"]["above_seconds"] = 8
    # Before Prometheus' first scrape, nothing is up.
    alerts["ComfyControlExporterAbsent"]["all"]["for"] = "5s"
    for name, text in build.rule_files(Values(thresholds, window=in_seconds)).items():
        (folder / name).write_text(text, "utf-8")


def hurried_alertmanager(url: str) -> str:
    """The example, with our receiver, and with seconds."""
    config = yaml.safe_load(build.EXAMPLE.read_text("utf-8"))
    for receiver in config["receivers"]:
        receiver["webhook_configs"] = [{"url": url, "send_resolved": True}]

    def hurry(route: dict[str, Any]) -> None:
        route.update(group_wait="1s", group_interval="1s", repeat_interval="1h")
        for child in route.get("routes", []):
            hurry(child)

    hurry(config["route"])
    text: str = yaml.safe_dump(config)
    return text


MAY_BE_TRUE_TOO = {"ComfyControlFailureRatioHigh", "ComfyControlExporterAbsent"}
"""With windows of seconds, a failing node type may fill the whole of one, and a machine that is
busy elsewhere may miss the scrapes of one. Both are then true, and told."""


class Service:
    """The simulator's own calls."""

    def __init__(self, url: str) -> None:
        self.url = url

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        answer = requests.post(f"{self.url}/_simulator/{path}", json=body or {}, timeout=10)
        assert answer.ok, answer.text
        document: dict[str, Any] = answer.json()
        return document

    def scripted(self, account: str, **move: Any) -> str:
        """A workflow that moves by hand only."""
        workflow_id: str = self.post("workflows", {"account": account, "scripted": True})["id"]
        self.move(workflow_id, **move)
        return workflow_id

    def move(self, workflow_id: str, **move: Any) -> None:
        self.post(f"workflows/{workflow_id}/advance", move)


@dataclass(frozen=True)
class Chain:
    """Everything, running."""

    stage: Stage
    service: Service
    prometheus: Prometheus
    hook: Webhook
    start_exporter_command: tuple[str, ...]
    token_file: Path

    def start_exporter(self) -> Process:
        return self.stage.start("exporter", self.start_exporter_command)

    def told(self, alert: str, status: str = "firing", **labels: str) -> Notice:
        """Wait for the message about an alert."""
        wanted = {"alertname": alert, **labels}
        self.stage.until(
            f"{alert} is {status}", lambda: self.hook.notices(status, **wanted), seconds=45
        )
        return self.hook.notices(status, **wanted)[0]


@contextmanager
def chain(stage: Stage) -> Iterator[Chain]:
    prometheus_program = program("prometheus")
    alertmanager_program = program("prometheus-alertmanager")
    sim, exporter, prom, manager = (free_port() for _ in range(4))
    folder = stage.folder

    scenario = folder / "scenario.yml"
    scenario.write_text(yaml.safe_dump(SCENARIO))
    service = Service(f"http://127.0.0.1:{sim}")
    stage.start(
        "simulator",
        [
            EXPORTER, "simulate", "--scenario", str(scenario), "--speed", str(SPEED),
            "--listen-address", f"127.0.0.1:{sim}",
        ],
    )  # fmt: skip
    stage.until("the simulator answers", lambda: requests.get(f"{service.url}/_simulator/truth"))

    token_file = folder / "agency.token"
    token_file.write_text("cfc_agency")
    account = {
        "base_url": service.url,
        "listing": {"interval": "1s"},
        "rate_limit": {"requests": 1000, "per": "10s"},
    }
    config = folder / "config.yml"
    config.write_text(
        yaml.safe_dump(
            {
                "accounts": [
                    {"name": "studio", "token": "cfc_studio", **account},
                    {"name": "agency", "token_file": str(token_file), **account},
                ]
            }
        )
    )
    command = (
        *with_hold(3), f"--config.file={config}", f"--storage.path={folder / 'ledger'}",
        f"--web.listen-address=127.0.0.1:{exporter}",
    )  # fmt: skip

    hurried_rules(folder)
    prometheus_config = folder / "prometheus.yml"
    prometheus_config.write_text(
        yaml.safe_dump(
            {
                "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
                "rule_files": ["recording.yml", "alerts.yml"],
                "alerting": {
                    "alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{manager}"]}]}]
                },
                "scrape_configs": [
                    {
                        "job_name": "comfycontrol",
                        "static_configs": [{"targets": [f"127.0.0.1:{exporter}"]}],
                    }
                ],
            }
        )
    )
    with webhook() as (hook, hook_url):
        alertmanager_config = folder / "alertmanager.yml"
        alertmanager_config.write_text(hurried_alertmanager(hook_url))
        stage.start(
            "alertmanager",
            [
                alertmanager_program, f"--config.file={alertmanager_config}",
                f"--storage.path={folder / 'alertmanager'}", "--cluster.listen-address=",
                f"--web.listen-address=127.0.0.1:{manager}",
            ],
        )  # fmt: skip
        running = Chain(
            stage, service, Prometheus(f"http://127.0.0.1:{prom}"), hook, command, token_file
        )
        running.start_exporter()
        stage.until(
            "the exporter is ready",
            lambda: requests.get(f"http://127.0.0.1:{exporter}/-/ready", timeout=10).ok,
        )
        stage.start(
            "prometheus",
            [
                prometheus_program, f"--config.file={prometheus_config}",
                f"--storage.tsdb.path={folder / 'tsdb'}",
                f"--web.listen-address=127.0.0.1:{prom}",
            ],
        )  # fmt: skip
        stage.until(
            "Prometheus is ready",
            lambda: requests.get(f"http://127.0.0.1:{prom}/-/ready", timeout=10).ok,
        )
        stage.until(
            "Prometheus has scraped", lambda: running.prometheus.query("comfycontrol_account_up")
        )
        yield running
        stage.close()  # before the receiver goes


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_faults_reach_whoever_is_on_call_and_so_does_their_end(stage: Stage) -> None:
    with chain(stage) as running:
        service, hook = running.service, running.hook

        # The agency's queue hangs behind a run that does not end, while one of the studio's node
        # types breaks.
        hangs = service.scripted("agency", status="running")
        waiting = [
            service.scripted("agency", status="queued", queue_position=place)
            for place in range(1, 13)
        ]
        for number in range(9):
            broken = {
                "outcome": "failed",
                "cause": {"node_type": NODE_TYPE, "exception_type": "KeyError"},
            }
            fine = {"outcome": "completed"}
            service.post(
                "workflows",
                {"account": "studio", "duration": "1s"} | (fine if number % 3 == 0 else broken),
            )

        failing = running.told("ComfyControlNodeTypeFailing", reason="fast")
        assert failing.receiver == "studio-chat"
        exporter = {"job": "comfycontrol", "instance": failing.labels["instance"]}
        assert failing.labels == {
            "alertname": "ComfyControlNodeTypeFailing",
            **exporter,
            "account": "studio",
            "node_type": NODE_TYPE,
            "reason": "fast",
            "severity": "warning",
        }
        assert failing.annotations["summary"] == f"{NODE_TYPE} fails in studio"
        assert "most of them with KeyError." in failing.annotations["description"]

        stuck = running.told("ComfyControlQueueStuck")
        assert stuck.receiver == "agency-pager"
        assert stuck.labels == {
            "alertname": "ComfyControlQueueStuck",
            **exporter,
            "account": "agency",
            "reason": "not_moving",
            "severity": "critical",
        }
        assert stuck.annotations["description"].startswith("12 workflows are queued,")
        assert stuck.annotations["runbook_url"].endswith("/ComfyControlQueueStuck.md")
        assert stuck.annotations["dashboard_url"].endswith("?var-account=agency")
        running.told("ComfyControlNodeTypeFailing", "resolved", node_type=NODE_TYPE, reason="fast")

        for workflow_id in waiting:
            service.move(workflow_id, status="running")
            service.move(workflow_id, status="completed")
        running.told("ComfyControlQueueStuck", "resolved", account="agency")

        # Every recording rule has had something to say by now.
        silent = [
            recording.name
            for recording in RECORDINGS
            if not running.prometheus.query(f"count_over_time({recording.name}[5m])")
        ]
        assert silent == []

        # The agency's token is revoked while something of it runs.
        service.post("accounts/agency/revoke")
        down = running.told("ComfyControlAccountDown")
        assert down.receiver == "agency-pager"
        assert down.labels == {
            "alertname": "ComfyControlAccountDown",
            **exporter,
            "account": "agency",
            "severity": "critical",
        }
        assert down.annotations["summary"] == "The service refuses the token of agency"
        follows = 'ALERTS{alertname="ComfyControlListingBehind", alertstate="firing"}'
        stage.until("what follows from it fires as well", lambda: running.prometheus.query(follows))
        stage.until(
            "it fires for two seconds",
            lambda: running.prometheus.query(f"count_over_time({follows}[10s]) > 2"),
        )
        # Alertmanager silences it; what came before this moment is all that was told.
        told = {notice.labels["alertname"] for notice in hook.notices("firing")}
        assert told - MAY_BE_TRUE_TOO == {
            "ComfyControlNodeTypeFailing",
            "ComfyControlQueueStuck",
            "ComfyControlAccountDown",
        }
        token = service.post("accounts/agency/rotate")["token"]
        running.token_file.write_text(token)
        running.told("ComfyControlAccountDown", "resolved", account="agency")

        # The exporter is killed, and comes back.
        stage.kill("exporter")
        absent = running.told("ComfyControlExporterAbsent")
        assert absent.receiver == "studio-pager"
        assert absent.labels == {
            "alertname": "ComfyControlExporterAbsent",
            "reason": "all",
            "severity": "critical",
        }
        running.start_exporter()
        running.told("ComfyControlExporterAbsent", "resolved")
        # Neither the start, nor the crash, nor the start after it has told anything else. What
        # follows from an account that is down may end a moment after it does.
        follows_account_down = {a.name for a in ALERTS if a.follows_account_down}
        told = {notice.labels["alertname"] for notice in hook.notices("firing")}
        assert told - follows_account_down - MAY_BE_TRUE_TOO == {
            "ComfyControlNodeTypeFailing",
            "ComfyControlQueueStuck",
            "ComfyControlAccountDown",
        }
        # It knows what it knew, and nothing was counted twice.
        assert running.prometheus.query(
            'sum by (account) (comfycontrol_workflows_finished_total{account="agency"})'
        ) == {("agency",): 12.0}
        service.move(hangs, status="completed")
