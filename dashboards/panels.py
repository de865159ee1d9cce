"""The kinds of panels on the dashboards, and the settings that all panels of a kind share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeVar

from grafana_foundation_sdk.builders import common as common_build
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.builders import (
    heatmap,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.models import common, units
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import table as table_model
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode, HeatmapColorScale
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from dashboards.places import DATASOURCE

AnyPanel = timeseries.Panel | stat.Panel | table.Panel | heatmap.Panel | statetimeline.Panel
_P = TypeVar("_P", timeseries.Panel, stat.Panel, table.Panel, heatmap.Panel, statetimeline.Panel)

GREEN: Final = "green"
"""Good: it completed, or was answered. On tiles: no alert fires."""
BLUE: Final = "blue"
"""Running."""
YELLOW: Final = "yellow"
"""Waiting."""
ORANGE: Final = "orange"
"""A warning, or an error of a client."""
RED: Final = "red"
"""Failed, or an alert fires."""
PURPLE: Final = "purple"
"""Refused (401, 403), or unreadable."""
GREY: Final = "#8e8e8e"
"""Cancelled or dropped on purpose, or shown for comparison."""
NEUTRAL: Final = "light-blue"
"""Without a meaning: it only tells accounts or exporters apart."""
CALM: Final = "#343b44"
"""A tile that needs no attention."""

STATUS_COLORS: Final[Mapping[str, str]] = {
    "accepted": "super-light-blue",
    "uploaded": "light-blue",
    "queued": YELLOW,
    "running": BLUE,
    "completed": GREEN,
    "failed": RED,
    "cancelled": GREY,
    "invalid": ORANGE,
}
"""The colour of each status, the same on all panels."""

UNSEEN: Final = "No exporter is scraped"
"""The text of a panel without data, if every exporter shows that data from its start."""

Legend = Literal["below", "totals", "beside", "hidden"]
"""The position of the legend: `beside` is a table with totals, for many series."""

COUNT: Final = units.LocaleFormat
"""All digits: `1 K` would hide an exact count."""
SHARE: Final = units.PercentUnit
SECONDS: Final = units.Seconds
CLOCK: Final = units.DurationInHoursMinutesSeconds
"""Seconds, for axes that reach minutes: Grafana would write `1.67 mins`."""
PER_MINUTE: Final = "suffix:/min"
LEAST_BAR: Final = "5m"
"""The shortest time that a bar covers: wide enough to be visible in a range of some hours."""


@dataclass(frozen=True, slots=True)
class Query:
    """One PromQL expression of a panel."""

    expr: str
    legend: str = ""
    exemplars: bool = False


@dataclass(frozen=True, slots=True)
class About:
    """The fields that every panel has."""

    title: str
    description: str
    """What it shows, and what to look for."""
    unit: str
    width: int
    """The width, in Grafana's 24 columns."""
    height: int = 8
    links: Sequence[build.DashboardLink] = ()


@dataclass(frozen=True, slots=True)
class Limits:
    """From which values on a panel is orange and red. With `falling`, lower values are worse."""

    worrying: float | None
    """None: there is no orange."""
    bad: float | None
    """None: there is no red."""
    falling: bool = False

    def steps(self, fine: str = GREEN) -> list[model.Threshold]:
        """The steps in Grafana's form: the colour from each value upwards."""
        if self.falling:
            colors = [(None, RED), (self.bad, ORANGE), (self.worrying, fine)]
            if self.worrying is None:
                colors = [(None, RED), (self.bad, fine)]
        else:
            colors = [(None, fine), (self.worrying, ORANGE), (self.bad, RED)]
        first, *others = colors
        kept = [first, *(step for step in others if step[0] is not None)]
        return [model.Threshold(value=value, color=color) for value, color in kept]


UP: Final = Limits(worrying=None, bad=1, falling=True)
"""1 is fine, 0 is not."""
NEVER: Final = Limits(worrying=None, bad=1)
"""For what should never happen: red from 1 on."""
SELDOM: Final = Limits(worrying=1, bad=None)
"""For what may happen, but should be looked at: orange from 1 on."""


