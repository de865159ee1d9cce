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
from exporter.ledger.room import DEFAULT_MOST_OPEN
from exporter.ledger.totals import CounterTotal, HistogramTotal, Shown
from exporter.ledger.workflow import Workflow

WorkflowKey = tuple[str, str]
"""Account and id."""

BaselineKey = tuple[str, Status]
"""Account and final status."""

HistoryKey = tuple[str, str, int]
"""An account, a kind, and a number that grows: what is new is written beside what is new.

No two rows of one process have the same number. A store that nobody shares need not know the
account: it may come back empty."""

HistoryRow = bytes
"""Only the history knows how that is written."""


class StoreError(Exception):
    """Nothing of the batch was kept: the disk is full, gone, or read-only. Worth another try."""


class StoreLostError(StoreError):
    """What was kept before is gone: the store is empty, and starts over as soon as it can."""


class NotHeldError(StoreError):
    """Another replica holds the account, or nobody does any more: nothing of it can be told."""


class StoreBehindError(StoreError):
    """The store has lost commits that it had acknowledged, of one account.

    What is known of that account, be it long kept, must be given to it again.
    """

    def __init__(self, reason: str, account: str) -> None:
        super().__init__(reason)
        self.account = account


@dataclass(frozen=True, slots=True)
class AccountMarks:
    """What is remembered of an account as a whole. Unix seconds."""

    line: float | None = None
    """What was over by then and is not known does not count (see `CountingRules`). It only ever
    moves forward."""
    watermark: float | None = None
    """The list was read whole down to this creation time."""
    pruned_created: float | None = None
    """The latest creation among the settled rows that were pruned."""
    pruned_ended: float | None = None
    """The latest end among the settled rows that were pruned."""


@dataclass(slots=True)
class Batch:
    """What has changed since the batch before, as it is now."""

    workflows: dict[WorkflowKey, Workflow] = field(default_factory=dict)
    accounts: dict[str, AccountMarks] = field(default_factory=dict)
    counters: dict[tuple[CounterName, Labels], CounterTotal] = field(default_factory=dict)
    histograms: dict[tuple[HistogramName, Labels], HistogramTotal] = field(default_factory=dict)
    announced: int | None = None
    """Series up to this number may show their value (see `NewSeries`)."""
    baselines: dict[BaselineKey, Baseline | None] = field(default_factory=dict)
    """None: it does not hold any more, and the next comparison draws another."""
    history: dict[HistoryKey, HistoryRow | None] = field(default_factory=dict)
    """None: it is dropped. Nothing that is counted depends on it."""

    @property
    def empty(self) -> bool:
        """Whether there is nothing to keep."""
        return (
            not (self.workflows or self.accounts or self.counters or self.histograms)
            and not self.baselines
            and not self.history
            and self.announced is None
        )


