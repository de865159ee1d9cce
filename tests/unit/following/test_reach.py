"""How far down a list has been read: what each page adds, and what shows that it ends.

Each page is given by its rows. `n0` is the newest one, and `n5` has rank 5 until others arrive.
"""

from __future__ import annotations

import pytest

from exporter.comfycontrol import WorkflowPage, WorkflowSummary
from exporter.following.paging import (
    EMPTY_READS,
    FIRST_STEP_BACK,
    MOST_MARGIN,
    MOST_SLIPS,
    PER_PAGE,
    REMEMBERED,
    PageToRead,
    Reach,
    page_at,
    page_from,
)


def shown(*ids: str, total: int | None = None, unreadable: int = 0) -> WorkflowPage:
    """A page with these rows, and so many that cannot be read."""
    rows = tuple(WorkflowSummary(each, "completed") for each in ids)
    return WorkflowPage(rows, total, malformed=unreadable, entries=len(rows) + unreadable)


def listed(first: int, end: int, total: int | None = None, name: str = "n") -> WorkflowPage:
    """A page with the rows from this one to that one."""
    return shown(*(f"{name}{number}" for number in range(first, end)), total=total)


def after(rows: int, total: int | None = None, *, size: int = PER_PAGE, **known: object) -> Reach:
    """So many rows were read on the first page, of those that were asked for."""
    reach = Reach(**known)  # type: ignore[arg-type]
    assert reach.read(PageToRead(1, size), listed(0, rows, total))
    return reach


class TestWhichPage:
    def test_the_one_that_shows_most_rows_from_a_rank_on(self) -> None:
        assert page_from(0) == PageToRead(1, PER_PAGE)
        assert page_from(99) == PageToRead(2, 99)
        assert page_from(101) == PageToRead(2, 100)
        # No page may begin at 151 or a little above, and hold many rows below it.
        assert page_from(151) == PageToRead(3, 75)

    def test_none_is_smaller_than_needed(self) -> None:
        assert page_from(7, 10) == PageToRead(2, 7)
        assert page_from(23, 10) == PageToRead(3, 10)

    def test_none_begins_above_a_row_that_cannot_be_read(self) -> None:
        assert page_from(7, 10, floor=7) == PageToRead(2, 7)
        assert page_from(9, 10, floor=8) == PageToRead(2, 9)
        assert page_from(11, 10, floor=11) == PageToRead(12, 1)

    def test_such_a_row_below_the_rank_leaves_a_page_of_one_row(self) -> None:
        assert page_from(5, 10, floor=7) == PageToRead(6, 1)

    def test_the_largest_that_begins_at_a_rank(self) -> None:
        assert page_at(100, 100) == PageToRead(2, 100)
        assert page_at(90, 100) == PageToRead(2, 90)
        assert page_at(91, 90) == PageToRead(8, 13)
        assert page_at(97, 90) == PageToRead(98, 1)


class TestAnEmptyPage:
    def test_one_that_must_have_rows_is_read_again(self) -> None:
        reach = Reach()
        for _ in range(EMPTY_READS - 1):
            assert not reach.read(PageToRead(1), shown(total=5))
            assert not reach.at_end
        assert reach.read(PageToRead(1), shown(total=5))
        assert (reach.at_end, reach.agreed, reach.contradicted) == (True, False, True)

    @pytest.mark.parametrize(("total", "agrees"), [(0, True), (None, False)])
    def test_otherwise_the_list_is_empty(self, total: int | None, *, agrees: bool) -> None:
        reach = Reach()
        assert reach.read(PageToRead(1), shown(total=total))
        assert (reach.at_end, reach.agreed, reach.contradicted) == (True, agrees, False)

    def test_directly_below_it_is_the_end_if_the_total_says_so(self) -> None:
        reach = after(100, 100)
        assert reach.read(PageToRead(2), shown(total=100))
        assert (reach.at_end, reach.agreed, reach.contradicted) == (True, True, False)

    @pytest.mark.parametrize(
        ("before", "now"), [(150, 150), (120, 100), (None, None)], ids=["more", "fewer", "none"]
    )
    def test_otherwise_the_last_row_is_looked_at_again(
        self, before: int | None, now: int | None
    ) -> None:
        reach = after(100, before)
        assert not reach.read(PageToRead(2), shown(total=now))
        assert (reach.at_end, reach.agreed) == (False, False)
        page = reach.next_page(PER_PAGE, 0)
        assert page.first <= 99 < page.end
        # It is still the last one: there is nothing below.
        assert reach.read(page, listed(page.first, 100, now))
        assert reach.at_end

    def test_of_a_list_that_is_read_again_and_again_it_is_the_end(self) -> None:
        reach = after(100, is_repeated=True)
        assert reach.read(PageToRead(2), shown())
        assert (reach.at_end, reach.contradicted) == (True, False)

    def test_a_total_that_is_not_trusted_ends_nothing(self) -> None:
        reach = after(100, 100, trusts_total=False)
        assert not reach.read(PageToRead(2), shown(total=100))
        assert not reach.agreed

    def test_elsewhere_it_tells_of_no_end_until_it_was_seen_so_often(self) -> None:
        reach = after(100)
        for _ in range(MOST_SLIPS):
            assert not reach.read(PageToRead(4), shown())
            assert (reach.end, reach.at_end, reach.doubtful) == (100, False, False)
        assert reach.read(PageToRead(4), shown())
        assert (reach.at_end, reach.doubtful) == (True, True)


