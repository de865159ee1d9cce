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
    """Polling one workflow that neither a stream nor the list shows."""
    CAUSE = 3
    NAMED_STREAM = 4
    """The first stream of a workflow that a user named: before those that only the list shows."""
    NEW_STREAM = 5
    RECONNECT = 6
    RUNNERS = 7
    """Reading the runners, about once a minute; a busy budget must not prevent it for long."""
    RECONCILE = 8
    """Searching for missed outcomes: only if nothing else waits, and never with the last slots."""


LISTING: Final = frozenset({Priority.LIST_FIRST_PAGE, Priority.LIST_DEEPER_PAGE})


@dataclass(frozen=True, slots=True)
class Limit:
    """The service's limit, and how much of it is left to others.

    `requests` per `per` seconds, then refusals for `cooldown` seconds. `reserve` is the part
    (0 to 1) that we leave to the user's own programs on the same address.
    """

    requests: int = 40
    per: float = 10.0
    cooldown: float = 10.0
    reserve: float = 0.25
    at_once: float = 0.5
    """The part of our share (0 to 1) that streams and causes may use at one moment; further ones
    are sent one by one."""

    @property
    def share(self) -> int:
        """How many requests we allow ourselves per period; at least one."""
        # 10 x (1 - 0.9) is 0.9999999999999998 in floating point, but should be 1.
        return max(1, floor(self.requests * (1 - self.reserve) + 1e-9))


MAX_EARLIER_COOLDOWN_SECONDS: Final = 3600.0
"""Seconds. A cooldown of an earlier process that would last longer is an error in its file."""

UNDER_WAY_SECONDS: Final = 15.0
"""Seconds after sending by which the service has counted a request, answered or not: the client
does not wait longer for the headers of an answer (`client.Timeouts.headers`)."""

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
"""The part of the share (0 to 1) that each priority is guaranteed, whatever the others want; at
least one request, unless it is 0.

Together these are half of the share. If streams have to wait for their part, there are too many
workflows for streams to matter.
"""

SPARE_PART: Final = 0.9
"""The part of the share (0 to 1) up to which reconciling may use it; one request at least."""

MOST_POLLING_PART: Final = 0.5
"""The part of the share (0 to 1) that polling may use, evenly distributed; at least one request per
period.

Each answer is about a single workflow, and there is always another one to poll. Without a limit,
causes and streams would never get more than their guarantees.
"""


FORGOTTEN_REMEMBERED: Final = 1000
"""How many requests older than a period are remembered, in case a reload makes the period
longer."""


@dataclass(frozen=True, slots=True)
class EarlierRequest:
    """A request of an earlier process; times in seconds of the monotonic clock."""

    sent: float
    answered: float | None
    """When the answer began. None: the request was still running when that process ended. Minus
    infinity: it was never sent."""


@dataclass(frozen=True, slots=True)
class WindowMemory:
    """What is known of requests before this process; the default: there were none."""

    requests: tuple[EarlierRequest, ...] = ()
    since: float = -inf
    """`requests` has all requests that were sent after this time."""
    closed_until: float = -inf
    """End of a cooldown; minus infinity if there was none."""
    share: float = inf
    """Our share at `closed_until`, after refusals; infinity if there were none."""


def believed(memory: WindowMemory, now: float) -> WindowMemory:
    """The memory to use at this moment: an impossible memory is ignored.

    A memory with times in the future is from another clock, or damaged.
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
    # The comparisons are written so that NaN fails them.
    return (
        memory.since <= now
        and memory.closed_until <= now + MAX_EARLIER_COOLDOWN_SECONDS
        and memory.share >= 1
        and all(
            -inf < each.sent <= now
            and (
                each.answered is None
                or each.answered == -inf
                # The time may be later than now: an earlier process found the request still
                # running.
                or each.sent <= each.answered <= now + UNDER_WAY_SECONDS
            )
            for each in memory.requests
        )
    )


@dataclass(slots=True, eq=False)
class Slot:
    """One request's slot in the window."""

    priority: Priority
    begun: float = -inf
    before: float = -inf
    """When the previous request was begun; monotonic seconds."""
    answered: float | None = None
    record: int | None = None
    """The number of its record in the journal; None: it has none."""


