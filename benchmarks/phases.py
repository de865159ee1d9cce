"""Which share of phases is measured, by how many workflows come. See docs/metrics.md.

python -m benchmarks.phases --rate 10 --seconds 300
"""

import argparse
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import yaml

from benchmarks.metrics import Metrics
from benchmarks.processes import TOKEN, ExporterProgram, SimulatorProgram, running

RUNNERS_PER_RATE: Final = 25
"""Somewhat more than a median run of 20 s keeps busy."""


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.phases", description=__doc__)
    parser.add_argument("--rate", type=float, default=2.0, help="workflows per second")
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--seed", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        metrics = _measured(arguments.rate, arguments.seconds, arguments.seed, Path(scratch))
    results = metrics.by("workflow_phases_total", "result")
    share = results["measured"] / max(sum(results.values()), 1.0)
    print(f"{arguments.rate:g} workflows/s: {share:.1%} of {sum(results.values()):,.0f} phases")
    means = {phase: f"{mean:.1f} s" for phase, mean in _means(metrics).items()}
    print(f"means: {means}")


def _means(metrics: Metrics) -> Mapping[str, float]:
    name = "workflow_phase_duration_seconds"
    counts = metrics.by(f"{name}_count", "phase")
    sums = metrics.by(f"{name}_sum", "phase")
    return {phase: sums[phase] / count for phase, count in counts.items() if count}


def _measured(rate: float, seconds: float, seed: int, folder: Path) -> Metrics:
    scenario = folder / "scenario.yml"
    day = {
        "accounts": [{"name": "studio", "tokens": [TOKEN]}],
        "arrivals": {"rate": rate},
        "runners": [{"name": "gpu", "count": max(1, round(RUNNERS_PER_RATE * rate))}],
        "jobs": [{"name": "image", "duration": {"median": "20s", "min": "5s", "max": "120s"}}],
    }
    scenario.write_text(yaml.safe_dump(day), "utf-8")
    simulator = SimulatorProgram(str(scenario), seed, folder)
    with running(simulator.program):
        exporter = ExporterProgram(simulator.base_url, simulator.token(), folder)
        with running(exporter.program):
            time.sleep(seconds)
            return Metrics(exporter.scrape()[0])


if __name__ == "__main__":
    main()
