"""Where things are that the boards name: each other, their data, the runbooks."""

from typing import Final
from urllib.parse import quote

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.models import dashboard as model

OVERVIEW_UID: Final = "comfycontrol-overview"
HEALTH_UID: Final = "comfycontrol-exporter-health"
USAGE_UID: Final = "comfycontrol-usage"
"""Public, as links and bookmarks hang on them."""

DATASOURCE: Final = model.DataSourceRef(type_val="prometheus", uid="${datasource}")
"""The variable makes a board work in any Grafana: uploaded, provisioned, with several sources."""


def runbook(alert: str) -> build.DashboardLink:
    """A panel's link to what to do when this alert fires."""
    return (
        build.DashboardLink(f"Runbook: {alert}")
        .type(model.DashboardLinkType.LINK)
        .url(f"${{runbooks}}/{quote(alert)}.md")
        .target_blank(True)
    )


def runbook_of_row() -> build.DashboardLink:
    """A table's link from the name of an alert, without what all begin with, to its runbook."""
    return (
        build.DashboardLink("What to do")
        .type(model.DashboardLinkType.LINK)
        .url("${runbooks}/ComfyControl${__value.raw}.md")
        .target_blank(True)
    )


def workflow_of(value: str) -> build.DashboardLink:
    """A link to the exporter's own page about a workflow; `value` is what Grafana fills in."""
    return (
        build.DashboardLink("Its history")
        .type(model.DashboardLinkType.LINK)
        .url(f"${{exporter_url}}/workflows/{value}")
        .target_blank(True)
    )


def board(title: str, uid: str) -> build.DashboardLink:
    """A link to another board that keeps the time range and the variables."""
    return (
        build.DashboardLink(title)
        .type(model.DashboardLinkType.LINK)
        .icon("dashboard")
        .url(f"/d/{uid}")
        .keep_time(True)
        .include_vars(True)
    )


def panel_board(title: str, uid: str) -> build.DashboardLink:
    """A panel's link to another board; panels know no `keep_time`, so the address says it."""
    return (
        build.DashboardLink(title)
        .type(model.DashboardLinkType.LINK)
        .url(f"/d/{uid}?${{__url_time_range}}&${{__all_variables}}")
    )


_TITLES: Final = {
    OVERVIEW_UID: "Overview",
    HEALTH_UID: "Exporter health",
    USAGE_UID: "Usage",
}


def others(uid: str) -> list[build.DashboardLink]:
    """Links to all boards but this one."""
    return [board(title, other) for other, title in _TITLES.items() if other != uid]
