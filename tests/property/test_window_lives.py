"""One process after another, and a service that remembers what all of them have asked."""

import tempfile
from bisect import bisect_left
from dataclasses import dataclass, replace
from math import inf, nan, nextafter
from pathlib import Path

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from exporter.budget.budget import WINDOWS_REMEMBERED
from exporter.budget.journal import RequestJournal
from exporter.budget.sliding_window import (
    UNDER_WAY_SECONDS,
    EarlierRequest,
    Limit,
    Priority,
    SlidingWindow,
    Slot,
    WindowMemory,
    believed,
)

BOOT = bytes(range(16))

limits = st.builds(
    Limit,
    requests=st.integers(1, 20),
    per=st.floats(0.5, 20),
    reserve=st.one_of(st.just(0.0), st.just(0.25), st.floats(0, 0.9)),
)


@dataclass(frozen=True)
class Demand:
    """One who wants to ask."""

    gap: float
    """Seconds since the arrival before."""
    priority: Priority
    latency: float
    """Until its answer begins."""
    part: float
    """Of the latency, until the service counts it."""


def crowd(gap: float, count: int, priority: Priority, latency: float, part: float) -> list[Demand]:
    """Those who come together, after a while, and fare alike."""
    return [Demand(gap if not n else 0.0, priority, latency, part) for n in range(count)]


# Alone they would seldom fill a window.
demands = st.lists(
    st.builds(
        crowd,
        gap=st.one_of(st.just(0.0), st.floats(0, 30)),
        count=st.integers(1, 20),
        priority=st.sampled_from([Priority.LIST_FIRST_PAGE, *Priority]),
        latency=st.one_of(st.just(0.0), st.floats(0, UNDER_WAY_SECONDS)),
        part=st.one_of(st.just(1.0), st.floats(0, 1)),
    ),
    max_size=4,
).map(lambda crowds: [each for some in crowds for each in some])


@dataclass(frozen=True)
class Life:
    """One process, and what came before it."""

    away: float
    """Seconds since the end of the process before."""
    forgets: bool
    """Whether the file was lost meanwhile."""
    demand: list[Demand]
    lasts: float


lives = st.lists(
    st.builds(
        Life,
        away=st.one_of(st.just(0.0), st.floats(0, 30)),
        forgets=st.booleans(),
        demand=demands,
        lasts=st.one_of(st.floats(0, 3), st.floats(0, 60)),
    ),
    min_size=2,
    max_size=4,
)


@dataclass
class Asked:
    sent: float
    counted: float
    """As far as the processes can tell, by its answer at the latest."""


class Process:
    """One life of the exporter, with what it leaves on the disk."""

    def __init__(self, limit: Limit, path: Path, now: float, *, fresh: bool = False) -> None:
        self.asked: list[Asked] = []
        self._window = SlidingWindow(limit)
        self._file = RequestJournal(path, BOOT)
        memory = self._file.memory
        if memory is not None:
            memory = believed(memory, now)
        else:
            memory = WindowMemory() if fresh else WindowMemory(since=now)
        assert self._file.begin(memory, WINDOWS_REMEMBERED * limit.requests)
        self._window.go_on(memory, now)
        self._flying: list[tuple[float, Slot]] = []

    def live(self, demand: list[Demand], now: float, end: float) -> None:
        """Ask as the window lets it, until all is asked or it is killed."""
        due, waiting = list(demand), list[Demand]()
        arrival = now
        while due or waiting:
            while due and arrival + due[0].gap <= now:
                arrival += due[0].gap
                waiting.append(due.pop(0))
            self._answer(now)
            purposes = {each.priority for each in waiting}
            delay = self._window.delay(now, purposes) if waiting else inf
            if waiting and delay <= 0:
                self._send(waiting, self._window.choose(purposes, now), now)
                continue
            events = [now + delay, *(f[0] for f in self._flying)]
            if due:
                events.append(arrival + due[0].gap)
            now = max(min(events, default=inf), nextafter(now, inf))
            assert now < inf, "nobody would ever be let through"
            if now > end:
                break
        self._answer(end)

    def _send(self, waiting: list[Demand], priority: Priority, now: float) -> None:
        one = next(each for each in waiting if each.priority is priority)
        waiting.remove(one)
        place = self._window.begin(priority, now)
        place.record = self._file.sent(now)
        self._flying.append((now + one.latency, place))
        self.asked.append(Asked(now, now + one.latency * one.part))

    def _answer(self, now: float) -> None:
        for answered, place in sorted(self._flying, key=lambda each: each[0]):
            if answered <= now:
                self._flying.remove((answered, place))
                self._window.answer(place, answered)
                assert place.record is not None
                self._file.answered(place.record, answered)


