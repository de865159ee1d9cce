"""The overview: are we fine, and if not, what is it?"""

from typing import Final

from grafana_foundation_sdk.models import dashboard as model

from alerts.build import Thresholds
from alerts.recordings import FAILURES_OVER
from dashboards import answer, by_slice, phases, places
from dashboards.boards import Row, board, by, window
from dashboards.by_slice import LONGER, failing, failing_lately, named, start_quantile
from dashboards.marks import Marks, marks
from dashboards.panels import (
    BLUE,
    CALM,
    CLOCK,
    COUNT,
    GREEN,
    GREY,
    RED,
    SECONDS,
    SELDOM,
    SHARE,
    STATUS_COLORS,
    YELLOW,
    About,
    AnyPanel,
    Column,
    Limits,
    Query,
    buckets,
    counted,
    counts,
    lines,
    rows,
    stats,
)

DEPTH: Final = Limits(worrying=50, bad=200)
"""Colours alone: a deep queue that moves is no fault."""

_ALL_FAILURES: Final = "all failures"
_OPEN: Final = ("accepted", "uploaded", "queued", "running")
_WHOSE: Final = ("account", by_slice.WHO)
_BY: Final = ", ".join(_WHOSE)
"""Of each account, whatever *By* chooses; without slices, the account again."""
_NOT_SEEN: Final = "not seen"
_NUMBERS: Final = " >= 0"
"""Leaves a gap, where a quantile of nothing would be NaN."""


def overview(thresholds: Thresholds) -> model.Dashboard:
    """The whole board."""
    at = marks(thresholds)
    return board(
        uid=places.OVERVIEW_UID,
        title="ComfyControl / Overview",
        description="Workflows on ComfyControl: how long they wait and run, what fails and where, "
        "and whether the queue moves.",
        others=places.others(places.OVERVIEW_UID),
        settings=thresholds["settings"],
        variables=[by(), window()],
        rows=[
            Row("", _answer(at)),
            Row("Queue", _queue(at)),
            Row("Runs", _runs()),
            Row("Failures", _failures(at)),
            Row("By $by", by_slice.panels(at)),
            Row("Open workflows", _open_workflows(at)),
        ],
    )


