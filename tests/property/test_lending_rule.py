"""However workflows are lent: no address gets more streams than it holds, none is left out."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.ledger.lending import LentStream, ReplicaRoom, free_at, lend, recalled

EGRESSES = ("nat-a", "nat-b", "nat-c")
NAMES = ("a", "b", "c", "d", "e")

rooms = st.lists(
    st.builds(
        ReplicaRoom,
        replica=st.sampled_from(NAMES),
        egress=st.sampled_from(EGRESSES),
        most=st.integers(0, 6),
        own=st.integers(0, 4),
    ),
    max_size=5,
    unique_by=lambda room: room.replica,
)
taken = st.dictionaries(st.sampled_from(NAMES), st.integers(0, 3))
most = st.dictionaries(st.sampled_from(EGRESSES), st.integers(0, 6))


@given(rooms, taken)
def test_an_address_has_the_room_of_its_most_cautious_replica_less_what_all_of_them_hold(
    there: list[ReplicaRoom], borrowed: dict[str, int]
) -> None:
    free = free_at(there, borrowed)
    assert free.keys() == {room.egress for room in there}
    for egress, left in free.items():
        behind = [room for room in there if room.egress == egress]
        held = sum(room.own + borrowed.get(room.replica, 0) for room in behind)
        assert left == min(room.most for room in behind) - held


@given(st.integers(0, 30), rooms, taken, most)
def test_as_many_are_lent_as_there_is_room_for_and_no_more(
    count: int, there: list[ReplicaRoom], borrowed: dict[str, int], allowed: dict[str, int]
) -> None:
    lent = lend(count, there, borrowed, allowed)
    egress = {room.replica: room.egress for room in there}
    at = Counter(egress[replica] for replica in lent)
    room = {
        name: max(0, min(free, allowed.get(name, 0)))
        for name, free in free_at(there, borrowed).items()
    }
    assert all(at[name] <= room[name] for name in at)
    assert len(lent) == min(count, sum(room.values()))


@given(st.integers(0, 10), rooms, taken, most)
def test_each_goes_to_the_emptiest_address_and_its_idlest_replica(
    count: int, there: list[ReplicaRoom], borrowed: dict[str, int], allowed: dict[str, int]
) -> None:
    lent = lend(count, there, borrowed, allowed)
    free = free_at(there, borrowed)
    left = {name: min(room, allowed.get(name, 0)) for name, room in free.items()}
    load = {room.replica: borrowed.get(room.replica, 0) + room.own for room in there}
    egress = {room.replica: room.egress for room in there}
    for replica in lent:
        assert left[egress[replica]] == max(left.values())
        assert load[replica] == min(load[name] for name in load if egress[name] == egress[replica])
        left[egress[replica]] -= 1
        load[replica] += 1


@pytest.mark.parametrize(
    ("own", "borrowed", "lent"),
    [
        ({"a": 3, "b": 0}, {}, ["b", "b", "b", "a", "b"]),
        ({"a": 0, "b": 0}, {"a": 1}, ["b", "a", "b", "a", "b"]),
        ({"a": 1, "b": 0}, {"b": 2}, ["a", "a", "b", "a", "b"]),
        ({"a": 2, "b": 1}, {"a": 0, "b": 2}, ["a", "a", "b", "a", "b"]),
    ],
)
def test_of_two_replicas_at_one_address_the_one_that_has_less_to_do_is_lent_to(
    own: dict[str, int], borrowed: dict[str, int], lent: list[str]
) -> None:
    there = [ReplicaRoom(name, "nat-a", 20, held) for name, held in own.items()]
    assert lend(len(lent), there, borrowed, {"nat-a": 20}) == lent


def test_every_holder_lends_alike_where_two_are_equally_empty() -> None:
    there = [
        ReplicaRoom("b", "nat-a", 3, 0),
        ReplicaRoom("a", "nat-a", 3, 0),
        ReplicaRoom("c", "nat-b", 3, 0),
    ]
    for order in (there, there[::-1]):
        assert lend(4, order, {}, {"nat-a": 3, "nat-b": 3}) == ["c", "a", "c", "b"]


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=3),
        st.builds(LentStream, replica=st.sampled_from(NAMES), is_open=st.booleans()),
        max_size=12,
    ),
    st.dictionaries(st.sampled_from(NAMES), st.sampled_from(EGRESSES)),
    st.dictionaries(st.sampled_from((*EGRESSES, "")), st.integers(-5, 5)),
)
def test_what_is_taken_back_is_what_an_address_has_too_many_of_and_first_what_is_not_open(
    given_: dict[str, LentStream], egresses: dict[str, str], free: dict[str, int]
) -> None:
    back = recalled(given_.items(), egresses, free)
    for egress in (*EGRESSES, ""):
        there = {
            one: lent for one, lent in given_.items() if egresses.get(lent.replica, "") == egress
        }
        taken_back = back & there.keys()
        assert len(taken_back) == min(len(there), max(0, -free.get(egress, 0)))
        if any(there[one].is_open for one in taken_back):
            assert all(there[one].is_open for one in there.keys() - taken_back)
    # Each holder of the account takes back the same ones.
    assert recalled(reversed(list(given_.items())), egresses, free) == back
