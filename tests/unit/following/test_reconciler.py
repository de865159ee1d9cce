"""Comparing the service's totals with the ledger's, in virtual time."""

import logging
from dataclasses import replace
from math import inf
from unittest.mock import Mock

import pytest

from exporter.comfycontrol import (
    BadRequestError,
    NotFoundError,
    ServerFaultError,
    WorkflowSummary,
)
from exporter.following.reconciling import Pace
from exporter.interfaces.observations import Status
from exporter.ledger.store import MemoryStore, StoreError
from tests.unit.following.reconciled import LOOKBACK, World
from tests.unit.ledger.ledgers import T0, uuid


def settled_world(pace: Pace | None = None) -> World:
    """Some have ended before, some since, and totals were compared twice."""
    world = World(pace)
    world.live(range(3))
    world.pass_(400)
    assert world.shown.differences == dict.fromkeys(
        (Status.COMPLETED, Status.FAILED, Status.CANCELLED, Status.INVALID), 0
    )
    return world


def test_what_the_service_has_is_shown_and_nothing_is_missing() -> None:
    world = settled_world()
    world.service.create(10)
    world.pass_(300)
    assert world.shown.service == {
        Status.QUEUED: 1,
        Status.RUNNING: 0,
        Status.COMPLETED: 3,
        Status.FAILED: 0,
        Status.CANCELLED: 0,
        Status.INVALID: 0,
    }
    assert world.shown.completed_at is not None
    assert world.clocks.wall - world.shown.completed_at < 150
    assert world.differences == {}


def test_an_outcome_that_the_list_never_showed_is_found_and_counted_once() -> None:
    world = settled_world()
    world.missed = {10}
    world.live([10], "failed")
    world.pass_(600)
    assert world.counted == {"completed": 3, "failed": 1}
    assert world.recovered == 1
    assert world.differences == {}
    world.missed = set()
    world.pass_(3600)
    assert world.counted == {"completed": 3, "failed": 1}


def test_an_end_that_only_an_answer_with_a_total_shows_is_counted() -> None:
    world = settled_world(Pace(audit=inf))
    world.service.create(10)
    world.pass_(30)
    world.service.finish(10, "failed")
    world.pass_(300, listing=False)
    world.service.run(10)
    world.pass_(10)
    world.service.finish(10, "cancelled")
    world.pass_(600)
    assert world.counted == {"completed": 3, "failed": 1, "cancelled": 1}
    assert world.recovered == 0


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[str, dict[str, object]]]:
    """What was said of differences, and the numbers in it."""
    return [
        (r.getMessage(), {mark: getattr(r, mark) for mark in MARKS if hasattr(r, mark)})
        for r in caplog.records
        if r.name == "exporter.following.reconciler"
    ]


MARKS = (
    "status",
    "workflows",
    "recovered",
    "counted_otherwise",
    "known_before",
    "total",
    "read",
    "unreadable",
)
FOUND = "the service has more workflows in a status than were counted: searching the list for them"
UNEXPLAINED = (
    "the service has more workflows in a status than were counted, and the list does not show which"
)
EXPLAINED = "the difference to the service's total is resolved"


