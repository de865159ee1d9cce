"""The ledger: applies the tracker's rules to all workflows and stores the results."""

import logging
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from math import inf
from typing import Final

from exporter.interfaces.observations import (
    DOCUMENTED_ENDS,
    Baseline,
    Moment,
    NoRoomError,
    Observation,
    OpenWorkflow,
    Recovery,
    Removed,
    Status,
    Tracked,
    TrackError,
    Traits,
    known_status,
)
from exporter.ledger import holding, recovering, tracker
from exporter.ledger.counting import CountingRules
from exporter.ledger.facts import Dropped, Fact, Finished, Ignored
from exporter.ledger.forms import COUNTERS
from exporter.ledger.holding import Counted
from exporter.ledger.memory import Memory
from exporter.ledger.open_limits import DEFAULT_MOST_OPEN, MOST_WAITING, OpenLimit, OpenLimits
from exporter.ledger.slicing import SliceRule, is_decided, labels_of, log_changes
from exporter.ledger.store import (
    HistoryKey,
    HistoryRow,
    MemoryStore,
    RestoredState,
    Store,
    StoreError,
    StoreLostError,
    WorkflowKey,
)
from exporter.ledger.taken import Taken, is_news
from exporter.ledger.totals import Buckets, LabelCaps, Totals
from exporter.ledger.tracker import Change
from exporter.ledger.workflow import Workflow
from exporter.ledger.writer import LedgerWriter

log = logging.getLogger(__name__)

MOST_LOGGED_STATUSES: Final = 100
"""How many different unknown statuses are logged; further ones are not."""


@dataclass(frozen=True, slots=True)
class AccountTerms:
    """The settings of an account that matter for counting."""

    lookback: float
    """How far back its list is read, in seconds."""
    listed: bool
    most_open: int = DEFAULT_MOST_OPEN
    """How many of its workflows may be open at once."""


@dataclass(frozen=True, slots=True)
class LedgerSnapshot:
    """Everything at one moment, without anything that a crash could undo."""

    accounts: tuple[str, ...]
    open_workflows: tuple[Workflow, ...]
    settled: int
    totals: Totals
    announced: int = 0
    """New series are numbered as they appear. Those up to this number show their value; later ones
    show 0."""
    errors: int = 0
    """How often the store failed."""
    open_limits: Mapping[str, OpenLimit] = field(default_factory=dict)
    """By account: how many workflows may be open, and how many were turned away."""
    slices: tuple[SliceRule, ...] = ()
    """The configured slices: all totals are divided by these."""


@dataclass(frozen=True, slots=True)
class Glance:
    """What is open at one moment; a crash may undo the newest changes."""

    accounts: tuple[str, ...]
    open_workflows: tuple[Workflow, ...]
    dropped: Mapping[str, int]
    """By account: how many workflows were dropped since the ledger was created."""
    errors: int
    """How often the store failed."""
    is_failing: bool
    """Whether the store is failing now."""
    full: Mapping[str, int]
    """The limit of open workflows, for each account that turned workflows away and still has no
    room."""


FIND_SECONDS: Final = 1.0
"""How long a web page waits for the store, in seconds."""


