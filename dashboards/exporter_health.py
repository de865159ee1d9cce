"""The exporter's health: can the overview be believed?"""

from typing import Final

from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import units

from alerts.build import Thresholds
from dashboards import answer, places
from dashboards.boards import Row, board, window
from dashboards.marks import Marks, marks
from dashboards.panels import (
    BLUE,
    CLOCK,
    COUNT,
    GREEN,
    GREY,
    NEVER,
    ORANGE,
    PER_MINUTE,
    PURPLE,
    RED,
    SECONDS,
    SELDOM,
    SHARE,
    STATUS_COLORS,
    UNSEEN,
    UP,
    About,
    AnyPanel,
    Column,
    Limits,
    Query,
    buckets,
    counted,
    counts,
    lines,
    rows,
    states,
    stats,
)

_OURS: Final = " and on (job, instance) comfycontrol_exporter_build_info"
"""What belongs to an exporter, whatever its job is called in this Prometheus."""

_REACHED: Final = "(up and on (job, instance) last_over_time(comfycontrol_exporter_build_info[1d]))"

_STREAM_END_COLORS: Final = {
    "finished": GREEN,
    "limit": BLUE,
    "shutdown": GREY,
    "dropped": "light-orange",
    "silent": ORANGE,
    "malformed": PURPLE,
    "refused": RED,
}

_GIVEN_UP_COLORS: Final = {
    "not_found": ORANGE,
    "expired": "dark-orange",
    "forbidden": RED,
    "malformed": PURPLE,
    "withdrawn": GREY,
    "ended_before": GREY,
}

_CODE_COLORS: Final = {
    "200": GREEN,
    "401": "dark-purple",
    "403": "semi-dark-purple",
    "404": GREY,
    "429": ORANGE,
    "500": "semi-dark-red",
    "502": "light-red",
    "503": RED,
    "504": "super-light-red",
    "error": "dark-red",
}


_RELOAD: Final = {"0": ("failed", RED), "1": ("fine", GREEN)}


def exporter_health(thresholds: Thresholds) -> model.Dashboard:
    """The whole board."""
    at = marks(thresholds)
    return board(
        uid=places.HEALTH_UID,
        title="ComfyControl / Exporter health",
        description="Whether the overview can be believed: how the exporter sees the service, "
        "what it misses, and what it needs.",
        others=places.others(places.HEALTH_UID),
        settings=thresholds["settings"],
        variables=[window()],
        rows=[
            Row("", _answer(at)),
            Row("Following", _following(at)),
            Row("Reconciling", _reconciling(at)),
            Row("Requests to the service", _service()),
            Row("Series", _series()),
            Row("Process and ledger", _process()),
            Row("Bounds", _bounds()),
            Row("Replicas", _replicas()),
        ],
    )


_STALEST: Final = (
    "(time() - min by (account) "
    '(comfycontrol_stalest_observation_timestamp_seconds{account=~"$account"}))'
)


