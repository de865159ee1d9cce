"""Change each module that `modules/` names, one small thing at a time, and run its tests.

`python -m tests.mutants ledger/runs.py` tries one module; without a name, all of them. It ends
with 1 where a survivor has no reason, or a reason no survivor.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Final

from tests.mutants.survivors import Module, Outcome, outdated, read_module, read_outcome, total
from tests.mutants.survivors import unexplained as without_reason

ROOT: Final = Path(__file__).parents[2]
FILES: Final = Path(__file__).parent / "modules"
STUBS: Final = Path(__file__).parent / "stubs"
"""A stub of mutmut for the type checker, which could not type mutated functions otherwise."""
WORK: Final = ROOT / "build" / "mutants"

_PYTEST: Final = [
    "-q",
    "--hypothesis-profile=mutants",
    "-p",
    "tests.mutants.few_examples",
    "-p",
    "no:cacheprovider",
]


def main() -> int:
    """Try the modules that are named, or all."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("modules", nargs="*", help="such as ledger/runs.py")
    parser.add_argument("--mutmut", default=str(ROOT / ".venv/mutants/bin/mutmut"))
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument(
        "--again", action="store_true", help="try only those that survived the last time"
    )
    arguments = parser.parse_args()
    modules = [read_module(file) for file in sorted(FILES.glob("*.toml"))]
    chosen = [m for m in modules if not arguments.modules or _is_named(m, arguments.modules)]
    if not chosen:
        parser.error(f"there are {', '.join(m.path for m in modules)}")
    outcomes = []
    faults = 0
    for module in chosen:
        outcome = attempt(module, arguments.mutmut, arguments.processes, again=arguments.again)
        outcomes.append(outcome)
        faults += report(module, outcome)
    if len(chosen) > 1:
        _say(f"all: {_said(total(outcomes))}")
    return 1 if faults else 0


def attempt(module: Module, mutmut: str, processes: int, *, again: bool = False) -> Outcome:
    """Run the tests of a module against each of its mutants, in a copy of the repository.

    Raises:
        CalledProcessError: mutmut ended otherwise than well.
    """
    folder = WORK / module.path.removesuffix(".py").replace("/", ".")
    names: list[str] = []
    if again:
        names = _survived(folder, module)
        (folder / "mutants/mutmut-stats.json").unlink(missing_ok=True)
        shutil.rmtree(folder / "mutants/tests", ignore_errors=True)
    else:
        shutil.rmtree(folder, ignore_errors=True)
    for name in ("exporter", "tests"):
        shutil.copytree(
            ROOT / name,
            folder / name,
            dirs_exist_ok=True,
            ignore=shutil.ignore_patterns("__pycache__"),
        )
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    project = project.replace('"ignore-without-code", ', "")  # mutmut leaves some
    (folder / "pyproject.toml").write_text(project + _configuration(module), "utf-8")
    # mutmut has an environment of its own; what the tests need is in ours.
    libraries = sysconfig.get_path("purelib")
    paths = {"PYTHONPATH": libraries, "MYPYPATH": "", "PYTHONHASHSEED": "0"}
    with (folder / "mutmut.log").open("w") as log:
        subprocess.run(
            [mutmut, "run", "--max-children", str(processes), *names],
            cwd=folder,
            env={**os.environ, **paths},
            stdout=log,
            stderr=subprocess.STDOUT,
            check=True,
        )
    return read_outcome(folder, module.path)


def report(module: Module, outcome: Outcome) -> int:
    """Print what became of a module's mutants; return how many things are wrong with that."""
    _say(f"{module.path}: {_said(outcome.counts)}")
    faults = [f"no reason: {mutant}" for mutant in without_reason(outcome, module)]
    faults += [f"does not survive: {mutant}" for mutant in outdated(outcome, module)]
    for fault in faults:
        _say(f"  {fault}")
    return len(faults)


def _is_named(module: Module, names: list[str]) -> bool:
    return any(module.path.removeprefix("exporter/") == each for each in names)


def _survived(folder: Path, module: Module) -> list[str]:
    meta = json.loads((folder / "mutants" / f"{module.path}.meta").read_text("utf-8"))
    return [name for name, code in meta["exit_code_by_key"].items() if code not in (1, 3, 37)]


def _configuration(module: Module) -> str:
    checker = ["env", f"MYPYPATH={STUBS}", sys.executable, "-m", "mypy", "--output=json"]
    checker += ["--no-warn-unused-ignores", f"--cache-dir={WORK / 'mypy'}", module.path]
    settings = {
        "source_paths": ["exporter"],
        "only_mutate": [module.path],
        "also_copy": ["exporter"],
        "pytest_add_cli_args": [*_PYTEST, *(f"--deselect={test}" for test in module.without)],
        "pytest_add_cli_args_test_selection": list(module.tests),
        "type_check_command": checker,
        "timeout_multiplier": module.patience,
    }
    lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items())
    return f"\n[tool.mutmut]\n{lines}"


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _said(counts: dict[str, int]) -> str:
    return f"{sum(counts.values())} mutants, " + ", ".join(
        f"{count} {verdict}" for verdict, count in sorted(counts.items())
    )


if __name__ == "__main__":
    raise SystemExit(main())
