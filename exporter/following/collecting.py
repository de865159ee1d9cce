"""Asks for the pending causes and durations of one account's ended workflows, a few at a time."""

import asyncio
import logging
from collections.abc import Callable, Collection
from typing import Final

from exporter.budget.sliding_window import Priority
from exporter.comfycontrol import ServiceError
from exporter.following.asking import Asking, Way
from exporter.following.pending import PendingOrder
from exporter.interfaces.observations import Moment, WorkflowRegister
from exporter.worker import StoppedError

log = logging.getLogger(__name__)

CAUSES_AT_ONCE: Final = 4
"""How many workflows are asked for at the same time; each takes one request and a short time."""

CAUSE_SECONDS: Final = 5.0
"""Seconds that one of them may take from its request on. An answer without anything new, such as
the stream of a lagging replica, must not delay the others."""


class PendingCollector:
    """Asks for a few workflows at once; `PendingOrder` decides which.

    A workflow that cannot be read now makes room for the next, and is asked for again later. Each
    try is a task of the event loop.

    Args:
        asking: the account's questions.
        register: knows what is pending.
        now: returns the time of both clocks (wall and monotonic).
        random: numbers from 0 to 1, for the waits.
        on_end: called when a try has ended.
        at_most: the largest number of seconds that one answer may take.
    """

    def __init__(  # noqa: PLR0913 - the parts it joins
        self,
        asking: Asking,
        register: WorkflowRegister,
        *,
        now: Callable[[], Moment],
        random: Callable[[], float],
        on_end: Callable[[], None],
        at_most: float = CAUSE_SECONDS,
    ) -> None:
        self._asking = asking
        self._account = asking.account
        self._register = register
        self._now = now
        self._random = random
        self._on_end = on_end
        self._at_most = at_most
        self._order = PendingOrder()
        self.tries: Final[dict[str, asyncio.Task[None]]] = {}
        """The task of each workflow that is asked for now."""

    def collect(self, followed: Collection[str]) -> None:
        """Start all tries that may start now.

        Workflows in `followed` are left out: their streams will soon show it.
        """
        pending = [
            (workflow_id, self._register.is_cause_pending(self._account, workflow_id))
            for workflow_id in self._register.pending_causes(self._account)
        ]
        now = self._now().monotonic
        self._order.note(pending, now)
        while len(self.tries) < CAUSES_AT_ONCE:
            due = self._order.next_due({*self.tries, *followed}, now)
            if due is None:
                return
            self.tries[due[0]] = asyncio.get_running_loop().create_task(self._run(*due))

    async def _run(self, workflow_id: str, way: Way) -> None:
        answered = False
        at_least: float | None = None
        try:
            answered = await self._asking.ask(
                workflow_id,
                way,
                Priority.CAUSE,
                wanted=self._wanted(workflow_id),
                at_most=self._at_most,
            )
        except StoppedError:
            pass
        except ServiceError as error:
            at_least = error.retry_after
            log.debug(
                "could not read the cause",
                extra={
                    "account": self._account,
                    "workflow_id": workflow_id,
                    "code": error.code,
                    "reason": str(error),
                },
            )
        except Exception as error:  # noqa: BLE001 - a bug must not end the collecting
            log.error(  # noqa: TRY400 - a traceback shows values as well
                "reading a cause failed",
                extra={
                    "account": self._account,
                    "workflow_id": workflow_id,
                    "error": type(error).__name__,
                },
            )
        finally:
            self._order.asked(
                workflow_id,
                self._now().monotonic,
                answered=answered,
                jitter=self._random(),
                at_least=at_least,
            )
            del self.tries[workflow_id]
            self._on_end()

    def _wanted(self, workflow_id: str) -> Callable[[], bool]:
        if self._register.is_cause_pending(self._account, workflow_id):
            return lambda: self._register.is_cause_pending(self._account, workflow_id)
        return lambda: workflow_id in self._register.pending_causes(self._account)
