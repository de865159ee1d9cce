"""Asks one by one for open workflows that neither a stream nor the list can tell of.

Those are ids that were configured or pushed, have no stream because there are more of them than
streams, and belong to an account that is not listed or lie further back than its list is read.
Mostly there is none; where there are hundreds, `poll_order.py` says whose turn it is, and the
budget how fast it goes.
"""

import logging
import threading
from collections.abc import Callable, Collection
from typing import Final

from exporter.comfycontrol import (
    BadRequest,
    Call,
    Forbidden,
    NotFound,
    ServiceError,
    WorkflowDetail,
)
from exporter.comfycontrol.window import Purpose
from exporter.following.access import AccountAccess
from exporter.following.ending import NOT_FOUND_GRACE_SECONDS
from exporter.following.poll_order import PollOrder
from exporter.following.stop import Stop, Stopped
from exporter.observations import (
    DropReason,
    FailureCause,
    GivenUp,
    Moment,
    Observation,
    OpenWorkflow,
    WorkflowRegister,
)

log = logging.getLogger(__name__)

ROUND_SECONDS: Final = 5.0
"""Between two looks at who needs to be asked for, where nobody is due or asking has failed."""


class Poller:
    """Polls in a thread of its own; most of the time there is nobody to ask for.

    Args:
        access: the account's way to the service.
        register: takes the observations.
        streaming: ids with an open stream, which need no asking.
        list_horizon: nothing created before this many seconds ago is shown by the list; None
            where the account is not listed.
        now: both clocks.
    """

    def __init__(
        self,
        access: AccountAccess,
        register: WorkflowRegister,
        *,
        streaming: Callable[[], Collection[str]],
        list_horizon: float | None,
        now: Callable[[], Moment],
    ) -> None:
        self._access = access
        self._account = access.account
        self._register = register
        self._streaming = streaming
        self._list_horizon = list_horizon
        self._now = now
        self._order = PollOrder()
        self._stop = Stop()
        self._thread = threading.Thread(
            target=self._run, name=f"poller {self._account}", daemon=True
        )

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End soon, from any thread, without waiting for it."""
        self._stop.ask()

    def join(self, timeout: float) -> bool:
        """Wait that many seconds for the end; whether it came."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def look_up(self, workflow_id: str, stop: Stop, purpose: Purpose) -> None:
        """Ask for one workflow, and observe the answer.

        Args:
            workflow_id: whom to ask for; nothing is asked where it is not open any more.
            stop: ends the wait for its turn.
            purpose: which turn it waits for.

        Raises:
            Stopped: asked to end meanwhile.
            ServiceError: no answer about this id.
        """

        def get(call: Call) -> WorkflowDetail:
            return self._access.client.get_workflow(workflow_id, call=call)

        def wanted() -> bool:
            return self._register.is_open(self._account, workflow_id)

        if not wanted():
            return
        try:
            detail = self._access.ask(purpose, stop, get, about_one=True)
        except NotFound:
            self._give_up(workflow_id, "not_found")
        except BadRequest:
            self._give_up(workflow_id, "malformed")
        except Forbidden:
            self._give_up(workflow_id, "forbidden")
        else:
            self._register.observe(
                observation_of_detail(self._account, workflow_id, detail, self._now())
            )

    def _give_up(self, workflow_id: str, reason: DropReason) -> None:
        self._register.give_up(GivenUp(self._account, workflow_id, reason, self._now()))

    def _run(self) -> None:
        try:
            while True:
                self._stop.sleep(ROUND_SECONDS)
                self._guarded_round()
        except Stopped:
            return

    def _guarded_round(self) -> None:
        try:
            self._one_round()
        except Stopped:
            raise
        except Exception as error:  # noqa: BLE001 - a fault of ours must not end the polling
            log.error(  # noqa: TRY400 - a traceback shows values as well
                "polling failed",
                extra={"account": self._account, "error": type(error).__name__},
            )

    def _one_round(self) -> None:
        """Ask for all who are due, one after the other, until nobody is."""
        while (workflow_id := self._next_due()) is not None:
            try:
                self.look_up(workflow_id, self._stop, Purpose.POLL)
            except ServiceError as error:
                log.warning(
                    "asking for a workflow failed",
                    extra={
                        "account": self._account,
                        "workflow_id": workflow_id,
                        "code": error.code,
                        "reason": str(error),
                    },
                )
                return
            finally:
                self._order.asked(workflow_id, self._now().monotonic)

    def _next_due(self) -> str | None:
        """Who is to be asked for now: looked for anew each time, as the last turn came late."""
        streaming = self._streaming()
        workflows = self._register.open_workflows(self._account)
        now = self._now()
        self._order.note(workflows, now.monotonic)
        return self._order.next_due(
            (
                workflow
                for workflow in workflows
                if workflow.workflow_id not in streaming and self._needs_asking(workflow, now)
            ),
            now.monotonic,
        )

    def _needs_asking(self, workflow: OpenWorkflow, now: Moment) -> bool:
        if now.monotonic - workflow.first_seen.monotonic < NOT_FOUND_GRACE_SECONDS:
            # Young: a stream is on its way to it, or it is not there quite yet.
            return False
        if self._list_horizon is None or workflow.created_at is None:
            return True
        return workflow.created_at < now.wall - self._list_horizon


def observation_of_detail(
    account: str, workflow_id: str, detail: WorkflowDetail, at: Moment
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
    )
