"""The runbooks of the alerts, and the queries in them."""

import re
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parents[1] / "docs" / "runbooks"


def names() -> list[str]:
    """The alerts that have a runbook."""
    return sorted(path.stem for path in FOLDER.glob("*.md"))


def text_of(alert: str) -> str:
    """The runbook of an alert."""
    return (FOLDER / f"{alert}.md").read_text("utf-8")


def queries_of(alert: str) -> list[str]:
    """What there is to paste into Prometheus: parted by blank lines, without the comments."""
    blocks = re.findall(r"```promql\n(.+?)```", text_of(alert), flags=re.DOTALL)
    return [
        re.sub(r"^#.*\n", "", query, flags=re.MULTILINE)
        for block in blocks
        for query in block.strip().split("\n\n")
    ]


def panels_in(text: str) -> set[str]:
    """The panels that a text names: `the panel *A*`, `the panels *A*, *B* and *C*`."""
    one = re.findall(r"\bpanel\s+\*([^*]+)\*", text)
    several = re.findall(r"\bpanels\s+((?:\*[^*]+\*(?:,\s+|\s+and\s+)?)+)", text)
    return {*one, *(name for names in several for name in re.findall(r"\*([^*]+)\*", names))}
