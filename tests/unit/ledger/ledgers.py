"""Helpers for ledger tests: clocks under control, and short constructors of observations."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from exporter.comfycontrol import Cause
from exporter.interfaces.observations import Moment, Observation, Tracked, Traits, Via
from exporter.ledger.accounts import AccountTerms
from exporter.ledger.forms import CounterName, HistogramName
from exporter.ledger.ledger import Ledger
from exporter.ledger.slicing import SliceRule
from exporter.ledger.snapshot import LedgerSnapshot
from exporter.ledger.sqlite import SqliteStore
from exporter.ledger.store import Batch, MemoryStore, Store, StoreLostError, WorkflowKey
from exporter.ledger.totals import Buckets, LabelCaps
from exporter.ledger.workflow import Workflow

T0 = 1_700_000_000.0
"""The counting cutoff of the account `studio`, in Unix seconds."""

BUCKETS = Buckets((1.0, 5.0), (1.0, 10.0), (10.0, 60.0))
CAPS = LabelCaps(200, 50)
LOOKBACK = 3600.0
TERMS: Mapping[str, AccountTerms] = {"studio": AccountTerms(LOOKBACK, listed=True)}
CAUSE = Cause("KSampler", "ValueError")


class Clocks:
    """Both clocks of a machine; the monotonic one is not reset with the process."""

    def __init__(self) -> None:
        self.wall = T0
        self.monotonic = 1000.0

    def __call__(self) -> Moment:
        """Now."""
        return Moment(self.wall, self.monotonic)

    def pass_(self, seconds: float) -> None:
        """Let time pass."""
        self.wall += seconds
        self.monotonic += seconds


class FailingStore(MemoryStore):
    """A store that fails on demand."""

    def __init__(self) -> None:
        super().__init__()
        self.keeps_with: Exception | None = None
        self.finds_with: Exception | None = None
        self.tries = 0
        self.batches: list[Batch] = []
        self.syncs = 0

    def sync(self) -> None:
        self.syncs += 1
        super().sync()

    def persist(self, batch: Batch) -> None:
        self.tries += 1
        if self.keeps_with is not None:
            raise self.keeps_with
        self.batches.append(batch)
        super().persist(batch)

    def find_closed(self, key: WorkflowKey) -> Workflow | None:
        if self.finds_with is not None:
            error = self.finds_with
            if isinstance(error, StoreLostError):
                self.finds_with = None
                self._closed.clear()
            raise error
        return super().find_closed(key)


def uuid(number: int) -> str:
    """The id of workflow `number`."""
    return f"00000000-0000-4000-8000-{number:012x}"


def make_ledger(
    now: Callable[[], Moment],
    store: Store | None = None,
    *,
    terms: Mapping[str, AccountTerms] = TERMS,
    buckets: Buckets = BUCKETS,
    caps: LabelCaps = CAPS,
    slices: Sequence[SliceRule] = (),
) -> Ledger:
    """A ledger whose counting cutoff is T0."""
    ledger = Ledger(terms, buckets, caps, now, store, slices)
    for account in terms:
        ledger.set_counting_cutoff(account, T0)
    return ledger


def ledger_on_disk(
    folder: Path, now: Callable[[], Moment], slices: Sequence[SliceRule] = ()
) -> Ledger:
    """The ledger of a folder, as a starting process opens it."""
    store = SqliteStore(folder, now)
    ledger = make_ledger(now, store, slices=slices)
    store.record()
    return ledger


def seen(
    number: int,
    status: str,
    at: Moment,
    *,
    via: Via = "listing",
    account: str = "studio",
    created: float | None = 1.0,
    started: float | None = None,
    completed: float | None = None,
    position: int | None = None,
    cause: Cause | None = None,
    outputs: int | None = None,
    traits: Traits | None = None,
) -> Observation:
    """An observation; its stamps are seconds after T0."""

    def stamp(value: float | None) -> float | None:
        return None if value is None else T0 + value

    return Observation(
        account=account,
        workflow_id=uuid(number),
        via=via,
        at=at,
        status=status,
        queue_position=position,
        created_at=stamp(created),
        started_at=stamp(started),
        completed_at=stamp(completed),
        cause=cause,
        outputs=outputs,
        traits=traits,
    )


def ended(
    number: int,
    at: Moment,
    completed: float = 20.0,
    status: str = "completed",
    via: Via = "listing",
    created: float | None = 1.0,
    cause: Cause | None = None,
    traits: Traits | None = None,
) -> Observation:
    """An observation of the end of workflow `number`, by the service's stamps."""
    return seen(
        number,
        status,
        at,
        via=via,
        created=created,
        started=completed - 10,
        completed=completed,
        cause=cause,
        traits=traits,
    )


def pushed(number: int, at: Moment) -> Tracked:
    """A push of the id of workflow `number`."""
    return Tracked("studio", uuid(number), "pushed", at)


def counter(snapshot: LedgerSnapshot, name: CounterName, *labels: str) -> float:
    """The sum of a counter over all accounts, for these other labels."""
    return sum(
        total.value
        for found, total in snapshot.totals.counters_named(name)
        if found[1 : 1 + len(labels)] == labels
    )


def finished(snapshot: LedgerSnapshot) -> float:
    """How many outcomes were counted."""
    return counter(snapshot, "finished")


def observed(snapshot: LedgerSnapshot, name: HistogramName) -> int:
    """How many values a histogram has taken, over all its series."""
    return sum(sum(total.counts) for _, total in snapshot.totals.histograms_named(name))
