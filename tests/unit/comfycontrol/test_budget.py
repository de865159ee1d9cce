"""The request budget with threads: who waits, who goes, and what is told of it."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from exporter.budget.budget import RequestBudget
from exporter.budget.journal import RequestJournal
from exporter.budget.sliding_window import Limit, Priority
from tests.turns import Turn


class Clock:
    """Time that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def budget(clock: Clock) -> Iterator[RequestBudget]:
    budget = make(clock, Limit(requests=10, reserve=0.0))
    yield budget
    budget.close()


def make(clock: Clock, limit: Limit) -> RequestBudget:
    # All at once, for time stands still here.
    limit = replace(limit, at_once=1.0)
    return RequestBudget("localhost", limit, monotonic=clock, wall=lambda: clock.now + 7000.0)


def granted(turn: Turn) -> Turn:
    assert turn.over.wait(10)
    assert turn.slot is not None
    return turn


def waits(turn: Turn) -> bool:
    """Whether it still waits, some time after it could have come."""
    return not turn.over.wait(0.05)


def fill(budget: RequestBudget, priority: Priority, count: int) -> list[Turn]:
    return [granted(Turn(budget, priority)) for _ in range(count)]


def test_while_there_is_room_nobody_waits(budget: RequestBudget) -> None:
    for turn in fill(budget, Priority.NEW_STREAM, 10):
        assert turn.wait()
    assert budget.reading().used == 10


def test_past_the_limit_everybody_waits(budget: RequestBudget) -> None:
    fill(budget, Priority.NEW_STREAM, 10)
    turns = [Turn(budget, priority) for priority in Priority]
    assert all(waits(turn) for turn in turns)


def test_a_period_after_an_answer_its_place_is_free_again(
    budget: RequestBudget, clock: Clock
) -> None:
    turns = fill(budget, Priority.NEW_STREAM, 10)
    turns[0].answered()
    clock.now += 10.0
    turns[1].answered()
    granted(Turn(budget, Priority.NEW_STREAM))
    assert waits(Turn(budget, Priority.NEW_STREAM))


def test_a_place_that_was_not_used_is_free_at_once(budget: RequestBudget) -> None:
    turns = fill(budget, Priority.NEW_STREAM, 10)
    waiting = Turn(budget, Priority.NEW_STREAM)
    turns[3].unused()
    granted(waiting)
    assert budget.reading().used == 10


def test_giving_a_place_back_twice_frees_one(budget: RequestBudget) -> None:
    turns = fill(budget, Priority.NEW_STREAM, 10)
    turns[0].unused()
    turns[0].unused()
    turns[0].answered()
    assert budget.reading().used == 9


def test_first_come_first_served_within_a_purpose(budget: RequestBudget) -> None:
    held = fill(budget, Priority.NEW_STREAM, 10)
    waiting = [Turn(budget, Priority.NEW_STREAM) for _ in range(10)]
    for place, turn in enumerate(waiting):
        held[place].unused()
        granted(turn)
        assert not any(later.over.is_set() for later in waiting[place + 1 :])


def test_the_most_urgent_goes_first_once_each_has_its_share(budget: RequestBudget) -> None:
    # But polls: time stands still, and no poll comes right after another. And but reconciling,
    # which does not take the last place.
    others = {Priority.POLL, Priority.RECONCILE}
    purposes = [priority for priority in Priority if priority not in others]
    for priority in purposes:
        fill(budget, priority, 1)
    *_, last = fill(budget, Priority.LIST_FIRST_PAGE, 10 - len(purposes))
    waiting = [Turn(budget, priority) for priority in reversed(purposes)]
    for turn in reversed(waiting):
        last.unused()
        last = granted(turn)


@pytest.mark.parametrize("priority", [Priority.RECONNECT, Priority.RUNNERS])
def test_no_purpose_starves(priority: Priority, budget: RequestBudget) -> None:
    held = fill(budget, Priority.LIST_FIRST_PAGE, 10)
    urgent = [Turn(budget, Priority.LIST_FIRST_PAGE) for _ in range(10)]
    last = Turn(budget, priority)
    held[0].unused()
    granted(last)
    assert not any(turn.over.is_set() for turn in urgent)


