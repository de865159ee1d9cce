"""Moves workflows by hand into any status, for tests and scripts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from exporter.simulator.workflow import ServiceStatus

if TYPE_CHECKING:
    from exporter.simulator.maker import CauseChoice
    from exporter.simulator.workflow import Workflow


@dataclass(frozen=True, slots=True)
class Move:
    """A status to put a workflow into, and the fields that are reported with it."""

    status: ServiceStatus
    queue_position: int | None = None
    cause: CauseChoice = "drawn"
    outputs: int | None = None
    created_ms: int | None = None
    started_ms: int | None = None
    completed_ms: int | None = None
    """Stamps that are not given are the present moment's, where the status calls for them."""

    def apply(self, workflow: Workflow, now_ms: int) -> None:
        """Change all reported fields of a workflow, except its status and its cause."""
        status = self.status
        if status is ServiceStatus.QUEUED:
            workflow.told_position = 1 if self.queue_position is None else self.queue_position
            if workflow.first_queue_position is None:
                workflow.first_queue_position = workflow.told_position
        if status in (ServiceStatus.QUEUED, ServiceStatus.RUNNING) and workflow.prompt_id is None:
            workflow.prompt_id = workflow.new_prompt_id()
        if status is ServiceStatus.COMPLETED:
            workflow.outputs = 1 if self.outputs is None else self.outputs
        if self.created_ms is not None:
            workflow.created_ms = self.created_ms
        if self.started_ms is not None:
            workflow.started_ms = self.started_ms
        elif (
            status in (ServiceStatus.RUNNING, ServiceStatus.COMPLETED)
            and workflow.started_ms is None
        ):
            workflow.started_ms = now_ms
        if self.completed_ms is not None:
            workflow.completed_ms = self.completed_ms
        elif status.final and status is not ServiceStatus.INVALID:
            workflow.completed_ms = now_ms
