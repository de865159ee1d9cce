"""What is looked at again because it may have been missed, and what comparing totals stands on."""

import shutil
from pathlib import Path
from unittest.mock import Mock

import pytest

from exporter.interfaces.observations import Baseline, Removed, Status
from exporter.ledger.ledger import Ledger
from exporter.ledger.sqlite import FILE_NAME, SqliteStore
from exporter.ledger.store import MemoryStore, StoreError
from tests.unit.ledger.ledgers import (
    LOOKBACK,
    T0,
    Clocks,
    counter,
    ended,
    finished,
    ledger_on_disk,
    make_ledger,
    pushed,
    seen,
    uuid,
)


@pytest.fixture
def now() -> Clocks:
    return Clocks()


@pytest.fixture
def ledger(now: Clocks) -> Ledger:
    return make_ledger(now)


def recovered(ledger: Ledger) -> float:
    return counter(ledger.snapshot(), "recovered")


class TestRecovering:
    def test_an_outcome_that_nobody_has_seen_is_counted_once(
        self, ledger: Ledger, now: Clocks
    ) -> None:
        assert ledger.recover(ended(1, now())) == "recovered"
        assert ledger.recover(ended(1, now())) == "known"
        ledger.observe(ended(1, now()))
        assert (finished(ledger.snapshot()), recovered(ledger)) == (1, 1)

    def test_one_that_was_open_would_have_been_found(self, ledger: Ledger, now: Clocks) -> None:
        ledger.observe(seen(1, "running", now()))
        assert ledger.recover(ended(1, now())) == "counted"
        assert (finished(ledger.snapshot()), recovered(ledger)) == (1, 0)

    def test_a_run_after_the_end_on_record(self, ledger: Ledger, now: Clocks) -> None:
        ledger.observe(ended(1, now()))
        assert ledger.recover(ended(1, now(), completed=60.0, status="failed")) == "recovered"
        assert ledger.finished("studio")[Status.FAILED] == 1

    def test_one_that_was_given_up(self, ledger: Ledger, now: Clocks) -> None:
        ledger.track(pushed(1, now()))
        ledger.drop(Removed("studio", uuid(1), "not_found", now()))
        assert ledger.recover(ended(1, now())) == "recovered"

    def test_the_end_that_was_told_first_stays(self, ledger: Ledger, now: Clocks) -> None:
        ledger.observe(ended(1, now()))
        assert ledger.recover(ended(1, now(), status="failed")) == "elsewhere"
        assert ledger.finished("studio")[Status.FAILED] == 0

    def test_of_what_was_over_before_the_line_nothing_is_kept(self, now: Clocks) -> None:
        store = MemoryStore()
        ledger = make_ledger(now, store)
        assert ledger.recover(ended(1, now(), completed=-20.0, created=-40.0)) == "old"
        assert ledger.snapshot().settled == 0
        assert store.find_closed(("studio", uuid(1))) is None

    def test_an_open_one_is_followed_from_now_on(self, ledger: Ledger, now: Clocks) -> None:
        called = []
        ledger.on_change = lambda: called.append(1)
        assert ledger.recover(seen(1, "running", now())) == "open"
        assert ledger.is_open("studio", uuid(1))
        assert called

    def test_what_cannot_be_looked_up_is_not_guessed(self, now: Clocks) -> None:
        class Gone(MemoryStore):
            def find_closed(self, key: object) -> None:
                raise StoreError("the disk is gone")

        ledger = make_ledger(now, Gone())
        assert ledger.recover(ended(1, now())) == "untold"
        assert finished(ledger.snapshot()) == 0


def test_outcomes_by_status_are_those_of_all_series(ledger: Ledger, now: Clocks) -> None:
    for number, status in enumerate(["completed", "completed", "failed", "invalid"]):
        ledger.observe(ended(number, now(), status=status))
    assert ledger.finished("studio") == {
        Status.COMPLETED: 2,
        Status.FAILED: 1,
        Status.CANCELLED: 0,
        Status.INVALID: 1,
    }
    assert set(ledger.finished("another").values()) == {0}


BASELINE = Baseline(-3, T0 + 50, T0 - 5)


