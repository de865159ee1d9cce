"""Which page of the list to read next. Pure.

The list is newest first. A pass reads it from the top until it has reached everything that is new
since the last complete pass; after that it reads only pages with an open workflow without a stream.

Ranks count from the top: the newest workflow has rank 0. They grow as workflows are added, and in
a busy list rows move to the next page while a pass reads. So a pass stores the height of workflows,
which counts from the bottom and does not change while the list grows, and computes from it where
they are now.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from math import inf, sqrt
from typing import Final

from exporter.comfycontrol import WorkflowPage, WorkflowSummary
from exporter.following.list_stamps import (
    Order,
    changed_at_the_latest,
    created_at_the_latest,
    newest_of,
    order_told,
)
from exporter.following.page_totals import PageTotals
from exporter.following.paging import PER_PAGE, PageToRead, Reach, page_from
from exporter.interfaces.observations import known_status

__all__ = ["PER_PAGE", "ListingPass", "PageToRead", "PassBefore", "page_from"]

OVERLAP_SECONDS: Final = 10.0
"""Seconds. A workflow may appear in the list a little after its creation, so the list is read again
down to this much before the watermark."""

FIRST_PASS_SECONDS: Final = 900.0
"""Seconds for which the unfiltered list is read back on the first start. The status filters find
the rest, except workflows that are not queued yet, and those are young."""

LAST_ROWS: Final = 3
"""How many of the last rows of a page together show its age, because one of them may have a wrong
stamp."""

AGELESS_ROWS: Final = 50
"""After this many consecutive rows without a stamp, while others have one, it is unknown how old
the rows are."""

MOST_BLIND_PAGES: Final = 10
"""How many pages are read if no row has a stamp and none is known from the previous pass."""

TOP_ROWS: Final = 200
"""How many rows at the top are remembered, so that the next pass recognises them even without
stamps."""

MOST_STEPS: Final = 30
"""How many pages are read to find one workflow between two bounds, or without getting any deeper;
after that it is requested by its id."""


@dataclass(frozen=True, slots=True)
class PassBefore:
    """What a pass has learnt and passes on to the next one."""

    heights: Mapping[str, int] = field(default_factory=dict)
    """For each workflow that is open or was searched for: how many rows are below it, including
    itself. Negative if the service gives no total."""
    total: int | None = None
    """The length of the list when the pass began; None: unknown."""
    began: float = 0.0
    """When the pass began, in monotonic seconds."""
    top: frozenset[str] = frozenset()
    """Ids of the workflows at the top of the list."""
    order: Order = "created"
    """By which stamp the list is sorted, as far as it has shown."""
    contradicted: bool = False
    """Whether the list's total was seen to be wrong, and has not been right since."""
    ended_with: str | None = None
    """The last row of the list, when its end was last seen."""


