"""A runner: one slot, and a first-in, first-out queue before it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporter.simulator.workflow import PLANTED

if TYPE_CHECKING:
    from exporter.simulator.schema import Window
    from exporter.simulator.workflow import Workflow


class Runner:
    """One ComfyUI instance. Only the world changes it."""

    def __init__(  # noqa: PLR0913 (all by keyword)
        self,
        *,
        identity: str,
        name: str,
        tags: tuple[str, ...],
        managed: bool,
        active: bool,
        stopped: tuple[Window, ...],
        created_ms: int,
        clock_ms: int = 0,
    ) -> None:
        self.id = identity
        self.name = name
        self.tags = tags
        self.managed = managed
        self.active = active
        self.stopped = stopped
        self.created_ms = created_ms
        self.clock_ms = clock_ms
        """How fast its clock is."""
        self.queue: list[Workflow] = []
        self.running: Workflow | None = None
        self.expected: set[Workflow] = set()
        """Workflows on their way here. They count, or a burst would all go to one runner."""
        self.starting = False
        """Whether the head of the queue is about to be picked up."""
        self.version = 0
        """Grows whenever a place in the queue changes."""
        self._places: dict[str, int] = {}
        self._places_version = -1

    @property
    def load(self) -> int:
        """Workflows that are here or on their way."""
        return len(self.expected) + len(self.queue) + (self.running is not None)

    @property
    def endpoint(self) -> str:
        """Where the instance would listen."""
        return f"https://{self.name}.runner.example:8188"

    @property
    def headers(self) -> dict[str, str]:
        """The user's own secrets, which the service stores for its calls to the runner."""
        return {
            "Authorization": f"Bearer {PLANTED}-{self.id}",
            "X-Api-Key": f"{PLANTED}-key-{self.name}",
        }

    def takes(self, tags: tuple[str, ...]) -> bool:
        """Whether a workflow with these tags may be placed here."""
        return self.active and set(tags) <= set(self.tags)

    def picks_up(self, now: float) -> bool:
        """Whether it starts anything at this time of the day."""
        return self.active and not any(window.holds(now) for window in self.stopped)

    def append(self, workflow: Workflow) -> int:
        """Put a workflow at the end of the queue.

        Returns:
            Its place; 1 is next.
        """
        self.expected.discard(workflow)
        self.queue.append(workflow)
        self.version += 1
        return len(self.queue)

    def remove(self, workflow: Workflow) -> None:
        """Take a workflow away, wherever here it is; nothing happens if it is not here."""
        self.expected.discard(workflow)
        if self.running is workflow:
            self.running = None
        elif workflow in self.queue:
            self.queue.remove(workflow)
            self.version += 1

    def pop(self) -> Workflow:
        """Move the head of the queue into the slot.

        Raises:
            IndexError: the queue is empty.
        """
        self.running = self.queue.pop(0)
        self.version += 1
        return self.running

    def place(self, workflow: Workflow) -> int | None:
        """A workflow's place in the queue, 1 being next; None if it does not wait here."""
        # A queue of hundreds with a stream on each is asked for every place after every change:
        # one pass for all of them instead of a search for each.
        if self._places_version != self.version:
            self._places = {each.id: n for n, each in enumerate(self.queue, 1)}
            self._places_version = self.version
        return self._places.get(workflow.id)