def _answer(at: Marks) -> list[AnyPanel]:
    over_all = "in all"
    return [
        answer.alerts(),
        answer.firing(exporter=False),
        answer.stands_still(at.still),
        answer.accounts(width=4),
        stats(
            About(
                "Open workflows",
                "Open workflows now, by the status last seen. Look for many accepted or uploaded "
                "ones (no runner takes them) and for queued ones with none running (nothing "
                "starts). An account that has been down for 30 s is left out, because it cannot "
                "be seen.",
                COUNT,
                width=5,
                height=4,
            ),
            *(
                Query(
                    'sum(comfycontrol_workflows{account=~"$account", status="' + status + '"})',
                    status,
                )
                for status in _OPEN
            ),
            colors={status: STATUS_COLORS[status] for status in _OPEN},
            no_value=_NOT_SEEN,
        ),
        stats(
            About(
                "Success ratio",
                "Of the workflows that completed or failed, the share that completed, for the "
                "account (or the choice in *By*) where it is lowest, over the last hour. If "
                f"fewer than {at.enough} ended then: over six hours or a day. Beside it is the "
                "one where it is lowest over seven days. Accounts that are down are left out. "
                "Cancelled and invalid workflows are left out too: the first were a user's "
                "decision, the second a client's mistake.",
                SHARE,
                width=5,
                height=4,
                links=[places.runbook("ComfyControlFailureRatioHigh")],
            ),
            Query(
                named(f"bottomk(1, ({_recent_success(at.enough)}){answer.SEEN})"),
                "{{whose}}, {{over}}",
            ),
            Query(named(f"bottomk(1, {_success('7d', at.enough)}{answer.SEEN})"), "{{whose}}, 7 d"),
            limits=at.success,
            decimals=1,
            no_value="too few, or not seen",
        ),
        stats(
            About(
                "Fails most",
                "The node type in which most workflows failed within 30 minutes, and their "
                "account. Orange: as many as the node alert requires; it fires if they are also "
                "a large enough share of all that ended.",
                COUNT,
                width=4,
                height=4,
                links=[places.runbook("ComfyControlNodeTypeFailing")],
            ),
            Query(named(f"topk(1, {_FAILED_LATELY} > 0{answer.SEEN})"), "{{node_type}}, {{whose}}"),
            Query(
                "0 * sum(comfycontrol_workflows_finished_total"
                f'{{account=~"$account", status="failed"}}{answer.SEEN})'
                f" unless on () count({_FAILED_LATELY} > 0{answer.SEEN})",
                "no node",
            ),
            limits=at.node,
            decimals=0,
            no_value="not seen",
        ),
        stats(
            About(
                "Time to start, p95",
                "95 of 100 workflows that started within the window had waited no longer than "
                "this, from their creation, for the account (or the choice in *By*) where they "
                "wait longest. A growing queue is visible here only once its workflows start: "
                "see *Stands still*.",
                SECONDS,
                width=4,
                height=4,
                links=[places.runbook("ComfyControlTimeToStartTooLong")],
            ),
            Query(
                named(f"topk(1, {start_quantile('0.95', '$window', *_WHOSE)} >= 0{answer.SEEN})"),
                "{{whose}}",
            ),
            Query(
                "sum(rate(comfycontrol_workflow_time_to_start_seconds_count"
                f'{{account=~"$account"}}[$window]){answer.SEEN}) == 0',
                over_all,
            ),
            limits=at.time_to_start,
            names={over_all: {"0": ("none started", CALM)}},
            decimals=1,
            no_value="not seen",
        ),
        stats(
            About(
                "Deepest queue",
                "The largest queue position of any workflow now, and its account. 0: none is "
                "queued. Unknown: some are queued, but no stream has shown a position within 30 "
                "s.",
                COUNT,
                width=3,
                height=4,
                links=[places.runbook("ComfyControlQueueStuck")],
            ),
            Query(
                named(
                    f"topk(1, max by ({_BY}) "
                    '(comfycontrol_queue_position_max{account=~"$account"}))'
                ),
                "{{whose}}",
            ),
            Query(_NONE_QUEUED, over_all),
            limits=DEPTH,
            no_value="unknown",
        ),
        stats(
            About(
                "Oldest queued",
                "How long ago the oldest workflow that still waits in a queue was created, and "
                "its account. 0: none is queued. It should rise and fall; if it only rises, the "
                "queue is stuck.",
                CLOCK,
                width=3,
                height=4,
                links=[places.runbook("ComfyControlQueueStuck")],
            ),
            Query(
                named(
                    f"topk(1, time() - min by ({_BY}) "
                    "(comfycontrol_oldest_workflow_created_timestamp_seconds"
                    '{account=~"$account", status="queued"}))'
                ),
                "{{whose}}",
            ),
            Query(_NONE_QUEUED, over_all),
            limits=at.oldest_queued,
            no_value=_NOT_SEEN,
        ),
    ]


