"""What only a store that several replicas share has to stand."""

from collections.abc import Iterator
from uuid import UUID

import psycopg
import pytest

from exporter.interfaces.observations import Status, TrackError
from exporter.ledger.forms import CounterName, Labels
from exporter.ledger.ledger import Ledger
from exporter.ledger.opening import OpenLedgerError
from exporter.ledger.postgres.leases import give_back, know, take
from exporter.ledger.postgres.link import (
    Connection,
    ConnectionStringError,
    Link,
    parameters,
    place_of,
)
from exporter.ledger.postgres.schema import MIGRATIONS
from exporter.ledger.postgres.store import PostgresStore
from exporter.ledger.postgres.workflow_rows import TYPES
from exporter.ledger.rows import WORKFLOW_COLUMNS
from exporter.ledger.shared import Lease
from exporter.ledger.store import (
    AccountMarks,
    Batch,
    NotHeldError,
    RestoredState,
    StoreBehindError,
    StoreError,
)
from exporter.ledger.totals import CounterTotal
from exporter.ledger.workflow import Workflow
from tests.postgres import Server
from tests.unit.ledger.keepers import PostgresKeeper
from tests.unit.ledger.ledgers import BUCKETS, CAPS, T0, TERMS, Clocks, pushed, seen, uuid
from tests.unit.ledger.test_store import key_of, workflow

FINISHED: tuple[CounterName, Labels] = ("finished", ("studio", "completed"))


@pytest.fixture
def keeper(postgres: Server) -> PostgresKeeper:
    return PostgresKeeper(postgres.fresh(), Clocks())


@pytest.fixture
def store(keeper: PostgresKeeper) -> Iterator[PostgresStore]:
    made, _ = keeper.begin()
    yield made
    made.close()


def outcome(number: int, total: float) -> Batch:
    """The end of a workflow, and the total that it makes."""
    settled = workflow(number)
    return Batch(workflows={key_of(settled): settled}, counters={FINISHED: CounterTotal(total)})


def finished(keeper: PostgresKeeper) -> float:
    """What the database has."""
    rows = keeper.execute("SELECT sum(value) FROM comfycontrol_total WHERE name = 'finished'")
    return float(str(rows[0][0] or 0))


class TestAHolderThatComesLate:
    def test_it_settles_nothing(self, keeper: PostgresKeeper, store: PostgresStore) -> None:
        lost: list[str] = []
        store.on_lost = lost.append
        store.persist(outcome(1, 1.0))
        other = keeper.make()
        keeper.hold(other, "studio", "another")
        store.persist(outcome(2, 2.0))
        assert lost == ["studio"]
        assert finished(keeper) == 1.0
        other.persist(outcome(2, 2.0))
        store.persist(outcome(3, 3.0))
        assert (lost, finished(keeper)) == (["studio"], 2.0)
        assert store.prune_ended_before("studio", T0 + 99).rows == 0
        with pytest.raises(NotHeldError):
            store.find_closed(("studio", uuid(1)))
        other.close()

    def test_it_goes_on_with_its_other_accounts(
        self, keeper: PostgresKeeper, store: PostgresStore
    ) -> None:
        other = keeper.make()
        keeper.hold(other, "agency", "another")
        away = workflow(1, account="agency")
        batch = outcome(2, 1.0)
        batch.workflows[key_of(away)] = away
        store.persist(batch)
        assert finished(keeper) == 1.0
        assert other.find_closed(("agency", uuid(1))) is None
        other.close()

    def test_nor_within_its_own_epoch_when_somebody_else_has_written(
        self, keeper: PostgresKeeper, store: PostgresStore
    ) -> None:
        keeper.execute("UPDATE comfycontrol_account SET commits = commits + 1")
        store.persist(outcome(1, 1.0))
        assert finished(keeper) == 0.0

    def test_nor_while_its_lease_is_over(
        self, keeper: PostgresKeeper, store: PostgresStore
    ) -> None:
        keeper.expire("studio")
        with pytest.raises(StoreError, match="lease"):
            store.persist(outcome(1, 1.0))
        with store._link.transaction() as cursor:
            lease = take(cursor, "studio", "replica 1")
        assert lease is not None
        # Nobody came: it goes on, in the same epoch.
        store.persist(outcome(1, 1.0))
        assert finished(keeper) == 1.0


