"""When the name and the tags of a workflow are asked for."""

from exporter.following.traits_order import LISTED_SECONDS, TraitsOrder
from exporter.retrying import TRAITS


def test_without_a_list_they_are_asked_for_at_once() -> None:
    order = TraitsOrder(listed=False)
    order.note(["a", "b"], 100.0)
    assert order.next_due(100.0) == "a"


def test_the_list_has_time_to_tell_them() -> None:
    order = TraitsOrder(listed=True)
    order.note(["a"], 100.0)
    assert order.next_due(100.0 + LISTED_SECONDS - 0.1) is None
    assert order.next_due(100.0 + LISTED_SECONDS) == "a"
    order.note([], 105.0)
    assert order.next_due(200.0) is None


def test_one_that_could_not_be_had_makes_room_for_the_next() -> None:
    order = TraitsOrder(listed=False)
    order.note(["a", "b"], 100.0)
    order.asked("a", 100.0)
    order.note(["a", "b"], 100.0)
    assert order.next_due(100.0) == "b"


def test_tries_become_rarer() -> None:
    order, now = TraitsOrder(listed=False), 100.0
    for wait in (*TRAITS.waits, TRAITS.waits[-1]):
        order.note(["a"], now)
        assert order.next_due(now) == "a"
        order.asked("a", now)
        assert order.next_due(now + wait - 0.1) is None
        now += wait
    order.note(["a"], now)
    order.asked("a", now, at_least=1000.0)
    assert order.next_due(now + 999) is None
