"""Reads one workflow, by its stream or by a single answer, and makes observations of it."""

import logging
from collections.abc import Callable, Iterator
from math import inf
from typing import Final

from exporter.comfycontrol import (
    Cause,
    MalformedReading,
    NewSnapshot,
    Snapshot,
    SnapshotReading,
    WorkflowDetail,
)
from exporter.following.access import AccountAccess
from exporter.interfaces.observations import (
    Moment,
    Observation,
    Status,
    Traits,
    WorkflowRegister,
    known_status,
)
from exporter.interfaces.telemetry import Telemetry

log = logging.getLogger(__name__)

REPORT_SECONDS: Final = 20.0
"""Seconds for which a repeated snapshot may wait before it is reported to the register. A queue
position that was not reported for 30 s is no longer shown, and a start is measured only if the
workflow was reported as waiting in the last 30 s."""

RUNNING_REPORT_SECONDS: Final = 40.0
"""The same while the workflow runs. Then only the time when it was last seen changes. With the
shortest `lookback`, a workflow is dropped if it was not reported for a minute, and a stream may be
silent for 15 s."""


class StreamReading:
    """Makes observations of the events of one open stream. Use each object once.

    Args:
        access: the account's way to the service, which knows the time there.
        telemetry: is notified of each event.
        workflow_id: whose stream it is.
        now: returns the time of both clocks (wall and monotonic).

    Attributes:
        updates: how many snapshots were read, including repeated ones.
        malformed: how many events could not be read.
        is_open: whether a repeated snapshot still needs to be reported.
    """

    __slots__ = (
        "_access",
        "_account",
        "_last",
        "_malformed_fields",
        "_may_repeat",
        "_now",
        "_report_at",
        "_seen_again",
        "_telemetry",
        "_workflow_id",
        "is_open",
        "malformed",
        "updates",
    )

    def __init__(
        self,
        access: AccountAccess,
        telemetry: Telemetry,
        workflow_id: str,
        now: Callable[[], Moment],
    ) -> None:
        self.updates = self.malformed = 0
        self._malformed_fields: tuple[str, ...] = ()
        self.is_open: Callable[[], bool] = _always
        self._access = access
        self._account = access.account
        self._telemetry = telemetry
        self._workflow_id = workflow_id
        self._now = now
        self._last: Snapshot | None = None
        self._may_repeat = False
        # By the monotonic clock: the latest time for the next report, and when the last snapshot
        # was seen again since the last report.
        self._report_at = -inf
        self._seen_again: float | None = None

    def take(self, reading: SnapshotReading) -> Iterator[Observation | None]:
        """The observations of an event, after those of earlier events that are not reported yet."""
        account = self._account
        if isinstance(reading, MalformedReading):
            self.malformed += 1
            self._telemetry.snapshot_read(account, "malformed")
            yield None
            return
        if self._last is None or reading.snapshot.status != self._last.status:
            yield from self.untold()
        # Otherwise this snapshot says everything that the last one did, at a later time.
        self._seen_again = None
        self.updates += 1
        if isinstance(reading, NewSnapshot):
            self._telemetry.snapshot_read(account, "new")
            self._note_fields(reading.malformed_fields)
        else:
            self._telemetry.snapshot_read(account, "repeated")
        self._last = reading.snapshot
        status = known_status(reading.snapshot.status)
        self._may_repeat = status is not None and not status.final
        at = self._now()
        wait = RUNNING_REPORT_SECONDS if status is Status.RUNNING else REPORT_SECONDS
        self._report_at = at.monotonic + wait
        yield self._observation(reading.snapshot, at)

    def is_news(self, new: NewSnapshot | None, at: float) -> bool:
        """Whether a snapshot must be reported now; None: it equals the last one byte for byte.

        `at` is the monotonic time.

        It need not be if it says only that the workflow was seen again. That is reported with the
        next snapshot that says more, or after some seconds. A snapshot of a workflow that has
        ended, or whose unknown status may be an end, is reported each time.
        """
        if not self._may_repeat or (new is not None and not self._is_as_before(new)):
            return True
        if at >= self._report_at or not self.is_open():
            return True
        self._seen_again = at
        self.updates += 1
        self._telemetry.snapshot_read(self._account, "repeated" if new is None else "new")
        return False

    def _is_as_before(self, new: NewSnapshot) -> bool:
        return (
            self._last is not None
            and not new.malformed_fields
            and not self._malformed_fields
            and says_the_same(self._last, new.snapshot)
        )

    def untold(self) -> Iterator[Observation]:
        """The observation that the last snapshot was seen again, if it was not reported yet."""
        if self._seen_again is not None and self._last is not None:
            at, self._seen_again = self._seen_again, None
            now = self._now()
            seconds_ago = now.monotonic - at
            yield self._observation(self._last, Moment(now.wall - seconds_ago, at))

    def _note_fields(self, malformed: tuple[str, ...]) -> None:
        self._malformed_fields = malformed
        if malformed:
            self._telemetry.snapshot_read(self._account, "malformed")
            log.debug(
                "snapshot with malformed fields",
                extra={
                    "account": self._account,
                    "workflow_id": self._workflow_id,
                    "fields": ",".join(malformed),
                },
            )

    def _observation(self, snapshot: Snapshot, at: Moment) -> Observation:
        return Observation(
            account=self._account,
            workflow_id=self._workflow_id,
            via="stream",
            at=at,
            status=snapshot.status,
            queue_position=snapshot.queue_number,
            started_at=snapshot.started_at,
            completed_at=snapshot.completed_at,
            cause=snapshot.cause,
            outputs=snapshot.outputs,
            service_wall=self._access.service_wall(),
            cause_unreadable=any(
                name.partition(".")[0] == "cause" for name in self._malformed_fields
            ),
        )


def _always() -> bool:
    return True


def says_the_same(one: Snapshot, other: Snapshot) -> bool:
    """Whether two snapshots say the same about a workflow. Pure.

    While a workflow runs, the progress of its nodes changes in each snapshot, but that is not
    counted. A queue position has a meaning only while the workflow is queued.
    """
    return (
        one.status == other.status
        and (
            one.queue_number == other.queue_number
            or known_status(one.status) not in {None, Status.QUEUED}
        )
        and one.outputs == other.outputs
        and one.cause == other.cause
        and one.started_at == other.started_at
        and one.completed_at == other.completed_at
    )


def observation_of_detail(
    account: str,
    workflow_id: str,
    detail: WorkflowDetail,
    at: Moment,
    service_wall: float | None = None,
) -> Observation:
    """Convert an answer of `GET /v1/workflow/{id}` to an observation."""
    cause = None
    if detail.error_node is not None or detail.exception_type is not None:
        cause = Cause(detail.error_node, detail.exception_type)
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


async def observed(seen: Observation, register: WorkflowRegister, access: AccountAccess) -> bool:
    """Apply an observation; return whether more are wanted."""
    if register.is_open(seen.account, seen.workflow_id):
        return register.observe(seen)
    # A workflow that is not open may have to be read from disk, which can block.
    return await access.in_thread(register.observe, seen)
