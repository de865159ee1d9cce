"""The arithmetic of the rate limit, against a service that counts when it likes."""

import itertools
from bisect import bisect_left
from collections import Counter, deque
from dataclasses import dataclass, replace
from math import floor, inf, nextafter

from hypothesis import example, given, settings
from hypothesis import strategies as st

from exporter.budget.sliding_window import (
    GUARANTEED_PART,
    MOST_POLLING_PART,
    SPARE_PART,
    Limit,
    Priority,
    SlidingWindow,
    Slot,
    WindowMemory,
    believed,
)

limits = st.builds(
    Limit,
    requests=st.integers(1, 60),
    per=st.floats(0.5, 20),
    cooldown=st.floats(0, 20),
    reserve=st.floats(0, 0.9),
)

arrivals = st.lists(
    st.tuples(
        st.floats(0, 3),  # seconds since the arrival before
        st.sampled_from(Priority),
        st.floats(0, 30),  # latency until its answer begins
        st.floats(0, 1),  # where within that the service counts it
    ),
    max_size=120,
)


@dataclass
class Asked:
    priority: Priority
    arrived: float
    begun: float
    counted: float


def simulate(limit: Limit, demand: list[tuple[float, Priority, float, float]]) -> list[Asked]:
    """Everybody queues up as they arrive and asks as the window lets them."""
    window = SlidingWindow(limit)
    now = 0.0
    due = []
    for gap, priority, latency, part in demand:
        now += gap
        due.append((now, priority, latency, part))
    clock = 0.0
    waiting: list[tuple[float, Priority, float, float]] = []
    flying: list[tuple[float, Slot]] = []
    asked: list[Asked] = []
    while due or waiting:
        while due and due[0][0] <= clock:
            waiting.append(due.pop(0))
        for answer in sorted((f for f in flying if f[0] <= clock), key=lambda f: f[0]):
            flying.remove(answer)
            window.answer(answer[1], answer[0])
        delay = window.delay(clock, {w[1] for w in waiting}) if waiting else float("inf")
        if waiting and delay <= 0:
            priority = window.choose({w[1] for w in waiting}, clock)
            arrived, _, latency, part = next(w for w in waiting if w[1] is priority)
            waiting.remove(next(w for w in waiting if w[1] is priority))
            flying.append((clock + latency, window.begin(priority, clock)))
            asked.append(Asked(priority, arrived, clock, clock + latency * part))
            continue
        events = [clock + delay] + [d[0] for d in due[:1]] + [f[0] for f in flying]
        after = min(e for e in events if e > clock)
        assert after < float("inf"), "nobody would ever be let through"
        clock = after
    return asked


@settings(max_examples=200, deadline=None)
@given(limits, arrivals)
def test_no_period_of_the_service_holds_more_than_our_share(
    limit: Limit, demand: list[tuple[float, Priority, float, float]]
) -> None:
    asked = simulate(limit, demand)
    assert len(asked) == len(demand)
    counted = sorted(a.counted for a in asked)
    for start in counted:
        # Half open: what the service counted exactly one period ago it has forgotten.
        within = bisect_left(counted, start + limit.per) - bisect_left(counted, start)
        assert within <= limit.share


@settings(max_examples=200, deadline=None)
@given(limits, arrivals)
def test_first_come_first_served_within_a_purpose(
    limit: Limit, demand: list[tuple[float, Priority, float, float]]
) -> None:
    asked = simulate(limit, demand)
    for priority in Priority:
        arrived = [a.arrived for a in asked if a.priority is priority]
        assert arrived == sorted(arrived)


guaranteed = [priority for priority in Priority if priority is not Priority.RECONCILE]


