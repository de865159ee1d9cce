"""When a new series may show its value: after it has been 0 for long enough.

`increase()` sees the first step of a counter only after a sample that is 0. A series whose labels
could not be known in advance appears with its first count already made. So it shows 0 for a while,
long enough for every server that scrapes at least once a minute, however many scrape. After that it
is old, and shows its value to everybody: a server that comes later must not take an hour of counts
for one step. Only time decides, so different servers need not be distinguished.
"""

from collections import deque
from typing import Final, Protocol

HOLD_SECONDS: Final = 65.0
"""Seconds for which a new series shows 0: a minute, the longest usual time between two scrapes, and
5 s for a late scrape."""

STANDSTILL_SECONDS: Final = 3.0
"""Seconds. While the process stood still for longer than this (a suspended machine, a paused
container), a scrape may have failed. A shorter pause only delays scrapes, and the hold allows for
that."""


class Hold:
    """Computes up to which number new series have shown 0 for long enough. Pure.

    Series are numbered as they appear (`exporter.ledger.new_series`), so the oldest have the lowest
    numbers. After a restart, series that were not announced show 0 for the full time again.

    Args:
        seconds: for how long a new series shows 0.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds: Final = seconds
        # Pairs of a number and the time since which all series up to it have been visible.
        self._visible: deque[tuple[int, float]] = deque()
        self._noted = 0
        self._over = 0

    def update(self, newest: int, monotonic: float, rested: float = 0.0) -> int:
        """Note that series up to `newest` are visible now; return up to which the hold is over.

        Call it often, because a series counts as visible from the first call on. `rested` is the
        time in seconds since the previous call. If it is long, the process stood still and could
        perhaps not be scraped, so the hold of all waiting series begins again.
        """
        if rested > STANDSTILL_SECONDS:
            self._visible.clear()
            self._noted = self._over
        if newest > self._noted:
            self._noted = newest
            self._visible.append((newest, monotonic))
        while self._visible and monotonic - self._visible[0][1] >= self._seconds:
            self._over, _ = self._visible.popleft()
        return self._over


class Series(Protocol):
    """What can have new series: the ledger, and the counters of the process."""

    def newest_series(self) -> int:
        """The highest number of a visible series that is not announced; 0: there is none."""

    def announce(self, series: int) -> None:
        """Let visible series up to this number show their value."""


class Announcements:
    """Announces new series: lets them show their value.

    Args:
        hold: for how many seconds a new series shows 0.
        counted: what can have new series.
    """

    def __init__(self, hold: float, *counted: Series) -> None:
        self._holds: Final = [(Hold(hold), series) for series in counted]

    def update(self, monotonic: float, rested: float) -> None:
        """Announce the series whose hold is over; see `Hold.update`."""
        for hold, series in self._holds:
            series.announce(hold.update(series.newest_series(), monotonic, rested))