class TestALedgerThatHoldsNothing:
    def test_it_takes_nothing_up_and_nothing_has_failed(self, keeper: PostgresKeeper) -> None:
        ledger = Ledger({}, BUCKETS, CAPS, Clocks(), keeper.make())
        with pytest.raises(TrackError):
            ledger.track(pushed(1, Clocks()()))
        snapshot = ledger.snapshot()
        assert (snapshot.errors, snapshot.accounts, snapshot.open_workflows) == (0, (), ())
        ledger.close()


class TestAnAccountThatIsHandedOn:
    """What was learnt while the database failed, or is to be given again, goes before it."""

    @pytest.fixture
    def clocks(self) -> Clocks:
        return Clocks()

    @pytest.fixture
    def ledger(self, store: PostgresStore, keeper: PostgresKeeper, clocks: Clocks) -> Ledger:
        ledger = Ledger({}, BUCKETS, CAPS, clocks, store)
        ledger.adopt("studio", lambda: keeper.hold(store, "studio", "a"))
        ledger.change(TERMS, BUCKETS, CAPS)
        ledger.set_counting_cutoff("studio", T0)
        return ledger

    def see_one(self, ledger: Ledger, number: int, clocks: Clocks) -> None:
        ledger.observe(seen(number, "completed", clocks(), via="stream", started=2, completed=5))

    def test_though_the_store_has_just_failed(
        self, keeper: PostgresKeeper, store: PostgresStore, ledger: Ledger, clocks: Clocks
    ) -> None:
        self.see_one(ledger, 1, clocks)
        dsn, keeper.dsn = keeper.dsn, "host=/nowhere"
        store._link._disconnect(keep=False)
        ledger.persist()
        keeper.dsn = dsn
        ledger.release_account("studio", lambda: store.release("studio"))
        assert finished(keeper) == 1.0

    def test_though_commits_are_found_lost_only_then(
        self, keeper: PostgresKeeper, store: PostgresStore, ledger: Ledger, clocks: Clocks
    ) -> None:
        self.see_one(ledger, 1, clocks)
        ledger.persist()
        keeper.execute("DELETE FROM comfycontrol_total")
        keeper.execute("DELETE FROM comfycontrol_workflow")
        keeper.execute("UPDATE comfycontrol_account SET commits = commits - 1")
        store.suspect("studio")
        ledger.release_account("studio", lambda: store.release("studio"))
        assert finished(keeper) == 1.0


class TestLeases:
    def take(self, link: Link, holder: str, seconds: float = 60.0) -> Lease | None:
        with link.transaction() as cursor:
            know(cursor, ["studio"])
            return take(cursor, "studio", holder, seconds)

    def test_one_holder_at_a_time(self, keeper: PostgresKeeper) -> None:
        link = keeper.make()._link
        first = self.take(link, "a")
        assert first == Lease("studio", "a", 1)
        assert self.take(link, "b") is None
        assert self.take(link, "a") == first
        keeper.expire("studio")
        assert self.take(link, "a") == first
        keeper.expire("studio")
        assert self.take(link, "b") == Lease("studio", "b", 2)
        assert self.take(link, "a") is None
        link.close()

    def test_who_gives_it_back_need_not_be_waited_for(self, keeper: PostgresKeeper) -> None:
        link = keeper.make()._link
        first = self.take(link, "a")
        assert first is not None
        with link.transaction() as cursor:
            give_back(cursor, ["studio"], "b")
        assert self.take(link, "b") is None
        with link.transaction() as cursor:
            give_back(cursor, ["studio"], "a")
        assert self.take(link, "b") == Lease("studio", "b", 2)
        link.close()

    def test_it_ends_by_the_clock_of_the_database(self, keeper: PostgresKeeper) -> None:
        link = keeper.make()._link
        self.take(link, "a", 0.0)
        assert self.take(link, "b") is not None
        link.close()


class BreakingLink(Link):
    """Breaks while it commits, after the commit was made or before."""

    breaks: str | None = None

    def _commit(self, connection: Connection) -> None:
        breaks, self.breaks = self.breaks, None
        if breaks != "before":
            super()._commit(connection)
        if breaks is not None:
            connection.close()
            raise psycopg.OperationalError("server closed the connection unexpectedly")


