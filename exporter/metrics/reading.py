"""Everything that one scrape shows, read at one moment, and the samples made from it. Pure."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeVar

from exporter.budget.budget import BudgetReading
from exporter.following.answers import CAUSES, AccountHealth
from exporter.following.reconciling import Reconciliation
from exporter.following.runner_census import RunnerCensus
from exporter.interfaces.observations import OPEN_STATUSES, Moment, Status
from exporter.ledger.forms import COUNTERS, HISTOGRAMS, CounterName, HistogramName
from exporter.ledger.shared import ReplicasReading
from exporter.ledger.snapshot import LedgerSnapshot
from exporter.ledger.totals import CounterTotal, Exemplar, HistogramTotal, LabelCaps
from exporter.ledger.tracker import ABSURD_SECONDS
from exporter.ledger.workflow import Workflow
from exporter.metrics.label_values import HELD_BACK
from exporter.metrics.slicing import (
    added_up,
    counters_together,
    histograms_together,
    known_slices,
    slices_of,
)
from exporter.sources.files import FilesReading

POSITION_FRESH_SECONDS: Final = 30.0
"""A queue position older than this is not shown. Streams report one every 2 s."""


@dataclass(frozen=True, slots=True)
class AccountReading:
    """One account at the moment of a scrape."""

    health: AccountHealth
    followed: frozenset[str] = frozenset()
    """Ids whose stream is open, here or at another replica."""
    list_completed_at: float | None = None
    """When the last complete pass over the list began, Unix seconds."""
    listed: bool = False
    """Whether its list is read."""
    reconciliation: Reconciliation = field(default_factory=Reconciliation)
    """The latest comparison of the service's totals with the ledger's."""
    runners: RunnerCensus | None = None
    """Its runners; None: they are not read, or could not be read for a while."""
    files: FilesReading | None = None
    """The state of its files of ids; None: none are configured."""


@dataclass(frozen=True, slots=True)
class ConfigReading:
    """The state of the configuration."""

    last_reload_successful: bool
    last_reload_success_at: float
    """Unix seconds."""
    web_last_reload_successful: bool | None = None
    """Whether the latest web configuration file is in use; None: there is none."""
    fingerprint: int = 0
    """The fingerprint of the configuration in use (`exporter.config.fingerprint`)."""


@dataclass(frozen=True, slots=True)
class BuildReading:
    """What is running."""

    version: str
    revision: str
    python_version: str


class RequestsKey(NamedTuple):
    """The labels by which requests are counted."""

    account: str
    endpoint: str
    code: str


@dataclass(frozen=True, slots=True)
class RequestsReading:
    """Requests to the service since the process began."""

    totals: Mapping[RequestsKey, CounterTotal]
    announced: int
    """Series up to this number show their value; those that appeared later show 0."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Everything one scrape shows."""

    at: Moment
    ledger: LedgerSnapshot
    requests: RequestsReading
    accounts: Mapping[str, AccountReading]
    budgets: tuple[BudgetReading, ...]
    config: ConfigReading
    build: BuildReading
    per_workflow_series: int
    """How many workflows of an account may have their own series; 0: none."""
    label_caps: LabelCaps
    streams: Mapping[str, int] = field(default_factory=dict)
    """Open streams of this process, by account."""
    streams_held_back: Mapping[str, int] = field(default_factory=dict)
    """How many streams are not opened, by what is lacking (`HELD_BACK`)."""
    replicas: ReplicasReading | None = None
    """The state of this replica and the others; None: there are no replicas."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One value with its labels by name: those in the catalogue, and slices."""

    labels: Mapping[str, str]
    value: float | HistogramTotal
    exemplar: Exemplar | None = None


# Live gauges ----------------------------------------------------------------------------------


def is_blind(reading: Reading, account: str) -> bool:
    """Whether the service has given no usable answer for this account for a while."""
    seen = reading.accounts.get(account)
    return seen is not None and seen.health.is_blind(reading.at.monotonic)


