"""Decides which workflows of one account have a stream, and starts and stops the followers."""

import logging
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

from exporter.budget.sliding_window import Priority
from exporter.following.access import AccountAccess
from exporter.following.asking import Asking
from exporter.following.choosing import StreamCapacity, choose_streams, priority_of, rest_of
from exporter.following.collecting import CAUSE_SECONDS, PendingCollector
from exporter.following.follower import Follower
from exporter.following.loop import StreamLoop, opening_threads
from exporter.following.stream_pool import StreamPool
from exporter.interfaces.observations import Moment, OpenWorkflow, WorkflowRegister
from exporter.interfaces.telemetry import Telemetry
from exporter.retrying import Backoff, RetryPolicy
from exporter.worker import Worker

log = logging.getLogger(__name__)

CHECK_SECONDS: Final = 1.0
"""Seconds between two checks if nothing wakes it."""

SETTLE_SECONDS: Final = 0.2
"""Seconds to wait for further changes after a change, before it checks."""

TENURE_SECONDS: Final = 30.0
"""Seconds that a stream must have lasted before its place is given to another workflow."""

SETTLED_SECONDS: Final = 5.0
"""Seconds. If the list shows that a workflow has settled, its stream will soon show the same, with
the cause or the outputs, and end. A stream that has not done so after this time comes from a
replica that is far behind."""


WITHOUT_THREADS_SECONDS: Final = 60.0
"""Seconds after a thread could not be started before more streams are tried again."""

SPARE_THREADS: Final = 8
"""During that time there are this many fewer streams than could be started, because other parts
need threads too."""