class TestAStepBack:
    def test_it_is_twice_as_long_each_time_and_ends_at_the_top(self) -> None:
        reach, expected = after(100), 100
        for rows in (FIRST_STEP_BACK, 2 * FIRST_STEP_BACK, 4 * FIRST_STEP_BACK):
            assert not reach.read(PageToRead(2, 10), listed(0, 10, name="x"))
            expected -= rows
            assert (reach.end, reach.steady) == (expected, False)
        assert not reach.read(PageToRead(2, 10), listed(0, 10, name="x"))
        assert reach.end == 0

    def test_it_is_as_long_as_rows_were_deleted_and_then_longer(self) -> None:
        reach = after(100, 300)
        assert not reach.read(PageToRead(2), listed(0, 100, 290, name="x"))
        assert reach.end == 90
        assert not reach.read(PageToRead(2, 80), listed(0, 80, 280, name="x"))
        assert reach.end == 90 - 2 * FIRST_STEP_BACK

    def test_from_a_page_that_was_too_deep_it_is_none(self) -> None:
        reach = after(100, 300)
        assert not reach.read(PageToRead(3), listed(0, 100, 300, name="x"))
        assert (reach.end, reach.steady) == (100, False)

    def test_the_next_page_repeats_more_rows_each_time_up_to_a_limit(self) -> None:
        reach, margins = after(100), []
        for _ in range(MOST_MARGIN):
            assert not reach.read(PageToRead(2, 10), listed(0, 10, name="x"))
            margins.append(reach.end - reach.next_page(PER_PAGE, 0).first)
            assert reach.read(PageToRead(1), listed(0, 100))
            assert (reach.end, reach.steady) == (100, True)
        assert margins == [min(MOST_MARGIN, 3 + 2 * each) for each in range(MOST_MARGIN)]


class TestAPageThatDoesNotContinue:
    def test_rows_that_were_added_since_fill_it(self) -> None:
        reach = after(100, 200)
        assert not reach.read(PageToRead(2), listed(0, 100, 300, name="new"))
        assert (reach.end, reach.steady) == (200, True)
        reach = after(10, 20, size=10)
        assert not reach.read(PageToRead(11, 1), shown("new", total=21))
        assert (reach.end, reach.steady) == (11, True)

    def test_one_fewer_cannot_fill_it(self) -> None:
        reach = after(100, 200)
        assert not reach.read(PageToRead(2), listed(0, 100, 299, name="new"))
        assert (reach.end, reach.steady) == (100 - FIRST_STEP_BACK, False)

    def test_a_total_that_is_not_trusted_tells_of_no_rows(self) -> None:
        reach = after(100, 200, trusts_total=False)
        assert reach.read(PageToRead(2), listed(0, 100, 300, name="new"))
        assert reach.end == 200

    def test_a_short_one_that_was_asked_for_too_many_rows_may_be_from_anywhere(self) -> None:
        reach = after(50, size=50)
        assert not reach.read(PageToRead(2, 60), listed(100, 130))
        assert (reach.end, reach.steady) == (50, True)
        # So many are asked for from now on.
        assert reach.next_page(PER_PAGE, 0).size <= 30

    def test_a_short_one_of_a_known_size_is_at_its_place(self) -> None:
        reach = after(100)
        assert not reach.read(PageToRead(4, 50), listed(200, 230))
        assert not reach.steady

    def test_a_full_one_that_was_asked_for_more_than_before_is_at_its_place(self) -> None:
        reach = after(50, size=50)
        assert not reach.read(PageToRead(2, 60), listed(100, 160))
        assert not reach.steady

    def test_a_page_directly_below_continues_unless_it_should_have_repeated_a_row(self) -> None:
        reach = after(100)
        assert reach.read(PageToRead(2), listed(100, 200))
        assert reach.end == 200
        page = reach.next_page(PER_PAGE, 0)
        assert page.first < reach.end
        assert not reach.read(page, listed(page.first + 20, page.end + 20))

    def test_nor_if_more_were_added_than_expected(self) -> None:
        reach = after(100)
        assert reach.next_page(PER_PAGE, 1) == PageToRead(2)
        assert not reach.read(PageToRead(2), listed(110, 210))
        assert not reach.steady

    def test_a_page_repeats_a_row_only_if_half_of_its_rows_are_new(self) -> None:
        assert after(9, size=9).next_page(3, 0) == PageToRead(5, 2)
        assert after(3, size=3).next_page(4, 0) == PageToRead(2, 3)

    def test_where_the_total_stays_rows_that_are_not_repeated_were_only_deleted_below(self) -> None:
        reach = after(100, 300)
        assert reach.read(PageToRead(2), listed(100, 200, 300))
        assert reach.end == 200

    def test_after_so_many_steps_back_a_page_is_taken_and_a_gap_may_be_above_it(self) -> None:
        reach = after(100)
        for each in range(MOST_SLIPS):
            assert not reach.read(PageToRead(5), listed(400, 500, name=f"x{each}-"))
            assert not reach.doubtful
        assert reach.read(PageToRead(5), listed(400, 500))
        assert (reach.doubtful, reach.steady, reach.pushed, reach.end) == (True, True, None, 500)
        assert reach.read(PageToRead(5), listed(400, 500))
        assert reach.doubtful


