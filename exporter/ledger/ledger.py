"""The ledger: applies the tracker's rules to all workflows at once and keeps what follows."""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from exporter.ledger import tracker
from exporter.ledger.facts import Dropped, Fact, Ignored
from exporter.ledger.memory import Memory
from exporter.ledger.store import (
    Batch,
    MemoryStore,
    Store,
    StoreFailed,
    StoreLost,
    WorkflowKey,
)
from exporter.ledger.totals import Buckets, LabelCaps, Totals
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

STATUSES_TOLD: Final = 100
"""Unknown statuses that get a line in the log; whatever invents more has been told of enough."""

FIRST_RETRY_SECONDS: Final = 0.5
LAST_RETRY_SECONDS: Final = 10.0
"""After a failure the store is given time, twice as much after each more: what is not kept yet
grows, and so does the work of each try."""


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
    """Series up to this number had been shown to a scraper."""
    errors: int = 0
    """How often the store failed."""


class Ledger:
    """Takes observations from any thread, one at a time.

    Facts are counted in memory and kept by the store in batches, each of which holds the
    workflows together with the totals that they changed. A snapshot first keeps what it shows, so
    that no scrape ever shows what a crash could take back: unless the store fails, for then the
    ledger goes on in memory and shows that.

    Args:
        accounts: every account that is followed, by its configured name. What is kept of others
            stays where it is, and is not shown.
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
        self._accounts: tuple[str, ...] = ()
        # Of every account that was ever followed: the last word of one that is no more may come
        # after its end, and is as true as any.
        self._terms: dict[str, AccountTerms] = {}
        self._now = now
        self._store: Final = MemoryStore() if store is None else store
        self._lock = threading.Lock()
        # Held by whoever uses the store; always taken before the other.
        self._keeping = threading.Lock()
        self._statuses_told: set[str] = set()
        self._errors = 0
        self._is_failing = False
        self._retry_after = 0.0
        self._retry_at: float | None = None
        # Accounts of which something was seen that could not be taken.
        self._missed: set[str] = set()
        self.on_change: Callable[[], None] = lambda: None
        """Called, without the lock, when the set of open workflows has changed or a cause is
        owed: whoever decides about streams should look again."""
        kept = self._store.load()
        self._memory: Final = Memory(kept, Totals(buckets, caps))
        _tell_begun_anew(self._memory.begun_anew)
        self._follow(accounts)
        if kept.lost:
            self._errors += 1
            self._memory.keep_everything_again(line=now().wall)

    # What is followed -------------------------------------------------------------------------

    def change(
        self, accounts: Mapping[str, AccountTerms], buckets: Buckets, caps: LabelCaps
    ) -> None:
        """Follow these accounts from now on, in this way; the others are kept and not shown."""
        with self._lock:
            begun_anew = self._memory.totals.change(buckets, caps)
            self._follow(accounts)
        _tell_begun_anew(begun_anew)

    def _follow(self, accounts: Mapping[str, AccountTerms]) -> None:
        monotonic = self._now().monotonic
        self._terms = {**self._terms, **accounts}
        for account in accounts:
            if account not in self._accounts:
                self._memory.open_account(account, monotonic)
        self._accounts = tuple(accounts)

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
        before: Workflow | None = None

        def rule(known: Workflow | None) -> Change:
            nonlocal before
            before = known
            return tracker.observe(known, observation, self._rules(observation.account))

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

    def draw_line(self, account: str, wall: float) -> bool:
        """Say when this account was first looked at; whether this is the first call, ever."""
        with self._lock:
            return self._draw_line(account, wall)

    def is_open(self, account: str, workflow_id: str) -> bool:
        """Whether this id is kept and not settled."""
        with self._lock:
            return self._memory.is_open((account, workflow_id))

    def open_workflows(self, account: str) -> list[OpenWorkflow]:
        """Every workflow of the account that is not settled."""
        with self._lock:
            workflows = self._memory.open_workflows()
        return [w for w in workflows if w.account == account]

    def causes_owed(self, account: str) -> list[str]:
        """Ids of failed workflows whose cause is not known yet, longest waiting first."""
        with self._lock:
            owing = self._memory.owing()
        debts = [
            (workflow.cause_owed_since.wall, workflow.workflow_id)
            for workflow in owing
            if workflow.account == account and workflow.cause_owed_since is not None
        ]
        return [workflow_id for _, workflow_id in sorted(debts)]

    def created_after(self, account: str, created_at: float) -> int:
        """How many of the account's workflows are known to be younger (Unix seconds)."""
        with self._keeping:
            if self._flush():
                try:
                    return self._store.created_after(account, created_at)
                except StoreFailed as error:
                    self._note_failure(error)
        # Without the store, by what is in memory: the caller only estimates by it.
        with self._lock:
            known = (*self._memory.open_workflows(), *self._memory.recently_closed())
        return sum(
            w.account == account and w.created_at is not None and w.created_at > created_at
            for w in known
        )

    def list_frontier(self, account: str) -> float | None:
        """The list was read whole down to this creation time (Unix seconds); None: never yet."""
        with self._lock:
            return self._memory.marks(account).frontier

    def advance_list_frontier(self, account: str, created_at: float) -> None:
        """The list was now read whole for all that was created up to this time."""
        with self._lock:
            if account in self._missed:
                # Not all that was read could be taken: let it be read again.
                self._missed.discard(account)
                return
            marks = self._memory.marks(account)
            if marks.frontier is None or created_at > marks.frontier:
                self._memory.mark(account, replace(marks, frontier=created_at))

    # What those who read call -----------------------------------------------------------------

    def snapshot(self) -> LedgerSnapshot:
        """Everything at this instant; later changes do not touch it."""
        with self._keeping:
            with self._lock:
                batch = self._take_batch()
                accounts = self._accounts
                open_workflows = self._memory.open_workflows()
                settled = self._memory.closed
                totals = self._memory.totals.copied(accounts)
                announced = self._memory.announced
            if self._write(batch):
                self._sync()
            return LedgerSnapshot(
                accounts=accounts,
                open_workflows=tuple(w for w in open_workflows if w.account in accounts),
                settled=settled,
                totals=totals,
                announced=announced,
                errors=self._errors,
            )

    def note_announced(self, series: int) -> None:
        """Keep that series up to this number are being shown to a scraper."""
        with self._lock:
            self._memory.announce(series)
        # Before they are shown: after a crash none of them must be shown at 0 once more.
        self.keep()

    # What time does ---------------------------------------------------------------------------

    def keep(self) -> None:
        """Have the store keep whatever it has not kept yet."""
        with self._keeping:
            self._flush()

    def expire(self) -> None:
        """Let time do its work: forgive causes owed too long, drop what nobody sees any more.

        Rows of settled workflows are kept twice as long as the listing looks back, by the
        service's own clock as well as by ours, so that no step of ours drops them early.
        """
        now = self._now()
        with self._lock:
            followed = {account: self._terms[account] for account in self._accounts}
            owing = [w for w in self._memory.owing() if w.account in followed]
            open_ones = [w for w in self._memory.open_workflows() if w.account in followed]
        due = [w for w in owing if _is_owed_too_long(w, now)]
        unseen = [w for w in open_ones if _is_unseen(w, followed[w.account], now)]
        for workflow in due:
            self._apply((workflow.account, workflow.workflow_id), now, _forgive)
        for workflow in unseen:
            self.give_up(GivenUp(workflow.account, workflow.workflow_id, "expired", now))
        for account, terms in followed.items():
            with self._lock:
                latest = self._memory.latest_end(account)
            if latest is not None:
                self._forget_ended_before(account, min(now.wall, latest) - 2 * terms.lookback)

    def close(self) -> None:
        """Keep what is left, and let go of the store."""
        with self._keeping:
            self._retry_at = None
            if self._flush():
                self._sync()
            self._store.close()

    def _forget_ended_before(self, account: str, ended_at: float) -> None:
        with self._keeping:
            if not self._flush():
                return
            try:
                forgotten = self._store.forget_ended_before(account, ended_at)
            except StoreFailed as error:
                self._note_failure(error)
                return
            if forgotten.rows:
                with self._lock:
                    self._memory.forget_ended_before(account, ended_at, forgotten)

    # Applying a rule --------------------------------------------------------------------------

    def _apply(
        self, key: WorkflowKey, at: Moment, rule: Callable[[Workflow | None], Change]
    ) -> Change:
        """Find what is kept of a workflow, ask the rule, and keep what it answers."""
        while True:
            with self._lock:
                known = self._memory.find(key)
                if known is not None:
                    return self._take(key, known, rule(known), at)
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
                    with self._lock:
                        self._missed.add(key[0])
                    return Change(None)
                with self._lock:
                    if self._memory.find(key) is not None:
                        continue  # somebody else has just learnt of it
                    if known is not None:
                        self._memory.remember(key, known)
                    return self._take(key, known, rule(known), at)

    def _take(self, key: WorkflowKey, known: Workflow | None, change: Change, at: Moment) -> Change:
        if change.workflow is not None and change.workflow is not known:
            self._memory.put(key, known, change.workflow)
        account, workflow_id = key
        for fact in change.facts:
            self._memory.totals.add(account, workflow_id, fact, at.wall)
        return change

    def _rules(self, account: str) -> CountingRules:
        """The rules as they are at this instant. Under the lock."""
        line = self._memory.marks(account).line
        if line is None:
            line = self._now().wall
            self._draw_line(account, line)
        return CountingRules(line=line, listed=self._terms[account].listed)

    def _draw_line(self, account: str, wall: float) -> bool:
        marks = self._memory.marks(account)
        if marks.line is not None:
            return False
        self._memory.mark(account, replace(marks, line=wall))
        return True

    def _tell_unknown_status(self, observation: Observation, facts: tuple[Fact, ...]) -> None:
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

    # Keeping. All of it under `_keeping` ------------------------------------------------------

    def _flush(self) -> bool:
        """Have the store keep what has changed; whether everything is kept now."""
        with self._lock:
            batch = self._take_batch()
        return self._write(batch)

    def _take_batch(self) -> Batch | None:
        """What the store is to keep now; None while it is given time after a failure."""
        if self._retry_at is not None and self._now().monotonic < self._retry_at:
            return None
        return self._memory.take_batch()

    def _write(self, batch: Batch | None) -> bool:
        if batch is None:
            return False
        if batch.empty:
            return True
        try:
            self._store.keep(batch)
        except StoreFailed as error:
            failure = error
        except Exception as error:  # noqa: BLE001 - whatever it is, no fact may be lost for it
            failure = StoreFailed(type(error).__name__)
        else:
            if self._is_failing:
                log.warning("the ledger is kept again, and nothing is missing in it")
            self._is_failing, self._retry_at, self._retry_after = False, None, 0.0
            return True
        with self._lock:
            self._memory.take_back(batch)
        self._note_failure(failure)
        self._retry_after = min(max(FIRST_RETRY_SECONDS, 2 * self._retry_after), LAST_RETRY_SECONDS)
        self._retry_at = self._now().monotonic
        if not isinstance(failure, StoreLost):
            self._retry_at += self._retry_after
        return False

    def _sync(self) -> None:
        try:
            self._store.sync()
        except StoreFailed as error:
            self._note_failure(error)

    def _note_failure(self, error: StoreFailed) -> None:
        """Count it, and after a loss have the fresh store keep everything that is in memory."""
        with self._lock:
            first, self._is_failing = not self._is_failing, True
            self._errors += 1
            if isinstance(error, StoreLost):
                self._memory.keep_everything_again()
        level = logging.ERROR if first or isinstance(error, StoreLost) else logging.DEBUG
        log.log(
            level,
            "the ledger could not be kept: going on in memory, and trying again",
            extra={"reason": str(error)},
        )


def _tell_begun_anew(histograms: Iterable[str]) -> None:
    for name in histograms:
        log.warning(
            "the buckets of a histogram were changed: it starts anew", extra={"histogram": name}
        )


def _is_unseen(workflow: Workflow, terms: AccountTerms, now: Moment) -> bool:
    last = workflow.last_seen or workflow.first_seen
    return now.monotonic - last.monotonic > terms.lookback


def _is_owed_too_long(workflow: Workflow, now: Moment) -> bool:
    since = workflow.cause_owed_since
    return since is not None and now.monotonic - since.monotonic > tracker.CAUSE_PATIENCE_SECONDS


def _forgive(known: Workflow | None) -> Change:
    return Change(None) if known is None else tracker.forgive_cause(known)
