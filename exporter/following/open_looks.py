"""Looks at what the list shows under each open status, wherever it stands."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import inf
from typing import Final

from exporter.comfycontrol import (
    BadRequestError,
    NotFoundError,
    RateLimitedError,
    ServiceError,
    UnauthorizedError,
    WorkflowSummary,
)
from exporter.following.list_pages import ListPages
from exporter.following.looks import FILTER_AGAIN_SECONDS, look_is_due
from exporter.interfaces.observations import Moment, Status, known_status

log = logging.getLogger(__name__)

DOCUMENTED_FILTERS: Final = (Status.RUNNING.value, Status.QUEUED.value)
OPEN_FILTERS: Final = (*DOCUMENTED_FILTERS, Status.ACCEPTED.value, Status.UPLOADED.value)
"""The statuses under which open workflows may be shown. The service documents a filter for two of
them. What is accepted or uploaded is young as a rule, and found at the top of the unfiltered list;
where nothing can run it, it grows old, and then only its own filter finds it on the first start."""


@dataclass(slots=True)
class _Filter:
    status: str
    not_before: float = -inf


class OpenLooks:
    """Reads the filtered lists of one account. For one thread.

    Args:
        pages: the way to them.
        take: takes what they show.
        is_new: whether one was not known to be open.
        now: both clocks.
    """

    def __init__(
        self,
        pages: ListPages,
        *,
        take: Callable[[Iterable[WorkflowSummary]], None],
        is_new: Callable[[WorkflowSummary], bool],
        now: Callable[[], Moment],
    ) -> None:
        self._pages = pages
        self._take = take
        self._is_new = is_new
        self._now = now
        self._filters = [_Filter(status) for status in OPEN_FILTERS]
        self._looked = -inf
        self._pages_read = 0

    def look_if_due(self, load: Callable[[], float]) -> None:
        """Look, as often as the budget has room (`load` is the part of it in use, 0 to 1).

        A look that is due only for the room there is ends where that is used up.

        Raises:
            Stopped: asked to end.
            ServiceError: a filter that the service documents is not answered.
        """
        since, pages = self._now().monotonic - self._looked, self._pages_read
        if look_is_due(since, load(), pages):
            self.look(lambda: look_is_due(since, load(), pages))

    def look(self, goes_on: Callable[[], bool] = lambda: True) -> bool:
        """Read what the list shows under each open status; whether anything was new.

        Args:
            goes_on: asked before each page but the first; False ends it.

        Raises:
            Stopped: asked to end.
            ServiceError: a filter that the service documents is not answered.
        """
        now = self._now().monotonic
        found, count = False, 0
        for each in self._filters:
            if now < each.not_before:
                continue
            try:
                for shown in self._pages.filtered(each.status):
                    count += 1
                    found = found or shown.malformed > 0
                    found = found or any(self._is_new(w) for w in shown.workflows)
                    self._take(shown.workflows)
                    if any(_has_ended(workflow) for workflow in shown.workflows):
                        # The service does not know this filter, and shows all there ever was.
                        each.not_before = now + FILTER_AGAIN_SECONDS
                        break
                    if not goes_on():
                        return found
            except (RateLimitedError, UnauthorizedError):
                raise
            except (BadRequestError, NotFoundError):
                each.not_before = now + FILTER_AGAIN_SECONDS
            except ServiceError:
                # Whatever a service makes of a filter that it does not document.
                if each.status in DOCUMENTED_FILTERS:
                    raise
        self._looked, self._pages_read = now, count
        return found


def _has_ended(workflow: WorkflowSummary) -> bool:
    status = known_status(workflow.status)
    return status is not None and status.final