def _answer(at: Marks) -> list[AnyPanel]:
    return [
        answer.alerts(),
        answer.firing(exporter=True),
        stats(
            About(
                "Exporters",
                "How many exporters Prometheus can scrape, and the names of those that it "
                "scraped within the last day but cannot scrape now. Down: both boards show only "
                "what was seen before.",
                COUNT,
                width=3,
                height=7,
                links=[places.runbook("ComfyControlExporterAbsent")],
            ),
            Query(f"topk(4, {_REACHED} == 0)", "{{instance}}"),
            Query(f"count({_REACHED} == 1)", "up"),
            limits=UP,
            texts={"0": ("down", RED)},
            no_value="absent",
        ),
        answer.accounts(width=4),
        stats(
            About(
                "Stalest observation",
                "How long ago the open workflow that was seen least recently was last seen, and "
                "its account. It normally stays below the listing interval plus the time of a "
                "pass. Above a minute, the overview shows old data.",
                SECONDS,
                width=4,
                height=4,
                links=[places.runbook("ComfyControlObservationsStale")],
            ),
            Query(f"topk(1, {_STALEST})", "{{account}}"),
            Query(
                '(sum(comfycontrol_workflows{account=~"$account"}) == 0)'
                f" unless on () count({_STALEST})",
                "none open",
            ),
            limits=at.stalest,
            decimals=0,
            no_value="not seen",
        ),
        stats(
            About(
                "Listing lag",
                "Time since the last complete pass over an account's list, for the account that "
                "is furthest behind; since the exporter's start, if no pass is complete yet. The "
                "list makes sure that nothing is lost.",
                SECONDS,
                width=4,
                height=4,
                links=[places.runbook("ComfyControlListingBehind")],
            ),
            Query(f"topk(1, {_listing_lag()})", "{{account}}"),
            Query(
                '(max(comfycontrol_account_listed{account=~"$account"}) == 0)',
                "none listed",
            ),
            limits=at.listing_lag,
            decimals=0,
            no_value="not scraped",
        ),
        stats(
            About(
                "Budget used",
                "The share of the requests allowed in a window that is used now, at the address "
                "where it is highest. At 100 % requests wait: nothing is lost, but positions and "
                "causes come later.",
                SHARE,
                width=4,
                height=4,
                links=[places.runbook("ComfyControlRateLimited")],
            ),
            Query(
                "topk(1, max by (address) "
                "(comfycontrol_request_budget_used / comfycontrol_request_budget_limit))",
                "{{address}}",
            ),
            limits=Limits(worrying=0.95, bad=1.01),
            decimals=0,
            no_value="not scraped",
        ),
        stats(
            About(
                "Refused in 24 h",
                "Requests that the service refused with 429. The exporter alone never exceeds "
                "the limit, so any refusal means that other clients use the service from the "
                "same address.",
                COUNT,
                width=4,
                height=4,
                links=[places.runbook("ComfyControlRateLimited")],
            ),
            Query(
                "round(sum(increase(comfycontrol_api_requests_total"
                '{account=~"$account", code="429"}[1d])))'
                ' or on () 0 * sum(comfycontrol_account_listed{account=~"$account"})'
            ),
            limits=SELDOM,
            decimals=0,
            no_value="not scraped",
        ),
        stats(
            About(
                "Faults in 24 h",
                "Problems that make the numbers wrong: ledger errors, workflows dropped before "
                "they settled, label values beyond a cap, and configurations (also of the web "
                "server) that were refused when they were last read.",
                COUNT,
                width=8,
                height=4,
                links=[
                    places.runbook("ComfyControlLedgerFailing"),
                    places.runbook("ComfyControlConfigReloadFailed"),
                    places.runbook("ComfyControlCardinalityCapReached"),
                ],
            ),
            Query("round(sum(increase(comfycontrol_exporter_ledger_errors_total[1d])))", "ledger"),
            Query(
                'round(sum(increase(comfycontrol_workflows_dropped_total{account=~"$account"'
                ', reason!~"withdrawn|ended_before"}[1d])))',
                "given up",
            ),
            Query(
                'round(sum(increase(comfycontrol_label_overflow_total{account=~"$account"}[1d])))',
                "beyond caps",
            ),
            Query(
                "count(comfycontrol_exporter_config_last_reload_successful == 0) or on () "
                "0 * count(comfycontrol_exporter_config_last_reload_successful)",
                "config",
            ),
            Query(
                "count(comfycontrol_exporter_web_config_last_reload_successful == 0) or on () "
                "0 * count(comfycontrol_exporter_config_last_reload_successful)",
                "web config",
            ),
            limits=NEVER,
            decimals=0,
            no_value="not scraped",
        ),
    ]


