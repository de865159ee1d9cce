"""Kinds of workflows: what the plan of a life is drawn from."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from exporter.simulator.schema import Between, Share, Spread, StrictModel

Weight = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Tags = tuple[Annotated[str, Field(min_length=1, max_length=100)], ...]
Name = Annotated[str, Field(min_length=1, max_length=200)]


class Outcomes(StrictModel):
    """The parts of outcomes; the rest is completed."""

    failed: Share = 0.0
    cancelled: Share = 0.0
    invalid: Share = 0.0
    without_cause: Share = 0.0
    """Of the failed ones, those whose ``cause`` is null."""
    before_running: Share = 0.1
    """Of the failed and cancelled ones, those that never ran."""

    @model_validator(mode="after")
    def _sum(self) -> Outcomes:
        if self.failed + self.cancelled + self.invalid > 1.0 + 1e-9:
            raise ValueError("failed, cancelled and invalid are more than 1 together; lower one")
        return self


class Job(StrictModel):
    """A kind of workflow."""

    name: Name
    weight: Weight = 1.0
    tags: Tags = ()
    duration: Spread
    outputs: Between = Between(min=1, max=1)
    extension: Annotated[str, Field(pattern=r"^[a-z0-9]{1,8}$")] = "png"
    outcomes: Outcomes | None = None
    """In the place of the scenario's own."""


class Stages(StrictModel):
    """How long the stages before running take, beside the wait in a queue."""

    accepted: Spread = Spread(min=0.2, max=1.0)
    uploaded: Spread = Spread(min=0.2, max=2.0)
    pickup: Spread = Spread(min=0.1, max=0.6)
    """From a free runner to the start of the next workflow."""
    cancelling: Spread = Spread(min=1.0, max=5.0)
    """From a request to cancel to its effect."""
