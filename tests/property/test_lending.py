"""Workflows that replicas lend to each other over a real PostgreSQL, over any sequence of events.

Replicas come and go, are cut off from the database, hang (nothing is drawn for them for a while),
hold accounts and hand them on; terms change, and accounts leave the configuration and come back.
The streams and the followers are plain stand-ins; lending, the exchange, the leases and what is
told over them are the exporter's own. Time passes for the database as its rows grow older.

Afterwards, when all that live had their turns: nothing is streamed twice or forgotten, no address
has more than it can hold, and what ended is known to the holder. At any time: only the holder
counts, and who hears nothing of the database for as long as a lease lasts streams nothing.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import count
from typing import Any, ClassVar, Final

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from exporter.app.lending import BORROWED_SECONDS, Lending
from exporter.budget.sliding_window import Limit
from exporter.config import Account
from exporter.following.borrowing import AGAIN_SECONDS, BorrowedWorkflows
from exporter.following.choosing import StreamCapacity
from exporter.interfaces.observations import Observation
from exporter.ledger.lending import Room
from exporter.ledger.postgres.exchange import UNHELD_SECONDS, PostgresExchange
from exporter.ledger.postgres.leases import LEASE_SECONDS, give_back, know, take
from exporter.ledger.postgres.link import Connection, Cursor, Link
from exporter.ledger.postgres.schema import migrate
from exporter.ledger.shared import Lease  # noqa: TC001 - beside the others
from exporter.ledger.store import StoreError
from tests.postgres import Server
from tests.unit.ledger.ledgers import Clocks, uuid
from tests.unit.ledger.test_lending import Open

ACCOUNTS: Final = ("agency", "studio")
EGRESSES: Final = ("nat-a", "nat-a", "nat-b", "nat-c")
"""By replica: two of them ask from one address."""
ROOM: Final = 4
"""Streams that an address can hold."""
EXCHANGE: Final = "exporter.ledger.postgres.exchange"
LENDING: Final = "exporter.app.lending"
SERVICE: Final = "https://service.example"

replicas = st.sampled_from(range(len(EGRESSES)))
accounts = st.sampled_from(ACCOUNTS)


class BreakingLink(Link):
    """Reaches nothing while it is cut, and may break while it commits."""

    is_cut = False
    breaks: str | None = None

    @contextmanager
    def transaction(self) -> Iterator[Cursor]:
        if self.is_cut:
            raise StoreError("the database is away")
        with super().transaction() as cursor:
            yield cursor

    def _commit(self, connection: Connection) -> None:
        broken, self.breaks = self.breaks, None
        if broken != "before":
            super()._commit(connection)
        if broken is not None:
            connection.close()
            raise psycopg.OperationalError("the connection is broken")


class World:
    """The service, the database, the configuration and one clock for all machines."""

    def __init__(self, server: Server) -> None:
        self.dsn = server.fresh()
        self.clocks = Clocks()
        self.names = count(1)
        self.numbers = count(1)
        self.link = Link(lambda: self.dsn)
        self.open: dict[str, set[str]] = {account: set() for account in ACCOUNTS}
        """As the ledger in the database has it."""
        self.ended: set[str] = set()
        self.holder: dict[str, str] = {}
        self.configured = set(ACCOUNTS)
        self.most = dict.fromkeys(ACCOUNTS, 3)
        self.tokens = dict.fromkeys(ACCOUNTS, "cfc_first")
        self.streams: list[Streams] = []
        with self.link.transaction() as cursor:
            migrate(cursor, "the test")
            know(cursor, ACCOUNTS)

    def account(self, name: str) -> Account:
        return Account.model_validate(
            {
                "name": name,
                "token": self.tokens[name],
                "base_url": SERVICE,
                "listing": {},
                "max_streams": self.most[name],
            }
        )

    def capacity(self, name: str) -> StreamCapacity:
        return StreamCapacity(self.most[name], Limit())

    def later(self, seconds: float) -> None:
        self.clocks.pass_(seconds)
        with self.link.transaction() as cursor:
            for table, stamp in (("replica", "seen"), ("account", "until"), ("told", "at")):
                cursor.execute(
                    f"UPDATE comfycontrol_{table} "
                    f"SET {stamp} = {stamp} - make_interval(secs => %s)",
                    (seconds,),
                )


class Streams:
    """Stands for `BorrowedAccount`: opens what is to be streamed when it is told to."""

    def __init__(self, world: World, egress: str, config: Account, most: int) -> None:
        self.world, self.egress, self.config, self.most = world, egress, config, most
        self.workflows = BorrowedWorkflows(config.name, world.clocks)
        self.open: set[str] = set()
        self.has_ended = False
        world.streams.append(self)

    def arrange(self) -> None:
        wanted = self.workflows.open_workflows(self.config.name)
        self.open = {workflow.workflow_id for workflow in wanted[: self.most]}
        for workflow_id in self.open & self.world.ended:
            self.workflows.observe(told(self.world, self.config.name, workflow_id))

    def can_become(self, config: Account) -> bool:
        return config.base_url == self.config.base_url

    def change(self, config: Account, capacity: StreamCapacity) -> None:
        self.config, self.most = config, capacity.most

    def start(self) -> None:
        pass

    def stop(self) -> None:
        self.has_ended, self.open = True, set()
        self.world.streams.remove(self)

    def join(self, _: float) -> bool:
        return True

    def streaming(self) -> set[str]:
        return self.open

    def lend(self, workflows: Mapping[str, Any]) -> None:
        epoch = max((borrowed.epoch for borrowed in workflows.values()), default=0)
        self.workflows.lend(workflows, epoch)
        self.open &= workflows.keys()


def told(world: World, account: str, workflow_id: str) -> Observation:
    return Observation(account, workflow_id, "stream", world.clocks(), "completed")


class Held:
    """Stands for `FollowedAccount`: streams what its address has room for."""

    def __init__(self, replica: "Replica", name: str) -> None:
        self.replica, self.name = replica, name
        self.lent: Mapping[str, Any] = {}
        self.over: set[str] = set()
        """What it has counted, and not kept yet."""

    def check_streams(self) -> None:
        pass

    def still_open(self) -> set[str]:
        return self.replica.world.open[self.name] - self.over

    def own(self) -> list[str]:
        world, replica = self.replica.world, self.replica
        room = max(0, ROOM - replica.busy) // len(replica.accounts)
        here = sorted(self.still_open() - self.lent.keys())
        return here[: min(room, world.most[self.name])]

    @property
    def without_stream(self) -> list[Open]:
        beyond = self.still_open() - self.lent.keys() - set(self.own())
        return [Open(workflow_id, self.name) for workflow_id in sorted(beyond)]


class Replica:
    """One process in one life. What `App` tells `Lending`, and what `replica.Replica` does."""

    def __init__(self, world: World, egress: str) -> None:
        self.world, self.egress = world, egress
        self.name = f"replica {next(world.names)}"
        self.link = BreakingLink(lambda: world.dsn)
        self.exchange = PostgresExchange(self.link, self.name, egress, world.clocks)
        parts: Any = self
        self.lending = Lending(self.exchange, parts, lambda: dict(self.leases), world.clocks)
        self.leases: dict[str, Lease] = {}
        self.accounts: dict[str, Held] = {}
        self.busy = 0
        """Streams that it needs for something else."""
        self.heard_at = world.clocks.monotonic

    # What lending asks ------------------------------------------------------------------------

    def held(self) -> dict[str, tuple[Any, Account, StreamCapacity]]:
        world = self.world
        return {
            name: (held, world.account(name), world.capacity(name))
            for name, held in self.accounts.items()
        }

    def rooms(self) -> list[Room]:
        own = sum(len(held.own()) for held in self.accounts.values())
        return [Room(self.world.account("studio").address, ROOM, own + self.busy)]

    def terms(self, account: str) -> tuple[Account, StreamCapacity] | None:
        if account not in self.world.configured:
            return None
        return self.world.account(account), self.world.capacity(account)

    def borrow(self, config: Account, capacity: StreamCapacity) -> Any:
        return Streams(self.world, self.egress, config, capacity.most)

    def open_ids(self, account: str) -> frozenset[str]:
        return frozenset(self.accounts[account].still_open())

    def observe(self, seen: Observation) -> None:
        assert self.world.holder[seen.account] == self.name, "somebody else counts"
        self.accounts[seen.account].over.add(seen.workflow_id)

    # What happens to it -----------------------------------------------------------------------

    def step(self) -> None:
        """A round of its leases, and a turn."""
        monotonic = self.world.clocks.monotonic
        with suppress(StoreError):
            self._renew()
        self.lending.run_round()
        if not self.link.is_cut:
            self.heard_at = monotonic
        elif monotonic - self.heard_at >= BORROWED_SECONDS:
            assert not self.lending.streams(), "it streams what others stream by now"

    def _renew(self) -> None:
        with self.link.transaction() as cursor:
            cursor.execute(
                "INSERT INTO comfycontrol_replica AS r (replica, seen) VALUES (%s, "
                "clock_timestamp()) ON CONFLICT (replica) DO UPDATE SET seen = clock_timestamp()",
                (self.name,),
            )
            found = {
                account: take(cursor, account, self.name, known=self.leases.get(account))
                for account in sorted(self.world.configured)
            }
            gone = self.leases.keys() - self.world.configured
            give_back(cursor, gone, self.name)
        for account in gone:
            self.lose(account)
        for account, lease in found.items():
            if lease is None:
                self.lose(account)
            elif lease != self.leases.get(account):
                self.leases[account] = lease
                self.accounts[account] = Held(self, account)
                self.world.holder[account] = self.name

    def lose(self, account: str) -> None:
        self.leases.pop(account, None)
        self.accounts.pop(account, None)
        if self.world.holder.get(account) == self.name:
            del self.world.holder[account]

    def keep(self) -> None:
        """Commit what it has counted, if it holds the account still."""
        for account, held in self.accounts.items():
            if self.world.holder.get(account) == self.name and not self.link.is_cut:
                self.world.open[account] -= held.over
                held.over.clear()

    def stream(self) -> None:
        """Its streams open, and those that tell an end tell it."""
        for streams in self.mine():
            streams.arrange()
        for account, held in self.accounts.items():
            if self.world.holder.get(account) == self.name:
                held.over.update(set(held.own()) & self.world.ended)

    def mine(self) -> list[Streams]:
        borrowed: Collection[Any] = self.lending._borrowed.values()
        return list(borrowed)

    def die(self) -> None:
        for streams in self.mine():
            streams.stop()
        for account in list(self.accounts):
            self.lose(account)
        self.link.close()


class LendingMachine(RuleBasedStateMachine):
    """Four replicas on three addresses, and two accounts."""

    server: ClassVar[Server]

    def __init__(self) -> None:
        super().__init__()
        self.world = World(self.server)
        self.replicas = [Replica(self.world, egress) for egress in EGRESSES]
        self.has_broken = False
        for replica in self.replicas:
            replica.step()

    # What happens -----------------------------------------------------------------------------

    @rule(account=accounts, many=st.integers(1, 6))
    def arrive(self, account: str, many: int) -> None:
        self.world.open[account] |= {uuid(next(self.world.numbers)) for _ in range(many)}

    @rule(account=accounts, which=st.integers(0, 30))
    def end(self, account: str, which: int) -> None:
        running = sorted(self.world.open[account] - self.world.ended)
        if running:
            self.world.ended.add(running[which % len(running)])

    @rule(which=replicas)
    def step(self, which: int) -> None:
        self.replicas[which].step()

    @rule(which=replicas)
    def step_and_stream(self, which: int) -> None:
        self.replicas[which].step()
        self.replicas[which].stream()

    @rule(which=replicas)
    def keep(self, which: int) -> None:
        self.replicas[which].keep()

    @rule(seconds=st.sampled_from([1.0, LEASE_SECONDS / 2, LEASE_SECONDS + 1, UNHELD_SECONDS + 1]))
    def later(self, seconds: float) -> None:
        self.world.later(seconds)

    @rule(which=replicas, is_cut=st.booleans())
    def cut_or_mend(self, which: int, *, is_cut: bool) -> None:
        self.replicas[which].link.is_cut = is_cut

    @rule(which=replicas, way=st.sampled_from(["before", "after"]))
    def break_in_a_turn(self, which: int, way: str) -> None:
        replica = self.replicas[which]
        replica.link.breaks, self.has_broken = way, True
        replica.lending.run_round()
        replica.link.breaks = None

    @rule(which=replicas)
    def die(self, which: int) -> None:
        self.replicas[which].die()
        self.replicas[which] = Replica(self.world, EGRESSES[which])

    @rule(which=replicas)
    def leave(self, which: int) -> None:
        replica = self.replicas[which]
        if not replica.link.is_cut:
            replica.keep()
            with replica.link.transaction() as cursor:
                give_back(cursor, replica.leases, replica.name)
            replica.exchange.leave()
        self.die(which)

    @rule(which=replicas, account=accounts)
    def hand_on(self, which: int, account: str) -> None:
        replica = self.replicas[which]
        if account in replica.leases and not replica.link.is_cut:
            replica.keep()
            replica.lose(account)
            with replica.link.transaction() as cursor:
                give_back(cursor, [account], replica.name)

    @rule(which=replicas, streams=st.integers(0, ROOM))
    def need(self, which: int, streams: int) -> None:
        self.replicas[which].busy = streams

    @rule(account=accounts, most=st.integers(1, ROOM), token=st.sampled_from(["first", "second"]))
    def reload(self, account: str, most: int, token: str) -> None:
        self.world.most[account], self.world.tokens[account] = most, f"cfc_{token}"

    @rule(account=accounts, is_followed=st.booleans())
    def unfollow_or_follow(self, account: str, *, is_followed: bool) -> None:
        (self.world.configured.add if is_followed else self.world.configured.discard)(account)

    # What holds then --------------------------------------------------------------------------

    @rule()
    def it_settles(self) -> None:
        for replica in self.replicas:
            replica.link.is_cut = False
        # Leases of those that are gone, and what they had borrowed, are over.
        self._round()
        self.world.later(LEASE_SECONDS / 2)
        self._round()
        self.world.later(LEASE_SECONDS / 2 + 1)
        self._rounds()
        if self.has_broken:
            # What was taken in a turn that broke is asked for again.
            self.world.later(AGAIN_SECONDS / 2)
            self._round()
            self.world.later(AGAIN_SECONDS / 2 + 1)
            self._rounds()
            self.has_broken = False
        self._check()

    @rule(account=accounts)
    def an_account_that_is_unfollowed_gives_its_room_back(self, account: str) -> None:
        self.unfollow_or_follow(account, is_followed=True)
        self.arrive(account, 6)
        self.it_settles()
        self.unfollow_or_follow(account, is_followed=False)
        self.it_settles()
        self.world.later(UNHELD_SECONDS + 1)
        self._rounds()
        assert account not in {name for name, _ in self._assigned()}
        self._check()

    def _rounds(self) -> None:
        """Until nothing changes any more."""
        before: list[object] = []
        for _ in range(12):
            self._round()
            now = [self._assigned(), [sorted(s.open) for s in self.world.streams]]
            now.append({name: sorted(ids) for name, ids in self.world.open.items()})
            if now == before:
                return
            before = now
        raise AssertionError("it never settles")

    def _assigned(self) -> list[tuple[Any, ...]]:
        with self.world.link.transaction() as cursor:
            return cursor.execute(
                "SELECT name, replica FROM comfycontrol_assignment "
                "JOIN comfycontrol_account USING (account) ORDER BY account, workflow"
            ).fetchall()

    def _round(self) -> None:
        for replica in self.replicas:
            replica.step()
        for replica in self.replicas:
            replica.stream()
            replica.keep()

    def _check(self) -> None:
        world = self.world
        holders = {
            name: [replica for replica in self.replicas if name in replica.accounts]
            for name in ACCOUNTS
        }
        assert {name: len(who) for name, who in holders.items()} == {
            name: int(name in world.configured) for name in ACCOUNTS
        }
        used: Counter[str] = Counter()
        for replica in self.replicas:
            used[replica.egress] += replica.rooms()[0].own
            used[replica.egress] += sum(len(streams.open) for streams in replica.mine())
        for egress in used:
            own = sum(r.rooms()[0].own for r in self.replicas if r.egress == egress)
            assert used[egress] <= max(ROOM, own), "more than an address can hold"
        kept = self._kept_for_unfollowed()
        for name in world.configured:
            (holder,) = holders[name]
            self._check_account(name, holder, used, kept)
        for streams in world.streams:
            assert streams.config.name in world.configured
            assert streams.config == world.account(streams.config.name), "an old configuration"

    def _kept_for_unfollowed(self) -> Counter[str]:
        """By address, the room of accounts that nobody follows: it is kept for a while."""
        egresses = {replica.name: replica.egress for replica in self.replicas}
        return Counter(
            egresses[replica]
            for name, replica in self._assigned()
            if name not in self.world.configured and replica in egresses
        )

    def _check_account(
        self, name: str, holder: Replica, used: Mapping[str, int], kept: Mapping[str, int]
    ) -> None:
        world = self.world
        borrowed = [streams for streams in world.streams if streams.config.name == name]
        followed = Counter(holder.accounts[name].own())
        at: Counter[str] = Counter()
        for streams in borrowed:
            followed.update(streams.open)
            at[streams.egress] += len(streams.open)
        assert set(followed.values()) <= {1}, "streamed twice"
        assert followed.keys() <= world.open[name], "what is over is streamed on"
        assert not followed.keys() & world.ended, "an end that was told is not known"
        assert at[holder.egress] == 0, "lent behind the same address"
        assert max(at.values(), default=0) <= world.most[name], "more than the account may have"
        if world.open[name] - followed.keys():
            for egress in set(EGRESSES) - {holder.egress}:
                has_room = used[egress] + kept[egress] < ROOM and at[egress] < world.most[name]
                assert not has_room, "forgotten"

    def teardown(self) -> None:
        for replica in self.replicas:
            replica.die()
        self.world.link.close()


@pytest.mark.parametrize("account", ACCOUNTS)
def test_an_account_that_is_unfollowed_gives_its_room_back(postgres: Server, account: str) -> None:
    LendingMachine.server = postgres
    machine = LendingMachine()
    machine.arrive(account, 6)
    machine.it_settles()
    assert account in {name for name, _ in machine._assigned()}
    machine.an_account_that_is_unfollowed_gives_its_room_back(account)
    machine.teardown()


def test_the_room_of_an_account_that_is_unfollowed_is_kept_for_a_while(postgres: Server) -> None:
    LendingMachine.server = postgres
    machine = LendingMachine()
    machine.arrive("agency", 12)
    machine.it_settles()
    machine.arrive("studio", 20)
    machine.it_settles()
    machine.unfollow_or_follow("agency", is_followed=False)
    machine.it_settles()
    before = sum(name == "studio" for name, _ in machine._assigned())
    assert machine._kept_for_unfollowed()
    machine.world.later(UNHELD_SECONDS + 1)
    machine.it_settles()
    assert not machine._kept_for_unfollowed()
    assert sum(name == "studio" for name, _ in machine._assigned()) > before
    machine.teardown()


def busy(machine: LendingMachine) -> None:
    for which, replica in enumerate(machine.replicas):
        if not replica.accounts:
            machine.need(which, ROOM)
    machine.it_settles()


def silent(machine: LendingMachine) -> None:
    for which in borrowers(machine):
        machine.cut_or_mend(which, is_cut=True)
    machine.later(LEASE_SECONDS + 1)
    for which in borrowers(machine):
        machine.step(which)


def dead(machine: LendingMachine) -> None:
    for which in borrowers(machine):
        machine.die(which)
    machine.it_settles()


def unfollowed(machine: LendingMachine) -> None:
    machine.an_account_that_is_unfollowed_gives_its_room_back("studio")


def reloaded(machine: LendingMachine) -> None:
    machine.reload("studio", 1, "second")
    machine.it_settles()


def borrowers(machine: LendingMachine) -> list[int]:
    return [which for which, replica in enumerate(machine.replicas) if replica.mine()]


@pytest.mark.parametrize(
    ("what", "instead", "then", "missed"),
    [
        (f"{EXCHANGE}.recalled", lambda *_: set(), busy, "more than an address can hold"),
        (f"{EXCHANGE}._ALIVE", "SELECT replica FROM comfycontrol_replica", dead, "forgotten"),
        (f"{EXCHANGE}.UNHELD_SECONDS", 1e6, unfollowed, "studio"),
        (f"{LENDING}.BORROWED_SECONDS", 1e6, silent, "what others stream by now"),
        (f"{LENDING}.Lending._apply_reload", lambda _: None, reloaded, "old configuration"),
    ],
    ids=lambda value: value.rpartition(".")[2] if isinstance(value, str) else "",
)
def test_a_rule_that_is_left_out_is_missed(
    postgres: Server,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
    instead: object,
    then: Callable[[LendingMachine], None],
    missed: str,
) -> None:
    def go() -> None:
        machine = LendingMachine()
        machine.arrive("studio", 12)
        machine.it_settles()
        assert borrowers(machine)
        then(machine)

    LendingMachine.server = postgres
    go()
    monkeypatch.setattr(what, instead)
    with pytest.raises(AssertionError, match=missed):
        go()


@pytest.mark.timeout(600)
def test_lending(postgres: Server) -> None:
    LendingMachine.server = postgres
    run_state_machine_as_test(
        LendingMachine,
        settings=settings(
            max_examples=10,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )
