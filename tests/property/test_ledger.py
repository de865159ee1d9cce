"""The ledger over any sequence of observations, flushes, restarts, crashes, faults and clock steps.

A crash is the disk as it is between two SQL statements: the files are copied at that moment, and
the next process finds the copy. Whatever happened, once everything is observed again the totals
are those of the truth, and nothing that a scrape was ever shown is taken back.
"""

import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
)

from exporter.comfycontrol import Cause
from exporter.interfaces.observations import Moment, Observation, Status, Via
from exporter.ledger.ledger import Ledger
from exporter.ledger.snapshot import LedgerSnapshot
from exporter.ledger.sqlite import FILE_NAME, SqliteStore
from exporter.ledger.store import Batch, StoreError
from tests.unit.ledger.ledgers import LOOKBACK, T0, Clocks, make_ledger, uuid

WORKFLOWS = 4
CAUSES = (
    Cause("KSampler", "ValueError"),
    Cause("VAEDecode", "OutOfMemoryError"),
    None,
)
PATH = (Status.ACCEPTED, Status.QUEUED, Status.RUNNING)
ENDS = (Status.COMPLETED, Status.FAILED, Status.CANCELLED, Status.INVALID)

numbers = st.integers(0, WORKFLOWS - 1)
crashes = st.none() | st.integers(0, 25)
"""Before which SQL statement; None: not this time."""
vias: st.SearchStrategy[Via] = st.sampled_from(["stream", "listing", "detail"])


@dataclass
class Run:
    """One execution, as it really is."""

    workflow: int
    end: Status
    cause: Cause | None
    outputs: int
    created: float
    status: Status = Status.ACCEPTED
    started: float | None = None
    completed: float | None = None

    def advance(self, moment: float) -> None:
        """Go on to the next status."""
        if self.status is Status.RUNNING:
            self.status, self.completed = self.end, moment
        elif not self.status.final:
            self.status = PATH[PATH.index(self.status) + 1]
            if self.status is Status.RUNNING:
                self.started = moment


@dataclass
class Service:
    """The truth."""

    moment: float = 100.0
    """Seconds after T0, by the service's clock."""
    runs: dict[int, Run] = field(default_factory=dict)
    """The latest run of each workflow."""
    over: list[Run] = field(default_factory=list)
    """Runs that were succeeded by another."""

    def tells(self, number: int, via: Via, at: Moment) -> Observation:
        """What it says of a workflow now."""
        run = self.runs[number]
        ended = run.status.final
        return Observation(
            account="studio",
            workflow_id=uuid(number),
            via=via,
            at=at,
            status=run.status.value,
            queue_position=3 if via == "stream" and run.status is Status.QUEUED else None,
            created_at=T0 + run.created,
            updated_at=T0 + self.moment,
            started_at=None if run.started is None else T0 + run.started,
            completed_at=None if run.completed is None else T0 + run.completed,
            cause=run.cause if ended and via != "listing" else None,
            outputs=run.outputs if ended and via == "stream" else None,
            service_wall=T0 + self.moment,
        )


class CrashingStore(SqliteStore):
    """Counts SQL statements; before one of them the folder is copied, as a crash would leave it."""

    def __init__(self, folder: Path, now: Callable[[], Moment]) -> None:
        self.folder = folder
        self.crash_in: int | None = None
        self.left_behind: Path | None = None
        self.failing = False
        super().__init__(folder, now)
        assert self._file._database is not None
        self._file._database.set_trace_callback(self._before_statement)

    def _before_statement(self, _: str) -> None:
        if self.crash_in is None:
            return
        self.crash_in -= 1
        if self.crash_in < 0:
            self.crash()

    def crash(self) -> None:
        """What is on the disk now is what the next process finds; the rest never happened."""
        self.crash_in = None
        if self.left_behind is None:
            self.left_behind = self.folder.with_name(self.folder.name + "x")
            shutil.copytree(self.folder, self.left_behind)

    def persist(self, batch: Batch) -> None:
        if self.failing:
            raise StoreError("the disk is full")
        super().persist(batch)


def series(snapshot: LedgerSnapshot) -> dict[tuple[object, ...], float]:
    """Every value that is shown, and must never go down: failures in a row are none."""
    found: dict[tuple[object, ...], float] = {
        key: total.value if total.appeared <= snapshot.announced else 0.0
        for key, total in snapshot.totals.counters.items()
        if key[0] != "failed_in_a_row"
    }
    for key, histogram in snapshot.totals.histograms.items():
        for bucket, count in enumerate(histogram.counts):
            found[*key, bucket] = count
    return found


