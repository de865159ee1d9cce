"""Reading lists whose pages are too large, refused, or numbered otherwise."""

from __future__ import annotations

import logging
import random
from contextlib import suppress
from itertools import pairwise
from typing import Any, Literal

import pytest

from exporter.comfycontrol import (
    BadRequestError,
    RateLimitedError,
    ServerFaultError,
    ServiceError,
    TooLargeError,
    UnreachableError,
    WorkflowSummary,
)
from exporter.following.answer_size import (
    FIRST_GROWTH_SECONDS,
    LAST_GROWTH_SECONDS,
    AcceptedSize,
    AnswerSize,
)
from exporter.following.list_pages import LOG_AGAIN_SECONDS
from exporter.following.listing_pass import ListingPass, PassBefore
from exporter.following.page_numbers import MOST_UNANSWERED
from exporter.following.page_totals import FRESH_SECONDS
from tests.running import at_once
from tests.unit.following.served_list import Listed, ServedList, pages_of


def rows(count: int) -> list[WorkflowSummary]:
    """The newest has the highest number."""
    return [
        WorkflowSummary(str(number), "completed", created_at=float(number))
        for number in range(count, 0, -1)
    ]


def read(
    listed: Listed, watermark: float = 0.0, before: PassBefore | None = None
) -> tuple[set[int], ListingPass]:
    """Make a pass; which rows it has shown."""
    listing = ListingPass(
        watermark=watermark,
        horizon=-1e9,
        wanted=(),
        before=before or PassBefore(),
        rank_of=lambda _: 0,
        totals=listed.pages.totals,
    )
    seen: set[int] = set()
    while not listing.complete:
        assert len(listed.asked) < 1000, "it does not come to an end"
        if listing.at_top:
            page, shown = at_once(listed.pages.first())
        else:
            page, shown = at_once(
                listed.pages.below(lambda now: listing.next_page(now, listed.pages.most))
            )
        seen |= {int(each.id) for each in shown.workflows}
        listing.read(page, shown, listed.now)
    return seen, listing


