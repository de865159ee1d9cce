"""One account's way to the service: through its gate, then the budget, then the client.

All requests of an account are sent here. If the token is refused, all requests stop, and one at a
time tests whether the token works again. All requests wait when the service asks for it
(`HeldBack`), and none bypasses the budget.
"""

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, TypeVar

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
    ServiceError,
    UnauthorizedError,
)
from exporter.following.answers import (
    AccountHealth,
    Answers,
    LastError,
    class_of,
    is_of_wrong_address,
)
from exporter.following.held_back import HeldBack
from exporter.following.refusals import Refusals
from exporter.following.threads import CallThreads
from exporter.retrying import Backoff
from exporter.worker import Cancellation, StoppedError

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")

MISLED_IN_A_ROW: Final = 3
"""How many answers in a row that look like those of a wrong address, without any usable one, before
the log suspects the address. A proxy in front of the service gives such a page now and then."""


@dataclass(frozen=True, slots=True)
class _Wait:
    """How long to wait at the closed gate, in seconds at most; None: until something changes."""

    seconds: float | None


class AccountAccess:
    """The gate of one account: makes its requests, or lets them wait.

    Args:
        account: the configured name.
        client: the client for the service.
        budget: of the service's address, shared with other accounts.
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
        self._reload_token = reload_token
        self._token_shape = token_shape
        self._monotonic = monotonic
        self._backoff = backoff
        self._held_back = HeldBack()
        self.last_error: LastError | None = None
        """The error of the latest request that failed."""
        self._changed = threading.Condition()
        self._refused = False
        self._next_try = 0.0
        self._someone_tries = False
        self._answers = Answers()
        # Wakes the tasks that wait at the gate on an event loop.
        self._wakers: set[Callable[[], object]] = set()
        self._misled_in_a_row = 0

    def health(self) -> AccountHealth:
        """The present health of the account."""
        with self._changed:
            return self._answers.health(self._monotonic())

    def need_list(self, *, needed: bool) -> None:
        """Set whether the account's list is read.

        If it is, the account is up only if the list is answered.
        """
        with self._changed:
            self._answers.need_list(needed=needed)

    def service_wall(self) -> float | None:
        """Unix seconds by the service's clock, taken from answers to this account.

        None: unknown.
        """
        return self.client.service_wall()

    def token_changed(self) -> None:
        """Note that there is another token; if the old one was refused, try the new one now."""
        with self._changed:
            self._next_try = self._monotonic()
            self._notify()

    def load(self) -> float:
        """The part (0 to 1) of the requests allowed on this address that is in use now."""
        return self._budget.load()

    def ask(  # noqa: PLR0913 - what a request is
        self,
        priority: Priority,
        stop: Cancellation,
        request: Callable[[Call], Answer],
        *,
        still_wanted: Callable[[], bool] = lambda: True,
        about_one: bool = False,
        is_extra: bool = False,
    ) -> Answer:
        """Make one request when its turn comes; block until its answer.

        `about_one`: the request names a workflow, although its priority is one of the list's, so a
        403 concerns only that workflow. `is_extra`: a valid token may lack permission for this
        request, so a refusal says nothing about the account.

        Raises:
            StoppedError: the caller was asked to end, or the answer was no longer wanted when its
                turn came.
            ServiceError: the service refused, failed or could not be reached.
        """
        about_one = about_one or priority not in LISTING
        while True:
            for_all = self._pass_gate(stop, about_one=about_one)
            try:
                if for_all:
                    self._reload_token()
                permit = self._wait_for_permit(priority, stop, still_wanted)
                if self._is_open(for_all=for_all, about_one=about_one):
                    return self._send(
                        permit,
                        stop,
                        request,
                        for_all=for_all,
                        about_one=about_one,
                        is_extra=is_extra,
                    )
                # The gate was closed while this request waited for its turn. It goes back to the
                # gate, because sending it would only bring the same refusal.
                permit.unused()
            finally:
                if for_all:
                    self._end_try()

    async def ask_on_loop(
        self,
        priority: Priority,
        pool: CallThreads,
        request: Callable[[Call], Answer],
        *,
        still_wanted: Callable[[], bool],
        discard: Callable[[Answer], object],
    ) -> Answer:
        """Do the same as `ask` about one workflow, for a task of an event loop.

        Only the request itself uses a thread of the pool. Cancelling the task ends its wait; an
        answer that comes after that is passed to `discard`, in the thread of the pool.

        Raises:
            StoppedError: no longer wanted when its turn came, or the budget is closed.
            ServiceError: the service refused, failed or could not be reached.
        """
        while True:
            for_all = await self._pass_gate_on_loop()
            try:
                if for_all:
                    await asyncio.get_running_loop().run_in_executor(pool, self._reload_token)
                permit = await self._wait_for_permit_on_loop(priority, still_wanted)
                if self._is_open(for_all=for_all, about_one=True):
                    return await self._send_on_loop(
                        permit, pool, request, for_all=for_all, discard=discard
                    )
                permit.unused()
            finally:
                if for_all:
                    self._end_try()

    async def _pass_gate_on_loop(self) -> bool:
        loop, woken = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(woken.set)

        while True:
            with self._changed:
                passed = self._try_gate(about_one=True)
                if isinstance(passed, bool):
                    return passed
                woken.clear()
                self._wakers.add(wake)
            try:
                with suppress(TimeoutError):
                    await asyncio.wait_for(woken.wait(), passed.seconds)
            finally:
                with self._changed:
                    self._wakers.discard(wake)

    async def _wait_for_permit_on_loop(
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
            raise StoppedError
        return permit

    async def _send_on_loop(
        self,
        permit: Permit,
        pool: CallThreads,
        request: Callable[[Call], Answer],
        *,
        for_all: bool,
        discard: Callable[[Answer], object],
    ) -> Answer:
        stop = Cancellation()
        try:
            job = pool.submit(self._send, permit, stop, request, for_all=for_all, about_one=True)
        except RuntimeError:
            permit.unused()
            raise  # no thread is available, or the pool has ended

        def clean_up(job: Future[Answer]) -> None:
            if job.exception() is None:
                discard(job.result())

        try:
            return await asyncio.wrap_future(job)
        except asyncio.CancelledError:
            stop.request()
            if job.cancel():
                permit.unused()
            else:
                job.add_done_callback(clean_up)
            raise

    def _wait_for_permit(
        self, priority: Priority, stop: Cancellation, still_wanted: Callable[[], bool]
    ) -> Permit:
        permit = self._budget.enter(priority)
        with stop.interrupting(permit.cancel):
            granted = permit.wait()
        if not granted:
            raise StoppedError
        if stop.is_requested or not still_wanted():
            permit.unused()
            raise StoppedError
        return permit

    def _send(  # noqa: PLR0913 - the same
        self,
        permit: Permit,
        stop: Cancellation,
        request: Callable[[Call], Answer],
        *,
        for_all: bool,
        about_one: bool,
        is_extra: bool = False,
    ) -> Answer:
        call = Call()
        try:
            with stop.interrupting(call.abort):
                answer = request(call)
        except RateLimitedError as error:
            self.last_error = LastError(class_of(error), self._monotonic())
            permit.refused(error.retry_after)
            with self._changed:
                self._answers.refused_for_now()
            raise
        except ServiceError as error:
            permit.answered()
            if stop.is_requested:
                raise StoppedError from None
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
        except BaseException:
            permit.answered()
            raise
        permit.answered()
        self.refusals.answered(self._monotonic())
        self._note_success(_asked_for(permit.priority, about_one=about_one))
        return answer

    # The gate ---------------------------------------------------------------------------------

    def _pass_gate(self, stop: Cancellation, *, about_one: bool) -> bool:
        """Wait while the gate is closed.

        Return True if this request tests a refused token for all.
        """
        with stop.interrupting(self._wake), self._changed:
            while not stop.is_requested:
                passed = self._try_gate(about_one=about_one)
                if isinstance(passed, bool):
                    return passed
                self._changed.wait(passed.seconds)
        raise StoppedError

    def _try_gate(self, *, about_one: bool) -> "bool | _Wait":
        """Pass the gate if it is open; otherwise return how long to wait. Called under the lock."""
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
        with self._changed:
            held_back = self._monotonic() < self._held_back.until(about_one=about_one)
            return not held_back and (for_all or not self._refused)

    def _wake(self) -> None:
        with self._changed:
            self._notify()

    def _notify(self) -> None:
        self._changed.notify_all()
        for wake in self._wakers:
            wake()

    def _end_try(self) -> None:
        with self._changed:
            self._someone_tries = False
            self._notify()

    # What the answers say ---------------------------------------------------------------------

    def _note_success(self, priority: Priority, *, is_refusal: bool = False) -> None:
        with self._changed:
            was_refused, self._refused = self._refused, False
            self._backoff.worked()
            self._answers.usable(priority, self._monotonic(), is_refusal=is_refusal)
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
        with self._changed:
            self._answers.failed(priority, error, self._monotonic())
            health = self._answers.health(self._monotonic())
            is_misled = health.up is False and not health.answered
            is_misled = is_misled and is_of_wrong_address(error)
            self._misled_in_a_row += is_misled
            suspects_address = is_misled and self._misled_in_a_row == MISLED_IN_A_ROW
        if suspects_address:
            log.error(
                "no list found at this account's address: check its base_url",
                extra={
                    "account": self.account,
                    "base_url": self.client.base_url,
                    "code": error.code,
                },
            )

    def _hold_back(self, error: ServiceError, *, about_one: bool) -> None:
        with self._changed:
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
        with self._changed:
            first = not self._refused
            self._refused = True
            if first or self._someone_tries:
                # Requests that run at the same time are refused together: this counts as one
                # backoff step.
                self._next_try = self._monotonic() + self._backoff.failed()
            self._answers.failed(priority, error, self._monotonic(), refused=True)
            self._notify()
        if first:
            marks = {"account": self.account, "code": error.code}
            shape = self._token_shape()
            if shape is not None:
                marks["token_shape"] = shape
            log.error(
                "the service refuses this account's token: retrying, ids are kept", extra=marks
            )


def _asked_for(priority: Priority, *, about_one: bool) -> Priority:
    """The priority class of what was really asked for.

    A request may read one workflow instead of a page.
    """
    return Priority.POLL if about_one and priority in LISTING else priority
