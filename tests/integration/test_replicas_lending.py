"""Replicas on two addresses: more streams than one of them can open, no matter who is killed.

The simulator limits by the client's address, so each replica asks from one of its own.
"""

import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests
import yaml
from prometheus_client.parser import text_string_to_metric_families

from exporter.ledger.postgres.replica import SETTLED_SECONDS
from exporter.ledger.postgres.spreading import spread
from tests.e2e.programs import EXPORTER, Process, Stage, metrics_page, with_hold
from tests.ports import free_port
from tests.postgres import Server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

WORKFLOWS = 24
ADDRESSES = {"one": "127.0.0.2", "two": "127.0.0.3"}
MOST = 6
"""Streams at each address."""
LIMIT = {"requests": 40, "per": "4s", "cooldown": "10s"}
LASTING = "250s"
"""How long each runs, by the simulator's clock."""
SPEED = 10

SCENARIO: dict[str, Any] = {
    "accounts": [{"name": "studio", "tokens": ["cfc_studio"]}],
    "limit": LIMIT,
    "runners": [{"name": "gpu", "count": WORKFLOWS}],
    "jobs": [
        {
            "name": "image",
            "duration": {"median": LASTING, "sigma": 0.3, "min": "150s", "max": "400s"},
            "outputs": {"min": 2, "max": 2},
        }
    ],
    "outcomes": {"failed": 0.3, "cancelled": 0.08, "invalid": 0.0, "without_cause": 0.0},
}

Samples = dict[tuple[str, ...], float]


