"""Every recording rule and alert, as data.

`[[path]]` stands for a number or word of `thresholds.yml`; `alerts.build` puts it in, or what a
Helm template has in its place. Windows are fixed: the names of recording rules carry them.

Three things that each expression must survive, and how it does:

- an idle account: ratios divide by `(… > 0)`, so that 0/0 is absent, and ask for a least count;
- a restart: counters go on from the ledger, gauges are absent for moments, `account_up` until the
  first answer; every alert waits longer than that (`for`);
- a quiet night: one workflow that fails, or waits, is no symptom.

Nothing hangs on `instance` where an account is meant: a pod that moves is still the same account.
"""

from dataclasses import dataclass
from typing import Final

OVERVIEW: Final = "comfycontrol-overview"
HEALTH: Final = "comfycontrol-exporter-health"
"""The boards' uids in Grafana."""


FAILURES_OVER: Final = "30m"
"""The window of the fast alerts on failures, and of the panel that draws their line."""


@dataclass(frozen=True, slots=True)
class Recording:
    """A recording rule; its name is `level:metric:operations`."""

    name: str
    expr: str


@dataclass(frozen=True, slots=True)
class Rule:
    """One way in which an alert fires."""

    expr: str
    when: str
    """For the table in the documentation."""
    summary: str
    description: str
    reason: str = ""
    """Tells the ways apart where there are several: a label, and the key in `thresholds.yml`."""


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert: one name, one runbook, one or more rules."""

    name: str
    board: str
    rules: tuple[Rule, ...]
    follows_account_down: bool = False
    """Whether it only repeats that the account is down: the example Alertmanager silences it."""


def _slow_starts(window: str) -> Recording:
    # A bound is written 300.0 or, by some other exposition, 300.
    within = 'le=~"[[objective.starts_within]](\\\\.0)?"'
    name = "comfycontrol_workflow_time_to_start_seconds"
    return Recording(
        f"account:comfycontrol_workflow_slow_starts:ratio_rate{window}",
        f"1 - sum by (account) (rate({name}_bucket{{{within}}}[{window}]))\n"
        f"  / (sum by (account) (rate({name}_count[{window}])) > 0)",
    )


def _ran(window: str) -> Recording:
    return Recording(
        f"account:comfycontrol_workflows_ran:increase{window}",
        "sum by (account) "
        f'(increase(comfycontrol_workflows_finished_total{{status=~"completed|failed"}}[{window}]))',
    )


def _failed(window: str) -> Recording:
    return Recording(
        f"account:comfycontrol_workflows_failed:ratio_increase{window}",
        "sum by (account) "
        f'(increase(comfycontrol_workflows_finished_total{{status="failed"}}[{window}]))\n'
        f"/ (account:comfycontrol_workflows_ran:increase{window} > 0)",
    )


def _failures(window: str) -> Recording:
    return Recording(
        f"account_node_type:comfycontrol_workflow_failures:increase{window}",
        f"sum by (account, node_type) (increase(comfycontrol_workflow_failures_total[{window}]))",
    )


RECORDINGS: Final = (
    Recording(
        "account:comfycontrol_workflows_waiting:sum",
        'sum by (account) (comfycontrol_workflows{status=~"accepted|uploaded|queued"})',
    ),
    # Of ids that are only pushed, a start may go unseen: an end is progress as well.
    Recording(
        "account:comfycontrol_workflows_moved:increase15m",
        "sum by (account) (increase(comfycontrol_workflow_time_to_start_seconds_count[15m]))\n"
        "+ sum by (account) "
        '(increase(comfycontrol_workflows_finished_total{status=~"completed|failed"}[15m]))',
    ),
    *(
        recording
        for window in (FAILURES_OVER, "1h", "6h")
        for recording in (_ran(window), _failed(window), _failures(window))
    ),
    _slow_starts("5m"),
    _slow_starts("30m"),
    _slow_starts("1h"),
    _slow_starts("6h"),
    # `>= 0` drops the NaN of a day without any.
    Recording(
        "account:comfycontrol_workflow_run_duration_seconds:p99_rate1d",
        "histogram_quantile(0.99, sum by (account, le) "
        "(rate(comfycontrol_workflow_run_duration_seconds_bucket"
        '{status="completed"}[1d]))) >= 0',
    ),
    Recording(
        "account_status:comfycontrol_oldest_workflow:age_seconds",
        "time() - min by (account, status) "
        "(comfycontrol_oldest_workflow_created_timestamp_seconds)",
    ),
    Recording(
        "account:comfycontrol_longest_run:age_seconds",
        "time() - min by (account) (comfycontrol_oldest_workflow_started_timestamp_seconds)",
    ),
    Recording(
        "account:comfycontrol_stalest_observation:age_seconds",
        "time() - min by (account) (comfycontrol_stalest_observation_timestamp_seconds)",
    ),
    # Until the first pass since the start is complete, it counts from the start, for accounts whose
    # list is asked for.
    Recording(
        "account:comfycontrol_listing_last_success:age_seconds",
        "time() - (\n"
        "    max by (account) (comfycontrol_listing_last_success_timestamp_seconds)\n"
        "  or\n"
        "    max by (account) (\n"
        "        0 * (comfycontrol_account_listed == 1)\n"
        "      + on (job, instance) group_left () process_start_time_seconds\n"
        "    )\n"
        ")",
    ),
)

_REFUSED: Final = (
    "  (\n"
    "      sum by (account) "
    '(increase(comfycontrol_api_requests_total{code="401"}[10m])) > 0\n'
    "    or\n"
    "      sum by (account) "
    '(increase(comfycontrol_api_requests_total{code="403", endpoint="list"}[10m])) > 0\n'
    "  )"
)
"""Refusals of the token. A 403 for one workflow says nothing of the account."""

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
        f"unless on (account) {ratio}{short} <= {limit}\n"
        "and on (account)\n"
        "  sum by (account) "
        f"(increase(comfycontrol_workflow_time_to_start_seconds_count[{long}]))"
        f" >= [[{path}.at_least]]",
        when=f"starts later than [[objective.starts_within]] s use up the allowance of "
        f"1 - [[objective.share]] more than [[{path}.burn]] times too fast, over {long} and "
        f"{short} (if any start fell into it), of at least [[{path}.at_least]]",
        summary="Workflows of {{ $labels.account }} wait too long for their start",
        description=f"{{{{ $value | humanizePercentage }}}} of the workflows that started within "
        f"the last {long} had waited for longer; promised is that {_PROMISE}.",
    )


_WORDS: Final = {"30m": "30 minutes", "1h": "hour", "6h": "6 hours"}


def _many_fail(reason: str, window: str, recent: str = "") -> Rule:
    """Too large a share fails. What ran within `recent`, where it is given, can end it."""
    path = f"alerts.ComfyControlFailureRatioHigh.{reason}"
    ratio = "account:comfycontrol_workflows_failed:ratio_increase"
    ended = f"unless on (account) {ratio}{recent} <= [[{path}.above]]\n" if recent else ""
    return Rule(
        reason=reason,
        expr=f"{ratio}{window} > [[{path}.above]]\n{ended}"
        f"and on (account) account:comfycontrol_workflows_ran:increase{window}"
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
            "  / on (account) group_left ()\n"
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
        description="{{ $value | printf `%.0f` }} workflows failed in this type of node "
        f"within the last {_WORDS[window]}"
        "{{ with printf `topk(1, sum by (exception_type) "
        "(increase(comfycontrol_workflow_failures_total"
        f"{{account=%q, node_type=%q}}[{window}])))` "
        "$labels.account $labels.node_type | query }}"
        ", most of them with {{ . | first | label `exception_type` }}{{ end }}.",
    )


_STUCK: Final = "alerts.ComfyControlQueueStuck"
_RUN: Final = "alerts.ComfyControlRunTooLong"
_NOTHING: Final = "alerts.ComfyControlNothingFinished"
_RATE: Final = "alerts.ComfyControlRateLimited"
_STALE: Final = "alerts.ComfyControlObservationsStale"
_LISTING: Final = "alerts.ComfyControlListingBehind"
_TOTALS: Final = "alerts.ComfyControlTotalsDiffer"

_AGE: Final = "account_status:comfycontrol_oldest_workflow:age_seconds"
_RUN_AGE: Final = "account:comfycontrol_longest_run:age_seconds"

ALERTS: Final = (
    Alert(
        "ComfyControlTimeToStartTooLong",
        OVERVIEW,
        (_burning("fast", "1h", "5m"), _burning("slow", "6h", "30m")),
    ),
    Alert(
        "ComfyControlFailureRatioHigh",
        OVERVIEW,
        (_many_fail("fast", FAILURES_OVER), _many_fail("slow", "6h", "1h")),
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
                expr='sum by (account) (comfycontrol_workflows{status="queued"})'
                f" >= [[{_STUCK}.not_moving.deep]]\n"
                "and on (account) account:comfycontrol_workflows_moved:increase15m == 0",
                when=f"at least [[{_STUCK}.not_moving.deep]] are queued, and none started or ended "
                "in 15 min",
                summary="The queue of {{ $labels.account }} does not move",
                description="{{ $value }} workflows are queued, and for more than 15 minutes none "
                "has started or ended.",
            ),
            Rule(
                reason="too_old",
                expr=f'{_AGE}{{status=~"accepted|uploaded|queued"}}'
                f" > [[{_STUCK}.too_old.above_seconds]]",
                when="the oldest that has not started was created more than "
                f"[[{_STUCK}.too_old.above_seconds]] s ago",
                summary="A workflow of {{ $labels.account }} has waited for "
                "{{ $value | humanizeDuration }}",
                description="The oldest workflow that is {{ $labels.status }} was created "
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
                "and on (account) "
                'sum by (account) (comfycontrol_workflows{status="running"}) == 0\n'
                "and on (account) account:comfycontrol_workflows_moved:increase15m == 0",
                when="something waits, nothing runs, and nothing started or ended in 15 min",
                summary="Nothing starts in {{ $labels.account }}, and {{ $value }} wait",
                description="{{ $value }} workflows wait, none runs, and for more than 15 minutes "
                "none has started or ended: no runner takes them.",
            ),
        ),
    ),
    Alert(
        "ComfyControlRunTooLong",
        OVERVIEW,
        (
            Rule(
                expr=f"{_RUN_AGE} > [[{_RUN}.above_seconds]]\n"
                f"and on (account) {_RUN_AGE} > on (account)\n"
                f"  [[{_RUN}.times_usual]] * "
                "account:comfycontrol_workflow_run_duration_seconds:p99_rate1d\n"
                "and on (account)\n"
                "  sum by (account) (increase("
                'comfycontrol_workflow_run_duration_seconds_count{status="completed"}[1d]))'
                f" >= [[{_RUN}.at_least]]",
                when=f"a run started more than [[{_RUN}.above_seconds]] s ago, and more than "
                f"[[{_RUN}.times_usual]] times the day's 99th percentile, of at least "
                f"[[{_RUN}.at_least]] completed",
                summary="A workflow of {{ $labels.account }} runs far beyond the usual",
                description="The longest run started {{ $value | humanizeDuration }} ago: more "
                f"than [[{_RUN}.times_usual]] times what 99 in 100 took within a day.",
            ),
        ),
    ),
    Alert(
        "ComfyControlNothingFinished",
        OVERVIEW,
        (
            Rule(
                # The hour looked at lies within the usual hours, and was watched from its start.
                expr="sum by (account) "
                '(increase(comfycontrol_workflows_finished_total{status="completed"}[1h])) == 0\n'
                "and on (account)\n"
                "  sum by (account) (comfycontrol_workflows_finished_total offset 1h) >= 0\n"
                f"and on () hour() > [[{_NOTHING}.from_hour]]\n"
                f"and on () hour() < [[{_NOTHING}.to_hour]]\n"
                f"and on () day_of_week() >= [[{_NOTHING}.first_day]]\n"
                f"and on () day_of_week() <= [[{_NOTHING}.last_day]]",
                when=f"nothing completed for an hour, between [[{_NOTHING}.from_hour]] and "
                f"[[{_NOTHING}.to_hour]] h UTC on days [[{_NOTHING}.first_day]] to "
                f"[[{_NOTHING}.last_day]] of the week",
                summary="No workflow of {{ $labels.account }} has completed for an hour",
                description="In the usual hours ([[alerts.ComfyControlNothingFinished.from_hour]] "
                "to [[alerts.ComfyControlNothingFinished.to_hour]] h UTC) some always do.",
            ),
        ),
        follows_account_down=True,
    ),
    Alert(
        "ComfyControlAccountDown",
        HEALTH,
        (
            Rule(
                reason="token",
                expr="max by (account) (comfycontrol_account_up) == 0\n"
                f"and on (account)\n{_REFUSED}",
                when="the service refuses the token (401, or 403 for the list)",
                summary="The service refuses the token of {{ $labels.account }}",
                description="Nothing is known of {{ $labels.account }} until it has a token that "
                "is accepted. What ends meanwhile is counted later, from the list.",
            ),
            Rule(
                reason="service",
                # One whose last answer failed, and that has had nothing to ask since (its ids were
                # withdrawn), is idle rather than down.
                expr="max by (account) (comfycontrol_account_up) == 0\n"
                "and on (account)\n"
                "  sum by (account) (increase(comfycontrol_api_requests_total[10m])) > 0\n"
                f"unless on (account)\n{_REFUSED}",
                when="no answer of the service is usable: it fails, or is out of reach",
                summary="The service gives no usable answer for {{ $labels.account }}",
                description="Nothing is known of {{ $labels.account }} now"
                "{{ with printf `topk(1, sum by (code) (increase(comfycontrol_api_requests_total"
                '{account=%q, code!~"200|404"}[10m])) > 0)` $labels.account | query }}'
                "; most answers are {{ . | first | label `code` }}{{ end }}. What ends meanwhile "
                "is counted later, from the list.",
            ),
        ),
    ),
    Alert(
        "ComfyControlRateLimited",
        HEALTH,
        (
            Rule(
                expr="sum by (account) "
                '(increase(comfycontrol_api_requests_total{code="429"}[15m]))'
                f" >= [[{_RATE}.at_least]]",
                when=f"at least [[{_RATE}.at_least]] answers were 429 in 15 min",
                summary="The service refuses requests of {{ $labels.account }}: too many",
                description="{{ $value | printf `%.0f` }} requests were answered with 429 within "
                "the last 15 minutes. The exporter keeps within the limit by itself, so something "
                "else on its address asks as well.",
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
                summary="What is shown of {{ $labels.account }} is out of date",
                description="Nothing was heard of some open workflow for "
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
                when="the account's list was last read whole more than "
                f"[[{_LISTING}.above_seconds]] s ago, or never since the start",
                summary="The list of {{ $labels.account }} is not read to its end",
                description="The last complete pass ended {{ $value | humanizeDuration }} ago, or "
                "that was the start: new workflows and outcomes are told late.",
            ),
        ),
        follows_account_down=True,
    ),
    Alert(
        "ComfyControlTotalsDiffer",
        HEALTH,
        (
            Rule(
                expr="max by (account, status) (comfycontrol_reconciliation_difference)"
                f" > [[{_TOTALS}.above]]",
                when="the service has more workflows in a final status than were counted, by more "
                f"than [[{_TOTALS}.above]], and its list does not show which",
                summary="Outcomes of {{ $labels.account }} are missing: {{ $labels.status }}",
                description="The service has more workflows in status {{ $labels.status }} than "
                "were counted, {{ $value }} by its total, and reading its list has not shown "
                "which: counts of outcomes may be too low.",
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
                expr="sum by (account, label) "
                "(increase(comfycontrol_label_overflow_total[1h])) > 0",
                when="a node or exception type beyond the cap was counted as `other` within 1 h",
                summary="New values of {{ $labels.label }} in {{ $labels.account }} count as other",
                description="The cap `metrics.{{ $labels.label }}s`"
                "{{ with printf `max(comfycontrol_exporter_label_values_cap{label=%q})` "
                "$labels.label | query }} of {{ . | first | value }} values{{ end }} is reached: "
                "failures of new kinds can no longer be told apart.",
            ),
            Rule(
                reason="positions",
                # A cap of 0 is a wish: nobody misses what was turned off.
                expr="max by (account) (\n"
                "    comfycontrol_workflow_series_omitted\n"
                "  and on (job, instance)\n"
                '    comfycontrol_exporter_label_values_cap{label="workflow_id"} > 0\n'
                ") > 0",
                when="queue positions have no series because of `metrics.per_workflow_series` "
                "(not where that is 0)",
                summary="Queue positions of {{ $labels.account }} are left out",
                description="{{ $value }} workflows have a known place in their queue and no "
                "series: the cap `metrics.per_workflow_series`"
                "{{ with query `max(comfycontrol_exporter_label_values_cap"
                '{label="workflow_id"})` }} of {{ . | first | value }}{{ end }} is reached. '
                "Everything else counts them.",
            ),
        ),
    ),
    Alert(
        "ComfyControlLedgerFailing",
        HEALTH,
        (
            Rule(
                expr="sum by (job, instance) "
                "(increase(comfycontrol_exporter_ledger_errors_total[15m])) > 0",
                when="the ledger could not be read or kept on disk within 15 min",
                summary="The ledger of {{ $labels.instance }} cannot be kept",
                description="{{ $value | printf `%.0f` }} errors within the last 15 minutes. It "
                "goes on in memory; a restart now would lose, or count again, what is not on disk.",
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
                summary="{{ $labels.instance }} runs on an old configuration",
                description="What is in its configuration file now was refused. "
                "{{ $labels.instance }} goes on with what it read"
                "{{ with printf `comfycontrol_exporter_config_last_reload_success_timestamp_seconds"
                "{job=%q, instance=%q}` $labels.job $labels.instance | query }}"
                " at {{ . | first | value | humanizeTimestamp }}{{ end }}, and would not start "
                "again with what is there.",
            ),
            Rule(
                reason="web",
                expr="max by (job, instance) "
                "(comfycontrol_exporter_web_config_last_reload_successful) == 0",
                when="the file of `--web.config.file`, or one that it names, was read again and "
                "refused",
                summary="{{ $labels.instance }} runs on old certificates and passwords",
                description="What is in its web configuration file, or in a file that this names, "
                "was refused. {{ $labels.instance }} goes on with the certificate and the "
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
                "every other alert of ComfyControl is blind.",
            ),
            Rule(
                reason="one",
                expr='up{job="[[settings.job]]"} == 0\n'
                'and on (job) up{job="[[settings.job]]"} == 1',
                when="one exporter is down while another one of the job is up",
                summary="The exporter {{ $labels.instance }} is down",
                description="Prometheus cannot scrape {{ $labels.instance }} of the job "
                "{{ $labels.job }}: its accounts are unseen, unless another exporter follows them.",
            ),
        ),
    ),
)
