"""Whether a list's pages are counted from 1 or from 0. Pure.

The service's documents do not say. If page 1 shows the whole list, it does not matter. Otherwise
the page before it is asked for once: either it shows the rows above, or there is none.
"""

from math import inf
from typing import Final

from exporter.comfycontrol import WorkflowPage
from exporter.following.list_stamps import DISORDER_SECONDS, created_at_the_latest
from exporter.retrying import FIRST_PAGE, FIRST_PAGE_UNCLEAR

AGAIN_SECONDS: Final = FIRST_PAGE.waits[-1]
"""Seconds for which we assume that there is no page before page 1, after the service showed
none."""

SOON_SECONDS: Final = FIRST_PAGE.waits[0]
"""Seconds after which that page is asked for again if there was no answer, or if page 1 did not
exist either. The wait doubles each time, up to `AGAIN_SECONDS`."""

SOONER_SECONDS: Final = FIRST_PAGE_UNCLEAR.waits[0]
"""The same if both pages were answered, but did not show which of them is the first."""

MOST_UNANSWERED: Final = 5
"""How often in a row that page gets no answer before an empty page 1 counts as an empty list, and
before counting begins with a page 1 that has rows."""


class PageNumbers:
    """What is known of the page numbers. Times are monotonic seconds."""

    def __init__(self) -> None:
        self.first = 1
        """The number of the first page, as far as known."""
        self._until = -inf
        self._unanswered = 0
        self._was_empty = False
        # If both pages showed the same rows: these, and how often in a row that was so.
        self._alike: frozenset[str] = frozenset()
        self._was_part = False
        self._times_alike = 0
        # How often in a row the two pages did not show which of them has the newer rows.
        self._times_unclear = 0
        self._settled_at = -inf

    def is_doubtful(
        self,
        shown: WorkflowPage | None,
        now: float,
        *,
        is_total_the_lists: bool,
        is_beginning: bool = False,
    ) -> bool:
        """Whether to read the page before this one, which was assumed to be the first.

        Args:
            shown: what this page shows; None if it was refused.
            now: monotonic seconds.
            is_total_the_lists: whether its total is known to count the list's rows.
            is_beginning: see `may_be_first`.
        """
        if self.first == 0:
            if shown is None or (not shown.entries and shown.total):
                # The number was wrong or has changed, or the service refuses everything for a
                # while.
                self.first, self._until = 1, now
            return False
        if self._was_empty and shown is not None and (shown.entries or shown.total):
            # Both pages of an empty list are empty: only now there is something to learn.
            self._was_empty, self._until = False, now
        if self._alike and shown is not None and shown.workflows:
            is_longer = _is_part(shown) and not self._was_part
            if is_longer or not self._alike <= _ids(shown):
                # The list has become longer than a page: now the two pages may differ.
                self._alike = frozenset()
                self._until = min(self._until, self._settled_at + self._wait_alike())
        if (
            self._unanswered
            and shown is not None
            and not self.may_be_first(shown, is_beginning=is_beginning)
        ):
            return True
        # If the page shows the whole list, its number does not matter.
        is_whole = is_total_the_lists and shown is not None and shown.total == shown.entries
        return not is_whole and now >= self._until

    def may_be_first(self, shown: WorkflowPage, *, is_beginning: bool) -> bool:
        """Whether page 1 may be the first, although the page before it was not answered.

        Not if it is empty, because then all rows may be on that page, and its total may count only
        what it shows. So the list was not read, unless that page is never answered. And not if it
        shall tell what had ended before counting began (`is_beginning`): its rows are not the
        newest if there are others above.
        """
        if self._unanswered >= MOST_UNANSWERED:
            return True
        return bool(shown.entries) and not is_beginning

    @property
    def is_certain(self) -> bool:
        """Whether the page before the assumed first one was answered, if it was asked for.

        And whether the two pages showed which of them is the first.
        """
        return not self._unanswered and not self._times_unclear

    def settle(self, above: WorkflowPage | None, shown: WorkflowPage | None, now: float) -> bool:
        """Learn from the page before (None: it shows nothing).

        Return whether that one is the first.
        """
        is_first = above is not None and stands_above(above, shown)
        if not is_first and shown is None:
            self.unanswered(now)
            return False
        self.first = 0 if is_first else 1
        self._until, self._unanswered = now + AGAIN_SECONDS, 0
        self._was_empty = not is_first and shown is not None and _is_empty(shown)
        # Page 0 may be answered as page 1, or page 1 as the last page, which is page 0 while the
        # list is short.
        self._alike = frozenset()
        if not is_first and above is not None and shown is not None and _ids(above) & _ids(shown):
            self._alike = _ids(shown)
        self._was_part = shown is not None and _is_part(shown)
        self._times_alike = self._times_alike + 1 if self._alike else 0
        is_unclear = not is_first and above is not None and _may_stand_above(above, shown)
        self._times_unclear = self._times_unclear + 1 if is_unclear else 0
        if is_unclear:
            # Later answers will show it, for example when other workflows have come.
            self._until = now + FIRST_PAGE_UNCLEAR.wait(self._times_unclear)
        self._settled_at = now
        return is_first

    def _wait_alike(self) -> float:
        """Seconds for which two pages that showed the same rows are not compared again.

        None at first. If they are the same again, page 0 is probably answered as page 1.
        """
        if self._times_alike < 2:
            return 0.0
        return FIRST_PAGE.wait(self._times_alike - 1)

    def unanswered(self, now: float) -> None:
        """Note that neither the page before nor the first page was answered."""
        self._unanswered += 1
        self._until = now + FIRST_PAGE.wait(self._unanswered)


