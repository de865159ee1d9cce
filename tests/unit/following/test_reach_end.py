"""Where a list ends: how many rows a service returns at once, and which totals are believed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from exporter.following.paging import (
    MOST_STALLS,
    PER_PAGE,
    TAIL_READS,
    PageToRead,
    Reach,
)
from tests.unit.following.test_reach import after, listed, shown

if TYPE_CHECKING:
    from exporter.comfycontrol import WorkflowPage


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
        assert reach.placed(PageToRead(2, 60, 60), 60).stride == 60

    def test_a_service_that_returns_fewer_is_asked_for_so_many_and_later_for_more(self) -> None:
        reach = after(30)
        assert reach.next_page(PER_PAGE, 0).size <= 30
        assert reach.read(PageToRead(2, 28), listed(28, 56))
        assert reach.next_page(PER_PAGE, 0).size <= 30
        assert reach.read(PageToRead(2, 30), listed(30, 60))
        assert 30 < reach.next_page(PER_PAGE, 0).size <= 60
        assert reach.page(1000, PER_PAGE).size <= 60

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
