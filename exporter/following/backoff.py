"""How long to wait before trying again: exponential, with full jitter."""

from collections.abc import Callable
from typing import Final

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
