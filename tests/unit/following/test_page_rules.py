"""What a list's numbers tell: where its pages begin, what its total counts, how much to ask for.

Each is learnt from what the service shows, as its documents do not say. What is learnt wrong hides
workflows, or asks for pages that nobody needs.
"""

from copy import deepcopy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.comfycontrol import WorkflowPage, WorkflowSummary
from exporter.following.answer_size import (
    FIRST_GROWTH_SECONDS,
    LAST_GROWTH_SECONDS,
    AnswerSize,
)
from exporter.following.page_numbers import (
    AGAIN_SECONDS,
    MOST_UNANSWERED,
    SOON_SECONDS,
    SOONER_SECONDS,
    PageNumbers,
    stands_above,
)
from exporter.following.page_totals import FRESH_SECONDS, PageTotals
from exporter.following.paging import MOST_STALLS, PER_PAGE, PageToRead, Reach

NOW = 1000.0


def page(*ids: str, total: int | None = None, newest: float | None = None) -> WorkflowPage:
    """A page with these rows, each a second older than the one above it."""
    rows = tuple(
        WorkflowSummary(each, "completed", created_at=None if newest is None else newest - place)
        for place, each in enumerate(ids)
    )
    return WorkflowPage(rows, total=total, malformed=0, entries=len(rows))


class TestWhetherAPageStandsAboveAnother:
    def test_any_page_stands_above_one_that_is_refused(self) -> None:
        assert stands_above(page("a"), None)
        assert stands_above(page(), None)

    def test_an_empty_page_stands_above_none(self) -> None:
        assert not stands_above(page(), page("a"))
        assert not stands_above(page(), page())

    def test_any_row_stands_above_an_empty_page(self) -> None:
        assert stands_above(page("a"), page())

    def test_a_page_that_shows_half_of_the_other_again_is_the_same(self) -> None:
        shown = page("a", "b", "c", "d")
        assert not stands_above(shown, shown)
        assert not stands_above(page("x", "y", "a", "b"), shown)
        assert stands_above(page("x", "y", "z", "a"), shown)
        assert stands_above(page("x", "y", "z", "a", "b"), page("a", "b", "c", "d", "e"))

    def test_half_of_the_shorter_one_is_enough(self) -> None:
        assert not stands_above(page("w", "x", "y", "z", "a"), page("a", "b"))
        assert not stands_above(page("a", "b"), page("w", "x", "y", "z", "a"))

    def test_older_rows_stand_below_it(self) -> None:
        assert not stands_above(page("x", "y", newest=NOW - 50), page("a", "b", newest=NOW))
        assert stands_above(page("x", "y", newest=NOW + 50), page("a", "b", newest=NOW))
        # Equally old: created at once.
        assert stands_above(page("x", newest=NOW), page("a", newest=NOW))

    def test_rows_without_a_stamp_tell_nothing_of_the_order(self) -> None:
        assert stands_above(page("x", newest=NOW - 50), page("a"))
        assert stands_above(page("x"), page("a", newest=NOW))


