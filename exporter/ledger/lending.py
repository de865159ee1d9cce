"""Which replica has the stream of which workflow, if one address cannot hold them all. Pure.

The holder of an account first opens streams at its own address. The rest it lends to replicas at
other addresses: they hold the streams and hand back the observations, and the holder counts them.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from exporter.interfaces.observations import Moment, OpenWorkflow, Source, Status
from exporter.ledger.shared import Lease


@dataclass(frozen=True, slots=True)
class Room:
    """How many streams a replica can hold at one service address."""

    service: str
    most: int
    """What the share of its egress address can keep reopening."""
    own: int
    """Of these, what the accounts need that it holds itself."""


@dataclass(frozen=True, slots=True)
class RoomOf:
    """The room of one replica that is alive."""

    replica: str
    egress: str
    most: int
    own: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the holder of an account would have others stream."""

    lease: Lease
    service: str
    most: int
    """Streams that the account may have at each egress address."""
    at_once: int
    """Streams that an egress address can open in a period: more would only wait there."""
    workflows: Sequence[OpenWorkflow]
    """Those without a stream, the most deserving first."""
    is_open: Callable[[str], bool]
    """Whether a workflow is not settled."""


@dataclass(frozen=True, slots=True)
class Lent:
    """A workflow whose stream another replica holds."""

    replica: str
    is_open: bool
    """Whether that stream is open now."""


@dataclass(frozen=True, slots=True)
class Borrowed:
    """A workflow of an account that another replica holds, to be streamed here."""

    account: str
    workflow_id: str
    source: Source
    status: Status | None
    created_at: float | None
    first_seen: Moment
    epoch: int
    """Of the holder that lent it."""

    @property
    def last_seen(self) -> Moment | None:
        """When the service last told anything of it: its holder lends only what was seen."""
        return self.first_seen


@dataclass(frozen=True, slots=True)
class Told:
    """What a replica hands back of what its streams told of an account."""

    account: str
    said: str
    age: float
    """Seconds since it was handed back, by the database's clock."""


@dataclass(frozen=True, slots=True)
class Mine:
    """What a replica brings to a turn."""

    rooms: Sequence[Room] = ()
    wanted: Sequence[Wanted] = ()
    told: Sequence[tuple[str, str]] = ()
    """By account, what is handed back to its holder."""
    open: frozenset[tuple[str, str]] = frozenset()
    """Account and id of borrowed workflows whose stream is open."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What a replica has after a turn."""

    lent: Mapping[str, Mapping[str, Lent]]
    borrowed: Mapping[str, Mapping[str, Borrowed]]
    told: Sequence[Told]


class Exchange(Protocol):
    """Where replicas lend workflows to each other."""

    def turn(self, mine: Mine) -> Turn:
        """Say what this replica has, and learn what the others have for it. Raises StoreError."""

    def leave(self) -> None:
        """Give all back that was borrowed."""


def free_at(rooms: Collection[RoomOf], taken: Mapping[str, int]) -> dict[str, int]:
    """How many more streams each egress address can hold; below zero: so many too many.

    Args:
        rooms: of all replicas that are alive, at one service address.
        taken: how many workflows each of these replicas has borrowed.
    """
    most: dict[str, int] = {}
    used: Counter[str] = Counter()
    for room in rooms:
        # They share one budget: what two of them have room for is the same room.
        most[room.egress] = min(most.get(room.egress, room.most), room.most)
        used[room.egress] += room.own + taken.get(room.replica, 0)
    return {egress: most[egress] - used[egress] for egress in most}


def lend(
    count: int,
    rooms: Collection[RoomOf],
    taken: Mapping[str, int],
    most: Mapping[str, int],
) -> list[str]:
    """The replicas of the first of so many workflows, in their order.

    Args:
        count: how many want a stream.
        rooms: of the replicas that may be lent to, at this service address.
        taken: how many workflows each has borrowed, of whichever account.
        most: how many more of this account each egress address may have.
    """
    free = free_at(rooms, taken)
    left = {egress: min(room, most.get(egress, 0)) for egress, room in free.items()}
    load = {room.replica: taken.get(room.replica, 0) + room.own for room in rooms}
    lent: list[str] = []
    while len(lent) < count:
        # The emptiest address, and on it the replica that has least to do.
        egress = max(left, key=lambda name: (left[name], name), default=None)
        if egress is None or left[egress] <= 0:
            break
        there = (room.replica for room in rooms if room.egress == egress)
        replica = min(there, key=lambda name: (load[name], name))
        left[egress] -= 1
        load[replica] += 1
        lent.append(replica)
    return lent


def recalled(
    given: Iterable[tuple[str, Lent]], egresses: Mapping[str, str], free: Mapping[str, int]
) -> set[str]:
    """Ids that are to be taken back, since their address has too many: those not open first."""
    too_many = {egress: -room for egress, room in free.items() if room < 0}
    back: set[str] = set()
    for workflow_id, lent in sorted(given, key=lambda one: (one[1].is_open, one[0])):
        egress = egresses.get(lent.replica, "")
        if too_many.get(egress, 0) > 0:
            too_many[egress] -= 1
            back.add(workflow_id)
    return back
