"""The first row of both dashboards: which alerts fire or are pending, and which accounts are up."""

from typing import Final

from dashboards import places
from dashboards.marks import STILL
from dashboards.panels import (
    CALM,
    CLOCK,
    COUNT,
    GREEN,
    GREY,
    ORANGE,
    RED,
    UP,
    YELLOW,
    About,
    AnyPanel,
    Column,
    Limits,
    Query,
    rows,
    stats,
)

_OURS: Final = 'alertname=~"ComfyControl.+"'
"""For all accounts, whichever is chosen: another account may have the problem."""
_FIRING: Final = f'ALERTS{{alertstate="firing", {_OURS}'
_PENDING: Final = f'ALERTS{{alertstate="pending", {_OURS}}}'

_RULES_LOADED: Final = "last_over_time(account:comfycontrol_workflows_waiting:sum[15m])"
"""From a recording rule. It exists only where the rules are evaluated."""

_WAITING: Final = 'status=~"accepted|uploaded|queued"'

_SINCE_IT_MOVED: Final = (
    "(time() - max by (account) (comfycontrol_last_progress_timestamp_seconds"
    '{account=~"$account"}))'
)
_SINCE_IT_WAITS: Final = (
    "(time() - min by (account) (comfycontrol_oldest_workflow_created_timestamp_seconds"
    f'{{account=~"$account", {_WAITING}}}))'
)
SEEN: Final = (
    ' and on (account) (max by (account) (comfycontrol_account_up{account=~"$account"}) == 1)'
)
"""Leaves out accounts that are down: their old values would look as if all was well."""

STANDS_STILL: Final = (
    f"(({_SINCE_IT_MOVED} <= on (account) {_SINCE_IT_WAITS} or on (account) {_SINCE_IT_WAITS})"
    " and on (account) sum by (account) "
    f'(comfycontrol_workflows{{account=~"$account", {_WAITING}}}) > 0)'
)
"""By account: for how long something has waited and nothing has started or ended. Not there where
nothing waits: a night without work is no standstill."""


def alerts() -> AnyPanel:
    """How many alerts fire; if none does, whether the rules are evaluated at all."""
    none = (
        f"(1 + 0 * count({STANDS_STILL} > {STILL}) or on () 0 * count({_RULES_LOADED})"
        f" or on () vector(2)) unless on () count({_FIRING}}})"
    )
    return stats(
        About(
            "Alerts",
            "How many alerts fire and how many are pending (the condition holds, but not yet for "
            "long enough). Green: none fires, no queue is stuck, and the rules are evaluated. "
            "This covers all accounts, independent of the selection at the top. Without the "
            "alerting rules this panel cannot show anything.",
            COUNT,
            width=4,
            height=7,
        ),
        *(
            Query(f'count({_FIRING}, severity="{severity}"}})', severity)
            for severity in ("critical", "warning", "info")
        ),
        Query(f"count({_PENDING})", "pending"),
        Query(none, "now"),
        limits=Limits(worrying=None, bad=None),
        colors={"critical": RED, "warning": ORANGE, "info": GREY, "pending": YELLOW},
        names={
            "now": {
                "0": ("nothing fires", GREEN),
                "1": ("nothing fires yet", ORANGE),
                "2": ("no rules loaded", ORANGE),
            }
        },
        no_value="not scraped",
    )


