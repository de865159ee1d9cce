"""What a page of the list said, as observations."""

from collections.abc import Iterator

from exporter.comfycontrol import WorkflowPage
from exporter.observations import Moment, Observation


def observations_of(account: str, page: WorkflowPage, at: Moment) -> Iterator[Observation]:
    """One for each row of the page, in its order.

    The list is newest first: where a row does not tell when it was created, the next one below
    that does bounds it.
    """
    below: float | None = None
    bounds: list[float | None] = []
    for workflow in reversed(page.workflows):
        bounds.append(below)
        below = below if workflow.created_at is None else workflow.created_at
    for workflow, bound in zip(page.workflows, reversed(bounds), strict=True):
        yield Observation(
            account=account,
            workflow_id=workflow.id,
            via="listing",
            at=at,
            status=workflow.status,
            created_at=workflow.created_at,
            updated_at=workflow.updated_at,
            started_at=workflow.started_at,
            completed_at=workflow.completed_at,
            service_wall=page.service_time,
            created_no_earlier=bound if workflow.created_at is None else None,
        )
