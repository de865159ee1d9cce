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


REFUSED_AGAIN_SECONDS: Final = 3600.0
"""Seconds after which more rows are requested again than the service has accepted."""

ALL_REFUSED_SECONDS: Final = 600.0
"""Seconds for which a refusal is not taken for one of the number of rows, if a request for a single
row was refused as well."""


class AcceptedSize:
    """How many rows a request may ask for, as far as is known. Times are monotonic seconds.

    The service documents up to 100. If it accepts fewer, it refuses the request, and with less rows
    it may be answered.
    """

    def __init__(self) -> None:
        self.most = PER_PAGE
        """The largest number of rows to request."""
        self._more_at = inf
        self._believed_at = -inf
        self._was_refused = False

    def try_more(self, now: float) -> None:
        """Allow more rows again after a long time."""
        if now >= self._more_at:
            self.most = min(PER_PAGE, 2 * self.most)
            self._more_at = now + REFUSED_AGAIN_SECONDS if self.most < PER_PAGE else inf

    def refused(self, size: int, now: float) -> bool:
        """Note that a request for so many rows was refused; return whether fewer are allowed now.

        The first refusal in a row may have another cause, such as another number of the first page.
        If a single row is refused as well, it is not the number of rows.
        """
        was_refused, self._was_refused = self._was_refused, True
        if now < self._believed_at or not was_refused:
            return False
        if size == 1:
            self.most, self._more_at = PER_PAGE, inf
            self._believed_at = now + ALL_REFUSED_SECONDS
            return False
        self.most, self._more_at = size // 2, now + REFUSED_AGAIN_SECONDS
        return True

    def worked(self) -> None:
        """Note that a request was accepted."""
        self._was_refused = False


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
