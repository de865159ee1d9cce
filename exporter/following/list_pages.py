"""Reads pages of one account's list, and retries them."""

import logging
from collections.abc import Callable, Iterable, Iterator
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
from exporter.following.answer_size import AnswerSize
from exporter.following.listing_pass import ListingPass, PassBefore
from exporter.following.page_numbers import PageNumbers
from exporter.following.page_totals import PageTotals
from exporter.following.paging import PER_PAGE, PageToRead
from exporter.following.service_clock import ServiceClock
from exporter.interfaces.observations import Moment
from exporter.interfaces.telemetry import Telemetry
from exporter.retrying import Backoff
from exporter.worker import Stop

log = logging.getLogger(__name__)

MOST_TRIES: Final = 5
"""How often in a row a page is tried that is not answered while the first page is."""

LESS_TRIES: Final = 2
"""The same, once fewer rows are asked for because of that."""

LEAST_WAIT_SECONDS: Final = 0.5
"""The least between a failure and the next try."""

BESIDE: Final = (1, 2, 5, 10)
"""How far below a row that cannot be read others are tried, to tell it from an outage."""

BEYOND_CODES: Final = frozenset({"400", "404", "410", "416", "422"})
"""What a service may answer that has no such page."""

END_REFUSALS: Final = 2
"""How often a page is refused while the first one is answered, before that is the list's end."""

TOLD_AGAIN_SECONDS: Final = 600.0
"""A list of which parts cannot be read, or only in small parts, is logged again after so long."""

PageChoice = Callable[[float], PageToRead]
"""Names the page to read, if it is asked for at this moment of the monotonic clock. Of no more
rows than `ListPages.most`, or what is too large cannot be asked for in parts."""