def _following(at: Marks) -> list[AnyPanel]:
    return [
        lines(
            About(
                "Open workflows with and without a stream",
                "Streams show live positions, causes and outputs; the list shows only the "
                "status. Many without a stream: a burst, `max_streams`, or a budget that cannot "
                "keep more streams open. Their outcomes are counted anyway.",
                COUNT,
                width=8,
            ),
            Query('sum(comfycontrol_streams{account=~"$account"})', "with a stream"),
            Query(
                'sum(comfycontrol_workflows_watched_by_listing{account=~"$account"})',
                "list only",
            ),
            stacked=True,
            colors={"with a stream": BLUE, "list only": "light-orange"},
        ),
        lines(
            About(
                "Streams by account",
                "Open streams of each account. Look for an account at 0 while its workflows are "
                "open: check its token, its proxy, or its turn in the budget.",
                COUNT,
                width=8,
            ),
            Query('sum by (account) (comfycontrol_streams{account=~"$account"})', "{{account}}"),
        ),
        counts(
            About(
                "How streams ended",
                "Finished: the workflow settled. Limit: the service's own limit, after about 120 "
                "updates; the stream is reopened at once. Dropped, silent, malformed: a problem "
                "of the network or of the service. Refused: the service answered with an error "
                "instead of a stream.",
                COUNT,
                width=8,
            ),
            *(
                Query(
                    counted(
                        f'comfycontrol_stream_ends_total{{account=~"$account", reason="{reason}"}}'
                    ),
                    reason,
                )
                for reason in _STREAM_END_COLORS
            ),
            colors=_STREAM_END_COLORS,
            legend="below",
        ),
        lines(
            About(
                "Stalest observation",
                "Age of the last observation of the open workflow that was seen least recently, "
                "by account, the maximum within each step; 0 if none is open. Up to the listing "
                "interval plus one scrape is healthy. A line that rises steadily is a workflow "
                "that is no longer seen.",
                CLOCK,
                width=8,
                links=[places.runbook("ComfyControlObservationsStale")],
            ),
            Query(
                f"max_over_time(({_STALEST} or on (account) 0 * "
                '(sum by (account) (comfycontrol_workflows{account=~"$account"}) == 0))'
                "[$__rate_interval:])",
                "{{account}}",
            ),
            limits=at.stalest,
            no_value="Nobody can be seen",
        ),
        lines(
            About(
                "Listing lag",
                "Time since the last complete pass over each account's list; since the "
                "exporter's start, if no pass is complete yet. A lag beyond the interval means "
                "many pages, a used-up budget, or a service that fails.",
                CLOCK,
                width=8,
                links=[places.runbook("ComfyControlListingBehind")],
            ),
            Query(_listing_lag(), "{{account}}"),
            limits=at.listing_lag,
            no_value="No account is listed",
        ),
        lines(
            About(
                "Snapshots read",
                "Snapshots received from streams, per minute. Most repeat the one before; new "
                "ones are changes. Malformed ones cannot be read: the service, or a proxy in "
                "between, has changed.",
                PER_MINUTE,
                width=8,
            ),
            Query(
                "60 * sum by (result) (rate(comfycontrol_stream_snapshots_total"
                '{account=~"$account"}[$__rate_interval]))',
                "{{result}}",
            ),
            stacked=True,
            colors={"new": GREEN, "repeated": GREY, "malformed": PURPLE},
        ),
        counts(
            About(
                "Workflows tracked, by source",
                "Where ids came from: the configuration, files, pushes, or the list. If a source "
                "stops, check the program that sends its ids.",
                COUNT,
                width=6,
            ),
            Query(
                counted('comfycontrol_workflows_discovered_total{account=~"$account"}', "source"),
                "{{source}}",
            ),
        ),
        counts(
            About(
                "Workflows dropped",
                "Workflows that were dropped before they settled, by reason: their outcomes are "
                "missing on the overview. Withdrawn ones were withdrawn by their source. "
                "Those under ended_before were named, but had ended before counting began.",
                COUNT,
                width=6,
            ),
            Query(
                counted('comfycontrol_workflows_dropped_total{account=~"$account"}', "reason"),
                "{{reason}}",
            ),
            colors=_GIVEN_UP_COLORS,
            legend="below",
        ),
        lines(
            About(
                "Observations ignored",
                "Observations that changed nothing. Duplicates and late ones are normal, because "
                "workflows are seen in two ways. Unknown statuses and anomalous durations mean "
                "that the service sends something new, or that its clock is wrong. Duplicates "
                "are many, and use the axis on the right.",
                PER_MINUTE,
                width=6,
            ),
            Query(
                "60 * sum by (reason) (rate(comfycontrol_observations_ignored_total"
                '{account=~"$account"}[$__rate_interval]))',
                "{{reason}}",
            ),
            aside="duplicate",
        ),
        lines(
            About(
                "Pages and outputs",
                "Pages of lists read, rows that could not be read completely, and outputs of "
                "completed workflows that streams reported. If pages increase strongly, open "
                "workflows are deep in a long list.",
                PER_MINUTE,
                width=6,
            ),
            Query(
                "60 * sum(rate(comfycontrol_listing_pages_total"
                '{account=~"$account"}[$__rate_interval]))',
                "pages",
            ),
            Query(
                "60 * sum(rate(comfycontrol_listing_rows_malformed_total"
                '{account=~"$account"}[$__rate_interval]))',
                "malformed rows",
            ),
            Query(
                "60 * sum(rate(comfycontrol_workflow_outputs_total"
                '{account=~"$account"}[$__rate_interval]))',
                "outputs",
            ),
        ),
    ]


