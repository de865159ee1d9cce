"""The ledger: many workflows at once, what is kept of them, and what time does to it."""

import logging
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from exporter.interfaces.observations import Observation, Removed, Tracked, TrackError
from exporter.ledger import memory
from exporter.ledger.accounts import AccountTerms
from exporter.ledger.ledger import Ledger
from exporter.ledger.sqlite import SqliteStore
from exporter.ledger.store import StoreError, StoreLostError
from exporter.ledger.tracker import CAUSE_PATIENCE_SECONDS
from exporter.ledger.workflow import SIGHT_KEPT_SECONDS
from tests.unit.ledger.ledgers import (
    BUCKETS,
    CAPS,
    CAUSE,
    LOOKBACK,
    T0,
    TERMS,
    Clocks,
    FailingStore,
    counter,
    ended,
    finished,
    ledger_on_disk,
    make_ledger,
    observed,
    pushed,
    seen,
    uuid,
)


@pytest.fixture
def now() -> Clocks:
    return Clocks()


@pytest.fixture
def store() -> FailingStore:
    return FailingStore()


@pytest.fixture
def ledger(now: Clocks, store: FailingStore) -> Ledger:
    return make_ledger(now, store)


class TestApplying:
    def test_it_says_whether_there_is_more_to_learn(self, ledger: Ledger, now: Clocks) -> None:
        assert ledger.observe(seen(1, "queued", now()))
        assert ledger.observe(ended(1, now(), status="failed")), "it owes its cause"
        assert not ledger.observe(ended(1, now(), status="failed", via="stream", cause=CAUSE))
        assert not ledger.observe(ended(2, now()))

    def test_take_up_is_true_once(self, ledger: Ledger, now: Clocks) -> None:
        assert ledger.track(pushed(1, now()))
        assert not ledger.track(pushed(1, now()))
        assert ledger.is_open("studio", uuid(1))
        assert [w.workflow_id for w in ledger.open_workflows("studio")] == [uuid(1)]

    def test_what_was_settled_long_ago_is_known_from_the_store(
        self, ledger: Ledger, now: Clocks, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(memory, "CLOSED_REMEMBERED", 2)
        for number in range(10):
            ledger.observe(ended(number, now()))
        for _ in range(2):
            for number in range(10):
                ledger.observe(ended(number, now()))
            ledger.persist()
        snapshot = ledger.snapshot()
        assert (finished(snapshot), snapshot.settled) == (10, 10)
        assert counter(snapshot, "ignored", "duplicate") == 20

    def test_causes_are_owed_longest_first(self, ledger: Ledger, now: Clocks) -> None:
        for number in (3, 1, 2):
            now.pass_(1)
            ledger.observe(ended(number, now(), status="failed"))
        assert ledger.pending_causes("studio") == [uuid(3), uuid(1), uuid(2)]
        ledger.observe(replace(ended(1, now(), status="failed", via="stream"), cause=CAUSE))
        assert ledger.pending_causes("studio") == [uuid(3), uuid(2)]
        assert ledger.pending_causes("agency") == []

    def test_time_does_nothing_to_an_account_that_is_not_followed(
        self, ledger: Ledger, now: Clocks
    ) -> None:
        ledger.observe(seen(1, "queued", now()))
        ledger.observe(ended(2, now(), status="failed"))
        ledger.change({}, BUCKETS, CAPS)
        now.pass_(10 * LOOKBACK + CAUSE_PATIENCE_SECONDS)
        ledger.expire()
        hidden = ledger.snapshot()
        assert (hidden.accounts, hidden.open_workflows, dict(hidden.totals.counters)) == (
            (),
            (),
            {},
        )

        # It comes back: what was open, and what was owed, has as much time as ever.
        ledger.change(TERMS, BUCKETS, CAPS)
        ledger.expire()
        assert ledger.is_open("studio", uuid(1))
        assert ledger.pending_causes("studio") == [uuid(2)]
        assert finished(ledger.snapshot()) == 1
        now.pass_(LOOKBACK + 1)
        ledger.expire()
        assert not ledger.is_open("studio", uuid(1))
        assert counter(ledger.snapshot(), "dropped", "expired") == 1

    def test_an_account_of_an_earlier_process_comes_back_while_it_runs(
        self, now: Clocks, tmp_path: Path
    ) -> None:
        ledger = ledger_on_disk(tmp_path, now)
        ledger.observe(ended(1, now()))
        ledger.observe(seen(2, "queued", now()))
        ledger.close()
        other = {"agency": AccountTerms(LOOKBACK, listed=True)}
        ledger = make_ledger(now, SqliteStore(tmp_path, now), terms=other)
        assert finished(ledger.snapshot()) == 0
        ledger.change({**other, **TERMS}, BUCKETS, CAPS)
        snapshot = ledger.snapshot()
        assert finished(snapshot) == 1
        assert [w.workflow_id for w in snapshot.open_workflows] == [uuid(2)]
        ledger.observe(ended(1, now()))
        ledger.observe(ended(2, now()))
        assert finished(ledger.snapshot()) == 2
        ledger.close()

    def test_changes_are_told_without_the_lock(self, ledger: Ledger, now: Clocks) -> None:
        told: list[int] = []
        ledger.on_change = lambda: told.append(ledger.snapshot().settled)
        ledger.track(pushed(1, now()))
        ledger.observe(seen(1, "queued", now()))
        ledger.observe(seen(1, "queued", now()))
        ledger.observe(ended(1, now()))
        ledger.drop(Removed("studio", uuid(2), "not_found", now()))
        assert told == [0, 0, 1, 1]

    def test_an_unknown_status_is_told_once(
        self, ledger: Ledger, now: Clocks, caplog: pytest.LogCaptureFixture
    ) -> None:
        for number in (1, 2, 1):
            ledger.observe(seen(number, "dreaming", now()))
        assert [r.getMessage() for r in caplog.records] == ["unknown status, kept as last seen"]

    def test_many_threads_count_each_once(self, now: Clocks, tmp_path: Path) -> None:
        ledger = ledger_on_disk(tmp_path, now)
        at = now()

        def observe(first: int) -> None:
            for number in range(100):
                for status in ("queued", "running"):
                    ledger.observe(seen((first + number) % 100, status, at))
                ledger.observe(ended((first + number) % 100, at))

        threads = [threading.Thread(target=observe, args=(25 * n,)) for n in range(4)]
        threads += [threading.Thread(target=lambda: [ledger.snapshot() for _ in range(50)])]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        snapshot = ledger.snapshot()
        ledger.close()
        assert (finished(snapshot), snapshot.settled) == (100, 100)
        assert observed(snapshot, "run_duration") == 100


class TestTheLine:
    def test_only_the_first_one_counts(self, now: Clocks) -> None:
        ledger = make_ledger(now)
        ledger.set_counting_cutoff("studio", T0 + 1000)
        ledger.observe(ended(1, now(), completed=500))
        assert finished(ledger.snapshot()) == 1

    def test_it_is_on_the_disk_at_once(self, now: Clocks) -> None:
        store = FailingStore()
        ledger = Ledger(TERMS, BUCKETS, CAPS, now, store)
        ledger.set_counting_cutoff("studio", T0 + 1000)
        (batch,) = store.batches
        assert batch.accounts["studio"].cutoff == T0 + 1000

    def test_what_had_ended_is_recorded_and_not_counted(self, ledger: Ledger, now: Clocks) -> None:
        ledger.observe(ended(1, now(), completed=-5, created=-20))
        snapshot = ledger.snapshot()
        assert (finished(snapshot), snapshot.settled) == (0, 1)

    def test_it_is_drawn_at_the_first_observation_if_nobody_did(self, now: Clocks) -> None:
        ledger = Ledger({"studio": AccountTerms(60, listed=False)}, BUCKETS, CAPS, now)
        ledger.observe(ended(1, now(), completed=-1, created=-20))
        ledger.observe(ended(2, now(), completed=1, created=-20))
        assert finished(ledger.snapshot()) == 1

    def test_where_there_is_a_list_no_stream_draws_it(self, now: Clocks) -> None:
        # Our clock is slow: by it, none of these had ended yet.
        ledger = Ledger(TERMS, BUCKETS, CAPS, now)
        for number in range(5):
            ledger.track(Tracked("studio", uuid(number), "configured", now()))
            ledger.observe(ended(number, now(), completed=200, via="stream"))
        assert ledger.set_counting_cutoff("studio", T0 + 300)
        ledger.observe(ended(5, now(), completed=299))
        ledger.observe(ended(6, now(), completed=301))
        assert (finished(ledger.snapshot()), ledger.snapshot().settled) == (1, 7)

    def test_what_a_stream_has_shown_open_counts_before_it_is_drawn(self, now: Clocks) -> None:
        ledger = Ledger(TERMS, BUCKETS, CAPS, now)
        ledger.track(Tracked("studio", uuid(1), "configured", now()))
        ledger.observe(seen(1, "running", now(), via="stream"))
        ledger.observe(ended(1, now(), completed=-100, via="stream"))
        assert finished(ledger.snapshot()) == 1

    def test_a_pushed_id_counts_before_it_is_drawn(self, now: Clocks) -> None:
        # Anyone who pushes has just submitted it: its list may be refused while its stream is not.
        ledger = Ledger(TERMS, BUCKETS, CAPS, now)
        ledger.track(pushed(1, now()))
        ledger.observe(ended(1, now(), via="stream"))
        assert finished(ledger.snapshot()) == 1


class TestOutOfSight:
    def test_when_it_was_seen_stays_what_it_was(self, ledger: Ledger, now: Clocks) -> None:
        # Polls go by it, and one of them may be what finds the account up again.
        ledger.track(pushed(1, now()))
        ledger.observe(seen(2, "running", now()))
        before = ledger.snapshot().open_workflows
        now.pass_(100)
        ledger.expire(out_of_sight=["studio"])
        assert ledger.snapshot().open_workflows == before

    def test_nothing_is_dropped_nor_forgiven_while_an_account_is_down(
        self, ledger: Ledger, now: Clocks
    ) -> None:
        ledger.track(pushed(1, now()))
        ledger.observe(seen(2, "running", now()))
        ledger.observe(ended(3, now(), status="failed"))
        for _ in range(3):
            now.pass_(LOOKBACK)
            ledger.expire(out_of_sight=["studio"])
        # Nor as soon as it is up again: nobody was looking until now.
        now.pass_(LOOKBACK - 1)
        ledger.expire()
        snapshot = ledger.snapshot()
        assert len(snapshot.open_workflows) == 2
        assert ledger.pending_causes("studio") == [uuid(3)]
        now.pass_(2)
        ledger.expire()
        assert ledger.snapshot().open_workflows == ()
        assert counter(ledger.snapshot(), "failures", "unknown", "unknown") == 1


class TestTakingUp:
    def test_what_cannot_be_told_is_said(
        self, ledger: Ledger, store: FailingStore, now: Clocks
    ) -> None:
        store.finds_with = StoreError("the disk is away")
        with pytest.raises(TrackError, match="cannot be read"):
            ledger.track(pushed(1, now()))
        store.finds_with = None
        assert ledger.track(pushed(1, now()))
        assert not ledger.track(pushed(1, now()))


class TestTheFrontier:
    def test_it_only_moves_forward(self, ledger: Ledger) -> None:
        assert ledger.list_watermark("studio") is None
        ledger.advance_list_watermark("studio", T0 + 5)
        ledger.advance_list_watermark("studio", T0 + 3)
        assert ledger.list_watermark("studio") == T0 + 5

    def test_it_is_kept_together_with_what_was_read(
        self, ledger: Ledger, store: FailingStore, now: Clocks
    ) -> None:
        ledger.persist()
        ledger.observe(seen(1, "queued", now()))
        ledger.advance_list_watermark("studio", T0 + 5)
        ledger.persist()
        last = store.batches[-1]
        assert last.accounts["studio"].watermark == T0 + 5
        assert ("studio", uuid(1)) in last.workflows

    def test_it_stays_when_something_that_was_read_could_not_be_taken(
        self, ledger: Ledger, store: FailingStore, now: Clocks
    ) -> None:
        store.finds_with = StoreError("input/output error")
        assert not ledger.observe(seen(1, "queued", now()))
        store.finds_with = None
        ledger.advance_list_watermark("studio", T0 + 5)
        assert ledger.list_watermark("studio") is None
        ledger.observe(seen(1, "queued", now()))
        ledger.advance_list_watermark("studio", T0 + 5)
        assert ledger.list_watermark("studio") == T0 + 5


class TestPersisting:
    def test_a_snapshot_is_kept_before_it_is_shown(
        self, ledger: Ledger, store: FailingStore, now: Clocks
    ) -> None:
        ledger.observe(ended(1, now()))
        snapshot = ledger.snapshot()
        kept = store.batches[-1].counters["finished", ("studio", "completed")]
        assert kept.value == finished(snapshot) == 1

    def test_what_follows_changes_neither_a_snapshot_nor_a_batch(
        self, ledger: Ledger, store: FailingStore, now: Clocks
    ) -> None:
        ledger.observe(ended(1, now()))
        before = ledger.snapshot()
        ledger.observe(ended(2, now()))
        assert finished(before) == 1
        assert store.batches[-1].counters["finished", ("studio", "completed")].value == 1

    def test_nothing_new_is_nothing_to_keep(self, ledger: Ledger, store: FailingStore) -> None:
        ledger.persist()
        tries = store.tries
        ledger.persist()
        ledger.snapshot()
        assert store.tries == tries

    def test_a_mere_sight_is_not_worth_a_row(
        self, ledger: Ledger, store: FailingStore, now: Clocks
    ) -> None:
        ledger.observe(seen(1, "queued", now(), via="stream", position=4))
        ledger.persist()
        kept = len(store.batches)
        for position in (3, 2, 2):
            now.pass_(2)
            ledger.observe(seen(1, "queued", now(), via="stream", position=position))
            ledger.persist()
        assert not any(batch.workflows for batch in store.batches[kept:])
        assert ledger.snapshot().open_workflows[0].queue_position == 2
        now.pass_(SIGHT_KEPT_SECONDS)
        ledger.observe(seen(1, "queued", now(), via="stream", position=2))
        ledger.persist()
        assert store.batches[-1].workflows[("studio", uuid(1))].last_seen == now()


class TestAFailingStore:
    def test_it_goes_on_in_memory_and_keeps_everything_later(
        self, ledger: Ledger, store: FailingStore, now: Clocks
    ) -> None:
        ledger.persist()
        store.keeps_with = StoreError("disk full")
        ledger.observe(ended(1, now()))
        ledger.persist()
        ledger.observe(ended(2, now()))
        snapshot = ledger.snapshot()
        assert (finished(snapshot), snapshot.errors) == (2, 1)
        store.keeps_with = None
        now.pass_(60)
        ledger.persist()
        last = store.batches[-1]
        assert set(last.workflows) == {("studio", uuid(1)), ("studio", uuid(2))}
        assert last.counters["finished", ("studio", "completed")].value == 2
        assert sum(last.histograms["run_duration", ("studio", "completed")].counts) == 2

    def test_what_was_shown_meanwhile_outlives_a_power_cut_once_it_is_kept(
        self, ledger: Ledger, store: FailingStore, now: Clocks
    ) -> None:
        # Found in simulated time (seed 105): no scrape came between the disk's return and the cut.
        store.keeps_with = StoreError("disk full")
        ledger.observe(ended(1, now()))
        assert finished(ledger.snapshot()) == 1
        store.keeps_with = None
        now.pass_(60)
        before = store.syncs
        ledger.persist()
        assert store.syncs == before + 1
        ledger.observe(ended(2, now()))
        ledger.persist()
        assert store.syncs == before + 1

    def test_a_cutoff_outlives_a_power_cut_as_soon_as_it_is_kept(
        self, now: Clocks, store: FailingStore
    ) -> None:
        # Found in simulated time (seed 2052): the next start drew another one, a minute later.
        before = store.syncs
        ledger = make_ledger(now, store=store)
        ledger.persist()
        assert store.syncs == before + 1
        ledger.observe(ended(1, now()))
        ledger.persist()
        assert store.syncs == before + 1

    def test_the_disk_never_has_a_cutoff_without_what_was_over_by_then(
        self, now: Clocks, store: FailingStore
    ) -> None:
        # Found in simulated time (seed 40): after a crash in between, a row that was over by then
        # and was edited since looked as if it had ended since.
        ledger = Ledger(TERMS, BUCKETS, CAPS, now, store)

        def shown() -> Iterator[Observation]:
            ledger.persist()  # as another thread may at any time
            yield replace(ended(1, now()), first_pass=True)
            ledger.persist()

        assert ledger.set_counting_cutoff("studio", T0, shown())
        rows: set[str] = set()
        for batch in store.batches:
            rows |= {workflow_id for _, workflow_id in batch.workflows}
            has_line = any(marks.cutoff is not None for marks in batch.accounts.values())
            assert rows or not has_line
        assert rows == {uuid(1)}
        assert not ledger.set_counting_cutoff("studio", T0, iter([seen(2, "queued", now())]))
        assert not ledger.is_open("studio", uuid(2))

    def test_marks_are_kept_later_as_well(
        self, ledger: Ledger, store: FailingStore, now: Clocks
    ) -> None:
        store.keeps_with = StoreError("disk full")
        ledger.advance_list_watermark("studio", T0 + 5)
        store.keeps_with = None
        now.pass_(60)
        ledger.persist()
        last = store.batches[-1]
        assert last.accounts["studio"].watermark == T0 + 5

    def test_it_is_given_time(self, ledger: Ledger, store: FailingStore, now: Clocks) -> None:
        store.keeps_with = StoreError("disk full")
        ledger.observe(ended(1, now()))
        store.tries = 0
        for _ in range(4 * 60):
            ledger.persist()
            now.pass_(0.25)
        assert 8 <= store.tries <= 12
        assert ledger.snapshot().errors == store.tries

    def test_closing_tries_once_more_at_once(
        self, ledger: Ledger, store: FailingStore, now: Clocks
    ) -> None:
        store.keeps_with = StoreError("disk full")
        ledger.observe(ended(1, now()))
        ledger.persist()
        store.keeps_with = None
        ledger.close()
        assert ("studio", uuid(1)) in store.batches[-1].workflows

    def test_it_is_said_when_it_begins_and_when_it_is_over(
        self,
        ledger: Ledger,
        store: FailingStore,
        now: Clocks,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        for _ in range(2):
            store.keeps_with = StoreError("disk full")
            for number in range(3):
                ledger.observe(ended(number, now()))
                ledger.persist()
                now.pass_(60)
            store.keeps_with = None
            ledger.persist()
        levels = [r.levelno for r in caplog.records if r.levelno > logging.DEBUG]
        assert levels == [logging.ERROR, logging.WARNING] * 2

    def test_a_fault_of_ours_loses_nothing_either(
        self, ledger: Ledger, store: FailingStore, now: Clocks
    ) -> None:
        store.keeps_with = OverflowError("int too large")
        ledger.observe(ended(1, now()))
        assert finished(ledger.snapshot()) == 1
        store.keeps_with = None
        now.pass_(60)
        ledger.persist()
        assert ("studio", uuid(1)) in store.batches[-1].workflows

    def test_what_may_have_been_counted_is_not_guessed(
        self, ledger: Ledger, store: FailingStore, now: Clocks
    ) -> None:
        store.finds_with = StoreError("input/output error")
        with pytest.raises(TrackError):
            ledger.track(pushed(1, now()))
        assert not ledger.observe(ended(2, now()))
        assert ledger.snapshot().errors == 2
        store.finds_with = None
        assert ledger.track(pushed(1, now()))
        ledger.observe(ended(2, now()))
        assert finished(ledger.snapshot()) == 1

    def test_younger_ones_are_estimated_from_memory(
        self, ledger: Ledger, store: FailingStore, now: Clocks
    ) -> None:
        store.keeps_with = StoreError("disk full")
        ledger.observe(seen(1, "queued", now(), created=5))
        ledger.observe(ended(2, now()))
        assert ledger.created_after("studio", T0) == 2
        assert ledger.created_after("studio", T0 + 1) == 1


class TestALoss:
    """The store is suddenly empty."""

    def test_everything_in_memory_is_given_to_the_fresh_one(
        self, ledger: Ledger, store: FailingStore, now: Clocks
    ) -> None:
        ledger.observe(ended(1, now()))
        ledger.observe(seen(2, "running", now()))
        ledger.observe(ended(3, now(), status="failed"))
        ledger.advance_list_watermark("studio", T0 + 9)
        ledger.persist()
        store.finds_with = StoreLostError("damaged")
        ledger.observe(seen(4, "queued", now()))
        snapshot = ledger.snapshot()
        assert (finished(snapshot), snapshot.settled, snapshot.errors) == (2, 2, 1)
        last = store.batches[-1]
        assert {key[1] for key in last.workflows} == {uuid(n) for n in (1, 2, 3, 4)}
        assert last.counters["finished", ("studio", "completed")].value == 1
        assert last.accounts["studio"].watermark == T0 + 9

    def test_what_only_the_lost_one_knew_is_not_counted_again(
        self,
        ledger: Ledger,
        store: FailingStore,
        now: Clocks,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(memory, "CLOSED_REMEMBERED", 2)
        for number in range(1, 6):
            ledger.observe(ended(number, now(), completed=100 + number))
        ledger.persist()
        store.finds_with = StoreLostError("damaged")
        # The very observation that meets the loss must be judged by the new line.
        for number in range(1, 6):
            ledger.observe(ended(number, now(), completed=100 + number))
        assert finished(ledger.snapshot()) == 5
        # What ended since, and was never seen, still counts.
        ledger.observe(ended(6, now(), completed=104))
        assert finished(ledger.snapshot()) == 6

    def test_a_loss_while_keeping(self, ledger: Ledger, store: FailingStore, now: Clocks) -> None:
        ledger.observe(ended(1, now()))
        ledger.persist()
        store.keeps_with = StoreLostError("damaged")
        ledger.observe(ended(2, now()))
        ledger.persist()
        store.keeps_with = None
        ledger.persist()
        assert {key[1] for key in store.batches[-1].workflows} == {uuid(1), uuid(2)}
        assert finished(ledger.snapshot()) == 2


class TestTime:
    def test_a_cause_is_forgiven_after_an_hour(self, ledger: Ledger, now: Clocks) -> None:
        ledger.observe(ended(1, now(), status="failed"))
        now.pass_(CAUSE_PATIENCE_SECONDS)
        ledger.expire()
        assert ledger.pending_causes("studio") == [uuid(1)]
        now.pass_(1)
        ledger.expire()
        assert ledger.pending_causes("studio") == []
        assert counter(ledger.snapshot(), "failures", "unknown", "unknown") == 1

    def test_who_is_out_of_sight_for_long_is_dropped(self, ledger: Ledger, now: Clocks) -> None:
        ledger.observe(seen(1, "queued", now()))
        now.pass_(LOOKBACK + 1)
        ledger.expire()
        snapshot = ledger.snapshot()
        assert counter(snapshot, "dropped", "expired") == 1
        assert not snapshot.open_workflows

    def test_rows_are_dropped_when_no_list_can_show_them(self, ledger: Ledger, now: Clocks) -> None:
        ledger.observe(ended(1, now(), completed=10))
        now.pass_(2 * LOOKBACK + 100)
        ledger.observe(ended(2, now(), completed=2 * LOOKBACK + 50))
        ledger.expire()
        assert ledger.snapshot().settled == 1
        # Shown again all the same, they are neither counted nor stored again: a short list shows
        # them with each pass.
        assert not ledger.observe(ended(1, now(), completed=10))
        assert (finished(ledger.snapshot()), ledger.snapshot().settled) == (2, 1)
        # But what runs again is.
        ledger.observe(ended(1, now(), completed=2 * LOOKBACK + 60))
        assert (finished(ledger.snapshot()), ledger.snapshot().settled) == (3, 2)

    @pytest.mark.parametrize("step", [-40 * 86_400.0, 40 * 86_400.0])
    def test_a_step_of_the_wall_clock_does_no_harm(
        self, ledger: Ledger, now: Clocks, step: float
    ) -> None:
        ledger.observe(ended(1, now(), completed=10))
        ledger.observe(ended(2, now(), status="failed"))
        ledger.observe(seen(3, "running", now()))
        now.wall += step
        ledger.expire()
        # It ended before one that was counted, and is seen only now.
        ledger.observe(ended(4, now(), completed=9))
        ledger.observe(ended(1, now(), completed=10))
        snapshot = ledger.snapshot()
        assert (finished(snapshot), snapshot.settled) == (3, 3)
        assert ledger.pending_causes("studio") == [uuid(2)]
        assert ledger.is_open("studio", uuid(3))
        now.wall -= step
        ledger.expire()
        for number, completed in ((1, 10), (4, 9)):
            ledger.observe(ended(number, now(), completed=completed))
        assert finished(ledger.snapshot()) == 3


class TestOverARestart:
    """On disk; the process is another one each time."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        return tmp_path / "data"

    def test_everything_goes_on(self, folder: Path, now: Clocks) -> None:
        ledger = ledger_on_disk(folder, now)
        ledger.observe(ended(1, now()))
        ledger.observe(seen(2, "queued", now(), via="stream", position=3))
        ledger.observe(ended(3, now(), status="failed"))
        ledger.advance_list_watermark("studio", T0 + 9)
        before = ledger.snapshot()
        ledger.close()
        now.pass_(100)
        ledger = ledger_on_disk(folder, now)
        after = ledger.snapshot()
        assert after.totals.counters == before.totals.counters
        assert after.totals.histograms == before.totals.histograms
        assert (after.settled, len(after.open_workflows)) == (2, 1)
        assert ledger.list_watermark("studio") == T0 + 9
        assert ledger.pending_causes("studio") == [uuid(3)]
        ledger.observe(ended(1, now()))
        ledger.observe(replace(ended(3, now(), status="failed", via="stream"), cause=CAUSE))
        ledger.observe(ended(2, now(), completed=150))
        last = ledger.snapshot()
        ledger.close()
        assert (finished(last), counter(last, "failures", "KSampler", "ValueError")) == (3, 1)
        assert observed(last, "entry_queue_position") == 1
        assert observed(last, "time_to_start") == 3

    def test_a_debt_is_given_its_time_anew(self, folder: Path, now: Clocks) -> None:
        ledger = ledger_on_disk(folder, now)
        ledger.observe(ended(1, now(), status="failed"))
        ledger.close()
        # Down for a night: nobody could have asked.
        now.pass_(8 * 3600)
        ledger = ledger_on_disk(folder, now)
        ledger.expire()
        assert ledger.pending_causes("studio") == [uuid(1)]
        now.pass_(CAUSE_PATIENCE_SECONDS + 1)
        ledger.expire()
        assert counter(ledger.snapshot(), "failures", "unknown", "unknown") == 1
        ledger.close()

    def test_being_out_of_sight_counts_from_the_restart(self, folder: Path, now: Clocks) -> None:
        ledger = ledger_on_disk(folder, now)
        ledger.observe(seen(1, "running", now()))
        ledger.close()
        now.pass_(5 * LOOKBACK)
        ledger = ledger_on_disk(folder, now)
        ledger.expire()
        assert ledger.is_open("studio", uuid(1))
        ledger.close()

    def test_a_wait_measured_by_our_sights_survives(self, folder: Path, now: Clocks) -> None:
        def bare(
            status: str, started: float | None = None, completed: float | None = None
        ) -> Observation:
            return replace(
                seen(1, status, now(), via="stream", started=started, completed=completed),
                created_at=None,
            )

        ledger = ledger_on_disk(folder, now)
        ledger.track(pushed(1, now()))
        ledger.observe(bare("queued"))
        now.pass_(4)
        ledger.observe(bare("running", started=4.0))
        assert observed(ledger.snapshot(), "time_to_start") == 0, "the list may tell better"
        ledger.close()
        now.pass_(50)
        ledger = ledger_on_disk(folder, now)
        ledger.observe(bare("completed", started=4.0, completed=50.0))
        total = ledger.snapshot().totals.histograms["time_to_start", ("studio",)]
        ledger.close()
        assert (sum(total.counts), total.sum) == (1, 4.0)

    def test_a_wait_that_only_the_earlier_process_saw_is_not_guessed(
        self, folder: Path, now: Clocks
    ) -> None:
        ledger = ledger_on_disk(folder, now)
        ledger.track(pushed(1, now()))
        ledger.observe(seen(1, "queued", now(), via="stream", created=None))
        ledger.close()
        now.pass_(1)
        ledger = ledger_on_disk(folder, now)
        ledger.observe(seen(1, "running", now(), via="stream", created=None, started=1.0))
        ledger.observe(
            seen(1, "completed", now(), via="stream", created=None, started=1.0, completed=2.0)
        )
        assert observed(ledger.snapshot(), "time_to_start") == 0
        ledger.close()

    def test_the_first_sight_after_it_is_newer_than_those_before(
        self, folder: Path, now: Clocks
    ) -> None:
        ledger = ledger_on_disk(folder, now)
        now.pass_(1e6)
        ledger.observe(seen(1, "queued", now(), via="stream", position=5))
        ledger.drop(Removed("studio", uuid(1), "not_found", now()))
        ledger.close()
        # The machine was restarted: its monotonic clock begins again.
        now.monotonic = 10.0
        ledger = ledger_on_disk(folder, now)
        ledger.observe(seen(1, "queued", now(), via="detail", position=2))
        (workflow,) = ledger.snapshot().open_workflows
        ledger.close()
        assert (workflow.queue_position, workflow.last_seen) == (2, now())

    def test_changed_buckets_start_that_histogram_anew(
        self, folder: Path, now: Clocks, caplog: pytest.LogCaptureFixture
    ) -> None:
        ledger = ledger_on_disk(folder, now)
        ledger.observe(ended(1, now()))
        ledger.close()
        other = replace(BUCKETS, run_duration=(1.0, 2.0))
        ledger = make_ledger(now, SqliteStore(folder, now), buckets=other)
        snapshot = ledger.snapshot()
        ledger.close()
        assert observed(snapshot, "run_duration") == 0
        assert (observed(snapshot, "time_to_start"), finished(snapshot)) == (1, 1)
        assert [vars(r)["histogram"] for r in caplog.records] == ["run_duration"]
        caplog.clear()
        # Said once; and changed back, the old ones do not come back.
        make_ledger(now, SqliteStore(folder, now), buckets=other).close()
        assert not caplog.records
        ledger = ledger_on_disk(folder, now)
        assert observed(ledger.snapshot(), "run_duration") == 0
        ledger.close()

    def test_an_account_that_was_away_goes_on(self, folder: Path, now: Clocks) -> None:
        terms = {name: AccountTerms(LOOKBACK, listed=True) for name in ("studio", "agency")}
        failed = replace(ended(1, now(), status="failed", via="stream"), cause=CAUSE)
        ledger = make_ledger(now, SqliteStore(folder, now), terms=terms)
        ledger.observe(replace(failed, account="agency"))
        ledger.observe(seen(2, "running", now(), account="agency"))
        ledger.announce(ledger.newest_series())
        ledger.close()

        ledger = ledger_on_disk(folder, now)
        away = ledger.snapshot()
        assert away.accounts == ("studio",)
        assert not away.open_workflows
        assert finished(away) == 0
        # A series that appears meanwhile is newer than all that were ever announced.
        ledger.observe(failed)
        new = ledger.snapshot().totals.counters["failures", ("studio", "KSampler", "ValueError")]
        assert new.appeared > ledger.snapshot().announced
        ledger.close()

        ledger = make_ledger(now, SqliteStore(folder, now), terms=terms)
        back = ledger.snapshot()
        assert finished(back) == 2
        assert ledger.is_open("agency", uuid(2))
        ledger.observe(replace(failed, account="agency"))
        assert finished(ledger.snapshot()) == 2
        ledger.close()

    def test_caps_go_on(self, folder: Path, now: Clocks) -> None:
        def fail(ledger: Ledger, number: int, node: str) -> None:
            cause = replace(CAUSE, node_type=node)
            ledger.observe(
                replace(ended(number, now(), status="failed", via="stream"), cause=cause)
            )

        caps = replace(CAPS, node_types=1)
        ledger = make_ledger(now, SqliteStore(folder, now), caps=caps)
        fail(ledger, 1, "KSampler")
        ledger.close()
        ledger = make_ledger(now, SqliteStore(folder, now), caps=caps)
        fail(ledger, 2, "VAEDecode")
        fail(ledger, 3, "KSampler")
        snapshot = ledger.snapshot()
        ledger.close()
        assert counter(snapshot, "failures", "KSampler") == 2
        assert counter(snapshot, "failures", "other") == 1

    def test_closing_twice_and_using_it_afterwards_breaks_nothing(
        self, folder: Path, now: Clocks
    ) -> None:
        ledger = ledger_on_disk(folder, now)
        ledger.observe(ended(1, now()))
        ledger.close()
        ledger.close()
        # Threads that would not end in time.
        ledger.observe(ended(2, now()))
        ledger.observe(ended(1, now()))
        ledger.expire()
        assert finished(ledger.snapshot()) == 1


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.DEBUG, "exporter.ledger"):
        yield
