"""The ledger in memory, and which part of it is not stored yet."""

from collections import Counter, OrderedDict
from collections.abc import Collection, Iterable, Mapping, MutableMapping
from dataclasses import replace
from math import inf
from typing import Any, Final

from exporter.interfaces.observations import Baseline, Moment, Status
from exporter.ledger.forms import HistogramName
from exporter.ledger.room import waits_to_be_seen
from exporter.ledger.store import (
    AccountMarks,
    BaselineKey,
    Batch,
    Forgotten,
    HistoryKey,
    HistoryRow,
    RestoredState,
    WorkflowKey,
)
from exporter.ledger.totals import Totals
from exporter.ledger.workflow import Workflow

CLOSED_REMEMBERED: Final = 20_000
"""Settled workflows held in memory, so that the pages of the list that are read again and again
need no look at the store."""


class Memory:
    """Open workflows, debts, the youngest of the closed ones, marks and totals.

    Plain data: it decides nothing, asks nobody, and is not safe to share between threads.

    Args:
        kept: what an earlier life of the process has left, also of accounts that are not
            configured now: they may come back.
        totals: empty ones.
    """

    def __init__(self, kept: RestoredState, totals: Totals) -> None:
        self.totals: Final = totals
        # By account; what an earlier life has left of all of them together stands under none.
        self._closed: Counter[str] = Counter({"": kept.closed})
        self.announced = kept.announced
        """Series up to this number may show their value: the store has kept that."""
        self._marks = dict(kept.accounts)
        self._baselines = dict(kept.baselines)
        self._batch = Batch()
        self._open: dict[WorkflowKey, Workflow] = {}
        self.open_counts: Final[Counter[str]] = Counter()
        """By account, how many workflows are open."""
        self.waiting_counts: Final[Counter[str]] = Counter()
        """By account, how many ids were pushed and never seen."""
        self._owing: dict[WorkflowKey, Workflow] = {}
        self._holding: dict[WorkflowKey, Workflow] = {}
        self._recently_closed: OrderedDict[WorkflowKey, Workflow] = OrderedDict()
        # By account, the latest end of a settled workflow: of any, and of those that only the
        # store knows.
        self._latest_ends = dict(kept.latest_ends)
        self._latest_ends_elsewhere = dict(kept.latest_ends)
        self.begun_anew: list[HistogramName] = totals.restore(
            kept.counters, kept.histograms, appeared=kept.appeared, announced=kept.announced
        )
        """Histograms whose buckets were changed meanwhile."""
        self._restore(kept.unsettled)

    def _restore(self, unsettled: Iterable[Workflow]) -> None:
        for workflow in unsettled:
            key = (workflow.account, workflow.workflow_id)
            if workflow.phase == "open":
                self._open[key] = workflow
                self._count_open(None, workflow)
            if workflow.owed_since is not None:
                self._owing[key] = workflow
            if workflow.held is not None:
                self._holding[key] = workflow
            self.totals.open_slices(workflow.account, workflow.slices)

    @property
    def closed(self) -> int:
        """How many workflows are settled or dropped, those of the store included."""
        return self._closed.total()

    def adopt(self, account: str, kept: RestoredState) -> list[HistogramName]:
        """An account is held from now on: what the store has of it, in place of what was known.

        Histograms whose buckets were changed meanwhile, which restart from 0.
        """
        self.drop(account)
        self._closed[account] = kept.closed
        self._marks.update(kept.accounts)
        self._baselines.update(kept.baselines)
        self._latest_ends.update(kept.latest_ends)
        self._latest_ends_elsewhere.update(kept.latest_ends)
        begun_anew = self.totals.adopt(kept.counters, kept.histograms, kept.announced)
        self._restore(kept.unsettled)
        return begun_anew

    def drop(self, account: str) -> None:
        """An account is held no more: nothing is known of it, and nothing of it is to be kept."""
        workflows = (
            self._open,
            self._owing,
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
        """An account is followed from now on, maybe again.

        What was open when it was last followed has not been looked for since: its time to be
        seen, or to have its cause told, starts over.
        """
        self.totals.open_account(account)
        for known in (self._open, self._owing, self._holding):
            for key, workflow in known.items():
                if workflow.account == account:
                    known[key] = replace(
                        workflow,
                        last_seen=_told_again(workflow.last_seen, monotonic),
                        cause_owed_since=_told_again(workflow.cause_owed_since, monotonic),
                        duration_owed_since=_told_again(workflow.duration_owed_since, monotonic),
                        ask_from=-inf,
                        queue_position=None,
                    )

    # Workflows --------------------------------------------------------------------------------

    def find(self, key: WorkflowKey) -> Workflow | None:
        """A workflow; None says only that it is not in memory."""
        return (
            self._open.get(key)
            or self._owing.get(key)
            or self._holding.get(key)
            or self._recently_closed.get(key)
            # Not kept yet, and out of the others' memory already.
            or self._batch.workflows.get(key)
        )

    def put(self, key: WorkflowKey, before: Workflow | None, workflow: Workflow) -> None:
        """Hold a workflow as it is now, and have it kept."""
        self._closed[key[0]] += _is_closed(workflow) - _is_closed(before)
        self._count_open(self._open.get(key), workflow)
        if workflow.phase == "open":
            self._recently_closed.pop(key, None)
            self._open[key] = workflow
        else:
            self._open.pop(key, None)
            self.remember(key, workflow)
            self._note_end(self._latest_ends, workflow)
        if workflow.owed_since is not None:
            self._owing[key] = workflow
        else:
            self._owing.pop(key, None)
        if workflow.held is not None:
            self._holding[key] = workflow
        else:
            self._holding.pop(key, None)
        if before is None or not workflow.is_kept_like(before) or key in self._batch.workflows:
            self._batch.workflows[key] = workflow

    def remember(self, key: WorkflowKey, closed: Workflow) -> None:
        """Hold a closed workflow for a while, as it is kept."""
        self._recently_closed[key] = closed
        self._recently_closed.move_to_end(key)
        if len(self._recently_closed) > CLOSED_REMEMBERED:
            _, oldest = self._recently_closed.popitem(last=False)
            self._note_end(self._latest_ends_elsewhere, oldest)

    def is_open(self, key: WorkflowKey) -> bool:
        """Whether it is known and open."""
        return key in self._open

    def open_workflows(self) -> tuple[Workflow, ...]:
        """All that are open."""
        return tuple(self._open.values())

    def owing(self) -> tuple[Workflow, ...]:
        """All that owe their cause or their duration."""
        return tuple(self._owing.values())

    def holding(self) -> tuple[Workflow, ...]:
        """All that have facts which are not counted yet."""
        return tuple(self._holding.values())

    def recently_closed(self) -> tuple[Workflow, ...]:
        """Those of the closed ones that are in memory."""
        return tuple(self._recently_closed.values())

    def latest_end(self, account: str) -> float | None:
        """When the last of the account's settled workflows ended, by the service's stamps."""
        return self._latest_ends.get(account)

    def prune_ended_before(self, account: str, ended_at: float, forgotten: Forgotten) -> None:
        """The store has dropped closed workflows that ended before this."""
        self._closed[account] -= forgotten.rows
        # The store has them in its own already.
        self._marks[account] = _pruned(
            self.marks(account), forgotten.latest_created, forgotten.latest_end
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
        """What is remembered of an account as a whole."""
        return self._marks.get(account, AccountMarks())

    def mark(self, account: str, marks: AccountMarks) -> None:
        """Remember it from now on, and have it kept."""
        self._marks[account] = self._batch.accounts[account] = marks

    def baselines(self, account: str) -> dict[Status, Baseline]:
        """What the account's comparisons with the service's totals stand on."""
        return {status: b for (of, status), b in self._baselines.items() if of == account}

    def keep_baseline(self, key: BaselineKey, baseline: Baseline | None) -> None:
        """Compare with this from now on; None: with whatever the next comparison draws."""
        if baseline is not None:
            self._baselines[key] = self._batch.baselines[key] = baseline
        elif self._baselines.pop(key, None) is not None:
            self._batch.baselines[key] = None

    def keep_history(self, rows: Mapping[HistoryKey, HistoryRow | None]) -> None:
        """Have these rows of the history kept, or dropped where they are None."""
        self._batch.history.update(rows)

    def announce(self, series: int, accounts: Collection[str]) -> None:
        """Series up to this number may show their value once the store has kept that.

        Only those of these accounts, which are the ones that are shown.
        """
        if self.totals.announce(series, accounts):
            self._batch.announced = series

    # What the store has not kept yet ----------------------------------------------------------

    def take_batch(self) -> Batch:
        """What has changed since this was last called; nothing that follows changes it."""
        batch, self._batch = self._batch, Batch()
        batch.counters, batch.histograms = self.totals.take_changed()
        return batch

    def note_kept(self, batch: Batch) -> None:
        """All of the batch was kept."""
        if batch.announced is not None:
            self.announced = batch.announced

    def take_back(self, batch: Batch) -> None:
        """Nothing of the batch was kept: it goes into the next one, unless newer is there."""
        newer = self._batch
        self._batch = Batch(
            workflows={**batch.workflows, **newer.workflows},
            accounts={**batch.accounts, **newer.accounts},
            announced=batch.announced if newer.announced is None else newer.announced,
            baselines={**batch.baselines, **newer.baselines},
            history={**batch.history, **newer.history},
        )
        self.totals.take_back(batch.counters, batch.histograms)

    def keep_everything_again(self, line: float | None = None) -> None:
        """The store is empty: it must be given everything that is known.

        Which of the workflows that are not in memory were counted is not known any more: they are
        like rows that were pruned. None of them ended later than those that had to give way; or
        than `line` (Unix seconds), where nothing of an earlier life could be read.
        """
        if line is not None:
            # What ended unseen before the cutoff is never counted, so it is not searched for.
            self._baselines.clear()
        self._batch.baselines.update(self._baselines)
        for known in (self._open, self._owing, self._holding, self._recently_closed):
            self._batch.workflows.update(known)
        self._closed = Counter(
            key[0] for key, known in self._batch.workflows.items() if _is_closed(known)
        )
        for account in {*self._marks, *self._latest_ends_elsewhere}:
            marks = _pruned(self.marks(account), inf, self._latest_ends_elsewhere.get(account))
            self.mark(account, replace(marks, line=_latest(marks.line, line)))
        self.totals.take_back(self.totals.counters, self.totals.histograms)
        self._batch.announced = max(self.announced, self._batch.announced or 0)

    def keep_again(self, account: str) -> None:
        """The store has lost the latest of an account: it must be given all that is known of it."""
        for known in (self._open, self._owing, self._holding, self._recently_closed):
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


def _told_again(moment: Moment | None, monotonic: float) -> Moment | None:
    return None if moment is None else Moment(moment.wall, monotonic)


def _is_closed(workflow: Workflow | None) -> int:
    return int(workflow is not None and workflow.phase != "open")