def _visible(reading: Reading) -> Iterator[Workflow]:
    blind = {account for account in reading.ledger.accounts if is_blind(reading, account)}
    return (w for w in reading.ledger.open_workflows if w.account not in blind)


OTHER_STATUS: Final = "other"
"""Stands for statuses that the service has added and that we do not know."""


def _shown_status(workflow: Workflow) -> str | None:
    """The status to show; None: the workflow was named and has not been seen yet."""
    if workflow.unknown_status is not None:
        return OTHER_STATUS
    return None if workflow.status is None else workflow.status.value


def workflows_by_status(reading: Reading) -> Iterator[Sample]:
    """Open workflows by status: all four statuses of each account that is not blind.

    The same for each combination of slices that was ever seen.
    """
    counts = Counter(
        {
            _key(known, status=status.value): 0
            for known in known_slices(reading.ledger)
            if not is_blind(reading, known["account"])
            for status in OPEN_STATUSES
        }
    )
    for workflow in _visible(reading):
        status = _shown_status(workflow)
        if status is not None:
            counts[_key(_labels(reading, workflow), status=status)] += 1
    return (Sample(dict(key), count) for key, count in counts.items())


_Key = tuple[tuple[str, str], ...]


def _key(labels: Mapping[str, str], **more: str) -> _Key:
    """Labels as a key for sums, independent of their order."""
    return tuple(sorted({**labels, **more}.items()))


def _labels(reading: Reading, workflow: Workflow) -> dict[str, str]:
    """Account and slices of a workflow."""
    return {"account": workflow.account, **slices_of(workflow, reading.ledger.slices)}


def placed_workflows(
    workflows: Iterable[Workflow], at: Moment, blind: Iterable[str] = ()
) -> list[Workflow]:
    """Queued workflows with a known and recent position, the lowest position first."""
    unseen = set(blind)
    placed = [
        w
        for w in workflows
        if w.queue_position is not None
        and w.position_at is not None
        and at.monotonic - w.position_at <= POSITION_FRESH_SECONDS
        and w.account not in unseen
    ]
    placed.sort(key=lambda w: (w.queue_position, w.age_from, w.workflow_id))
    return placed


def _placed(reading: Reading) -> list[Workflow]:
    blind = [account for account in reading.ledger.accounts if is_blind(reading, account)]
    return placed_workflows(reading.ledger.open_workflows, reading.at, blind)


def queue_positions(reading: Reading) -> Iterator[Sample]:
    """The positions of queued workflows, up to each account's cap."""
    shown = dict.fromkeys(reading.ledger.accounts, 0)
    for workflow in _placed(reading):
        if shown[workflow.account] < reading.per_workflow_series:
            shown[workflow.account] += 1
            labels = {**_labels(reading, workflow), "workflow_id": workflow.workflow_id}
            yield Sample(labels, workflow.queue_position or 0)


def omitted_workflow_series(reading: Reading) -> Iterator[Sample]:
    """How many known positions the cap leaves out."""
    placed = Counter(workflow.account for workflow in _placed(reading))
    for account in reading.ledger.accounts:
        omitted = max(0, placed[account] - reading.per_workflow_series)
        yield Sample({"account": account}, omitted)


def deepest_positions(reading: Reading) -> Iterator[Sample]:
    """The largest known position of each account that has one."""
    deepest: dict[_Key, int] = {}
    for workflow in _placed(reading):
        key = _key(_labels(reading, workflow))
        deepest[key] = max(workflow.queue_position or 0, deepest.get(key, 0))
    return (Sample(dict(key), position) for key, position in deepest.items())


def oldest_created(reading: Reading) -> Iterator[Sample]:
    """When the oldest open workflow of each status was created, if there is one."""
    oldest: dict[_Key, float] = {}
    for workflow in _visible(reading):
        status = _shown_status(workflow)
        if status is not None:
            key = _key(_labels(reading, workflow), status=status)
            oldest[key] = min(workflow.age_from, oldest.get(key, workflow.age_from))
    return (Sample(dict(key), created) for key, created in oldest.items())


