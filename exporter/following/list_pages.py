"""Reads pages of one account's list, and retries them."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from math import inf
from typing import Final

from exporter.budget.sliding_window import Priority
from exporter.comfycontrol import (
    BadRequestError,
    Call,
    NotFoundError,
    RateLimitedError,
    ServiceError,
    TooLargeError,
    UnauthorizedError,
    UnreachableError,
    WorkflowPage,
    WorkflowSummary,
)
from exporter.following.access import AccountAccess
from exporter.following.answer_size import AcceptedSize, AnswerSize
from exporter.following.listing_pass import ListingPass, PassBefore
from exporter.following.page_numbers import PageNumbers
from exporter.following.page_totals import PageTotals
from exporter.following.paging import PER_PAGE, PageToRead
from exporter.following.service_clock import ServiceClock
from exporter.interfaces.observations import Moment
from exporter.interfaces.telemetry import Telemetry
from exporter.retrying import Backoff

log = logging.getLogger(__name__)

MOST_TRIES: Final = 5
"""How often in a row a page is tried that gets no answer although the first page does."""

LESS_TRIES: Final = 2
"""The same, after fewer rows are requested because of that."""

LEAST_WAIT_SECONDS: Final = 0.5
"""Shortest wait in seconds between a failure and the next try."""

BESIDE: Final = (1, 2, 5, 10)
"""Offsets, in rows below an unreadable row, of other rows that are tried, to distinguish it from an
outage."""

BEYOND_CODES: Final = frozenset({"400", "404", "410", "416", "422"})
"""Codes that a service may answer if the page does not exist."""

END_REFUSALS: Final = 2
"""How often a page must be refused, while the first one is answered, before this counts as the end
of the list."""

LOG_AGAIN_SECONDS: Final = 600.0
"""Seconds after which it is logged again that parts of a list cannot be read, or only in small
pages."""

PageChoice = Callable[[float], PageToRead]
"""Chooses the page to request at this moment (monotonic seconds). It must have no more rows than
`ListPages.most`; otherwise pages that are too large cannot be requested in parts."""


class ListPages:
    """Requests the pages of an account's lists. For one task.

    Args:
        access: the account's way to the service.
        telemetry: is notified of pages.
        take_top: receives the rows of the first page when it is read between others. Called in a
            thread.
        top_again: seconds after which the first page is read again between others, so that new
            workflows do not wait until a long backlog is read.
        now: returns the time of both clocks (wall and monotonic).
        backoff: the wait after failed requests of this list.
        least_wait: seconds to wait at least after a request that failed.
        turns: the priorities of the first page and of the others.
        accepted: how many rows the service accepts, if other readers of its lists also learn that.
        sleep: waits that many seconds.
    """

    def __init__(  # noqa: PLR0913 - the parts it joins
        self,
        access: AccountAccess,
        telemetry: Telemetry,
        *,
        take_top: Callable[[Iterable[WorkflowSummary]], None],
        top_again: float,
        now: Callable[[], Moment],
        backoff: Backoff,
        accepted: AcceptedSize | None = None,
        turns: tuple[Priority, Priority] = (Priority.LIST_FIRST_PAGE, Priority.LIST_DEEPER_PAGE),
        least_wait: float = LEAST_WAIT_SECONDS,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._access = access
        self._account = access.account
        self._telemetry = telemetry
        self._sleep = sleep
        self._take_top = take_top
        self._top_again = top_again
        self._now = now
        self._backoff = backoff
        self._least_wait = least_wait
        self._first_turn, self._other_turn = turns
        self._top_read = -inf
        self.top_shown_at = now()
        """When the first page was last read: other requests may have waited since."""
        self._failing: str | None = None
        self.clock: Final = ServiceClock()
        self.totals: Final = PageTotals()
        self._numbers = PageNumbers()
        # The first page is read regularly, and must not fail each time that more rows are tried.
        self._top_size = AnswerSize()
        self._size = AnswerSize()
        self._accepted = accepted or AcceptedSize()
        self._asked = PageToRead(1)
        # The length of the list of each status, from a page that does not show all of it.
        self._lengths: dict[str | None, int | None] = {}
        self._malformed_logged_at = self._smaller_logged_at = -inf

    @property
    def most(self) -> int:
        """The largest number of rows to request below the first page."""
        return min(self._size.most, self._accepted.most)

    @property
    def is_first_certain(self) -> bool:
        """Whether nothing is known to speak against the number of the first page."""
        return self._numbers.is_certain

    def service_wall(self) -> float:
        """Unix seconds by the service's clock in its last answer; otherwise by our own.

        The stamps of the list are compared with this: if our clock were some minutes slow, each
        pass would read these minutes again.
        """
        now = self._now()
        told = self.clock.service_time(now)
        return now.wall if told is None else told

    async def first(self, *, is_beginning: bool = False) -> tuple[PageToRead, WorkflowPage]:
        """Read the first page.

        It has fewer rows if more would be too large, and skips a row that alone is too large.

        Args:
            is_beginning: whether it shall tell what had ended before counting began. Then it must
                be certain that no page stands above it.

        Raises:
            StoppedError: the process is ending.
            ServiceError: there was no usable answer.
        """
        self._accepted.try_more(self._now().monotonic)
        while True:
            page = PageToRead(1, min(self._top_size.most, self._accepted.most))
            try:
                shown = await self._first(page, is_beginning=is_beginning)
            except ServiceError as error:
                if _may_ask_for_too_many(error) and self._accepted.refused(
                    page.size, self._now().monotonic
                ):
                    self._log_fewer_rows(error)
                    continue
                if not _is_for_its_size(error):
                    raise
                self._note_too_large(self._top_size, page, error)
                if page.size == 1:
                    if not await self._is_answered_below(page, None):
                        raise
                    return page, self._left_out(page)
            else:
                self._accepted.worked(page.size)
                self._top_size.worked(page.size, self._now().monotonic)
                await self._confirm_refusal()
                return page, shown

    async def _confirm_refusal(self) -> None:
        """Request once more as many rows as were refused, although fewer are accepted now."""
        size, self._accepted.unconfirmed = self._accepted.unconfirmed, None
        if size is None:
            return
        with suppress(ServiceError):
            await self._read(_just(PageToRead(1, size)), self._other_turn)
            self._accepted.worked(size)

    async def _first(self, page: PageToRead, *, is_beginning: bool) -> WorkflowPage:
        """Read the first page, whether its number is 0 or 1."""
        now = self._top_read = self._now().monotonic
        shown: WorkflowPage | None = None
        refusal: ServiceError | None = None
        try:
            _, shown = await self._read(_just(page), self._first_turn)
            self.top_shown_at = self._now()
        except (BadRequestError, NotFoundError) as error:
            refusal = error
        is_the_lists = self.totals.count_the_list(now)
        if self._numbers.is_doubtful(
            shown, now, is_total_the_lists=is_the_lists, is_beginning=is_beginning
        ):
            above = await self._above(page, shown, now, is_beginning=is_beginning)
            if above is not None:
                self.top_shown_at = self._now()
                return above
        if shown is None:
            raise refusal or RuntimeError
        return shown

    async def _above(
        self, page: PageToRead, shown: WorkflowPage | None, now: float, *, is_beginning: bool
    ) -> WorkflowPage | None:
        """The page before the assumed first page, if that one is really the first.

        Raises:
            StoppedError: the process is ending.
            ServiceError: it was not answered, and nothing shows that the assumed one is the first.
        """
        above: WorkflowPage | None = None
        try:
            _, above = await self._read(
                _just(PageToRead(page.number - 1, page.size)),
                self._other_turn,
                is_probe=True,
            )
        except ServiceError as error:
            if error.code not in BEYOND_CODES:
                self._numbers.unanswered(now)
                if shown is not None and not self._numbers.may_be_first(
                    shown, is_beginning=is_beginning and _may_be_asked_again(error)
                ):
                    raise
                return None
        return above if self._numbers.settle(above, shown, now) else None

    async def deeper(
        self, choose: PageChoice, status: str | None = None, tries: int = MOST_TRIES
    ) -> tuple[PageToRead, WorkflowPage]:
        """Read a page below the first one, or one of a filtered list.

        Rows read before stay valid if this fails: if a backlog of hundreds of pages started over
        with each failure, it might never be read completely.

        Raises:
            StoppedError: the process is ending.
            BadRequestError: the filter or the page does not exist.
            NotFoundError: the filter or the page does not exist.
            ServiceError: this page gets no answer although the first one does, or it is too large.
        """

        def chosen(now: float) -> PageToRead:
            self._asked = choose(now)
            return self._asked

        failures = 0
        while True:
            if self._now().monotonic - self._top_read >= self._top_again:
                await self._check_top()
            try:
                answer = await self._read(chosen, self._other_turn, status)
            except (BadRequestError, NotFoundError):
                raise
            except (RateLimitedError, UnauthorizedError):
                continue  # the budget or the account's gate delays the next try
            except ServiceError as error:
                failures = await self._outlast(error, failures + 1, tries)
            else:
                if failures:
                    self._backoff.worked()
                    self.worked()
                return answer

    async def _outlast(self, error: ServiceError, failures: int, tries: int) -> int:
        """Wait for the next try, if there is one; return how often it has failed so far."""
        if _is_for_its_size(error):
            raise error
        if failures >= tries:
            if await self._check_top():
                raise error
            failures = 0
        await self._sleep(self.failed(error))
        return failures

    async def below(
        self, choose: PageChoice, status: str | None = None
    ) -> tuple[PageToRead, WorkflowPage]:
        """Read a page as `deeper` does, or the part of it that can be read.

        If it cannot be read, fewer rows are requested, and finally a single row is skipped, which
        counts as malformed. A page that does not exist is returned as an empty one.

        Raises:
            StoppedError: the process is ending.
            BadRequestError: the filter does not exist.
            NotFoundError: the filter does not exist.
            ServiceError: it gets no answer, in any size.
        """
        refusals, tries = 0, MOST_TRIES
        while True:
            try:
                page, shown = await self.deeper(choose, status, tries)
            except ServiceError as error:
                page = self._asked
                if error.code in BEYOND_CODES and page.number > 1:
                    refusals = await self._refused(error, refusals + 1)
                    if self._is_beyond(page, status) or refusals >= END_REFUSALS:
                        return page, _nothing(self._lengths.get(status))
                    continue
                if isinstance(error, BadRequestError | NotFoundError):
                    raise
                tries = LESS_TRIES
                if await self._ask_for_less(error, choose, status):
                    return page, self._left_out(page)
            else:
                self._size.worked(page.size, self._now().monotonic)
                return page, shown

    async def _refused(self, error: ServiceError, refusals: int) -> int:
        """How often this page was refused while the first one was answered, including this time."""
        if refusals >= END_REFUSALS or await self._check_top():
            return refusals
        await self._sleep(self.failed(error))
        return 0

    async def _ask_for_less(
        self, error: ServiceError, choose: PageChoice, status: str | None
    ) -> bool:
        """Request fewer rows from now on; return whether only a single, unreadable row is left."""
        page = self._asked
        # The service answers other requests, so only this page fails.
        self._backoff.worked()
        self._note_too_large(self._size, page, error)
        if page.size > 1:
            chosen = await self._access.in_thread(choose, self._now().monotonic)
            if chosen.size >= page.size:
                raise error
            return False
        if _is_for_its_size(error) and not await self._is_answered_below(page, status):
            raise error
        self._size.left_out(self._now().monotonic)
        return True

    def filtered(
        self, status: str | None, most: int = PER_PAGE, *, is_repeated: bool = True
    ) -> "FilteredList":
        """The list of one status, newest first; status None: the list of all workflows.

        `most` limits the rows of its first page. Unless `is_repeated`, reading continues until the
        end is certain.
        """
        return FilteredList(self, status, most, self._now, is_repeated=is_repeated)

    async def know_first(self) -> None:
        """Find out the number of the first page, if no page was read yet.

        Raises:
            StoppedError: the process is ending.
            ServiceError: there was no usable answer.
        """
        if self._top_read == -inf:
            await self.first()

    async def total(self, status: str) -> WorkflowPage:
        """Read one row of the list of one status, with the number of all its rows. One try only.

        If the total may count only that row, a second row is requested. The total is removed if it
        does.

        Raises:
            StoppedError: the process is ending.
            ServiceError: there was no usable answer.
        """
        length = self._lengths.get(status)
        _, shown = await self._read(_just(PageToRead(1, 1)), self._other_turn, status)
        now = self._now().monotonic
        self.totals.note(shown, 0, now, is_new=True)
        # There is one row where there were many, so the service may have changed.
        is_known = self.totals.count_what_was_shown or (
            self.totals.count_the_list(now) and length is None
        )
        if shown.total == shown.entries == 1 and not is_known:
            await self._tell_totals_by(shown, status)
        return self.totals.understood(shown)

    async def _tell_totals_by(self, first: WorkflowPage, status: str) -> None:
        """Read the second row of a list whose total is one, to see what totals count."""
        try:
            _, second = await self._read(_just(PageToRead(2, 1)), self._other_turn, status)
        except (BadRequestError, NotFoundError):
            return  # there is no second row
        ids = {workflow.id for workflow in first.workflows}
        is_another = bool(second.workflows) and ids.isdisjoint(w.id for w in second.workflows)
        if is_another:
            self.totals.note_more(second, 1)
        else:
            self.totals.note(second, 1, self._now().monotonic, is_new=False)

    def failed(self, error: ServiceError) -> float:
        """Note a failure, and log each reason once: an outage lasts for many tries.

        Return how many seconds to wait.
        """
        reason = str(error)  # our own words, without anything that the service sent
        level = logging.DEBUG if reason == self._failing else logging.WARNING
        log.log(
            level,
            "listing failed",
            extra={"account": self._account, "code": error.code, "reason": reason},
        )
        self._failing = reason
        return max(self._backoff.failed(error.retry_after), self._least_wait)

    def worked(self) -> None:
        """Note a success."""
        if self._failing is not None:
            log.info("listing works again", extra={"account": self._account})
        self._failing = None

    async def _check_top(self) -> bool:
        """Read the first page and pass on its rows; return whether it was answered."""
        try:
            _, shown = await self.first()
        except ServiceError:
            return False
        await self._access.in_thread(self._take_top, shown.workflows)
        return True

    def _is_beyond(self, page: PageToRead, status: str | None) -> bool:
        """Whether the list's total also says that this page does not exist."""
        total = self._lengths.get(status)
        return total is not None and page.first >= total

    async def _is_answered_below(self, page: PageToRead, status: str | None) -> bool:
        """Whether rows below this one can be read: then only this row is unreadable."""
        for distance in BESIDE:
            other = _just(PageToRead(page.number + distance, 1))
            try:
                await self._read(other, self._other_turn, status)
            except ServiceError:
                continue
            return True
        return False

    def _note_too_large(self, size: AnswerSize, page: PageToRead, error: ServiceError) -> None:
        self._log_fewer_rows(error)
        size.failed(page.size, self._now().monotonic)

    def _log_fewer_rows(self, error: ServiceError) -> None:
        now = self._now().monotonic
        is_new = now - self._smaller_logged_at >= LOG_AGAIN_SECONDS
        log.log(
            logging.WARNING if is_new else logging.DEBUG,
            "cannot read a page of the list, retrying with fewer rows",
            extra={"account": self._account, "code": error.code, "reason": str(error)},
        )
        if is_new:
            self._smaller_logged_at = now

    def _left_out(self, page: PageToRead) -> WorkflowPage:
        self._log_malformed(page, 1, "cannot read an entry of the list, skipping it")
        return WorkflowPage(workflows=(), total=None, malformed=1, entries=1)

    def _log_malformed(self, page: PageToRead, entries: int, text: str) -> None:
        self._telemetry.rows_malformed(self._account, entries)
        now = self._now().monotonic
        is_new = now - self._malformed_logged_at >= LOG_AGAIN_SECONDS
        log.log(
            logging.WARNING if is_new else logging.DEBUG,
            text,
            extra={"account": self._account, "page": page.number, "entries": entries},
        )
        if is_new:
            self._malformed_logged_at = now

    async def _read(
        self,
        choose: PageChoice,
        priority: Priority,
        status: str | None = None,
        *,
        is_probe: bool = False,
    ) -> tuple[PageToRead, WorkflowPage]:
        """Read the page that `choose` returns when the request's turn has come."""
        chosen = PageToRead(1)

        def read(call: Call) -> tuple[PageToRead, WorkflowPage]:
            nonlocal chosen
            # A redirect leads to the page that was redirected, whatever is best by now.
            if call.target is None:
                chosen = choose(self._now().monotonic)
            page = chosen
            return page, self._access.client.list_workflows(
                page=page.number - 1 + self._numbers.first,
                per_page=page.size,
                status=status,
                call=call,
            )

        if is_probe:
            page, shown = await self._access.ask(priority, read, about_one=True)
        else:
            page, shown = await self._access.ask(priority, read)
        self._telemetry.page_read(self._account)
        self.clock.note(shown, self._now())
        if shown.total is not None:
            # Other totals may count only the shown rows.
            is_length = shown.total > page.first + shown.entries
            if is_length or page.number == 1:
                self._lengths[status] = shown.total if is_length else None
        if shown.malformed:
            self._log_malformed(page, shown.malformed, "entries of the list could not be read")
        return page, shown


