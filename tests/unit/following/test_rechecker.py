"""Looks at settled ids that were named again: when, how often, and how many wait."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.following import rechecker
from exporter.following.rechecker import LEAST_SECONDS, CheckOrder


def looks(order: CheckOrder, until: float, *, opens_at: float = 1e9) -> list[float]:
    """When the ids are looked at until then."""
    now, looked = 0.0, []
    while (following := order.next()) is not None and following[2] <= until:
        now = max(now, following[2])
        looked.append(now)
        order.checked(following[0], now, is_open=now >= opens_at)
    return looked


def test_it_is_looked_at_at_once_and_twice_more() -> None:
    order = CheckOrder()
    assert order.add("a", "pushed", 0.0) is None
    assert order.next() == ("a", "pushed", 0.0)
    assert looks(order, 1000.0) == [0.0, 5.0, 30.0]
    assert order.next() is None


def test_once_it_is_seen_open_it_is_not_looked_at_any_more() -> None:
    order = CheckOrder()
    order.add("a", "pushed", 0.0)
    assert looks(order, 1000.0, opens_at=5.0) == [0.0, 5.0]
    assert order.next() is None


def test_one_that_is_named_again_gets_all_its_looks_again() -> None:
    order = CheckOrder()
    order.add("a", "pushed", 0.0)
    assert looks(order, 6.0) == [0.0, 5.0]
    order.add("a", "file", 12.0)
    assert order.next() == ("a", "file", 12.0)
    assert looks(order, 1000.0) == [12.0, 17.0, 42.0]


@given(pauses=st.lists(st.floats(0.0, 4.0), min_size=5, max_size=100))
def test_however_often_it_is_named_it_is_not_looked_at_more_often_than_that(
    pauses: list[float],
) -> None:
    order = CheckOrder()
    now, looked = 0.0, []
    for pause in pauses:
        order.add("a", "pushed", now)
        following = order.next()
        assert following is not None
        if following[2] <= now:
            looked.append(now)
            order.checked("a", now, is_open=len(looked) % 2 == 0)
        now += pause
    assert all(b - a >= LEAST_SECONDS for a, b in itertools.pairwise(looked))
    assert now < 3 * LEAST_SECONDS or len(looked) >= 2


def test_without_an_answer_the_same_look_is_due_again_for_an_hour() -> None:
    order = CheckOrder()
    order.add("a", "pushed", 0.0)
    order.failed("a", 1.0, 7.0)
    assert order.next() == ("a", "pushed", 8.0)
    order.checked("a", 8.0, is_open=False)
    assert order.next() == ("a", "pushed", 13.0)
    order.failed("a", 3600.0, 7.0)
    assert order.next() is None


def test_the_oldest_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rechecker, "MOST_WAITING", 3)
    order = CheckOrder()
    assert [order.add(each, "pushed", 0.0) for each in "abc"] == [None, None, None]
    assert order.add("a", "pushed", 1.0) is None
    assert order.add("d", "pushed", 1.0) == "b"
    assert order.add("e", "pushed", 1.0) == "c"
    order.checked("b", 2.0, is_open=True)
    order.failed("c", 2.0, 1.0)
    assert order.next() == ("a", "pushed", 0.0)
