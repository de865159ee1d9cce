"""Plants one fault at a time and says after how many seeds it is found.

`python -m tests.simulation.mutations --seeds 1000`
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final

from tests.simulation.mutations.planted import PLANTED, Mutation

ROOT: Final = Path(__file__).parents[3]


def plant(mutation: Mutation, folder: Path) -> None:
    """Make a copy of the package in which the fault is.

    Raises:
        ValueError: the text is not there once.
    """
    shutil.copytree(
        ROOT / "exporter", folder / "exporter", ignore=shutil.ignore_patterns("__pycache__")
    )
    (folder / "tests").symlink_to(ROOT / "tests")
    path = folder / "exporter" / mutation.file
    text = path.read_text("utf-8")
    if text.count(mutation.old) != 1:
        raise ValueError(f"{mutation.name}: {text.count(mutation.old)} times in {mutation.file}")
    path.write_text(text.replace(mutation.old, mutation.new), "utf-8")


def found(mutation: Mutation, seeds: int, seconds: float) -> tuple[str, str]:
    """What the simulation says of it: after how many seeds, and what showed."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plant(mutation, folder)
        path = os.pathsep.join(filter(None, (name, os.environ.get("PYTHONPATH"))))
        began = time.monotonic()
        said = subprocess.run(
            [
                sys.executable,
                "-m",
                "tests.simulation",
                "--stop",
                "--processes",
                "1",
                "--seeds",
                str(seeds),
                "--seconds",
                str(seconds),
            ],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": "0"},
            capture_output=True,
            text=True,
            check=False,
        )
        took = time.monotonic() - began
    runs = re.search(r"^(\d+) runs", said.stdout, re.MULTILINE)
    count = runs[1] if runs else "?"
    if said.returncode == 0:
        return f"not found in {count}", f"{took:.0f} s"
    first = next((line for line in said.stdout.splitlines() if line.startswith("seed")), "")
    return f"found after {count}", first[:150] or said.stderr[-300:]


def main() -> int:
    """Plant them all."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.mutations")
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=3600.0, help="for each")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", default="", help="those whose name has this")
    options = parser.parse_args()
    chosen = [each for each in PLANTED if options.only in each.name]
    look = partial(found, seeds=options.seeds, seconds=options.seconds)
    missed = 0
    with ThreadPoolExecutor(options.processes) as pool:
        for mutation, (verdict, told) in zip(chosen, pool.map(look, chosen), strict=True):
            missed += verdict.startswith("not")
            print(f"{mutation.name}: {verdict}; {told}", flush=True)  # noqa: T201
    print(f"{len(chosen) - missed} of {len(chosen)} found")  # noqa: T201
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
