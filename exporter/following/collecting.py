"""Asks for the pending causes and durations of one account's ended workflows, a few at a time."""

import logging
import threading
from collections.abc import Callable, Collection
from typing import Final

from exporter.budget.sliding_window import Priority
from exporter.comfycontrol import ServiceError
from exporter.following.asking import Asking, Way
from exporter.following.pending import PendingOrder
from exporter.interfaces.observations import Moment, WorkflowRegister
from exporter.worker import Cancellation, StoppedError

log = logging.getLogger(__name__)

CAUSES_AT_ONCE: Final = 4
"""How many workflows are asked for at the same time; each takes one request and a short time."""

CAUSE_SECONDS: Final = 5.0
"""Seconds that one of them may take from its request on. An answer without anything new, such as
the stream of a lagging replica, must not delay the others."""


class _Try:
    """One try to get a cause or a duration, in its own thread."""

    def __init__(self, workflow_id: str, way: Way, run: Callable[["_Try"], None]) -> None:
        self.workflow_id: Final = workflow_id
        self.way: Final = way
        self.stop: Final = Cancellation()
        self.thread: Final = threading.Thread(
            target=run, args=(self,), name=f"cause {workflow_id}", daemon=True
        )


class PendingCollector:
    """Asks for a few workflows at once, those that have waited longest.

    A workflow that cannot be read now makes room for the next, and is asked for again later.

    Args:
        asking: the account's questions.
        register: knows what is pending.
        now: returns the time of both clocks (wall and monotonic).
        random: numbers from 0 to 1, for the waits.
        on_end: called from one of these threads when a try has ended.
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
        self._lock = threading.Lock()
        self._order = PendingOrder()
        self._tries: dict[str, _Try] = {}
        self._is_stopping = False

    def collect(self, followed: Collection[str]) -> None:
        """Start all tries that may start now; never blocks.

        Workflows in `followed` are left out: their streams will soon show it.
        """
        pending = [
            (workflow_id, self._register.is_cause_pending(self._account, workflow_id))
            for workflow_id in self._register.pending_causes(self._account)
        ]
        now = self._now().monotonic
        with self._lock:
            self._order.note(pending, now)
            while len(self._tries) < CAUSES_AT_ONCE and not self._is_stopping:
                due = self._order.next_due({*self._tries, *followed}, now)
                if due is None:
                    return
                one = _Try(*due, self._run)
                self._tries[one.workflow_id] = one
                try:
                    one.thread.start()
                except RuntimeError:
                    # No thread is available, so this try must not keep its place for ever.
                    del self._tries[one.workflow_id]
                    raise

    def stop(self) -> None:
        """End soon, from any thread, without waiting for it."""
        with self._lock:
            self._is_stopping = True
            tries = list(self._tries.values())
        for one in tries:
            one.stop.request()

    def join(self, timeout: float) -> bool:
        """Wait for all tries to end, for that many seconds in total; return whether they ended."""
        deadline = self._now().monotonic + timeout
        with self._lock:
            threads = [one.thread for one in self._tries.values()]
        for thread in threads:
            thread.join(max(0.0, deadline - self._now().monotonic))
        return not any(thread.is_alive() for thread in threads)

    def _run(self, one: _Try) -> None:
        answered = False
        at_least: float | None = None
        try:
            answered = self._asking.ask(
                one.workflow_id,
                one.way,
                Priority.CAUSE,
                one.stop,
                wanted=self._wanted(one),
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
                    "workflow_id": one.workflow_id,
                    "code": error.code,
                    "reason": str(error),
                },
            )
        except Exception as error:  # noqa: BLE001 - a bug must not end the collecting
            log.error(  # noqa: TRY400 - a traceback shows values as well
                "reading a cause failed",
                extra={
                    "account": self._account,
                    "workflow_id": one.workflow_id,
                    "error": type(error).__name__,
                },
            )
        finally:
            self._ended(one, answered=answered, at_least=at_least)

    def _wanted(self, one: _Try) -> Callable[[], bool]:
        if self._register.is_cause_pending(self._account, one.workflow_id):
            return lambda: self._register.is_cause_pending(self._account, one.workflow_id)
        return lambda: one.workflow_id in self._register.pending_causes(self._account)

    def _ended(self, one: _Try, *, answered: bool, at_least: float | None) -> None:
        with self._lock:
            self._order.asked(
                one.workflow_id,
                self._now().monotonic,
                answered=answered,
                jitter=self._random(),
                at_least=at_least,
            )
            del self._tries[one.workflow_id]
        self._on_end()
