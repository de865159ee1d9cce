"""Everything from outside at once, for an hour: does following go on, and is memory flat?

    make soak                      # an hour
    make soak ARGS="--minutes 10"

The service shows every fault it has, clients flood the web side, a push token sends ids that
nobody ever saw, and files that are none lie where files of ids are looked for. The exporter has
the limits of the chart's defaults: 1,024 open files, and 256 MiB that it must not exceed. A patient
scraper beside all of that is the Prometheus. At the end outcomes are compared with the truth.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from statistics import quantiles
from typing import Any, Final

import requests
import trustme
import yaml

from benchmarks.metrics import Metrics
from benchmarks.processes import ACCOUNT, SimulatorProgram, free_port, running
from benchmarks.soak import attacks
from benchmarks.soak.patient import PatientScraper

OPEN_FILES: Final = 1024
MEMORY_MIB: Final = 256
LOOK_SECONDS: Final = 5.0
CALM_SECONDS: Final = 120.0
"""What may be behind at the end of the attacks is caught up within this."""


@dataclass(frozen=True)
class Look:
    """What the patient scraper has seen once."""

    at: float
    scrape_seconds: float
    memory_mib: float
    objects: int
    """Of Python: blocks that it has allocated."""
    malloc_used_mib: float
    malloc_free_mib: float
    """What the C library keeps for later; both are 0 where it does not tell them."""
    threads: int
    files: int
    clients: int
    open_workflows: int
    list_age: float
    behind: int
    """Outcomes of the truth that are not counted yet."""


def main() -> int:
    """Run what the command line asks for; 1: something was not as it has to be."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scenario", default="hostile")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        return _soak(arguments, Path(scratch))


def _soak(arguments: argparse.Namespace, folder: Path) -> int:
    simulator = SimulatorProgram(arguments.scenario, arguments.seed, folder)
    with running(simulator.program), _exporter(simulator, folder) as target:
        scraper = PatientScraper(target)
        before = _watch(scraper, simulator, 30.0)
        threads = attacks.begin(target)
        during = _watch(scraper, simulator, 60 * arguments.minutes)
        target.over.set()
        for thread in threads:
            thread.join(40)
        simulator.control("pause")
        # What ended before the exporter began is none of its outcomes.
        earlier = min(look.behind for look in before)
        last = _watch(scraper, simulator, CALM_SECONDS, until_behind=earlier)[-1]
        missing = last.behind - earlier
        metrics = Metrics(scraper.scrape())
        return _tell(scraper, metrics, simulator.truth(), before, during, missing)


@contextmanager
def _exporter(simulator: SimulatorProgram, folder: Path) -> Iterator[attacks.Target]:
    ids = folder / "ids"
    ids.mkdir()
    (folder / "push").write_text("push-token", encoding="utf-8")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    certificate.private_key_and_cert_chain_pem.write_to_path(str(folder / "server.pem"))
    account: dict[str, Any] = {
        "name": ACCOUNT,
        "base_url": simulator.base_url,
        "token": simulator.token(),
        "listing": {},
        "workflow_files": [str(ids / "*.yml")],
        "push": {"token_file": str(folder / "push")},
        "runners": {},
    }
    (folder / "exporter.yml").write_text(yaml.safe_dump({"accounts": [account]}), encoding="utf-8")
    pair = {name: str(folder / "server.pem") for name in ("cert_file", "key_file")}
    web = {"tls_server_config": pair}
    (folder / "web.yml").write_text(json.dumps(web), encoding="utf-8")  # JSON is YAML
    port = free_port()
    command = [
        sys.executable, "-m", "benchmarks.soak.measured",
        f"--config.file={folder / 'exporter.yml'}", f"--web.config.file={folder / 'web.yml'}",
        f"--storage.path={folder / 'ledger'}", f"--web.listen-address=127.0.0.1:{port}",
    ]  # fmt: skip
    with (folder / "exporter.log").open("wb") as log:
        process = subprocess.Popen(
            ["prlimit", f"--nofile={OPEN_FILES}:{OPEN_FILES}", "--", *command],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "MEMORY_FIGURES": str(folder / "memory.json")},
        )
        try:
            target = attacks.Target(
                "127.0.0.1", port, process.pid, folder / "ca.pem", "push-token", ACCOUNT, ids,
                memory_figures=folder / "memory.json",
            )  # fmt: skip
            _until_ready(target)
            yield target
            lines = (folder / "exporter.log").read_bytes().count(b"\n")
            target.done["lines in the log"] = lines
        finally:
            began = time.monotonic()
            process.terminate()
            process.wait(60)
            print(f"stopped within {time.monotonic() - began:.1f} s", flush=True)


def _until_ready(target: attacks.Target) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            if target.session().get(f"{target.url}/-/ready", timeout=5).ok:
                return
        except requests.RequestException:
            pass
        if time.monotonic() > deadline:
            raise TimeoutError("the exporter is not ready")
        time.sleep(0.2)