class Story:
    """The simulator, the database, and replicas on addresses of their own."""

    def __init__(self, stage: Stage, server: Server) -> None:
        self.stage = stage
        self.server = server
        port = free_port()
        self.simulator = f"http://127.0.0.1:{port}"
        scenario = stage.folder / "scenario.yml"
        scenario.write_text(yaml.safe_dump(SCENARIO))
        stage.start(
            "simulator",
            [
                EXPORTER, "simulate", "--scenario", str(scenario), "--speed", str(SPEED),
                "--seed", "7", "--listen-address", f"127.0.0.1:{port}",
            ],
        )  # fmt: skip
        stage.until("the simulator answers", self.truth)
        (stage.folder / "dsn").write_text(server.dsn())
        self.ports: dict[str, int] = {}
        self.processes: dict[str, Process] = {}
        self._lives = 0

    def create(self) -> None:
        """A workflow that begins now."""
        url = f"{self.simulator}/_simulator/workflows"
        requests.post(url, json={"account": "studio"}, timeout=10).raise_for_status()

    def truth(self) -> dict[str, Any]:
        found: dict[str, Any] = requests.get(
            f"{self.simulator}/_simulator/truth", timeout=10
        ).json()
        return found

    def configure(self, name: str, address: str, **changes: Any) -> Path:
        """Write the configuration of a replica that asks from this address."""
        config = self.stage.folder / f"{name}.yml"
        account = {
            "name": "studio",
            "token": "cfc_studio",
            "base_url": self.simulator,
            "listing": {"interval": "2s"},
            "rate_limit": LIMIT,
            "max_streams": MOST,
            **changes,
        }
        egress = {"address": f"nat-{address}", "bind": address}
        config.write_text(yaml.safe_dump({"accounts": [account], "egress": egress}))
        return config

    def start(self, name: str, address: str) -> None:
        """A replica that asks from this address."""
        self._lives += 1
        config = self.configure(name, address)
        self.ports[name] = free_port()
        self.processes[name] = self.stage.start(
            f"{name}-{self._lives}",
            [
                *with_hold(1.0), f"--config.file={config}",
                f"--web.listen-address=127.0.0.1:{self.ports[name]}",
                f"--storage.postgres.dsn-file={self.stage.folder / 'dsn'}",
            ],
        )  # fmt: skip

    def kill(self, name: str) -> None:
        process = self.processes.pop(name)
        process.check_alive()
        assert "Traceback" not in process.output
        self.stage.kill(process.name)

    def shown(self, name: str) -> Samples:
        try:
            text = metrics_page(f"http://127.0.0.1:{self.ports[name]}")
        except requests.RequestException:
            return {}
        return {
            (sample.name, *(sample.labels[k] for k in sorted(sample.labels))): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def streams(self) -> dict[str, int]:
        return {
            name: int(self.shown(name).get(("comfycontrol_streams", "studio"), 0))
            for name in self.processes
        }

    def holder(self) -> str | None:
        held = ("comfycontrol_account_held", "studio")
        holders = [name for name in self.processes if self.shown(name).get(held)]
        return holders[0] if len(holders) == 1 else None

    def is_settled(self) -> bool:
        """Whether the account stays where it is: all replicas have been there for a while."""
        settled = self.rows(
            "SELECT replica FROM comfycontrol_replica "
            f"WHERE since < clock_timestamp() - make_interval(secs => {SETTLED_SECONDS})"
        )
        held = self.rows("SELECT holder FROM comfycontrol_account WHERE until > clock_timestamp()")
        plan = spread(["studio"], [replica for (replica,) in settled])
        return len(settled) == len(ADDRESSES) and held == [(plan["studio"],)]

    def begin(self) -> None:
        """Two replicas, each on its address; the line is drawn, and workflows come."""
        for name, address in ADDRESSES.items():
            self.start(name, address)
        self.stage.until("the account is held", self.holder)
        self.stage.until("the account is where it stays", self.is_settled)
        self.stage.until(
            "the line is drawn",
            lambda: self.rows("SELECT FROM comfycontrol_account WHERE frontier IS NOT NULL"),
        )
        # None sooner: what is over before the line is drawn is not counted, on a busy machine too.
        for _ in range(WORKFLOWS):
            self.create()

    def ours(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.truth()["workflows"]
        return found

    def rows(self, statement: str) -> list[Any]:
        with psycopg.connect(self.server.dsn(), connect_timeout=3) as connection:
            return connection.execute(statement.encode()).fetchall()

    def both_stream(self) -> bool:
        return self.streams() == {"one": MOST, "two": MOST}

    def total(self, name: str) -> float:
        shown = [self.shown(replica) for replica in self.processes]
        return sum(v for each in shown for key, v in each.items() if key[0] == name)

    def is_all_known(self) -> bool:
        ours = self.ours()
        failed = sum(w["status"] == "failed" for w in ours)
        return (
            all(w["completed_ms"] is not None for w in ours)
            and self.total("comfycontrol_workflows_finished_total") >= len(ours)
            and self.total("comfycontrol_workflow_failures_total") >= failed
        )

    def check_truth(self) -> None:
        self.stage.until("everything is counted", self.is_all_known, seconds=120)
        pages = self.truth()["requests"]["list"]
        self.stage.until(
            "the list is read again", lambda: self.truth()["requests"]["list"] >= pages + 5
        )
        ours = self.ours()
        finished: Counter[str] = Counter()
        causes: Counter[tuple[str, ...]] = Counter()
        for name in self.processes:
            for key, value in self.shown(name).items():
                if key[0] == "comfycontrol_workflows_finished_total":
                    finished[key[-1]] += int(value)
                if key[0] == "comfycontrol_workflow_failures_total":
                    causes[key[2:]] += int(value)
        assert +finished == Counter(w["status"] for w in ours)
        assert sum(causes.values()) == sum(w["status"] == "failed" for w in ours)
        assert not [cause for cause in +causes if "unknown" in cause]
        ran = [w for w in ours if w["started_ms"] and w["completed_ms"]]
        assert self.total("comfycontrol_workflow_run_duration_seconds_count") == len(ran)
        # Each address asks no more than it may: the simulator refuses by address.
        assert sum(self.truth()["refusals"].values()) == 0


@pytest.fixture
def story(stage: Stage, server: Server) -> Story:
    return Story(stage, server)


def other(name: str) -> str:
    return "two" if name == "one" else "one"


def test_two_addresses_hold_twice_as_many_streams(story: Story) -> None:
    story.begin()
    story.stage.until("both have all the streams that they may", story.both_stream)
    holder = story.holder()
    assert holder is not None

    def rest_is_watched_through_the_list() -> bool:
        shown = story.shown(holder)
        is_open = sum(v for key, v in shown.items() if key[0] == "comfycontrol_workflows")
        watched = shown["comfycontrol_workflows_watched_by_listing", "studio"]
        return is_open - watched == 2 * MOST

    story.stage.until("what no stream tells is watched", rest_is_watched_through_the_list)
    assert ("comfycontrol_workflows", "studio", "running") not in story.shown(other(holder))
    ((borrower, count),) = story.rows(
        "SELECT replica, count(*) FROM comfycontrol_assignment GROUP BY replica"
    )
    assert count == MOST
    pages = f"http://127.0.0.1:{story.ports[holder]}/workflows"
    story.stage.until(
        "the page says whose stream tells each",
        lambda: (
            requests.get(pages, timeout=10).text.count(f"its stream is read by {borrower}") == MOST
        ),
    )
    story.check_truth()
    # Given back, once nothing is open any more.
    story.stage.until(
        "nothing is lent", lambda: not story.rows("SELECT FROM comfycontrol_assignment")
    )


@pytest.mark.parametrize("victim", ["the borrower", "the holder"])
def test_nothing_is_lost_or_counted_twice_when_one_is_killed(story: Story, victim: str) -> None:
    story.begin()
    story.stage.until("both have all the streams that they may", story.both_stream)
    holder = story.holder()
    assert holder is not None
    killed = other(holder) if victim == "the borrower" else holder
    story.kill(killed)
    left = other(killed)
    began = time.monotonic()
    story.stage.until("the other counts it", lambda: story.holder() == left, seconds=30)
    story.stage.until(
        "what was lent to a replica that died is given back",
        lambda: not story.rows("SELECT FROM comfycontrol_assignment"),
        seconds=30,
    )
    assert time.monotonic() - began < 30
    story.start(killed, ADDRESSES[killed])
    story.check_truth()


def test_a_borrower_that_hangs_gives_its_workflows_back(story: Story) -> None:
    story.begin()
    story.stage.until("both have all the streams that they may", story.both_stream)
    holder = story.holder()
    assert holder is not None
    borrower = other(holder)
    story.processes[borrower].send(signal.SIGSTOP)
    hung = story.processes.pop(borrower)
    story.stage.until(
        "nothing is lent",
        lambda: not story.rows("SELECT FROM comfycontrol_assignment"),
        seconds=30,
    )
    hung.send(signal.SIGCONT)
    story.processes[borrower] = hung
    story.check_truth()


def test_a_reload_changes_what_is_borrowed_as_well(story: Story) -> None:
    story.begin()
    story.stage.until("both have all the streams that they may", story.both_stream)
    rotated = requests.post(
        f"{story.simulator}/_simulator/accounts/studio/rotate", timeout=10
    ).json()
    # What is open stays open, and nothing is opened with the old token.
    for name, address in ADDRESSES.items():
        story.configure(name, address, token=rotated["token"], max_streams=MOST + 2)
        story.processes[name].send(signal.SIGHUP)
    story.stage.until(
        "both have two more", lambda: story.streams() == {"one": MOST + 2, "two": MOST + 2}
    )
    story.check_truth()
