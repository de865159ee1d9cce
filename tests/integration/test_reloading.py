"""SIGHUP, `POST /-/reload` and a watched file, with the real program."""

import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import requests
import yaml

from exporter.simulator import Simulator, parse_scenario
from tests.e2e.programs import EXPORTER, Process, Stage, metrics_page
from tests.integration.following.exporting import NO_LIMIT, Metrics
from tests.ports import free_port

SUCCESSFUL = "exporter_config_last_reload_successful"
SCENARIO = "{limit: {enabled: false}, accounts: [{name: studio}, {name: agency}]}"


class Program:
    """An exporter with a configuration file that changes."""

    def __init__(
        self,
        stage: Stage,
        simulator: Simulator,
        *flags: str,
        command: Sequence[str] = (EXPORTER,),
        next_: Path | None = None,
    ) -> None:
        self._stage = stage
        self._simulator = simulator
        self.file = stage.folder / "config.yml"
        if next_ is not None:
            self.configure("studio", "agency")
            self.file.rename(next_)
        self.configure("studio")
        self.url = f"http://127.0.0.1:{(port := free_port())}"
        self.process: Process = stage.start(
            "exporter",
            [
                *command,
                f"--config.file={self.file}",
                f"--storage.path={stage.folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
                *flags,
            ],
        )

    def configure(self, *names: str) -> None:
        """Write a good file, in place of the old one at once."""
        accounts = [
            {
                "name": name,
                "token": self._simulator.tokens[name],
                "base_url": self._simulator.base_url,
                "rate_limit": NO_LIMIT,
                "listing": {"interval": "1s"},
            }
            for name in names
        ]
        self.write(yaml.safe_dump({"accounts": accounts}))

    def write(self, text: str) -> None:
        new = self.file.with_suffix(".new")
        new.write_text(text)
        new.rename(self.file)

    def scrape(self) -> Metrics:
        return Metrics(metrics_page(self.url))

    def until(self, what: str, name: str, value: float, **labels: str) -> None:
        self._stage.until(what, lambda: self.scrape()(name, **labels) == value, 30)

    def up(self, account: str) -> None:
        self.until(f"{account} is up", "account_up", 1, account=account)


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(parse_scenario(SCENARIO), seed=1, speed=10) as simulator:
        yield simulator


def test_sighup_takes_a_good_file_and_leaves_a_bad_one(stage: Stage, simulator: Simulator) -> None:
    program = Program(stage, simulator)
    program.up("studio")
    assert program.scrape()(SUCCESSFUL) == 1
    began = program.scrape()("exporter_config_last_reload_success_timestamp_seconds")

    program.write("accounts: [{name: studio, tokenn: cfc_planted_secret, listing: {}}]")
    program.process.send(signal.SIGHUP)
    program.until("the metric tells", SUCCESSFUL, 0)
    assert program.scrape()("exporter_config_last_reload_success_timestamp_seconds") == began
    assert program.scrape()("account_up", account="studio") == 1
    log = program.process.output
    assert "accounts[0].tokenn" in log
    assert "keeping the previous configuration" in log
    assert "cfc_planted_secret" not in log

    program.configure("studio", "agency")
    program.process.send(signal.SIGHUP)
    program.up("agency")
    metrics = program.scrape()
    assert metrics(SUCCESSFUL) == 1
    assert (metrics("exporter_config_last_reload_success_timestamp_seconds") or 0) > (began or 0)
    assert program.process.terminate() == 0


def test_a_reload_by_http_answers_what_is_wrong(stage: Stage, simulator: Simulator) -> None:
    program = Program(stage, simulator, "--web.enable-lifecycle")
    program.up("studio")
    assert requests.get(f"{program.url}/-/reload", timeout=10).status_code == 405

    program.write("accounts: [{name: studio, token: '', listing: {interval: soon}}]")
    answer = requests.post(f"{program.url}/-/reload", timeout=10)
    assert answer.status_code == 500
    assert "accounts[0].token" in answer.text
    assert "accounts[0].listing.interval" in answer.text
    assert program.scrape()(SUCCESSFUL) == 0

    program.configure("agency")
    answer = requests.put(f"{program.url}/-/reload", timeout=10)
    assert (answer.status_code, answer.text) == (200, "reloaded\n")
    # It is answered when it is done.
    metrics = program.scrape()
    assert metrics(SUCCESSFUL) == 1
    assert metrics("account_up", account="studio") is None
    program.up("agency")


def test_a_reload_by_http_must_be_enabled(stage: Stage, simulator: Simulator) -> None:
    program = Program(stage, simulator)
    program.up("studio")
    program.configure("studio", "agency")
    answer = requests.post(f"{program.url}/-/reload", timeout=10)
    assert answer.status_code == 403
    assert "--web.enable-lifecycle" in answer.text
    assert program.scrape()("workflows_finished_total", account="agency", status="failed") is None


