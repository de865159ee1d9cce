"""Writes the boards as JSON: `python -m dashboards.build`."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from dashboards.exporter_health import exporter_health
from dashboards.overview import overview

FOLDER: Final = Path(__file__).parent

BOARDS: Final[Mapping[str, Callable[[], Dashboard]]] = {
    "comfycontrol-overview.json": overview,
    "comfycontrol-exporter-health.json": exporter_health,
}


def render(dashboard: Dashboard) -> str:
    """As it is committed: one value a line and in one order, so that a diff can be read."""
    return json.dumps(dashboard, cls=JSONEncoder, indent=2, sort_keys=True) + "\n"


def main() -> None:
    """Write every board."""
    for name, board in BOARDS.items():
        (FOLDER / name).write_text(render(board()), "utf-8")


if __name__ == "__main__":
    main()