class TestFirstNumber:
    def test_page_1_that_shows_the_whole_list_needs_no_other(self) -> None:
        numbers = PageNumbers()
        whole = page("a", "b", total=2)
        assert not numbers.is_doubtful(whole, NOW, is_total_the_lists=True)
        # That total may be the page's own.
        assert numbers.is_doubtful(whole, NOW, is_total_the_lists=False)
        assert numbers.is_doubtful(page("a", total=2), NOW, is_total_the_lists=True)
        assert numbers.is_doubtful(None, NOW, is_total_the_lists=True)

    def test_pages_from_0_are_found_by_what_page_0_shows(self) -> None:
        numbers = PageNumbers()
        assert numbers.settle(page("x", "y"), page("a"), NOW)
        assert numbers.first == 0
        assert not numbers.is_doubtful(page("x", total=9), NOW, is_total_the_lists=True)
        assert numbers.first == 0

    @pytest.mark.parametrize("shown", [None, page(total=9)])
    def test_page_0_that_is_gone_was_none(self, shown: WorkflowPage | None) -> None:
        numbers = PageNumbers()
        numbers.settle(page("x"), page("a"), NOW)
        assert not numbers.is_doubtful(shown, NOW + 1, is_total_the_lists=True)
        assert numbers.first == 1
        # And it is looked for again at once.
        assert numbers.is_doubtful(page("a", total=9), NOW + 1, is_total_the_lists=True)

    @pytest.mark.parametrize("shown", [page(), page(total=0), page("a", total=9)])
    def test_an_empty_list_leaves_the_number(self, shown: WorkflowPage) -> None:
        numbers = PageNumbers()
        numbers.settle(page("x"), page("a"), NOW)
        numbers.is_doubtful(shown, NOW + 1, is_total_the_lists=True)
        assert numbers.first == 0

    @pytest.mark.parametrize(
        ("above", "shown"),
        [
            (page("a", "b", total=2), page("a", "b", total=2)),
            (page("n", "a", "b", total=0), page("a", "b", total=2)),
            (page("a", "b"), page("a", "b")),
        ],
        ids=["whole", "another came meanwhile", "no total"],
    )
    def test_page_0_that_shows_the_same_rows_tells_nothing_until_the_list_is_longer(
        self, above: WorkflowPage, shown: WorkflowPage
    ) -> None:
        # Found in simulated time (seeds 607, 61023): beyond the end the service repeated the last
        # page, and while that was page 0, page 1 showed the same rows.
        numbers = PageNumbers()
        assert not numbers.settle(above, shown, NOW)
        assert not numbers.is_doubtful(shown, NOW + 1, is_total_the_lists=False)
        assert not numbers.is_doubtful(page("n", "a", "b"), NOW + 1, is_total_the_lists=False)
        assert not numbers.is_doubtful(page(total=0), NOW + 1, is_total_the_lists=False)
        for grown in (page("n", "a"), page("b"), page("n", "a", "b", total=4)):
            again = deepcopy(numbers)
            assert again.is_doubtful(grown, NOW + 2, is_total_the_lists=True)
        grown = page("b", total=3)
        assert numbers.is_doubtful(grown, NOW + 2, is_total_the_lists=True)
        # If it is so again, page 0 is answered as page 1: that is asked less and less often.
        assert not numbers.settle(grown, grown, NOW + 2)
        begin = NOW + 2
        for number in range(9):
            grown = page(f"p{number}", "o", total=5)
            wait = min(AGAIN_SECONDS, SOON_SECONDS * 2.0**number)
            assert not numbers.is_doubtful(grown, begin + wait - 1, is_total_the_lists=True)
            begin += wait
            assert numbers.is_doubtful(grown, begin, is_total_the_lists=True)
            assert not numbers.settle(grown, grown, begin)

    @pytest.mark.parametrize("before", [page(), page("a", total=1)], ids=["empty", "whole"])
    def test_without_an_answer_a_list_that_has_grown_is_asked_about_once_a_while(
        self, before: WorkflowPage
    ) -> None:
        numbers = PageNumbers()
        numbers.settle(before, before, NOW)
        grown = page("b", total=9)
        assert _is_doubtful(numbers, grown, NOW + 1)
        numbers.unanswered(NOW + 1)
        assert not _is_doubtful(numbers, grown, NOW + SOON_SECONDS)
        assert _is_doubtful(numbers, grown, NOW + 1 + SOON_SECONDS)

    def test_without_an_answer_an_empty_page_is_not_the_first_until_so_many_tries(self) -> None:
        numbers = PageNumbers()
        for _ in range(MOST_UNANSWERED):
            assert not numbers.may_be_first(page(total=0), is_beginning=False)
            assert numbers.may_be_first(page("a"), is_beginning=False)
            # Found in simulated time (seed 82524): the newest rows were on page 0, and what had
            # ended there before counting began was counted.
            assert not numbers.may_be_first(page("a"), is_beginning=True)
            assert _is_doubtful(numbers, page(), NOW)
            numbers.unanswered(NOW)
            assert not numbers.is_certain
        assert numbers.may_be_first(page(total=0), is_beginning=False)
        assert numbers.may_be_first(page("a"), is_beginning=True)
        assert not _is_doubtful(numbers, page(), NOW)

    @pytest.mark.parametrize(
        ("above", "shown"),
        [
            (page("x", newest=NOW - 9), page("a", newest=NOW)),
            (page("x", newest=NOW - 50, total=5), page("a", newest=NOW, total=9)),
            (page("x", newest=NOW - 50, total=9), page("a", newest=NOW, total=5)),
            (page("a", "b", total=5), page("a", "b", total=9)),
            (page("a", "b", total=9), page("a", "b", total=5)),
        ],
        ids=[
            "created at once",
            "page 0 by a lagging replica",
            "page 1 by a lagging replica",
            "the first rows of then are the second page now",
            "the second page of then",
        ],
    )
    def test_two_pages_that_do_not_show_which_is_newer_are_compared_again_soon(
        self, above: WorkflowPage, shown: WorkflowPage
    ) -> None:
        # Found in simulated time (seeds 70515, 70525, 50001): the newest rows were not read for an
        # hour.
        numbers = PageNumbers()
        begin = NOW
        for number in range(11):
            assert not numbers.settle(above, shown, begin)
            assert not numbers.is_certain
            if number:
                # Another row has come: this says nothing of the other page, and delays nothing.
                _is_doubtful(numbers, page("new", newest=NOW, total=99), begin)
            wait = min(AGAIN_SECONDS, SOONER_SECONDS * 2.0**number)
            assert not _is_doubtful(numbers, shown, begin + wait - 1)
            begin += wait
            assert _is_doubtful(numbers, shown, begin)
        assert numbers.settle(page("n", newest=NOW + 60), shown, begin)

    @pytest.mark.parametrize(
        ("above", "shown"),
        [
            (page("x", newest=NOW - 10), page("a", newest=NOW)),
            (page("x", newest=NOW - 50, total=9), page("a", newest=NOW, total=9)),
            (page("x", newest=NOW - 50, total=9), page("a", newest=NOW)),
            (page("x", newest=NOW - 50), page("a", newest=NOW, total=9)),
        ],
    )
    def test_clearly_older_rows_on_page_0_settle_it(
        self, above: WorkflowPage, shown: WorkflowPage
    ) -> None:
        numbers = PageNumbers()
        assert not numbers.settle(above, shown, NOW)
        assert not _is_doubtful(numbers, shown, NOW + AGAIN_SECONDS - 1)

    def test_of_a_list_that_was_never_seen_nothing_has_grown(self) -> None:
        numbers = PageNumbers()
        assert not numbers.settle(None, None, NOW)
        assert not _is_doubtful(numbers, page("a", total=9), NOW + SOON_SECONDS - 1)

    def test_otherwise_page_0_tells(self) -> None:
        numbers = PageNumbers()
        assert not numbers.settle(None, page("a", total=1), NOW)
        grown = page("b", total=9)
        assert not numbers.is_doubtful(grown, NOW + 1, is_total_the_lists=True)

    def test_without_a_page_before_it_page_1_is_taken_for_granted_for_an_hour(self) -> None:
        numbers = PageNumbers()
        assert not numbers.settle(None, page("a"), NOW)
        assert numbers.first == 1
        shown = page("a", total=9)
        assert not numbers.is_doubtful(shown, NOW + AGAIN_SECONDS - 1, is_total_the_lists=True)
        assert numbers.is_doubtful(shown, NOW + AGAIN_SECONDS, is_total_the_lists=True)

    def test_a_page_0_without_rows_is_not_the_first(self) -> None:
        numbers = PageNumbers()
        assert not numbers.settle(page(), page("a"), NOW)
        assert numbers.first == 1

    @pytest.mark.parametrize("nothing", [page(), page(total=0)])
    @pytest.mark.parametrize("above", [None, page(), page(total=0)])
    def test_an_empty_list_tells_nothing_of_it_and_is_asked_again_with_its_first_row(
        self, nothing: WorkflowPage, above: WorkflowPage | None
    ) -> None:
        numbers = PageNumbers()
        assert not numbers.settle(above, nothing, NOW)
        assert not numbers.is_doubtful(nothing, NOW + 1, is_total_the_lists=False)
        assert numbers.is_doubtful(page(total=1), NOW + 2, is_total_the_lists=True)
        assert numbers.settle(page("a", total=1), page(total=1), NOW + 2)
        assert numbers.first == 0

    @pytest.mark.parametrize("total", [None, 300])
    def test_rows_after_an_empty_list_are_asked_about_once(self, total: int | None) -> None:
        numbers = PageNumbers()
        numbers.settle(page(), page(), NOW)
        shown = page("a", total=total)
        assert numbers.is_doubtful(shown, NOW + 1, is_total_the_lists=False)
        assert not numbers.settle(page("a", total=total), shown, NOW + 1)
        assert not numbers.is_doubtful(shown, NOW + 2, is_total_the_lists=False)

    def test_an_empty_page_with_a_total_is_asked_about_once_an_hour(self) -> None:
        numbers = PageNumbers()
        lying = page(total=9)
        assert not numbers.settle(None, lying, NOW)
        assert not numbers.is_doubtful(lying, NOW + 1, is_total_the_lists=True)

    def test_page_0_where_page_1_is_refused_is_the_first(self) -> None:
        numbers = PageNumbers()
        assert numbers.settle(page("x"), None, NOW)
        assert numbers.first == 0

    def test_a_refusal_of_both_says_nothing_and_is_asked_again_later_and_later(self) -> None:
        numbers = PageNumbers()
        now, waits = NOW, []
        shown = page("a", total=9)
        for _ in range(14):
            assert not numbers.settle(None, None, now)
            assert numbers.first == 1
            wait = next(w for w in _waits() if _is_doubtful(numbers, shown, now + w))
            waits.append(wait)
            now += wait
        assert waits[:4] == [SOON_SECONDS * factor for factor in (1, 2, 4, 8)]
        assert waits[-1] == AGAIN_SECONDS
        # An answer begins that again.
        numbers.settle(None, shown, now)
        numbers.unanswered(now)
        assert not _is_doubtful(numbers, shown, now + SOON_SECONDS - 1)
        assert _is_doubtful(numbers, shown, now + SOON_SECONDS)


