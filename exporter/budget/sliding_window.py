"""The arithmetic of the service's rate limit. Pure: times are arguments, and nothing waits here.

The service allows 40 requests per 10 s and address; after that it refuses everything for 10 s
(docs/design.md, "Asking"). We do not know when it counts a request, only that it does so between
our sending and its answer. So a request keeps its slot from before it is sent until one full
period after its answer began. Then, whatever the latency, no period on the service's side contains
more requests than we allow.

The service also remembers requests of earlier processes. If we have no record of them, we assume
that they used their whole share until now.

Times are seconds of one monotonic clock.
"""

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, replace
from enum import IntEnum
from math import ceil, floor, inf
from typing import Final


class Priority(IntEnum):
    """What a request is for, the most urgent first: outcomes, then causes, then liveness."""

    LIST_FIRST_PAGE = 0
    LIST_DEEPER_PAGE = 1
    POLL = 2
    """One workflow that neither a stream nor the list shows."""
    CAUSE = 3
    NAMED_STREAM = 4
    """The first stream of a workflow that somebody named: before all that only the list shows."""
    NEW_STREAM = 5
    RECONNECT = 6
    RUNNERS = 7
    """How many runners there are: once a minute or so, which a busy budget must not starve."""
    RECONCILE = 8
    """Whether anything was missed: only when nobody else waits, and never the last places."""


LISTING: Final = frozenset({Priority.LIST_FIRST_PAGE, Priority.LIST_DEEPER_PAGE})


@dataclass(frozen=True, slots=True)
class Limit:
    """The service's limit and how much of it is left to others.

    `requests` per `per` seconds, then refusals for `cooldown` seconds. `reserve` is the part
    (0 to 1) that we leave to the user's own programs on the same address.
    """

    requests: int = 40
    per: float = 10.0
    cooldown: float = 10.0
    reserve: float = 0.25
    at_once: float = 0.5
    """The part of our share (0 to 1) that streams and causes may take in one moment; beyond it,
    they go one by one."""

    @property
    def share(self) -> int:
        """Requests that we allow ourselves per period; at least one."""
        # 10 x (1 - 0.9) is 0.9999999999999998 in binary, and was meant to be 1.
        return max(1, floor(self.requests * (1 - self.reserve) + 1e-9))


MAX_EARLIER_COOLDOWN_SECONDS: Final = 3600.0
"""A cooldown of an earlier process that would last longer is a fault of its file."""

UNDER_WAY_SECONDS: Final = 15.0
"""The service has counted a request by then, answered or not: the client waits no longer for the
headers of an answer (`client.Timeouts.headers`)."""

GUARANTEED_PART: Final = {
    Priority.LIST_FIRST_PAGE: 0.1,
    Priority.LIST_DEEPER_PAGE: 0.1,
    Priority.POLL: 0.1,
    Priority.CAUSE: 0.1,
    Priority.NAMED_STREAM: 0.025,
    Priority.NEW_STREAM: 0.025,
    Priority.RECONNECT: 0.04,
    Priority.RUNNERS: 0.01,
    Priority.RECONCILE: 0.0,
}
"""The part of the share that each priority is sure of, whatever the others want; one request at
least, unless it is 0.

Together half of it. Where streams have to wait for theirs, there are too many workflows for
streams to matter.
"""

SPARE_PART: Final = 0.9
"""The part of the share (0 to 1) up to which reconciling may use it; one request at least."""

MOST_POLLING_PART: Final = 0.5
"""The part of the share (0 to 1) that polling may take, evenly; one request a period at least.

Each answer is about a single workflow, and there is always another one to ask for: without a
bound, polling would leave to causes and streams no more than their guarantees, for good.
"""


FORGOTTEN_REMEMBERED: Final = 1000
"""Requests older than a period that are remembered, in case a reload makes the period longer."""


@dataclass(frozen=True, slots=True)
class EarlierRequest:
    """A request of an earlier process; times in seconds of the monotonic clock."""

    sent: float
    answered: float | None
    """None: it was under way when that process ended. Minus infinity: it was never sent."""


@dataclass(frozen=True, slots=True)
class WindowMemory:
    """What is known of all that was asked before this process; the default: nothing was."""

    requests: tuple[EarlierRequest, ...] = ()
    since: float = -inf
    """None of the requests sent from then on is missing in `requests`."""
    closed_until: float = -inf
    """End of a cooldown; minus infinity when there was none."""
    share: float = inf
    """What refusals had left of our share by `closed_until`; infinity when there was none."""


def believed(memory: WindowMemory, now: float) -> WindowMemory:
    """What to go on with at this moment: a memory that cannot be right is none.

    That is one with times in the future: it has another clock than this one, or is damaged.
    """
    if not _can_be_right(memory, now):
        return WindowMemory(since=now)
    requests = tuple(
        replace(each, answered=max(now, each.sent + UNDER_WAY_SECONDS))
        if each.answered is None
        else each
        for each in memory.requests
    )
    return replace(memory, requests=requests)


