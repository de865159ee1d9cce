"""Every recording rule, as data: what the alerts are made of, and panels of users may be.

The level `account` is an account of one exporter: accounts of two exporters may have one name.

Where a server turns classic histograms into native ones, the series of their buckets and counts are
gone. So counts are taken from counters, and what needs the buckets asks for either form.
"""

from dataclasses import dataclass
from typing import Final

FAILURES_OVER: Final = "30m"
"""The window of the fast alerts on failures, and of the panel that draws their line."""


@dataclass(frozen=True, slots=True)
class Recording:
    """A recording rule; its name is `level:metric:operations`."""

    name: str
    expr: str


def slow_share(window: str, by: str = "job, instance, account", only: str = "") -> str:
    """Of what started, the share that had waited for longer than the objective says.

    Args:
        window: over which time.
        by: the labels that are left.
        only: a matcher that leaves out others.
    """
    # Next to a brace, what a chart's template puts in would not be read as such.
    # A bound is written 300.0 or, by some other exposition, 300.
    within = 'le=~"[[objective.starts_within]](\\\\.0)?"'
    name = "comfycontrol_workflow_time_to_start_seconds"
    bucket = f"{within}, {only}" if only else within
    all_of_it = f"{{ {only}}}" if only else ""
    return (
        f"1 - sum by ({by}) (rate({name}_bucket{{{bucket}}}[{window}]))\n"
        f"  / (sum by ({by}) (rate({name}_count{all_of_it}[{window}])) > 0)\n"
        # `>= 0` drops the NaN of a window without any.
        "or\n  (1 - histogram_fraction(0, [[objective.starts_within]], "
        f"sum by ({by}) (rate({name}{all_of_it}[{window}])))) >= 0"
    )


def _slow_starts(window: str) -> Recording:
    return Recording(
        f"account:comfycontrol_workflow_slow_starts:ratio_rate{window}", slow_share(window)
    )


def _ran(window: str) -> Recording:
    return Recording(
        f"account:comfycontrol_workflows_ran:increase{window}",
        "sum by (job, instance, account) "
        f'(increase(comfycontrol_workflows_finished_total{{status=~"completed|failed"}}[{window}]))',
    )


def _failed(window: str) -> Recording:
    return Recording(
        f"account:comfycontrol_workflows_failed:ratio_increase{window}",
        "sum by (job, instance, account) "
        f'(increase(comfycontrol_workflows_finished_total{{status="failed"}}[{window}]))\n'
        f"/ (account:comfycontrol_workflows_ran:increase{window} > 0)",
    )


def _failures(window: str) -> Recording:
    return Recording(
        f"account_node_type:comfycontrol_workflow_failures:increase{window}",
        "sum by (job, instance, account, node_type) "
        f"(increase(comfycontrol_workflow_failures_total[{window}]))",
    )


RECORDINGS: Final = (
    Recording(
        "account:comfycontrol_workflows_waiting:sum",
        "sum by (job, instance, account) "
        '(comfycontrol_workflows{status=~"accepted|uploaded|queued"})',
    ),
    # Of ids that are only pushed, a start may go unseen: an end is progress as well.
    Recording(
        "account:comfycontrol_workflows_moved:increase15m",
        "sum by (job, instance, account) (increase(comfycontrol_workflows_started_total[15m]))\n"
        "+ sum by (job, instance, account) "
        '(increase(comfycontrol_workflows_finished_total{status=~"completed|failed"}[15m]))',
    ),
    *(
        recording
        for window in (FAILURES_OVER, "1h", "6h")
        for recording in (_ran(window), _failed(window), _failures(window))
    ),
    _slow_starts("5m"),
    _slow_starts("30m"),
    _slow_starts("1h"),
    _slow_starts("6h"),
    # `>= 0` drops the NaN of a day without any.
    Recording(
        "account:comfycontrol_workflow_run_duration_seconds:p99_rate1d",
        "(\n"
        "    histogram_quantile(0.99, sum by (job, instance, account, le) "
        "(rate(comfycontrol_workflow_run_duration_seconds_bucket"
        '{status="completed"}[1d])))\n'
        "  or\n"
        "    histogram_quantile(0.99, sum by (job, instance, account) "
        '(rate(comfycontrol_workflow_run_duration_seconds{status="completed"}[1d])))\n'
        ") >= 0",
    ),
    Recording(
        "account_status:comfycontrol_oldest_workflow:age_seconds",
        "time() - min by (job, instance, account, status) "
        "(comfycontrol_oldest_workflow_created_timestamp_seconds)",
    ),
    Recording(
        "account:comfycontrol_longest_run:age_seconds",
        "time() - min by (job, instance, account) "
        "(comfycontrol_oldest_workflow_started_timestamp_seconds)",
    ),
    Recording(
        "account:comfycontrol_stalest_observation:age_seconds",
        "time() - min by (job, instance, account) "
        "(comfycontrol_stalest_observation_timestamp_seconds)",
    ),
    # What the board *Usage* adds up, over months: an hour a sample, with every label that the
    # exporter gives, for slices are of the user's choosing. `>= 0` drops the NaN of an idle hour.
    Recording(
        "all:comfycontrol_workflow_run_seconds:increase1h",
        "(\n"
        "    increase(comfycontrol_workflow_run_duration_seconds_sum[1h])\n"
        "  or\n"
        "    histogram_sum(increase(comfycontrol_workflow_run_duration_seconds[1h]))\n"
        ") >= 0",
    ),
    Recording(
        "all:comfycontrol_workflows_finished:increase1h",
        "increase(comfycontrol_workflows_finished_total[1h])",
    ),
    Recording(
        "all:comfycontrol_workflow_outputs:increase1h",
        "increase(comfycontrol_workflow_outputs_total[1h])",
    ),
    # Until the first pass since the start is complete, it counts from the start, for accounts whose
    # list is asked for. Accounts of replicas have no `instance`: until their new holder has read
    # the list, what the one before has read counts, and then the start of the youngest replica.
    Recording(
        "account:comfycontrol_listing_last_success:age_seconds",
        "time() - (\n"
        "    max by (job, instance, account) "
        "(comfycontrol_listing_last_success_timestamp_seconds)\n"
        "  or\n"
        "    max by (job, instance, account) (last_over_time("
        'comfycontrol_listing_last_success_timestamp_seconds{instance=""}[1h]))\n'
        "  or\n"
        "    max by (job, instance, account) (\n"
        "        0 * (comfycontrol_account_listed == 1)\n"
        "      + on (job, instance) group_left () "
        "(process_start_time_seconds or max by (job) (process_start_time_seconds))\n"
        "    )\n"
        ")",
    ),
)