def _waits() -> list[float]:
    return [*(SOON_SECONDS * 2**n for n in range(6)), AGAIN_SECONDS, 2 * AGAIN_SECONDS]


def _is_doubtful(numbers: PageNumbers, shown: WorkflowPage, now: float) -> bool:
    return numbers.is_doubtful(shown, now, is_total_the_lists=True)


class TestWhatTotalsCount:
    def test_a_total_of_more_than_is_shown_and_stands_above_is_the_lists(self) -> None:
        totals = PageTotals()
        totals.note(page("a", "b", total=3), 0, NOW, is_new=True)
        assert totals.count_the_list(NOW)
        assert not totals.count_what_was_shown

    @pytest.mark.parametrize(("total", "first"), [(2, 0), (1, 0), (12, 10), (None, 0)])
    def test_a_total_that_may_be_the_pages_says_nothing(
        self, total: int | None, first: int
    ) -> None:
        totals = PageTotals()
        totals.note(page("a", "b", total=total), first, NOW, is_new=True)
        assert not totals.count_the_list(NOW)
        assert not totals.count_what_was_shown

    def test_the_last_page_shown_again_with_the_total_of_all_tells_as_well(self) -> None:
        totals = PageTotals()
        totals.note(page("a", "b", total=12), 10, NOW, is_new=False)
        assert totals.count_the_list(NOW)
        alone = PageTotals()
        alone.note(page("a", "b", total=2), 10, NOW, is_new=False)
        assert not alone.count_the_list(NOW)

    def test_that_is_believed_for_a_while(self) -> None:
        totals = PageTotals()
        totals.note(page("a", total=3), 0, NOW, is_new=True)
        assert totals.count_the_list(NOW + FRESH_SECONDS - 1)
        assert not totals.count_the_list(NOW + FRESH_SECONDS)
        totals.note(page("a", total=3), 0, NOW + FRESH_SECONDS, is_new=True)
        assert totals.count_the_list(NOW + FRESH_SECONDS)

    @pytest.mark.parametrize(("total", "counts"), [(2, True), (12, True), (3, False)])
    def test_a_longer_list_than_its_total_counts_the_page_or_what_was_shown(
        self, total: int, counts: bool
    ) -> None:
        totals = PageTotals()
        shown = page("a", "b", total=total)
        totals.note_more(shown, 10)
        assert totals.count_what_was_shown is counts
        assert totals.understood(shown).total == (None if counts else total)
        assert totals.understood(shown).workflows == shown.workflows

    def test_what_counts_so_far_is_not_taken_for_the_list_by_its_last_page(self) -> None:
        so_far, of_page = PageTotals(), PageTotals()
        so_far.note_more(page("a", "b", total=12), 10)
        of_page.note_more(page("a", "b", total=2), 10)
        for totals in (so_far, of_page):
            totals.note(page("b", "c", total=12), 10, NOW, is_new=False)
        assert not so_far.count_the_list(NOW)
        assert of_page.count_the_list(NOW)


