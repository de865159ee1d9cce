"""The memory of an exporter that follows nothing. See docs/performance.md.

python -m benchmarks.base_memory --rounds 5

Each round starts an exporter on a service that has nothing, scrapes it once, waits, and reads its
resident memory; then it asks for a page, and reads it again. Needs Linux.
"""

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

import requests

from benchmarks.processes import ExporterProgram, free_port, running

SETTLE_SECONDS = 6.0


def measure() -> tuple[float, float, float, float]:
    """MiB of one process: all, not mapped from files, all after a page; and threads."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "ids.yml").touch()
        exporter = ExporterProgram(
            f"http://127.0.0.1:{free_port()}",
            "cfc_benchmark",
            folder,
            account={"listing": None, "workflow_files": [str(folder / "ids.yml")]},
        )
        with running(exporter.program):
            time.sleep(SETTLE_SECONDS)
            idle = exporter.program.cost()
            requests.get(exporter.metrics_url.replace("/metrics", "/"), timeout=60)
            after = exporter.program.cost()
    return idle.memory_mib, idle.memory_own_mib, after.memory_mib, idle.threads


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.base_memory")
    parser.add_argument("--rounds", type=int, default=5)
    rounds = [measure() for _ in range(parser.parse_args().rounds)]
    total, own, page, threads = (median(column) for column in zip(*rounds, strict=True))
    print(
        f"medians of {len(rounds)}: {total:.1f} MiB, of which {total - own:.1f} are mapped files; "
        f"{page:.1f} MiB after the first page; {threads:.0f} threads"
    )


if __name__ == "__main__":
    main()
