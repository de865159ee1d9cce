"""Each attack by itself, for a minute: what it costs, and what reports it.

    python -m benchmarks.soak.one_by_one                     # all
    python -m benchmarks.soak.one_by_one --seconds 20 pages push

Every attack has an exporter of its own, with the 1,024 open files and the 256 MiB of the chart's
defaults (of data: what is shared with others does not count, and what was only asked for does).
Prints a line of a table for each: memory at rest and at most, the slowest scrape of a patient
scraper, how old the list became, and what the metrics and the log said.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import requests
import trustme

from benchmarks.metrics import Metrics
from benchmarks.processes import ACCOUNT, SimulatorProgram, free_port, running
from benchmarks.soak import attacks

OPEN_FILES: Final = 1024
DATA_BYTES: Final = 256 << 20
STACK_BYTES: Final = 256 << 10
"""Of a thread: it counts as data, used or not."""
SCENARIO: Final = """
description: {open} open workflows, most of which wait.
arrivals: {{rate: 0.5}}
start: {{finished: 100, finished_age: {{max: 2h}}, open: {open}, open_age: {{min: 5s, max: 9m}}}}
runners: [{{name: gpu, count: 12}}]
jobs: [{{name: image, duration: {{median: 20s, sigma: 0.4, min: 4s, max: 60s}}}}]
"""
ENDLESS_PAGES: Final = r"""
import contextlib, datetime, json, sys, uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

now = datetime.datetime.now(datetime.timezone.utc).isoformat()
ROWS = json.dumps({"workflows": [
    {"id": str(uuid.uuid4()), "status": "running", "created_at": now}
    for _ in range(60_000)
]}).encode()

