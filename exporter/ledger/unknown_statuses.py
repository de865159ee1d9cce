"""Logs each unknown status once."""

import logging
import threading
from collections.abc import Collection
from typing import Final

from exporter.interfaces.observations import Observation, known_status
from exporter.ledger.facts import Fact, Ignored

log = logging.getLogger(__name__)

MOST_LOGGED_STATUSES: Final = 100
"""How many different unknown statuses are logged; further ones are not."""


class UnknownStatuses:
    """Remembers which unknown statuses were logged. Any thread may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._logged: set[str] = set()

    def note(self, observation: Observation, facts: Collection[Fact]) -> None:
        """Log the status of an observation that had this result, if it is a new unknown one."""
        status = observation.status
        if known_status(status) is not None or Ignored("unknown_status") not in facts:
            return
        with self._lock:
            if status in self._logged or len(self._logged) >= MOST_LOGGED_STATUSES:
                return
            self._logged.add(status)
        log.warning(
            "unknown status, kept as last seen",
            extra={
                "account": observation.account,
                "workflow_id": observation.workflow_id,
                "status": status,
            },
        )
