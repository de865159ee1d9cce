"""Whatever happens to the files of a ledger: its totals are the true ones, or it says so.

Real files of known totals are damaged at random, and opened as a starting process would. 400
damages by default; `LEDGER_DAMAGES=20000` makes it that many.
"""

import logging
import os
import random
import shutil
import sqlite3
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from exporter.comfycontrol import Cause
from exporter.interfaces.observations import Baseline, Status, Via
from exporter.ledger import walk
from exporter.ledger.ledger import Ledger
from exporter.ledger.sqlite import FILE_NAME, OpenLedgerError, SqliteStore
from exporter.ledger.witness import LOCK_NAME
from tests.unit.ledger.ledgers import (
    T0,
    Clocks,
    ended,
    ledger_on_disk,
    make_ledger,
    seen,
    uuid,
)

DAMAGES: Final = int(os.environ.get("LEDGER_DAMAGES", "400"))
SETTLED: Final = 160
OPEN: Final = 12
SEEN_AGAIN: Final = 40
LOG: Final = FILE_NAME + "-wal"
PAGE: Final = 4096

Totals = dict[tuple[object, ...], object]
Damage = Callable[["Folders", Path, random.Random], None]


@dataclass(frozen=True)
class Folders:
    """Folders as a process has left them, which nobody changes."""

    closed: Path
    killed: Path
    """The same ledger, with a log that was not merged."""
    earlier: Path
    """The same ledger in an earlier life, too."""
    foreign: Path
    """Another ledger, too."""
    truth: Totals


def live(ledger: Ledger, now: Clocks, numbers: range) -> None:
    """Let workflows be seen, end and be counted, in several transactions."""
    for number in numbers:
        end = ("completed", "completed", "failed", "cancelled")[number % 4]
        via: Via = "stream" if number % 3 else "listing"
        ledger.observe(seen(number, "running", now(), created=number, started=number + 1))
        cause = Cause(f"Node{number % 7}", f"Error{number % 3}") if via == "stream" else None
        ledger.observe(
            seen(
                number, end, now(), via=via, created=number, started=number + 1,
                completed=number + 20, cause=cause if end == "failed" else None,
            )
        )  # fmt: skip
        if number % 25 == 24:
            ledger.persist()
            ledger.announce(ledger.newest_series())
            ledger.set_baseline("studio", Status.COMPLETED, Baseline(number, T0 + number, T0))
        now.pass_(1)


