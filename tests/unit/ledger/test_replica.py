"""One replica among others: what it takes, keeps, hands on and lets go."""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

import pytest

from exporter.ledger.postgres.leases import LEASE_SECONDS
from exporter.ledger.postgres.link import Cursor, Link
from exporter.ledger.postgres.replica import SETTLED_SECONDS, UNCLAIMED_SECONDS, Replica
from exporter.ledger.postgres.store import PostgresStore
from exporter.ledger.shared import Lease
from exporter.ledger.store import AccountMarks, Batch, StoreBehindError, StoreError
from tests.postgres import Server
from tests.unit.ledger.keepers import PostgresKeeper
from tests.unit.ledger.ledgers import T0, Clocks

ACCOUNTS = ("agency", "studio")


class BreakableLink(Link):
    """Is cut as it is told to."""

    is_cut = False

    @contextmanager
    def transaction(self) -> Iterator[Cursor]:
        if self.is_cut:
            raise StoreError("the network is away")
        with super().transaction() as cursor:
            yield cursor


class Process:
    """What one process is made of, as far as leases go."""

    def __init__(self, keeper: PostgresKeeper, name: str, now: Clocks) -> None:
        self.now = now
        self.held: list[str] = []
        self.refuses: set[str] = set()
        self.accounts: Collection[str] = ACCOUNTS
        self.link = BreakableLink(lambda: keeper.dsn)
        self.store = PostgresStore(Link(lambda: keeper.dsn), "the test's", now)
        self.replica = Replica(self.link, name, lambda: self.accounts, now, self._hold, self.store)
        self.store.on_lost = self.replica.note_lost

    def _hold(self, gained: Collection[Lease], lost: Collection[str]) -> Collection[str]:
        for account in lost:
            self.store.release(account)
            self.held.remove(account)
        begun = [lease for lease in gained if lease.account not in self.refuses]
        for lease in begun:
            self.store.adopt(lease)
            self.held.append(lease.account)
        return [lease.account for lease in begun]

    def look(self) -> list[str]:
        """Look once; what it holds then, and counts."""
        self.replica.check()
        held = self.replica.reading().held
        # While the database is away it remembers what it held.
        assert held <= set(self.held)
        assert self.replica.reading().is_failing or held == set(self.held)
        return sorted(held)

    @property
    def shown(self) -> list[str]:
        """What it may show now."""
        return sorted(self.store.committed().accounts)


Make = Callable[[str], Process]


@pytest.fixture
def keeper(postgres: Server) -> PostgresKeeper:
    return PostgresKeeper(postgres.fresh(), Clocks())


@pytest.fixture
def make(keeper: PostgresKeeper) -> Iterator[Make]:
    made: list[Process] = []

    def make(name: str) -> Process:
        made.append(Process(keeper, name, Clocks()))
        return made[-1]

    yield make
    for process in made:
        process.link.close()
        process.store.close()


def pass_(keeper: PostgresKeeper, seconds: float) -> None:
    """Let time pass, as the database sees it."""
    back = "- make_interval(secs => %s)"
    keeper.execute(f"UPDATE comfycontrol_account SET until = until {back}", seconds)
    keeper.execute(
        f"UPDATE comfycontrol_replica SET since = since {back}, seen = seen {back}",
        seconds,
        seconds,
    )


def test_the_first_takes_all_and_keeps_them(make: Make) -> None:
    first, second = make("a"), make("b")
    assert first.look() == list(ACCOUNTS)
    assert second.look() == []
    assert first.look() == list(ACCOUNTS)
    assert first.replica.reading().replicas == 2
    assert second.replica.reading().epochs == dict.fromkeys(ACCOUNTS, 1)
    assert second.replica.reading().holders == dict.fromkeys(ACCOUNTS, "a")
    assert first.replica.reading().holders == {}
    assert (first.shown, second.shown) == (list(ACCOUNTS), [])


def test_once_a_second_has_settled_they_share(make: Make, keeper: PostgresKeeper) -> None:
    first, second = make("a"), make("b")
    for _ in range(3):
        first.look()
        second.look()
        assert (first.held, second.held) == (list(ACCOUNTS), [])
    for _ in range(3):
        pass_(keeper, SETTLED_SECONDS / 2)
        first.look()
        second.look()
    assert len(first.look()) == len(second.look()) == 1
    assert sorted(first.held + second.held) == list(ACCOUNTS)
    # And so it stays.
    before = list(first.held)
    for _ in range(5):
        assert first.look() == before
        second.look()