def _reconciling(at: Marks) -> list[AnyPanel]:
    return [
        lines(
            About(
                "Outcomes not accounted for",
                "Workflows that the service counts in a status, and that were neither counted "
                "here nor present before; for each account, the status with most of them. A step "
                "that goes away within ten minutes was missed and is counted now. One that stays "
                "cannot be found in the service's list.",
                COUNT,
                width=6,
                links=[places.runbook("ComfyControlTotalsDiffer")],
            ),
            Query(
                'max by (account) (comfycontrol_reconciliation_difference{account=~"$account"})',
                "{{account}}",
            ),
            limits=at.missing,
            no_value="Not compared yet, or not at all",
        ),
        counts(
            About(
                "Outcomes that only reconciling found",
                "These are counted late, because no stream and no reading of the list had shown "
                "them. A few now and then are normal. Many: runs end between two checks, or the "
                "service's list leaves workflows out.",
                COUNT,
                width=6,
            ),
            Query(
                counted(
                    'comfycontrol_reconciliation_recovered_total{account=~"$account"}', "account"
                ),
                "{{account}}",
            ),
        ),
        lines(
            About(
                "Workflows at the service",
                "How many workflows the service reports in each status. Completed ones are many, "
                "and use the axis on the right. A step down: some were deleted.",
                COUNT,
                width=6,
            ),
            Query(
                'sum by (status) (comfycontrol_service_workflows{account=~"$account"})',
                "{{status}}",
            ),
            colors=STATUS_COLORS,
            aside="completed",
            no_value="Not compared yet, or not at all",
        ),
        lines(
            About(
                "Last compared",
                "Time since the service's totals were last compared with the ledger's, by "
                "account, the maximum: some two minutes, and more if the budget is used up. A "
                "line that rises: the list is not read, or the service does not report totals.",
                CLOCK,
                width=6,
            ),
            # A saw that is finer than a step would be a block.
            Query(
                "max_over_time(("
                + _age("comfycontrol_reconciliation_last_success_timestamp_seconds", by="account")
                + ")[$__rate_interval:])",
                "{{account}}",
            ),
            no_value="Not compared yet, or not at all",
        ),
    ]


