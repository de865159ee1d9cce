"""Which page of the list to read next. Pure.

The list is newest first. A pass reads it from the top until it has met everything that is new
since the last complete pass; from there on only the pages on which a workflow must be that is
open and has no stream.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from exporter.comfycontrol import WorkflowSummary

PER_PAGE: Final = 100
"""The most that the service gives at once."""

OVERLAP_SECONDS: Final = 10.0
"""A workflow may show in the list a little after its creation; so far above the frontier
everything is read again."""

FIRST_LOOK_SECONDS: Final = 900.0
"""On the first start, how far the unfiltered list is read: the status filters find the rest,
except for workflows that are not queued yet, and those are young."""


class ListingPass:
    """One pass, fed page by page.

    Args:
        frontier: the list has been read whole for all that was created up to here (Unix
            seconds); None on the first start.
        horizon: nothing created before this (Unix seconds) is looked for.
        wanted: creation times of the open workflows that only the list can tell of, by id.
        rank_of: about how many workflows were created after a given time.
    """

    def __init__(
        self,
        *,
        frontier: float | None,
        horizon: float,
        wanted: Iterable[tuple[str, float]],
        rank_of: Callable[[float], int],
    ) -> None:
        self._until = horizon if frontier is None else max(horizon, frontier - OVERLAP_SECONDS)
        self._wanted = dict(wanted)
        self._rank_of = rank_of
        self._caught_up = False
        self._over = False
        self._retried: set[str] = set()
        self.next_page = 1
        """The page to read next."""
        self.newest: float | None = None
        """Creation of the newest workflow seen: the frontier once the pass is complete."""
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

    def read(self, page: int, workflows: Sequence[WorkflowSummary], entries: int) -> None:
        """Take a page that was read; afterwards `next_page` and `complete` are up to date.

        `entries` is how many the page held, those that could not be understood included.
        """
        for workflow in workflows:
            self._wanted.pop(workflow.id, None)
        stamps = [w.created_at for w in workflows if w.created_at is not None]
        if stamps and self.newest is None:
            self.newest = max(stamps)
        oldest = min(stamps, default=None)
        if entries < PER_PAGE or oldest is None:
            # The end of the list: who is still wanted is not in it.
            self._caught_up = True
            self._finish(self._wanted)
            return
        if not self._caught_up and oldest >= self._until:
            self.next_page = page + 1
            return
        self._caught_up = True
        self._go_deeper(page, oldest, max(stamps))

    def _go_deeper(self, page: int, oldest: float, newest: float) -> None:
        while self._wanted:
            workflow_id = max(self._wanted, key=lambda w: self._wanted[w])
            created = self._wanted[workflow_id]
            if created < oldest:
                # New ones may have pushed it further down since, never up by more than a page.
                self.next_page = max(page + 1, self._rank_of(created) // PER_PAGE + 1)
                return
            if created > newest and workflow_id not in self._retried and page > 1:
                # Went past it: the one page before was skipped on a wrong estimate.
                self._retried.add(workflow_id)
                self.next_page = page - 1
                return
            self.missing.append(workflow_id)
            del self._wanted[workflow_id]
        self._over = True

    def _finish(self, missing: Iterable[str]) -> None:
        self.missing.extend(missing)
        self._wanted = {}
        self._over = True
