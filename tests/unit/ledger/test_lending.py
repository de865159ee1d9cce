"""Which workflows have their stream at which replica."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from exporter.interfaces.observations import Moment, Source, Status
from exporter.ledger.lending import (
    Contribution,
    LentStream,
    Received,
    ReplicaRoom,
    Room,
    WantedStreams,
    free_at,
    lend,
    recalled,
)
from exporter.ledger.postgres.exchange import PostgresExchange
from exporter.ledger.postgres.leases import know, take
from exporter.ledger.postgres.link import Link
from exporter.ledger.postgres.schema import migrate
from exporter.ledger.shared import Lease
from tests.postgres import Server
from tests.unit.ledger.ledgers import Clocks, uuid

B = ReplicaRoom("b", "nat-b", most=10, own=4)
B2 = ReplicaRoom("b2", "nat-b", most=10, own=0)
ANY = {"nat-b": 500, "nat-c": 500}
C = ReplicaRoom("c", "nat-c", most=3, own=0)


class TestTheRule:
    def test_replicas_behind_one_address_have_one_room(self) -> None:
        assert free_at([B, B2, C], {"b2": 5}) == {"nat-b": 1, "nat-c": 3}

    def test_the_emptiest_address_comes_first_and_its_idlest_replica(self) -> None:
        assert lend(4, [B, B2, C], {}, ANY) == ["b2", "b2", "b2", "c"]

    def test_no_more_is_lent_than_there_is_room_for(self) -> None:
        assert len(lend(100, [B, B2, C], {"b": 1}, ANY)) == 5 + 3

    def test_an_account_has_no_more_at_an_address_than_it_may(self) -> None:
        assert sorted(lend(100, [B, C], {}, {"nat-b": 2, "nat-c": 1})) == ["b", "b", "c"]

    def test_nothing_is_lent_where_nobody_is(self) -> None:
        assert lend(5, [], {}, {}) == []

    def test_what_is_too_much_is_taken_back_and_first_what_is_not_open(self) -> None:
        given = {
            "1": LentStream("b", True),
            "2": LentStream("b", False),
            "3": LentStream("c", False),
        }
        egresses = {"b": "nat-b", "c": "nat-c"}
        assert recalled(given.items(), egresses, {"nat-b": -1, "nat-c": 0}) == {"2"}
        assert recalled(given.items(), egresses, {"nat-b": -2, "nat-c": 2}) == {"1", "2"}


NOW = Moment(1000.0, 1000.0)


@dataclass(frozen=True, slots=True)
class Open:
    """A workflow that wants a stream."""

    workflow_id: str
    account: str = "studio"
    source: Source = "listing"
    status: Status | None = Status.RUNNING
    created_at: float | None = 1000.0
    first_seen: Moment = NOW
    last_seen: Moment | None = None


WORKFLOWS = [Open(uuid(number)) for number in range(5)]


class Replicas:
    """Some replicas at one database, each with its part in lending."""

    def __init__(self, server: Server) -> None:
        self._dsn = server.fresh()
        self.link = Link(lambda: self._dsn)
        with self.link.transaction() as cursor:
            migrate(cursor, "the test")
            know(cursor, ["studio"])
        self.parts: dict[str, PostgresExchange] = {}

    def add(self, name: str, egress: str) -> PostgresExchange:
        part = PostgresExchange(Link(lambda: self._dsn), name, egress, Clocks())
        self.parts[name] = part
        self.seen(name)
        return part

    def seen(self, name: str, ago: float = 0.0) -> None:
        with self.link.transaction() as cursor:
            cursor.execute(
                "INSERT INTO comfycontrol_replica (replica, seen) VALUES "
                "(%(name)s, clock_timestamp() - make_interval(secs => %(ago)s)) "
                "ON CONFLICT (replica) DO UPDATE SET seen = excluded.seen",
                {"name": name, "ago": ago},
            )

    def hold(self, name: str) -> Lease:
        with self.link.transaction() as cursor:
            cursor.execute("UPDATE comfycontrol_account SET until = '-infinity'")
            lease = take(cursor, "studio", name)
        assert lease is not None
        return lease

    def close(self) -> None:
        for part in self.parts.values():
            part.leave()
        self.link.close()


@pytest.fixture
def replicas(postgres: Server) -> Iterator[Replicas]:
    made = Replicas(postgres)
    yield made
    made.close()


ROOM = Contribution(rooms=[Room("service", most=3, own=1)])


def wanting(
    lease: Lease, over: frozenset[str] = frozenset(), at_once: int = 30, most: int = 500
) -> Contribution:
    return Contribution(
        rooms=[Room("service", most=5, own=5)],
        wanted=[
            WantedStreams(lease, "service", most, at_once, WORKFLOWS, lambda one: one not in over)
        ],
    )


def ids(turn: Received) -> set[str]:
    return set(turn.borrowed.get("studio", {}))


class TestInTheDatabase:
    def test_what_an_address_has_no_room_for_is_streamed_at_another(
        self, replicas: Replicas
    ) -> None:
        a, b = replicas.add("a", "nat-a"), replicas.add("b", "nat-b")
        b.exchange(ROOM)
        lent = a.exchange(wanting(replicas.hold("a"))).lent["studio"]
        # The most deserving first.
        assert lent == {uuid(0): LentStream("b", False), uuid(1): LentStream("b", False)}
        turn = b.exchange(ROOM)
        assert ids(turn) == {uuid(0), uuid(1)}
        assert turn.borrowed["studio"][uuid(0)].status is Status.RUNNING

    def test_no_more_wait_at_an_address_than_it_opens_in_a_period(self, replicas: Replicas) -> None:
        a, b = replicas.add("a", "nat-a"), replicas.add("b", "nat-b")
        b.exchange(ROOM)
        lease = replicas.hold("a")
        assert set(a.exchange(wanting(lease, at_once=1)).lent["studio"]) == {uuid(0)}
        assert set(a.exchange(wanting(lease, at_once=1)).lent["studio"]) == {uuid(0)}
        b.exchange(replace(ROOM, open=frozenset({("studio", uuid(0))})))
        assert len(a.exchange(wanting(lease, at_once=1)).lent["studio"]) == 2

    def test_a_replica_behind_the_same_address_is_lent_nothing(self, replicas: Replicas) -> None:
        a, b = replicas.add("a", "nat-a"), replicas.add("b", "nat-a")
        b.exchange(ROOM)
        assert a.exchange(wanting(replicas.hold("a"))).lent == {"studio": {}}

    def test_the_holder_knows_which_streams_are_open(self, replicas: Replicas) -> None:
        a, b = replicas.add("a", "nat-a"), replicas.add("b", "nat-b")
        b.exchange(ROOM)
        lease = replicas.hold("a")
        a.exchange(wanting(lease))
        b.exchange(replace(ROOM, open=frozenset({("studio", uuid(1))})))
        lent = a.exchange(wanting(lease)).lent["studio"]
        assert lent == {uuid(0): LentStream("b", False), uuid(1): LentStream("b", True)}

    def test_what_was_told_comes_to_the_holder_once_and_in_order(self, replicas: Replicas) -> None:
        a, b = replicas.add("a", "nat-a"), replicas.add("b", "nat-b")
        b.exchange(replace(ROOM, handed_back=[("studio", "first"), ("studio", "second")]))
        lease = replicas.hold("a")
        told = a.exchange(wanting(lease)).handed_back
        assert [(one.account, one.said) for one in told] == [
            ("studio", "first"), ("studio", "second"),
        ]  # fmt: skip
        assert all(0 <= one.age < 60 for one in told)
        assert not a.exchange(wanting(lease)).handed_back

    def test_what_is_over_is_streamed_no_more(self, replicas: Replicas) -> None:
        a, b = replicas.add("a", "nat-a"), replicas.add("b", "nat-b")
        b.exchange(ROOM)
        lease = replicas.hold("a")
        a.exchange(wanting(lease))
        a.exchange(wanting(lease, over=frozenset({uuid(0)})))
        assert uuid(0) not in ids(b.exchange(ROOM))

    def test_a_replica_that_died_gives_back_what_it_had(self, replicas: Replicas) -> None:
        a, b = replicas.add("a", "nat-a"), replicas.add("b", "nat-b")
        c = replicas.add("c", "nat-c")
        b.exchange(ROOM)
        lease = replicas.hold("a")
        assert len(a.exchange(wanting(lease)).lent["studio"]) == 2
        replicas.seen("b", ago=60)
        c.exchange(ROOM)
        assert uuid(0) not in a.exchange(wanting(lease)).lent["studio"]
        a.exchange(wanting(lease))
        assert len(ids(c.exchange(ROOM))) == 2
        assert not ids(b.exchange(ROOM))

    def test_another_holder_goes_on_with_what_is_lent(self, replicas: Replicas) -> None:
        a, b = replicas.add("a", "nat-a"), replicas.add("b", "nat-b")
        c = replicas.add("c", "nat-a")
        b.exchange(ROOM)
        first = replicas.hold("a")
        a.exchange(wanting(first))
        second = replicas.hold("c")
        # The one before changes nothing any more.
        assert a.exchange(wanting(first, over=frozenset({uuid(0)}))).lent == {}
        assert set(c.exchange(wanting(second)).lent["studio"]) == {uuid(0), uuid(1)}
        borrowed = b.exchange(ROOM).borrowed["studio"]
        assert {one.epoch for one in borrowed.values()} == {second.epoch}

    def test_a_borrower_that_comes_to_hold_the_account_borrows_it_no_more(
        self, replicas: Replicas
    ) -> None:
        a, b = replicas.add("a", "nat-a"), replicas.add("b", "nat-b")
        b.exchange(ROOM)
        a.exchange(wanting(replicas.hold("a")))
        turn = b.exchange(wanting(replicas.hold("b")))
        assert not ids(turn)

    def test_its_own_accounts_come_before_those_of_others(self, replicas: Replicas) -> None:
        a, b = replicas.add("a", "nat-a"), replicas.add("b", "nat-b")
        b.exchange(ROOM)
        lease = replicas.hold("a")
        a.exchange(wanting(lease))
        b.exchange(Contribution(rooms=[Room("service", most=3, own=3)]))
        assert a.exchange(wanting(lease)).lent["studio"] == {}

    def test_an_account_that_may_have_fewer_takes_the_rest_back(self, replicas: Replicas) -> None:
        """As after a reload with another `max_streams`; those that are not open go first."""
        a, b = replicas.add("a", "nat-a"), replicas.add("b", "nat-b")
        b.exchange(ROOM)
        lease = replicas.hold("a")
        a.exchange(wanting(lease))
        b.exchange(replace(ROOM, open=frozenset({("studio", uuid(1))})))
        assert set(a.exchange(wanting(lease, most=1)).lent["studio"]) == {uuid(1)}
        assert ids(b.exchange(ROOM)) == {uuid(1)}

    def test_one_that_leaves_gives_back_what_it_had(self, replicas: Replicas) -> None:
        a, b = replicas.add("a", "nat-a"), replicas.add("b", "nat-b")
        b.exchange(ROOM)
        lease = replicas.hold("a")
        a.exchange(wanting(lease))
        b.leave()
        assert a.exchange(wanting(lease)).lent["studio"] == {}
