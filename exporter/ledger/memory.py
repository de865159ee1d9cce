"""The ledger in memory, and which part of it is not stored yet."""

from collections import Counter, OrderedDict
from collections.abc import Collection, Iterable, Mapping, MutableMapping
from dataclasses import replace
from math import inf
from typing import Any, Final

from exporter.interfaces.observations import DOCUMENTED_ENDS, Baseline, Moment, Status
from exporter.ledger.facts import Finished
from exporter.ledger.forms import COUNTERS, HistogramName
from exporter.ledger.open_limits import waits_to_be_seen
from exporter.ledger.store import (
    AccountMarks,
    BaselineKey,
    Batch,
    HistoryKey,
    HistoryRow,
    Pruned,
    RestoredState,
    WorkflowKey,
)
from exporter.ledger.totals import Totals
from exporter.ledger.workflow import Workflow

CLOSED_REMEMBERED: Final = 20_000
"""How many settled workflows are held in memory. With them, the pages of the list that are read
repeatedly need no lookup in the store."""


_UNMARKED: Final = AccountMarks()


class Memory:
    """Open workflows, workflows with something pending, recently closed ones, marks and totals.

    Plain data, without decisions or requests. Not safe to share between threads.

    Args:
        restored: what an earlier process has stored, also for accounts that are not configured now:
            they may be configured again.
        totals: empty ones.
    """

    def __init__(self, restored: RestoredState, totals: Totals) -> None:
        self.totals: Final = totals
        # By account; the key "" has the number left by an earlier process for all accounts
        # together.
        self._closed: Counter[str] = Counter({"": restored.closed})
        self.announced = restored.announced
        """New series up to this number may show their value, because the store has recorded
        them."""
        self._marks = dict(restored.accounts)
        self._baselines = dict(restored.baselines)
        self._batch = Batch()
        self._open: dict[WorkflowKey, Workflow] = {}
        self.open_counts: Final[Counter[str]] = Counter()
        """By account: how many workflows are open."""
        self.waiting_counts: Final[Counter[str]] = Counter()
        """By account: how many ids were pushed and never seen."""
        self._pending: dict[WorkflowKey, Workflow] = {}
        self._holding: dict[WorkflowKey, Workflow] = {}
        self._recently_closed: OrderedDict[WorkflowKey, Workflow] = OrderedDict()
        # By account: the latest end of any settled workflow, and the latest end of those that only
        # the store knows.
        self._latest_ends = dict(restored.latest_ends)
        self._latest_ends_elsewhere = dict(restored.latest_ends)
        self.restarted: list[HistogramName] = totals.restore(
            restored.counters,
            restored.histograms,
            appeared=restored.appeared,
            announced=restored.announced,
        )
        """Histograms that restart from 0 because their configured buckets have changed."""
        self._restore(restored.unsettled)

    def _restore(self, unsettled: Iterable[Workflow]) -> None:
        for workflow in unsettled:
            key = (workflow.account, workflow.workflow_id)
            if workflow.phase == "open":
                self._open[key] = workflow
                self._count_open(None, workflow)
            if workflow.pending_since is not None:
                self._pending[key] = workflow
            if workflow.held is not None:
                self._holding[key] = workflow
            self.totals.open_slices(workflow.account, workflow.slices)

    @property
    def closed(self) -> int:
        """How many workflows are settled or dropped, including those that only the store has."""
        return self._closed.total()

    def adopt(self, account: str, restored: RestoredState) -> list[HistogramName]:
        """Replace what is known of an account by the stored data; it is held from now on.

        Return the histograms that restart from 0 because their buckets have changed.
        """
        self.drop(account)
        self._closed[account] = restored.closed
        self._marks.update(restored.accounts)
        self._baselines.update(restored.baselines)
        self._latest_ends.update(restored.latest_ends)
        self._latest_ends_elsewhere.update(restored.latest_ends)
        restarted = self.totals.adopt(restored.counters, restored.histograms, restored.announced)
        self._restore(restored.unsettled)
        return restarted

    def drop(self, account: str) -> None:
        """Remove an account that is no longer held; nothing of it is stored any more."""
        workflows = (
            self._open,
            self._pending,
            self._holding,
            self._recently_closed,
            self._batch.workflows,
        )
        for row in [row for row in self._batch.history if row[0] == account]:
            del self._batch.history[row]
        known: MutableMapping[WorkflowKey, Workflow]
        for known in workflows:
            for key in [key for key in known if key[0] == account]:
                del known[key]
        for baselines in (self._baselines, self._batch.baselines):
            for of in [of for of in baselines if of[0] == account]:
                del baselines[of]
        by_account: tuple[MutableMapping[str, Any], ...] = (
            self.open_counts,
            self.waiting_counts,
            self._closed,
            self._latest_ends,
            self._latest_ends_elsewhere,
            self._marks,
            self._batch.accounts,
        )
        for values in by_account:
            values.pop(account, None)
        self.totals.drop(account)

    def open_account(self, account: str, monotonic: float) -> None:
        """Follow an account from now on, perhaps again.

        Workflows that were open when it was last followed were not looked for since: the time
        limits for seeing them, and for their causes, start again.
        """
        self.totals.open_account(account)
        for known in (self._open, self._pending, self._holding):
            for key, workflow in known.items():
                if workflow.account == account:
                    known[key] = replace(
                        workflow,
                        last_seen=_starts_again(workflow.last_seen, monotonic),
                        cause_pending_since=_starts_again(workflow.cause_pending_since, monotonic),
                        duration_pending_since=_starts_again(
                            workflow.duration_pending_since, monotonic
                        ),
                        ask_from=-inf,
                        queue_position=None,
                    )

    # Workflows --------------------------------------------------------------------------------

    def find(self, key: WorkflowKey) -> Workflow | None:
        """A workflow; None says only that it is not in memory."""
        return (
            self._open.get(key)
            or self._pending.get(key)
            or self._holding.get(key)
            or self._recently_closed.get(key)
            # It is not stored yet, and no longer among the remembered ones.
            or self._batch.workflows.get(key)
        )

    def put(self, key: WorkflowKey, before: Workflow | None, workflow: Workflow) -> None:
        """Hold a workflow in its new state, and store it with the next batch."""
        self._closed[key[0]] += _is_closed(workflow) - _is_closed(before)
        self._count_open(self._open.get(key), workflow)
        if workflow.phase == "open":
            self._recently_closed.pop(key, None)
            self._open[key] = workflow
        else:
            self._open.pop(key, None)
            self.remember(key, workflow)
            self._note_end(self._latest_ends, workflow)
        if workflow.pending_since is not None:
            self._pending[key] = workflow
        else:
            self._pending.pop(key, None)
        if workflow.held is not None:
            self._holding[key] = workflow
        else:
            self._holding.pop(key, None)
        if before is None or not workflow.is_stored_like(before) or key in self._batch.workflows:
            self._batch.workflows[key] = workflow

    def remember(self, key: WorkflowKey, closed: Workflow) -> None:
        """Hold a closed workflow for a while, in its stored state."""
        self._recently_closed[key] = closed
        self._recently_closed.move_to_end(key)
        if len(self._recently_closed) > CLOSED_REMEMBERED:
            _, oldest = self._recently_closed.popitem(last=False)
            self._note_end(self._latest_ends_elsewhere, oldest)

    def is_open(self, key: WorkflowKey) -> bool:
        """Whether this workflow is known and open."""
        return key in self._open

    def open_workflows(self) -> tuple[Workflow, ...]:
        """All open workflows."""
        return tuple(self._open.values())

    def pending(self) -> tuple[Workflow, ...]:
        """All workflows whose cause or duration is pending."""
        return tuple(self._pending.values())

    def holding(self) -> tuple[Workflow, ...]:
        """All workflows with facts that are not counted yet."""
        return tuple(self._holding.values())

    def open_or_recent(self) -> tuple[Workflow, ...]:
        """The open workflows, and those that were closed lately."""
        return (*self._open.values(), *self._recently_closed.values())

    def finished(self, account: str) -> dict[Status, int]:
        """How many outcomes of the account are counted or held, by documented final status."""
        finished: Counter[Status | str] = Counter()
        for labels, total in self.totals.counters_named("finished"):
            named = COUNTERS["finished"].named(labels)
            if named["account"] == account:
                finished[named["status"]] += int(total.value)
        for workflow in self._holding.values():
            for fact, _ in () if workflow.held is None else workflow.held.facts:
                if workflow.account == account and isinstance(fact, Finished):
                    # This outcome is known and will be counted, so no search for it is needed.
                    finished[fact.status] += 1
        return {status: finished[status] for status in DOCUMENTED_ENDS}

    def latest_end(self, account: str) -> float | None:
        """When the last of the account's settled workflows ended, by the service's stamps."""
        return self._latest_ends.get(account)

    def prune_ended_before(self, account: str, ended_at: float, pruned: Pruned) -> None:
        """Note that the store has deleted closed workflows that ended before this time."""
        self._closed[account] -= pruned.rows
        # The store has already changed its own marks.
        self._marks[account] = _pruned(
            self.marks(account), pruned.latest_created, pruned.latest_end
        )
        for key, workflow in list(self._recently_closed.items()):
            ended = workflow.ended_at
            if key[0] == account and ended is not None and ended < ended_at:
                del self._recently_closed[key]

    def _count_open(self, before: Workflow | None, after: Workflow) -> None:
        is_open = after.phase == "open"
        self.open_counts[after.account] += is_open - (before is not None)
        self.waiting_counts[after.account] += waits_to_be_seen(after) - waits_to_be_seen(before)

    @staticmethod
    def _note_end(ends: dict[str, float], workflow: Workflow) -> None:
        ended = workflow.ended_at
        if workflow.phase == "settled" and ended is not None:
            ends[workflow.account] = max(ended, ends.get(workflow.account, ended))

    # Marks ------------------------------------------------------------------------------------

    def marks(self, account: str) -> AccountMarks:
        """The marks of an account."""
        return self._marks.get(account, _UNMARKED)

    def mark(self, account: str, marks: AccountMarks) -> None:
        """Set the marks of an account, and store them with the next batch."""
        self._marks[account] = self._batch.accounts[account] = marks

    def baselines(self, account: str) -> dict[Status, Baseline]:
        """The baselines of the account's comparisons with the service's totals, by final status."""
        return {status: b for (of, status), b in self._baselines.items() if of == account}

    def set_baseline(self, key: BaselineKey, baseline: Baseline | None) -> None:
        """Use this baseline from now on; None: the next comparison sets a new one."""
        if baseline is not None:
            self._baselines[key] = self._batch.baselines[key] = baseline
        elif self._baselines.pop(key, None) is not None:
            self._batch.baselines[key] = None

    def add_history(self, rows: Mapping[HistoryKey, HistoryRow | None]) -> None:
        """Store these rows of the history, or delete those that are None, with the next batch."""
        self._batch.history.update(rows)

    def announce(self, series: int, accounts: Collection[str]) -> None:
        """Let series up to this number show their value, once the store has recorded that.

        Only series of these accounts, which are the shown ones.
        """
        if self.totals.announce(series, accounts):
            self._batch.announced = series

    # What is not stored yet -------------------------------------------------------------------

    def take_batch(self) -> Batch:
        """Return all changes since the last call; later changes do not affect the batch."""
        batch, self._batch = self._batch, Batch()
        batch.counters, batch.histograms = self.totals.take_changed()
        return batch

    def note_stored(self, batch: Batch) -> None:
        """Note that the whole batch was stored."""
        if batch.announced is not None:
            self.announced = batch.announced

    def take_back(self, batch: Batch) -> None:
        """Put a batch back that was not stored.

        The next batch contains it, except for newer values.
        """
        newer = self._batch
        self._batch = Batch(
            workflows={**batch.workflows, **newer.workflows},
            accounts={**batch.accounts, **newer.accounts},
            announced=batch.announced if newer.announced is None else newer.announced,
            baselines={**batch.baselines, **newer.baselines},
            history={**batch.history, **newer.history},
        )
        self.totals.take_back(batch.counters, batch.histograms)

    def store_everything_again(self, cutoff: float | None = None) -> None:
        """Put everything known into the next batch, because the store is empty.

        It is no longer known which workflows outside memory were counted: they are treated like
        pruned rows. None of them ended later than the workflows that were removed from memory, or
        than `cutoff` (Unix seconds) if nothing of an earlier process could be read.
        """
        if cutoff is not None:
            # What ended unseen before the cutoff is never counted, so it is not searched for.
            self._baselines.clear()
        self._batch.baselines.update(self._baselines)
        for known in (self._open, self._pending, self._holding, self._recently_closed):
            self._batch.workflows.update(known)
        self._closed = Counter(
            key[0] for key, known in self._batch.workflows.items() if _is_closed(known)
        )
        for account in {*self._marks, *self._latest_ends_elsewhere}:
            marks = _pruned(self.marks(account), inf, self._latest_ends_elsewhere.get(account))
            self.mark(account, replace(marks, cutoff=_latest(marks.cutoff, cutoff)))
        self.totals.take_back(self.totals.counters, self.totals.histograms)
        self._batch.announced = max(self.announced, self._batch.announced or 0)

    def store_account_again(self, account: str) -> None:
        """Put all data of an account into the next batch: the store has lost commits of it."""
        for known in (self._open, self._pending, self._holding, self._recently_closed):
            self._batch.workflows.update({k: w for k, w in known.items() if k[0] == account})
        self._batch.accounts[account] = self.marks(account)
        self._batch.baselines.update({k: b for k, b in self._baselines.items() if k[0] == account})
        self.totals.take_back(
            [key for key in self.totals.counters if key[1][0] == account],
            [key for key in self.totals.histograms if key[1][0] == account],
        )


def _pruned(marks: AccountMarks, created: float | None, ended: float | None) -> AccountMarks:
    if ended is None:
        return marks
    return replace(
        marks,
        pruned_created=_latest(marks.pruned_created, created),
        pruned_ended=_latest(marks.pruned_ended, ended),
    )


def _latest(*stamps: float | None) -> float | None:
    return max((stamp for stamp in stamps if stamp is not None), default=None)


def _starts_again(moment: Moment | None, monotonic: float) -> Moment | None:
    return None if moment is None else Moment(moment.wall, monotonic)


def _is_closed(workflow: Workflow | None) -> int:
    return int(workflow is not None and workflow.phase != "open")
