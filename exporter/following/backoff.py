"""How long to wait before trying again: as the service says, else exponential with full jitter."""

from collections.abc import Callable
from math import inf
from typing import Final

from exporter.comfycontrol import (
    BadRequest,
    Forbidden,
    NotFound,
    RateLimited,
    ServiceError,
    Unauthorized,
)

FIRST_SECONDS: Final = 1.0
CAP_SECONDS: Final = 60.0
HEALTHY_SECONDS: Final = 60.0
"""What has worked for this long has earned a fresh start."""


class Backoff:
    """Counts failures in a row. `random` gives numbers from 0 to 1."""

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._failures = 0

    def failed(self) -> float:
        """Note a failure; how many seconds to wait: anything up to 1, 2, 4 … 60."""
        ceiling = min(CAP_SECONDS, FIRST_SECONDS * 2.0 ** min(self._failures, 10))
        self._failures += 1
        return ceiling * self._random()

    def worked(self, seconds: float = HEALTHY_SECONDS) -> None:
        """Note that it worked, for so long: a minute of it forgets all failures."""
        if seconds >= HEALTHY_SECONDS:
            self._failures = 0


class HeldBack:
    """Until when one account's requests are held back, as answers with `Retry-After` asked. Pure.

    What an answer to the list says holds for all of the account, and so does a refused token: the
    service asked us to stay away. What one about a single workflow says holds for all requests
    about single workflows. It may be the trouble of that one alone, and the list, by which outcomes
    are counted, finds out for itself. Times are seconds of one monotonic clock.
    """

    def __init__(self) -> None:
        self._all = -inf
        self._about_one = -inf

    def note(self, error: ServiceError, now: float, *, about_one: bool) -> None:
        """Take an answer; `about_one`: the request named a workflow."""
        if error.retry_after is None or isinstance(error, RateLimited):
            # A 429 closes the budget, for all accounts of the address.
            return
        if about_one and isinstance(error, BadRequest | NotFound | Forbidden):
            # Said of one id by a service that is well: whoever asked for it waits.
            return
        until = now + error.retry_after
        if about_one and not isinstance(error, Unauthorized):
            self._about_one = max(self._about_one, until)
        else:
            self._all = max(self._all, until)

    def until(self, *, about_one: bool) -> float:
        """When the next request may be made; minus infinity where nothing was ever asked of us."""
        return max(self._all, self._about_one) if about_one else self._all
