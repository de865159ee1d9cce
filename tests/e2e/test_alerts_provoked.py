"""Every alert is provoked for real once, all in one run, and ends when its cause does.

Simulators, two exporters and Prometheus run; the rules are those that users load, with seconds
in the place of minutes. Each fault has an account of its own, so that all can be there at once.
"""

import json
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
import requests
import yaml

from alerts import build
from alerts.build import Values
from alerts.rules import ALERTS
from tests.e2e.programs import EXPORTER, Process, Stage, program, with_hold
from tests.e2e.test_alerting import Service, in_seconds
from tests.e2e.test_prometheus import Prometheus
from tests.ports import free_port

NOBODYS_ID: Final = "00000000-0000-4000-8000-000000000000"
ACCOUNTS: Final = (
    "late", "failing", "stuck", "asleep", "endless", "gone", "given-up", "queue", "spare",
)  # fmt: skip

ELSEWHERE: Final = {
    ("ComfyControlExporterAbsent", "all"): "tests/e2e/test_alerting.py",
    # Comparing takes minutes, and no option says otherwise.
    ("ComfyControlTotalsDiffer", ""): "tests/integration/following/test_reconciling.py",
    # They need a database and several replicas; promtool shows them.
    **dict.fromkeys(
        (
            ("ComfyControlAccountNotHeld", ""),
            ("ComfyControlAccountHeldTwice", ""),
            ("ComfyControlDatabaseFailing", "all"),
            ("ComfyControlDatabaseFailing", "one"),
            ("ComfyControlDatabaseFailing", "lost"),
            ("ComfyControlReplicasDisagree", ""),
        ),
        "alerts/tests/replicas.yml",
    ),
}
"""What is shown in other tests."""


def window(told: str) -> str:
    """Of a refused token there may be no request for a minute, whatever the hurry."""
    return "70s" if told == "10m" else in_seconds(told)


def hurried_rules(folder: Path) -> None:
    """The rules that users load, with all of them on, and in a hurry."""
    thresholds = build.load()
    for alert in thresholds["alerts"].values():
        alert["enabled"] = True
        for terms in (alert, *(value for value in alert.values() if isinstance(value, dict))):
            if "for" in terms:
                terms["for"] = "3s"
    alerts = thresholds["alerts"]
    alerts["ComfyControlTimeToStartTooLong"]["slow"]["at_least"] = 10
    alerts["ComfyControlObservationsStale"]["above_seconds"] = 8
    alerts["ComfyControlListingBehind"]["above_seconds"] = 8
    alerts["ComfyControlRunTooLong"]["at_least"] = 3
    thresholds["settings"]["slice"] = TEAM["label"]
    alerts["ComfyControlNothingFinished"].update(from_hour=0, to_hour=24, first_day=0, last_day=6)
    for name, text in build.rule_files(Values(thresholds, window=window)).items():
        # At midnight as well, and not an hour after the start.
        hurried = text.replace("hour() > 0", "hour() >= 0").replace("offset 1h", "offset 30s")
        (folder / name).write_text(hurried, "utf-8")


TEAM: Final[dict[str, str]] = {"label": "team", "from": "tag", "match": "^team:(.+)$"}
"""A slice, of which all have the default."""

Told = dict[tuple[str, str], dict[str, Any]]


@dataclass(frozen=True)
class Alarms:
    """What fires, as Prometheus says."""

    stage: Stage
    url: str

    def firing(self, alert: str, **labels: str) -> list[dict[str, Any]]:
        """Those that fire now and have these labels, and maybe others."""
        answer = requests.get(f"{self.url}/api/v1/alerts", timeout=10).json()
        wanted = {"alertname": alert, **labels}
        return [
            found
            for found in answer["data"]["alerts"]
            if found["state"] == "firing" and wanted.items() <= found["labels"].items()
        ]

    def wait(self, alert: str, **labels: str) -> dict[str, Any]:
        """Wait until it fires."""
        self.stage.until(f"{alert} {labels} fires", lambda: self.firing(alert, **labels), 90)
        return self.firing(alert, **labels)[0]

    def wait_for_all(self, wanted: Mapping[tuple[str, str], Mapping[str, str]]) -> Told:
        """Wait until each has fired: some end by themselves, as their windows are short."""
        told: Told = {}

        def missing() -> list[tuple[str, str]]:
            for alert, labels in wanted.items():
                if alert not in told and (found := self.firing(alert[0], **labels)):
                    told[alert] = found[0]
            return [alert for alert in wanted if alert not in told]

        try:
            self.stage.until("all have fired", lambda: not missing(), 120)
        finally:
            print("not fired:", missing())  # noqa: T201 - shown where the test fails
        return told

    def wait_for_end(self, alert: str, **labels: str) -> None:
        """Wait until it does not."""
        self.stage.until(f"{alert} {labels} ends", lambda: not self.firing(alert, **labels), 90)


