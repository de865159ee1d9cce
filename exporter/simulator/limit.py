"""The request limit for each client address, with a cooldown after it is exceeded."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from exporter.simulator.scenario import ScenarioLimit

_ADDRESSES_KEPT = 10_000


@dataclass(slots=True)
class _Address:
    granted: deque[float] = field(default_factory=deque)
    closed_until: float = -math.inf


class ServiceLimit:
    """Counts requests by client address. Times are real seconds of any clock that never steps back.

    The window slides: a request is refused when the limit's number of requests were granted in the
    time before it. That closes the door to the address for the cooldown, in which requests are
    refused, do not count and do not prolong it; after it the window is empty.
    """

    def __init__(self, settings: ScenarioLimit) -> None:
        self.settings = settings
        self.busiest = 0
        """The most requests that any address ever had in one window, the refused one included."""
        self._addresses: dict[str, _Address] = {}

    def ask(self, address: str, now: float) -> int | None:
        """Count one request.

        Args:
            address: the client's.
            now: the time of the request, in seconds.

        Returns:
            None if it is granted; else whole seconds for ``Retry-After``, at least 1.
        """
        if not self.settings.enabled:
            return None
        seen = self._addresses.get(address)
        if seen is None:
            self._prune(now)
            seen = self._addresses[address] = _Address()
        if now < seen.closed_until:
            return max(1, math.ceil(seen.closed_until - now))
        while seen.granted and seen.granted[0] <= now - self.settings.per:
            seen.granted.popleft()
        self.busiest = max(self.busiest, len(seen.granted) + 1)
        if len(seen.granted) < self.settings.requests:
            seen.granted.append(now)
            return None
        seen.granted.clear()
        seen.closed_until = now + self.settings.cooldown
        return max(1, math.ceil(self.settings.cooldown))

    def _prune(self, now: float) -> None:
        if len(self._addresses) < _ADDRESSES_KEPT:
            return
        oldest = now - self.settings.per
        self._addresses = {
            address: seen
            for address, seen in self._addresses.items()
            if seen.closed_until > now or (seen.granted and seen.granted[-1] > oldest)
        }
