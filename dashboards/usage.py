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
from dashboards.by_slice import named
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

_SECONDS: Final = "all:comfycontrol_workflow_run_seconds:increase1h"
_ENDED: Final = "all:comfycontrol_workflows_finished:increase1h"
_OUTPUTS: Final = "all:comfycontrol_workflow_outputs:increase1h"
_LOST: Final = "failed|cancelled"
_RECORDED: Final = "no recorded hours"
_BEFORE: Final = " offset $__range"
_WHOLE: Final = " offset -1s"
"""Bars end on whole hours. Prometheus 2 counts both ends of a range, and a bar would count the
last hour of the one before it; a second later it has just its own."""
_AT_END: Final = " @ end()"
"""One choice of the largest for all bars."""


def usage(thresholds: Thresholds) -> model.Dashboard:
    """The whole board."""
    return board(
        uid=places.USAGE_UID,
        title="ComfyControl / Usage",
        description="Who used the runners' time, and how much of it was lost to workflows that "
        "failed or were cancelled. It needs the recording rules.",
        others=places.others(places.USAGE_UID),
        settings=thresholds["settings"],
        variables=[by()],
        span="7d",
        refresh="5m",
        rows=[Row("", _totals()), Row("By $by", _by_slice()), Row("Over time", _over_time())],
    )


def _bars(about: About, query: Query, colors: Mapping[str, str] | None = None) -> timeseries.Panel:
    """Sums of whole hours, which are what is recorded."""
    panel = counts(about, query, colors=colors, no_value=_RECORDED, legend="beside")
    return panel.interval("1h").max_data_points(90)


def _within(metric: str, status: str = "", moved: str = "", *grouped: str) -> str:
    """A sum over the whole hours of the time range."""
    of_status = f', status=~"{status}"' if status else ""
    group = f" by ({', '.join(grouped)})" if grouped else ""
    over = f'{metric}{{account=~"$account"{of_status}}}[$__range:1h]'
    return f"sum{group} (sum_over_time({over}{moved}))"


def _hours(status: str = "", moved: str = "", *grouped: str) -> str:
    return f"{_within(_SECONDS, status, moved, *grouped)} / 3600"


def _wasted(moved: str = "", *grouped: str) -> str:
    all_hours = _within(_SECONDS, "", moved, *grouped)
    return f"{_within(_SECONDS, _LOST, moved, *grouped)} / ({all_hours} > 0)"


def _named(expr: str) -> str:
    """With the value of the chosen label in one of a fixed name, which a column can have."""
    return f'sum by (who) (label_replace({expr}, "who", "$1", "$by", "(.*)"))'


def _totals() -> list[AnyPanel]:
    def both(now: str, before: str) -> list[Query]:
        return [Query(now, "now"), Query(before, "before")]

    colors = {"before": GREY}
    return [
        stats(
            About(
                "Runner hours",
                "How long workflows ran in total, in hours. *Before*: in the previous time range "
                "of the same length; with the range of 7 days, this is the week before.",
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
                "The share of the runner hours used by workflows that failed or were cancelled. "
                "The table below shows whose they were.",
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
                "How many workflows ended, with any outcome. Estimated from recorded hours: the "
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
                "How many pictures and videos completed workflows produced, as far as streams "
                "reported them.",
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
                "Who used the hours, and how many of them went into workflows that failed or "
                "were cancelled; *wasted* is the share of both. *Change* compares the hours with "
                "the previous time range. To export it: panel menu, *Inspect*, *Data*, *Download "
                "CSV*.",
                HOURS,
                width=24,
                height=7,
            ),
            [
                Column("who", "whose"),
                Column("Value #A", "hours", unit=HOURS, width=110, decimals=1),
                Column("Value #H", "change", unit=SHARE, width=95),
                Column("Value #B", "of failed", unit=HOURS, width=110, decimals=1),
                Column("Value #C", "of cancelled", unit=HOURS, width=120, decimals=1),
                Column("Value #D", "wasted", unit=SHARE, width=100, decimals=1, limits=WASTED),
                Column("Value #E", "runs", unit=COUNT, width=100),
                Column("Value #F", "failed runs", unit=COUNT, width=115),
                Column("Value #G", "outputs", unit=COUNT, width=110),
            ],
            Query(_named(_hours("", "", "$by"))),
            Query(_named(_hours("failed", "", "$by"))),
            Query(_named(_hours("cancelled", "", "$by"))),
            Query(_named(_wasted("", "$by"))),
            Query(_named(f"round({_within(_ENDED, '', '', '$by')})")),
            Query(_named(f"round({_within(_ENDED, 'failed', '', '$by')})")),
            Query(_named(f"round({_within(_OUTPUTS, '', '', '$by')})")),
            Query(_named(change)),
            sort_by="hours",
            no_value=_RECORDED,
        ),
    ]


def _over_time() -> list[AnyPanel]:
    def each(metric: str, by: str, status: str = "") -> str:
        of_status = f', status=~"{status}"' if status else ""
        over = f'{metric}{{account=~"$account"{of_status}}}[$__interval:1h]{_WHOLE}'
        return f"sum by ({by}) (sum_over_time({over}))"

    def largest(largest: str) -> str:
        return f" and on ($by) topk(12, {largest})"

    return [
        _bars(
            About(
                "Runner hours by outcome",
                "The hours in each bar, by outcome. Red that grows while the rest stays the "
                "same: runs fail later, or more of them fail.",
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
                "The twelve that used most in this time range; all others are left out.",
                HOURS,
                width=12,
                height=9,
            ),
            Query(
                named(f"({each(_SECONDS, '$by')} / 3600)" + largest(_hours("", _AT_END, "$by"))),
                "{{whose}}",
            ),
        ),
        _bars(
            About(
                "Wasted hours by $by",
                "The hours of workflows that failed or were cancelled, for the twelve that lost "
                "most.",
                HOURS,
                width=12,
                height=9,
                links=[places.runbook("ComfyControlFailureRatioHigh")],
            ),
            Query(
                named(
                    f"({each(_SECONDS, '$by', _LOST)} / 3600)"
                    + largest(_hours(_LOST, _AT_END, "$by"))
                ),
                "{{whose}}",
            ),
        ),
        _bars(
            About(
                "Completed runs by $by",
                "How many workflows completed, for the twelve with most runs.",
                COUNT,
                width=12,
                height=9,
            ),
            Query(
                named(
                    f"round({each(_ENDED, '$by', 'completed')})"
                    + largest(_within(_ENDED, "", _AT_END, "$by"))
                ),
                "{{whose}}",
            ),
        ),
    ]
