"""Copies of the service's data that lag behind: some answers come from the past."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from exporter.simulator.schema import PositiveSeconds, Share, StrictModel
from exporter.simulator.traits.chance import PLACES, Place, draw_by

if TYPE_CHECKING:
    import random


class Replica(StrictModel):
    """A copy that answers a part of the requests, as things were a while ago."""

    share: Share = 0.2
    """Of the requests; a stream is from one copy until it ends."""
    by: Literal["request", "workflow"] = "request"
    """``workflow``: it is the same ones that it answers for, whenever they are asked for. Pages
    of the list never come from such a copy."""
    lag: PositiveSeconds = 10.0
    places: tuple[Place, ...] = PLACES

    def answers(self, place: Place, identity: str | None, rng: random.Random) -> bool:
        """Whether it answers this request.

        Args:
            place: what is asked for.
            identity: the id of the workflow that is asked for; None for a page of the list.
            rng: for a share of requests.
        """
        if place not in self.places or (self.by == "workflow" and identity is None):
            return False
        by_id = self.by == "workflow"
        return (draw_by(f"{identity}/replica/{self.lag}") if by_id else rng.random()) < self.share