def stats(  # noqa: PLR0913 (each is given by its name)
    about: About,
    *queries: Query,
    limits: Limits | None = None,
    texts: Mapping[str, tuple[str, str]] | None = None,
    names: Mapping[str, Mapping[str, tuple[str, str]]] | None = None,
    no_value: str,
    colors: Mapping[str, str] | None = None,
    decimals: int | None = None,
) -> stat.Panel:
    """Big numbers, as of the end of the time range.

    Instant queries: a range query would go on showing the last value there was, hours after
    it has gone. `texts` gives words and a colour for a value (`"0"`, `"NaN"`), `names` does for the
    series of one name, `no_value` says what it means that there is none.
    """
    panel = _common(stat.Panel(), about, queries, instant=True)
    panel.reduce_options(common_build.ReduceDataOptions().calcs(["last"]))
    panel.graph_mode(common.BigValueGraphMode.NONE)
    panel.text_mode(
        common.BigValueTextMode.VALUE_AND_NAME
        if any(query.legend for query in queries)
        else common.BigValueTextMode.VALUE
    )
    panel.no_value(no_value).mappings(_mappings(texts or {}))
    panel.color_mode(
        common.BigValueColorMode.BACKGROUND if limits else common.BigValueColorMode.VALUE
    )
    # Green only means that no alert fires. Colours are for what needs attention.
    if limits:
        panel.thresholds(_thresholds(limits, CALM)).color_scheme(_by_threshold())
    else:
        panel.thresholds(_plain("text"))
    for name, color in (colors or {}).items():
        panel.override_by_name(name, [_fixed(color)])
    for name, of_name in (names or {}).items():
        panel.override_by_name(name, [_texts(of_name)])
    if decimals is not None:
        panel.decimals(decimals)
    return panel


def lines(  # noqa: PLR0913 (each is given by its name)
    about: About,
    *queries: Query,
    stacked: bool = False,
    limits: Limits | None = None,
    colors: Mapping[str, str] | None = None,
    dashed: str | None = None,
    aside: str | None = None,
    maximum: float | None = None,
    no_value: str = UNSEEN,
    legend: Legend = "below",
    link: build.DashboardLink | None = None,
) -> timeseries.Panel:
    """Values over time, from 0 upwards.

    A gap stays a gap: it says that nothing was seen. `dashed` is a pattern of the names of series
    that are there to compare with, `aside` the name of one that is so much larger that it has an
    axis of its own. `link` is where a click on a value leads.
    """
    panel = _common(timeseries.Panel(), about, queries)
    # A stack has no outlines: the outline of a 0 would look like a thin band.
    panel.min(0).line_width(0 if stacked else 2).fill_opacity(80 if stacked else 8)
    panel.show_points(
        common.VisibilityMode.NEVER if stacked else common.VisibilityMode.AUTO
    ).axis_border_show(False)
    if about.unit in _LEAST_MAXIMUM:
        panel.axis_soft_max(_LEAST_MAXIMUM[about.unit])
    panel.tooltip(
        common_build.VizTooltipOptions()
        .mode(common.TooltipDisplayMode.MULTI)
        .sort(common.SortOrder.DESCENDING)
    )
    panel.legend(_legend(legend)).color_scheme(_colors([query.legend for query in queries]))
    if stacked:
        panel.stacking(common_build.StackingConfig().mode(common.StackingMode.NORMAL).group("A"))
    panel.thresholds(_thresholds(limits) if limits else _plain())
    panel.thresholds_style(_threshold_lines(drawn=limits is not None))
    if maximum is not None:
        panel.max(maximum)
    panel.no_value(no_value)
    if link is not None:
        panel.data_links([link])
    for name, color in (colors or {}).items():
        panel.override_by_name(name, [_fixed(color)])
    if dashed is not None:
        panel.override_by_regexp(dashed, _DASHED)
    if aside is not None:
        panel.override_by_name(aside, _aside(aside, (colors or {}).get(aside, GREY)))
    return panel


