"""How long requests are held back because the service sent `Retry-After`. Pure."""

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

    An answer about the list holds back the whole account, and so does a refused token: the service
    asked us to wait. An answer about a single workflow holds back all requests about single
    workflows, but not the list: the problem may concern only that workflow, and outcomes are
    counted through the list. Times are seconds of one monotonic clock.
    """

    def __init__(self) -> None:
        self._all = -inf
        self._about_one = -inf

    def note(self, error: ServiceError, now: float, *, about_one: bool) -> None:
        """Note an answer; `about_one`: the request named a workflow."""
        if error.retry_after is None or isinstance(error, RateLimitedError):
            # A 429 closes the budget, for all accounts of the address.
            return
        if about_one and isinstance(error, BadRequestError | NotFoundError | ForbiddenError):
            # The answer concerns one id, and the service works, so only the caller waits.
            return
        until = now + error.retry_after
        if about_one and not isinstance(error, UnauthorizedError):
            self._about_one = max(self._about_one, until)
        else:
            self._all = max(self._all, until)

    def until(self, *, about_one: bool) -> float:
        """When the next request may be sent; minus infinity: at any time."""
        return max(self._all, self._about_one) if about_one else self._all
