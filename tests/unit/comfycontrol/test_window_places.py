"""The places of a window: which guarantee they fill, when they come free, the smallest shares."""

import pytest

from exporter.budget.sliding_window import EarlierRequest, Limit, Priority, SlidingWindow
from exporter.budget.sliding_window import WindowMemory as Memory
from tests.unit.comfycontrol.test_sliding_window import LIMIT, NOW, SHARE, ask

LARGE = Limit(requests=400)
"""A share of 300: reconnects are sure of 12 of them."""
SURE_OF = 12


def goes_first(window: SlidingWindow, priority: Priority, now: float) -> bool:
    """Whether it goes before first pages, which have what they are sure of."""
    return window.choose({Priority.LIST_FIRST_PAGE, priority}, now) is priority


def after_pages(limit: Limit = LIMIT) -> SlidingWindow:
    """A window in which first pages have what they are sure of."""
    window = SlidingWindow(limit)
    ask(window, NOW, limit.share // 10)
    return window


class TestGuarantees:
    @pytest.mark.parametrize("held", range(6))
    def test_a_priority_goes_first_until_it_has_what_it_is_sure_of(self, held: int) -> None:
        window = after_pages()
        ask(window, NOW, held, priority=Priority.CAUSE)
        assert goes_first(window, Priority.CAUSE, NOW) == (held < 3)

    @pytest.mark.parametrize("held", range(6))
    def test_it_is_sure_of_as_many_again_when_its_places_are_free(self, held: int) -> None:
        window = after_pages()
        ask(window, NOW, 3, priority=Priority.CAUSE)
        assert window.used(NOW + 10) == 0
        ask(window, NOW + 10, 3)
        ask(window, NOW + 10, held, priority=Priority.CAUSE)
        assert goes_first(window, Priority.CAUSE, NOW + 10) == (held < 3)

    def test_what_was_never_sent_fills_no_guarantee(self) -> None:
        window = after_pages()
        ask(window, NOW, 2, priority=Priority.CAUSE)
        slot = window.begin(Priority.CAUSE, NOW)
        assert not goes_first(window, Priority.CAUSE, NOW)
        window.withdraw(slot)
        assert slot.answered == float("-inf")
        assert goes_first(window, Priority.CAUSE, NOW)
        ask(window, NOW, priority=Priority.CAUSE)
        assert not goes_first(window, Priority.CAUSE, NOW)

    @pytest.mark.parametrize("earlier", [SURE_OF - 1, SURE_OF])
    def test_requests_of_an_earlier_process_fill_that_of_reconnects(self, earlier: int) -> None:
        window = SlidingWindow(LARGE)
        window.go_on(Memory((EarlierRequest(NOW - 2, NOW - 1),) * earlier), NOW)
        ask(window, NOW, LARGE.share // 10)
        assert goes_first(window, Priority.RECONNECT, NOW) == (earlier < SURE_OF)

    def test_one_whose_place_is_free_since_this_moment_does_not(self) -> None:
        window = SlidingWindow(LARGE)
        window.go_on(Memory((EarlierRequest(NOW - 11, NOW - 10),) * SURE_OF), NOW)
        ask(window, NOW, LARGE.share // 10)
        assert goes_first(window, Priority.RECONNECT, NOW)

    @pytest.mark.parametrize("earlier", [SURE_OF - 1, SURE_OF])
    def test_requests_that_a_longer_period_holds_again_do_so_as_well(self, earlier: int) -> None:
        window = SlidingWindow(LARGE)
        ask(window, NOW, earlier)
        assert window.used(NOW + 16) == 0
        window.change(Limit(requests=400, per=20.0))
        ask(window, NOW + 16, LARGE.share // 10)
        assert goes_first(window, Priority.RECONNECT, NOW + 16) == (earlier < SURE_OF)

    def test_where_the_period_stays_as_it_is_none_is_held_again(self) -> None:
        window = SlidingWindow(LARGE)
        ask(window, NOW, SURE_OF)
        assert window.used(NOW + 16) == 0
        window.change(LARGE)
        ask(window, NOW + 16, LARGE.share // 10)
        assert goes_first(window, Priority.RECONNECT, NOW + 16)

    def test_a_poll_goes_from_its_very_moment_on(self) -> None:
        window = SlidingWindow(Limit(reserve=0.5))
        ask(window, NOW - 1, priority=Priority.NEW_STREAM)
        ask(window, NOW, priority=Priority.POLL)
        both = {Priority.POLL, Priority.NEW_STREAM}
        assert window.choose(both, NOW + 0.9) is Priority.NEW_STREAM
        assert window.choose(both, NOW + 1.0) is Priority.POLL


class TestPlaces:
    def test_they_come_free_in_the_order_of_the_answers_whichever_process_asked(self) -> None:
        window = SlidingWindow(LIMIT)
        late = tuple(EarlierRequest(NOW - 1, NOW + seconds) for seconds in (3, 4, 5))
        window.go_on(Memory(late), NOW)
        ask(window, NOW + 1)
        ask(window, NOW + 3.5)
        for count, free in enumerate((11, 13, 13.5, 14, 15), start=1):
            assert window.used(NOW + free - 0.1) == 6 - count
            assert window.used(NOW + free) == 5 - count

    def test_the_next_waits_no_longer_than_for_the_oldest_answer(self) -> None:
        window = SlidingWindow(LIMIT)
        ask(window, NOW, SHARE)
        assert window.delay(NOW + 9.75) == 0.25

    def test_withdrawing_one_leaves_the_turn_of_the_one_before_it(self) -> None:
        window = SlidingWindow(LIMIT)
        ask(window, NOW, SHARE // 2, priority=Priority.NEW_STREAM)
        window.withdraw(window.begin(Priority.NEW_STREAM, NOW + 0.1))
        delay = window.delay(NOW + 0.1, [Priority.NEW_STREAM])
        assert delay == pytest.approx(10 / SHARE - 0.1)

    def test_so_does_one_that_an_earlier_process_never_sent(self) -> None:
        window = SlidingWindow(LIMIT)
        sent = (EarlierRequest(NOW - 0.2, NOW - 0.1),) * (SHARE // 2)
        window.go_on(Memory((*sent, EarlierRequest(NOW - 0.05, float("-inf")))), NOW)
        assert window.delay(NOW, [Priority.NEW_STREAM]) == pytest.approx(10 / SHARE - 0.2)


class TestSmallShares:
    def test_where_one_request_is_left_of_an_earlier_process_it_goes_at_once(self) -> None:
        window = SlidingWindow(Limit(requests=4))
        window.go_on(Memory(since=NOW), NOW)
        assert window.delay(NOW) == 0
        ask(window, NOW)
        assert window.delay(NOW) == 10

    def test_the_others_go_evenly_from_the_second_place_on(self) -> None:
        window = SlidingWindow(Limit(requests=80))
        window.go_on(Memory(since=NOW), NOW)
        ask(window, NOW)
        assert window.delay(NOW) == 1.0
        ask(window, NOW + 1)
        assert window.delay(NOW + 1) == 0.5

    def test_a_longer_period_may_hold_the_share_of_an_earlier_process_twice(self) -> None:
        window = SlidingWindow(LIMIT)
        window.go_on(Memory(since=NOW), NOW)
        window.change(Limit(per=20.0))
        assert window.delay(NOW) == 20.0

    def test_of_three_requests_polling_may_take_one(self) -> None:
        window = SlidingWindow(Limit(requests=4))
        ask(window, NOW, priority=Priority.POLL)
        assert window.delay(NOW, [Priority.POLL]) == 10

    def test_of_two_requests_reconciling_may_take_one(self) -> None:
        window = SlidingWindow(Limit(requests=2, reserve=0.0))
        ask(window, NOW)
        assert window.delay(NOW + 6, [Priority.RECONCILE]) == 4


class TestShareAfterRefusal:
    """What is kept for the next process."""

    def test_after_a_reload_without_refusals_it_is_the_new_share(self) -> None:
        window = SlidingWindow(LIMIT)
        window.change(Limit(requests=80))
        assert window.share_after_refusal == 60

    def test_it_is_never_more_than_the_new_share(self) -> None:
        window = SlidingWindow(LIMIT)
        window.refuse(NOW, None)
        window.change(Limit(requests=8))
        assert window.share_after_refusal == 6