# Numbers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 99, 100, 101, 305])
@pytest.mark.parametrize("beyond", ["empty", "last", 400, 404])
@pytest.mark.parametrize("total", ["true", "absent"])
@pytest.mark.parametrize("base", [0, 1])
def test_wherever_the_numbers_begin_and_whatever_is_beyond_all_is_read(
    count: int, beyond: Any, total: Any, base: Literal[0, 1]
) -> None:
    listed = Listed(ServedList(rows(count), base=base, beyond=beyond, total=total))
    seen, listing = read(listed)
    assert seen == set(range(1, count + 1))
    assert (listing.doubtful, listing.contradicted) == (False, False)
    # The pages themselves, one to tell the numbers by, and what tells that nothing follows.
    assert len(listed.asked) <= -(-count // 90) + 1 + (8 if total == "absent" else 4)


@pytest.mark.parametrize("before", ["empty", "first", 400, 500])
def test_page_0_is_asked_for_once(before: Any) -> None:
    listed = Listed(ServedList(rows(305), before=before))
    for _ in range(10):
        assert read(listed, watermark=305.0)[0] == set(range(206, 306))
        listed.now += 1
    assert [number for number, _ in listed.asked].count(0) == 1


def test_page_0_that_is_not_answered_is_asked_for_again() -> None:
    listed = Listed(ServedList(rows(305), base=0))
    listed.outage = lambda: (
        ServerFaultError("503", code="503")
        if listed.asked[-1][0] == 0 and listed.now < 30
        else None
    )
    assert 305 not in read(listed, watermark=305.0)[0]
    listed.now += 61
    assert 305 in read(listed, watermark=305.0)[0]


@pytest.mark.parametrize("total", ["true", "absent", "page"])
def test_an_empty_page_1_is_no_empty_list_while_page_0_is_not_answered(total: Any) -> None:
    # Found in simulated time (seed 60480): the cutoff was set by that page, so old rows counted.
    listed = Listed(ServedList(rows(5), base=0, total=total))
    fault = ServerFaultError("list: answered with status 503", code="503")
    listed.outage = lambda: fault if listed.asked[-1][0] == 0 and listed.now < 3 else None
    for _ in range(3):
        with pytest.raises(ServerFaultError):
            read(listed)
        listed.now += 1
    assert read(listed)[0] == {1, 2, 3, 4, 5}


def test_an_empty_list_whose_page_0_is_never_answered_is_read_after_some_tries() -> None:
    listed = Listed(ServedList([], before=500))
    for _ in range(MOST_UNANSWERED - 1):
        with pytest.raises(ServerFaultError):
            read(listed)
        listed.now += 1
    for _ in range(5):
        assert read(listed)[0] == set()
        listed.now += 1
    assert [number for number, _ in listed.asked].count(0) == MOST_UNANSWERED


def test_a_list_that_fits_on_a_page_is_asked_for_its_numbers_and_what_its_total_counts_once() -> (
    None
):
    listed = Listed(ServedList(rows(55)))
    _, listing = read(listed)
    assert listed.asked == [(1, 100), (0, 100), (2, 54)]
    for _ in range(10):
        listed.asked.clear()
        listed.now += 5
        _, listing = read(listed, before=listing.learnt)
        assert listed.asked == [(1, 100)]


def test_a_service_that_begins_to_count_from_1_is_read_on() -> None:
    listed = Listed(ServedList(rows(150), base=0))
    read(listed)
    listed.served.base = 1
    with pytest.raises(BadRequestError):
        read(listed)
    assert read(listed)[0] == set(range(1, 151))


def test_a_service_that_refuses_everything_for_a_while_begins_to_count_where_it_did() -> None:
    listed = Listed(ServedList(rows(305), base=0))
    read(listed)
    refuses = BadRequestError("list: answered with status 400", code="400")
    listed.outage = lambda: refuses
    for _ in range(3):
        with pytest.raises(BadRequestError):
            read(listed)
        listed.now += 5
    listed.outage = lambda: None
    listed.now += 60
    assert 305 in read(listed, watermark=305.0)[0]


def test_a_refusal_of_all_pages_is_not_the_end_of_the_list() -> None:
    listed = Listed(ServedList(rows(305), total="absent"))
    refuses = BadRequestError("list: answered with status 400", code="400")
    listed.outage = lambda: refuses if 2 < len(listed.asked) < 20 else None
    assert read(listed)[0] == set(range(1, 306))


# Totals -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 10, 11, 80, 100, 305])
@pytest.mark.parametrize("cap", [None, 1, 10, 50])
@pytest.mark.parametrize("base", [0, 1])
def test_a_total_that_counts_its_page_ends_no_list(
    count: int, cap: int | None, base: Literal[0, 1]
) -> None:
    listed = Listed(ServedList(rows(count), cap=cap, base=base, total="page"))
    seen, listing = read(listed)
    assert seen == set(range(1, count + 1))
    assert not listing.doubtful
    given = min(count, cap or 100)
    assert len(listed.asked) <= 1.3 * count / given + 12
    _, again = read(listed, before=listing.learnt)
    assert not again.contradicted, "it is known"


def test_a_list_of_which_page_1_shows_nothing_may_have_a_page_0() -> None:
    listed = Listed(ServedList(rows(55), base=0, total="page"))
    assert read(listed)[0] == set(range(1, 56))


@pytest.mark.parametrize("count", [0, 1, 2, 55])
def test_looks_rely_on_what_other_lists_have_shown(count: int) -> None:
    listed = Listed(ServedList(rows(305)))
    read(listed)
    listed.served.rows = rows(count)
    listed.asked.clear()
    list(pages_of(listed.pages.filtered("running")))
    assert listed.asked == [(1, 100)]


def test_looks_find_out_again_when_that_is_long_ago() -> None:
    listed = Listed(ServedList(rows(55)))
    read(listed)
    listed.now += FRESH_SECONDS
    # Behind the same address there is another version now.
    listed.served.cap, listed.served.total = 10, "page"
    assert sum(shown.entries for shown in pages_of(listed.pages.filtered("running"))) >= 55
    listed.served.cap, listed.served.total = None, "true"
    for _ in range(2):
        listed.asked.clear()
        assert sum(shown.entries for shown in pages_of(listed.pages.filtered("running"))) >= 55
    assert listed.asked == [(1, 100)]


@pytest.mark.parametrize("cap", [1, 10])
def test_a_service_that_begins_to_count_pages_is_believed_no_more(cap: int) -> None:
    listed = Listed(ServedList(rows(55)))
    _, listing = read(listed)
    for _ in range(2):
        listed.served.rows = rows(len(listed.served.rows) + 25)
        listed.served.cap, listed.served.total = cap, "page"
        seen, listing = read(listed, before=listing.learnt)
        assert seen == set(range(1, len(listed.served.rows) + 1))


@pytest.mark.parametrize("beyond", ["empty", "last", 400])
def test_whether_one_row_is_all_of_a_status_is_asked_once(beyond: Any) -> None:
    listed = Listed(ServedList(rows(1), beyond=beyond))
    assert at_once(listed.pages.total("failed")).total == 1
    assert listed.asked == [(1, 1), (2, 1)]
    listed.served.rows = rows(9)
    assert at_once(listed.pages.total("completed")).total == 9
    listed.served.rows = rows(1)
    listed.asked.clear()
    assert at_once(listed.pages.total("failed")).total == 1
    assert listed.asked == [(1, 1)]


def test_a_total_of_one_row_that_counts_the_page_is_none() -> None:
    listed = Listed(ServedList(rows(9)))
    assert at_once(listed.pages.total("failed")).total == 9
    listed.served.total = "page"
    listed.asked.clear()
    for _ in range(3):
        assert at_once(listed.pages.total("failed")).total is None
    assert listed.asked == [(1, 1), (2, 1), (1, 1), (1, 1)]
    listed.served.total = "true"
    assert at_once(listed.pages.total("failed")).total == 9


# Sizes ------------------------------------------------------------------------------------------


def test_rows_that_are_too_large_together_are_asked_for_in_halves() -> None:
    # As rows of 200 kB: some forty are an answer.
    listed = Listed(ServedList(rows(305), most_at_once=41))
    assert read(listed)[0] == set(range(1, 306))
    sizes = [size for _, size in listed.asked]
    assert sizes[:3] == [100, 50, 25]
    assert sum(size > 41 for size in sizes) == 4, "two tries at the top, two below it"
    assert len(sizes) <= 4 + 2 + 305 // 20
    listed.asked.clear()
    read(listed, watermark=305.0)
    assert listed.asked == [(1, 25)], "it remembers"


def test_more_are_tried_again_later() -> None:
    listed = Listed(ServedList(rows(305), most_at_once=41))
    read(listed, watermark=305.0)
    listed.served.most_at_once = 1000
    for _ in range(3):
        listed.now += FIRST_GROWTH_SECONDS
        read(listed, watermark=305.0)
    listed.asked.clear()
    read(listed, watermark=305.0)
    assert listed.asked == [(1, 100)]


@pytest.mark.parametrize("refusal", [400, 422])
@pytest.mark.parametrize("accepted", [1, 7, 50, 99])
def test_a_service_that_accepts_fewer_rows_is_asked_for_fewer(
    accepted: int, refusal: int, caplog: pytest.LogCaptureFixture
) -> None:
    listed = Listed(ServedList(rows(120), accepted=accepted, refusal=refusal))
    with pytest.raises(ServiceError):
        read(listed)
    seen, _ = read(listed)
    assert seen == set(range(1, 121))
    told = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [record.message for record in told] == [
        "cannot read a page of the list, retrying with fewer rows"
    ]
    # It is not tried again with every pass, and no pass fails when it is.
    tried = 0
    for _ in range(60):
        listed.now += 60.0
        listed.asked.clear()
        assert len(read(listed)[0]) == 120
        tried += sum(size > accepted for _, size in listed.asked)
    assert 0 < tried <= 14 * 6
    told = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert {record.message for record in told} == {
        "cannot read a page of the list, retrying with fewer rows"
    }
    assert len(told) <= 1 + 60 * 60 / LOG_AGAIN_SECONDS
    listed.served.accepted = 100
    for _ in range(8):
        listed.now += LAST_GROWTH_SECONDS
        read(listed)
    listed.asked.clear()
    read(listed)
    assert listed.asked[0] == (1, 100)


@pytest.mark.parametrize(
    ("error", "is_asked_again"),
    [
        (ServerFaultError("list: answered with status 500", code="500"), True),
        (ServerFaultError("list: answered with status 503", code="503", retry_after=120.0), False),
        (UnreachableError("list: took too long", reason="timeout", code="error"), False),
        (RateLimitedError("list: answered with status 429", code="429"), False),
    ],
    ids=["fails", "asks to wait", "hangs", "refuses"],
)
def test_counting_does_not_wait_long_for_a_page_0_that_is_never_answered(
    error: ServiceError, *, is_asked_again: bool
) -> None:
    listed = Listed(ServedList(rows(150)))
    listed.outage = lambda: error if listed.asked[-1][0] == 0 else None
    tries, is_read = 0, False
    while not is_read:
        tries += 1
        with suppress(ServiceError):
            at_once(listed.pages.first(is_beginning=True))
            is_read = True
        listed.now += 1.0
    assert tries == (MOST_UNANSWERED if is_asked_again else 1)
    assert not listed.pages.is_first_certain


def test_refusals_now_and_then_do_not_make_pages_smaller() -> None:
    listed, dice, sizes = Listed(ServedList(rows(120))), random.Random(7), list[int]()
    listed.outage = lambda: (
        BadRequestError("list: answered with status 400", code="400")
        if dice.random() < 0.2
        else None
    )
    for _ in range(2000):
        with suppress(ServiceError):
            at_once(listed.pages.first())
        sizes.append(listed.pages.most)
        listed.now += 5.0
    assert sum(size == 100 for size in sizes) > 0.9 * len(sizes)


def test_what_one_reader_learns_of_the_service_another_knows() -> None:
    accepted = AcceptedSize()
    served = ServedList(rows(120), accepted=50)
    first, other = Listed(served, accepted), Listed(served, accepted)
    with pytest.raises(ServiceError):
        read(first)
    read(first)
    read(other)
    assert other.asked[0] == (1, 50)


def test_a_refusal_that_is_not_for_the_number_of_rows_costs_a_few_requests_at_times() -> None:
    listed = Listed(ServedList(rows(120)))
    listed.outage = lambda: BadRequestError("list: answered with status 400", code="400")
    for _ in range(20):
        with pytest.raises(BadRequestError):
            at_once(listed.pages.first())
        listed.now += 10.0
    # Each size with page 1 and page 0, and once in each other try.
    assert len(listed.asked) <= 2 * 7 + 2 * 20
    listed.outage = lambda: None
    listed.asked.clear()
    read(listed)
    assert listed.asked[0] == (1, 100)


def test_where_more_fails_again_it_is_tried_more_seldom() -> None:
    size, times = AnswerSize(), list[float]()
    size.failed(100, 0.0)
    for second in range(10_000):
        if size.most == 100:
            times.append(second)
            size.failed(100, float(second))
        size.worked(size.most, float(second))
    assert [round(later - before, -1) for before, later in pairwise(times)] == [
        *(120, 240, 480, 960, 1920, 3600)
    ]


@pytest.mark.parametrize("place", [1, 2, 150, 205, 206, 304, 305])
def test_a_row_that_is_too_large_by_itself_costs_that_row(
    place: int, caplog: pytest.LogCaptureFixture
) -> None:
    listed = Listed(ServedList(rows(305), weights={str(place): 99_999}))
    seen, listing = read(listed)
    assert seen == set(range(1, 306)) - {place}
    assert (listing.unreadable, listed.malformed) == (1, 1)
    assert len(listed.asked) <= 45
    told = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [record.message for record in told] == [
        "cannot read a page of the list, retrying with fewer rows",
        "cannot read an entry of the list, skipping it",
    ]


def test_the_row_at_the_top_does_not_hold_up_the_watermark() -> None:
    listed = Listed(ServedList(rows(305), weights={"305": 99_999}))
    _, listing = read(listed)
    assert listing.newest == 304.0
    listed.asked.clear()
    read(listed, watermark=304.0)
    assert len(listed.asked) <= 12


def test_several_rows_that_are_too_large_cost_themselves() -> None:
    heavy = {str(number): 99_999 for number in (3, 100, 101, 250)}
    listed = Listed(ServedList(rows(305), weights=heavy))
    seen, listing = read(listed)
    assert seen == set(range(1, 306)) - {3, 100, 101, 250}
    assert listing.unreadable == 4


def test_a_row_with_which_the_service_fails_costs_that_row() -> None:
    listed = Listed(ServedList(rows(305), cursed={"150"}))
    seen, _ = read(listed)
    assert seen == set(range(1, 306)) - {150}
    assert len(listed.asked) <= 70


def test_answers_that_are_all_too_large_cost_no_row() -> None:
    listed = Listed(ServedList(rows(305)))
    listed.outage = lambda: TooLargeError("list: the body is too long", code="200")
    with pytest.raises(TooLargeError):
        at_once(listed.pages.first())
    with pytest.raises(ServiceError):
        at_once(
            listed.pages.below(
                lambda _: ListingPass(
                    watermark=None, horizon=0, wanted=(), before=PassBefore(), rank_of=lambda _: 0
                ).next_page(0.0, listed.pages.most)
            )
        )
    assert listed.malformed == 0


# Filtered lists ---------------------------------------------------------------------------------


@pytest.mark.parametrize("total", ["true", "absent"])
@pytest.mark.parametrize("cap", [None, 50, 10])
def test_a_filtered_list_is_read_for_as_long_as_somebody_goes_on(
    total: Any, cap: int | None
) -> None:
    listed = Listed(ServedList(rows(305), total=total, cap=cap))
    seen: set[int] = set()
    for shown in pages_of(listed.pages.filtered("running")):
        seen |= {int(each.id) for each in shown.workflows}
        if 200 in seen:
            break
    assert set(range(200, 306)) <= seen < set(range(1, 306))
    for shown in pages_of(listed.pages.filtered("running")):
        seen |= {int(each.id) for each in shown.workflows}
    assert seen == set(range(1, 306))


def test_of_a_filtered_list_one_row_tells_the_total() -> None:
    listed = Listed(ServedList(rows(305)))
    at_once(listed.pages.first())
    listed.asked.clear()
    shown = next(pages_of(listed.pages.filtered("failed", most=1)))
    assert (shown.total, shown.entries, listed.asked) == (305, 1, [(1, 1)])


@pytest.mark.parametrize("count", [1, 55, 100, 250])
def test_a_look_costs_a_request_a_page(count: int) -> None:
    listed = Listed(ServedList(rows(count)))
    read(listed)
    listed.asked.clear()
    list(pages_of(listed.pages.filtered("running")))
    assert len(listed.asked) <= -(-count // 100) + (1 if count == 100 else 0)
