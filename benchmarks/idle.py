"""How many requests an account costs while nothing happens, in 10 s, by what they ask for.

python -m benchmarks.idle

The results are in docs/performance.md, "What the list costs". The service gives 50 rows a page,
so that a list of 200 has pages for the sweep.
"""

import argparse
import json
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

from benchmarks.coverage.ours import ASKED_VARIABLE, FILE_VARIABLE
from benchmarks.processes import ExporterProgram, SimulatorProgram, running

ROWS: Final = 200
PAGE_ROWS: Final = 50
PERIOD_SECONDS: Final = 10.0
SETTLE_SECONDS: Final = 60.0
"""After the start more is asked: the first look, and how the service cuts its list into pages."""

ENDS: Final = frozenset({"completed", "failed", "cancelled", "invalid"})


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.idle", description=__doc__)
    parser.add_argument("--seconds", type=float, default=180.0, help="that are counted")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        scenario = folder / "still.yml"
        scenario.write_text(
            json.dumps({"start": {"finished": ROWS}, "traits": {"paging": {"most": PAGE_ROWS}}}),
            encoding="utf-8",
        )
        simulator = SimulatorProgram(str(scenario), 1, folder)
        asked = folder / "asked"
        files = {ASKED_VARIABLE: str(asked), FILE_VARIABLE: str(folder / "counted")}
        with running(simulator.program):
            exporter = ExporterProgram(
                simulator.base_url,
                simulator.token(),
                folder,
                module="benchmarks.coverage.ours",
                environment=files,
            )
            with running(exporter.program):
                time.sleep(SETTLE_SECONDS + arguments.seconds)
                exporter.program.check()
            tell(asked, arguments.seconds)
            print(f"most in {PERIOD_SECONDS:.0f} s: {simulator.truth()['busiest_window']}")


def tell(asked: Path, seconds: float | None = None) -> None:
    """Print what was asked for in so many seconds at the end, or all along."""
    lines = [json.loads(line) for line in asked.read_text("ascii").split("\n")[:-1]]
    last = max(wall for wall, _ in lines)
    if seconds is None:
        seconds = last - min(wall for wall, _ in lines)
    kinds = Counter(kind_of(url) for wall, url in lines if wall > last - seconds)
    for kind, count in kinds.most_common():
        print(f"{kind:<28}{count:>6}{count / seconds * PERIOD_SECONDS:>8.2f} in 10 s")
    print(f"{'all':<28}{kinds.total():>6}{kinds.total() / seconds * PERIOD_SECONDS:>8.2f} in 10 s")


def kind_of(url: str) -> str:
    """What a request was for, as far as it tells."""
    parts = urlsplit(url)
    if parts.path.endswith("/subscribe"):
        return "stream"
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    if "page" not in query:
        return "one workflow"
    status = query.get("status")
    if query.get("per_page") == "1" and status is not None:
        return "total of a status"
    if status in ENDS:
        return "list of a final status"
    if status is not None:
        return f"status={status}"
    return "first page" if query["page"] == "1" else "other pages"


if __name__ == "__main__":
    main()
