"""What a comparison says, which rows it looks at, and when a list is read again.

`tests/property/test_reconciling.py` draws whole days; here is one step of each.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.comfycontrol import (
    ServerFaultError,
    ServiceError,
    WorkflowPage,
    WorkflowSummary,
)
from exporter.following import reconciling
from exporter.following.reconciling import (
    FIRST_SECONDS,
    ListWalk,
    Pace,
    Shortfall,
    Sight,
    Sought,
    contradicts,
    counts_since,
    judge,
    next_audit,
)
from exporter.interfaces.observations import Status
from tests.running import at_once

NOW = 1000.0
PACE = Pace()


def row(identity: str, status: str = "completed", /, **stamps: float) -> WorkflowSummary:
    return WorkflowSummary(identity, status, **stamps)  # type: ignore[arg-type]


def page(*ids: str, total: int | None = None, malformed: int = 0) -> WorkflowPage:
    rows = tuple(row(each) for each in ids)
    return WorkflowPage(rows, total, malformed, len(rows) + malformed)


class TestJudging:
    """The baseline is what the service had before anything was counted."""

    def test_the_first_comparison_draws_it_and_nothing_is_missing(self) -> None:
        verdict = judge(None, Sight(total=9, counted_before=4, counted_after=6), None)
        assert (verdict.baseline, verdict.missing) == (5, 0)

    def test_a_difference_shows_where_two_comparisons_agree(self) -> None:
        sight = Sight(total=9, counted_before=4, counted_after=4)
        assert judge(3, sight, None).missing is None
        assert judge(3, sight, sight).missing == 2
        smaller = replace(sight, total=8)
        assert judge(3, sight, smaller).missing == judge(3, smaller, sight).missing == 1
        none = replace(sight, total=2)
        assert judge(3, sight, none).missing == 0

    def test_what_is_as_many_as_the_baseline_is_no_difference(self) -> None:
        sight = Sight(total=7, counted_before=4, counted_after=4)
        assert judge(3, sight, None).missing == 0

    def test_the_baseline_follows_the_rest_down_where_two_agree_and_never_up(self) -> None:
        low = Sight(total=5, counted_before=4, counted_after=4)
        lower = replace(low, total=4)
        assert judge(3, low, None).baseline == 3
        assert judge(3, low, low).baseline == 1
        assert judge(3, low, lower).baseline == judge(3, lower, low).baseline == 1
        assert judge(0, low, low).baseline == 0


class Pages:
    """These pages."""

    def __init__(self, pages: Iterable[WorkflowPage]) -> None:
        self._pages = iter(pages)

    async def next(self) -> WorkflowPage | None:
        return next(self._pages, None)


class TestReadingAList:
    def test_rows_that_are_shown_again_are_left_out(self) -> None:
        walk = ListWalk(Pages([page("a", "b", total=3), page("b", "c", total=9)]))
        shown = [at_once(walk.read()), at_once(walk.read()), at_once(walk.read())]
        ids = [[w.id for w in each.workflows] for each in shown if each is not None]
        assert ids == [["a", "b"], ["c"]]
        assert shown[2] is None
        assert (walk.total, walk.rows, walk.over, walk.was_whole) == (3, 3, True, True)

    def test_it_was_whole_only_once_it_is_over(self) -> None:
        walk = ListWalk(Pages([page("a", total=1)]))
        at_once(walk.read())
        assert not walk.was_whole
        at_once(walk.read())
        assert walk.was_whole

    @pytest.mark.parametrize(
        "pages",
        [[page("a", total=2)], [page("a", total=1, malformed=1)], [page("a", total=None)], []],
        ids=["fewer than there were", "a row cannot be read", "no total", "nothing"],
    )
    def test_it_was_not_whole_where(self, pages: list[WorkflowPage]) -> None:
        walk = ListWalk(Pages(pages))
        while at_once(walk.read()) is not None:
            pass
        assert not walk.was_whole
        assert not walk.broken_off

    def test_a_page_that_cannot_be_had_breaks_it_off(self) -> None:
        def pages() -> Iterator[WorkflowPage]:
            yield page("a", total=1)
            raise ServerFaultError("503")

        walk = ListWalk(Pages(pages()))
        at_once(walk.read())
        with pytest.raises(ServiceError):
            at_once(walk.read())
        assert (walk.over, walk.broken_off, walk.unreadable, walk.was_whole) == (
            True,
            True,
            1,
            False,
        )

    def test_a_row_that_could_not_be_read_is_remembered_whatever_the_pages_after_it(self) -> None:
        def pages() -> Iterator[WorkflowPage]:
            yield page("a", total=2, malformed=1)
            yield page("b")
            yield page("c", malformed=2)
            raise ServerFaultError("503")

        walk = ListWalk(Pages(pages()))
        counted = []
        for _ in range(3):
            at_once(walk.read())
            counted.append(walk.unreadable)
        with pytest.raises(ServiceError):
            at_once(walk.read())
        assert [*counted, walk.unreadable] == [1, 1, 3, 4]

    def test_one_unreadable_row_on_an_earlier_page_is_enough_to_doubt_the_whole(self) -> None:
        walk = ListWalk(Pages([page("a", total=2, malformed=1), page("b")]))
        while at_once(walk.read()) is not None:
            pass
        assert walk.rows == walk.total
        assert not walk.was_whole

    def test_without_a_proof_rows_are_not_remembered(self) -> None:
        walk = ListWalk(Pages([page("a", total=1), page("a", total=1)]), is_proof=False)
        for _ in range(2):
            shown = at_once(walk.read())
            assert shown is not None
            assert [w.id for w in shown.workflows] == ["a"]
        assert walk.rows is None

    def test_of_a_list_that_is_too_long_it_is_never_known(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(reconciling, "MOST_PROVEN", 2)
        fits = ListWalk(Pages([page("a", "b", total=2)]))
        at_once(fits.read())
        assert fits.rows == 2
        too_long = ListWalk(Pages([page("a", "b", "c", total=3)]))
        at_once(too_long.read())
        assert too_long.rows is None


def shortfall(missing: int = 2) -> Shortfall:
    """Some are missing, and their list may be read."""
    return Shortfall(Status.FAILED, missing, since=NOW, ended_by=NOW, wait=PACE.again)


def walked(*, whole: bool = True, passed_over: frozenset[str] = frozenset()) -> ListWalk:
    """A reading that is over."""
    walk = ListWalk(Pages([page("a", total=1 if whole else 2)]))
    while at_once(walk.read()) is not None:
        pass
    walk.passed_over = set(passed_over)
    return walk


def broken_off() -> ListWalk:
    """A reading that could not be brought to an end."""
    walk = walked()
    walk.broken_off = True
    return walk


class TestWhenAListIsReadAgain:
    def test_nothing_is_read_where_nothing_is_missing(self) -> None:
        assert shortfall(0).due_at(NOW) == inf

    def test_a_reading_under_way_goes_on(self) -> None:
        some = shortfall()
        some.read_at = NOW + 900
        assert some.due_at(NOW) == NOW + 900
        some.walk = walked()
        assert some.due_at(NOW) == NOW

    def test_one_that_explains_nothing_is_repeated_later_and_later(self) -> None:
        some = shortfall()
        waits = []
        for _ in range(7):
            some.walk = walked(whole=False)
            assert not some.end(NOW, PACE)
            waits.append(some.read_at - NOW)
        assert waits == [900, 1800, 3600, 7200, 14_400, 21_600, 21_600]

    def test_one_that_was_broken_off_is_repeated_soon_and_later_with_each_more(self) -> None:
        some = shortfall()
        waits = []
        for _ in range(6):
            some.walk = broken_off()
            assert not some.end(NOW, PACE)
            waits.append(some.read_at - NOW)
        assert waits == [60, 120, 240, 480, 900, 900]
        some.walk = walked(whole=False)
        some.end(NOW, PACE)
        assert some.read_at == NOW + 900
        some.walk = broken_off()
        some.end(NOW, PACE)
        assert some.read_at == NOW + 60

    def test_the_whole_list_without_them_shows_that_nothing_is_lost(self) -> None:
        some = shortfall()
        walk = some.walk = walked()
        assert some.end(NOW, PACE)
        assert some.last_walk is walk
        assert replace(some, walk=None) == some

    def test_what_seems_too_young_is_looked_at_by_a_second_reading(self) -> None:
        some = shortfall()
        some.walk = walked(passed_over=frozenset({"a"}))
        assert not some.end(NOW, PACE)
        assert some.passed_over == frozenset({"a"})
        assert some.read_at == NOW + PACE.every
        some.walk = walked(passed_over=frozenset({"a"}))
        assert some.end(NOW, PACE)

    def test_that_begins_again_where_the_second_was_not_whole(self) -> None:
        some = shortfall()
        some.walk = walked(passed_over=frozenset({"a"}))
        some.end(NOW, PACE)
        some.walk = walked(whole=False)
        assert not some.end(NOW, PACE)
        assert some.passed_over is None

    def test_where_all_was_found_there_is_nothing_to_put_right(self) -> None:
        some = shortfall(0)
        some.walk = walked()
        assert not some.end(NOW, PACE)

    def test_more_than_before_is_looked_for_at_once(self) -> None:
        some = shortfall(2)
        some.read_at = NOW + 900
        some.note(2, NOW + 5, NOW + 1)
        assert (some.read_at, some.ended_by) == (NOW + 900, NOW + 5)
        some.note(3, NOW + 6, NOW + 2)
        assert (some.missing, some.read_at, some.ended_by) == (3, NOW + 2, NOW + 6)

    def test_while_a_list_is_read_it_is_read_for_what_was_missing_when_it_began(self) -> None:
        some = shortfall(2)
        some.walk, some.read_at = walked(), NOW - 5
        some.note(3, NOW + 6, NOW + 2)
        assert (some.missing, some.read_at, some.ended_by) == (3, NOW - 5, NOW)


class TestWhichRowsAreLookedAt:
    SOUGHT = Sought(since=100.0, oldest=50.0, youngest=200.0)

    @pytest.mark.parametrize(
        ("stamps", "young"),
        [
            ({"completed_at": 201.0}, True),
            ({"completed_at": 200.0}, False),
            ({"updated_at": 201.0}, True),
            # An edit moves the one, and a runner's clock the other.
            ({"completed_at": 201.0, "updated_at": 199.0}, False),
            ({"completed_at": 199.0, "updated_at": 201.0}, False),
            ({"created_at": 201.0, "started_at": 201.0}, False),
        ],
    )
    def test_what_ended_just_now_is_found_as_ever(
        self, stamps: dict[str, float], young: bool
    ) -> None:
        assert self.SOUGHT.is_young(row("a", **stamps)) == young
        assert not self.SOUGHT.is_young(row("a", "running", **stamps))

    @pytest.mark.parametrize(
        ("stamps", "old"),
        [
            ({"completed_at": 99.0}, True),
            ({"completed_at": 100.0}, False),
            ({"created_at": 49.0}, True),
            ({"created_at": 99.0}, True),
            ({"created_at": 100.0}, False),
            ({"created_at": 10.0, "started_at": 20.0, "updated_at": 100.0}, False),
            # It ended too early, though it was edited since.
            ({"completed_at": 99.0, "updated_at": 150.0}, True),
            ({}, False),
        ],
    )
    def test_what_ended_too_early_does_not_count(self, stamps: dict[str, float], old: bool) -> None:
        assert self.SOUGHT.is_old(row("a", **stamps)) == old
        assert not self.SOUGHT.is_old(row("a", "queued", **stamps))

    def test_what_nobody_has_touched_for_longer_than_the_list_looks_back_is_old(self) -> None:
        sought = replace(self.SOUGHT, since=0.0)
        assert sought.is_old(row("a", completed_at=49.0))
        assert not sought.is_old(row("a", completed_at=50.0))
        for stamp in ("created_at", "started_at", "updated_at"):
            assert not sought.is_old(row("a", completed_at=10.0, **{stamp: 50.0}))

    def test_a_status_that_nobody_knows_may_be_an_end(self) -> None:
        assert self.SOUGHT.is_young(row("a", "archived", completed_at=201.0))
        assert self.SOUGHT.is_old(row("a", "archived", completed_at=99.0))


class TestAudits:
    @given(st.floats(0, 5000))
    def test_the_next_one_begins_after_its_time_and_never_at_once(self, took: float) -> None:
        begun = next_audit(NOW, NOW + took, PACE, broken_off=False)
        assert begun == max(NOW + PACE.audit, NOW + took + PACE.page)

    def test_one_that_was_broken_off_is_repeated_after_a_while(self) -> None:
        assert next_audit(NOW, NOW + 5, PACE, broken_off=True) == NOW + 5 + PACE.again


class TestSinceWhen:
    def test_from_the_line_where_it_was_drawn_just_now(self) -> None:
        assert counts_since(NOW, NOW + 5) == NOW
        assert counts_since(NOW, NOW + FIRST_SECONDS) == NOW

    def test_else_from_now_on(self) -> None:
        later = NOW + FIRST_SECONDS + 1
        assert counts_since(NOW, later) == later
        assert counts_since(None, NOW) == NOW


class TestFilters:
    @pytest.mark.parametrize(
        ("statuses", "contradicted"),
        [
            ([], False),
            (["failed"], False),
            (["completed"], True),
            (["failed", "completed"], False),
            (["completed", "completed"], True),
            (["failed", "completed", "completed"], True),
            (["FAILED", "archived"], False),
        ],
    )
    def test_a_page_of_another_status_tells_that_there_is_none(
        self, statuses: list[str], contradicted: bool
    ) -> None:
        rows = tuple(row(str(number), status) for number, status in enumerate(statuses))
        shown = WorkflowPage(rows, len(rows), 0, len(rows))
        assert contradicts(Status.FAILED, shown) == contradicted