@dataclass(frozen=True)
class Bench:
    """Everything, running."""

    stage: Stage
    service: Service
    limited: Service
    alarms: Alarms
    spare_command: tuple[str, ...]
    spare_target: str
    tokens: Path
    prometheus: Process

    def start_spare(self) -> None:
        """The second exporter."""
        self.stage.start("spare", self.spare_command)

    def show(self, *faults: Mapping[str, Any]) -> None:
        """Show these faults, and no others."""
        requests.put(f"{self.service.url}/_simulator/faults", json=faults, timeout=10)

    def job(self, account: str, *moves: Mapping[str, Any]) -> str:
        """A workflow that moves by hand."""
        made: str = self.service.post("workflows", {"account": account, "scripted": True})["id"]
        for move in moves:
            self.service.move(made, **move)
        return made


def ago(seconds: float) -> int:
    """A stamp of the service."""
    return int((time.time() - seconds) * 1000)


def simulator(stage: Stage, name: str, accounts: tuple[str, ...]) -> Service:
    port = free_port()
    scenario = stage.folder / f"{name}.yml"
    scenario.write_text(
        yaml.safe_dump(
            {
                "description": "Nothing comes by itself.",
                "accounts": [{"name": a, "tokens": [f"cfc_{a}"]} for a in accounts],
                # Work moves by hand here, so none of it needs an active runner.
                "runners": [{"name": "gpu", "count": 12, "status": "disabled"}],
                "limit": {"enabled": False},
            }
        )
    )
    stage.start(
        name,
        [
            EXPORTER, "simulate", "--scenario", str(scenario), "--speed", "5",
            "--listen-address", f"127.0.0.1:{port}",
        ],
    )  # fmt: skip
    service = Service(f"http://127.0.0.1:{port}")
    stage.until("the simulator answers", lambda: requests.get(f"{service.url}/_simulator/truth"))
    return service


@contextmanager
def bench(stage: Stage) -> Iterator[Bench]:
    prometheus_program = program("prometheus")
    folder = stage.folder
    service = simulator(stage, "service", ACCOUNTS)
    limited = simulator(stage, "limited", ("limited",))

    def account(name: str, at: Service, **more: Any) -> dict[str, Any]:
        return {
            "name": name,
            "token": f"cfc_{name}",
            "base_url": at.url,
            "rate_limit": {"requests": 1000, "per": "10s", "cooldown": "1s"},
            "listing": {"interval": "1s"},
        } | more

    token = folder / "gone.token"
    token.write_text("cfc_gone")
    gone = account("gone", service, token_file=str(token))
    del gone["token"]
    given_up = account("given-up", service, workflows=[NOBODYS_ID])
    del given_up["listing"]
    more = {"asleep": {"runners": {"interval": "10s"}}}
    others = [
        account(a, service, **more.get(a, {}))
        for a in ACCOUNTS
        if a not in {"gone", "given-up", "spare"}
    ]
    ports = [free_port() for _ in range(3)]
    commands = []
    documents = {
        "main": {
            "accounts": [*others, gone, given_up, account("limited", limited)],
            "metrics": {"node_types": 1, "per_workflow_series": 3, "slices": [TEAM]},
        },
        "spare": {"accounts": [account("spare", service)]},
    }
    for (name, document), port in zip(documents.items(), ports, strict=False):
        (folder / f"{name}.yml").write_text(yaml.safe_dump(document))
        (folder / f"{name}-web.yml").write_text("http_server_config: {http2: true}\n")
        commands.append(
            (
                *with_hold(3), f"--config.file={folder / name}.yml", "--config.watch",
                f"--web.config.file={folder / name}-web.yml",
                f"--storage.path={folder / name}", f"--web.listen-address=127.0.0.1:{port}",
            )
        )  # fmt: skip
    hurried_rules(folder)
    (folder / "ports").write_text(json.dumps(ports[:2]))
    configure(folder, ports[:2], drop="comfycontrol_label_overflow_total")
    stage.start("main", commands[0])
    stage.start("spare", commands[1])
    prometheus = stage.start(
        "prometheus",
        [
            prometheus_program, f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{ports[2]}", "--web.enable-lifecycle",
        ],
    )  # fmt: skip
    url = f"http://127.0.0.1:{ports[2]}"
    stage.until("Prometheus is ready", lambda: requests.get(f"{url}/-/ready", timeout=10).ok)
    yield Bench(
        stage, service, limited, Alarms(stage, url), commands[1], f"127.0.0.1:{ports[1]}", token,
        prometheus,
    )  # fmt: skip