class TestBaselines:
    def test_they_go_on_after_a_restart(self, tmp_path: Path, now: Clocks) -> None:
        ledger = ledger_on_disk(tmp_path, now)
        ledger.set_baseline("studio", Status.FAILED, BASELINE)
        ledger.set_baseline("studio", Status.COMPLETED, BASELINE)
        ledger.close()
        ledger = ledger_on_disk(tmp_path, now)
        assert ledger.baselines("studio") == dict.fromkeys(
            (Status.FAILED, Status.COMPLETED), BASELINE
        )
        assert ledger.baselines("another") == {}
        ledger.set_baseline("studio", Status.FAILED, None)
        ledger.close()
        ledger = ledger_on_disk(tmp_path, now)
        assert ledger.baselines("studio") == {Status.COMPLETED: BASELINE}
        ledger.close()

    def test_they_stay_when_rows_are_pruned(self, tmp_path: Path, now: Clocks) -> None:
        ledger = ledger_on_disk(tmp_path, now)
        ledger.observe(ended(1, now()))
        ledger.set_baseline("studio", Status.COMPLETED, BASELINE)
        now.pass_(3 * LOOKBACK)
        ledger.observe(ended(2, now(), completed=3 * LOOKBACK))
        ledger.expire()
        assert ledger.snapshot().settled == 1
        assert ledger.baselines("studio") == {Status.COMPLETED: BASELINE}
        assert ledger.finished("studio")[Status.COMPLETED] == 2
        ledger.close()

    def test_a_crash_leaves_them_together_with_the_outcomes_that_they_belong_to(
        self, tmp_path: Path, now: Clocks
    ) -> None:
        """Whatever statement it comes before."""
        at = Statements(tmp_path / "d", now)
        ledger = make_ledger(now, at)
        total = 10
        for number in range(1, 4):
            ledger.observe(ended(number, now()))
            ledger.set_baseline("studio", Status.COMPLETED, Baseline(total - number, T0, T0))
            ledger.persist()
        ledger.close()
        assert len(at.left) > 20
        for folder in at.left:
            found = ledger_on_disk(folder, now)
            counted = found.finished("studio")[Status.COMPLETED]
            baseline = found.baselines("studio").get(Status.COMPLETED)
            assert (baseline is None) == (counted == 0)
            assert baseline is None or baseline.value + counted == total
            found.close()

    def test_they_outlive_a_file_that_is_lost_while_the_process_lives(
        self, tmp_path: Path, now: Clocks
    ) -> None:
        ledger = ledger_on_disk(tmp_path, now)
        ledger.set_baseline("studio", Status.COMPLETED, BASELINE)
        ledger.persist()
        (tmp_path / FILE_NAME).unlink()
        for _ in range(2):
            ledger.observe(ended(1, now()))
            ledger.set_baseline("studio", Status.FAILED, BASELINE)
            ledger.persist()
            now.pass_(60)
        ledger.close()
        ledger = ledger_on_disk(tmp_path, now)
        assert ledger.snapshot().errors == 0
        assert set(ledger.baselines("studio")) == {Status.COMPLETED, Status.FAILED}
        ledger.close()

    def test_without_the_rows_of_an_earlier_process_they_mean_nothing(
        self, now: Clocks, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        ledger = ledger_on_disk(tmp_path, now)
        ledger.observe(ended(1, now()))
        ledger.set_baseline("studio", Status.COMPLETED, BASELINE)
        ledger.close()
        store = SqliteStore(tmp_path, now)
        kept = store.load()
        assert kept.baselines
        monkeypatch.setattr(
            store,
            "load",
            lambda _: kept.__class__(
                **{name: getattr(kept, name) for name in kept.__slots__ if name != "lost"},
                lost=True,
            ),
        )
        ledger = make_ledger(now, store)
        assert ledger.baselines("studio") == {}
        ledger.close()

    def test_what_a_disk_could_not_keep_is_kept_later(self, tmp_path: Path, now: Clocks) -> None:
        store = SqliteStore(tmp_path, now)
        ledger = make_ledger(now, store)
        ledger.persist()
        works, store.persist = store.persist, Mock(side_effect=StoreError("full"))  # type: ignore[method-assign]
        ledger.set_baseline("studio", Status.COMPLETED, BASELINE)
        ledger.persist()
        ledger.set_baseline("studio", Status.FAILED, BASELINE)
        store.persist = works  # type: ignore[method-assign]
        now.pass_(60)
        ledger.close()
        ledger = ledger_on_disk(tmp_path, now)
        assert set(ledger.baselines("studio")) == {Status.COMPLETED, Status.FAILED}
        ledger.close()


class Statements(SqliteStore):
    """Copies its folder before every SQL statement, as a crash would leave it."""

    def __init__(self, folder: Path, now: Clocks) -> None:
        self.folder = folder
        self.left: list[Path] = []
        super().__init__(folder, now)
        assert self._file._database is not None
        self._file._database.set_trace_callback(self._before_statement)

    def _before_statement(self, _: str) -> None:
        left = self.folder.with_name(f"{self.folder.name}{len(self.left)}")
        shutil.copytree(self.folder, left)
        self.left.append(left)
