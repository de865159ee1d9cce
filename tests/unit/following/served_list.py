"""A list as a service may serve it: everything that the documents leave open is open here."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Literal

from exporter.comfycontrol import WorkflowPage, WorkflowSummary


@dataclass(repr=False)
class ServedList:
    """Newest first. What is asked for is numbered and counted as the service pleases."""

    rows: list[WorkflowSummary] = field(default_factory=list)
    cap: int | None = None
    """More rows are never given."""
    cap_share: float = 1.0
    """Of the answers that this holds for."""
    always: int | None = None
    """So many rows are given, whatever is asked."""
    always_share: float = 1.0
    counted_by: Literal["asked", "given"] = "given"
    """What the number of a page is multiplied by."""
    base: Literal[0, 1] = 1
    """The number of the first page."""
    beyond: Literal["empty", "last"] = "empty"
    total: Literal["true", "absent", "stale", "wrong"] = "true"
    """What it tells; a stale one is that of the beginning."""
    dice: random.Random = field(default_factory=lambda: random.Random(1))

    def __post_init__(self) -> None:
        self._stale = len(self.rows)

    def __repr__(self) -> str:
        manners = {k: v for k, v in vars(self).items() if k not in ("rows", "dice")}
        return f"ServedList({len(self.rows)} rows, {manners})"

    def page(self, number: int, size: int) -> WorkflowPage:
        given = size
        if self.always is not None and self.dice.random() < self.always_share:
            given = self.always
        if self.cap is not None and self.dice.random() < self.cap_share:
            given = min(given, self.cap)
        stride = given if self.counted_by == "given" else size
        first = (number - self.base) * stride
        if self.beyond == "last" and self.rows and first >= len(self.rows):
            first = (len(self.rows) - 1) // stride * stride
        shown = self.rows[first : first + given] if first >= 0 else []
        return WorkflowPage(
            workflows=tuple(shown), total=self._told(), malformed=0, entries=len(shown)
        )

    def _told(self) -> int | None:
        match self.total:
            case "true":
                return len(self.rows)
            case "stale":
                return self._stale
            case "wrong":
                return max(0, len(self.rows) + self.dice.choice((-3, -2, -1, 1, 2, 3)))
        return None
