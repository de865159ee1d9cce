"""The window at its edges: when a place comes free, what a refusal costs, what a memory is worth.

`tests/property/test_window.py` and `test_window_lives.py` draw whole demands and lives; here is one
step of each.
"""

from dataclasses import replace
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.budget.sliding_window import (
    MAX_EARLIER_COOLDOWN_SECONDS,
    UNDER_WAY_SECONDS,
    EarlierRequest,
    Limit,
    Priority,
    SlidingWindow,
    WindowMemory,
    believed,
)

NOW = 1000.0
LIMIT = Limit()
SHARE = 30


def ask(
    window: SlidingWindow,
    now: float,
    count: int = 1,
    *,
    priority: Priority = Priority.LIST_FIRST_PAGE,
) -> None:
    """Requests that are answered at once."""
    for _ in range(count):
        window.answer(window.begin(priority, now), now)


class TestLimits:
    @pytest.mark.parametrize(
        ("requests", "reserve", "share"),
        [(40, 0.25, 30), (10, 0.9, 1), (10, 0.25, 7), (3, 0.9, 1), (40, 0.0, 40)],
    )
    def test_the_share_is_what_is_left_by_others_and_at_least_one(
        self, requests: int, reserve: float, share: int
    ) -> None:
        limit = Limit(requests=requests, reserve=reserve)
        assert limit.share == SlidingWindow(limit).share == share


class TestMemories:
    GOOD = WindowMemory(
        requests=(EarlierRequest(NOW - 5, NOW - 4), EarlierRequest(NOW - 3, -inf)),
        since=NOW - 100,
        closed_until=NOW + 50,
        share=12.0,
    )

    def test_one_that_can_be_right_is_believed(self) -> None:
        assert believed(self.GOOD, NOW) == self.GOOD
        assert believed(WindowMemory(), NOW) == WindowMemory()

    @pytest.mark.parametrize(
        "right",
        [
            {"since": NOW},
            {"closed_until": NOW + MAX_EARLIER_COOLDOWN_SECONDS},
            {"share": 1.0},
            {"requests": (EarlierRequest(NOW, NOW),)},
            {"requests": (EarlierRequest(NOW - 5, NOW + UNDER_WAY_SECONDS),)},
        ],
    )
    def test_up_to_its_edges(self, right: dict[str, float]) -> None:
        memory = replace(self.GOOD, **right)  # type: ignore[arg-type]
        assert believed(memory, NOW) == memory

    @pytest.mark.parametrize(
        "wrong",
        [
            {"since": NOW + 1},
            {"since": nan},
            {"closed_until": NOW + MAX_EARLIER_COOLDOWN_SECONDS + 1},
            {"closed_until": nan},
            {"share": 0.5},
            {"share": nan},
            {"requests": (EarlierRequest(NOW + 1, NOW + 2),)},
            {"requests": (EarlierRequest(-inf, NOW),)},
            {"requests": (EarlierRequest(nan, None),)},
            {"requests": (EarlierRequest(NOW - 5, NOW - 6),)},
            {"requests": (EarlierRequest(NOW - 5, NOW + UNDER_WAY_SECONDS + 1),)},
            {"requests": (EarlierRequest(NOW - 5, NOW - 4), EarlierRequest(NOW + 1, None))},
        ],
    )
    def test_one_that_cannot_be_right_is_none(self, wrong: dict[str, float]) -> None:
        memory = replace(self.GOOD, **wrong)  # type: ignore[arg-type]
        assert believed(memory, NOW) == WindowMemory(since=NOW)

    def test_what_was_under_way_is_counted_by_the_time_a_client_waits_no_longer(self) -> None:
        early, late = EarlierRequest(NOW - 60, None), EarlierRequest(NOW - 5, None)
        memory = believed(replace(self.GOOD, requests=(early, late)), NOW)
        assert [each.answered for each in memory.requests] == [NOW, NOW - 5 + UNDER_WAY_SECONDS]


class TestGoingOn:
    def going_on(self, **remembered: object) -> SlidingWindow:
        window = SlidingWindow(LIMIT)
        window.go_on(WindowMemory(**remembered), NOW)  # type: ignore[arg-type]
        return window

    def test_only_answers_within_the_period_hold_a_place(self) -> None:
        ages = (0.5, 9.9, 10.0, 11.0)
        requests = tuple(EarlierRequest(NOW - age - 1, NOW - age) for age in ages)
        window = self.going_on(requests=requests)
        assert window.used(NOW) == 2
        assert window.used(NOW + 0.2) == 1
        assert window.used(NOW + 9.6) == 0

    def test_what_was_never_sent_holds_none(self) -> None:
        window = self.going_on(requests=(EarlierRequest(NOW - 1, -inf),))
        assert window.used(NOW) == 0

    def test_a_cooldown_goes_on(self) -> None:
        window = self.going_on(closed_until=NOW + 5)
        assert window.closed_until == NOW + 5
        assert window.delay(NOW) == 5
        assert self.going_on(closed_until=NOW).closed_until == -inf

    def test_so_does_what_refusals_have_left_and_it_recovers_from_then_on(self) -> None:
        window = self.going_on(closed_until=NOW, share=10.0)
        assert (window.share_after_refusal, window.allowed(NOW)) == (10.0, 10)
        assert window.allowed(NOW + 10) == 11
        assert self.going_on(closed_until=NOW, share=99.0).allowed(NOW) == SHARE

    def test_where_nothing_is_known_one_goes_at_once_and_the_others_evenly(self) -> None:
        window = self.going_on(since=NOW)
        assert window.delay(NOW) == 0
        ask(window, NOW)
        # 40 less the 30 of an earlier process: a second apart, from the second place on.
        assert window.delay(NOW) == 2.0
        ask(window, NOW + 2)
        assert window.delay(NOW + 2) == 1.0
        assert window.delay(NOW + 10) == 0.0

    def test_where_earlier_ones_may_have_used_all_nothing_goes_for_a_period(self) -> None:
        window = SlidingWindow(Limit(requests=10, reserve=0.0))
        window.go_on(WindowMemory(since=NOW), NOW)
        assert window.delay(NOW) == 10.0
        assert window.delay(NOW + 10) == 0.0