def _queue(at: Marks) -> list[AnyPanel]:
    return [
        lines(
            About(
                "Open workflows by status",
                "Open workflows, stacked; the maximum within each step. Look for a yellow band "
                "that grows while the blue one does not: more workflows arrive than the runners "
                "can handle.",
                COUNT,
                width=8,
            ),
            *(
                Query(
                    "sum(max_over_time(comfycontrol_workflows"
                    f'{{account=~"$account", status="{status}"}}[$__rate_interval]))',
                    status,
                )
                for status in reversed(_OPEN)
            ),
            stacked=True,
            colors={status: STATUS_COLORS[status] for status in _OPEN},
            no_value=_NOT_SEEN,
        ),
        counts(
            About(
                "Arrivals against starts",
                "How many workflows arrived, started and ended in each step. More arrivals than "
                "starts: the queue grows. No starts while some are queued: nothing runs them. "
                "Ends without starts are workflows that were cancelled or failed while they "
                "waited.",
                COUNT,
                width=8,
                links=[places.runbook("ComfyControlNothingStarts")],
            ),
            Query(
                counted('comfycontrol_workflows_discovered_total{account=~"$account"}'), "arrivals"
            ),
            Query(
                counted('comfycontrol_workflows_started_total{account=~"$account"}'),
                "starts",
            ),
            Query(counted('comfycontrol_workflows_finished_total{account=~"$account"}'), "ends"),
            colors={"arrivals": YELLOW, "starts": BLUE, "ends": GREEN},
            stacked=False,
        ),
        lines(
            About(
                "Age of the oldest, by status",
                "How long ago the oldest workflow of each status was created; 0 if there is "
                "none. A line that rises steadily is one workflow that does not move. Queued: "
                "the queue is stuck, or no runner has its tags. Running: it hangs or is just "
                "long. Dashed: the longest run since its own start, without its wait.",
                CLOCK,
                width=8,
                links=[
                    places.runbook("ComfyControlQueueStuck"),
                    places.runbook("ComfyControlRunTooLong"),
                ],
            ),
            Query(
                "time() - min by (status) "
                '(comfycontrol_oldest_workflow_created_timestamp_seconds{account=~"$account"})'
                " or on (status) "
                '0 * (sum by (status) (comfycontrol_workflows{account=~"$account"}) == 0)',
                "{{status}}",
            ),
            Query(
                "time() - min(comfycontrol_oldest_workflow_started_timestamp_seconds"
                '{account=~"$account"})'
                ' or (sum(comfycontrol_workflows{account=~"$account", status="running"}) == 0)',
                "longest run",
            ),
            colors={status: STATUS_COLORS[status] for status in _OPEN}
            | {"longest run": STATUS_COLORS["running"]},
            dashed="longest run",
            no_value=_NOT_SEEN,
        ),
        lines(
            About(
                "Queue positions",
                "The largest queue position in use, by account; 0 if none is queued. It falls "
                "while no workflow joins, unless the queue is stuck.",
                COUNT,
                width=6,
                links=[places.runbook("ComfyControlQueueStuck")],
            ),
            Query(
                "max by (account) (max_over_time(comfycontrol_queue_position_max"
                '{account=~"$account"}[$__rate_interval]))'
                " or on (account) 0 * (sum by (account) "
                '(comfycontrol_workflows{account=~"$account", status="queued"}) == 0)',
                "{{account}}",
            ),
            no_value=_NOT_SEEN,
        ),
        counts(
            About(
                "Queue positions when joining",
                "The positions at which workflows joined a queue, as shares of each bar; the "
                "legend shows their numbers. Those that join at 1 hardly wait. This needs the "
                "bounds 1 and 5 in `metrics.entry_queue_position_buckets`.",
                COUNT,
                width=6,
                links=[places.runbook("ComfyControlTimeToStartTooLong")],
            ),
            Query(_joined("1"), "at 1"),
            Query(f"{_joined('5')} - {_joined('1')}", "at 2 to 5"),
            Query(
                counted('comfycontrol_workflow_entry_queue_position_count{account=~"$account"}')
                + f" - {_joined('5')}",
                "further back",
            ),
            shares=True,
            colors={"at 1": BLUE, "at 2 to 5": "#fff3b0", "further back": YELLOW},
        ),
        lines(
            About(
                "Time to start, quantiles",
                "Half, 95 and 99 of 100 workflows waited no longer than this. If p99 is far "
                "above the rest, a few workflows wait for a rare resource. Gaps: none started "
                "within the window.",
                CLOCK,
                width=6,
                links=[places.runbook("ComfyControlTimeToStartTooLong")],
            ),
            Query(start_quantile("0.5", "$window") + _NUMBERS, "median"),
            Query(start_quantile("0.95", "$window") + _NUMBERS, "p95", exemplars=True),
            Query(start_quantile("0.99", "$window") + _NUMBERS, "p99"),
            colors={"median": "#fff3b0", "p95": YELLOW, "p99": "#9c8400"},
            dashed="median",
            limits=at.time_to_start,
            no_value="None started",
        ),
        buckets(
            About(
                "Time to start",
                "How many workflows started per minute, by how long they had waited. Look for a "
                "band that rises (the queue grows for all) or a second one above the first (one "
                "kind of workflow waits for its own runners). The dots are exemplars: single "
                "workflows, with their id.",
                SECONDS,
                width=6,
                links=[places.runbook("ComfyControlTimeToStartTooLong")],
            ),
            Query(
                "60 * sum by (le) (rate(comfycontrol_workflow_time_to_start_seconds_bucket"
                '{account=~"$account"}[$__rate_interval]))',
                "{{le}}",
                exemplars=True,
            ),
            scheme="YlOrRd",
        ),
        *phases.panels(),
        *_runners(),
    ]


