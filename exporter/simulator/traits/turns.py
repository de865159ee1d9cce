"""Turns that the life of a workflow takes while it runs, or in place of running."""

from __future__ import annotations

from exporter.simulator.schema import Share, Spread, StrictModel


class Requeues(StrictModel):
    """A run that is taken back into a queue, and starts once more, with a later ``started_at``."""

    share: Share = 0.1
    """Of the runs."""
    keeps_start: bool = False
    """Whether the row shows the earlier start while it is queued again."""


class LateStarts(StrictModel):
    """A workflow that ended in its queue, and gets a ``started_at`` afterwards, past its end."""

    share: Share = 1.0
    """Of those that ended while they were queued."""
    after: Spread = Spread(min=0.5, max=5.0)
    """How long after the end."""
