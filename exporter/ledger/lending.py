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
    """How many streams the budget share of its egress address can keep reopening."""
    own: int
    """How many of these the accounts need that the replica itself holds."""


@dataclass(frozen=True, slots=True)
class ReplicaRoom:
    """The room of one live replica."""

    replica: str
    egress: str
    most: int
    own: int


@dataclass(frozen=True, slots=True)
class WantedStreams:
    """What the holder of an account wants other replicas to stream."""

    lease: Lease
    service: str
    most: int
    """How many streams the account may have at each egress address."""
    at_once: int
    """How many streams an egress address can open in a period: more would only wait there."""
    workflows: Sequence[OpenWorkflow]
    """The workflows without a stream, highest priority first."""
    is_open: Callable[[str], bool]
    """Whether a workflow is not settled."""


@dataclass(frozen=True, slots=True)
class LentStream:
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
    """The epoch of the holder that lent it."""

    @property
    def last_seen(self) -> Moment | None:
        """When the service last reported it; the holder lends only workflows that were seen."""
        return self.first_seen


@dataclass(frozen=True, slots=True)
class HandedBack:
    """Observations of an account's workflows that a replica hands back."""

    account: str
    said: str
    age: float
    """Seconds since it was handed back, by the database's clock."""


@dataclass(frozen=True, slots=True)
class Contribution:
    """What a replica contributes to an exchange."""

    rooms: Sequence[Room] = ()
    wanted: Sequence[WantedStreams] = ()
    handed_back: Sequence[tuple[str, str]] = ()
    """Account and observations, to be handed back to the account's holder."""
    open: frozenset[tuple[str, str]] = frozenset()
    """Account and id of borrowed workflows whose stream is open."""


@dataclass(frozen=True, slots=True)
class Received:
    """What a replica receives in an exchange."""

    lent: Mapping[str, Mapping[str, LentStream]]
    borrowed: Mapping[str, Mapping[str, Borrowed]]
    handed_back: Sequence[HandedBack]


class Exchange(Protocol):
    """Where replicas lend workflows to each other."""

    def exchange(self, contribution: Contribution) -> Received:
        """Report what this replica has, and fetch what others have for it. Raises StoreError."""

    def leave(self) -> None:
        """Give back everything that was borrowed."""


def free_at(rooms: Collection[ReplicaRoom], taken: Mapping[str, int]) -> dict[str, int]:
    """How many more streams each egress address can hold; negative: it has too many.

    Args:
        rooms: the rooms of all live replicas, at one service address.
        taken: how many workflows each of these replicas has borrowed.
    """
    most: dict[str, int] = {}
    used: Counter[str] = Counter()
    for room in rooms:
        # Replicas at one address share one budget, so their rooms are the same room and are not
        # added.
        most[room.egress] = min(most.get(room.egress, room.most), room.most)
        used[room.egress] += room.own + taken.get(room.replica, 0)
    return {egress: most[egress] - used[egress] for egress in most}


def lend(
    count: int,
    rooms: Collection[ReplicaRoom],
    taken: Mapping[str, int],
    most: Mapping[str, int],
) -> list[str]:
    """Assign replicas to workflows in their order, as long as there is room.

    Args:
        count: how many workflows want a stream.
        rooms: the rooms of the replicas that may borrow, at this service address.
        taken: how many workflows each has borrowed, of all accounts.
        most: how many more of this account each egress address may have.
    """
    free = free_at(rooms, taken)
    left = {egress: min(room, most.get(egress, 0)) for egress, room in free.items()}
    load = {room.replica: taken.get(room.replica, 0) + room.own for room in rooms}
    lent: list[str] = []
    while len(lent) < count:
        # Choose the address with the most room, and there the replica with the least to do.
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
    given: Iterable[tuple[str, LentStream]], egresses: Mapping[str, str], free: Mapping[str, int]
) -> set[str]:
    """Ids to take back because their address has too many streams: those not open come first."""
    too_many = {egress: -room for egress, room in free.items()}
    back: set[str] = set()
    for workflow_id, lent in sorted(given, key=lambda one: (one[1].is_open, one[0])):
        egress = egresses.get(lent.replica, "")
        if too_many.get(egress, 0) > 0:
            too_many[egress] -= 1
            back.add(workflow_id)
    return back
