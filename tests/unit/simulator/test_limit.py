"""The limit's window and its cooldown, by an injected clock."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from exporter.simulator.limit import ServiceLimit
from exporter.simulator.scenario import ScenarioLimit


def test_forty_in_ten_seconds_then_a_closed_door() -> None:
    limit = ServiceLimit(ScenarioLimit())
    assert [limit.ask("a", n * 0.1) for n in range(40)] == [None] * 40
    assert limit.ask("a", 5.0) == 10
    assert limit.ask("a", 10.2) == 5
    assert limit.ask("a", 14.99) == 1
    assert limit.ask("a", 15.0) is None


def test_what_is_refused_does_not_prolong_the_cooldown() -> None:
    limit = ServiceLimit(ScenarioLimit(requests=1))
    limit.ask("a", 0.0)
    assert limit.ask("a", 1.0) == 10
    assert all(limit.ask("a", 1.0 + n * 0.1) is not None for n in range(100))
    assert limit.ask("a", 11.0) is None


def test_the_window_slides() -> None:
    limit = ServiceLimit(ScenarioLimit(requests=2))
    assert limit.ask("a", 0.0) is None
    assert limit.ask("a", 9.0) is None
    assert limit.ask("a", 10.0) is None  # the first is ten seconds ago: out of the window
    assert limit.ask("a", 10.1) == 10


def test_each_address_has_its_own() -> None:
    limit = ServiceLimit(ScenarioLimit(requests=1))
    assert limit.ask("a", 0.0) is None
    assert limit.ask("b", 0.0) is None
    assert limit.ask("a", 0.1) is not None
    assert limit.ask("b", 20.0) is None


def test_it_can_be_off() -> None:
    limit = ServiceLimit(ScenarioLimit(enabled=False, requests=1))
    assert [limit.ask("a", 0.0) for _ in range(100)] == [None] * 100


@given(st.lists(st.floats(0, 3), max_size=200))
def test_no_window_ever_holds_more_than_the_limit(gaps: list[float]) -> None:
    limit, now = ServiceLimit(ScenarioLimit(requests=5)), 0.0
    granted: list[float] = []
    closed_until = -1.0
    for gap in gaps:
        now += gap
        answer = limit.ask("a", now)
        if answer is None:
            assert now >= closed_until
            granted.append(now)
            assert sum(each > now - 10 for each in granted if each >= closed_until) <= 5
        elif now >= closed_until:
            closed_until = now + 10
        else:
            assert answer <= closed_until - now + 1
