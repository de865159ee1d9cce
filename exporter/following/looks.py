"""When an account's list is looked at beyond what is new: open ones, and old ones. Pure.

A workflow that has settled and runs again shows nowhere near the top. While it runs, the list
filtered by its status shows it, wherever it stands. One that ran again between two such looks is
found by a sweep, which reads the whole list down to its horizon, page by page, for ever.

Both live from what the budget has to spare. Numbers are those of docs/performance.md.
"""

from typing import Final

SPARE_LOAD: Final = 0.5
"""Part (0 to 1) of the allowed requests below which the budget has room."""

SOME_LOAD: Final = 0.8
"""The same, below which it has a little."""

LEAST_LOOK_SECONDS: Final = 4.0
"""Between two looks at what is open, while there is room: one with each pass, at the default
interval of 5 s."""

SOME_LOOK_SECONDS: Final = 9.0
"""The same, while there is a little: one with each second pass."""

MOST_LOOK_SECONDS: Final = 30.0
"""The same, while there is none."""

SOME_SECONDS_A_PAGE: Final = 2.5
"""With little room, a look that takes many pages comes the more seldom: one page in so many
seconds."""

SECONDS_A_PAGE: Final = 10.0
"""The same, without room."""

SWEEP_SECONDS: Final = 4.0
"""Between two pages of the sweep, while there is room: one with each pass, at the default interval
of 5 s, or 72,000 workflows an hour."""

SOME_SWEEP_SECONDS: Final = 19.0
"""The same, while there is a little: one with each fourth pass, or 18,000 workflows an hour."""

BUSY_SWEEP_SECONDS: Final = 300.0
"""The same, while there is none: 1,200 workflows an hour."""

FILTER_AGAIN_SECONDS: Final = 3600.0
"""After so long, a filter that the service did not know is tried again."""


def look_is_due(since: float, load: float, pages: int, least: float = LEAST_LOOK_SECONDS) -> bool:
    """Whether to look at what is open.

    Args:
        since: seconds since the last whole look.
        load: part of the allowed requests in use.
        pages: how many that one took.
        least: seconds between two looks while there is room.
    """
    if load < SPARE_LOAD:
        return since >= least
    if load < SOME_LOAD:
        return since >= max(SOME_LOOK_SECONDS, SOME_SECONDS_A_PAGE * pages)
    return since >= max(MOST_LOOK_SECONDS, SECONDS_A_PAGE * pages)


def sweep_is_due(since: float, load: float, least: float = SWEEP_SECONDS) -> bool:
    """Whether the sweep reads its next page, so many seconds after the last one.

    Args:
        since: seconds since the last page.
        load: part of the allowed requests in use.
        least: seconds between two pages while there is room.
    """
    if load < SPARE_LOAD:
        return since >= least
    return since >= (SOME_SWEEP_SECONDS if load < SOME_LOAD else BUSY_SWEEP_SECONDS)
