"""Reads an account's list, page by page, for as long as the exporter runs."""

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from heapq import nsmallest
from math import inf
from typing import Final

from exporter.budget.sliding_window import Priority
from exporter.comfycontrol import (
    RateLimitedError,
    ServiceError,
    UnauthorizedError,
    WorkflowPage,
    WorkflowSummary,
)
from exporter.following.access import AccountAccess
from exporter.following.answer_size import AcceptedSize
from exporter.following.list_checks import LEAST_CHECK_SECONDS, SWEEP_SECONDS, sweep_is_due
from exporter.following.list_pages import LEAST_WAIT_SECONDS, ListPages
from exporter.following.list_stamps import counting_cutoff
from exporter.following.listing_pass import (
    FIRST_PASS_SECONDS,
    OVERLAP_SECONDS,
    ListingPass,
    PageToRead,
    PassBefore,
)
from exporter.following.loop import RepeatedTask, ServiceLoop
from exporter.following.open_checks import OpenChecks
from exporter.following.page_observations import observations_of
from exporter.following.page_totals import Contradictions
from exporter.following.poller import Poller
from exporter.following.reconciling import ListTerms
from exporter.interfaces.observations import (
    Moment,
    Observation,
    OpenWorkflow,
    WorkflowRegister,
)
from exporter.interfaces.telemetry import Telemetry
from exporter.retrying import Backoff

log = logging.getLogger(__name__)

MOST_REPEATS: Final = 2
"""How many passes in a row read the same rows again because something in them was wrong."""

TOP_AGAIN_SECONDS: Final = 30.0
"""A long pass reads the first page again at this interval, so that new workflows do not wait
until a night's backlog is read."""

FIRST_PASSES: Final = 3
"""On the first start, how often the filtered pages are read at most until they bring nothing new:
their rows move while they are read, because workflows start and end."""

MOST_LOOK_UPS: Final = 5
"""How many workflows that were missing in a pass are requested by id after it: those that were seen
longest ago. The others will be missing again in the next pass, or appear in it."""

CUTOFF_TOLERANCE_SECONDS: Final = 1.0
"""Tolerance in seconds: the service gives its time in whole seconds, and its stamps may also be in
whole seconds."""


@dataclass(frozen=True, slots=True)
class ListingTerms(ListTerms):
    """How an account is listed, and which of its workflows are tracked."""

    tags: frozenset[str]
    """Only workflows with all of these are tracked."""


