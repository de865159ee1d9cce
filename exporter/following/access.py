"""One account's way to the service: through its gate, then the budget, then the client.

All requests of an account are sent here. If the token is refused, all requests stop, and one at a
time tests whether the token works again. All requests wait when the service asks for it
(`HeldBack`), and none bypasses the budget.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Generic, ParamSpec, TypeVar

from exporter.budget.budget import Permit, RequestBudget
from exporter.budget.sliding_window import LISTING, Priority
from exporter.comfycontrol import (
    AbortedError,
    BadRequestError,
    Call,
    Client,
    ForbiddenError,
    NotFoundError,
    RateLimitedError,
    RedirectedError,
    ServiceError,
    UnauthorizedError,
)
from exporter.comfycontrol.redirects import MOST_HOPS
from exporter.following.answers import (
    AccountHealth,
    Answers,
    LastError,
    class_of,
    is_of_wrong_address,
)
from exporter.following.ending import Next
from exporter.following.held_back import HeldBack
from exporter.following.refusals import Refusals
from exporter.following.threads import CallThreads, NoThreadError
from exporter.interfaces.observations import Moment, Removed, WorkflowRegister
from exporter.retrying import Backoff
from exporter.worker import StoppedError

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")
_P = ParamSpec("_P")

MISLED_IN_A_ROW: Final = 3
"""How many answers in a row that look like those of a wrong address, without any usable one, before
the log suspects the address. A proxy in front of the service gives such a page now and then."""

MOST_ON_LOOP: Final = 500
"""Going through this many workflows takes about a millisecond."""


class NotWantedError(StoppedError):
    """The answer was no longer wanted when the turn of the request came."""


class _MovedError(Exception):
    """The same request is answered at another URL of the service."""

    def __init__(self, target: str) -> None:
        super().__init__()
        self.target = target


@dataclass(frozen=True, slots=True)
class _Wait:
    """How long to wait at the closed gate, in seconds at most; None: until something changes."""

    seconds: float | None


class AccountAccess:
    """The gate of one account: makes its requests, or lets them wait.

    Used on the event loop only, except for `health`, `last_error`, `load` and `service_wall`.

    Args:
        account: the configured name.
        client: the client for the service.
        budget: of the service's address, shared with other accounts.
        threads: make the requests, and whatever else of the account may block.
        reload_token: reads the token again from its source; returns False if that failed.
        monotonic: the clock, in monotonic seconds.
        backoff: the wait between tries of a refused token.
        token_shape: what the token in use looks like, if that cannot be a token.
    """

    def __init__(  # noqa: PLR0913 - the parts it joins
        self,
        account: str,
        client: Client,
        budget: RequestBudget,
        threads: CallThreads,
        *,
        reload_token: Callable[[], bool],
        monotonic: Callable[[], float],
        backoff: Backoff,
        token_shape: Callable[[], str | None] = lambda: None,
    ) -> None:
        self.account: Final = account
        self.client: Final = client
        self.refusals: Final = Refusals()
        """Refusals of single ids, from all requests about them."""
        self._budget = budget
        self._threads = threads
        self._reload_token = reload_token
        self._token_shape = token_shape
        self._monotonic = monotonic
        self._backoff = backoff
        self._held_back = HeldBack()
        self.last_error: LastError | None = None
        """The error of the latest request that failed."""
        # Set when something changes for those that wait at the gate, and then replaced.
        self._changed = asyncio.Event()
        self._refused = False
        self._next_try = 0.0
        self._someone_tries = False
        self._answers = Answers()
        # A copy for other threads, which is never changed.
        self._answers_shown = Answers()
        self._misled_in_a_row = 0

    def health(self) -> AccountHealth:
        """The present health of the account. Any thread may call it."""
        return self._answers_shown.copy().health(self._monotonic())

    def need_list(self, *, needed: bool) -> None:
        """Set whether the account's list is read.

        If it is, the account is up only if the list is answered.
        """
        self._answers.need_list(needed=needed)
        self._show_answers()

    def service_wall(self) -> float | None:
        """Unix seconds by the service's clock, taken from answers to this account.

        None: unknown.
        """
        return self.client.service_wall()

    def token_changed(self) -> None:
        """Note that there is another token; if the old one was refused, try the new one now."""
        self._next_try = self._monotonic()
        self._notify()

    def load(self) -> float:
        """The part (0 to 1) of the requests allowed on this address that is in use now."""
        return self._budget.load()

    async def in_thread(
        self, function: Callable[_P, Answer], /, *arguments: _P.args, **named: _P.kwargs
    ) -> Answer:
        """Call in another thread what may wait for a disk, or take long.

        If this task is cancelled, it still waits for the end of the call, so that nothing of it
        happens after the end of the task.
        """
        job = asyncio.wrap_future(self._threads.submit(function, *arguments, **named))
        try:
            return await asyncio.shield(job)
        except asyncio.CancelledError:
            await asyncio.wait([job])
            raise

    async def for_many(
        self, count: int, function: Callable[_P, Answer], /, *arguments: _P.args, **named: _P.kwargs
    ) -> Answer:
        """Call what goes through `count` workflows: in a thread if these would hold up the loop."""
        if count <= MOST_ON_LOOP:
            return function(*arguments, **named)
        return await self.in_thread(function, *arguments, **named)

    def close(self) -> None:
        """End the threads, as soon as they have nothing left to do."""
        self._threads.shutdown(wait=False)

    async def ask(  # noqa: PLR0913 - what a request is
        self,
        priority: Priority,
        request: Callable[[Call], Answer],
        *,
        still_wanted: Callable[[], bool] = lambda: True,
        about_one: bool = False,
        is_extra: bool = False,
        at_most: float | None = None,
        discard: Callable[[Answer], object] = lambda _: None,
    ) -> Answer:
        """Make one request when its turn comes; return its answer.

        If the service redirects it within its own origin, the next one waits for its turn as well.

        Args:
            priority: its priority in the request budget.
            request: makes it, in a thread. Aborting its call ends it.
            still_wanted: called when the turn has come.
            about_one: the request names a workflow, although its priority is one of the list's, so
                a 403 concerns only that workflow.
            is_extra: a valid token may lack permission for this request, so a refusal says nothing
                about the account.
            at_most: seconds from the request to its answer; after that it is aborted.
            discard: called in the thread with an answer that comes after the task was cancelled.

        Raises:
            NotWantedError: no longer wanted when its turn came.
            StoppedError: the budget is closed.
            NoThreadError: no thread can be started for it.
            ServiceError: the service refused, failed or could not be reached.
        """
        about_one = about_one or priority not in LISTING
        target: str | None = None
        hops = 0
        while True:
            for_all = await self._pass_gate(about_one=about_one)
            try:
                if for_all:
                    await self.in_thread(self._reload_token)
                permit = await self._wait_for_permit(priority, still_wanted)
                if self._is_open(for_all=for_all, about_one=about_one):
                    pending = _Pending(
                        permit, request, at_most, discard, target, is_last=hops == MOST_HOPS
                    )
                    return await self._send(
                        pending, for_all=for_all, about_one=about_one, is_extra=is_extra
                    )
                # The gate was closed while this request waited for its turn. It goes back to the
                # gate, because sending it would only bring the same refusal.
                permit.unused()
            except _MovedError as moved:
                target, hops = moved.target, hops + 1
            finally:
                if for_all:
                    self._someone_tries = False
                    self._notify()

    async def refused(
        self, register: WorkflowRegister, workflow_id: str, error: ServiceError, now: Moment
    ) -> Next:
        """Decide what follows a failed request about one id; drop the id if that is the result."""
        then = self.refusals.judge(register, self.account, workflow_id, error, now.monotonic)
        if then.drop_reason is not None:
            removed = Removed(self.account, workflow_id, then.drop_reason, now)
            await self.in_thread(register.drop, removed)
        return then

    async def _wait_for_permit(
        self, priority: Priority, still_wanted: Callable[[], bool]
    ) -> Permit:
        loop, over = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(over.set)

        permit = self._budget.enter(priority, wake)
        try:
            await over.wait()
        except asyncio.CancelledError:
            permit.cancel()
            permit.unused()
            raise
        if permit.slot is None:
            raise StoppedError
        if not still_wanted():
            permit.unused()
            raise NotWantedError
        return permit

    async def _send(
        self, pending: "_Pending[Answer]", *, for_all: bool, about_one: bool, is_extra: bool
    ) -> Answer:
        permit = pending.permit
        try:
            answer = await pending.answer(self._threads)
        except RateLimitedError as error:
            self.last_error = LastError(class_of(error), self._monotonic())
            permit.refused(error.retry_after)
            self._answers.refused_for_now()
            self._show_answers()
            raise
        except ServiceError as error:
            permit.answered()
            if isinstance(error, RedirectedError) and error.target and not pending.is_last:
                raise _MovedError(error.target) from None
            if is_extra and isinstance(
                error, UnauthorizedError | ForbiddenError | NotFoundError | BadRequestError
            ):
                raise
            if for_all and isinstance(error, ForbiddenError):
                # While the whole account is refused, this says nothing about the single id.
                error = UnauthorizedError(
                    str(error), code=error.code, retry_after=error.retry_after
                )
            self._note_failure(
                error, _asked_for(permit.priority, about_one=about_one), about_one=about_one
            )
            raise error from None
        except Exception:
            permit.answered()
            raise
        permit.answered()
        self.refusals.answered(self._monotonic())
        self._note_success(_asked_for(permit.priority, about_one=about_one))
        return answer

    # The gate ---------------------------------------------------------------------------------

    async def _pass_gate(self, *, about_one: bool) -> bool:
        """Wait while the gate is closed.

        Return True if this request tests a refused token for all.
        """
        while True:
            passed = self._try_gate(about_one=about_one)
            if isinstance(passed, bool):
                return passed
            with suppress(TimeoutError):
                async with asyncio.timeout(passed.seconds):
                    await self._changed.wait()

    def _try_gate(self, *, about_one: bool) -> "bool | _Wait":
        """Pass the gate if it is open; otherwise return how long to wait."""
        now = self._monotonic()
        held_back = self._held_back.until(about_one=about_one) - now
        if held_back > 0:
            return _Wait(held_back)
        if not self._refused:
            return False
        if self._someone_tries:
            return _Wait(None)
        if now < self._next_try:
            return _Wait(self._next_try - now)
        self._someone_tries = True
        return True

    def _is_open(self, *, for_all: bool, about_one: bool) -> bool:
        held_back = self._monotonic() < self._held_back.until(about_one=about_one)
        return not held_back and (for_all or not self._refused)

    def _notify(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    # What the answers say ---------------------------------------------------------------------

    def _note_success(self, priority: Priority, *, is_refusal: bool = False) -> None:
        was_refused, self._refused = self._refused, False
        self._backoff.worked()
        self._answers.usable(priority, self._monotonic(), is_refusal=is_refusal)
        self._show_answers()
        self._notify()
        if was_refused:
            log.info("account accepted again", extra={"account": self.account})

    def _note_failure(self, error: ServiceError, priority: Priority, *, about_one: bool) -> None:
        if isinstance(error, AbortedError):
            return
        self._hold_back(error, about_one=about_one)
        if isinstance(error, UnauthorizedError) or (
            isinstance(error, ForbiddenError) and not about_one
        ):
            self._note_refusal(error, priority)
        elif isinstance(error, BadRequestError | NotFoundError | ForbiddenError) and (
            about_one
            or (isinstance(error, BadRequestError) and priority is not Priority.LIST_FIRST_PAGE)
        ):
            # The refusal concerns one id or a parameter, and the service accepted the token: the
            # account itself has no error.
            self._note_success(priority, is_refusal=True)
            return
        else:
            self._note_fault(error, priority)
        self.last_error = LastError(class_of(error), self._monotonic())

    def _note_fault(self, error: ServiceError, priority: Priority) -> None:
        self._answers.failed(priority, error, self._monotonic())
        health = self._answers.health(self._monotonic())
        self._show_answers()
        is_misled = health.up is False and not health.answered and is_of_wrong_address(error)
        self._misled_in_a_row += is_misled
        if is_misled and self._misled_in_a_row == MISLED_IN_A_ROW:
            log.error(
                "no list found at this account's address: check its base_url",
                extra={
                    "account": self.account,
                    "base_url": self.client.base_url,
                    "code": error.code,
                },
            )

    def _hold_back(self, error: ServiceError, *, about_one: bool) -> None:
        now = self._monotonic()
        before = self._held_back.until(about_one=about_one)
        self._held_back.note(error, now, about_one=about_one)
        until = self._held_back.until(about_one=about_one)
        are_all = now < self._held_back.until(about_one=False)
        if before <= now < until:
            # Other running requests get the same answer, so one log line is enough.
            log.warning(
                "the service asks us to wait",
                extra={
                    "account": self.account,
                    "code": error.code,
                    "seconds": round(until - now, 1),
                    "requests": "all" if are_all else "about single workflows",
                },
            )

    def _note_refusal(self, error: ServiceError, priority: Priority) -> None:
        first = not self._refused
        self._refused = True
        if first or self._someone_tries:
            # Requests that run at the same time are refused together: this counts as one backoff
            # step.
            self._next_try = self._monotonic() + self._backoff.failed()
        self._answers.failed(priority, error, self._monotonic(), refused=True)
        self._show_answers()
        self._notify()
        if first:
            marks = {"account": self.account, "code": error.code}
            shape = self._token_shape()
            if shape is not None:
                marks["token_shape"] = shape
            log.error(
                "the service refuses this account's token: retrying, ids are kept", extra=marks
            )

    def _show_answers(self) -> None:
        self._answers_shown = self._answers.copy()


def _asked_for(priority: Priority, *, about_one: bool) -> Priority:
    """The priority class of what was really asked for.

    A request may read one workflow instead of a page.
    """
    return Priority.POLL if about_one and priority in LISTING else priority


@dataclass(frozen=True, slots=True)
class _Pending(Generic[Answer]):
    """A request whose turn has come."""

    permit: Permit
    request: Callable[[Call], Answer]
    at_most: float | None
    discard: Callable[[Answer], object]
    target: str | None
    """The URL to which the service has redirected it."""
    is_last: bool
    """Whether no further redirect is followed."""

    async def answer(self, threads: CallThreads) -> Answer:
        """Make it in a thread.

        If it is broken off, it is not waited for: resolving a name cannot be interrupted.
        """
        call = Call(self.target)
        try:
            job = threads.submit(self.request, call)
        except NoThreadError:
            self.permit.unused()
            raise
        try:
            async with asyncio.timeout(self.at_most):
                return await asyncio.wrap_future(job)
        except (asyncio.CancelledError, TimeoutError) as error:
            call.abort()
            if job.cancel():
                self.permit.unused()
            else:
                job.add_done_callback(self._clean_up)
            if isinstance(error, TimeoutError):
                raise AbortedError("the answer took too long") from None
            raise

    def _clean_up(self, job: Future[Answer]) -> None:
        """Called in the thread when a request has ended that was broken off."""
        error = job.exception()
        if isinstance(error, RateLimitedError):
            self.permit.refused(error.retry_after)
        else:
            self.permit.answered()
        if error is None:
            self.discard(job.result())
