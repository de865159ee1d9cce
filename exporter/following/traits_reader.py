"""Asks for the name and the tags of workflows that only a stream has reported.

They decide the slices under which a workflow is counted. Each takes one `GET /v1/workflow/{id}`,
from what the request budget has to spare. Usually there is nothing to ask for, because the list
shows both along with everything else.
"""

import logging
from collections.abc import Callable
from typing import Final

from exporter.budget.sliding_window import Priority
from exporter.comfycontrol import ServiceError
from exporter.following.access import AccountAccess
from exporter.following.asking import Asking
from exporter.following.loop import RepeatedTask, ServiceLoop
from exporter.following.traits_order import TraitsOrder
from exporter.interfaces.observations import Moment, WorkflowRegister

log = logging.getLogger(__name__)

ROUND_SECONDS: Final = 1.0
"""Seconds between two checks of which workflows must be asked for."""

ANSWER_SECONDS: Final = 5.0
"""Seconds that one answer may take: it may contain a graph of many megabytes."""


class TraitsReader(RepeatedTask):
    """Asks for one workflow after the other, in its own task.

    Args:
        loop: where it runs.
        access: the account's way to the service.
        register: knows which workflows still need their name and tags.
        asking: asks, and observes the answers.
        listed: whether the account's list is read.
        now: returns the time of both clocks (wall and monotonic).
    """

    def __init__(  # noqa: PLR0913 - the parts it joins
        self,
        loop: ServiceLoop,
        access: AccountAccess,
        register: WorkflowRegister,
        asking: Asking,
        *,
        listed: bool,
        now: Callable[[], Moment],
    ) -> None:
        super().__init__(
            loop, self._one_round, task="reading names and tags", account=access.account
        )
        self._refusals = access.refusals
        self._account = access.account
        self._register = register
        self._asking = asking
        self._now = now
        self._order = TraitsOrder(listed=listed)

    async def _one_round(self) -> float:
        """Ask for all due workflows, one after the other."""
        while (workflow_id := self._next_due()) is not None:
            at_least: float | None = None
            try:
                if not self._refusals.is_quiet(workflow_id, self._now().monotonic):
                    await self._ask(workflow_id)
            except ServiceError as error:
                at_least = error.retry_after
                log.debug(
                    "could not read the name and tags",
                    extra={
                        "account": self._account,
                        "workflow_id": workflow_id,
                        "code": error.code,
                        "reason": str(error),
                    },
                )
            finally:
                self._order.asked(workflow_id, self._now().monotonic, at_least=at_least)
        return ROUND_SECONDS

    async def _ask(self, workflow_id: str) -> None:
        await self._asking.ask(
            workflow_id,
            "detail",
            Priority.RECONCILE,
            wanted=lambda: self._register.needs_traits(self._account, workflow_id),
            at_most=ANSWER_SECONDS,
        )

    def _next_due(self) -> str | None:
        """The workflow to ask for now.

        This is decided again before each request, because waiting for the last turn took time.
        """
        now = self._now().monotonic
        self._order.note(self._register.needed_traits(self._account), now)
        return self._order.next_due(now)
