"""A naive follower and the exporter side by side. See docs/performance.md.

python -m benchmarks.coverage --rate 10 --seconds 30
"""

import argparse
import json
import tempfile
from dataclasses import asdict
from pathlib import Path

from benchmarks.coverage.day import Day
from benchmarks.coverage.report import remarks, table
from benchmarks.coverage.run import Followed, FollowerName, run

FOLLOWERS: tuple[FollowerName, ...] = ("naive", "ours")


def main() -> None:
    """Run what the command line asks for."""
    arguments = _arguments()
    runs: list[tuple[Day, list[Followed]]] = []
    for rate in arguments.rate:
        day = Day(rate, arguments.seconds, arguments.seed)
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) if arguments.keep is None else arguments.keep / f"{rate:g}"
            followed = run(day, arguments.follower or FOLLOWERS, folder)
        runs.append((day, followed))
        for each in followed:
            print(remarks(each), flush=True)
        if arguments.results is not None:
            arguments.results.mkdir(parents=True, exist_ok=True)
            result = {"day": asdict(day), "followed": [asdict(each) for each in followed]}
            file = arguments.results / f"coverage-{rate:g}-{arguments.seconds:g}.json"
            file.write_text(json.dumps(result), encoding="utf-8")
    print(table(runs))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.coverage", description=__doc__)
    parser.add_argument(
        "--rate",
        type=float,
        nargs="+",
        default=[10.0],
        help="workflows a second; several are measured one after the other (default 10)",
    )
    parser.add_argument(
        "--seconds", type=float, default=30.0, help="how long they come (default 30)"
    )
    parser.add_argument("--seed", type=int, default=1, help="the same seed repeats the day")
    parser.add_argument(
        "--follower", choices=FOLLOWERS, action="append", help="only this one (default both)"
    )
    parser.add_argument(
        "--results", type=Path, metavar="DIR", help="write one JSON file for each rate there"
    )
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", help="keep logs, ledgers and days there"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
