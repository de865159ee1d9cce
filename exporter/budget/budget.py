"""The request budget: every request to the service waits here first."""

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import inf, isinf
from typing import Final

from exporter.budget.journal import RequestJournal
from exporter.budget.shared_window import (
    NotYet,
    SharedSlot,
    SharedWindow,
    SharedWindowUnavailableError,
)
from exporter.budget.sliding_window import (
    Limit,
    Priority,
    SlidingWindow,
    Slot,
    WindowMemory,
    believed,
)
from exporter.worker import StoppedError, Worker

log = logging.getLogger(__name__)

WINDOWS_REMEMBERED: Final = 4
"""How many periods of requests are remembered over a restart. Requests that wait long for their
answer must not be replaced by younger ones."""

AWAY_SECONDS: Final = 1.0
"""Seconds to wait if it is unknown whether a request may be sent."""

CLOSING_SECONDS: Final = 0.5
"""Seconds for the last writes to the journal at the end. A request whose answer is not written
counts as still running."""


@dataclass(frozen=True, slots=True)
class BudgetReading:
    """The state of a budget at one moment."""

    address: str
    allowed: int
    used: int
    waited_seconds: float
    """The total waiting time in seconds of all requests, including those that wait now."""
    cooldown_until: float
    """The end of the cooldown in Unix seconds; 0 if there is none."""
    share: int = 0
    """How many requests per period are allowed if nothing was refused for long enough. If it is
    more than `allowed`, refusals have reduced the share."""


class Permit:
    """First the wait of a request for its turn, then the slot that it holds."""

    def __init__(
        self,
        budget: "RequestBudget",
        priority: Priority,
        since: float,
        on_over: Callable[[], object],
    ) -> None:
        self._budget = budget
        self._on_over = on_over
        self.priority: Final = priority
        self.since: Final = since
        self.slot: Slot | None = None
        self.shared: SharedSlot | None = None
        self.is_over = False
        """Whether the wait has ended: the turn has come, and there is a slot, or it never will."""

    def end_wait(self) -> None:
        """End the wait. Called only by the budget."""
        self.is_over = True
        self._on_over()

    def cancel(self) -> None:
        """End the wait at once, from any thread. Has no effect if the turn has already come."""
        self._budget.cancel(self)

    def answered(self) -> None:
        """Note that the answer has begun, or the request failed."""
        self._budget.answered(self)

    def refused(self, retry_after: float | None) -> None:
        """Note an answer 429: close the budget for all requests (`retry_after` in seconds)."""
        self._budget.refused(self, retry_after)

    def unused(self) -> None:
        """Return the slot, because no request was sent."""
        self._budget.unused(self)