def _runners() -> list[AnyPanel]:
    links = [places.runbook("ComfyControlNoActiveRunner")]
    return [
        lines(
            About(
                "Runners",
                "The runners that the service lists as active, by account; the disabled ones of "
                "all accounts are dashed. If none is active while workflows are open, nothing "
                "can start. This shows only accounts with a `runners` block in the "
                "configuration.",
                COUNT,
                width=12,
                height=6,
                links=links,
            ),
            Query(
                'sum by (account) (comfycontrol_runners{account=~"$account", status="active"})',
                "{{account}}",
            ),
            Query(
                'sum(comfycontrol_runners{account=~"$account", status!="active"})',
                "not active",
            ),
            dashed="not active",
            no_value="not read",
        ),
        lines(
            About(
                "Active runners by tag",
                "A runner counts for each of its tags. If a tag falls to 0 while its workflows "
                "stay accepted, they wait for such a runner. Only with `runners: "
                "{by_tag: true}`.",
                COUNT,
                width=12,
                height=6,
                links=links,
            ),
            Query(
                'sum by (tag) (comfycontrol_runners_by_tag{account=~"$account", status="active"})',
                "{{tag}}",
            ),
            no_value="not read",
        ),
    ]


def _runs() -> list[AnyPanel]:
    return [
        counts(
            About(
                "Outcomes",
                "How many workflows ended with which outcome, in each bar; the legend shows the "
                "totals. Look for red that grows while the total stays the same, for a burst of "
                "grey (a user cancels: why?), and for orange (a client sends graphs that the "
                "service does not accept). The dots are exemplars: single workflows that did not "
                "complete, with their id.",
                COUNT,
                width=8,
                links=[places.runbook("ComfyControlFailureRatioHigh")],
            ),
            *(
                Query(
                    counted(
                        "comfycontrol_workflows_finished_total"
                        f'{{account=~"$account", status="{status}"}}'
                    ),
                    status,
                    # Those that completed are on the heatmap; here they would hide the others.
                    exemplars=status != "completed",
                )
                for status in ("completed", "failed", "cancelled", "invalid")
            ),
            colors=STATUS_COLORS,
        ),
        lines(
            About(
                "Run duration, quantiles by outcome",
                "From start to end, median and p95. If failures become short, workflows fail at "
                "once (a node or a model is missing). If they become long, workflows run out of "
                "time or memory. Cancelled ones that ran for long: a user did not want to wait. "
                "Gaps: none ended that way within the window.",
                CLOCK,
                width=8,
                links=[places.runbook("ComfyControlRunTooLong")],
            ),
            *(
                Query(
                    f"histogram_quantile({quantile}, sum by (le) (rate("
                    'comfycontrol_workflow_run_duration_seconds_bucket{account=~"$account", '
                    f'status="{status}"}}[$window])))' + _NUMBERS,
                    f"{status}, {name}",
                    exemplars=quantile == "0.95",
                )
                for status in ("completed", "failed", "cancelled")
                for quantile, name in (("0.5", "median"), ("0.95", "p95"))
            ),
            colors={
                "completed, median": GREEN,
                "completed, p95": "semi-dark-green",
                "failed, median": RED,
                "failed, p95": "semi-dark-red",
                "cancelled, median": GREY,
                "cancelled, p95": "#5a5a5a",
            },
            dashed=".*median",
            no_value="None ended",
        ),
        buckets(
            About(
                "Run duration",
                "How many runs ended per minute, by how long they took, with any outcome. Each "
                "band is a kind of workflow. Look for a band that rises: the same work takes "
                "longer. The dots are exemplars: single workflows, with their id.",
                SECONDS,
                width=8,
            ),
            Query(
                "60 * sum by (le) (rate(comfycontrol_workflow_run_duration_seconds_bucket"
                '{account=~"$account"}[$__rate_interval]))',
                "{{le}}",
                exemplars=True,
            ),
            scheme="YlGnBu",
        ),
    ]


