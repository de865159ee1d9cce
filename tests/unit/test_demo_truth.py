"""What the demo says of its counts."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.commands.demo_truth import compare, line

OUTCOMES = st.dictionaries(
    st.tuples(st.sampled_from("ab"), st.sampled_from(["completed", "failed"])), st.integers(0, 9)
)


@pytest.mark.parametrize(
    ("counted", "ended", "says", "style"),
    [
        ({}, {}, "counted 0 of 0 that ended, none twice", "green"),
        (
            {("a", "completed"): 30, ("a", "failed"): 7},
            {("a", "completed"): 30, ("a", "failed"): 7},
            "counted 37 of 37 that ended, none twice",
            "green",
        ),
        (
            {("a", "completed"): 1_000, ("b", "completed"): 0},
            {("a", "completed"): 1_001, ("b", "completed"): 2},
            "counted 1,000 of 1,003 that ended, none twice; 3 on the way",
            "yellow",
        ),
        (
            {("a", "completed"): 2},
            {("a", "completed"): 1},
            "counted 2 of 1 that ended, 1 too often",
            "red bold",
        ),
        # The sums agree, and yet one was counted as what it was not.
        (
            {("a", "completed"): 2},
            {("a", "completed"): 1, ("a", "failed"): 1},
            "counted 2 of 2 that ended, 1 too often; 1 on the way",
            "red bold",
        ),
        (
            {("a", "completed"): 1},
            {("b", "completed"): 1},
            "counted 1 of 1 that ended, 1 too often; 1 on the way",
            "red bold",
        ),
    ],
)
def test_the_line(
    counted: Mapping[tuple[str, str], int],
    ended: Mapping[tuple[str, str], int],
    says: str,
    style: str,
) -> None:
    shown = line(compare(counted, ended))
    assert (shown.plain, shown.style) == (says, style)


@given(OUTCOMES, OUTCOMES)
def test_what_is_apart_adds_up(
    counted: Mapping[tuple[str, str], int], ended: Mapping[tuple[str, str], int]
) -> None:
    found = compare(counted, ended)
    assert found.counted - found.too_often == found.ended - found.on_their_way
    is_same = all(counted.get(key, 0) == ended.get(key, 0) for key in dict(counted) | dict(ended))
    assert (found.on_their_way == found.too_often == 0) is is_same


def test_before_there_is_anything_to_compare() -> None:
    assert "list is being read" in line(None).plain
