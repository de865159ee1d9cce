"""Reads an account's list, page by page, for as long as the exporter runs."""

import logging
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import inf
from typing import Final

from exporter.comfycontrol import (
    BadRequest,
    RateLimited,
    ServiceError,
    Unauthorized,
    WorkflowSummary,
)
from exporter.comfycontrol.window import Purpose
from exporter.following.access import AccountAccess
from exporter.following.backoff import Backoff
from exporter.following.list_pages import ListPages
from exporter.following.list_stamps import counting_line, created_no_earlier
from exporter.following.listing_pass import (
    FIRST_LOOK_SECONDS,
    PER_PAGE,
    ListingPass,
    PageToRead,
    PassBefore,
)
from exporter.following.poller import Poller
from exporter.following.stop import Stop, Stopped
from exporter.following.telemetry import Telemetry
from exporter.observations import (
    Moment,
    Observation,
    Status,
    WorkflowRegister,
    known_status,
)

log = logging.getLogger(__name__)

AUDIT_SECONDS: Final = 30.0
"""How often the status filters are asked for open workflows, wherever they stand: what has been
settled long ago may run again, and a page shifts when something above it is deleted."""

QUICK_AUDIT_SECONDS: Final = 5.0
"""How often, at the most, those of the documented filters are while the budget has room: a run of
a few seconds that stands far down the list is shown by nothing else."""

FILTERS_AGAIN_SECONDS: Final = 600.0
"""After this time, filters that the service did not know are tried again."""

DOCUMENTED_FILTERS: Final = (Status.QUEUED.value, Status.RUNNING.value)
OPEN_FILTERS: Final = (*DOCUMENTED_FILTERS, Status.ACCEPTED.value, Status.UPLOADED.value)
"""The statuses under which open workflows may be shown. The service documents a filter for two of
them. What is accepted or uploaded is young as a rule, and found at the top of the unfiltered list;
where nothing can run it, it grows old, and then only its own filter finds it on the first start."""

MOST_REPEATS: Final = 2
"""How many passes in a row read the same again because of entries that could not be read."""

TOP_AGAIN_SECONDS: Final = 30.0
"""A pass that takes long looks at the first page again this often: what is new is not to wait
until a night's backlog is read."""

FIRST_LOOKS: Final = 3
"""On the first start, how often the filtered pages are read until they bring nothing new: their
contents shift while they are read, as workflows start and end."""


@dataclass(frozen=True, slots=True)
class ListingTerms:
    """How an account is listed."""

    interval: float
    """Seconds between the starts of two passes."""
    lookback: float
    """Seconds; what was created earlier is not looked for."""
    tags: frozenset[str]
    """Only workflows with all of these are taken up."""


