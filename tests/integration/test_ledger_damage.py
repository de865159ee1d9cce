"""What becomes of a ledger that is damaged, lost, or not the one that was left."""

import logging
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from exporter.ledger import file, walk, witness
from exporter.ledger.ledger import Ledger
from exporter.ledger.snapshot import LedgerSnapshot
from exporter.ledger.sqlite import FILE_NAME, OpenLedgerError, SqliteStore
from exporter.ledger.witness import LOCK_NAME, LastNote
from tests.unit.ledger.ledgers import (
    BUCKETS,
    CAPS,
    CAUSE,
    TERMS,
    Clocks,
    counter,
    ended,
    finished,
    ledger_on_disk,
    pushed,
    seen,
    uuid,
)

LOG = FILE_NAME + "-wal"


@pytest.fixture
def now() -> Clocks:
    clocks = Clocks()
    clocks.pass_(1000)
    return clocks


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


def settle(ledger: Ledger, now: Clocks, numbers: range) -> None:
    for number in numbers:
        end = ("completed", "failed", "cancelled")[number % 3]
        ledger.observe(ended(number, now(), completed=number + 20, status=end, via="stream"))


def on_the_disk(folder: Path, statement: str) -> None:
    with closing(sqlite3.connect(folder / FILE_NAME)) as database:
        database.execute(statement)
        database.commit()


def aside(folder: Path) -> list[str]:
    names = (path.name for path in folder.iterdir() if ".damaged-" in path.name)
    return sorted(name for name in names if not name.endswith("-wal"))


def started(folder: Path, now: Clocks) -> LedgerSnapshot:
    """What another process finds."""
    ledger = ledger_on_disk(folder, now)
    snapshot = ledger.snapshot()
    ledger.close()
    return snapshot


@pytest.fixture
def kept(folder: Path, now: Clocks) -> Path:
    """A folder whose ledger has counted 90 and holds two open workflows."""
    ledger = ledger_on_disk(folder, now)
    settle(ledger, now, range(90))
    ledger.observe(seen(200, "running", now(), created=201))
    ledger.track(pushed(201, now()))
    ledger.snapshot()
    ledger.close()
    return folder


def killed(kept: Path, now: Clocks, to: Path) -> Path:
    """The same, as it is while another 60 were counted and not merged into the file."""
    ledger = ledger_on_disk(kept, now)
    settle(ledger, now, range(90, 120))
    ledger.snapshot()
    settle(ledger, now, range(120, 150))
    ledger.persist()
    shutil.copytree(kept, to)
    ledger.close()
    return to


