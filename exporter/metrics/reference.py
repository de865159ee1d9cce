"""The reference page of the metrics, generated: `python -m exporter.metrics.reference`."""

import sys
from typing import Final

from exporter.metrics.announcements import HOLD_SECONDS
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
- Label sets that are known in advance start at 0, and are never held back. Others (a new node type)
  stand at 0 for about a minute before they show their value: [new series](#new-series).
- Metrics marked *exemplars* carry the `workflow_id` of a recent workflow in the OpenMetrics
  format, which Prometheus asks for when exemplar storage is on.
- Where it says *slices*, there is a label more for each of `metrics.slices`:
  [slices.md](slices.md).
- The usual `process_*` and `python_*` metrics are there as well.

## New series

**Why does the first failure in a node show up only after a minute?** `increase()` and `rate()` see
the first step of a counter only if Prometheus has stored it at 0 before. A series whose labels
nobody could know in advance appears with its first count. So it stands at 0, without an exemplar,
for {hold:.0f} s, and then shows its value:

- Every Prometheus that scrapes at least once a minute has stored the 0 by then, whoever else
  scrapes, so `increase()` gives each of them every failure. Scrape no less often than that.
- One that comes later is shown what is old as it is, and takes none of it for new.
- A restart begins the {hold:.0f} s again for what still stood at 0, and so does a pause of the
  process. A failure that has been shown is never taken back to 0.
- It concerns `comfycontrol_workflow_failures_total`, rare codes of
  `comfycontrol_api_requests_total`, and all that has a value of a slice that was not seen before.
  A failure is counted at once in `comfycontrol_workflows_finished_total`, whose other labels are
  known: alert on that where a minute matters.
- While the [ledger cannot be kept](troubleshooting.md#the-disk-is-full-or-the-ledger-failing), what
  is new stays at 0: it must not be taken back after a crash.
"""


def page() -> str:
    """The whole page, Markdown."""
    parts = [_HEAD.format(hold=HOLD_SECONDS)]
    for group, title in _TITLES.items():
        parts.append(f"\n## {title}\n")
        for metric in CATALOGUE:
            if metric.group != group:
                continue
            labels = ", ".join(f"`{label}`" for label in metric.labels) or "none"
            labels += ", and [slices](slices.md)" if metric.sliced else ""
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
