"""A whole ledger from SQLite into PostgreSQL and back: exactly, or not at all."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from exporter.cli import main
from exporter.interfaces.observations import Baseline, Status
from exporter.ledger.ledger import Ledger
from exporter.ledger.postgres import migrating
from exporter.ledger.postgres.migrating import MigrationError, into_postgres, into_sqlite
from exporter.ledger.sqlite import FILE_NAME, LedgerInUseError, SqliteStore
from exporter.ledger.store import RestoredState
from exporter.ledger.witness import LOCK_NAME
from exporter.ledger.workflow import Workflow
from tests.postgres import Server
from tests.unit.ledger.keepers import PostgresKeeper
from tests.unit.ledger.ledgers import (
    BUCKETS,
    CAPS,
    CAUSE,
    TERMS,
    Clocks,
    ended,
    ledger_on_disk,
    make_ledger,
    pushed,
    seen,
)


@pytest.fixture
def now() -> Clocks:
    return Clocks()


@pytest.fixture
def keeper(postgres: Server, now: Clocks) -> PostgresKeeper:
    return PostgresKeeper(postgres.fresh(), now)


@pytest.fixture
def dsn(keeper: PostgresKeeper, tmp_path: Path) -> Path:
    path = tmp_path / "dsn"
    path.write_text(keeper.dsn)
    return path


@pytest.fixture
def folder(tmp_path: Path, now: Clocks) -> Path:
    """A ledger with something of everything in it."""
    folder = tmp_path / "data"
    terms = {**TERMS, "agency": TERMS["studio"]}
    ledger = make_ledger(now, SqliteStore(folder, now), terms=terms)
    for number in range(12):
        now.pass_(1)
        ledger.observe(seen(number, "queued", now(), via="stream", position=number, created=0.1))
        if number % 2:
            ledger.observe(ended(number, now(), completed=20.3, status="failed", cause=CAUSE))
        elif number % 3:
            ledger.observe(ended(number, now(), completed=20.7, via="stream"))
    ledger.track(pushed(50, now()))
    ledger.observe(seen(60, "dreaming", now(), account="agency"))
    ledger.set_baseline("studio", Status.FAILED, Baseline(7, 1.5, 0.5))
    ledger.announce(1)
    ledger.persist()
    ledger.observe(ended(70, now(), completed=30, status="failed", cause=None))
    ledger.close()
    return folder


def content(folder: Path, now: Callable[[], object]) -> tuple[object, ...]:
    """Everything that is in it, but the numbers of series and whatever means one process alone."""
    clocks = Clocks()
    store = SqliteStore(folder, clocks)
    kept = store.load()
    assert (kept.lost, kept.faults) == (False, 0)
    workflows = {(w.account, w.workflow_id): w for w in store.everything()}
    store.close()
    return totals_of(kept), kept.accounts, kept.baselines, kept.closed, workflows


def totals_of(kept: RestoredState) -> tuple[object, ...]:
    return (
        {k: (t.value, t.exemplar, t.appeared > kept.announced) for k, t in kept.counters.items()},
        {
            k: (t.bounds, t.counts, t.sum, t.exemplars, t.appeared > kept.announced)
            for k, t in kept.histograms.items()
        },
    )


def test_there_and_back_is_the_same(
    folder: Path, dsn: Path, tmp_path: Path, now: Clocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrating, "AT_ONCE", 3)
    before = content(folder, now)
    there = into_postgres(folder, dsn, now, dry_run=False)
    assert (there.accounts, there.workflows) == (2, 15)
    assert content(folder, now) == before
    back = into_sqlite(dsn, tmp_path / "back", now, dry_run=False)
    assert back == there
    assert content(tmp_path / "back", now) == before
    assert sorted(path.name for path in (tmp_path / "back").iterdir()) == [
        "ledger.lock",
        FILE_NAME,
    ]


def test_a_replica_goes_on_from_it(
    folder: Path, dsn: Path, keeper: PostgresKeeper, now: Clocks
) -> None:
    store = SqliteStore(folder, now)
    ledger = make_ledger(now, store)
    before = ledger.snapshot()
    ledger.close()
    into_postgres(folder, dsn, now, dry_run=False)
    other = keeper.make()
    ledger = Ledger({}, BUCKETS, CAPS, now, other)
    ledger.adopt("studio", lambda: keeper.hold(other, "studio", "a"))
    ledger.change(TERMS, BUCKETS, CAPS)
    after = ledger.snapshot()

    def shown(workflows: tuple[Workflow, ...]) -> set[tuple[str, object]]:
        return {(w.workflow_id, w.status) for w in workflows}

    assert shown(after.open_workflows) == shown(before.open_workflows)
    for key, total in before.totals.counters.items():
        assert after.totals.counters[key].value == total.value, key
    # What was counted there is not counted here.
    ledger.observe(ended(1, now(), completed=20.3, status="failed", cause=CAUSE))
    assert ledger.snapshot().totals.counters["finished", ("studio", "failed")].value == (
        before.totals.counters["finished", ("studio", "failed")].value
    )
    ledger.close()


def test_a_rehearsal_changes_nothing(
    folder: Path, dsn: Path, keeper: PostgresKeeper, tmp_path: Path, now: Clocks
) -> None:
    rehearsed = into_postgres(folder, dsn, now, dry_run=True)
    assert keeper.execute("SELECT FROM comfycontrol_workflow") == []
    assert keeper.execute("SELECT FROM comfycontrol_account") == []
    assert into_postgres(folder, dsn, now, dry_run=False) == rehearsed
    assert into_sqlite(dsn, tmp_path / "back", now, dry_run=True) == rehearsed
    assert list((tmp_path / "back").iterdir()) == []


@pytest.mark.parametrize("hurt", [Path.unlink, lambda lock: lock.write_bytes(b"anything")])
def test_a_ledger_without_a_record_is_copied_and_gets_none(
    folder: Path, dsn: Path, now: Clocks, hurt: Callable[[Path], object]
) -> None:
    lock = folder / LOCK_NAME
    (folder / "requests-api.comfycontrol.app_443.window").write_bytes(b"ccxwin02")
    hurt(lock)
    before = lock.exists() and lock.read_bytes()
    rehearsed = into_postgres(folder, dsn, now, dry_run=True)
    assert (lock.exists() and lock.read_bytes()) == before
    assert into_postgres(folder, dsn, now, dry_run=False) == rehearsed
    assert (lock.exists() and lock.read_bytes()) == before
    # The exporter tells it.
    ledger = ledger_on_disk(folder, now)
    assert ledger.snapshot().errors == 1
    ledger.close()


class TestIsRefused:
    def test_when_it_is_not_what_was_left(
        self, folder: Path, dsn: Path, tmp_path: Path, now: Clocks
    ) -> None:
        shutil.copy(folder / FILE_NAME, tmp_path / "copy")
        ledger = ledger_on_disk(folder, now)
        ledger.observe(ended(2, now(), completed=20.3))
        ledger.close()
        (tmp_path / "copy").replace(folder / FILE_NAME)
        for dry_run in (True, False):
            with pytest.raises(MigrationError, match="is damaged"):
                into_postgres(folder, dsn, now, dry_run=dry_run)

    def test_where_there_is_nothing(self, tmp_path: Path, dsn: Path, now: Clocks) -> None:
        with pytest.raises(MigrationError, match="there is no ledger in"):
            into_postgres(tmp_path / "none", dsn, now, dry_run=False)
        assert not (tmp_path / "none").exists()

    def test_when_the_folder_is_in_use(self, folder: Path, dsn: Path, now: Clocks) -> None:
        store = SqliteStore(folder, now)
        with pytest.raises(LedgerInUseError):
            into_postgres(folder, dsn, now, dry_run=False)
        store.close()

    def test_when_replicas_are_at_work(
        self, folder: Path, dsn: Path, keeper: PostgresKeeper, tmp_path: Path, now: Clocks
    ) -> None:
        store, _ = keeper.begin()
        with pytest.raises(MigrationError, match="replicas are at work"):
            into_postgres(folder, dsn, now, dry_run=False)
        with pytest.raises(MigrationError, match="replicas are at work"):
            into_sqlite(dsn, tmp_path / "back", now, dry_run=False)
        assert not (tmp_path / "back" / FILE_NAME).exists()
        store.close()

    def test_when_something_is_there_already(
        self, folder: Path, dsn: Path, tmp_path: Path, now: Clocks
    ) -> None:
        into_postgres(folder, dsn, now, dry_run=False)
        with pytest.raises(MigrationError, match="holds a ledger already"):
            into_postgres(folder, dsn, now, dry_run=False)
        with pytest.raises(MigrationError, match="there is a ledger in"):
            into_sqlite(dsn, folder, now, dry_run=False)

    def test_when_the_database_cannot_be_reached(
        self, folder: Path, tmp_path: Path, now: Clocks
    ) -> None:
        (tmp_path / "dsn").write_text("host=/nowhere password=Planted")
        with pytest.raises(MigrationError, match="no such socket") as error:
            into_postgres(folder, tmp_path / "dsn", now, dry_run=False)
        assert "Planted" not in str(error.value)


def test_the_command(
    folder: Path, dsn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [f"--storage.path={folder}", f"--storage.postgres.dsn-file={dsn}", "migrate-storage"]
    assert main([*flags, "--to=postgres", "--dry-run"]) == 0
    assert "it would be copied: 2 accounts, 15 workflows" in capsys.readouterr().out
    assert main([*flags, "--to=postgres"]) == 0
    assert "copied: 2 accounts, 15 workflows" in capsys.readouterr().out
    assert main([*flags, "--to=sqlite"]) == 1
    assert "already" in capsys.readouterr().err
    assert main([f"--storage.path={folder}", "migrate-storage", "--to=postgres"]) == 1
    assert "--storage.postgres.dsn-file" in capsys.readouterr().err
