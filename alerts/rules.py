"""Every recording rule and alert, as data.

`[[path]]` stands for a number or word of `thresholds.yml`; `alerts.build` puts it in, or what a
Helm template has in its place. Windows are fixed: the names of recording rules carry them.

Three things that each expression must survive, and how it does:

- an idle account: ratios divide by `(… > 0)`, so that 0/0 is absent, and ask for a least count;
- a restart: counters go on from the ledger, gauges are absent for moments, `account_up` until the
  first answer; every alert waits longer than that (`for`);
- a quiet night: one workflow that fails, or waits, is no symptom.

An account is that of one exporter: `job, instance, account`. Exporters that were started from the
environment alone all have one that is called `default`. A pod that moves keeps its `instance` where
the chart's monitors are used. Accounts of replicas that share a ledger have no `instance`
(docs/replicas.md), and what belongs to a process has one: where the two are joined, the sum or
maximum over the job, which has none either, stands beside that of each process.

One incident is one page: what fires for the same reason excludes each other, or the example for
Alertmanager silences it. Texts say what was measured, and of this exporter.
"""

from dataclasses import dataclass
from typing import Final

from alerts.needed import missing
from alerts.recordings import FAILURES_OVER, slow_share
from alerts.texts import (
    CAUSE,
    DOWN_LONG,
    DOWN_SHORT,
    LAST_ANSWER,
    MEANWHILE,
    OF_ACCOUNT,
    OLDEST,
    STANDSTILL,
    cap_of,
)