def _watch(
    scraper: PatientScraper,
    simulator: SimulatorProgram,
    seconds: float,
    *,
    until_behind: int | None = None,
) -> list[Look]:
    looks = []
    until = time.monotonic() + seconds
    told_at = 0.0
    while time.monotonic() < until:
        looks.append(_look(scraper, simulator))
        if time.monotonic() - told_at > 60:
            told_at = time.monotonic()
            print(looks[-1], flush=True)
        if until_behind is not None and looks[-1].behind <= until_behind:
            break
        time.sleep(LOOK_SECONDS)
    return looks


def _look(scraper: PatientScraper, simulator: SimulatorProgram) -> Look:
    began = time.monotonic()
    text = scraper.scrape()
    took = time.monotonic() - began
    metrics = Metrics(text)
    target = scraper.target
    truth = simulator.truth()["accounts"][ACCOUNT]["outcomes"]
    status = Path(f"/proc/{target.pid}/status").read_text(encoding="utf-8")
    lines = dict(line.split(":", 1) for line in status.splitlines() if line)
    figures = json.loads(target.memory_figures.read_text(encoding="utf-8"))
    return Look(
        at=round(time.monotonic(), 1),
        scrape_seconds=round(took, 3),
        memory_mib=round(int(lines["VmRSS"].split()[0]) / 1024, 1),
        objects=figures["objects"],
        malloc_used_mib=figures.get("malloc_used_mib", 0.0),
        malloc_free_mib=figures.get("malloc_free_mib", 0.0),
        threads=int(lines["Threads"]),
        files=sum(1 for _ in Path(f"/proc/{target.pid}/fd").iterdir()),
        clients=round(metrics.total("exporter_web_connections")),
        open_workflows=round(metrics.total("workflows")),
        list_age=round(time.time() - metrics.total("listing_last_success_timestamp_seconds"), 1),
        behind=round(sum(truth.values()) - metrics.total("workflows_finished_total")),
    )


def _tell(
    scraper: PatientScraper,
    metrics: Metrics,
    truth: dict[str, Any],
    before: list[Look],
    during: list[Look],
    missing: int,
) -> int:
    print("\n| | before | during | most |\n| --- | --- | --- | --- |")
    for name in (item.name for item in fields(Look) if item.name != "at"):
        calm = [getattr(look, name) for look in before]
        busy = [getattr(look, name) for look in during]
        print(f"| {name} | {_median(calm):g} | {_median(busy):g} | {max(busy):g} |")
    _tell_memory(during)
    target = scraper.target
    for what, count in sorted(target.done.items()):
        print(f"{what}: {count}")
    print("idle connection of the patient scraper closed:", dict(scraper.closed))
    print("failed tries of the patient scraper:", len(scraper.failed))
    print("web connections closed:", metrics.by("exporter_web_connections_closed_total", "reason"))
    print("log lines suppressed:", metrics.total("exporter_log_lines_suppressed_total"))
    print("streams held back:", metrics.by("exporter_streams_held_back", "reason"))
    print("dropped:", metrics.by("workflows_dropped_total", "reason"))
    print("most requests in 10 s:", truth["busiest_window"], "refused:", truth["refusals"])
    faults = []
    if missing:
        faults.append(f"{missing} outcomes are missing")
    if max(look.memory_mib for look in during) > MEMORY_MIB:
        faults.append(f"more than {MEMORY_MIB} MiB")
    if scraper.failed:
        faults.append(f"{len(scraper.failed)} scrapes failed")
    if sum(truth["refusals"].values()):
        faults.append("requests were refused")
    print("\n" + ("; ".join(faults) or "all is as it has to be"))
    return 1 if faults else 0


def _tell_memory(during: list[Look]) -> None:
    """Print what memory is made of, by tenths of the time.

    What grows because a bound is being filled (ids that wait to be seen, clients), or because the C
    library finds no hole that is large enough, ends. Objects, and what is in use, must not grow.
    """
    names = ("memory_mib", "objects", "malloc_used_mib", "malloc_free_mib", "clients",
             "open_workflows")  # fmt: skip
    print(f"\n| tenth of the time | {' | '.join(names)} |\n| --- |{' --- |' * len(names)}")
    tenths = [during[len(during) * n // 10 : len(during) * (n + 1) // 10] for n in range(10)]
    for number, looks in enumerate(tenths, 1):
        if looks:
            medians = (_median([getattr(look, name) for look in looks]) for name in names)
            print(f"| {number} | {' | '.join(f'{median:.9g}' for median in medians)} |")
    print()


def _median(values: list[float]) -> float:
    return round(quantiles(values, n=2)[0], 3) if len(values) > 1 else values[0]


if __name__ == "__main__":
    sys.exit(main())
