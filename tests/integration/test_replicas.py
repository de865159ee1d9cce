"""Replicas over one PostgreSQL that hang, are cut off and stopped, and whose server fails over.

Every outcome is counted exactly once, nothing that was shown is taken back, and no two replicas
show an account at once.
"""

import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.programs import EXPORTER, Process, Stage, metrics_page, with_hold
from tests.ports import free_port
from tests.postgres import DURABLE, Proxy, Server, serving

REPLICAS = 3
WORKFLOWS = 150
SPEED = 10
TAKEN_OVER = 15.0
"""Seconds within which an account has another holder."""
LIMIT = {"requests": 40, "per": "4s", "cooldown": "10s"}
ACCOUNTS = ("agency", "studio")

SCENARIO: dict[str, Any] = {
    "accounts": [{"name": name, "tokens": [f"cfc_{name}"]} for name in ACCOUNTS],
    "arrivals": {"rate": WORKFLOWS / 48 / SPEED, "max_workflows": WORKFLOWS},
    "start": {"finished": 20},
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

COUNTED = (
    "comfycontrol_workflows_finished_total",
    "comfycontrol_workflow_failures_total",
    "comfycontrol_workflows_discovered_total",
    "comfycontrol_workflow_run_duration_seconds_count",
    "comfycontrol_workflow_run_duration_seconds_sum",
    "comfycontrol_workflow_outputs_total",
)

Shown = dict[tuple[str, ...], float]


def scrape(port: int) -> Shown:
    """What a replica shows of workflows that are over, and what it holds."""
    text = metrics_page(f"http://127.0.0.1:{port}")
    return {
        (
            sample.name,
            sample.labels["account"],
            *(sample.labels[k] for k in sorted(sample.labels)),
        ): (sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name in {*COUNTED, "comfycontrol_account_held"}
    }


class Replicas:
    """Several exporters over one database, each at a port of its own."""

    def __init__(self, stage: Stage, configs: Sequence[Path]) -> None:
        self.stage = stage
        self._configs = configs
        self.ports = [free_port() for _ in range(REPLICAS)]
        self._lives = 0
        self.processes: dict[int, Process] = {}
        self._lock = threading.Lock()
        self.shown: Shown = {}
        self.faults: list[str] = []
        self.scrapes = 0

    def start(self, number: int) -> None:
        self._lives += 1
        self.processes[number] = self.stage.start(
            f"replica-{number}-{self._lives}",
            [
                *with_hold(1.0), f"--config.file={self._configs[number]}",
                f"--web.listen-address=127.0.0.1:{self.ports[number]}",
                f"--storage.postgres.dsn-file={self.stage.folder / f'dsn-{number}'}",
            ],
        )  # fmt: skip

    def kill(self, number: int) -> None:
        process = self.processes.pop(number)
        process.check_alive()
        self.stage.kill(process.name)
        assert "Traceback" not in process.output

    def look(self) -> Shown:
        """What all of them show together; nothing is ever there twice, or less than before."""
        together: Shown = {}
        with self._lock:
            for number in list(self.processes):
                try:
                    # One after the other: what moves from one to another in between is on both.
                    found = scrape(self.ports[number])
                except requests.RequestException:
                    continue
                for key, value in found.items():
                    if key[0] == "comfycontrol_account_held":
                        continue
                    if value < self.shown.get(key, 0.0):
                        self.faults.append(f"{key}: {value} after {self.shown[key]}")
                    together[key] = self.shown[key] = value
            self.scrapes += 1
        return together

    def holders(self, besides: int | None = None) -> dict[str, list[int]]:
        """By account, the replicas that say that they hold it; `besides` one of them."""
        held: dict[str, list[int]] = {account: [] for account in ACCOUNTS}
        for number in self.processes.keys() - {besides}:
            try:
                found = scrape(self.ports[number])
            except requests.RequestException:
                continue
            for key, value in found.items():
                if key[0] == "comfycontrol_account_held" and value:
                    held[key[1]].append(number)
        return held

    def a_holder(self) -> int:
        """Who holds the first account, while all are held: none is on its way to another."""
        found: dict[str, list[int]] = {}

        def all_held() -> bool:
            found.update(self.holders())
            return all(len(holders) == 1 for holders in found.values())

        self.stage.until("every account is held", all_held)
        return found[ACCOUNTS[0]][0]

    def taken_over(self, since: float) -> float:
        """Seconds from a moment (Unix) until another took the first account, as it says."""
        lines = [
            line
            for process in self.processes.values()
            for line in process.output.splitlines()
            if ACCOUNTS[0] in re.findall(r"\w+", line.partition(" gained=")[2].split(" ")[0])
        ]
        stamps = [datetime.fromisoformat(line.split()[0].removeprefix("ts=")) for line in lines]
        return min(at for stamp in stamps if (at := stamp.timestamp() - since) > 0)

    def answering(self) -> list[int]:
        """Those that can be scraped."""
        found = []
        for number in list(self.processes):
            with suppress(requests.RequestException):
                scrape(self.ports[number])
                found.append(number)
        return found

    def all_held(self) -> bool:
        return all(len(holders) == 1 for holders in self.holders().values())


class Story:
    """The simulator, the database, and the replicas.

    Args:
        stage: starts the programs.
        server: of the database.
        scenario: of the simulator.
        sources: by replica, the local address from which it asks; none: all ask from one.
    """

    def __init__(
        self,
        stage: Stage,
        server: Server,
        scenario: Mapping[str, Any] = SCENARIO,
        sources: Sequence[str] = (),
    ) -> None:
        self.stage = stage
        self.server = server
        port = free_port()
        self.simulator = f"http://127.0.0.1:{port}"
        self._limit = scenario["limit"]
        self._expected = scenario["arrivals"]["max_workflows"]
        file = stage.folder / "scenario.yml"
        file.write_text(yaml.safe_dump(dict(scenario)))
        stage.start(
            "simulator",
            [
                EXPORTER, "simulate", "--scenario", str(file), "--speed", str(SPEED),
                "--seed", "11", "--listen-address", f"127.0.0.1:{port}",
            ],
        )  # fmt: skip
        stage.until("the simulator answers", self.truth)
        requests.post(f"{self.simulator}/_simulator/pause", timeout=10).raise_for_status()
        # Some have arrived by then. What is over before the first look is not counted, ever.
        stage.until("they are over", lambda: all(map(is_over, self.truth()["workflows"])))
        self.before = {workflow["id"] for workflow in self.truth()["workflows"]}
        self.told_before = self.truth()["accounts"]
        for number in range(REPLICAS):
            self.connect(number)
        self.replicas = Replicas(
            stage, [self._config(number, sources) for number in range(REPLICAS)]
        )

    def _config(self, number: int, sources: Sequence[str]) -> Path:
        document: dict[str, Any] = {
            "accounts": [
                {
                    "name": name,
                    "token": f"cfc_{name}",
                    "base_url": self.simulator,
                    "listing": {"interval": "2s"},
                    "rate_limit": self._limit,
                }
                for name in ACCOUNTS
            ]
        }
        if sources:
            # The simulator limits by the client's address.
            document["egress"] = {"address": f"nat-{sources[number]}", "bind": sources[number]}
        path = self.stage.folder / f"config-{number}.yml"
        path.write_text(yaml.safe_dump(document))
        return path

    def connect(self, number: int, **changes: str) -> None:
        """Write the connection string of a replica."""
        dsn = self.server.dsn(password="Planted", **changes)
        (self.stage.folder / f"dsn-{number}").write_text(dsn)

    def stand_by(self, standby: Server, *, synchronous: bool) -> None:
        """Have a standby, which the replicas find where the primary is no more."""
        if synchronous:
            self.server.query("ALTER SYSTEM SET synchronous_standby_names = '*'")
            self.server.query("SELECT pg_reload_conf()")
        for number in range(REPLICAS):
            self.connect(
                number,
                host="127.0.0.1,127.0.0.1",
                port=f"{self.server.port},{standby.port}",
                target_session_attrs="read-write",
            )

    def truth(self) -> dict[str, Any]:
        found: dict[str, Any] = requests.get(
            f"{self.simulator}/_simulator/truth", timeout=10
        ).json()
        return found

    def begin(self) -> None:
        """All replicas run, the lines are drawn, and workflows begin to come."""
        for number in range(REPLICAS):
            self.replicas.start(number)
        self.stage.until("every account is held", self.replicas.all_held)
        self.stage.until(
            "the lines are drawn",
            lambda: (
                len(self.server_rows("SELECT FROM comfycontrol_account WHERE frontier IS NOT NULL"))
                == len(ACCOUNTS)
            ),
        )
        requests.post(f"{self.simulator}/_simulator/resume", timeout=10).raise_for_status()

    def server_rows(self, statement: str) -> list[Any]:
        with psycopg.connect(self.server.dsn(), connect_timeout=3) as connection:
            return connection.execute(statement.encode()).fetchall()

    def ours(self) -> list[dict[str, Any]]:
        return [w for w in self.truth()["workflows"] if w["id"] not in self.before]

    def has_ended(self) -> bool:
        """Whether all workflows have come and are over."""
        workflows = self.truth()["workflows"]
        arrived = sum(not workflow["at_start"] for workflow in workflows)
        return arrived >= self._expected and all(map(is_over, workflows))

    def wait_for_pages(self) -> None:
        """Let the list be read again, by which nothing may be counted once more."""
        pages = self.truth()["requests"]["list"]
        self.stage.until(
            "the list is read again", lambda: self.truth()["requests"]["list"] >= pages + 5
        )

    def is_all_known(self) -> bool:
        if not self.has_ended():
            return False
        shown, ours = self.replicas.look(), self.ours()
        failed = sum(w["status"] == "failed" for w in ours)
        return (
            _total(shown, "comfycontrol_workflows_finished_total") >= len(ours)
            and _total(shown, "comfycontrol_workflow_failures_total") >= failed
        )

    def check_truth(self) -> None:
        self.wait_for_pages()
        shown, ours = self.replicas.look(), self.ours()
        finished: Counter[str] = Counter()
        for key, value in shown.items():
            if key[0] == "comfycontrol_workflows_finished_total":
                finished[key[-1]] += int(value)
        assert +finished == Counter(w["status"] for w in ours)
        assert _total(shown, "comfycontrol_workflows_discovered_total") == len(ours)
        ran = [w for w in ours if w["started_ms"] and w["completed_ms"]]
        assert _total(shown, "comfycontrol_workflow_run_duration_seconds_count") == len(ran)
        spent = sum((w["completed_ms"] - w["started_ms"]) / 1000 for w in ran)
        seconds = _total(shown, "comfycontrol_workflow_run_duration_seconds_sum")
        assert seconds == pytest.approx(spent)
        assert not self.replicas.faults
        # All of them ask from one address, and together no more than it may.
        assert sum(self.truth()["refusals"].values()) == 0
        for process in self.replicas.processes.values():
            assert "Planted" not in process.output


def is_over(workflow: dict[str, Any]) -> bool:
    """Whether it has ended, in truth."""
    return workflow["completed_ms"] is not None or workflow["status"] == "invalid"


def _total(shown: Shown, name: str) -> float:
    return sum(value for key, value in shown.items() if key[0] == name)


@pytest.fixture
def story(stage: Stage, server: Server) -> Story:
    return Story(stage, server)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_holder_that_hangs_is_replaced_and_settles_nothing_when_it_comes_back(
    story: Story,
) -> None:
    story.begin()
    replicas = story.replicas
    holder = replicas.a_holder()
    process = replicas.processes.pop(holder)
    process.send(signal.SIGSTOP)
    began = time.time()
    story.stage.until(
        "another holds its accounts",
        lambda: all(len(who) == 1 for who in replicas.holders().values()),
    )
    assert replicas.taken_over(began) < TAKEN_OVER
    shown = replicas.look()
    process.send(signal.SIGCONT)
    replicas.processes[holder] = process
    # From its first answer on: what it shows is what it holds by then.
    for _ in range(20):
        replicas.look()
        time.sleep(0.1)
    assert shown
    story.stage.until("everything is counted", story.is_all_known, seconds=120)
    story.check_truth()


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_holder_that_is_cut_off_from_the_database_is_replaced(story: Story) -> None:
    proxies = [Proxy(story.server.port) for _ in range(REPLICAS)]
    for number, proxy in enumerate(proxies):
        story.connect(number, port=str(proxy.port))
    story.begin()
    replicas = story.replicas
    holder = replicas.a_holder()
    proxies[holder].cut()
    began = time.time()
    story.stage.until(
        "others hold its accounts",
        # The one that is cut off takes its time to answer.
        lambda: all(len(who) == 1 for who in replicas.holders(besides=holder).values()),
    )
    assert replicas.taken_over(began) < TAKEN_OVER
    # Nobody shows an account beside them, and nothing steps back.
    assert replicas.all_held()
    replicas.look()
    process = replicas.processes[holder]
    assert "cannot reach the database" in process.output
    proxies[holder].mend()
    story.stage.until("it is back", lambda: "the database is back" in process.output)
    story.stage.until("everything is counted", story.is_all_known, seconds=120)
    story.check_truth()
    for proxy in proxies:
        proxy.close()


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("way", "away"), [("synchronous", "short"), ("asynchronous", "short"), ("asynchronous", "long")]
)
def test_a_failover_of_the_database_loses_nothing(story: Story, way: str, away: str) -> None:
    primary, wire, replicas = story.server, Proxy(story.server.port), story.replicas
    with serving(DURABLE, wire.port) as standby:
        story.stand_by(standby, synchronous=way == "synchronous")
        story.begin()
        time.sleep(8)
        replicas.look()
        if way == "asynchronous":
            # What is committed from here on is acknowledged, and lost.
            wire.cut()
            until = time.monotonic() + 4
            while time.monotonic() < until:
                replicas.look()
                time.sleep(0.1)
        primary.crash()
        wire.close()
        if away == "long":
            # The leases end meanwhile, and who held them goes on from what it knows.
            story.stage.until("nobody counts", lambda: not any(replicas.holders().values()))
        standby.query("SELECT pg_promote()")
        story.server = standby
        story.stage.until("everything is counted", story.is_all_known, seconds=120)
        story.check_truth()
        regressions = sum(
            "the database lost acknowledged commits" in process.output
            for process in replicas.processes.values()
        )
        assert bool(regressions) == (way == "asynchronous")


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_holder_that_is_stopped_hands_its_accounts_on_at_once(story: Story) -> None:
    story.begin()
    replicas = story.replicas
    holder = replicas.a_holder()
    process = replicas.processes.pop(holder)
    began = time.time()
    assert process.terminate() == 0
    story.stage.kill(process.name)
    story.stage.until("others hold its accounts", replicas.all_held)
    # Sooner than a lease is over, which was renewed no longer than two seconds before.
    assert replicas.taken_over(began) < 7
    assert "Planted" not in process.output
    replicas.start(holder)
    story.stage.until("everything is counted", story.is_all_known, seconds=120)
    story.check_truth()
