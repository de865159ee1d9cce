"""How many workflows may be open, and what becomes of those beyond."""

import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.interfaces.observations import Moment, NoRoomError, Tracked
from exporter.ledger.accounts import AccountTerms
from exporter.ledger.admission import MOST_WAITING
from exporter.ledger.ledger import Ledger
from exporter.ledger.open_limits import MostWanted
from exporter.ledger.sqlite import SqliteStore
from exporter.ledger.workflow import Workflow
from tests.unit.ledger.ledgers import (
    LOOKBACK,
    T0,
    Clocks,
    counter,
    ended,
    finished,
    make_ledger,
    pushed,
    seen,
    uuid,
)

FEW = {
    "studio": AccountTerms(LOOKBACK, listed=True, most_open=20),
    "agency": AccountTerms(LOOKBACK, listed=True, most_open=20),
}


@pytest.fixture
def now() -> Clocks:
    return Clocks()


def full(now: Clocks) -> Ledger:
    """One in which twice as many were seen as may be open."""
    ledger = make_ledger(now, terms=FEW)
    ledger.set_counting_cutoff("agency", T0)
    for number in range(40):
        ledger.observe(seen(number, "queued", now()))
    return ledger


def test_no_more_are_open_than_the_account_may_have(now: Clocks) -> None:
    snapshot = full(now).snapshot()
    assert len(snapshot.open_workflows) == 20
    room = snapshot.open_limits["studio"]
    assert (room.limit, room.reached, room.beyond) == (20, True, 20)
    assert not snapshot.open_limits["agency"].reached


def test_it_is_told_once(now: Clocks, caplog: pytest.LogCaptureFixture) -> None:
    full(now)
    lines = [r for r in caplog.records if "limit of open workflows reached" in r.message]
    assert len(lines) == 1