def _ids(page: WorkflowPage) -> frozenset[str]:
    return frozenset(workflow.id for workflow in page.workflows)


def _is_part(page: WorkflowPage) -> bool:
    """Whether a page shows that the list has more rows."""
    return (page.total or 0) > page.entries


def _is_empty(page: WorkflowPage) -> bool:
    """Whether a page shows that the list has no rows."""
    return not page.entries and not page.total


def stands_above(above: WorkflowPage, shown: WorkflowPage | None) -> bool:
    """Whether a page shows the rows above another page, not the same rows or the list's end."""
    if shown is None:
        return True
    if not above.workflows:
        return False
    if not shown.workflows:
        return True
    if _shows_the_same(above, shown):
        return False
    lead = _lead(above, shown)
    return lead is None or lead >= 0


def _may_stand_above(above: WorkflowPage, shown: WorkflowPage | None) -> bool:
    """Whether a page may show the rows above another, although it does not seem to.

    Rows that were created at nearly the same time need not be in the order of their stamps. And if
    the totals differ, one of the two answers may be that of a lagging replica. What a lagging one
    shows as the first page may be the second page by now, with the same rows.
    """
    if shown is None or not (above.workflows and shown.workflows):
        return False
    totals_differ = (
        above.total is not None and shown.total is not None and above.total != shown.total
    )
    if _shows_the_same(above, shown):
        return totals_differ
    lead = _lead(above, shown)
    return totals_differ or (lead is not None and lead > -DISORDER_SECONDS)


def _shows_the_same(above: WorkflowPage, shown: WorkflowPage) -> bool:
    """Whether at least half of the rows of one page are on the other."""
    ids = _ids(above)
    again = sum(workflow.id in ids for workflow in shown.workflows)
    return 2 * again >= min(len(above.workflows), len(shown.workflows))


def _lead(above: WorkflowPage, shown: WorkflowPage) -> float | None:
    """By how many seconds the newest row of one page is newer than that of the other.

    None if the rows of one of them have no stamps.
    """
    newest = [
        max(filter(None, map(created_at_the_latest, page.workflows)), default=None)
        for page in (above, shown)
    ]
    if newest[0] is None or newest[1] is None:
        return None
    return newest[0] - newest[1]
