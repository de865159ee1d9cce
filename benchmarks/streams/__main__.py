"""What it costs to hold many streams. See docs/performance.md.

python -m benchmarks.streams --streams 500 --seconds 60
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from statistics import quantiles
from typing import Final

from benchmarks.metrics import Metrics
from benchmarks.processes import ACCOUNT, TOKEN, ExporterProgram, SimulatorProgram, running

OPENING_SECONDS: Final = 60.0
SETTLE_SECONDS: Final = 10.0
SCRAPE_SECONDS: Final = 5.0
TIMED_SCRAPES: Final = 100


def scenario(streams: int) -> str:
    """Queues that move: every tenth workflow runs, and about as many come as end."""
    runners = max(1, streams // 10)
    seconds = 45.0
    return json.dumps(
        {
            "accounts": [{"name": ACCOUNT, "tokens": [TOKEN]}],
            "limit": {"enabled": False},
            "arrivals": {"rate": runners / seconds},
            "start": {"open": streams + streams // 20},
            "runners": [{"name": "gpu", "count": runners}],
            "jobs": [{"name": "image", "duration": {"min": seconds - 15, "max": seconds + 15}}],
        }
    )


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.streams", description=__doc__)
    parser.add_argument("--streams", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to measure")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        _measure(arguments.streams, arguments.seconds, arguments.seed, Path(scratch))


def _measure(streams: int, seconds: float, seed: int, folder: Path) -> None:
    file = folder / "streams.yml"
    file.write_text(scenario(streams), encoding="utf-8")
    simulator = SimulatorProgram(str(file), seed, folder)
    with running(simulator.program):
        exporter = ExporterProgram(
            simulator.base_url,
            TOKEN,
            folder,
            account={
                "max_streams": streams,
                "rate_limit": {"requests": 100_000, "per": "1s", "reserve": 0.5},
            },
        )
        with running(exporter.program):
            opened = _wait_for(exporter, streams)
            print(f"{streams} streams were open {opened:.1f} s after the start")
            time.sleep(SETTLE_SECONDS)
            _watch(exporter, seconds)
            _time_scrapes(exporter)


def _wait_for(exporter: ExporterProgram, streams: int) -> float:
    while time.monotonic() - exporter.program.started < OPENING_SECONDS:
        if Metrics(exporter.scrape()[0]).total("streams") >= streams:
            return time.monotonic() - exporter.program.started
        time.sleep(0.25)
    raise TimeoutError(f"there were never {streams} streams")


def _watch(exporter: ExporterProgram, seconds: float) -> None:
    before, began = exporter.program.cost(), time.monotonic()
    fewest = float("inf")
    read = Metrics(exporter.scrape()[0]).by("stream_snapshots_total", "result")
    while time.monotonic() < began + seconds:
        time.sleep(SCRAPE_SECONDS)
        metrics = Metrics(exporter.scrape()[0])
        fewest = min(fewest, metrics.total("streams"))
    after, took = exporter.program.cost(), time.monotonic() - began
    snapshots = {
        result: (count - read.get(result, 0.0)) / took
        for result, count in Metrics(exporter.scrape()[0])
        .by("stream_snapshots_total", "result")
        .items()
    }
    told = ", ".join(f"{rate:.0f} {result}" for result, rate in snapshots.items() if rate)
    print(f"over {took:.0f} s, with a scrape every {SCRAPE_SECONDS:g} s:")
    print(f"  streams: never fewer than {fewest:.0f}; snapshots a second: {told}")
    print(f"  CPU: {(after.cpu_seconds - before.cpu_seconds) / took:.1%} of a core")
    print(f"  memory: {after.memory_mib:.0f} MiB, at most {after.memory_most_mib:.0f} MiB")
    print(f"  threads: {after.threads}")


def _time_scrapes(exporter: ExporterProgram) -> None:
    times = [exporter.scrape()[1] for _ in range(TIMED_SCRAPES)]
    cuts = quantiles(times, n=20)
    size = len(exporter.scrape()[0])
    print(f"a scrape of {size / 1024:.0f} KiB, one after the other:")
    print(f"  median {cuts[9] * 1000:.0f} ms, p95 {cuts[18] * 1000:.0f} ms")


if __name__ == "__main__":
    main()
