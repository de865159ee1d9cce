"""Waits in a thread for a turn in the request budget, where the exporter waits in a task."""

import threading
from typing import Any

from exporter.budget.budget import RequestBudget
from exporter.budget.sliding_window import Priority


class Turn:
    """A permit, and whatever it can do."""

    def __init__(self, budget: RequestBudget, priority: Priority) -> None:
        """Queue for one request."""
        self.over = threading.Event()
        self._permit = budget.enter(priority, self.over.set)

    def wait(self) -> bool:
        """Block until the request may be sent (return True), or never may."""
        self.over.wait()
        return self._permit.slot is not None

    def __getattr__(self, name: str) -> Any:
        """What a permit has."""
        return getattr(self._permit, name)