class Ledger:
    """Takes observations from any thread, one at a time.

    Facts are counted in memory, and stored in batches. Each batch holds the workflows together with
    the totals that they changed. A snapshot first stores what it shows, so that no scrape ever
    shows anything that a crash could undo. If the store fails, the ledger continues in memory and
    shows that instead.

    Args:
        accounts: every followed account, by its configured name. Stored data of other accounts is
            kept, but not shown.
        buckets: of the histograms.
        caps: the limits for labels whose values come from the service.
        now: returns the time of both clocks (wall and monotonic).
        store: where the data is stored; in memory by default.
        slices: labels that are derived from the tags and names of workflows.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - the parts it joins
        self,
        accounts: Mapping[str, AccountTerms],
        buckets: Buckets,
        caps: LabelCaps,
        now: Callable[[], Moment],
        store: Store | None = None,
        slices: Sequence[SliceRule] = (),
    ) -> None:
        self._accounts: tuple[str, ...] = ()
        # For every account that was ever followed: the last observation of a removed account may
        # arrive after its removal, and is still valid.
        self._terms: dict[str, AccountTerms] = {}
        self._now = now
        # Protects the memory. It is always acquired after the lock for using the store.
        self._lock = threading.Lock()
        self._followed_since: dict[str, float] = {}
        self._logged_statuses: set[str] = set()
        # Accounts with an observation that could not be accepted.
        self._missed: set[str] = set()
        self._open_limits = OpenLimits()
        # For each account that reached its limit of open workflows: how far the list was read
        # since. The stored watermark stays where it was at that moment.
        self._watermarks: dict[str, float] = {}
        # By account: monotonic time until which nothing could be seen of the whole account.
        self._in_sight_since: dict[str, float] = {}
        self.on_change: Callable[[], None] = lambda: None
        """Called, without the lock, when the set of open workflows has changed or a cause is
        pending: the code that assigns streams should check again."""
        self.on_workflow_change: Callable[[Taken], None] = lambda _: None
        """Called under the lock with each change of a workflow, so it must not block."""
        self.before_persisting: Callable[[], None] = lambda: None
        """Called, without the lock, before anything is stored."""
        store = MemoryStore() if store is None else store
        restored = store.load(
            lambda name: accounts[name].most_open if name in accounts else DEFAULT_MOST_OPEN
        )
        self.restored_history: Final = tuple(restored.history)
        """The history that an earlier process stored."""
        self._slices = tuple(slices)
        self._memory: Final = Memory(restored, Totals(buckets, caps, slices))
        self._writer: Final = LedgerWriter(store, self._memory, self._lock, now)
        _log_restarted(self._memory.restarted)
        log_changes(self._memory.totals.sliced_by(), (), self._slices)
        self._follow(accounts)
        self._writer.errors += restored.faults
        if restored.lost:
            self._writer.note_lost_before()

    # What is followed -------------------------------------------------------------------------

    def change(
        self,
        accounts: Mapping[str, AccountTerms],
        buckets: Buckets,
        caps: LabelCaps,
        slices: Sequence[SliceRule] = (),
    ) -> None:
        """Follow these accounts from now on, with these settings.

        Other accounts are kept but not shown.
        """
        with self._lock:
            restarted = self._memory.totals.change(buckets, caps, slices)
            before, self._slices = self._slices, tuple(slices)
            self._follow(accounts)
        _log_restarted(restarted)
        log_changes({rule.label for rule in before}, before, self._slices)

    def _follow(self, accounts: Mapping[str, AccountTerms]) -> None:
        monotonic = self._now().monotonic
        self._terms = {**self._terms, **accounts}
        for account, terms in accounts.items():
            self._open_limits.change(account, terms.most_open)
            if account not in self._accounts:
                self._followed_since[account] = monotonic
                self._memory.open_account(account, monotonic)
            self._memory.totals.open_overflows(account)
        self._accounts = tuple(accounts)

    # What a store that others share gives and takes -------------------------------------------

    def adopt(
        self, account: str, read: Callable[[], RestoredState]
    ) -> tuple[tuple[HistoryKey, HistoryRow], ...]:
        """Continue from the stored data of an account that is about to be followed.

        The return value is the account's stored history.

        Args:
            account: its name.
            read: makes the store read the account; called while the lock for using the store is
                held.

        Raises:
            StoreError: it cannot be read, and nothing has changed.
        """
        with self._writer.store_lock:
            restored = read()
            with self._lock:
                restarted = self._memory.adopt(account, restored)
        _log_restarted(restarted)
        return tuple(restored.history)

    def release_account(self, account: str, release: Callable[[], None]) -> None:
        """Store what is left of an account that is no longer followed, and remove it from memory.

        Args:
            account: its name.
            release: makes the store stop writing the account; called while the lock for using the
                store is held.
        """
        self.before_persisting()
        self._writer.persist(at_once=True)
        if self._writer.is_failing:
            # A store that has lost commits receives all known data with the next batch.
            self._writer.persist()
        with self._writer.store_lock:
            release()
            with self._lock:
                self._memory.drop(account)
                self._watermarks.pop(account, None)
                self._missed.discard(account)

    # Called by the parts that ask the service -------------------------------------------------

    def track(self, tracked: Tracked) -> bool:
        """Begin to track an id; return False if it was known already.

        Raises:
            NoRoomError: the account has reached its limit.
            TrackError: it is unknown whether the id is new, because the store cannot be read.
        """
        key = (tracked.account, tracked.workflow_id)

        def rule(known: Workflow | None) -> Change:
            change = tracker.track(known, tracked)
            if self._opens(key, change):
                self._refuse_what_is_beyond(tracked)
            return change

        change = self._apply(key, tracked.at, rule, tracked.traits)
        if change.workflow is None:
            raise TrackError("the ledger cannot be read")
        if change.facts:
            self.on_change()
        return bool(change.facts)

    def observe(self, observation: Observation) -> bool:
        """Apply an observation; return True while the same source may still show something new.

        That is while the workflow is open, or something about its end is still pending.
        """
        key = (observation.account, observation.workflow_id)
        before: Workflow | None = None

        def rule(known: Workflow | None) -> Change:
            nonlocal before
            before = known
            return self._within_limit(
                key, tracker.observe(known, observation, self._rules(observation))
            )

        change = self._apply(key, observation.at, rule, observation.traits, observation)
        self._log_unknown_status(observation, change.facts)
        after = change.workflow
        if after is None:
            return False
        if before is None or before.phase != after.phase or before.status is not after.status:
            self.on_change()
        # A stream that has shown the end has nothing more to show.
        has_shown_all = observation.via == "stream" and observation.is_over
        return after.phase == "open" or (after.pending_since is not None and not has_shown_all)

    def recover(self, observation: Observation) -> Recovery:
        """Apply a row that was read again because an outcome may have been missed."""
        told: Recovery = "untold"

        def rule(known: Workflow | None) -> Change:
            nonlocal told
            change = recovering.observe(known, observation, self._rules(observation))
            told = recovering.recovery_of(known, change, observation)
            return self._within_limit(key, change)

        key = (observation.account, observation.workflow_id)
        change = self._apply(key, observation.at, rule, observation.traits, observation)
        self._log_unknown_status(observation, change.facts)
        if told not in {"known", "elsewhere", "old", "untold"}:
            self.on_change()
        return told

    def drop(self, removed: Removed) -> None:
        """Stop tracking an id that cannot be followed."""
        self._part_with(removed, tracker.drop)

    def untrack(self, removed: Removed) -> None:
        """Stop tracking an id that its source no longer names."""
        listed = self._terms[removed.account].listed
        self._part_with(removed, partial(tracker.untrack, listed=listed))

    def _part_with(
        self, removed: Removed, rule: Callable[[Workflow | None, Removed], Change]
    ) -> None:
        key = (removed.account, removed.workflow_id)
        change = self._apply(key, removed.at, lambda known: rule(known, removed))
        if Dropped(removed.reason) in change.facts:
            # The user asked for this, so it is not a warning.
            log.log(
                logging.INFO if removed.reason == "withdrawn" else logging.WARNING,
                "workflow dropped",
                extra={
                    "account": removed.account,
                    "workflow_id": removed.workflow_id,
                    "reason": removed.reason,
                },
            )
        self.on_change()

    def set_counting_cutoff(
        self, account: str, wall: float, shown: Iterable[Observation] = ()
    ) -> bool:
        """Set the counting cutoff, and store what the list showed then.

        The cutoff is the time when this account's list was first read. Return whether this is the
        first call ever; any later call has no effect.

        The cutoff is written to disk immediately: if it were set again after a crash, outcomes in
        between would not be counted. The rows that were shown are written with it: after a crash,
        an edited row that had ended before the cutoff could not be distinguished from one that
        ended after it.
        """
        with self._lock:
            if self._memory.marks(account).cutoff is not None:
                return False
        for each in shown:
            self.observe(each)
        with self._lock:
            is_first = self._set_cutoff(account, wall)
        if is_first:
            self._writer.persist()
        return is_first

    def is_open(self, account: str, workflow_id: str) -> bool:
        """Whether this id is tracked and not settled."""
        # This is a single dict lookup for each stream event, so it needs no lock.
        return self._memory.is_open((account, workflow_id))

    def open_workflow(self, account: str, workflow_id: str) -> OpenWorkflow | None:
        """This workflow, if it is tracked and not settled; otherwise None."""
        key = (account, workflow_id)
        with self._lock:
            return self._memory.find(key) if self._memory.is_open(key) else None

    def open_workflows(self, account: str) -> list[OpenWorkflow]:
        """Every workflow of the account that is not settled."""
        with self._lock:
            workflows = self._memory.open_workflows()
        return [w for w in workflows if w.account == account]

    def pending_causes(self, account: str) -> list[str]:
        """Ids of settled workflows whose cause or duration is pending, longest waiting first.

        Only those that may be asked for now.
        """
        monotonic = self._now().monotonic
        with self._lock:
            pending = self._memory.pending()
        waiting = [
            (workflow.pending_since.wall, workflow.workflow_id)
            for workflow in pending
            if workflow.account == account
            and workflow.pending_since is not None
            and workflow.ask_from <= monotonic
        ]
        return [workflow_id for _, workflow_id in sorted(waiting)]

    def needs_traits(self, account: str, workflow_id: str) -> bool:
        """Whether the name and the tags of this workflow are still needed."""
        with self._lock:
            known = self._memory.find((account, workflow_id))
            if known is None or is_decided(known.slices, self._slices):
                return False
            return known.phase == "open" or known.held is not None

    def is_cause_pending(self, account: str, workflow_id: str) -> bool:
        """Whether this id is settled and its cause is not known yet."""
        with self._lock:
            known = self._memory.find((account, workflow_id))
        return known is not None and known.cause_pending_since is not None

    def created_after(self, account: str, created_at: float) -> int:
        """How many known workflows of the account were created after this time (Unix seconds)."""
        younger = self._writer.created_after(account, created_at)
        if younger is not None:
            return younger
        # If the store cannot be used, the answer comes from memory: the caller only needs an
        # estimate.
        with self._lock:
            known = (*self._memory.open_workflows(), *self._memory.recently_closed())
        return sum(
            w.account == account and w.created_at is not None and w.created_at > created_at
            for w in known
        )

    def list_watermark(self, account: str) -> float | None:
        """The creation time (Unix seconds) down to which the list was read completely.

        None: never yet.
        """
        with self._lock:
            again = self._open_limits.update(account, self._memory.open_counts[account])
            if again:
                # Workflows that were turned away in the meantime are among the rows that are now
                # read again.
                self._watermarks.pop(account, None)
            watermark = self._memory.marks(account).watermark
            meanwhile = self._watermarks.get(account)
            limit = self._open_limits.of(account).limit
        if again:
            log.info(
                "room for open workflows again: reading the list back to where it stopped",
                extra={"account": account, "limit": limit},
            )
        return watermark if meanwhile is None or watermark is None else max(meanwhile, watermark)

    def advance_list_watermark(self, account: str, created_at: float) -> None:
        """Note that the list was read completely up to this creation time (Unix seconds)."""
        with self._lock:
            if account in self._missed:
                # Not every row could be accepted, so the list must be read again.
                self._missed.discard(account)
                return
            marks = self._memory.marks(account)
            if self._open_limits.is_reached(account):
                # Rows that were turned away must be read again later. The first reading is complete
                # nevertheless: what ends from now on counts.
                self._watermarks[account] = max(
                    created_at, self._watermarks.get(account, created_at)
                )
                created_at = 0.0
            if marks.watermark is None or created_at > marks.watermark:
                self._memory.mark(account, replace(marks, watermark=created_at))

    def finished(self, account: str) -> dict[Status, int]:
        """How many outcomes of the account were ever counted, by documented final status."""
        with self._lock:
            counted = dict.fromkeys(DOCUMENTED_ENDS, 0)
            for labels, total in self._memory.totals.counters_named("finished"):
                named = COUNTERS["finished"].named(labels)
                if named["account"] == account and named["status"] in counted:
                    counted[Status(named["status"])] += int(total.value)
            for workflow in self._memory.holding():
                for fact, _ in () if workflow.held is None else workflow.held.facts:
                    if workflow.account == account and isinstance(fact, Finished):
                        # This outcome is known and will be counted, so no search for it is needed.
                        counted[fact.status] = counted.get(fact.status, 0) + 1
            return {status: counted[status] for status in DOCUMENTED_ENDS}

    def needed_traits(self, account: str) -> list[str]:
        """Ids whose name and tags are needed for their slices.

        Those with facts that wait for them come first. They belong to open workflows, and to ended
        ones that cannot be counted before these are known.
        """
        with self._lock:
            held, rules = self._memory.holding(), self._slices
            open_ones = self._memory.open_workflows() if rules else ()
        waiting = sorted(
            (w.held.since.wall, w.workflow_id)
            for w in held
            if w.account == account and w.held is not None
        )
        others = [
            (w.first_seen.wall, w.workflow_id)
            for w in open_ones
            if w.account == account and w.held is None and not is_decided(w.slices, rules)
        ]
        return [workflow_id for _, workflow_id in (*waiting, *sorted(others))]

    def counting_cutoff(self, account: str) -> float | None:
        """The counting cutoff of an account (Unix seconds).

        It is the time when the account's list was first read, by the service's clock.
        """
        with self._lock:
            return self._memory.marks(account).cutoff

    def baselines(self, account: str) -> dict[Status, Baseline]:
        """The baselines of the account's comparisons with the service's totals, by final status."""
        with self._lock:
            return self._memory.baselines(account)

    def set_baseline(self, account: str, status: Status, baseline: Baseline | None) -> None:
        """Use this baseline from now on; None: the next comparison sets a new one."""
        with self._lock:
            self._memory.set_baseline((account, status), baseline)

    # Called by readers ------------------------------------------------------------------------

    def snapshot(self) -> LedgerSnapshot:
        """Everything at this moment; later changes do not affect the snapshot."""
        # The number is taken now. Otherwise, after a slow write, a reader who asked early enough to
        # see a new series at 0 would see its value.
        self.before_persisting()
        with self._lock:
            announced = self._memory.announced
        with self._writer.store_lock:
            with self._lock:
                batch = self._writer.take_batch()
                accounts = self._accounts
                open_workflows = self._memory.open_workflows()
                settled = self._memory.closed
                totals = self._memory.totals.copied(accounts)
                open_limits = {account: self._open_limits.of(account) for account in accounts}
                slices = self._slices
            self._writer.write_through(batch)
            shown = self._writer.committed()
            if shown is not None:
                accounts = tuple(account for account in accounts if account in shown.accounts)
                totals = totals.copied(accounts)
                totals.show_committed(shown)
            return LedgerSnapshot(
                accounts=accounts,
                open_workflows=tuple(w for w in open_workflows if w.account in accounts),
                settled=settled,
                totals=totals,
                announced=announced,
                errors=self._writer.errors,
                open_limits=open_limits,
                slices=slices,
            )

    def announced(self) -> int:
        """The number of the last new series that shows its value now."""
        with self._lock:
            return self._memory.announced

    def glance(self) -> Glance:
        """What is open and what fails now, without waiting for the store."""
        with self._lock:
            accounts = self._accounts
            open_workflows = self._memory.open_workflows()
            dropped: dict[str, int] = {}
            for labels, total in self._memory.totals.counters_named("dropped"):
                dropped[labels[0]] = dropped.get(labels[0], 0) + int(total.value)
            full = {
                account: self._open_limits.of(account).limit
                for account in accounts
                if self._open_limits.is_reached(account)
            }
        return Glance(
            accounts=accounts,
            open_workflows=tuple(w for w in open_workflows if w.account in accounts),
            dropped=dropped,
            errors=self._writer.errors,
            is_failing=self._writer.is_failing,
            full=full,
        )

    def find(self, workflow_id: str) -> list[Workflow]:
        """The workflows with this id in all followed accounts, open or not.

        What the store cannot read now is left out.
        """
        found = []
        for account in self._accounts:
            key = (account, workflow_id)
            with self._lock:
                known = self._memory.find(key)
            # The wait is limited: a page must not hang if the disk does.
            if known is None and self._writer.store_lock.acquire(timeout=FIND_SECONDS):
                try:
                    with suppress(StoreError):
                        known = self._writer.find_closed(key)
                finally:
                    self._writer.store_lock.release()
            if known is not None:
                found.append(known)
        return found

    def slice_defaults(self) -> dict[str, str]:
        """The labels of the configured slices, each with its value if nothing matches."""
        return {rule.label: rule.default for rule in self._slices}

    def newest_series(self) -> int:
        """The highest number of a series that is visible but not announced; 0: there is none."""
        with self._lock:
            return self._memory.totals.newest_series(self._accounts)

    def announce(self, series: int) -> None:
        """Let visible series up to this number show their value, once the store has recorded that.

        Not earlier, because after a crash none of them may show 0 again. While the store fails they
        stay at 0.
        """
        with self._lock:
            self._memory.announce(series, self._accounts)

    # What time does ---------------------------------------------------------------------------

    def persist(self) -> None:
        """Count facts that have waited long enough for their slices, and store everything."""
        self._release_held()
        self.before_persisting()
        self._writer.persist()

    def add_history(self, take: Callable[[], Mapping[HistoryKey, HistoryRow | None]]) -> None:
        """Store these rows of the history, and delete those that are None.

        `take` is called under the lock, so that a later call never brings older rows.
        """
        with self._lock:
            self._memory.add_history(take())

    def set_history_source(
        self, rows: Callable[[], Mapping[HistoryKey, HistoryRow | None]]
    ) -> None:
        """Store the latest rows of the history with each batch.

        Args:
            rows: returns the rows since its last call; called under the lock, so it must not block.
        """
        self._writer.history_rows = rows

    def _release_held(self) -> None:
        monotonic = self._now().monotonic
        with self._lock:
            for known in self._memory.holding():
                capped = partial(self._memory.totals.capped_slice, known.account)
                counted = holding.release(known, monotonic, self._slices, capped)
                if counted is not None:
                    self._count((known.account, known.workflow_id), known, counted)

    def expire(self, out_of_sight: Collection[str] = ()) -> None:
        """Apply all time limits.

        Stop waiting for pending causes and durations, and drop workflows that were not seen for too
        long. For accounts that are `out_of_sight` as a whole these times do not run, and start
        again afterwards: an outage, or a token that was revoked over a weekend, says nothing about
        a single workflow.

        Rows of settled workflows are kept for twice the lookback, by the service's clock and by
        ours, so that a step of our clock does not remove them early.
        """
        now = self._now()
        with self._lock:
            self._in_sight_since.update(dict.fromkeys(out_of_sight, now.monotonic))
            since = dict(self._in_sight_since)
            followed = {account: self._terms[account] for account in self._accounts}
            pending = [w for w in self._memory.pending() if w.account in followed]
            open_ones = [w for w in self._memory.open_workflows() if w.account in followed]
        due = [w for w in pending if _is_pending_too_long(w, now, since.get(w.account, -inf))]
        unseen = [
            w
            for w in open_ones
            if _is_unseen(w, followed[w.account], now, since.get(w.account, -inf))
        ]
        for workflow in due:
            self._apply((workflow.account, workflow.workflow_id), now, _forgive)
        for workflow in unseen:
            self.drop(Removed(workflow.account, workflow.workflow_id, "expired", now))
        for account, terms in followed.items():
            with self._lock:
                latest = self._memory.latest_end(account)
            if latest is not None:
                self._writer.prune_ended_before(account, min(now.wall, latest) - 2 * terms.lookback)

    def close(self) -> None:
        """Store what is not stored yet, and close the store."""
        self.before_persisting()
        self._writer.close()

    # Applying a rule --------------------------------------------------------------------------

    def _apply(
        self,
        key: WorkflowKey,
        at: Moment,
        rule: Callable[[Workflow | None], Change],
        traits: Traits | None = None,
        seen: Observation | None = None,
    ) -> Change:
        """Find the stored state of a workflow, apply the rule, and store the result."""
        while True:
            with self._lock:
                known = self._memory.find(key)
                if known is not None:
                    return self._take(key, known, rule(known), at, traits=traits, seen=seen)
            # It is not in memory: it is new, or it settled some time ago, which the store knows.
            with self._writer.store_lock:
                try:
                    known = self._writer.find_closed(key)
                except StoreLostError:
                    continue
                except StoreError:
                    # It may be new, or counted long ago. This must not be guessed. It will be
                    # observed again later.
                    with self._lock:
                        self._missed.add(key[0])
                    return Change(None)
                with self._lock:
                    if self._memory.find(key) is not None:
                        continue  # another thread has just added it
                    if known is not None and known.phase != "open":
                        self._memory.remember(key, known)
                    return self._take(key, known, rule(known), at, traits=traits, seen=seen)

    def _take(  # noqa: PLR0913 - what is known, what was seen, and what comes of it
        self,
        key: WorkflowKey,
        known: Workflow | None,
        change: Change,
        at: Moment,
        *,
        traits: Traits | None,
        seen: Observation | None,
    ) -> Change:
        if change.workflow is None:
            return change
        capped = partial(self._memory.totals.capped_slice, key[0])
        counted = holding.take(
            known, change.workflow, change.facts, at, traits, self._slices, capped
        )
        self._count(key, known, counted)
        after, account = counted.workflow, key[0]
        if after is not known and is_news(known, after, change.facts):
            marks, listed = self._memory.marks(account), self._terms[account].listed
            self.on_workflow_change(Taken(known, after, change.facts, at, seen, marks, listed))
        return change if after is change.workflow else replace(change, workflow=after)

    def _count(self, key: WorkflowKey, known: Workflow | None, counted: Counted) -> None:
        workflow, totals = counted.workflow, self._memory.totals
        if workflow is not known:
            self._memory.put(key, known, workflow)
        account, workflow_id = key
        if known is None or known.slices != workflow.slices:
            totals.open_slices(account, workflow.slices)
        slices = labels_of(workflow.slices)
        for fact, wall in counted.facts:
            totals.add(account, workflow_id, fact, wall, slices)

    # How many may be open --------------------------------------------------------------------

    def _opens(self, key: WorkflowKey, change: Change) -> bool:
        """Whether this change makes one more workflow open. Called under the lock."""
        after = change.workflow
        return after is not None and after.phase == "open" and not self._memory.is_open(key)

    def _within_limit(self, key: WorkflowKey, change: Change) -> Change:
        """Check a change against the account's limit; return the change to apply.

        It is an empty change if the account has no room for one more open workflow.
        """
        if not self._opens(key, change) or self._has_room(key[0]):
            return change
        self._turn_away(key[0])
        return Change(None)

    def _refuse_what_is_beyond(self, tracked: Tracked) -> None:
        """Raise `NoRoomError` if the account has no room for this id."""
        account = tracked.account
        if not self._has_room(account):
            self._turn_away(account)
            raise NoRoomError(
                f"{self._open_limits.of(account).limit:,} workflows of the account are open"
            )
        waiting = self._memory.waiting_counts[account]
        if tracked.source == "pushed" and waiting >= MOST_WAITING:
            raise NoRoomError(f"{waiting:,} pushed ids of the account wait to be seen")

    def _has_room(self, account: str) -> bool:
        return self._open_limits.has_room(account, self._memory.open_counts[account])

    def _turn_away(self, account: str) -> None:
        if self._open_limits.turn_away(account):
            log.warning(
                "limit of open workflows reached: more are tracked when there is room",
                extra={"account": account, "limit": self._open_limits.of(account).limit},
            )

    def _rules(self, observation: Observation) -> CountingRules:
        """The rules as they are at this moment. Called under the lock."""
        account = observation.account
        marks, listed = self._memory.marks(account), self._terms[account].listed
        cutoff = marks.cutoff
        if cutoff is None and listed:
            # The first reading of its list will set the counting cutoff, by the service's clock. A
            # workflow that a stream shows as ended before that was never seen open.
            cutoff = inf
        elif cutoff is None:
            # When we began to follow it, by the service's clock.
            cutoff = observation.said_at - (
                observation.at.monotonic - self._followed_since[account]
            )
            self._set_cutoff(account, cutoff)
        return CountingRules(
            cutoff=cutoff,
            listed=listed,
            pruned_created=marks.pruned_created,
            pruned_ended=marks.pruned_ended,
        )

    def _set_cutoff(self, account: str, wall: float) -> bool:
        marks = self._memory.marks(account)
        if marks.cutoff is not None:
            return False
        self._memory.mark(account, replace(marks, cutoff=wall))
        return True

    def _log_unknown_status(self, observation: Observation, facts: tuple[Fact, ...]) -> None:
        if known_status(observation.status) is not None:
            return
        with self._lock:
            new = (
                Ignored("unknown_status") in facts
                and observation.status not in self._logged_statuses
                and len(self._logged_statuses) < MOST_LOGGED_STATUSES
            )
            if new:
                self._logged_statuses.add(observation.status)
        if new:
            log.warning(
                "unknown status, kept as last seen",
                extra={
                    "account": observation.account,
                    "workflow_id": observation.workflow_id,
                    "status": observation.status,
                },
            )


def _log_restarted(histograms: Iterable[str]) -> None:
    for name in histograms:
        log.warning(
            "histogram buckets changed: the histogram restarts at 0", extra={"histogram": name}
        )


def _is_unseen(workflow: Workflow, terms: AccountTerms, now: Moment, in_sight: float) -> bool:
    last = workflow.last_seen or workflow.first_seen
    return now.monotonic - max(last.monotonic, in_sight) > terms.lookback


def _is_pending_too_long(workflow: Workflow, now: Moment, in_sight: float) -> bool:
    since = workflow.pending_since
    return (
        since is not None
        and now.monotonic - max(since.monotonic, in_sight) > tracker.CAUSE_PATIENCE_SECONDS
    )


def _forgive(known: Workflow | None) -> Change:
    return Change(None) if known is None else tracker.forgive(known)
