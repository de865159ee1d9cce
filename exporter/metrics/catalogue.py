"""The catalogue of all metrics, as data.

The collector and the instruments use it, `docs/metrics.md` is generated from it, and the checks
of dashboards and alerts accept no other names. To add a metric, add an
entry here (and, if it is a new fact, a total in `exporter.ledger.totals`).

The names are public: none is ever renamed or dropped.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Literal

from exporter.budget.budget import BudgetReading
from exporter.metrics import label_values, reading
from exporter.metrics.label_values import LabelValues
from exporter.metrics.reading import Reading, Sample

MetricType = Literal["counter", "gauge", "histogram"]
Group = Literal["workflows", "reconciling", "service", "exporter"]

API_DURATION_BUCKETS: Final = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0)


@dataclass(frozen=True, slots=True)
class Metric:
    """One public metric."""

    name: str
    """The name in queries: counters with `_total`, histograms without their suffixes."""
    type: MetricType
    group: Group
    labels: tuple[str, ...]
    help: str
    unit: str
    """The unit of its value, for the reference page: `seconds`, `Unix seconds`, `workflows` …"""
    read: Callable[[Reading], Iterable[Sample]] | None = None
    """How to read it at a scrape; None if an instrument of the process counts it."""
    exemplars: bool = False
    """Whether OpenMetrics shows exemplars with a `workflow_id`."""
    absent: str = ""
    """When it has no series; empty: it always has one."""
    values: Mapping[str, LabelValues] = field(default_factory=dict)
    """By label: the meaning of each value, if the values are known in advance."""
    sliced: bool = False
    """Whether it also has the labels of `metrics.slices`."""

    @property
    def family(self) -> str:
        """The name of its family in the exposition formats: without `_total`."""
        return self.name.removesuffix("_total") if self.type == "counter" else self.name


def _budget(
    value: Callable[[BudgetReading], float],
) -> Callable[[Reading], Iterator[Sample]]:
    return lambda scrape: (Sample({"address": b.address}, value(b)) for b in scrape.budgets)


_NO_RUNNERS: Final = (
    "the account has no `runners` block, or they could not be read for three of its intervals"
)

CATALOGUE: Final[tuple[Metric, ...]] = (
    # Workflows --------------------------------------------------------------------------------
    Metric(
        "comfycontrol_workflows",
        "gauge",
        "workflows",
        ("account", "status"),
        "Open workflows by the status last seen.",
        "workflows",
        reading.workflows_by_status,
        absent="the account has been down for over 30 s",
        values={"status": label_values.OPEN_STATUS},
        sliced=True,
    ),
    Metric(
        "comfycontrol_workflow_queue_position",
        "gauge",
        "workflows",
        ("account", "workflow_id"),
        "Position of a workflow in its queue, only while it is queued.",
        "places",
        reading.queue_positions,
        absent="it is not queued, its position was not reported for 30 s, it is beyond the limit "
        "`metrics.per_workflow_series`, or the account is down",
        sliced=True,
    ),
    Metric(
        "comfycontrol_queue_position_max",
        "gauge",
        "workflows",
        ("account",),
        "Highest current position in a queue.",
        "places",
        reading.deepest_positions,
        absent="none is queued at a known position",
        sliced=True,
    ),
    Metric(
        "comfycontrol_workflow_entry_queue_position",
        "histogram",
        "workflows",
        ("account",),
        "Position at which a workflow was first seen queued.",
        "places",
        partial(reading.histogram, name="entry_queue_position"),
        sliced=True,
    ),
    Metric(
        "comfycontrol_oldest_workflow_created_timestamp_seconds",
        "gauge",
        "workflows",
        ("account", "status"),
        "When the oldest open workflow in this status was created (first seen, if unknown).",
        "Unix seconds",
        reading.oldest_created,
        absent="none is in this status, or the account is down",
        values={"status": label_values.OPEN_STATUS},
        sliced=True,
    ),
    Metric(
        "comfycontrol_oldest_workflow_started_timestamp_seconds",
        "gauge",
        "workflows",
        ("account",),
        "When the longest current run started, by the service's own stamp.",
        "Unix seconds",
        reading.oldest_started,
        absent="none runs, the service has not given its start, or the account is down",
        sliced=True,
    ),
    Metric(
        "comfycontrol_workflows_discovered_total",
        "counter",
        "workflows",
        ("account", "source"),
        "Workflows that are or were followed, by the source of their id.",
        "workflows",
        partial(reading.counter, name="discovered"),
        values={"source": label_values.SOURCE},
    ),
    Metric(
        "comfycontrol_workflows_finished_total",
        "counter",
        "workflows",
        ("account", "status"),
        "Outcomes of workflows, each counted exactly once.",
        "workflows",
        partial(reading.counter, name="finished"),
        exemplars=True,
        values={"status": label_values.OUTCOME},
        sliced=True,
    ),
    Metric(
        "comfycontrol_workflows_failed_in_a_row",
        "gauge",
        "workflows",
        ("account",),
        "Workflows that failed since the last one that completed, in the order in which they were "
        "counted; at most 100.",
        "workflows",
        partial(reading.counter, name="failed_in_a_row"),
    ),
    Metric(
        "comfycontrol_workflow_failures_total",
        "counter",
        "workflows",
        ("account", "node_type", "exception_type"),
        "Failed workflows by cause; unknown if the service gave none.",
        "workflows",
        partial(reading.counter, name="failures"),
        exemplars=True,
        absent="nothing has failed that way yet; a [new series](#new-series) is 0 at first",
        sliced=True,
    ),
    Metric(
        "comfycontrol_workflow_time_to_start_seconds",
        "histogram",
        "workflows",
        ("account",),
        "From the creation of a workflow to its start.",
        "seconds",
        partial(reading.histogram, name="time_to_start"),
        exemplars=True,
        sliced=True,
    ),
    Metric(
        "comfycontrol_workflows_started_total",
        "counter",
        "workflows",
        ("account",),
        "Starts whose time to start was measured: the count of that histogram, as a counter.",
        "workflows",
        reading.started,
        sliced=True,
    ),
    Metric(
        "comfycontrol_workflow_phase_duration_seconds",
        "histogram",
        "workflows",
        ("account", "phase"),
        "How long a workflow stayed in a phase before it ran, if both ends of the phase were "
        "observed with at most 5 s between the observations.",
        "seconds",
        partial(reading.histogram, name="phase_duration"),
        exemplars=True,
        values={"phase": label_values.PHASE},
        sliced=True,
    ),
    Metric(
        "comfycontrol_workflow_phases_total",
        "counter",
        "workflows",
        ("account", "result"),
        "Phases that workflows passed before they ran, by whether their duration is known.",
        "phases",
        partial(reading.counter, name="phases"),
        values={"result": label_values.PHASE_RESULT},
        sliced=True,
    ),
    Metric(
        "comfycontrol_last_progress_timestamp_seconds",
        "gauge",
        "workflows",
        ("account",),
        "When a start, completion or failure of a workflow was last observed.",
        "Unix seconds",
        reading.last_progress,
        absent="none was counted yet",
    ),
    Metric(
        "comfycontrol_workflow_run_duration_seconds",
        "histogram",
        "workflows",
        ("account", "status"),
        "From the start of a workflow to its end, by outcome.",
        "seconds",
        partial(reading.histogram, name="run_duration"),
        exemplars=True,
        values={"status": label_values.OUTCOME},
        sliced=True,
    ),
    Metric(
        "comfycontrol_workflow_outputs_total",
        "counter",
        "workflows",
        ("account",),
        "Outputs of completed workflows, if a stream has shown them.",
        "outputs",
        partial(reading.counter, name="outputs"),
        sliced=True,
    ),
    Metric(
        "comfycontrol_workflows_dropped_total",
        "counter",
        "workflows",
        ("account", "reason"),
        "Workflows that were dropped before their outcome was known.",
        "workflows",
        partial(reading.counter, name="dropped"),
        values={"reason": label_values.DROPPED},
    ),
    Metric(
        "comfycontrol_observations_ignored_total",
        "counter",
        "workflows",
        ("account", "reason"),
        "Observations, or durations in them, that changed nothing.",
        "observations",
        partial(reading.counter, name="ignored"),
        values={"reason": label_values.IGNORED},
    ),
    Metric(
        "comfycontrol_label_overflow_total",
        "counter",
        "workflows",
        ("account", "label"),
        "Label values counted as other, because the limit of distinct values was reached.",
        "values",
        reading.label_overflow,
        values={"label": label_values.CAPPED_LABEL},
    ),
    Metric(
        "comfycontrol_workflow_series_omitted",
        "gauge",
        "workflows",
        ("account",),
        "Known queue positions without a series, because the limit was reached.",
        "workflows",
        reading.omitted_workflow_series,
    ),
    Metric(
        "comfycontrol_stalest_observation_timestamp_seconds",
        "gauge",
        "workflows",
        ("account",),
        "When the least recently seen open workflow was last seen.",
        "Unix seconds",
        reading.stalest_observation,
        absent="no workflow is open",
    ),
    # Reconciling ------------------------------------------------------------------------------
    Metric(
        "comfycontrol_service_workflows",
        "gauge",
        "reconciling",
        ("account", "status"),
        "Workflows that the service says it has in this status.",
        "workflows",
        reading.service_workflows,
        absent="it was not asked yet, has no total for this status, the account's totals are "
        "not compared (no `listing`, `listing.tags`, or `listing.reconcile: false`), or it is down",
        values={"status": label_values.SERVICE_STATUS},
    ),
    Metric(
        "comfycontrol_reconciliation_difference",
        "gauge",
        "reconciling",
        ("account", "status"),
        "Of the workflows that the service has, those that the ledger cannot account for.",
        "workflows",
        reading.reconciliation_differences,
        absent="it was not compared yet, or is not compared",
        values={"status": label_values.COMPARED_STATUS},
    ),
    Metric(
        "comfycontrol_reconciliation_last_success_timestamp_seconds",
        "gauge",
        "reconciling",
        ("account",),
        "When all of the service's totals were last compared.",
        "Unix seconds",
        reading.reconciliation_completed,
        absent="they were not compared since the start, or are not compared",
    ),
    Metric(
        "comfycontrol_reconciliation_recovered_total",
        "counter",
        "reconciling",
        ("account",),
        "Outcomes that only reconciling found.",
        "workflows",
        partial(reading.counter, name="recovered"),
    ),
    # The service as we see it -----------------------------------------------------------------
    Metric(
        "comfycontrol_account_up",
        "gauge",
        "service",
        ("account",),
        "1: the service gives the usable answers that the account needs.",
        "0 or 1",
        reading.account_up,
        absent="nothing has been asked yet: a start, or an account that waits for pushed ids",
    ),
    Metric(
        "comfycontrol_account_down",
        "gauge",
        "service",
        ("account", "cause"),
        "1: the account is down for this cause, according to the latest bad answer.",
        "0 or 1",
        reading.account_down,
        values={"cause": label_values.DOWN},
    ),
    Metric(
        "comfycontrol_account_last_usable_answer_timestamp_seconds",
        "gauge",
        "service",
        ("account",),
        "When the service last gave a usable answer about the account.",
        "Unix seconds",
        reading.last_usable_answer,
        absent="there was none since the start",
    ),
    Metric(
        "comfycontrol_api_requests_total",
        "counter",
        "service",
        ("account", "endpoint", "code"),
        "Requests to the service; code is the HTTP status, or error if there was none.",
        "requests",
        reading.api_requests,
        absent="a rare code has not occurred since the process began; a [new series](#new-series) "
        "is 0 at first",
        values={"endpoint": label_values.ENDPOINT},
    ),
    Metric(
        "comfycontrol_api_request_duration_seconds",
        "histogram",
        "service",
        ("account", "endpoint"),
        "From sending a request to the headers of its answer.",
        "seconds",
        values={"endpoint": label_values.ENDPOINT},
    ),
    Metric(
        "comfycontrol_request_budget_limit",
        "gauge",
        "service",
        ("address",),
        "Requests that we allow ourselves per window.",
        "requests",
        _budget(lambda b: b.allowed),
    ),
    Metric(
        "comfycontrol_request_budget_used",
        "gauge",
        "service",
        ("address",),
        "Requests used in the window now.",
        "requests",
        _budget(lambda b: b.used),
    ),
    Metric(
        "comfycontrol_request_budget_wait_seconds_total",
        "counter",
        "service",
        ("address",),
        "Time that requests spent waiting for the budget.",
        "seconds",
        _budget(lambda b: b.waited_seconds),
    ),
    Metric(
        "comfycontrol_request_budget_cooldown_until_timestamp_seconds",
        "gauge",
        "service",
        ("address",),
        "End of the cooldown after a refusal; 0: there is none.",
        "Unix seconds",
        _budget(lambda b: b.cooldown_until),
    ),
    Metric(
        "comfycontrol_streams",
        "gauge",
        "service",
        ("account",),
        "Open event streams of this process. With several replicas, these include streams that it "
        "holds for an account that another replica counts.",
        "streams",
        reading.streams,
    ),
    Metric(
        "comfycontrol_workflows_watched_by_listing",
        "gauge",
        "service",
        ("account",),
        "Open workflows without a stream.",
        "workflows",
        reading.watched_by_listing,
    ),
    Metric(
        "comfycontrol_exporter_streams_held_back",
        "gauge",
        "exporter",
        ("reason",),
        "Streams that are not opened because the process lacks descriptors, threads or memory.",
        "streams",
        reading.streams_held_back,
        values={"reason": label_values.HELD_BACK},
    ),
    Metric(
        "comfycontrol_open_workflows_limit",
        "gauge",
        "service",
        ("account",),
        "Largest number of workflows that may be open at once (max_open_workflows).",
        "workflows",
        reading.open_limits,
    ),
    Metric(
        "comfycontrol_open_workflows_limit_reached",
        "gauge",
        "service",
        ("account",),
        "1: open workflows were refused because of the limit, and there was no room since.",
        "0 or 1",
        reading.open_limits_reached,
    ),
    Metric(
        "comfycontrol_open_workflows_beyond_limit_total",
        "counter",
        "service",
        ("account",),
        "How often an open workflow was seen or named, and refused because of the limit. The same "
        "one may be refused many times.",
        "times",
        reading.open_beyond_limit,
    ),
    Metric(
        "comfycontrol_stream_ends_total",
        "counter",
        "service",
        ("account", "reason"),
        "Event streams that ended, or could not be opened, by reason.",
        "streams",
        values={"reason": label_values.STREAM_END},
    ),
    Metric(
        "comfycontrol_stream_snapshots_total",
        "counter",
        "service",
        ("account", "result"),
        "Snapshots read from event streams.",
        "snapshots",
        values={"result": label_values.SNAPSHOT},
    ),
    Metric(
        "comfycontrol_account_listed",
        "gauge",
        "service",
        ("account",),
        "1: the account's list is read; 0: only named ids are followed.",
        "0 or 1",
        reading.listed,
    ),
    Metric(
        "comfycontrol_listing_last_success_timestamp_seconds",
        "gauge",
        "service",
        ("account",),
        "When the last complete pass over the account's list began: what the list showed then is "
        "known.",
        "Unix seconds",
        reading.list_completed,
        absent="the account is not listed, or its first pass is not complete",
    ),
    Metric(
        "comfycontrol_listing_pages_total",
        "counter",
        "service",
        ("account",),
        "Pages of the account's list that were read.",
        "pages",
    ),
    Metric(
        "comfycontrol_listing_rows_malformed_total",
        "counter",
        "service",
        ("account",),
        "Malformed rows of those pages, or rows with a malformed field, each time they are read.",
        "rows",
    ),
    Metric(
        "comfycontrol_runners",
        "gauge",
        "service",
        ("account", "status"),
        "The account's runners.",
        "runners",
        reading.runners,
        absent=_NO_RUNNERS,
        values={"status": label_values.RUNNER_STATUS},
    ),
    Metric(
        "comfycontrol_runners_by_tag",
        "gauge",
        "service",
        ("account", "tag", "status"),
        "The account's runners by tag. One with several tags counts in each, so do not add them "
        "up. Tags beyond the limit are other.",
        "runners",
        reading.runners_by_tag,
        absent=_NO_RUNNERS + ", or `by_tag` is not set",
        values={"status": label_values.RUNNER_STATUS},
    ),
    Metric(
        "comfycontrol_runners_last_success_timestamp_seconds",
        "gauge",
        "service",
        ("account",),
        "When the account's runners were last read.",
        "Unix seconds",
        reading.runners_read,
        absent=_NO_RUNNERS,
    ),
    # The exporter -----------------------------------------------------------------------------
    Metric(
        "comfycontrol_exporter_build_info",
        "gauge",
        "exporter",
        ("version", "revision", "python_version"),
        "What is running; always 1.",
        "1",
        lambda scrape: [
            Sample(
                {
                    "version": scrape.build.version,
                    "revision": scrape.build.revision,
                    "python_version": scrape.build.python_version,
                },
                1.0,
            )
        ],
    ),
    Metric(
        "comfycontrol_exporter_config_last_reload_successful",
        "gauge",
        "exporter",
        (),
        "1: the configuration in use is the one last read.",
        "0 or 1",
        lambda scrape: [Sample({}, float(scrape.config.last_reload_successful))],
    ),
    Metric(
        "comfycontrol_exporter_config_last_reload_success_timestamp_seconds",
        "gauge",
        "exporter",
        (),
        "When the configuration in use was read.",
        "Unix seconds",
        lambda scrape: [Sample({}, scrape.config.last_reload_success_at)],
    ),
    Metric(
        "comfycontrol_exporter_config_hash",
        "gauge",
        "exporter",
        (),
        "A hash of the configuration in use, without tokens, storage and egress: the same on all "
        "replicas.",
        "a number of 48 bits",
        reading.config_hash,
        absent="the ledger is not in PostgreSQL",
    ),
    Metric(
        "comfycontrol_exporter_web_config_last_reload_successful",
        "gauge",
        "exporter",
        (),
        "1: the web configuration in use (TLS, passwords) is the one last read.",
        "0 or 1",
        reading.web_reload_successful,
        absent="no `--web.config.file` is given",
    ),
    Metric(
        "comfycontrol_exporter_slice_info",
        "gauge",
        "exporter",
        ("slice", "source"),
        "The configured slices; always 1. The dashboards find their labels by it.",
        "1",
        reading.slice_info,
        absent="no slice is configured",
        values={"source": label_values.SLICE_SOURCE},
    ),
    Metric(
        "comfycontrol_exporter_workflow_files",
        "gauge",
        "exporter",
        ("account", "state"),
        "Files of workflow ids that were found; the log and `check-config` say what is wrong with "
        "a faulty one.",
        "files",
        reading.workflow_files,
        absent="the account has no `workflow_files`",
        values={"state": label_values.FILE_STATE},
    ),
    Metric(
        "comfycontrol_exporter_label_values_cap",
        "gauge",
        "exporter",
        ("label",),
        "Largest number of distinct values of a label in each account; others count as other, or "
        "are left out.",
        "values",
        reading.label_values_caps,
        values={"label": label_values.CAP},
    ),
    Metric(
        "comfycontrol_account_held",
        "gauge",
        "exporter",
        ("account",),
        "1 on the replica that counts the account, 0 on the others.",
        "accounts",
        reading.accounts_held,
        absent="the ledger is not in PostgreSQL",
    ),
    Metric(
        "comfycontrol_account_lease_changes_total",
        "counter",
        "exporter",
        ("account",),
        "How often the holder of the account changed, shown by the current holder.",
        "changes",
        reading.lease_changes,
        absent="the ledger is not in PostgreSQL",
    ),
    Metric(
        "comfycontrol_exporter_replicas",
        "gauge",
        "exporter",
        (),
        "Replicas seen alive; 0 while the database cannot be reached.",
        "replicas",
        reading.replicas_alive,
        absent="the ledger is not in PostgreSQL",
    ),
    Metric(
        "comfycontrol_exporter_ledger_errors_total",
        "counter",
        "exporter",
        (),
        "How often the ledger could not be read or kept on disk.",
        "errors",
        lambda scrape: [Sample({}, scrape.ledger.errors)],
    ),
    Metric(
        "comfycontrol_exporter_ledger_regressions_total",
        "counter",
        "exporter",
        (),
        "Commits that the database had acknowledged and has lost.",
        "commits",
        reading.ledger_regressions,
        absent="the ledger is not in PostgreSQL",
    ),
    Metric(
        "comfycontrol_exporter_ledger_workflows",
        "gauge",
        "exporter",
        ("state",),
        "Workflows in the ledger.",
        "workflows",
        reading.ledger_workflows,
        values={"state": label_values.LEDGER_STATE},
    ),
    Metric(
        "comfycontrol_exporter_web_connections",
        "gauge",
        "exporter",
        (),
        "Clients that are connected to the web side.",
        "clients",
    ),
    Metric(
        "comfycontrol_exporter_web_connections_closed_total",
        "counter",
        "exporter",
        ("reason",),
        "Clients that were let go.",
        "clients",
        values={"reason": label_values.CLIENT_DISCONNECTED},
    ),
    Metric(
        "comfycontrol_exporter_log_lines_suppressed_total",
        "counter",
        "exporter",
        (),
        "Lines of the log that were counted and not written: repeated, or not to be written.",
        "lines",
    ),
)

BY_NAME: Final = {metric.name: metric for metric in CATALOGUE}
