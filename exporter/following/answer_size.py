"""How many rows to ask for at once, if answers are too large, too slow, or refused. Pure.

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

ALL_REFUSED_SECONDS: Final = 600.0
"""Seconds for which a refusal is not taken for one of the number of rows, if a request for a single
row was refused as well."""


class AcceptedSize:
    """How many rows a request may ask for, as far as is known. Times are monotonic seconds.

    The service documents up to 100. If it accepts fewer, it refuses the request, and one for fewer
    rows may be answered. One for as many as were refused is then made once more, because a refusal
    may have another cause.
    """

    def __init__(self) -> None:
        self.most = PER_PAGE
        """The largest number of rows to request."""
        self.unconfirmed: int | None = None
        """A number of rows that was refused, and is to be tried once more; None: there is none."""
        self._more_at = inf
        self._wait = FIRST_GROWTH_SECONDS / 2
        self._believed_at = -inf
        self._in_a_row = 0

    def try_more(self, now: float) -> None:
        """Allow more rows again after a while."""
        if now >= self._more_at:
            self.most = min(PER_PAGE, 2 * self.most)
            self._more_at = now + FIRST_GROWTH_SECONDS if self.most < PER_PAGE else inf
            self._in_a_row = 1  # it is known why this may be refused

    def refused(self, size: int, now: float) -> bool:
        """Note that a request for so many rows was refused; return whether fewer are allowed now.

        The first refusal in a row may have another cause, such as another number of the first page.
        If a single row is refused as well, it is not the number of rows.
        """
        self._in_a_row += 1
        if now < self._believed_at or self._in_a_row == 1:
            return False
        if size == 1:
            self._allow_all()
            self._believed_at = now + ALL_REFUSED_SECONDS
            return False
        self._wait = min(LAST_GROWTH_SECONDS, 2 * self._wait)
        self.most, self.unconfirmed, self._more_at = size // 2, size, now + self._wait
        return True

    def worked(self, size: int) -> None:
        """Note that a request for so many rows was accepted."""
        self._in_a_row = 0
        if size > self.most:
            self._allow_all()
        elif size >= PER_PAGE:
            self._wait = FIRST_GROWTH_SECONDS / 2

    def _allow_all(self) -> None:
        self.most, self.unconfirmed, self._more_at = PER_PAGE, None, inf


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
