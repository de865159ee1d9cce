"""What the stamps of a page show together: its order, its time, and which rows are older. Pure.

All times are Unix seconds by the service's clock, unless they are said to be of another.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final, Literal

from exporter.comfycontrol import WorkflowSummary

Order = Literal["created", "updated"]
"""By which stamp a list is sorted, newest first. The service documents the former."""

DISORDER_SECONDS: Final = 10.0
"""Rows may stand in another order than their stamps by so much."""

ODD_ROWS: Final = 1
"""Rows with an odd stamp that a page may have without being sorted otherwise."""

AHEAD_SECONDS: Final = 60.0
"""Seconds by which a stamp may be ahead of the service's time in the same answer."""

AHEAD_OF_OURS_SECONDS: Final = 86_400.0
"""Seconds by which a stamp may be ahead of our own clock, if the service gives no time."""


def latest_believed(date: float | None, ours: float) -> float:
    """The latest stamp that is believed.

    Args:
        date: when the service answered, by its own clock; None if it gives no time.
        ours: our own clock. Nothing else is decided by it.
    """
    return ours + AHEAD_OF_OURS_SECONDS if date is None else date + AHEAD_SECONDS


def newest_stamps(workflows: Iterable[WorkflowSummary], latest: float) -> list[float]:
    """The stamps that the service itself gave, up to `latest`, the newest first.

    Creation and change are stamped by the service. Start and end are those of a runner, and count
    only where there is nothing else.
    """
    rows = list(workflows)
    own = [stamp for w in rows for stamp in (w.created_at, w.updated_at)]
    others = [stamp for w in rows for stamp in (w.started_at, w.completed_at)]
    for stamps in (own, others):
        believed = [stamp for stamp in stamps if stamp is not None and stamp <= latest]
        if believed:
            return sorted(believed, reverse=True)
    return []


def counting_line(workflows: Iterable[WorkflowSummary], date: float | None, ours: float) -> float:
    """Where the counting begins, by the first page that was ever read.

    0 if nothing gives a time: everything that follows is counted.

    Args:
        workflows: of that page.
        date: when it was answered, by the service's clock; None if it gives no time.
        ours: our own clock.
    """
    newest = newest_stamps(workflows, latest_believed(date, ours))
    return max(date or 0.0, newest[0] if newest else 0.0)


def newest_of(ages: Sequence[float]) -> float | None:
    """The newest of these; None where there are none.

    Not much newer than the third: two odd stamps of the future lead nobody astray.
    """
    if not ages:
        return None
    newest = sorted(ages, reverse=True)[:3]
    return newest[0] if len(newest) < 3 else min(newest[0], newest[2] + DISORDER_SECONDS)


def created_at_the_latest(workflow: WorkflowSummary) -> float | None:
    """When it was created, or had been by then; None where it has no stamp at all."""
    if workflow.created_at is not None:
        return workflow.created_at
    stamps = (workflow.updated_at, workflow.started_at, workflow.completed_at)
    return min((stamp for stamp in stamps if stamp is not None), default=None)


def changed_at_the_latest(workflow: WorkflowSummary) -> float | None:
    """When it was changed last, as far as its stamps tell."""
    created, updated = created_at_the_latest(workflow), workflow.updated_at
    if created is None or updated is None:
        return created if updated is None else updated
    return max(created, updated)


def order_told(workflows: Iterable[WorkflowSummary]) -> Order | None:
    """By which stamp these rows are sorted, where they are sorted by one and not by the other."""
    rows = [
        (workflow.created_at, workflow.updated_at)
        for workflow in workflows
        if workflow.created_at is not None and workflow.updated_at is not None
    ]
    created = _disorders([created for created, _ in rows])
    updated = _disorders([updated for _, updated in rows])
    if created > ODD_ROWS and updated <= ODD_ROWS:
        return "updated"
    return "created" if updated > ODD_ROWS and created <= ODD_ROWS else None


def _disorders(stamps: Sequence[float]) -> int:
    """How often a row has a stamp that is later than the one above it."""
    return sum(below > above + DISORDER_SECONDS for above, below in pairwise(stamps))


def created_no_earlier(workflows: Sequence[WorkflowSummary], latest: float) -> list[float | None]:
    """For each row without a creation time, that of the nearest row below it that has one.

    None for the others; and for all of a page that is not sorted by creation. Stamps beyond
    `latest` are not believed.
    """
    if order_told(workflows) == "updated":
        return [None] * len(workflows)
    found: list[float | None] = []
    below: float | None = None
    for workflow in reversed(workflows):
        found.append(below if workflow.created_at is None else None)
        if workflow.created_at is not None and workflow.created_at <= latest:
            below = workflow.created_at
    return found[::-1]
