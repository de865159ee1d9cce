"""The ledger: applies the tracker's rules to all workflows at once and keeps what follows."""

import logging
import threading
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from exporter.ledger import tracker
from exporter.ledger.facts import Dropped, Fact, Ignored
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

_Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class AccountTerms:
    """What the configuration says of an account that matters for counting."""

    lookback: float
    """Seconds that its listing looks back."""
    listed: bool


@dataclass(frozen=True, slots=True)
class LedgerSnapshot:
    """Everything at one instant: what one scrape shows."""

    accounts: tuple[str, ...]
    open_workflows: tuple[Workflow, ...]
    settled: int
    totals: Totals


class Ledger:
    """Takes observations from any thread, one at a time.

    Args:
        accounts: every account, by its configured name.
        buckets: of the histograms.
        caps: of labels that come from the service.
        now: both clocks.
        on_change: called, without the lock, when the set of open workflows has changed or a
            cause is owed: whoever decides about streams should look again.
    """

    def __init__(
        self,
        accounts: Mapping[str, AccountTerms],
        buckets: Buckets,
        caps: LabelCaps,
        now: Callable[[], Moment],
    ) -> None:
        self._terms: Final = dict(accounts)
        self._now = now
        self._lock = threading.Lock()
        self._totals = Totals(buckets, caps)
        self._open: dict[_Key, Workflow] = {}
        self._closed: dict[_Key, Workflow] = {}
        self._owing: dict[_Key, Workflow] = {}
        self._lines: dict[str, float] = {}
        self._frontiers: dict[str, float] = {}
        self._created: dict[str, list[float]] = {account: [] for account in accounts}
        self._statuses_told: set[str] = set()
        self.on_change: Callable[[], None] = lambda: None
        for account in accounts:
            self._totals.open_account(account)

    # What those who ask the service call ------------------------------------------------------

    def take_up(self, taken: TakenUp) -> bool:
        """Begin to keep an id; False when it was known already."""
        key = (taken.account, taken.workflow_id)
        with self._lock:
            change = tracker.take_up(self._find(key), taken)
            self._keep(key, change, taken.at)
        if change.facts:
            self.on_change()
        return bool(change.facts)

    def observe(self, observation: Observation) -> bool:
        """Take what was seen; True while the workflow is open or owes its cause."""
        key = (observation.account, observation.workflow_id)
        with self._lock:
            before = self._find(key)
            change = tracker.observe(before, observation, self._rules(observation.account))
            self._keep(key, change, observation.at)
            told = self._is_first_of_its_kind(observation, change.facts)
        if told:
            log.warning(
                "unknown status, kept as last seen",
                extra={
                    "account": observation.account,
                    "workflow_id": observation.workflow_id,
                    "status": observation.status,
                },
            )
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
        with self._lock:
            change = rule(self._find(key), given)
            self._keep(key, change, given.at)
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
            self._lines.setdefault(account, wall)

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
        with self._lock:
            stamps = self._created[account]
            return len(stamps) - bisect_right(stamps, created_at)

    def list_frontier(self, account: str) -> float | None:
        """The list was read whole down to this creation time (Unix seconds); None: never yet."""
        with self._lock:
            return self._frontiers.get(account)

    def advance_list_frontier(self, account: str, created_at: float) -> None:
        """The list was now read whole for all that was created up to this time."""
        with self._lock:
            self._frontiers[account] = max(created_at, self._frontiers.get(account, created_at))

    # What those who read call -----------------------------------------------------------------

    def snapshot(self) -> LedgerSnapshot:
        """Everything at this instant; later changes do not touch it."""
        with self._lock:
            return LedgerSnapshot(
                accounts=tuple(self._terms),
                open_workflows=tuple(self._open.values()),
                settled=len(self._closed),
                totals=self._totals.copied(),
            )

    # What time does ---------------------------------------------------------------------------

    def expire(self) -> None:
        """Let time do its work: forgive causes owed too long, drop what nobody sees any more.

        Rows of settled workflows are kept twice as long as the listing looks back, so that none
        which a list can still show is ever taken for new.
        """
        now = self._now()
        with self._lock:
            for key, workflow in list(self._owing.items()):
                since = workflow.cause_owed_since
                if since is not None and now.wall - since > tracker.CAUSE_PATIENCE_SECONDS:
                    self._keep(key, tracker.forgive_cause(workflow), now)
            unseen = [w for w in self._open.values() if self._is_unseen(w, now)]
            for key, workflow in list(self._closed.items()):
                ended = workflow.ended_at or workflow.first_seen.wall
                if now.wall - ended > 2 * self._terms[key[0]].lookback:
                    self._forget(key, workflow)
        for workflow in unseen:
            self.give_up(GivenUp(workflow.account, workflow.workflow_id, "expired", now))

    def _forget(self, key: _Key, workflow: Workflow) -> None:
        del self._closed[key]
        if workflow.created_at is not None:
            stamps = self._created[workflow.account]
            del stamps[bisect_left(stamps, workflow.created_at)]

    def _is_unseen(self, workflow: Workflow, now: Moment) -> bool:
        last = workflow.last_seen or workflow.first_seen
        return now.monotonic - last.monotonic > self._terms[workflow.account].lookback

    # Under the lock ---------------------------------------------------------------------------

    def _rules(self, account: str) -> CountingRules:
        terms = self._terms[account]
        line = self._lines.setdefault(account, self._now().wall)
        return CountingRules(line=line, lookback=terms.lookback, listed=terms.listed)

    def _find(self, key: _Key) -> Workflow | None:
        return self._open.get(key) or self._closed.get(key)

    def _keep(self, key: _Key, change: Change, at: Moment) -> None:
        workflow = change.workflow
        if workflow is None:
            return
        known = self._find(key)
        if workflow.created_at is not None and (known is None or known.created_at is None):
            insort(self._created[workflow.account], workflow.created_at)
        if workflow.phase == "open":
            self._closed.pop(key, None)
            self._open[key] = workflow
        else:
            self._open.pop(key, None)
            self._closed[key] = workflow
        if workflow.cause_owed_since is not None:
            self._owing[key] = workflow
        else:
            self._owing.pop(key, None)
        self._add(key, change.facts, at)

    def _add(self, key: _Key, facts: Iterable[Fact], at: Moment) -> None:
        account, workflow_id = key
        for fact in facts:
            self._totals.add(account, workflow_id, fact, at.wall)

    def _is_first_of_its_kind(self, observation: Observation, facts: Iterable[Fact]) -> bool:
        if Ignored("unknown_status") not in tuple(facts):
            return False
        if known_status(observation.status) is not None:
            return False
        if observation.status in self._statuses_told or len(self._statuses_told) >= 100:
            return False
        self._statuses_told.add(observation.status)
        return True
