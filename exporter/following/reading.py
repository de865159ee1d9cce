"""What the service says of one workflow, as observations: by its stream, or by itself."""

import logging
from collections.abc import Callable, Iterator
from typing import Final

from exporter.comfycontrol import (
    MalformedReading,
    NewSnapshot,
    Snapshot,
    Stream,
    WorkflowDetail,
)
from exporter.following.access import AccountAccess
from exporter.following.telemetry import Telemetry
from exporter.observations import FailureCause, Moment, Observation, Traits

log = logging.getLogger(__name__)


class StreamReading:
    """Reads one open stream, and tells of its events. For one thread, and once.

    Args:
        stream: whoever opened it closes it.
        access: the account's way to the service, which knows the time there.
        telemetry: is told of each event.
        workflow_id: whose stream it is.
        now: both clocks.
    """

    def __init__(
        self,
        stream: Stream,
        access: AccountAccess,
        telemetry: Telemetry,
        workflow_id: str,
        now: Callable[[], Moment],
    ) -> None:
        self.stream: Final = stream
        self.updates = 0
        """Snapshots that were read, repeated ones included."""
        self.malformed = 0
        """Events that could not be read."""
        self._malformed_fields: tuple[str, ...] = ()
        self._access = access
        self._telemetry = telemetry
        self._workflow_id = workflow_id
        self._now = now

    def __iter__(self) -> Iterator[Observation | None]:
        """What each event says; None: it could not be read."""
        account = self._access.account
        for reading in self.stream:
            if isinstance(reading, MalformedReading):
                self.malformed += 1
                self._telemetry.snapshot_read(account, "malformed")
                yield None
                continue
            self.updates += 1
            if isinstance(reading, NewSnapshot):
                self._telemetry.snapshot_read(account, "new")
                self._note_fields(reading.malformed_fields)
            else:
                self._telemetry.snapshot_read(account, "repeated")
            yield self._observation(reading.snapshot)

    def _note_fields(self, malformed: tuple[str, ...]) -> None:
        self._malformed_fields = malformed
        if malformed:
            self._telemetry.snapshot_read(self._access.account, "malformed")
            log.debug(
                "snapshot with malformed fields",
                extra={
                    "account": self._access.account,
                    "workflow_id": self._workflow_id,
                    "fields": ",".join(malformed),
                },
            )

    def _observation(self, snapshot: Snapshot) -> Observation:
        cause = snapshot.cause
        return Observation(
            account=self._access.account,
            workflow_id=self._workflow_id,
            via="stream",
            at=self._now(),
            status=snapshot.status,
            queue_position=snapshot.queue_number,
            started_at=snapshot.started_at,
            completed_at=snapshot.completed_at,
            cause=None if cause is None else FailureCause(cause.node_type, cause.exception_type),
            outputs=snapshot.outputs,
            service_wall=self._access.service_wall(),
            cause_unreadable=any(
                name.partition(".")[0] == "cause" for name in self._malformed_fields
            ),
        )


def observation_of_detail(
    account: str,
    workflow_id: str,
    detail: WorkflowDetail,
    at: Moment,
    service_wall: float | None = None,
) -> Observation:
    """What `GET /v1/workflow/{id}` said, as an observation."""
    cause = None
    if detail.error_node is not None or detail.exception_type is not None:
        cause = FailureCause(detail.error_node, detail.exception_type)
    return Observation(
        account=account,
        workflow_id=workflow_id,
        via="detail",
        at=at,
        status=detail.status,
        queue_position=detail.queue_number,
        created_at=detail.created_at,
        updated_at=detail.updated_at,
        started_at=detail.started_at,
        completed_at=detail.completed_at,
        cause=cause,
        service_wall=service_wall,
        cause_unreadable=not {"error_node", "exception_type"}.isdisjoint(detail.malformed_fields),
        traits=Traits(detail.name, detail.tags),
    )
