"""Applies a rule to one workflow, and records what comes of it in the memory."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from exporter.interfaces.observations import Moment, Observation, Traits
from exporter.ledger import holding
from exporter.ledger.accounts import Accounts
from exporter.ledger.admission import Admission
from exporter.ledger.holding import Counted
from exporter.ledger.memory import Memory
from exporter.ledger.slicing import SliceRule, labels_of
from exporter.ledger.store import StoreError, StoreLostError, WorkflowKey
from exporter.ledger.taken import Taken, is_news
from exporter.ledger.tracker import Change
from exporter.ledger.workflow import Workflow
from exporter.ledger.writer import LedgerWriter


class Recorder:
    """Changes workflows from any thread, one at a time, and counts the facts.

    Args:
        memory: has the workflows and the totals.
        writer: looks workflows up that are not in memory.
        lock: protects the memory. Always acquired after the writer's `store_lock`.
        accounts: the terms of the accounts.
        admission: is notified if a row could not be looked up; the rules ask it for room.
        slices: labels that are derived from the tags and names of workflows.
        report: called under the lock with each change of a workflow, so it must not block.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - the parts it joins
        self,
        memory: Memory,
        writer: LedgerWriter,
        lock: threading.Lock,
        accounts: Accounts,
        admission: Admission,
        slices: Sequence[SliceRule],
        report: Callable[[Taken], None],
    ) -> None:
        self._memory = memory
        self._writer = writer
        self._lock = lock
        self._accounts = accounts
        self._admission = admission
        self.slices = tuple(slices)
        """The slices that are configured now."""
        self._report = report

    def apply(
        self,
        key: WorkflowKey,
        at: Moment,
        rule: Callable[[Workflow | None], Change],
        traits: Traits | None = None,
        seen: Observation | None = None,
    ) -> Change:
        """Find the stored state of a workflow, apply the rule, and store the result.

        The result has no workflow if nothing is to be stored, or the store cannot be read. The rule
        is called under the lock.
        """
        try:
            return self._apply(key, at, rule, traits, seen)
        finally:
            self._admission.log_news()

    def _apply(
        self,
        key: WorkflowKey,
        at: Moment,
        rule: Callable[[Workflow | None], Change],
        traits: Traits | None,
        seen: Observation | None,
    ) -> Change:
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
                        self._admission.miss(key[0])
                    return Change(None)
                with self._lock:
                    if self._memory.find(key) is not None:
                        continue  # another thread has just added it
                    if known is not None and known.phase != "open":
                        self._memory.remember(key, known)
                    return self._take(key, known, rule(known), at, traits=traits, seen=seen)

    def release_held(self, monotonic: float) -> None:
        """Count facts that have waited long enough for their slices."""
        with self._lock:
            for known in self._memory.holding():
                capped = partial(self._memory.totals.capped_slice, known.account)
                counted = holding.release(known, monotonic, self.slices, capped)
                if counted is not None:
                    self._count((known.account, known.workflow_id), known, counted)

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
        account = key[0]
        capped = partial(self._memory.totals.capped_slice, account)
        counted = holding.take(
            known, change.workflow, change.facts, at, traits, self.slices, capped
        )
        self._count(key, known, counted)
        after = counted.workflow
        if after is not known and is_news(known, after, change.facts):
            marks, listed = self._memory.marks(account), self._accounts.is_listed(account)
            self._report(Taken(known, after, change.facts, at, seen, marks, listed))
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