_LEAST_MAXIMUM: Final[Mapping[str, float]] = {
    COUNT: 4,
    PER_MINUTE: 1,
    SHARE: 0.2,
    CLOCK: 20,
}
"""How far an axis reaches at least: that of a line of zeros would reach to 100. Ticks of what is
written without decimals are then whole, and none repeats."""


def counts(  # noqa: PLR0913 (each is given by its name)
    about: About,
    *queries: Query,
    colors: Mapping[str, str] | None = None,
    stacked: bool = True,
    shares: bool = False,
    apart: str | None = None,
    legend: Legend = "totals",
    no_value: str = UNSEEN,
) -> timeseries.Panel:
    """How often something happened, as bars; the legend has the totals.

    For what happens now and then, where a rate is a line of a pixel's width. The queries are
    `counted`. `shares` makes all bars as high as each other; without `stacked`, what is compared
    is steps, as bars would hide each other. `apart` is the name of a series that is the sum of all
    others, which only the legend has.
    """
    panel = lines(about, *queries, colors=colors, no_value=no_value, legend=legend)
    if stacked:
        mode = common.StackingMode.PERCENT if shares else common.StackingMode.NORMAL
        panel.stacking(common_build.StackingConfig().mode(mode).group("A"))
        panel.draw_style(common.GraphDrawStyle.BARS).bar_width_factor(0.9).line_width(0)
        panel.bar_alignment(common.BarAlignment.BEFORE).fill_opacity(85)
    else:
        panel.line_interpolation(common.LineInterpolation.STEP_BEFORE)
    panel.decimals(0)
    if legend == "beside":
        panel.color_scheme(_in_turn())
    panel.show_points(common.VisibilityMode.NEVER)
    if shares:
        panel.axis_soft_max(1)
    if apart is not None:
        panel.override_by_name(apart, _APART)
    return panel.interval(LEAST_BAR).max_data_points(80)


def counted(selector: str, *by: str) -> str:
    """How often a counter rose within each bar.

    A rate over a bar and one scrape, times the bar, is what it rose by from the first to the last
    scrape: `increase()` would add what may have been before and after.
    """
    grouped = f"sum by ({', '.join(by)})" if by else "sum"
    return f"round({grouped} (rate({selector}[$__rate_interval])) * $__interval_ms / 1000)"


def _fixed(color: str) -> model.DynamicConfigValue:
    return model.DynamicConfigValue(id_val="color", value={"mode": "fixed", "fixedColor": color})


def _texts(texts: Mapping[str, tuple[str, str]]) -> model.DynamicConfigValue:
    value = [mapping.to_json() for mapping in _mappings(texts)]
    return model.DynamicConfigValue(id_val="mappings", value=value)


def _aside(name: str, color: str) -> list[model.DynamicConfigValue]:
    return [
        _fixed(color),
        model.DynamicConfigValue(id_val="custom.axisPlacement", value="right"),
        model.DynamicConfigValue(id_val="custom.axisLabel", value=name),
        model.DynamicConfigValue(id_val="custom.fillOpacity", value=0),
        model.DynamicConfigValue(id_val="custom.lineWidth", value=1),
    ]


_APART: Final = [
    _fixed(GREY),
    model.DynamicConfigValue(
        id_val="custom.hideFrom", value={"viz": True, "legend": False, "tooltip": False}
    ),
    model.DynamicConfigValue(id_val="custom.stacking", value={"mode": "none", "group": "A"}),
]
_DASHED: Final = [
    model.DynamicConfigValue(id_val="custom.lineStyle", value={"fill": "dash", "dash": [8, 8]}),
    model.DynamicConfigValue(id_val="custom.fillOpacity", value=0),
    model.DynamicConfigValue(id_val="custom.lineWidth", value=1),
]


