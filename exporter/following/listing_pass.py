"""Which page of the list to read next. Pure.

The list is newest first. A pass reads it from the top until it has met everything that is new
since the last complete pass; from there on only the pages on which a workflow must be that is
open and has no stream.
"""

from collections.abc import Callable, Iterable
from math import inf
from typing import Final

from exporter.comfycontrol import WorkflowPage

PER_PAGE: Final = 100
"""The most that the service gives at once."""

OVERLAP_SECONDS: Final = 10.0
"""A workflow may show in the list a little after its creation; so far above the frontier
everything is read again."""

FIRST_LOOK_SECONDS: Final = 900.0
"""On the first start, how far the unfiltered list is read: the status filters find the rest,
except for workflows that are not queued yet, and those are young."""

MOST_SLIPS: Final = 10
"""How often a pass steps back to a page from which something was deleted meanwhile."""


class ListingPass:
    """One pass, fed page by page.

    Args:
        frontier: the list has been read whole for all that was created up to here (Unix
            seconds); None on the first start.
        horizon: nothing created before this (Unix seconds) is looked for.
        wanted: creation times of the open workflows that only the list can tell of, by id.
        rank_of: about how many workflows stand above one, by its id and creation time.
    """

    def __init__(
        self,
        *,
        frontier: float | None,
        horizon: float,
        wanted: Iterable[tuple[str, float]],
        rank_of: Callable[[str, float], int],
    ) -> None:
        self._until = horizon if frontier is None else max(horizon, frontier - OVERLAP_SECONDS)
        self._wanted = {
            workflow_id: created for workflow_id, created in wanted if created >= horizon
        }
        self._rank_of = rank_of
        self._caught_up = False
        self._over = False
        self._slips = 0
        # Of the page that was read before, while they go on one by one.
        self._ids_before: frozenset[str] = frozenset()
        self._total_before: int | None = None
        # Whoever is looked for stands below the first page and above the second one.
        self._above = 0
        self._below: int | None = None
        self.next_page = 1
        """The page to read next."""
        self.newest: float | None = None
        """Creation of the newest workflow seen: the frontier once the pass is complete. None
        where the list must be read again from the old frontier, or is empty."""
        self.ranks: dict[str, int] = {}
        """How many stand above each workflow that was wanted and found."""
        self.missing: list[str] = []
        """Open workflows that are not where the list must have them: deleted, most likely."""

    @property
    def complete(self) -> bool:
        """Whether nothing is left to read."""
        return self._over

    @property
    def caught_up(self) -> bool:
        """Whether everything new has been met, though older pages may be left."""
        return self._caught_up

    def read(self, page: int, shown: WorkflowPage) -> None:
        """Take a page that was read; afterwards `next_page` and `complete` are up to date."""
        for index, workflow in enumerate(shown.workflows):
            if self._wanted.pop(workflow.id, None) is not None:
                self.ranks[workflow.id] = (page - 1) * PER_PAGE + index
        # In the list's own order, so that a single odd stamp seldom matters.
        stamps = [w.created_at for w in shown.workflows if w.created_at is not None]
        is_last = shown.entries < PER_PAGE
        if not stamps and not is_last:
            # How far down it is cannot be told: the next pass begins where this one did.
            self.newest = None
            self._over = True
            return
        if page == 1 and stamps:
            self.newest = max(stamps)
        if not self._caught_up:
            if self._has_slipped(page, shown):
                return
            if not is_last and stamps[-1] >= self._until:
                self._above = page
                self.next_page = page + 1
                return
            self._caught_up = True
        self._go_deeper(
            page, stamps[0] if stamps else -inf, stamps[-1] if stamps else -inf, is_last=is_last
        )

    def _has_slipped(self, page: int, shown: WorkflowPage) -> bool:
        """Step back where something has moved up, past us, between two pages.

        New workflows push the others down, so that we see some twice, which does no harm. One
        that was deleted lets the others move up: then the list is shorter, and nothing of the
        page before is seen again.
        """
        ids = frozenset(workflow.id for workflow in shown.workflows)
        slipped = (
            shown.total is not None
            and self._total_before is not None
            and shown.total < self._total_before
            and ids.isdisjoint(self._ids_before)
            and self._slips < MOST_SLIPS
        )
        self._ids_before, self._total_before = ids, shown.total
        if slipped:
            self._slips += 1
            self._total_before = None
            self.next_page = page - 1
        return slipped

    def _go_deeper(self, page: int, newest: float, oldest: float, *, is_last: bool) -> None:
        """Look for the youngest of the wanted, then for the next; whose page we were at or near.

        The rank is a guess. Between a page that is too high and one that is too low, those in
        the middle are tried.
        """
        while self._wanted:
            workflow_id = max(self._wanted, key=lambda w: self._wanted[w])
            created = self._wanted[workflow_id]
            if created <= oldest and not is_last and self._is_left_below(page):
                self._above = max(self._above, page)
                self.next_page = max(page + 1, self._rank_of(workflow_id, created) // PER_PAGE + 1)
                if self._below is not None and self.next_page >= self._below:
                    self.next_page = (page + self._below) // 2
                return
            if created >= newest and page - 1 > self._above:
                self._below = page
                self.next_page = (self._above + page) // 2
                return
            self.missing.append(workflow_id)
            del self._wanted[workflow_id]
            self._below = None
        self._over = True

    def _is_left_below(self, page: int) -> bool:
        return self._below is None or page + 1 < self._below
