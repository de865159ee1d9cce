"""Whatever workflows do, a difference is never made up, and none that was missed stays missed."""

from collections import Counter
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count
from typing import Literal

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.following.reconciling import Sight, judge
from exporter.interfaces.observations import DOCUMENTED_ENDS
from tests.unit.following.reconciled import World

# The rule alone -----------------------------------------------------------------------------------


@dataclass
class Second:
    """What happens in one second in the list of one status."""

    ends: int
    leaves: int
    """Deleted, or run again."""
    lag: int
    """Seconds until those ends are counted."""
    stale: int
    """Seconds by which a total that is told now is old."""


SETTLE = 5
seconds = st.builds(
    Second,
    ends=st.integers(0, 3),
    leaves=st.integers(0, 2),
    lag=st.integers(0, SETTLE),
    stale=st.integers(0, SETTLE),
)


@dataclass
class Books:
    """Totals and counts at each second."""

    totals: list[int]
    counted: list[int]

    @classmethod
    def of(cls, past: list[Second], before: int, missed: frozenset[int]) -> "Books":
        """What it comes to, with one end of each second in `missed` never counted."""
        totals, counted = [before], [0] * (len(past) + SETTLE + 2)
        for second, happened in enumerate(past):
            totals.append(max(0, totals[-1] + happened.ends - happened.leaves))
            ends = happened.ends - (second in missed and happened.ends > 0)
            for later in range(second + happened.lag + 1, len(counted)):
                counted[later] += ends
        return cls(totals, counted)

    def sight(self, at: int, stale: int) -> Sight:
        """A comparison whose total was told at this second."""
        after = min(at + SETTLE, len(self.counted) - 1)
        return Sight(
            self.totals[max(0, at - stale)], self.counted[max(0, at - SETTLE)], self.counted[after]
        )


def compare(books: Books, past: list[Second], at: list[int]) -> list[int | None]:
    """What each comparison says is missing."""
    baseline: int | None = None
    before: Sight | None = None
    said = []
    for second in at:
        sight = books.sight(second, past[second].stale if second < len(past) else 0)
        verdict = judge(baseline, sight, before)
        baseline, before = verdict.baseline, sight
        said.append(verdict.missing)
    return said


@settings(max_examples=300)
@given(
    past=st.lists(seconds, min_size=2, max_size=60),
    before=st.integers(0, 50),
    every=st.integers(1, 9),
)
def test_where_nothing_was_missed_no_comparison_ever_says_so(
    past: list[Second], before: int, every: int
) -> None:
    books = Books.of(past, before, frozenset())
    said = compare(books, past, list(range(0, len(past), every)))
    assert not any(said)


@settings(max_examples=300)
@given(
    past=st.lists(seconds, min_size=1, max_size=40),
    before=st.integers(0, 50),
    late=st.lists(st.integers(0, 3), min_size=1, max_size=10),
)
def test_what_was_missed_after_a_quiet_time_shows_in_the_next_two_comparisons(
    past: list[Second], before: int, late: list[int]
) -> None:
    quiet = [Second(0, 0, 0, 0)] * (3 * SETTLE)
    ends = [Second(n, 0, 0, 0) for n in late]
    whole = [*past, *quiet, *ends, *quiet]
    missed = frozenset(range(len(past) + len(quiet), len(past) + len(quiet) + len(ends)))
    books = Books.of(whole, before, missed)
    first = len(past) + 2 * SETTLE
    then = len(whole) - SETTLE
    said = compare(books, whole, [0, first, first + 1, then, then + 1])
    assert said[-1] == sum(n > 0 for n in late)


# All of it ----------------------------------------------------------------------------------------

Kind = Literal["come", "delete", "again", "hide", "show", "restart"]
statuses = st.sampled_from([s.value for s in DOCUMENTED_ENDS])


@dataclass(frozen=True)
class Event:
    """Something that happens so many seconds after the one before."""

    gap: float
    kind: Kind
    which: int
    status: str
    seconds: float
    missed: bool = False


def events(kinds: list[Kind], missed: st.SearchStrategy[bool]) -> st.SearchStrategy[list[Event]]:
    return st.lists(
        st.builds(
            Event,
            gap=st.floats(0, 300),
            kind=st.sampled_from(kinds),
            which=st.integers(0, 1000),
            status=statuses,
            seconds=st.floats(1, 400),
            missed=missed,
        ),
        max_size=25,
    )