def _failures(at: Marks) -> list[AnyPanel]:
    return [
        stats(
            About(
                "Failed",
                "Workflows that failed within the time range.",
                COUNT,
                width=6,
                height=4,
                links=[places.runbook("ComfyControlFailureRatioHigh")],
            ),
            Query(_ended("failed")),
            decimals=0,
            no_value="not scraped",
        ),
        stats(
            About(
                "Invalid",
                "Graphs that the service refused to run within the time range. They are a "
                "client's mistake, and use no runner time.",
                COUNT,
                width=6,
                height=4,
            ),
            Query(_ended("invalid")),
            decimals=0,
            no_value="not scraped",
        ),
        stats(
            About(
                "Causes of failure",
                "Different pairs of node type and exception type that failed within the time "
                "range. Many at once: a problem of the platform. One: a problem of a node, a "
                "model or a graph.",
                COUNT,
                width=6,
                height=4,
                links=[places.runbook("ComfyControlNodeTypeFailing")],
            ),
            Query(
                "count(sum by (node_type, exception_type) (increase("
                'comfycontrol_workflow_failures_total{account=~"$account"}[$__range])) > 0)'
                " or on () " + _no_failure()
            ),
            no_value="not scraped",
        ),
        stats(
            About(
                "New since yesterday",
                "Causes that occurred in an account in the last 24 hours and not in the week "
                "before. They are listed below.",
                COUNT,
                width=6,
                height=4,
                links=[places.runbook("ComfyControlNodeTypeFailing")],
            ),
            Query("count(" + _new_causes() + ") or on () " + _no_failure()),
            limits=SELDOM,
            no_value="not scraped",
        ),
        lines(
            About(
                "Failure ratio",
                "Of the workflows of an account that completed or failed, the share that failed, "
                f"as the alert counts them: within {FAILURES_OVER}; if fewer than {at.enough} "
                f"ended then, within {LONGER}. Gaps: too few for a share, see *Outcomes*. Dashed: "
                "a week ago. Look for a step: something was changed then.",
                SHARE,
                width=24,
                height=7,
                links=[places.runbook("ComfyControlFailureRatioHigh")],
            ),
            Query(failing_lately("", at.enough), "{{account}}"),
            Query(failing_lately(" offset 1w", at.enough), "{{account}}, a week ago"),
            limits=at.failing,
            dashed=".*a week ago",
            no_value=f"No account had {at.enough} that ended within {LONGER}",
        ),
        counts(
            About(
                "Failures by node type",
                "The ten node types that failed most within the time range. If one stands out, "
                "its model file is missing, it is broken, or it runs out of memory; the "
                "exception types show which. `unknown`: the service gave no cause. The dots are "
                "exemplars: single workflows, with their id.",
                COUNT,
                width=12,
                height=9,
                links=[places.runbook("ComfyControlNodeTypeFailing")],
            ),
            *_top("node_type"),
            legend="beside",
            apart=_ALL_FAILURES,
        ),
        counts(
            About(
                "Failures by exception type",
                "The ten exception types that were raised most within the time range. Out of "
                "memory in many nodes: the runners are too small for these graphs. File not "
                "found: a model is missing on a runner. Type and attribute errors: an update "
                "broke something. The dots are exemplars: single workflows, with their id.",
                COUNT,
                width=12,
                height=9,
                links=[places.runbook("ComfyControlNodeTypeFailing")],
            ),
            *_top("exception_type"),
            legend="beside",
            apart=_ALL_FAILURES,
        ),
        rows(
            About(
                "What fails",
                "The twenty causes that failed most within the time range, by account. A node's "
                "name links to the runbook, which explains each kind of exception.",
                COUNT,
                width=12,
                height=9,
                links=[places.runbook("ComfyControlNodeTypeFailing")],
            ),
            _CAUSE_COLUMNS,
            Query(
                "topk(20, round(sum by (account, node_type, exception_type) (increase("
                'comfycontrol_workflow_failures_total{account=~"$account"}[$__range]))) > 0)'
            ),
            sort_by="Failures",
            no_value="Nothing failed",
        ),
        rows(
            About(
                "What is new since yesterday",
                "Causes that occurred in the last 24 hours and not in the seven days before, by "
                "account, independent of the time range of the board. On the first day of a new "
                "Prometheus, everything is new.",
                COUNT,
                width=12,
                height=9,
                links=[places.runbook("ComfyControlNodeTypeFailing")],
            ),
            _CAUSE_COLUMNS,
            Query("topk(20, round(" + _new_causes() + "))"),
            sort_by="Failures",
            no_value="Nothing is new",
        ),
    ]


_CAUSE_COLUMNS: Final = (
    Column("node_type", "Node type", link=places.runbook("ComfyControlNodeTypeFailing"), width=185),
    Column("exception_type", "Exception type"),
    Column("account", "Account", width=100),
    Column("Value", "Failures", unit=COUNT, width=95, limits=Limits(worrying=1, bad=10)),
)


