"""The ledger: applies the tracker's rules to all workflows and stores the results.

It is longer than other files because it is the only door to the ledger: each method is one entry
for other threads, and takes the lock. What happens behind it is in files of its own.
"""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Final

from exporter.interfaces.observations import (
    Baseline,
    Moment,
    Observation,
    OpenWorkflow,
    Recovery,
    Removed,
    Status,
    Tracked,
    TrackError,
)
from exporter.ledger import needed, recovering, tracker
from exporter.ledger.accounts import Accounts, AccountTerms
from exporter.ledger.admission import Admission
from exporter.ledger.facts import Dropped
from exporter.ledger.memory import Memory
from exporter.ledger.open_limits import DEFAULT_MOST_OPEN
from exporter.ledger.recording import Recorder
from exporter.ledger.slicing import SliceRule, log_changes
from exporter.ledger.snapshot import Glance, LedgerSnapshot
from exporter.ledger.store import HistoryKey, HistoryRow, MemoryStore, RestoredState, Store
from exporter.ledger.taken import Taken  # noqa: TC001 - beside the others
from exporter.ledger.time_limits import TimeLimits
from exporter.ledger.totals import Buckets, LabelCaps, Totals
from exporter.ledger.tracker import Change
from exporter.ledger.unknown_statuses import UnknownStatuses
from exporter.ledger.workflow import Workflow
from exporter.ledger.writer import LedgerWriter

