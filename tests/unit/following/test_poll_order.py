"""Whom to ask for next."""

from dataclasses import replace

import pytest

from exporter.following.poll_order import (
    LONGEST_SECONDS,
    SHORTEST_SECONDS,
    PollOrder,
    interval,
)
from exporter.interfaces.observations import Moment, Status
from exporter.ledger.workflow import Workflow


def workflow(
    workflow_id: str, status: Status | None = None, *, first: float = 0.0, seen: float | None = None
) -> Workflow:
    return Workflow(
        account="studio",
        workflow_id=workflow_id,
        source="configured",
        first_seen=Moment(first, first),
        status=status,
        last_seen=None if seen is None else Moment(seen, seen),
    )


def asked_over(workflows: list[Workflow], begin: float, end: float, gap: float) -> list[str]:
    """Who is asked for between these times, when one may be asked for every `gap` seconds."""
    order = PollOrder()
    asked = []
    now = begin
    while now < end:
        order.note(workflows, now)
        chosen = order.next_due(workflows, now)
        if chosen is not None:
            order.asked(chosen, now)
            asked.append(chosen)
        now += gap
    return asked


@pytest.mark.parametrize(
    ("unchanged", "seconds"),
    [(0.0, SHORTEST_SECONDS), (20.0, 5.0), (60.0, 15.0), (480.0, 120.0), (1e9, LONGEST_SECONDS)],
)
def test_the_interval_grows_with_the_time_without_a_change(
    unchanged: float, seconds: float
) -> None:
    assert interval(unchanged) == seconds


def test_nobody_is_asked_for_before_the_interval_is_over() -> None:
    order = PollOrder()
    one = workflow("one", Status.RUNNING, seen=0.0)
    order.note([one], 4.9)
    assert order.next_due([one], 4.9) is None
    order.note([one], 5.0)
    assert order.next_due([one], 5.0) == "one"


def test_a_change_brings_the_next_look_forward() -> None:
    order = PollOrder()
    queued = workflow("one", Status.QUEUED, seen=1000.0)
    order.note([queued], 1000.0)
    assert order.next_due([queued], 1010.0) is None
    running = replace(queued, status=Status.RUNNING, last_seen=Moment(1010.0, 1010.0))
    order.note([running], 1010.0)
    assert order.next_due([running], 1014.9) is None
    assert order.next_due([running], 1015.0) == "one"


def test_a_first_sight_is_no_change() -> None:
    order = PollOrder()
    unseen = workflow("one")
    order.note([unseen], 1000.0)
    seen = replace(unseen, status=Status.QUEUED, last_seen=Moment(1000.0, 1000.0))
    order.note([seen], 1000.0)
    assert order.next_due([seen], 1100.0) is None
    assert order.next_due([seen], 1120.0) == "one"


def test_the_longest_unseen_goes_first() -> None:
    order = PollOrder()
    workflows = [workflow(name, Status.QUEUED, seen=seen) for name, seen in (("b", 20), ("a", 10))]
    order.note(workflows, 1000.0)
    assert order.next_due(workflows, 1000.0) == "a"


def test_where_all_are_overdue_each_waits_in_proportion_to_its_interval() -> None:
    old = [workflow(f"old {n}", Status.QUEUED, seen=10_000.0) for n in range(100)]
    young = [
        workflow(f"young {n}", Status.QUEUED, first=10_000.0, seen=10_000.0) for n in range(10)
    ]
    # Ten times as many as can be asked for in time.
    asked = asked_over(old + young, 10_000.0, 10_480.0, 2.0)
    of_old = [w for w in asked if w.startswith("old")]
    of_young = len(asked) - len(of_old)
    # A young one is asked for far more often than an old one, and none of either is left out.
    assert of_young / 10 > 3 * len(of_old) / 100
    assert len(set(of_old)) == 100


def test_one_that_cannot_be_told_of_keeps_nobody_waiting() -> None:
    workflows = [workflow(f"{n}", first=0.0) for n in range(3)]
    asked = asked_over(workflows, 1000.0, 1003.0, 1.0)
    assert sorted(asked) == ["0", "1", "2"]


def test_a_crowd_that_nobody_ever_saw_keeps_those_that_exist_waiting_for_little() -> None:
    crowd = [workflow(f"unseen {n}", first=0.0) for n in range(10_000)]
    real = [workflow(f"real {n}", Status.QUEUED, first=0.0, seen=0.0) for n in range(30)]
    asked = asked_over(crowd + real, 1000.0, 1060.0, 1.0)
    assert {w for w in asked if w.startswith("real")} == {w.workflow_id for w in real}
    # Nor do they starve.
    assert sum(w.startswith("unseen") for w in asked) >= 10


def test_those_that_are_gone_are_forgotten() -> None:
    order = PollOrder()
    one = workflow("one", Status.QUEUED)
    order.note([one], 0.0)
    order.note([], 1.0)
    order.asked("one", 2.0)
    assert not order._known