class FilteredList:
    """Reads the list of one status, page by page, as long as the caller continues.

    Pages may repeat rows. The first one gives the total number of rows, if the service does.

    Args:
        pages: requests the pages.
        status: which list; None: that of all workflows.
        most: the largest number of rows of the first page.
        now: returns the time of both clocks (wall and monotonic).
        is_repeated: whether this list is read regularly. If not, reading continues until the end is
            certain.
    """

    def __init__(
        self,
        pages: ListPages,
        status: str | None,
        most: int,
        now: Callable[[], Moment],
        *,
        is_repeated: bool,
    ) -> None:
        self._pages = pages
        self._status = status
        self._most = most
        self._now = now
        self._listing = ListingPass(
            watermark=None,
            horizon=-inf,
            wanted=(),
            before=PassBefore(),
            rank_of=lambda _: 0,
            is_repeated=is_repeated,
            totals=pages.totals,
        )

    async def next(self) -> WorkflowPage | None:
        """Read the next page; None: the list has ended.

        Raises:
            StoppedError: the process is ending.
            BadRequestError: the filter does not exist.
            NotFoundError: the filter does not exist.
            ServiceError: there was no usable answer.
        """
        if self._listing.complete:
            return None
        await self._pages.know_first()
        page, shown = await self._pages.below(self._choose, self._status)
        self._listing.read(page, shown, self._now().monotonic)
        return shown

    def _choose(self, now: float) -> PageToRead:
        most = self._most if self._listing.at_top else PER_PAGE
        return self._listing.next_page(now, min(most, self._pages.most))


def _is_for_its_size(error: ServiceError) -> bool:
    """Whether fewer rows may succeed: the answer was too large, or took too long."""
    if isinstance(error, TooLargeError):
        return True
    return isinstance(error, UnreachableError) and error.reason == "timeout" and error.code == "200"


def _may_ask_for_too_many(error: ServiceError) -> bool:
    """Whether the service may have refused a request because of its number of rows."""
    return isinstance(error, BadRequestError) or error.code == "422"


def _may_be_asked_again(error: ServiceError) -> bool:
    """Whether a request may be repeated a moment later, and costs little time."""
    is_slow = isinstance(error, UnreachableError) and error.reason == "timeout"
    return error.retry_after is None and not is_slow and not isinstance(error, RateLimitedError)


def _just(page: PageToRead) -> PageChoice:
    return lambda _: page


def _nothing(total: int | None) -> WorkflowPage:
    return WorkflowPage(workflows=(), total=total, malformed=0, entries=0)