def _service() -> list[AnyPanel]:
    requests = 'comfycontrol_api_requests_total{account=~"$account"}'
    return [
        lines(
            About(
                "Requests by code",
                "Answers by HTTP status; `error`: there was no answer. 401: the token is "
                "refused. 429: another client uses this address. 5xx and errors: a problem of "
                "the service or of the network.",
                PER_MINUTE,
                width=8,
                links=[
                    places.runbook("ComfyControlAccountDown"),
                    places.runbook("ComfyControlRateLimited"),
                ],
            ),
            Query(
                f"60 * sum by (code) (rate({requests}[$__rate_interval])) > 0"
                " or 60 * sum by (code) (rate(comfycontrol_api_requests_total"
                '{account=~"$account", code="200"}[$__rate_interval]))',
                "{{code}}",
            ),
            stacked=True,
            colors=_CODE_COLORS,
        ),
        lines(
            About(
                "Requests by endpoint",
                "Which requests are sent: streams (subscribe), pages of lists (list) and single "
                "workflows (get).",
                PER_MINUTE,
                width=8,
            ),
            Query(f"60 * sum by (endpoint) (rate({requests}[$__rate_interval]))", "{{endpoint}}"),
            stacked=True,
        ),
        lines(
            About(
                "Share of requests that fail, by account",
                "Answers other than 200 and 404, and requests without an answer. Only one "
                "account: check its token. All accounts: check the service.",
                SHARE,
                width=8,
                links=[places.runbook("ComfyControlAccountDown")],
            ),
            Query(
                "(sum by (account) (rate(comfycontrol_api_requests_total"
                '{account=~"$account", code!~"200|404"}[$window]))'
                f" / (sum by (account) (rate({requests}[$window])) > 0))"
                f" or 0 * sum by (account) (rate({requests}[$window]))",
                "{{account}}",
            ),
            limits=Limits(worrying=0.05, bad=0.5),
            maximum=1,
        ),
        lines(
            About(
                "Latency, p95 by endpoint",
                "From sending a request to the headers of its answer. Look for all endpoints "
                "rising together: the service or the network is slow. Waiting for the budget is "
                "not included.",
                SECONDS,
                width=8,
            ),
            Query(
                "histogram_quantile(0.95, sum by (le, endpoint) (rate("
                'comfycontrol_api_request_duration_seconds_bucket{account=~"$account"}[$window])))'
                " >= 0",
                "{{endpoint}}",
            ),
            no_value="Nothing was asked",
        ),
        buckets(
            About(
                "Latency",
                "Requests per minute by the time until their answer. A second band above the "
                "first is one slower endpoint, or one slower server of several.",
                SECONDS,
                width=8,
            ),
            Query(
                "60 * sum by (le) (rate(comfycontrol_api_request_duration_seconds_bucket"
                '{account=~"$account"}[$__rate_interval]))',
                "{{le}}",
            ),
            scheme="YlGnBu",
        ),
        lines(
            About(
                "Request budget",
                "Requests used in the sliding window now, compared with what is allowed, by "
                "address of the service. The limit is halved after a 429 and grows back by one "
                "for each quiet period. At the limit for a long time: too many workflows for one "
                "address.",
                COUNT,
                width=8,
                links=[places.runbook("ComfyControlRateLimited")],
            ),
            Query("max by (address) (comfycontrol_request_budget_used)", "{{address}}"),
            Query("min by (address) (comfycontrol_request_budget_limit)", "limit of {{address}}"),
            dashed="limit of.*",
        ),
        lines(
            About(
                "Waiting for the budget",
                "How many requests wait for their turn, on average. Some waiting after a burst "
                "is normal. If it only grows: use fewer streams (`max_streams`), a longer "
                "listing interval, or another address.",
                COUNT,
                width=12,
                height=6,
                links=[places.runbook("ComfyControlRateLimited")],
            ),
            Query(
                "sum by (address) "
                "(rate(comfycontrol_request_budget_wait_seconds_total[$__rate_interval]))",
                "{{address}}",
            ),
        ),
        states(
            About(
                "Cooldowns",
                "When no requests were sent because the service had refused one with 429.",
                COUNT,
                width=12,
                height=6,
                links=[places.runbook("ComfyControlRateLimited")],
            ),
            Query(
                "max by (address) "
                "(comfycontrol_request_budget_cooldown_until_timestamp_seconds > bool time())",
                "{{address}}",
            ),
            {"0": ("asking", GREEN), "1": ("cooling down", RED)},
        ),
    ]


