"""Checks settled workflows that a user has named again: they may be running again.

A user who pushes an id, or adds it to the configuration or a file, has most likely executed it
again. The service may show that a little later.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from exporter.budget.sliding_window import Priority
from exporter.comfycontrol import ServiceError
from exporter.following.access import AccountAccess
from exporter.following.asking import Asking
from exporter.following.loop import RepeatedTask, ServiceLoop
from exporter.interfaces.observations import Moment, Source, Tracked, TrackError, WorkflowRegister
from exporter.retrying import Backoff
from exporter.worker import StoppedError

log = logging.getLogger(__name__)

CHECK_TIMES: Final = (0.0, 5.0, 30.0)
"""Seconds from the naming of an id to each check. Replicas of the service may lag."""

LEAST_SECONDS: Final = 5.0
"""Minimum seconds between two checks of the same id, however often it is named."""

MOST_WAITING: Final = 1000
"""Largest number of ids that wait for checks; with more, the oldest are left out."""

WAKE_SECONDS: Final = 1.0
"""Longest wait in seconds before the clock is read again."""

PATIENCE_SECONDS: Final = 3600.0
"""How long a check is retried while the service does not answer."""


@dataclass(slots=True)
class _Check:
    """One id that waits for checks. Times are monotonic seconds."""

    source: Source
    named: float
    due: float
    times: int = 0


class CheckOrder:
    """Which ids are checked, and when. Pure: times are seconds of one monotonic clock."""

    def __init__(self) -> None:
        self._checks: dict[str, _Check] = {}
        # When ids that do not wait any more were last checked, for `LEAST_SECONDS`.
        self._recent: dict[str, float] = {}

    def add(self, workflow_id: str, source: Source, now: float) -> str | None:
        """Schedule all checks of an id that was named; return the id that was left out, if any."""
        self._recent = {w: at for w, at in self._recent.items() if now < at + LEAST_SECONDS}
        before = self._checks.pop(workflow_id, None)
        due = now + CHECK_TIMES[0]
        if before is not None and before.times == 0:
            due = before.due
        elif workflow_id in self._recent:
            due = max(due, self._recent[workflow_id] + LEAST_SECONDS)
        self._checks[workflow_id] = _Check(source, now, due)
        if len(self._checks) <= MOST_WAITING:
            return None
        oldest = next(iter(self._checks))
        del self._checks[oldest]
        return oldest

    def next(self) -> tuple[str, Source, float] | None:
        """The next id, its source, and when it is due; None: nothing waits."""
        if not self._checks:
            return None
        workflow_id = min(self._checks, key=lambda w: self._checks[w].due)
        check = self._checks[workflow_id]
        return workflow_id, check.source, check.due

    def checked(self, workflow_id: str, now: float, *, is_open: bool) -> None:
        """Note that an id was checked, and whether it is open."""
        self._recent[workflow_id] = now
        check = self._checks.get(workflow_id)
        if check is None:
            return
        check.times += 1
        if is_open or check.times >= len(CHECK_TIMES):
            del self._checks[workflow_id]
        else:
            check.due = max(check.named + CHECK_TIMES[check.times], now + LEAST_SECONDS)

    def failed(self, workflow_id: str, now: float, wait: float) -> None:
        """The service gave no answer: the same check is due again after `wait` seconds."""
        check = self._checks.get(workflow_id)
        if check is None:
            return
        if now - check.named >= PATIENCE_SECONDS:
            del self._checks[workflow_id]
        else:
            check.due = now + wait


class Rechecker(RepeatedTask):
    """Checks the ids of one account in its own task, which is idle most of the time.

    Waiting ids are not stored over a restart.

    Args:
        loop: where it runs.
        access: the account's way to the service.
        asking: asks, and observes the answers.
        register: knows which workflows are open.
        now: returns the time of both clocks (wall and monotonic).
        backoff: the wait after failed requests.
    """

    def __init__(  # noqa: PLR0913 - the parts it joins
        self,
        loop: ServiceLoop,
        access: AccountAccess,
        asking: Asking,
        register: WorkflowRegister,
        *,
        now: Callable[[], Moment],
        backoff: Backoff,
    ) -> None:
        super().__init__(
            loop, self._one_round, task="checking workflows again", account=asking.account
        )
        self._access = access
        self._asking = asking
        self._account = asking.account
        self._register = register
        self._now = now
        self._backoff = backoff
        self._order = CheckOrder()
        self._named = asyncio.Event()

    def recheck(self, workflow_ids: Iterable[str], source: Source) -> None:
        """Schedule checks of settled ids that were named again.

        Any thread may call it; it does not block.
        """
        self._loop.call(self._add, list(workflow_ids), source)

    def _add(self, workflow_ids: Iterable[str], source: Source) -> None:
        now = self._now().monotonic
        left_out = [self._order.add(each, source, now) for each in workflow_ids]
        count = sum(each is not None for each in left_out)
        if count:
            log.warning(
                "too many settled ids were named again: not all are checked",
                extra={"account": self._account, "left_out": count},
            )
        self._named.set()

    async def _one_round(self) -> float:
        self._named.clear()
        following = self._order.next()
        left = None if following is None else following[2] - self._now().monotonic
        if following is not None and left is not None and left <= 0:
            await self._check(*following[:2])
        else:
            with suppress(TimeoutError):
                async with asyncio.timeout(None if left is None else min(left, WAKE_SECONDS)):
                    await self._named.wait()
        return 0.0

    async def _check(self, workflow_id: str, source: Source) -> None:
        at_least: float | None = None
        try:
            await self._ask(workflow_id, source)
        except StoppedError:
            raise
        except ServiceError as error:
            at_least = error.retry_after
            fault, level = {"code": error.code, "reason": str(error)}, logging.DEBUG
        except Exception as error:  # noqa: BLE001 - a bug must not end the checks
            fault, level = {"error": type(error).__name__}, logging.ERROR
        else:
            self._backoff.worked()
            return
        log.log(
            level,
            "checking a workflow again failed",
            extra={"account": self._account, "workflow_id": workflow_id, **fault},
        )
        wait = max(1.0, self._backoff.failed(at_least))
        self._order.failed(workflow_id, self._now().monotonic, wait)

    async def _ask(self, workflow_id: str, source: Source) -> None:
        def is_open() -> bool:
            return self._register.is_open(self._account, workflow_id)

        await self._asking.ask(workflow_id, "detail", Priority.POLL, wanted=lambda: not is_open())
        if is_open():
            # From now on the id is followed like any other named id.
            named = Tracked(self._account, workflow_id, source, self._now(), again=True)
            with suppress(TrackError):
                await self._access.in_thread(self._register.track, named)
        self._order.checked(workflow_id, self._now().monotonic, is_open=is_open())
