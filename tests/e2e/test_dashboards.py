"""Every expression of dashboards and alerts finds something in a real Prometheus.

Or it is listed as rightly empty, with the reason. Of an alert, every side of it is asked for as
well, and the whole without its thresholds: one that finds nothing there could never fire.
"""

import json
import math
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import yaml

from alerts import build
from alerts.build import Values
from alerts.recordings import RECORDINGS
from dashboards.build import board_files
from tests.e2e.programs import EXPORTER, Stage, program, with_hold
from tests.e2e.test_alerting import in_seconds
from tests.ports import free_port
from tests.promql import filled, sides, unfiltered

ACCOUNTS = ("studio", "agency")
SPEED = 5
SCENARIO = {
    "description": "More arrives than two runners carry, and much of it fails.",
    "accounts": [{"name": name, "tokens": [f"cfc_{name}"]} for name in ACCOUNTS],
    "arrivals": {"rate": 0.35, "bursts": [{"at": "30s", "size": 20}]},
    "runners": [{"name": "gpu", "count": 2, "tags": ["sdxl"]}],
    "jobs": [
        {"name": "image", "duration": {"median": "9s", "sigma": 0.5, "min": "2s", "max": "40s"}}
    ],
    # Totals are compared with what the budget has to spare, and here there must be some.
    "limit": {"enabled": False},
    "outcomes": {"failed": 0.4, "cancelled": 0.05, "invalid": 0.05, "before_running": 0.1},
}

RIGHTLY_EMPTY = {
    " offset 1w": "this Prometheus has not been there for a week",
    " offset 1h": "nor for an hour",
    ":1h]": "a sample an hour, and none is over",
    " offset 5m": "nor for five minutes",
}
"""What an expression holds that finds nothing here, and why."""

NATIVE = {
    "comfycontrol_workflow_time_to_start_seconds",
    "comfycontrol_workflow_run_duration_seconds",
}
"""Native histograms, which this Prometheus does not make of the classic ones."""

_FIRING = "alerts match, and none for as long as it must"
_ALL_UP = "every account and every exporter is up, and all are listed"
_BUSY = "something waits, starts, fails and is open in every account"
QUIET_PANELS = {
    "Alerts A": _FIRING,
    "Alerts B": _FIRING,
    "Alerts C": _FIRING,
    "Stands still B": _BUSY,
    "Accounts A": _ALL_UP,
    "Accounts B": _ALL_UP,
    "Accounts C": _ALL_UP,
    "Accounts E": _ALL_UP,
    "Exporters A": _ALL_UP,
    "Fails most B": _BUSY,
    "Time to start, p95 B": _BUSY,
    "Deepest queue B": _BUSY,
    "Oldest queued B": _BUSY,
    "Stalest observation B": _BUSY,
    "Listing lag B": _ALL_UP,
    **dict.fromkeys(
        (
            "Who holds the account A",
            "Accounts taken over A",
            "Replicas alive A",
            "Configurations in use A",
            "Commits lost by the database A",
        ),
        "one exporter has no replicas",
    ),
    "Limits reached C": "no account here reads ids from files",
    "Last compared A": "a status without a list of its own makes the first two rounds incomplete",
}
"""Queries of panels that are there for a situation that is not this one, and why it is not."""


JOB = "gpu-farm"

