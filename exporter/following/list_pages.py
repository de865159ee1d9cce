"""Reads pages of one account's list, as often as each of them takes."""

import logging
from collections.abc import Callable, Sequence
from math import inf
from typing import Final

from exporter.comfycontrol import (
    BadRequest,
    Call,
    RateLimited,
    ServiceError,
    Unauthorized,
    WorkflowPage,
    WorkflowSummary,
)
from exporter.comfycontrol.window import Purpose
from exporter.following.access import AccountAccess
from exporter.following.backoff import Backoff
from exporter.following.list_stamps import latest_believed
from exporter.following.listing_pass import PageToRead
from exporter.following.stop import Stop
from exporter.following.telemetry import Telemetry
from exporter.observations import Moment

log = logging.getLogger(__name__)

MOST_TRIES: Final = 5
"""How often in a row a page is tried that is not answered while the first page is."""

LEAST_WAIT_SECONDS: Final = 0.5
"""The least between a failure and the next try."""

PageChoice = Callable[[float], PageToRead]
"""Names the page to read, if it is asked for at this moment of the monotonic clock."""


class ListPages:
    """The way to the pages of a list. For one thread.

    Args:
        access: the account's way to the service.
        telemetry: is told of pages.
        stop: ends every wait.
        take_top: takes what the first page shows, where it is looked at between others.
        top_again: seconds after which the first page is looked at again between others: what is
            new is not to wait until a night's backlog is read.
        now: both clocks.
        backoff: of this list.
    """

    def __init__(  # noqa: PLR0913 - the parts it joins
        self,
        access: AccountAccess,
        telemetry: Telemetry,
        stop: Stop,
        *,
        take_top: Callable[[Sequence[WorkflowSummary]], None],
        top_again: float,
        now: Callable[[], Moment],
        backoff: Backoff,
    ) -> None:
        self._access = access
        self._account = access.account
        self._telemetry = telemetry
        self._stop = stop
        self._take_top = take_top
        self._top_again = top_again
        self._now = now
        self._backoff = backoff
        self._top_read = -inf
        self._failing: str | None = None
        self._service_ahead = 0.0

    def service_wall(self) -> float:
        """Unix seconds by the service's clock, as its last answer told it; else by our own.

        What the list says is compared with this: a clock of ours that is slow by minutes would
        have each pass read these minutes again.
        """
        return self._now().wall + self._service_ahead

    def latest_believed(self) -> float:
        """The latest stamp (Unix seconds) that is believed of what the service tells now."""
        return latest_believed(self._access.service_wall(), self._now().wall)

    def first(self) -> tuple[PageToRead, WorkflowPage]:
        """Read the first page.

        Raises:
            Stopped: asked to end.
            ServiceError: no answer.
        """
        self._top_read = self._now().monotonic
        return self._read(lambda _: PageToRead(1), Purpose.LIST_FIRST_PAGE)

    def deeper(
        self, choose: PageChoice, status: str | None = None
    ) -> tuple[PageToRead, WorkflowPage]:
        """Read a page below the first one, or one of a filtered list.

        What has been read before it stands, whatever fails meanwhile: a backlog of hundreds of
        pages that began anew with each failure might never be read to its end.

        Raises:
            Stopped: asked to end.
            BadRequest: there is no such filter.
            ServiceError: this page is not answered, though the first one is.
        """
        failures = 0
        while True:
            if self._now().monotonic - self._top_read >= self._top_again:
                self._look_at_top()
            try:
                answer = self._read(choose, Purpose.LIST_DEEPER_PAGE, status)
            except BadRequest:
                raise
            except (RateLimited, Unauthorized):
                continue  # the budget, or the account's gate, holds the next try back
            except ServiceError as error:
                failures += 1
                if failures >= MOST_TRIES:
                    if self._look_at_top():
                        raise
                    failures = 0
                self._stop.sleep(self.failed(error))
            else:
                if failures:
                    self._backoff.worked()
                    self.worked()
                return answer

    def failed(self, error: ServiceError) -> float:
        """Note a failure, and tell of it once for each reason: an outage lasts for many tries.

        How many seconds to wait.
        """
        reason = str(error)  # our own words: it holds nothing that was sent
        level = logging.DEBUG if reason == self._failing else logging.WARNING
        log.log(
            level,
            "listing failed",
            extra={"account": self._account, "code": error.code, "reason": reason},
        )
        self._failing = reason
        return max(self._backoff.failed(), LEAST_WAIT_SECONDS)

    def worked(self) -> None:
        """Note that all is well."""
        if self._failing is not None:
            log.info("listing works again", extra={"account": self._account})
        self._failing = None

    def _look_at_top(self) -> bool:
        """Take what the first page shows now; whether it was answered."""
        try:
            _, shown = self.first()
        except ServiceError:
            return False
        self._take_top(shown.workflows)
        return True

    def _read(
        self, choose: PageChoice, purpose: Purpose, status: str | None = None
    ) -> tuple[PageToRead, WorkflowPage]:
        """Read the page that `choose` names when its turn has come."""

        def read(call: Call) -> tuple[PageToRead, WorkflowPage]:
            page = choose(self._now().monotonic)
            return page, self._access.client.list_workflows(
                page=page.number, per_page=page.size, status=status, call=call
            )

        page, shown = self._access.ask(purpose, self._stop, read)
        self._telemetry.page_read(self._account)
        if shown.service_time is not None:
            self._service_ahead = shown.service_time - self._now().wall
        if shown.malformed:
            log.warning(
                "entries of the list could not be read",
                extra={"account": self._account, "page": page.number, "entries": shown.malformed},
            )
        return page, shown
