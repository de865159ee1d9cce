"""How many rows to ask for at once, if answers are too large or too slow. Pure.

After an answer that is too large, half as many rows are asked for, down to one. After a while twice
as many are tried again, at growing intervals if that fails. A single row that cannot be read is
skipped; the rows after it are asked for in pages that grow at once, because the reason is known.
"""

from math import inf
from typing import Final

from exporter.following.paging import PER_PAGE

FIRST_GROWTH_SECONDS: Final = 60.0
"""How long fewer rows are asked for before more are tried again; twice as long each time, up to
the next one."""
LAST_GROWTH_SECONDS: Final = 3600.0


class AnswerSize:
    """How many rows an answer may hold, as far as is known. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._most = PER_PAGE
        self._grow_at = inf
        self._wait = FIRST_GROWTH_SECONDS / 2

    @property
    def most(self) -> int:
        """Rows to ask for at the most."""
        return self._most

    def failed(self, size: int, now: float) -> None:
        """An answer of so many rows could not be had."""
        self._most = max(1, min(self._most, size // 2))
        self._wait = min(LAST_GROWTH_SECONDS, 2 * self._wait)
        self._grow_at = now + self._wait

    def left_out(self, now: float) -> None:
        """The row for which it failed is not asked for any more."""
        self._grow_at = now

    def worked(self, size: int, now: float) -> None:
        """An answer of so many rows came."""
        if 2 * size > self._most and now >= self._grow_at:
            self._most = min(PER_PAGE, 2 * self._most)
        if size >= PER_PAGE:
            self._grow_at, self._wait = inf, FIRST_GROWTH_SECONDS / 2