def test_a_watched_file_is_enough(stage: Stage, simulator: Simulator) -> None:
    program = Program(stage, simulator, "--config.watch")
    program.up("studio")
    program.configure("studio", "agency")
    program.up("agency")
    program.write("accounts: []")
    program.until("the metric tells", SUCCESSFUL, 0)
    assert program.scrape()("account_up", account="agency") == 1
    # Written back as it was in use: nothing is wrong any more.
    program.configure("studio", "agency")
    program.until("the metric tells", SUCCESSFUL, 1)


def test_a_watched_file_is_tried_again_once_its_token_is_there(
    stage: Stage, simulator: Simulator
) -> None:
    program = Program(stage, simulator, "--config.watch")
    program.up("studio")
    token = stage.folder / "token"
    account = {"base_url": simulator.base_url, "listing": {}, "token_file": str(token)}
    program.write(yaml.safe_dump({"accounts": [{"name": "agency", **account}]}))
    program.until("the metric tells", SUCCESSFUL, 0)
    token.write_text(simulator.tokens["agency"])
    program.up("agency")
    assert program.scrape()(SUCCESSFUL) == 1
    # Told once, however often it was tried.
    assert program.process.output.count("error in the configuration") == 1


def test_the_file_of_the_web_side_is_read_again_as_well(stage: Stage, simulator: Simulator) -> None:
    web = stage.folder / "web.yml"
    web.write_text("{}")
    program = Program(stage, simulator, f"--web.config.file={web}", "--web.enable-lifecycle")
    program.up("studio")
    assert program.scrape()("exporter_web_config_last_reload_successful") == 1
    web.write_text("http_server_config: {headers: {X-Frame-Options: MAYBE}}")
    answer = requests.post(f"{program.url}/-/reload", timeout=10)
    assert answer.status_code == 500
    assert "web configuration: " in answer.text
    metrics = program.scrape()
    assert metrics("exporter_web_config_last_reload_successful") == 0
    assert metrics(SUCCESSFUL) == 1


def test_a_fault_in_either_file_and_neither_changes(stage: Stage, simulator: Simulator) -> None:
    web = stage.folder / "web.yml"
    web.write_text("{}")
    program = Program(stage, simulator, f"--web.config.file={web}", "--web.enable-lifecycle")
    program.up("studio")

    program.configure("agency")
    web.write_text("nonsense: 1")
    answer = requests.post(f"{program.url}/-/reload", timeout=10)
    assert answer.status_code == 500
    assert answer.text.startswith("not reloaded, the old one stays in use:\n")
    assert "  the configuration was not taken over" in answer.text
    assert "  web configuration: line 1: nonsense" in answer.text
    shown = requests.get(f"{program.url}/config", timeout=10).text
    assert "studio" in shown
    assert "agency" not in shown
    metrics = program.scrape()
    assert metrics(SUCCESSFUL) == 0
    assert metrics("exporter_web_config_last_reload_successful") == 0

    program.write("accounts: []")
    answer = requests.post(f"{program.url}/-/reload", timeout=10)
    assert "  line 1: accounts" in answer.text
    assert "  web configuration: line 1: nonsense" in answer.text

    program.configure("agency")
    web.write_text("http_server_config: {headers: {X-Frame-Options: SAMEORIGIN}}")
    answer = requests.post(f"{program.url}/-/reload", timeout=10)
    assert (answer.status_code, answer.text) == (200, "reloaded\n")
    page = requests.get(f"{program.url}/config", timeout=10)
    assert page.headers["X-Frame-Options"] == "SAMEORIGIN"
    assert "agency" in page.text
    metrics = program.scrape()
    assert metrics(SUCCESSFUL) == 1
    assert metrics("exporter_web_config_last_reload_successful") == 1


def test_hangups_from_the_first_moment_on_end_nothing(stage: Stage, simulator: Simulator) -> None:
    program = Program(stage, simulator)
    stage.until("it has set itself up", lambda: program.process.catches(signal.SIGHUP), 30)
    for _ in range(200):
        program.process.send(signal.SIGHUP)
    program.up("studio")
    for _ in range(200):
        program.process.send(signal.SIGHUP)
    program.configure("studio", "agency")
    program.process.send(signal.SIGHUP)
    program.up("agency")
    assert program.process.terminate() == 0


CHANGING = """
import os, sys
import exporter.config
load = exporter.config.load
def changed_meanwhile(*arguments):
    read = load(*arguments)
    if os.path.exists(next := sys.argv[1]):
        os.rename(next, arguments[0])
    return read
exporter.config.load = changed_meanwhile
from exporter.cli import main
sys.exit(main(sys.argv[2:]))
"""
"""The exporter, whose file is exchanged just after it was first read."""


def test_a_watched_file_that_changes_during_the_start(stage: Stage, simulator: Simulator) -> None:
    new = stage.folder / "next.yml"
    program = Program(
        stage,
        simulator,
        "--config.watch",
        command=(sys.executable, "-c", CHANGING, str(new)),
        next_=new,
    )
    program.up("agency")
