"""What the ledger costs: per settled workflow, and with a million of them. See docs/performance.md.

python -m benchmarks.ledger
"""

import argparse
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final
from uuid import UUID

from exporter.comfycontrol import Cause
from exporter.history.history import History
from exporter.interfaces.observations import Moment, Observation, Status, Via
from exporter.ledger.accounts import AccountTerms
from exporter.ledger.ledger import Ledger
from exporter.ledger.sqlite import FILE_NAME, SqliteStore
from exporter.ledger.store import AccountMarks, Batch, HistoryKey, HistoryRow
from exporter.ledger.totals import Buckets, LabelCaps
from exporter.ledger.workflow import Workflow

ACCOUNT: Final = "studio"
TERMS: Final = {ACCOUNT: AccountTerms(86_400.0, listed=True)}
BUCKETS: Final = Buckets(
    entry_queue_position=(1, 2, 5, 10, 20, 50, 100),
    time_to_start=(0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 14400),
    run_duration=(1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200),
)
CAPS: Final = LabelCaps(200, 50)
NODES: Final = tuple(f"Node{number}" for number in range(60))
EXCEPTIONS: Final = ("ValueError", "RuntimeError", "OutOfMemoryError", "KeyError", "TypeError")

PERSIST_SECONDS: Final = 0.25
SCRAPE_SECONDS: Final = 15.0
EXPIRY_SECONDS: Final = 10.0
OPENED_WITHIN: Final = 1.0
SHARE_OF_A_CORE: Final = 0.10


class Clocks:
    """Time that passes as fast as the work goes."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> Moment:
        """Now."""
        return Moment(1_700_000_000.0 + self.seconds, self.seconds)


def main() -> int:
    """Run what the command line asks for; 1 when a goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ledger", description=__doc__)
    parser.add_argument("--per-minute", type=int, default=10_000, help="workflows that end")
    parser.add_argument("--minutes", type=float, default=2.0, help="of such a load")
    parser.add_argument("--rows", type=int, default=1_000_000, help="settled ones in the large")
    parser.add_argument("--folder", type=Path, help="where its disk is; a temporary one")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--open", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.open is not None:
        _open_and_use(arguments.open, arguments.rows)
        return 0
    with tempfile.TemporaryDirectory(dir=arguments.folder) as scratch:
        folder = Path(scratch)
        cheap = _load(folder, arguments.per_minute, arguments.minutes, arguments.seed)
        quick = _large(folder, arguments.rows)
    return 0 if cheap and quick else 1


# A busy day ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cost:
    """What a load has taken."""

    cpu_seconds: float
    written_mib: float
    longest_keep: float
    longest_scrape: float


def _load(folder: Path, per_minute: int, minutes: float, seed: int) -> bool:
    settles = int(per_minute * minutes)
    print(f"{settles} workflows, {per_minute} a minute; each seen 5 times, one in ten fails")
    ours = _our_cost(folder / "load", settles, per_minute, seed)
    bare = _our_cost(folder / "bare", settles, per_minute, seed, with_history=False)
    plain = _plain_cost(folder / "plain.sqlite3", settles, seed)
    seconds = 60.0 * minutes
    for name, cost in (
        ("the ledger", ours),
        ("without its history", bare),
        ("one transaction a settle, plain", plain),
    ):
        print(
            f"  {name + ':':33} {cost.cpu_seconds / settles * 1e6:6.0f} µs of CPU a settle, "
            f"{cost.cpu_seconds / seconds:6.1%} of a core, {cost.written_mib:6.0f} MiB written"
        )
    print(
        f"  the longest keep {ours.longest_keep * 1e3:.1f} ms, "
        f"the longest snapshot {ours.longest_scrape * 1e3:.1f} ms"
    )
    return ours.cpu_seconds / seconds < SHARE_OF_A_CORE


def _remember(ledger: Ledger, now: Clocks) -> None:
    """Have what it takes remembered, as the exporter does."""
    history = History(now)

    def rows() -> Mapping[HistoryKey, HistoryRow | None]:
        history.digest([ACCOUNT])
        return history.take_pending()

    ledger.on_workflow_change = history.note
    ledger.before_persisting = lambda: history.digest([ACCOUNT])
    ledger.set_history_source(rows)


