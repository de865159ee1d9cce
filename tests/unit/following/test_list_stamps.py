"""What the stamps of a page tell: the line, the order, the time."""

from typing import Any

import pytest

from exporter.comfycontrol import WorkflowPage, WorkflowSummary
from exporter.following.list_stamps import (
    AHEAD_OF_OURS_SECONDS,
    AHEAD_SECONDS,
    DISORDER_SECONDS,
    changed_at_the_latest,
    counting_cutoff,
    created_at_the_latest,
    created_no_earlier,
    latest_believed,
    newest_of,
    newest_stamps,
    order_told,
)
from exporter.following.service_clock import ServiceClock
from exporter.interfaces.observations import Moment

HOUR = 3600.0
DAY = 86_400.0
NOW = 1_705_329_000.0


def row(**stamps: float | None) -> WorkflowSummary:
    return WorkflowSummary("a", "completed", **stamps)  # type: ignore[arg-type]


def created(*stamps: float | None) -> list[WorkflowSummary]:
    return [row(created_at=stamp) for stamp in stamps]


# The line ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "date", "ours", "line"),
    [
        # By the Date header, if it is not ahead of our clock; a newer stamp is as true.
        ([], NOW, NOW + HOUR, NOW),
        # If it is ahead of ours, one of the two is wrong: by ours, and the newest stamp.
        (created(NOW - 5), NOW, NOW - HOUR, NOW - 5),
        (created(NOW - 5), NOW + 60, NOW, NOW),
        ([], NOW + 60, NOW, NOW),
        # Stamps of more rows than may be wrong show that ours is slow: then by the Date header.
        (created(*[NOW - 11] * 3), NOW, NOW - 22, NOW),
        (created(*[NOW - 12] * 3), NOW, NOW - 22, NOW - 12),
        (created(*[NOW - 11] * 2), NOW, NOW - 22, NOW - 11),
        ([], NOW + 10, NOW, NOW + 10),
        (created(NOW + 0.4), NOW, NOW, NOW + 0.4),
        ([row(updated_at=NOW + 0.7)], NOW, NOW, NOW + 0.7),
        # A stamp that is absurdly far ahead does not win.
        (created(NOW + 61, NOW + 59), NOW, NOW, NOW + 59),
        (created(NOW + 2 * DAY, NOW - 9), None, NOW, NOW - 9),
        # Without a Date, by the newest stamp that the service itself gave.
        (created(NOW - 9), None, NOW + HOUR, NOW - 9),
        (created(NOW + HOUR - 1), None, NOW, NOW + HOUR - 1),
        ([row(created_at=NOW - 9, updated_at=NOW - 4)], None, NOW, NOW - 4),
        ([row(created_at=NOW - 9, completed_at=NOW + 500)], None, NOW, NOW - 9),
        # By a runner's stamps only where there is nothing else.
        ([row(started_at=NOW - 7, completed_at=NOW - 5)], None, NOW, NOW - 5),
        # Nothing tells: all that is to come is ours.
        ([], None, NOW, 0.0),
        ([row()], None, NOW, 0.0),
    ],
)
def test_the_line_is_drawn_by_the_service(
    rows: list[WorkflowSummary], date: float | None, ours: float, line: float
) -> None:
    assert counting_cutoff(rows, date, ours) == line


def test_if_the_first_page_was_not_whole_the_date_is_the_line_although_it_is_ahead_of_ours() -> (
    None
):
    # Found in simulated time (seed 81675): page 0 was not answered, and our clock was slow.
    assert counting_cutoff(created(NOW - 600), NOW, NOW - 560, is_whole=True) == NOW - 560
    assert counting_cutoff(created(NOW - 600), NOW, NOW - 560, is_whole=False) == NOW


@pytest.mark.parametrize(("date", "ahead"), [(NOW, AHEAD_SECONDS), (None, AHEAD_OF_OURS_SECONDS)])
def test_a_stamp_is_believed_up_to_the_latest_one(date: float | None, ahead: float) -> None:
    assert latest_believed(date, ours=NOW) == NOW + ahead
    assert counting_cutoff(created(NOW + ahead), date, NOW) == NOW + ahead
    assert counting_cutoff(created(NOW + ahead + 1, NOW - 9), date, NOW) == (date or NOW - 9)


