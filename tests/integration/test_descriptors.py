"""Where few files may be open, the real program keeps some free for everything but streams."""

import json
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests

from exporter.app.descriptors import shares
from exporter.simulator import Simulator, parse_scenario
from tests.e2e.programs import EXPORTER, metrics_page
from tests.integration.following.exporting import NO_LIMIT, Metrics
from tests.ports import free_port

PATIENCE = 60.0
OPEN_FILES = 100
OPEN_WORKFLOWS = 160
SCENARIO = "{limit: {enabled: false}, accounts: [{name: studio, tokens: [cfc_token]}]}"


@pytest.fixture
def ends() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def scrape(port: int) -> Metrics:
    return Metrics(metrics_page(f"http://127.0.0.1:{port}"))


def until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            if holds():
                return
        except requests.ConnectionError:
            pass
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.1)


def test_with_few_descriptors_scrapes_are_answered_and_the_list_is_read(
    tmp_path: Path, ends: ExitStack
) -> None:
    simulator = ends.enter_context(Simulator(parse_scenario(SCENARIO), seed=1))
    workflows = [simulator.create(scripted=True) for _ in range(OPEN_WORKFLOWS)]
    account = {
        "name": "studio", "token": "cfc_token", "base_url": simulator.base_url,
        "rate_limit": NO_LIMIT, "listing": {"interval": "1s"},
    }  # fmt: skip
    config, log, port = tmp_path / "config.yml", tmp_path / "log", free_port()
    config.write_text(json.dumps({"accounts": [account]}))
    with log.open("wb") as file:
        process = subprocess.Popen(
            [
                "prlimit", f"--nofile={OPEN_FILES // 2}:{OPEN_FILES}", "--",
                EXPORTER, f"--config.file={config}", f"--web.listen-address=127.0.0.1:{port}",
                f"--storage.path={tmp_path / 'data'}",
            ],
            stdout=file,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
    ends.callback(process.wait, 20)
    ends.callback(process.kill)
    streams = shares(OPEN_FILES).streams
    until(lambda: scrape(port).total("exporter_streams_held_back") == OPEN_WORKFLOWS - streams)
    simulator.wait_until(lambda truth: truth.streams_open == streams, PATIENCE)

    # A crowd of clients takes nobody's descriptors but their own.
    for _ in range(OPEN_FILES):
        ends.enter_context(socket.create_connection(("127.0.0.1", port)))
    for workflow in workflows:
        simulator.workflow(workflow).advance("running")
        simulator.workflow(workflow).advance("completed")
    until(lambda: scrape(port).total("workflows_finished_total") == OPEN_WORKFLOWS)
    until(lambda: scrape(port).total("exporter_streams_held_back") == 0)
    assert scrape(port).total("account_up") == 1
    lines = log.read_text().splitlines()
    assert len([line for line in lines if "limit of open files" in line]) == 1
    assert not [line for line in lines if "cannot accept connections" in line]
    assert len(lines) < 40 + 2 * OPEN_WORKFLOWS


def test_what_one_account_does_not_need_another_uses_until_it_does(
    tmp_path: Path, ends: ExitStack
) -> None:
    names = ("studio", "agency")
    accounts = ", ".join(f"{{name: {name}, tokens: [cfc_{name}]}}" for name in names)
    scenario = f"{{limit: {{enabled: false}}, accounts: [{accounts}]}}"
    simulator = ends.enter_context(Simulator(parse_scenario(scenario), seed=1))
    for _ in range(OPEN_WORKFLOWS):
        simulator.create(account="studio", scripted=True)
    configured = [
        {
            "name": name, "token": f"cfc_{name}", "base_url": simulator.base_url,
            "rate_limit": NO_LIMIT, "listing": {"interval": "1s"},
        }
        for name in names
    ]  # fmt: skip
    config, port = tmp_path / "config.yml", free_port()
    config.write_text(json.dumps({"accounts": configured}))
    process = subprocess.Popen(
        [
            "prlimit", f"--nofile={OPEN_FILES}:{OPEN_FILES}", "--",
            EXPORTER, f"--config.file={config}", f"--web.listen-address=127.0.0.1:{port}",
            f"--storage.path={tmp_path / 'data'}",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    ends.callback(process.wait, 20)
    ends.callback(process.kill)
    streams = shares(OPEN_FILES).streams

    def have(**open_streams: int) -> bool:
        metrics = scrape(port)
        return all(metrics("streams", account=a) == n for a, n in open_streams.items())

    until(lambda: have(studio=streams, agency=0))
    for _ in range(5):
        simulator.create(account="agency", scripted=True)
    until(lambda: have(studio=streams - 5, agency=5))
    for _ in range(OPEN_WORKFLOWS):
        simulator.create(account="agency", scripted=True)
    even = streams // 2
    until(
        lambda: have(studio=even, agency=streams - even) or have(studio=streams - even, agency=even)
    )