def _our_cost(
    folder: Path, settles: int, per_minute: int, seed: int, *, with_history: bool = True
) -> Cost:
    now = Clocks()
    ledger = Ledger(TERMS, BUCKETS, CAPS, now, SqliteStore(folder, now))
    if with_history:
        _remember(ledger, now)
    ledger.set_counting_cutoff(ACCOUNT, now().wall - 1)
    days = _lives(settles, random.Random(seed), now)
    per_keep = per_minute / 60.0 * PERSIST_SECONDS
    keeps, scrapes = [0.0], [0.0]
    written, began = _written(), time.process_time()
    done, due, ticks = 0, 0.0, 0
    while done < settles:
        now.seconds += PERSIST_SECONDS
        ticks += 1
        due += per_keep
        while done < min(int(due), settles):
            for observation in next(days):
                ledger.observe(observation)
            done += 1
        keeps.append(_timed(ledger.persist))
        if not ticks % int(SCRAPE_SECONDS / PERSIST_SECONDS):
            scrapes.append(_timed(ledger.snapshot))
        if not ticks % int(EXPIRY_SECONDS / PERSIST_SECONDS):
            ledger.expire()
    cpu_seconds = time.process_time() - began
    cost = Cost(cpu_seconds, _written() - written, max(keeps), max(scrapes))
    ledger.close()
    return cost


def _lives(count: int, chance: random.Random, now: Clocks) -> Iterator[list[Observation]]:
    """What the list and a stream show of one workflow after the other."""

    def seen(
        workflow_id: str, via: Via, status: Status, *, cause: Cause | None = None
    ) -> Observation:
        at = now()
        ran = status is Status.RUNNING or status.final
        return Observation(
            account=ACCOUNT,
            workflow_id=workflow_id,
            via=via,
            at=at,
            status=status.value,
            queue_position=3 if status is Status.QUEUED and via == "stream" else None,
            created_at=at.wall - 20,
            started_at=at.wall - 15 if ran else None,
            completed_at=at.wall - chance.random() if status.final else None,
            cause=cause,
            outputs=2 if status is Status.COMPLETED and via == "stream" else None,
        )

    for _ in range(count):
        name = str(UUID(int=chance.getrandbits(128)))
        failed = chance.random() < 0.1
        end = Status.FAILED if failed else Status.COMPLETED
        cause = Cause(chance.choice(NODES), chance.choice(EXCEPTIONS)) if failed else None
        yield [
            seen(name, "listing", Status.QUEUED),
            seen(name, "stream", Status.QUEUED),
            seen(name, "stream", Status.RUNNING),
            seen(name, "stream", end, cause=cause),
            seen(name, "listing", end),
        ]


def _plain_cost(file: Path, settles: int, seed: int) -> Cost:
    """The reference: a row and a counter, one transaction each time, and nothing else."""
    chance = random.Random(seed)
    database = sqlite3.connect(file, isolation_level=None)
    database.executescript(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;"
        "CREATE TABLE settled (workflow BLOB PRIMARY KEY, status TEXT, ended REAL) WITHOUT ROWID;"
        "CREATE TABLE totals (status TEXT PRIMARY KEY, value INTEGER);"
        "INSERT INTO totals VALUES ('completed', 0);"
    )
    written, began = _written(), time.process_time()
    for _ in range(settles):
        database.execute("BEGIN IMMEDIATE")
        database.execute(
            "INSERT INTO settled VALUES (?, 'completed', ?)", (chance.randbytes(16), time.time())
        )
        database.execute("UPDATE totals SET value = value + 1 WHERE status = 'completed'")
        database.execute("COMMIT")
    cost = Cost(time.process_time() - began, _written() - written, 0.0, 0.0)
    database.close()
    return cost


# A million ----------------------------------------------------------------------------------------


def _large(folder: Path, rows: int) -> bool:
    large = folder / "large"
    _fill(large, rows)
    size = (large / FILE_NAME).stat().st_size
    print(f"{rows} settled workflows: {size / 2**20:.0f} MiB, {size / rows:.0f} bytes each")
    # In a process of its own, so that its memory is that of nothing else.
    command = [sys.executable, "-m", "benchmarks.ledger", f"--rows={rows}", f"--open={large}"]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    print(told, end="")
    return float(told.split(maxsplit=3)[2]) < OPENED_WITHIN


