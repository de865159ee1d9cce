"""Which page of the list to read next. Pure.

The list is newest first. A pass reads it from the top until it has met everything that is new
since the last complete pass; from there on only the pages on which a workflow must be that is
open and has no stream.

Ranks count from the top: the newest workflow has rank 0. They grow as workflows are added, and
the busier the list, the more of a page is what was on the one before. So a pass keeps the height
of workflows, which counts from the bottom and does not change while the list grows, and reads
where they must have got to by now.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from math import inf, sqrt
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
"""How often a pass steps back to what it may have missed, as the list moved otherwise than it
thought."""


@dataclass(frozen=True, slots=True)
class PageToRead:
    """A page of the list, by its number and by how many workflows it holds."""

    number: int
    size: int = PER_PAGE

    @property
    def first(self) -> int:
        """The rank of its first workflow."""
        return (self.number - 1) * self.size

    @property
    def end(self) -> int:
        """The first rank below it."""
        return self.number * self.size


def page_from(rank: int) -> PageToRead:
    """The page that holds this rank and the most of what follows it.

    Pages begin only at multiples of their size, and the rank lies anywhere within a full one. Of
    smaller sizes, one nearly always begins where it should.
    """
    size = max(range(PER_PAGE, PER_PAGE // 2, -1), key=lambda size: size - rank % size)
    return PageToRead(rank // size + 1, size)


@dataclass(frozen=True, slots=True)
class PassBefore:
    """What a pass has learnt that helps the next one."""

    heights: Mapping[str, int] = field(default_factory=dict)
    """How many stand below each workflow that was seen, and it itself. Below zero where the
    service tells no total."""
    total: int | None = None
    """How long the list was when the pass began."""
    began: float = 0.0
    """When that was, in seconds of the monotonic clock."""


class ListingPass:
    """One pass, fed page by page. Its times, where nothing else is said, are monotonic seconds.

    Args:
        frontier: the list has been read whole for all that was created up to here (Unix
            seconds); None on the first start.
        horizon: nothing created before this (Unix seconds) is looked for.
        wanted: creation times of the open workflows that only the list can tell of, by id.
        before: what the pass before has learnt.
        rank_of: about how many workflows stand above one of which no height is known, by its
            creation time.
    """

    def __init__(
        self,
        *,
        frontier: float | None,
        horizon: float,
        wanted: Iterable[tuple[str, float]],
        before: PassBefore,
        rank_of: Callable[[float], int],
    ) -> None:
        self._until = horizon if frontier is None else max(horizon, frontier - OVERLAP_SECONDS)
        self._wanted = {
            workflow_id: created for workflow_id, created in wanted if created >= horizon
        }
        self._before = before
        self._rank_of = rank_of
        self._caught_up = False
        self._over = False
        self._slips = 0
        self._began: float | None = None
        self._total_at_begin: int | None = None
        self._heights: dict[str, int] = {}
        # The list when a page of it was last read: how long it was, when, and how fast it grows.
        self._total = 0
        self._read_at = 0.0
        self._per_second = 0.0
        # What was read from the top on without a gap reaches down to above this height.
        self._boundary: float = inf
        self._ids_before: frozenset[str] = frozenset()
        # Whoever is looked for in the depth stands at these ranks.
        self._sought: str | None = None
        self._above = 0
        self._below: int | None = None
        self._next_rank = 0
        self.newest: float | None = None
        """Creation of the newest workflow seen: the frontier once the pass is complete. None
        where the list must be read again from the old frontier, or is empty."""
        self.unreadable = 0
        """Entries that could not be read, among those that may be new."""
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

    @property
    def at_top(self) -> bool:
        """Whether the next page is the first one."""
        return self._next_rank == 0

    @property
    def learnt(self) -> PassBefore:
        """What the next pass should know of this one."""
        return PassBefore(self._heights, self._total_at_begin, self._began or 0.0)

    def next_page(self, now: float) -> PageToRead:
        """The page to read, if it is asked for at this moment."""
        if self.at_top:
            return PageToRead(1)
        if self._below is not None or self._slips >= MOST_SLIPS:
            # Step by step between two bounds, or by now for sure.
            return page_from(self._next_rank)
        # What has been added meanwhile has pushed everything down. Rather too few are left out,
        # which reads some twice, than too many, which costs another page.
        added = self._per_second * max(0.0, now - self._read_at)
        return page_from(self._next_rank + max(0, int(added - 2 * sqrt(added)) - 2))

    def read(self, page: PageToRead, shown: WorkflowPage, now: float) -> None:
        """Take a page that was read; afterwards `next_page` and `complete` are up to date."""
        self._note_total(shown.total, now)
        for index, workflow in enumerate(shown.workflows):
            self._wanted.pop(workflow.id, None)
            self._heights[workflow.id] = self._total - (page.first + index)
        # In the list's own order, so that a single odd stamp seldom matters.
        stamps = [w.created_at for w in shown.workflows if w.created_at is not None]
        is_last = shown.entries < page.size
        if not stamps and not is_last:
            # How far down it is cannot be told: the next pass begins where this one did.
            self.newest = None
            self._over = True
            return
        if page.number == 1 and stamps:
            self.newest = max(stamps)
        if not self._caught_up:
            self.unreadable += shown.malformed
            slipped = self._has_slipped(page, shown)
            if not slipped:
                self._boundary = min(self._boundary, self._total - page.end)
                self._ids_before = frozenset(workflow.id for workflow in shown.workflows)
            if slipped or (not is_last and stamps[-1] >= self._until):
                self._next_rank = self._above = self._total - int(self._boundary)
                return
            self._caught_up = True
        self._go_deeper(
            page, stamps[0] if stamps else -inf, stamps[-1] if stamps else -inf, is_last=is_last
        )

    def _note_total(self, total: int | None, now: float) -> None:
        """Learn how fast the list grows: since the pass before began, to have it steady."""
        if self._began is None:
            self._began, self._total_at_begin = now, total
        if total is None:
            return
        self._total, self._read_at = total, now
        if self._before.total is not None and now > self._before.began:
            added = max(0, total - self._before.total)
            self._per_second = added / (now - self._before.began)

    def _has_slipped(self, page: PageToRead, shown: WorkflowPage) -> bool:
        """Whether something may lie between this page and those before.

        It does where fewer were added than was thought, or where some were deleted, so that the
        others moved up. Then nothing is seen again of the page before.
        """
        slipped = (
            page.first > max(0, self._total - self._boundary)
            and self._ids_before.isdisjoint(workflow.id for workflow in shown.workflows)
            and self._slips < MOST_SLIPS
        )
        self._slips += slipped
        return slipped

    def _go_deeper(self, page: PageToRead, newest: float, oldest: float, *, is_last: bool) -> None:
        """Look for the youngest of the wanted, then for the next; whose page we were at or near.

        The rank is a guess. Between a page that is too high and one that is too low, those in
        the middle are tried.
        """
        while self._wanted:
            workflow_id = max(self._wanted, key=lambda w: self._wanted[w])
            created = self._wanted[workflow_id]
            if workflow_id != self._sought:
                self._sought, self._below = workflow_id, None
            if created <= oldest and not is_last and self._is_left_below(page):
                self._above = max(self._above, page.end)
                self._next_rank = max(page.end, self._guess(workflow_id, created))
                if self._below is not None and self._next_rank >= self._below:
                    self._next_rank = (page.end + self._below) // 2
                return
            if created >= newest and page.first > self._above:
                self._below = page.first
                # A page from there reaches down to where this one began, or lies in the middle.
                middle = (self._above + page.first - PER_PAGE) // 2
                self._next_rank = max(self._above, middle)
                return
            self.missing.append(workflow_id)
            del self._wanted[workflow_id]
        self._over = True

    def _guess(self, workflow_id: str, created: float) -> int:
        """The rank at which this workflow stood when a page was last read."""
        height = self._before.heights.get(workflow_id)
        if height is None:
            return self._rank_of(created)
        return self._total - height

    def _is_left_below(self, page: PageToRead) -> bool:
        return self._below is None or page.end < self._below