class ListPages:
    """The way to the pages of a list. For one thread.

    Args:
        access: the account's way to the service.
        telemetry: is notified of pages.
        stop: ends every wait.
        take_top: takes what the first page shows, where it is looked at between others.
        top_again: seconds after which the first page is looked at again between others: what is
            new is not to wait until a night's backlog is read.
        now: both clocks.
        backoff: of this list.
        least_wait: seconds to wait at least after a request that failed.
        turns: which turns the first page, and any other, waits for.
    """

    def __init__(  # noqa: PLR0913 - the parts it joins
        self,
        access: AccountAccess,
        telemetry: Telemetry,
        stop: Stop,
        *,
        take_top: Callable[[Iterable[WorkflowSummary]], None],
        top_again: float,
        now: Callable[[], Moment],
        backoff: Backoff,
        turns: tuple[Priority, Priority] = (Priority.LIST_FIRST_PAGE, Priority.LIST_DEEPER_PAGE),
        least_wait: float = LEAST_WAIT_SECONDS,
    ) -> None:
        self._access = access
        self._account = access.account
        self._telemetry = telemetry
        self._stop = stop
        self._take_top = take_top
        self._top_again = top_again
        self._now = now
        self._backoff = backoff
        self._least_wait = least_wait
        self._first_turn, self._other_turn = turns
        self._top_read = -inf
        self.top_shown_at = now()
        """When the first page was as it was last shown: other requests may have waited since."""
        self._failing: str | None = None
        self.clock: Final = ServiceClock()
        self.totals: Final = PageTotals()
        self._numbers = PageNumbers()
        # The first page is read over and over, and must not fail each time that more is tried.
        self._top_size = AnswerSize()
        self._size = AnswerSize()
        self._asked = PageToRead(1)
        # How long the list of each status is, as told by a page that does not show all of it.
        self._lengths: dict[str | None, int | None] = {}
        self._malformed_told = self._smaller_told = -inf

    @property
    def most(self) -> int:
        """How many rows to ask for at the most, below the first page."""
        return self._size.most

    def service_wall(self) -> float:
        """Unix seconds by the service's clock in its last answer; otherwise by our own.

        What the list says is compared with this: a clock of ours that is slow by minutes would
        have each pass read these minutes again.
        """
        now = self._now()
        told = self.clock.told(now)
        return now.wall if told is None else told

    def first(self) -> tuple[PageToRead, WorkflowPage]:
        """Read the first page.

        Of fewer rows where more are too large, and without a row that is too large by itself.

        Raises:
            Stopped: asked to end.
            ServiceError: no answer.
        """
        while True:
            page = PageToRead(1, self._top_size.most)
            try:
                shown = self._first(page)
            except ServiceError as error:
                if not _is_for_its_size(error):
                    raise
                self._note_too_large(self._top_size, page, error)
                if page.size == 1:
                    if not self._is_answered_below(page, None):
                        raise
                    return page, self._left_out(page)
            else:
                self._top_size.worked(page.size, self._now().monotonic)
                return page, shown

    def _first(self, page: PageToRead) -> WorkflowPage:
        """Read the first page, whatever its number is."""
        now = self._top_read = self._now().monotonic
        shown: WorkflowPage | None = None
        refusal: ServiceError | None = None
        try:
            _, shown = self._read(_just(page), self._first_turn)
            self.top_shown_at = self._now()
        except (BadRequestError, NotFoundError) as error:
            refusal = error
        is_the_lists = self.totals.count_the_list(now)
        if self._numbers.is_doubtful(shown, now, is_total_the_lists=is_the_lists):
            above = self._above(page, shown, now)
            if above is not None:
                self.top_shown_at = self._now()
                return above
        if shown is None:
            raise refusal or RuntimeError
        return shown

    def _above(
        self, page: PageToRead, shown: WorkflowPage | None, now: float
    ) -> WorkflowPage | None:
        """The page before the one that was taken for the first, where that is the first."""
        above: WorkflowPage | None = None
        try:
            _, above = self._read(
                _just(PageToRead(page.number - 1, page.size)),
                self._other_turn,
                is_probe=True,
            )
        except ServiceError as error:
            if error.code not in BEYOND_CODES:
                self._numbers.unanswered(now)
                return None
        return above if self._numbers.settle(above, shown, now) else None

    def deeper(
        self, choose: PageChoice, status: str | None = None, tries: int = MOST_TRIES
    ) -> tuple[PageToRead, WorkflowPage]:
        """Read a page below the first one, or one of a filtered list.

        What has been read before it stands, whatever fails meanwhile: a backlog of hundreds of
        pages that started over with each failure might never be read to its end.

        Raises:
            Stopped: asked to end.
            BadRequestError: there is no such filter, or no such page.
            NotFoundError: the same.
            ServiceError: this page is not answered, though the first one is; or it is too large.
        """

        def chosen(now: float) -> PageToRead:
            self._asked = choose(now)
            return self._asked

        failures = 0
        while True:
            if self._now().monotonic - self._top_read >= self._top_again:
                self._look_at_top()
            try:
                answer = self._read(chosen, self._other_turn, status)
            except (BadRequestError, NotFoundError):
                raise
            except (RateLimitedError, UnauthorizedError):
                continue  # the budget, or the account's gate, holds the next try back
            except ServiceError as error:
                failures = self._outlast(error, failures + 1, tries)
            else:
                if failures:
                    self._backoff.worked()
                    self.worked()
                return answer

    def _outlast(self, error: ServiceError, failures: int, tries: int) -> int:
        """Wait for the next try, if there is one; how often it has failed by then."""
        if _is_for_its_size(error):
            raise error
        if failures >= tries:
            if self._look_at_top():
                raise error
            failures = 0
        self._stop.sleep(self.failed(error))
        return failures

    def below(
        self, choose: PageChoice, status: str | None = None
    ) -> tuple[PageToRead, WorkflowPage]:
        """Read a page as `deeper` does; or what can be read of it.

        Where it cannot be read, fewer rows are asked for, and at last a single row is left out: it
        counts as malformed. A page that there is not is an empty one.

        Raises:
            Stopped: asked to end.
            BadRequestError: there is no such filter.
            NotFoundError: the same.
            ServiceError: it is not answered, in whatever size.
        """
        refusals, tries = 0, MOST_TRIES
        while True:
            try:
                page, shown = self.deeper(choose, status, tries)
            except ServiceError as error:
                page = self._asked
                if error.code in BEYOND_CODES and page.number > 1:
                    refusals = self._refused(error, refusals + 1)
                    if self._is_beyond(page, status) or refusals >= END_REFUSALS:
                        return page, _nothing(self._lengths.get(status))
                    continue
                if isinstance(error, BadRequestError | NotFoundError):
                    raise
                tries = LESS_TRIES
                if self._ask_for_less(error, choose, status):
                    return page, self._left_out(page)
            else:
                self._size.worked(page.size, self._now().monotonic)
                return page, shown

    def _refused(self, error: ServiceError, refusals: int) -> int:
        """How often a page was refused while the first one was answered."""
        if refusals >= END_REFUSALS or self._look_at_top():
            return refusals
        self._stop.sleep(self.failed(error))
        return 0

    def _ask_for_less(self, error: ServiceError, choose: PageChoice, status: str | None) -> bool:
        """Ask for fewer rows from now on; whether a single one is left, which cannot be read."""
        page = self._asked
        # The service answers otherwise: it is this page that fails.
        self._backoff.worked()
        self._note_too_large(self._size, page, error)
        if page.size > 1:
            if choose(self._now().monotonic).size >= page.size:
                raise error
            return False
        if _is_for_its_size(error) and not self._is_answered_below(page, status):
            raise error
        self._size.left_out(self._now().monotonic)
        return True

    def filtered(
        self, status: str | None, most: int = PER_PAGE, *, is_repeated: bool = True
    ) -> Iterator[WorkflowPage]:
        """Read the list of one status from its newest on, for as long as the caller goes on.

        None: the list of all.

        Pages may show rows again. The first one gives their total number, if the
        service does; `most` is how many rows it has at the most. Unless it is repeated over and
        over, it goes on until the end is certain.

        Raises:
            Stopped: asked to end.
            BadRequestError: there is no such filter.
            NotFoundError: the same.
            ServiceError: no answer.
        """
        if self._top_read == -inf:
            self.first()  # it shows by which number
        listing = ListingPass(
            watermark=None,
            horizon=-inf,
            wanted=(),
            before=PassBefore(),
            rank_of=lambda _: 0,
            is_repeated=is_repeated,
            totals=self.totals,
        )

        def choose(now: float) -> PageToRead:
            return listing.next_page(now, min(most if listing.at_top else PER_PAGE, self.most))

        while not listing.complete:
            page, shown = self.below(choose, status)
            listing.read(page, shown, self._now().monotonic)
            yield shown

    def total(self, status: str) -> WorkflowPage:
        """One row of the list of one status, and how many it has. Asked for once.

        Where the total may count that one row alone, a second one is asked for. It is left out
        where it does.

        Raises:
            Stopped: asked to end.
            ServiceError: no answer.
        """
        length = self._lengths.get(status)
        _, shown = self._read(_just(PageToRead(1, 1)), self._other_turn, status)
        now = self._now().monotonic
        self.totals.note(shown, 0, now, is_new=True)
        # One row where there were many: the service may have changed.
        is_known = self.totals.count_what_was_shown or (
            self.totals.count_the_list(now) and length is None
        )
        if shown.total == shown.entries == 1 and not is_known:
            self._tell_totals_by(shown, status)
        return self.totals.understood(shown)

    def _tell_totals_by(self, first: WorkflowPage, status: str) -> None:
        """Read the second row of a list whose total says that it has one."""
        try:
            _, second = self._read(_just(PageToRead(2, 1)), self._other_turn, status)
        except (BadRequestError, NotFoundError):
            return  # there is none
        ids = {workflow.id for workflow in first.workflows}
        is_another = bool(second.workflows) and ids.isdisjoint(w.id for w in second.workflows)
        if is_another:
            self.totals.note_more(second, 1)
        else:
            self.totals.note(second, 1, self._now().monotonic, is_new=False)

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
        return max(self._backoff.failed(error.retry_after), self._least_wait)

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

    def _is_beyond(self, page: PageToRead, status: str | None) -> bool:
        """Whether the list's total agrees that it has no such page."""
        total = self._lengths.get(status)
        return total is not None and page.first >= total

    def _is_answered_below(self, page: PageToRead, status: str | None) -> bool:
        """Whether rows below this one can be read: then it is this row that cannot."""
        for distance in BESIDE:
            other = _just(PageToRead(page.number + distance, 1))
            try:
                self._read(other, self._other_turn, status)
            except ServiceError:
                continue
            return True
        return False

    def _note_too_large(self, size: AnswerSize, page: PageToRead, error: ServiceError) -> None:
        now = self._now().monotonic
        is_new = now - self._smaller_told >= TOLD_AGAIN_SECONDS
        log.log(
            logging.WARNING if is_new else logging.DEBUG,
            "cannot read a page of the list, retrying with fewer rows",
            extra={"account": self._account, "code": error.code, "reason": str(error)},
        )
        if is_new:
            self._smaller_told = now
        size.failed(page.size, now)

    def _left_out(self, page: PageToRead) -> WorkflowPage:
        self._tell_malformed(page, 1, "cannot read an entry of the list, skipping it")
        return WorkflowPage(workflows=(), total=None, malformed=1, entries=1)

    def _tell_malformed(self, page: PageToRead, entries: int, text: str) -> None:
        self._telemetry.rows_malformed(self._account, entries)
        now = self._now().monotonic
        is_new = now - self._malformed_told >= TOLD_AGAIN_SECONDS
        log.log(
            logging.WARNING if is_new else logging.DEBUG,
            text,
            extra={"account": self._account, "page": page.number, "entries": entries},
        )
        if is_new:
            self._malformed_told = now

    def _read(
        self,
        choose: PageChoice,
        priority: Priority,
        status: str | None = None,
        *,
        is_probe: bool = False,
    ) -> tuple[PageToRead, WorkflowPage]:
        """Read the page that `choose` names when its turn has come."""

        def read(call: Call) -> tuple[PageToRead, WorkflowPage]:
            page = choose(self._now().monotonic)
            return page, self._access.client.list_workflows(
                page=page.number - 1 + self._numbers.first,
                per_page=page.size,
                status=status,
                call=call,
            )

        if is_probe:
            page, shown = self._access.ask(priority, self._stop, read, about_one=True)
        else:
            page, shown = self._access.ask(priority, self._stop, read)
        self._telemetry.page_read(self._account)
        self.clock.note(shown, self._now())
        if shown.total is not None:
            # Any other total may count only what was shown.
            is_length = shown.total > page.first + shown.entries
            if is_length or page.number == 1:
                self._lengths[status] = shown.total if is_length else None
        if shown.malformed:
            self._tell_malformed(page, shown.malformed, "entries of the list could not be read")
        return page, shown


def _is_for_its_size(error: ServiceError) -> bool:
    """Whether fewer rows may be had where these could not: it was too long, or took too long."""
    if isinstance(error, TooLargeError):
        return True
    return isinstance(error, UnreachableError) and error.reason == "timeout" and error.code == "200"


def _just(page: PageToRead) -> PageChoice:
    return lambda _: page


def _nothing(total: int | None) -> WorkflowPage:
    return WorkflowPage(workflows=(), total=total, malformed=0, entries=0)