class TestHowMuchToAskFor:
    def test_a_full_page_at_first(self) -> None:
        assert AnswerSize().most == PER_PAGE

    def test_half_as_many_after_each_failure_down_to_one(self) -> None:
        size = AnswerSize()
        asked = []
        for _ in range(9):
            size.failed(size.most, NOW)
            asked.append(size.most)
        assert asked == [50, 25, 12, 6, 3, 1, 1, 1, 1]

    def test_a_smaller_page_that_fails_says_more_than_a_larger_one(self) -> None:
        size = AnswerSize()
        size.failed(20, NOW)
        assert size.most == 10
        size.failed(PER_PAGE, NOW)
        assert size.most == 10

    @given(st.integers(1, 12))
    def test_more_are_tried_after_a_time_that_doubles_with_each_failure(
        self, failures: int
    ) -> None:
        size = AnswerSize()
        for _ in range(failures):
            size.failed(8, NOW)
        wait = min(LAST_GROWTH_SECONDS, FIRST_GROWTH_SECONDS * 2 ** (failures - 1))
        size.worked(size.most, NOW + wait - 1)
        assert size.most == 4
        size.worked(size.most, NOW + wait)
        assert size.most == 8

    def test_it_grows_up_to_a_full_page_and_no_further(self) -> None:
        size = AnswerSize()
        size.failed(PER_PAGE, NOW)
        size.left_out(NOW)
        for _ in range(3):
            size.worked(size.most, NOW)
        assert size.most == PER_PAGE

    def test_an_answer_of_few_rows_says_nothing_of_many(self) -> None:
        size = AnswerSize()
        size.failed(80, NOW)
        size.left_out(NOW)
        size.worked(20, NOW)
        assert size.most == 40
        size.worked(21, NOW)
        assert size.most == 80

    def test_a_full_page_that_came_forgets_the_failures(self) -> None:
        size = AnswerSize()
        for _ in range(3):
            size.failed(PER_PAGE, NOW)
        size.left_out(NOW)
        size.worked(PER_PAGE, NOW)
        size.failed(PER_PAGE, NOW)
        size.worked(50, NOW + FIRST_GROWTH_SECONDS - 1)
        assert size.most == 50
        size.worked(50, NOW + FIRST_GROWTH_SECONDS)
        assert size.most == PER_PAGE