def _can_be_right(memory: WindowMemory, now: float) -> bool:
    # Written so that what is not a number fails.
    return (
        memory.since <= now
        and memory.closed_until <= now + MAX_EARLIER_COOLDOWN_SECONDS
        and memory.share >= 1
        and all(
            -inf < each.sent <= now
            and (
                each.answered is None
                or each.answered == -inf
                # Later than now: an earlier process found it under way.
                or each.sent <= each.answered <= now + UNDER_WAY_SECONDS
            )
            for each in memory.requests
        )
    )


@dataclass(slots=True, eq=False)
class Slot:
    """One request's place in the window."""

    priority: Priority
    begun: float = -inf
    before: float = -inf
    """When the request before it was begun."""
    answered: float | None = None
    record: int | None = None
    """Its number in the file that outlives the process."""


class SlidingWindow:
    """Who may ask now. Not safe to share between threads."""

    def __init__(self, limit: Limit) -> None:
        self._limit = limit
        self._first_limit = limit
        self._known_since = -inf
        self._in_flight: int = 0
        self._answered: deque[Slot] = deque()
        self._forgotten: deque[float] = deque(maxlen=FORGOTTEN_REMEMBERED)
        self._last_begun = -inf
        self._last_granted = dict.fromkeys(Priority, -inf)
        self._held = dict.fromkeys(Priority, 0)
        self._closed_until = -inf
        self._share = float(limit.share)
        self._share_changed = -inf

    def go_on(self, memory: WindowMemory, now: float) -> None:
        """Take over what was asked before: the service has not forgotten it either.

        `memory` is one that is believed, and nothing was asked of this window yet.
        """
        self._known_since = memory.since
        sent = [each.sent for each in memory.requests if each.answered != -inf]
        self._last_begun = max(sent, default=-inf)
        ended = [each.answered for each in memory.requests if each.answered is not None]
        for answered in sorted(ended):
            if now - self._limit.per < answered:
                slot = Slot(Priority.RECONNECT, answered=answered)
                self._held[slot.priority] += 1
                self._answered.append(slot)
        if now < memory.closed_until:
            self._closed_until = memory.closed_until
        if memory.share < self._share:
            # Others on the address still do.
            self._share, self._share_changed = memory.share, memory.closed_until

    def change(self, limit: Limit) -> None:
        """Go on under another limit: what was asked, and what was refused, still counts."""
        if self._share >= self._limit.share or self._share > limit.share:
            self._share = float(limit.share)
        if limit.per > self._limit.per:
            # Those that lie within the longer period; `_forget` lets go of the rest.
            while self._forgotten:
                self._hold_earlier(self._forgotten.pop())
        self._limit = limit

    def allowed(self, now: float) -> int:
        """Requests per period that we allow ourselves now: less than our share after refusals.

        A refusal that we did not cause means that others use the address, so it halves what we
        take; one request a period comes back for every period without another.
        """
        if self._share < self._limit.share:
            periods = max(0.0, (now - self._share_changed) / self._limit.per)
            return floor(min(self._limit.share, self._share + periods))
        return self._limit.share

    def used(self, now: float) -> int:
        """Places held now."""
        self._forget(now)
        return self._in_flight + len(self._answered)

    @property
    def share(self) -> int:
        """Requests per period that we allow ourselves when nothing was refused."""
        return self._limit.share

    @property
    def per(self) -> float:
        """Seconds of a period."""
        return self._limit.per

    @property
    def share_after_refusal(self) -> float:
        """Requests a period from the end of the latest cooldown on, as `go_on` takes it."""
        return self._share

    @property
    def closed_until(self) -> float:
        """End of the cooldown; minus infinity when there never was one."""
        return self._closed_until

    def delay(self, now: float, waiting: Collection[Priority] = ()) -> float:
        """Seconds until the next of those that wait may go; infinity where only an answer helps."""
        delay = max(self._delay(now, waiting), self._next_in_first_period(now) - now)
        if not waiting or set(waiting) - {Priority.POLL, Priority.RECONCILE}:
            return delay
        delays = []
        if Priority.POLL in waiting:
            delays.append(self._next_poll(now) - now)
        if Priority.RECONCILE in waiting:
            spare = max(1, floor(self.allowed(now) * SPARE_PART))
            delays.append(self._until_fewer_than(spare, now))
        return max(delay, min(delays))

    def _delay(self, now: float, waiting: Collection[Priority]) -> float:
        if now < self._closed_until:
            return self._closed_until - now
        allowed = self.allowed(now)
        used = self.used(now)
        if used >= allowed:
            return self._until_fewer_than(allowed, now)
        just_opened = now < self._closed_until + self._limit.per
        evenly = used >= self._limit.at_once * allowed and LISTING.isdisjoint(waiting)
        if just_opened or evenly:
            # One by one. What goes in one moment comes free in one moment, and then those who
            # wait in crowds would take it all before the one that asks for page after page has
            # its answer. Pages go in one go: the list moves while it is read.
            return max(0.0, self._last_begun + self._limit.per / allowed - now)
        return 0.0

    def _until_fewer_than(self, places: int, now: float) -> float:
        """Seconds until fewer places are held; infinity where only an answer helps."""
        surplus = self.used(now) - places
        if surplus < 0:
            return 0.0
        if surplus >= len(self._answered):
            return inf
        blocking = self._answered[surplus].answered
        return max(0.0, (blocking or 0.0) + self._limit.per - now)

    def _next_in_first_period(self, now: float) -> float:
        """The earliest time for another request in the period after that of which we know.

        A period of the service's that begins before it may hold the whole share of an earlier
        process, so there is only the rest of the limit. One goes at once, as the first page tells
        what was over by then, and the others evenly from the second place on: then processes that
        end and start in quick succession, and know nothing of each other, together take no more.
        Periods of the service's that begin later hold nothing that we do not know.
        """
        until = self._known_since + self._limit.per
        if now >= until:
            return now
        # Earlier processes had the limit that this one began with. A reload may have made the
        # period longer.
        theirs = self._first_limit.share * ceil(self._limit.per / self._first_limit.per)
        left = self._limit.requests - theirs
        if left < 1:
            return until
        if self._last_begun < self._known_since:
            return now
        gap = self._limit.per / left
        return min(until, max(self._known_since + 2 * gap, self._last_begun + gap))

    def _next_poll(self, now: float) -> float:
        """The earliest time for another poll.

        Evenly: a crowd of them in one moment would come free in one moment, and leave no poll for
        the rest of the period.
        """
        polls = max(1, floor(self.allowed(now) * MOST_POLLING_PART))
        return self._last_granted[Priority.POLL] + self._limit.per / polls

    def choose(self, waiting: set[Priority], now: float) -> Priority:
        """Which priority goes next: first one below its guarantee, then the most urgent."""
        allowed = self.allowed(now)
        if now < self._next_poll(now):
            # Where it is the only one, anyone who asks has waited for it.
            waiting = waiting - {Priority.POLL} or waiting
        neglected = [
            p
            for p in waiting
            if GUARANTEED_PART[p] and self._held[p] < max(1, floor(allowed * GUARANTEED_PART[p]))
        ]
        if neglected:
            # The one that waits longest for its turn, so that a tiny share goes round as well.
            return min(neglected, key=lambda p: (self._last_granted[p], p))
        return min(waiting)

    def begin(self, priority: Priority, now: float) -> Slot:
        """A request is about to be sent."""
        self._in_flight += 1
        self._held[priority] += 1
        slot = Slot(priority, begun=now, before=self._last_begun)
        self._last_begun = now
        self._last_granted[priority] = now
        return slot

    def answer(self, slot: Slot, now: float) -> None:
        """Its answer has begun, or it failed: the service has counted it by now."""
        if slot.answered is None:
            slot.answered = now
            self._in_flight -= 1
            # Those that an earlier process left under way hold theirs until after now.
            index = len(self._answered)
            while index and (self._answered[index - 1].answered or 0.0) > now:
                index -= 1
            self._answered.insert(index, slot)

    def withdraw(self, slot: Slot) -> None:
        """It was never sent, so it holds no place."""
        if slot.answered is None:
            slot.answered = -inf
            self._in_flight -= 1
            self._held[slot.priority] -= 1
            if self._last_begun == slot.begun:
                self._last_begun = slot.before

    def refuse(self, now: float, retry_after: float | None, begun: float = inf) -> None:
        """The service answered 429: close for everyone, and take less afterwards.

        `begun` is when the refused request was: one that was under way already when another was
        refused says nothing that was not known.
        """
        if now >= self._closed_until and begun >= self._share_changed:
            self._share = max(1.0, self.allowed(now) / 2)
        wait = self._limit.cooldown if retry_after is None else retry_after
        self._closed_until = max(self._closed_until, now + wait)
        self._share_changed = self._closed_until

    def _forget(self, now: float) -> None:
        while self._answered:
            first = self._answered[0]
            if first.answered is None or first.answered + self._limit.per > now:
                break
            self._held[first.priority] -= 1
            self._answered.popleft()
            self._forgotten.append(first.answered)

    def _hold_earlier(self, answered: float) -> None:
        """Hold the place of a request that was answered before all that are held."""
        self._held[Priority.RECONNECT] += 1
        self._answered.appendleft(Slot(Priority.RECONNECT, answered=answered))