def test_who_dies_is_replaced(make: Make, keeper: PostgresKeeper) -> None:
    first, second = make("a"), make("b")
    first.look()
    second.look()
    # The rest of the lease is left for the real time that this takes on a busy machine.
    for _ in range(4):
        pass_(keeper, LEASE_SECONDS / 2 / 4)
        assert second.look() == []
    pass_(keeper, LEASE_SECONDS / 2 + 0.1)
    assert second.look() == list(ACCOUNTS)
    assert second.replica.reading().epochs == dict.fromkeys(ACCOUNTS, 2)
    # Should it live after all, it learns so from the leases, if not from the store before.
    assert first.look() == []


def test_who_leaves_need_not_be_waited_for(make: Make, keeper: PostgresKeeper) -> None:
    first, second = make("a"), make("b")
    first.look()
    second.look()
    first.replica.leave()
    assert second.look() == list(ACCOUNTS)


def test_while_the_database_is_away_what_is_held_is_held_to_its_end(make: Make) -> None:
    process = make("a")
    process.look()
    process.link.is_cut = True
    process.now.pass_(LEASE_SECONDS - 0.1)
    assert process.look() == process.shown == list(ACCOUNTS)
    assert process.replica.reading().is_failing
    process.now.pass_(0.2)
    # Even where nobody has looked again yet.
    assert process.shown == []
    assert process.replica.reading().held == frozenset()
    assert process.look() == []
    process.link.is_cut = False
    assert process.look() == process.shown == list(ACCOUNTS)


def test_who_was_away_with_all_others_goes_on_from_what_it_knows(
    make: Make, keeper: PostgresKeeper
) -> None:
    first, second = make("a"), make("b")
    first.look()
    second.look()
    lease = first.replica.reading().epochs
    for process in (first, second):
        process.link.is_cut = True
        process.now.pass_(LEASE_SECONDS + 20)
        assert process.look() == process.shown == []
    pass_(keeper, LEASE_SECONDS + 20)
    for process in (second, first):
        process.link.is_cut = False
    # The other is back sooner, and leaves it the time to come.
    assert second.look() == []
    assert first.look() == first.shown == list(ACCOUNTS)
    assert first.replica.reading().epochs == lease


def test_a_short_failure_is_enough_to_wait(make: Make, keeper: PostgresKeeper) -> None:
    first, second = make("a"), make("b")
    first.look()
    for _ in range(4):
        second.look()
        pass_(keeper, 2)
    second.link.is_cut = True
    second.look()
    second.link.is_cut = False
    pass_(keeper, 2)
    assert second.look() == []
    second.now.pass_(SETTLED_SECONDS - 0.1)
    pass_(keeper, SETTLED_SECONDS - 0.1)
    assert second.look() == []
    second.now.pass_(0.2)
    assert second.look() == list(ACCOUNTS)


def test_a_holder_that_does_not_come_back_is_waited_for_no_longer_than_that(
    make: Make, keeper: PostgresKeeper
) -> None:
    first, second = make("a"), make("b")
    first.look()
    second.look()
    pass_(keeper, LEASE_SECONDS + 20)
    for _ in range(3):
        assert second.look() == []
        pass_(keeper, SETTLED_SECONDS / 3 + 0.1)
    assert second.look() == list(ACCOUNTS)
    # And the one who has come late has lost what it knew.
    assert first.look() == []


def test_what_another_holds_after_an_outage_is_let_go(make: Make, keeper: PostgresKeeper) -> None:
    process = make("a")
    process.look()
    process.link.is_cut = True
    process.now.pass_(LEASE_SECONDS + 1)
    assert process.look() == []
    assert process.held == list(ACCOUNTS)
    keeper.execute("UPDATE comfycontrol_account SET holder = 'another', epoch = epoch + 1")
    process.link.is_cut = False
    assert process.look() == process.held == process.shown == []


