"""SIGTERM and SIGINT end the real program within 3 s, whatever it is at, without a traceback."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import requests

from exporter.simulator import Simulator, parse_scenario
from tests.e2e.programs import EXPORTER, metrics_page
from tests.integration.following.exporting import NO_LIMIT, Metrics
from tests.ports import free_port

PATIENCE = 30.0
SECONDS = 3.0
"""How long it may take to end."""

SYN_SENT = "02"

BOTH = pytest.mark.parametrize("signal_", [signal.SIGTERM, signal.SIGINT], ids=lambda s: s.name)


class Program:
    """A running exporter."""

    def __init__(
        self, folder: Path, account: Mapping[str, Any], command: Sequence[str] = (EXPORTER,)
    ) -> None:
        self.port = free_port()
        self.pid = 0
        config = folder / "config.yml"
        config.write_text(
            json.dumps(
                {
                    "accounts": [
                        {
                            "name": "studio",
                            "token": "cfc_token",
                            "rate_limit": NO_LIMIT,
                            **account,
                        }
                    ]
                }
            )
        )
        self._log = folder / "log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    *command,
                    f"--config.file={config}",
                    f"--web.listen-address=127.0.0.1:{self.port}",
                    f"--storage.path={folder / 'data'}",
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=folder,
            )
        self.pid = self._process.pid

    def metric(self, name: str) -> float | None:
        """The sum of a metric's series; None before it answers."""
        try:
            page = metrics_page(f"http://127.0.0.1:{self.port}")
        except requests.RequestException:
            return None
        return Metrics(page).total(name)

    def end_with(self, signal_: signal.Signals, *, cuts_an_answer: bool = False) -> None:
        """Signal it, and see that it ends as it should.

        An answer that is cut, which its client waits for without success, is logged.
        """
        assert self._process.poll() is None, self.log
        began = time.monotonic()
        self._process.send_signal(signal_)
        try:
            code = self._process.wait(20)
        except subprocess.TimeoutExpired:
            pytest.fail(f"still there after 20 s:\n{self.log[-3000:]}")
        took = time.monotonic() - began
        assert code == 0, self.log[-3000:]
        assert took < SECONDS
        assert "Traceback" not in self.log
        assert cuts_an_answer or "Exception" not in self.log
        assert "stopped" in self.log

    @property
    def log(self) -> str:
        """Everything that it wrote."""
        return self._log.read_text("utf-8", "replace")

    def kill(self) -> None:
        """Make sure that it is gone."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(10)


class Stage:
    """Starts services and programs, and ends them with the test."""

    def __init__(self, folder: Path) -> None:
        self.ends = ExitStack()
        self._folder = folder

    def simulate(self, *faults: Mapping[str, Any]) -> Simulator:
        """Start a simulator without a limit, for a well-known token."""
        scenario = parse_scenario(
            "{limit: {enabled: false}, accounts: [{name: studio, tokens: [cfc_token]}]}"
        )
        simulator = self.ends.enter_context(Simulator(scenario, seed=1))
        simulator.set_faults(*faults)
        return simulator

    def export(
        self, base_url: str, *, command: Sequence[str] = (EXPORTER,), **account: Any
    ) -> Program:
        """Start an exporter."""
        program = Program(self._folder, {"base_url": base_url, **account}, command)
        self.ends.callback(program.kill)
        return program


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    yield stage
    stage.ends.close()


def ids(count: int) -> list[str]:
    return [str(uuid.uuid4()) for _ in range(count)]


def until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


@BOTH
def test_while_it_reads_500_streams(stage: Stage, signal_: signal.Signals) -> None:
    simulator = stage.simulate()
    workflows = [simulator.create(scripted=True) for _ in range(500)]
    program = stage.export(simulator.base_url, workflows=workflows, listing={})
    simulator.wait_until(lambda truth: truth.streams_open == 500, PATIENCE)
    # Neither a client that keeps its connection nor one in the middle of a request holds it up.
    keeping = stage.ends.enter_context(requests.Session())
    keeping.get(f"http://127.0.0.1:{program.port}/metrics", timeout=10)
    slow = stage.ends.enter_context(socket.create_connection(("127.0.0.1", program.port)))
    slow.sendall(b"GET /metrics HTTP/1.1\r\nHost: ")
    program.end_with(signal_)


FLOOD = r"""
import json, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