class TestPagesWithoutAnyRow:
    """Below its end a list may show rows that cannot be read, on every page that is asked for."""

    @staticmethod
    def unreadable(entries: int) -> WorkflowPage:
        return WorkflowPage((), total=None, malformed=entries, entries=entries)

    @pytest.mark.parametrize("is_repeated", [True, False])
    @given(rows=st.integers(0, 90), entries=st.integers(2, 100))
    def test_they_end_it_some_time(self, *, is_repeated: bool, rows: int, entries: int) -> None:
        reach = Reach(is_repeated=is_repeated)
        top = page(*(f"w{n}" for n in range(rows)))
        reach.read(
            reach.next_page(PER_PAGE, 0),
            WorkflowPage(top.workflows, None, malformed=3, entries=rows + 3),
        )
        pages = 1
        while not reach.at_end:
            asked = reach.next_page(PER_PAGE, 0)
            reach.read(asked, self.unreadable(max(2, min(entries, asked.size))))
            pages += 1
            assert pages <= MOST_STALLS * 3
        assert reach.doubtful

    def test_a_row_that_is_too_large_ends_nothing(self) -> None:
        reach = Reach()
        reach.read(reach.next_page(PER_PAGE, 0), page(*(f"w{n}" for n in range(PER_PAGE))))
        for _ in range(MOST_STALLS * 2):
            reach.read(reach.next_page(1, 0), self.unreadable(1))
        assert not reach.at_end


class TestATotalThatHasBecomeSmaller:
    """Rows were deleted, or a lagging replica has answered: rows may be missing in between."""

    @pytest.mark.parametrize("trusts_total", [True, False])
    def test_a_page_right_below_that_repeats_no_row_does_not_continue(
        self, *, trusts_total: bool
    ) -> None:
        # Found in simulated time (seed 70525).
        reach = Reach(trusts_total=trusts_total)
        reach.read(PageToRead(1, 5), page(*"abcde", total=12))
        assert not reach.read(PageToRead(2, 5), page(*"klm", total=8))
        assert reach.end < 5
        assert not reach.at_end

    @pytest.mark.parametrize("first", [5, 9])
    def test_an_end_that_it_shows_is_doubtful(self, first: int) -> None:
        reach = Reach()
        reach.read(PageToRead(1, 5), page(*"abcde", total=first))
        reach.read(PageToRead(6, 1), page(total=5))
        reach.read(PageToRead(6, 1), page(total=5))
        assert reach.at_end
        assert reach.doubtful == (first > 5)

    def test_a_deleted_row_makes_a_pass_step_back_only_once(self) -> None:
        reach = Reach()
        reach.read(PageToRead(1, 5), page(*"abcde", total=20))
        assert not reach.read(PageToRead(2, 5), page(*"ghijk", total=19))
        reach.read(PageToRead(1, 5), page(*"acdef", total=19))
        assert reach.read(PageToRead(2, 5), page(*"ghijk", total=19))
        assert reach.read(PageToRead(3, 5), page(*"lmnop", total=19))

    def test_a_lagging_top_after_a_step_back_is_not_the_whole_list(self) -> None:
        reach = Reach()
        reach.read(PageToRead(1, 5), page(*"abcde", total=12))
        for _ in range(2):
            assert not reach.read(PageToRead(1, 5), page(*"uvwxy", total=5))
        assert not reach.at_end
