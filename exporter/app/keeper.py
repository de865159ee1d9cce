"""Writes the ledger periodically: the counts, the history, and what changes with time alone."""

import logging
from collections.abc import Callable, Collection, Mapping
from typing import Final

from exporter.history.history import History
from exporter.interfaces.observations import Moment
from exporter.ledger.ledger import Ledger
from exporter.ledger.store import HistoryKey, HistoryRow
from exporter.metrics.announcements import Announcements
from exporter.retrying import RetryPolicy, doubling
from exporter.worker import Worker

log = logging.getLogger(__name__)

KEEP_SECONDS: Final = 0.25
"""How often the ledger is kept. What a crash takes back of this time is observed again."""

EXPIRY_SECONDS: Final = 10.0
"""How often time is let do its work on the ledger."""


class Keeper(Worker):
    """Keeps the ledger in a thread of its own.

    Args:
        ledger: what is kept.
        history: its rows are kept along with the counts.
        announcements: of new series.
        accounts: that are counted here.
        away: accounts that nobody can see now, in which nothing expires.
        now: both clocks.
        expiry: seconds from one expiry to the next.
    """

    def __init__(  # noqa: PLR0913 - the parts it joins
        self,
        ledger: Ledger,
        history: History,
        announcements: Announcements,
        *,
        accounts: Callable[[], Collection[str]],
        away: Callable[[], Collection[str]],
        now: Callable[[], Moment],
        expiry: float = EXPIRY_SECONDS,
    ) -> None:
        super().__init__(
            "ledger", self.keep, task="ledger writes", retry=RetryPolicy(doubling(KEEP_SECONDS, 2))
        )
        self._ledger = ledger
        self._history = history
        self._announcements = announcements
        self._accounts = accounts
        self._away = away
        self._now = now
        self._expiry_seconds = expiry
        self._rests_since = now()
        self._expires_at = self._rests_since.monotonic + expiry
        ledger.before_keeping = self._keep_history
        ledger.tell_history(self._history_rows)

    def keep(self) -> float:
        """Keep what is new; seconds until the next time."""
        now = self._now()
        # By the clock that went further: the monotonic one stands still while a machine sleeps.
        rested = max(now.monotonic - self._rests_since.monotonic, now.wall - self._rests_since.wall)
        try:
            # From the start on, for the sockets listen already: a scrape that comes before they
            # are served waits in them.
            self._announcements.look(now.monotonic, rested)
            self._ledger.keep()
            if self._now().monotonic >= self._expires_at:
                self._expires_at = self._now().monotonic + self._expiry_seconds
                self._ledger.expire(self._away())
        finally:
            self._rests_since = self._now()
        return KEEP_SECONDS

    def _keep_history(self) -> None:
        # Without the ledger's lock: what comes until a batch is taken is little.
        rows = self._history_rows()
        self._ledger.keep_history(lambda: {**rows, **self._history_rows()})

    def _history_rows(self) -> Mapping[HistoryKey, HistoryRow | None]:
        try:
            self._history.digest(self._accounts())
            return self._history.take_pending()
        except Exception as error:  # noqa: BLE001 - a fault of the history must not end counting
            log.error(  # noqa: TRY400 - a traceback shows values as well
                "recording the history failed", extra={"error": type(error).__name__}
            )
            return {}
