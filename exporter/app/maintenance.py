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

PERSIST_SECONDS: Final = 0.25
"""Seconds between two writes of the ledger. What a crash undoes of this time is observed again."""

EXPIRY_SECONDS: Final = 10.0
"""Seconds between two checks for expired workflows and old rows."""


class Maintenance(Worker):
    """Writes the ledger, and applies its time limits, in a separate thread.

    Args:
        ledger: the ledger.
        history: its rows are stored together with the counts.
        announcements: decides when new series show their value.
        accounts: returns the accounts that are counted here.
        away: returns accounts that cannot be seen now; nothing of these expires.
        now: returns the time of both clocks (wall and monotonic).
        expiry: seconds between two checks for expired data.
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
            "ledger",
            self.persist,
            task="ledger writes",
            retry=RetryPolicy(doubling(PERSIST_SECONDS, 2)),
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
        ledger.before_persisting = self._digest
        ledger.set_history_source(self._history_rows)

    def persist(self) -> float:
        """Store everything new; return the seconds until the next call."""
        now = self._now()
        # The larger of both clocks: the monotonic one stops while a machine sleeps.
        rested = max(now.monotonic - self._rests_since.monotonic, now.wall - self._rests_since.wall)
        try:
            # This begins at the start, because the sockets already listen: a scrape that arrives
            # before they are served waits there.
            self._announcements.update(now.monotonic, rested)
            self._ledger.persist()
            if self._now().monotonic >= self._expires_at:
                self._expires_at = self._now().monotonic + self._expiry_seconds
                self._ledger.expire(self._away())
        finally:
            self._rests_since = self._now()
        return PERSIST_SECONDS

    def _digest(self) -> None:
        """Make most rows without the ledger's lock; few more are made when the batch is taken.

        No row leaves the history here: another thread might store newer ones before this one
        reaches the ledger, and this one would then replace them by its older ones.
        """
        try:
            self._history.digest(self._accounts())
        except Exception as error:  # noqa: BLE001 - an error in the history must not end counting
            log.error(  # noqa: TRY400 - a traceback shows values as well
                "recording the history failed", extra={"error": type(error).__name__}
            )

    def _history_rows(self) -> Mapping[HistoryKey, HistoryRow | None]:
        self._digest()
        return self._history.take_pending()
