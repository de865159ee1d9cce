"""Single steps of a pass: what each page decides, and how many pages a search may cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import pytest

from exporter.comfycontrol import WorkflowPage, WorkflowSummary
from exporter.following.listing_pass import (
    AGELESS_ROWS,
    MOST_BLIND_PAGES,
    MOST_STEPS,
    OVERLAP_SECONDS,
    TOP_ROWS,
    ListingPass,
    PageToRead,
    PassBefore,
    page_from,
)
from exporter.following.paging import TAIL_READS
from tests.unit.following.served_list import ServedList
from tests.unit.following.test_listing_pass import NOW, Entry, ServiceList, a_pass, read, wanted

if TYPE_CHECKING:
    from collections.abc import Iterable

MANY = 20_000


def shown(rows: Iterable[WorkflowSummary], total: int | None = MANY) -> WorkflowPage:
    """A page with these rows."""
    rows = tuple(rows)
    return WorkflowPage(rows, total=total, malformed=0, entries=len(rows))


def aged(ages: Iterable[float], name: str = "r") -> list[WorkflowSummary]:
    """Rows that were created so many seconds ago."""
    return [
        WorkflowSummary(f"{name}{n}", "completed", created_at=NOW - age)
        for n, age in enumerate(ages)
    ]


def after_the_top(listing: ListingPass, now: float = 0.0, total: int | None = MANY) -> ListingPass:
    """It has read a first page on which nothing is new."""
    listing.read(PageToRead(1), shown(aged(range(100), "top"), total), now)
    return listing


class TestTheTop:
    def test_rows_as_old_as_the_line_may_have_others_below_them(self) -> None:
        at_line = [*range(97), *[OVERLAP_SECONDS] * 3]
        listing = a_pass(watermark=NOW)
        listing.read(PageToRead(1), shown(aged(at_line)), 0.0)
        assert not listing.complete
        listing = a_pass(watermark=NOW)
        listing.read(PageToRead(1), shown(aged([*range(97), *[OVERLAP_SECONDS + 0.1] * 3])), 0.0)
        assert listing.complete

    @pytest.mark.parametrize("order", ["created", "updated"])
    def test_the_newest_is_told_by_the_stamp_that_sorts_the_list(self, order: str) -> None:
        in_order = [NOW - n for n in range(10)]
        otherwise = [NOW + 100 * n for n in range(10)]
        created, updated = (in_order, otherwise) if order == "created" else (otherwise, in_order)
        if order == "updated":
            created = [stamp - 5000 for stamp in created]
        rows = [
            WorkflowSummary(str(n), "completed", created_at=created[n], updated_at=updated[n])
            for n in range(10)
        ]
        listing = a_pass(watermark=None)
        listing.read(PageToRead(1), shown(rows), 0.0)
        assert listing.newest == NOW

    def test_where_open_workflows_stand_is_kept_and_where_others_stand_is_not(self) -> None:
        statuses = ["running", "completed", "queued", "failed", "unheard of"]
        rows = [
            WorkflowSummary(status, status, created_at=NOW - n) for n, status in enumerate(statuses)
        ]
        listing = a_pass()
        listing.read(PageToRead(1), shown(rows, 50), 0.0)
        assert listing.learnt.heights == {"running": 50, "queued": 48, "unheard of": 46}

    @pytest.mark.parametrize(("rows", "ends"), [(AGELESS_ROWS - 1, False), (AGELESS_ROWS, True)])
    def test_so_many_rows_without_a_stamp_end_the_pass(self, rows: int, ends: bool) -> None:
        listing = a_pass(watermark=NOW - 500)
        listing.read(PageToRead(1, rows), shown(aged(range(rows))), 0.0)
        ageless = [WorkflowSummary(f"x{n}", "completed") for n in range(rows)]
        listing.read(PageToRead(2, rows), shown(ageless), 0.0)
        assert (listing.complete, listing.newest is None) == (ends, ends)

    def test_rows_without_a_stamp_at_the_top_show_no_workflow_to_be_missing(self) -> None:
        listing = a_pass(watermark=NOW - 500, wanted=wanted(5000))
        listing.read(PageToRead(1), shown(aged(range(100))), 0.0)
        ageless = [WorkflowSummary(f"x{n}", "completed") for n in range(AGELESS_ROWS)]
        listing.read(PageToRead(1, AGELESS_ROWS), shown(ageless), 0.0)
        assert listing.complete
        assert listing.missing == []

    @pytest.mark.parametrize(("age", "is_believed"), [(0.0, True), (-0.1, False)])
    def test_no_stamp_after_the_latest_is_believed(self, age: float, *, is_believed: bool) -> None:
        listing = ListingPass(
            watermark=None,
            horizon=0.0,
            wanted=(),
            before=PassBefore(),
            rank_of=lambda _: 0,
            latest=NOW,
        )
        listing.read(PageToRead(1), shown(aged([age])), 0.0)
        assert listing.newest == (NOW if is_believed else None)

    def test_the_next_pass_knows_so_many_rows_of_the_top(self) -> None:
        listing = a_pass(watermark=None)
        rows = aged(range(TOP_ROWS + 100))
        for number in range(1, len(rows) // 100 + 1):
            listing.read(PageToRead(number), shown(rows[100 * number - 100 : 100 * number]), 0.0)
        assert listing.learnt.top == {each.id for each in rows[:TOP_ROWS]}

    def test_the_next_pass_knows_how_long_the_list_was_when_this_one_began(self) -> None:
        listing = a_pass(watermark=None)
        listing.read(PageToRead(1), shown(aged(range(100)), MANY), 5.0)
        listing.read(PageToRead(2), shown(aged(range(100), "x"), MANY + 10), 6.0)
        assert (listing.learnt.total, listing.learnt.began) == (MANY, 5.0)

    def test_rows_that_cannot_be_read_add_up(self) -> None:
        listing = a_pass(watermark=None)
        for number, unreadable in ((1, 2), (2, 3)):
            rows = tuple(aged(range(100 * number - 100, 100 * number - unreadable), f"{number}-"))
            page = WorkflowPage(rows, MANY, malformed=unreadable, entries=100)
            listing.read(PageToRead(number), page, 0.0)
        assert listing.unreadable == 5


class TestRowsWithoutStamps:
    """Then only the rows of the pass before show where what is known begins."""

    @staticmethod
    def page(number: int) -> WorkflowPage:
        return shown(WorkflowSummary(f"{number}-{n}", "completed") for n in range(100))

    @pytest.mark.parametrize("is_repeated", [False, True])
    def test_all_below_a_row_of_the_pass_before_is_known(self, *, is_repeated: bool) -> None:
        listing = self.blind(PassBefore(top=frozenset(["2-50"])), is_repeated=is_repeated)
        listing.read(PageToRead(1), self.page(1), 0.0)
        assert not listing.complete
        listing.read(PageToRead(2), self.page(2), 0.0)
        assert listing.complete

    @pytest.mark.parametrize("is_repeated", [False, True])
    def test_otherwise_so_many_pages_are_read(self, *, is_repeated: bool) -> None:
        listing = self.blind(PassBefore(), is_repeated=is_repeated)
        for number in range(1, MOST_BLIND_PAGES + 1):
            assert not listing.complete
            listing.read(PageToRead(number), self.page(number), 0.0)
        assert listing.complete != is_repeated

    @staticmethod
    def blind(before: PassBefore, *, is_repeated: bool) -> ListingPass:
        return ListingPass(
            watermark=NOW,
            horizon=0.0,
            wanted=(),
            before=before,
            rank_of=lambda _: 0,
            is_repeated=is_repeated,
        )


class TestWhereASearchGoes:
    BUSY = PassBefore(total=MANY - 1000, began=-10.0)
    """The pass before began ten seconds ago: a hundred rows a second."""

    def test_rows_that_were_added_since_have_moved_the_place(self) -> None:
        listing = after_the_top(a_pass(wanted=wanted(15_066), rank=15_066, before=self.BUSY))
        page = listing.next_page(10.0)
        # A thousand, less what may be fewer by chance.
        assert page == PageToRead(161)
        assert page.first == 15_066 + 1000 - 66

    @pytest.mark.parametrize("seconds", [0.5, 10.0])
    def test_without_a_total_the_rows_show_how_fast_the_list_grows(self, seconds: float) -> None:
        listing = a_pass(watermark=None)
        rows = aged(range(140))
        listing.read(PageToRead(1), shown(rows[:100], None), 10.0)
        listing.read(PageToRead(2, 95), shown(rows[45:], None), 10.0 + seconds)
        # Fifty were added. In the same time again it is that, less what may be fewer.
        assert listing.next_page(10.0 + 2 * seconds) == page_from(190 + 50 - 17 - 1)

    def test_a_list_that_is_shorter_than_in_the_pass_before_does_not_grow(self) -> None:
        listing = a_pass(watermark=None, before=PassBefore(total=MANY + 100, began=-1.0))
        listing.read(PageToRead(1), shown(aged(range(100))), 0.0)
        assert listing.next_page(1000.0) == page_from(99)

    def test_a_list_without_a_total_that_gets_shorter_does_not_grow(self) -> None:
        listing = a_pass(watermark=None)
        rows = aged(range(185))
        listing.read(PageToRead(1), shown(rows[:100], None), 10.0)
        listing.read(PageToRead(2, 90), shown(rows[95:], None), 20.0)
        assert listing.next_page(1020.0) == page_from(180 - 1)

    def test_after_a_step_back_it_is_not_guessed_how_many_were_added(self) -> None:
        listing = a_pass(watermark=None, before=self.BUSY)
        listing.read(PageToRead(1), shown(aged(range(100))), 0.0)
        listing.read(PageToRead(5), shown(aged(range(100), "other")), 0.0)
        assert listing.next_page(10.0) == page_from(99)

    @pytest.mark.parametrize("rank", range(15_000, 15_200, 25))
    def test_between_two_bounds_it_goes_to_the_middle(self, rank: int) -> None:
        listing = after_the_top(a_pass(wanted=wanted(5000), rank=rank, before=self.BUSY))
        page = listing.next_page(0.0)
        listing.read(page, shown(aged(range(page.first, page.end))), 0.0)
        middle = (100 + page.first - page.size) // 2
        assert listing.next_page(10.0) == page_from(middle)

    def test_a_page_without_stamps_is_taken_for_too_deep(self) -> None:
        listing = after_the_top(a_pass(wanted=wanted(5000), rank=15_050))
        page = listing.next_page(0.0)
        rows = [WorkflowSummary(f"x{n}", "completed") for n in range(page.size)]
        listing.read(page, shown(rows), 0.0)
        assert not listing.complete
        assert listing.next_page(0.0).first < 10_000

    def test_after_such_a_page_a_search_still_goes_deeper_page_by_page(self) -> None:
        service = ServiceList.of(6000)
        stamps = [entry.created_at for entry in service.entries]
        for entry in service.entries[150:350]:
            entry.created_at = None

        def stamp(number: int) -> None:
            if number > 1:
                for entry, created in zip(service.entries, stamps, strict=True):
                    entry.created_at = created

        listing = a_pass(wanted=[("gone", NOW - 150.5), *wanted(5000)], rank=200)
        reading = read(listing, service, stamp)
        assert len(reading.pages) > MOST_STEPS
        assert "n5000" in reading.seen
        assert listing.missing == ["gone"]


class TestWhatASearchCosts:
    @pytest.mark.parametrize(
        ("rows", "total", "is_last"),
        [(100, None, False), (99, None, True), (50, 250, True), (50, 251, False)],
        ids=["full", "short", "short at the end", "short above the end"],
    )
    def test_one_that_is_older_than_the_last_page_is_missing(
        self, rows: int, total: int | None, *, is_last: bool
    ) -> None:
        listing = after_the_top(a_pass(wanted=wanted(5000), rank=200), total=total)
        assert listing.next_page(0.0) == PageToRead(3)
        listing.read(PageToRead(3), shown(aged(range(200, 200 + rows)), total), 0.0)
        assert listing.complete == is_last
        assert listing.missing == ["n5000"] * is_last

    def test_one_that_is_older_than_the_list_is_missing_where_the_list_ends(self) -> None:
        listing = a_pass(watermark=None, wanted=wanted(5000))
        for _ in range(1 + TAIL_READS):
            assert not listing.complete
            # The service shows its last page again and again.
            page = listing.next_page(0.0)
            listing.read(PageToRead(page.number), shown(aged(range(100)), None), 0.0)
        assert listing.complete
        assert listing.missing == ["n5000"]

    def test_one_that_is_gone_from_its_page_is_missing_at_once(self) -> None:
        service = ServiceList.of(1000)
        service.delete("n500")
        listing = a_pass(wanted=wanted(500), rank=450)
        assert len(read(listing, service).pages) == 2
        assert listing.missing == ["n500"]

    @pytest.mark.parametrize(("rank", "pages"), [(100, 2), (0, 2)])
    def test_one_that_is_gone_between_two_pages_is_missing_after_both(
        self, rank: int, pages: int
    ) -> None:
        listing = a_pass(wanted=[("gone", NOW - 99.5)], rank=rank)
        assert len(read(listing, ServiceList.of(1000)).pages) == pages
        assert listing.missing == ["gone"]

    def test_so_it_is_where_the_lower_one_was_read_first(self) -> None:
        listing = a_pass(wanted=[("gone", NOW - 199.5)], rank=200)
        assert read(listing, ServiceList.of(1000)).pages == [1, 3, 2]
        assert listing.missing == ["gone"]

    def test_one_that_was_created_with_the_first_row_of_a_page_may_be_above_it(self) -> None:
        service = ServiceList.of(1000)
        service.entries[499] = Entry("twin", NOW - 500)
        listing = a_pass(wanted=[("twin", NOW - 500)], rank=500)
        assert "twin" in read(listing, service).seen
        assert listing.missing == []

    def test_between_two_bounds_there_are_so_many_steps_and_no_more(self) -> None:
        # A list that is said to be so long that halving it takes more steps.
        listing = after_the_top(a_pass(wanted=wanted(5000), rank=2**60), total=2**61)
        for step in range(1 + MOST_STEPS):
            assert not listing.complete, step
            page = listing.next_page(0.0)
            older = range(page.first + 5000, page.end + 5000)
            listing.read(page, shown(aged(older, f"{step}-"), 2**61), 0.0)
        assert listing.missing == []
        page = listing.next_page(0.0)
        listing.read(page, shown(aged(range(6000, 6000 + page.size), "last"), 2**61), 0.0)
        assert listing.missing == ["n5000"]
        assert listing.complete

    @pytest.mark.parametrize("guess", [0, 45, 55])
    @pytest.mark.parametrize("counted_by", ["asked", "given"])
    @pytest.mark.parametrize(("cap", "overlap"), [(2, 0), (3, 2), (5, 5), (5, 6), (10, 12)])
    def test_a_search_asks_for_no_more_rows_than_the_service_returns(
        self, cap: int, overlap: float, counted_by: Literal["asked", "given"], guess: int
    ) -> None:
        # The pass catches up just before it would try whether the service returns more rows.
        rows = aged(range(300), "n")
        served = ServedList(rows, cap=cap, counted_by=counted_by)
        listing = ListingPass(
            watermark=NOW,
            horizon=0.0,
            wanted=wanted(55),
            before=PassBefore(),
            rank_of=lambda _: guess,
            overlap=overlap,
        )
        seen: set[str] = set()
        reads = 0
        while not listing.complete:
            reads += 1
            assert reads <= 60 / cap + 20
            page = listing.next_page(0.0)
            answer = served.page(page.number, page.size)
            seen |= {workflow.id for workflow in answer.workflows}
            listing.read(page, answer, 0.0)
        assert "n55" in seen

    def test_a_service_that_shows_the_same_rows_again_and_again_is_asked_so_often_only(
        self,
    ) -> None:
        listing = after_the_top(a_pass(wanted=wanted(5000), rank=200))
        for _ in range(1 + MOST_STEPS):
            assert not listing.complete
            page = listing.next_page(0.0)
            listing.read(page, shown(aged(range(200, 200 + page.size), "same")), 0.0)
        page = listing.next_page(0.0)
        listing.read(page, shown(aged(range(200, 200 + page.size), "same")), 0.0)
        assert listing.missing == ["n5000"]
        assert listing.complete
