"""Writes the generated files of the chart: `python -m helm.build`.

alerts/settings/thresholds.yml           →  the part `rules` of values.yaml
alerts/rules.py                 →  files/rules/*.yml, templates of the rules
the exporter's models           →  files/time_to_start_buckets.json, for the notes
values.yaml                     →  the table of values in README.md
the exporter's models, the above →  values.schema.json
exporter/metrics/scraping.py    →  files/series_of_accounts.txt, for the monitors
exporter/config/accounts.py     →  files/ways_in.json: how an account may name its workflows
"""

import json
import sys
from pathlib import Path
from typing import Final

from alerts import build as alerts
from exporter.config.accounts import WAYS_IN, WAYS_IN_HINT
from exporter.config.models import Metrics
from exporter.metrics.scraping import of_accounts_pattern
from helm.page import documented, table
from helm.schema import schema

CHART: Final = Path(__file__).parent / "comfycontrol-exporter"

_RULES: Final = (
    "# BEGIN rules: alerts/settings/thresholds.yml, put here by `make docs`\n",
    "# END rules\n",
)
_TABLE: Final = ("<!-- BEGIN values: written by `make docs` -->\n", "<!-- END values -->\n")

_RULES_DESCRIPTION: Final = """\
# -- Every number that the alerts compare with, and where their links lead:
# [docs/alerts.md](../../docs/alerts.md). `settings.job` is also the job that `serviceMonitor` and
# `podMonitor` set.
rules:
"""


class Misplaced(Exception):  # noqa: N818 - says what happened
    """A file lacks the marks between which something is written."""


def files() -> dict[Path, str]:
    """All generated content, by path."""
    thresholds = alerts.load()
    values = _between(_read("values.yaml"), _RULES, _rules())
    described = documented(values)
    descriptions = {value.path: value.description for value in described}
    readme = _between(_read("README.md"), _TABLE, table(described))
    written = json.dumps(schema(descriptions, thresholds), indent=2, ensure_ascii=False)
    made = {
        "values.yaml": values,
        "README.md": readme,
        "values.schema.json": f"{written}\n",
        # For the notes, which warn if no bucket has the bound of the objective.
        "files/time_to_start_buckets.json": f"{json.dumps(_buckets())}\n",
        # For monitors of several replicas.
        "files/series_of_accounts.txt": f"{of_accounts_pattern()}\n",
        "files/ways_in.json": f"{json.dumps({'keys': WAYS_IN, 'hint': WAYS_IN_HINT})}\n",
    } | {
        f"files/rules/{name}": text
        for name, text in alerts.rule_files(alerts.HelmTemplate(".Values.rules")).items()
    }
    return {CHART / name: text for name, text in made.items()}


def _buckets() -> list[float]:
    """The default buckets, with numbers as Helm writes them: 10, not 10.0."""
    default: tuple[float, ...] = Metrics.model_fields["time_to_start_buckets"].default
    return [int(bucket) if float(bucket).is_integer() else bucket for bucket in default]


def _rules() -> str:
    """The thresholds as in their file, with the comments, indented by one level."""
    lines = alerts.THRESHOLDS.read_text("utf-8").splitlines()
    # The head of the file explains how to use it there, so it is left out.
    body = "\n".join(lines[lines.index("") + 1 :])
    return _RULES_DESCRIPTION + "".join(
        f"  {line}\n" if line else "\n" for line in body.splitlines()
    )


def _read(name: str) -> str:
    return (CHART / name).read_text("utf-8")


def _between(text: str, marks: tuple[str, str], content: str) -> str:
    begin, end = marks
    head, found, rest = text.partition(begin)
    _, ended, tail = rest.partition(end)
    if not (found and ended):
        raise Misplaced(f"no {begin.strip()!r} and {end.strip()!r}")
    return f"{head}{begin}{content}{end}{tail}"


def main() -> int:
    """Run the command; return the exit code."""
    for path, text in files().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
