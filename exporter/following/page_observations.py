"""Converts rows of the list to observations."""

from collections.abc import Iterator, Sequence

from exporter.comfycontrol import WorkflowSummary
from exporter.following.list_stamps import created_no_earlier
from exporter.following.service_clock import ServiceClock
from exporter.interfaces.observations import Moment, Observation, Traits


def observations_of(
    account: str, rows: Sequence[WorkflowSummary], clock: ServiceClock, at: Moment
) -> Iterator[Observation]:
    """Convert each row of a page to an observation at this moment, in the page's order.

    The list is newest first: if a row has no creation time, the next row below that has one gives a
    lower bound.
    """
    bounds = created_no_earlier(rows, clock.latest(at))
    service_wall = clock.service_time(at)
    for workflow, bound in zip(rows, bounds, strict=True):
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
            service_wall=service_wall,
            created_no_earlier=bound,
            traits=Traits(workflow.name, workflow.tags),
        )
