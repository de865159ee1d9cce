"""Series whose labels could not be known in advance: numbered as they appear, until announced.

A new series shows 0 until it is announced (`exporter.metrics.announcements` says when). Numbers
only rise, so one number says which series are announced: all up to it.
"""

from collections.abc import Collection
from typing import Protocol

SeriesKey = tuple[str, tuple[str, ...]]
"""The metric, and its label values, the account first."""


class Numbered(Protocol):
    """A series with a number that orders it among new series."""

    appeared: int
    """Its number among the new series, which rises with each; 0: its labels were known in
    advance."""


class NewSeries:
    """The series that are not announced yet. Not safe to share between threads.

    Series of an account that is not followed are not shown, so no scrape can see them at 0. Until
    they are shown they are not announced: their numbers stay above all announced ones.

    Args:
        last: the highest number that was ever assigned.
    """

    def __init__(self, last: int = 0) -> None:
        self._last = last
        self._waiting: dict[SeriesKey, Numbered] = {}

    def appear(self, key: SeriesKey, series: Numbered) -> None:
        """Give a number to a series that is new, or that is shown again."""
        self._last += 1
        series.appeared = self._last
        self._waiting[key] = series

    def restore(self, key: SeriesKey, series: Numbered) -> None:
        """Restore a series that an earlier process numbered and did not announce."""
        self._waiting[key] = series
        self._last = max(self._last, series.appeared)

    def newest(self, shown: Collection[str]) -> int:
        """The highest number among the series of shown accounts; 0: no series waits."""
        waiting = (s.appeared for key, s in self._waiting.items() if key[1][0] in shown)
        return max(waiting, default=0)

    def announce(self, up_to: int, shown: Collection[str]) -> set[SeriesKey] | None:
        """Announce the series up to this number.

        Returns:
            The series of accounts that are not shown, which now have higher numbers; None if no
                series
            waits, so there is nothing to announce.
        """
        due = [key for key, series in self._waiting.items() if series.appeared <= up_to]
        if not due:
            return None
        hidden = {key for key in due if key[1][0] not in shown}
        for key in due:
            series = self._waiting.pop(key)
            if key in hidden:
                self.appear(key, series)
        return hidden

    def appear_again(self, account: str) -> set[SeriesKey]:
        """Show an account from now on; return its waiting series, which begin to wait now."""
        again = {key: s for key, s in self._waiting.items() if key[1][0] == account}
        for key, series in again.items():
            self.appear(key, series)
        return set(again)

    def forget(self, account: str) -> None:
        """Remove the series of an account."""
        self._waiting = {k: s for k, s in self._waiting.items() if k[1][0] != account}