def oldest_started(reading: Reading) -> Iterator[Sample]:
    """When each account's longest run has started, if there is one.

    Only the service's stamp is used: a running workflow without a plausible start is left out,
    because any other time would be a guess.
    """
    oldest: dict[_Key, float] = {}
    for workflow in _visible(reading):
        started = workflow.started_at
        if (
            _shown_status(workflow) == Status.RUNNING.value
            and started is not None
            and reading.at.wall - started <= ABSURD_SECONDS
        ):
            key = _key(_labels(reading, workflow))
            oldest[key] = min(started, oldest.get(key, started))
    return (Sample(dict(key), started) for key, started in oldest.items())


def stalest_observation(reading: Reading) -> Iterator[Sample]:
    """When the least recently seen open workflow was last seen."""
    stalest: dict[str, float] = {}
    for workflow in reading.ledger.open_workflows:
        seen = (workflow.last_seen or workflow.first_seen).wall
        stalest[workflow.account] = min(seen, stalest.get(workflow.account, seen))
    return (Sample({"account": account}, seen) for account, seen in stalest.items())


# Totals ---------------------------------------------------------------------------------------


_TotalT = TypeVar("_TotalT", CounterTotal, HistogramTotal)


def _shown(total: _TotalT, announced: int) -> _TotalT:
    """The total; 0 and without exemplars while its series is not announced."""
    return total.at_zero() if total.appeared > announced else total


def counter(reading: Reading, name: CounterName) -> Iterator[Sample]:
    """A counter of the ledger."""
    ledger = reading.ledger
    shown = (
        (labels, _shown(total, ledger.announced))
        for labels, total in ledger.totals.counters_named(name)
    )
    totals = added_up(shown, COUNTERS[name], ledger.slices, counters_together)
    return (Sample(labels, total.value, total.exemplar) for labels, total in totals)


def label_overflow(reading: Reading) -> Iterator[Sample]:
    """How many values were counted as `other`, by label, including configured slices."""
    configured = {rule.label for rule in reading.ledger.slices}
    yield from counter(reading, "label_overflow")
    for sample in counter(reading, "slice_overflow"):
        if sample.labels["label"] in configured:
            yield sample


def histogram(reading: Reading, name: HistogramName) -> Iterator[Sample]:
    """A histogram of the ledger."""
    for labels, total in _histograms(reading, name):
        yield Sample(labels, total)


def _histograms(
    reading: Reading, name: HistogramName
) -> Iterator[tuple[dict[str, str], HistogramTotal]]:
    ledger = reading.ledger
    shown = (
        (labels, _shown(total, ledger.announced))
        for labels, total in ledger.totals.histograms_named(name)
    )
    return added_up(shown, HISTOGRAMS[name], ledger.slices, histograms_together)


def started(reading: Reading) -> Iterator[Sample]:
    """How many starts were measured: the count of a histogram, as a separate series.

    A server that converts histograms to native ones has no series of their counts.
    """
    for labels, total in _histograms(reading, "time_to_start"):
        yield Sample(labels, total.count)


def last_progress(reading: Reading) -> Iterator[Sample]:
    """When each account's last start or end of a run became known, if there was one.

    Each total stores the workflow that was counted last, and when.
    """
    latest: dict[str, float] = {}

    def note(account: str, exemplars: Iterable[Exemplar | None]) -> None:
        for exemplar in exemplars:
            if exemplar is not None:
                latest[account] = max(exemplar.wall, latest.get(account, exemplar.wall))

    totals = reading.ledger.totals
    for kept, end in totals.counters_named("finished"):
        labels = COUNTERS["finished"].named(kept)
        if labels["status"] in _ENDS_OF_RUNS:
            note(labels["account"], (end.exemplar,))
    for kept, start in totals.histograms_named("time_to_start"):
        note(HISTOGRAMS["time_to_start"].named(kept)["account"], start.exemplars)
    return (Sample({"account": account}, wall) for account, wall in latest.items())