class ListingPass:
    """One pass; it learns from each page. Times are monotonic seconds unless stated otherwise.

    Args:
        watermark: the list was read completely for everything created up to this time (Unix
            seconds); None on the first start.
        horizon: nothing created before this (Unix seconds) is searched for.
        wanted: by id: creation times of the open workflows that only the list can show.
        before: what the previous pass has learnt.
        rank_of: estimates from a creation time how many workflows are above one whose height is
            unknown.
        latest: no stamp after this (Unix seconds) is believed.
        is_repeated: whether this pass is repeated regularly. Then it continues if no row of a page
            shows its age, and leaves what is uncertain to the next pass.
        totals: what is known of the totals of the account's lists; it also learns from this pass.
        overlap: how far before the watermark the list is read again, in seconds.
    """

    def __init__(  # noqa: PLR0913 - all by name
        self,
        *,
        watermark: float | None,
        horizon: float,
        wanted: Iterable[tuple[str, float]],
        before: PassBefore,
        rank_of: Callable[[float], int],
        latest: float = inf,
        is_repeated: bool = False,
        totals: PageTotals | None = None,
        overlap: float = OVERLAP_SECONDS,
    ) -> None:
        self._until = horizon if watermark is None else max(horizon, watermark - overlap)
        self._wanted = {
            workflow_id: created for workflow_id, created in wanted if created >= horizon
        }
        self._before = before
        self._rank_of = rank_of
        self._latest = latest
        self._is_repeated = is_repeated
        self._order = before.order
        self._reach = Reach(
            trusts_total=not before.contradicted,
            is_repeated=is_repeated,
            totals=totals,
            ended_with=before.ended_with,
        )
        self._pages = 0
        self._caught_up = False
        """Whether everything new has been read, although older pages may be left."""
        self._over = False
        self._began: float | None = None
        self._total_at_begin: int | None = None
        self._heights: dict[str, int] = {}
        self._top: list[str] = []
        # The stamps of the last rows read; empty until a row has a stamp.
        self._last_rows: deque[float] = deque(maxlen=LAST_ROWS)
        # How many consecutive rows had no stamp.
        self._ageless = 0
        # The state of the list when a page was last read: its length, the time, and its growth per
        # second.
        self._total = 0
        self._read_at = 0.0
        self._per_second = 0.0
        # The bounds of the rank of the workflow that is searched for further down.
        self._sought: str | None = None
        self._steps = 0
        # The creation time of the deepest row that the search has shown.
        self._deepest = inf
        self._above = 0
        self._below: int | None = None
        self._next_rank = 0
        self.newest: float | None = None
        """The creation time of the newest workflow seen (or its change time, if the list is sorted
        by that), in Unix seconds: the watermark once the pass is complete. None if the list must be
        read again from the old watermark, or is empty."""
        self.unreadable = 0
        """How many entries that may be new could not be read."""
        self.missing: list[str] = []
        """Ids of open workflows that are missing where the list must have them: most likely
        deleted."""

    @property
    def complete(self) -> bool:
        """Whether nothing is left to read."""
        return self._over

    @property
    def doubtful(self) -> bool:
        """Whether something new may have been missed, because the list kept changing."""
        return self._reach.doubtful

    @property
    def contradicted(self) -> bool:
        """Whether the rows that were read contradict the total of the list."""
        return self._reach.contradicted

    @property
    def at_top(self) -> bool:
        """Whether the next page to read is the first one."""
        return self._reach.end == 0 and not self._caught_up

    @property
    def learnt(self) -> PassBefore:
        """What this pass passes on to the next one."""
        return PassBefore(
            self._heights,
            self._total_at_begin,
            self._began or 0.0,
            frozenset(self._top),
            self._order,
            self.contradicted or (self._before.contradicted and not self._reach.agreed),
            self._reach.ends_with,
        )

    def next_page(self, now: float, most: int = PER_PAGE) -> PageToRead:
        """The page to request at this moment, with at most `most` rows."""
        # Rows that were added meanwhile have moved everything down. It is better to skip too few
        # rows, so that some are read twice, than too many, which costs another page.
        added = self._per_second * max(0.0, now - self._read_at)
        pushed = max(0, int(added - 2 * sqrt(added)) - 2)
        if self._caught_up:
            # The search continues step by step between two bounds.
            pushed = 0 if self._below is not None else pushed
            return self._reach.certain_page(self._next_rank + pushed, most)
        return self._reach.next_page(most, pushed if self._reach.steady else 0)

    def read(self, page: PageToRead, shown: WorkflowPage, now: float) -> None:
        """Add a page that was read; then `next_page` and `complete` are up to date."""
        took = now - self._read_at
        shown = self._reach.understood(page, shown, now)
        self._note_total(shown.total, now)
        self._order = order_told(shown.workflows) or self._order
        placed = self._reach.placed(page, shown.entries)
        for index, workflow in enumerate(shown.workflows):
            if self._wanted.pop(workflow.id, None) is not None or _is_open(workflow):
                self._heights[workflow.id] = self._total - (placed.first + index)
        if not self._caught_up:
            if not self._catch_up(page, shown, took):
                return
            self._caught_up = True
        self._go_deeper(placed, shown)

    def _catch_up(self, page: PageToRead, shown: WorkflowPage, took: float) -> bool:
        """Continue from the top; return whether everything new has been read."""
        self._pages += 1
        self.unreadable += shown.malformed
        fresh = [each for each in shown.workflows if not self._reach.has_read(each.id)]
        ages = [age for age in map(self._age, fresh) if age is not None]
        self._ageless = 0 if ages else self._ageless + len(fresh) + shown.malformed
        if self._ageless >= AGELESS_ROWS and self._last_rows and not self._is_repeated:
            # The age of the page is unknown, so the next pass starts from the same watermark.
            self.newest = None
            self._over = True
            return False
        if not self._last_rows:
            self.newest = newest_of([age for age in ages if age <= self._latest])
        if not self._reach.read(page, shown):
            return False
        if shown.total is None and self._reach.pushed is not None and took > 0:
            self._per_second = max(0, self._reach.pushed) / took
        ids = [workflow.id for workflow in shown.workflows]
        self._top += ids[: max(0, TOP_ROWS - len(self._top))]
        self._last_rows.extend(ages[-LAST_ROWS:])
        return self._reach.at_end or self._is_past(ids)

    def _age(self, workflow: WorkflowSummary) -> float | None:
        """The stamp by which the list is sorted; if it is missing, a later one."""
        if self._order == "updated":
            return changed_at_the_latest(workflow)
        return created_at_the_latest(workflow)

    def _is_past(self, ids: list[str]) -> bool:
        """Whether everything below the page just read is known from earlier passes."""
        if self._last_rows:
            return max(self._last_rows) < self._until
        if not self._before.top.isdisjoint(ids):
            return True
        return self._pages >= MOST_BLIND_PAGES and not self._is_repeated

    def _note_total(self, total: int | None, now: float) -> None:
        """Learn how fast the list grows, averaged since the previous pass began."""
        if self._began is None:
            self._began, self._total_at_begin = now, total
        self._read_at = now
        if total is None:
            return
        self._total = total
        if self._before.total is not None and now > self._before.began:
            added = max(0, total - self._before.total)
            self._per_second = added / (now - self._before.began)

    # In the depth -----------------------------------------------------------------------------

    def _go_deeper(self, page: PageToRead, shown: WorkflowPage) -> None:
        """Search for the youngest wanted workflow, then for the next one.

        The rank is an estimate. Between a page that is too high and one that is too low, the page
        in the middle is tried. A list that is sorted by change time shows changed workflows at its
        top.
        """
        if self._order == "updated":
            self._wanted.clear()
        # The stamps stay in the list's order, so that a single wrong stamp rarely matters.
        stamps = [w.created_at for w in shown.workflows if w.created_at is not None]
        newest, oldest = (stamps[0], stamps[-1]) if stamps else (-inf, -inf)
        bottom = page.first + shown.entries
        is_last = self._is_last(page, shown)
        # Only what is shown tells how deep a page is: a service may repeat the same rows for ever.
        is_deeper = -inf < oldest < self._deepest
        self._deepest = oldest if is_deeper else self._deepest
        while self._wanted:
            workflow_id = max(self._wanted, key=lambda w: self._wanted[w])
            created = self._wanted[workflow_id]
            if workflow_id != self._sought:
                self._sought, self._below, self._steps = workflow_id, None, 0
            self._steps += self._below is not None or not is_deeper
            if self._steps <= MOST_STEPS:
                if created <= oldest and not is_last and self._is_left_below(bottom):
                    self._above = max(self._above, bottom)
                    self._next_rank = max(bottom, self._guess(workflow_id, created))
                    if self._below is not None and self._next_rank >= self._below:
                        self._next_rank = (bottom + self._below) // 2
                    return
                if created >= newest and page.first > self._above:
                    self._below = page.first
                    # A page from there reaches down to where this one began, or is in the middle.
                    middle = (self._above + page.first - page.size) // 2
                    self._next_rank = max(self._above, middle)
                    return
            self.missing.append(workflow_id)
            del self._wanted[workflow_id]
        self._over = True

    def _is_last(self, page: PageToRead, shown: WorkflowPage) -> bool:
        if self._reach.at_end or not shown.entries:
            return True
        is_short = shown.entries < (page.stride or page.size)
        return is_short and (shown.total is None or page.first + shown.entries >= shown.total)

    def _guess(self, workflow_id: str, created: float) -> int:
        """The estimated rank of this workflow when a page was last read."""
        height = self._before.heights.get(workflow_id)
        if height is None:
            return self._rank_of(created)
        return self._total - height

    def _is_left_below(self, bottom: int) -> bool:
        return self._below is None or bottom < self._below


def _is_open(workflow: WorkflowSummary) -> bool:
    status = known_status(workflow.status)
    return status is None or not status.final
