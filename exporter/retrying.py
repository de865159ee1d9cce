"""When to retry: the one policy for everything that waits and tries again. Pure.

A `RetryPolicy` says how long to wait after the first failure in a row, after the second, and so
on; a `Backoff` counts them. All policies are in this file. If the service asks for a longer wait
with `Retry-After`, that applies.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

LONGEST_SECONDS: Final = 60.0
"""The longest backoff after a request that failed, unless the service asks for more."""

HEALTHY_SECONDS: Final = 60.0
"""Seconds of success after which all failures are forgotten."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long to wait after each failure in a row.

    Attributes:
        waits: Seconds after the first failure, the second …; the last value is repeated.
        spread: A wait is random between these multiples of its value, so that parts that failed
            together do not retry together.
    """

    waits: tuple[float, ...]
    spread: tuple[float, float] = (1.0, 1.0)

    def wait(self, failure: int, random: float = 0.0, at_least: float | None = None) -> float:
        """Seconds to wait after this failure in a row.

        Args:
            failure: the number of the failure in a row, from 1.
            random: a random number from 0 to 1.
            at_least: seconds that the service asked us to wait; None: it did not ask.
        """
        least, most = self.spread
        part = least + (most - least) * random
        return max(self.waits[min(failure, len(self.waits)) - 1] * part, at_least or 0.0)


def doubling(first: float, longest: float) -> tuple[float, ...]:
    """Waits that double from one failure to the next."""
    waits = [first]
    while waits[-1] < longest:
        waits.append(min(2 * waits[-1], longest))
    return tuple(waits)


def after_requests(longest: float = LONGEST_SECONDS) -> RetryPolicy:
    """The policy for requests to the service: exponential backoff with full jitter."""
    return RetryPolicy(doubling(1.0, longest), spread=(0.0, 1.0))


REQUESTS: Final = after_requests()

CAUSES: Final = RetryPolicy((2.0, 5.0, 10.0, 60.0, 120.0, 900.0, 1500.0), spread=(1.0, 1.25))
"""For pending causes: at most 8 tries in any hour, as after an hour one is counted
as unknown, unless an outage makes that longer."""

LEFT_OUT: Final = RetryPolicy((10.0, 5.0, 10.0), spread=(1.0, 1.25))
"""For causes that an answer left out; by then the service may show them. After 20 seconds such an
answer is believed, so a failure without a cause takes four requests."""

DURATIONS: Final = RetryPolicy((50.0, 540.0), spread=(1.0, 1.25))
"""For pending durations."""

TRAITS: Final = RetryPolicy((5.0, 10.0, 20.0, 60.0, 120.0))
"""For names and tags."""

FIRST_PAGE: Final = RetryPolicy(doubling(60.0, 3600.0))
"""For the page before the assumed first page of a list."""

FIRST_PAGE_UNCLEAR: Final = RetryPolicy(doubling(5.0, 3600.0))
"""For the same page, if the answers did not show which of the two is the first. Until then the
newest workflows may not be read."""

LEDGER_WRITES: Final = RetryPolicy(doubling(0.5, 10.0))
"""Short waits, because data that is not stored yet accumulates, and makes each try slower."""


class Backoff:
    """Counts failures in a row.

    Args:
        random: returns random numbers from 0 to 1.
        policy: how long to wait after each failure.
    """

    def __init__(
        self, random: Callable[[], float] = lambda: 0.0, policy: RetryPolicy = REQUESTS
    ) -> None:
        self._random = random
        self._policy = policy
        self._failures = 0

    def failed(self, at_least: float | None = None) -> float:
        """Note a failure; return the seconds to wait. `at_least`: see `RetryPolicy.wait`."""
        self._failures += 1
        return self._policy.wait(self._failures, self._random(), at_least)

    def worked(self, seconds: float = HEALTHY_SECONDS) -> None:
        """Note a success that lasted this long: after a minute all failures are forgotten."""
        if seconds >= HEALTHY_SECONDS:
            self._failures = 0