class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = ROWS if self.path.partition("?")[0] == "/v1/workflow" else b"{}"
        self.send_response(200 if body is ROWS else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(body)

    def log_message(self, *_):
        pass

ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Answer).serve_forever()
"""
"""A service that gives 60,000 rows, whatever is asked."""


@dataclass(frozen=True)
class Attack:
    """One row of the table."""

    what: str
    by: Callable[[attacks.Target], None] = attacks.nothing
    """Goes on until it is over."""
    threads: int = 1
    open_workflows: int = 20
    open_files: int = OPEN_FILES
    idle_accounts: int = 0
    """Beside the one that is followed: their service does not answer, but they have series."""
    has_endless_pages: bool = False


def silent(target: attacks.Target) -> None:
    """1,500 connections without a word; each that is let go is made again."""
    sockets = []
    for _ in range(1500):
        if target.over.wait(0.005):
            break
        sockets.append(attacks.connect(target))
    target.over.wait()
    del sockets


def push_all(target: attacks.Target) -> None:
    """200,000 ids that nobody ever saw, as fast as they are answered."""
    with target.session() as session:
        session.headers["Authorization"] = f"Bearer {target.push_token}"
        for _ in range(20):
            ids = [str(uuid.uuid4()) for _ in range(10_000)]
            answer = session.post(
                f"{target.url}/api/v1/workflows",
                json={"account": target.account, "workflows": ids},
                timeout=60,
            )
            target.done[f"pushes of 10,000 unknown ids: {answer.status_code}"] += 1
            if target.over.is_set():
                return


ATTACKS: Final[Mapping[str, Attack]] = {
    "silent": Attack("1,500 silent TCP connections to the TLS port", silent),
    "files": Attack("100 open files, 160 open workflows", open_workflows=160, open_files=100),
    "pages": Attack("a service that gives 60,000 rows a page", has_endless_pages=True),
    "push": Attack("a push token that sends 200,000 random ids", push_all),
    "scrapers": Attack(
        "50 scrapers without a pause, 12,000 series",
        attacks.scraper,
        threads=50,
        idle_accounts=36,
    ),
    "garbage": Attack("garbage and upgrade requests", attacks.garbage, threads=4),
    "files of ids": Attack("FIFOs, devices, bombs where ids are looked for", attacks.odd_files),
    "reloads": Attack("a reload every 5 s", attacks.reloader),
}


def main() -> int:
    """Run those that the command line names."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak.one_by_one", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("names", nargs="*", choices=[*ATTACKS, []], default=[])
    parser.add_argument("--seconds", type=float, default=60.0)
    arguments = parser.parse_args()
    print(
        "| attack | memory before, most | slowest scrape | oldest list | CPU | what reported it |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    for name in arguments.names or ATTACKS:
        with tempfile.TemporaryDirectory() as scratch:
            print(_row(ATTACKS[name], arguments.seconds, Path(scratch)), flush=True)
    return 0


def _row(attack: Attack, seconds: float, folder: Path) -> str:
    with (
        service(attack, folder) as (base_url, token),
        exporter(attack, base_url, token, folder) as target,
    ):
        session = target.session()
        until_answered(target, session)
        until_listed(target, session)
        before, cpu_before = status(target), cpu_seconds(target)
        threads = [
            threading.Thread(target=attack.by, args=(target,), daemon=True)
            for _ in range(attack.threads)
        ]
        for thread in threads:
            thread.start()
        began, until = time.time(), time.monotonic() + seconds
        slowest, oldest, text = 0.0, 0.0, ""
        while time.monotonic() < until:
            text, took = scrape(target, session)
            slowest = max(slowest, took)
            listed = Metrics(text).total("listing_last_success_timestamp_seconds")
            oldest = max(oldest, time.time() - (listed or began))
            time.sleep(1)
        used = (cpu_seconds(target) - cpu_before) / seconds
        after = status(target)
        target.over.set()
        for thread in threads:
            thread.join(10)
        told = _told(Metrics(text), folder / "exporter.log")
        done = ", ".join(f"{what}: {n:,}" for what, n in sorted(target.done.items()))
        series = sum(1 for line in text.splitlines() if line and not line.startswith("#"))
    return (
        f"| {attack.what} ({series:,} series; {done}) | {before['VmRSS']:.0f}, "
        f"{after['VmHWM']:.0f} MiB | {slowest:.2f} s | {oldest:.0f} s | {used:.0%} | {told} |"
    )


def scrape(target: attacks.Target, session: requests.Session) -> tuple[str, float]:
    """As a patient Prometheus: what it got, and after how many seconds."""
    began = time.monotonic()
    for _ in range(3):
        try:
            text = session.get(f"{target.url}/metrics", timeout=60).text
        except requests.ConnectionError:
            # Its idle connection was let go, and it connects again.
            continue
        return text, time.monotonic() - began
    raise RuntimeError("no scrape is answered")


def _told(metrics: Metrics, log: Path) -> str:
    names = {
        "exporter_web_connections_closed_total": "reason",
        "exporter_streams_held_back": "reason",
        "open_workflows_limit_reached": "account",
        "workflows_dropped_total": "reason",
        "exporter_workflow_files": "state",
        "listing_rows_malformed_total": "account",
    }
    parts = []
    for name, label in names.items():
        some = {value: round(n) for value, n in metrics.by(name, label).items() if n}
        parts += [f"`{name}` {some}"] if some else []
    suppressed = round(metrics.total("exporter_log_lines_suppressed_total"))
    parts += [f"{suppressed:,} lines suppressed"] if suppressed else []
    lines = Counter(
        re.findall(r"level=(?:warning|error) msg=(\"[^\"]*\"|\S+)", log.read_text("utf-8"))
    )
    parts += [f"log: {text.strip(chr(34))} ({n})" for text, n in lines.most_common(4)]
    return "; ".join(parts)


def status(target: attacks.Target) -> dict[str, float]:
    """What its memory is, in MiB, by the names of the system."""
    text = Path(f"/proc/{target.pid}/status").read_text(encoding="utf-8")
    return {name: int(kib) / 1024 for name, kib in re.findall(r"(Vm\w+):\s+(\d+) kB", text)}


def cpu_seconds(target: attacks.Target) -> float:
    """What it has used of a core since its start."""
    numbers = Path(f"/proc/{target.pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    return (int(numbers[11]) + int(numbers[12])) / 100


@contextmanager
def service(attack: Attack, folder: Path) -> Iterator[tuple[str, str]]:
    """What is followed: its address and a token."""
    if attack.has_endless_pages:
        port = free_port()
        with subprocess.Popen([sys.executable, "-c", ENDLESS_PAGES, str(port)]) as service:
            try:
                yield f"http://127.0.0.1:{port}", "cfc_token"
            finally:
                service.kill()
        return
    scenario = folder / "scenario.yml"
    scenario.write_text(SCENARIO.format(open=attack.open_workflows), encoding="utf-8")
    simulator = SimulatorProgram(str(scenario), 1, folder)
    with running(simulator.program):
        yield simulator.base_url, simulator.token()


@contextmanager
def exporter(attack: Attack, base_url: str, token: str, folder: Path) -> Iterator[attacks.Target]:
    """One with TLS, within the limits of the chart's defaults."""
    ids = folder / "ids"
    ids.mkdir()
    (folder / "push").write_text("push-token", encoding="utf-8")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    certificate.private_key_and_cert_chain_pem.write_to_path(str(folder / "server.pem"))
    account = {
        "name": ACCOUNT, "base_url": base_url, "token": token, "listing": {},
        "workflow_files": [str(ids / "*.yml")], "push": {"token_file": str(folder / "push")},
    }  # fmt: skip
    idle = [
        {"name": f"idle-{n}", "base_url": "http://127.0.0.1:9", "token": f"cfc_{n}", "listing": {}}
        for n in range(attack.idle_accounts)
    ]
    config = {"accounts": [account, *idle]}
    (folder / "exporter.yml").write_text(json.dumps(config), encoding="utf-8")
    pair = {name: str(folder / "server.pem") for name in ("cert_file", "key_file")}
    (folder / "web.yml").write_text(json.dumps({"tls_server_config": pair}), encoding="utf-8")
    port = free_port()
    with ExitStack() as ends:
        log = ends.enter_context((folder / "exporter.log").open("wb"))
        process = subprocess.Popen(
            [
                "prlimit", f"--nofile={attack.open_files}:{attack.open_files}",
                f"--data={DATA_BYTES}", f"--stack={STACK_BYTES}", "--",
                sys.executable, "-m", "exporter", f"--config.file={folder / 'exporter.yml'}",
                f"--web.config.file={folder / 'web.yml'}", f"--storage.path={folder / 'ledger'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
        ends.callback(process.wait, 30)
        ends.callback(process.terminate)
        yield attacks.Target(
            "127.0.0.1", port, process.pid, folder / "ca.pem", "push-token", ACCOUNT, ids
        )


def until_answered(target: attacks.Target, session: requests.Session) -> None:
    """Wait for its web side."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            if session.get(f"{target.url}/-/healthy", timeout=5).ok:
                return
        except requests.RequestException:
            pass
        time.sleep(0.2)
    raise TimeoutError("the exporter does not answer")


def until_listed(target: attacks.Target, session: requests.Session) -> None:
    """Wait for that; but not for long, since a service may never show its list."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        text, _ = scrape(target, session)
        if Metrics(text).total("listing_last_success_timestamp_seconds"):
            break
        time.sleep(0.5)
    time.sleep(5)


if __name__ == "__main__":
    sys.exit(main())
