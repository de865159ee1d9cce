"""Deadlines for calls: one thread that ends every call whose time is up.

A socket's timeout applies to the gap between two bytes. A peer that sends one byte now and then
never exceeds it, neither in the headers nor in a body or a stream. These deadlines apply whatever
arrives.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from typing import Protocol


class Expiring(Protocol):
    """A call that can have a deadline."""

    due: float | None
    """When it expires, by ``time.monotonic``; None: never. May be moved later at any time."""

    ticket: int
    """The number of the valid entry in the watchdog's schedule; used only by the watchdog."""

    def expire(self, now: float) -> None:
        """End the call, unless its deadline was moved or removed in the meantime."""


class Watchdog:
    """Ends overdue calls; one thread serves all of them.

    To move a deadline later, it is enough to write ``due``: the thread checks it at the earlier
    deadline, and schedules the later one. So a stream can do this at every snapshot.
    """

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._schedule: list[tuple[float, int, Expiring]] = []
        self._order = itertools.count()
        self._thread: threading.Thread | None = None
        self._stopped = False

    def watch(self, expiring: Expiring, seconds: float) -> None:
        """Set a deadline that many seconds from now, which replaces the earlier one."""
        due = time.monotonic() + seconds
        with self._condition:
            expiring.due = due
            if self._stopped:
                return
            # Earlier entries become void; otherwise a call object that is used repeatedly would
            # collect entries.
            expiring.ticket = next(self._order)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="comfycontrol-deadlines", daemon=True
                )
                self._thread.start()
            heapq.heappush(self._schedule, (due, expiring.ticket, expiring))
            if self._schedule[0][2] is expiring:
                self._condition.notify()

    def stop(self) -> None:
        """Stop the thread. Deadlines that have not come yet are ignored."""
        with self._condition:
            self._stopped = True
            self._schedule.clear()
            self._condition.notify()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _run(self) -> None:
        while (expiring := self._wait()) is not None:
            expiring.expire(time.monotonic())

    def _wait(self) -> Expiring | None:
        """Wait for the next overdue call; None: the thread must stop."""
        with self._condition:
            while not self._stopped:
                now = time.monotonic()
                # Remove entries of calls that have ended: waking up for each of a thousand would
                # cost more than all streams.
                while self._schedule and self._is_void(self._schedule[0]):
                    heapq.heappop(self._schedule)
                if not self._schedule:
                    self._condition.wait()
                elif self._schedule[0][0] > now:
                    self._condition.wait(self._schedule[0][0] - now)
                else:
                    _, ticket, expiring = heapq.heappop(self._schedule)
                    due = expiring.due
                    if due is None:
                        continue  # its deadline was removed a moment ago
                    if due <= now:
                        return expiring
                    heapq.heappush(self._schedule, (due, ticket, expiring))
        return None

    @staticmethod
    def _is_void(entry: tuple[float, int, Expiring]) -> bool:
        _, ticket, expiring = entry
        return expiring.due is None or ticket != expiring.ticket
