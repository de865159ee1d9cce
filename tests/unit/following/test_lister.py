"""When the next pass over the list begins."""

import pytest

from exporter.following.lister import left_of_interval


@pytest.mark.parametrize(
    ("took", "wait"),
    [
        (0.0, 5.0),
        (1.5, 3.5),
        (5.0, 0.0),
        (6.0, 4.0),  # the rest of the second interval is for causes
        (10.0, 0.0),
        (27.0, 0.0),
    ],
)
def test_a_pass_begins_an_interval_after_the_one_before_or_two(took: float, wait: float) -> None:
    assert left_of_interval(took, 5.0) == wait
