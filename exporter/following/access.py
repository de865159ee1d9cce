"""One account's way to the service: through its gate, then the budget, then the client.

Everyone who asks on behalf of an account asks here, so that a refused token stops them all and
one of them tries for all, and so that no request escapes the budget.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from exporter.comfycontrol import (
    Aborted,
    BadRequest,
    Call,
    Client,
    Forbidden,
    NotFound,
    RateLimited,
    ServiceError,
    Unauthorized,
)
from exporter.comfycontrol.budget import RequestBudget, Turn
from exporter.comfycontrol.errors import NO_STATUS
from exporter.comfycontrol.window import Purpose
from exporter.following.backoff import Backoff
from exporter.following.stop import Stop, Stopped

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")

_LIST_PURPOSES: Final = (Purpose.LIST_FIRST_PAGE, Purpose.LIST_DEEPER_PAGE)


@dataclass(frozen=True, slots=True)
class AccountHealth:
    """What the service's answers said of an account."""

    up: bool | None
    """The last answer was authorised and usable; None before there was anything to answer."""
    answered: bool
    """There was an answer at all, since the start."""
    down_since: float | None
    """Monotonic time since which no answer was usable; None while up."""


class AccountAccess:
    """The gate of one account, and the way through.

    Args:
        account: the configured name.
        client: asks the service.
        budget: of the service's address, shared with other accounts.
        reload_token: read the token again from where it comes from; False when that failed.
        monotonic: seconds.
        random: numbers from 0 to 1, for the backoff.
    """

    def __init__(  # noqa: PLR0913 - the parts it joins
        self,
        account: str,
        client: Client,
        budget: RequestBudget,
        *,
        reload_token: Callable[[], bool],
        monotonic: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        self.account: Final = account
        self.client: Final = client
        self._budget = budget
        self._reload_token = reload_token
        self._monotonic = monotonic
        self._backoff = Backoff(random)
        self._changed = threading.Condition()
        self._refused = False
        self._next_try = 0.0
        self._someone_tries = False
        self._health = AccountHealth(up=None, answered=False, down_since=None)

    def health(self) -> AccountHealth:
        """What is known of the account now."""
        with self._changed:
            return self._health

    def token_changed(self) -> None:
        """There is another token: where the old one was refused, try it now."""
        with self._changed:
            self._next_try = self._monotonic()
            self._changed.notify_all()

    def load(self) -> float:
        """The part (0 to 1) of the requests allowed on this address that is in use now."""
        reading = self._budget.reading()
        return reading.used / reading.allowed

    def ask(
        self,
        purpose: Purpose,
        stop: Stop,
        request: Callable[[Call], Answer],
        *,
        still_wanted: Callable[[], bool] = lambda: True,
        about_one: bool = False,
    ) -> Answer:
        """Make one request when it is its turn; blocks until its answer.

        `about_one`: it names a workflow, whatever its purpose, so a 403 is about that one alone.

        Raises:
            Stopped: asked to end, or no longer wanted when its turn came.
            ServiceError: the service refused, failed or was out of reach.
        """
        while True:
            for_all = self._pass_gate(stop)
            try:
                if for_all:
                    self._reload_token()
                turn = self._turn(purpose, stop, still_wanted)
                if for_all or not self._is_refused():
                    return self._send(turn, stop, request, for_all=for_all, about_one=about_one)
                # The token was refused while this one queued up: back to the gate, without
                # spending a request on the same answer.
                turn.unused()
            finally:
                if for_all:
                    self._end_try()

    def _turn(self, purpose: Purpose, stop: Stop, still_wanted: Callable[[], bool]) -> Turn:
        turn = self._budget.enter(purpose)
        with stop.interrupting(turn.cancel):
            granted = turn.wait()
        if not granted:
            raise Stopped
        if stop.asked or not still_wanted():
            turn.unused()
            raise Stopped
        return turn

    def _send(
        self,
        turn: Turn,
        stop: Stop,
        request: Callable[[Call], Answer],
        *,
        for_all: bool,
        about_one: bool,
    ) -> Answer:
        call = Call()
        try:
            with stop.interrupting(call.abort):
                answer = request(call)
        except RateLimited as error:
            turn.refused(error.retry_after)
            self._note_answer()
            raise
        except ServiceError as error:
            turn.answered()
            if stop.asked:
                raise Stopped from None
            if for_all and isinstance(error, Forbidden):
                # While the whole account is refused, this says nothing of the one id.
                error = Unauthorized(str(error), code=error.code)
            self._note_failure(error, of_account=turn.purpose in _LIST_PURPOSES and not about_one)
            raise error from None
        except BaseException:
            turn.answered()
            raise
        turn.answered()
        self._note_success()
        return answer

    # The gate ---------------------------------------------------------------------------------

    def _pass_gate(self, stop: Stop) -> bool:
        """Wait while the token is refused; True for the one who tries on behalf of all."""
        with stop.interrupting(self._wake), self._changed:
            while self._refused:
                if stop.asked:
                    raise Stopped
                left = self._next_try - self._monotonic()
                if left <= 0 and not self._someone_tries:
                    self._someone_tries = True
                    break
                self._changed.wait(None if self._someone_tries else left)
            else:
                return False
        return True

    def _is_refused(self) -> bool:
        with self._changed:
            return self._refused

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _end_try(self) -> None:
        with self._changed:
            self._someone_tries = False
            self._changed.notify_all()

    # What the answers say ---------------------------------------------------------------------

    def _note_answer(self) -> None:
        with self._changed:
            self._health = AccountHealth(
                up=self._health.up, answered=True, down_since=self._health.down_since
            )

    def _note_success(self) -> None:
        with self._changed:
            was_refused, self._refused = self._refused, False
            self._backoff.worked()
            self._health = AccountHealth(up=True, answered=True, down_since=None)
            self._changed.notify_all()
        if was_refused:
            log.info("account accepted again", extra={"account": self.account})

    def _note_failure(self, error: ServiceError, *, of_account: bool) -> None:
        if isinstance(error, Aborted):
            return
        if isinstance(error, Unauthorized) or (isinstance(error, Forbidden) and of_account):
            self._note_refusal(error)
        elif isinstance(error, BadRequest | NotFound | Forbidden):
            # Said of one id by a service that knew who asked.
            self._note_success()
        else:
            self._note_down(answered=error.code != NO_STATUS)

    def _note_refusal(self, error: ServiceError) -> None:
        with self._changed:
            first = not self._refused
            self._refused = True
            if first or self._someone_tries:
                # Streams that were under way together are refused together: one step, not many.
                self._next_try = self._monotonic() + self._backoff.failed()
            self._changed.notify_all()
        self._note_down(answered=error.code != NO_STATUS)
        if first:
            log.error(
                "the service refuses this account's token: trying again, ids are kept",
                extra={"account": self.account, "code": error.code},
            )

    def _note_down(self, *, answered: bool) -> None:
        with self._changed:
            since = self._health.down_since
            self._health = AccountHealth(
                up=False,
                answered=self._health.answered or answered,
                down_since=self._monotonic() if since is None else since,
            )
