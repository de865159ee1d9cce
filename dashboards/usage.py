"""Usage: who used how much of the runners' time, and how much of it came to nothing?

It adds up recorded hours, so that three months are drawn as fast as a day. A number is that of the
whole hours within the time range: the last one shows once it is over.
"""

from collections.abc import Mapping
from typing import Final

from grafana_foundation_sdk.builders import timeseries
from grafana_foundation_sdk.models import dashboard as model

from alerts.build import Thresholds
from dashboards import places
from dashboards.boards import Row, board, by
from dashboards.panels import (
    COUNT,
    GREY,
    SHARE,
    STATUS_COLORS,
    About,
    AnyPanel,
    Column,
    Limits,
    Query,
    counts,
    rows,
    stats,
)

HOURS: Final = "suffix: h"
WASTED: Final = Limits(worrying=0.1, bad=0.25)
"""Colours alone: what share of failures is usual differs from farm to farm."""

_SECONDS: Final = "comfycontrol_workflow_run_seconds:increase1h"
_ENDED: Final = "comfycontrol_workflows_finished:increase1h"
_OUTPUTS: Final = "comfycontrol_workflow_outputs:increase1h"
_LOST: Final = "failed|cancelled"
_RECORDED: Final = "no recorded hours"
_BEFORE: Final = " offset $__range"


def usage(thresholds: Thresholds) -> model.Dashboard:
    """The whole board."""
    return board(
        uid=places.USAGE_UID,
        title="ComfyControl / Usage",
        description="Who used the runners' time, and how much of it was lost to workflows that "
        "failed or were cancelled. It needs the recording rules.",
        others=places.others(places.USAGE_UID),
        runbooks=thresholds["settings"]["runbooks"],
        variables=[by()],
        span="7d",
        refresh="5m",
        rows=[Row("", _totals()), Row("By $by", _by_slice()), Row("Over time", _over_time())],
    )


def _bars(about: About, query: Query, colors: Mapping[str, str] | None = None) -> timeseries.Panel:
    """Sums of whole hours, which are what is recorded."""
    panel = counts(about, query, colors=colors, no_value=_RECORDED, legend="beside")
    return panel.interval("1h").max_data_points(90)


def _within(metric: str, status: str = "", before: str = "", *grouped: str) -> str:
    """A sum over the whole hours of the time range."""
    of_status = f', status=~"{status}"' if status else ""
    group = f" by ({', '.join(grouped)})" if grouped else ""
    over = f'{metric}{{account=~"$account"{of_status}}}[$__range:1h]'
    return f"sum{group} (sum_over_time({over}{before}))"


def _hours(status: str = "", before: str = "", *grouped: str) -> str:
    return f"{_within(_SECONDS, status, before, *grouped)} / 3600"


def _wasted(before: str = "", *grouped: str) -> str:
    all_hours = _within(_SECONDS, "", before, *grouped)
    return f"{_within(_SECONDS, _LOST, before, *grouped)} / ({all_hours} > 0)"


def _totals() -> list[AnyPanel]:
    def both(now: str, before: str) -> list[Query]:
        return [Query(now, "now"), Query(before, "before")]

    colors = {"before": GREY}
    return [
        stats(
            About(
                "Runner hours",
                "How long workflows ran in all, in hours. *Before*: in the time range before this "
                "one, which is as long: with the range of 7 days, the week before.",
                HOURS,
                width=6,
                height=5,
            ),
            *both(_hours(), _hours("", _BEFORE)),
            colors=colors,
            decimals=1,
            no_value=_RECORDED,
        ),
        stats(
            About(
                "Wasted share",
                "Of the runner hours, the share that workflows took which then failed or were "
                "cancelled. Below it is by whom.",
                SHARE,
                width=6,
                height=5,
                links=[places.runbook("ComfyControlFailureRatioHigh")],
            ),
            *both(_wasted(), _wasted(_BEFORE)),
            limits=WASTED,
            decimals=1,
            no_value="nothing ran",
        ),
        stats(
            About(
                "Runs",
                "How many workflows ended, however they did. Estimated from recorded hours: the "
                "exact numbers are on *Overview*.",
                COUNT,
                width=6,
                height=5,
            ),
            *both(f"round({_within(_ENDED)})", f"round({_within(_ENDED, '', _BEFORE)})"),
            colors=colors,
            no_value=_RECORDED,
        ),
        stats(
            About(
                "Outputs",
                "How many pictures and videos completed workflows brought, as far as streams told "
                "them.",
                COUNT,
                width=6,
                height=5,
            ),
            *both(f"round({_within(_OUTPUTS)})", f"round({_within(_OUTPUTS, '', _BEFORE)})"),
            colors=colors,
            no_value=_RECORDED,
        ),
    ]