def firing(*, exporter: bool) -> AnyPanel:
    """Each alert, with a link to its runbook."""
    by = ["alertname", "reason", "account", "node_type", "whose", "severity"]
    if exporter:
        by = ["alertname", "reason", "account", "instance", "severity"]
    labels = ", ".join(by)

    def named(expression: str) -> str:
        """Without the common prefix of the names, because the column is narrow."""
        short = (
            f"label_replace(max by ({labels}) ({expression}),"
            ' "alertname", "$1", "alertname", "ComfyControl(.+)")'
        )
        # An alert is of a node, or of one value of a slice: one column does for both.
        return short if exporter else f'label_replace({short}, "node_type", "$1", "whose", "(.+)")'

    rank = (
        f'4 * {_FIRING}, severity="critical"}} or 3 * {_FIRING}, severity="warning"}}'
        f' or 2 * {_FIRING}, severity!~"critical|warning"}} or {_PENDING}'
    )
    about = [Column("node_type", "Node or team", width=140)]
    if exporter:
        about = [Column("instance", "Exporter", width=140)]
    return rows(
        About(
            "What fires",
            "Every alert that fires or is pending, the most severe first. Its name links to its "
            "runbook: what it means, how to find the cause, and what to do. The last column "
            "shows how long the condition has held. This covers all accounts, independent of the "
            "selection at the top.",
            COUNT,
            width=13,
            height=7,
        ),
        [
            Column(
                "Value #A",
                "Is",
                width=76,
                texts={
                    "4": ("critical", RED),
                    "3": ("warning", ORANGE),
                    "2": ("info", GREY),
                    "1": ("pending", YELLOW),
                },
                filled=True,
            ),
            Column("alertname", "Alert", link=places.runbook_of_row()),
            Column("reason", "Reason", width=92),
            Column("account", "Account", width=95),
            *about,
            Column("Value #B", "For", unit=CLOCK, width=82),
        ],
        Query(named(rank)),
        Query(named(f"time() - ALERTS_FOR_STATE{{{_OURS}}}")),
        sort_by="Is",
        no_value="No alert fires or is pending",
    )


def stands_still(limits: Limits) -> AnyPanel:
    """How long a queue has stood still: it rises before the alerts on queues fire."""
    return stats(
        About(
            "Stands still",
            "For how long workflows have waited while nothing started or ended, in the account "
            "where that is longest. Orange: check whether anything runs there; a long run with "
            "others waiting behind it looks the same. Red: the queue alerts are about to fire.",
            CLOCK,
            width=3,
            height=7,
            links=[
                places.runbook("ComfyControlNothingStarts"),
                places.runbook("ComfyControlQueueStuck"),
            ],
        ),
        Query(f"topk(1, {STANDS_STILL})", "{{account}}"),
        Query(
            f'(sum(comfycontrol_workflows{{account=~"$account", {_WAITING}}}) == 0)',
            "nowhere",
        ),
        limits=limits,
        names={"nowhere": {"0": ("nothing waits", CALM)}},
        no_value="not seen",
    )


def accounts(width: int) -> AnyPanel:
    """Which accounts are up. Those that are down are shown by name."""
    up = 'min by (account) (comfycontrol_account_up{account=~"$account"})'
    waits = (
        'max by (account) (comfycontrol_account_listed{account=~"$account"})'
        ' unless on (account) comfycontrol_account_up{account=~"$account"}'
    )
    exporters = "(up and on (job, instance) last_over_time(comfycontrol_exporter_build_info[1d]))"
    return stats(
        About(
            "Accounts",
            "Up: the service gives the usable answers that the account needs. Accounts that are "
            "down are listed with the cause, at most four, and so is an exporter that is not "
            "scraped. Once an account has been down for 30 s, its open workflows are no longer "
            "shown; workflows that end in this time are counted when it is back. Nothing asked "
            "yet: the account waits for its first id. Gone: no exporter reports any account.",
            COUNT,
            width=width,
            height=7,
            links=[
                places.runbook("ComfyControlAccountDown"),
                places.runbook("ComfyControlExporterAbsent"),
                places.panel_board("Exporter health", places.HEALTH_UID),
            ],
        ),
        Query(f"topk(2, {exporters} == 0)", "{{instance}}"),
        Query(
            'topk(4, 0 * max by (account, cause) (comfycontrol_account_down{account=~"$account"}'
            f" == 1) or on (account) ({up} == 0))",
            "{{account}}, {{cause}}",
        ),
        Query(f"count({up} == 0) > 4", "down in all"),
        Query(f"count({up} == 1)", "up"),
        Query(f"count({waits})", "nothing asked yet"),
        limits=UP,
        texts={"0": ("down", RED)},
        colors={"down in all": RED, "nothing asked yet": GREY},
        no_value="gone",
    )