_ENDS_OF_RUNS: Final = frozenset({Status.COMPLETED.value, Status.FAILED.value})


# The service and ourselves --------------------------------------------------------------------


def api_requests(reading: Reading) -> Iterator[Sample]:
    """Requests by account, endpoint and code."""
    for key, total in reading.requests.totals.items():
        labels = {"account": key.account, "endpoint": key.endpoint, "code": key.code}
        yield Sample(labels, _shown(total, reading.requests.announced).value)


def account_up(reading: Reading) -> Iterator[Sample]:
    """Whether each account gets the answers that it needs, after its first answer."""
    for account, seen in reading.accounts.items():
        if seen.health.up is not None:
            yield Sample({"account": account}, float(seen.health.up))


def account_down(reading: Reading) -> Iterator[Sample]:
    """Why each account is down, by the latest bad answer: 1 for that reason, 0 for the others."""
    for account, seen in reading.accounts.items():
        for cause in CAUSES:
            yield Sample({"account": account, "cause": cause}, float(seen.health.cause == cause))


def last_usable_answer(reading: Reading) -> Iterator[Sample]:
    """When each account's last usable answer came, if there was one."""
    for account, seen in reading.accounts.items():
        if seen.health.usable_at is not None:
            # Rounded more coarsely than the two clocks drift apart.
            ago = reading.at.monotonic - seen.health.usable_at
            yield Sample({"account": account}, round(reading.at.wall - ago, 2))


def streams(reading: Reading) -> Iterator[Sample]:
    """Open streams of this process by account, those held for other replicas included."""
    return (Sample({"account": account}, count) for account, count in reading.streams.items())


def watched_by_listing(reading: Reading) -> Iterator[Sample]:
    """Open workflows without a stream."""
    watched = dict.fromkeys(reading.accounts, 0)
    for workflow in reading.ledger.open_workflows:
        seen = reading.accounts.get(workflow.account)
        if seen is not None and workflow.workflow_id not in seen.followed:
            watched[workflow.account] += 1
    return (Sample({"account": account}, count) for account, count in watched.items())


def open_limits(reading: Reading) -> Iterator[Sample]:
    """How many workflows each account may have open."""
    return (
        Sample({"account": account}, effect.limit)
        for account, effect in reading.ledger.open_limits.items()
    )


def open_limits_reached(reading: Reading) -> Iterator[Sample]:
    """Whether workflows were turned away because of the limit, without room since."""
    for account, effect in reading.ledger.open_limits.items():
        yield Sample({"account": account}, float(effect.reached))


def open_beyond_limit(reading: Reading) -> Iterator[Sample]:
    """How often a workflow was turned away since the start."""
    return (
        Sample({"account": account}, effect.beyond)
        for account, effect in reading.ledger.open_limits.items()
    )


def streams_held_back(reading: Reading) -> Iterator[Sample]:
    """How many streams are not opened, by what is lacking."""
    return (
        Sample({"reason": reason}, reading.streams_held_back.get(reason, 0)) for reason in HELD_BACK
    )


def listed(reading: Reading) -> Iterator[Sample]:
    """Whether each account's list is read."""
    for account, seen in reading.accounts.items():
        yield Sample({"account": account}, float(seen.listed))


def list_completed(reading: Reading) -> Iterator[Sample]:
    """When each listed account's list was last read completely."""
    for account, seen in reading.accounts.items():
        if seen.listed and seen.list_completed_at is not None:
            yield Sample({"account": account}, seen.list_completed_at)


def service_workflows(reading: Reading) -> Iterator[Sample]:
    """How many workflows the service has by its own totals, for accounts that are not blind."""
    for account, seen in reading.accounts.items():
        if not is_blind(reading, account):
            for status, total in seen.reconciliation.service.items():
                yield Sample({"account": account, "status": status.value}, total)


def reconciliation_differences(reading: Reading) -> Iterator[Sample]:
    """How many of those are missing in the ledger, by compared status."""
    for account, seen in reading.accounts.items():
        for status, missing in seen.reconciliation.differences.items():
            yield Sample({"account": account, "status": status.value}, missing)


