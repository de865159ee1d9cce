"""How the simulated day runs against the wall clock."""

from __future__ import annotations

import math
import time


class DayClock:
    """Maps the wall clock to the day, and times of the day to wall-clock stamps.

    The day runs ``speed`` times as fast as the wall clock. A stamp is when an event was due, and
    events are carried out only when they are due, so no stamp lies in the future of anyone who
    reads it on the same machine.
    """

    def __init__(self, speed: float) -> None:
        """Start the day now.

        Args:
            speed: seconds of the day in one real second.

        Raises:
            ValueError: the speed is not a positive, finite number.
        """
        if not (math.isfinite(speed) and speed > 0):
            raise ValueError(f"speed must be a positive number, not {speed}")
        self.speed = speed
        self._monotonic = time.monotonic()
        # Rounded down, as every stamp is: rounding up would put stamps ahead of the clock.
        self._epoch_ms = time.time_ns() // 1_000_000

    def now(self) -> float:
        """The time of the day, in its seconds."""
        return (time.monotonic() - self._monotonic) * self.speed

    def monotonic(self, day: float) -> float:
        """The monotonic clock's reading (real seconds) at a time of the day."""
        return self._monotonic + day / self.speed

    def stamp(self, day: float) -> int:
        """The wall clock at a time of the day, in whole milliseconds since the epoch."""
        return self._epoch_ms + math.floor(day / self.speed * 1000)