class TestCommitsThatAreLost:
    @staticmethod
    def go_back(keeper: PostgresKeeper, by: int) -> None:
        keeper.execute("UPDATE comfycontrol_account SET commits = commits - %s", by)

    @staticmethod
    def write(process: Process, account: str, times: int) -> None:
        for number in range(times):
            process.store.persist(Batch(accounts={account: AccountMarks(cutoff=T0 + number)}))

    def test_the_holder_gives_them_again_before_it_hands_on(
        self, make: Make, keeper: PostgresKeeper
    ) -> None:
        first, second = make("a"), make("b")
        first.look()
        self.write(first, "studio", 3)
        self.write(first, "agency", 3)
        # What its own looks have not seen yet, the store knows.
        self.go_back(keeper, 2)
        for _ in range(4):
            second.look()
            assert first.look() == list(ACCOUNTS)
            pass_(keeper, SETTLED_SECONDS / 3 + 0.1)
        for _ in ACCOUNTS:
            with pytest.raises(StoreBehindError):
                first.store.verify()
        assert first.replica.reading().regressions == 4
        first.store.verify()
        first.look()
        assert len(first.look()) == 1

    def test_whoever_takes_over_counts_those_of_others(
        self, make: Make, keeper: PostgresKeeper
    ) -> None:
        first, second = make("a"), make("b")
        first.look()
        self.write(first, "studio", 3)
        second.look()
        self.write(first, "agency", 3)
        assert second.look() == []
        self.go_back(keeper, 2)
        keeper.execute("UPDATE comfycontrol_account SET holder = NULL, until = '-infinity'")
        assert second.look() == list(ACCOUNTS)
        assert second.replica.reading().regressions == 4


def test_the_time_of_a_lease_counts_from_before_it_was_asked_for(make: Make) -> None:
    process = make("a")

    class SlowLink(BreakableLink):
        @contextmanager
        def transaction(self) -> Iterator[Cursor]:
            process.now.pass_(4)
            with super().transaction() as cursor:
                yield cursor

    process.link.__class__ = SlowLink
    process.look()
    process.now.pass_(LEASE_SECONDS - 4 - 0.1)
    assert process.shown == list(ACCOUNTS)
    process.now.pass_(0.2)
    assert process.shown == []


def test_what_another_was_found_to_hold_is_let_go(make: Make, keeper: PostgresKeeper) -> None:
    process = make("a")
    process.look()
    keeper.execute(
        "UPDATE comfycontrol_account SET holder = 'another', epoch = epoch + 1 "
        "WHERE name = 'studio'"
    )
    process.replica.note_lost("studio")
    assert process.look() == ["agency"]


def test_what_was_held_in_an_epoch_that_the_database_has_lost_is_begun_afresh(
    make: Make, keeper: PostgresKeeper
) -> None:
    """The model of tests/model/shared_ledger.py has found it: an epoch that was given twice."""
    process = make("a")
    process.look()
    # The lease was in the commits that a standby lacked. The holder before has gone
    # on, and handed it on, before this replica looked again.
    keeper.execute(
        "UPDATE comfycontrol_account SET holder = NULL, epoch = epoch - 1, until = '-infinity', "
        "commits = commits + 1"
    )
    assert process.look() == list(ACCOUNTS)
    assert process.replica.reading().epochs == dict.fromkeys(ACCOUNTS, 2)


def test_what_was_found_lost_and_is_free_is_begun_afresh(
    make: Make, keeper: PostgresKeeper
) -> None:
    process = make("a")
    process.look()
    keeper.execute("UPDATE comfycontrol_account SET commits = commits + 1")
    process.replica.note_lost("studio")
    assert process.look() == list(ACCOUNTS)


def test_what_cannot_be_begun_is_left_to_others(make: Make, keeper: PostgresKeeper) -> None:
    first, second = make("a"), make("b")
    first.refuses = {"studio"}
    assert first.look() == ["agency"]
    pass_(keeper, UNCLAIMED_SECONDS + 0.1)
    assert second.look() == ["studio"]


def test_accounts_that_come_and_go_with_the_configuration(make: Make) -> None:
    first, second = make("a"), make("b")
    first.accounts = ["studio"]
    assert first.look() == ["studio"]
    first.accounts = ["agency"]
    assert first.look() == ["agency"]
    second.accounts = ["studio"]
    assert second.look() == ["studio"]