class RequestBudget:
    """The request limit of one service address, shared by all accounts, streams and pages on it.

    First come, first served within a priority; between priorities, the window chooses.

    Args:
        address: the service's address.
        limit: the limit of that address.
        monotonic: the clock, in monotonic seconds.
        wall: the clock, in Unix seconds.
        file: the journal: has the requests of earlier processes, and records those of this one.
        fresh: no other process sent requests to the address before, except those in `file`. If
            False, requests that may be missing there are assumed.
        shared_window: the window that is shared with other processes at the same address; None:
            there are none.
    """

    def __init__(  # noqa: PLR0913 - the parts it joins
        self,
        address: str,
        limit: Limit,
        *,
        monotonic: Callable[[], float],
        wall: Callable[[], float],
        file: RequestJournal | None = None,
        fresh: bool = True,
        shared_window: SharedWindow | None = None,
    ) -> None:
        self.address: Final = address
        self._monotonic = monotonic
        self._wall = wall
        self._window = SlidingWindow(limit)
        self._file = file
        self._shared_window = shared_window
        # Pending writes to the file. The thread that gives out turns does them: a disk that does
        # not answer must not block the threads of open streams.
        self._notes: deque[Callable[[], object]] = deque()
        # The permit that has its slot, and waits until its request is recorded.
        self._noting: Permit | None = None
        # Whether refusals have reduced our share, and its restoration was not logged yet.
        self._is_cut = False
        self._go_on(limit, fresh=fresh)
        self._waiting: dict[Priority, deque[Permit]] = {p: deque() for p in Priority}
        self._waited = 0.0
        self._changed = threading.Condition()
        self._closed = False
        self._worker = Worker(
            f"budget {address}", self._hand_out, task="granting requests", address=address
        )
        self._worker.start()

    def _go_on(self, limit: Limit, *, fresh: bool) -> None:
        """Take over what is known of earlier requests."""
        now = self._monotonic()
        nothing_known = WindowMemory() if fresh else WindowMemory(since=now)
        memory = nothing_known
        if self._file is not None:
            if self._file.memory is not None:
                memory = believed(self._file.memory, now)
            if not self._file.begin(memory, WINDOWS_REMEMBERED * limit.requests):
                memory = nothing_known
        self._window.go_on(memory, now)
        self._is_cut = self._window.allowed(now) < self._window.share
        if now < memory.since + limit.per:
            log.info(
                "no record of earlier requests: starting with fewer requests",
                extra={
                    "address": self.address,
                    "seconds": round(memory.since + limit.per - now, 1),
                },
            )

    def change(self, limit: Limit) -> None:
        """Use another limit from now on."""
        with self._changed:
            self._window.change(limit)
            if self._file is not None:
                self._notes.append(partial(self._file.grow, WINDOWS_REMEMBERED * limit.requests))
            if self._shared_window is not None:
                self._shared_window.change(limit.requests, limit.share, limit.per, limit.cooldown)
            self._changed.notify_all()

    def enter(self, priority: Priority, on_over: Callable[[], object]) -> Permit:
        """Queue for one request.

        `on_over` is called from any thread when the wait is over. It must neither block nor raise.
        """
        permit = Permit(self, priority, self._monotonic(), on_over)
        with self._changed:
            if self._closed:
                permit.end_wait()
            else:
                self._waiting[priority].append(permit)
                self._changed.notify_all()
            is_whole = self._is_whole_again(self._monotonic())
        self._log_if_restored(is_whole=is_whole)
        return permit

    def close(self) -> None:
        """Cancel all waiting permits; no further turns are given."""
        with self._changed:
            self._closed = True
            now = self._monotonic()
            for queue in self._waiting.values():
                while queue:
                    permit = queue.popleft()
                    self._waited += now - permit.since
                    permit.end_wait()
            if self._noting is not None:
                self._noting.end_wait()
                self._noting = None
            self._changed.notify_all()
        if self._shared_window is not None:
            self._shared_window.close()
        self._worker.stop()
        self._worker.join(CLOSING_SECONDS)

    def allowed(self) -> int:
        """How many requests it allows in a period now."""
        with self._changed:
            return self._window.allowed(self._monotonic())

    def load(self) -> float:
        """The part (0 to 1) of the allowed requests that is in use now."""
        with self._changed:
            now = self._monotonic()
            return self._window.used(now) / self._window.allowed(now)

    def reading(self) -> BudgetReading:
        """The present state."""
        with self._changed:
            now = self._monotonic()
            waiting = sum(now - permit.since for q in self._waiting.values() for permit in q)
            left = self._window.closed_until - now
            is_whole = self._is_whole_again(now)
            reading = BudgetReading(
                address=self.address,
                allowed=self._window.allowed(now),
                used=self._window.used(now),
                waited_seconds=self._waited + waiting,
                cooldown_until=self._wall() + left if left > 0 else 0.0,
                share=self._window.share,
            )
        self._log_if_restored(is_whole=is_whole)
        return reading

    def _log_if_restored(self, *, is_whole: bool) -> None:
        if is_whole:
            log.info(
                "request share restored",
                extra={"address": self.address, "requests": self._window.share},
            )

    # What turns call --------------------------------------------------------------------------

    def cancel(self, permit: Permit) -> None:
        """See `Permit.cancel`."""
        with self._changed:
            if not permit.is_over:
                if permit is self._noting:
                    # Its slot is returned when the write has finished.
                    self._noting = None
                else:
                    self._waiting[permit.priority].remove(permit)
                    self._waited += self._monotonic() - permit.since
                permit.end_wait()

    def answered(self, permit: Permit) -> None:
        """See `Permit.answered`."""
        with self._changed:
            if permit.slot is not None:
                self._answer(permit.slot, self._monotonic())
                self._changed.notify_all()
        if self._shared_window is not None and permit.shared is not None:
            self._shared_window.answered(permit.shared)

    def refused(self, permit: Permit, retry_after: float | None) -> None:
        """See `Permit.refused`."""
        with self._changed:
            now = self._monotonic()
            if permit.slot is not None:
                self._answer(permit.slot, now)
            begun = now if permit.slot is None else permit.slot.begun
            before, per = self._window.allowed(now), self._window.per
            self._window.refuse(now, retry_after, begun)
            after, share = self._window.allowed(now), self._window.share
            self._is_cut |= after < share
            seconds = self._window.closed_until - now + (share - after) * per
            if self._file is not None:
                after_it = self._window.closed_until, self._window.share_after_refusal
                self._notes.append(partial(self._file.refused, *after_it))
            self._changed.notify_all()
        if self._shared_window is not None and permit.shared is not None:
            self._shared_window.answered(permit.shared)
            self._shared_window.refused(retry_after)
        if after < before:
            # We kept to the limit and were refused: something else sends requests from this
            # address.
            log.warning(
                "refused with 429: request share reduced, streams beyond it wait",
                extra={
                    "address": self.address,
                    "from": before,
                    "to": after,
                    "whole_in_seconds": round(seconds, 1),
                },
            )

    def unused(self, permit: Permit) -> None:
        """See `Permit.unused`."""
        with self._changed:
            if permit.slot is not None:
                self._withdraw(permit.slot)
                self._changed.notify_all()
        if self._shared_window is not None and permit.shared is not None:
            self._shared_window.unused(permit.shared)

    def _is_whole_again(self, now: float) -> bool:
        """Whether the share is complete again, and was reduced at the last call."""
        was_cut, self._is_cut = self._is_cut, self._window.allowed(now) < self._window.share
        return was_cut and not self._is_cut

    def _answer(self, slot: Slot, now: float) -> None:
        self._window.answer(slot, now)
        self._note_answer(slot, now)

    def _withdraw(self, slot: Slot) -> None:
        self._window.withdraw(slot)
        self._note_answer(slot, -inf)

    def _note_answer(self, slot: Slot, moment: float) -> None:
        """Record an answer.

        Until that is written, a restart counts the request as still running.
        """
        if self._file is not None and slot.record is not None:
            self._notes.append(partial(self._file.answered, slot.record, moment))

    # The thread that hands out turns ----------------------------------------------------------

    def _hand_out(self) -> float:
        with self._changed:
            while not self._closed:
                if self._notes:
                    self._write_notes()
                    continue
                waiting = self._who_waits()
                delay = self._window.delay(self._monotonic(), waiting) if waiting else inf
                if delay > 0:
                    self._changed.wait(None if isinf(delay) else delay)
                    continue
                shared = None
                if (
                    self._shared_window is not None
                    and (shared := self._take_shared(self._shared_window)) is None
                ):
                    continue
                now = self._monotonic()
                waiting = self._who_waits()
                if not waiting:
                    # The caller has stopped waiting meanwhile.
                    if self._shared_window is not None and shared is not None:
                        self._shared_window.unused(shared)
                    continue
                self._grant(self._waiting[self._window.choose(waiting, now)].popleft(), shared, now)
            self._write_notes()
        raise StoppedError

    def _grant(self, permit: Permit, shared: SharedSlot | None, now: float) -> None:
        slot = self._window.begin(permit.priority, now)
        self._waited += now - permit.since
        if self._file is not None:
            # It is recorded before the request is sent, so that it is there after a kill.
            self._noting = permit
            self._changed.release()
            try:
                slot.record = self._file.sent(now)
            finally:
                self._changed.acquire()
            if self._noting is not permit:
                # It was cancelled meanwhile.
                self._withdraw(slot)
                if self._shared_window is not None and shared is not None:
                    self._shared_window.unused(shared)
                return
            self._noting = None
        permit.shared, permit.slot = shared, slot
        permit.end_wait()

    def _write_notes(self) -> None:
        notes, self._notes = self._notes, deque()
        self._changed.release()
        try:
            for write in notes:
                write()
        finally:
            self._changed.acquire()

    def _who_waits(self) -> set[Priority]:
        return {priority for priority, queue in self._waiting.items() if queue}

    def _take_shared(self, shared_window: SharedWindow) -> SharedSlot | None:
        """Take a slot shared by all processes; None: there is none now, and some time has passed.

        Meanwhile other requests may be queued or cancelled.
        """
        self._changed.release()
        try:
            try:
                taken = shared_window.take()
            except SharedWindowUnavailableError:
                taken = NotYet(AWAY_SECONDS)
        finally:
            self._changed.acquire()
        if isinstance(taken, SharedSlot):
            return taken
        self._changed.wait(taken.seconds)
        return None
