"""How long nothing is asked, because the service sent `Retry-After`. Pure."""

from math import inf

from exporter.comfycontrol import (
    BadRequestError,
    ForbiddenError,
    NotFoundError,
    RateLimitedError,
    ServiceError,
    UnauthorizedError,
)


class HeldBack:
    """Until when one account's requests are held back, as answers with `Retry-After` asked. Pure.

    What an answer to the list says holds for all of the account, and so does a refused token: the
    service asked us to stay away. What one about a single workflow says holds for all requests
    about single workflows. It may be the trouble of that one alone, and the list, by which outcomes
    are counted, finds out for itself. Times are seconds of one monotonic clock.
    """

    def __init__(self) -> None:
        self._all = -inf
        self._about_one = -inf

    def note(self, error: ServiceError, now: float, *, about_one: bool) -> None:
        """Take an answer; `about_one`: the request named a workflow."""
        if error.retry_after is None or isinstance(error, RateLimitedError):
            # A 429 closes the budget, for all accounts of the address.
            return
        if about_one and isinstance(error, BadRequestError | NotFoundError | ForbiddenError):
            # About one id, from a service that works: only the caller waits.
            return
        until = now + error.retry_after
        if about_one and not isinstance(error, UnauthorizedError):
            self._about_one = max(self._about_one, until)
        else:
            self._all = max(self._all, until)

    def until(self, *, about_one: bool) -> float:
        """When the next request may be made; minus infinity where nothing was ever asked of us."""
        return max(self._all, self._about_one) if about_one else self._all