class TestPlaces:
    def test_one_is_held_until_a_whole_period_after_the_answer_began(self) -> None:
        window = SlidingWindow(LIMIT)
        slot = window.begin(Priority.POLL, NOW)
        assert window.used(NOW + 100) == 1
        window.answer(slot, NOW + 100)
        assert window.used(NOW + 109.9) == 1
        assert window.used(NOW + 110) == 0

    def test_an_answer_counts_once(self) -> None:
        window = SlidingWindow(LIMIT)
        slot = window.begin(Priority.POLL, NOW)
        window.answer(slot, NOW)
        window.answer(slot, NOW + 5)
        window.withdraw(slot)
        assert window.used(NOW + 9) == 1
        assert window.used(NOW + 10) == 0

    def test_what_was_never_sent_gives_its_place_and_its_turn_back(self) -> None:
        window = SlidingWindow(LIMIT)
        ask(window, NOW, SHARE // 2, priority=Priority.NEW_STREAM)
        slot = window.begin(Priority.NEW_STREAM, NOW + 5)
        window.withdraw(slot)
        window.withdraw(slot)
        assert window.used(NOW + 5) == SHARE // 2
        assert window.delay(NOW + 5, [Priority.NEW_STREAM]) == 0

    def test_withdrawing_one_leaves_the_turn_of_another_that_came_after_it(self) -> None:
        window = SlidingWindow(LIMIT)
        ask(window, NOW, SHARE // 2, priority=Priority.NEW_STREAM)
        slot = window.begin(Priority.NEW_STREAM, NOW + 4)
        ask(window, NOW + 5, priority=Priority.NEW_STREAM)
        window.withdraw(slot)
        assert window.delay(NOW + 5, [Priority.NEW_STREAM]) == pytest.approx(10 / SHARE)

    def test_where_all_are_taken_the_next_waits_for_the_oldest_answer(self) -> None:
        window = SlidingWindow(LIMIT)
        ask(window, NOW)
        ask(window, NOW + 3, SHARE - 1)
        assert window.delay(NOW + 4) == 6.0

    def test_where_all_are_under_way_only_an_answer_helps(self) -> None:
        window = SlidingWindow(LIMIT)
        slots = [window.begin(Priority.LIST_FIRST_PAGE, NOW) for _ in range(SHARE)]
        assert window.delay(NOW) == inf
        window.answer(slots[0], NOW + 1)
        assert window.delay(NOW + 1) == 10.0

    def test_pages_go_in_one_go_and_the_others_only_while_half_is_free(self) -> None:
        window = SlidingWindow(LIMIT)
        ask(window, NOW, SHARE // 2 - 1)
        assert window.delay(NOW, [Priority.NEW_STREAM]) == 0
        ask(window, NOW)
        assert window.delay(NOW, [Priority.NEW_STREAM]) == pytest.approx(10 / SHARE)
        assert window.delay(NOW + 1, [Priority.NEW_STREAM]) == 0
        assert window.delay(NOW, [Priority.LIST_FIRST_PAGE]) == 0
        assert window.delay(NOW, [Priority.NEW_STREAM, Priority.LIST_DEEPER_PAGE]) == 0


class TestRefusals:
    def test_one_closes_for_the_cooldown_or_as_long_as_the_service_says(self) -> None:
        window = SlidingWindow(LIMIT)
        window.refuse(NOW, None)
        assert window.closed_until == NOW + 10
        window.refuse(NOW, 30.0)
        assert window.closed_until == NOW + 30
        window.refuse(NOW, 1.0)
        assert window.closed_until == NOW + 30
        assert window.delay(NOW + 12) == 18.0

    def test_it_halves_what_we_take_and_a_request_a_period_comes_back(self) -> None:
        window = SlidingWindow(LIMIT)
        window.refuse(NOW, None)
        assert window.allowed(NOW) == window.allowed(NOW + 19.9) == SHARE // 2
        assert window.allowed(NOW + 20) == SHARE // 2 + 1
        assert window.allowed(NOW + 10_000) == SHARE

    def test_at_least_one_is_left(self) -> None:
        window = SlidingWindow(LIMIT)
        now = NOW
        for _ in range(9):
            window.refuse(now, None)
            now = window.closed_until
        assert window.allowed(now) == 1

    def test_those_that_were_under_way_already_say_nothing_new(self) -> None:
        window = SlidingWindow(LIMIT)
        window.refuse(NOW, None, begun=NOW - 1)
        window.refuse(NOW + 5, None, begun=NOW - 1)
        window.refuse(NOW + 20, None, begun=NOW + 14)
        assert window.share_after_refusal == SHARE / 2
        window.refuse(NOW + 31, None, begun=NOW + 30)
        assert window.share_after_refusal < SHARE / 2

    def test_for_a_period_after_it_requests_go_one_by_one_pages_as_well(self) -> None:
        window = SlidingWindow(LIMIT)
        window.refuse(NOW, None)
        opened = NOW + 10
        ask(window, opened)
        gap = 10 / (SHARE // 2)
        assert window.delay(opened, [Priority.LIST_FIRST_PAGE]) == pytest.approx(gap)
        later = opened + 10
        ask(window, later)
        assert window.delay(later, [Priority.LIST_FIRST_PAGE]) == 0


class TestReloads:
    def test_what_was_refused_still_counts(self) -> None:
        window = SlidingWindow(LIMIT)
        window.refuse(NOW, None)
        window.change(Limit(requests=80))
        assert window.share == 60
        assert window.allowed(NOW) == SHARE // 2

    def test_but_never_more_than_the_new_share_is_taken(self) -> None:
        window = SlidingWindow(LIMIT)
        window.refuse(NOW, None)
        window.change(Limit(requests=8))
        assert window.allowed(NOW) == 6

    @given(st.integers(1, 100))
    def test_where_nothing_was_refused_the_new_share_holds_at_once(self, requests: int) -> None:
        window = SlidingWindow(LIMIT)
        limit = Limit(requests=requests)
        window.change(limit)
        assert window.allowed(NOW) == limit.share

    def test_a_longer_period_holds_what_had_been_let_go(self) -> None:
        window = SlidingWindow(LIMIT)
        ask(window, NOW, 2)
        ask(window, NOW + 5)
        assert window.used(NOW + 16) == 0
        window.change(Limit(per=20.0))
        assert window.per == 20.0
        assert window.used(NOW + 16) == 3
        assert window.used(NOW + 20) == 1
        window.change(LIMIT)
        assert window.used(NOW + 20) == 0


class TestTurns:
    def test_polling_takes_half_of_the_share_and_goes_evenly(self) -> None:
        window = SlidingWindow(LIMIT)
        ask(window, NOW, priority=Priority.POLL)
        gap = 10 / (SHARE // 2)
        assert window.delay(NOW, [Priority.POLL]) == pytest.approx(gap)
        assert window.delay(NOW, [Priority.POLL, Priority.CAUSE]) == 0
        assert window.choose({Priority.POLL, Priority.CAUSE}, NOW) is Priority.CAUSE
        assert window.choose({Priority.POLL}, NOW) is Priority.POLL

    def test_reconciling_leaves_the_last_places(self) -> None:
        window = SlidingWindow(LIMIT)
        ask(window, NOW, 26)
        later = NOW + 5
        assert window.delay(later, [Priority.RECONCILE]) == 0
        ask(window, later)
        assert window.delay(later, [Priority.RECONCILE]) == 5.0
        assert window.delay(later, [Priority.RECONCILE, Priority.NEW_STREAM]) < 1
        assert window.delay(later, [Priority.RECONCILE, Priority.POLL]) < 1

    def test_one_below_its_guarantee_goes_before_a_more_urgent_one(self) -> None:
        window = SlidingWindow(LIMIT)
        ask(window, NOW, 3, priority=Priority.LIST_FIRST_PAGE)
        both = {Priority.LIST_FIRST_PAGE, Priority.NEW_STREAM}
        assert window.choose(both, NOW) is Priority.NEW_STREAM
        ask(window, NOW + 1, priority=Priority.NEW_STREAM)
        assert window.choose(both, NOW + 1) is Priority.LIST_FIRST_PAGE
        # Its place comes free, and so does its guarantee.
        assert window.used(NOW + 11) == 0
        assert window.choose(both, NOW + 11) is Priority.LIST_FIRST_PAGE

    def test_of_those_below_theirs_the_one_that_waits_longest(self) -> None:
        window = SlidingWindow(Limit(requests=2, reserve=0.0))
        both = {Priority.CAUSE, Priority.RECONNECT}
        assert window.choose(both, NOW) is Priority.CAUSE
        ask(window, NOW, priority=Priority.CAUSE)
        ask(window, NOW + 1, priority=Priority.RECONNECT)
        assert window.used(NOW + 11) == 0
        assert window.choose(both, NOW + 11) is Priority.CAUSE
        ask(window, NOW + 11, priority=Priority.CAUSE)
        assert window.used(NOW + 22) == 0
        assert window.choose(both, NOW + 22) is Priority.RECONNECT
