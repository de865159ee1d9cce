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
    """What can be given a deadline."""

    due: float | None
    """When it expires, by ``time.monotonic``; None: not at all. May be put off at any time."""

    ticket: int
    """Which of the watchdog's entries counts; the watchdog's own."""

    def expire(self, now: float) -> None:
        """End it, unless its deadline has been put off or lifted in the meantime."""


class Watchdog:
    """Ends what is overdue, from one thread for all.

    Putting a deadline off is no more than writing ``due``: the thread looks at it when the earlier
    deadline comes, and comes back later. So a stream may do it at every snapshot.
    """

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._schedule: list[tuple[float, int, Expiring]] = []
        self._order = itertools.count()
        self._thread: threading.Thread | None = None
        self._stopped = False

    def watch(self, expiring: Expiring, seconds: float) -> None:
        """Give a deadline that many seconds from now, in place of the one that it had."""
        due = time.monotonic() + seconds
        with self._condition:
            expiring.due = due
            if self._stopped:
                return
            # Earlier entries for it are void from now on, or one that is used again and again would
            # gather them.
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
        """Stop the thread. Deadlines that are still out never come."""
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
        """Wait for the next that is overdue; None: stopped."""
        with self._condition:
            while not self._stopped:
                now = time.monotonic()
                # Those of calls that are over: waking for each of a thousand would cost more than
                # all streams do.
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
                        continue  # lifted a moment ago
                    if due <= now:
                        return expiring
                    heapq.heappush(self._schedule, (due, ticket, expiring))
        return None

    @staticmethod
    def _is_void(entry: tuple[float, int, Expiring]) -> bool:
        _, ticket, expiring = entry
        return expiring.due is None or ticket != expiring.ticket
