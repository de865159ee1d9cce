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
"""How long a new series stands at 0: a minute, the longest time between two scrapes that is
usual, and 5 s for one that comes late."""

STANDSTILL_SECONDS: Final = 3.0
"""A pause of the process (a machine suspended, a container paused) of more than this may have
failed a scrape. A shorter one only delays it, by less than what the hold has to spare."""


class Hold:
    """Says up to which number series have been visible at 0 for the hold. Pure.

    Series are numbered as they appear (`exporter.ledger.new_series`), so those that have been
    visible for longest come first. A restart begins all over: what was not announced by then
    stands at 0 for a whole hold of the new process.

    Args:
        seconds: how long.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds: Final = seconds
        # A number, and the moment since when all series up to it have been visible.
        self._visible: deque[tuple[int, float]] = deque()
        self._noted = 0
        self._over = 0

    def update(self, newest: int, monotonic: float, rested: float = 0.0) -> int:
        """Series up to `newest` can be seen at this moment; up to which the hold is over.

        To be called often, as a series counts as visible from the first look on. `rested` is how
        many seconds the process has just let pass: more than a moment, and it stood still. It
        may have been out of reach, so all that wait begin to wait now.
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
    """What has new series: the ledger, and what the process counts of itself."""

    def newest_series(self) -> int:
        """The highest number of a visible series that is not announced; 0: there is none."""

    def announce(self, series: int) -> None:
        """Let visible series up to this number show their value."""


class Announcements:
    """Announces the new series of all who have any.

    Args:
        hold: for how many seconds each stands at 0.
        counted: those who have them.
    """

    def __init__(self, hold: float, *counted: Series) -> None:
        self._holds: Final = [(Hold(hold), series) for series in counted]

    def update(self, monotonic: float, rested: float) -> None:
        """Announce what is due at this moment; see `Hold.look`."""
        for hold, series in self._holds:
            series.announce(hold.update(series.newest_series(), monotonic, rested))