def _series() -> list[AnyPanel]:
    return [
        lines(
            About(
                "Series of each exporter",
                "Samples in a scrape. It grows with accounts, open workflows, and kinds of "
                "failures, each of them capped; it must not grow over time.",
                COUNT,
                width=6,
            ),
            Query("scrape_samples_scraped" + _OURS, "{{instance}}"),
        ),
        lines(
            About(
                "Series of single workflows",
                "Queue positions that have their own series, and those that the cap "
                "`metrics.per_workflow_series` leaves out. The dashed line is that cap, times "
                "the number of accounts.",
                COUNT,
                width=6,
                links=[places.runbook("ComfyControlCardinalityCapReached")],
            ),
            Query(
                'count(comfycontrol_workflow_queue_position{account=~"$account"})'
                ' or on () 0 * sum(comfycontrol_account_listed{account=~"$account"})',
                "shown",
            ),
            Query('sum(comfycontrol_workflow_series_omitted{account=~"$account"})', "left out"),
            Query(
                'sum((comfycontrol_account_listed{account=~"$account"} >= bool 0)'
                # Accounts of replicas have no instance, and their caps are the same.
                " * on (job, instance) group_left ()"
                ' (comfycontrol_exporter_label_values_cap{label="workflow_id"} or max by (job)'
                ' (comfycontrol_exporter_label_values_cap{label="workflow_id"})))',
                "cap",
            ),
            colors={"shown": BLUE, "left out": ORANGE, "cap": GREY},
            dashed="cap",
        ),
        lines(
            About(
                "Distinct causes of failure",
                "Node types and exception types that each account has shown, compared with the "
                "caps `metrics.node_types` and `metrics.exception_types` (dashed). New ones "
                "beyond the cap count as `other`.",
                COUNT,
                width=6,
                links=[places.runbook("ComfyControlCardinalityCapReached")],
            ),
            Query(_distinct("node_type"), "{{account}}, node types"),
            Query(_distinct("exception_type"), "{{account}}, exception types"),
            Query(
                "max by (label) (comfycontrol_exporter_label_values_cap"
                '{label=~"node_type|exception_type"})',
                "cap of {{label}}",
            ),
            dashed="cap of.*",
        ),
        counts(
            About(
                "Beyond the caps",
                "Failures that are counted under `other`, because a cap of distinct label values "
                "was reached. If not 0: raise the cap, or find out what generates the names.",
                COUNT,
                width=6,
                links=[places.runbook("ComfyControlCardinalityCapReached")],
            ),
            Query(
                counted('comfycontrol_label_overflow_total{account=~"$account"}', "label"),
                "{{label}}",
            ),
        ),
    ]


def _bounds() -> list[AnyPanel]:
    return [
        lines(
            About(
                "Clients connected",
                "Connections to each exporter's web server. Near `--web.max-connections` the "
                "oldest idle connection is closed for each new one.",
                COUNT,
                width=6,
            ),
            Query("comfycontrol_exporter_web_connections", "{{instance}}"),
        ),
        counts(
            About(
                "Clients disconnected",
                "Connections that the exporter closed, by reason: `idle` ones are normal. Many "
                "`limit` and `handshake` ones: a client floods the exporter, or a probe does not "
                "use TLS.",
                COUNT,
                width=6,
            ),
            Query(
                counted("comfycontrol_exporter_web_connections_closed_total", "reason"),
                "{{reason}}",
            ),
            legend="beside",
        ),
        counts(
            About(
                "Log lines suppressed",
                "Lines that repeated an earlier one within a minute: they are counted and "
                "reported once. If there are many, check which line the log repeats.",
                COUNT,
                width=6,
            ),
            Query(
                counted("comfycontrol_exporter_log_lines_suppressed_total", "instance"),
                "{{instance}}",
            ),
        ),
        lines(
            About(
                "Limits reached",
                "Accounts at their limit of open workflows, how often a workflow was refused "
                "because of it, and faulty files of ids. All are 0 if everything is well.",
                COUNT,
                width=6,
            ),
            Query(
                'sum(comfycontrol_open_workflows_limit_reached{account=~"$account"})',
                "accounts at max_open_workflows",
            ),
            Query(
                "sum(increase(comfycontrol_open_workflows_beyond_limit_total"
                '{account=~"$account"}[$__rate_interval]))',
                "turned away",
            ),
            Query(
                'sum(comfycontrol_exporter_workflow_files{account=~"$account", state="faulty"})',
                "faulty files",
            ),
        ),
    ]


