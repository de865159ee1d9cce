"""How many rows to ask for at once, if answers are too large or too slow. Pure.

After an answer that is too large, half as many rows are asked for, down to one. After a while twice
as many are tried again, at growing intervals if that fails. A single row that cannot be read is
skipped; the rows after it are requested in pages that grow immediately, because the cause is known.
"""

from math import inf
from typing import Final

from exporter.following.paging import PER_PAGE

FIRST_GROWTH_SECONDS: Final = 60.0
"""Seconds for which fewer rows are requested before more are tried again; doubled each time, up to
the next constant."""
LAST_GROWTH_SECONDS: Final = 3600.0


class AnswerSize:
    """How many rows an answer may hold, as far as is known. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._most = PER_PAGE
        self._grow_at = inf
        self._wait = FIRST_GROWTH_SECONDS / 2

    @property
    def most(self) -> int:
        """The largest number of rows to request."""
        return self._most

    def failed(self, size: int, now: float) -> None:
        """Note that an answer with so many rows failed."""
        self._most = max(1, min(self._most, size // 2))
        self._wait = min(LAST_GROWTH_SECONDS, 2 * self._wait)
        self._grow_at = now + self._wait

    def left_out(self, now: float) -> None:
        """Note that the row that caused the failure is no longer requested."""
        self._grow_at = now

    def worked(self, size: int, now: float) -> None:
        """Note that an answer with so many rows came."""
        if 2 * size > self._most and now >= self._grow_at:
            self._most = min(PER_PAGE, 2 * self._most)
        if size >= PER_PAGE:
            self._grow_at, self._wait = inf, FIRST_GROWTH_SECONDS / 2