class Day:
    """Lets the events happen."""

    def __init__(self, stale: float, per_page: int) -> None:
        self.world = World()
        self.world.service.stale = stale
        self.world.service.per_page = per_page
        self.missed = 0
        self._due: list[tuple[float, int, int, str]] = []
        self._order = count()
        self._number = count()
        self._ended: dict[int, float] = {}
        self._seen_differences: Counter[str] = Counter()

    def happen(self, event: Event) -> None:
        self.pass_(event.gap)
        world, service = self.world, self.world.service
        if event.kind == "come":
            number = next(self._number)
            self._note_missed(number, event)
            service.create(number)
            self._later(2, number, "running")
            self._later(2 + event.seconds, number, event.status)
        elif event.kind == "show":
            service.hidden.clear()
        elif event.kind == "restart":
            world.restart()
        elif (ended := self._pick(event.which)) is None:
            pass
        elif event.kind == "hide":
            service.hidden.add(ended)
        elif event.kind == "delete":
            del self._ended[ended]
            del service.rows[ended]
        else:
            self._note_missed(ended, event)
            del self._ended[ended]
            service.run(ended)
            self._later(event.seconds, ended, event.status)

    def _note_missed(self, number: int, event: Event) -> None:
        if event.missed:
            self.missed += 1
            self.world.missed.add(number)

    def _pick(self, which: int) -> int | None:
        """One that has ended, was counted, and is there."""
        known = [
            number
            for number, at in self._ended.items()
            if self.world.clocks.wall - at > 60
            and number not in self.world.missed | self.world.service.hidden
        ]
        return known[which % len(known)] if known else None

    def _later(self, seconds: float, number: int, status: str) -> None:
        due = self.world.clocks.wall + seconds
        heappush(self._due, (due, next(self._order), number, status))

    def pass_(self, seconds: float) -> None:
        end = self.world.clocks.wall + seconds
        while self._due and self._due[0][0] <= end:
            due, _, number, status = heappop(self._due)
            self._wait(due - self.world.clocks.wall)
            if status == "running":
                self.world.service.run(number)
            else:
                self.world.service.finish(number, status)
                self._ended[number] = self.world.clocks.wall
        self._wait(end - self.world.clocks.wall)

    def _wait(self, seconds: float) -> None:
        self.world.pass_(max(0.0, seconds))
        self._seen_differences.update(self.world.differences)

    @property
    def differences(self) -> Counter[str]:
        """Whatever was ever shown as missing."""
        return self._seen_differences


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    events(["come", "come", "come", "delete", "again", "restart"], st.just(False)),
    st.sampled_from([0.0, 10.0, 25.0]),
)
def test_nothing_is_missing_on_a_day_on_which_nothing_was_missed(
    day: list[Event], stale: float
) -> None:
    followed = Day(stale, 100)
    for event in day:
        followed.happen(event)
    followed.pass_(1800)
    assert not followed.differences
    assert followed.world.recovered == 0
    assert followed.world.counted == followed.world.service.outcomes


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    events(["come", "come", "restart"], st.booleans()),
    st.sampled_from([0.0, 10.0]),
    st.sampled_from([1, 7, 100]),
)
def test_what_was_missed_is_found_and_counted_once(
    day: list[Event], stale: float, per_page: int
) -> None:
    followed = Day(stale, per_page)
    # Before totals were compared in quiet, what is missed could have been there before.
    followed.pass_(600)
    for event in day:
        followed.happen(event)
    followed.pass_(1800)
    assert followed.world.counted == followed.world.service.outcomes
    assert followed.world.differences == {}
    assert followed.world.recovered <= followed.missed


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    events(["come", "come", "come", "delete", "again", "hide", "show", "restart"], st.booleans()),
    st.sampled_from([0.0, 10.0]),
    st.sampled_from([1, 7, 100]),
)
def test_nothing_is_counted_twice_and_no_difference_stays(
    day: list[Event], stale: float, per_page: int
) -> None:
    """What leaves a status can hide what was missed, which the lister's own sweep finds."""
    followed = Day(stale, per_page)
    followed.pass_(600)
    for event in day:
        followed.happen(event)
    followed.world.service.hidden.clear()
    followed.pass_(2 * 3600)
    outcomes, counted = followed.world.service.outcomes, followed.world.counted
    assert all(count <= outcomes[status] for status, count in counted.items())
    assert sum(outcomes.values()) - sum(counted.values()) <= followed.missed
    assert followed.world.differences == {}
    assert followed.world.recovered <= followed.missed
