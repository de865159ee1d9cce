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
"""A workflow may show in the list a little after its creation; so far above the watermark
everything is read again."""

FIRST_LOOK_SECONDS: Final = 900.0
"""On the first start, how far the unfiltered list is read: the status filters find the rest,
except for workflows that are not queued yet, and those are young."""

LAST_ROWS: Final = 3
"""The last rows of a page together show its age: one of them may have an odd stamp."""

AGELESS_ROWS: Final = 50
"""So many rows in a row without a stamp, where others have one, hide how far down it is."""

MOST_BLIND_PAGES: Final = 10
"""Pages that are read where no row has a stamp and none is known from the pass before."""

TOP_ROWS: Final = 200
"""Rows at the top by which the next pass knows, without stamps, that it has got to this one."""

MOST_STEPS: Final = 30
"""Pages that are read between two bounds for one workflow; it is asked for by itself then."""


@dataclass(frozen=True, slots=True)
class PassBefore:
    """What a pass has learnt that helps the next one."""

    heights: Mapping[str, int] = field(default_factory=dict)
    """How many stand below each workflow that is open or was looked for, and it itself. Below
    zero if the service gives no total."""
    total: int | None = None
    """How long the list was when the pass began."""
    began: float = 0.0
    """When that was, in seconds of the monotonic clock."""
    top: frozenset[str] = frozenset()
    """Which workflows stood at the top."""
    order: Order = "created"
    """By which stamp the list is sorted, as far as it has shown."""
    contradicted: bool = False
    """Whether the list's total was seen to be wrong, and has not been right since."""
    ended_with: str | None = None
    """The last row of the list, when its end was last seen."""