def buckets(about: About, query: Query, *, scheme: str) -> heatmap.Panel:
    """A histogram over time: the darker a cell, the more values are in it."""
    panel = _common(heatmap.Panel(), about, [query], query_format=PromQueryFormat.HEATMAP)
    panel.no_value(UNSEEN)
    panel.calculate(False).cell_gap(1).show_legend().show_value(common.VisibilityMode.NEVER)
    panel.filter_values(heatmap.FilterValueRange().le(1e-9))
    panel.color(
        heatmap.HeatmapColorOptions()
        .mode(HeatmapColorMode.SCHEME)
        .scheme(scheme)
        .scale(HeatmapColorScale.EXPONENTIAL)
        .exponent(0.5)
        .steps(64)
    )
    panel.y_axis(heatmap.YAxisConfig().unit(about.unit).axis_placement(common.AxisPlacement.LEFT))
    panel.exemplars_color("rgba(31, 120, 255, 0.9)")
    panel.cell_values(heatmap.CellValues().decimals(1).unit(PER_MINUTE))
    panel.mode(common.TooltipDisplayMode.SINGLE).show_y_histogram()
    # Cells that are wide enough to see, and contain enough runs for a colour.
    return panel.max_data_points(80)


def states(about: About, query: Query, texts: Mapping[str, tuple[str, str]]) -> statetimeline.Panel:
    """Which state applied at which time: a band for each series."""
    panel = _common(statetimeline.Panel(), about, [query])
    panel.mappings(_mappings(texts)).merge_values(True).row_height(0.8).fill_opacity(80)
    panel.show_value(common.VisibilityMode.NEVER).no_value(UNSEEN)
    return panel.legend(_legend("below")).thresholds(_plain())


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table."""

    field: str
    """A label, or `Value` (`Value #A` where there are several queries)."""
    title: str
    unit: str | None = None
    width: int | None = None
    limits: Limits | None = None
    link: build.DashboardLink | None = None
    texts: Mapping[str, tuple[str, str]] | None = None
    decimals: int = 0
    filled: bool = False
    """Whether the colours of its values fill the cell."""


class _Table(table.Panel):
    """Removes the builder's footer: Grafana 13 has none, and 11 shows none by default."""

    def build(self) -> model.Panel:
        made = super().build()
        if isinstance(made.options, table_model.Options):
            made.options.footer = None
        return made


def rows(
    about: About, columns: Sequence[Column], *queries: Query, sort_by: str, no_value: str
) -> table.Panel:
    """A table of instant queries, joined by their common labels. It shows only `columns`."""
    panel = _common(_Table(), about, queries, instant=True, query_format=PromQueryFormat.TABLE)
    panel.no_value(no_value).show_header(True).cell_height(common.TableCellHeight.SM)
    panel.thresholds(_plain()).filterable(True)
    panel.sort_by([common_build.TableSortByFieldState().display_name(sort_by).desc(True)])
    if len(queries) > 1:
        panel.with_transformation(model.DataTransformerConfig(id_val="merge", options={}))
    panel.with_transformation(
        model.DataTransformerConfig(
            id_val="filterFieldsByName",
            options={"include": {"names": [column.field for column in columns]}},
        )
    )
    panel.with_transformation(
        model.DataTransformerConfig(
            id_val="organize",
            options={
                "indexByName": {column.field: i for i, column in enumerate(columns)},
                "renameByName": {column.field: column.title for column in columns},
            },
        )
    )
    for column in columns:
        panel.override_by_name(column.title, _column_properties(column))
    return panel


def _column_properties(column: Column) -> list[model.DynamicConfigValue]:
    # The panel's text for "no row" would appear in each cell without a value.
    properties: dict[str, object] = {"noValue": "-"}
    if column.unit is not None:
        properties["unit"] = column.unit
        properties["decimals"] = column.decimals
    if column.width is not None:
        properties["custom.width"] = column.width
    if column.limits is not None:
        properties["thresholds"] = _thresholds(column.limits).build().to_json()
        properties["color"] = {"mode": "thresholds"}
        properties["custom.cellOptions"] = {"type": "color-text"}
    if column.filled:
        properties["custom.cellOptions"] = {"type": "color-background", "mode": "basic"}
    if column.texts is not None:
        properties["mappings"] = _texts(column.texts).value
    if column.link is not None:
        link = column.link.build()
        properties["links"] = [{"title": link.title, "url": link.url, "targetBlank": True}]
    return [model.DynamicConfigValue(id_val=id_val, value=v) for id_val, v in properties.items()]


