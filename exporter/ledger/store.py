"""Where the ledger is stored between two processes: the interface, and a store in memory.

A batch is stored completely or not at all. So "counted exactly once" survives a `kill -9` at any
moment.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Protocol

from exporter.interfaces.observations import Baseline, Status
from exporter.ledger.forms import CounterName, HistogramName, Labels
from exporter.ledger.open_limits import DEFAULT_MOST_OPEN
from exporter.ledger.totals import CounterTotal, HistogramTotal, Shown
from exporter.ledger.workflow import Workflow

WorkflowKey = tuple[str, str]
"""Account and id."""

BaselineKey = tuple[str, Status]
"""Account and final status."""

HistoryKey = tuple[str, str, int]
"""An account, a kind, and a rising number: new rows are stored next to each other.

No two rows of one process have the same number. A store that is not shared need not store the
account: it may be returned as an empty string."""

HistoryRow = bytes
"""The format is known only to the history."""


class StoreError(Exception):
    """The batch was not stored: the disk is full, missing, or read-only. Trying again may help."""


class StoreLostError(StoreError):
    """The stored data is lost: the store is empty, and starts over as soon as it can."""


class NotHeldError(StoreError):
    """This replica does not hold the account, so nothing about it can be read."""


class StoreBehindError(StoreError):
    """The store has lost commits that it had acknowledged, of one account.

    All known data of that account must be stored again, even if it was stored long ago.
    """

    def __init__(self, reason: str, account: str) -> None:
        super().__init__(reason)
        self.account = account


@dataclass(frozen=True, slots=True)
class AccountMarks:
    """What is stored about an account as a whole. Times are Unix seconds."""

    cutoff: float | None = None
    """The counting cutoff: an unknown workflow that had ended by then does not count (see
    `CountingRules`). It only ever moves forward."""
    watermark: float | None = None
    """The creation time down to which the list was read completely."""
    pruned_created: float | None = None
    """The latest creation among the settled rows that were pruned."""
    pruned_ended: float | None = None
    """The latest end among the settled rows that were pruned."""


@dataclass(slots=True)
class Batch:
    """Everything that has changed since the last batch, in its present state."""

    workflows: dict[WorkflowKey, Workflow] = field(default_factory=dict)
    accounts: dict[str, AccountMarks] = field(default_factory=dict)
    counters: dict[tuple[CounterName, Labels], CounterTotal] = field(default_factory=dict)
    histograms: dict[tuple[HistogramName, Labels], HistogramTotal] = field(default_factory=dict)
    announced: int | None = None
    """New series up to this number may show their value (see `NewSeries`)."""
    baselines: dict[BaselineKey, Baseline | None] = field(default_factory=dict)
    """None: it is no longer valid, and the next comparison sets a new one."""
    history: dict[HistoryKey, HistoryRow | None] = field(default_factory=dict)
    """None: the row is deleted. No count depends on these rows."""

    @property
    def empty(self) -> bool:
        """Whether there is nothing to store."""
        return (
            not (self.workflows or self.accounts or self.counters or self.histograms)
            and not self.baselines
            and not self.history
            and self.announced is None
        )


@dataclass(frozen=True, slots=True)
class RestoredState:
    """What an earlier process has stored."""

    unsettled: Iterable[Workflow] = ()
    """Workflows that are open, have a pending cause or duration, or are not counted yet."""
    accounts: Mapping[str, AccountMarks] = field(default_factory=dict)
    counters: Mapping[tuple[CounterName, Labels], CounterTotal] = field(default_factory=dict)
    histograms: Mapping[tuple[HistogramName, Labels], HistogramTotal] = field(default_factory=dict)
    announced: int = 0
    appeared: int = 0
    """The highest number of a new series, even of an account that no longer exists."""
    closed: int = 0
    """How many workflows are settled or dropped."""
    latest_ends: Mapping[str, float] = field(default_factory=dict)
    """By account: the latest end of a settled workflow; Unix seconds."""
    baselines: Mapping[BaselineKey, Baseline] = field(default_factory=dict)
    history: Iterable[tuple[HistoryKey, HistoryRow]] = ()
    """Rows of the history, the oldest first."""
    lost: bool = False
    """Whether the stored data was damaged, so that the store starts over, empty: this object holds
    what could be saved."""
    faults: int = 0
    """How many faults were found and logged that did not prevent loading this data."""
    contradicted: bool = False
    """Whether one of them shows that this is not the data that was stored last."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """The result of pruning old rows."""

    rows: int = 0
    latest_created: float | None = None
    """The latest creation time among them, infinite if one had no stamp. The account's marks need
    it, to recognise workflows whose rows may have been pruned."""
    latest_end: float | None = None
    """The latest end of a settled workflow among them."""


class Store(Protocol):
    """Stores the ledger. Called by only one thread at a time."""

    def load(self, most_open: Callable[[str], int] = lambda _: DEFAULT_MOST_OPEN) -> RestoredState:
        """Read everything except settled workflows, of which there may be a million.

        Of an account's open workflows, no more than its limit are read: the others stay in the
        store, and `find_closed` finds them.
        """

    def find_closed(self, key: WorkflowKey) -> Workflow | None:
        """A workflow that is settled or dropped, or that `load` did not read. Raises StoreError."""

    def persist(self, batch: Batch) -> None:
        """Store all of a batch, or none of it. Counting cutoffs only move forward.

        Raises StoreError.
        """

    def sync(self) -> None:
        """Make stored data safe against a power cut. Raises StoreError."""

    def created_after(self, account: str, created_at: float) -> int:
        """How many workflows of an account were created after this (Unix seconds).

        Raises StoreError.
        """

    def prune_ended_before(self, account: str, ended_at: float) -> Pruned:
        """Delete closed workflows that ended before this (Unix seconds), except pending ones.

        The oldest are deleted first, and not all at once if there are many. The account's marks of
        pruned rows change together with the rows. Raises StoreError.
        """

    def committed(self) -> Shown | None:
        """What may be shown, if only stored data may be shown.

        None: all known data may be shown even while the store fails. This is so if no other process
        could count and show the same meanwhile.
        """

    def verify(self) -> None:
        """Check stored rows for damage for some milliseconds, until all are checked.

        Raises StoreError.
        """

    def close(self) -> None:
        """Close the store."""


class MemoryStore:
    """Keeps the ledger while the process lives: for tests, and if configured so."""

    def __init__(self) -> None:
        self._closed: dict[WorkflowKey, Workflow] = {}
        self._created: dict[str, list[float]] = {}
        self._known: dict[WorkflowKey, float] = {}

    def load(self, most_open: Callable[[str], int] = lambda _: DEFAULT_MOST_OPEN) -> RestoredState:
        """Return nothing: there was no earlier process."""
        del most_open
        return RestoredState()

    def find_closed(self, key: WorkflowKey) -> Workflow | None:
        """A workflow that is settled or dropped."""
        return self._closed.get(key)

    def persist(self, batch: Batch) -> None:
        """Store the workflows; the rest is in the ledger's own memory."""
        for key, workflow in batch.workflows.items():
            if workflow.created_at is not None and key not in self._known:
                self._known[key] = workflow.created_at
                insort(self._created.setdefault(key[0], []), workflow.created_at)
            if workflow.phase == "open":
                self._closed.pop(key, None)
            else:
                self._closed[key] = workflow

    def sync(self) -> None:
        """Do nothing: no data outlives the process."""

    def created_after(self, account: str, created_at: float) -> int:
        """How many workflows of an account were created after this time (Unix seconds)."""
        stamps = self._created.get(account, [])
        return len(stamps) - bisect_right(stamps, created_at)

    def prune_ended_before(self, account: str, ended_at: float) -> Pruned:
        """Delete closed workflows that ended before this (Unix seconds), except pending ones."""
        old = [
            (key, workflow)
            for key, workflow in self._closed.items()
            if key[0] == account
            and not workflow.is_unsettled
            and workflow.ended_at is not None
            and workflow.ended_at < ended_at
        ]
        for key, _ in old:
            del self._closed[key]
            created = self._known.pop(key, None)
            if created is not None:
                stamps = self._created[account]
                del stamps[bisect_left(stamps, created)]
        settled = [w for _, w in old if w.phase == "settled"]
        return Pruned(
            len(old),
            max((inf if w.created_at is None else w.created_at for w in settled), default=None),
            max((w.ended_at for w in settled if w.ended_at is not None), default=None),
        )

    def committed(self) -> Shown | None:
        """Return None: no other process shows this data."""
        return None

    def verify(self) -> None:
        """Do nothing: data in memory is not checked."""

    def close(self) -> None:
        """Do nothing: there is nothing to close."""