def test_more_stamps_after_the_date_than_may_be_wrong_show_that_it_is_slow() -> None:
    slow, ours = NOW - 2 * DAY, NOW + 600
    rows = created(NOW + HOUR, NOW, NOW - 9, NOW - 30)
    assert counting_cutoff(rows, slow, ours) == NOW - 30
    assert counting_cutoff(rows[:3], slow, ours) == slow
    # Two rows with wrong stamps, whatever is wrong with them, and any number after our own clock.
    odd = [row(created_at=NOW + 30, updated_at=NOW + 40) for _ in range(2)]
    assert counting_cutoff([*odd, *created(NOW - 3 * DAY)], slow, ours) == slow
    assert counting_cutoff(created(*[NOW + 3 * HOUR] * 9), NOW, NOW) == NOW
    # Nothing is certain about runners' clocks.
    ended = [row(started_at=NOW, completed_at=NOW + 1) for _ in range(3)]
    assert counting_cutoff(ended, slow, ours) == slow


def test_the_newest_stamps_stand_first_and_a_runner_has_a_say_only_alone() -> None:
    rows = [row(created_at=1.0, updated_at=3.0, started_at=4.0), row(created_at=2.0)]
    assert newest_stamps(rows, latest=9.0) == [3.0, 2.0, 1.0]
    assert newest_stamps(rows, latest=2.0) == [2.0, 1.0]
    # The service's own are absurd, all of them.
    odd = [row(created_at=99.0, started_at=4.0, completed_at=5.0)]
    assert newest_stamps(odd, latest=9.0) == [5.0, 4.0]


@pytest.mark.parametrize(
    ("stamps", "created_by", "changed_by"),
    [
        ({}, None, None),
        ({"created_at": 1.0}, 1.0, 1.0),
        ({"created_at": 1.0, "updated_at": 5.0, "started_at": 0.5}, 1.0, 5.0),
        # It existed when it was changed, started or ended: the earliest of them tells.
        ({"updated_at": 5.0, "started_at": 3.0, "completed_at": 4.0}, 3.0, 5.0),
        ({"started_at": 3.0}, 3.0, 3.0),
        ({"completed_at": 4.0, "started_at": 6.0}, 4.0, 4.0),
        # Changed before it was created: one of the stamps is wrong, and the later one is safe.
        ({"created_at": 7.0, "updated_at": 5.0}, 7.0, 7.0),
    ],
)
def test_a_row_without_a_creation_existed_by_its_earliest_stamp(
    stamps: dict[str, float], created_by: float | None, changed_by: float | None
) -> None:
    assert created_at_the_latest(row(**stamps)) == created_by
    assert changed_at_the_latest(row(**stamps)) == changed_by


# Who is older than whom -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stamps", "told"),
    [
        ((9, 8, 7), (None, None, None)),
        ((9, None, 7), (None, 7, None)),
        ((None, None, 7, None), (7, 7, None, None)),
        ((None, 99, 7), (7, None, None)),
        ((None, 50, 7), (50, None, None)),
        ((), ()),
    ],
)
def test_a_row_was_created_no_earlier_than_the_next_below(
    stamps: tuple[float | None, ...], told: tuple[float | None, ...]
) -> None:
    assert created_no_earlier(created(*stamps), latest=50.0) == list(told)


def test_nothing_of_the_kind_is_told_by_a_page_in_another_order() -> None:
    rows = [row(created_at=100.0 * (n % 7), updated_at=1000.0 - n) for n in range(20)]
    assert created_no_earlier([*rows[:3], row(updated_at=997.5), *rows[3:]], 1e9) == [None] * 21


# The order --------------------------------------------------------------------------------------


def ordered(kind: str) -> list[WorkflowSummary]:
    other = [NOW - 1000 * (n * 7 % 10) for n in range(10)]
    down = [NOW - 100 * n for n in range(10)]
    pairs = {"created": (down, other), "updated": (other, down), "both": (down, down)}
    created_, updated = pairs.get(kind, (other, other))
    return [row(created_at=c, updated_at=u) for c, u in zip(created_, updated, strict=True)]


@pytest.mark.parametrize(
    ("kind", "told"), [("created", "created"), ("updated", "updated"), ("both", None), ("-", None)]
)
def test_the_order_is_told_by_what_is_sorted(kind: str, told: str | None) -> None:
    rows = ordered(kind)
    assert order_told(rows) == told
    # Some seconds of disorder, or a single odd stamp, say nothing.
    rows.insert(4, row(created_at=NOW - 305.0, updated_at=NOW - 305.0))
    rows.insert(4, row(created_at=NOW - 309.0, updated_at=NOW - 309.0))
    rows.insert(2, row(created_at=0.0, updated_at=rows[1].updated_at))
    assert order_told(rows) in (told, None)
    if kind == "both":
        assert order_told(rows) is None


