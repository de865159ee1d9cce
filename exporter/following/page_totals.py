"""What a list's `total` counts: the rows of the list, or those that were shown. Pure.

The service's documents do not say. A total that counts rows below the page is that of the list.
If it does not, either the list ends there, or the service returns no more at once and counts what
it returns. A page further down shows which it is.
"""

from dataclasses import replace
from math import inf
from typing import Final, Literal

from exporter.comfycontrol import WorkflowPage

FRESH_SECONDS: Final = 600.0
"""Seconds for which we assume that totals count the list, after a page last showed it. A service
may change, and if lists are longer than a page, each list shows it again."""


SURE_PASSES: Final = 2
"""Consecutive passes after which a total that contradicts the pages is reported. If rows are added
between two pages, one pass may look like this."""


class Contradictions:
    """When to report that the list's total contradicts its pages: once, until it is over."""

    def __init__(self) -> None:
        self._in_a_row = 0
        self._is_reported = False

    def is_news(self, *, contradicted: bool, is_over: bool, is_of_no_use: bool) -> bool:
        """Add a pass; return whether to report it.

        Args:
            contradicted: whether this pass has seen a contradiction.
            is_over: whether the total has been seen to be right since the last one.
            is_of_no_use: whether the total is known to count something else.
        """
        self._in_a_row = self._in_a_row + 1 if contradicted else 0
        is_news = not self._is_reported and (is_of_no_use or self._in_a_row >= SURE_PASSES)
        self._is_reported = (self._is_reported or is_news) and not (is_over and not is_of_no_use)
        return is_news


class PageTotals:
    """What is known of the totals of an account's lists, filtered or not. For one thread.

    Times are monotonic seconds.
    """

    def __init__(self) -> None:
        self._of: Literal["list", "page", "so far"] | None = None
        self._proven_at = -inf

    @property
    def count_what_was_shown(self) -> bool:
        """Whether totals count only the shown rows, or all rows so far, and not the whole list."""
        return self._of in ("page", "so far")

    def count_the_list(self, now: float) -> bool:
        """Whether totals are known to count the list's rows, as shown not long ago."""
        return self._of == "list" and now - self._proven_at < FRESH_SECONDS

    def note(self, shown: WorkflowPage, first: int, now: float, *, is_new: bool) -> None:
        """Learn from a page.

        Args:
            shown: what it shows.
            first: how many rows are above it in the list.
            now: monotonic seconds.
            is_new: whether any row of it was not on the pages above it.
        """
        if shown.total is None:
            return
        tells_of_more = shown.total > first + shown.entries
        # The total counts rows above this page, and this is the last page.
        tells_of_others = shown.total > shown.entries and not is_new and self._of != "so far"
        if tells_of_more or tells_of_others:
            self._of, self._proven_at = "list", now

    def note_more(self, shown: WorkflowPage, first: int) -> None:
        """Learn from a page of a list that has more rows than totals have said.

        Args:
            shown: what it shows.
            first: how many rows are above it in the list.
        """
        if shown.total == shown.entries:
            self._of = "page"
        elif shown.total == first + shown.entries:
            self._of = "so far"

    def understood(self, shown: WorkflowPage) -> WorkflowPage:
        """The same page; its total is removed if it says nothing about the list."""
        return replace(shown, total=None) if self.count_what_was_shown else shown
