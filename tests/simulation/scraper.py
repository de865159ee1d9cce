"""A model of Prometheus: it scrapes at its own pace and computes `increase()` as the real one."""

from __future__ import annotations

from functools import cache, lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection

Series = str
"""Name and labels as the page has them."""


def samples(page: str) -> dict[Series, float]:
    """What a page says."""
    found = {}
    for line in page.splitlines():
        if line and line[0] != "#":
            series, value = _sample(line)
            found[series] = value
    return found


@lru_cache(maxsize=10_000)  # most lines of a page are those of the page before
def _sample(line: str) -> tuple[Series, float]:
    series, _, value = line.rpartition(" ")
    return series, float(value)


@cache
def name_of(series: Series) -> str:
    return series.partition("{")[0]


@cache
def is_count(series: Series) -> bool:
    """Whether it is one that never steps back within a process."""
    return name_of(series).endswith(_COUNTS)


@cache
def family_of(name: str) -> str:
    for ending in ("_count", "_bucket", "_sum"):
        name = name.removesuffix(ending)
    return name


_COUNTS: Final = ("_total", "_count", "_bucket", "_sum")


class Scraper:
    """One server.

    Args:
        kept: families whose counters the ledger keeps: they never step back, not even over a
            restart.
        pace: seconds between two scrapes.
    """

    def __init__(self, kept: Collection[str], pace: float) -> None:
        self._kept = frozenset(kept)
        self.is_frequent = pace <= 60.0
        """Whether it sees a new series while that stands at 0."""
        self.series: dict[Series, list[tuple[float, float]]] = {}
        self.latest: dict[Series, float] = {}
        self.faults: list[str] = []
        self._lives: dict[Series, int] = {}
        self._asked = 0
        self.was_cut = False
        """Whether something was forgotten that had been shown."""

    def forget(self) -> None:
        """What was shown until now may be taken back."""
        self.was_cut = True
        for points in self.series.values():
            points.clear()

    def ask(self) -> int:
        """Begin a scrape; return its number."""
        self._asked += 1
        return self._asked

    def has_asked_since(self, number: int) -> bool:
        """Whether another scrape has begun since this one."""
        return self._asked > number

    def take(self, at: float, life: int, page: str) -> None:
        """Take in one scrape."""
        now = samples(page)
        for series, value in now.items():
            if not is_count(series):
                continue
            seen = self.series.setdefault(series, [])
            if (
                seen
                and value < seen[-1][1]
                and (life == self._lives.get(series) or family_of(name_of(series)) in self._kept)
            ):
                self.faults.append(
                    f"{series} stepped back from {seen[-1][1]} to {value} at {at:.3f}"
                )
            if not self.is_frequent and len(seen) > 1 and seen[-2][1] == seen[-1][1] == value:
                seen.pop()  # a year has many points, and `increase` is the same without these
            seen.append((at, value))
            self._lives[series] = life
        self.latest = now

    def increase(self, series: Series, begin: float, end: float) -> float | None:
        """`increase(series[end - begin])` at `end`."""
        points = [(at, value) for at, value in self.series.get(series, ()) if begin < at <= end]
        if len(points) < 2:
            return None
        (first_at, first), (last_at, last) = points[0], points[-1]
        result = last - first
        previous = first
        for _, value in points[1:]:
            if value < previous:
                result += previous
            previous = value
        sampled = last_at - first_at
        average = sampled / (len(points) - 1)
        to_start, to_end = first_at - begin, end - last_at
        if to_start >= average * 1.1:
            to_start = average / 2
        if result > 0 and first >= 0:
            to_start = min(to_start, sampled * first / result)
        if to_end >= average * 1.1:
            to_end = average / 2
        return result * (sampled + to_start + to_end) / sampled