def _common(
    panel: _P,
    about: About,
    queries: Sequence[Query],
    *,
    instant: bool = False,
    query_format: PromQueryFormat = PromQueryFormat.TIME_SERIES,
) -> _P:
    panel.title(about.title).description(about.description).unit(about.unit)
    panel.span(about.width).height(about.height).datasource(DATASOURCE)
    if about.links:
        panel.links(list(about.links))
    for ref_id, query in zip("ABCDEFGH", queries, strict=False):
        target = prometheus.Dataquery().ref_id(ref_id).datasource(DATASOURCE)
        target.expr(query.expr).format(query_format)
        target = target.instant() if instant else target.range()
        if query.legend:
            target.legend_format(query.legend)
        if query.exemplars:
            target.exemplar(True)
        panel.with_target(target)
    return panel


def _legend(where: Legend) -> common_build.VizLegendOptions:
    if where == "beside":
        return (
            common_build.VizLegendOptions()
            .display_mode(common.LegendDisplayMode.TABLE)
            .placement(common.LegendPlacement.RIGHT)
            .show_legend(True)
            .calcs(["sum", "max"])
            .sort_by("Total")
            .sort_desc(True)
        )
    return (
        common_build.VizLegendOptions()
        .display_mode(common.LegendDisplayMode.LIST)
        .placement(common.LegendPlacement.BOTTOM)
        .show_legend(where != "hidden")
        .calcs(["sum"] if where == "totals" else [])
    )


def _thresholds(limits: Limits, fine: str = GREEN) -> build.ThresholdsConfig:
    return build.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(limits.steps(fine))


def _plain(color: str = GREEN) -> build.ThresholdsConfig:
    """No threshold. Otherwise Grafana would add its default, red from 80 on."""
    steps = [model.Threshold(value=None, color=color)]
    return build.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(steps)


def _threshold_lines(*, drawn: bool) -> common_build.GraphThresholdsStyleConfig:
    style = common.GraphThresholdsStyleMode
    return common_build.GraphThresholdsStyleConfig().mode(style.DASHED if drawn else style.OFF)


def _by_threshold() -> build.FieldColor:
    return build.FieldColor().mode(model.FieldColorModeId.THRESHOLDS)


def _in_turn() -> build.FieldColor:
    """Stacked bars need colours that differ clearly."""
    return build.FieldColor().mode(model.FieldColorModeId.PALETTE_CLASSIC)


def _colors(legends: Sequence[str]) -> build.FieldColor:
    if any("{{account}}" in legend for legend in legends):
        return _by_name()
    # Few, side by side: two of them must not have one colour, as two names may.
    return _in_turn() if "{{whose}}" in legends else _shades()


def _by_name() -> build.FieldColor:
    """Gives an account the same colour on all panels of all dashboards."""
    return build.FieldColor().mode(model.FieldColorModeId.PALETTE_CLASSIC_BY_NAME)


def _shades() -> build.FieldColor:
    """For exporters, endpoints and others: no colour that means an error or that all is well."""
    return build.FieldColor().mode(model.FieldColorModeId.SHADES).fixed_color(NEUTRAL)


def _mappings(texts: Mapping[str, tuple[str, str]]) -> list[model.ValueMapping]:
    mappings: list[model.ValueMapping] = []
    for index, (value, (text, color)) in enumerate(texts.items()):
        result = model.ValueMappingResult(text=text, color=color, index=index)
        if value == "NaN":
            match = model.SpecialValueMatch.NA_N
            options = model.DashboardSpecialValueMapOptions(match=match, result=result)
            mappings.append(model.SpecialValueMap(options=options))
        else:
            mappings.append(model.ValueMap(options={value: result}))
    return mappings