OVERVIEW: Final = "comfycontrol-overview"
HEALTH: Final = "comfycontrol-exporter-health"
"""The boards' uids in Grafana."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One way in which an alert fires."""

    expr: str
    when: str
    """For the table in the documentation."""
    summary: str
    description: str
    reason: str = ""
    """Distinguishes several conditions of one alert: a label, and the key in `thresholds.yml`."""
    by_slice: bool = False
    """Whether it is for each value of the slice in `settings.slice`, and not there without one."""


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert: one name, one runbook, one or more rules."""

    name: str
    board: str
    rules: tuple[Rule, ...]
    follows_account_down: bool = False
    """Whether it only repeats that the account is down: the example Alertmanager silences it."""


_TIME_TO_START: Final = "alerts.ComfyControlTimeToStartTooLong"
_PROMISE: Final = (
    "{{ [[objective.share]] | humanizePercentage }} of workflows start within "
    '{{ "[[objective.starts_within]]" | humanizeDuration }}'
)


def _burning(reason: str, long: str, short: str) -> Rule:
    path = f"{_TIME_TO_START}.{reason}"
    ratio = "account:comfycontrol_workflow_slow_starts:ratio_rate"
    limit = f"[[{path}.burn]] * (1 - [[objective.share]])"
    return Rule(
        reason=reason,
        # Between the starts of a small account the short window is empty. That is no proof of an
        # end: only starts that are in time are.
        expr=f"{ratio}{long} > {limit}\n"
        f"unless on (job, instance, account) {ratio}{short} <= {limit}\n"
        "and on (job, instance, account)\n"
        "  sum by (job, instance, account) "
        f"(increase(comfycontrol_workflows_started_total[{long}]))"
        f" >= [[{path}.at_least]]",
        when=f"starts later than [[objective.starts_within]] s use up the allowance of "
        f"1 - [[objective.share]] more than [[{path}.burn]] times too fast, over {long} and "
        f"{short} (if any start fell into it), of at least [[{path}.at_least]]",
        summary="Workflows of {{ $labels.account }} wait too long to start",
        description=f"{{{{ $value | humanizePercentage }}}} of the workflows that started within "
        f"the last {long} had waited longer than the objective, which is that {_PROMISE}.",
    )


_SLICE: Final = "[[settings.slice]]"
_OF_SLICE: Final = f"job, instance, account, {_SLICE}"
_IS_SLICED: Final = f'{_SLICE}!=""'
"""If the label is not configured, this matches nothing: the alert never fires."""
_WHOSE: Final = f"{_SLICE} {{{{ $labels.{_SLICE} }}}} in {{{{ $labels.account }}}}"


def _burning_of_slice() -> Rule:
    path = f"{_TIME_TO_START}.slice"
    limit = f"[[{path}.burn]] * (1 - [[objective.share]])"
    started = f"comfycontrol_workflows_started_total{{ {_IS_SLICED}}}"
    return Rule(
        reason="slice",
        by_slice=True,
        # As for the account as a whole.
        expr=f"(\n{slow_share('1h', _OF_SLICE, _IS_SLICED)}\n) > {limit}\n"
        f"unless on ({_OF_SLICE}) (\n{slow_share('5m', _OF_SLICE, _IS_SLICED)}\n) <= {limit}\n"
        f"and on ({_OF_SLICE})\n"
        f"  sum by ({_OF_SLICE}) (increase({started}[1h])) >= [[{path}.at_least]]",
        when="as `fast`, of one value of the slice in `settings.slice`: more than "
        f"[[{path}.burn]] times too fast, of at least [[{path}.at_least]]",
        summary=f"Workflows of {_WHOSE} wait too long to start",
        description=f"{{{{ $value | humanizePercentage }}}} of the workflows of {_SLICE} "
        f"{{{{ $labels.{_SLICE} }}}} that started within the last 1h had waited longer than the "
        f"objective, which is that {_PROMISE}.",
    )


def _many_of_slice_fail() -> Rule:
    path = "alerts.ComfyControlFailureRatioHigh.slice"

    def ended(status: str) -> str:
        selector = f'{{status=~"{status}", {_IS_SLICED}}}[{FAILURES_OVER}]'
        return f"sum by ({_OF_SLICE}) (increase(comfycontrol_workflows_finished_total{selector}))"

    return Rule(
        reason="slice",
        by_slice=True,
        expr=f"  {ended('failed')}\n/ ({ended('completed|failed')} >= [[{path}.at_least]])\n"
        f"> [[{path}.above]]",
        when="as `fast`, of one value of the slice in `settings.slice`: above "
        f"[[{path}.above]] over {FAILURES_OVER}, of at least [[{path}.at_least]]",
        summary=f"Many workflows of {_WHOSE} fail",
        description=f"{{{{ $value | humanizePercentage }}}} of the workflows of {_SLICE} "
        f"{{{{ $labels.{_SLICE} }}}} that ran to an end within the last {_WORDS[FAILURES_OVER]} "
        "failed"
        "{{ with printf `topk(1, sum by (node_type) (increase(comfycontrol_workflow_failures_total"
        f"{{job=%q, instance=%q, account=%q, {_SLICE}=%q}}[{FAILURES_OVER}])))` "
        f"{OF_ACCOUNT} $labels.{_SLICE} | query }}}}"
        ", most of them in {{ . | first | label `node_type` }}{{ end }}.",
    )


_WORDS: Final = {"30m": "30 minutes", "1h": "hour", "6h": "6 hours"}


def _many_fail(reason: str, window: str, recent: str = "") -> Rule:
    """Too large a share fails. If `recent` is given, the share within it must be too large too."""
    path = f"alerts.ComfyControlFailureRatioHigh.{reason}"
    ratio = "account:comfycontrol_workflows_failed:ratio_increase"
    ended = ""
    if recent:
        ended = f"unless on (job, instance, account) {ratio}{recent} <= [[{path}.above]]\n"
    return Rule(
        reason=reason,
        expr=f"{ratio}{window} > [[{path}.above]]\n{ended}"
        f"and on (job, instance, account) account:comfycontrol_workflows_ran:increase{window}"
        f" >= [[{path}.at_least]]",
        when=f"failed ÷ (completed + failed) is above [[{path}.above]] over {window}"
        + (f" and {recent} (if any ended in it)" if recent else "")
        + f", of at least [[{path}.at_least]]",
        summary="Many workflows of {{ $labels.account }} fail",
        description="{{ $value | humanizePercentage }} of the workflows that ran to an end "
        f"within the last {_WORDS[window]} failed.",
    )


def _node_type_fails(reason: str, window: str, recent: str = "") -> Rule:
    """One node type makes too many fail. What ran within `recent` can end it, as above."""
    path = f"alerts.ComfyControlNodeTypeFailing.{reason}"
    failures = "account_node_type:comfycontrol_workflow_failures:increase"

    def share(over: str) -> str:
        return (
            f"    {failures}{over}\n"
            "  / on (job, instance, account) group_left ()\n"
            f"    (account:comfycontrol_workflows_ran:increase{over} > 0)\n"
        )

    ended = f"\nunless\n{share(recent)}  <= [[{path}.above]]" if recent else ""
    return Rule(
        reason=reason,
        # Failures without a cause, and types beyond the cap, are no type.
        expr=f'{failures}{window}{{node_type!~"unknown|other"}} >= [[{path}.at_least]]\n'
        f"and\n{share(window)}  > [[{path}.above]]{ended}",
        when=f"at least [[{path}.at_least]] workflows failed in it over {window}, and more than "
        f"[[{path}.above]] of all that ran"
        + (f", also over {recent} (if any ended in it)" if recent else ""),
        summary="{{ $labels.node_type }} fails in {{ $labels.account }}",
        # %q quotes as PromQL does, whatever a node's author has called it.
        description="{{ $value | printf `%.0f` }} workflows failed in this node type "
        f"within the last {_WORDS[window]}"
        "{{ with printf `topk(1, sum by (exception_type) "
        "(increase(comfycontrol_workflow_failures_total"
        f"{{job=%q, instance=%q, account=%q, node_type=%q}}[{window}])))` "
        f"{OF_ACCOUNT} $labels.node_type | query }}}}"
        ", most of them with {{ . | first | label `exception_type` }}{{ end }}.",
    )


_FAILING: Final = "alerts.ComfyControlFailureRatioHigh"
_STUCK: Final = "alerts.ComfyControlQueueStuck"
_RUN: Final = "alerts.ComfyControlRunTooLong"
_NOTHING: Final = "alerts.ComfyControlNothingFinished"
_RATE: Final = "alerts.ComfyControlRateLimited"
_STALE: Final = "alerts.ComfyControlObservationsStale"
_LISTING: Final = "alerts.ComfyControlListingBehind"
_TOTALS: Final = "alerts.ComfyControlTotalsDiffer"

_DROPPED: Final = "alerts.ComfyControlWorkflowsDropped"

_AGE: Final = "account_status:comfycontrol_oldest_workflow:age_seconds"
_RUN_AGE: Final = "account:comfycontrol_longest_run:age_seconds"

ALERTS: Final = (
    Alert(
        "ComfyControlTimeToStartTooLong",
        OVERVIEW,
        (_burning("fast", "1h", "5m"), _burning("slow", "6h", "30m"), _burning_of_slice()),
    ),
    Alert(
        "ComfyControlFailureRatioHigh",
        OVERVIEW,
        (
            _many_fail("fast", FAILURES_OVER),
            _many_fail("slow", "6h", "1h"),
            _many_of_slice_fail(),
            Rule(
                reason="few",
                expr="max by (job, instance, account) (comfycontrol_workflows_failed_in_a_row)"
                f" >= [[{_FAILING}.few.in_a_row]]",
                when=f"the last [[{_FAILING}.few.in_a_row]] that ran to an end all failed, "
                "over whatever time",
                summary="The last {{ $value }} workflows of {{ $labels.account }} have failed",
                description="None of the last {{ $value }} workflows that ran to an end has "
                "completed, however long ago the first of them ended.",
            ),
        ),
    ),
    Alert(
        "ComfyControlNodeTypeFailing",
        OVERVIEW,
        (_node_type_fails("fast", FAILURES_OVER), _node_type_fails("slow", "6h", "1h")),
    ),
    Alert(
        "ComfyControlQueueStuck",
        OVERVIEW,
        (
            Rule(
                reason="not_moving",
                expr='sum by (job, instance, account) (comfycontrol_workflows{status="queued"})'
                f" >= [[{_STUCK}.not_moving.deep]]\n"
                # Where none runs, it is ComfyControlNothingStarts.
                "and on (job, instance, account)\n"
                '  sum by (job, instance, account) (comfycontrol_workflows{status="running"}) > 0\n'
                "and on (job, instance, account) "
                "account:comfycontrol_workflows_moved:increase15m == 0",
                when=f"at least [[{_STUCK}.not_moving.deep]] are queued, some run, and none "
                "started or ended in 15 min",
                summary="The queue of {{ $labels.account }} does not move",
                description=f"{{{{ $value }}}} workflows are queued{OLDEST}, some run, and "
                f"{STANDSTILL}.",
            ),
            Rule(
                reason="too_old",
                expr=f'{_AGE}{{status=~"accepted|uploaded|queued"}}'
                f" > [[{_STUCK}.too_old.above_seconds]]",
                when="the oldest that has not started was created more than "
                f"[[{_STUCK}.too_old.above_seconds]] s ago",
                summary="A workflow of {{ $labels.account }} has waited for "
                "{{ $value | humanizeDuration }}",
                description="The oldest workflow in status {{ $labels.status }} was created "
                "{{ $value | humanizeDuration }} ago and has not started.",
            ),
        ),
    ),
    Alert(
        "ComfyControlNothingStarts",
        OVERVIEW,
        (
            Rule(
                expr="account:comfycontrol_workflows_waiting:sum > 0\n"
                "and on (job, instance, account) "
                'sum by (job, instance, account) (comfycontrol_workflows{status="running"}) == 0\n'
                "and on (job, instance, account) "
                "account:comfycontrol_workflows_moved:increase15m == 0",
                when="something waits, nothing runs, and nothing started or ended in 15 min",
                summary="Nothing starts in {{ $labels.account }}, and {{ $value }} wait",
                description=f"{{{{ $value }}}} workflows wait{OLDEST}, none runs, and "
                f"{STANDSTILL}: no runner takes them.",
            ),
        ),
    ),
    Alert(
        "ComfyControlNoActiveRunner",
        OVERVIEW,
        (
            Rule(
                expr="account:comfycontrol_workflows_waiting:sum > 0\n"
                "and on (job, instance, account) "
                'sum by (job, instance, account) (comfycontrol_runners{status="active"}) == 0',
                when="something waits, and no runner of the account is active (where the account "
                "has a `runners` block)",
                summary="{{ $labels.account }} has no active runner, and {{ $value }} wait",
                description=f"{{{{ $value }}}} workflows wait{OLDEST}, and no runner is active"
                "{{ with printf `sum(comfycontrol_runners{job=%q, instance=%q, account=%q, "
                'status="disabled"})` '
                f"{OF_ACCOUNT} | query }}}}"
                "; {{ . | first | value }} are disabled{{ end }}.",
            ),
        ),
    ),
    Alert(
        "ComfyControlRunTooLong",
        OVERVIEW,
        (
            Rule(
                expr=f"{_RUN_AGE} > [[{_RUN}.above_seconds]]\n"
                f"and on (job, instance, account) {_RUN_AGE} > on (job, instance, account)\n"
                f"  [[{_RUN}.times_usual]] * "
                "account:comfycontrol_workflow_run_duration_seconds:p99_rate1d\n"
                "and on (job, instance, account)\n"
                "  sum by (job, instance, account) (increase("
                'comfycontrol_workflows_finished_total{status="completed"}[1d]))'
                f" >= [[{_RUN}.at_least]]",
                when=f"a run started more than [[{_RUN}.above_seconds]] s ago, and more than "
                f"[[{_RUN}.times_usual]] times the day's 99th percentile, of at least "
                f"[[{_RUN}.at_least]] completed",
                summary="A workflow of {{ $labels.account }} runs far longer than usual",
                description="The longest run started {{ $value | humanizeDuration }} ago: more "
                f"than [[{_RUN}.times_usual]] times the 99th percentile of the last day.",
            ),
        ),
    ),
    Alert(
        "ComfyControlNothingFinished",
        OVERVIEW,
        (
            Rule(
                # The hour looked at lies within the usual hours, and was watched from its start.
                expr="sum by (job, instance, account) "
                '(increase(comfycontrol_workflows_finished_total{status="completed"}[1h])) == 0\n'
                "and on (job, instance, account)\n"
                "  sum by (job, instance, account) "
                "(comfycontrol_workflows_finished_total offset 1h) >= 0\n"
                f"and on () hour() > [[{_NOTHING}.from_hour]]\n"
                f"and on () hour() < [[{_NOTHING}.to_hour]]\n"
                f"and on () day_of_week() >= [[{_NOTHING}.first_day]]\n"
                f"and on () day_of_week() <= [[{_NOTHING}.last_day]]",
                when=f"nothing completed for an hour, between [[{_NOTHING}.from_hour]] and "
                f"[[{_NOTHING}.to_hour]] h UTC on days [[{_NOTHING}.first_day]] to "
                f"[[{_NOTHING}.last_day]] of the week",
                summary="No workflow of {{ $labels.account }} has completed for an hour",
                description="In the usual hours ([[alerts.ComfyControlNothingFinished.from_hour]] "
                "to [[alerts.ComfyControlNothingFinished.to_hour]] h UTC) some "
                "workflows always complete.",
            ),
        ),
        follows_account_down=True,
    ),
    Alert(
        "ComfyControlAccountDown",
        HEALTH,
        (
            Rule(
                # Over a restart it is unknown until the first answer. One whose last answer failed,
                # and that has had nothing to ask since (its ids were withdrawn), is idle.
                expr="max by (job, instance, account) "
                "(last_over_time(comfycontrol_account_up[5m])) == 0\n"
                # Requests are those of a process: an account without `instance` is that of any.
                "and on (job, instance, account) (\n"
                "    sum by (job, instance, account) "
                "(increase(comfycontrol_api_requests_total[10m]))\n"
                "  or\n"
                "    sum by (job, account) (increase(comfycontrol_api_requests_total[10m]))\n"
                ") > 0",
                when="the service gives no usable answer to the requests that the account needs: "
                "its list, or its workflows if it is not listed",
                summary=f"{CAUSE}{DOWN_SHORT}",
                description=f"{CAUSE}{DOWN_LONG} {LAST_ANSWER} {MEANWHILE}",
            ),
        ),
    ),
    Alert(
        "ComfyControlRateLimited",
        HEALTH,
        (
            Rule(
                expr="sum by (job, instance, account) "
                '(increase(comfycontrol_api_requests_total{code="429"}[15m]))'
                f" >= [[{_RATE}.at_least]]",
                when=f"at least [[{_RATE}.at_least]] answers were 429 in 15 min",
                summary="The service refuses requests of {{ $labels.account }}: "
                "rate limit exceeded",
                description="{{ $value | printf `%.0f` }} requests were answered with 429 within "
                "the last 15 minutes. The exporter alone stays within the limit, so another client "
                "sends requests from the same address.",
            ),
        ),
    ),
    Alert(
        "ComfyControlObservationsStale",
        HEALTH,
        (
            Rule(
                expr="account:comfycontrol_stalest_observation:age_seconds"
                f" > [[{_STALE}.above_seconds]]",
                when="some open workflow has not been seen for more than "
                f"[[{_STALE}.above_seconds]] s",
                summary="Open workflows of {{ $labels.account }} are out of date",
                description="At least one open workflow has not been seen for "
                "{{ $value | humanizeDuration }}: numbers of open workflows may be wrong.",
            ),
        ),
        follows_account_down=True,
    ),
    Alert(
        "ComfyControlListingBehind",
        HEALTH,
        (
            Rule(
                expr="account:comfycontrol_listing_last_success:age_seconds"
                f" > [[{_LISTING}.above_seconds]]",
                when="the account's list was last read completely more than "
                f"[[{_LISTING}.above_seconds]] s ago, or never since the start",
                summary="The list of {{ $labels.account }} is not read completely",
                description="The last complete pass began {{ $value | humanizeDuration }} ago, or "
                "the exporter started then and none is complete yet: new workflows and outcomes "
                "are seen late.",
            ),
        ),
        follows_account_down=True,
    ),
    Alert(
        "ComfyControlTotalsDiffer",
        HEALTH,
        (
            Rule(
                expr="max by (job, instance, account, status) "
                "(comfycontrol_reconciliation_difference)"
                f" > [[{_TOTALS}.above]]",
                when="the service has more workflows in a final status than were counted, by more "
                f"than [[{_TOTALS}.above]], and its list does not show which",
                summary="Outcomes of {{ $labels.account }} are missing: {{ $labels.status }}",
                description="The service has more workflows in status {{ $labels.status }} than "
                "were counted ({{ $value }} more by its total), and its list has not shown "
                "them: counts of outcomes may be too low.",
            ),
        ),
        follows_account_down=True,
    ),
    Alert(
        "ComfyControlCardinalityCapReached",
        HEALTH,
        (
            Rule(
                reason="values",
                expr="sum by (job, instance, account, label) "
                "(increase(comfycontrol_label_overflow_total[1h])) > 0",
                when="a node or exception type beyond the cap was counted as `other` within 1 h",
                summary="New values of {{ $labels.label }} in {{ $labels.account }} "
                "are counted as other",
                description="The cap `metrics.{{ $labels.label }}s`"
                f"{{{{ with {cap_of('$labels.label')} }}}} of "
                "{{ . | first | value }} values{{ end }} is reached: "
                "new kinds of failures can no longer be distinguished.",
            ),
            Rule(
                reason="positions",
                # A cap of 0 is intended: values that were switched off are not missed.
                expr="max by (job, instance, account) (\n"
                "    comfycontrol_workflow_series_omitted\n"
                "  and on (job, instance) (\n"
                '      comfycontrol_exporter_label_values_cap{label="workflow_id"}\n'
                "    or\n"
                '      max by (job) (comfycontrol_exporter_label_values_cap{label="workflow_id"})\n'
                "  ) > 0\n"
                ") > 0",
                when="queue positions have no series because of `metrics.per_workflow_series` "
                "(not where that is 0)",
                summary="Some queue positions of {{ $labels.account }} have no series",
                description="{{ $value }} workflows have a known queue position and no "
                "series: the cap `metrics.per_workflow_series`"
                f"{{{{ with {cap_of('`workflow_id`')} }}}}"
                " of {{ . | first | value }}{{ end }} is reached. "
                "All other metrics include them.",
            ),
        ),
    ),
    Alert(
        "ComfyControlWorkflowsDropped",
        HEALTH,
        (
            Rule(
                # Withdrawn workflows were removed on purpose, and no outcome is missing of those
                # that had ended before counting began.
                expr="sum by (job, instance, account) (increase(\n"
                '  comfycontrol_workflows_dropped_total{reason!~"withdrawn|ended_before"}[1h]\n'
                f")) > [[{_DROPPED}.above]]",
                when=f"more than [[{_DROPPED}.above]] workflows were dropped unsettled within "
                "1 h, not counting withdrawn ones and ones that had ended before",
                summary="Workflows of {{ $labels.account }} were dropped",
                description="{{ $value | printf `%.0f` }} were dropped within the last hour, "
                "most of them as "
                "{{ with printf `topk(1, sum by (reason) "
                "(increase(comfycontrol_workflows_dropped_total"
                '{job=%q, instance=%q, account=%q, reason!~"withdrawn|ended_before"}[1h])))` '
                f"{OF_ACCOUNT} | query }}}}"
                "{{ . | first | label `reason` }}{{ end }}: their outcomes are not counted.",
            ),
        ),
    ),
    Alert(
        "ComfyControlSeriesMissing",
        HEALTH,
        (
            Rule(
                expr=missing(),
                when="an exporter is up, and does not deliver a series that alerts need: it was "
                "dropped, renamed, or turned into a native histogram",
                summary="{{ $labels.instance }} is scraped without {{ $labels.series }}",
                description="Alerts that use {{ $labels.series }} cannot fire for "
                "{{ $labels.instance }} of the job {{ $labels.job }}.",
            ),
        ),
    ),
    Alert(
        "ComfyControlLedgerFailing",
        HEALTH,
        (
            Rule(
                # A database that cannot be reached is ComfyControlDatabaseFailing.
                expr="sum by (job, instance) "
                "(increase(comfycontrol_exporter_ledger_errors_total[15m])) > 0\n"
                "unless on (job, instance) "
                "min_over_time(comfycontrol_exporter_replicas[15m]) == 0",
                when="the ledger could not be read from disk or written to it within 15 min",
                summary="The ledger of {{ $labels.instance }} cannot be read or written",
                description="{{ $value | printf `%.0f` }} errors within the last 15 minutes. The "
                "exporter goes on in memory; a restart now would lose, or count again, what is not "
                "on disk.",
            ),
        ),
    ),
    Alert(
        "ComfyControlAccountNotHeld",
        HEALTH,
        (
            Rule(
                # Where no replica reaches the database, it is ComfyControlDatabaseFailing.
                expr="max by (job, account) (comfycontrol_account_held) == 0\n"
                "and on (job) max by (job) (comfycontrol_exporter_replicas) > 0",
                when="no replica that is scraped holds the account, while one reaches the database",
                summary="No replica counts {{ $labels.account }}",
                description="None of the replicas that are scraped holds the account: it is not "
                "shown, and workflows that end now are counted once a replica holds it.",
            ),
        ),
    ),
    Alert(
        "ComfyControlAccountHeldTwice",
        HEALTH,
        (
            Rule(
                expr="sum by (job, account) (comfycontrol_account_held) > 1",
                when="more than one replica holds the account",
                summary="{{ $value }} replicas count {{ $labels.account }}",
                description="This cannot happen if all replicas of the job {{ $labels.job }} share "
                "one database: they use different ones, and sums over them count twice.",
            ),
        ),
    ),
    Alert(
        "ComfyControlDatabaseFailing",
        HEALTH,
        (
            Rule(
                reason="all",
                expr="max by (job) (comfycontrol_exporter_replicas) == 0",
                when="no replica reaches the database",
                summary="No replica of {{ $labels.job }} reaches its database",
                description="No account is counted until one does. Workflows that end now are "
                "counted then, from the lists.",
            ),
            Rule(
                reason="one",
                expr="max by (job, instance) (comfycontrol_exporter_replicas) == 0\n"
                "and on (job) max by (job) (comfycontrol_exporter_replicas) > 0",
                when="one replica cannot reach the database, and another one can",
                summary="{{ $labels.instance }} cannot reach its database",
                description="Other replicas have taken over its accounts.",
            ),
            Rule(
                reason="lost",
                expr="sum by (job, instance) "
                "(increase(comfycontrol_exporter_ledger_regressions_total[1h])) > 0",
                when="the database has lost commits that it had acknowledged, within 1 h",
                summary="The database of {{ $labels.job }} has lost commits",
                description="{{ $value | printf `%.0f` }} commits of {{ $labels.instance }}, which "
                "the database had acknowledged, were lost within the last hour. This happens when "
                "a standby takes over that lags behind. This replica has written its own commits "
                "again.",
            ),
        ),
    ),
    Alert(
        "ComfyControlReplicasDisagree",
        HEALTH,
        (
            Rule(
                expr="max by (job) (comfycontrol_exporter_config_hash)\n"
                "!= min by (job) (comfycontrol_exporter_config_hash)",
                when="replicas have different configurations",
                summary="Replicas of {{ $labels.job }} have different configurations",
                description="What is counted depends on the replica that holds the account.",
            ),
        ),
    ),
    Alert(
        "ComfyControlConfigReloadFailed",
        HEALTH,
        (
            Rule(
                reason="config",
                expr="max by (job, instance) "
                "(comfycontrol_exporter_config_last_reload_successful) == 0",
                when="the file of `--config.file` was read again and refused",
                summary="{{ $labels.instance }} runs with an old configuration",
                description="The present content of its configuration file was refused. "
                "{{ $labels.instance }} keeps the configuration that it read"
                "{{ with printf `comfycontrol_exporter_config_last_reload_success_timestamp_seconds"
                "{job=%q, instance=%q}` $labels.job $labels.instance | query }}"
                " at {{ . | first | value | humanizeTimestamp }}{{ end }}. It would not start "
                "again with the present file.",
            ),
            Rule(
                reason="web",
                expr="max by (job, instance) "
                "(comfycontrol_exporter_web_config_last_reload_successful) == 0",
                when="the file of `--web.config.file`, or one that it names, was read again and "
                "refused",
                summary="{{ $labels.instance }} runs with old certificates and passwords",
                description="The present content of its web configuration file, or of a file that "
                "it names, was refused. {{ $labels.instance }} keeps the certificate and the "
                "passwords that it had; this certificate may be about to expire.",
            ),
        ),
    ),
    Alert(
        "ComfyControlExporterAbsent",
        HEALTH,
        (
            Rule(
                reason="all",
                expr='absent(up{job="[[settings.job]]"} == 1)',
                when="no exporter of the job is up",
                summary="No exporter runs, or Prometheus cannot reach it",
                description="No target of the job [[settings.job]] is up ("
                '{{ with query `count(up{job="[[settings.job]]"})` }}'
                "{{ . | first | value }} known{{ else }}none is known{{ end }}): "
                "no other ComfyControl alert can fire.",
            ),
            Rule(
                reason="one",
                expr='up{job="[[settings.job]]"} == 0\n'
                'and on (job) up{job="[[settings.job]]"} == 1',
                when="one exporter is down while another one of the job is up",
                summary="The exporter {{ $labels.instance }} is down",
                description="Prometheus cannot scrape {{ $labels.instance }} of the job "
                "{{ $labels.job }}: its accounts are not watched, "
                "unless another exporter follows them.",
            ),
        ),
    ),
)
