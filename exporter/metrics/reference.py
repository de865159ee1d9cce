"""The reference page of the metrics, generated: `python -m exporter.metrics.reference`."""

import sys
from typing import Final

from exporter.metrics.catalogue import CATALOGUE, Group

_TITLES: Final[dict[Group, str]] = {
    "workflows": "Workflows",
    "reconciling": "Reconciling",
    "service": "The service as we see it",
    "exporter": "The exporter",
}

_HEAD = """\
# Metrics

<!-- Generated from exporter/metrics/catalogue.py by `make docs`. Do not edit. -->

These names are public: dashboards and alerts hang on them, and none is ever renamed or dropped.

- No label holds an id, save `workflow_id` on `comfycontrol_workflow_queue_position`, which lives
  only as long as the workflow is queued and is capped.
- Label sets that are known beforehand start at 0. A series that could not be known beforehand (a
  new node type) shows 0 at the first scrape of each scraper and its value from the next, so that
  `increase()` sees its first step.
- Metrics marked *exemplars* carry the `workflow_id` of a recent workflow in the OpenMetrics
  format, which Prometheus asks for when exemplar storage is on.
- The usual `process_*` and `python_*` metrics are there as well.
"""


def page() -> str:
    """The whole page, Markdown."""
    parts = [_HEAD]
    for group, title in _TITLES.items():
        parts.append(f"\n## {title}\n")
        for metric in CATALOGUE:
            if metric.group != group:
                continue
            labels = ", ".join(f"`{label}`" for label in metric.labels) or "none"
            marks = ", exemplars" if metric.exemplars else ""
            parts.append(f"\n### `{metric.name}`\n\n{metric.help}\n\n")
            parts.append(f"- {metric.type}, in {metric.unit}{marks}\n- labels: {labels}\n")
            for label, meanings in metric.values.items():
                told = "".join(f"  - `{value}`: {means}\n" for value, means in meanings.items())
                parts.append(f"- values of `{label}`:\n{told}")
            if metric.absent:
                parts.append(f"- absent when {metric.absent}\n")
    return "".join(parts)


if __name__ == "__main__":
    sys.stdout.write(page())
