"""Streams that all accounts share: none lies idle, none is refused its part, none is too many."""

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from exporter.following.stream_pool import StreamPool, shared_out

NAMES = "abcd"
WANTED = st.dictionaries(st.sampled_from(NAMES), st.integers(0, 30), max_size=4)


def even_part(total: int, wanted: Mapping[str, int]) -> int:
    return max(1, total // max(1, len(wanted)))


@given(st.integers(1, 60), WANTED)
def test_each_gets_its_part_and_what_others_leave(total: int, wanted: dict[str, int]) -> None:
    found = shared_out(total, wanted)
    assert found.keys() == wanted.keys()
    for name, got in found.items():
        assert min(wanted[name], even_part(total, wanted)) <= got <= wanted[name]
    given_out = sum(found.values())
    most = min(total, sum(wanted.values()))
    # One each is more than there are, where they are very few.
    assert most <= given_out <= max(most, sum(1 for want in wanted.values() if want))
    # Nobody that is still in want has fewer than another, but for what cannot be divided.
    poorest = min((got for name, got in found.items() if got < wanted[name]), default=total)
    assert max(found.values(), default=0) <= poorest + len(wanted)


@given(
    st.integers(4, 40),
    st.lists(st.tuples(st.sampled_from(NAMES), st.integers(0, 40)), min_size=1, max_size=40),
)
def test_together_they_never_hold_more_than_there_are(
    total: int, steps: list[tuple[str, int]]
) -> None:
    pool = StreamPool(total)
    held = dict.fromkeys(NAMES, 0)
    wanted = dict.fromkeys(NAMES, 0)
    for name, want in steps:
        wanted[name] = want
        room = pool.room(name, wanted=want, held=held[name])
        # It opens what it may, or ends at once what it may not have any more.
        held[name] = min(want, room)
        assert sum(held.values()) <= total + len(NAMES)
    for _ in range(3):
        for name in NAMES:
            room = pool.room(name, wanted=wanted[name], held=held[name])
            held[name] = min(wanted[name], room)
    assert held == shared_out(total, wanted)


def test_what_one_held_that_has_ended_is_for_the_others() -> None:
    pool = StreamPool(10)
    assert pool.room("a", wanted=30, held=0) == 10
    assert pool.room("b", wanted=30, held=0) == 1
    pool.leave("a")
    assert pool.room("b", wanted=30, held=1) == 10


def test_without_a_limit_all_have_what_they_want() -> None:
    assert StreamPool(None).room("a", wanted=3000, held=0) == 3000
