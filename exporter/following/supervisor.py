"""Decides which workflows of one account have a stream, and starts and stops the followers."""

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Final

from exporter.budget.sliding_window import Priority
from exporter.following.access import AccountAccess
from exporter.following.asking import Asking
from exporter.following.choosing import StreamCapacity, choose_streams, priority_of, rest_of
from exporter.following.collecting import CAUSE_SECONDS, PendingCollector
from exporter.following.follower import Follower
from exporter.following.loop import RepeatedTask, ServiceLoop, end_all
from exporter.following.stream_pool import StreamPool
from exporter.interfaces.observations import Moment, OpenWorkflow, WorkflowRegister
from exporter.interfaces.telemetry import Telemetry
from exporter.retrying import Backoff, RetryPolicy

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
"""During that time there are this many fewer streams than were open, because other parts need
threads too."""


class Supervisor(RepeatedTask):
    """One account's followers, and the task that starts and stops them.

    The methods that other threads may call say so; the others belong to the loop.

    Args:
        access: the account's way to the service.
        register: knows the open workflows and receives the observations.
        telemetry: passed on to the followers.
        capacity: how many streams there may be.
        share: how many requests a period the budget allows now.
        now: returns the time of both clocks (wall and monotonic).
        random: returns numbers from 0 to 1, for the waits between tries for pending causes.
        backoff: creates a backoff for each follower.
        loop: where everything runs.
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
        loop: ServiceLoop,
        elsewhere: Callable[[], Mapping[str, bool]] = dict,
        pool: StreamPool | None = None,
        name: str | None = None,
        settled: float = SETTLED_SECONDS,
        without_threads: float = WITHOUT_THREADS_SECONDS,
        cause: float = CAUSE_SECONDS,
    ) -> None:
        super().__init__(
            loop,
            self._one_round,
            task="stream scheduling",
            retry=RetryPolicy((CHECK_SECONDS,)),
            account=access.account,
        )
        self._access = access
        self._account = access.account
        self._register = register
        self._telemetry = telemetry
        self._capacity = capacity
        self._share = share
        self._now = now
        self._backoff = backoff
        self._elsewhere = elsewhere
        self._streams = pool if pool is not None else StreamPool(None)
        self._name = self._account if name is None else name
        self._settled_seconds = settled
        self._without_threads_seconds = without_threads
        self.needed = 0
        """How many streams it has or wants now."""
        self.beyond: Sequence[OpenWorkflow] = ()
        """Workflows that get no stream here, highest priority first."""
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
        self._wake = asyncio.Event()
        self._is_woken = False

    def change(self, capacity: StreamCapacity) -> None:
        """Set how many streams there may be. Any thread may call it."""
        self._capacity = capacity
        self.check_soon()

    def check_soon(self) -> None:
        """Check again soon, because something changed. Any thread may call it; it never blocks."""
        # Changes may come by the thousand, and only the first needs to wake the loop.
        if not self._is_woken:
            self._is_woken = True
            self._loop.call(self._wake.set)

    async def clean_up(self) -> None:
        """End all followers and questions."""
        tasks = [follower.task for follower in self._followers.values()]
        await end_all([task for task in (*tasks, *self._pending.tries.values()) if task])
        self._streams.leave(self._name)

    def streaming(self) -> set[str]:
        """Ids whose stream is open now. Any thread may call it."""
        # The values are copied in one step, whatever the loop does meanwhile.
        return {f.workflow_id for f in list(self._followers.values()) if f.streaming}

    def opening(self) -> dict[str, float | None]:
        """Ids that wait for their stream, each with the monotonic time of the next try.

        None: the request waits for its turn. Any thread may call it.
        """
        followers = list(self._followers.values())
        return {f.workflow_id: f.retry_at for f in followers if not f.streaming}

    async def _one_round(self) -> float:
        self._wake.clear()
        self._is_woken = False
        await self._arrange()
        with suppress(TimeoutError):
            async with asyncio.timeout(CHECK_SECONDS):
                await self._wake.wait()
        return SETTLE_SECONDS

    async def _arrange(self) -> None:
        workflows = self._register.open_workflows(self._account)
        current = set(self._followers)
        elsewhere = self._elsewhere()
        here = [w for w in workflows if w.workflow_id not in elsewhere] if elsewhere else workflows
        all_have_theirs = not elsewhere and self._all_have_theirs(workflows)
        # Streams of settled workflows, which will end soon, still count.
        needed = current if all_have_theirs else current.union(w.workflow_id for w in here)
        wanted = min(len(needed), self._capacity.full)
        full = self._streams.room(self._name, wanted=wanted, held=len(current))
        if self._startable is not None and self._now().monotonic >= self._startable_until:
            self._startable = None
        room = full if self._startable is None else min(full, self._startable)
        # After refusals the share is smaller for some minutes. Open streams cost nothing until they
        # end, so they stay. But no more streams than this are opened, or wait to be opened again.
        affordable = min(room, self._capacity.at(self._share()))
        if all_have_theirs and len(current) <= affordable:
            # This is the usual case, each second: ranking a thousand streams would cost more than
            # reading them.
            self._settled_since = {}
            self.without_thread, self.needed, self.beyond = 0, len(workflows), ()
            self._pending.collect(current)
            return
        chosen = await self._access.for_many(len(here), choose_streams, here, current, room)
        by_id = {workflow.workflow_id: workflow for workflow in workflows}
        self._end_doubled({known for known, is_open in elsewhere.items() if is_open})
        self._release(current - set(chosen), by_id, at_once=min(wanted, len(current)) - full)
        self._call_off(current.intersection(chosen[affordable:]))
        streaming = self.streaming()
        for workflow_id in chosen[:affordable]:
            if workflow_id not in streaming:
                self._follow(workflow_id, priority_of(by_id[workflow_id]), affordable)
        self.without_thread = max(0, min(len(here), full) - room)
        self.needed = len(chosen)
        late = self._late(chosen[:affordable])
        shown_here = current.union(chosen[:affordable]) - late
        self.beyond = await self._access.for_many(len(here), rest_of, here, shown_here)
        # The stream that shows an end usually shows its cause too.
        self._pending.collect({*self._followers, *elsewhere})

    def _all_have_theirs(self, workflows: Sequence[OpenWorkflow]) -> bool:
        """Whether exactly these have open streams."""
        followers = self._followers
        return len(workflows) == len(followers) and all(
            (follower := followers.get(workflow.workflow_id)) is not None and follower.streaming
            for workflow in workflows
        )

    def _late(self, chosen: Sequence[str]) -> set[str]:
        """Ids that would wait longer than a period for their turn.

        These have the lowest priority.
        """
        waiting = [
            workflow_id
            for workflow_id in chosen
            if (follower := self._followers.get(workflow_id)) is None
            or follower.waits_for_first_turn
        ]
        return set(waiting[self._share() :])

    def _release(self, unwanted: set[str], still_open: Collection[str], *, at_once: int) -> None:
        """Stop followers that lost their place to others, and those that no longer have a purpose.

        At most `at_once` are stopped together, because other accounts wait for their streams.
        """
        now = self._now().monotonic
        self._settled_since = {
            workflow_id: self._settled_since.get(workflow_id, now)
            for workflow_id in unwanted
            if workflow_id not in still_open
        }
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
        for workflow_id in self._followers.keys() & elsewhere:
            self._followers[workflow_id].stop()

    def _call_off(self, unaffordable: set[str]) -> None:
        """Stop followers whose stream is not open, and cannot be opened soon."""
        for workflow_id in unaffordable:
            follower = self._followers.get(workflow_id)
            if follower is not None and not follower.streaming:
                follower.stop()

    def _do_with_fewer(self) -> None:
        """Have fewer streams for now, because no thread can be started."""
        if self._startable is not None:
            return
        self._startable = max(1, len(self.streaming()) - SPARE_THREADS)
        self._startable_until = self._now().monotonic + self._without_threads_seconds
        log.error(
            "no thread for another stream",
            extra={"account": self._account, "streams": self._startable},
        )

    def _follow(self, workflow_id: str, priority: Priority, at_most: int) -> None:
        """Follow a workflow if there is room."""
        present = self._followers.get(workflow_id)
        if present is not None:
            if priority is Priority.NAMED_STREAM and _waits_as_unnamed(present):
                # It was named meanwhile. This follower ends, and the next check starts one with the
                # priority of named ids.
                present.stop()
        elif len(self._followers) < at_most:
            # Followers that were asked to stop still hold a stream for a moment, so they count.
            follower = self._followers[workflow_id] = self._follower(workflow_id, priority)
            follower.start()

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
        )

    def _ended(self, follower: Follower) -> None:
        del self._followers[follower.workflow_id]
        if follower.lacks_thread:
            self._do_with_fewer()
        self.check_soon()


def _waits_as_unnamed(follower: Follower) -> bool:
    return follower.priority is Priority.NEW_STREAM and follower.waits_for_first_turn
