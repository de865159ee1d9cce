"""A ledger of an older version goes on, and one of a newer version is refused and left alone."""

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from exporter.ledger import file, walk
from exporter.ledger.accounts import AccountTerms
from exporter.ledger.file import FILE_NAME
from exporter.ledger.ledger import Ledger
from exporter.ledger.opening import OpenLedgerError
from exporter.ledger.schema import (
    BASELINES,
    COUNTERS,
    HISTOGRAMS,
    MARKS,
    MIGRATIONS,
    TABLES,
    WORKFLOWS,
    Table,
    read_seal,
    write_seal,
)
from exporter.ledger.seal import Draft, checksum
from exporter.ledger.sqlite import SqliteStore
from exporter.ledger.witness import LOCK_NAME, LastNote
from tests.unit.ledger.ledgers import (
    LOOKBACK,
    Clocks,
    counter,
    ended,
    finished,
    ledger_on_disk,
    make_ledger,
    observed,
    seen,
    uuid,
)

SCHEMA_1 = Path(__file__).parents[1] / "unit" / "ledger" / "schema_1.sql"
TERMS = {name: AccountTerms(LOOKBACK, listed=True) for name in ("studio", "agency")}


@pytest.fixture
def now() -> Clocks:
    clocks = Clocks()
    clocks.pass_(100)
    return clocks


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


def opened(folder: Path, now: Clocks) -> Ledger:
    return make_ledger(now, SqliteStore(folder, now), terms=TERMS)