class TestAConnectionThatBreaksWhileCommitting:
    @pytest.fixture
    def link(self, keeper: PostgresKeeper) -> BreakingLink:
        return BreakingLink(lambda: keeper.dsn)

    @pytest.fixture
    def store(self, keeper: PostgresKeeper, link: BreakingLink) -> Iterator[PostgresStore]:
        made = PostgresStore(link, "the test's", Clocks())
        keeper.hold(made, "studio", "a")
        yield made
        made.close()

    @pytest.mark.parametrize("breaks", ["before", "after"])
    def test_nothing_is_added_twice(
        self, keeper: PostgresKeeper, store: PostgresStore, link: BreakingLink, breaks: str
    ) -> None:
        store.persist(outcome(1, 1.0))
        link.breaks = breaks
        with pytest.raises(StoreError, match="no connection"):
            store.persist(outcome(2, 2.0))
        # As the ledger does: the same once more, and what came meanwhile.
        store.persist(outcome(2, 3.0))
        assert finished(keeper) == 3.0
        store.persist(outcome(4, 4.0))
        assert finished(keeper) == 4.0
        assert store.regressions == 0

    @pytest.mark.parametrize("breaks", ["before", "after"])
    def test_what_was_dropped_is_told(
        self, store: PostgresStore, link: BreakingLink, breaks: str
    ) -> None:
        store.persist(outcome(1, 1.0))
        link.breaks = breaks
        with pytest.raises(StoreError):
            store.prune_ended_before("studio", T0 + 99)
        told = store.prune_ended_before("studio", T0 + 99)
        assert (told.rows, told.latest_created, told.latest_end) == (1, T0 + 1, T0 + 20)


class TestADatabaseThatHasLostCommits:
    def test_it_is_given_again_what_is_known(
        self, keeper: PostgresKeeper, store: PostgresStore
    ) -> None:
        store.persist(outcome(1, 1.0))
        # As a standby would have it that came too late for the last two.
        keeper.execute("CREATE TABLE then_total AS SELECT * FROM comfycontrol_total")
        store.persist(outcome(2, 2.0))
        store.persist(outcome(3, 3.0))
        keeper.execute("DELETE FROM comfycontrol_total")
        keeper.execute("INSERT INTO comfycontrol_total SELECT * FROM then_total")
        keeper.execute("UPDATE comfycontrol_account SET commits = commits - 2")
        with pytest.raises(StoreBehindError) as behind:
            store.persist(outcome(4, 4.0))
        assert (behind.value.account, store.regressions) == ("studio", 2)
        # What was shown is held until then.
        assert store.committed().counters[FINISHED].value == 3.0
        store.persist(outcome(4, 4.0))
        assert store.committed().counters[FINISHED].value == 4.0
        assert finished(keeper) == 4.0
        assert store.regressions == 2

    def test_rows_that_are_there_are_not_written_again(
        self, keeper: PostgresKeeper, store: PostgresStore
    ) -> None:
        store.persist(outcome(1, 1.0))
        store.persist(outcome(2, 2.0))
        keeper.execute("DELETE FROM comfycontrol_workflow WHERE workflow = %s", UUID(uuid(2)).bytes)
        keeper.execute("UPDATE comfycontrol_account SET commits = commits - 1")
        both = outcome(1, 2.0)
        both.workflows |= outcome(2, 2.0).workflows
        with pytest.raises(StoreBehindError):
            store.persist(both)
        where = "SELECT ctid FROM comfycontrol_workflow WHERE workflow = %s"
        before = keeper.execute(where, UUID(uuid(1)).bytes)
        store.persist(both)
        assert keeper.execute(where, UUID(uuid(1)).bytes) == before
        assert store.find_closed(("studio", uuid(2))) is not None

    def test_every_column_is_written_as_it_is_declared(self, keeper: PostgresKeeper) -> None:
        keeper.make().close()
        declared = keeper.execute(
            "SELECT column_name, udt_name FROM information_schema.columns "
            "WHERE table_schema = current_schema() AND table_name = 'comfycontrol_workflow'"
        )
        assert len(declared) == len(WORKFLOW_COLUMNS)
        for name, type_ in declared:
            assert TYPES.get(str(name), "float8") == type_, name


