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
from exporter.ledger.keeping import Keeping
from exporter.ledger.memory import Memory
from exporter.ledger.room import DEFAULT_MOST_OPEN, MOST_WAITING, Room, Rooms
from exporter.ledger.slicing import SliceRule, is_decided, labels_of, tell_changes
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

log = logging.getLogger(__name__)

STATUSES_TOLD: Final = 100
"""Unknown statuses that get a line in the log; more of them are not logged."""


@dataclass(frozen=True, slots=True)
class AccountTerms:
    """What the configuration says of an account that matters for counting."""

    lookback: float
    """Seconds that its listing looks back."""
    listed: bool
    most_open: int = DEFAULT_MOST_OPEN
    """How many of its workflows may be open at once."""


@dataclass(frozen=True, slots=True)
class LedgerSnapshot:
    """Everything at one instant, and nothing that a crash could take back."""

    accounts: tuple[str, ...]
    open_workflows: tuple[Workflow, ...]
    settled: int
    totals: Totals
    announced: int = 0
    """Series up to this number show their value; those that appeared later show 0."""
    errors: int = 0
    """How often the store failed."""
    rooms: Mapping[str, Room] = field(default_factory=dict)
    """By account, how many workflows may be open, and what is beyond that."""
    slices: tuple[SliceRule, ...] = ()
    """The slices that are configured: all totals are shown by these."""


@dataclass(frozen=True, slots=True)
class Glance:
    """What is open at one instant; a crash may take the newest of it back."""

    accounts: tuple[str, ...]
    open_workflows: tuple[Workflow, ...]
    dropped: Mapping[str, int]
    """By account, how many were dropped since the ledger began."""
    errors: int
    """How often the store failed."""
    is_failing: bool
    """Whether it fails now."""
    full: Mapping[str, int]
    """By account that has turned open workflows away, and has no room yet, how many may be open."""


FIND_SECONDS: Final = 1.0
"""How long a page waits for the store."""


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
        slices: labels that tags and names of workflows give.
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
        # Of every account that was ever followed: the last word of one that is no more may come
        # after its end, and is as true as any.
        self._terms: dict[str, AccountTerms] = {}
        self._now = now
        # Guards the memory. Always taken after the turn to use the store.
        self._lock = threading.Lock()
        self._followed_since: dict[str, float] = {}
        self._statuses_told: set[str] = set()
        # Accounts of which something was seen that could not be taken.
        self._missed: set[str] = set()
        self._rooms = Rooms()
        # By account whose limit of open workflows is reached, how far the list was read
        # meanwhile: what is kept stays where it was then.
        self._watermarks: dict[str, float] = {}
        # Monotonic time until which an account was out of sight as a whole.
        self._in_sight_since: dict[str, float] = {}
        self.on_change: Callable[[], None] = lambda: None
        """Called, without the lock, when the set of open workflows has changed or a cause is
        owed: anyone who decides about streams should look again."""
        self.on_taken: Callable[[Taken], None] = lambda _: None
        """Called under the lock with whatever has changed a workflow: it must not wait."""
        self.before_keeping: Callable[[], None] = lambda: None
        """Called, without the lock, before anything is kept."""
        store = MemoryStore() if store is None else store
        kept = store.load(
            lambda name: accounts[name].most_open if name in accounts else DEFAULT_MOST_OPEN
        )
        self.kept_history: Final = tuple(kept.history)
        """What an earlier life of the process has left in the history."""
        self._slices = tuple(slices)
        self._memory: Final = Memory(kept, Totals(buckets, caps, slices))
        self._keeping: Final = Keeping(store, self._memory, self._lock, now)
        _tell_begun_anew(self._memory.begun_anew)
        tell_changes(self._memory.totals.sliced_by(), (), self._slices)
        self._follow(accounts)
        self._keeping.errors += kept.faults
        if kept.lost:
            self._keeping.note_lost_before()

    # What is followed -------------------------------------------------------------------------

    def change(
        self,
        accounts: Mapping[str, AccountTerms],
        buckets: Buckets,
        caps: LabelCaps,
        slices: Sequence[SliceRule] = (),
    ) -> None:
        """Follow these accounts from now on, in this way; the others are kept and not shown."""
        with self._lock:
            begun_anew = self._memory.totals.change(buckets, caps, slices)
            before, self._slices = self._slices, tuple(slices)
            self._follow(accounts)
        _tell_begun_anew(begun_anew)
        tell_changes({rule.label for rule in before}, before, self._slices)

    def _follow(self, accounts: Mapping[str, AccountTerms]) -> None:
        monotonic = self._now().monotonic
        self._terms = {**self._terms, **accounts}
        for account, terms in accounts.items():
            self._rooms.change(account, terms.most_open)
            if account not in self._accounts:
                self._followed_since[account] = monotonic
                self._memory.open_account(account, monotonic)
            self._memory.totals.open_overflows(account)
        self._accounts = tuple(accounts)

    # What a store that others share gives and takes -------------------------------------------

    def adopt(
        self, account: str, read: Callable[[], RestoredState]
    ) -> tuple[tuple[HistoryKey, HistoryRow], ...]:
        """Go on from what the store has of an account, which is about to be followed.

        What the store has of its history.

        Args:
            account: by its name.
            read: has the store read it; called in the store's turn.

        Raises:
            StoreError: it cannot be read. Then nothing has changed.
        """
        with self._keeping.turn:
            kept = read()
            with self._lock:
                begun_anew = self._memory.adopt(account, kept)
        _tell_begun_anew(begun_anew)
        return tuple(kept.history)

    def let_go(self, account: str, release: Callable[[], None]) -> None:
        """Keep what is left of an account that is followed no more, and forget all of it.

        Args:
            account: by its name.
            release: has the store write nothing of it any more; called in the store's turn.
        """
        self.before_keeping()
        self._keeping.keep(at_once=True)
        if self._keeping.is_failing:
            # A store that has lost commits takes all that is known with the next batch.
            self._keeping.keep()
        with self._keeping.turn:
            release()
            with self._lock:
                self._memory.drop(account)
                self._watermarks.pop(account, None)
                self._missed.discard(account)

    # Called by the parts that ask the service -------------------------------------------------

    def track(self, taken: Tracked) -> bool:
        """Begin to keep an id; False when it was known already.

        Raises:
            NoRoomError: the account has as many as it may have.
            TrackError: it is unknown whether the id is new, because the store cannot be read.
        """
        key = (taken.account, taken.workflow_id)

        def rule(known: Workflow | None) -> Change:
            change = tracker.track(known, taken)
            if self._opens(key, change):
                self._refuse_what_is_beyond(taken)
            return change

        change = self._apply(key, taken.at, rule, taken.traits)
        if change.workflow is None:
            raise TrackError("the ledger cannot be read")
        if change.facts:
            self.on_change()
        return bool(change.facts)

    def observe(self, observation: Observation) -> bool:
        """Take what was seen; True while anyone who saw it may see more.

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
        self._tell_unknown_status(observation, change.facts)
        after = change.workflow
        if after is None:
            return False
        if before is None or before.phase != after.phase or before.status is not after.status:
            self.on_change()
        # A stream that has shown the end has shown everything.
        told_all = observation.via == "stream" and observation.is_over
        return after.phase == "open" or (after.owed_since is not None and not told_all)

    def recover(self, observation: Observation) -> Recovery:
        """Take what was looked at again because something may have been missed."""
        told: Recovery = "untold"

        def rule(known: Workflow | None) -> Change:
            nonlocal told
            change = recovering.observe(known, observation, self._rules(observation))
            told = recovering.recovery_of(known, change, observation)
            return self._within_limit(key, change)

        key = (observation.account, observation.workflow_id)
        change = self._apply(key, observation.at, rule, observation.traits, observation)
        self._tell_unknown_status(observation, change.facts)
        if told not in {"known", "elsewhere", "old", "untold"}:
            self.on_change()
        return told

    def drop(self, given: Removed) -> None:
        """Drop an id that cannot be followed."""
        self._part_with(given, tracker.drop)

    def untrack(self, withdrawn: Removed) -> None:
        """Its source no longer names this id."""
        listed = self._terms[withdrawn.account].listed
        self._part_with(withdrawn, partial(tracker.untrack, listed=listed))

    def _part_with(
        self, given: Removed, rule: Callable[[Workflow | None, Removed], Change]
    ) -> None:
        key = (given.account, given.workflow_id)
        change = self._apply(key, given.at, lambda known: rule(known, given))
        if Dropped(given.reason) in change.facts:
            # What somebody wanted is no warning.
            log.log(
                logging.INFO if given.reason == "withdrawn" else logging.WARNING,
                "workflow dropped",
                extra={
                    "account": given.account,
                    "workflow_id": given.workflow_id,
                    "reason": given.reason,
                },
            )
        self.on_change()

    def draw_line(self, account: str, wall: float, shown: Iterable[Observation] = ()) -> bool:
        """Say when this account was first looked at, and what was shown then.

        Whether this is the first call, ever; else nothing of it is taken.

        It is on the disk at once: drawn again after a crash, it would pass over what ended since.
        What was shown is there no later: after a crash, a row that was over by then could not be
        told from one that ended since, if it was edited.
        """
        with self._lock:
            if self._memory.marks(account).line is not None:
                return False
        for each in shown:
            self.observe(each)
        with self._lock:
            is_first = self._draw_line(account, wall)
        if is_first:
            self._keeping.keep()
        return is_first

    def is_open(self, account: str, workflow_id: str) -> bool:
        """Whether this id is kept and not settled."""
        # One look into a dict, for each event of each stream: it needs no lock.
        return self._memory.is_open((account, workflow_id))

    def open_workflow(self, account: str, workflow_id: str) -> OpenWorkflow | None:
        """This workflow, where it is kept and not settled."""
        key = (account, workflow_id)
        with self._lock:
            return self._memory.find(key) if self._memory.is_open(key) else None

    def open_workflows(self, account: str) -> list[OpenWorkflow]:
        """Every workflow of the account that is not settled."""
        with self._lock:
            workflows = self._memory.open_workflows()
        return [w for w in workflows if w.account == account]

    def causes_owed(self, account: str) -> list[str]:
        """Ids of settled workflows that owe their cause or duration, longest waiting first.

        Those whose time to be asked for has come.
        """
        monotonic = self._now().monotonic
        with self._lock:
            owing = self._memory.owing()
        debts = [
            (workflow.owed_since.wall, workflow.workflow_id)
            for workflow in owing
            if workflow.account == account
            and workflow.owed_since is not None
            and workflow.ask_from <= monotonic
        ]
        return [workflow_id for _, workflow_id in sorted(debts)]

    def owes_traits(self, account: str, workflow_id: str) -> bool:
        """Whether the name and the tags of this id are wanted."""
        with self._lock:
            known = self._memory.find((account, workflow_id))
            if known is None or is_decided(known.slices, self._slices):
                return False
            return known.phase == "open" or known.held is not None

    def owes_cause(self, account: str, workflow_id: str) -> bool:
        """Whether this id is settled and its cause is not known yet."""
        with self._lock:
            known = self._memory.find((account, workflow_id))
        return known is not None and known.cause_owed_since is not None

    def created_after(self, account: str, created_at: float) -> int:
        """How many of the account's workflows are known to be younger (Unix seconds)."""
        younger = self._keeping.created_after(account, created_at)
        if younger is not None:
            return younger
        # Without the store, by what is in memory: the caller only estimates by it.
        with self._lock:
            known = (*self._memory.open_workflows(), *self._memory.recently_closed())
        return sum(
            w.account == account and w.created_at is not None and w.created_at > created_at
            for w in known
        )

    def list_watermark(self, account: str) -> float | None:
        """The list was read whole down to this creation time (Unix seconds); None: never yet."""
        with self._lock:
            again = self._rooms.look(account, self._memory.open_counts[account])
            if again:
                # Workflows that were refused in the meantime are in what is read again now.
                self._watermarks.pop(account, None)
            watermark = self._memory.marks(account).watermark
            meanwhile = self._watermarks.get(account)
            limit = self._rooms.room(account).limit
        if again:
            log.info(
                "room for open workflows again: reading the list back to where it stopped",
                extra={"account": account, "limit": limit},
            )
        return watermark if meanwhile is None or watermark is None else max(meanwhile, watermark)

    def advance_list_watermark(self, account: str, created_at: float) -> None:
        """The list was now read whole for all that was created up to this time."""
        with self._lock:
            if account in self._missed:
                # Not all that was read could be taken: let it be read again.
                self._missed.discard(account)
                return
            marks = self._memory.marks(account)
            if self._rooms.is_reached(account):
                # Nothing that was turned away may be passed for good. The first look is over all
                # the same: what ends from now on counts.
                self._watermarks[account] = max(
                    created_at, self._watermarks.get(account, created_at)
                )
                created_at = 0.0
            if marks.watermark is None or created_at > marks.watermark:
                self._memory.mark(account, replace(marks, watermark=created_at))

    def finished(self, account: str) -> dict[Status, int]:
        """How many outcomes of the account were ever counted, by the documented final statuses."""
        with self._lock:
            counted = dict.fromkeys(DOCUMENTED_ENDS, 0)
            for labels, total in self._memory.totals.counters_named("finished"):
                named = COUNTERS["finished"].named(labels)
                if named["account"] == account and named["status"] in counted:
                    counted[Status(named["status"])] += int(total.value)
            for workflow in self._memory.holding():
                for fact, _ in () if workflow.held is None else workflow.held.facts:
                    if workflow.account == account and isinstance(fact, Finished):
                        # It is known and will be counted, so nobody need look for it.
                        counted[fact.status] = counted.get(fact.status, 0) + 1
            return {status: counted[status] for status in DOCUMENTED_ENDS}

    def traits_owed(self, account: str) -> list[str]:
        """Ids whose name and tags are wanted for their slices, those that hold facts back first.

        Of open workflows and of ended ones that are not counted for want of them.
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

    def line(self, account: str) -> float | None:
        """When the account was first looked at, by the service's clock (Unix seconds)."""
        with self._lock:
            return self._memory.marks(account).line

    def baselines(self, account: str) -> dict[Status, Baseline]:
        """What the account's comparisons with the service's totals stand on, by final status."""
        with self._lock:
            return self._memory.baselines(account)

    def keep_baseline(self, account: str, status: Status, baseline: Baseline | None) -> None:
        """Compare with this from now on; None: with whatever the next comparison draws."""
        with self._lock:
            self._memory.keep_baseline((account, status), baseline)

    # Called by readers ------------------------------------------------------------------------

    def snapshot(self) -> LedgerSnapshot:
        """Everything at this instant; later changes do not touch it."""
        # As it is now: a disk that is slow must not let a series show its value to somebody who
        # asked in time to see its 0.
        self.before_keeping()
        with self._lock:
            announced = self._memory.announced
        with self._keeping.turn:
            with self._lock:
                batch = self._keeping.take_batch()
                accounts = self._accounts
                open_workflows = self._memory.open_workflows()
                settled = self._memory.closed
                totals = self._memory.totals.copied(accounts)
                rooms = {account: self._rooms.room(account) for account in accounts}
                slices = self._slices
            self._keeping.write_through(batch)
            shown = self._keeping.committed()
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
                errors=self._keeping.errors,
                rooms=rooms,
                slices=slices,
            )

    def announced(self) -> int:
        """Series up to this number show their value now."""
        with self._lock:
            return self._memory.announced

    def glance(self) -> Glance:
        """What is open and what goes wrong now, without waiting for the store."""
        with self._lock:
            accounts = self._accounts
            open_workflows = self._memory.open_workflows()
            dropped: dict[str, int] = {}
            for labels, total in self._memory.totals.counters_named("dropped"):
                dropped[labels[0]] = dropped.get(labels[0], 0) + int(total.value)
            full = {
                account: self._rooms.room(account).limit
                for account in accounts
                if self._rooms.is_reached(account)
            }
        return Glance(
            accounts=accounts,
            open_workflows=tuple(w for w in open_workflows if w.account in accounts),
            dropped=dropped,
            errors=self._keeping.errors,
            is_failing=self._keeping.is_failing,
            full=full,
        )

    def find(self, workflow_id: str) -> list[Workflow]:
        """What is kept of this id in any account that is followed, open or not.

        What the store cannot tell now is left out.
        """
        found = []
        for account in self._accounts:
            key = (account, workflow_id)
            with self._lock:
                known = self._memory.find(key)
            # Not waited for without an end: a page must not hang where a disk does.
            if known is None and self._keeping.turn.acquire(timeout=FIND_SECONDS):
                try:
                    with suppress(StoreError):
                        known = self._keeping.find_closed(key)
                finally:
                    self._keeping.turn.release()
            if known is not None:
                found.append(known)
        return found

    def slice_defaults(self) -> dict[str, str]:
        """The labels of the slices that are configured, and what is shown where none matches."""
        return {rule.label: rule.default for rule in self._slices}

    def newest_series(self) -> int:
        """The highest number of a series that is visible and not announced; 0: there is none."""
        with self._lock:
            return self._memory.totals.newest_series(self._accounts)

    def announce(self, series: int) -> None:
        """Let visible series up to this number show their value, once the store has kept that.

        Not before: after a crash none of them must be shown at 0 once more. While the store
        fails they stay at 0.
        """
        with self._lock:
            self._memory.announce(series, self._accounts)

    # What time does ---------------------------------------------------------------------------

    def keep(self) -> None:
        """Count what has waited long enough for its slices, and have the store keep all."""
        self._release_held()
        self.before_keeping()
        self._keeping.keep()

    def keep_history(self, take: Callable[[], Mapping[HistoryKey, HistoryRow | None]]) -> None:
        """Have the store keep these rows of the history, or drop those that are None.

        They are taken under the lock, so that a later call never brings older rows.
        """
        with self._lock:
            self._memory.keep_history(take())

    def tell_history(self, rows: Callable[[], Mapping[HistoryKey, HistoryRow | None]]) -> None:
        """Take the latest rows of the history with each batch.

        Args:
            rows: gives those since its last call; called under the lock, so it must not wait.
        """
        self._keeping.history_rows = rows

    def _release_held(self) -> None:
        monotonic = self._now().monotonic
        with self._lock:
            for known in self._memory.holding():
                capped = partial(self._memory.totals.capped_slice, known.account)
                counted = holding.release(known, monotonic, self._slices, capped)
                if counted is not None:
                    self._count((known.account, known.workflow_id), known, counted)

    def expire(self, out_of_sight: Collection[str] = ()) -> None:
        """Let time do its work: forgive what is owed too long, drop what nobody sees any more.

        For accounts that are `out_of_sight` as a whole it stands still, and starts over
        afterwards: an outage, or a token revoked over a weekend, says nothing of a workflow.

        Rows of settled workflows are kept twice as long as the listing looks back, by the
        service's own clock as well as by ours, so that no step of ours drops them early.
        """
        now = self._now()
        with self._lock:
            self._in_sight_since.update(dict.fromkeys(out_of_sight, now.monotonic))
            since = dict(self._in_sight_since)
            followed = {account: self._terms[account] for account in self._accounts}
            owing = [w for w in self._memory.owing() if w.account in followed]
            open_ones = [w for w in self._memory.open_workflows() if w.account in followed]
        due = [w for w in owing if _is_owed_too_long(w, now, since.get(w.account, -inf))]
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
                self._keeping.prune_ended_before(
                    account, min(now.wall, latest) - 2 * terms.lookback
                )

    def close(self) -> None:
        """Keep what is left, and close the store."""
        self.before_keeping()
        self._keeping.close()

    # Applying a rule --------------------------------------------------------------------------

    def _apply(
        self,
        key: WorkflowKey,
        at: Moment,
        rule: Callable[[Workflow | None], Change],
        traits: Traits | None = None,
        seen: Observation | None = None,
    ) -> Change:
        """Find what is kept of a workflow, ask the rule, and keep what it answers."""
        while True:
            with self._lock:
                known = self._memory.find(key)
                if known is not None:
                    return self._take(key, known, rule(known), at, traits=traits, seen=seen)
            # Not in memory: it is new, or was settled a while ago, as the store knows.
            with self._keeping.turn:
                try:
                    known = self._keeping.find_closed(key)
                except StoreLostError:
                    continue
                except StoreError:
                    # It may be new, or have been counted long ago: not to be guessed. Whatever
                    # is true of it will be seen again.
                    with self._lock:
                        self._missed.add(key[0])
                    return Change(None)
                with self._lock:
                    if self._memory.find(key) is not None:
                        continue  # somebody else has just learnt of it
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
            self.on_taken(Taken(known, after, change.facts, at, seen, marks, listed))
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
        """Whether one more would be open. Under the lock."""
        after = change.workflow
        return after is not None and after.phase == "open" and not self._memory.is_open(key)

    def _within_limit(self, key: WorkflowKey, change: Change) -> Change:
        """What is kept of it: nothing, where the account has no room for one more."""
        if not self._opens(key, change) or self._has_room(key[0]):
            return change
        self._turn_away(key[0])
        return Change(None)

    def _refuse_what_is_beyond(self, taken: Tracked) -> None:
        """Raises `NoRoomError` where the account has no room for this id."""
        account = taken.account
        if not self._has_room(account):
            self._turn_away(account)
            raise NoRoomError(
                f"{self._rooms.room(account).limit:,} workflows of the account are open"
            )
        waiting = self._memory.waiting_counts[account]
        if taken.source == "pushed" and waiting >= MOST_WAITING:
            raise NoRoomError(f"{waiting:,} pushed ids of the account wait to be seen")

    def _has_room(self, account: str) -> bool:
        return self._rooms.has_room(account, self._memory.open_counts[account])

    def _turn_away(self, account: str) -> None:
        if self._rooms.turn_away(account):
            log.warning(
                "limit of open workflows reached: more are tracked when there is room",
                extra={"account": account, "limit": self._rooms.room(account).limit},
            )

    def _rules(self, observation: Observation) -> CountingRules:
        """The rules as they are at this instant. Under the lock."""
        account = observation.account
        marks, listed = self._memory.marks(account), self._terms[account].listed
        line = marks.line
        if line is None and listed:
            # Its list will draw the line, by the service's own clock. What a stream shows as over
            # before that was not seen open by anybody.
            line = inf
        elif line is None:
            # When we began to follow it, by the service's clock.
            line = observation.said_at - (observation.at.monotonic - self._followed_since[account])
            self._draw_line(account, line)
        return CountingRules(
            line=line,
            listed=listed,
            pruned_created=marks.pruned_created,
            pruned_ended=marks.pruned_ended,
        )

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


def _tell_begun_anew(histograms: Iterable[str]) -> None:
    for name in histograms:
        log.warning(
            "histogram buckets changed: the histogram restarts at 0", extra={"histogram": name}
        )


def _is_unseen(workflow: Workflow, terms: AccountTerms, now: Moment, in_sight: float) -> bool:
    last = workflow.last_seen or workflow.first_seen
    return now.monotonic - max(last.monotonic, in_sight) > terms.lookback


def _is_owed_too_long(workflow: Workflow, now: Moment, in_sight: float) -> bool:
    since = workflow.owed_since
    return (
        since is not None
        and now.monotonic - max(since.monotonic, in_sight) > tracker.CAUSE_PATIENCE_SECONDS
    )


def _forgive(known: Workflow | None) -> Change:
    return Change(None) if known is None else tracker.forgive(known)