def configure(folder: Path, ports: list[int], drop: str = "") -> None:
    """Prometheus' configuration; of the second exporter it may drop a series."""
    relabeling = [{"source_labels": ["__name__"], "regex": drop, "action": "drop"}] if drop else []
    (folder / "prometheus.yml").write_text(
        yaml.safe_dump(
            {
                "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
                "rule_files": ["recording.yml", "alerts.yml"],
                "scrape_configs": [
                    {
                        "job_name": name,
                        "static_configs": [{"targets": [f"127.0.0.1:{port}"]}],
                        "relabel_configs": [{"target_label": "job", "replacement": "comfycontrol"}],
                        "metric_relabel_configs": relabeling if name == "spare" else [],
                    }
                    for name, port in zip(("main", "spare"), ports, strict=True)
                ],
            }
        )
    )


CAUSE: Final = {"node_type": "KSampler", "exception_type": "KeyError"}
EXPECTED: Final[dict[tuple[str, str], dict[str, str]]] = {
    ("ComfyControlTimeToStartTooLong", "fast"): {"account": "late"},
    ("ComfyControlTimeToStartTooLong", "slow"): {"account": "late"},
    ("ComfyControlTimeToStartTooLong", "slice"): {"account": "late", "team": "none"},
    ("ComfyControlFailureRatioHigh", "slice"): {"account": "failing", "team": "none"},
    ("ComfyControlFailureRatioHigh", "fast"): {"account": "failing"},
    ("ComfyControlFailureRatioHigh", "slow"): {"account": "failing"},
    ("ComfyControlFailureRatioHigh", "few"): {"account": "failing"},
    ("ComfyControlNodeTypeFailing", "fast"): {"account": "failing", "node_type": "KSampler"},
    ("ComfyControlNodeTypeFailing", "slow"): {"account": "failing", "node_type": "KSampler"},
    ("ComfyControlQueueStuck", "not_moving"): {"account": "stuck"},
    ("ComfyControlQueueStuck", "too_old"): {"account": "stuck", "status": "queued"},
    ("ComfyControlNothingStarts", ""): {"account": "asleep"},
    ("ComfyControlNoActiveRunner", ""): {"account": "asleep"},
    ("ComfyControlRunTooLong", ""): {"account": "endless"},
    ("ComfyControlNothingFinished", ""): {"account": "asleep"},
    ("ComfyControlAccountDown", ""): {"account": "gone"},
    ("ComfyControlRateLimited", ""): {"account": "limited"},
    ("ComfyControlObservationsStale", ""): {"account": "gone"},
    ("ComfyControlListingBehind", ""): {"account": "gone"},
    ("ComfyControlCardinalityCapReached", "values"): {"account": "queue", "label": "node_type"},
    ("ComfyControlCardinalityCapReached", "positions"): {"account": "queue"},
    ("ComfyControlWorkflowsDropped", ""): {"account": "given-up"},
    ("ComfyControlSeriesMissing", ""): {"series": "comfycontrol_label_overflow_total"},
    ("ComfyControlLedgerFailing", ""): {},
    ("ComfyControlConfigReloadFailed", "config"): {},
    ("ComfyControlConfigReloadFailed", "web"): {},
    ("ComfyControlExporterAbsent", "one"): {},
}


def test_every_alert_is_provoked_here_or_elsewhere() -> None:
    every = {(alert.name, rule.reason) for alert in ALERTS for rule in alert.rules}
    assert EXPECTED.keys() | ELSEWHERE.keys() == every
    assert not EXPECTED.keys() & ELSEWHERE.keys()