def test_a_cancelled_wait_ends_at_once_and_is_out_of_the_way(budget: RequestBudget) -> None:
    held = fill(budget, Priority.NEW_STREAM, 10)
    first, second = Turn(budget, Priority.NEW_STREAM), Turn(budget, Priority.NEW_STREAM)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(first.wait)
        first.cancel()
        assert waiting.result(5) is False
    first.cancel()
    held[0].unused()
    granted(second)


def test_cancelling_after_the_turn_has_come_changes_nothing(budget: RequestBudget) -> None:
    turn = granted(Turn(budget, Priority.NEW_STREAM))
    turn.cancel()
    assert turn.wait()
    assert budget.reading().used == 1


def test_however_cancelling_and_granting_fall_together_no_place_is_lost(
    budget: RequestBudget,
) -> None:
    for _ in range(300):
        turn = Turn(budget, Priority.NEW_STREAM)
        turn.cancel()
        if turn.wait():
            turn.unused()
    assert budget.reading().used == 0


def test_closing_ends_every_wait_and_those_that_come_later(budget: RequestBudget) -> None:
    fill(budget, Priority.NEW_STREAM, 10)
    with ThreadPoolExecutor(4 * len(Priority)) as threads:
        turns = [Turn(budget, priority) for priority in Priority for _ in range(4)]
        waiting = [threads.submit(turn.wait) for turn in turns]
        budget.close()
        assert [future.result(5) for future in waiting] == [False] * len(turns)
    assert Turn(budget, Priority.LIST_FIRST_PAGE).wait() is False
    budget.close()


def test_closing_ends_its_thread(clock: Clock) -> None:
    before = threading.active_count()
    budget = RequestBudget("unique.example", Limit(), monotonic=clock, wall=clock)
    mine = [t for t in threading.enumerate() if t.name == "budget unique.example"]
    assert threading.active_count() == before + 1
    budget.close()
    mine[0].join(5)
    assert not mine[0].is_alive()


def test_a_refusal_closes_it_for_all_until_the_service_says(
    budget: RequestBudget, clock: Clock
) -> None:
    turn = granted(Turn(budget, Priority.NEW_STREAM))
    turn.refused(30.0)
    waiting = Turn(budget, Priority.LIST_FIRST_PAGE)
    clock.now += 29.9
    poke = Turn(budget, Priority.RECONNECT)
    assert waits(waiting)
    clock.now += 0.2
    poke.cancel()
    Turn(budget, Priority.RECONNECT)
    granted(waiting)


def test_without_a_word_of_the_service_it_closes_for_the_documented_cooldown(
    budget: RequestBudget, clock: Clock
) -> None:
    granted(Turn(budget, Priority.NEW_STREAM)).refused(None)
    assert budget.reading().cooldown_until == clock.now + 7000.0 + 10.0


def test_a_refusal_that_asks_for_no_wait_still_slows_us_down(
    budget: RequestBudget, clock: Clock
) -> None:
    # Or a service that always answers 429 with Retry-After: 0 would be asked without a pause.
    granted(Turn(budget, Priority.NEW_STREAM)).refused(0.0)
    assert waits(Turn(budget, Priority.NEW_STREAM))
    assert budget.reading().allowed == 5


def test_a_reading_tells_the_state(budget: RequestBudget, clock: Clock) -> None:
    fresh = budget.reading()
    assert (fresh.address, fresh.allowed, fresh.used) == ("localhost", 10, 0)
    assert (fresh.waited_seconds, fresh.cooldown_until) == (0.0, 0.0)
    held = fill(budget, Priority.NEW_STREAM, 10)
    granted_later, cancelled = (Turn(budget, Priority.NEW_STREAM) for _ in range(2))
    clock.now += 3.0
    assert budget.reading().waited_seconds == 6.0
    held[0].unused()
    granted(granted_later)
    clock.now += 1.0
    assert budget.reading().waited_seconds == 7.0
    cancelled.cancel()
    clock.now += 5.0
    assert budget.reading().waited_seconds == 7.0
    held[1].refused(20.0)
    assert budget.reading().cooldown_until == clock.now + 7000.0 + 20.0
    assert budget.reading().allowed == 5
    clock.now += 20.0
    assert budget.reading().cooldown_until == 0.0


def test_the_time_waited_never_falls_not_even_when_it_closes(
    budget: RequestBudget, clock: Clock
) -> None:
    fill(budget, Priority.NEW_STREAM, 10)
    Turn(budget, Priority.NEW_STREAM)
    clock.now += 3.0
    budget.close()
    assert budget.reading().waited_seconds == 3.0