QUIET_ALERTS = {
    "ComfyControlTimeToStartTooLong fast": "all start within the objective's 300 s",
    "ComfyControlTimeToStartTooLong slow": "all start within the objective's 300 s",
    "ComfyControlQueueStuck not_moving": "the queue moves",
    "ComfyControlQueueStuck too_old": "nothing has waited for an hour",
    "ComfyControlNothingStarts": "something runs",
    "ComfyControlNoActiveRunner": "all runners are active",
    "ComfyControlRunTooLong": "nothing has run for half an hour",
    "ComfyControlNothingFinished": "much has completed",
    "ComfyControlFailureRatioHigh few": "some complete between those that fail",
    "ComfyControlAccountDown": "the tokens are accepted, and the service answers",
    "ComfyControlWorkflowsDropped": "nothing was given up",
    "ComfyControlSeriesMissing": "all is there that alerts need",
    "ComfyControlRateLimited": "the exporter keeps within the limit",
    "ComfyControlObservationsStale": "everything open is heard of",
    "ComfyControlListingBehind": "the list is read every two seconds",
    "ComfyControlLedgerFailing": "the disk is well",
    "ComfyControlAccountNotHeld": "the ledger is not in PostgreSQL",
    "ComfyControlAccountHeldTwice": "the ledger is not in PostgreSQL",
    "ComfyControlDatabaseFailing all": "the ledger is not in PostgreSQL",
    "ComfyControlDatabaseFailing one": "the ledger is not in PostgreSQL",
    "ComfyControlDatabaseFailing lost": "the ledger is not in PostgreSQL",
    "ComfyControlReplicasDisagree": "the ledger is not in PostgreSQL",
    "ComfyControlConfigReloadFailed config": "the configuration in use is the one last read",
    "ComfyControlConfigReloadFailed web": "the web configuration in use is the one last read",
    "ComfyControlExporterAbsent all": "the exporter is up",
    "ComfyControlExporterAbsent one": "the exporter is up",
}
"""Alerts that do not match on a service that is well, by name and reason, and why."""

NOT_HERE = {
    "ComfyControlTotalsDiffer": "totals are compared every two minutes, which is too long here",
    "ComfyControlSeriesMissing": "it asks for what is missing, in forms that this Prometheus lacks",
    "ComfyControlWorkflowsDropped": "nothing was dropped within these seconds",
    **dict.fromkeys(
        (
            "ComfyControlAccountNotHeld",
            "ComfyControlAccountHeldTwice",
            "ComfyControlDatabaseFailing all",
            "ComfyControlDatabaseFailing one",
            "ComfyControlDatabaseFailing lost",
            "ComfyControlReplicasDisagree",
            "ComfyControlLedgerFailing",
        ),
        "one exporter has no replicas: even their sides are empty",
    ),
}
"""Alerts of which nothing is asked here, and why; `promtool` tests them."""


def rules_in_a_hurry() -> dict[str, str]:
    """The rule files with every alert, and seconds in the place of minutes."""
    thresholds = build.load()
    thresholds["settings"]["job"] = JOB
    for alert in thresholds["alerts"].values():
        alert["enabled"] = True
    # Less fails in so short a window.
    for reason in ("fast", "slow"):
        thresholds["alerts"]["ComfyControlNodeTypeFailing"][reason] |= {"at_least": 1, "above": 0.1}
    return build.rule_files(Values(thresholds, window=in_seconds))


def alerting_expressions() -> Iterator[tuple[str, str]]:
    """Each alert by name and reason, and its expression."""
    (group,) = yaml.safe_load(rules_in_a_hurry()["alerts.yml"])["groups"]
    for rule in group["rules"]:
        yield f"{rule['alert']} {rule['labels'].get('reason', '')}".strip(), rule["expr"]


def what_alerts_ask() -> Iterator[tuple[str, str, bool]]:
    """The whole of each, where it should match; the whole without thresholds; and each side."""
    for recording in RECORDINGS:
        yield f"rule: {recording.name}", recording.name, True
    for name, expression in alerting_expressions():
        if name in NOT_HERE:
            continue
        if name not in QUIET_ALERTS:
            yield f"alert: {name}", expression, True
        yield f"alert: {name}, without thresholds", unfiltered(expression), True
        for side in sides(expression):
            yield f"alert: {name}, side {side}", side, True


def expressions() -> Iterator[tuple[str, str, bool]]:
    """The panel's name, the expression, and whether it is asked for one moment alone."""
    for text in board_files(build.load()).values():
        document = json.loads(text)
        for panel in document["panels"]:
            for target in panel.get("targets", ()):
                name = f"{document['uid']}: {panel['title']} {target['refId']}"
                yield name, target["expr"], target["instant"]