def most_in_a_period(counted: list[float], per: float) -> int:
    """Half open: what the service counted exactly one period ago it has forgotten."""
    counted = sorted(counted)
    return max(
        (bisect_left(counted, start + per) - number for number, start in enumerate(counted)),
        default=0,
    )


@settings(max_examples=150, deadline=None)
@given(limits, lives)
def test_no_number_of_lives_is_ever_refused(limit: Limit, lives: list[Life]) -> None:
    """Of requests under way at a kill, those that nobody remembers were counted by the next start;
    those that the file remembers may be counted when the service likes.

    Those that remember nothing last for as long as one of the requests left to them stands for.
    """
    left = limit.requests - limit.share
    least = limit.per / left * (1 + 1e-9) if left else 0.0
    now = 1000.0
    everything: list[Asked] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "requests.window"
        for number, life in enumerate(lives):
            now += life.away
            if life.forgets:
                path.unlink(missing_ok=True)
                for each in everything:
                    each.counted = max(each.sent, min(each.counted, now))
            process = Process(limit, path, now)
            end = inf if number == len(lives) - 1 else now + max(life.lasts, least)
            process.live(life.demand, now, end)
            everything += process.asked
            now = end
    assert most_in_a_period([each.counted for each in everything], limit.per) <= limit.requests


@settings(max_examples=100, deadline=None)
@given(limits, st.lists(st.floats(1, 3), max_size=12), st.floats(0, 3))
def test_lives_in_a_hurry_that_know_nothing_of_each_other(
    limit: Limit, lasts: list[float], away: float
) -> None:
    """One after another, each with more to ask than it can, after one that took all it could."""
    left = limit.requests - limit.share
    gap = limit.per / left * (1 + 1e-9) if left else limit.per
    now = 1000.0
    counted = [now] * limit.share
    with tempfile.TemporaryDirectory() as folder:
        for number, gaps in enumerate([*lasts, inf]):
            process = Process(limit, Path(folder) / str(number), now)
            end = now + gaps * gap
            process.live([Demand(0.0, Priority.LIST_FIRST_PAGE, 0.0, 0.0)] * 60, now, end)
            counted += [each.counted for each in process.asked]
            now = end + away
    assert most_in_a_period(counted, limit.per) <= limit.requests


@settings(max_examples=200, deadline=None)
@given(limits, lives)
def test_lives_that_remember_each_other_take_no_more_than_one(
    limit: Limit, lives: list[Life]
) -> None:
    """Whatever was under way when one ended, and however late the service counts it."""
    now = 1000.0
    everything: list[Asked] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "requests.window"
        for number, life in enumerate(lives):
            now += life.away
            process = Process(limit, path, now, fresh=True)
            end = inf if number == len(lives) - 1 else now + life.lasts
            process.live(life.demand, now, end)
            everything += process.asked
            now = end
    assert most_in_a_period([each.counted for each in everything], limit.per) <= limit.share


schedules = st.lists(
    st.tuples(st.one_of(st.just(0.0), st.floats(0, 5)), st.integers(1, 20)), max_size=20
)


def within_share(limit: Limit, schedule: list[tuple[float, int]], until: float) -> list[float]:
    """When the service counted a life that ends `until` then, and never took more than its share.

    Back from its end, in crowds as large as the share lets them be.
    """
    counted: list[float] = []
    moment = until
    for gap, crowd in schedule:
        moment -= gap
        for _ in range(crowd):
            if most_in_a_period([*counted, moment], limit.per) <= limit.share:
                counted.append(moment)
    return counted