class Lister(RepeatedTask):
    """Lists one account in its own task.

    Whatever goes through rows or open workflows runs in a thread, one after the other: a row may
    have to be compared with what is stored on disk.

    Args:
        loop: where it runs.
        access: the account's way to the service.
        register: takes the observations.
        telemetry: is notified of pages and passes.
        terms: how often and how far back the list is read, and which workflows are tracked.
        streaming: returns ids with an open stream, for which the list need not be read.
        poller: asks for a workflow that is missing where the list must have it.
        now: returns the time of both clocks (wall and monotonic).
        backoff: the wait after failed requests.
        open_check: seconds between two checks of open workflows, while the budget has room.
        sweep: seconds between two pages of the sweep, while the budget has room.
        overlap: how far before the watermark the list is read again, in seconds.
        least_wait: seconds to wait at least after a request that failed.
        accepted: see `ListPages`.
    """

    def __init__(  # noqa: PLR0913 - the parts it joins
        self,
        loop: ServiceLoop,
        access: AccountAccess,
        register: WorkflowRegister,
        telemetry: Telemetry,
        terms: ListingTerms,
        *,
        streaming: Callable[[], Collection[str]],
        poller: Poller,
        now: Callable[[], Moment],
        backoff: Backoff,
        open_check: float = LEAST_CHECK_SECONDS,
        sweep: float = SWEEP_SECONDS,
        overlap: float = OVERLAP_SECONDS,
        least_wait: float = LEAST_WAIT_SECONDS,
        accepted: AcceptedSize | None = None,
    ) -> None:
        super().__init__(loop, self._one_round, task="listing", account=access.account)
        self._access = access
        self._account = access.account
        self._register = register
        self._telemetry = telemetry
        self._terms = terms
        self._streaming = streaming
        self._poller = poller
        self._now = now
        self._backoff = backoff
        self._sweep_seconds = sweep
        self._overlap = overlap
        self.next_pass: float | None = None
        """Monotonic time of the next pass; None while one is running."""
        self._repeats = 0
        self._before = PassBefore()
        self._contradictions = Contradictions()
        self._sweep: ListingPass | None = None
        self._swept = -inf
        self._pages = ListPages(
            access,
            telemetry,
            take_top=self._take,
            top_again=max(TOP_AGAIN_SECONDS, terms.interval),
            now=now,
            backoff=self._backoff,
            least_wait=least_wait,
            accepted=accepted,
        )
        self._open_checks = OpenChecks(
            self._pages, take=self._take_soon, is_new=self._is_new, now=now, least=open_check
        )

    async def _one_round(self) -> float:
        self.next_pass = None
        seconds = await self._one_pass()
        self.next_pass = self._now().monotonic + seconds
        return seconds

    async def _one_pass(self) -> float:
        """Read the list once; return how many seconds to wait before the next pass."""
        began = self._now().monotonic
        try:
            await self._read_list()
        except (RateLimitedError, UnauthorizedError):
            # The budget and the account's gate already delay the next pass; it only must not begin
            # earlier than normal.
            return self._left_of_interval(began)
        except ServiceError as error:
            return self._pages.failed(error)
        self._backoff.worked()
        self._pages.worked()
        return self._left_of_interval(began)

    def _left_of_interval(self, began: float) -> float:
        return left_of_interval(self._now().monotonic - began, self._terms.interval)

    async def _read_list(self) -> None:
        # A pass over a long list takes minutes: only what was in the list before is known then.
        began = self._now()
        watermark = self._register.list_watermark(self._account)
        if watermark is None:
            listing = await self._read_first()
        else:
            listing = await self._follow_up(watermark)
        self._before = listing.learnt
        newest = listing.newest
        if watermark is not None and self._must_read_again(listing):
            newest = watermark
        elif newest is None and watermark is None:
            passed = self._pages.clock.at_least(self._now())
            newest = 0.0 if passed is None else passed - FIRST_PASS_SECONDS
        if newest is not None:
            # No stamp may move the watermark into the future, because then nothing would be new.
            told = self._pages.clock.service_time(self._now())
            newest = newest if told is None else min(newest, told)
            self._register.advance_list_watermark(self._account, newest)
        self._telemetry.list_completed(self._account, began.wall)
        await self._look_up(listing.missing)
        await self._open_checks.check_if_due(self._access.load)
        await self._sweep_on()

    def _must_read_again(self, listing: ListingPass) -> bool:
        """Whether unreadable rows may be new: then the next pass reads as far again.

        This is limited: an entry that is always unreadable must not keep the lister at the same
        place.
        """
        self._log_contradiction(listing)
        is_uncertain = bool(listing.unreadable) or listing.doubtful or listing.contradicted
        self._repeats = self._repeats + 1 if is_uncertain else 0
        return 0 < self._repeats <= MOST_REPEATS

    def _log_contradiction(self, listing: ListingPass) -> None:
        # Only a pass that reaches the end of the list shows whether the contradiction is over.
        if self._contradictions.is_news(
            contradicted=listing.contradicted,
            is_over=not self._before.contradicted,
            is_of_no_use=self._pages.totals.count_what_was_shown,
        ):
            log.warning(
                "the list's total contradicts its pages: going by the pages",
                extra={"account": self._account},
            )

    # The first time, ever ---------------------------------------------------------------------

    async def _read_first(self) -> ListingPass:
        """Set the counting cutoff, and find open workflows, however long the history is."""
        page, top = await self._pages.first(is_beginning=True)
        # What ends during the later requests is not on this page as ended, and must be counted.
        now = self._pages.top_shown_at
        # By the service's own clock, because its stamps are compared with the cutoff.
        cutoff = counting_cutoff(
            top.workflows,
            self._pages.clock.service_time(now),
            now.wall,
            is_whole=len(top.workflows) == top.entries and self._pages.is_first_certain,
        )
        over = self._seen(top.workflows, inf)
        is_first = await self._access.in_thread(
            self._register.set_counting_cutoff, self._account, cutoff, over
        )
        listing = self._new_pass(
            None, self._horizon(min(self._terms.lookback, FIRST_PASS_SECONDS)), self._before
        )
        if not is_first:
            await self._take_soon(top.workflows)
        listing.read(page, top, now.monotonic)
        await self._read_on(listing, cutoff + CUTOFF_TOLERANCE_SECONDS if is_first else None)
        for _ in range(FIRST_PASSES):
            if not await self._open_checks.check():
                break
        return listing

    def _is_new(self, workflow: WorkflowSummary) -> bool:
        return self._is_ours(workflow) and not self._register.is_open(self._account, workflow.id)

    # Every other time -------------------------------------------------------------------------

    async def _follow_up(self, watermark: float) -> ListingPass:
        workflows = self._register.open_workflows(self._account)
        listing = await self._access.for_many(len(workflows), self._next_pass, watermark, workflows)
        await self._read_on(listing)
        return listing

    def _next_pass(self, watermark: float, workflows: Iterable[OpenWorkflow]) -> ListingPass:
        streaming = self._streaming()
        wanted = {
            workflow.workflow_id: workflow.created_at
            for workflow in workflows
            if workflow.created_at is not None and workflow.workflow_id not in streaming
        }
        return self._new_pass(
            watermark, self._horizon(self._terms.lookback), self._before, wanted.items()
        )

    def _new_pass(
        self,
        watermark: float | None,
        horizon: float,
        before: PassBefore,
        wanted: Iterable[tuple[str, float]] = (),
        *,
        is_repeated: bool = False,
    ) -> ListingPass:
        return ListingPass(
            watermark=watermark,
            horizon=horizon,
            wanted=wanted,
            before=before,
            rank_of=lambda created_at: self._register.created_after(self._account, created_at),
            latest=self._pages.clock.latest(self._now()),
            is_repeated=is_repeated,
            totals=self._pages.totals,
            overlap=self._overlap,
        )

    def _horizon(self, seconds: float) -> float:
        """The time so many seconds ago by the service's clock.

        A bit earlier if it gives no time.
        """
        passed = self._pages.clock.at_least(self._now())
        return -inf if passed is None else passed - seconds

    async def _look_up(self, workflow_ids: Iterable[str]) -> None:
        missing = set(workflow_ids)
        if not missing:
            return
        unseen = {
            each.workflow_id: -inf if each.last_seen is None else each.last_seen.monotonic
            for each in self._register.open_workflows(self._account)
            if each.workflow_id in missing
        }
        for workflow_id in nsmallest(MOST_LOOK_UPS, unseen, key=unseen.__getitem__):
            try:
                await self._poller.look_up(workflow_id, Priority.LIST_DEEPER_PAGE)
            except ServiceError as error:
                # The pass itself was good; workflows that are missing will still be missing in the
                # next one.
                log.warning(
                    "reading a workflow that the list does not show failed",
                    extra={
                        "account": self._account,
                        "workflow_id": workflow_id,
                        "code": error.code,
                        "reason": str(error),
                    },
                )
                return

    async def _read_on(self, listing: ListingPass, over_by: float | None = None) -> None:
        while not listing.complete:
            page, shown = await self._next_page(listing)
            await self._access.in_thread(self._take_page, listing, page, shown, over_by)

    def _take_page(
        self,
        listing: ListingPass,
        page: PageToRead,
        shown: WorkflowPage,
        over_by: float | None = None,
    ) -> None:
        self._take(shown.workflows, over_by)
        listing.read(page, shown, self._now().monotonic)
        if page.number == 1 and self._sweep is None:
            self._begin_sweep(page, shown)

    async def _next_page(self, listing: ListingPass) -> tuple[PageToRead, WorkflowPage]:
        if listing.at_top:
            return await self._pages.first()
        return await self._pages.below(lambda now: listing.next_page(now, self._pages.most))

    # All of it, for ever ----------------------------------------------------------------------

    def _begin_sweep(self, page: PageToRead, top: WorkflowPage) -> None:
        """Begin another sweep of the whole list, at the page that was read anyway."""
        sweep = self._new_pass(
            None,
            self._horizon(self._terms.lookback),
            replace(self._before, top=frozenset()),
            is_repeated=True,
        )
        sweep.read(page, top, self._now().monotonic)
        self._sweep = None if sweep.complete else sweep

    async def _sweep_on(self) -> None:
        """Read the next page of the sweep, if it is due."""
        sweep, now = self._sweep, self._now().monotonic
        if sweep is None or not sweep_is_due(
            now - self._swept, self._access.load(), self._sweep_seconds
        ):
            return
        self._swept, self._sweep = now, None
        page, shown = await self._next_page(sweep)
        await self._access.in_thread(self._take_page, sweep, page, shown)
        self._sweep = None if sweep.complete else sweep

    # What is seen -----------------------------------------------------------------------------

    def _take(self, workflows: Iterable[WorkflowSummary], over_by: float | None = None) -> None:
        """Observe these rows.

        What had ended by `over_by` (Unix seconds) had ended at the first reading. What has ended
        since counts, however long the first reading takes.
        """
        for seen in self._seen(workflows, over_by):
            self._register.observe(seen)

    async def _take_soon(self, workflows: Sequence[WorkflowSummary]) -> None:
        if workflows:
            await self._access.in_thread(self._take, workflows)

    def _seen(
        self, workflows: Iterable[WorkflowSummary], over_by: float | None
    ) -> Iterator[Observation]:
        rows = list(workflows)
        told = observations_of(self._account, rows, self._pages.clock, self._now())
        for workflow, seen in zip(rows, told, strict=True):
            if self._is_ours(workflow):
                is_over = over_by is not None and _was_over(seen, over_by)
                yield replace(seen, first_pass=True) if is_over else seen

    def _is_ours(self, workflow: WorkflowSummary) -> bool:
        return (
            not self._terms.tags
            or self._terms.tags.issubset(workflow.tags)
            # It was named by a user, or was tracked when it had the tag.
            or self._register.is_open(self._account, workflow.id)
        )


def left_of_interval(took: float, interval: float) -> float:
    """How many seconds to wait after a pass that took `took` seconds.

    A pass that took longer than one interval waits until the end of the second one, so that other
    requests get a turn, such as those for pending causes. A pass that took even longer does not
    wait.
    """
    intervals = 1 if took <= interval else 2
    return max(0.0, intervals * interval - took)


def _was_over(seen: Observation, over_by: float) -> bool:
    return seen.is_over and (seen.ended_at or over_by) <= over_by
