"""The ledger on disks that fail: full, read-only, damaged, deleted, of a newer version, in use."""

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import yaml

from exporter.app.app import App, clocks
from exporter.config import Config
from exporter.ledger import file, memory
from exporter.ledger.ledger import Ledger
from exporter.ledger.schema import MIGRATIONS
from exporter.ledger.sqlite import FILE_NAME, LedgerInUseError, OpenLedgerError, SqliteStore
from exporter.ledger.witness import LOCK_NAME, LastNote
from exporter.simulator import Simulator, parse_scenario
from tests.integration.disks import (
    database_of,
    fill,
    full,
    mounted,
    read_only,
    remount_read_only,
)
from tests.integration.following.exporting import NO_LIMIT, QUIET, Exporter, soon
from tests.unit.ledger.ledgers import (
    TERMS,
    Clocks,
    ended,
    finished,
    ledger_on_disk,
    make_ledger,
    pushed,
    seen,
    uuid,
)

MANY = 400
"""Workflows enough for several pages of the file."""


@pytest.fixture
def now() -> Clocks:
    return Clocks()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A megabyte; skipped where nobody may mount one."""
    with mounted(tmp_path / "disk", "1m") as disk:
        yield disk


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


def on_the_disk(folder: Path, statement: str) -> list[tuple[object, ...]]:
    """What a closed ledger holds."""
    with closing(sqlite3.connect(folder / FILE_NAME)) as database:
        rows = database.execute(statement).fetchall()
        database.commit()
        return rows


def aside(folder: Path) -> list[str]:
    """Names of the files that were set aside."""
    names = (path.name for path in folder.iterdir() if ".damaged-" in path.name)
    return sorted(name for name in names if not name.endswith("-wal"))


def settle(ledger: Ledger, now: Clocks, numbers: range) -> None:
    """Let workflows end."""
    for number in numbers:
        ledger.observe(ended(number, now(), completed=number + 20))


class TestFull:
    def test_it_goes_on_and_keeps_everything_when_there_is_room_again(
        self, folder: Path, now: Clocks
    ) -> None:
        ledger = ledger_on_disk(folder, now)
        settle(ledger, now, range(10))
        ledger.persist()
        with full(ledger):
            settle(ledger, now, range(MANY))
            snapshot = ledger.snapshot()
            assert finished(snapshot) == MANY
            assert snapshot.errors == 1
            now.pass_(60)
            ledger.persist()
            assert ledger.snapshot().errors == 2
        now.pass_(60)
        ledger.persist()
        ledger.close()
        ledger = ledger_on_disk(folder, now)
        snapshot = ledger.snapshot()
        settle(ledger, now, range(MANY))
        assert (finished(snapshot), finished(ledger.snapshot())) == (MANY, MANY)
        assert snapshot.settled == MANY
        ledger.close()

    def test_killed_meanwhile_it_neither_repeats_nor_loses(
        self, folder: Path, now: Clocks, tmp_path: Path
    ) -> None:
        ledger = ledger_on_disk(folder, now)
        settle(ledger, now, range(10))
        ledger.persist()
        with full(ledger):
            settle(ledger, now, range(MANY))
            ledger.persist()
            shutil.copytree(folder, tmp_path / "left")
        ledger.close()
        ledger = ledger_on_disk(tmp_path / "left", now)
        assert finished(ledger.snapshot()) == 10
        settle(ledger, now, range(MANY))
        assert finished(ledger.snapshot()) == MANY
        ledger.close()

    def test_a_real_one(self, small_disk: Path, now: Clocks) -> None:
        folder = small_disk / "data"
        ledger = ledger_on_disk(folder, now)
        settle(ledger, now, range(10))
        ledger.persist()
        filler = fill(small_disk)
        settle(ledger, now, range(MANY))
        assert finished(ledger.snapshot()) == MANY
        assert ledger.snapshot().errors == 1
        # Restarted on the full disk it goes on from what was kept.
        ledger.close()
        ledger = ledger_on_disk(folder, now)
        assert finished(ledger.snapshot()) == 10
        settle(ledger, now, range(MANY))
        assert finished(ledger.snapshot()) == MANY
        filler.unlink()
        now.pass_(60)
        ledger.persist()
        ledger.close()
        ledger = ledger_on_disk(folder, now)
        assert finished(ledger.snapshot()) == MANY
        ledger.close()

    def test_where_not_even_a_first_file_fits(self, small_disk: Path, now: Clocks) -> None:
        fill(small_disk)
        with pytest.raises(OpenLedgerError, match="full"):
            SqliteStore(small_disk / "data", now)

    def test_the_exporter_observes_and_serves_all_the_time(self, folder: Path) -> None:
        with Simulator(parse_scenario(QUIET), seed=1, speed=100) as simulator:
            account = {
                "name": "studio",
                "token": simulator.tokens["studio"],
                "base_url": simulator.base_url,
                "rate_limit": NO_LIMIT,
                "listing": {"interval": "1s"},
            }
            config = Config.model_validate({"accounts": [account]})
            app = App(config, storage=folder, jitter=soon, fresh_services=True)
            app.start()
            exporter = Exporter(app)
            exporter.until(lambda _: app.is_ready())
            with full(app._ledger):
                for _ in range(80):
                    simulator.create(duration="1s")
                metrics = exporter.until_finished(80)
                failures = metrics("exporter_ledger_errors_total")
                assert failures is not None
                assert failures >= 1
            exporter.until(lambda _: not app._ledger._writer._is_failing)
            assert app.stop()
            app = App(config, storage=folder)
            assert Exporter(app).scrape().total("workflows_finished_total") == 80
            app.start()
            assert app.stop()


def test_a_missing_record_is_told_and_written_when_the_exporter_starts(
    folder: Path,
) -> None:
    with Simulator(parse_scenario(QUIET), seed=1, speed=100) as simulator:
        account = {
            "name": "studio",
            "token": simulator.tokens["studio"],
            "base_url": simulator.base_url,
            "listing": {"interval": "1s"},
        }
        config = Config.model_validate({"accounts": [account]})
        for errors in (0, 1, 0):
            if errors:
                (folder / LOCK_NAME).write_bytes(b"anything")
            app = App(config, storage=folder, fresh_services=True)
            assert LastNote.unpacked((folder / LOCK_NAME).read_bytes()) is not None
            assert Exporter(app).scrape()("exporter_ledger_errors_total") == errors
            app.start()
            assert app.stop()


class TestReadOnly:
    def test_while_running(self, folder: Path, now: Clocks) -> None:
        ledger = ledger_on_disk(folder, now)
        database_of(ledger).execute("PRAGMA query_only = ON")
        settle(ledger, now, range(3))
        snapshot = ledger.snapshot()
        assert (finished(snapshot), snapshot.errors) == (3, 1)
        # It is opened again, as a disk that was away asks for.
        now.pass_(60)
        ledger.persist()
        ledger.close()
        ledger = ledger_on_disk(folder, now)
        assert finished(ledger.snapshot()) == 3
        ledger.close()

    def test_a_file_system_while_running(self, small_disk: Path, now: Clocks) -> None:
        folder = small_disk / "data"
        ledger = ledger_on_disk(folder, now)
        settle(ledger, now, range(3))
        ledger.persist()
        # Those that are settled are known by the file alone.
        ledger._writer._memory._recently_closed.clear()
        with read_only(small_disk, database_of(ledger)):
            for again in range(3):
                settle(ledger, now, range(5))
                ledger.observe(seen(9, "queued", now()))
                assert ledger.track(pushed(20, now())) == (again == 0)
                now.pass_(60)
                snapshot = ledger.snapshot()
                assert finished(snapshot) == 5
                assert {w.workflow_id for w in snapshot.open_workflows} == {uuid(9), uuid(20)}
            assert ledger.snapshot().errors >= 3
        now.pass_(60)
        ledger.persist()
        ledger.close()
        ledger = ledger_on_disk(folder, now)
        assert finished(ledger.snapshot()) == 5
        assert len(ledger.snapshot().open_workflows) == 2
        ledger.close()

    def test_a_file_system_at_the_start(self, small_disk: Path, now: Clocks) -> None:
        folder = small_disk / "data"
        ledger_on_disk(folder, now).close()
        remount_read_only(small_disk)
        with pytest.raises(OpenLedgerError, match="Read-only file system"):
            SqliteStore(folder, now)
        with pytest.raises(OpenLedgerError, match="Read-only file system"):
            SqliteStore(small_disk / "new", now)


def with_garbage_at(offset: int, length: int) -> Callable[[Path], None]:
    """Overwrite a part of the file."""

    def damage(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[offset : offset + length] = os.urandom(length)
        path.write_bytes(content)

    return damage


def running(statement: str) -> Callable[[Path], None]:
    """Let the file say what we never wrote."""

    def damage(path: Path) -> None:
        on_the_disk(path.parent, statement)

    return damage


def no_database(path: Path) -> None:
    path.write_bytes(b"This is no database. " * 500)


def cut_in_half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def another_database(path: Path) -> None:
    path.unlink()
    on_the_disk(path.parent, "CREATE TABLE cats (name)")
    on_the_disk(path.parent, "PRAGMA user_version = 1")


def garbage_everywhere_but_in_the_header(path: Path) -> None:
    size = path.stat().st_size
    with_garbage_at(100, size - 100)(path)


AT_THE_START = [
    no_database,
    cut_in_half,
    another_database,
    garbage_everywhere_but_in_the_header,
    with_garbage_at(0, 16),
    running("UPDATE counters SET labels = '[\"studio'"),
    running("UPDATE counters SET value = 'many'"),
    running("UPDATE histograms SET counts = '[1]'"),
    running("UPDATE histograms SET counts = x'ff00'"),
    running("UPDATE counters SET exemplar = '[1]' WHERE exemplar IS NOT NULL"),
    running("UPDATE accounts SET line = 'soon'"),
    running("UPDATE workflows SET phase = 'open', status = 'dreaming'"),
    running("UPDATE workflows SET phase = 'open', first_seen = 'now'"),
    running("DROP TABLE histograms"),
]


class TestDamagedAtTheStart:
    @pytest.mark.parametrize("damage", AT_THE_START)
    def test_it_is_set_aside_and_a_fresh_one_begun(
        self,
        folder: Path,
        now: Clocks,
        damage: Callable[[Path], None],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        ledger = ledger_on_disk(folder, now)
        settle(ledger, now, range(MANY))
        ledger.close()
        damage(folder / FILE_NAME)
        damaged = (folder / FILE_NAME).read_bytes()
        now.pass_(1000)
        store = SqliteStore(folder, now)
        ledger = make_ledger(now, store)
        ledger.set_counting_cutoff("studio", now().wall)
        (kept,) = aside(folder)
        assert (folder / kept).read_bytes()[:16] == damaged[:16]
        assert any(r.levelname == "ERROR" for r in caplog.records)
        ledger.close()

    def test_nothing_is_counted_twice(self, folder: Path, now: Clocks) -> None:
        ledger = ledger_on_disk(folder, now)
        settle(ledger, now, range(10))
        ledger.close()
        no_database(folder / FILE_NAME)
        now.pass_(1000)
        ledger = Ledger(
            TERMS, ledger._memory.totals._buckets, ledger._memory.totals._caps, now,
            SqliteStore(folder, now),
        )  # fmt: skip
        ledger.set_counting_cutoff("studio", now().wall)
        settle(ledger, now, range(10))
        ledger.observe(ended(11, now(), completed=1001))
        snapshot = ledger.snapshot()
        ledger.close()
        assert (finished(snapshot), snapshot.settled, snapshot.errors) == (1, 11, 1)

    def test_where_only_the_settled_rows_are_hurt_the_totals_go_on(
        self, folder: Path, now: Clocks
    ) -> None:
        ledger = ledger_on_disk(folder, now)
        settle(ledger, now, range(MANY))
        ledger.observe(seen(MANY, "running", now()))
        ledger.close()
        with closing(sqlite3.connect(folder / FILE_NAME)) as database:
            root = database.execute(
                "SELECT rootpage FROM sqlite_schema WHERE name = 'ended'"
            ).fetchone()[0]
            size = database.execute("PRAGMA page_size").fetchone()[0]
        with_garbage_at((root - 1) * size, size)(folder / FILE_NAME)
        now.pass_(1000)
        ledger = ledger_on_disk(folder, now)
        assert finished(ledger.snapshot()) == MANY
        settle(ledger, now, range(MANY))
        ledger.observe(ended(MANY, now(), completed=900))
        ledger.observe(ended(MANY + 1, now(), completed=1001))
        snapshot = ledger.snapshot()
        ledger.close()
        assert finished(snapshot) == MANY + 2
        assert len(aside(folder)) == 1
        # The fresh file has it all.
        ledger = ledger_on_disk(folder, now)
        assert finished(ledger.snapshot()) == MANY + 2
        ledger.close()

    def test_each_damaged_file_is_kept(self, folder: Path, now: Clocks) -> None:
        for _ in range(3):
            ledger_on_disk(folder, now).close()
            no_database(folder / FILE_NAME)
        ledger_on_disk(folder, now).close()
        assert len(aside(folder)) == 3


class TestLostWhileRunning:
    @pytest.fixture
    def ledger(
        self, folder: Path, now: Clocks, monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[Ledger]:
        """One that has counted more than it remembers, and has it all on the disk."""
        monkeypatch.setattr(memory, "CLOSED_REMEMBERED", 20)
        ledger = ledger_on_disk(folder, now)
        settle(ledger, now, range(MANY))
        ledger.observe(seen(MANY, "running", now()))
        ledger.persist()
        database = database_of(ledger)
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        database.execute("PRAGMA shrink_memory")
        yield ledger
        ledger.close()

    def goes_on(self, ledger: Ledger, folder: Path, now: Clocks) -> None:
        """Nothing is counted twice, and nothing is lost."""
        now.pass_(60)
        settle(ledger, now, range(MANY))
        # Ended before the youngest that was counted, and seen only now.
        ledger.observe(ended(MANY + 1, now(), completed=MANY + 10))
        ledger.observe(ended(MANY, now(), completed=MANY + 30))
        now.pass_(60)
        snapshot = ledger.snapshot()
        assert finished(snapshot) == MANY + 2
        assert snapshot.errors >= 1
        ledger.close()
        again = ledger_on_disk(folder, now)
        assert finished(again.snapshot()) == MANY + 2
        settle(again, now, range(MANY))
        assert finished(again.snapshot()) == MANY + 2
        again.close()

    def test_damaged(self, ledger: Ledger, folder: Path, now: Clocks) -> None:
        size = (folder / FILE_NAME).stat().st_size
        with (folder / FILE_NAME).open("r+b") as file:
            file.write(os.urandom(size))
        self.goes_on(ledger, folder, now)
        assert len(aside(folder)) == 1

    def test_cut_off(self, ledger: Ledger, folder: Path, now: Clocks) -> None:
        os.truncate(folder / FILE_NAME, 8192)
        self.goes_on(ledger, folder, now)

    def test_deleted(self, ledger: Ledger, folder: Path, now: Clocks) -> None:
        (folder / FILE_NAME).unlink()
        self.goes_on(ledger, folder, now)

    def test_deleted_with_its_log(self, ledger: Ledger, folder: Path, now: Clocks) -> None:
        for path in folder.iterdir():
            path.unlink()
        self.goes_on(ledger, folder, now)

    def test_only_its_log_deleted(self, ledger: Ledger, folder: Path, now: Clocks) -> None:
        (folder / (FILE_NAME + "-wal")).unlink()
        self.goes_on(ledger, folder, now)

    def test_the_folder_deleted_and_made_again(
        self, ledger: Ledger, folder: Path, now: Clocks
    ) -> None:
        shutil.rmtree(folder)
        settle(ledger, now, range(MANY + 10, MANY + 11))
        assert finished(ledger.snapshot()) == MANY + 1
        now.pass_(60)
        settle(ledger, now, range(MANY))
        assert finished(ledger.snapshot()) == MANY + 1, "not counted again while there is no disk"
        settle(ledger, now, range(MANY + 11, MANY + 12))
        assert finished(ledger.snapshot()) == MANY + 2, "but new ones are counted"
        folder.mkdir()
        now.pass_(60)
        ledger.persist()
        ledger.close()
        again = ledger_on_disk(folder, now)
        assert finished(again.snapshot()) == MANY + 2
        again.close()

    def test_a_fresh_one_that_cannot_be_begun_at_once(
        self, ledger: Ledger, folder: Path, now: Clocks, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full_disk(*_: object) -> None:
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(file.LedgerFile, "_migrate", full_disk)
            no_database(folder / FILE_NAME)
            os.truncate(folder / FILE_NAME, 8192)
            for _ in range(3):
                settle(ledger, now, range(MANY))
                assert finished(ledger.snapshot()) == MANY
                now.pass_(60)
        self.goes_on(ledger, folder, now)
        assert len(aside(folder)) == 1

    def test_replaced_by_an_older_one(
        self, ledger: Ledger, folder: Path, now: Clocks, tmp_path: Path
    ) -> None:
        older = ledger_on_disk(tmp_path / "older", now)
        older.observe(seen(1, "running", now()))
        older.close()
        (tmp_path / "older" / FILE_NAME).replace(folder / FILE_NAME)
        self.goes_on(ledger, folder, now)
        assert len(aside(folder)) == 1


class TestVersions:
    NEXT = "ALTER TABLE workflows ADD COLUMN priority INTEGER; CREATE TABLE more (it TEXT)"

    def test_one_that_is_newer_is_left_alone(self, folder: Path, now: Clocks) -> None:
        ledger_on_disk(folder, now).close()
        on_the_disk(folder, "PRAGMA user_version = 99")
        before = (folder / FILE_NAME).read_bytes()
        with pytest.raises(OpenLedgerError, match=r"newer version of the exporter \(schema 99"):
            SqliteStore(folder, now)
        assert (folder / FILE_NAME).read_bytes() == before
        assert aside(folder) == []

    def test_an_older_one_is_brought_forward(
        self, folder: Path, now: Clocks, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ledger = ledger_on_disk(folder, now)
        settle(ledger, now, range(10))
        ledger.observe(seen(10, "running", now()))
        ledger.close()
        monkeypatch.setattr(file, "MIGRATIONS", (*MIGRATIONS, self.NEXT))
        for _ in range(2):
            ledger = ledger_on_disk(folder, now)
            settle(ledger, now, range(10))
            ledger.observe(seen(10, "running", now()))
            assert finished(ledger.snapshot()) == 10
            ledger.close()
        assert on_the_disk(folder, "PRAGMA user_version") == [(len(MIGRATIONS) + 1,)]
        assert on_the_disk(folder, "SELECT count(priority), count(*) FROM workflows") == [(0, 11)]

    def test_a_step_that_fails_is_not_taken_in_part(
        self, folder: Path, now: Clocks, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ledger = ledger_on_disk(folder, now)
        settle(ledger, now, range(10))
        ledger.close()
        with monkeypatch.context() as patch:
            patch.setattr(file, "MIGRATIONS", (*MIGRATIONS, self.NEXT + "; CREATE TABLE more (it)"))
            with pytest.raises(OpenLedgerError, match="more already exists"):
                SqliteStore(folder, now)
        assert (
            on_the_disk(
                folder, "SELECT name FROM pragma_table_info('workflows') WHERE name = 'priority'"
            )
            == []
        )
        ledger = ledger_on_disk(folder, now)
        assert finished(ledger.snapshot()) == 10
        ledger.close()


class TestInUse:
    def test_by_another_ledger(self, folder: Path, now: Clocks) -> None:
        store = SqliteStore(folder, now)
        with pytest.raises(LedgerInUseError, match="another exporter has the ledger in"):
            SqliteStore(folder, now)
        store.close()
        SqliteStore(folder, now).close()

    def test_by_another_program(
        self, folder: Path, now: Clocks, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(file, "BUSY_SECONDS", 0.01)
        ledger_on_disk(folder, now).close()
        with closing(sqlite3.connect(folder / FILE_NAME)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(LedgerInUseError, match="another program has"):
                SqliteStore(folder, now)

    def test_a_second_exporter_exits_with_1_and_says_why(
        self, folder: Path, now: Clocks, tmp_path: Path
    ) -> None:
        config = tmp_path / "config.yml"
        config.write_text(
            yaml.safe_dump({"accounts": [{"name": "studio", "token": "cfc_x", "listing": {}}]})
        )
        first = SqliteStore(folder, clocks)
        second = subprocess.run(
            [
                sys.executable, "-m", "exporter", f"--config.file={config}",
                f"--storage.path={folder}", "--web.listen-address=127.0.0.1:0",
            ],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        first.close()
        assert second.returncode == 1
        assert second.stderr.strip() == (
            f"another exporter has the ledger in {folder} open; give each its own --storage.path"
        )

    def test_a_folder_that_cannot_be_made(self, tmp_path: Path, now: Clocks) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(OpenLedgerError, match="cannot use"):
            SqliteStore(tmp_path / "file" / "data", now)