class TestAPageThatContinues:
    def test_directly_below_the_last_row(self) -> None:
        reach = after(100)
        assert reach.read(PageToRead(2), listed(100, 200))
        assert (reach.end, reach.pushed) == (200, None)

    def test_the_row_that_it_repeats_shows_how_many_were_added(self) -> None:
        reach = after(100)
        assert reach.read(PageToRead(2, 95), listed(90, 185))
        assert (reach.end, reach.pushed) == (190, 5)

    def test_or_how_many_were_deleted(self) -> None:
        reach = after(100)
        assert reach.read(PageToRead(2, 90), listed(95, 185))
        assert (reach.end, reach.pushed) == (180, -5)

    def test_a_short_one_shows_it_where_it_is_the_last(self) -> None:
        reach = after(100)
        assert reach.read(PageToRead(2, 95), listed(90, 140))
        assert (reach.end, reach.pushed) == (145, 5)
        reach = after(100, 140)
        assert reach.read(PageToRead(2, 95), listed(90, 140, 145))
        assert (reach.end, reach.pushed, reach.at_end) == (145, 5, True)

    def test_so_does_one_of_as_many_rows_as_the_largest_page(self) -> None:
        reach = after(50, size=50)
        assert reach.read(PageToRead(2, 50), listed(45, 75))
        assert (reach.end, reach.pushed) == (80, 5)

    def test_otherwise_it_may_begin_elsewhere_and_only_its_rows_count(self) -> None:
        reach = after(100, 300)
        assert reach.read(PageToRead(2, 95), listed(90, 140, 300))
        assert (reach.end, reach.pushed) == (140, None)
        reach = after(100, 300)
        assert reach.read(PageToRead(2, 95), listed(90, 140, 303))
        assert (reach.end, reach.pushed) == (143, None)

    def test_where_all_of_them_were_deleted_only_the_new_rows_are_left(self) -> None:
        reach = after(10, 300)
        assert reach.read(PageToRead(2, 9), listed(5, 12, 290))
        assert reach.end == 2

    def test_so_it_is_if_more_were_asked_for_than_ever_came(self) -> None:
        reach = after(50, size=50)
        assert reach.read(PageToRead(2, 60), listed(45, 55))
        assert (reach.end, reach.pushed) == (55, None)

    def test_rows_read_before_show_how_far_the_list_has_moved(self) -> None:
        reach = after(100)
        assert reach.read(PageToRead(2, 30), listed(10, 40))
        assert (reach.end, reach.pushed) == (120, 20)

    @pytest.mark.parametrize(
        "ids",
        [("n10", "n12", "n13"), ("n10",), ("x", "n10", "n12")],
        ids=["with a gap", "one row", "one row below another"],
    )
    def test_rows_in_another_order_do_not(self, ids: tuple[str, ...]) -> None:
        reach = after(100)
        reach.read(PageToRead(2, len(ids)), shown(*ids))
        assert reach.end == 2 * len(ids)

    def test_a_new_row_above_them_does_not_matter(self) -> None:
        reach = after(100)
        assert reach.read(PageToRead(2, 4), shown("x", "n10", "n11", "n12"))
        assert reach.end == 8 + 87

    def test_nor_do_rows_from_above_a_page_that_repeated_none(self) -> None:
        reach = after(100)
        assert reach.read(PageToRead(2), listed(100, 200))
        assert reach.read(PageToRead(2, 90), listed(95, 185))
        assert reach.end == 180
        reach = after(100)
        assert reach.read(PageToRead(2), listed(100, 200))
        assert reach.read(PageToRead(2, 90), listed(100, 190))
        assert reach.end == 190

    def test_a_row_above_the_last_one_that_it_repeats_is_none_of_those_below(self) -> None:
        reach = after(100)
        assert reach.read(PageToRead(34, 3), shown("x", "n99", "n100"))
        assert not reach.has_read("x")
        assert reach.has_read("n100")

    def test_after_a_step_back_it_does_not_show_how_many_were_added(self) -> None:
        reach = after(100)
        assert not reach.read(PageToRead(3), listed(200, 300))
        assert reach.read(PageToRead(2, 95), listed(90, 185))
        assert (reach.end, reach.pushed, reach.steady) == (190, None, True)

    def test_the_last_rows_are_remembered(self) -> None:
        reach = after(100)
        for number in range(2, REMEMBERED // 100 + 2):
            assert reach.has_read("n0")
            reach.read(PageToRead(number), listed(number * 100 - 100, number * 100))
        assert not reach.has_read("n99")
        assert reach.has_read("n100")