def _by_slice() -> list[AnyPanel]:
    change = f"{_hours('', '', '$by')} / ({_hours('', _BEFORE, '$by')} > 0) - 1"
    return [
        rows(
            About(
                "Usage by $by",
                "Whose hours they were, and what became of them. To export it: panel menu, "
                "*Inspect*, *Data*, *Download CSV*. *Change* compares the hours with the time "
                "range before.",
                HOURS,
                width=24,
                height=9,
            ),
            [
                Column("$by", "$by"),
                Column("Value #A", "hours", unit=HOURS),
                Column("Value #B", "lost to failures", unit=HOURS),
                Column("Value #C", "lost to cancellations", unit=HOURS),
                Column("Value #D", "wasted share", unit=SHARE, limits=WASTED),
                Column("Value #E", "runs", unit=COUNT),
                Column("Value #F", "failed runs", unit=COUNT),
                Column("Value #G", "outputs", unit=COUNT),
                Column("Value #H", "change", unit=SHARE),
            ],
            Query(_hours("", "", "$by")),
            Query(_hours("failed", "", "$by")),
            Query(_hours("cancelled", "", "$by")),
            Query(_wasted("", "$by")),
            Query(f"round({_within(_ENDED, '', '', '$by')})"),
            Query(f"round({_within(_ENDED, 'failed', '', '$by')})"),
            Query(f"round({_within(_OUTPUTS, '', '', '$by')})"),
            Query(change),
            sort_by="hours",
            no_value=_RECORDED,
        ),
    ]


def _over_time() -> list[AnyPanel]:
    def each(metric: str, *grouped: str) -> str:
        over = f'{metric}{{account=~"$account"}}[$__interval:1h]'
        return f"sum by ({', '.join(grouped)}) (sum_over_time({over}))"

    return [
        _bars(
            About(
                "Runner hours by outcome",
                "Bar by bar, what became of the hours. Red that grows with the rest standing "
                "still: runs fail later, or more of them do.",
                HOURS,
                width=12,
                height=9,
            ),
            Query(f"{each(_SECONDS, 'status')} / 3600", "{{status}}"),
            colors=STATUS_COLORS,
        ),
        _bars(
            About(
                "Runner hours by $by",
                "The twelve that used most in this time range; everybody else is left out.",
                HOURS,
                width=12,
                height=9,
            ),
            Query(
                f"({each(_SECONDS, '$by')} / 3600)"
                f" and on ($by) topk(12, {_hours('', '', '$by')} @ end())",
                "{{$by}}",
            ),
        ),
        _bars(
            About(
                "Wasted hours by $by",
                "The hours of workflows that failed or were cancelled, of the twelve that lost "
                "most.",
                HOURS,
                width=12,
                height=9,
                links=[places.runbook("ComfyControlFailureRatioHigh")],
            ),
            Query(
                "(sum by ($by) (sum_over_time("
                f'{_SECONDS}{{account=~"$account", status=~"{_LOST}"}}[$__interval:1h])) / 3600)'
                f" and on ($by) topk(12, {_hours(_LOST, '', '$by')} @ end())",
                "{{$by}}",
            ),
        ),
        _bars(
            About(
                "Completed runs by $by",
                "How many completed, of the twelve with most runs.",
                COUNT,
                width=12,
                height=9,
            ),
            Query(
                "round(sum by ($by) (sum_over_time("
                f'{_ENDED}{{account=~"$account", status="completed"}}[$__interval:1h])))'
                f" and on ($by) topk(12, {_within(_ENDED, '', '', '$by')} @ end())",
                "{{$by}}",
            ),
        ),
    ]
