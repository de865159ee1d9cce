"""By slice: which team, template or environment waits or fails. Without slices: by account."""

from typing import Final

from alerts.recordings import FAILURES_OVER
from dashboards import places
from dashboards.marks import Marks
from dashboards.panels import (
    CLOCK,
    COUNT,
    SHARE,
    About,
    AnyPanel,
    Column,
    Query,
    lines,
    rows,
)

LONGER: Final = "6h"
"""The window of the slow alerts on failures."""

WHO: Final = "$by"
"""The label by which series are grouped: a variable of the dashboard."""

_FINISHED: Final = "comfycontrol_workflows_finished_total"
_MOST: Final = 10
"""How many of them get their own line."""


def failing(over: str, enough: int, by: str = "account") -> str:
    """The share that failed, calculated as in the alerts, if enough ended for an alert to fire."""

    def count(status: str) -> str:
        return (
            f'sum by ({by}) (increase({_FINISHED}{{account=~"$account", status=~"{status}"}}'
            f"{over}))"
        )

    return f"{count('failed')} / ({count('completed|failed')} >= {enough})"


def failing_lately(ago: str, enough: int, by: str = "account") -> str:
    """Calculated as in the fast alert; if too few have ended for it, as in the slow one."""
    recently, longer = (failing(f"[{over}]{ago}", enough, by) for over in (FAILURES_OVER, LONGER))
    return f"{recently} or on ({by}) {longer}"


def start_quantile(quantile: str, over: str, *by: str) -> str:
    """A quantile of the time from creation to start."""
    return (
        f"histogram_quantile({quantile}, sum by ({', '.join((*by, 'le'))}) (rate("
        f'comfycontrol_workflow_time_to_start_seconds_bucket{{account=~"$account"}}[{over}])))'
    )


def named(expression: str) -> str:
    """Copies the value of the chosen label to one with a fixed name, for legends and columns."""
    return f'label_replace({expression}, "whose", "$1", "{WHO}", "(.*)")'


def panels(at: Marks) -> list[AnyPanel]:
    """The whole row."""
    return [_table(at), *_over_time(at)]


def _table(at: Marks) -> AnyPanel:
    return rows(
        About(
            "Who waits and who fails, by $by",
            "Every team, template or other choice in *By* at the top; the one that fails most is "
            f"first. *Fails*: as the alert counts it, within {FAILURES_OVER} or, if fewer than "
            f"{at.enough} ended then, within {LONGER}. *Wait p95*: 95 of 100 that started "
            "recently had waited no longer. *Fails in*: the node type that failed most within "
            "the time range. Without slices in the configuration, rows are by account.",
            COUNT,
            width=24,
            height=8,
            links=[
                places.runbook("ComfyControlFailureRatioHigh"),
                places.runbook("ComfyControlTimeToStartTooLong"),
            ],
        ),
        [
            Column("whose", "whose"),
            Column("Value #A", "fails", unit=SHARE, width=90, decimals=1, limits=at.failing),
            Column("node_type", "fails in", width=230),
            Column("Value #B", "failed", unit=COUNT, width=90),
            Column("Value #C", "ended", unit=COUNT, width=90),
            Column("Value #D", "wait p95", unit=CLOCK, width=105, limits=at.time_to_start),
            Column("Value #E", "waiting", unit=COUNT, width=95),
            Column("Value #F", "running", unit=COUNT, width=95),
            Column("Value #G", "open", unit=COUNT, width=90),
        ],
        Query(_row(failing_lately("", at.enough, WHO))),
        Query(_row(f"round({_ended('failed')})")),
        Query(_row(f"round({_ended('.+')})")),
        Query(_row(f"{start_quantile('0.95', '$window', WHO)} >= 0")),
        Query(_row(_open("accepted|uploaded|queued"))),
        Query(_row(_open("running"))),
        Query(_row(_open(".+"))),
        Query(
            f"topk by (whose) (1, {_row(f'{_failures()} > 0', 'node_type')})",
        ),
        sort_by="fails",
        no_value="Nobody is known yet",
    )


def _over_time(at: Marks) -> list[AnyPanel]:
    return [
        lines(
            About(
                "Failure ratio by $by",
                f"The {_MOST} with most failures in the time range, as the alert counts them. A "
                "step in only one of them is its own problem: a template or a model was changed. "
                "A step in all is a problem of the platform. Gaps: too few ended for a share.",
                SHARE,
                width=8,
                height=8,
                links=[places.runbook("ComfyControlFailureRatioHigh")],
            ),
            Query(
                named(
                    f"({failing_lately('', at.enough, WHO)}){_largest(_ended('failed', _AT_END))}"
                ),
                "{{whose}}",
            ),
            limits=at.failing,
            no_value=f"Nobody had {at.enough} that ended within {LONGER}",
        ),
        lines(
            About(
                "Time to start by $by, p95",
                f"The {_MOST} with most workflows in the time range. If one waits while the "
                "others do not, there are too few runners for its tags, or very many of its "
                "workflows arrived at once.",
                CLOCK,
                width=8,
                height=8,
                links=[places.runbook("ComfyControlTimeToStartTooLong")],
            ),
            Query(
                named(
                    f"({start_quantile('0.95', '$window', WHO)} >= 0)"
                    f"{_largest(_ended('.+', _AT_END))}"
                ),
                "{{whose}}",
            ),
            limits=at.time_to_start,
            no_value="None started",
        ),
        lines(
            About(
                "Open workflows by $by",
                f"Open workflows of the {_MOST} with most workflows in the time range. Look for a "
                "band that grows: its workflows wait, or more arrive than the runners can "
                "handle.",
                COUNT,
                width=8,
                height=8,
            ),
            Query(named(f"{_open('.+')}{_largest(_ended('.+', _AT_END))}"), "{{whose}}"),
            stacked=True,
            no_value="not seen",
        ),
    ]


_AT_END: Final = " @ end()"
"""Chooses the largest series once for the whole time range."""


def _largest(of: str) -> str:
    return f" and on ({WHO}) topk({_MOST}, {of})"


def _ended(status: str, moved: str = "") -> str:
    return (
        f'sum by ({WHO}) (increase({_FINISHED}{{account=~"$account", status=~"{status}"}}'
        f"[$__range]{moved}))"
    )


def _open(statuses: str) -> str:
    return f'sum by ({WHO}) (comfycontrol_workflows{{account=~"$account", status=~"{statuses}"}})'


def _failures() -> str:
    return (
        f"round(sum by ({WHO}, node_type) "
        '(increase(comfycontrol_workflow_failures_total{account=~"$account"}[$__range])))'
    )


def _row(expression: str, *more: str) -> str:
    """For a table, whose rows are joined by their common labels."""
    return f"sum by ({', '.join(('whose', *more))}) ({named(expression)})"