class TestAFirstStart:
    @pytest.mark.parametrize("before", [[], ["lost+found/"], ["README", "config.yml"]])
    def test_is_one_where_nothing_of_ours_is(
        self, folder: Path, now: Clocks, before: list[str]
    ) -> None:
        folder.mkdir()
        for name in before:
            (folder / name).mkdir() if name.endswith("/") else (folder / name).touch()
        assert started(folder, now).errors == 0
        assert aside(folder) == []

    def test_that_came_to_nothing_is_followed_by_another(
        self, folder: Path, now: Clocks, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full_disk(*_: object) -> None:
            raise sqlite3.OperationalError("database or disk is full")

        with monkeypatch.context() as patch:
            patch.setattr(file.LedgerFile, "_migrate", full_disk)
            with pytest.raises(OpenLedgerError, match="full"):
                SqliteStore(folder, now)
        assert list(folder.iterdir()) == []
        assert started(folder, now).errors == 0

    def test_that_was_killed_is_followed_by_another(
        self, folder: Path, now: Clocks, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def killed(*_: object) -> None:
            shutil.copytree(folder, folder.with_name("left"))
            raise OSError(5, "gone")

        with monkeypatch.context() as patch:
            patch.setattr(file.LedgerFile, "_migrate", killed)
            with pytest.raises(OpenLedgerError):
                SqliteStore(folder, now)
        left = folder.with_name("left")
        assert (left / LOCK_NAME).exists()
        assert started(left, now).errors == 0
        assert [path.name for path in left.iterdir() if "fresh" in path.name] == []


EVIDENCE: list[Callable[[Path], object]] = [
    lambda folder: (folder / LOCK_NAME).touch(),
    lambda folder: (folder / LOCK_NAME).write_bytes(b"anything"),
    lambda folder: (folder / "requests-api.comfycontrol.app_443.window").write_bytes(b"ccxwin02"),
    lambda folder: (folder / (FILE_NAME + ".damaged-20260101T000000Z")).touch(),
    lambda folder: (folder / LOG).write_bytes(bytes(100)),
    lambda folder: (folder / FILE_NAME).touch(),
]


class TestLost:
    @pytest.mark.parametrize("leave", EVIDENCE)
    def test_a_missing_file_beside_the_marks_of_an_earlier_life(
        self,
        folder: Path,
        now: Clocks,
        leave: Callable[[Path], object],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        folder.mkdir()
        leave(folder)
        ledger = Ledger(TERMS, BUCKETS, CAPS, now, SqliteStore(folder, now))
        # As the list does at its first look.
        ledger.set_counting_cutoff("studio", now().wall)
        assert ledger.snapshot().errors == 1
        assert [r.levelname for r in caplog.records] == ["ERROR"]
        # What had ended by now may have been counted.
        settle(ledger, now, range(3))
        ledger.observe(ended(5, now(), completed=1005))
        assert finished(ledger.snapshot()) == 1
        ledger.close()
        # Told once.
        assert started(folder, now).errors == 0

    @pytest.mark.parametrize("lose", [Path.unlink, lambda path: os.truncate(path, 0)])
    def test_the_file_alone(self, kept: Path, now: Clocks, lose: Callable[[Path], object]) -> None:
        lose(kept / FILE_NAME)
        snapshot = started(kept, now)
        assert (finished(snapshot), snapshot.errors) == (0, 1)


class TestAnotherThanWasLeft:
    """In itself without fault, and told."""

    def test_killed_it_is_as_it_was_left(self, kept: Path, now: Clocks, tmp_path: Path) -> None:
        snapshot = started(killed(kept, now, tmp_path / "left"), now)
        assert (finished(snapshot), snapshot.errors) == (150, 0)

    @pytest.mark.parametrize(
        "lose", [Path.unlink, lambda log: os.truncate(log, log.stat().st_size // 2)]
    )
    def test_its_log_lost(
        self,
        kept: Path,
        now: Clocks,
        tmp_path: Path,
        lose: Callable[[Path], object],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        left = killed(kept, now, tmp_path / "left")
        lose(left / LOG)
        ledger = ledger_on_disk(left, now)
        snapshot = ledger.snapshot()
        assert finished(snapshot) < 150
        assert snapshot.errors == 1
        assert "older than expected" in caplog.text
        assert aside(left) == []
        # It goes on from there: what the list still shows is counted.
        settle(ledger, now, range(150))
        assert finished(ledger.snapshot()) == 150
        ledger.close()
        assert started(left, now).errors == 0

    def test_a_power_cut_may_take_what_was_not_synced(
        self, kept: Path, now: Clocks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        left = killed(kept, now, tmp_path / "left")
        log = (left / LOG).read_bytes()
        monkeypatch.setattr(witness, "_boot", lambda: b"after the cut...")
        found = []
        for size in range(len(log), 0, -4120):
            shutil.rmtree(tmp_path / "cut", ignore_errors=True)
            shutil.copytree(left, tmp_path / "cut")
            os.truncate(tmp_path / "cut" / LOG, size)
            snapshot = started(tmp_path / "cut", now)
            # Up to 120 were shown to somebody, and synced before that.
            assert (snapshot.errors == 0) == (finished(snapshot) >= 120)
            found.append(finished(snapshot))
        assert (found[0], found[-1]) == (150, 90)

    def test_an_older_copy(self, kept: Path, now: Clocks, tmp_path: Path) -> None:
        shutil.copy(kept / FILE_NAME, tmp_path / "copy")
        ledger = ledger_on_disk(kept, now)
        settle(ledger, now, range(90, 150))
        ledger.close()
        shutil.copy(tmp_path / "copy", kept / FILE_NAME)
        snapshot = started(kept, now)
        assert (finished(snapshot), snapshot.errors) == (90, 1)

    def test_a_copy_of_the_whole_folder_is_no_fault(
        self, kept: Path, now: Clocks, tmp_path: Path
    ) -> None:
        shutil.copytree(kept, tmp_path / "copy")
        ledger_on_disk(kept, now).close()
        snapshot = started(tmp_path / "copy", now)
        assert (finished(snapshot), snapshot.errors) == (90, 0)

    def test_nor_is_the_file_alone_in_a_new_folder(
        self, kept: Path, now: Clocks, tmp_path: Path
    ) -> None:
        (tmp_path / "new").mkdir()
        shutil.copy(kept / FILE_NAME, tmp_path / "new" / FILE_NAME)
        snapshot = started(tmp_path / "new", now)
        assert (finished(snapshot), snapshot.errors) == (90, 0)

    def test_of_such_a_copy_it_is_told_once_that_it_cannot_be_checked(
        self, kept: Path, now: Clocks, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        (tmp_path / "new").mkdir()
        shutil.copy(kept / FILE_NAME, tmp_path / "new" / FILE_NAME)
        for _ in range(2):
            with closing(SqliteStore(tmp_path / "new", now)) as store:
                assert store.load().faults == 0
                store.record()
        (record,) = caplog.records
        assert (record.levelname, record.__dict__["reason"]) == (
            "WARNING",
            "ledger.lock is missing",
        )

    def test_the_ledger_of_another_exporter(self, kept: Path, now: Clocks, tmp_path: Path) -> None:
        other = ledger_on_disk(tmp_path / "other", now)
        settle(other, now, range(7))
        other.close()
        shutil.copy(tmp_path / "other" / FILE_NAME, kept / FILE_NAME)
        snapshot = started(kept, now)
        assert (finished(snapshot), snapshot.errors) == (7, 1)

    def test_a_witness_is_believed_only_whole(self) -> None:
        said = LastNote("ab" * 16, b"b" * 16, 7, 5)
        packed = said.packed()
        assert LastNote.unpacked(packed) == said
        for at in range(len(packed)):
            changed = bytearray(packed)
            changed[at] ^= 1
            assert LastNote.unpacked(bytes(changed)) is None


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


HURT: list[tuple[Callable[[Path], object], str]] = [
    (flip_a_bit, "ledger.lock is damaged"),
    (lambda lock: os.truncate(lock, 0), "ledger.lock is damaged"),
    (lambda lock: os.truncate(lock, 31), "ledger.lock is damaged"),
    (lambda lock: lock.write_bytes(bytes(60)), "ledger.lock is damaged"),
    (Path.unlink, "ledger.lock is missing, and ledger.sqlite3-wal is there"),
    (
        lambda lock: lock.write_bytes(b"No ledger was begun here yet.\n"),
        "ledger.lock says that none was begun, and ledger.sqlite3-wal is there",
    ),
]


class TestWithoutItsRecord:
    """Nobody can tell whether it is complete: it is told, and used."""

    @pytest.mark.parametrize(("hurt", "reason"), HURT)
    @pytest.mark.parametrize("is_cut", [False, True])
    def test_it_is_told_once_and_goes_on(
        self,
        kept: Path,
        now: Clocks,
        tmp_path: Path,
        hurt: Callable[[Path], object],
        reason: str,
        is_cut: bool,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        left = killed(kept, now, tmp_path / "left")
        hurt(left / LOCK_NAME)
        if is_cut:
            # Alone, this is told as well: with the record gone it was not.
            os.truncate(left / LOG, 40)
        caplog.clear()
        snapshot = started(left, now)
        assert (finished(snapshot), snapshot.errors) == (90 if is_cut else 150, 1)
        (record,) = caplog.records
        assert record.levelno == logging.ERROR
        assert "whether it is complete cannot be checked" in record.getMessage()
        assert record.__dict__["reason"] == reason
        assert aside(left) == []
        assert LastNote.unpacked((left / LOCK_NAME).read_bytes()) is not None
        assert started(left, now).errors == 0

    def test_though_it_ends_before_it_writes(
        self, kept: Path, now: Clocks, caplog: pytest.LogCaptureFixture
    ) -> None:
        flip_a_bit(kept / LOCK_NAME)
        for faults in (1, 0):
            with closing(SqliteStore(kept, now)) as store:
                assert store.load().faults == faults
                store.record()
        assert len(caplog.records) == 1

    def test_reading_alone_does_not_record_it(self, kept: Path, now: Clocks) -> None:
        flip_a_bit(kept / LOCK_NAME)
        found = (kept / LOCK_NAME).read_bytes()
        for _ in range(2):
            with closing(SqliteStore(kept, now)) as store:
                read = store.load()
            assert (read.faults, read.lost, read.contradicted) == (1, False, False)
            assert (kept / LOCK_NAME).read_bytes() == found
        assert started(kept, now).errors == 1
        assert started(kept, now).errors == 0

    def test_the_new_record_is_one_of_this_ledger(self, kept: Path, now: Clocks) -> None:
        shutil.copy(kept / FILE_NAME, kept / "copy")
        flip_a_bit(kept / LOCK_NAME)
        ledger = ledger_on_disk(kept, now)
        settle(ledger, now, range(90, 150))
        ledger.close()
        (kept / "copy").replace(kept / FILE_NAME)
        snapshot = started(kept, now)
        assert (finished(snapshot), snapshot.errors) == (90, 1)

    def test_where_requests_were_noted_a_ledger_alone_is_no_copy(
        self, kept: Path, now: Clocks, caplog: pytest.LogCaptureFixture
    ) -> None:
        (kept / LOCK_NAME).unlink()
        (kept / "requests-api.comfycontrol.app_443.window").write_bytes(b"ccxwin02")
        snapshot = started(kept, now)
        assert (finished(snapshot), snapshot.errors) == (90, 1)
        assert [record.levelname for record in caplog.records] == ["ERROR"]

    def test_nor_is_a_young_one_believed_that_has_lost_all(self, folder: Path, now: Clocks) -> None:
        """All was in its log: without it, it looks like one that was just begun."""
        ledger = ledger_on_disk(folder, now)
        settle(ledger, now, range(90))
        ledger.persist()
        shutil.copytree(folder, folder.with_name("left"))
        ledger.close()
        left = folder.with_name("left")
        (left / LOG).unlink()
        os.truncate(left / LOCK_NAME, 0)
        snapshot = started(left, now)
        assert (finished(snapshot), snapshot.errors) == (0, 1)

    def test_a_first_start_that_was_killed_before_there_was_a_record_is_no_fault(
        self, folder: Path, now: Clocks, caplog: pytest.LogCaptureFixture
    ) -> None:
        SqliteStore(folder, now).close()
        (folder / LOCK_NAME).write_bytes(b"No ledger was begun here yet.\n")
        (folder / LOG).touch()
        assert started(folder, now).errors == 0
        assert caplog.records == []


class TestDamagedTotals:
    def test_a_series_that_fails_its_checksum_is_lost_and_the_others_go_on(
        self, kept: Path, now: Clocks, caplog: pytest.LogCaptureFixture
    ) -> None:
        on_the_disk(kept, 'UPDATE counters SET value = 29 WHERE labels = \'["studio","failed"]\'')
        snapshot = started(kept, now)
        assert counter(snapshot, "finished", "failed") == 0
        assert counter(snapshot, "finished", "completed") == 30
        assert counter(snapshot, "finished", "cancelled") == 30
        assert {w.workflow_id for w in snapshot.open_workflows} == {uuid(200), uuid(201)}
        assert snapshot.errors == 1
        (record,) = [r for r in caplog.records if r.levelno == logging.ERROR]
        assert 'finished ["studio","failed"]' in record.__dict__["reason"]
        assert len(aside(kept)) == 1
        # The fresh one has what could be saved.
        snapshot = started(kept, now)
        assert (finished(snapshot), snapshot.errors) == (60, 0)

    @pytest.mark.parametrize("table", ["counters", "histograms", "marks", "accounts"])
    def test_a_row_that_is_missing_is_told(self, kept: Path, now: Clocks, table: str) -> None:
        ledger = ledger_on_disk(kept, now)
        ledger.observe(ended(500, now(), status="failed", via="stream", cause=CAUSE))
        ledger.announce(ledger.newest_series())
        ledger.close()
        on_the_disk(kept, f"DELETE FROM {table} WHERE name = (SELECT min(name) FROM {table})")
        assert started(kept, now).errors == 1

    def test_the_seal_gone_each_row_still_proves_itself(self, kept: Path, now: Clocks) -> None:
        on_the_disk(kept, "DELETE FROM seal WHERE part = 1")
        on_the_disk(kept, 'UPDATE counters SET value = 29 WHERE labels = \'["studio","failed"]\'')
        snapshot = started(kept, now)
        assert (finished(snapshot), snapshot.errors) == (60, 1)
        assert len(snapshot.open_workflows) == 2

    def test_an_index_of_accounts_that_lacks_one(self, kept: Path, now: Clocks) -> None:
        """By it, the workflows of an account are found: unnoticed, all were counted again."""
        ledger_on_disk(kept, now).close()
        with closing(sqlite3.connect(kept / FILE_NAME)) as database:
            root = database.execute(
                "SELECT rootpage FROM sqlite_schema WHERE name = 'sqlite_autoindex_accounts_1'"
            ).fetchone()[0]
        content = bytearray((kept / FILE_NAME).read_bytes())
        # A leaf of an index without entries.
        content[(root - 1) * 4096 : root * 4096] = bytes([10, 0, 0, 0, 0, 16]) + bytes(4090)
        (kept / FILE_NAME).write_bytes(content)
        snapshot = started(kept, now)
        assert (finished(snapshot), snapshot.errors) == (90, 1)


class TestTheSchema:
    def test_no_byte_of_it_can_keep_it_from_starting(
        self, kept: Path, now: Clocks, tmp_path: Path
    ) -> None:
        content = (kept / FILE_NAME).read_bytes()
        (tmp_path / "damaged").mkdir()
        for at in range(100, 4096, 37):
            for path in (tmp_path / "damaged").iterdir():
                path.unlink()
            damaged = tmp_path / "damaged" / FILE_NAME
            damaged.write_bytes(content[:at] + b"\xff" + content[at + 1 :])
            snapshot = started(tmp_path / "damaged", now)
            assert finished(snapshot) == 90 or snapshot.errors == 1


class TestTheFirstRows:
    """However slow the machine is, this many rows are checked before anything is observed."""

    @pytest.fixture(autouse=True)
    def _no_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(walk, "FIRST_SECONDS", 0.0)

    def test_damage_anywhere_in_a_small_ledger_is_found_at_the_start(
        self, kept: Path, now: Clocks
    ) -> None:
        ledger = ledger_on_disk(kept, now)
        settle(ledger, now, range(1000, 1300))
        ledger.snapshot()
        ledger.close()
        on_the_disk(kept, f"DELETE FROM workflows WHERE workflow = {last_of(kept)}")
        snapshot = started(kept, now)
        assert (finished(snapshot), snapshot.errors) == (390, 1)

    @pytest.mark.parametrize(("rows", "errors"), [(300, 0), (301, 1)])
    def test_not_one_page_more(
        self, kept: Path, now: Clocks, rows: int, errors: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(walk, "FIRST_ROWS", rows)
        ledger = ledger_on_disk(kept, now)
        settle(ledger, now, range(1000, 1300))
        ledger.snapshot()
        ledger.close()
        on_the_disk(kept, f"UPDATE workflows SET checksum = 5 WHERE workflow = {last_of(kept)}")
        with closing(SqliteStore(kept, now)) as store:
            assert store.load().lost is bool(errors)


def last_of(folder: Path) -> str:
    """The id of the row that is checked last, for a statement."""
    with closing(sqlite3.connect(folder / FILE_NAME)) as database:
        found = database.execute("SELECT hex(max(workflow)) FROM workflows").fetchone()[0]
    return f"x'{found}'"


class TestDamageThatShowsLater:
    """Each row is looked over in the background, and each that is read."""

    @pytest.fixture(autouse=True)
    def _in_the_background(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(walk.Walk, "first", lambda *_: [])
        monkeypatch.setattr(walk, "ROWS_AT_ONCE", 10)
        monkeypatch.setattr(walk, "_ROWS", walk._ROWS.replace("LIMIT 100", "LIMIT 10"))
        monkeypatch.setattr("exporter.ledger.sqlite.SLICE_SECONDS", 0.0)

    def goes_on(self, ledger: Ledger, now: Clocks) -> None:
        """Nothing is counted again, and nothing missed."""
        now.pass_(60)
        settle(ledger, now, range(90))
        ledger.observe(ended(200, now(), completed=1055))
        ledger.observe(ended(202, now(), completed=1050))
        snapshot = ledger.snapshot()
        assert (finished(snapshot), snapshot.errors) == (92, 1)
        ledger.close()

    @pytest.mark.parametrize(
        "damage",
        [
            "UPDATE workflows SET ended_at = ended_at + 1 WHERE workflow = x'{id}'",
            "UPDATE workflows SET checksum = 5 WHERE workflow = x'{id}'",
            "UPDATE workflows SET run = 'one' WHERE workflow = x'{id}'",
        ],
    )
    @pytest.mark.parametrize("number", [0, 45, 89])
    def test_in_the_background(self, kept: Path, now: Clocks, damage: str, number: int) -> None:
        on_the_disk(kept, damage.format(id=uuid(number).replace("-", "")))
        ledger = ledger_on_disk(kept, now)
        assert ledger.snapshot().errors == 0
        for _ in range(11):
            ledger.persist()
        assert ledger.snapshot().errors == 1
        self.goes_on(ledger, now)
        assert len(aside(kept)) == 1

    def test_when_it_is_seen_again(self, kept: Path, now: Clocks) -> None:
        on_the_disk(kept, "UPDATE workflows SET ended_at = ended_at + 1")
        ledger = ledger_on_disk(kept, now)
        settle(ledger, now, range(80, 81))
        self.goes_on(ledger, now)

    def test_when_it_is_dropped(self, kept: Path, now: Clocks) -> None:
        on_the_disk(kept, "UPDATE workflows SET created_at = 5 WHERE phase = 'settled'")
        ledger = ledger_on_disk(kept, now)
        now.pass_(5 * 3600)
        ledger.observe(ended(300, now(), completed=5 * 3600))
        ledger.expire()
        assert ledger.snapshot().errors == 1
        ledger.close()

    def test_rows_of_an_earlier_time_or_none(
        self, kept: Path, now: Clocks, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Each is as it was written, and all together are not."""
        before = "CREATE TABLE earlier AS SELECT * FROM workflows WHERE phase = 'settled'"
        on_the_disk(kept, before)
        ledger = ledger_on_disk(kept, now)
        for number in range(90):
            # They run again, and end.
            ledger.observe(seen(number, "completed", now(), created=1, started=500, completed=600))
        total = finished(ledger.snapshot())
        ledger.close()
        on_the_disk(kept, "INSERT OR REPLACE INTO workflows SELECT * FROM earlier LIMIT 1")
        ledger = ledger_on_disk(kept, now)
        assert finished(ledger.snapshot()) == total
        for _ in range(12):
            ledger.persist()
        assert ledger.snapshot().errors == 1
        ledger.close()

    def test_what_is_written_meanwhile_is_no_damage(
        self, kept: Path, now: Clocks, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ledger = ledger_on_disk(kept, now)
        for number in range(200):
            # Before and behind the place that the walk has got to.
            settle(ledger, now, range(1000 - number * 5, 1000 - number * 5 + 2))
            ledger.observe(seen(number, "completed", now(), started=500, completed=600 + number))
            if number == 5:
                now.pass_(6000)
                ledger.expire()
            ledger.persist()
        store = ledger._writer._store
        assert isinstance(store, SqliteStore)
        assert not store.verifying
        assert ledger.snapshot().errors == 0
        ledger.close()
        assert started(kept, now).errors == 0
