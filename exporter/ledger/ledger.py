"""The ledger: applies the tracker's rules to all workflows at once and keeps what follows."""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from exporter.ledger import tracker
from exporter.ledger.facts import Dropped, Fact, Ignored
from exporter.ledger.store import (
    AccountMarks,
    Batch,
    MemoryStore,
    Store,
    StoreFailed,
    StoreLost,
    WorkflowKey,
)
from exporter.ledger.totals import (
    Buckets,
    CounterName,
    HistogramName,
    LabelCaps,
    Labels,
    Totals,
)
from exporter.ledger.tracker import Change, CountingRules
from exporter.ledger.workflow import Workflow
from exporter.observations import (
    GivenUp,
    Moment,
    Observation,
    OpenWorkflow,
    TakenUp,
    known_status,
)

log = logging.getLogger(__name__)

CLOSED_REMEMBERED: Final = 20_000
"""Settled workflows held in memory, so that the pages of the list that are read again and again
need no look at the store."""

STATUSES_TOLD: Final = 100
"""Unknown statuses that get a line in the log; whatever invents more has been told of enough."""


@dataclass(frozen=True, slots=True)
class AccountTerms:
    """What the configuration says of an account that matters for counting."""

    lookback: float
    """Seconds that its listing looks back."""
    listed: bool


@dataclass(frozen=True, slots=True)
class LedgerSnapshot:
    """Everything at one instant, and nothing that a crash could take back."""

    accounts: tuple[str, ...]
    open_workflows: tuple[Workflow, ...]
    settled: int
    totals: Totals
    announced: int = 0
    """Series up to this number had been shown to a scraper when the process started."""
    errors: int = 0
    """How often the store failed."""