def test_it_is_told_without_the_lock_so_a_slow_log_stops_nothing_else(
    now: Clocks, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = full(now)
    locked: dict[str, bool] = {}

    class Telling(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            locked[record.getMessage().partition(":")[0]] = ledger._lock.locked()

    caplog.set_level(logging.INFO)
    monkeypatch.setattr(logging.getLogger("exporter.ledger.admission"), "handlers", [Telling()])
    for number in range(20):
        ledger.observe(ended(number, now()))
    ledger.list_watermark("studio")
    for number in range(50, 80):
        ledger.observe(seen(number, "queued", now()))
    assert locked == {
        "room for open workflows again": False,
        "limit of open workflows reached": False,
    }


def test_other_accounts_are_not_affected(now: Clocks) -> None:
    ledger = full(now)
    assert ledger.track(Tracked("agency", uuid(99), "pushed", now(), again=True))


def test_those_that_are_open_go_on(now: Clocks) -> None:
    ledger = full(now)
    assert ledger.observe(seen(3, "running", now()))
    # Nor does naming one need more room.
    assert not ledger.track(pushed(3, now()))


def test_what_ends_beyond_the_limit_counts_all_the_same(now: Clocks) -> None:
    ledger = full(now)
    now.pass_(10)
    ledger.observe(ended(30, now()))
    assert finished(ledger.snapshot()) == 1
    ledger.observe(ended(30, now()))
    assert finished(ledger.snapshot()) == 1


def test_an_id_beyond_the_limit_cannot_be_taken_up_yet(now: Clocks) -> None:
    ledger = full(now)
    with pytest.raises(NoRoomError, match="20 workflows of the account are open"):
        ledger.track(pushed(99, now()))
    for number in range(5):
        ledger.observe(ended(number, now()))
    assert ledger.track(pushed(99, now()))


def test_once_there_is_room_the_list_is_read_as_far_back_as_before(now: Clocks) -> None:
    ledger = make_ledger(now, terms=FEW)
    ledger.advance_list_watermark("studio", T0)
    for number in range(40):
        ledger.observe(seen(number, "queued", now()))
    ledger.advance_list_watermark("studio", T0 + 60)
    # Meanwhile it is not read whole each time: that is many pages.
    assert ledger.list_watermark("studio") == T0 + 60
    now.pass_(10)
    ledger.observe(ended(0, now()))
    assert ledger.list_watermark("studio") == T0 + 60
    ledger.observe(ended(1, now()))
    assert ledger.list_watermark("studio") == T0
    assert not ledger.snapshot().open_limits["studio"].reached
    ledger.observe(seen(30, "queued", now()))
    ledger.advance_list_watermark("studio", T0 + 70)
    assert ledger.list_watermark("studio") == T0 + 70


def test_where_the_first_look_is_beyond_the_limit_it_is_a_look_all_the_same(now: Clocks) -> None:
    ledger = full(now)
    ledger.advance_list_watermark("studio", T0 + 60)
    assert ledger.list_watermark("studio") == T0 + 60
    for number in range(5):
        ledger.observe(ended(number, now()))
    # Not None: what a first look shows as over does not count.
    assert ledger.list_watermark("studio") == 0.0


def test_a_crowd_of_pushed_ids_that_nobody_sees_is_bounded(now: Clocks) -> None:
    ledger = make_ledger(now)
    for number in range(MOST_WAITING):
        assert ledger.track(pushed(number, now()))
    with pytest.raises(NoRoomError, match="10,000 pushed ids of the account wait to be seen"):
        ledger.track(pushed(MOST_WAITING, now()))
    # Those that are known are no more than there were.
    assert not ledger.track(pushed(3, now()))
    ledger.observe(seen(3, "queued", now()))
    assert ledger.track(pushed(MOST_WAITING, now()))


class TestOverRestarts:
    def test_no_more_are_loaded_than_may_be_open_and_the_others_still_count(
        self, now: Clocks, tmp_path: Path
    ) -> None:
        terms = {"studio": AccountTerms(LOOKBACK, listed=True)}
        ledger = make_ledger(now, SqliteStore(tmp_path, now), terms=terms)
        ledger.track(Tracked("studio", uuid(0), "configured", now()))
        for number in range(1, 40):
            now.pass_(1)
            ledger.observe(seen(number, "queued", now(), via="listing"))
        ledger.close()
        ledger = make_ledger(now, SqliteStore(tmp_path, now), terms=FEW)
        held = {w.workflow_id for w in ledger.snapshot().open_workflows}
        # Named ones first, then those that were seen last.
        assert held == {uuid(0), *(uuid(number) for number in range(21, 40))}
        assert ledger.snapshot().settled == 0
        # One that was left on disk ends: it counts, once.
        now.pass_(10)
        ledger.observe(ended(5, now()))
        ledger.observe(ended(5, now()))
        assert finished(ledger.snapshot()) == 1
        # And one is seen open once there is room.
        for number in range(25, 35):
            ledger.observe(ended(number, now()))
        ledger.observe(seen(7, "running", now()))
        snapshot = ledger.snapshot()
        assert uuid(7) in {w.workflow_id for w in snapshot.open_workflows}
        # It was discovered before.
        assert counter(snapshot, "discovered", "listing") == 39
        ledger.close()
        # Nothing of the file speaks against it.
        SqliteStore(tmp_path, now).close()
        ledger = make_ledger(now, SqliteStore(tmp_path, now))
        assert finished(ledger.snapshot()) == 11
        assert len(ledger.snapshot().open_workflows) == 29
        ledger.close()


@given(
    st.lists(st.tuples(st.sampled_from(["a", "b"]), st.booleans(), st.integers(0, 1000))),
    st.integers(1, 20),
)
def test_the_most_wanted_of_each_account_are_held(
    rows: list[tuple[str, bool, int]], most: int
) -> None:
    workflows = [
        Workflow(
            account=account,
            workflow_id=uuid(number),
            source="configured" if named else "listing",
            first_seen=Moment(T0 + wall, 0.0),
        )
        for number, (account, named, wall) in enumerate(rows)
    ]
    wanted = MostWanted(lambda _: most)
    for workflow in workflows:
        wanted.add(workflow)
    held = list(wanted)
    assert wanted.open == len(workflows)
    for account in ("a", "b"):
        ours = [w for w in workflows if w.account == account]
        kept = [w for w in held if w.account == account]
        assert len(kept) == min(most, len(ours))

        def rank(w: Workflow) -> tuple[bool, float]:
            return w.source != "listing", w.first_seen.wall

        assert sorted(map(rank, kept)) == sorted(map(rank, ours))[len(ours) - len(kept) :]
