"""The reference page of the metrics, generated: `python -m exporter.metrics.reference`."""

import sys
from collections.abc import Mapping
from typing import Final

from exporter.config.metrics import Metrics
from exporter.ledger.phases import APART_SECONDS
from exporter.metrics.announcements import HOLD_SECONDS
from exporter.metrics.catalogue import API_DURATION_BUCKETS, CATALOGUE, Group
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

These names are public: dashboards and alerts depend on them, and none is ever renamed or removed.

- No label contains an id, except `workflow_id` on `comfycontrol_workflow_queue_position`. Its
  series exist only while the workflow is queued, and their number is limited.
- Label sets that are known in advance start at 0, and are never held back. Others (a new node type)
  show 0 for about a minute before they show their value: [new series](#new-series).
- Metrics marked *exemplars* carry the `workflow_id` of a recent workflow in the OpenMetrics
  format, which Prometheus asks for when exemplar storage is on.
- Metrics marked *slices* have an additional label for each of `metrics.slices`:
  [slices.md](slices.md).
- The buckets of histograms are the defaults of the [configuration](configuration.md#metrics).
- The usual `process_*` and `python_*` metrics are exported as well.
{queries}

## New series

**Why does the first failure in a node show up only after a minute?** `increase()` and `rate()` see
the first step of a counter only if Prometheus has stored a 0 before. A series whose labels
could not be known in advance appears with its first count. So it shows 0, without an exemplar,
for {hold:.0f} s, and then its value:

- Every Prometheus that scrapes at least once a minute has stored the 0 by then, however many
  scrape, so `increase()` gives each of them every failure. Scrape at least once a minute.
- A Prometheus that starts to scrape later sees old series with their values.
- After a restart or a pause of the process, the {hold:.0f} s begin again for series that were still
  0. A failure that has been shown never goes back to 0.
- This concerns `comfycontrol_workflow_failures_total`, rare codes of
  `comfycontrol_api_requests_total`, and every series with a new value of a slice.
  A failure is shown at once in `comfycontrol_workflows_finished_total`, whose other labels are
  known: alert on that if a minute matters.
- While the [ledger cannot be written](troubleshooting.md#the-disk-is-full-or-the-ledger-fails),
  new series stay at 0: otherwise a crash could take their values back.

## Several replicas

If [several replicas](replicas.md#scraping) share the accounts, these series belong to
an account and not to a replica, so Prometheus must remove their `instance`:

```
{pattern}
```

## Where the wait goes

**Do workflows wait for their upload, or for a runner?**
`comfycontrol_workflow_phase_duration_seconds` splits the time to start into phases. The service
gives no stamps for them, so they are measured by the observations of a workflow:

- A change of phase is assumed halfway between the last observation before it and the first one
  after it. If these are more than {apart:.0f} s apart, the phases on both sides count as
  `uncertain` in `comfycontrol_workflow_phases_total`, and have no duration. The first phase begins
  with the service's own stamp of the creation.
- On the simulator, over six minutes, about {few} of all phases were measured at 2 workflows per
  second, and {many} at 10, when few have a stream; fewer in the first minute, in which the request
  budget is small. Changes during a restart are uncertain. If an account is not listed, the creation
  is unknown, and the first phase is always uncertain.
- Each end is accurate to half of the time between the two observations. So the lengths of phases
  of a second or two are inexact, but their sum is right: it is the time to start.
- Only workflows that ran count in full. A workflow that was cancelled while it waited counts the
  phases that it had completed, and not the one that it was in.
"""

_QUERIES: Final = """
## Example queries

```promql
# How long until a job starts: 95th percentile, by account
histogram_quantile(0.95, sum by (account, le) (
  rate(comfycontrol_workflow_time_to_start_seconds_bucket[15m])))

# How long completed jobs run: the median, and the mean
histogram_quantile(0.5, sum by (account, le) (
  rate(comfycontrol_workflow_run_duration_seconds_bucket{status="completed"}[1h])))

  sum by (account) (rate(comfycontrol_workflow_run_duration_seconds_sum{status="completed"}[1h]))
/ sum by (account) (rate(comfycontrol_workflow_run_duration_seconds_count{status="completed"}[1h]))

# Outcomes per hour, by status
sum by (account, status) (increase(comfycontrol_workflows_finished_total[1h]))

# The most frequent causes of failures in a day
topk(10, sum by (node_type, exception_type) (increase(comfycontrol_workflow_failures_total[1d])))

# Age of the oldest workflow that still waits, in seconds
time() - comfycontrol_oldest_workflow_created_timestamp_seconds{status="queued"}

# Where the wait goes: mean seconds in each phase
  sum by (phase) (rate(comfycontrol_workflow_phase_duration_seconds_sum[1h]))
/ sum by (phase) (rate(comfycontrol_workflow_phase_duration_seconds_count[1h]))

# Requests to the service per second, by endpoint and status code
sum by (endpoint, code) (rate(comfycontrol_api_requests_total[5m]))
```"""

_BUCKETS: Final[Mapping[str, tuple[float, ...]]] = {
    "comfycontrol_workflow_entry_queue_position": Metrics().entry_queue_position_buckets,
    "comfycontrol_workflow_time_to_start_seconds": Metrics().time_to_start_buckets,
    "comfycontrol_workflow_phase_duration_seconds": Metrics().time_to_start_buckets,
    "comfycontrol_workflow_run_duration_seconds": Metrics().run_duration_buckets,
    "comfycontrol_api_request_duration_seconds": API_DURATION_BUCKETS,
}

_FEW, _MANY = "95 %", "80 %"
"""Share of phases that were measured at 2 and at 10 workflows per second, with the default
settings of an account: `python -m benchmarks.phases`."""


def page() -> str:
    """The whole page, Markdown."""
    values = {"hold": HOLD_SECONDS, "apart": APART_SECONDS, "few": _FEW, "many": _MANY}
    values["queries"] = _QUERIES
    parts = [_HEAD.format(pattern=of_accounts_pattern(), **values)]
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
            if metric.type == "histogram":
                bounds = ", ".join(f"{bound:g}" for bound in _BUCKETS[metric.name])
                parts.append(f"- upper bounds of its buckets: {bounds}, +Inf\n")
            if metric.absent:
                parts.append(f"- absent when {metric.absent}\n")
    return "".join(parts)


if __name__ == "__main__":
    sys.stdout.write(page())
