"""A hand on one workflow of a running simulator, for tests that say what happens, and when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from exporter.simulator import order

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from exporter.simulator.engine import Engine
    from exporter.simulator.simulator import Simulator
    from exporter.simulator.workflow import Workflow, WorkflowTruth

    Stamp = int | str | datetime
    """Milliseconds since the epoch, ISO 8601, or a datetime."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class WorkflowHandle:
    """One workflow of a running simulator, to look at and to move by hand.

    Every method raises ``KeyError`` once the workflow is deleted, and while it is hidden.
    """

    simulator: Simulator
    id: str

    @property
    def status(self) -> str:
        """Its status at this moment."""
        return self._on(lambda _engine, workflow: workflow.status.value)

    def truth(self) -> WorkflowTruth:
        """How its latest execution went so far."""
        return self._on(lambda engine, workflow: engine.world.truth(workflow))

    def snapshot(self) -> dict[str, Any]:
        """What a stream would say of it now."""
        return self._on(lambda engine, workflow: engine.reporting.snapshot(workflow))

    def advance(  # noqa: PLR0913 (a script says exactly what it wants, by keyword)
        self,
        status: str,
        *,
        queue_position: int | None = None,
        cause: Mapping[str, str] | str | None = "drawn",
        outputs: int | None = None,
        created_at: Stamp | None = None,
        started_at: Stamp | None = None,
        completed_at: Stamp | None = None,
    ) -> None:
        """Put it into a status, any from any; from here on it moves by hand only.

        Args:
            status: the new status.
            queue_position: its place while queued; 1 without it.
            cause: of a failed one: a mapping, None for a null cause, or ``"drawn"``.
            outputs: of a completed one; 1 without it.
            created_at: a new stamp of its creation (its place in the list stays).
            started_at: now, where the status calls for one and there is none.
            completed_at: now, where the status calls for one.

        Raises:
            ScenarioError: with one line per mistake.
        """
        wanted = {
            "status": status,
            "queue_position": queue_position,
            "cause": dict(cause) if cause is not None and not isinstance(cause, str) else cause,
            "outputs": outputs,
            "created_at": created_at,
            "started_at": started_at,
            "completed_at": completed_at,
        }
        self._on(lambda engine, workflow: order.advance(engine, workflow, wanted))

    def cancel(self) -> bool:
        """Ask for it to be cancelled, as a client does; whether it was still open."""
        return self._on(lambda engine, workflow: engine.cancel(workflow))

    def execute(self, **wanted: Any) -> bool:  # noqa: ANN401
        """Execute it again, as a client does; whether it was settled.

        Args:
            wanted: any of ``duration``, ``outcome``, ``ends_in``, ``cause`` and ``outputs``, as
                for ``Simulator.create``; the rest is drawn.

        Raises:
            ScenarioError: with one line per mistake.
        """
        return self._on(lambda engine, workflow: order.execute(engine, workflow, wanted))

    def edit(self, *, to_top: bool = False) -> None:
        """Move its ``updated_at`` and nothing else, and where asked for its row to the top."""
        self._on(lambda engine, workflow: engine.edit(workflow, to_top=to_top))

    def hide(self) -> None:
        """Let it vanish from the list, and by its id, until ``show``; its life goes on."""
        self._on(lambda engine, workflow: engine.hide(workflow))

    def show(self) -> None:
        """Let it be there again.

        Raises:
            KeyError: it has not vanished.
        """
        self.simulator.call(lambda engine: engine.show(self.id))

    def delete(self) -> None:
        """Delete it: it leaves the list, and its id is not found any more."""
        self._on(lambda engine, workflow: engine.delete(workflow))

    def _on(self, function: Callable[[Engine, Workflow], T]) -> T:
        return self.simulator.call(lambda engine: function(engine, engine.world.workflows[self.id]))
