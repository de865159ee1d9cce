"""Series whose labels could not be known in advance: numbered as they appear, until announced.

A new series shows 0 until it is announced (`exporter.metrics.announcements` says when). Numbers
only rise, so one number says which series are announced: all up to it.
"""

from collections.abc import Collection
from typing import Protocol

SeriesKey = tuple[str, tuple[str, ...]]
"""The metric, and its label values, the account first."""


class Numbered(Protocol):
    """A series that can be told from newer ones."""

    appeared: int
    """When it appeared, as a number that rises with each; 0: its labels were always known."""


class NewSeries:
    """Those that are not announced yet. Not safe to share between threads.

    Series of an account that is not followed are not shown, so nobody can see them at 0. While
    that is so they are not announced: they keep a number above all that are.

    Args:
        last: the highest number that was ever given.
    """

    def __init__(self, last: int = 0) -> None:
        self._last = last
        self._waiting: dict[SeriesKey, Numbered] = {}

    def appear(self, key: SeriesKey, series: Numbered) -> None:
        """A series is new, or is shown again after it was not."""
        self._last += 1
        series.appeared = self._last
        self._waiting[key] = series

    def restore(self, key: SeriesKey, series: Numbered) -> None:
        """A series was numbered in an earlier life of the process, and not announced."""
        self._waiting[key] = series
        self._last = max(self._last, series.appeared)

    def newest(self, shown: Collection[str]) -> int:
        """The highest number among the series of the accounts that are shown; 0: none waits."""
        waiting = (s.appeared for key, s in self._waiting.items() if key[1][0] in shown)
        return max(waiting, default=0)

    def announce(self, up_to: int, shown: Collection[str]) -> set[SeriesKey] | None:
        """Series up to this number need wait no more.

        Returns:
            Those of accounts that are not shown, which have a higher number now; None where none
            waits at all, and there is nothing to announce.
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
        """An account is shown from now on: its series that wait, which begin to wait now."""
        again = {key: s for key, s in self._waiting.items() if key[1][0] == account}
        for key, series in again.items():
            self.appear(key, series)
        return set(again)

    def forget(self, account: str) -> None:
        """The series of an account are no more."""
        self._waiting = {k: s for k, s in self._waiting.items() if k[1][0] != account}
