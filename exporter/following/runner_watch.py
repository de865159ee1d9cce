"""Reads one account's runners at an interval, with low priority in the budget."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from exporter.budget.sliding_window import Priority
from exporter.comfycontrol import (
    Call,
    Runner,
    RunnerPage,
    ServiceError,
)
from exporter.following.access import AccountAccess
from exporter.following.loop import RepeatedTask, ServiceLoop
from exporter.following.runner_census import RunnerCensus, TagBound, take_census
from exporter.interfaces.observations import Moment
from exporter.retrying import Backoff, RetryPolicy, doubling

log = logging.getLogger(__name__)

PER_PAGE: Final = 100
MOST_PAGES: Final = 50
"""The largest number of pages in one reading. A service that shows more and more runners must not
use up the budget."""

SMALL_PAGE: Final = 10
"""A page with fewer entries than this is the last one: no service would use such small pages. A
longer page may be cut at an unknown size, with a `total` that counts only this page."""

FRESH_INTERVALS: Final = 3
"""A census older than this many intervals is not shown: its runners may be gone."""


@dataclass(frozen=True, slots=True)
class RunnerTerms:
    """How the runners of an account are read."""

    interval: float
    """Seconds from one reading to the next."""
    tags: int | None
    """How many distinct tags are counted; None: tags are not counted."""


class RunnerWatch(RepeatedTask):
    """Keeps the latest census of an account's runners, in its own task.

    Args:
        loop: where it runs.
        access: the account's way to the service.
        terms: how often the runners are read, and what is counted.
        now: returns the time of both clocks (wall and monotonic).
        backoff: the wait after failed requests.
    """

    def __init__(
        self,
        loop: ServiceLoop,
        access: AccountAccess,
        terms: RunnerTerms,
        *,
        now: Callable[[], Moment],
        backoff: Backoff,
    ) -> None:
        super().__init__(
            loop,
            self._one_reading,
            task="reading the runners",
            retry=RetryPolicy(doubling(terms.interval, max(60.0, terms.interval))),
            account=access.account,
        )
        self._access = access
        self._terms = terms
        self._now = now
        self._backoff = backoff
        self._tags = None if terms.tags is None else TagBound(terms.tags)
        self._census: RunnerCensus | None = None
        self._has_failed = False

    def census(self) -> RunnerCensus | None:
        """The latest census; None: there is none, or it is too old. Any thread may call it."""
        census = self._census
        if census is None:
            return None
        age = self._now().monotonic - census.at
        return census if age <= FRESH_INTERVALS * self._terms.interval else None

    async def _one_reading(self) -> float:
        """Read all pages; return the seconds until the next reading."""
        try:
            runners = await self._read()
        except ServiceError as error:
            self._log_failure(error.code)
            return max(self._terms.interval, self._backoff.failed(error.retry_after))
        now = self._now()
        # There may be thousands of runners.
        self._census = await self._access.in_thread(
            take_census, runners, at=now.monotonic, wall=now.wall, tags=self._tags
        )
        self._backoff.worked()
        if self._has_failed:
            self._has_failed = False
            log.info("reading runners works again", extra={"account": self._access.account})
        return self._terms.interval

    def _log_failure(self, code: str) -> None:
        if not self._has_failed:
            self._has_failed = True
            log.warning(
                "cannot read runners: they are not shown until it works again",
                extra={"account": self._access.account, "code": code},
            )

    async def _read(self) -> list[Runner]:
        """Read pages until one brings nothing new.

        Raises:
            StoppedError: the process is ending.
            ServiceError: reading cannot continue. What was read so far is not complete.
        """
        runners: list[Runner] = []
        known: set[str | None] = {None}
        for number in range(1, MOST_PAGES + 1):
            page = await self._page(number)
            runners += page.runners
            ids = {runner.id for runner in page.runners}
            if number == 1 and not page.entries and page.total:
                # The pages are numbered from 0, so this was the second page.
                return [*(await self._page(0)).runners]
            if ids <= known or (page.total is not None and page.entries < SMALL_PAGE):
                break
            known |= ids
        else:
            log.warning(
                "more runners than are read",
                extra={"account": self._access.account, "read": len(runners)},
            )
        return runners

    async def _page(self, number: int) -> RunnerPage:
        def request(call: Call) -> RunnerPage:
            return self._access.client.list_runners(page=number, per_page=PER_PAGE, call=call)

        # A token without permission to list runners may still be valid for other requests.
        return await self._access.ask(Priority.RUNNERS, request, is_extra=True)
