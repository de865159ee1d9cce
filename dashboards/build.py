"""Writes the boards as JSON: `python -m dashboards.build`.

Colours turn where the alerts fire: give it the thresholds that the rules were built with.
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from alerts.build import THRESHOLDS, Thresholds, ThresholdsError, check, load, written
from dashboards.exporter_health import exporter_health
from dashboards.overview import overview
from dashboards.usage import usage

FOLDER: Final = Path(__file__).parent

BOARDS: Final[Mapping[str, Callable[[Thresholds], Dashboard]]] = {
    "comfycontrol-overview.json": overview,
    "comfycontrol-exporter-health.json": exporter_health,
    "comfycontrol-usage.json": usage,
}


def board_files(thresholds: Thresholds) -> dict[str, str]:
    """All dashboards, by the names of their files."""
    return {name: render(board(thresholds)) for name, board in BOARDS.items()}


def render(dashboard: Dashboard) -> str:
    """The committed form: one value per line, in a fixed order, so that diffs are readable."""
    return json.dumps(dashboard, cls=JSONEncoder, indent=2, sort_keys=True) + "\n"


def main(argv: list[str] | None = None) -> int:
    """Write all dashboards; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m dashboards.build", description=__doc__)
    parser.add_argument("--thresholds", type=Path, default=THRESHOLDS, metavar="FILE")
    parser.add_argument(
        "--output", type=Path, default=FOLDER, metavar="DIR", help="write the boards there"
    )
    arguments = parser.parse_args(argv)
    try:
        thresholds = load(arguments.thresholds)
        check(thresholds)
    except ThresholdsError as error:
        sys.stderr.write(f"{arguments.thresholds}:\n{error}\n")
        return 1
    folder: Path = arguments.output
    if not written(folder, board_files(thresholds)):
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