def labels_of(alert: tuple[str, str]) -> dict[str, str]:
    return EXPECTED[alert] | ({"reason": alert[1]} if alert[1] else {})


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_alerts_fire_on_real_faults_and_end_with_them(stage: Stage) -> None:
    with bench(stage) as running:
        alarms, folder = running.alarms, stage.folder
        running.job("gone", {"status": "running"})
        for seen in (
            # All are up, and there is a while to look back at.
            "count(comfycontrol_account_up offset 5s == 1) >= 10",
            'comfycontrol_workflows{account="gone", status="running"} == 1',
        ):
            stage.until(seen, partial(Prometheus(alarms.url).query, seen))
        cures = provoke(running)

        # The ledger of the second exporter is taken away, and its files are spoilt.
        for file in (folder / "spare").iterdir():
            file.unlink()
        running.job("spare", {"status": "running"})
        for name in ("spare", "spare-web"):
            shutil.copy(folder / f"{name}.yml", folder / f"{name}.kept")
            (folder / f"{name}.yml").write_text("nonsense: true\n")

        told = alarms.wait_for_all(
            {alert: labels_of(alert) for alert in EXPECTED if "Absent" not in alert[0]}
        )
        check_texts(told)

        # One incident, one alert: its text follows what is answered now, and it goes on.
        down = told["ComfyControlAccountDown", ""]
        running.service.post("accounts/gone/revoke")
        running.show()
        refused = "The service refuses the token of gone"
        stage.until(
            "the text names the token",
            lambda: (
                [
                    found["annotations"]["summary"]
                    for found in alarms.firing("ComfyControlAccountDown", account="gone")
                ]
                == [refused]
            ),
        )
        (later,) = alarms.firing("ComfyControlAccountDown", account="gone")
        assert later["activeAt"] == down["activeAt"]
        assert later["labels"] == down["labels"]

        for cure in cures:
            cure()
        for name in ("spare", "spare-web"):
            shutil.copy(folder / f"{name}.kept", folder / f"{name}.yml")
        ports = [int(part) for part in json.loads((folder / "ports").read_text())]
        configure(folder, ports)
        requests.post(f"{alarms.url}/-/reload", timeout=10)
        for alert in told:
            alarms.wait_for_end(alert[0], **labels_of(alert))

        stage.kill("spare")
        absent = alarms.wait("ComfyControlExporterAbsent", reason="one")
        assert absent["annotations"]["summary"] == f"The exporter {running.spare_target} is down"
        running.start_spare()
        alarms.wait_for_end("ComfyControlExporterAbsent", reason="one")


def provoke(running: Bench) -> list[Any]:
    """Bring every fault about; what ends each."""
    service, job = running.service, running.job
    late = {"created_at": ago(1200), "started_at": ago(600)}
    for _ in range(12):
        job("late", {"status": "running", **late}, {"status": "completed"})
        job("failing", {"status": "running"}, {"status": "failed", "cause": CAUSE})
    for number in range(2):
        other = {"node_type": f"Other{number}", "exception_type": "KeyError"}
        job("queue", {"status": "running"}, {"status": "failed", "cause": other})
    hangs = job("stuck", {"status": "running", "started_at": ago(5)})
    waiting = [
        job("stuck", {"status": "queued", "queue_position": place, "created_at": ago(7200)})
        for place in range(1, 13)
    ]
    asleep = [job("asleep", {"status": "queued", "queue_position": 1}) for _ in range(2)]
    for _ in range(4):
        job("endless", {"status": "running", "started_at": ago(2)}, {"status": "completed"})
    endless = job("endless", {"status": "running", "started_at": ago(7200)})
    long_queue = [job("queue", {"status": "queued", "queue_position": p}) for p in range(1, 7)]
    running.show(
        {"kind": "status", "code": 503, "account": "gone"}, {"kind": "drop", "account": "gone"}
    )
    limit = {"kind": "status", "code": 429, "retry_after": 1}
    requests.put(f"{running.limited.url}/_simulator/faults", json=[limit], timeout=10)

    def end(workflows: list[str]) -> None:
        for workflow in workflows:
            service.move(workflow, status="running")
            service.move(workflow, status="completed")

    def well() -> None:
        for _ in range(40):
            job("failing", {"status": "running"}, {"status": "completed"})
        for _ in range(12):
            job("late", {"status": "running"}, {"status": "completed"})
        token = service.post("accounts/gone/rotate")["token"]
        running.tokens.write_text(token)
        requests.put(f"{running.limited.url}/_simulator/faults", json=[], timeout=10)

    return [
        lambda: end([hangs, *waiting]),
        lambda: end(asleep),
        lambda: end([endless]),
        lambda: end(long_queue),
        well,
    ]


def check_texts(told: Mapping[tuple[str, str], Mapping[str, Any]]) -> None:
    """Each says whom it is about and what was measured, in whole sentences."""
    for (alert, _), found in told.items():
        for text in found["annotations"].values():
            assert "<no value>" not in text, alert
            assert "error" not in text.lower() or alert in {
                "ComfyControlLedgerFailing",
                "ComfyControlAccountDown",
                "ComfyControlNodeTypeFailing",
            }, (alert, text)
    said = {key: found["annotations"]["description"] for key, found in told.items()}
    assert "none has ever started or ended" in said["ComfyControlNothingStarts", ""]
    assert "; 12 are disabled" in said["ComfyControlNoActiveRunner", ""]
    assert said["ComfyControlQueueStuck", "not_moving"].startswith(
        "12 workflows are queued, the oldest for 2h 0m"
    )
    assert "errors of the service (5xx)" in said["ComfyControlAccountDown", ""]
    assert "The last usable answer came" in said["ComfyControlAccountDown", ""]
    assert "of 1 values is reached" in said["ComfyControlCardinalityCapReached", "values"]
    assert "of 3 is reached" in said["ComfyControlCardinalityCapReached", "positions"]
    assert "as not_found" in said["ComfyControlWorkflowsDropped", ""]