class SlidingWindow:
    """Decides which request may be sent now. Not safe to share between threads."""

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
        """Take over earlier requests, because the service remembers them too.

        `memory` comes from `believed`, and this window was not used yet.
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
            # Other programs on the address still use it.
            self._share, self._share_changed = memory.share, memory.closed_until

    def change(self, limit: Limit) -> None:
        """Use another limit; earlier requests and refusals still count."""
        if self._share >= self._limit.share or self._share > limit.share:
            self._share = float(limit.share)
        if limit.per > self._limit.per:
            # Restore requests within the longer period; `_forget` removes the rest.
            while self._forgotten:
                self._hold_earlier(self._forgotten.pop())
        self._limit = limit

    def allowed(self, now: float) -> int:
        """How many requests per period we allow ourselves now: after refusals, less than our share.

        A refusal that we did not cause means that others use the address, so it halves what we use.
        Each period without another refusal adds one request per period.
        """
        if self._share < self._limit.share:
            periods = max(0.0, (now - self._share_changed) / self._limit.per)
            return floor(min(self._limit.share, self._share + periods))
        return self._limit.share

    def used(self, now: float) -> int:
        """How many slots are held now."""
        self._forget(now)
        return self._in_flight + len(self._answered)

    @property
    def share(self) -> int:
        """How many requests per period we allow ourselves if nothing was refused."""
        return self._limit.share

    @property
    def per(self) -> float:
        """Length of a period in seconds."""
        return self._limit.per

    @property
    def share_after_refusal(self) -> float:
        """Requests per period from the end of the latest cooldown on, for `WindowMemory`."""
        return self._share

    @property
    def closed_until(self) -> float:
        """End of the cooldown; minus infinity if there never was one."""
        return self._closed_until

    def delay(self, now: float, waiting: Collection[Priority] = ()) -> float:
        """Seconds until the next waiting request may be sent; infinity if only an answer helps."""
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
            # These are sent one by one. Slots that are taken together become free together, and
            # then many waiting requests would take them all before the reader of the list has the
            # answer for its next page. Pages are sent without gaps, because the list moves while it
            # is read.
            return max(0.0, self._last_begun + self._limit.per / allowed - now)
        return 0.0

    def _until_fewer_than(self, places: int, now: float) -> float:
        """Seconds until fewer slots are held; infinity if only an answer helps."""
        surplus = self.used(now) - places
        if surplus < 0:
            return 0.0
        if surplus >= len(self._answered):
            return inf
        blocking = self._answered[surplus].answered
        return max(0.0, (blocking or 0.0) + self._limit.per - now)

    def _next_in_first_period(self, now: float) -> float:
        """The earliest time for the next request in the first period after an unknown past.

        A period of the service that began earlier may contain the whole share of an earlier
        process, so only the rest of the limit is free. One request is sent at once, because the
        first page shows what had already ended. The others are evenly spaced from the second slot
        on: then processes that end and start in quick succession, without knowledge of each other,
        together use no more. Later periods of the service contain only known requests.
        """
        until = self._known_since + self._limit.per
        if now >= until:
            return now
        # Earlier processes had the limit with which this one began. A reload may have made the
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

        Polls are evenly spaced: many at one moment would become free at one moment, and leave no
        poll for the rest of the period.
        """
        polls = max(1, floor(self.allowed(now) * MOST_POLLING_PART))
        return self._last_granted[Priority.POLL] + self._limit.per / polls

    def choose(self, waiting: set[Priority], now: float) -> Priority:
        """Choose the next priority: first one below its guarantee, then the most urgent."""
        allowed = self.allowed(now)
        if now < self._next_poll(now):
            # If polls are the only ones waiting, `delay` has already enforced their spacing.
            waiting = waiting - {Priority.POLL} or waiting
        neglected = [
            p
            for p in waiting
            if GUARANTEED_PART[p] and self._held[p] < max(1, floor(allowed * GUARANTEED_PART[p]))
        ]
        if neglected:
            # The one that has waited longest for its turn, so that even a tiny share reaches all.
            return min(neglected, key=lambda p: (self._last_granted[p], p))
        return min(waiting)

    def begin(self, priority: Priority, now: float) -> Slot:
        """Take a slot for a request that is about to be sent."""
        self._in_flight += 1
        self._held[priority] += 1
        slot = Slot(priority, begun=now, before=self._last_begun)
        self._last_begun = now
        self._last_granted[priority] = now
        return slot

    def answer(self, slot: Slot, now: float) -> None:
        """Note that the answer has begun, or the request failed.

        The service has counted it by now.
        """
        if slot.answered is None:
            slot.answered = now
            self._in_flight -= 1
            # Requests that were still running when an earlier process ended hold their slots until
            # a time after now.
            index = len(self._answered)
            while index and (self._answered[index - 1].answered or 0.0) > now:
                index -= 1
            self._answered.insert(index, slot)

    def withdraw(self, slot: Slot) -> None:
        """Free the slot of a request that was never sent."""
        if slot.answered is None:
            slot.answered = -inf
            self._in_flight -= 1
            self._held[slot.priority] -= 1
            if self._last_begun == slot.begun:
                self._last_begun = slot.before

    def refuse(self, now: float, retry_after: float | None, begun: float = inf) -> None:
        """Note an answer 429: close for all requests, and use less afterwards.

        `begun` is when the refused request was begun: one that was already running when another was
        refused says nothing new.
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
        """Hold the slot of a request that was answered before all held ones."""
        self._held[Priority.RECONNECT] += 1
        self._answered.appendleft(Slot(Priority.RECONNECT, answered=answered))
