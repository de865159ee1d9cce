"""Which pages of the list a pass reads, against a list that moves while it is read."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import pytest

from exporter.comfycontrol import WorkflowPage, WorkflowSummary
from exporter.following.listing_pass import (
    OVERLAP_SECONDS,
    PER_PAGE,
    ListingPass,
    PageToRead,
    PassBefore,
    page_from,
)

NOW = 1_000_000.0
SECONDS_A_PAGE = 0.5


@dataclass
class Entry:
    id: str
    created_at: float | None
    readable: bool = True


@dataclass
class ServiceList:
    """The list as the service keeps it, newest first."""

    entries: list[Entry] = field(default_factory=list)
    tells_total: bool = True

    @classmethod
    def of(cls, count: int, *, gap: float = 1.0) -> "ServiceList":
        """`n0` is the newest, created now; each further one is `gap` seconds older."""
        return cls([Entry(f"n{n}", NOW - n * gap) for n in range(count)])

    def page(self, page: PageToRead) -> WorkflowPage:
        shown = self.entries[(page.number - 1) * page.size : page.number * page.size]
        return WorkflowPage(
            workflows=tuple(
                WorkflowSummary(e.id, "completed", created_at=e.created_at)
                for e in shown
                if e.readable
            ),
            total=len(self.entries) if self.tells_total else None,
            malformed=sum(not e.readable for e in shown),
            entries=len(shown),
        )

    def arrive(self, count: int) -> None:
        self.entries[:0] = [Entry(f"new{n}-{len(self.entries)}", NOW + 1) for n in range(count)]

    def delete(self, *ids: str) -> None:
        self.entries = [e for e in self.entries if e.id not in ids]


@dataclass
class Reading:
    pages: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)


def read(
    listing: ListingPass,
    service: ServiceList,
    between: Callable[[int], object] = lambda _: None,
) -> Reading:
    """Read the whole pass; `between` is called with the number of each page after it was read."""
    reading = Reading()
    clock = 0.0
    while not listing.complete:
        page = listing.next_page(clock)
        reading.pages.append(page.number)
        reading.sizes.append(page.size)
        assert page.number >= 1
        assert 1 <= page.size <= PER_PAGE
        assert len(reading.pages) <= 400, "it does not come to an end"
        shown = service.page(page)
        reading.seen |= {w.id for w in shown.workflows}
        listing.read(page, shown, clock)
        between(page.number)
        clock += SECONDS_A_PAGE
    return reading


NOTHING = PassBefore()


def a_pass(
    *,
    watermark: float | None = NOW,
    horizon: float = 0.0,
    wanted: Iterable[tuple[str, float]] = (),
    rank: int = 0,
    before: PassBefore = NOTHING,
) -> ListingPass:
    return ListingPass(
        watermark=watermark,
        horizon=horizon,
        wanted=wanted,
        before=before,
        rank_of=lambda _: rank,
    )


def wanted(*ranks: int) -> list[tuple[str, float]]:
    return [(f"n{rank}", NOW - rank) for rank in ranks]


# What is new ------------------------------------------------------------------------------------


def test_an_empty_list_is_one_page() -> None:
    listing = a_pass(watermark=None)
    assert read(listing, ServiceList()).pages == [1]
    assert listing.newest is None


def test_a_list_that_ends_with_a_full_page_is_read_to_the_empty_one_after_it() -> None:
    listing = a_pass(watermark=None)
    assert read(listing, ServiceList.of(100)).pages == [1, 2]
    assert listing.newest == NOW


def test_where_nothing_is_new_one_page_is_enough() -> None:
    assert read(a_pass(watermark=NOW), ServiceList.of(20_000)).pages == [1]


def test_the_first_look_ends_at_the_horizon() -> None:
    reading = read(a_pass(watermark=None, horizon=NOW - 900), ServiceList.of(20_000))
    assert reading.pages == list(range(1, 11))
    assert "n900" in reading.seen


def test_it_reads_down_to_what_the_last_pass_knew_and_a_little_further() -> None:
    reading = read(a_pass(watermark=NOW - 250), ServiceList.of(20_000))
    assert reading.pages == [1, 2, 3]
    assert f"n{250 + int(OVERLAP_SECONDS)}" in reading.seen


def test_a_watermark_beyond_the_horizon_does_not_matter() -> None:
    assert read(a_pass(watermark=0.0, horizon=NOW - 150), ServiceList.of(20_000)).pages == [1, 2]


def test_the_watermark_of_the_next_pass_is_the_top_of_this_one() -> None:
    service = ServiceList.of(1000)
    listing = a_pass(watermark=NOW - 250)
    read(listing, service, lambda _: service.arrive(3))
    # What arrived while we read on lies above it, and is new the next time.
    assert listing.newest == NOW


def test_a_burst_created_in_one_second_is_read_whole() -> None:
    service = ServiceList([Entry(f"b{n}", NOW) for n in range(250)])
    service.entries += ServiceList.of(500).entries[20:]
    reading = read(a_pass(watermark=NOW - 30), service)
    assert {f"b{n}" for n in range(250)} <= reading.seen


# Pages that shift -------------------------------------------------------------------------------


def test_arrivals_between_two_pages_hide_nothing() -> None:
    service = ServiceList.of(1000)
    listing = a_pass(watermark=NOW - 300)
    reading = read(listing, service, lambda _: service.arrive(17))
    assert {f"n{n}" for n in range(300)} <= reading.seen


def test_deletions_between_two_pages_hide_nothing() -> None:
    service = ServiceList.of(1000)
    listing = a_pass(watermark=NOW - 300)

    def delete(page: int) -> None:
        if page == 1:
            service.delete("n3", "n50", "n99")

    reading = read(listing, service, delete)
    assert {f"n{n}" for n in range(300)} <= reading.seen | {"n3", "n50", "n99"}
    assert len(reading.pages) == 5, "one page more"


def test_deletions_that_arrivals_make_up_for_cost_nothing() -> None:
    service = ServiceList.of(1000)

    def change(page: int) -> None:
        if page == 1:
            service.delete("n3")
            service.arrive(1)

    reading = read(a_pass(watermark=NOW - 250), service, change)
    assert {f"n{n}" for n in range(250)} <= reading.seen
    assert reading.pages == [1, 2, 3]


def test_in_a_busy_list_little_is_read_twice() -> None:
    service = ServiceList.of(5000)
    # The pass before began ten seconds ago: a hundred a second.
    before = PassBefore(total=4000, began=-10.0)
    listing = a_pass(watermark=NOW - 2000, before=before)
    reading = read(listing, service, lambda _: service.arrive(50))
    assert {f"n{n}" for n in range(2000)} <= reading.seen
    # Twenty pages if it stood still; forty if every second one were read twice.
    assert len(reading.pages) <= 30


def test_a_busy_list_that_falls_silent_hides_nothing() -> None:
    service = ServiceList.of(5000)
    listing = a_pass(watermark=NOW - 2000, before=PassBefore(total=4000, began=-10.0))
    reading = read(listing, service)
    assert {f"n{n}" for n in range(2000)} <= reading.seen


@pytest.mark.parametrize("rank", [0, 1, 99, 100, 101, 150, 199, 250, 1234, 15_050, 99_999])
def test_a_page_begins_at_or_little_above_the_rank_that_it_is_for(rank: int) -> None:
    page = page_from(rank)
    assert page.first <= rank < page.end
    assert page.end - rank >= (75 if rank < 1000 else 85)
    assert page.size <= PER_PAGE


def test_a_list_that_shrinks_at_every_read_is_still_read_to_an_end() -> None:
    service = ServiceList.of(3000)

    def delete(_: int) -> None:
        service.delete(service.entries[0].id)

    assert len(read(a_pass(watermark=NOW - 1500), service, delete).pages) <= 40


def test_a_service_that_tells_no_total_is_read_all_the_same() -> None:
    service = ServiceList.of(1000)
    service.tells_total = False
    assert read(a_pass(watermark=NOW - 250), service).pages == [1, 2, 3]


# Malformed entries ------------------------------------------------------------------------------


def test_a_page_with_malformed_entries_is_not_taken_for_the_last() -> None:
    service = ServiceList.of(1000)
    for entry in service.entries[10:60]:
        entry.readable = False
    assert read(a_pass(watermark=NOW - 150), service).pages == [1, 2]


@pytest.mark.parametrize("readable", [True, False])
def test_a_page_whose_age_cannot_be_told_ends_the_pass_and_moves_no_watermark(
    readable: bool,
) -> None:
    service = ServiceList.of(1000)
    for entry in service.entries[100:200]:
        entry.created_at = None
        entry.readable = readable
    listing = a_pass(watermark=NOW - 500, wanted=wanted(700))
    assert read(listing, service).pages == [1, 2]
    assert listing.newest is None
    assert listing.missing == []


def test_a_single_odd_stamp_ends_no_pass() -> None:
    service = ServiceList.of(1000)
    service.entries[50].created_at = 0.0
    service.entries[51].created_at = None
    assert read(a_pass(watermark=NOW - 250), service).pages == [1, 2, 3]


# Open workflows that only the list can tell of --------------------------------------------------


def test_a_workflow_on_the_pages_that_are_read_anyway_costs_nothing() -> None:
    listing = a_pass(wanted=wanted(5, 99))
    assert read(listing, ServiceList.of(1000)).pages == [1]
    assert listing.missing == []
    assert listing.learnt.heights["n5"] == 1000 - 5
    assert listing.learnt.heights["n99"] == 1000 - 99


def test_a_deep_workflow_is_read_where_it_is_thought_to_stand() -> None:
    listing = a_pass(wanted=wanted(15_050), rank=15_050)
    reading = read(listing, ServiceList.of(20_000))
    assert len(reading.pages) == 2
    assert listing.learnt.heights["n15050"] == 20_000 - 15_050
    assert "n15050" in reading.seen


def test_what_was_found_once_is_found_again_at_once() -> None:
    service = ServiceList.of(20_000)
    first = a_pass(wanted=wanted(15_050), rank=0)
    read(first, service)
    service.arrive(230)
    second = a_pass(watermark=NOW + 60, wanted=wanted(15_050), before=first.learnt)
    assert len(read(second, service).pages) == 2
    assert second.missing == []


@pytest.mark.parametrize("rank", [15_051, 15_199, 15_200, 16_000, 19_999, 20_000, 90_000])
def test_a_guess_too_deep_is_mended_in_a_few_steps(rank: int) -> None:
    listing = a_pass(wanted=wanted(15_050), rank=rank)
    reading = read(listing, ServiceList.of(20_000))
    assert "n15050" in reading.seen
    assert listing.missing == []
    assert len(reading.pages) <= 14


@pytest.mark.parametrize("rank", [14_999, 14_900, 14_500])
def test_a_guess_too_high_is_mended_by_reading_on(rank: int) -> None:
    listing = a_pass(wanted=wanted(15_050), rank=rank)
    assert "n15050" in read(listing, ServiceList.of(20_000)).seen


def test_several_are_found_in_one_way_down() -> None:
    ids = wanted(120, 130, 555, 15_050)
    heights = {workflow_id: 20_000 - int(workflow_id[1:]) for workflow_id, _ in ids}
    listing = a_pass(wanted=ids, before=PassBefore(heights))
    reading = read(listing, ServiceList.of(20_000))
    assert len(reading.pages) == 4
    assert {workflow_id for workflow_id, _ in ids} <= reading.seen
    assert listing.missing == []


@pytest.mark.parametrize("rank", [0, 450, 550, 20_000])
def test_a_deleted_workflow_is_missing(rank: int) -> None:
    service = ServiceList.of(1000)
    service.delete("n500")
    listing = a_pass(wanted=wanted(500, 800), rank=rank)
    reading = read(listing, service)
    assert listing.missing == ["n500"]
    assert "n800" in reading.seen


def test_one_that_is_not_in_a_short_list_is_missing() -> None:
    listing = a_pass(wanted=[("gone", NOW - 5)], before=PassBefore(ended_with="n9"))
    assert read(listing, ServiceList.of(10)).pages == [1]
    assert listing.missing == ["gone"]


def test_all_that_are_left_are_missing_where_the_list_ends() -> None:
    listing = a_pass(wanted=[("gone1", NOW - 500), ("gone2", NOW - 600)])
    read(listing, ServiceList.of(150))
    assert sorted(listing.missing) == ["gone1", "gone2"]


def test_what_lies_beyond_the_horizon_is_not_looked_for() -> None:
    listing = a_pass(horizon=NOW - 400, wanted=wanted(500))
    assert read(listing, ServiceList.of(1000)).pages == [1]
    assert listing.missing == []


def test_one_of_many_created_at_the_same_time_is_found_on_whichever_page() -> None:
    service = ServiceList.of(150)
    service.entries += [Entry(f"b{n}", NOW - 500) for n in range(350)]
    service.entries += [Entry(f"o{n}", NOW - 600 - n) for n in range(300)]
    for place in (0, 49, 50, 149, 200, 349):
        listing = a_pass(wanted=[(f"b{place}", NOW - 500)], rank=150)
        read(listing, service)
        assert listing.missing == []