def test_the_difference_shows_until_it_is_explained(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    world = settled_world()
    world.missed = {10}
    world.live([10], "failed")
    # The total tells it, the list does not.
    world.service.hidden, world.service.beyond = {10}, {"failed": 1}
    world.pass_(600)
    assert world.differences == {"failed": 1}
    world.pass_(3700)
    assert world.differences == {"failed": 1}
    world.service.hidden, world.service.beyond = set(), {}
    world.pass_(2 * 3600)
    assert world.differences == {}
    assert world.counted == {"completed": 3, "failed": 1}
    about = {"status": "failed"}
    assert lines(caplog) == [
        (FOUND, {**about, "workflows": 1}),
        (UNEXPLAINED, {**about, "workflows": 1, "total": 1, "read": 0, "unreadable": 0}),
        (EXPLAINED, {**about, "recovered": 1, "counted_otherwise": 0, "known_before": 0}),
    ]


@pytest.mark.parametrize("clock", [-600.0, -60.0, 600.0])
def test_a_clock_that_is_not_that_of_the_stamps_hides_nothing_for_good(clock: float) -> None:
    world = World()
    world.service.clock = clock
    world.live(range(3))
    world.pass_(400)
    world.missed = {10}
    world.live([10], "failed")
    world.pass_(900)
    assert world.counted == {"completed": 3, "failed": 1}
    assert world.differences == {}


def test_rows_that_cannot_be_read_may_be_the_ones_that_are_missing() -> None:
    world = settled_world()
    world.service.malformed, world.service.beyond = 1, {"completed": 1}
    world.pass_(4000)
    assert world.differences == {"completed": 1}


def test_a_row_that_the_ledger_cannot_look_up_may_be_the_one_that_is_missing() -> None:
    store = MemoryStore()
    world = World(store=store)
    world.live(range(3))
    world.pass_(400)
    world.missed = {10}
    world.live([10])
    fails, works = Mock(side_effect=StoreError("the disk is gone")), store.find_closed
    store.find_closed = fails  # type: ignore[method-assign]
    world.pass_(600)
    assert fails.called
    assert world.differences == {"completed": 1}
    store.find_closed = works  # type: ignore[method-assign]
    world.pass_(1200)
    assert world.counted == {"completed": 4}
    assert world.differences == {}


def test_a_total_that_is_wrong_once_says_nothing() -> None:
    world = settled_world()
    rounds = iter([1, 0, -2, 0, 0, 0])

    def next_round() -> None:
        world.service.beyond = {"completed": next(rounds)}
        world.pass_(120)

    world.service.asked.clear()
    for _ in range(6):
        next_round()
    assert world.differences == {}
    assert [page for status, page in world.service.asked if status and page.size > 1] == []


def test_what_cannot_be_explained_is_read_more_and_more_rarely() -> None:
    world = settled_world()
    world.service.beyond = {"failed": 1}
    world.pass_(600)
    world.service.asked.clear()
    world.pass_(24 * 3600)
    read = [page for status, page in world.service.asked if status == "failed" and page.size > 1]
    # After 15 min, 30 min, 1 h … 6 h, each a page that is empty, and looked at twice for that.
    assert 10 <= len(read) <= 16


def test_a_reading_that_an_outage_ends_is_begun_again_soon() -> None:
    world = settled_world()
    world.missed = {10}
    world.live([10], "failed")
    world.service.outage = NotFoundError("list: answered with status 404", code="404")
    world.pass_(400)
    assert world.differences == {"failed": 1}
    world.service.outage = None
    world.pass_(300)
    assert world.counted == {"completed": 3, "failed": 1}


def test_deleted_workflows_are_no_loss_and_hide_none_for_long() -> None:
    world = settled_world()
    del world.service.rows[0]
    del world.service.rows[1]
    world.pass_(600)
    assert world.differences == {}
    world.missed = {10}
    world.live([10])
    world.pass_(600)
    assert world.counted == {"completed": 4}


def test_what_another_that_leaves_its_status_hides_from_the_totals_is_found() -> None:
    world = settled_world()
    world.missed = {10}
    world.live([10])
    del world.service.rows[2]
    world.pass_(1300)
    assert world.counted == {"completed": 4}
    assert world.recovered == 1
    assert world.differences == {}


def test_a_run_of_a_row_from_before_the_line_that_ended_as_the_one_before_is_found() -> None:
    world = World()
    old = T0 - 3 * LOOKBACK
    world.service.rows[1] = WorkflowSummary(
        uuid(1), "failed", created_at=old, updated_at=old + 9, completed_at=old + 9
    )
    world.missed = {1}
    world.live(range(10, 13))
    world.pass_(1300)
    assert world.counted == {"completed": 3}
    world.service.run(1)
    world.pass_(3)
    world.service.finish(1, "failed")
    world.pass_(1300)
    assert world.counted == {"completed": 3, "failed": 1}
    world.service.run(1)
    world.pass_(3)
    world.service.finish(1, "failed")
    world.pass_(4 * 3600)
    assert world.counted == {"completed": 3, "failed": 2}
    assert world.recovered == 2


def test_a_run_that_an_audit_reads_just_after_its_end_is_counted_though_it_is_deleted_then() -> (
    None
):
    """It is not the first of its status, so no total shows it, and it is soon gone."""
    world = settled_world()
    world.pass_(1300)
    world.missed = {1}
    world.service.asked.clear()
    while not any(status is None and page.size > 1 for status, page in world.service.asked):
        world.service.run(1)
        world.service.finish(1, "completed")
        assert world.counted == {"completed": 3}
        world.pass_(1)
    world.pass_(10)
    assert world.counted == {"completed": 4}
    assert world.recovered == 0
    del world.service.rows[1]
    world.pass_(3600)
    assert world.counted == {"completed": 4}
    assert world.differences == {}


def test_an_audit_takes_a_page_at_a_time_and_rests() -> None:
    world = World()
    world.live(range(500))
    world.pass_(900)
    world.service.asked.clear()
    world.pass_(3600)
    pages = [page for status, page in world.service.asked if status is None and page.size > 1]
    assert 6 * 5 <= len(pages) <= 7 * 6


def test_a_run_that_moved_from_one_status_to_another_unseen_is_found() -> None:
    world = settled_world()
    world.missed = {1}
    world.service.run(1)
    world.pass_(3)
    world.service.finish(1, "failed")
    world.pass_(600)
    assert world.counted == {"completed": 3, "failed": 1}
    assert world.recovered == 1
    assert world.differences == {}


def test_one_that_vanished_and_returned_is_no_loss() -> None:
    world = settled_world()
    world.service.hidden = {1}
    world.pass_(600)
    world.service.hidden = set()
    world.pass_(600)
    assert world.differences == {}
    assert world.counted == {"completed": 3}
    # And the next one that is missed shows again.
    world.missed = {10}
    world.live([10])
    world.pass_(600)
    assert world.counted == {"completed": 4}


def test_what_shows_after_longer_than_the_list_looks_back_does_not_count() -> None:
    world = settled_world()
    world.service.hidden = {10}
    world.live([10], "failed")
    world.pass_(LOOKBACK + 3600)
    world.service.hidden = set()
    world.missed = {10}
    world.pass_(1800)
    assert world.counted == {"completed": 3}
    assert world.differences == {}


def test_one_whose_end_the_service_tells_otherwise_now_is_no_loss(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    world = settled_world()
    world.service.rows[1] = replace(world.service.rows[1], status="failed")
    world.pass_(900)
    assert world.counted == {"completed": 3}
    assert world.differences == {}
    assert lines(caplog) == [
        (FOUND, {"status": "failed", "workflows": 1}),
        (
            EXPLAINED,
            {"status": "failed", "recovered": 0, "counted_otherwise": 1, "known_before": 0},
        ),
    ]


def test_what_ended_before_the_line_is_neither_missed_nor_counted() -> None:
    world = World()
    world.clocks.wall -= 5000
    for number in range(50):
        world.service.create(number)
        world.service.run(number)
        world.service.finish(number, "completed")
    world.clocks.wall += 5000
    world.pass_(4000)
    assert world.counted == {}
    assert world.differences == {}


@pytest.mark.parametrize(
    "refusal", [BadRequestError("", code="400"), ServerFaultError("", code="500")]
)
def test_a_status_that_the_service_does_not_filter_by_is_not_compared(
    refusal: BadRequestError | ServerFaultError,
) -> None:
    world = World()
    world.service.refused["invalid"] = refusal
    world.live(range(3))
    world.pass_(600)
    assert Status.INVALID not in world.shown.service
    assert Status.INVALID not in world.shown.differences
    assert world.shown.completed_at is not None
    assert world.clocks.wall - world.shown.completed_at < 150
    world.service.asked.clear()
    world.pass_(3 * 3600)
    assert len([s for s, _ in world.service.asked if s == "invalid"]) == 3


def test_a_filter_that_shows_everything_is_not_taken_for_one() -> None:
    world = World()
    world.service.unfiltered = {"invalid"}
    world.live(range(3))
    for number in range(100, 120):
        world.live([number])
        world.pass_(120)
    assert Status.INVALID not in world.shown.service
    assert world.differences == {}
    assert world.recovered == 0


def test_refusals_for_a_while_take_nothing_away() -> None:
    world = settled_world()
    for status in ("completed", "failed", "cancelled", "invalid", "queued", "running"):
        world.service.refused[status] = BadRequestError("", code="404")
    world.missed = {10}
    world.live([10])
    world.pass_(300)
    world.service.refused.clear()
    world.pass_(3600 + 600)
    assert world.counted == {"completed": 4}


def test_nothing_is_missing_until_the_backlog_was_read() -> None:
    world = settled_world()
    world.restart()
    world.missed = set(range(10, 300))
    world.live(range(10, 300))
    world.pass_(1800, listing=False)
    assert world.differences == {}
    world.missed = set()
    world.restart()
    world.pass_(1800)
    assert world.counted == {"completed": 293}
    assert world.recovered == 0
    assert world.differences == {}


def test_an_outage_longer_than_the_list_looks_back_is_not_made_up_for() -> None:
    world = settled_world()
    world.missed = {10}
    world.live([10])
    world.clocks.pass_(LOOKBACK + 3600)
    world.restart()
    world.service.asked.clear()
    world.pass_(1800)
    assert world.counted == {"completed": 3}
    assert world.differences == {}
    # Nothing is looked for either.
    assert {page.size for status, page in world.service.asked if status} == {1}


def test_what_ended_while_not_all_was_counted_is_not_counted_later() -> None:
    """As when `tags` are removed from the configuration."""
    world = settled_world()
    world.pass_(2 * 3600)
    for status in Status:
        if status.final:
            world.ledger.set_baseline("studio", status, None)
    world.stop_reconciling()
    world.missed = set(range(10, 20))
    world.live(range(10, 20), "failed")
    world.pass_(600)
    world.restart()
    world.pass_(2 * 3600)
    assert world.counted == {"completed": 3}
    world.missed |= {20}
    world.live([20], "failed")
    world.pass_(600)
    assert world.counted == {"completed": 3, "failed": 1}


def test_one_refusal_of_a_filter_is_none() -> None:
    world = settled_world()
    world.service.refused["failed"] = BadRequestError("", code="404")
    world.pass_(120)
    world.service.refused.clear()
    world.missed = {10}
    world.live([10], "failed")
    world.pass_(500)
    assert world.counted == {"completed": 3, "failed": 1}


@pytest.mark.parametrize("per_page", [1, 7, 50, 100])
def test_pages_of_any_size_are_read(per_page: int) -> None:
    world = World(Pace(page=0.5))
    world.service.per_page = per_page
    world.live(range(130))
    world.pass_(400)
    world.missed = {1}
    world.service.run(1)
    world.pass_(3)
    world.service.finish(1, "failed")
    world.live(range(200, 330), "failed")
    world.pass_(900)
    assert world.counted == {"completed": 130, "failed": 131}
    assert world.recovered == 1


def test_pages_may_be_numbered_from_nought() -> None:
    world = World(Pace(page=0.5))
    world.service.first_page = 0
    world.live(range(3))
    world.pass_(400)
    world.missed = {229}
    world.live(range(200, 230), "failed")
    world.pass_(900)
    assert world.counted == {"completed": 3, "failed": 30}


def test_pages_that_are_too_long_are_asked_for_in_parts() -> None:
    world = World(Pace(page=0.5))
    world.service.longest = 13
    world.live(range(130))
    world.pass_(400)
    world.missed = {200}
    world.live(range(200, 330), "failed")
    world.pass_(900)
    assert world.counted == {"completed": 130, "failed": 130}


def test_no_more_pages_an_hour_than_agreed() -> None:
    world = World()
    world.live(range(3000))
    world.pass_(400)
    world.missed = {5000}
    world.live(range(4000, 4002), "failed")
    world.service.hidden = {5000}
    world.service.asked.clear()
    world.pass_(3600)
    assert len([page for _, page in world.service.asked if page.size > 1]) <= 600
    assert len([page for _, page in world.service.asked if page.size == 1]) <= 31 * 6


def test_pages_too_deep_for_the_service_are_not_asked_for_again_and_again() -> None:
    world = World()
    world.live(range(250))
    world.pass_(400)
    world.service.deepest, world.service.beyond = 200, {"completed": 1}
    world.service.asked.clear()
    world.pass_(1500)
    deep = [page for _, page in world.service.asked if page.size > 1 and page.first >= 200]
    # Two readings, a quarter of an hour apart.
    assert 2 <= len(deep) <= 100
    assert world.differences == {"completed": 1}