@pytest.mark.parametrize(
    ("requests", "reserve", "allowed"), [(40, 0.25, 30), (20, 0.9, 2), (10, 0.9, 1), (1, 0.0, 1)]
)
def test_the_share_is_what_the_reserve_leaves(
    clock: Clock, requests: int, reserve: float, allowed: int
) -> None:
    budget = make(clock, Limit(requests=requests, reserve=reserve))
    assert budget.reading().allowed == allowed
    budget.close()


@pytest.mark.parametrize("look", [RequestBudget.reading, lambda b: Turn(b, Priority.NEW_STREAM)])
def test_it_is_told_when_the_share_is_cut_and_when_it_is_whole_again(
    look: Callable[[RequestBudget], object], clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    # Nobody need scrape: it is enough that something is asked for.
    caplog.set_level("INFO")
    budget = make(clock, Limit(requests=10, reserve=0.0))
    try:
        turns = fill(budget, Priority.NEW_STREAM, 4)
        turns[0].refused(None)
        (line,) = caplog.records
        assert "request share reduced" in line.message
        assert (line.__dict__["from"], line.__dict__["to"]) == (10, 5)
        # The cooldown, and a period for each request that comes back.
        assert line.__dict__["whole_in_seconds"] == 10 + 5 * 10
        # Those that were under way say nothing new.
        turns[1].refused(None)
        assert len(caplog.records) == 1
        assert (budget.reading().allowed, budget.reading().share) == (5, 10)
        clock.now += 59
        budget.reading()
        assert len(caplog.records) == 1
        clock.now += 1
        look(budget)
        assert budget.reading().allowed == 10
        (_, line) = caplog.records
        assert line.message == "request share restored"
    finally:
        budget.close()


class SlowFile(RequestJournal):
    """On a disk that does not answer until it is told to."""

    def __init__(self, path: Path) -> None:
        self.writing = threading.Event()
        self.goes_on = threading.Event()
        self.goes_on.set()
        super().__init__(path, bytes(16))

    def _write(self, data: bytes, place: int) -> None:
        self.writing.set()
        assert self.goes_on.wait(10)
        super()._write(data, place)


@pytest.fixture
def slow(tmp_path: Path, clock: Clock) -> Iterator[tuple[RequestBudget, SlowFile]]:
    file = SlowFile(tmp_path / "window")
    limit = Limit(requests=10, reserve=0.0, at_once=1.0)
    budget = RequestBudget("localhost", limit, monotonic=clock, wall=clock, file=file)
    yield budget, file
    file.goes_on.set()
    budget.close()


@pytest.mark.timeout(8)
def test_a_disk_that_does_not_answer_holds_up_requests_and_nobody_else(
    slow: tuple[RequestBudget, SlowFile],
) -> None:
    budget, file = slow
    first, second = fill(budget, Priority.NEW_STREAM, 2)
    file.goes_on.clear()
    file.writing.clear()
    third = Turn(budget, Priority.NEW_STREAM)
    assert file.writing.wait(10)
    # None of these waits: a loop with all the streams calls them.
    first.answered()
    second.refused(1.0)
    assert budget.reading().used == 3
    fourth = Turn(budget, Priority.NEW_STREAM)
    fourth.cancel()
    assert not third.over.is_set()
    file.goes_on.set()
    granted(third)


@pytest.mark.parametrize("end", [lambda b, t: t.cancel(), lambda b, t: b.close()])
def test_who_is_cancelled_while_it_is_noted_gives_its_place_back(
    end: Callable[[RequestBudget, Turn], None], slow: tuple[RequestBudget, SlowFile]
) -> None:
    budget, file = slow
    file.goes_on.clear()
    turn = Turn(budget, Priority.NEW_STREAM)
    assert file.writing.wait(10)
    end(budget, turn)
    assert turn.wait() is False
    file.goes_on.set()
    budget.close()
    assert budget.reading().used == 0


def test_what_was_answered_is_noted_by_the_end(
    slow: tuple[RequestBudget, SlowFile], tmp_path: Path, clock: Clock
) -> None:
    budget, _ = slow
    (turn,) = fill(budget, Priority.NEW_STREAM, 1)
    turn.answered()
    budget.close()
    memory = RequestJournal(tmp_path / "window", bytes(16)).memory
    assert memory is not None
    assert [each.answered for each in memory.requests] == [clock.now]
