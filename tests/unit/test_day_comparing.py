"""The benchmark of a day compares end by end."""

from dataclasses import replace
from itertools import count
from typing import Any

from benchmarks.comparing import Comparison, compare
from benchmarks.coverage.counted import CAUSE, DURATION, Counted

NOON = 1_700_000_000.0


def end(
    seconds: float | None,
    outcome: str = "failed",
    *,
    identity: str = "a",
    execution: int = 0,
    stood: float | None = None,
    shown: bool = True,
) -> dict[str, Any]:
    """An execution that ended so many seconds after noon."""
    return {
        "id": identity,
        "execution": execution,
        "told": {"outcome": outcome, "run_seconds": None},
        "final_at_start": False,
        "started_ms": None,
        "completed_ms": None if seconds is None else (NOON + seconds) * 1000,
        "shown": shown,
        "stood_seconds": stood,
    }


def counted(seconds: float | None, outcome: str = "failed", *, identity: str = "a") -> Counted:
    """What was counted, with the stamp of its end."""
    told = None if seconds is None else NOON + seconds
    return Counted(NOON + 100.0, identity, outcome, "listing", told)


def judged(happened: list[dict[str, Any]], *ours: Counted, unseen: float = 60.0) -> Comparison:
    """Compare; other workflows, so many that one end in them may be unseen, were counted."""
    others = [end(0.0, identity=f"other {number}") for number in range(400)]
    theirs = [counted(0.0, identity=f"other {number}") for number in range(400)]
    truth = {"workflows": [*happened, *others], "gone": []}
    return compare(truth, [*ours, *theirs], unseen)


def test_each_end_that_was_counted_is_its_own() -> None:
    ends = [end(0.0, stood=20.0), end(30.0, execution=1)]
    found = judged(ends, counted(30.4), counted(0.0), Counted(NOON, "a", CAUSE))
    assert found.holds
    assert found.ends == 402


def test_a_double_does_not_pass_for_an_end_that_nobody_saw() -> None:
    ends = [end(0.0, stood=20.0), end(30.0, execution=1, stood=2.0, shown=False)]
    found = judged(ends, counted(0.0), counted(0.0))
    assert [one.end for one in found.doubles] == [NOON]
    assert found.never_shown == [ends[1]]
    assert not found.holds


def test_an_end_counted_under_another_status_is_lost_and_a_double() -> None:
    found = judged([end(0.0)], counted(0.0, "completed"))
    assert (len(found.lost), len(found.doubles)) == (1, 1)


def test_what_stood_long_enough_to_be_asked_for_is_lost_though_nobody_asked() -> None:
    brief = end(0.0, stood=60.0, shown=False)
    assert judged([brief]).holds
    assert judged([brief | {"stood_seconds": 61.0}]).lost
    assert judged([brief | {"stood_seconds": None}]).lost
    assert judged([brief | {"shown": True}]).lost


def test_more_ends_than_a_few_that_nobody_saw_are_a_difference() -> None:
    numbers = count()
    few = [end(0.0, identity=f"n {next(numbers)}", stood=1.0, shown=False) for _ in range(2)]
    assert judged(few).holds
    many = [end(0.0, identity=f"n {next(numbers)}", stood=1.0, shown=False) for _ in range(3)]
    found = judged(many)
    assert len(found.never_shown) == 3
    assert not found.holds


def test_without_a_stamp_an_end_that_was_shown_comes_first() -> None:
    hidden = end(0.0, execution=0, stood=2.0, shown=False)
    found = judged([hidden, end(30.0, execution=1)], counted(None))
    assert found.holds
    assert found.never_shown == [hidden]
    assert judged([end(None, "invalid")], counted(None, "invalid")).holds


def test_a_duration_that_is_told_late_is_that_of_the_last_end_before() -> None:
    ends = [end(0.0), end(30.0, execution=1)]
    ends[0]["told"]["run_seconds"] = (5.0, 5.0)
    ends[1]["told"]["run_seconds"] = (7.0, 8.0)
    late = Counted(NOON, "a", DURATION, seconds=5.0)
    first, second = counted(0.0), replace(counted(30.0), seconds=7.5)
    assert not judged(ends, first, late, second).wrong_durations
    assert len(judged(ends, first, second, late).wrong_durations) == 2


def test_a_duration_where_none_is_told_is_wrong() -> None:
    found = judged([end(0.0)], replace(counted(0.0), seconds=1.0))
    assert len(found.wrong_durations) == 1


def test_stamps_that_are_the_same_to_the_second_are_a_run_of_no_time() -> None:
    cut = end(0.2) | {"started_ms": (NOON + 0.9) * 1000}
    assert not judged([cut], replace(counted(0.0), seconds=0.0)).wrong_durations
    late = cut | {"started_ms": (NOON + 1.1) * 1000}
    assert len(judged([late], replace(counted(0.0), seconds=0.0)).wrong_durations) == 1


def test_a_start_and_an_end_may_be_told_in_two_precisions() -> None:
    """The list has shown the end alone, and the stream has shown the start, cut to the second."""
    run = end(0.773) | {"started_ms": round((NOON + 0.381) * 1000)}
    run["told"]["run_seconds"] = (0.0, 0.392)
    for seconds, wrong in ((0.773, 0), (0.392, 0), (0.0, 0), (0.78, 1), (1.0, 1)):
        found = judged([run], replace(counted(0.773), seconds=seconds))
        assert len(found.wrong_durations) == wrong