class Lister:
    """Lists one account in a thread of its own.

    Args:
        access: the account's way to the service.
        register: takes the observations.
        telemetry: is told of pages and passes.
        terms: how often, how far, and which.
        streaming: ids with an open stream, for which the list need not be read.
        poller: asks for a workflow that is not where the list must have it.
        now: both clocks.
        random: numbers from 0 to 1, for the backoff.
    """

    def __init__(  # noqa: PLR0913 - the parts it joins
        self,
        access: AccountAccess,
        register: WorkflowRegister,
        telemetry: Telemetry,
        terms: ListingTerms,
        *,
        streaming: Callable[[], Collection[str]],
        poller: Poller,
        now: Callable[[], Moment],
        random: Callable[[], float],
    ) -> None:
        self._access = access
        self._account = access.account
        self._register = register
        self._telemetry = telemetry
        self._terms = terms
        self._streaming = streaming
        self._poller = poller
        self._now = now
        self._backoff = Backoff(random)
        self._stop = Stop()
        self._filters = list(OPEN_FILTERS)
        self._audited: float | None = None
        self._quickly_audited = -inf
        self._filters_dropped = -inf
        self._repeats = 0
        self._before = PassBefore()
        self._pages = ListPages(
            access,
            telemetry,
            self._stop,
            take_top=self._take,
            top_again=max(TOP_AGAIN_SECONDS, terms.interval),
            now=now,
            backoff=self._backoff,
        )
        self._thread = threading.Thread(
            target=self._run, name=f"lister {self._account}", daemon=True
        )

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End soon, from any thread, without waiting for it."""
        self._stop.ask()

    def join(self, timeout: float) -> bool:
        """Wait that many seconds for the end; whether it came."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            while True:
                self._stop.sleep(self._one_pass())
        except Stopped:
            return

    def _one_pass(self) -> float:
        """Read the list once; how many seconds to wait before the next time."""
        began = self._now().monotonic
        try:
            self._read_list()
        except (RateLimited, Unauthorized):
            # The budget and the account's gate hold the next pass back as long as is right; it
            # only must not begin sooner than any other.
            return self._left_of_interval(began)
        except ServiceError as error:
            return self._pages.failed(error)
        except Stopped:
            raise
        except Exception as error:  # noqa: BLE001 - a fault of ours must not end the listing
            log.error(  # noqa: TRY400 - a traceback shows values as well
                "listing failed",
                extra={"account": self._account, "error": type(error).__name__},
            )
            return max(self._backoff.failed(), 1.0)
        self._backoff.worked()
        self._pages.worked()
        return self._left_of_interval(began)

    def _left_of_interval(self, began: float) -> float:
        return left_of_interval(self._now().monotonic - began, self._terms.interval)

    def _read_list(self) -> None:
        frontier = self._register.list_frontier(self._account)
        listing = self._look_first() if frontier is None else self._follow_up(frontier)
        self._before = listing.learnt
        newest = listing.newest
        if frontier is not None and self._must_read_again(listing):
            newest = frontier
        elif newest is None and frontier is None:
            newest = self._pages.service_wall() - FIRST_LOOK_SECONDS
        if newest is not None:
            # No stamp may lead the frontier into the future, from where nothing would be new.
            newest = min(newest, self._pages.latest_believed())
            self._register.advance_list_frontier(self._account, newest)
        self._telemetry.list_completed(self._account, self._now().wall)
        self._look_up(listing.missing)
        self._audit()

    def _must_read_again(self, listing: ListingPass) -> bool:
        """Whether what could not be read may be new: then the next pass reads as far again.

        Not for ever: an entry that is never right must not keep the lister at the same place.
        """
        self._repeats = self._repeats + 1 if listing.unreadable else 0
        return 0 < self._repeats <= MOST_REPEATS

    # The first time, ever ---------------------------------------------------------------------

    def _look_first(self) -> ListingPass:
        """Draw the line, and find what is open however long the history is."""
        page, top = self._pages.first()
        # By the service's own clock where it tells it, as its stamps are compared with the line.
        wall = counting_line(top.workflows, top.service_time, self._now().wall)
        first = self._register.draw_line(self._account, wall)
        listing = ListingPass(
            frontier=None,
            horizon=wall - min(self._terms.lookback, FIRST_LOOK_SECONDS),
            wanted=(),
            before=self._before,
            rank_of=lambda _: 0,
        )
        # It tells whole seconds only, so what this look shows as over is marked as such.
        over_by = wall + 1.0 if first else None
        self._take(top.workflows, inf if first else None)
        listing.read(page, top, self._now().monotonic)
        self._read_on(listing, over_by)
        for _ in range(FIRST_LOOKS):
            if not self._read_open_ones():
                break
        return listing

    def _audit(self) -> None:
        """Look for open workflows by their status, as often as the budget has room for it."""
        now = self._now().monotonic
        if now - self._filters_dropped >= FILTERS_AGAIN_SECONDS:
            self._filters = list(OPEN_FILTERS)
            self._filters_dropped = inf
        if self._audited is None or now - self._audited >= AUDIT_SECONDS:
            self._read_open_ones()
        elif now - self._quickly_audited >= QUICK_AUDIT_SECONDS and self._access.has_room():
            self._read_open_ones(DOCUMENTED_FILTERS)

    def _drop_filter(self, status: str) -> None:
        self._filters.remove(status)
        self._filters_dropped = self._now().monotonic

    def _read_open_ones(self, among: Collection[str] = OPEN_FILTERS) -> bool:
        """Read what the list shows under each open status; whether anything was new."""
        found = False
        for status in [status for status in self._filters if status in among]:
            try:
                found = self._read_filtered(status) or found
            except Unauthorized:
                raise
            except BadRequest:
                self._drop_filter(status)
            except ServiceError:
                # Whatever a service makes of a filter that it does not document.
                if status in DOCUMENTED_FILTERS:
                    raise
        self._quickly_audited = self._now().monotonic
        if among is OPEN_FILTERS:
            self._audited = self._quickly_audited
        return found

    def _read_filtered(self, status: str) -> bool:
        found = False
        number = 1
        while True:
            _, shown = self._pages.deeper(partial(_that_page, number), status)
            found = found or shown.malformed > 0
            for workflow in shown.workflows:
                if self._is_ours(workflow):
                    found = found or not self._register.is_open(self._account, workflow.id)
            self._take(shown.workflows)
            if any(_has_ended(workflow) for workflow in shown.workflows):
                # The service does not know this filter, and shows all there ever was.
                self._drop_filter(status)
                return found
            if shown.entries < PER_PAGE:
                return found
            number += 1

    # Every other time -------------------------------------------------------------------------

    def _follow_up(self, frontier: float) -> ListingPass:
        streaming = self._streaming()
        wanted = {
            workflow.workflow_id: workflow.created_at
            for workflow in self._register.open_workflows(self._account)
            if workflow.created_at is not None and workflow.workflow_id not in streaming
        }
        listing = ListingPass(
            frontier=frontier,
            horizon=self._pages.service_wall() - self._terms.lookback,
            wanted=wanted.items(),
            before=self._before,
            rank_of=lambda created_at: self._register.created_after(self._account, created_at),
        )
        self._read_on(listing)
        return listing

    def _look_up(self, workflow_ids: Iterable[str]) -> None:
        for workflow_id in workflow_ids:
            try:
                self._poller.look_up(workflow_id, self._stop, Purpose.LIST_DEEPER_PAGE)
            except ServiceError as error:
                # The pass itself was good; those that are missing still will be at the next.
                log.warning(
                    "asking for a workflow that is missing in the list failed",
                    extra={
                        "account": self._account,
                        "workflow_id": workflow_id,
                        "code": error.code,
                        "reason": str(error),
                    },
                )
                return

    def _read_on(self, listing: ListingPass, over_by: float | None = None) -> None:
        while not listing.complete:
            if listing.at_top:
                page, shown = self._pages.first()
            else:
                page, shown = self._pages.deeper(listing.next_page)
            self._take(shown.workflows, over_by)
            listing.read(page, shown, self._now().monotonic)

    def _take(self, workflows: Sequence[WorkflowSummary], over_by: float | None = None) -> None:
        """Observe these. What had ended by `over_by` (Unix seconds) was over at the first look.

        What has ended since counts, however long that look takes.
        """
        at = self._now()
        told_at = self._access.service_wall()
        no_earlier = created_no_earlier(workflows, self._pages.latest_believed())
        for workflow, created in zip(workflows, no_earlier, strict=True):
            if self._is_ours(workflow):
                seen = replace(
                    _observation_of_summary(self._account, workflow, at),
                    service_wall=told_at,
                    created_no_earlier=created,
                )
                if over_by is not None and (seen.ended_at or over_by) <= over_by:
                    seen = replace(seen, first_look=True)
                self._register.observe(seen)

    def _is_ours(self, workflow: WorkflowSummary) -> bool:
        return (
            not self._terms.tags
            or self._terms.tags.issubset(workflow.tags)
            # Named by somebody, or taken up when it had the tag.
            or self._register.is_open(self._account, workflow.id)
        )


def left_of_interval(took: float, interval: float) -> float:
    """How many seconds to wait after a pass that took so long.

    One that took longer than an interval leaves the rest of the second one to others, such as the
    causes that it has shown to be owed. One that took longer still has no time to give.
    """
    intervals = 1 if took <= interval else 2
    return max(0.0, intervals * interval - took)


def _that_page(number: int, _: float) -> PageToRead:
    return PageToRead(number)


def _has_ended(workflow: WorkflowSummary) -> bool:
    status = known_status(workflow.status)
    return status is not None and status.final


def _observation_of_summary(account: str, workflow: WorkflowSummary, at: Moment) -> Observation:
    return Observation(
        account=account,
        workflow_id=workflow.id,
        via="listing",
        at=at,
        status=workflow.status,
        created_at=workflow.created_at,
        updated_at=workflow.updated_at,
        started_at=workflow.started_at,
        completed_at=workflow.completed_at,
    )
