"""Which workflow to poll next, among those that neither a stream nor the list shows. Pure.

A workflow that has just changed may change again soon; one that has not changed for an hour most
likely will not soon. So each is due again after a fraction of the time since its last change. Ids
that the service has never reported wait behind those that it has: many wrong ids must not delay
news of workflows that exist. If more are due than may be asked for, all wait longer in the same
proportion.

Times are seconds of one monotonic clock.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf
from typing import Final

from exporter.interfaces.observations import OpenWorkflow, Status

UNCHANGED_PART: Final = 0.25
"""Part of the time since its last change after which a workflow is due again."""

SHORTEST_SECONDS: Final = 5.0
"""Seconds. No workflow is due sooner than this after it was last seen or asked for."""

LONGEST_SECONDS: Final = 120.0
"""Seconds. Every workflow is due after this at the latest."""


SEEN_IN_A_ROW: Final = 3
"""After this many polls of workflows that were seen, one that was never seen is polled, so that
none waits for ever."""


@dataclass(slots=True)
class _Known:
    """What is known of one open workflow."""

    status: Status | None
    changed: float
    """When its status last changed, or when we first learnt of it; monotonic seconds."""
    is_seen: bool
    """Whether the service has ever reported it."""
    asked: float = -inf
    """When it was last asked for, with or without success; monotonic seconds."""


class PollOrder:
    """Remembers when each open workflow has changed, and when it was asked for."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}
        self._seen_in_a_row = 0

    def note(self, workflows: Iterable[OpenWorkflow], now: float) -> None:
        """Take all open workflows; others are removed."""
        self._known = {w.workflow_id: self._state_of(w, now) for w in workflows}

    def next_due(self, candidates: Iterable[OpenWorkflow], now: float) -> str | None:
        """The workflow that is most overdue, relative to its interval; None: none is due.

        The candidates must be among the workflows that were last noted.
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
        """When a workflow is due; None: it was not noted. Any thread may call it."""
        known = self._known.get(workflow.workflow_id)
        if known is None:
            return None
        return _told(workflow, known) + interval(now - known.changed)

    def asked(self, workflow_id: str, now: float) -> None:
        """Note that it was asked for: a workflow without an answer must not delay the others."""
        known = self._known.get(workflow_id)
        if known is not None:
            known.asked = now
            self._seen_in_a_row = self._seen_in_a_row + 1 if known.is_seen else 0

    def _state_of(self, workflow: OpenWorkflow, now: float) -> _Known:
        known = self._known.get(workflow.workflow_id)
        if known is None:
            return _Known(
                workflow.status, workflow.first_seen.monotonic, workflow.last_seen is not None
            )
        known.is_seen = workflow.last_seen is not None
        if workflow.status is not known.status:
            if known.status is not None:
                # Otherwise it was seen for the first time, and may have had this status for long.
                known.changed = now
            known.status = workflow.status
        return known


def _told(workflow: OpenWorkflow, known: _Known) -> float:
    """When it was last seen, or last asked for without success."""
    return max((workflow.last_seen or workflow.first_seen).monotonic, known.asked)


def interval(unchanged: float) -> float:
    """Seconds between two polls of a workflow that has not changed for that long."""
    return min(max(unchanged * UNCHANGED_PART, SHORTEST_SECONDS), LONGEST_SECONDS)
