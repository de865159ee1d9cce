"""Which workflow to poll next, among those that neither a stream nor the list shows. Pure.

A workflow that has just changed may change again soon; one that has not changed for an hour most
likely will not soon. So each is due again after a fraction of the time since its last change. Ids
that nobody ever saw wait behind those that were seen: many wrong ids must not delay the news of
workflows that exist. If more are due than may be asked for, all wait longer in the same proportion.

Times are seconds of one monotonic clock.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf
from typing import Final

from exporter.interfaces.observations import OpenWorkflow, Status

UNCHANGED_PART: Final = 0.25
"""Of the time for which a workflow has not changed: after so long it is due again."""

SHORTEST_SECONDS: Final = 5.0
"""No workflow is due sooner than this after it was last seen or asked for."""

LONGEST_SECONDS: Final = 120.0
"""Every workflow is due after this at the latest."""


SEEN_IN_A_ROW: Final = 3
"""After so many that were seen it is the turn of one that was not, so that none waits for good."""


@dataclass(slots=True)
class _Known:
    """What is remembered of one open workflow."""

    status: Status | None
    changed: float
    """When its status was seen to change; before that, when we first knew of it."""
    is_seen: bool
    """Whether the service has ever reported it."""
    asked: float = -inf
    """When it was asked for, whatever came of it."""


class PollOrder:
    """Remembers when each open workflow has changed, and when it was asked for."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}
        self._seen_in_a_row = 0

    def note(self, workflows: Iterable[OpenWorkflow], now: float) -> None:
        """Look at all open workflows; those that are not among them are forgotten."""
        self._known = {w.workflow_id: self._looked_at(w, now) for w in workflows}

    def next_due(self, candidates: Iterable[OpenWorkflow], now: float) -> str | None:
        """The one that is overdue the most, in proportion to its interval; None: nobody is due.

        The candidates are among those that were last noted.
        """
        chosen: dict[bool, str] = {}
        most = {True: 1.0, False: 1.0}
        for workflow in candidates:
            known = self._known[workflow.workflow_id]
            overdue = (now - _told(workflow, known)) / interval(now - known.changed)
            if overdue >= most[known.is_seen]:
                chosen[known.is_seen], most[known.is_seen] = workflow.workflow_id, overdue
        first = self._seen_in_a_row < SEEN_IN_A_ROW
        return chosen.get(first, chosen.get(not first))

    def due_at(self, workflow: OpenWorkflow, now: float) -> float | None:
        """When it is due; None: it was not noted. From any thread."""
        known = self._known.get(workflow.workflow_id)
        if known is None:
            return None
        return _told(workflow, known) + interval(now - known.changed)

    def asked(self, workflow_id: str, now: float) -> None:
        """It was asked for: one without an answer must not keep the others waiting."""
        known = self._known.get(workflow_id)
        if known is not None:
            known.asked = now
            self._seen_in_a_row = self._seen_in_a_row + 1 if known.is_seen else 0

    def _looked_at(self, workflow: OpenWorkflow, now: float) -> _Known:
        known = self._known.get(workflow.workflow_id)
        if known is None:
            return _Known(
                workflow.status, workflow.first_seen.monotonic, workflow.last_seen is not None
            )
        known.is_seen = workflow.last_seen is not None
        if workflow.status is not known.status:
            if known.status is not None:
                # Else it was seen for the first time, and may have been so for long.
                known.changed = now
            known.status = workflow.status
        return known


def _told(workflow: OpenWorkflow, known: _Known) -> float:
    """When it was last seen, or asked for without success."""
    return max((workflow.last_seen or workflow.first_seen).monotonic, known.asked)


def interval(unchanged: float) -> float:
    """Seconds from one look at a workflow to the next, when it has not changed for that long."""
    return min(max(unchanged * UNCHANGED_PART, SHORTEST_SECONDS), LONGEST_SECONDS)
