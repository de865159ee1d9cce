"""How soon the exporter is there after its start. See docs/performance.md.

python -m benchmarks.start
"""

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks.metrics import Metrics
from benchmarks.processes import ExporterProgram, SimulatorProgram, running

OPEN_STATUSES: Final = ("accepted", "uploaded", "queued", "running")
WATCH_SECONDS: Final = 90.0
LISTED_SECONDS: Final = 7.0
"""What was created so short a time ago need not have been listed yet."""


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.start", description=__doc__)
    parser.add_argument("--starts", type=int, default=10, help="how often the start is timed")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    _time_starts(arguments.starts)
    with tempfile.TemporaryDirectory() as scratch:
        _take_up_backlog(arguments.seed, Path(scratch))


def _time_starts(starts: int) -> None:
    took = []
    for _ in range(starts):
        with tempfile.TemporaryDirectory() as scratch:
            # Nobody is there to be asked: the first answer must not wait for the service.
            exporter = ExporterProgram("http://127.0.0.1:9", "cfc_nobody", Path(scratch))
            took.append(exporter.first_answer)
            exporter.program.end()
    print(
        f"/metrics first answered after {median(took):.2f} s (median of {starts} starts; ", end=""
    )
    print(f"{min(took):.2f} to {max(took):.2f} s)")


def _take_up_backlog(seed: int, folder: Path) -> None:
    simulator = SimulatorProgram("backlog", seed, folder)
    with running(simulator.program):
        exporter = ExporterProgram(simulator.base_url, simulator.token(), folder)
        began = time.time() - (time.monotonic() - exporter.program.started)
        with running(exporter.program):
            _wait_for_backlog(simulator, exporter)
            time.sleep(max(0.0, began + WATCH_SECONDS - time.time()))
            metrics = Metrics(exporter.scrape()[0])
            truth = simulator.truth()
    ended = sum(
        w["completed_ms"] is not None and w["completed_ms"] / 1000 > began
        for w in truth["workflows"]
    )
    print(f"after {WATCH_SECONDS:.0f} s: {sum(truth['refusals'].values())} refusals; ", end="")
    print(f"{metrics.total('workflows_finished_total'):.0f} outcomes counted, ", end="")
    print(f"{ended} workflows ended since the start; ", end="")
    print(f"{sum(w['final_at_start'] for w in truth['workflows'])} had ended before; ", end="")
    print(f"most requests in 10 s: {truth['busiest_window']}")


def _wait_for_backlog(simulator: SimulatorProgram, exporter: ExporterProgram) -> None:
    while True:
        seconds = time.monotonic() - exporter.program.started
        metrics = Metrics(exporter.scrape()[0])
        open_ones = metrics.total("workflows")
        if open_ones >= _there_to_be_known(simulator.truth()):
            print(f"backlog: all {open_ones:.0f} open workflows known after {seconds:.1f} s")
            return
        if seconds > WATCH_SECONDS:
            print(f"backlog: NOT all open workflows known after {seconds:.1f} s")
            return
        time.sleep(1.0)


def _there_to_be_known(truth: dict[str, Any]) -> int:
    """How many are open and have been there for long enough."""
    listed = truth["taken_ms"] - LISTED_SECONDS * 1000
    return sum(
        w["created_ms"] < listed and w["status"] in OPEN_STATUSES for w in truth["workflows"]
    )


if __name__ == "__main__":
    main()