class Ledger:
    """Takes observations from any thread, one at a time.

    Facts are counted in memory and kept by the store in batches, each of which holds the
    workflows together with the totals that they changed. A snapshot first keeps what it shows, so
    that no scrape ever shows what a crash could take back.

    Args:
        accounts: every account, by its configured name.
        buckets: of the histograms.
        caps: of labels that come from the service.
        now: both clocks.
        store: where it is kept; in memory by default.
    """

    def __init__(
        self,
        accounts: Mapping[str, AccountTerms],
        buckets: Buckets,
        caps: LabelCaps,
        now: Callable[[], Moment],
        store: Store | None = None,
    ) -> None:
        self._terms: Final = dict(accounts)
        self._now = now
        self._store: Final = MemoryStore() if store is None else store
        self._lock = threading.Lock()
        # Held by whoever uses the store; always taken before the other.
        self._keeping = threading.Lock()
        self._batch = Batch()
        self._open: dict[WorkflowKey, Workflow] = {}
        self._owing: dict[WorkflowKey, Workflow] = {}
        self._recently_closed: OrderedDict[WorkflowKey, Workflow] = OrderedDict()
        self._statuses_told: set[str] = set()
        self._errors = 0
        self.on_change: Callable[[], None] = lambda: None
        """Called, without the lock, when the set of open workflows has changed or a cause is
        owed: whoever decides about streams should look again."""
        kept = self._store.load()
        self._marks = dict(kept.accounts)
        self._announced = kept.announced
        self._closed = self._store.closed()
        self._totals = Totals(buckets, caps)
        for account in accounts:
            self._totals.open_account(account)
        # What is kept of an account that the configuration no longer has stays where it is, in
        # case it comes back.
        for name in self._totals.restore(
            {key: t for key, t in kept.counters.items() if key[1][0] in accounts},
            {key: t for key, t in kept.histograms.items() if key[1][0] in accounts},
        ):
            log.warning(
                "the buckets of a histogram were changed: it starts anew", extra={"histogram": name}
            )
        for workflow in kept.unsettled:
            key = (workflow.account, workflow.workflow_id)
            if workflow.account not in accounts:
                continue
            if workflow.phase == "open":
                self._open[key] = workflow
            if workflow.cause_owed_since is not None:
                self._owing[key] = workflow

    # What those who ask the service call ------------------------------------------------------

    def take_up(self, taken: TakenUp) -> bool:
        """Begin to keep an id; False when it was known already."""
        key = (taken.account, taken.workflow_id)
        change = self._apply(key, taken.at, lambda known: tracker.take_up(known, taken))
        if change.facts:
            self.on_change()
        return bool(change.facts)

    def observe(self, observation: Observation) -> bool:
        """Take what was seen; True while the workflow is open or owes its cause."""
        key = (observation.account, observation.workflow_id)
        rules = self._rules(observation.account)
        before: Workflow | None = None

        def rule(known: Workflow | None) -> Change:
            nonlocal before
            before = known
            return tracker.observe(known, observation, rules)

        change = self._apply(key, observation.at, rule)
        self._tell_unknown_status(observation, change.facts)
        after = change.workflow
        if after is None:
            return False
        if before is None or before.phase != after.phase or before.status is not after.status:
            self.on_change()
        return after.phase == "open" or after.cause_owed_since is not None

    def give_up(self, given: GivenUp) -> None:
        """Drop an id that cannot be followed."""
        self._part_with(given, tracker.give_up)

    def withdraw(self, withdrawn: GivenUp) -> None:
        """Whoever named this id names it no more."""
        listed = self._terms[withdrawn.account].listed
        self._part_with(withdrawn, partial(tracker.withdraw, listed=listed))

    def _part_with(
        self, given: GivenUp, rule: Callable[[Workflow | None, GivenUp], Change]
    ) -> None:
        key = (given.account, given.workflow_id)
        change = self._apply(key, given.at, lambda known: rule(known, given))
        if Dropped(given.reason) in change.facts:
            log.warning(
                "workflow given up",
                extra={
                    "account": given.account,
                    "workflow_id": given.workflow_id,
                    "reason": given.reason,
                },
            )
        self.on_change()

    def draw_line(self, account: str, wall: float) -> None:
        """Say when this account was first looked at; only the first call ever counts."""
        with self._lock:
            marks = self._marks.get(account, AccountMarks())
            if marks.line is None:
                self._mark(account, replace(marks, line=wall))

    def is_open(self, account: str, workflow_id: str) -> bool:
        """Whether this id is kept and not settled."""
        with self._lock:
            return (account, workflow_id) in self._open

    def open_workflows(self, account: str) -> list[OpenWorkflow]:
        """Every workflow of the account that is not settled."""
        with self._lock:
            return [w for w in self._open.values() if w.account == account]

    def causes_owed(self, account: str) -> list[str]:
        """Ids of failed workflows whose cause is not known yet, longest waiting first."""
        with self._lock:
            owing = [w for w in self._owing.values() if w.account == account]
        owing.sort(key=lambda w: w.cause_owed_since or 0.0)
        return [w.workflow_id for w in owing]

    def created_after(self, account: str, created_at: float) -> int:
        """How many of the account's workflows are known to be younger (Unix seconds)."""
        with self._keeping:
            self._flush()
            try:
                return self._store.created_after(account, created_at)
            except StoreFailed as error:
                self._note_failure(error)
        # Without the store, by what is in memory: the caller only estimates by it.
        with self._lock:
            return sum(
                w.account == account and w.created_at is not None and w.created_at > created_at
                for w in (*self._open.values(), *self._recently_closed.values())
            )

    def list_frontier(self, account: str) -> float | None:
        """The list was read whole down to this creation time (Unix seconds); None: never yet."""
        with self._lock:
            return self._marks.get(account, AccountMarks()).frontier

    def advance_list_frontier(self, account: str, created_at: float) -> None:
        """The list was now read whole for all that was created up to this time."""
        with self._lock:
            marks = self._marks.get(account, AccountMarks())
            if marks.frontier is None or created_at > marks.frontier:
                self._mark(account, replace(marks, frontier=created_at))

    # What those who read call -----------------------------------------------------------------

    def snapshot(self) -> LedgerSnapshot:
        """Everything at this instant; later changes do not touch it."""
        with self._keeping:
            return self._flush()

    def note_announced(self, series: int) -> None:
        """Series up to this number have now been shown to a scraper."""
        with self._lock:
            if series > self._announced:
                self._announced = series
                self._batch.announced = series

    # What time does ---------------------------------------------------------------------------

    def keep(self) -> None:
        """Have the store keep whatever it has not kept yet."""
        with self._keeping:
            self._flush()

    def expire(self) -> None:
        """Let time do its work: forgive causes owed too long, drop what nobody sees any more.

        Rows of settled workflows are kept twice as long as the listing looks back, so that none
        which a list can still show is ever taken for new.
        """
        now = self._now()
        with self._lock:
            due = [
                key
                for key, workflow in self._owing.items()
                if now.wall - (workflow.cause_owed_since or 0.0) > tracker.CAUSE_PATIENCE_SECONDS
            ]
            unseen = [w for w in self._open.values() if self._is_unseen(w, now)]
        for key in due:
            self._apply(key, now, _forgive)
        for workflow in unseen:
            self.give_up(GivenUp(workflow.account, workflow.workflow_id, "expired", now))
        for account, terms in self._terms.items():
            self._forget_ended_before(account, now.wall - 2 * terms.lookback)

    def close(self) -> None:
        """Keep what is left, and let go of the store."""
        with self._keeping:
            self._flush()
            self._store.close()

    def _is_unseen(self, workflow: Workflow, now: Moment) -> bool:
        last = workflow.last_seen or workflow.first_seen
        return now.monotonic - last.monotonic > self._terms[workflow.account].lookback

    def _forget_ended_before(self, account: str, ended_at: float) -> None:
        with self._keeping:
            self._flush()
            try:
                forgotten = self._store.forget_ended_before(account, ended_at)
            except StoreFailed as error:
                self._note_failure(error)
                return
            with self._lock:
                self._closed -= forgotten
                for key, workflow in list(self._recently_closed.items()):
                    if key[0] == account and (workflow.ended_at or 0.0) < ended_at:
                        del self._recently_closed[key]

    # Applying a rule --------------------------------------------------------------------------

    def _apply(
        self, key: WorkflowKey, at: Moment, rule: Callable[[Workflow | None], Change]
    ) -> Change:
        """Find what is kept of a workflow, ask the rule, and keep what it answers."""
        while True:
            with self._lock:
                known = self._in_memory(key)
                if known is not None:
                    return self._keep(key, known, rule(known), at)
            # Not in memory: it is new, or was settled a while ago, as the store knows.
            with self._keeping:
                try:
                    known = self._store.find_closed(key)
                except StoreLost as error:
                    self._note_failure(error)
                    continue
                except StoreFailed as error:
                    # It may be new, or have been counted long ago: not to be guessed. Whatever
                    # is true of it will be seen again.
                    self._note_failure(error)
                    return Change(None)
                with self._lock:
                    if self._in_memory(key) is not None:
                        continue  # somebody else has just learnt of it
                    if known is not None:
                        self._remember_closed(key, known)
                    return self._keep(key, known, rule(known), at)

    def _in_memory(self, key: WorkflowKey) -> Workflow | None:
        return (
            self._open.get(key)
            or self._owing.get(key)
            or self._recently_closed.get(key)
            # Not kept yet, and out of the others' memory already.
            or self._batch.workflows.get(key)
        )

    def _keep(self, key: WorkflowKey, known: Workflow | None, change: Change, at: Moment) -> Change:
        workflow = change.workflow
        if workflow is None or workflow is known:
            self._add(key, change.facts, at)
            return change
        self._closed += _is_closed(workflow) - _is_closed(known)
        if workflow.phase == "open":
            self._recently_closed.pop(key, None)
            self._open[key] = workflow
        else:
            self._open.pop(key, None)
            self._remember_closed(key, workflow)
        if workflow.cause_owed_since is not None:
            self._owing[key] = workflow
        else:
            self._owing.pop(key, None)
        self._batch.workflows[key] = workflow
        self._add(key, change.facts, at)
        return change

    def _remember_closed(self, key: WorkflowKey, workflow: Workflow) -> None:
        self._recently_closed[key] = workflow
        self._recently_closed.move_to_end(key)
        if len(self._recently_closed) > CLOSED_REMEMBERED:
            self._recently_closed.popitem(last=False)

    def _add(self, key: WorkflowKey, facts: Iterable[Fact], at: Moment) -> None:
        account, workflow_id = key
        for fact in facts:
            self._totals.add(account, workflow_id, fact, at.wall)

    def _rules(self, account: str) -> CountingRules:
        terms = self._terms[account]
        with self._lock:
            marks = self._marks.get(account, AccountMarks())
            if marks.line is None:
                marks = replace(marks, line=self._now().wall)
                self._mark(account, marks)
        return CountingRules(line=marks.line or 0.0, lookback=terms.lookback, listed=terms.listed)

    def _mark(self, account: str, marks: AccountMarks) -> None:
        self._marks[account] = self._batch.accounts[account] = marks

    def _tell_unknown_status(self, observation: Observation, facts: Iterable[Fact]) -> None:
        if known_status(observation.status) is not None:
            return
        with self._lock:
            new = (
                Ignored("unknown_status") in facts
                and observation.status not in self._statuses_told
                and len(self._statuses_told) < STATUSES_TOLD
            )
            if new:
                self._statuses_told.add(observation.status)
        if new:
            log.warning(
                "unknown status, kept as last seen",
                extra={
                    "account": observation.account,
                    "workflow_id": observation.workflow_id,
                    "status": observation.status,
                },
            )

    # Keeping ----------------------------------------------------------------------------------

    def _flush(self) -> LedgerSnapshot:
        """Have the store keep what has changed; what is true as of that. Under `_keeping`."""
        with self._lock:
            batch, self._batch = self._batch, Batch()
            totals = self._totals
            batch.counters = {key: totals.counters[key] for key in totals.changed_counters}
            batch.histograms = {key: totals.histograms[key] for key in totals.changed_histograms}
            changed = (totals.changed_counters, totals.changed_histograms)
            totals.changed_counters, totals.changed_histograms = set(), set()
            shown = totals.copied()
            # The copies: what follows must not change a batch while it is written.
            batch.counters = {key: shown.counters[key] for key in batch.counters}
            batch.histograms = {key: shown.histograms[key] for key in batch.histograms}
            open_workflows = tuple(self._open.values())
            closed = self._closed
        if not batch.empty:
            try:
                self._store.keep(batch)
            except StoreFailed as error:
                self._take_back(batch, changed)
                self._note_failure(error)
        return LedgerSnapshot(
            accounts=tuple(self._terms),
            open_workflows=open_workflows,
            settled=closed,
            totals=shown,
            announced=self._announced,
            errors=self._errors,
        )

    def _take_back(
        self,
        batch: Batch,
        changed: tuple[set[tuple[CounterName, Labels]], set[tuple[HistogramName, Labels]]],
    ) -> None:
        """Nothing of the batch was kept: it goes into the next one, unless newer is there."""
        with self._lock:
            self._batch.workflows = {**batch.workflows, **self._batch.workflows}
            self._batch.accounts = {**batch.accounts, **self._batch.accounts}
            self._totals.changed_counters |= changed[0]
            self._totals.changed_histograms |= changed[1]
            if self._batch.announced is None:
                self._batch.announced = batch.announced

    def _note_failure(self, error: StoreFailed) -> None:
        """Count it, and after a loss have the fresh store keep everything that is in memory."""
        with self._lock:
            first = self._errors == 0
            self._errors += 1
            if isinstance(error, StoreLost):
                now = self._now().wall
                # By the rule of a first start: what ended before now and is not in memory any
                # more must not be taken for new.
                for account in self._terms:
                    marks = self._marks.get(account, AccountMarks())
                    self._mark(account, replace(marks, line=now))
                for known in (self._open, self._owing, self._recently_closed):
                    self._batch.workflows.update(known)
                self._closed = len(self._recently_closed)
                self._totals.changed_counters.update(self._totals.counters)
                self._totals.changed_histograms.update(self._totals.histograms)
                self._batch.announced = self._announced
        level = logging.ERROR if first or isinstance(error, StoreLost) else logging.DEBUG
        log.log(
            level,
            "the ledger could not be kept: going on in memory, and trying again",
            extra={"reason": str(error)},
        )


def _forgive(known: Workflow | None) -> Change:
    return Change(None) if known is None else tracker.forgive_cause(known)


def _is_closed(workflow: Workflow | None) -> int:
    return int(workflow is not None and workflow.phase != "open")
