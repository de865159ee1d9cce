"""The reference page of the metrics, generated: `python -m exporter.metrics.reference`."""

import sys
from typing import Final

from exporter.ledger.phases import APART_SECONDS
from exporter.metrics.announcements import HOLD_SECONDS
from exporter.metrics.catalogue import CATALOGUE, Group
from exporter.metrics.scraping import of_accounts_pattern

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

- Every Prometheus that scrapes at least once a minute has stored the 0 by then, anyone else who
  scrapes, so `increase()` gives each of them every failure. Scrape no less often than that.
- One that comes later is shown what is old as it is, and takes none of it for new.
- A restart begins the {hold:.0f} s again for what still stood at 0, and so does a pause of the
  process. A failure that has been shown is never taken back to 0.
- It concerns `comfycontrol_workflow_failures_total`, rare codes of
  `comfycontrol_api_requests_total`, and all that has a value of a slice that was not seen before.
  A failure is counted at once in `comfycontrol_workflows_finished_total`, whose other labels are
  known: alert on that where a minute matters.
- While the [ledger cannot be kept](troubleshooting.md#the-disk-is-full-or-the-ledger-fails), what
  is new stays at 0: it must not be taken back after a crash.

## Several replicas

Where [several replicas](replicas.md#scraping) share the accounts, these series belong to
an account and not to a replica, so they lose their `instance`:

```
{pattern}
```

## Where the wait goes

**Do workflows wait for their upload, or for a runner?**
`comfycontrol_workflow_phase_duration_seconds` is the time to start by its phases. The service gives
no stamps of them, so it rests on when a workflow was seen in which:

- A change of phase is placed halfway between the last sight before it and the first one after it.
  Where these are more than {apart:.0f} s apart, the phases on both sides of it count as `uncertain`
  in `comfycontrol_workflow_phases_total`, and have no duration. The first phase begins with the
  service's own stamp of the creation.
- On the simulator, over six minutes, some {few} of all phases were measured at 2 workflows per
  second, and {many} at 10, where few have a stream; fewer in the first minute, in which the request
  budget is small. A restart leaves those uncertain that change meanwhile. An account that is not
  listed tells no creation: its first phase is always uncertain.
- Each end is good to half of what lies between the sights. So phases of a second or two blur into
  each other, and their sum is right: it is the time to start.
- Only what came to run counts. What was cancelled while it waited counts the phases that it had
  left by then, and not the one that it was in.
"""

_FEW, _MANY = "95 %", "80 %"
"""Share of phases that were measured at 2 and at 10 workflows per second, with the settings that
an account has by itself: `python -m benchmarks.phases`."""


def page() -> str:
    """The whole page, Markdown."""
    told = {"hold": HOLD_SECONDS, "apart": APART_SECONDS, "few": _FEW, "many": _MANY}
    parts = [_HEAD.format(pattern=of_accounts_pattern(), **told)]
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
                listed = "".join(f"  - `{value}`: {means}\n" for value, means in meanings.items())
                parts.append(f"- values of `{label}`:\n{listed}")
            if metric.absent:
                parts.append(f"- absent when {metric.absent}\n")
    return "".join(parts)


if __name__ == "__main__":
    sys.stdout.write(page())
