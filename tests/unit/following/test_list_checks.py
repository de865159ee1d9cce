"""How often an account's list is looked at beyond what is new."""

import pytest

from exporter.following.list_checks import (
    BUSY_SWEEP_SECONDS,
    LEAST_CHECK_SECONDS,
    MOST_CHECK_SECONDS,
    SOME_CHECK_SECONDS,
    SOME_SWEEP_SECONDS,
    SWEEP_SECONDS,
    check_is_due,
    sweep_is_due,
)


@pytest.mark.parametrize(
    ("since", "load", "pages", "due"),
    [
        (5.0, 0.0, 2, True),
        (5.0, 0.49, 40, True),  # while there is room, as many as it takes
        (LEAST_CHECK_SECONDS - 0.1, 0.0, 2, False),
        (SOME_CHECK_SECONDS - 1, 0.5, 2, False),
        (SOME_CHECK_SECONDS, 0.5, 2, True),
        (19.0, 0.79, 8, False),  # four pages in ten seconds, while there is a little
        (20.0, 0.79, 8, True),
        (29.0, 0.8, 2, False),
        (MOST_CHECK_SECONDS, 0.8, 2, True),
        (MOST_CHECK_SECONDS, 1.0, 3, True),
        (MOST_CHECK_SECONDS, 1.0, 4, False),  # a page in ten seconds, at the most
        (40.0, 1.0, 4, True),
    ],
)
def test_open_ones_are_looked_at_with_each_pass_while_there_is_room(
    since: float, load: float, pages: int, due: bool
) -> None:
    assert check_is_due(since, load, pages) is due


@pytest.mark.parametrize(
    ("since", "load", "due"),
    [
        (SWEEP_SECONDS, 0.0, True),
        (SWEEP_SECONDS - 1, 0.0, False),
        (SWEEP_SECONDS, 0.5, False),
        (SOME_SWEEP_SECONDS, 0.5, True),
        (SOME_SWEEP_SECONDS, 0.8, False),
        (BUSY_SWEEP_SECONDS, 1.0, True),
    ],
)
def test_the_sweep_goes_on_slowly_and_never_stands_still(
    since: float, load: float, due: bool
) -> None:
    assert sweep_is_due(since, load) is due
