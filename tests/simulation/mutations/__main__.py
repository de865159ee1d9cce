"""Plants one fault at a time and says which seed finds it.

`python -m tests.simulation.mutations` tries for each the seed that is known to find it;
`--seeds 1000` looks for the first one that does. `--write` keeps what was found, and writes the
table in docs/reliability.md.
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
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.simulation.mutations import record
from tests.simulation.mutations.planted import PLANTED, Mutation

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT: Final = Path(__file__).parents[3]

PATIENCE: Final = 900.0
"""Seconds of fair weather, and not an hour as elsewhere: without a fault, no seed has needed so
many."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What the simulation said of one planted fault."""

    mutation: Mutation
    seed: int | None
    """Which seed has found it; None: none of them."""
    said: str
    seconds: float


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


def attempt(mutation: Mutation, arguments: Sequence[str]) -> Trial:
    """Plant it, and run the simulation until something is noticed."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plant(mutation, folder)
        path = os.pathsep.join(filter(None, (name, os.environ.get("PYTHONPATH"))))
        began = time.monotonic()
        done = subprocess.run(
            [
                *(sys.executable, "-m", "tests.simulation", "--stop", "--processes", "1"),
                *("--patience", str(PATIENCE), *arguments),
            ],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": "0"},
            capture_output=True,
            text=True,
            check=False,
        )
        took = time.monotonic() - began
    found = re.search(r"^seed (\d+): (.*)", done.stdout, re.MULTILINE)
    if found is not None:
        return Trial(mutation, int(found[1]), found[2], took)
    ran = re.search(r"^\d+ runs.*", done.stdout, re.MULTILINE)
    return Trial(mutation, None, ran[0] if ran else done.stderr[-300:], took)


def main() -> int:
    """Plant them all."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.mutations")
    parser.add_argument("--seeds", type=int, help="look for the first of so many that finds it")
    parser.add_argument("--these", nargs="+", default=[], help="try these seeds")
    parser.add_argument("--seconds", type=float, default=3600.0, help="for each")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", default="", help="those whose name has this")
    parser.add_argument("--write", action="store_true", help="keep what is found")
    options = parser.parse_args()
    known = record.read()

    def look(mutation: Mutation) -> Trial:
        if options.these:
            which = ["--these", *options.these]
        elif options.seeds is None and mutation.name in known:
            which = ["--these", str(known[mutation.name]["seed"])]
        else:
            which = ["--seeds", str(options.seeds or 1000)]
        return attempt(mutation, [*which, "--seconds", str(options.seconds)])

    chosen = [each for each in PLANTED if options.only in each.name]
    missed = 0
    with ThreadPoolExecutor(options.processes) as pool:
        for trial in pool.map(look, chosen):
            name, took = trial.mutation.name, f"{trial.seconds:.0f} s"
            if trial.seed is None:
                missed += 1
                _say(f"{name}: not found; {trial.said}; {took}")
                continue
            _say(f"{name}: found by seed {trial.seed}; {trial.said[:150]}; {took}")
            known[name] = {"seed": trial.seed, "noticed": record.in_short(trial.said)}
            if options.write:
                record.write(known)
    _say(f"{len(chosen) - missed} of {len(chosen)} found")
    return 1 if missed else 0


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - it is a command


if __name__ == "__main__":
    sys.exit(main())