def event(number):
    told = {"status": "queued", "queue_number": number, "prompt": {"1": {"inputs": "x" * 200}}}
    return b"data: " + json.dumps(told).encode() + b"\n\n"

EVENTS = b"".join(event(number) for number in range(1, 500))
CHUNK = b"%x\r\n%s\r\n" % (len(EVENTS), EVENTS)

class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        if not self.path.endswith("/subscribe"):
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"[]")
            return
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while True:
            self.wfile.write(CHUNK)

    def log_message(self, *_):
        pass

    def handle(self):
        try:
            super().handle()
        except OSError:
            pass

ThreadingHTTPServer.request_queue_size = 128
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Answer).serve_forever()
"""
"""A service whose every stream has event upon event, each unlike the one before."""


@BOTH
def test_while_events_come_as_fast_as_the_line_gives_them(
    stage: Stage, signal_: signal.Signals
) -> None:
    port = free_port()
    service = stage.ends.enter_context(subprocess.Popen([sys.executable, "-c", FLOOD, str(port)]))
    stage.ends.callback(service.kill)
    until(lambda: answered(f"http://127.0.0.1:{port}/"))
    program = stage.export(f"http://127.0.0.1:{port}", workflows=ids(50), listing={})
    until(lambda: (program.metric("stream_snapshots_total") or 0) > 3_000)
    program.end_with(signal_)


def fill_backlog(ends: ExitStack) -> int:
    """A port whose every further connection is never made, as with a host that drops packets."""
    listener = ends.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
    port: int = listener.getsockname()[1]
    for _ in range(8):
        caller = ends.enter_context(socket.socket())
        caller.setblocking(False)
        caller.connect_ex(("127.0.0.1", port))
    return port


def connecting_to(port: int) -> int:
    """How many connections to a port are on their way, of any program."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return sum(
        line.split()[2].endswith(f":{port:04X}") and line.split()[3] == SYN_SENT for line in lines
    )


def test_while_it_connects(stage: Stage) -> None:
    port = fill_backlog(stage.ends)
    ours = connecting_to(port)
    program = stage.export(f"http://127.0.0.1:{port}", workflows=ids(50), listing={})
    until(lambda: connecting_to(port) >= ours + 50)
    program.end_with(signal.SIGTERM)


@pytest.mark.parametrize("fault", ["no_answer", "slow_headers"])
def test_while_it_waits_for_headers(stage: Stage, fault: str) -> None:
    simulator = stage.simulate({"kind": fault})
    program = stage.export(simulator.base_url, workflows=ids(50), listing={})
    simulator.wait_until(lambda truth: truth.requests.get("subscribe", 0) >= 50, PATIENCE)
    program.end_with(signal.SIGTERM)


def test_while_it_backs_off(stage: Stage) -> None:
    simulator = stage.simulate({"kind": "status", "code": 503})
    program = stage.export(simulator.base_url, workflows=ids(50), listing={})
    simulator.wait_until(lambda truth: truth.requests.get("subscribe", 0) >= 150, PATIENCE)
    program.end_with(signal.SIGTERM)


def test_while_it_waits_in_the_budget(stage: Stage) -> None:
    simulator = stage.simulate({"kind": "status", "code": 429, "retry_after": 3600})
    program = stage.export(simulator.base_url, workflows=ids(50), listing={})
    until(lambda: program.metric("request_budget_cooldown_until_timestamp_seconds"))
    until(lambda: (program.metric("request_budget_wait_seconds_total") or 0) > 1)
    program.end_with(signal.SIGTERM)


def test_while_it_waits_for_its_token_to_be_accepted(stage: Stage) -> None:
    simulator = stage.simulate()
    simulator.revoke_tokens("studio")
    program = stage.export(simulator.base_url, workflows=ids(50), listing={})
    until(lambda: program.metric("account_up") == 0)
    simulator.wait_until(lambda truth: sum(truth.requests.values()) >= 2, PATIENCE)
    program.end_with(signal.SIGTERM)


