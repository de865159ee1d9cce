"""One window of requests for all replicas that ask from one address."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import pytest

from exporter.budget.budget import RequestBudget
from exporter.budget.shared_window import NotYet, SharedSlot, SharedWindowUnavailableError
from exporter.budget.sliding_window import UNDER_WAY_SECONDS, Limit, Priority
from exporter.ledger.postgres.link import Cursor, Link
from exporter.ledger.postgres.permits import PostgresPermits
from exporter.ledger.store import StoreError
from tests.postgres import Server
from tests.turns import Turn
from tests.unit.ledger.keepers import PostgresKeeper
from tests.unit.ledger.ledgers import Clocks

ADDRESS = "api.example.com"
LIMIT = Limit(requests=4, per=60.0, cooldown=60.0, reserve=0.25)
Make = Callable[..., PostgresPermits]


@pytest.fixture
def keeper(postgres: Server) -> PostgresKeeper:
    made = PostgresKeeper(postgres.fresh(), Clocks())
    made.make().close()
    return made


@pytest.fixture
def make(keeper: PostgresKeeper) -> Iterator[Make]:
    all_made: list[PostgresPermits] = []

    def make(
        limit: Limit = LIMIT, address: str = ADDRESS, *, known: bool = True
    ) -> PostgresPermits:
        if known:
            keeper.execute(
                "INSERT INTO comfycontrol_budget (address, share) VALUES (%s, %s) "
                "ON CONFLICT DO NOTHING",
                address,
                limit.share,
            )
        all_made.append(PostgresPermits(Link(lambda: keeper.dsn), address, limit))
        return all_made[-1]

    yield make
    for permits in all_made:
        permits.close()


def pass_(keeper: PostgresKeeper, seconds: float) -> None:
    """Let time pass, as the database sees it."""
    back = "make_interval(secs => %s)"
    keeper.execute(
        f"UPDATE comfycontrol_permit SET taken = taken - {back}, answered = answered - {back}",
        seconds,
        seconds,
    )
    keeper.execute(f"UPDATE comfycontrol_budget SET closed_until = closed_until - {back}", seconds)


def taken(*all_permits: PostgresPermits) -> int:
    """How many can be taken now, in turn."""
    count = 0
    while any(isinstance(permits.take(), SharedSlot) for permits in all_permits):
        count += 1
    return count


def take(permits: PostgresPermits) -> SharedSlot:
    found = permits.take()
    assert isinstance(found, SharedSlot)
    return found


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class TestOneWindow:
    def test_all_together_take_the_share_and_no_more(self, make: Make) -> None:
        assert taken(make(), make(), make()) == LIMIT.share

    def test_who_asks_from_another_address_has_a_share_of_his_own(self, make: Make) -> None:
        assert taken(make()) == taken(make(address=f"{ADDRESS} nat-b")) == LIMIT.share

    def test_a_place_comes_free_a_period_after_the_answer(
        self, make: Make, keeper: PostgresKeeper
    ) -> None:
        permits, other = make(), make()
        held = [take(permits) for _ in range(LIMIT.share)]
        pass_(keeper, UNDER_WAY_SECONDS)
        permits.answered(held[0])
        told = "SELECT FROM comfycontrol_permit WHERE answered IS NOT NULL"
        wait_until(lambda: len(keeper.execute(told)) == 1)
        pass_(keeper, LIMIT.per - 5)  # real time passes too, on a busy machine some seconds
        assert taken(permits, other) == 0
        pass_(keeper, 5.5)
        # Those of whose answers nobody ever told, because the one who asked died.
        assert taken(permits, other) == LIMIT.share

    def test_a_slow_answer_holds_its_place(self, make: Make, keeper: PostgresKeeper) -> None:
        permits = make()
        held = [take(permits) for _ in range(LIMIT.share)]
        pass_(keeper, 1)
        permits.answered(held[1])
        told = "SELECT FROM comfycontrol_permit WHERE answered IS NOT NULL"
        wait_until(lambda: len(keeper.execute(told)) == 1)
        pass_(keeper, LIMIT.per)
        assert taken(permits) == 1

    def test_what_was_never_sent_holds_no_place(self, make: Make) -> None:
        permits = make()
        held = [take(permits) for _ in range(LIMIT.share)]
        permits.unused(held[0])
        assert taken(permits) == 1

    def test_a_refusal_closes_it_for_all_and_halves_the_share(
        self, make: Make, keeper: PostgresKeeper
    ) -> None:
        limit = Limit(requests=10, per=60.0, reserve=0.2)
        permits, other = make(limit), make(limit)
        permits.refused(30.0)
        permits.refused(20.0)
        closed = "SELECT FROM comfycontrol_budget WHERE closed_until > clock_timestamp()"
        wait_until(lambda: len(keeper.execute(closed)) == 1)
        assert other.take() == NotYet(1.0)
        assert taken(permits, other) == 0
        pass_(keeper, 31)
        assert taken(permits, other) == 4
        pass_(keeper, 2 * 60)
        assert taken(permits, other) == 6

    def test_at_first_an_earlier_exporter_may_have_taken_its_share(self, make: Make) -> None:
        limit = Limit(requests=40, per=60.0)
        assert taken(make(limit, known=False)) == 10

    def test_many_at_once_take_no_more_than_the_share(self, make: Make) -> None:
        limit = Limit(requests=20, per=60.0, reserve=0.0)
        found: list[int] = []

        def take_all(permits: PostgresPermits) -> None:
            found.append(taken(permits))

        threads = [threading.Thread(target=take_all, args=(make(limit),)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(found) == limit.share


class TestABudgetOnIt:
    def test_it_waits_for_a_place_and_tells_of_the_answer(
        self, make: Make, keeper: PostgresKeeper
    ) -> None:
        permits, other = make(), make()
        for _ in range(LIMIT.share):
            take(other)
        budget = RequestBudget(
            ADDRESS, LIMIT, monotonic=time.monotonic, wall=time.time, shared_window=permits
        )
        turn = Turn(budget, Priority.LIST_FIRST_PAGE)
        assert not turn.over.wait(0.3)
        keeper.execute("DELETE FROM comfycontrol_permit")
        assert turn.wait()
        assert taken(other) == LIMIT.share - 1
        turn.answered()
        told = "SELECT FROM comfycontrol_permit WHERE answered IS NOT NULL"
        wait_until(lambda: len(keeper.execute(told)) == 1)
        budget.close()

    def test_who_gives_up_while_it_asks_leaves_no_place_behind(
        self, make: Make, keeper: PostgresKeeper
    ) -> None:
        budget = RequestBudget(
            ADDRESS, LIMIT, monotonic=time.monotonic, wall=time.time, shared_window=make()
        )
        with psycopg.connect(keeper.dsn) as blocking:
            blocking.execute("LOCK TABLE comfycontrol_permit")
            turn = Turn(budget, Priority.CAUSE)
            time.sleep(0.2)
            turn.cancel()
        assert not turn.wait()
        wait_until(lambda: not keeper.execute("SELECT FROM comfycontrol_permit"))
        budget.close()

    def test_without_the_database_nothing_is_asked(self, postgres: Server) -> None:
        dsn = postgres.dsn(port="1")
        permits = PostgresPermits(Link(lambda: dsn), ADDRESS, LIMIT)
        with pytest.raises(SharedWindowUnavailableError, match="nothing listens"):
            permits.take()
        budget = RequestBudget(
            ADDRESS, LIMIT, monotonic=time.monotonic, wall=time.time, shared_window=permits
        )
        turn = Turn(budget, Priority.CAUSE)
        assert not turn.over.wait(0.3)
        budget.close()
        assert not turn.wait()


class FailingLink(Link):
    fails = False

    @contextmanager
    def transaction(self) -> Iterator[Cursor]:
        if self.fails:
            raise StoreError("the database is away")
        with super().transaction() as cursor:
            yield cursor


class TestADatabaseThatHasLostTheLast:
    """As a standby would have it that was a moment behind."""

    @pytest.fixture
    def permits(self, make: Make, keeper: PostgresKeeper) -> Iterator[PostgresPermits]:
        make().close()
        self.link = FailingLink(lambda: keeper.dsn)
        made = PostgresPermits(self.link, ADDRESS, LIMIT)
        yield made
        made.close()

    def fail(self, permits: PostgresPermits) -> None:
        self.link.fails = True
        with pytest.raises(SharedWindowUnavailableError):
            permits.take()
        self.link.fails = False

    def test_what_is_held_is_held_again(
        self, permits: PostgresPermits, keeper: PostgresKeeper
    ) -> None:
        first, second = take(permits), take(permits)
        permits.answered(first)
        keeper.execute("DELETE FROM comfycontrol_permit WHERE id = %s", second.number)
        self.fail(permits)
        assert taken(permits) == LIMIT.share - 2

    def test_and_once_is_enough(self, permits: PostgresPermits, keeper: PostgresKeeper) -> None:
        take(permits)
        permits.unused(take(permits))
        for _ in range(3):
            self.fail(permits)
            permits.unused(take(permits))
        assert taken(permits) == LIMIT.share - 1
