"""Copies of the service's data that lag behind: some answers come from the past."""

from __future__ import annotations

from exporter.simulator.schema import PositiveSeconds, Share, StrictModel
from exporter.simulator.traits.chance import PLACES, Place


class Replica(StrictModel):
    """A copy that answers a part of the requests, as things were a while ago."""

    share: Share = 0.2
    """Of the requests; a stream is from one copy until it ends."""
    lag: PositiveSeconds = 10.0
    places: tuple[Place, ...] = PLACES
