"""Runs seeds: `python -m tests.simulation --seeds 500`. `--help` has the rest."""

from __future__ import annotations

import os
import sys


def _settled() -> None:
    """Begin again where the order of sets would be another one in each process."""
    if os.environ.get("PYTHONHASHSEED") != "0":
        environment = {**os.environ, "PYTHONHASHSEED": "0"}
        os.execve(
            sys.executable, [sys.executable, "-m", "tests.simulation", *sys.argv[1:]], environment
        )


if __name__ == "__main__":
    _settled()
    from tests.simulation import house

    house.make_virtual()
    from tests.simulation import command

    sys.exit(command.main())
