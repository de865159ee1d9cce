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
    MOST_STALLS,
    PER_PAGE,
    REMEMBERED,
    TAIL_READS,
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


class TestPagesOfAnotherSize:
    def test_a_service_that_returns_more_than_was_asked_for_counts_by_that(self) -> None:
        reach = after(150)
        assert reach.end == 150
        assert reach.next_page(PER_PAGE, 0) == PageToRead(2, PER_PAGE, 150)
        assert reach.next_page(PER_PAGE, 160) == PageToRead(3, PER_PAGE, 150)
        assert reach.placed(PageToRead(3), 150).first == 300
        # A page that is longer still does not change it, nor a short one.
        assert reach.placed(PageToRead(3), 120).first == 300

    def test_a_short_page_of_that_size_ends_where_the_next_one_begins(self) -> None:
        reach = after(150)
        assert reach.read(PageToRead(2, 100, 150), listed(150, 270))
        assert reach.end == 300

    def test_if_it_returns_what_was_asked_for_it_counts_by_that_again(self) -> None:
        reach = after(150)
        assert reach.placed(PageToRead(3, 100, 150), 100).stride is None
        assert reach.next_page(PER_PAGE, 0).stride is None

    def test_an_empty_page_is_where_it_was_asked_for(self) -> None:
        reach = after(150)
        assert reach.placed(PageToRead(3), 0) == PageToRead(3)

    def test_a_small_size_is_asked_for_as_it_is(self) -> None:
        reach = after(60, size=50)
        assert reach.next_page(PER_PAGE, 0) == PageToRead(2, 60, 60)

    def test_a_service_that_returns_fewer_is_asked_for_so_many_and_later_for_more(self) -> None:
        reach = after(30)
        assert reach.next_page(PER_PAGE, 0).size <= 30
        assert reach.read(PageToRead(2, 28), listed(28, 56))
        assert reach.next_page(PER_PAGE, 0).size <= 30
        assert reach.read(PageToRead(2, 30), listed(30, 60))
        assert 30 < reach.next_page(PER_PAGE, 0).size <= 60

    def test_if_it_returns_as_few_again_that_is_its_limit(self) -> None:
        reach = after(30)
        assert reach.read(PageToRead(2, 30), listed(30, 60))
        assert not reach.read(PageToRead(3, 60), listed(300, 330))
        assert reach.read(PageToRead(3, 30), listed(60, 90))
        assert reach.next_page(PER_PAGE, 0).size <= 30

    def test_a_search_asks_for_no_more_rows_than_were_ever_returned(self) -> None:
        assert Reach().certain_page(100, PER_PAGE) == PageToRead(2, 100)
        assert after(50, size=50).certain_page(100, PER_PAGE) == PageToRead(3, 50)
        assert after(50, size=50).certain_page(100, 20) == PageToRead(6, 20)

    def test_nor_does_a_look_below_the_last_page_that_is_shown_again(self) -> None:
        reach = after(10, 1000, size=10)
        for end in range(20, 140, 10):
            assert reach.read(PageToRead(end // 10, 10), listed(end - 10, end, 1000))
        rows = 2
        for _ in range(6):
            page = reach.next_page(10 if rows == 2 else PER_PAGE, 0)
            assert page.size <= 10
            assert reach.read(page, listed(130 - rows, 130, 1000))
            rows = reach.next_page(PER_PAGE, 0).size

    def test_a_row_that_cannot_be_read_is_not_asked_for_again(self) -> None:
        reach = after(10, size=10)
        assert reach.read(PageToRead(11, 1), shown(unreadable=1))
        assert reach.end == 11
        for most in (10, 5, 2):
            assert reach.next_page(most, 0).first >= 11
        # Pages above it may hold more.
        assert reach.page(0, 10) == PageToRead(1, 10)

    def test_the_next_page_may_begin_directly_below_it(self) -> None:
        reach = after(10, size=10)
        assert reach.read(PageToRead(11, 1), shown(unreadable=1))
        assert reach.read(PageToRead(12, 1), shown("n11"))
        # It repeats one row, and ten of its rows are new: half of what may be asked for.
        assert reach.next_page(20, 0) == PageToRead(2, 11)

    def test_two_of_them_are(self) -> None:
        reach = after(10, size=10)
        assert reach.read(PageToRead(6, 2), shown(unreadable=2))
        assert reach.end == 12
        assert reach.next_page(10, 0).first < 12


class TestTheEnd:
    def test_a_total_of_a_page_is_not_believed(self) -> None:
        assert not after(30, 30).at_end

    def test_one_that_told_of_more_rows_is(self) -> None:
        reach = after(100, 130)
        assert not reach.at_end
        assert reach.read(PageToRead(2), listed(100, 130, 130))
        assert (reach.at_end, reach.agreed, reach.contradicted) == (True, True, False)
        assert reach.ends_with == "n129"

    def test_so_is_one_with_the_row_that_was_the_last_before(self) -> None:
        reach = after(30, 30, ended_with="n29")
        assert (reach.at_end, reach.agreed) == (True, True)
        assert not after(30, 30, ended_with="n28").at_end
        assert not after(30, 30, ended_with="n29", trusts_total=False).at_end

    def test_and_one_of_a_page_that_shows_the_last_rows_again(self) -> None:
        reach = after(30, 30)
        assert reach.read(PageToRead(2, 20), listed(20, 30, 30))
        assert (reach.at_end, reach.agreed) == (True, True)

    def test_a_full_page_is_not_the_end(self) -> None:
        assert not after(100, 100, ended_with="n99").at_end

    def test_fewer_rows_than_the_total_are_not_the_end(self) -> None:
        reach = after(100, 130)
        assert reach.read(PageToRead(2), listed(100, 129, 130))
        assert (reach.at_end, reach.contradicted) == (False, False)

    def test_more_rows_than_the_total_contradict_it(self) -> None:
        reach = after(100, 130)
        assert reach.read(PageToRead(2), listed(100, 131, 130))
        assert (reach.at_end, reach.agreed, reach.contradicted) == (False, False, True)

    def test_the_whole_list_shown_again_below_its_end_contradicts_nothing(self) -> None:
        reach = after(30, 30)
        reach.read(PageToRead(3, 30), listed(0, 30, 30))
        assert not reach.contradicted

    def test_of_a_list_that_is_read_again_and_again_a_short_page_of_known_rows_is(self) -> None:
        reach = after(100, is_repeated=True)
        assert reach.read(PageToRead(2, 95), listed(95, 100))
        assert (reach.at_end, reach.doubtful) == (True, False)
        reach = after(100)
        assert reach.read(PageToRead(2, 95), listed(95, 100))
        assert not reach.at_end

    @pytest.mark.parametrize(
        ("rows", "size", "page", "ends"),
        [
            (50, 50, PageToRead(2, 50), True),
            (30, 100, PageToRead(2, 20), True),
            (1, 1, PageToRead(1, 2), False),
        ],
        ids=["as many", "of unknown size", "more than ever came"],
    )
    def test_not_if_more_rows_were_asked_for_than_a_page_ever_had(
        self, rows: int, size: int, page: PageToRead, *, ends: bool
    ) -> None:
        reach = after(rows, size=size, is_repeated=True)
        assert reach.read(page, listed(max(0, rows - 10), rows))
        assert reach.at_end == ends

    def test_then_a_larger_total_that_is_not_trusted_was_wrong(self) -> None:
        reach = after(100, trusts_total=False, is_repeated=True)
        assert reach.read(PageToRead(2, 95), listed(95, 100, 200))
        assert (reach.at_end, reach.agreed, reach.contradicted) == (True, False, True)

    def test_not_if_the_total_tells_of_more(self) -> None:
        reach = after(100, 200, is_repeated=True)
        assert reach.read(PageToRead(2, 95), listed(95, 100, 200))
        assert not reach.at_end

    def test_what_is_below_a_short_page_of_known_rows_is_asked_for_next(self) -> None:
        reach = after(100)
        assert reach.read(PageToRead(2, 95), listed(95, 100))
        assert reach.next_page(PER_PAGE, 0) == PageToRead(21, 5)
        assert reach.next_page(3, 0) == PageToRead(51, 2)

    def test_a_full_page_of_known_rows_is_followed_by_one_that_repeats_a_row(self) -> None:
        reach = after(100)
        assert reach.read(PageToRead(2), listed(0, 100))
        assert reach.next_page(PER_PAGE, 0).first < reach.end

    def test_a_service_that_shows_its_last_page_for_ever_ends_there(self) -> None:
        reach = after(100)
        for each in range(TAIL_READS):
            assert not reach.at_end, each
            reach.read(PageToRead(2 + each), listed(0, 100))
        assert (reach.at_end, reach.doubtful) == (True, False)

    def test_rows_that_it_shows_again_without_the_last_one_end_it_in_doubt(self) -> None:
        reach = after(100)
        for each in range(MOST_STALLS):
            assert not reach.at_end, each
            reach.read(PageToRead(1, 50), listed(0, 50))
        assert (reach.at_end, reach.doubtful) == (True, True)

    def test_the_last_row_is_told_only_if_nothing_may_be_missing_above_it(self) -> None:
        assert after(30, ended_with="z").ends_with == "z"
        assert after(30).ends_with is None
        reach = after(30, 30, ended_with="n29")
        assert reach.ends_with == "n29"
        reach.doubtful = True
        assert reach.ends_with == "n29"
        empty = Reach(ended_with="z")
        empty.read(PageToRead(1), shown(total=0))
        assert empty.ends_with == "z"

    @pytest.mark.parametrize(
        "pages",
        [
            [(PageToRead(2), shown(total=50))],
            [(PageToRead(2, 95), listed(95, 190, 190))],
            [(PageToRead(2), shown(total=50)), (PageToRead(2, 99), listed(99, 100, 100))],
        ],
        ids=["empty", "right", "the last row"],
    )
    def test_that_its_total_was_wrong_once_is_not_forgotten(
        self, pages: list[tuple[PageToRead, WorkflowPage]]
    ) -> None:
        reach = after(100, 50, trusts_total=False)
        assert reach.contradicted
        for page, rows in pages:
            reach.read(page, rows)
        assert reach.contradicted

    def test_a_page_that_is_not_the_whole_list_shown_again_contradicts_a_smaller_total(
        self,
    ) -> None:
        reach = after(100)
        assert reach.read(PageToRead(2, 95), listed(95, 100, 50))
        assert reach.contradicted
        reach = after(100)
        assert reach.read(PageToRead(2), listed(100, 130, 30))
        assert reach.contradicted

    def test_its_last_page_ends_it_where_its_total_tells_of_no_more(self) -> None:
        reach = after(100, 400)
        for number in range(2, 2 + TAIL_READS):
            assert not reach.at_end
            reach.read(PageToRead(number), listed(0, 100, 400))
        assert (reach.at_end, reach.doubtful) == (True, False)


class TestATotalOfThePage:
    """It counts as many rows as the page has, although more have been read."""

    def test_below_the_first_page_it_tells_nothing_of_the_list(self) -> None:
        reach = after(30)
        page = PageToRead(2, 30)
        assert reach.understood(page, listed(30, 60, 30), 0.0).total is None
        assert reach.contradicted
        # That is known from then on, and stays contradicted.
        assert reach.understood(PageToRead(3, 30), listed(60, 90, 30), 0.0).total is None
        assert reach.contradicted

    def test_nor_does_it_where_the_list_goes_on_below_the_end_that_it_told(self) -> None:
        reach = after(30, 30)
        assert reach.understood(PageToRead(2, 30), listed(30, 50, 50), 0.0).total is None
        assert reach.contradicted

    def test_on_the_first_page_rows_may_have_been_deleted(self) -> None:
        reach = after(30)
        assert reach.understood(PageToRead(1, 30), listed(0, 20, 20), 0.0).total == 20
        assert not reach.contradicted
