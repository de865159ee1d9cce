"""Runners whose clocks are off: they stamp the starts and ends of what they run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from exporter.simulator.schema import Share, Spread, StrictModel

if TYPE_CHECKING:
    import random


class Clocks(StrictModel):
    """Which runners' clocks are off, and by how much.

    By real seconds, whatever the speed, because stamps are real.
    """

    share: Share = 0.5
    """Of the runners."""
    by: Spread = Spread(min=60.0, max=600.0)
    way: Literal["either", "fast", "slow"] = "either"
    stamps: tuple[Literal["started_at", "completed_at"], ...] = ("started_at", "completed_at")
    """Which stamps the runner's clock gives; the service's own gives the others."""

    def draw(self, rng: random.Random) -> int:
        """How fast one runner's clock is, in milliseconds; slow where negative."""
        is_wrong, seconds = rng.random() < self.share, self.by.draw(rng)
        sign = {"fast": 1, "slow": -1}.get(self.way, rng.choice((1, -1)))
        return round(sign * seconds * 1000) if is_wrong else 0