def exemplified() -> Iterator[tuple[str, str]]:
    """The panels that ask for exemplars, and where they do."""
    for text in board_files(build.load()).values():
        for panel in json.loads(text)["panels"]:
            for target in panel.get("targets", ()):
                if target.get("exemplar"):
                    yield f"{panel['title']} {target['refId']}", target["expr"]


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

    def exemplars(self, expression: str) -> set[str]:
        """The workflows that Grafana would draw as dots."""
        now = time.time()
        answer: dict[str, Any] = requests.get(
            f"{self._url}/api/v1/query_exemplars",
            params={"query": expression, "start": str(now - 300), "end": str(now)},
            timeout=10,
        ).json()
        assert answer["status"] == "success", (answer, expression)
        return {e["labels"]["workflow_id"] for s in answer["data"] for e in s["exemplars"]}


@pytest.mark.slow
@pytest.mark.timeout(420)
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
                        "runners": {"interval": "10s", "by_tag": True},
                        "rate_limit": {"requests": 400},
                    }
                    for name in ACCOUNTS
                ],
                # Small enough to be reached.
                "metrics": {"per_workflow_series": 4, "node_types": 3},
            }
        )
    )
    targets = [{"targets": [f"127.0.0.1:{exporter}"]}]
    (stage.folder / "prometheus.yml").write_text(
        yaml.safe_dump(
            {
                "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
                "rule_files": ["recording.yml", "alerts.yml"],
                # Any name of a job will do.
                "scrape_configs": [{"job_name": JOB, "static_configs": targets}],
            }
        )
    )
    for name, text in rules_in_a_hurry().items():
        (stage.folder / name).write_text(text, "utf-8")
    web = stage.folder / "web.yml"
    web.write_text("http_server_config: {headers: {X-Frame-Options: deny}}\n")
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
            *with_hold(3), f"--config.file={stage.folder / 'config.yml'}",
            f"--storage.path={stage.folder / 'data'}", f"--web.listen-address=127.0.0.1:{exporter}",
            f"--web.config.file={web}",
        ],
    )  # fmt: skip
    stage.start(
        "prometheus",
        [
            prometheus, f"--config.file={stage.folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={stage.folder / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{prom}", "--enable-feature=exemplar-storage",
        ],
    )  # fmt: skip
    url = f"http://127.0.0.1:{prom}"
    stage.until("Prometheus is ready", lambda: requests.get(f"{url}/-/ready", timeout=10).ok)
    asking = Asking(url)
    stage.until(
        "something has failed, and something is queued",
        lambda: asking.finds(
            "sum(comfycontrol_workflow_failures_total) > 5 "
            "and sum(comfycontrol_workflow_series_omitted) > 5",
            instant=True,
        ),
        120,
    )

    missing = {
        panel: (
            filled(
                expression,
                window="1m",
                by="account",
                __rate_interval="10s",
                __interval_ms="5000",
                __range="5m",
            ),
            instant,
        )
        for panel, expression, instant in [*expressions(), *what_alerts_ask()]
    }
    empty = {
        panel
        for panel, (asked, _) in missing.items()
        if any(part in asked for part in RIGHTLY_EMPTY)
        or asked in NATIVE
        or panel.split(": ")[-1] in QUIET_PANELS
    }
    deadline = time.monotonic() + 180  # totals are compared every two minutes
    while not missing.keys() <= empty and time.monotonic() < deadline:
        for panel, (asked, instant) in list(missing.items()):
            if asking.finds(asked, instant=instant):
                del missing[panel]
        time.sleep(1)

    # What is only quiet may have had its moment.
    quiet = {panel for panel in empty if panel.split(": ")[-1] in QUIET_PANELS}
    assert missing.keys() | quiet == empty, [missing.get(panel) for panel in missing.keys() ^ empty]
    undotted = [panel for panel, asked in exemplified() if not asking.exemplars(filled(asked))]
    assert undotted == []


def test_reasons_are_given_for_panels_that_there_are() -> None:
    assert QUIET_PANELS.keys() < {name.split(": ")[-1] for name, _, _ in expressions()}


def test_reasons_are_given_for_alerts_that_there_are() -> None:
    assert QUIET_ALERTS.keys() < dict(alerting_expressions()).keys()