@pytest.fixture
def released(folder: Path) -> Path:
    """The folder of a released version, with its ledger of schema 1."""
    folder.mkdir()
    (folder / "ledger.lock").touch()
    with closing(sqlite3.connect(folder / FILE_NAME)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.executescript(SCHEMA_1.read_text("utf-8"))
    return folder


def change(folder: Path, statement: str) -> None:
    with closing(sqlite3.connect(folder / FILE_NAME)) as database:
        database.execute(statement)
        database.commit()


class TestAnOlderOne:
    def test_its_totals_go_on(self, released: Path, now: Clocks) -> None:
        for _ in range(2):
            ledger = opened(released, now)
            snapshot = ledger.snapshot()
            ledger.close()
            assert snapshot.errors == 0
            assert finished(snapshot) == 15
            assert counter(snapshot, "finished", "failed") == 4
            assert counter(snapshot, "failures", "Knoten 日本", "ValueError") == 2
            assert counter(snapshot, "outputs") == 8
            assert observed(snapshot, "run_duration") == 15
            assert observed(snapshot, "time_to_start") == 16
            assert (snapshot.announced, snapshot.settled) == (2, 16)
            assert {w.workflow_id for w in snapshot.open_workflows} == {
                uuid(20), uuid(21), uuid(22)
            }  # fmt: skip

    def test_though_it_recorded_nothing_nothing_is_told(
        self, released: Path, now: Clocks, caplog: pytest.LogCaptureFixture
    ) -> None:
        for _ in range(2):
            # It ends before it has stored anything.
            with closing(SqliteStore(released, now)) as store:
                assert store.load().faults == 0
                store.record()
        assert caplog.records == []

    def test_in_the_place_of_another_it_is_told(
        self, released: Path, now: Clocks, caplog: pytest.LogCaptureFixture
    ) -> None:
        recorded = LastNote("ab" * 16, bytes(16), 500, 500).packed()
        (released / LOCK_NAME).write_bytes(recorded)
        # With the first of these starts it gets a seal.
        for _ in range(2):
            with closing(SqliteStore(released, now)) as store:
                assert (kept := store.load()).contradicted
                assert kept.faults == 1
            assert (released / LOCK_NAME).read_bytes() == recorded
        assert {(r.levelname, r.__dict__["reason"]) for r in caplog.records} == {
            ("ERROR", "it is another ledger than the one that was here")
        }
        ledger = opened(released, now)
        ledger.observe(ended(21, now(), completed=60))
        ledger.close()
        ledger = opened(released, now)
        assert (finished(ledger.snapshot()), ledger.snapshot().errors) == (16, 0)
        ledger.close()

    def test_what_it_has_counted_is_not_counted_again(self, released: Path, now: Clocks) -> None:
        ledger = opened(released, now)
        ends = ("completed", "failed", "cancelled", "invalid")
        for number in range(12):
            ledger.observe(ended(number, now(), completed=number + 20, status=ends[number % 4]))
        assert finished(ledger.snapshot()) == 15
        ledger.observe(ended(21, now(), completed=60))
        assert finished(ledger.snapshot()) == 16
        assert sorted(ledger.pending_causes("studio")) == [uuid(5), uuid(9)]
        ledger.close()
        ledger = opened(released, now)
        assert finished(ledger.snapshot()) == 16
        ledger.close()

    def test_every_row_is_vouched_for(
        self, released: Path, now: Clocks, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(walk, "FIRST_SECONDS", 0.0)
        monkeypatch.setattr(walk, "FIRST_ROWS", 0)
        opened(released, now).close()
        with closing(sqlite3.connect(released / FILE_NAME)) as database:
            for table in TABLES:
                missing = f"SELECT count(*) FROM {table.name} WHERE checksum IS NULL"
                assert database.execute(missing).fetchone() == (0,)
        ledger = opened(released, now)
        ledger.persist()
        assert not ledger._writer._store.verifying  # type: ignore[attr-defined]
        assert ledger.snapshot().errors == 0
        ledger.close()

    @pytest.mark.parametrize(
        ("damage", "left"),
        [
            ("UPDATE counters SET value = 'many' WHERE labels = '[\"studio\",\"failed\"]'", 12),
            ("UPDATE counters SET name = 'finichet' WHERE labels LIKE '%invalid%'", 12),
            ("UPDATE counters SET labels = '[1]' WHERE labels LIKE '%io\",\"failed%'", 12),
            ("UPDATE counters SET labels = x'ff00' WHERE labels = '[\"studio\",\"failed\"]'", 12),
            ("UPDATE workflows SET phase = 'opem', status = NULL", 15),
            ("UPDATE histograms SET counts = '[1]'", 15),
            ("UPDATE accounts SET line = 'soon'", 15),
        ],
    )  # fmt: skip
    def test_of_a_damaged_one_the_series_that_are_hurt_are_lost_and_told(
        self,
        released: Path,
        now: Clocks,
        damage: str,
        left: int,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        change(released, damage)
        ledger = opened(released, now)
        snapshot = ledger.snapshot()
        ledger.close()
        assert (finished(snapshot), snapshot.errors) == (left, 1)
        assert "damaged" in caplog.text

    def test_one_without_a_number_is_damaged(self, released: Path, now: Clocks) -> None:
        change(released, "PRAGMA user_version = 0")
        ledger = opened(released, now)
        snapshot = ledger.snapshot()
        ledger.close()
        assert (finished(snapshot), snapshot.errors) == (0, 1)

    def test_an_older_version_refuses_what_this_one_has_written(
        self, released: Path, now: Clocks, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        opened(released, now).close()
        before = (released / FILE_NAME).read_bytes()
        monkeypatch.setattr(file, "MIGRATIONS", MIGRATIONS[:1])
        with pytest.raises(
            OpenLedgerError,
            match=rf"newer version .* \(schema {len(MIGRATIONS)}; this one knows 1",
        ):
            SqliteStore(released, now)
        assert (released / FILE_NAME).read_bytes() == before


# One of a newer version ---------------------------------------------------------------------------


def written_later(
    folder: Path, table: Table, row: tuple[object, ...], words: tuple[str, ...] = ()
) -> None:
    """What a version has written that knows more words, by mistake under the same schema."""
    with closing(sqlite3.connect(folder / FILE_NAME, isolation_level=None)) as database:
        seal = read_seal(database)
        draft = Draft(seal)
        database.execute("BEGIN")
        key = row[: len(table.key)]
        found = database.execute(
            f"SELECT checksum FROM {table.name} WHERE {table.is_key}", key
        ).fetchone()
        after = checksum(table.name, row)  # type: ignore[arg-type]
        before = None if found is None else found[0]
        draft.change(table.name, before, after)
        if table is WORKFLOWS:
            is_open = row[3] == "open"
            draft.change("unsettled", before, after if is_open else None)
        database.execute(table.upsert, (*row, after))
        sealed = draft.sealed()
        write_seal(database, replace(sealed, words=sealed.words | set(words)))
        database.execute("COMMIT")


def open_row(**changed: object) -> tuple[object, ...]:
    """The row of an open workflow."""
    values: dict[str, object] = {
        **dict.fromkeys(WORKFLOWS.columns),
        "account": 1, "workflow": bytes.fromhex(uuid(1).replace("-", "")), "source": "pushed",
        "phase": "open", "run": 1, "status": "queued", "first_seen": 1.5, "entered_queue": 0,
        "waited": 0, "start_observed": 0, "outputs_counted": 0, "stream_ended_run": 0,
        "listed_ended_run": 0, **changed,
    }  # fmt: skip
    return tuple(values.values())


LATER: list[tuple[Table, tuple[object, ...], str]] = [
    (WORKFLOWS, open_row(source="webhook"), "source webhook"),
    (WORKFLOWS, open_row(status="paused"), "status paused"),
    (COUNTERS, ("wonders", '["studio"]', 7.0, 0, None), "counter wonders"),
    (COUNTERS, ("discovered", '["studio","webhook"]', 7.0, 0, None), "source webhook"),
    (COUNTERS, ("finished", '["studio","paused"]', 7.0, 0, None), "status paused"),
    (COUNTERS, ("dropped", '["studio","bored"]', 7.0, 0, None), "drop reason bored"),
    (COUNTERS, ("ignored", '["studio","odd"]', 7.0, 0, None), "ignore reason odd"),
    (COUNTERS, ("outputs", '["studio","blue"]', 7.0, 0, None), "counter outputs with other"),
    (COUNTERS, ("dropped", '["studio","expired","team=a"]', 7.0, 0, None), "counter dropped with"),
    (WORKFLOWS, open_row(held='[1.5,[["Painted",2.5]]]'), "held fact Painted"),
    (HISTOGRAMS, ("phases", '["studio"]', "[1.0]", "[1,0]", 1.0, "[null,null]", 0), "histogram"),
    (HISTOGRAMS, ("run_duration", '["studio","paused"]', "[1.0]", "[1,0]", 1.0, "[null,null]", 0),
     "status paused"),
    (BASELINES, (1, "paused", 7, 1.5, 1.5), "status paused"),
    (MARKS, ("forgotten", 7), "mark forgotten"),
]  # fmt: skip


class TestANewerOne:
    @pytest.fixture
    def kept(self, folder: Path, now: Clocks) -> Path:
        ledger = ledger_on_disk(folder, now)
        ledger.observe(seen(1, "queued", now()))
        ledger.observe(ended(2, now(), completed=60))
        ledger.close()
        return folder

    @pytest.mark.parametrize(("table", "row", "word"), LATER)
    def test_an_unknown_word_is_named_and_nothing_touched(
        self, kept: Path, now: Clocks, table: Table, row: tuple[object, ...], word: str
    ) -> None:
        written_later(kept, table, row)
        before = {path.name: path.read_bytes() for path in kept.iterdir()}
        for _ in range(2):
            with pytest.raises(OpenLedgerError, match=f"newer version.*does not know '{word}"):
                ledger_on_disk(kept, now)
        assert {path.name: path.read_bytes() for path in kept.iterdir()} == before

    @pytest.mark.parametrize(
        "changed", [{"source": "webhook"}, {"phase": "archived"}, {"status": "paused"}]
    )
    def test_so_is_one_in_a_row_that_nobody_reads_at_the_start(
        self, kept: Path, now: Clocks, changed: dict[str, object]
    ) -> None:
        row = open_row(**{"phase": "settled", "status": "failed", **changed})
        ((kind, value),) = changed.items()
        written_later(kept, WORKFLOWS, row, words=(f"{kind} {value}",))
        before = (kept / FILE_NAME).read_bytes()
        with pytest.raises(OpenLedgerError, match=f"does not know '{kind} {value}'"):
            ledger_on_disk(kept, now)
        assert (kept / FILE_NAME).read_bytes() == before

    @pytest.mark.parametrize("look", ["in the background", "when it is seen"])
    def test_one_that_shows_only_later_is_no_damage(
        self, kept: Path, now: Clocks, look: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(walk.Walk, "first", lambda *_: [])
        written_later(kept, WORKFLOWS, open_row(phase="settled", source="webhook"))
        ledger = ledger_on_disk(kept, now)
        if look == "in the background":
            ledger.persist()
        else:
            ledger.observe(seen(1, "completed", now(), completed=20))
        assert ledger.snapshot().errors == 1
        ledger.close()
        assert [path.name for path in kept.iterdir() if "damaged" in path.name] == []
        with closing(sqlite3.connect(kept / FILE_NAME)) as database:
            sources = database.execute("SELECT source FROM workflows WHERE source = 'webhook'")
            assert len(sources.fetchall()) == 1

    @pytest.mark.parametrize(
        "newer",
        [
            lambda kept: written_later(kept, *LATER[3][:2]),
            lambda kept: change(kept, f"PRAGMA user_version = {len(MIGRATIONS) + 1}"),
        ],
    )
    def test_the_exporter_exits_with_1_and_says_why(
        self, kept: Path, tmp_path: Path, newer: Callable[[Path], None]
    ) -> None:
        newer(kept)
        config = tmp_path / "config.yml"
        config.write_text(
            yaml.safe_dump({"accounts": [{"name": "studio", "token": "cfc_x", "listing": {}}]})
        )
        before = (kept / FILE_NAME).read_bytes()
        ended = subprocess.run(
            [
                sys.executable, "-m", "exporter", f"--config.file={config}",
                f"--storage.path={kept}", "--web.listen-address=127.0.0.1:0",
            ],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert ended.returncode == 1
        assert f"{kept / FILE_NAME} was written by a newer version" in ended.stderr
        assert len(ended.stderr.strip().splitlines()) == 1
        assert (kept / FILE_NAME).read_bytes() == before
