"""The chart as Helm renders it, and what is kept of that.

`python -m tests.chart.rendering` renews what is kept.
"""

import functools
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).parents[2]
CHART: Final = ROOT / "helm" / "comfycontrol-exporter"
GOLDEN: Final = Path(__file__).parent / "golden"
EXAMPLE: Final = ROOT / "examples" / "kubernetes" / "exporter.yaml"
VALUES: Final = sorted((CHART / "ci").glob("*-values.yaml"))

Object = dict[str, Any]

_EXAMPLE_HEAD: Final = """\
# Everything that the exporter needs but its Secret: see docs/kubernetes.md, "Without Helm".
# Written by `make chart` from the chart.
"""
_OF_HELM: Final = re.compile(
    r" *(namespace: comfycontrol|helm\.sh/chart: .*|app\.kubernetes\.io/managed-by: Helm)"
    r"|# Source: .*"
)


class HelmError(Exception):
    """Helm refused. The text is what it said, without its remarks on links."""


def helm(*arguments: str | Path) -> str:
    """Run Helm; what it printed.

    Raises:
        HelmError: with what it said.
    """
    done = subprocess.run(["helm", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if not line.startswith("walk.go")]
        raise HelmError("\n".join(said))
    return done.stdout


def template(*arguments: str | Path, chart: Path = CHART) -> str:
    """What Helm would install."""
    names = ("comfycontrol-exporter", "--namespace", "comfycontrol")
    return helm("template", names[0], chart, *names[1:], *arguments)


def render(*files: Path, settings: Sequence[str] = (), chart: Path = CHART) -> list[Object]:
    """The objects for files of values and for settings such as `a.b=c`."""
    arguments: list[str | Path] = []
    for file in files:
        arguments += ["--values", file]
    for setting in settings:
        arguments += ["--set", setting]
    return [o for o in yaml.safe_load_all(template(*arguments, chart=chart)) if o]


def the(objects: Sequence[Object], kind: str, name: str = "") -> Object:
    """The only object of a kind, or of a kind and name."""
    (found,) = [o for o in objects if o["kind"] == kind and name in ("", o["metadata"]["name"])]
    return found


def golden(file: Path) -> str:
    """A rendering without what has a source of its own, which other tests compare."""
    objects = render(file)
    for rendered in objects:
        labels: Mapping[str, str] = rendered["metadata"].get("labels", {})
        if labels.get("app.kubernetes.io/component") == "dashboard":
            rendered["data"] = dict.fromkeys(rendered["data"], "as in dashboards/")
        if rendered["kind"] == "PrometheusRule":
            for group in rendered["spec"]["groups"]:
                group["rules"] = "as in alerts/"
    return f"# {file.name}; `make chart` renews it\n" + yaml.safe_dump_all(
        objects, sort_keys=False, width=110
    )


def example() -> str:
    """The manifests for those who have no Helm."""
    text = template("--set", "tokenSecret.name=comfycontrol", "--set", "test.enabled=false")
    kept = [line for line in text.splitlines() if not _OF_HELM.fullmatch(line)]
    return _EXAMPLE_HEAD + "\n".join(kept) + "\n"


@functools.cache
def renewed() -> dict[Path, str]:
    """Everything that is kept, by its path."""
    kept = {GOLDEN / file.name.replace("-values", ""): golden(file) for file in VALUES}
    return kept | {EXAMPLE: example()}


def main() -> int:
    """Write what is kept."""
    for path, text in renewed().items():
        path.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
