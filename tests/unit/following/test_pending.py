"""Who is asked for what is wanted, how, and when."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from exporter.following.pending import PendingOrder
from exporter.ledger.tracker import ABSENT_SECONDS

CAUSE, DURATION = True, False


def tries(
    order: PendingOrder, until: float, *, jitter: float = 0.0, answered: bool = True
) -> list[tuple[float, str]]:
    """When the one debt is asked for until then, and by which way, when nothing ever pays it."""
    now = 0.0
    asked: list[tuple[float, str]] = []
    while now <= until:
        due = order.next_due((), now)
        if due is None:
            now += 1.0
            continue
        asked.append((now, due[1]))
        order.asked(due[0], now, answered=answered, jitter=jitter)
    return asked


def noted(*wanted: tuple[str, bool]) -> PendingOrder:
    order = PendingOrder()
    order.note(wanted, 0.0)
    return order


def test_a_cause_is_asked_for_by_the_two_ways_in_turn() -> None:
    asked = tries(noted(("a", CAUSE)), 3600.0, answered=False)
    assert [way for _, way in asked] == ["stream", "detail"] * 4
    assert [at for at, _ in asked] == [0.0, 2.0, 7.0, 17.0, 77.0, 197.0, 1097.0, 2597.0]


def test_a_cause_that_answers_leave_out_is_asked_for_after_growing_waits() -> None:
    asked = tries(noted(("a", CAUSE)), 3600.0)
    assert asked[:4] == [(0.0, "stream"), (10.0, "detail"), (15.0, "stream"), (25.0, "detail")]
    # The fourth answer is believed. If it was unreadable, the tries go on.
    assert asked[3][0] >= ABSENT_SECONDS > asked[2][0]
    assert len(asked) <= 8


def test_those_that_wait_for_their_next_try_hold_back_nobody() -> None:
    order = noted(("old", CAUSE), ("older", DURATION), ("new", CAUSE))
    assert order.next_due((), 0.0) == ("old", "stream")
    order.asked("old", 0.0, answered=True, jitter=0.0)
    assert order.next_due((), 0.0) == ("new", "stream")
    # Due again, it goes after those that nobody has answered about.
    assert order.next_due((), 10.0) == ("older", "detail")
    assert order.next_due({"older"}, 10.0) == ("new", "stream")
    assert order.next_due({"older", "new"}, 10.0) == ("old", "detail")


def test_after_an_outage_of_hours_a_cause_is_still_asked_for() -> None:
    asked = [at for at, _ in tries(noted(("a", CAUSE)), 10 * 3600.0, answered=False)]
    assert max(later - sooner for sooner, later in itertools.pairwise(asked)) <= 1500.0
    assert asked[-1] > 10 * 3600.0 - 1500.0


@given(tried=st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=30, max_size=30))
def test_a_cause_costs_at_most_eight_requests_in_any_hour(tried: list[tuple[float, bool]]) -> None:
    order = noted(("a", CAUSE))
    now, asked = 0.0, []
    for jitter, answered in tried:
        while order.next_due((), now) is None:
            now += 1.0
        asked.append(now)
        order.asked("a", now, answered=answered, jitter=jitter)
    assert all(later - sooner >= 3600.0 for sooner, later in zip(asked, asked[8:], strict=False))


def test_a_duration_is_asked_for_three_times_and_by_itself_only() -> None:
    assert tries(noted(("a", DURATION)), 7200.0) == [
        (10.0, "detail"),
        (60.0, "detail"),
        (600.0, "detail"),
    ]


def test_what_was_not_answered_does_not_count_against_a_duration() -> None:
    order = noted(("a", DURATION))
    assert [at for at, _ in tries(order, 1500.0, answered=False)] == [10.0, 60.0, 600.0, 1140.0]
    assert len(tries(order, 7200.0)) == 3


def test_the_longest_waiting_goes_first_and_the_busy_are_passed_over() -> None:
    order = noted(("a", CAUSE), ("b", CAUSE))
    assert order.next_due((), 0.0) == ("a", "stream")
    assert order.next_due({"a"}, 0.0) == ("b", "stream")
    assert order.next_due({"a", "b"}, 0.0) is None


def test_one_that_cannot_be_had_makes_room_for_the_next() -> None:
    order = noted(("a", CAUSE), ("b", CAUSE))
    order.asked("a", 0.0, answered=False, jitter=0.0)
    assert order.next_due((), 0.0) == ("b", "stream")


def test_when_the_cause_is_paid_the_duration_has_all_its_tries() -> None:
    order = noted(("a", CAUSE))
    tries(order, 3600.0)
    order.note([("a", DURATION)], 4000.0)
    assert order.next_due((), 4009.0) is None
    assert order.next_due((), 4010.0) == ("a", "detail")


def test_what_is_owed_no_more_is_forgotten() -> None:
    order = noted(("a", CAUSE))
    order.note([], 1.0)
    order.asked("a", 2.0, answered=True, jitter=0.0)
    assert not order._pending
