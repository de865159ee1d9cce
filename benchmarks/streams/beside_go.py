"""What streams cost beside a plain follower in Go, in one run. See docs/performance.md.

python -m benchmarks.streams.beside_go --streams 1000 --rounds 5 [--tls]

The server, in Go as well, has one core, the follower that is measured another. Rounds alternate
between the two followers. Needs a Go toolchain, Linux, and `ulimit -n` above the streams.
"""

import argparse
import json
import os
import signal
import subprocess
import tempfile
import time
import uuid
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Final

import requests
import trustme

from benchmarks.processes import ExporterProgram, Program, free_port, running

PATIENCE: Final = 120.0
SETTLE_SECONDS: Final = 35.0
SERVER_CORE: Final = 0
CLIENT_CORE: Final = 1
_SOURCES: Final = Path(__file__).parent / "go"


@dataclass(frozen=True)
class Cost:
    """What one follower took in one round."""

    cpu_ms: float
    """For 1,000 events."""
    memory_mib: float
    threads: int
    opened: float
    """Seconds from its start until all streams were open."""
    delay: tuple[float, float, float] | None
    """In ms: median, p99, most."""


class Bench:
    """The Go programs, a certificate, and the ids."""

    def __init__(self, folder: Path, streams: int, *, tls: bool) -> None:
        self.folder = folder
        self.streams = streams
        self.tls = tls
        subprocess.run(["go", "build", "-o", f"{folder}/", "./..."], cwd=_SOURCES, check=True)
        self.ids = folder / "ids.yml"
        self._write_ids(streams)
        self.authority = folder / "authority.pem"
        self._certificate, self._key = folder / "certificate.pem", folder / "key.pem"
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.authority)
        certificate = authority.issue_cert("localhost")
        certificate.cert_chain_pems[0].write_to_path(self._certificate)
        certificate.private_key_pem.write_to_path(self._key)

    def _write_ids(self, count: int) -> None:
        ids = (uuid.UUID(int=number + 1, version=4) for number in range(count))
        self.ids.write_text("".join(f"- {workflow_id}\n" for workflow_id in ids))

    @contextmanager
    def serving(self, every: str) -> Iterator[str]:
        """Run the server; its URL."""
        port = free_port()
        flags: dict[str, object] = {"address": f"127.0.0.1:{port}", "every": every}
        if self.tls:
            flags |= {"certificate": self._certificate, "key": self._key}
        program = Program(
            [str(self.folder / "server")],
            flags,
            self.folder / "server.log",
            core=SERVER_CORE,
            is_module=False,
        )
        with running(program):
            yield f"{'https' if self.tls else 'http'}://localhost:{port}"

    def count(self, base: str, name: str) -> int:
        """How many events the server has sent, or how many streams it has open."""
        for _ in range(100):
            try:
                answer = requests.get(f"{base}/counts", timeout=30, verify=str(self.authority))
                return int(answer.json()[name])
            except requests.ConnectionError:
                time.sleep(0.1)
        raise TimeoutError("the server does not answer")

    def exporter(self, base: str) -> Program:
        """The exporter, set to follow the ids."""
        program = ExporterProgram(
            base,
            "cfc_benchmark",
            self.folder,
            account={
                "listing": None,
                "workflow_files": [str(self.ids)],
                "max_streams": self.streams,
                "rate_limit": {"requests": 100_000, "per": "1s", "reserve": 0.5},
            },
            module="benchmarks.streams.timed",
            environment={
                "BENCHMARK_DELAYS": str(self.folder / "delays"),
                "REQUESTS_CA_BUNDLE": str(self.authority),
            },
            core=CLIENT_CORE,
        )
        return program.program

    def follower(self, base: str) -> Program:
        """The reference."""
        flags: dict[str, object] = {"base": base, "ids": self.ids}
        if self.tls:
            flags["authority"] = self.authority
        return Program(
            [str(self.folder / "follower")],
            flags,
            self.folder / "follower.log",
            core=CLIENT_CORE,
            is_module=False,
        )

    def exporter_delays(self, since: float) -> list[float]:
        """Of the snapshots that the exporter has read since then, in ms."""
        noted = array("d", (self.folder / "delays").read_bytes())
        return [ms for at, ms in zip(noted[::2], noted[1::2], strict=True) if at >= since]

    def follower_delays(self) -> tuple[float, float, float] | None:
        """The same of the reference, which has ended."""
        for line in (self.folder / "follower.log").read_text().splitlines():
            if line.startswith("delays"):
                _, middle, late, most = line.split()
                return float(middle), float(late), float(most)
        return None

    def measure(
        self, start: Callable[[str], Program], *, seconds: float, every: str, is_go: bool
    ) -> Cost:
        """Run one follower for so long."""
        (self.folder / "delays").unlink(missing_ok=True)
        with self.serving(every) as base:
            self.count(base, "sent")
            program = start(base)
            with running(program):
                opened = self._wait_for(base, program)
                time.sleep(SETTLE_SECONDS)
                if is_go:
                    program.signal(signal.SIGUSR1)
                since = time.time()
                before, sent = program.cost(), self.count(base, "sent")
                time.sleep(seconds)
                after, told = program.cost(), self.count(base, "sent") - sent
                is_open = self.count(base, "open")
            if is_open < self.streams:
                raise RuntimeError(f"only {is_open} of {self.streams} streams were open")
        if is_go:
            delay = self.follower_delays()
        else:
            cuts = quantiles(self.exporter_delays(since), n=100)
            delay = cuts[49], cuts[98], max(self.exporter_delays(since))
        cpu = after.cpu_seconds - before.cpu_seconds
        return Cost(cpu * 1e6 / told, after.memory_mib, after.threads, opened, delay)

    def _wait_for(self, base: str, program: Program) -> float:
        began = time.monotonic()
        while time.monotonic() < began + PATIENCE:
            program.check()
            if self.count(base, "open") >= self.streams:
                return time.monotonic() - program.started
            time.sleep(0.2)
        raise TimeoutError(f"there were never {self.streams} streams")

    def base_memory(self, start: Callable[[str], Program]) -> float:
        """MiB of a follower that follows nothing."""
        self._write_ids(0)
        try:
            with self.serving("2s") as base:
                self.count(base, "sent")
                with running(start(base)) as program:
                    time.sleep(SETTLE_SECONDS / 2)
                    return program.cost().memory_mib
        finally:
            self._write_ids(self.streams)


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.streams.beside_go")
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=20.0, help="how long to measure")
    parser.add_argument("--every", default="2s", help="time from one snapshot to the next")
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--only", choices=["ours", "go"])
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {SERVER_CORE})
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(Path(scratch), arguments.streams, tls=arguments.tls)
        followers = {"go": bench.follower, "ours": bench.exporter}
        if arguments.only:
            followers = {arguments.only: followers[arguments.only]}
        bases = {name: bench.base_memory(start) for name, start in followers.items()}
        costs: dict[str, list[Cost]] = {name: [] for name in followers}
        for _ in range(arguments.rounds):
            for name, start in followers.items():
                cost = bench.measure(
                    start, seconds=arguments.seconds, every=arguments.every, is_go=name == "go"
                )
                costs[name].append(cost)
                _tell(name, [cost], bases[name], arguments.streams)
    print(f"medians of {arguments.rounds}, {'TLS' if arguments.tls else 'plain'}:")
    for name, rounds in costs.items():
        _tell(name, rounds, bases[name], arguments.streams)
    if len(costs) == 2:
        ratio = median(c.cpu_ms for c in costs["ours"]) / median(c.cpu_ms for c in costs["go"])
        print(f"CPU: {ratio:.2f} x Go")


def _tell(name: str, costs: list[Cost], base: float, streams: int) -> None:
    memory = median(cost.memory_mib for cost in costs)
    delays = [cost.delay for cost in costs if cost.delay is not None]
    told = {
        "CPU ms per 1,000 events": round(median(cost.cpu_ms for cost in costs), 1),
        "base MiB": round(base, 1),
        "KiB a stream": round((memory - base) * 1024 / streams, 1),
        "threads": max(cost.threads for cost in costs),
        "all open after s": round(median(cost.opened for cost in costs), 1),
        "delay ms (median, p99, most)": [
            round(median(d[i] for d in delays), 2) for i in range(3) if delays
        ],
    }
    print(f"  {name:5}", json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
