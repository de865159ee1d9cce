"""The programs that a benchmark runs, each in a process of its own, and what they cost."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import requests

TOKEN: Final = "cfc_benchmark"
ACCOUNT: Final = "studio"
PATIENCE: Final = 120.0
"""Seconds that a program may take to start or to end."""

_TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Cost:
    """What a process has used since its start."""

    cpu_seconds: float
    memory_mib: float
    """Resident, now."""
    memory_most_mib: float
    memory_own_mib: float
    """The part of the resident memory that is not mapped from files."""
    threads: int


class Program:
    """A running process.

    Args:
        command: a module for the interpreter that runs the benchmark, and its arguments; or any
            program, where `is_module` is false.
        flags: more of them, by name.
        output: takes what it says.
        environment: beside that of the benchmark.
        core: the only one that it may use; None: any.
        is_module: whether the interpreter runs it.
    """

    def __init__(
        self,
        command: Sequence[str],
        flags: Mapping[str, object],
        output: Path,
        environment: Mapping[str, str] | None = None,
        *,
        core: int | None = None,
        is_module: bool = True,
    ) -> None:
        self._output = output
        with output.open("wb") as file:
            self._process = subprocess.Popen(
                [
                    *(() if core is None else ("taskset", "-c", str(core))),
                    *((sys.executable, "-m") if is_module else ()),
                    *command,
                    *(f"--{name}={value}" for name, value in flags.items()),
                ],
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
            )
        self.started: Final = time.monotonic()

    def cost(self) -> Cost:
        """What it has used until now. Linux only: it is read from /proc."""
        folder = Path("/proc") / str(self._process.pid)
        # The name, in brackets, may hold anything; what follows is numbers.
        numbers = (folder / "stat").read_text().rpartition(")")[2].split()
        status = dict(
            line.split(":", 1) for line in (folder / "status").read_text().splitlines() if line
        )
        return Cost(
            cpu_seconds=(int(numbers[11]) + int(numbers[12])) / _TICKS,
            memory_mib=int(status["VmRSS"].split()[0]) / 1024,
            memory_most_mib=int(status["VmHWM"].split()[0]) / 1024,
            memory_own_mib=int(status["RssAnon"].split()[0]) / 1024,
            threads=int(status["Threads"]),
        )

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def check(self) -> None:
        """Raise where it has ended by itself."""
        if self._process.poll() is not None:
            raise RuntimeError(f"a program has ended early; see {self._output}")

    def end(self) -> None:
        """Ask it to end, and wait."""
        self._process.terminate()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextmanager
def running(program: Program) -> Iterator[Program]:
    """End it on the way out, whatever happens."""
    try:
        yield program
    finally:
        program.end()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for_answer(url: str, program: Program) -> float:
    """Ask until there is an answer with status 200; seconds since the program's start."""
    while time.monotonic() - program.started < PATIENCE:
        program.check()
        try:
            if requests.get(url, timeout=5).status_code == 200:
                return time.monotonic() - program.started
        except requests.RequestException:
            pass  # nobody listens yet, or the machine is busy
        time.sleep(0.01)
    raise TimeoutError(f"no answer from {url}")


class SimulatorProgram:
    """A simulator in a process of its own, and its truth.

    Args:
        scenario: its name, or a YAML file.
        seed: the same seed gives the same day.
        folder: where its output goes.
        name: of this simulator, where there are several.
        speed: seconds of its day in a real one.
    """

    def __init__(
        self,
        scenario: str,
        seed: int,
        folder: Path,
        name: str = "simulator",
        speed: float = 1.0,
    ) -> None:
        port = free_port()
        self.base_url: Final = f"http://127.0.0.1:{port}"
        self.program: Final = Program(
            ["benchmarks.simulator", "simulate"],
            {
                "scenario": scenario,
                "seed": seed,
                "speed": speed,
                "listen-address": f"127.0.0.1:{port}",
            },
            folder / f"{name}.log",
        )
        try:
            wait_for_answer(f"{self.base_url}/_simulator", self.program)
        except BaseException:
            self.program.end()
            raise

    def token(self) -> str:
        """The first account's token."""
        told = requests.get(f"{self.base_url}/_simulator", timeout=PATIENCE).json()
        return str(next(iter(told["accounts"].values())))

    def control(self, call: str) -> None:
        """Ask for one of the simulator's own calls, such as `pause`."""
        requests.post(f"{self.base_url}/_simulator/{call}", timeout=PATIENCE).raise_for_status()

    def truth(self) -> dict[str, Any]:
        """Everything that really happened until now."""
        answer = requests.get(f"{self.base_url}/_simulator/truth", timeout=60)
        truth: dict[str, Any] = answer.json()
        return truth


class ExporterProgram:
    """The exporter in a process of its own.

    Args:
        base_url: the simulator's.
        token: which it accepts.
        folder: where configuration, ledger and output go.
        account: more of the account's configuration.
        module: what is run; the exporter itself, or something that wraps its command line.
        environment: for that module.
        core: the only one that it may use; None: any.
    """

    def __init__(
        self,
        base_url: str,
        token: str,
        folder: Path,
        *,
        account: Mapping[str, object] | None = None,
        module: str = "exporter",
        environment: Mapping[str, str] | None = None,
        core: int | None = None,
    ) -> None:
        config = {
            "accounts": [
                {
                    "name": ACCOUNT,
                    "base_url": base_url,
                    "token": token,
                    **{
                        key: value
                        for key, value in {"listing": {}, **(account or {})}.items()
                        if value is not None
                    },
                }
            ]
        }
        file = folder / "exporter.yml"
        file.write_text(json.dumps(config), encoding="utf-8")  # JSON is YAML
        port = free_port()
        self.metrics_url: Final = f"http://127.0.0.1:{port}/metrics"
        self.program: Final = Program(
            [module],
            {
                "config.file": file,
                "storage.path": folder / "ledger",
                "web.listen-address": f"127.0.0.1:{port}",
            },
            folder / "exporter.log",
            environment,
            core=core,
        )
        try:
            self.first_answer: Final = wait_for_answer(self.metrics_url, self.program)
        except BaseException:
            self.program.end()
            raise
        """Seconds from the start to the first answer of /metrics."""

    def scrape(self) -> tuple[str, float]:
        """The metrics, and how many seconds they took."""
        began = time.monotonic()
        text = requests.get(self.metrics_url, timeout=PATIENCE).text
        return text, time.monotonic() - began
