"""A list that is cut into pages, counted and numbered in every way that no document rules out."""

from __future__ import annotations

import random
from typing import Any, Literal, NamedTuple

from hypothesis import given, note, settings
from hypothesis import strategies as st

from exporter.comfycontrol import WorkflowSummary
from exporter.following.listing_pass import PER_PAGE, ListingPass, PassBefore
from exporter.following.page_totals import FRESH_SECONDS, PageTotals
from tests.unit.following.served_list import ServedList


def row(number: int) -> WorkflowSummary:
    return WorkflowSummary(str(number), "completed", created_at=float(number))


@st.composite
def servers(draw: st.DrawFn) -> ServedList:
    """Any of the services; those that give more than is asked, or less, in any way."""
    length = draw(st.integers(0, 400))
    cap_share = draw(st.sampled_from([1.0, 1.0, 0.5]))
    cap = draw(st.none() | st.integers(1 if cap_share == 1 else 10, 100))
    always = draw(st.none() | st.integers(1, 300))
    return ServedList(
        [row(number) for number in range(length, 0, -1)],
        cap=cap,
        cap_share=cap_share,
        always=always if cap is None else None,
        counted_by=draw(st.sampled_from(["asked", "given"])) if always is None else "given",
        beyond=draw(st.sampled_from(["empty", "last"])),
        total=draw(st.sampled_from(["true", "absent", "stale", "wrong", "page", "so far"])),
        dice=random.Random(draw(st.integers(0, 99))),
    )


def changed(server: ServedList, arrivals: int, gone: list[int]) -> set[int]:
    """Delete some by their place, and let others arrive; which are deleted."""
    top = max([int(row.id) for row in server.rows], default=0)
    deleted = {int(server.rows[place].id) for place in set(gone) if place < len(server.rows)}
    server.rows = [each for each in server.rows if int(each.id) not in deleted]
    top = max(top, *deleted, 0)
    server.rows[:0] = [row(number) for number in range(top + arrivals, top, -1)]
    return deleted


def is_certain(server: ServedList, rows: int, deletions: bool) -> bool:
    """Whether the rows and the total together always tell where a page stands.

    Where pages cannot overlap, or are now long and now short, a deletion between two of them shows
    in nothing but a true total.
    A wrong one may be right by chance just where a page is short for another reason.
    """
    if server.total == "wrong":
        return False
    is_fickle = server.always is not None or server.cap_share < 1
    overlap = rows >= 10 and not (deletions and is_fickle)
    return overlap or server.total == "true"