class LedgerMachine(RuleBasedStateMachine):
    """One exporter after another over the same service."""

    def __init__(self) -> None:
        super().__init__()
        memory = Path("/dev/shm")
        self._folder = tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None)
        self.clocks = Clocks()
        self.service = Service()
        self.shown: dict[tuple[object, ...], float] = {}
        self.has_forgotten = False
        self.store = self._first_store()
        self.ledger = self._start()

    def teardown(self) -> None:
        self._settle_everything()
        self.ledger.close()
        self._folder.cleanup()

    # Processes --------------------------------------------------------------------------------

    def _first_store(self) -> CrashingStore:
        return CrashingStore(Path(self._folder.name) / "d", self.clocks)

    def _next_store(self, folder: Path) -> CrashingStore:
        """The store of the process that follows, and finds this."""
        return CrashingStore(folder, self.clocks)

    def _start(self) -> Ledger:
        return make_ledger(self.clocks, self.store)

    def _end_if_crashed(self) -> bool:
        folder = self.store.left_behind
        if folder is None:
            return False
        self.ledger.close()
        self._check_disk(folder)
        self.store = self._next_store(folder)
        self.ledger = self._start()
        self._check_nothing_taken_back(self.ledger.snapshot())
        return True

    def _check_disk(self, folder: Path) -> None:
        """Totals and rows on the disk agree, as they are."""
        copy = folder.with_name("look")
        shutil.copytree(folder, copy)
        database = sqlite3.connect(copy / FILE_NAME)
        if not database.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
            database.close()
            shutil.rmtree(copy)
            return

        def number(query: str) -> int:
            return int(database.execute(query).fetchone()[0] or 0)

        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        finished = number("SELECT sum(value) FROM counters WHERE name = 'finished'")
        failed = number(
            "SELECT sum(value) FROM counters WHERE name = 'finished' AND labels LIKE '%\"failed\"%'"
        )
        causes = number("SELECT sum(value) FROM counters WHERE name = 'failures'")
        pending = number("SELECT count(*) FROM workflows WHERE cause_owed_since IS NOT NULL")
        discovered = number("SELECT sum(value) FROM counters WHERE name = 'discovered'")
        assert failed == causes + pending
        if not self.has_forgotten:
            assert finished == number("SELECT sum(run - (phase != 'settled')) FROM workflows")
            assert discovered == number("SELECT sum(run) FROM workflows")
        database.close()
        shutil.rmtree(copy)

    def _check_nothing_taken_back(self, snapshot: LedgerSnapshot) -> None:
        now = series(snapshot)
        for key, value in self.shown.items():
            assert now.get(key, 0.0) >= value, key

    # What happens in the world ----------------------------------------------------------------

    def _now(self) -> Moment:
        self.clocks.pass_(0.5)
        return self.clocks()

    @rule(
        number=numbers,
        end=st.sampled_from(ENDS),
        cause=st.sampled_from(CAUSES),
        steps=st.integers(0, 4),
        seen=st.lists(vias, max_size=2),
    )
    def live(
        self, number: int, end: Status, cause: Cause | None, steps: int, seen: list[Via]
    ) -> None:
        """A workflow is created or goes on, and is seen or not."""
        if number not in self.service.runs:
            self.service.moment += 1
            self.service.runs[number] = Run(number, end, cause, number + 1, self.service.moment)
        self._advance(number, steps)
        for via in seen:
            self._observe(number, via)

    def _advance(self, number: int, steps: int) -> None:
        for _ in range(steps):
            self.service.moment += 1
            self.service.runs[number].advance(self.service.moment)

    def _observe(self, number: int, via: Via) -> None:
        self.ledger.observe(self.service.tells(number, via, self._now()))
        self._end_if_crashed()

    @rule(number=numbers, end=st.sampled_from(ENDS))
    def execute_again(self, number: int, end: Status) -> None:
        """Only once its end is on the disk, for nobody can tell it afterwards; and not so late
        that its row may be gone: then it would be taken for a workflow that waited that long.
        """
        run = self.service.runs.get(number)
        if run is None or not run.status.final or run.completed is None:
            return
        if self.service.moment - run.completed > LOOKBACK:
            return
        self._see_everything()
        # Its stamps are told to the second: a start is later only by more than one.
        self.service.moment += 2
        again = Run(number, end, run.cause, run.outputs, run.created)
        # The service shows a new run by its start.
        again.status, again.started = Status.RUNNING, self.service.moment
        self.service.runs[number] = again
        self.service.over.append(run)

    @rule(
        number=numbers, via=vias, seconds=st.sampled_from([-3 * LOOKBACK, -1.0, 1.0, 3 * LOOKBACK])
    )
    def observe_while_the_clock_is_wrong(self, number: int, via: Via, seconds: float) -> None:
        if number not in self.service.runs:
            return
        self.clocks.wall += seconds
        self.ledger.observe(self.service.tells(number, via, self._now()))
        self.ledger.expire()
        self.clocks.wall -= seconds
        self._end_if_crashed()

    # What happens to the process --------------------------------------------------------------

    @rule(crash=crashes)
    def keep(self, crash: int | None) -> None:
        self.store.crash_in = crash
        self.ledger.persist()
        self._end_if_crashed()

    @rule(crash=crashes, announces=st.booleans())
    def look(self, crash: int | None, *, announces: bool) -> None:
        self.store.crash_in = crash
        if announces:
            self.ledger.announce(self.ledger.newest_series())
        snapshot = self.ledger.snapshot()
        self._check_nothing_taken_back(snapshot)
        if not self._end_if_crashed() and not self.store.failing:
            self.shown = series(snapshot)

    @rule()
    def kill(self) -> None:
        """Without a chance to keep anything."""
        self.store.crash()
        self._end_if_crashed()

    @rule(crash=crashes)
    def restart(self, crash: int | None) -> None:
        self.store.failing, self.store.crash_in = False, crash
        self.ledger.close()
        if not self._end_if_crashed():
            self.store = self._next_store(self.store.folder)
            self.ledger = self._start()
            self._check_nothing_taken_back(self.ledger.snapshot())

    @rule()
    def disk_fails(self) -> None:
        # What is shown from here on can be taken back: the exporter goes on in memory.
        self.store.failing = True

    @rule()
    def disk_returns(self) -> None:
        self.store.failing = False
        self.clocks.pass_(60)

    @rule(crash=crashes)
    def expire(self, crash: int | None) -> None:
        self.store.crash_in = crash
        self.ledger.expire()
        self._end_if_crashed()

    @precondition(lambda self: len(self.service.runs) > 1)
    @rule()
    def a_day_passes(self) -> None:
        """Rows of what ended long ago are dropped; all of it can still be seen again."""
        self._see_everything()
        self.service.moment += 3 * LOOKBACK
        self.clocks.wall += 3 * LOOKBACK
        for number in self.service.runs:
            self._advance(number, 1)
        self._see_everything()
        self.has_forgotten = True
        self.ledger.expire()
        self._end_if_crashed()

    # The end ----------------------------------------------------------------------------------

    def _see_everything(self) -> None:
        """As the list does in the end, and streams and single answers for a pending cause."""
        self.disk_returns()
        for _ in range(2):  # once more, should it crash on the way
            vias: tuple[Via, ...] = ("listing", "stream", "detail")
            for via in vias:
                for number in self.service.runs:
                    self._observe(number, via)
            self.ledger.persist()
            self._end_if_crashed()

    def _settle_everything(self) -> None:
        for number in self.service.runs:
            self._advance(number, 3)
        self._see_everything()
        # Whatever is planned and whatever was forgotten: once more, by a process of its own.
        self.store.crash_in = None
        self.restart(None)
        self._see_everything()
        self._check_truth(self.ledger.snapshot())

    def _check_truth(self, snapshot: LedgerSnapshot) -> None:
        runs = [*self.service.over, *self.service.runs.values()]
        counters = {key: t.value for key, t in snapshot.totals.counters.items() if t.value}

        def counted(name: str) -> Counter[tuple[str, ...]]:
            return Counter(
                {labels[1:]: int(v) for (of, labels), v in counters.items() if of == name}
            )

        assert counted("finished") == Counter((r.status.value,) for r in runs)
        assert counted("discovered") == (Counter({("listing",): len(runs)}) if runs else Counter())
        failed = [r for r in runs if r.status is Status.FAILED]
        assert counted("failures") == Counter(
            (r.cause.node_type, r.cause.exception_type) if r.cause else ("unknown", "unknown")
            for r in failed
        )
        outputs = sum(r.outputs for r in runs if r.status is Status.COMPLETED)
        assert sum(counted("outputs").values()) == outputs
        histograms = snapshot.totals.histograms
        for status in ENDS:
            durations = [
                r.completed - r.started
                for r in runs
                if r.status is status and r.started is not None and r.completed is not None
            ]
            total = histograms["run_duration", ("studio", status.value)]
            assert (sum(total.counts), total.sum) == (len(durations), sum(durations))
        waits = [r.started - r.created for r in self._first_runs(runs) if r.started is not None]
        waited = histograms["time_to_start", ("studio",)]
        assert (sum(waited.counts), waited.sum) == (len(waits), sum(waits))
        assert not snapshot.open_workflows

    @staticmethod
    def _first_runs(runs: list[Run]) -> list[Run]:
        first: dict[int, Run] = {}
        for run in runs:
            first.setdefault(run.workflow, run)
        return list(first.values())

    @invariant()
    def entered_the_queue_at_most_once(self) -> None:
        # Not by a snapshot, which would keep everything at each step.
        totals = self.ledger._memory.totals
        entered = totals.histograms["entry_queue_position", ("studio",)]
        assert sum(entered.counts) <= WORKFLOWS + len(self.service.over)


LedgerMachine.TestCase.settings = settings(
    max_examples=100,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TestLedger = LedgerMachine.TestCase
