"""What the stamps of a page show together: its order, its time, and which rows are older. Pure.

All times are Unix seconds by the service's clock, unless stated otherwise.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final, Literal

from exporter.comfycontrol import WorkflowSummary

Order = Literal["created", "updated"]
"""By which stamp a list is sorted, newest first. The service documents the former."""

DISORDER_SECONDS: Final = 10.0
"""Seconds by which the order of rows may differ from that of their stamps."""

ODD_ROWS: Final = 1
"""How many rows of a page may have a wrong stamp while the page still counts as sorted."""

ODD_STAMPS: Final = 2
"""How many of the newest stamps, or rows, may be wrong without making a time wrong."""

AHEAD_SECONDS: Final = 60.0
"""Seconds by which a stamp may be ahead of the service's time in the same answer."""

AHEAD_OF_OURS_SECONDS: Final = 86_400.0
"""Seconds by which a stamp may be ahead of our own clock, if the service gives no time."""


def latest_believed(date: float | None, ours: float) -> float:
    """The latest stamp that is believed.

    Args:
        date: when the service answered, by its own clock; None if it gives no time.
        ours: our own clock, Unix seconds.
    """
    return ours + AHEAD_OF_OURS_SECONDS if date is None else date + AHEAD_SECONDS


def newest_stamps(workflows: Iterable[WorkflowSummary], latest: float) -> list[float]:
    """The stamps made by the service itself, up to `latest`, newest first.

    Creation and change are stamped by the service. Start and end come from a runner's clock, and
    are used only if there is nothing else.
    """
    rows = list(workflows)
    others = [stamp for w in rows for stamp in (w.started_at, w.completed_at)]
    return _own_stamps(rows, latest) or _believed(others, latest)


def _own_stamps(rows: Iterable[WorkflowSummary], latest: float) -> list[float]:
    return _believed([stamp for w in rows for stamp in (w.created_at, w.updated_at)], latest)


def _believed(stamps: Iterable[float | None], latest: float) -> list[float]:
    believed = [stamp for stamp in stamps if stamp is not None and stamp <= latest]
    return sorted(believed, reverse=True)


def counting_cutoff(
    workflows: Iterable[WorkflowSummary],
    date: float | None,
    ours: float,
    *,
    is_whole: bool = True,
) -> float:
    """The counting cutoff, according to the first page that was ever read.

    It is 0 if nothing gives a time: then everything that follows is counted.

    Args:
        workflows: the rows of that page.
        date: when it was answered, by the service's clock; None if it gives no time.
        ours: our own clock, Unix seconds.
        is_whole: whether all of that page was read, and it was certainly the first one. Otherwise
            its stamps do not show all that was there.
    """
    rows = list(workflows)
    believed = newest_stamps(rows, latest_believed(date, ours))
    if date is not None and date > ours + DISORDER_SECONDS and is_whole:
        # Either the answer's clock is fast, or ours is slow. If it was fast, what comes and ends
        # before that time would be lost. If ours was slow, the stamps still show what was there.
        # But ours is slow for certain if the service has made stamps that it has not reached.
        stamps = _certain_stamps(rows, latest_believed(date, ours))
        is_ours_slow = bool(stamps) and stamps[0] > ours + DISORDER_SECONDS
        date = date if is_ours_slow else ours
    # The stamps of a few rows may be wrong. If more rows than that are later than the answer's
    # date, and not later than our own clock, the clock of the answer is slow.
    certain = _certain_stamps(rows, ours + AHEAD_SECONDS)
    return max([date or 0.0, *believed[:1], *certain[:1]])


def _certain_stamps(rows: Iterable[WorkflowSummary], latest: float) -> list[float]:
    """The newest own stamp of each row, up to `latest`, newest first.

    Without those of the first rows, which may be wrong.
    """
    newest = [_own_stamps([row], latest)[:1] for row in rows]
    return sorted((stamp for stamps in newest for stamp in stamps), reverse=True)[ODD_STAMPS:]


def newest_of(ages: Sequence[float]) -> float | None:
    """The newest of these stamps; None if there are none.

    It is not much newer than the third newest, so that two wrong stamps in the future do no harm.
    """
    if not ages:
        return None
    newest = sorted(ages, reverse=True)[:3]
    return newest[0] if len(newest) < 3 else min(newest[0], newest[2] + DISORDER_SECONDS)


def created_at_the_latest(workflow: WorkflowSummary) -> float | None:
    """The creation time, or an upper bound for it; None if the row has no stamp at all."""
    if workflow.created_at is not None:
        return workflow.created_at
    stamps = (workflow.updated_at, workflow.started_at, workflow.completed_at)
    return min((stamp for stamp in stamps if stamp is not None), default=None)


def changed_at_the_latest(workflow: WorkflowSummary) -> float | None:
    """The time of the last change, as far as its stamps show."""
    created, updated = created_at_the_latest(workflow), workflow.updated_at
    if created is None or updated is None:
        return created if updated is None else updated
    return max(created, updated)


def order_told(workflows: Iterable[WorkflowSummary]) -> Order | None:
    """The stamp by which these rows are sorted; None if both or none are in order."""
    rows = [
        (workflow.created_at, workflow.updated_at)
        for workflow in workflows
        if workflow.created_at is not None and workflow.updated_at is not None
    ]
    created = _disorders([created for created, _ in rows])
    updated = _disorders([updated for _, updated in rows])
    # Workflows that were edited may stand at the top of a list that is sorted by creation.
    if created > max(ODD_ROWS, len(rows) // 4) and updated <= ODD_ROWS:
        return "updated"
    return "created" if updated > ODD_ROWS and created <= ODD_ROWS else None


def _disorders(stamps: Sequence[float]) -> int:
    """How many rows have a later stamp than the row above."""
    return sum(below > above + DISORDER_SECONDS for above, below in pairwise(stamps))


def created_no_earlier(workflows: Sequence[WorkflowSummary], latest: float) -> list[float | None]:
    """For each row without a creation time, the creation time of the next row below that has one.

    None for the other rows, and for all rows if the page is not sorted by creation. Stamps after
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
