"""Starts real programs: the installed exporter, Prometheus, a browser."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests

EXPORTER = os.environ.get(
    "COMFYCONTROL_EXPORTER_COMMAND", str(Path(sys.executable).with_name("comfycontrol-exporter"))
)
"""The command under test: CI names the one installed from the wheel."""

_WITH_HOLD = """\
import sys
from exporter.cli import main
sys.exit(main(sys.argv[2:], hold=float(sys.argv[1])))
"""


def with_hold(seconds: float) -> list[str]:
    """The command under test, with new series that show 0 for this long instead of a minute.

    There is no flag for that, so its `main` is called, by the Python of the command under test.
    This Python must not import the package from the current folder.
    """
    named = "COMFYCONTROL_EXPORTER_COMMAND" in os.environ
    beside = Path(EXPORTER).with_name("python")
    python = [str(beside), "-P"] if named and beside.exists() else [sys.executable]
    return [*python, "-c", _WITH_HOLD, str(seconds)]


def program(name: str) -> str:
    """The path of a program. Without it the test is skipped, or fails if every tier must run."""
    found = shutil.which(name)
    if found is None:
        if os.environ.get("REQUIRE_EVERY_TIER"):
            pytest.fail(f"{name} is not installed, and every tier must run")
        pytest.skip(f"{name} is not installed")
    return found


def metrics_page(url: str, seconds: float = 10) -> str:
    """The exporter's page of metrics.

    Raises:
        requests.RequestException: it gave none. An answer with another status than 200 is no page:
            the exporter is not there yet, or another program was at its port until now.
    """
    answer = requests.get(f"{url}/metrics", timeout=seconds)
    answer.raise_for_status()
    return answer.text


class Process:
    """A running program and its output."""

    def __init__(
        self, name: str, command: Sequence[str], log: Path, env: Mapping[str, str]
    ) -> None:
        self.name = name
        self._log = log
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                command, stdout=out, stderr=subprocess.STDOUT, env={**os.environ, **env}
            )

    @property
    def output(self) -> str:
        """Its output so far."""
        return self._log.read_text("utf-8", "replace")

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def send(self, signal_: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(signal_)

    def catches(self, signal_: signal.Signals) -> bool:
        """Whether it has a handler for this signal, as the kernel says."""
        status = Path(f"/proc/{self.pid}/status").read_text("ascii")
        caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
        return bool(int(caught.split()[1], 16) >> (signal_ - 1) & 1)

    def terminate(self) -> int:
        """Send SIGTERM, wait, and return its exit code."""
        self._process.terminate()
        return self._process.wait(10)

    def end(self) -> None:
        """Make sure that it has ended."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(10)

    @property
    def has_ended(self) -> bool:
        """Whether it has ended, for whatever reason."""
        return self._process.poll() is not None

    def check_alive(self) -> None:
        """Fail, showing its output, if it has ended."""
        if self._process.poll() is not None:
            pytest.fail(
                f"{self.name} ended with {self._process.returncode}:\n{self.output[-4000:]}"
            )


class Stage:
    """Starts programs, and ends them when the test is over."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ends = ExitStack()
        self._processes: list[Process] = []

    def start(
        self, name: str, command: Sequence[str], env: Mapping[str, str] | None = None
    ) -> Process:
        """Start a program."""
        process = Process(name, command, self.folder / f"{name}.log", env or {})
        self._processes.append(process)
        self._ends.callback(process.end)
        return process

    def kill(self, name: str) -> None:
        """Kill the program with this name, like a crash."""
        for process in [p for p in self._processes if p.name == name]:
            process.end()
            self._processes.remove(process)

    def until(self, what: str, holds: Callable[[], object], seconds: float = 60) -> None:
        """Wait until the condition holds; fail if a program ends meanwhile."""
        deadline = time.monotonic() + seconds
        while True:
            for process in self._processes:
                process.check_alive()
            try:
                if holds():
                    return
            except requests.RequestException:
                pass
            if time.monotonic() > deadline:
                logs = "\n".join(f"--- {p.name}\n{p.output[-2000:]}" for p in self._processes)
                pytest.fail(f"not within {seconds} s: {what}\n{logs}")
            time.sleep(0.1)  # other programs cannot notify us

    def close(self) -> None:
        """End everything."""
        self._ends.close()