class TestOpening:
    def test_a_second_replica_finds_what_the_first_has_made(self, keeper: PostgresKeeper) -> None:
        first, second = keeper.make(), keeper.make()
        assert (first.is_new, second.is_new) == (True, False)
        first.close()
        second.close()

    def test_a_newer_version_is_refused(self, keeper: PostgresKeeper) -> None:
        keeper.make().close()
        keeper.execute("UPDATE comfycontrol_meta SET step = 99, writes_from = 99")
        with pytest.raises(OpenLedgerError, match="newer version"):
            keeper.make()

    def test_a_newer_version_that_changes_nothing_for_us_is_not(
        self, keeper: PostgresKeeper
    ) -> None:
        keeper.make().close()
        keeper.execute("UPDATE comfycontrol_meta SET step = 99, writes_from = %s", len(MIGRATIONS))
        keeper.make().close()

    def test_one_that_changes_the_tables_under_us_stops_us(
        self, keeper: PostgresKeeper, store: PostgresStore
    ) -> None:
        keeper.execute("UPDATE comfycontrol_meta SET step = 99, writes_from = 99")
        with pytest.raises(StoreError, match="newer version"):
            store.persist(outcome(1, 1.0))

    def test_a_word_of_a_newer_version_is_refused(
        self, keeper: PostgresKeeper, store: PostgresStore
    ) -> None:
        store.persist(outcome(1, 1.0))
        keeper.execute("INSERT INTO comfycontrol_word VALUES ('status paused')")
        with pytest.raises(OpenLedgerError, match="status paused"):
            keeper.make()

    def test_so_is_one_in_a_row(self, keeper: PostgresKeeper, store: PostgresStore) -> None:
        store.persist(outcome(1, 1.0))
        keeper.execute("UPDATE comfycontrol_workflow SET phase = 'paused', held = '[0,[]]'")
        with pytest.raises(StoreError, match="phase paused"):
            store.find_closed(("studio", uuid(1)))
        with pytest.raises(StoreError, match="phase paused"):
            keeper.begin()

    @pytest.mark.parametrize(
        ("changes", "told"),
        [
            ({"port": "1"}, "nothing listens"),
            ({"dbname": "absent"}, "no such database"),
            ({"host": "no.such.host.invalid"}, "host name is not known"),
            ({"sslmode": "require"}, "no TLS"),
            ({"host": "/nowhere"}, "no such socket"),
        ],
    )
    def test_a_fault_is_told_and_the_password_is_not(
        self, postgres: Server, changes: dict[str, str], told: str
    ) -> None:
        dsn = postgres.dsn(password="s3cret", **changes)
        with pytest.raises(OpenLedgerError) as error:
            PostgresStore(Link(lambda: dsn), place_of(dsn), Clocks())
        assert told in str(error.value)
        assert "s3cret" not in str(error.value)

    @pytest.mark.parametrize(
        "dsn", ["s3cret", "password = 's3cret", "host=a s3cret=b", "http://s3cret"]
    )
    def test_what_is_no_connection_string_is_not_quoted(self, dsn: str) -> None:
        with pytest.raises(ConnectionStringError) as error:
            parameters(dsn)
        assert "s3cret" not in str(error.value)
        assert error.value.__cause__ is error.value.__context__ is None


class TestOddValues:
    def test_text_that_the_database_cannot_hold(
        self, keeper: PostgresKeeper, store: PostgresStore
    ) -> None:
        odd = "a\0b\ud800c日"
        labels = ("studio", odd, odd * 100)
        named = Workflow(
            "studio", uuid(1), "pushed", workflow(1).first_seen, unknown_status=odd,
            status=Status.QUEUED,
        )  # fmt: skip
        store.persist(
            Batch(
                workflows={key_of(named): named},
                counters={("failures", labels): CounterTotal(1.0, appeared=1)},
            )
        )
        _, kept = keeper.begin()
        assert kept.counters["failures", labels].value == 1.0
        (found,) = kept.unsettled
        assert found.unknown_status == "a\N{REPLACEMENT CHARACTER}b?c日"

    def test_stamps_without_end(self, keeper: PostgresKeeper, store: PostgresStore) -> None:
        endless = AccountMarks(pruned_created=float("inf"), pruned_ended=T0)
        store.persist(Batch(accounts={"studio": endless}))
        kept: RestoredState
        _, kept = keeper.begin()
        assert kept.accounts["studio"] == endless