@dataclass(frozen=True, slots=True)
class RestoredState:
    """What an earlier life of the process has left."""

    unsettled: Iterable[Workflow] = ()
    """Workflows that are open, owe their cause or their duration, or are not counted yet."""
    accounts: Mapping[str, AccountMarks] = field(default_factory=dict)
    counters: Mapping[tuple[CounterName, Labels], CounterTotal] = field(default_factory=dict)
    histograms: Mapping[tuple[HistogramName, Labels], HistogramTotal] = field(default_factory=dict)
    announced: int = 0
    appeared: int = 0
    """The highest number of a counter series, be it of an account that is here no more."""
    closed: int = 0
    """How many workflows are settled or dropped."""
    latest_ends: Mapping[str, float] = field(default_factory=dict)
    """By account, the latest end of a settled workflow; Unix seconds."""
    baselines: Mapping[BaselineKey, Baseline] = field(default_factory=dict)
    history: Iterable[tuple[HistoryKey, HistoryRow]] = ()
    """The oldest first."""
    lost: bool = False
    """What was kept is damaged, and the store starts over, empty: this is what could be saved."""
    faults: int = 0
    """What was wrong with it, and told, and still left all of this to go on from."""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What dropping old rows has done."""

    rows: int = 0
    latest_created: float | None = None
    """The latest creation among them, infinite where one had no stamp: by it the account's marks
    tell what a pruned row could be."""
    latest_end: float | None = None
    """The latest end of a settled workflow among them."""


class Store(Protocol):
    """Keeps the ledger. Only ever called by one thread at a time."""

    def load(self, most_open: Callable[[str], int] = lambda _: DEFAULT_MOST_OPEN) -> RestoredState:
        """Everything but the settled workflows, which may be a million.

        Of an account no more open ones than its limit: the others stay where they are, and
        `find_closed` finds them.
        """

    def find_closed(self, key: WorkflowKey) -> Workflow | None:
        """A workflow that is settled or dropped, or that `load` has left. Raises StoreError."""

    def keep(self, batch: Batch) -> None:
        """Keep all of a batch, or none of it. Lines move forward only. Raises StoreError."""

    def sync(self) -> None:
        """See to it that what was kept outlives a power cut as well. Raises StoreError."""

    def created_after(self, account: str, created_at: float) -> int:
        """How many workflows of an account are younger (Unix seconds). Raises StoreError."""

    def prune_ended_before(self, account: str, ended_at: float) -> Forgotten:
        """Drop closed workflows that ended before this (Unix seconds) and owe nothing.

        The oldest first, and not all at once where they are many. The account's marks of what was
        pruned move together with their rows. Raises StoreError.
        """

    def committed(self) -> Shown | None:
        """What may be shown, where nothing may that is not kept.

        None: what is known is shown even while the store fails. So it is where nobody else could
        count and show the same meanwhile.
        """

    def verify(self) -> None:
        """Look for damage for some milliseconds, where that is not done yet. Raises StoreError."""

    def close(self) -> None:
        """Let go of it."""


class MemoryStore:
    """Keeps the ledger for as long as the process lives: for tests, and for those who say so."""

    def __init__(self) -> None:
        self._closed: dict[WorkflowKey, Workflow] = {}
        self._created: dict[str, list[float]] = {}
        self._known: dict[WorkflowKey, float] = {}

    def load(self, most_open: Callable[[str], int] = lambda _: DEFAULT_MOST_OPEN) -> RestoredState:
        """Nothing: there was no earlier life."""
        del most_open
        return RestoredState()

    def find_closed(self, key: WorkflowKey) -> Workflow | None:
        """A workflow that is settled or dropped."""
        return self._closed.get(key)

    def keep(self, batch: Batch) -> None:
        """Keep the workflows; the rest is in the ledger's own memory."""
        for key, workflow in batch.workflows.items():
            if workflow.created_at is not None and key not in self._known:
                self._known[key] = workflow.created_at
                insort(self._created.setdefault(key[0], []), workflow.created_at)
            if workflow.phase == "open":
                self._closed.pop(key, None)
            else:
                self._closed[key] = workflow

    def sync(self) -> None:
        """Nothing outlives the process here."""

    def created_after(self, account: str, created_at: float) -> int:
        """How many workflows of an account are younger (Unix seconds)."""
        stamps = self._created.get(account, [])
        return len(stamps) - bisect_right(stamps, created_at)

    def prune_ended_before(self, account: str, ended_at: float) -> Forgotten:
        """Drop closed workflows that ended before this (Unix seconds) and owe nothing."""
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
        return Forgotten(
            len(old),
            max((inf if w.created_at is None else w.created_at for w in settled), default=None),
            max((w.ended_at for w in settled if w.ended_at is not None), default=None),
        )

    def committed(self) -> Shown | None:
        """Nobody else shows it."""
        return None

    def verify(self) -> None:
        """Memory is not doubted."""

    def close(self) -> None:
        """Nothing to close."""