def test_while_it_has_nothing_to_do(stage: Stage) -> None:
    simulator = stage.simulate()
    program = stage.export(simulator.base_url, listing={"interval": "1h"})
    until(lambda: program.metric("account_up") == 1)
    program.end_with(signal.SIGTERM)


def test_an_impatient_user_may_press_ctrl_c_twice(stage: Stage) -> None:
    simulator = stage.simulate()
    workflows = [simulator.create(scripted=True) for _ in range(200)]
    program = stage.export(simulator.base_url, workflows=workflows)
    simulator.wait_until(lambda truth: truth.streams_open == 200, PATIENCE)
    os.kill(program.pid, signal.SIGINT)
    simulator.wait_until(lambda truth: truth.streams_open < 200, PATIENCE)
    program.end_with(signal.SIGINT)


def stuck(*, at: str) -> tuple[str, ...]:
    """The exporter, but a call of one kind never comes back, as on a disk that does not answer."""
    begin = {
        "reload": """
import exporter.config
load, loads = exporter.config.load, []
def first(*arguments):
    loads.append(arguments)
    return load(*arguments) if len(loads) == 1 else threading.Event().wait()
exporter.config.load = first
""",
        "threads": """
import os
begin = threading.Thread.start
def start(thread):
    if os.path.exists(os.environ["NO_MORE_THREADS"]):
        raise RuntimeError("can't start new thread")
    begin(thread)
threading.Thread.start = start
""",
        "render": """
from exporter.metrics.exposition import Page
Page.rendered = lambda *_: threading.Event().wait()
""",
    }
    end = "from exporter.cli import main\nsys.exit(main())"
    return (sys.executable, "-c", f"import sys, threading{begin[at]}{end}")


def answered(url: str) -> bool:
    try:
        return requests.get(url, timeout=10).ok
    except requests.ConnectionError:
        return False


def test_while_a_reload_reads_from_a_disk_that_does_not_answer(stage: Stage) -> None:
    simulator = stage.simulate()
    command = (*stuck(at="reload"), "--web.enable-lifecycle")
    program = stage.export(simulator.base_url, listing={}, command=command)
    url = f"http://127.0.0.1:{program.port}"
    until(lambda: answered(f"{url}/-/healthy"))
    with pytest.raises(requests.ReadTimeout):
        requests.post(f"{url}/-/reload", timeout=0.5)
    # Those who ask again are told so at once, and scrapes go on.
    for _ in range(50):
        again = requests.post(f"{url}/-/reload", timeout=10)
        assert (again.status_code, again.headers["Retry-After"]) == (503, "1")
        assert "under way" in again.text
    assert program.metric("account_up") is not None
    program.end_with(signal.SIGTERM, cuts_an_answer=True)


def test_where_no_more_threads_can_be_had_every_scrape_is_answered(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    switch = tmp_path / "no more threads"
    monkeypatch.setenv("NO_MORE_THREADS", str(switch))
    simulator = stage.simulate()
    program = stage.export(simulator.base_url, listing={}, command=stuck(at="threads"))
    url = f"http://127.0.0.1:{program.port}"
    until(lambda: answered(f"{url}/-/ready"))
    switch.touch()
    with ExitStack() as ends:
        clients = [
            ends.enter_context(socket.create_connection(("127.0.0.1", program.port)))
            for _ in range(20)
        ]
        for path in (b"/metrics", b"/", b"/config"):
            for client in clients:
                client.sendall(b"HEAD " + path + b" HTTP/1.1\r\nHost: x\r\n\r\n")
            for client in clients:
                client.settimeout(PATIENCE)
                assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
    program.end_with(signal.SIGTERM)


def test_while_a_scrape_is_stuck(stage: Stage) -> None:
    simulator = stage.simulate()
    program = stage.export(simulator.base_url, listing={}, command=stuck(at="render"))
    url = f"http://127.0.0.1:{program.port}"
    until(lambda: answered(f"{url}/-/healthy"))
    with pytest.raises(requests.ReadTimeout):
        requests.get(f"{url}/metrics", timeout=0.5)
    program.end_with(signal.SIGTERM, cuts_an_answer=True)