def totals(ledger: Ledger) -> Totals:
    """Every total that must be right, by series. Not those of what was seen without effect."""
    snapshot = ledger.snapshot()
    counters: Totals = {
        (key, "value"): total.value
        for key, total in snapshot.totals.counters.items()
        if key[0] != "ignored" and total.value
    }
    histograms: Totals = {
        (key, "counts"): (tuple(total.counts), total.sum)
        for key, total in snapshot.totals.histograms.items()
        if any(total.counts)
    }
    return {
        **counters,
        **histograms,
        ("announced",): snapshot.announced,
        ("baselines",): ledger.baselines("studio"),
    }


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """A ledger in its several states."""
    made = tmp_path_factory.mktemp("ledgers")
    now = Clocks()
    truth: Totals = {}
    for name in ("foreign", "ledger"):
        ledger = make_ledger(now, SqliteStore(made / name, now))
        live(ledger, now, range(SETTLED // 2))
        for number in range(SETTLED, SETTLED + OPEN):
            ledger.observe(seen(number, "queued", now()))
        ledger.snapshot()
        if name == "foreign":
            shutil.copytree(made / name, made / "foreign-killed")
            ledger.close()
            continue
        shutil.copytree(made / name, made / "earlier")
        live(ledger, now, range(SETTLED // 2, SETTLED))
        truth = totals(ledger)
        shutil.copytree(made / name, made / "killed")
        ledger.close()
    assert (made / "killed" / LOG).stat().st_size > 10 * PAGE
    return Folders(
        made / "ledger", made / "killed", made / "earlier", made / "foreign-killed", truth
    )


# Kinds of damage ----------------------------------------------------------------------------------


def one_of(folder: Path, chance: random.Random) -> Path:
    """The file, or its log where there is one."""
    return folder / chance.choice([n for n in (FILE_NAME, LOG) if (folder / n).exists()])


def changed(path: Path, change: Callable[[bytearray], None]) -> None:
    """Rewrite a file."""
    content = bytearray(path.read_bytes())
    change(content)
    path.write_bytes(content)


def flip_bits(_: Folders, folder: Path, chance: random.Random) -> None:
    def flip(content: bytearray) -> None:
        for _ in range(chance.choice([1, 1, 1, 5, 40])):
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)

    changed(one_of(folder, chance), flip)


def change_a_byte(_: Folders, folder: Path, chance: random.Random) -> None:
    def change(content: bytearray) -> None:
        content[chance.randrange(len(content))] = chance.randrange(256)

    changed(one_of(folder, chance), change)


def change_the_header_or_the_schema(_: Folders, folder: Path, chance: random.Random) -> None:
    def change(content: bytearray) -> None:
        content[chance.randrange(PAGE)] = chance.randrange(256)

    changed(folder / FILE_NAME, change)


def change_text(_: Folders, folder: Path, chance: random.Random) -> None:
    """What is readable is what our rows are made of."""

    def change(content: bytearray) -> None:
        at = 0
        while not chr(content[at]).isalnum():
            at = chance.randrange(len(content))
        content[at] = ord(chance.choice("0123456789aelnoprst"))

    changed(one_of(folder, chance), change)


def zero(_: Folders, folder: Path, chance: random.Random) -> None:
    def clear(content: bytearray) -> None:
        length = chance.choice([1, 8, 64, 512, PAGE, 3 * PAGE])
        at = chance.randrange(len(content))
        if chance.random() < 0.5:
            at -= at % length
        content[at : at + length] = bytes(len(content[at : at + length]))

    changed(one_of(folder, chance), clear)


def truncate(_: Folders, folder: Path, chance: random.Random) -> None:
    path = one_of(folder, chance)
    size = chance.choice([0, 1, 100, chance.randrange(path.stat().st_size)])
    os.truncate(path, size - size % PAGE if chance.random() < 0.5 else size)


def move_pages(_: Folders, folder: Path, chance: random.Random) -> None:
    def move(content: bytearray) -> None:
        pages = len(content) // PAGE
        one, other = (PAGE * chance.randrange(pages) for _ in range(2))
        before = content[one : one + PAGE]
        content[one : one + PAGE] = content[other : other + PAGE]
        if chance.random() < 0.5:
            content[other : other + PAGE] = before

    changed(folder / FILE_NAME, move)


def bring_back_pages(folders: Folders, folder: Path, chance: random.Random) -> None:
    """Some of the disk is as it was earlier."""
    with closing(sqlite3.connect(":memory:")) as merged:
        with closing(sqlite3.connect(copied(folders.earlier, folder / "e") / FILE_NAME)) as e:
            e.backup(merged)
        earlier = merged.serialize()
    shutil.rmtree(folder / "e")

    def bring_back(content: bytearray) -> None:
        pages = min(len(content), len(earlier)) // PAGE
        first = chance.randrange(pages)
        for page in range(first, min(pages, first + chance.choice([1, 1, 1, 2, 5]))):
            content[page * PAGE : (page + 1) * PAGE] = earlier[page * PAGE : (page + 1) * PAGE]

    changed(folder / FILE_NAME, bring_back)


def lose_the_log(_: Folders, folder: Path, chance: random.Random) -> None:
    (folder / LOG).unlink(missing_ok=True)
    if chance.random() < 0.3:
        (folder / LOG).touch()


def take_another_log(folders: Folders, folder: Path, chance: random.Random) -> None:
    shutil.copy(chance.choice([folders.earlier, folders.foreign]) / LOG, folder / LOG)


def take_another_file(folders: Folders, folder: Path, chance: random.Random) -> None:
    other = chance.choice([folders.earlier, folders.foreign])
    shutil.copy(other / FILE_NAME, folder / FILE_NAME)
    if chance.random() < 0.5:
        shutil.copy(other / LOG, folder / LOG)
    else:
        (folder / LOG).unlink(missing_ok=True)


def take_what_is_no_ledger(_: Folders, folder: Path, chance: random.Random) -> None:
    path = folder / FILE_NAME
    path.unlink()
    kind = chance.randrange(5)
    if kind == 0:
        path.write_bytes(b"accounts:\n  - name: studio\n" * chance.randrange(1, 500))
    elif kind == 1:
        path.write_bytes(chance.randbytes(chance.randrange(1, 50_000)))
    elif kind == 2:
        path.write_bytes(bytes(PAGE * chance.randrange(1, 20)))
    elif kind == 3:
        path.touch()
    else:
        with closing(sqlite3.connect(path)) as database:
            database.execute("CREATE TABLE cats (name)")
            database.execute(f"PRAGMA user_version = {chance.choice([0, 1, 2])}")


def lose_the_file(_: Folders, folder: Path, chance: random.Random) -> None:
    (folder / FILE_NAME).unlink()
    if chance.random() < 0.5:
        (folder / LOG).unlink(missing_ok=True)


def with_a_tool(statement: str) -> Damage:
    """The one who has `sqlite3` at hand."""

    def run(_: Folders, folder: Path, chance: random.Random) -> None:
        with closing(sqlite3.connect(folder / FILE_NAME, isolation_level=None)) as database:
            database.create_function("chance", 0, chance.random)
            database.executescript("PRAGMA writable_schema = ON")
            table, key = chance.choice(
                [
                    ("workflows", "workflow"),
                    ("counters", "labels"),
                    ("histograms", "labels"),
                    ("accounts", "name"),
                    ("marks", "name"),
                    ("baselines", "status"),
                ]
            )
            some = f"{key} IN (SELECT {key} FROM {table} ORDER BY chance() LIMIT 1)"
            database.execute(statement.format(table=table, some=some, n=chance.randrange(-9, 3)))

    return run


def disagreeing_index(folders: Folders, folder: Path, chance: random.Random) -> None:
    """An index of an earlier time."""
    name = chance.choice(["unsettled", "created", "ended"])

    def root(of: Path) -> int:
        with closing(sqlite3.connect(of / FILE_NAME)) as database:
            found: int = database.execute(
                "SELECT rootpage FROM sqlite_schema WHERE name = ?", (name,)
            ).fetchone()[0]
            return found

    earlier = copied(folders.earlier, folder / "e")
    at, place = root(earlier), root(folder)
    page = (earlier / FILE_NAME).read_bytes()[(at - 1) * PAGE : at * PAGE]
    shutil.rmtree(earlier)

    def replace(content: bytearray) -> None:
        content[(place - 1) * PAGE : place * PAGE] = page

    changed(folder / FILE_NAME, replace)


def damage_the_witness(_: Folders, folder: Path, chance: random.Random) -> None:
    def change(content: bytearray) -> None:
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)

    changed(folder / LOCK_NAME, change)


def damage_the_witness_and_lose_the_log(
    folders: Folders, folder: Path, chance: random.Random
) -> None:
    """What the witness would have shown, it cannot show any more."""
    chance.choice([damage_the_witness, empty_the_witness])(folders, folder, chance)
    lose_the_log(folders, folder, chance)


def empty_the_witness(_: Folders, folder: Path, chance: random.Random) -> None:
    size = (folder / LOCK_NAME).stat().st_size
    os.truncate(folder / LOCK_NAME, chance.choice([0, chance.randrange(size)]))


def leave_a_journal(folders: Folders, folder: Path, chance: random.Random) -> None:
    """SQLite rolls back what a journal has, no matter who wrote it."""
    with closing(sqlite3.connect(folder / "other", isolation_level=None)) as database:
        database.execute("CREATE TABLE cats (name)")
        database.execute("INSERT INTO cats SELECT hex(randomblob(500)) FROM sqlite_schema, "
                         "(SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3)")  # fmt: skip
        database.execute("PRAGMA cache_size = 1")
        database.execute("BEGIN")
        database.execute("UPDATE cats SET name = hex(randomblob(3000))")
        journal = (folder / "other-journal").read_bytes()
    (folder / (FILE_NAME + "-journal")).write_bytes(journal)
    (folder / "other").unlink()


def nothing(_: Folders, folder: Path, chance: random.Random) -> None:
    """The test must be able to tell."""


KINDS: Final[tuple[Damage, ...]] = (
    flip_bits, flip_bits, flip_bits, change_a_byte, change_a_byte, change_text, change_text,
    change_the_header_or_the_schema, zero, zero, truncate, truncate, move_pages, bring_back_pages,
    bring_back_pages, lose_the_log, take_another_log, take_another_file, take_what_is_no_ledger,
    lose_the_file, leave_a_journal, disagreeing_index, damage_the_witness,
    damage_the_witness_and_lose_the_log, nothing,
    with_a_tool("DELETE FROM {table} WHERE {some}"),
    with_a_tool("DELETE FROM seal"),
    with_a_tool("UPDATE {table} SET checksum = checksum + 1 WHERE {some}"),
    with_a_tool("UPDATE counters SET value = value + 1 WHERE value > 0"),
    with_a_tool("UPDATE workflows SET phase = 'open' WHERE workflow IN "
                "(SELECT workflow FROM workflows ORDER BY chance() LIMIT 1)"),
    with_a_tool("PRAGMA user_version = {n}"),
    with_a_tool("DELETE FROM sqlite_schema WHERE name = 'ended'"),
    with_a_tool("UPDATE sqlite_schema SET sql = replace(sql, 'open', 'oben')"),
)  # fmt: skip


def copied(folder: Path, to: Path) -> Path:
    """A copy, as the files are."""
    shutil.copytree(folder, to)
    return to


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Path]:
    """A place for many small files."""
    memory = Path("/dev/shm")
    if not memory.is_dir():
        yield tmp_path
        return
    place = memory / f"ledger-damage-{os.getpid()}"
    place.mkdir()
    yield place
    shutil.rmtree(place)


def test_totals_are_the_true_ones_or_it_says_so(
    folders: Folders,
    scratch: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = 0
    for number in range(DAMAGES):
        chance = random.Random(number)
        kind = KINDS[number % len(KINDS)]
        case = f"number {number}: {kind.__name__}"
        folder = copied(chance.choice([folders.closed, folders.killed]), scratch / str(number))
        kind(folders, folder, chance)
        caplog.clear()
        # Half of them are looked over at the start, the others in the background.
        is_at_start = chance.random() < 0.5
        monkeypatch.setattr(walk, "FIRST_SECONDS", 1.0 if is_at_start else 0.0)
        monkeypatch.setattr(walk, "FIRST_ROWS", 4_000 if is_at_start else 0)
        try:
            told += starts(folder, folders.truth, chance, caplog)
        except BaseException as error:
            error.add_note(case)
            raise
        shutil.rmtree(folder)
    # Not that everything would be told, whatever happens; nor nothing.
    assert 0.3 * DAMAGES < told < 0.95 * DAMAGES


def starts(
    folder: Path, truth: Totals, chance: random.Random, caplog: pytest.LogCaptureFixture
) -> bool:
    """Open it, and go on for a while; whether there was something to be told."""
    before = state(folder)
    now = Clocks()
    now.pass_(10_000)
    try:
        ledger = ledger_on_disk(folder, now)
    except OpenLedgerError as error:
        # As far as anybody can tell: a small number in the place of the schema's.
        if "newer version of the exporter (schema" not in str(error) or state(folder) != before:
            raise
        return True

    def is_told() -> bool:
        errors = [r for r in caplog.records if r.levelno >= logging.ERROR]
        return ledger.snapshot().errors > 0 and bool(errors)

    assert totals(ledger) == truth or is_told()
    for _ in range(3):
        now.pass_(60)
        ledger.persist()
    for number in chance.sample(range(SETTLED), SEEN_AGAIN):
        ledger.observe(ended(number, now(), completed=number + 20))
    assert {w.workflow_id for w in ledger.snapshot().open_workflows} == {
        uuid(number) for number in range(SETTLED, SETTLED + OPEN)
    } or is_told()
    assert totals(ledger) == truth or is_told()
    was_told = is_told()
    shown = totals(ledger)
    ledger.close()
    # What it goes on with is sound.
    caplog.clear()
    again = ledger_on_disk(folder, now)
    found, errors = totals(again), again.snapshot().errors
    again.close()
    assert (found, errors) == (shown, 0)
    return was_told


def state(folder: Path) -> dict[str, int]:
    """What the ledger's files hold, but for a log that was merged."""
    return {
        path.name: zlib.crc32(path.read_bytes())
        for path in folder.iterdir()
        if path.name == FILE_NAME and not (folder / LOG).exists()
    }
