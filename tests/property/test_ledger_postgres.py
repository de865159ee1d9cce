"""The same ledger in PostgreSQL, held by one replica after another over any sequence of events.

Whatever can happen to a ledger on a disk can happen here too; and a connection can break while it
commits, another replica can take over from one that goes on in the belief that it holds the
account, and the database can lose the last commits.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import rule, run_state_machine_as_test

from exporter.interfaces.observations import Baseline, Moment, Status, Via
from exporter.ledger.ledger import Ledger
from exporter.ledger.postgres.leases import take
from exporter.ledger.postgres.link import Connection, Cursor, Link
from exporter.ledger.postgres.store import PostgresStore
from exporter.ledger.store import Batch, StoreError
from tests.postgres import Server
from tests.property.test_ledger import LedgerMachine, crashes, numbers, series, vias
from tests.unit.ledger.keepers import PostgresKeeper
from tests.unit.ledger.ledgers import BUCKETS, CAPS, T0, TERMS, Clocks

breaks = st.sampled_from(["before", "after"])


class CrashingLink(Link):
    """Counts statements, commits among them; from one of them on nothing reaches the database."""

    crash_in: int | None = None
    is_dead = False
    breaks: str | None = None

    @contextmanager
    def transaction(self) -> Iterator[Cursor]:
        if self.is_dead:
            raise StoreError("the process has crashed")
        with super().transaction() as cursor:
            yield _Counting(cursor, self)  # type: ignore[misc]

    def before_statement(self) -> None:
        if self.crash_in is not None:
            self.crash_in -= 1
            if self.crash_in < 0:
                self.crash()
        if self.is_dead:
            raise psycopg.OperationalError("the process has crashed")

    def crash(self) -> None:
        self.crash_in, self.is_dead = None, True
        self._disconnect(keep=False)

    def _commit(self, connection: Connection) -> None:
        self.before_statement()
        broken, self.breaks = self.breaks, None
        if broken != "before":
            super()._commit(connection)
        if broken is not None:
            connection.close()
            raise psycopg.OperationalError("the connection is broken")
        # After the commit, and before anybody knows of it.
        self.before_statement()


class _Counting:
    def __init__(self, cursor: Cursor, link: CrashingLink) -> None:
        self._cursor = cursor
        self._link = link

    def execute(self, *arguments: Any) -> Cursor:
        self._link.before_statement()
        return self._cursor.execute(*arguments)

    def executemany(self, *arguments: Any) -> None:
        self._link.before_statement()
        self._cursor.executemany(*arguments)

    def fetchone(self) -> Any:
        return self._cursor.fetchone()

    def fetchall(self) -> Any:
        return self._cursor.fetchall()


class CrashingStore(PostgresStore):
    """Dies as it is told to."""

    def __init__(self, link: CrashingLink, now: Callable[[], Moment]) -> None:
        self.link = link
        self.failing = False
        self.folder = Path("none")
        super().__init__(link, "the test's", now)

    @property
    def crash_in(self) -> int | None:
        return self.link.crash_in

    @crash_in.setter
    def crash_in(self, statements: int | None) -> None:
        self.link.crash_in = statements

    @property
    def left_behind(self) -> Path | None:
        return self.folder if self.link.is_dead else None

    def crash(self) -> None:
        self.link.crash()

    def persist(self, batch: Batch) -> None:
        if self.failing:
            raise StoreError("the database is away")
        super().persist(batch)


class PostgresMachine(LedgerMachine):
    """One replica after another over the same service."""

    server: ClassVar[Server]

    def _first_store(self) -> CrashingStore:  # type: ignore[override]
        self.keeper = PostgresKeeper(self.server.fresh(), self.clocks)
        self.holders = count(1)
        self.written = count(1)
        return self._next_store(Path("none"))

    def _next_store(self, folder: Path) -> CrashingStore:  # type: ignore[override]
        return CrashingStore(CrashingLink(lambda: self.keeper.dsn), self.clocks)

    def _start(self) -> Ledger:
        return started(self.keeper, self.store, f"replica {next(self.holders)}", self.clocks)  # type: ignore[arg-type]

    def _check_disk(self, folder: Path) -> None:
        def number(query: str) -> int:
            ((value,),) = self.keeper.execute(query)
            return int(str(value or 0).partition(".")[0])

        totals = "SELECT sum(value) FROM comfycontrol_total WHERE name"
        finished = number(f"{totals} = 'finished'")
        failed = number(f"{totals} = 'finished' AND labels LIKE '%%\"failed\"%%'")
        causes = number(f"{totals} = 'failures'")
        discovered = number(f"{totals} = 'discovered'")
        rows = "FROM comfycontrol_workflow"
        pending = number(f"SELECT count(*) {rows} WHERE cause_owed_since IS NOT NULL")
        assert failed == causes + pending
        if not self.has_forgotten:
            assert finished == number(f"SELECT sum(run - (phase <> 'settled')::int) {rows}")
            assert discovered == number(f"SELECT sum(run) {rows}")

    # What can happen here alone ---------------------------------------------------------------

    @rule(crash=crashes, way=breaks)
    def keep_over_a_connection_that_breaks(self, crash: int | None, way: str) -> None:
        link = self._link()
        link.breaks = way
        self.ledger.persist()
        link.breaks, link.crash_in = None, crash
        self.clocks.pass_(20)
        self.ledger.persist()
        self._end_if_crashed()

    @rule(number=numbers, via=vias, way=st.none() | breaks)
    def another_takes_over(self, number: int, via: Via, way: str | None) -> None:
        """And anyone who held it before goes on for a while, as if nothing had happened."""
        if way is not None:
            self._link().breaks = way
            self.ledger.persist()
            self._link().breaks = None
        before, old = self.ledger, self.store
        self.store = self._next_store(Path("none"))  # type: ignore[assignment]
        self.ledger = self._start()
        self._check_nothing_taken_back(self.ledger.snapshot())
        if number in self.service.runs:
            before.observe(self.service.tells(number, via, self._now()))
        self.clocks.pass_(20)
        before.persist()
        before.snapshot()
        before.close()
        old.close()

    @rule(number=numbers, via=vias)
    def the_lease_is_over_for_a_while(self, number: int, via: Via) -> None:
        """The database is away for long, and nobody else comes."""
        self.disk_returns()
        self._live_on()
        with self._lease_over():
            self._see(number, via)
            self.ledger.persist()
        self.ledger.persist()
        self._check_nothing_taken_back(self.ledger.snapshot())

    @rule(number=numbers, via=vias, later=st.none() | numbers)
    def the_last_commit_is_lost(self, number: int, via: Via, later: int | None) -> None:
        """As by a failover to a standby that was a moment behind; maybe a long one."""
        self.disk_returns()
        # Where the holder has ended as well, nobody knows of it.
        self._live_on()
        self.ledger.persist()
        self.keeper.execute("DROP TABLE IF EXISTS then_account, then_workflow, then_total")
        for table in ("account", "workflow", "total"):
            self.keeper.execute(f"CREATE TABLE then_{table} AS TABLE comfycontrol_{table}")
        self._see(number, via)
        snapshot = self.ledger.snapshot()
        self._check_nothing_taken_back(snapshot)
        self.shown = series(snapshot)
        for table in ("total", "workflow"):
            self.keeper.execute(f"DELETE FROM comfycontrol_{table}")
            self.keeper.execute(f"INSERT INTO comfycontrol_{table} TABLE then_{table}")
        self.keeper.execute(
            "UPDATE comfycontrol_account a SET commits = t.commits, line = t.line, "
            "frontier = t.frontier FROM then_account t WHERE t.account = a.account"
        )
        if later is not None:
            with self._lease_over():
                self._see(later, via)
                self.ledger.persist()
        # Until it is next written to, nobody knows.
        written = Baseline(next(self.written), 0.0, 0.0)
        self.ledger.set_baseline("studio", Status.FAILED, written)
        # Anyone who asks in the moment in which it is found out sees what was shown before.
        self._check_nothing_taken_back(self.ledger.snapshot())
        self.ledger.persist()
        self._check_nothing_taken_back(self.ledger.snapshot())
        self.clocks.pass_(20)
        self.ledger.persist()
        self._check_nothing_taken_back(self.ledger.snapshot())

    def _live_on(self) -> None:
        """Die of no earlier crash from now on."""
        self._link().crash_in = None
        self._end_if_crashed()

    def _see(self, number: int, via: Via) -> None:
        if number in self.service.runs:
            self.ledger.observe(self.service.tells(number, via, self._now()))

    @contextmanager
    def _lease_over(self) -> Iterator[None]:
        """Until its end; then the same holder renews it."""
        held = self.store._held.get("studio")  # type: ignore[attr-defined]
        self.keeper.expire("studio")
        yield
        self.clocks.pass_(20)
        if held is not None:
            with self._link().transaction() as cursor:
                assert take(cursor, "studio", held.lease.holder, 3600.0) == held.lease

    def _link(self) -> CrashingLink:
        link = self.store._link  # type: ignore[attr-defined]
        assert isinstance(link, CrashingLink)
        return link


def started(keeper: PostgresKeeper, store: PostgresStore, holder: str, now: Clocks) -> Ledger:
    """The ledger of a replica that has just taken the account."""
    ledger = Ledger({}, BUCKETS, CAPS, now, store)
    ledger.adopt("studio", lambda: keeper.hold(store, "studio", holder))
    ledger.change(TERMS, BUCKETS, CAPS)
    ledger.set_counting_cutoff("studio", T0)
    return ledger


@pytest.mark.timeout(600)
def test_ledger(postgres: Server) -> None:
    PostgresMachine.server = postgres
    run_state_machine_as_test(
        PostgresMachine,
        settings=settings(
            max_examples=40,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )
