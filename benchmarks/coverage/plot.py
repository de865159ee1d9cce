"""Draws what the runs have shown. Needs benchmarks/requirements.txt.

python benchmarks/coverage/plot.py OUTPUT.png RESULT.json …
"""

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, Final

COLOURS: Final = {"ours": "#2a78d6", "naive": "#eb6834"}
NAMES: Final = {"ours": "this exporter", "naive": "naive follower"}
INK: Final = "#0b0b0b"
FAINT: Final = "#52514e"
GRID: Final = "#e1e0d9"
FINISHED: Final = "#d9d8d0"


def draw(results: list[dict[str, Any]], output: Path) -> None:
    """One panel for each run: what had ended, and what each follower had counted of it."""
    # By name, so that nobody needs it who only measures.
    matplotlib = import_module("matplotlib")
    matplotlib.use("Agg")
    pyplot = import_module("matplotlib.pyplot")
    rows = (len(results) + 1) // 2
    figure, axes = pyplot.subplots(rows, 2, figsize=(9, 3.3 * rows), squeeze=False)
    for panel, result in zip(axes.flat, results, strict=False):
        _panel(panel, result)
    for panel in list(axes.flat)[len(results) :]:
        panel.set_visible(False)
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper center", ncols=3, frameon=False, labelcolor=INK)
    figure.supxlabel("seconds since the first workflow", fontsize=9, color=FAINT)
    figure.supylabel("workflows", fontsize=9, color=FAINT)
    figure.tight_layout(rect=(0, 0, 1, 0.95))
    figure.savefig(output, dpi=130, facecolor="white")


def _panel(panel: Any, result: dict[str, Any]) -> None:  # noqa: ANN401 - of a library without types
    day = result["day"]
    followed = {each["follower"]: each["measures"] for each in result["followed"]}
    last = max(points["over_time"][-1][0] for points in followed.values())
    for name in sorted(followed, reverse=True):
        points = followed[name]["over_time"]
        points.append([last, points[-1][1], points[-1][2]])
        seconds = [point[0] for point in points]
        if name == "ours":
            ended = [point[1] for point in points]
            panel.fill_between(
                seconds, ended, step="post", color=FINISHED, linewidth=0, label="ended"
            )
        panel.plot(
            seconds,
            [point[2] for point in points],
            color=COLOURS[name],
            linewidth=2,
            label=f"counted by {'the ' if name == 'naive' else ''}{NAMES[name]}",
        )
    refused = " and ".join(
        f"{followed[name]['refusals']:,} for the {'exporter' if name == 'ours' else 'naive one'}"
        for name in ("ours", "naive")
        if name in followed
    )
    panel.set_title(
        f"{day['rate']:g} a second for {day['seconds']:g} s", loc="left", fontsize=10, color=INK
    )
    panel.text(
        0.02,
        0.93,
        f"refusals: {refused}",
        transform=panel.transAxes,
        fontsize=8,
        color=FAINT,
    )
    panel.set_xlim(0, last)
    # Room above, for the words.
    panel.set_ylim(0, 1.15 * max(points["over_time"][-1][1] for points in followed.values()))
    panel.grid(axis="y", color=GRID, linewidth=0.8)
    panel.set_axisbelow(True)
    panel.tick_params(colors=FAINT, labelsize=8, length=0)
    for side in ("top", "right", "left"):
        panel.spines[side].set_visible(False)
    panel.spines["bottom"].set_color(GRID)


if __name__ == "__main__":
    draw([json.loads(Path(file).read_text("utf-8")) for file in sys.argv[2:]], Path(sys.argv[1]))