class ListingPass:
    """One pass, fed page by page. Its times, where nothing else is said, are monotonic seconds.

    Args:
        watermark: the list has been read whole for all that was created up to here (Unix
            seconds); None on the first start.
        horizon: nothing created before this (Unix seconds) is looked for.
        wanted: creation times of the open workflows that only the list can tell of, by id.
        before: what the pass before has learnt.
        rank_of: about how many workflows stand above one of which no height is known, by its
            creation time.
        latest: no stamp beyond this (Unix seconds) is believed.
        is_repeated: whether it is one of many that read the same over and over. It goes on where
            no row of a page shows how old it is, and leaves to the next one what is uncertain.
        totals: what is known of the totals of the account's lists; it learns from this one.
        overlap: how far above the watermark everything is read again, in seconds.
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
        """Everything new has been met, though older pages may be left."""
        self._over = False
        self._began: float | None = None
        self._total_at_begin: int | None = None
        self._heights: dict[str, int] = {}
        self._top: list[str] = []
        # The stamps of the last rows read; empty as long as no row has had one.
        self._last_rows: deque[float] = deque(maxlen=LAST_ROWS)
        # How many rows in a row have had none.
        self._ageless = 0
        # The list when a page of it was last read: how long it was, when, and how fast it grows.
        self._total = 0
        self._read_at = 0.0
        self._per_second = 0.0
        # Anyone who is looked for in the depth stands at these ranks.
        self._sought: str | None = None
        self._steps = 0
        self._above = 0
        self._below: int | None = None
        self._next_rank = 0
        self.newest: float | None = None
        """Creation of the newest workflow seen, or its change where the list is sorted by that:
        the watermark once the pass is complete. None where the list must be read again from the
        old watermark, or is empty."""
        self.unreadable = 0
        """Entries that could not be read, among those that may be new."""
        self.missing: list[str] = []
        """Open workflows that are not where the list must have them: deleted, most likely."""

    @property
    def complete(self) -> bool:
        """Whether nothing is left to read."""
        return self._over

    @property
    def doubtful(self) -> bool:
        """Whether something new may have been missed: the list would not hold still."""
        return self._reach.doubtful

    @property
    def contradicted(self) -> bool:
        """Whether the rows that were read contradict the total of the list."""
        return self._reach.contradicted

    @property
    def at_top(self) -> bool:
        """Whether the next page is the first one."""
        return self._reach.end == 0 and not self._caught_up

    @property
    def learnt(self) -> PassBefore:
        """What the next pass should know of this one."""
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
        """The page to read, of no more rows than `most`, if it is asked for at this moment."""
        # What has been added meanwhile has pushed everything down. Rather too few are left out,
        # which reads some twice, than too many, which costs another page.
        added = self._per_second * max(0.0, now - self._read_at)
        pushed = max(0, int(added - 2 * sqrt(added)) - 2)
        if self._caught_up:
            # Step by step between two bounds.
            pushed = 0 if self._below is not None else pushed
            return self._reach.page(self._next_rank + pushed, most)
        return self._reach.next_page(most, pushed if self._reach.steady else 0)

    def read(self, page: PageToRead, shown: WorkflowPage, now: float) -> None:
        """Take a page that was read; afterwards `next_page` and `complete` are up to date."""
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
        """Read on from the top; whether everything new has been met."""
        self._pages += 1
        self.unreadable += shown.malformed
        fresh = [each for each in shown.workflows if not self._reach.has_read(each.id)]
        ages = [age for age in map(self._age, fresh) if age is not None]
        self._ageless = 0 if ages else self._ageless + len(fresh) + shown.malformed
        if self._ageless >= AGELESS_ROWS and self._last_rows and not self._is_repeated:
            # The age of the page is unknown: the next pass begins where this one did.
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
        """The stamp by which the list is sorted; a later one where it is missing."""
        if self._order == "updated":
            return changed_at_the_latest(workflow)
        return created_at_the_latest(workflow)

    def _is_past(self, ids: list[str]) -> bool:
        """Whether all below the page just read is known from the passes before."""
        if self._last_rows:
            return max(self._last_rows) < self._until
        if not self._before.top.isdisjoint(ids):
            return True
        return self._pages >= MOST_BLIND_PAGES and not self._is_repeated

    def _note_total(self, total: int | None, now: float) -> None:
        """Learn how fast the list grows: since the pass before began, to have it steady."""
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
        """Look for the youngest of the wanted, then for the next; whose page we were at or near.

        The rank is a guess. Between a page that is too high and one that is too low, those in
        the middle are tried. A list that is sorted by change shows at its top what changes.
        """
        if self._order == "updated":
            self._wanted.clear()
        # In the list's own order, so that a single odd stamp seldom matters.
        stamps = [w.created_at for w in shown.workflows if w.created_at is not None]
        newest, oldest = (stamps[0], stamps[-1]) if stamps else (-inf, -inf)
        bottom = page.first + shown.entries
        is_last = self._is_last(page, shown)
        while self._wanted:
            workflow_id = max(self._wanted, key=lambda w: self._wanted[w])
            created = self._wanted[workflow_id]
            if workflow_id != self._sought:
                self._sought, self._below, self._steps = workflow_id, None, 0
            self._steps += self._below is not None
            if self._steps <= MOST_STEPS:
                if created <= oldest and not is_last and self._is_left_below(bottom):
                    self._above = max(self._above, bottom)
                    self._next_rank = max(bottom, self._guess(workflow_id, created))
                    if self._below is not None and self._next_rank >= self._below:
                        self._next_rank = (bottom + self._below) // 2
                    return
                if created >= newest and page.first > self._above:
                    self._below = page.first
                    # A page from there reaches down to where this one began, or lies in the
                    # middle.
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
        """The rank at which this workflow stood when a page was last read."""
        height = self._before.heights.get(workflow_id)
        if height is None:
            return self._rank_of(created)
        return self._total - height

    def _is_left_below(self, bottom: int) -> bool:
        return self._below is None or bottom < self._below


def _is_open(workflow: WorkflowSummary) -> bool:
    status = known_status(workflow.status)
    return status is None or not status.final
