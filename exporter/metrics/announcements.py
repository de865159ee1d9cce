"""Which scraper has seen which series: a new one is shown at 0 before its value.

`increase()` sees the first step of a counter only if it has seen it at 0. Series whose labels
could not be known beforehand appear with a value, so each scraper gets a 0 for them once. Who
scrapes is told apart, since a second Prometheus, or a person with curl, must not use up the 0 of
the first.
"""

from collections import OrderedDict
from threading import Lock
from typing import Final

SCRAPERS_REMEMBERED: Final = 64


class Announcements:
    """Series are numbered as they appear; a scraper has seen all up to some number."""

    def __init__(self, seen_before: int = 0) -> None:
        """Begin; an earlier life of the process had shown all series up to `seen_before`."""
        self._lock = Lock()
        self._seen: OrderedDict[str, int] = OrderedDict()
        self._seen_by_anyone = seen_before

    def announce(self, scraper: str, newest: int) -> int:
        """Note that a scraper is shown all series up to `newest`; what it had seen before.

        A scraper that is new here is taken to have seen what anyone has: it may be the old one
        at a new address, and showing it 0 for a series that it knows would look like a reset.
        """
        with self._lock:
            seen = self._seen.pop(scraper, self._seen_by_anyone)
            self._seen[scraper] = newest
            self._seen_by_anyone = max(self._seen_by_anyone, newest)
            while len(self._seen) > SCRAPERS_REMEMBERED:
                self._seen.popitem(last=False)
            return seen
