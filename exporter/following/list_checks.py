"""When to read an account's list beyond its newest rows, for open workflows and for old ones. Pure.

A settled workflow that runs again is not near the top of the list. While it runs, the list filtered
by its status shows it, at any place. A workflow that ran again between two such checks is found by
a sweep, which repeatedly reads the whole list down to the lookback, page by page.

Both use only spare requests of the budget. The costs are in docs/performance.md.
"""

from typing import Final

SPARE_LOAD: Final = 0.5
"""Part (0 to 1) of the allowed requests in use, below which the budget has room."""

SOME_LOAD: Final = 0.8
"""Part (0 to 1) of the allowed requests in use, below which the budget has a little room."""

LEAST_CHECK_SECONDS: Final = 4.0
"""Seconds between two checks of open workflows, while the budget has room: one with each pass, at
the default interval of 5 s."""

SOME_CHECK_SECONDS: Final = 9.0
"""The same, while there is little room: one with each second pass."""

MOST_CHECK_SECONDS: Final = 30.0
"""The same, while there is no room."""

SOME_SECONDS_A_PAGE: Final = 2.5
"""Seconds per page with little room: a check with many pages is done less often."""

SECONDS_A_PAGE: Final = 10.0
"""The same, without room."""

SWEEP_SECONDS: Final = 4.0
"""Seconds between two pages of the sweep, while there is room: one page with each pass, at the
default interval of 5 s, or 72,000 workflows an hour."""

SOME_SWEEP_SECONDS: Final = 19.0
"""The same, while there is little room: one page with each fourth pass, or 18,000 workflows an
hour."""

BUSY_SWEEP_SECONDS: Final = 300.0
"""The same, while there is no room: 1,200 workflows an hour."""

FILTER_AGAIN_SECONDS: Final = 3600.0
"""Seconds after which a filter that the service did not know is tried again."""


def check_is_due(since: float, load: float, pages: int, least: float = LEAST_CHECK_SECONDS) -> bool:
    """Whether to check open workflows now.

    Args:
        since: seconds since the last complete check.
        load: part of the allowed requests in use.
        pages: how many pages that check took.
        least: seconds between two checks while there is room.
    """
    if load < SPARE_LOAD:
        return since >= least
    if load < SOME_LOAD:
        return since >= max(SOME_CHECK_SECONDS, SOME_SECONDS_A_PAGE * pages)
    return since >= max(MOST_CHECK_SECONDS, SECONDS_A_PAGE * pages)


def sweep_is_due(since: float, load: float, least: float = SWEEP_SECONDS) -> bool:
    """Whether the sweep should read its next page now.

    Args:
        since: seconds since the last page.
        load: part of the allowed requests in use.
        least: seconds between two pages while there is room.
    """
    if load < SPARE_LOAD:
        return since >= least
    return since >= (SOME_SWEEP_SECONDS if load < SOME_LOAD else BUSY_SWEEP_SECONDS)