@settings(deadline=None, max_examples=400)
@given(
    server=servers(),
    new=st.integers(0, 400),
    fits=st.sampled_from([100, 100, 50, 25, 1]),
    changes=st.lists(
        st.tuples(st.integers(0, 40), st.lists(st.integers(0, 300), max_size=4)), max_size=6
    ),
)
def test_everything_new_is_read_in_a_bounded_number_of_pages(
    server: ServedList, new: int, fits: int, changes: list[tuple[int, list[int]]]
) -> None:
    length = len(server.rows)
    note(f"at first: {length=}")
    watermark = float(length - new)
    fits = fits if server.always is None else 100
    listing = ListingPass(
        watermark=watermark, horizon=-1000.0, wanted=(), before=PassBefore(), rank_of=lambda _: 0
    )
    given_rows = server.always or min(server.cap or PER_PAGE, fits)
    # More than a page of arrivals between two reads would never be read to an end.
    changes = [(min(arrivals, given_rows // 2), gone) for arrivals, gone in changes]
    certain = is_certain(server, min(given_rows, fits), any(gone for _, gone in changes))
    wanted = {number for number in range(1, length + 1) if number > watermark}
    seen: set[int] = set()
    todo = list(changes)
    reads = 0
    while not listing.complete:
        reads += 1
        now = reads * 0.5
        page = listing.next_page(now, fits)
        assert 1 <= page.size <= fits
        shown = server.page(page.number, page.size)
        seen |= {int(each.id) for each in shown.workflows}
        listing.read(page, shown, now)
        # Twice each page, a few steps back, and a look for the end.
        assert reads <= 3 * (length + 240) / min(given_rows, PER_PAGE) + 60
        if todo:
            wanted -= changed(server, *todo.pop())
    if certain:
        assert wanted <= seen or listing.doubtful


@settings(deadline=None, max_examples=200)
@given(server=servers(), places=st.sets(st.integers(0, 399), max_size=4), known=st.booleans())
def test_every_wanted_workflow_is_read_or_said_to_be_missing(
    server: ServedList, places: set[int], known: bool
) -> None:
    length = len(server.rows)
    ids = [server.rows[place].id for place in places if place < length]
    # From the bottom, or else from the top.
    heights = {each: int(each) - (length if server.total == "absent" else 0) for each in ids}
    listing = ListingPass(
        watermark=float(length),
        horizon=-1000.0,
        wanted=[(each, float(each)) for each in ids],
        before=PassBefore(heights if known else {}),
        rank_of=lambda created: length - int(created),
    )
    seen: set[str] = set()
    reads = 0
    while not listing.complete:
        reads += 1
        # A page may hold one row, and the page after the last is read too.
        assert reads <= 2 * length + 20
        page = listing.next_page(reads * 0.5)
        shown = server.page(page.number, page.size)
        seen |= {each.id for each in shown.workflows}
        listing.read(page, shown, reads * 0.5)
    assert set(ids) <= seen | set(listing.missing)


class Manner(NamedTuple):
    """How a service cuts and counts its pages at some time."""

    cap: int | None
    total: Literal["true", "absent", "page", "so far"]
    beyond: Literal["empty", "last"]
    arrivals: int
    """Rows that have come since the pass before."""
    gone: int
    """Rows at the bottom that were deleted since then."""


MANNERS = st.builds(
    Manner,
    cap=st.none() | st.integers(1, 60),
    total=st.sampled_from(["true", "absent", "page", "so far"]),
    beyond=st.sampled_from(["empty", "last"]),
    arrivals=st.integers(0, 150),
    gone=st.integers(0, 20),
)


def read_whole(
    server: ServedList, watermark: float, before: PassBefore, totals: PageTotals, now: float
) -> tuple[set[int], ListingPass, int]:
    """Make a pass; which rows it has shown, and in how many pages."""
    listing = ListingPass(
        watermark=watermark,
        horizon=-1000.0,
        wanted=(),
        before=before,
        rank_of=lambda _: 0,
        totals=totals,
    )
    seen: set[int] = set()
    reads = 0
    while not listing.complete:
        reads += 1
        assert reads <= 3 * (len(server.rows) + 240) / min(server.cap or 100, 100) + 60
        page = listing.next_page(now)
        shown = server.page(page.number, page.size)
        seen |= {int(each.id) for each in shown.workflows}
        listing.read(page, shown, now)
    return seen, listing, reads


@settings(deadline=None, max_examples=200)
@given(
    manners=st.lists(MANNERS, min_size=1, max_size=6), pause=st.sampled_from([5.0, FRESH_SECONDS])
)
def test_whatever_totals_count_from_pass_to_pass_nothing_new_is_lost(
    manners: list[Manner], pause: float
) -> None:
    server, totals, before, top = ServedList([]), PageTotals(), PassBefore(), 0
    for turn, manner in enumerate(manners):
        server.rows = server.rows[: len(server.rows) - manner.gone or None]
        server.rows[:0] = [row(each) for each in range(top + manner.arrivals, top, -1)]
        server.cap, server.total, server.beyond = manner.cap, manner.total, manner.beyond
        wanted = {int(each.id) for each in server.rows if int(each.id) > top}
        note(f"{turn}: {manner}, {len(server.rows)} rows")
        seen, listing, _ = read_whole(server, float(top), before, totals, turn * pause)
        assert wanted <= seen or listing.doubtful
        assert manner.total != "true" or not listing.doubtful
        before = listing.learnt
        top += manner.arrivals


@settings(deadline=None, max_examples=100)
@given(length=st.integers(3, 300), beyond=st.sampled_from(["empty", "last"]))
def test_a_true_total_costs_one_more_page_once(length: int, beyond: Any) -> None:
    server = ServedList([row(each) for each in range(length, 0, -1)], beyond=beyond)
    totals = PageTotals()
    _, listing, first = read_whole(server, 0.0, PassBefore(), totals, 0.0)
    pages = -(-length // 90)
    assert first <= pages + (length <= 100)
    assert totals.count_the_list(0.0)
    # Even where no pass tells how far it must read, and long afterwards.
    for turn in range(1, 4):
        _, listing, again = read_whole(server, 0.0, listing.learnt, totals, turn * 1000.0)
        assert again <= pages + (length == 100)