def reconciliation_completed(reading: Reading) -> Iterator[Sample]:
    """When each account's totals were last compared completely."""
    for account, seen in reading.accounts.items():
        if seen.reconciliation.completed_at is not None:
            yield Sample({"account": account}, seen.reconciliation.completed_at)


def _censuses(reading: Reading) -> Iterator[tuple[str, RunnerCensus]]:
    for account, seen in reading.accounts.items():
        if seen.runners is not None:
            yield account, seen.runners


def runners(reading: Reading) -> Iterator[Sample]:
    """Runners of each account by status."""
    for account, census in _censuses(reading):
        for status, count in census.by_status.items():
            yield Sample({"account": account, "status": status}, count)


def runners_by_tag(reading: Reading) -> Iterator[Sample]:
    """Runners of each account by tag and status."""
    for account, census in _censuses(reading):
        for (tag, status), count in census.by_tag.items():
            yield Sample({"account": account, "tag": tag, "status": status}, count)


def runners_read(reading: Reading) -> Iterator[Sample]:
    """When each account's runners were last read."""
    for account, census in _censuses(reading):
        yield Sample({"account": account}, census.wall)


def web_reload_successful(reading: Reading) -> Iterator[Sample]:
    """Whether the latest web configuration file is in use, if there is one."""
    if reading.config.web_last_reload_successful is not None:
        yield Sample({}, float(reading.config.web_last_reload_successful))


def workflow_files(reading: Reading) -> Iterator[Sample]:
    """Files of ids, of accounts that have some configured."""
    for account, seen in reading.accounts.items():
        if seen.files is not None:
            yield Sample({"account": account, "state": "ok"}, seen.files.ok)
            yield Sample({"account": account, "state": "faulty"}, len(seen.files.faulty))


def label_values_caps(reading: Reading) -> Iterator[Sample]:
    """The caps, by the label that each holds down."""
    yield Sample({"label": "workflow_id"}, reading.per_workflow_series)
    yield Sample({"label": "node_type"}, reading.label_caps.node_types)
    yield Sample({"label": "exception_type"}, reading.label_caps.exception_types)
    for rule in reading.ledger.slices:
        yield Sample({"label": rule.label}, rule.values)


def slice_info(reading: Reading) -> Iterator[Sample]:
    """The slices that are configured, so that boards find their labels."""
    return (
        Sample({"slice": rule.label, "source": rule.origin}, 1.0) for rule in reading.ledger.slices
    )


def ledger_workflows(reading: Reading) -> Iterator[Sample]:
    """Rows of the ledger."""
    yield Sample({"state": "open"}, len(reading.ledger.open_workflows))
    yield Sample({"state": "settled"}, reading.ledger.settled)


# Replicas ---------------------------------------------------------------------------------------


def accounts_held(reading: Reading) -> Iterator[Sample]:
    """Of each account that is configured, whether this replica counts it."""
    if reading.replicas is not None:
        for account in sorted(reading.replicas.accounts):
            yield Sample({"account": account}, int(account in reading.ledger.accounts))


def lease_changes(reading: Reading) -> Iterator[Sample]:
    """How often the holder of an account changed, where this replica is the holder."""
    if reading.replicas is not None:
        for account in reading.ledger.accounts:
            yield Sample({"account": account}, max(0, reading.replicas.epochs.get(account, 1) - 1))


def replicas_alive(reading: Reading) -> Iterator[Sample]:
    """How many replicas there are, this one included."""
    if reading.replicas is not None:
        yield Sample({}, reading.replicas.replicas)


def config_hash(reading: Reading) -> Iterator[Sample]:
    """By what this replica counts, to be compared with the others."""
    if reading.replicas is not None:
        yield Sample({}, reading.config.fingerprint)


def ledger_regressions(reading: Reading) -> Iterator[Sample]:
    """Commits that the database has lost."""
    if reading.replicas is not None:
        yield Sample({}, reading.replicas.regressions)