_UNSHARED: Final = "The ledger is not in PostgreSQL, or no exporter is scraped"


def _replicas() -> list[AnyPanel]:
    return [
        lines(
            About(
                "Who holds the account",
                "1 on the replica that counts it. Two lines at 1 for one account, or none for "
                "longer than 15 s: look at the replicas' logs. Empty: the ledger is not in "
                "PostgreSQL.",
                COUNT,
                width=6,
            ),
            Query(
                'sum by (account, instance) (comfycontrol_account_held{account=~"$account"} == 1)',
                "{{account}} on {{instance}}",
            ),
            no_value=_UNSHARED,
        ),
        counts(
            About(
                "Accounts taken over",
                "How often an account moved to another replica for counting. Once for each "
                "restart is normal.",
                COUNT,
                width=6,
            ),
            Query(
                counted('comfycontrol_account_lease_changes_total{account=~"$account"}', "account"),
                "{{account}}",
            ),
            no_value=_UNSHARED,
        ),
        lines(
            About(
                "Replicas alive",
                "The number of live replicas, as each of them sees it. 0: it cannot reach the "
                "database.",
                COUNT,
                width=6,
            ),
            Query("comfycontrol_exporter_replicas", "seen by {{instance}}"),
            no_value=_UNSHARED,
        ),
        lines(
            About(
                "Streams by replica",
                "If an account's holder has no room for more streams on its address, replicas on "
                "other addresses hold them.",
                COUNT,
                width=6,
            ),
            Query(
                'sum by (account, instance) (comfycontrol_streams{account=~"$account"})',
                "{{account}} on {{instance}}",
            ),
        ),
        lines(
            About(
                "Configurations in use",
                "How many different configurations the replicas have. More than one for longer "
                "than an update takes: what is counted depends on the replica that holds the "
                "account.",
                COUNT,
                width=6,
                links=[places.runbook("ComfyControlReplicasDisagree")],
            ),
            Query(
                "count by (job) "
                '(count_values by (job) ("hash", comfycontrol_exporter_config_hash))',
                "{{job}}",
            ),
            no_value=_UNSHARED,
        ),
        counts(
            About(
                "Commits lost by the database",
                "Commits that the database had acknowledged, and has lost after a failover. The "
                "replicas have written them again.",
                COUNT,
                width=6,
            ),
            Query(
                counted("comfycontrol_exporter_ledger_regressions_total", "instance"),
                "{{instance}}",
            ),
            no_value=_UNSHARED,
        ),
    ]