@given(st.integers(1, 60), st.sets(st.sampled_from(guaranteed), min_size=1))
def test_nobody_starves(requests: int, waiting: set[Priority]) -> None:
    """With everyone always waiting, each purpose goes at least once in two periods."""
    window = SlidingWindow(Limit(requests=requests, per=10.0, reserve=0.0))
    now = 0.0
    turns: list[tuple[float, Priority]] = []
    for _ in range(len(waiting) * 2 * requests + 20):
        now += max(0.0, window.delay(now, waiting))
        priority = window.choose(waiting, now)
        window.answer(window.begin(priority, now), now)
        turns.append((now, priority))
    for priority in waiting:
        times = [t for t, p in turns if p is priority]
        # A tiny share goes round: as many periods as it takes to serve everyone once.
        longest = 10.0 * (1 + -(-len(waiting) // requests))
        assert times
        assert times[0] <= longest
        assert all(b - a <= longest for a, b in itertools.pairwise(times))


@given(st.sampled_from(Priority), st.sampled_from(Priority))
def test_the_more_urgent_goes_first_once_both_have_their_guarantee(
    one: Priority, other: Priority
) -> None:
    window = SlidingWindow(Limit(requests=40, reserve=0.25))
    for _ in range(3):  # the largest guarantee
        for priority in {one, other}:
            window.answer(window.begin(priority, 0.0), 0.0)
    # All of those still hold their places, and the next poll is due.
    assert window.choose({one, other}, 5.0) is min(one, other)


def test_all_guarantees_together_leave_half_of_the_share_to_the_most_urgent() -> None:
    assert set(GUARANTEED_PART) == set(Priority)
    assert sum(GUARANTEED_PART.values()) <= 0.5 + 1e-9


@settings(max_examples=200, deadline=None)
@given(
    limits,
    # A poll that is not due yet does not wait for its turn.
    st.sets(st.sampled_from([p for p in guaranteed if p is not Priority.POLL]), min_size=1),
    st.integers(0, 80),
)
def test_reconciling_goes_only_when_nobody_else_waits(
    limit: Limit, others: set[Priority], requests: int
) -> None:
    window = SlidingWindow(limit)
    now = 0.0
    waiting = others | {Priority.RECONCILE}
    for _ in range(requests):
        while (delay := window.delay(now, waiting)) > 0:
            now = max(now + delay, nextafter(now, inf))
        priority = window.choose(waiting, now)
        assert priority is not Priority.RECONCILE
        window.answer(window.begin(priority, now), now)


@settings(max_examples=200, deadline=None)
@given(limits, st.lists(st.sampled_from(guaranteed), max_size=80))
def test_reconciling_leaves_places_to_whoever_comes(limit: Limit, before: list[Priority]) -> None:
    window = SlidingWindow(limit)
    now = 0.0
    for priority in before:
        now += window.delay(now, {priority})
        window.answer(window.begin(priority, now), now)
    most = max(1, floor(limit.share * SPARE_PART))
    for _ in range(3 * limit.share):
        while (delay := window.delay(now, {Priority.RECONCILE})) > 0:
            now = max(now + delay, nextafter(now, inf))
        assert window.used(now) < most
        window.answer(window.begin(Priority.RECONCILE, now), now)
    # It never waits for ever, and another that comes then goes at once, if there is any room.
    assert most == limit.share or window.delay(now, {Priority.LIST_FIRST_PAGE}) == 0.0


others = st.sets(st.sampled_from([p for p in Priority if p is not Priority.POLL]))


@settings(max_examples=200, deadline=None)
@given(limits, others, st.one_of(st.just(0.0), st.floats(0, 2)))
def test_polls_go_evenly_and_take_no_more_than_their_part(
    limit: Limit, others: set[Priority], latency: float
) -> None:
    """However many wait, and no matter who else does."""
    waiting = {Priority.POLL} | others
    window = SlidingWindow(limit)
    most = max(1, floor(limit.share * MOST_POLLING_PART))
    now = 0.0
    polls: list[float] = []
    flying: deque[tuple[float, Slot]] = deque()
    while len(polls) < 40:
        while flying and flying[0][0] <= now:
            answered, place = flying.popleft()
            window.answer(place, answered)
        delay = window.delay(now, waiting)
        if delay > 0:
            now = min([now + delay, *(f[0] for f in list(flying)[:1])])
            continue
        priority = window.choose(waiting, now)
        flying.append((now + latency, window.begin(priority, now)))
        if priority is Priority.POLL:
            polls.append(now)
    gaps = [after - before for before, after in itertools.pairwise(polls)]
    assert min(gaps) >= limit.per / most - 1e-6
    if not others and latency == 0:
        # Alone, and with nothing under way, they get all of their part.
        assert max(gaps) <= limit.per / most + 1e-6


def test_streams_and_causes_get_the_rest_while_polls_never_end() -> None:
    window = SlidingWindow(Limit())
    waiting = {Priority.POLL, Priority.CAUSE, Priority.NEW_STREAM}
    now = 0.0
    asked: Counter[Priority] = Counter()
    while now < 100.0:
        now += window.delay(now, waiting)
        priority = window.choose(waiting, now)
        window.answer(window.begin(priority, now), now)
        asked[priority] += now >= 20.0
    assert asked[Priority.POLL] <= 8 * 15
    assert asked[Priority.CAUSE] + asked[Priority.NEW_STREAM] >= 8 * 14


def test_a_page_of_the_list_does_not_wait_behind_polls() -> None:
    """However long they have been at it: half of the window is free for pages in one go."""
    window = SlidingWindow(Limit())
    now = 0.0
    for _ in range(100):
        now += window.delay(now, {Priority.POLL})
        window.answer(window.begin(Priority.POLL, now), now)
    for _ in range(14):
        assert window.delay(now, {Priority.LIST_DEEPER_PAGE, Priority.POLL}) == 0.0
        assert window.choose({Priority.LIST_DEEPER_PAGE, Priority.POLL}, now) is (
            Priority.LIST_DEEPER_PAGE
        )
        window.answer(window.begin(Priority.LIST_DEEPER_PAGE, now), now)


@given(st.one_of(st.none(), st.floats(1, 3600)), st.floats(0, 100))
def test_a_refusal_closes_the_door_for_everyone(retry_after: float | None, now: float) -> None:
    limit = Limit()
    window = SlidingWindow(limit)
    place = window.begin(Priority.RECONNECT, now)
    window.answer(place, now)
    window.refuse(now, retry_after)
    wait = limit.cooldown if retry_after is None else retry_after
    assert abs(window.delay(now) - wait) < 1e-6


def test_after_a_cooldown_demand_returns_one_by_one() -> None:
    window = SlidingWindow(Limit())
    window.refuse(0.0, None)
    now = 0.0
    begun: list[float] = []
    while len(begun) < 10:
        now += window.delay(now)
        window.answer(window.begin(Priority.NEW_STREAM, now), now)
        begun.append(now)
    assert begun[0] == 10.0
    gaps = [b - a for a, b in itertools.pairwise(begun)]
    assert min(gaps) >= 0.3


def test_past_the_part_that_may_go_at_once_all_go_evenly() -> None:
    window = SlidingWindow(Limit())
    now = 0.0
    begun: list[float] = []
    while len(begun) < 200:
        now += window.delay(now)
        window.answer(window.begin(Priority.NEW_STREAM, now), now)
        begun.append(now)
    assert begun[14] == 0.0
    assert min(b - a for a, b in itertools.pairwise(begun[14:])) >= 0.33
    # None is lost to it, once what went in one moment is forgotten.
    assert max(b - a for a, b in itertools.pairwise(begun[30:])) <= 0.34


def test_pages_go_in_one_go() -> None:
    window = SlidingWindow(Limit())
    pages = {Priority.LIST_DEEPER_PAGE}
    for _ in range(30):
        assert window.delay(0.0, pages) == 0.0
        window.answer(window.begin(Priority.LIST_DEEPER_PAGE, 0.0), 0.0)
    assert window.delay(0.0, pages) == 10.0


def test_a_place_that_was_not_used_holds_nobody_up() -> None:
    window = SlidingWindow(Limit(at_once=0.0))
    window.answer(window.begin(Priority.NEW_STREAM, 0.0), 0.0)
    assert window.delay(0.4) == 0.0
    window.withdraw(window.begin(Priority.NEW_STREAM, 0.4))
    assert window.delay(0.4) == 0.0


def test_refusals_halve_the_share_and_quiet_gives_it_back() -> None:
    window = SlidingWindow(Limit())
    assert window.allowed(0.0) == 30
    window.refuse(0.0, None)
    assert window.allowed(10.0) == 15
    assert window.allowed(60.0) == 20
    # A refusal of what was under way already adds nothing.
    window = SlidingWindow(Limit())
    window.refuse(0.0, None)
    window.refuse(0.1, None)
    assert window.allowed(10.0) == 15
    assert window.allowed(1000.0) == 30


def test_requests_under_way_together_are_one_refusal_whatever_the_service_asks_to_wait() -> None:
    window = SlidingWindow(Limit())
    under_way = [window.begin(Priority.NEW_STREAM, now / 10) for now in range(15)]
    for number, place in enumerate(under_way):
        now = 2.0 + number / 10
        window.answer(place, now)
        window.refuse(now, 0.0, place.begun)
    assert window.allowed(3.4) == 15
    # One that was begun after that is another.
    window.refuse(20.0, 0.0, 19.0)
    assert window.allowed(20.0) == 8


@settings(max_examples=200, deadline=None)
@given(limits, st.lists(st.tuples(st.floats(0, 60), st.floats(0, 30)), max_size=20))
def test_refusals_never_leave_nothing_nor_more_than_the_share(
    limit: Limit, refusals: list[tuple[float, float]]
) -> None:
    window = SlidingWindow(limit)
    now = 0.0
    for gap, retry_after in refusals:
        now += gap
        window.refuse(now, retry_after, now)
        assert 1 <= window.allowed(now) <= limit.share
        # While it is closed nobody goes, not even the most urgent.
        if now + retry_after > now:
            assert window.delay(now, {Priority.LIST_FIRST_PAGE}) > 0
    # Whatever has happened, quiet gives it all back.
    assert window.allowed(max(now, window.closed_until) + limit.per * limit.share) == limit.share


def test_a_smaller_share_outlives_the_process_and_grows_on() -> None:
    before = SlidingWindow(Limit())
    before.refuse(100.0, None)
    for now in (105.0, 112.0, 130.0, 500.0):
        after = SlidingWindow(Limit())
        memory = WindowMemory(closed_until=before.closed_until, share=before.share_after_refusal)
        after.go_on(believed(memory, now), now)
        assert after.allowed(now) == before.allowed(now)
        assert after.delay(now) == before.delay(now)


@given(st.floats(), st.floats() | st.floats(1, 40))
@example(-inf, 5.0)
def test_a_file_that_is_wrong_leaves_one_request_at_least(until: float, share: float) -> None:
    window = SlidingWindow(Limit())
    window.go_on(believed(WindowMemory(closed_until=until, share=share), 1000.0), 1000.0)
    assert 1 <= window.allowed(1000.0) <= 30


def test_never_less_than_one() -> None:
    window = SlidingWindow(Limit())
    now = 0.0
    for _ in range(20):
        window.refuse(now, None)
        now += 11
    assert window.allowed(now) >= 1


def test_a_place_that_was_not_used_is_given_back() -> None:
    window = SlidingWindow(Limit(requests=1, reserve=0.0))
    place = window.begin(Priority.CAUSE, 0.0)
    assert window.delay(0.0) == float("inf")
    window.withdraw(place)
    assert window.delay(0.0) == 0.0


@settings(max_examples=200)
@given(short=limits, longer=limits, times_longer=st.floats(1, 20), seconds=st.floats(0.1, 60))
def test_a_longer_period_counts_what_was_asked_before_it_was_known(
    short: Limit, longer: Limit, times_longer: float, seconds: float
) -> None:
    longer = replace(longer, per=short.per * times_longer)
    window = SlidingWindow(short)
    sent = _ask_for(window, 0.0, min(seconds, 20 * short.per))
    change = sent[-1]
    window.change(longer)
    for at in _ask_for(window, change, change + longer.per):
        sent.append(at)
        within = sum(at - longer.per + 1e-6 < other for other in sent)
        assert within <= longer.share


def _ask_for(window: SlidingWindow, now: float, until: float) -> list[float]:
    """Ask for pages as fast as it goes, each answered at once; when they were sent."""
    sent = []
    while now <= until:
        delay = window.delay(now, {Priority.LIST_FIRST_PAGE})
        if delay > 0:
            now = max(now + delay, nextafter(now, inf))
            continue
        window.answer(window.begin(Priority.LIST_FIRST_PAGE, now), now)
        sent.append(now)
    return sent