log = logging.getLogger(__name__)

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
        self._now = now
        # Protects the memory. It is always acquired after the lock for using the store.
        self._lock = threading.Lock()
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
        memory = self._memory = Memory(restored, Totals(buckets, caps, slices))
        self._writer: Final = LedgerWriter(store, memory, self._lock, now)
        self._accounts: Final = Accounts(memory)
        self._admission: Final = Admission(memory)
        self._recorder: Final = Recorder(
            memory,
            self._writer,
            self._lock,
            self._accounts,
            self._admission,
            slices,
            lambda taken: self.on_workflow_change(taken),  # noqa: PLW0108 - set later
        )
        self._time_limits: Final = TimeLimits()
        self._unknown_statuses: Final = UnknownStatuses()
        _log_restarted(memory.restarted)
        log_changes(memory.totals.sliced_by(), (), slices)
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
            before, self._recorder.slices = self._recorder.slices, tuple(slices)
            self._follow(accounts)
        _log_restarted(restarted)
        log_changes({rule.label for rule in before}, before, slices)

    def _follow(self, accounts: Mapping[str, AccountTerms]) -> None:
        for account, terms in accounts.items():
            self._admission.change(account, terms.most_open)
        self._accounts.follow(accounts, self._now().monotonic)

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
                self._admission.forget(account)

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
            self._admission.refuse_what_is_beyond(tracked, change)
            return change

        change = self._recorder.apply(key, tracked.at, rule, tracked.traits)
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
            change = tracker.observe(known, observation, self._accounts.rules(observation))
            return self._admission.admitted(key, change)

        change = self._recorder.apply(key, observation.at, rule, observation.traits, observation)
        self._unknown_statuses.note(observation, change.facts)
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
            change = recovering.observe(known, observation, self._accounts.rules(observation))
            told = recovering.recovery_of(known, change, observation)
            return self._admission.admitted(key, change)

        key = (observation.account, observation.workflow_id)
        change = self._recorder.apply(key, observation.at, rule, observation.traits, observation)
        self._unknown_statuses.note(observation, change.facts)
        if told not in {"known", "elsewhere", "old", "untold"}:
            self.on_change()
        return told

    def drop(self, removed: Removed) -> None:
        """Stop tracking an id that cannot be followed."""
        self._part_with(removed, tracker.drop)

    def untrack(self, removed: Removed) -> None:
        """Stop tracking an id that its source no longer names."""
        listed = self._accounts.is_listed(removed.account)
        self._part_with(removed, partial(tracker.untrack, listed=listed))

    def _part_with(
        self, removed: Removed, rule: Callable[[Workflow | None, Removed], Change]
    ) -> None:
        key = (removed.account, removed.workflow_id)
        change = self._recorder.apply(key, removed.at, lambda known: rule(known, removed))
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
            is_first = self._accounts.set_cutoff(account, wall)
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
        return needed.causes(pending, account, monotonic)

    def needs_traits(self, account: str, workflow_id: str) -> bool:
        """Whether the name and the tags of this workflow are still needed."""
        with self._lock:
            known = self._memory.find((account, workflow_id))
            return needed.has_needed_traits(known, self._recorder.slices)

    def is_cause_pending(self, account: str, workflow_id: str) -> bool:
        """Whether this id is settled and its cause is not known yet."""
        with self._lock:
            known = self._memory.find((account, workflow_id))
        return known is not None and known.cause_pending_since is not None

    def created_after(self, account: str, created_at: float) -> int:
        """How many known workflows of the account were created after this time (Unix seconds)."""
        return self._writer.created_after(account, created_at)

    def list_watermark(self, account: str) -> float | None:
        """The creation time (Unix seconds) down to which the list was read completely.

        None: never yet.
        """
        with self._lock:
            watermark = self._admission.list_watermark(account)
        self._admission.log_news()
        return watermark

    def advance_list_watermark(self, account: str, created_at: float) -> None:
        """Note that the list was read completely up to this creation time (Unix seconds)."""
        with self._lock:
            self._admission.advance_list_watermark(account, created_at)

    def finished(self, account: str) -> dict[Status, int]:
        """How many outcomes of the account were ever counted, by documented final status."""
        with self._lock:
            return self._memory.finished(account)

    def needed_traits(self, account: str) -> list[str]:
        """Ids whose name and tags are needed for their slices.

        Those with facts that wait for them come first. They belong to open workflows, and to ended
        ones that cannot be counted before these are known.
        """
        with self._lock:
            held, rules = self._memory.holding(), self._recorder.slices
            open_ones = self._memory.open_workflows() if rules else ()
        return needed.traits(held, open_ones, account, rules)

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
                accounts = self._accounts.names
                snapshot = LedgerSnapshot(
                    accounts=accounts,
                    open_workflows=self._memory.open_workflows(),
                    settled=self._memory.closed,
                    totals=self._memory.totals.copied(accounts),
                    announced=announced,
                    open_limits={name: self._admission.limit_of(name) for name in accounts},
                    slices=self._recorder.slices,
                )
            self._writer.write_through(batch)
            return snapshot.shown(self._writer.committed(), self._writer.errors)

    def announced(self) -> int:
        """The number of the last new series that shows its value now."""
        with self._lock:
            return self._memory.announced

    def glance(self) -> Glance:
        """What is open and what fails now, without waiting for the store."""
        with self._lock:
            accounts = self._accounts.names
            open_workflows = self._memory.open_workflows()
            full = self._admission.full(accounts)
            dropped: Counter[str] = Counter()
            for labels, total in self._memory.totals.counters_named("dropped"):
                dropped[labels[0]] += int(total.value)
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
        for account in self._accounts.names:
            key = (account, workflow_id)
            with self._lock:
                known = self._memory.find(key)
            # The wait is limited: a page must not hang if the disk does.
            known = known or self._writer.find_closed_within(FIND_SECONDS, key)
            if known is not None:
                found.append(known)
        return found

    def slice_defaults(self) -> dict[str, str]:
        """The labels of the configured slices, each with its value if nothing matches."""
        return {rule.label: rule.default for rule in self._recorder.slices}

    def newest_series(self) -> int:
        """The highest number of a series that is visible but not announced; 0: there is none."""
        with self._lock:
            return self._memory.totals.newest_series(self._accounts.names)

    def announce(self, series: int) -> None:
        """Let visible series up to this number show their value, once the store has recorded that.

        Not earlier, because after a crash none of them may show 0 again. While the store fails they
        stay at 0.
        """
        with self._lock:
            self._memory.announce(series, self._accounts.names)

    # What time does ---------------------------------------------------------------------------

    def persist(self) -> None:
        """Count facts that have waited long enough for their slices, and store everything."""
        self._recorder.release_held(self._now().monotonic)
        self.before_persisting()
        self._writer.persist()

    def set_history_source(
        self, rows: Callable[[], Mapping[HistoryKey, HistoryRow | None]]
    ) -> None:
        """Store the latest rows of the history with each batch.

        Args:
            rows: returns the rows since its last call, None for one to delete. It is called under
                the lock, so that a later call never brings older rows; it must not block.
        """
        self._writer.history_rows = rows

    def expire(self, out_of_sight: Collection[str] = ()) -> None:
        """Apply all time limits.

        Stop waiting for pending causes and durations, and drop workflows that were not seen for too
        long. For accounts that are `out_of_sight` as a whole these times do not run, and start
        again afterwards.

        Rows of settled workflows are kept for twice the lookback, by the service's clock and by
        ours, so that a step of our clock does not remove them early.
        """
        now, limits = self._now(), self._time_limits
        limits.note_out_of_sight(out_of_sight, now)
        with self._lock:
            followed = self._accounts.terms()
            pending = [w for w in self._memory.pending() if w.account in followed]
            open_ones = [w for w in self._memory.open_workflows() if w.account in followed]
        for workflow in pending:
            if limits.is_pending_too_long(workflow, now):
                self._recorder.apply((workflow.account, workflow.workflow_id), now, _forgive)
        for workflow in open_ones:
            if limits.is_unseen(workflow, followed[workflow.account].lookback, now):
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


def _log_restarted(histograms: Iterable[str]) -> None:
    for name in histograms:
        log.warning(
            "histogram buckets changed: the histogram restarts at 0", extra={"histogram": name}
        )


def _forgive(known: Workflow | None) -> Change:
    return Change(None) if known is None else tracker.forgive(known)
