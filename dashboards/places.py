"""The addresses of what the dashboards link to: each other, their data, the runbooks."""

from typing import Final
from urllib.parse import quote

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.models import dashboard as model

OVERVIEW_UID: Final = "comfycontrol-overview"
HEALTH_UID: Final = "comfycontrol-exporter-health"
USAGE_UID: Final = "comfycontrol-usage"
"""Public names, because links and bookmarks use them."""

DATASOURCE: Final = model.DataSourceRef(type_val="prometheus", uid="${datasource}")
"""A variable, so that it works in any Grafana: imported, provisioned, with several sources."""


def runbook(alert: str) -> build.DashboardLink:
    """A panel's link to the runbook of this alert."""
    return (
        build.DashboardLink(f"Runbook: {alert}")
        .type(model.DashboardLinkType.LINK)
        .url(f"${{runbooks}}/{quote(alert)}.md")
        .target_blank(True)
    )


def runbook_of_row() -> build.DashboardLink:
    """A table's link from an alert's name (without the common prefix) to its runbook."""
    return (
        build.DashboardLink("What to do")
        .type(model.DashboardLinkType.LINK)
        .url("${runbooks}/ComfyControl${__value.raw}.md")
        .target_blank(True)
    )


def workflow_of(value: str) -> build.DashboardLink:
    """A link to the exporter's page about a workflow; `value` is filled in by Grafana."""
    return (
        build.DashboardLink("Its history")
        .type(model.DashboardLinkType.LINK)
        .url(f"${{exporter_url}}/workflows/{value}")
        .target_blank(True)
    )


def board(title: str, uid: str) -> build.DashboardLink:
    """A link to another dashboard, with the same time range and variables."""
    return (
        build.DashboardLink(title)
        .type(model.DashboardLinkType.LINK)
        .icon("dashboard")
        .url(f"/d/{uid}")
        .keep_time(True)
        .include_vars(True)
    )


def panel_board(title: str, uid: str) -> build.DashboardLink:
    """A panel's link to another dashboard. Panels have no `keep_time`: it is in the address."""
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
    """Links to all other dashboards."""
    return [board(title, other) for other, title in _TITLES.items() if other != uid]
