"""What the dashboards have in common: variables, links to each other, rows, ids of panels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.models import dashboard as model

from dashboards import places
from dashboards.panels import AnyPanel

_IDS_PER_ROW: Final = 100


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under a heading. The first row of a dashboard has no heading."""

    title: str
    panels: Sequence[AnyPanel]


def board(  # noqa: PLR0913 (each is given by its name)
    *,
    uid: str,
    title: str,
    description: str,
    others: Sequence[build.DashboardLink],
    settings: Mapping[str, str],
    rows: Sequence[Row],
    variables: Sequence[build.IntervalVariable | build.QueryVariable] = (),
    span: str = "6h",
    refresh: str = "30s",
) -> model.Dashboard:
    """A whole board, of the last `span`.

    Hidden variables keep where runbooks are read, and where the exporter's own pages are.
    """
    made = (
        build.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags(["comfycontrol"])
        # What one engineer sees, and what the logs say, is what another sees elsewhere.
        .timezone("utc")
        .time(f"now-{span}", "now")
        .refresh(refresh)
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .readonly()
        .with_variable(_datasource())
        .with_variable(_account())
        .annotation(_grafanas_own())
        .annotation(_firing_alerts())
        .annotation(_restarts())
    )
    for other in others:
        made.link(other)
    made.link(_all_runbooks())
    for variable in variables:
        made.with_variable(variable)
    for name, setting in (("runbooks", "runbooks"), ("exporter_url", "exporter")):
        made.with_variable(build.ConstantVariable(name).value(settings[setting]))
    for number, row in enumerate(rows):
        if row.title:
            made.with_row(build.Row(row.title).id(number * _IDS_PER_ROW))
        for index, panel in enumerate(row.panels, start=1):
            # From its place in its row: a new panel elsewhere changes no link to this one.
            made.with_panel(panel.id(number * _IDS_PER_ROW + index))
    return made.build()


def _datasource() -> build.DatasourceVariable:
    return build.DatasourceVariable("datasource").label("Prometheus").type("prometheus")


def _account() -> build.QueryVariable:
    return (
        build.QueryVariable("account")
        .label("Account")
        .datasource(places.DATASOURCE)
        .query(
            {
                "query": "label_values(comfycontrol_account_listed, account)",
                "refId": "account",
                "qryType": 1,
            }
        )
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        # Not a list of those there are: one that appears while the board is open shows as well.
        .all_value(".*")
        .current(model.VariableOption(selected=True, text="All", value="$__all"))
    )


def window() -> build.IntervalVariable:
    """The window of quantiles and ratios, which mean little over a handful of workflows.

    By itself it follows the time range: over days, a quarter of an hour would be less than a step,
    and what lies between two windows would be seen by none.
    """
    choices = ("5m", "15m", "1h", "6h", "1d")
    by_itself = "$__auto_interval_window"
    return (
        build.IntervalVariable("window")
        .label("Averaged over")
        .values(",".join(choices))
        .auto(True)
        .step_count(24)
        .min_interval("15m")
        .options(
            [
                model.VariableOption(selected=True, text="auto", value=by_itself),
                *(model.VariableOption(selected=False, text=c, value=c) for c in choices),
            ]
        )
        .current(model.VariableOption(selected=True, text="auto", value=by_itself))
    )


def by() -> build.QueryVariable:
    """What things are told apart by: the account, or one of the slices that are configured.

    The slices come first, so that a board is by the first of them where there are any.
    """
    named = "max by (slice) (comfycontrol_exporter_slice_info)"
    account = 'label_replace(vector(0), "slice", "account", "", "")'
    return (
        build.QueryVariable("by")
        .label("By")
        .datasource(places.DATASOURCE)
        .query(
            {
                "query": f"query_result(sort_desc({named} or {account}))",
                "refId": "by",
                "qryType": 3,
            }
        )
        .regex('/slice="([^"]+)"/')
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.DISABLED)
    )


def _all_runbooks() -> build.DashboardLink:
    return (
        build.DashboardLink("Runbooks")
        .type(model.DashboardLinkType.LINK)
        .icon("doc")
        .url("${runbooks}")
        .target_blank(True)
    )


def _grafanas_own() -> build.AnnotationQuery:
    """Annotations that people add by hand. Without this entry they are not shown."""
    return (
        build.AnnotationQuery()
        .name("Annotations & Alerts")
        .datasource(model.DataSourceRef(type_val="grafana", uid="-- Grafana --"))
        .enable(True)
        .hide(True)
        .icon_color("rgba(0, 211, 255, 1)")
        .type("dashboard")
        .built_in(1)
    )


class _EventModel(model.AnnotationQuery):
    """With three keys of Grafana's Prometheus data source that the SDK lacks."""

    def __init__(self, shown: Mapping[str, str]) -> None:
        super().__init__()
        self._shown = shown

    def to_json(self) -> dict[str, object]:
        return {**super().to_json(), **self._shown}


class _Event(build.AnnotationQuery):
    """What Prometheus knows to have happened.

    Title and text are made of labels that all have, as Grafana writes the name of one that is
    missing; what only some have goes into `tags`.
    """

    def __init__(self, *, title: str, text: str, tags: Sequence[str]) -> None:
        super().__init__()
        self._internal = _EventModel(
            {"titleFormat": title, "textFormat": text, "tagKeys": ",".join(tags)}
        )
        self.datasource(places.DATASOURCE).enable(True)


def _firing_alerts() -> build.AnnotationQuery:
    return (
        _Event(
            title="{{alertname}}",
            text="{{severity}}",
            tags=["account", "node_type", "status", "label", "instance", "reason"],
        )
        .name("Firing alerts")
        .icon_color("red")
        .expr('ALERTS{alertname=~"ComfyControl.+", alertstate="firing", account=~"$account|"}')
    )


def _restarts() -> build.AnnotationQuery:
    return (
        _Event(title="Exporter restart", text="{{instance}}", tags=["job"])
        .name("Exporter restarts")
        .icon_color("blue")
        .expr(
            "changes(process_start_time_seconds[$__rate_interval])"
            " and on (job, instance) comfycontrol_exporter_build_info > 0"
        )
    )