@settings(max_examples=200, deadline=None)
@given(limits, schedules, demands, st.one_of(st.just(0.0), st.floats(0, 30)), st.floats(0, 15))
def test_whatever_a_forgotten_life_did_within_its_share_nothing_is_refused(
    limit: Limit,
    schedule: list[tuple[float, int]],
    demand: list[Demand],
    away: float,
    late: float,
) -> None:
    """Even where the service counts some of it after the start: as many as the limit leaves."""
    start = 1000.0
    before = within_share(limit, schedule, start + late)
    after = sum(moment > start for moment in before)
    assume(after <= limit.requests - limit.share)
    before = [moment - away if moment <= start else moment for moment in before]
    assume(most_in_a_period(before, limit.per) <= limit.share)
    with tempfile.TemporaryDirectory() as folder:
        process = Process(limit, Path(folder) / "requests.window", start)
        process.live(demand, start, inf)
    assert len(process.asked) == len(demand)
    counted = [each.counted for each in process.asked]
    assert most_in_a_period([*before, *counted], limit.per) <= limit.requests
    early = [each for each in process.asked if each.sent < start + limit.per]
    assert len(early) <= limit.requests - limit.share
    assert most_in_a_period(counted, limit.per) <= limit.share


@settings(max_examples=100, deadline=None)
@given(limits, st.integers(0, 60), st.floats(0, 0.9), st.floats(0, 2))
def test_a_limit_that_a_reload_raises_early_leaves_room_for_the_life_before(
    limit: Limit, more: int, reserve: float, after: float
) -> None:
    raised = replace(limit, requests=limit.requests + more, reserve=reserve)
    window = SlidingWindow(limit)
    window.go_on(WindowMemory(since=0.0), 0.0)
    now, asked = 0.0, 0
    change = after * limit.per
    while now < limit.per:
        if now >= change:
            window.change(raised)
        delay = window.delay(now, {Priority.LIST_FIRST_PAGE})
        if delay > 0:
            step = max(now + delay, nextafter(now, inf))
            now = min(step, change) if now < change else step
            continue
        window.answer(window.begin(Priority.LIST_FIRST_PAGE, now), now)
        asked += 1
    assert asked + limit.share <= raised.requests


def test_the_first_period_takes_what_the_limit_leaves() -> None:
    def asked(limit: Limit, until: float) -> list[float]:
        with tempfile.TemporaryDirectory() as folder:
            process = Process(limit, Path(folder) / "requests.window", 0.0)
            many = [Demand(0.0, Priority.LIST_DEEPER_PAGE, 0.0, 0.0)] * 100
            process.live(many, 0.0, until)
        return [each.sent for each in process.asked]

    assert [round(sent, 6) for sent in asked(Limit(), 9.9)] == [0, 2, 3, 4, 5, 6, 7, 8, 9]
    assert asked(Limit(reserve=0.0), 9.9) == []
    # And after it, the whole share; the service has forgotten the first one.
    assert len(asked(Limit(reserve=0.0), 10.0)) == 40
    assert len(asked(Limit(), 10.5)) == 1 + 30


memories = st.builds(
    WindowMemory,
    requests=st.lists(
        st.builds(EarlierRequest, sent=st.floats(), answered=st.none() | st.floats()), max_size=3
    ).map(tuple),
    since=st.floats(),
    closed_until=st.floats(),
    share=st.floats(),
)


@settings(max_examples=300)
@given(memories, st.floats(0, 1e6))
def test_what_cannot_be_right_is_no_memory(memory: WindowMemory, now: float) -> None:
    found = believed(memory, now)
    later = (
        not memory.since <= now
        or any(not each.sent <= now for each in memory.requests)
        or any(
            each.answered is not None and each.answered > now + UNDER_WAY_SECONDS
            for each in memory.requests
        )
    )
    if later:
        assert found == WindowMemory(since=now)
    window = SlidingWindow(Limit())
    window.go_on(found, now)
    assert window.used(now) <= 3
    # Whatever it says, somebody goes in the end.
    assert window.delay(now, {Priority.CAUSE}) <= 3600.0


def test_a_memory_of_another_clock_is_none() -> None:
    right = WindowMemory((EarlierRequest(5.0, 6.0), EarlierRequest(7.0, None)), since=1.0)
    assert believed(right, 8.0).since == 1.0
    for now in (6.9, 0.5):
        assert believed(right, now) == WindowMemory(since=now)
    assert believed(WindowMemory(closed_until=nan), 8.0) == WindowMemory(since=8.0)
