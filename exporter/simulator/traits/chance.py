"""Whether a trait concerns a workflow: drawn from its id, so a seed gives the same at any speed."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from exporter.simulator.workflow import Workflow

Place = Literal["list", "subscribe", "get"]
"""Where a workflow is shown: in a row of the list, a stream's snapshot, or its own document."""

PLACES: tuple[Place, ...] = ("list", "subscribe", "get")


def draw(workflow: Workflow, purpose: str) -> float:
    """A number from 0 up to 1 for one purpose of this execution, always the same."""
    return draw_by(f"{workflow.id}/{workflow.execution}/{purpose}")


def draw_by(text: str) -> float:
    """A number from 0 up to 1, always the same for one text.

    Cheaper than dice, because it is drawn for each row of each page.
    """
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def concerns(workflow: Workflow, purpose: str, share: float) -> bool:
    """Whether this execution is among the share that a trait concerns."""
    return share >= 1.0 or draw(workflow, purpose) < share