@pytest.mark.parametrize(("by", "told"), [(0, None), (1, "created")])
def test_two_rows_that_stand_out_of_order_by_more_than_some_seconds_tell(
    by: float, told: str | None
) -> None:
    later = DISORDER_SECONDS + by
    changed = [10.0, 10.0 + later, 5.0, 5.0 + later, 1.0]
    rows = [row(created_at=100.0 - n, updated_at=stamp) for n, stamp in enumerate(changed)]
    assert order_told(rows) == told
    # One alone is odd, and says nothing.
    assert order_told(rows[:3]) is None


@pytest.mark.parametrize("odd", [0, 1])
def test_one_odd_row_does_not_hide_the_order(odd: int) -> None:
    ups = [NOW + 100 * n for n in range(9)]
    downs = [NOW - 100 * n for n in range(9)]
    if odd:
        downs[4] = NOW + 900
    by_change = [row(created_at=c, updated_at=u) for c, u in zip(ups, downs, strict=True)]
    by_creation = [row(created_at=c, updated_at=u) for c, u in zip(downs, ups, strict=True)]
    assert order_told(by_change) == "updated"
    assert order_told(by_creation) == "created"


@pytest.mark.parametrize(("moved", "told"), [(2, None), (3, "updated")])
def test_edited_rows_at_the_top_do_not_hide_that_a_list_is_sorted_by_creation(
    moved: int, told: str | None
) -> None:
    # Found in simulated time (seed 81735): two of ten rows stood where they were edited, and open
    # workflows further down were not searched for.
    rows = [row(created_at=NOW - 100 * n, updated_at=NOW - 100 * n) for n in range(10)]
    for place in range(moved):
        rows[2 * place] = row(created_at=NOW - 5000, updated_at=NOW - 200 * place)
    assert order_told(rows) == told


def test_a_page_without_stamps_tells_no_order() -> None:
    assert order_told([row(), row(created_at=NOW)] * 5) is None


# The newest -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ages", "newest"),
    [
        ((), None),
        ((5.0,), 5.0),
        ((5.0, 900.0), 900.0),
        ((900.0, 5.0, 4.0), 14.0),
        ((900.0, 900.0, 5.0, 4.0), 15.0),
        ((7.0, 6.0, 5.0, 4.0), 7.0),
    ],
)
def test_two_odd_stamps_lead_nobody_astray(ages: tuple[float, ...], newest: float | None) -> None:
    assert newest_of(ages) == newest


# The clock --------------------------------------------------------------------------------------


def shown(*stamps: float, date: float | None = None) -> WorkflowPage:
    return WorkflowPage(tuple(created(*stamps)), None, 0, len(stamps), service_time=date)


def at(monotonic: float, wall: float = NOW + HOUR) -> Moment:
    return Moment(wall, monotonic)


def test_before_anything_is_told_no_time_is_known() -> None:
    clock = ServiceClock()
    assert (clock.service_time(at(5)), clock.at_least(at(5))) == (None, None)
    clock.note(shown(), at(5))
    assert clock.at_least(at(6)) is None


def test_the_date_is_gone_on_from() -> None:
    clock = ServiceClock()
    clock.note(shown(NOW - 9, date=NOW), at(5))
    # A step of our clock on the wall is none of the service's.
    assert clock.service_time(at(15, wall=0.0)) == clock.at_least(at(15)) == NOW + 10
    clock.note(shown(), at(25))
    assert clock.service_time(at(25)) == NOW + 20
    assert clock.latest(at(25)) == NOW + 80


@pytest.mark.parametrize("wrong", [-HOUR, 0.0, HOUR])
def test_without_a_date_the_newest_stamps_have_passed(wrong: float) -> None:
    clock = ServiceClock()
    clock.note(shown(NOW, NOW - 1, NOW - 2, NOW - 300), at(5, NOW + wrong))
    assert clock.service_time(at(6)) is None
    assert clock.at_least(at(15)) == NOW - 2 + 10
    clock.note(shown(NOW - 1), at(15))
    assert clock.at_least(at(15)) == NOW - 2 + 10, "it does not go back"


@pytest.mark.parametrize("odd", [(NOW + 2 * DAY,) * 9, (NOW + HOUR, NOW + 1000)])
def test_odd_stamps_do_not_lead_the_clock_ahead(odd: Any) -> None:
    clock = ServiceClock()
    clock.note(shown(*odd, NOW, NOW - 1), at(5, NOW))
    assert clock.at_least(at(5)) in (NOW, NOW - 1)
