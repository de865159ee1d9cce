"""Polls, one by one, open workflows that neither a stream nor the list shows.

Those are ids that were configured or pushed, have no stream because there are too many of them, and
belong to an account that is not listed or are older than its lookback; and those that the list
should show, but has not shown for some time. Usually there is none. If there are hundreds,
`poll_order.py` decides which is next, and the budget how fast.
"""

import logging
from collections.abc import Callable, Collection, Sequence
from typing import Final

from exporter.budget.sliding_window import Priority
from exporter.comfycontrol import ServiceError, UnusableError
from exporter.following.access import AccountAccess
from exporter.following.asking import Asking
from exporter.following.ending import GRACE_SECONDS
from exporter.following.loop import RepeatedTask, ServiceLoop
from exporter.following.poll_order import PollOrder
from exporter.following.reconciling import ListTerms
from exporter.interfaces.observations import Moment, OpenWorkflow, WorkflowRegister

log = logging.getLogger(__name__)

ROUND_SECONDS: Final = 5.0
"""Seconds between two rounds, if no workflow is due or a request has failed."""

UNSEEN_SECONDS: Final = 60.0
"""Seconds after which a workflow is polled that a complete pass over the list has not shown; three
intervals of the list if these are longer."""

STREAM_SECONDS: Final = 5.0
"""Seconds that one poll by stream may take, for a workflow whose plain answer cannot be read."""


class Poller(RepeatedTask):
    """Polls in its own task; most of the time there is nothing to poll.

    Args:
        loop: where it runs.
        access: the account's way to the service.
        register: knows which workflows are open.
        asking: asks, and observes the answers.
        streaming: returns ids with an open stream, which need no polls.
        listing: how the account's list is read; None: it is not listed.
        list_read_at: returns when the last complete pass over the list began, Unix seconds; None:
            not since the start.
        now: returns the time of both clocks (wall and monotonic).
        every: seconds from one round to the next.
    """

    def __init__(  # noqa: PLR0913 - the parts it joins
        self,
        loop: ServiceLoop,
        access: AccountAccess,
        register: WorkflowRegister,
        asking: Asking,
        *,
        streaming: Callable[[], Collection[str]],
        listing: ListTerms | None,
        list_read_at: Callable[[], float | None],
        now: Callable[[], Moment],
        every: float = ROUND_SECONDS,
    ) -> None:
        super().__init__(loop, self._one_round, task="polling", account=access.account)
        self._access = access
        self._account = access.account
        self._register = register
        self._asking = asking
        self._streaming = streaming
        self._listing = listing
        self._list_read_at = list_read_at
        self._now = now
        self._every = every
        self._order = PollOrder()
        # Workflows whose answer could not be read, for example because its graph is too large.
        self._unreadable: set[str] = set()

    def due_at(self, workflow_id: str) -> float | None:
        """When a workflow is due for a poll, in monotonic seconds; None: it is not known yet.

        Any thread may call it.
        """
        workflow = self._register.open_workflow(self._account, workflow_id)
        return None if workflow is None else self._order.due_at(workflow, self._now().monotonic)

    async def look_up(self, workflow_id: str, priority: Priority) -> None:
        """Ask for one workflow that the list should show, and observe the answer.

        No request is sent if it is no longer open, or was refused a moment ago.

        Args:
            workflow_id: the workflow to ask for.
            priority: its priority in the request budget.

        Raises:
            StoppedError: the process is ending.
            ServiceError: there was no answer about this id.
        """
        if not self._access.refusals.is_quiet(workflow_id, self._now().monotonic):
            await self._ask(workflow_id, priority)

    async def _ask(self, workflow_id: str, priority: Priority) -> None:
        began = self._now().monotonic

        def wanted() -> bool:
            workflow = self._register.open_workflow(self._account, workflow_id)
            if workflow is None:
                return False
            seen = workflow.last_seen
            return seen is None or seen.monotonic < began

        by_stream = workflow_id in self._unreadable
        told = False
        try:
            told = await self._asking.ask(
                workflow_id,
                "stream" if by_stream else "detail",
                priority,
                wanted=wanted,
                at_most=STREAM_SECONDS if by_stream else None,
            )
        except UnusableError:
            if not by_stream:
                self._unreadable.add(workflow_id)
            raise
        finally:
            if by_stream and not told:
                # The two endpoints alternate until one of them gives a readable answer.
                self._unreadable.discard(workflow_id)

    async def _one_round(self) -> float:
        """Poll all due workflows, one after the other."""
        while (workflow_id := await self._next_due()) is not None:
            try:
                await self._ask(workflow_id, Priority.POLL)
            except ServiceError as error:
                log.warning(
                    "reading a workflow failed",
                    extra={
                        "account": self._account,
                        "workflow_id": workflow_id,
                        "code": error.code,
                        "reason": str(error),
                    },
                )
                break
            finally:
                self._order.asked(workflow_id, self._now().monotonic)
        return self._every

    async def _next_due(self) -> str | None:
        """The workflow to poll now.

        This is decided again before each request, because waiting for the last turn took time.
        """
        workflows = self._register.open_workflows(self._account)
        return await self._access.for_many(len(workflows), self._next_of, workflows)

    def _next_of(self, workflows: Sequence[OpenWorkflow]) -> str | None:
        streaming = self._streaming()
        now, list_read_at = self._now(), self._list_read_at()
        self._order.note(workflows, now.monotonic)
        self._unreadable.intersection_update(w.workflow_id for w in workflows)
        return self._order.next_due(
            (
                workflow
                for workflow in workflows
                if workflow.workflow_id not in streaming
                and self._needs_asking(workflow, now, list_read_at)
            ),
            now.monotonic,
        )

    def _needs_asking(
        self, workflow: OpenWorkflow, now: Moment, list_read_at: float | None
    ) -> bool:
        if now.monotonic - workflow.first_seen.monotonic < GRACE_SECONDS:
            # It is young: its stream will open soon, or the service does not know it yet.
            return False
        return self._listing is None or not is_shown_by_list(
            workflow, now, self._listing, list_read_at
        )


def is_shown_by_list(
    workflow: OpenWorkflow, now: Moment, terms: ListTerms, read_at: float | None
) -> bool:
    """Whether the list shows a workflow, as far as known: then it needs no polls. Pure.

    If a complete pass has not shown it, the list may be in another order than it seems to be.

    Args:
        workflow: the workflow.
        now: the present moment.
        terms: how the list is read.
        read_at: when the last complete pass began, Unix seconds; None: not since the start.
    """
    if workflow.created_at is None or workflow.created_at < now.wall - terms.lookback:
        return False
    seen = workflow.last_seen or workflow.first_seen
    unseen = now.monotonic - seen.monotonic
    was_left_out = read_at is not None and read_at > seen.wall
    return not was_left_out or unseen <= max(UNSEEN_SECONDS, 3 * terms.interval)