def _fill(folder: Path, rows: int) -> None:
    """A day and a night of workflows, as the ledger would have kept them."""
    now = Clocks()
    store = SqliteStore(folder, now)
    chance = random.Random(1)
    at_once = 20_000
    for first in range(0, rows, at_once):
        batch = Batch(accounts={ACCOUNT: AccountMarks(cutoff=now().wall - 200_000)})
        for number in range(first, min(first + at_once, rows)):
            workflow = _settled(number, rows, now, chance)
            batch.workflows[ACCOUNT, workflow.workflow_id] = workflow
        store.persist(batch)
    store.close()


def _settled(number: int, rows: int, now: Clocks, chance: random.Random) -> Workflow:
    created = now().wall - 170_000 * (1 - number / rows)
    return Workflow(
        account=ACCOUNT,
        workflow_id=_name(number),
        source="listing",
        first_seen=Moment(created + 1, 0.0),
        last_seen=Moment(created + 40, 0.0),
        phase="settled",
        status=Status.COMPLETED,
        created_at=created,
        started_at=created + 5,
        ended_at=created + 35 + chance.random(),
        entered_queue=True,
        waiting_lost=True,
        start_observed=True,
        outputs_counted=True,
    )


def _name(number: int) -> str:
    # Spread as random ones are, and the same in each process.
    return str(UUID(int=number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128))


def _open_and_use(folder: Path, rows: int) -> None:
    now = Clocks()
    before = _resident()
    began = time.perf_counter()
    store = SqliteStore(folder, now)
    ledger = Ledger(TERMS, BUCKETS, CAPS, now, store)
    opened = time.perf_counter() - began
    settled = ledger.snapshot().settled
    if settled != rows:
        raise AssertionError(f"{settled} of {rows} settled workflows are there")
    memory = _resident() - before
    print(f"  opened in {opened:.3f} s, and takes {memory:.1f} MiB of memory")
    chance = random.Random(2)
    days = _lives(10_000, chance, now)

    def keep_a_moment() -> None:
        now.seconds += PERSIST_SECONDS
        for _ in range(42):
            for observation in next(days):
                ledger.observe(observation)
        ledger.persist()

    def see_an_old_one() -> None:
        number = chance.randrange(rows)
        at = now()
        ledger.observe(
            Observation(ACCOUNT, _name(number), "listing", at, "completed", completed_at=at.wall)
        )

    def rank(age: float) -> Callable[[], object]:
        return lambda: ledger.created_after(ACCOUNT, now().wall - age)

    for name, work, times in (
        ("42 settles and a keep", keep_a_moment, 100),
        ("a snapshot", ledger.snapshot, 100),
        ("an old one seen again", see_an_old_one, 2000),
        ("how many are younger than an hour", rank(3600), 20),
        ("how many are younger than a day", rank(86_400), 20),
        ("letting time pass", ledger.expire, 20),
    ):
        took = sorted(_timed(work) for _ in range(times))
        print(f"  {name + ':':34} {median(took) * 1e3:8.3f} ms, at most {took[-1] * 1e3:8.3f} ms")
    slices = []
    while store.verifying:
        slices.append(_timed(store.verify))
    slice_, minutes = median(slices), len(slices) * PERSIST_SECONDS / 60
    print(
        f"  every row looked over in {minutes:.0f} min, for {slice_ * 1e3:.1f} ms (median) at each "
        f"keep: {slice_ / PERSIST_SECONDS:.1%} of a core"
    )
    print(f"  memory after all that: {_resident() - before:.1f} MiB")
    ledger.close()


# Measuring ----------------------------------------------------------------------------------------


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _resident() -> float:
    """MiB of memory that this process holds. Linux only."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _written() -> float:
    """MiB that this process has written to files. Linux only."""
    fields = dict(
        line.split(": ") for line in Path("/proc/self/io").read_text("ascii").splitlines()
    )
    return int(fields["wchar"]) / 2**20


if __name__ == "__main__":
    sys.exit(main())
