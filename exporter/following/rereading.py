"""Reads pages of the list again, for what was missed when they were read first."""

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Protocol

from exporter.comfycontrol import (
    RateLimited,
    ServiceError,
    Unauthorized,
    Unreachable,
    Unusable,
    WorkflowPage,
)
from exporter.following.listing_pass import PageToRead
from exporter.following.page_observations import observations_of
from exporter.following.reconciling import (
    LONG_PASS,
    PASSES,
    ListTerms,
    ListWalk,
    Pace,
    Reach,
    counts_since,
    page_pause,
)
from exporter.following.telemetry import Telemetry
from exporter.observations import Baseline, Moment, Observation, Recovery, Status

log = logging.getLogger(__name__)

AskList = Callable[[PageToRead, Status | None], WorkflowPage]
"""Reads one page of the list, or of the list of one status.

Raises:
    Stopped: asked to end.
    ServiceError: no answer.
"""


class Books(Protocol):
    """The ledger, as those see it who look for what is missing in it."""

    def finished(self, account: str) -> dict[Status, int]:
        """How many outcomes were ever counted, by the documented final statuses."""

    def line(self, account: str) -> float | None:
        """When the account was first looked at, by the service's clock; Unix seconds."""

    def baselines(self, account: str) -> dict[Status, Baseline]:
        """What comparisons stand on, by final status."""

    def keep_baseline(self, account: str, status: Status, baseline: Baseline | None) -> None:
        """Compare with this from now on; None: with whatever the next comparison draws."""

    def recover(self, observation: Observation) -> Recovery:
        """Take a row that was looked at again; what became of it."""

    def list_frontier(self, account: str) -> float | None:
        """The list was read whole down to this creation time (Unix seconds); None: never yet."""


@dataclass(frozen=True, slots=True)
class PageRead:
    """A page that was read again."""

    shown: WorkflowPage
    """Without the rows that the same reading has had before."""
    found: tuple[tuple[str, Recovery], ...] = ()
    """What became of the rows that can tell of something missed, by id."""


class Rereader:
    """Reads page by page, of whichever list is asked for, and has the ledger look at each row.

    Args:
        account: its configured name.
        ask: reads a page, when there is room for it.
        books: takes the rows.
        telemetry: is told of pages.
        terms: of the account's list.
        pace: how fast.
        now: both clocks.
    """

    def __init__(  # noqa: PLR0913 - the parts it joins
        self,
        account: str,
        ask: AskList,
        books: Books,
        telemetry: Telemetry,
        *,
        terms: ListTerms,
        pace: Pace,
        now: Callable[[], Moment],
    ) -> None:
        self._account = account
        self._ask = ask
        self._books = books
        self._telemetry = telemetry
        self._terms = terms
        self._pace = pace
        self._now = now
        self._settle = max(pace.settle, PASSES * terms.interval)
        self._service_ahead = 0.0
        self._round_trip = ListWalk(whole=False)
        self._pages: int | None = None
        self._began: float | None = None

    def note_time(self, shown: WorkflowPage) -> None:
        """Learn the service's clock from an answer."""
        if shown.service_time is not None:
            self._service_ahead = shown.service_time - self._now().wall

    def service_wall(self) -> float:
        """Unix seconds by the service's clock, as it last told it; else by our own."""
        return self._now().wall + self._service_ahead

    def read(self, walk: ListWalk, status: Status | None) -> PageRead | None:
        """Read the next page of a list; None: it cannot be used.

        Raises:
            Stopped: asked to end.
            ServiceError: no answer.
        """
        page = walk.next_page
        try:
            shown = self._ask(page, status)
        except Unusable:
            walk.could_not_read()
            return None
        except (RateLimited, Unauthorized, Unreachable):
            raise  # says nothing of this page
        except ServiceError:
            walk.was_not_answered()
            raise
        self._telemetry.page_read(self._account)
        self.note_time(shown)
        fresh = walk.read(page, shown)
        return PageRead(
            WorkflowPage(fresh, shown.total, shown.malformed, shown.entries, shown.service_time)
        )

    def recover(
        self,
        walk: ListWalk,
        read: PageRead,
        reach: Reach,
        however_young: Collection[str] = (),
    ) -> PageRead:
        """Have the ledger look at the rows of a page that can tell of something missed."""
        found: list[tuple[str, Recovery]] = []
        seen = observations_of(self._account, read.shown, self._now())
        for workflow, observation in zip(read.shown.workflows, seen, strict=True):
            if reach.is_young(workflow) and workflow.id not in however_young:
                walk.passed_over.add(workflow.id)
            elif not reach.is_old(workflow):
                recovery = self._books.recover(observation)
                walk.unreadable += recovery == "untold"
                found.append((workflow.id, recovery))
        recovered = sum(recovery == "recovered" for _, recovery in found)
        if recovered:
            log.info(
                "outcomes that were missed are counted now",
                extra={"account": self._account, "workflows": recovered},
            )
        return PageRead(read.shown, tuple(found))

    def go_on(self) -> float:
        """Read the next page of the whole list; seconds until the one after it.

        A run that ended like the one before it, between two looks at the list, leaves every total
        as it was: only this finds it.

        Raises:
            Stopped: asked to end.
            ServiceError: no answer.
        """
        walk = self._round_trip
        try:
            read = self.read(walk, None)
            if read is not None:
                self.recover(walk, read, self._usual_reach())
                self._end_where_nothing_counts(walk, read.shown)
        finally:
            if walk.over:
                self._round_trip, self._pages = ListWalk(whole=False), walk.pages
        return page_pause(self._pages, walk.pages, self._pace)

    def _usual_reach(self) -> Reach:
        now = self.service_wall()
        if self._began is None:
            self._began = counts_since(self._books.line(self._account), now)
        drawn = [baseline.since for baseline in self._books.baselines(self._account).values()]
        return Reach(
            since=min(drawn, default=self._began),
            oldest=now - self._terms.lookback,
            youngest=now - self._settle,
            frontier=self._books.list_frontier(self._account),
            youngest_beyond=now - LONG_PASS * self._settle,
        )

    def _end_where_nothing_counts(self, walk: ListWalk, shown: WorkflowPage) -> None:
        created = [w.created_at for w in shown.workflows if w.created_at is not None]
        horizon = self.service_wall() - 2 * self._terms.lookback
        # The oldest but one: a single stamp may be wrong.
        if len(created) > 1 and sorted(created)[1] < horizon:
            walk.end()