def _process() -> list[AnyPanel]:
    return [
        lines(
            About(
                "Memory",
                "Resident memory of each exporter. It grows with open streams, some 100 KiB "
                "each, and with workflows in the ledger. Growth without either is a leak.",
                units.BytesIEC,
                width=6,
            ),
            Query("process_resident_memory_bytes" + _OURS, "{{instance}}"),
        ),
        lines(
            About(
                "CPU",
                "Share of one core that each exporter uses. Near 100 % it falls behind its "
                "streams: use fewer streams, or move accounts to another exporter.",
                SHARE,
                width=6,
            ),
            Query("rate(process_cpu_seconds_total[$__rate_interval])" + _OURS, "{{instance}}"),
            limits=Limits(worrying=0.7, bad=0.95),
        ),
        lines(
            About(
                "Open files",
                "File descriptors in use, as a share of the process's limit; each stream needs "
                "one.",
                SHARE,
                width=6,
            ),
            Query("process_open_fds / process_max_fds" + _OURS, "{{instance}}"),
            limits=Limits(worrying=0.7, bad=0.9),
            no_value=f"{UNSEEN}, or the system does not tell",
        ),
        lines(
            About(
                "Scrape duration",
                "How long a scrape takes. Near the scrape timeout, Prometheus will soon miss "
                "some: check the number of series.",
                SECONDS,
                width=6,
            ),
            Query("scrape_duration_seconds" + _OURS, "{{instance}}"),
        ),
        lines(
            About(
                "Workflows in the ledger",
                "Open workflows, and those that settled within twice the listing's look-back, "
                "which are kept so that none is counted twice. The number levels out after that "
                "time.",
                COUNT,
                width=6,
                links=[places.runbook("ComfyControlLedgerFailing")],
            ),
            Query("sum by (state) (comfycontrol_exporter_ledger_workflows)", "{{state}}"),
            stacked=True,
            colors={"open": BLUE, "settled": GREEN},
        ),
        counts(
            About(
                "Errors of the ledger",
                "How often the ledger could not be read from disk or written to it. If not 0: "
                "the disk is full or gone, and everything that a crash would undo is not shown.",
                COUNT,
                width=6,
                links=[places.runbook("ComfyControlLedgerFailing")],
            ),
            Query(
                counted("comfycontrol_exporter_ledger_errors_total", "instance"),
                "{{instance}}",
            ),
        ),
        rows(
            About(
                "What runs",
                "The version of each exporter, the age of its process and of its configuration, "
                "and whether both files are those last read. If an age starts at 0 again and "
                "again, the exporter keeps restarting: look at its log. `-`: it has no web "
                "configuration file.",
                SECONDS,
                width=12,
                links=[places.runbook("ComfyControlConfigReloadFailed")],
            ),
            [
                Column("instance", "Exporter"),
                Column("version", "Version", width=90),
                Column("revision", "Revision", width=95),
                Column("python_version", "Python", width=85),
                Column("Value #B", "Process", unit=units.DurationSeconds, width=100),
                Column("Value #C", "Config", unit=units.DurationSeconds, width=100),
                Column("Value #D", "Reload", width=85, texts=_RELOAD),
                Column("Value #E", "Web", width=70, texts=_RELOAD),
            ],
            Query(
                "max by (instance, version, revision, python_version) "
                "(comfycontrol_exporter_build_info)"
            ),
            Query("time() - max by (instance) (process_start_time_seconds" + _OURS + ")"),
            Query(
                "time() - max by (instance) "
                "(comfycontrol_exporter_config_last_reload_success_timestamp_seconds)"
            ),
            Query("min by (instance) (comfycontrol_exporter_config_last_reload_successful)"),
            Query("min by (instance) (comfycontrol_exporter_web_config_last_reload_successful)"),
            sort_by="Exporter",
            no_value=UNSEEN,
        ),
    ]


def _age(timestamp: str, *, by: str) -> str:
    """Seconds since a timestamp; of several, since the earliest."""
    grouped = f"min by ({by})" if by else "min"
    return f'time() - {grouped} ({timestamp}{{account=~"$account"}})'


def _listing_lag() -> str:
    """As the alert counts it: an account that never completed a pass is behind since the start."""
    return (
        "time() - (max by (account) "
        '(comfycontrol_listing_last_success_timestamp_seconds{account=~"$account"})'
        ' or max by (account) (0 * (comfycontrol_account_listed{account=~"$account"} == 1)'
        " + on (job, instance) group_left ()"
        " (process_start_time_seconds or max by (job) (process_start_time_seconds))))"
    )


def _distinct(label: str) -> str:
    failures = (
        f'comfycontrol_workflow_failures_total{{account=~"$account", {label}!~"unknown|other"}}'
    )
    return (
        f"count by (account) (count by (account, {label}) ({failures}))"
        ' or 0 * max by (account) (comfycontrol_account_listed{account=~"$account"})'
    )
