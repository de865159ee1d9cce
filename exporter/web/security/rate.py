"""The token bucket of `rate_limit`."""

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RequestRate:
    """How many requests all clients together may send."""

    interval: float = 0.0
    """Seconds between two new tokens; 0: there is no limit."""
    size: int = 1
    """Tokens in a full bucket."""


class Bucket:
    """A token bucket. It is full at first; each request takes a token, and each interval adds one.

    Args:
        interval: Seconds between two new tokens.
        burst: Tokens in a full bucket.
        monotonic: A clock that measures durations.
    """

    def __init__(
        self, interval: float, burst: int, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._interval = interval
        self._burst = burst
        self._monotonic = monotonic
        self._tokens = float(burst)
        self._at = monotonic()

    def take(self) -> bool:
        """Take a token; return whether there was one."""
        now = self._monotonic()
        self._tokens = min(self._burst, self._tokens + (now - self._at) / self._interval)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
