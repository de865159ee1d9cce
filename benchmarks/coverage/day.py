"""The day that followers are measured on."""

import json
from dataclasses import dataclass
from math import sqrt
from typing import Final

from benchmarks.processes import ACCOUNT, TOKEN

QUIET_SECONDS: Final = 6.0
"""Before the first workflow, so that both followers are there when it comes."""

SHORTEST_RUN: Final = 10.0
LONGEST_RUN: Final = 60.0


@dataclass(frozen=True)
class Day:
    """Workflows come in at an even rate for a while, and then no more."""

    rate: float
    """Workflows a second."""
    seconds: float
    """How long they come."""
    seed: int
    failed: float = 0.1

    @property
    def workflows(self) -> int:
        """How many there are."""
        return round(self.rate * self.seconds)

    @property
    def runners(self) -> int:
        """Enough for nearly each to start at once: this measures followers, not queues."""
        busy = self.rate * (SHORTEST_RUN + LONGEST_RUN) / 2
        return round(busy + 5 * sqrt(busy)) + 1

    def scenario(self) -> str:
        """The simulator's scenario, as YAML (of which JSON is a part)."""
        return json.dumps(
            {
                "accounts": [{"name": ACCOUNT, "tokens": [TOKEN]}],
                "arrivals": {"rate": self.rate, "max_workflows": self.workflows},
                "phases": [{"from": 0, "to": QUIET_SECONDS, "rate_factor": 0}],
                "runners": [{"name": "gpu", "count": self.runners}],
                "jobs": [{"name": "image", "duration": {"min": SHORTEST_RUN, "max": LONGEST_RUN}}],
                "outcomes": {"failed": self.failed, "cancelled": 0.02},
            }
        )
