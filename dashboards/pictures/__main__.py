"""Draws the boards in every scene: `python -m dashboards.pictures --preview PROGRAM`.

It needs Prometheus with its promtool, and a program that draws a dashboard's JSON:

    PROGRAM DASHBOARD.json --prometheus URL --out FILE --minutes N --width N

Where pngquant and optipng are installed, the pictures are made small.
"""

import argparse
import json
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from alerts.build import load
from dashboards.build import board_files
from dashboards.pictures.history import INTERVAL, HistoryError, Prometheus, evaluate, write
from dashboards.pictures.scenes import SCENES, Scene

IMAGES: Final = Path(__file__).parents[2] / "docs" / "images"
WIDTH: Final = 1280
_SCREEN: Final = 22
"""How many rows of Grafana's grid fit on a screen."""


def main(argv: Sequence[str] | None = None) -> int:
    """Draw; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m dashboards.pictures", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--preview", required=True, metavar="COMMAND", help="what draws a board")
    parser.add_argument("--output", type=Path, default=IMAGES, metavar="DIR")
    parser.add_argument(
        "scenes", nargs="*", metavar="SCENE", help=", ".join(scene.name for scene in SCENES)
    )
    arguments = parser.parse_args(argv)
    wanted = [s for s in SCENES if not arguments.scenes or s.name in arguments.scenes]
    for program in ("prometheus", "promtool"):
        if shutil.which(program) is None:
            parser.error(f"{program} is not installed")
    worst = 0
    for scene in wanted:
        with tempfile.TemporaryDirectory(prefix=f"scene-{scene.name}-") as folder:
            try:
                worst = max(worst, _draw(scene, Path(folder), arguments))
            except HistoryError as error:
                sys.stderr.write(f"{scene.name}: {error}\n")
                return 1
    return worst


def _draw(scene: Scene, folder: Path, arguments: argparse.Namespace) -> int:
    end = time.time() // INTERVAL * INTERVAL
    prometheus = Prometheus(folder, _free_port(), patient=scene.minutes > 360)
    write(scene, end, folder / "history.txt")
    prometheus.add(folder / "history.txt")
    evaluate(prometheus, scene, end, folder)
    worst = 0
    with prometheus.running():
        for name, text in board_files(load()).items():
            stem = name.removeprefix("comfycontrol-").removesuffix(".json")
            if stem not in scene.boards:
                continue
            board = folder / name
            board.write_text(_first_screen(text) if scene.first_screen else text, "utf-8")
            picture: Path = arguments.output / f"{stem}-{scene.name}.png"
            command = [
                *shlex.split(arguments.preview), str(board), f"--prometheus={prometheus.url}",
                f"--out={picture}", f"--minutes={scene.minutes}", f"--width={WIDTH}",
            ]  # fmt: skip
            code = subprocess.run(command, check=False).returncode
            sys.stdout.write(f"{picture.name}: {code}\n")
            worst = max(worst, code)
            _make_small(picture)
    return worst


def _first_screen(board: str) -> str:
    document = json.loads(board)
    document["panels"] = [p for p in document["panels"] if p["gridPos"]["y"] < _SCREEN]
    return json.dumps(document)


def _make_small(picture: Path) -> None:
    """Make a picture smaller, if the programs for that are installed."""
    for program in (
        ["pngquant", "--force", "--nofs", "--skip-if-larger", "--ext=.png", "40"],
        ["optipng", "-quiet", "-o4"],
    ):
        if picture.exists() and shutil.which(program[0]):
            subprocess.run([*program, str(picture)], check=False)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


if __name__ == "__main__":
    sys.exit(main())
