"""What is planned to happen in the simulated service, and when."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.simulator.workflow import Workflow

    Event: TypeAlias = Callable[[float], None]
    """Called with the simulated time of day at which it happens, in seconds."""


class Agenda:
    """Events in the order of their times; at the same time, in the order of their planning."""

    def __init__(self) -> None:
        self._events: list[tuple[float, int, Event]] = []
        self._planned = 0

    def at(self, due: float, event: Event) -> None:
        """Plan an event for a time of the day."""
        self._planned += 1
        heapq.heappush(self._events, (due, self._planned, event))

    def later(
        self, due: float, workflow: Workflow, event: Callable[[Workflow, float], None]
    ) -> None:
        """Plan an event of a workflow; it is dropped if the workflow's plan changes before."""
        epoch = workflow.epoch

        def happen(now: float) -> None:
            if workflow.epoch == epoch:
                event(workflow, now)

        self.at(due, happen)

    def next_due(self) -> float | None:
        """When something happens next; None if nothing is planned."""
        return self._events[0][0] if self._events else None

    def take_due(self, now: float) -> tuple[float, Event] | None:
        """Take off the first event that is due by now, with its time; None if there is none."""
        if not self._events or self._events[0][0] > now:
            return None
        due, _, event = heapq.heappop(self._events)
        return due, event
