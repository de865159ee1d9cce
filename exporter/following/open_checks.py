"""Reads the list under each open status, to find open workflows at any place in it."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Final

from exporter.comfycontrol import (
    BadRequestError,
    NotFoundError,
    RateLimitedError,
    ServiceError,
    UnauthorizedError,
    WorkflowPage,
    WorkflowSummary,
)
from exporter.following.list_checks import FILTER_AGAIN_SECONDS, LEAST_CHECK_SECONDS, check_is_due
from exporter.following.list_pages import FilteredList, ListPages
from exporter.interfaces.observations import Moment, Status, known_status

log = logging.getLogger(__name__)

DOCUMENTED_FILTERS: Final = (Status.RUNNING.value, Status.QUEUED.value)
OPEN_FILTERS: Final = (*DOCUMENTED_FILTERS, Status.ACCEPTED.value, Status.UPLOADED.value)
"""The statuses whose filtered lists may show open workflows. The service documents a filter for two
of them. Accepted and uploaded workflows are usually young, and found at the top of the unfiltered
list. If nothing can run them, they become old, and on the first start only their own filter finds
them."""


@dataclass(slots=True)
class _Filter:
    status: str
    not_before: float = -inf


class OpenChecks:
    """Reads the filtered lists of one account. For one task.

    Args:
        pages: requests the pages.
        take: receives their rows.
        is_new: returns whether a workflow was not known to be open.
        now: returns the time of both clocks (wall and monotonic).
        least: seconds between two checks while the budget has room.
    """

    def __init__(
        self,
        pages: ListPages,
        *,
        take: Callable[[Sequence[WorkflowSummary]], Awaitable[object]],
        is_new: Callable[[WorkflowSummary], bool],
        now: Callable[[], Moment],
        least: float = LEAST_CHECK_SECONDS,
    ) -> None:
        self._pages = pages
        self._take = take
        self._is_new = is_new
        self._now = now
        self._least = least
        self._filters = [_Filter(status) for status in OPEN_FILTERS]
        self._checked = -inf
        self._pages_read = 0
        # The state of an interrupted check: which filters are left, when it began, and how many
        # pages it took.
        self._left: list[_Filter] = []
        self._reading: FilteredList | None = None
        self._began = -inf
        self._count = 0

    async def check_if_due(self, load: Callable[[], float]) -> None:
        """Check as often as the budget has room (`load` is the part of it in use, 0 to 1).

        A check that is due only because the budget has room stops when that is used up. The next
        one continues there, and its interval counts from the first page.

        Raises:
            StoppedError: the process is ending.
            ServiceError: a documented filter got no answer.
        """
        since, pages = self._now().monotonic - self._checked, self._pages_read
        if check_is_due(since, load(), pages, self._least):
            await self.check(lambda: check_is_due(since, load(), pages, self._least))

    async def check(self, goes_on: Callable[[], bool] = lambda: True) -> bool:
        """Read the list of each open status; return whether anything was new.

        Args:
            goes_on: called before each page except the first; False ends the check.

        Raises:
            StoppedError: the process is ending.
            ServiceError: a documented filter got no answer.
        """
        now = self._now().monotonic
        if not self._left:
            self._left, self._began, self._count = list(self._filters), now, 0
        found, is_first = False, True
        while self._left:
            each = self._left[0]
            if now >= each.not_before:
                if not (is_first or goes_on()):
                    return found
                shown = await self._read(each, now)
                is_first = False
                if shown is not None:
                    found = found or shown.malformed > 0
                    found = found or any(self._is_new(w) for w in shown.workflows)
                    await self._take(shown.workflows)
                    if not any(_has_ended(workflow) for workflow in shown.workflows):
                        continue
                    # The service does not know this filter, and shows all workflows.
                    each.not_before = now + FILTER_AGAIN_SECONDS
            self._reading = None
            del self._left[0]
        self._checked, self._pages_read = self._began, self._count
        return found

    async def _read(self, each: _Filter, now: float) -> WorkflowPage | None:
        """Read the next page of the list of one status; None: there is no further page."""
        if self._reading is None:
            self._reading = self._pages.filtered(each.status)
        reading, self._reading = self._reading, None
        try:
            shown = await reading.next()
        except (RateLimitedError, UnauthorizedError):
            self._left = []
            raise
        except (BadRequestError, NotFoundError):
            each.not_before = now + FILTER_AGAIN_SECONDS
            return None
        except ServiceError:
            # The service may answer anything to a filter that it does not document.
            if each.status in DOCUMENTED_FILTERS:
                self._left = []
                raise
            return None
        if shown is not None:
            self._count += 1
            self._reading = reading
        return shown


def _has_ended(workflow: WorkflowSummary) -> bool:
    status = known_status(workflow.status)
    return status is not None and status.final
