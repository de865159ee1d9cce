"""How workflows end, in shares."""

from __future__ import annotations

from pydantic import model_validator

from exporter.simulator.schema import Share, StrictModel


class Outcomes(StrictModel):
    """How workflows end; what is left over is completed."""

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