def _open_workflows(at: Marks) -> list[AnyPanel]:
    none_known = (
        "No queue position is known: nothing is queued, no stream is open, "
        "or metrics.per_workflow_series is 0"
    )
    position = 'comfycontrol_workflow_queue_position{account=~"$account"}'
    by_workflow = "max by (account, workflow_id)"
    return [
        rows(
            About(
                "Queued workflows",
                "Every queued workflow whose position is known: its position now and five "
                "minutes ago, and how long the workflow has had a known position (up to six "
                "hours, to the minute). Look for a long time at the same position; an id links "
                "to its history. Workflows left out by `metrics.per_workflow_series` have no "
                "row; if that is 0, there are no rows.",
                COUNT,
                width=14,
                height=10,
                links=[places.runbook("ComfyControlQueueStuck")],
            ),
            [
                Column("workflow_id", "Workflow", link=places.workflow_of("${__value.raw}")),
                Column("account", "Account", width=95),
                Column("Value #A", "Place", unit=COUNT, width=75),
                Column("Value #B", "5 min ago", unit=COUNT, width=100),
                Column("Value #C", "Known for", unit=CLOCK, width=110, limits=at.oldest_queued),
            ],
            Query(f"{by_workflow} ({position})"),
            Query(f"{by_workflow} ({position} offset 5m) and on (account, workflow_id) {position}"),
            Query(
                f"time() - min by (account, workflow_id) (min_over_time(timestamp({position})"
                f"[6h:1m])) and on (account, workflow_id) {position}"
            ),
            sort_by="Known for",
            no_value=none_known,
        ),
        lines(
            About(
                "Queue positions over time",
                "The fifteen workflows with the lowest positions now, and their positions over "
                "time. Lines that fall: the queue moves. Flat lines: the queue is stuck, or the "
                "present runs are long.",
                COUNT,
                width=10,
                height=10,
                links=[places.runbook("ComfyControlQueueStuck")],
            ),
            Query(
                f"{by_workflow} ({position})"
                f" and on (account, workflow_id) bottomk(15, {position} @ end())",
                "{{account}} {{workflow_id}}",
            ),
            link=places.workflow_of("${__field.labels.workflow_id}"),
            legend="hidden",
            no_value=none_known,
        ),
    ]


# Expressions that several panels share --------------------------------------------------------


_NONE_QUEUED: Final = '(sum(comfycontrol_workflows{account=~"$account", status="queued"}) == 0)'
_FAILED_LATELY: Final = (
    f"round(sum by ({_BY}, node_type) "
    f'(increase(comfycontrol_workflow_failures_total{{account=~"$account"}}[{FAILURES_OVER}])))'
)


def _success(over: str, enough: int) -> str:
    """By account, where enough ended for a share of them to mean anything."""
    return f"1 - ({failing(f'[{over}]', enough, _BY)})"


def _recent_success(enough: int) -> str:
    """Over the shortest time in which enough ended, which goes into a label."""
    return f" or on ({_BY}) ".join(
        f'label_replace({_success(over, enough)}, "over", "{name}", "", "")'
        for over, name in (("1h", "1 h"), ("6h", "6 h"), ("1d", "1 d"))
    )


def _ended(status: str) -> str:
    return (
        "round(sum(increase(comfycontrol_workflows_finished_total"
        f'{{account=~"$account", status="{status}"}}[$__range])))'
    )


def _joined(bound: str) -> str:
    """How many joined a queue at this place or before it; a bound is written 5.0, or 5."""
    return counted(
        "comfycontrol_workflow_entry_queue_position_bucket"
        f'{{account=~"$account", le=~"{bound}(\\\\.0)?"}}'
    )


def _no_failure() -> str:
    """A 0 wherever an exporter tells of outcomes at all, so that no failure is a 0, not a gap."""
    return '0 * sum(comfycontrol_workflows_finished_total{account=~"$account", status="failed"})'


def _top(label: str) -> tuple[Query, Query]:
    """All failures, and the ten values of a label that failed most over the range.

    Not ten at each step, which would be many over a day. All come first: they are there, at 0,
    where nothing failed.
    """
    failures = 'comfycontrol_workflow_failures_total{account=~"$account"}'
    return (
        Query(f"{counted(failures)} or on () {_no_failure()}", _ALL_FAILURES),
        Query(
            f"{counted(failures, label)} and on ({label})"
            f" topk(10, sum by ({label}) (increase({failures}[$__range] @ end())) > 0)",
            f"{{{{{label}}}}}",
            exemplars=True,
        ),
    )


def _new_causes() -> str:
    """By account: what is old for one can be new for another."""
    failures = 'comfycontrol_workflow_failures_total{account=~"$account"}'
    cause = "account, node_type, exception_type"
    return (
        f"sum by ({cause}) (increase({failures}[1d])) > 0"
        f" unless on ({cause}) sum by ({cause}) (increase({failures}[1w] offset 1d)) > 0"
    )