class Supervisor:
    """One account's followers.

    Args:
        access: the account's way to the service.
        register: knows the open workflows and receives the observations.
        telemetry: passed on to the followers.
        capacity: how many streams there may be.
        share: how many requests a period the budget allows now.
        now: returns the time of both clocks (wall and monotonic).
        random: returns numbers from 0 to 1, for the waits between tries for pending causes.
        backoff: creates a backoff for each follower.
        loop: where the streams are read.
        elsewhere: returns ids whose stream another replica has, and whether it is open there.
        pool: the streams that all supervisors of the process share.
        name: the name of this supervisor in the pool; by default the account's.
        settled: seconds that a stream may stay after its workflow has settled.
        without_threads: seconds after which more threads are tried again.
        cause: seconds that one answer about a cause may take.
    """

    def __init__(  # noqa: PLR0913 - the parts it joins
        self,
        access: AccountAccess,
        register: WorkflowRegister,
        telemetry: Telemetry,
        *,
        capacity: StreamCapacity,
        share: Callable[[], int],
        now: Callable[[], Moment],
        random: Callable[[], float],
        backoff: Callable[[], Backoff],
        loop: StreamLoop,
        elsewhere: Callable[[], Mapping[str, bool]] = dict,
        pool: StreamPool | None = None,
        name: str | None = None,
        settled: float = SETTLED_SECONDS,
        without_threads: float = WITHOUT_THREADS_SECONDS,
        cause: float = CAUSE_SECONDS,
    ) -> None:
        self._access = access
        self._account = access.account
        self._register = register
        self._telemetry = telemetry
        self._capacity = capacity
        self._share = share
        self._now = now
        self._backoff = backoff
        self._loop = loop
        self._elsewhere = elsewhere
        self._streams = pool if pool is not None else StreamPool(None)
        self._name = self._account if name is None else name
        self._settled_seconds = settled
        self._without_threads_seconds = without_threads
        self.needed = 0
        """How many streams it has or wants now."""
        self.beyond: Sequence[OpenWorkflow] = ()
        """Workflows that get no stream here, highest priority first."""
        self._pool = opening_threads(self._account)
        self._lock = threading.Lock()
        self._startable: int | None = None
        self._startable_until = 0.0
        self.without_thread = 0
        """How many streams are held back because no thread can be started for them."""
        self._followers: dict[str, Follower] = {}
        self._settled_since: dict[str, float] = {}
        self._pending = PendingCollector(
            Asking(access, register, telemetry, now),
            register,
            now=now,
            random=random,
            on_end=self.check_soon,
            at_most=cause,
        )
        self._wake = threading.Event()
        self._worker = Worker(
            f"supervisor {self._account}",
            self._one_round,
            task="stream scheduling",
            retry=RetryPolicy((CHECK_SECONDS,)),
            account=self._account,
        )

    def start(self) -> None:
        """Start the thread."""
        self._worker.start()

    def change(self, capacity: StreamCapacity) -> None:
        """Set how many streams there may be."""
        self._capacity = capacity
        self.check_soon()

    def check_soon(self) -> None:
        """Check again soon, because something changed. Any thread may call it; it never blocks."""
        self._wake.set()

    def stop(self) -> None:
        """End everything soon, from any thread, without waiting for it."""
        self._worker.stop()
        self._wake.set()
        self._pending.stop()
        for follower in self._everyone():
            follower.stop()

    def join(self, timeout: float) -> bool:
        """Wait for everything to end, for that many seconds in total; return whether it ended."""
        try:
            return self._join(timeout)
        finally:
            self._pool.shutdown(wait=False)
            self._streams.leave(self._name)

    def _join(self, timeout: float) -> bool:
        deadline = self._now().monotonic + timeout
        scheduling_ended = self._worker.join(timeout)
        for follower in self._everyone():
            if not follower.join(max(0.0, deadline - self._now().monotonic)):
                return False
        ended = self._pending.join(max(0.0, deadline - self._now().monotonic))
        return ended and scheduling_ended

    def streaming(self) -> set[str]:
        """Ids whose stream is open now."""
        with self._lock:
            return {f.workflow_id for f in self._followers.values() if f.streaming}

    def opening(self) -> dict[str, float | None]:
        """Ids that wait for their stream, each with the monotonic time of the next try.

        None: the request waits for its turn.
        """
        with self._lock:
            return {f.workflow_id: f.retry_at for f in self._followers.values() if not f.streaming}

    def _everyone(self) -> list[Follower]:
        with self._lock:
            return list(self._followers.values())

    def _one_round(self) -> float:
        self._wake.clear()
        if not self._worker.is_stopping:
            self._arrange()
            self._wake.wait(CHECK_SECONDS)
        return SETTLE_SECONDS

    def _arrange(self) -> None:
        workflows = self._register.open_workflows(self._account)
        with self._lock:
            current = set(self._followers)
        elsewhere = self._elsewhere()
        here = [workflow for workflow in workflows if workflow.workflow_id not in elsewhere]
        # Streams of settled workflows, which will end soon, still count.
        needed = current.union(workflow.workflow_id for workflow in here)
        wanted = min(len(needed), self._capacity.full)
        full = self._streams.room(self._name, wanted=wanted, held=len(current))
        if self._startable is not None and self._now().monotonic >= self._startable_until:
            self._startable = None
        room = full if self._startable is None else min(full, self._startable)
        # After refusals the share is smaller for some minutes. Open streams cost nothing until they
        # end, so they stay. But no more streams than this are opened, or wait to be opened again.
        affordable = min(room, self._capacity.at(self._share()))
        if not elsewhere and self._all_have_theirs(workflows, current, affordable):
            # This is the usual case, each second: ranking a thousand streams would cost more than
            # reading them.
            self._settled_since = {}
            self.without_thread, self.needed, self.beyond = 0, len(workflows), ()
            self._pending.collect(current)
            return
        chosen = choose_streams(here, current, room)
        still_open = {workflow.workflow_id for workflow in workflows}
        self._end_doubled({known for known, is_open in elsewhere.items() if is_open})
        self._release(current - set(chosen), still_open, at_once=min(wanted, len(current)) - full)
        self._call_off(current.intersection(chosen[affordable:]))
        by_id = {workflow.workflow_id: workflow for workflow in workflows}
        streaming = self.streaming()
        for workflow_id in chosen[:affordable]:
            if workflow_id in streaming:
                continue
            if not self._follow(workflow_id, priority_of(by_id[workflow_id]), affordable):
                room = self._do_with_fewer()
                break
        self.without_thread = max(0, min(len(here), full) - room)
        self.needed = len(chosen)
        late = self._late(chosen[:affordable])
        self.beyond = rest_of(here, current.union(chosen[:affordable]) - late)
        with self._lock:
            followed = set(self._followers)
        # The stream that shows an end usually shows its cause too.
        self._pending.collect(followed.union(elsewhere))

    def _all_have_theirs(
        self, workflows: Sequence[OpenWorkflow], current: set[str], affordable: int
    ) -> bool:
        """Whether exactly these have open streams, so that nothing must be changed."""
        return (
            len(workflows) == len(current) <= affordable
            and all(workflow.workflow_id in current for workflow in workflows)
            and len(self.streaming()) == len(current)
        )

    def _late(self, chosen: Sequence[str]) -> set[str]:
        """Ids that would wait longer than a period for their turn.

        These have the lowest priority.
        """
        with self._lock:
            waiting = [
                workflow_id
                for workflow_id in chosen
                if (follower := self._followers.get(workflow_id)) is None
                or follower.waits_for_first_turn
            ]
        return set(waiting[self._share() :])

    def _release(self, unwanted: set[str], still_open: set[str], *, at_once: int) -> None:
        """Stop followers that lost their place to others, and those that no longer have a purpose.

        At most `at_once` are stopped together, because other accounts wait for their streams.
        """
        now = self._now().monotonic
        self._settled_since = {
            workflow_id: self._settled_since.get(workflow_id, now)
            for workflow_id in unwanted - still_open
        }
        with self._lock:
            for workflow_id in unwanted:
                follower = self._followers.get(workflow_id)
                if follower is None:
                    continue
                if workflow_id in still_open:
                    # Otherwise the stream is young, and replacing it would gain nothing.
                    ended = now - follower.opened_at >= TENURE_SECONDS
                else:
                    ended = now - self._settled_since[workflow_id] >= self._settled_seconds
                if ended or not follower.streaming or at_once > 0:
                    follower.stop()
                    at_once -= 1

    def _end_doubled(self, elsewhere: Collection[str]) -> None:
        """Stop streams that another replica also has.

        A new holder learns of them after its start.
        """
        with self._lock:
            for workflow_id in self._followers.keys() & elsewhere:
                self._followers[workflow_id].stop()

    def _call_off(self, unaffordable: set[str]) -> None:
        """Stop followers whose stream is not open, and cannot be opened soon."""
        with self._lock:
            for workflow_id in unaffordable:
                follower = self._followers.get(workflow_id)
                if follower is not None and not follower.streaming:
                    follower.stop()

    def _do_with_fewer(self) -> int:
        """How many streams there may be for now, because no thread can be started."""
        with self._lock:
            self._startable = max(1, len(self._followers) - SPARE_THREADS)
        self._startable_until = self._now().monotonic + self._without_threads_seconds
        log.error(
            "no thread for another stream",
            extra={"account": self._account, "streams": self._startable},
        )
        return self._startable

    def _follow(self, workflow_id: str, priority: Priority, at_most: int) -> bool:
        """Follow a workflow if there is room.

        Return False if a needed thread could not be started.
        """
        with self._lock:
            present = self._followers.get(workflow_id)
            if present is not None:
                if priority is Priority.NAMED_STREAM and _waits_as_unnamed(present):
                    # It was named meanwhile. This follower ends, and the next check starts one with
                    # the priority of named ids.
                    present.stop()
                return True
            if (
                self._worker.is_stopping
                # Followers that were asked to stop still hold a stream for a moment.
                or len(self._followers) >= at_most
            ):
                return True
            follower = self._follower(workflow_id, priority)
            self._followers[workflow_id] = follower
        try:
            follower.start()
        except RuntimeError:
            # This follower must not keep its place for ever.
            with self._lock:
                del self._followers[workflow_id]
            return False
        return True

    def _follower(self, workflow_id: str, priority: Priority) -> Follower:
        return Follower(
            self._access,
            self._register,
            self._telemetry,
            workflow_id,
            priority=priority,
            now=self._now,
            backoff=self._backoff(),
            on_end=self._ended,
            loop=self._loop,
            pool=self._pool,
        )

    def _ended(self, follower: Follower) -> None:
        with self._lock:
            if self._followers.get(follower.workflow_id) is follower:
                del self._followers[follower.workflow_id]
        self._wake.set()


def _waits_as_unnamed(follower: Follower) -> bool:
    return follower.priority is Priority.NEW_STREAM and follower.waits_for_first_turn
