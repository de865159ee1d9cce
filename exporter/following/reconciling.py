"""Whether the service has ended workflows that were never counted, and which page to read. Pure.

For a final status the service gives a total T: how many workflows it has in it now. The ledger
has E: how many outcomes it ever counted in it. What is in T and not in E is the baseline B:
what was over before anything was counted. An end adds one to T and to E. A workflow that is
deleted, or runs again, takes one from T alone, so T - E falls and B follows it down. T - E rises
for one reason only: an outcome that was not counted. (Or because a hidden workflow appears again:
then the whole list is read, all of it is known, and B is corrected.)

The two numbers are not from the same moment: an outcome is counted some time after the service has
it in its total, and that total may itself be old. So E is read twice, long enough before the
request and long enough after its answer. T - E was at most T less the first, and at least T less
the second. B only follows the former, a difference is only shown by the latter, and both only if
two comparisons in a row agree. Outcomes that are not counted yet can hide a difference on a busy
account; they never create one.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import inf
from typing import Final

from exporter.comfycontrol import ServiceError, WorkflowPage, WorkflowSummary
from exporter.interfaces.observations import DOCUMENTED_ENDS, Status, known_status

COMPARED: Final = DOCUMENTED_ENDS
"""The final statuses. The service documents a filter for all of them but `invalid`."""

SHOWN: Final = (Status.QUEUED, Status.RUNNING)
"""Open statuses whose totals are only shown."""

DOCUMENTED: Final = (*SHOWN, Status.COMPLETED, Status.FAILED, Status.CANCELLED)
"""The statuses for which the service documents a filter."""

PASSES: Final = 2
"""Complete passes over the list after which every earlier end was read: the last began after it."""

FIRST_SECONDS: Final = 3600.0
"""For so long after its line an account is taken for one that is followed for the first time."""

UNEXPLAINED_SECONDS: Final = 3600.0
"""A difference that is older than this is reported as one that cannot be explained."""

MOST_PROVEN: Final = 100_000
"""Rows of a list that are remembered while it is read, so that it is known to be read whole. Of a
longer one it is never known."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How often totals are compared, and how fast lists are read. Seconds."""

    every: float = 120.0
    """From one comparison to the next."""
    settle: float = 30.0
    """The longest that an outcome takes to be counted, and a total to be right, on a good day. Two
    complete passes over the list must lie in it as well, however long they take."""
    page: float = 6.0
    """The least between two pages of what is read again: 600 an hour at most."""
    again: float = 900.0
    """From a reading that has explained nothing to the next one; twice as long after each more."""
    soon: float = 60.0
    """From a reading that was broken off to the next one; twice as long after each more, up to
    `again`."""
    longest_again: float = 6 * 3600.0
    audit: float = 600.0
    """From the beginning of one reading of the whole list to the next, where nothing is missing."""


@dataclass(frozen=True, slots=True)
class ListTerms:
    """How the account's list is read. Seconds."""

    interval: float
    lookback: float


@dataclass(frozen=True, slots=True)
class Sight:
    """One status, asked for once."""

    total: int
    counted_before: int
    """Outcomes that were counted long enough before the request."""
    counted_after: int
    """Outcomes that were counted long enough after its answer."""
    asked_at: float = inf
    """Whatever is in the total had ended by then, by the service's clock; Unix seconds."""

    @property
    def most(self) -> int:
        """The service has no more than this that was not counted."""
        return self.total - self.counted_before

    @property
    def least(self) -> int:
        """The service has no less than this that was not counted."""
        return self.total - self.counted_after


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a comparison says of one status."""

    baseline: int
    missing: int | None
    """Outcomes that were not counted; None: the next comparison must agree first."""


def judge(baseline: int | None, sight: Sight, before: Sight | None) -> Verdict:
    """Compare.

    Args:
        baseline: what is known to be in the total and not counted; None: draw it now.
        sight: what was seen now.
        before: what the comparison before has seen; None: there was none since the start.
    """
    if baseline is None:
        return Verdict(sight.most, 0)
    if sight.least <= baseline:
        missing: int | None = 0
    else:
        missing = None if before is None else max(0, min(sight.least, before.least) - baseline)
    if before is not None:
        baseline = min(baseline, max(sight.most, before.most))
    return Verdict(baseline, missing)


class ListWalk:
    """A list read from its top to its end, page by page.

    Args:
        pages: of the list, from its top on. They may show rows again.
        is_proof: whether it must be known that it was read whole. That takes the ids of its rows.
    """

    def __init__(self, pages: Iterator[WorkflowPage], *, is_proof: bool = True) -> None:
        self._pages = pages
        self._ids: set[str] | None = set() if is_proof else None
        self.total: int | None = None
        """How long the list was when it was begun, as the service said."""
        self.over = False
        self.broken_off = False
        """Whether it is over because a page of it could not be had."""
        self.unreadable = 0
        """Rows that could not be read, or about which nothing could be decided."""
        self.passed_over: set[str] = set()
        """Rows that ended too late to be among those that are looked for, by their stamps."""
        self._is_first = True

    @property
    def rows(self) -> int | None:
        """How many different rows were read; None where they were too many to remember."""
        return None if self._ids is None else len(self._ids)

    @property
    def was_whole(self) -> bool:
        """Whether every workflow was read that the list had when its first page was.

        Where rows move up because others are deleted, one may slip through between two pages:
        then fewer were read than there were.
        """
        return (
            self.over
            and self.unreadable == 0
            and self.rows is not None
            and self.total is not None
            and self.rows >= self.total
        )

    def read(self) -> WorkflowPage | None:
        """The next page, without the rows that were read before; None: that was all.

        Raises:
            Stopped: asked to end.
            ServiceError: there is no going on.
        """
        try:
            shown = next(self._pages, None)
        except ServiceError:
            self.unreadable += 1
            self.over = self.broken_off = True
            raise
        if shown is None:
            self.over = True
            return None
        if self._is_first:
            self._is_first, self.total = False, shown.total
        self.unreadable += shown.entries - len(shown.workflows)
        return replace(shown, workflows=self._not_read_before(shown))

    def _not_read_before(self, shown: WorkflowPage) -> tuple[WorkflowSummary, ...]:
        if self._ids is None:
            return shown.workflows
        fresh = tuple(w for w in shown.workflows if w.id not in self._ids)
        self._ids.update(w.id for w in fresh)
        if len(self._ids) > MOST_PROVEN:
            self._ids = None
        return fresh


@dataclass(slots=True)
class Shortfall:
    """Outcomes of one status that the service has and the ledger has not."""

    status: Status
    missing: int
    since: float
    """Monotonic time at which it was first seen."""
    ended_by: float
    """All of them had ended by then, by the service's clock; Unix seconds."""
    wait: float
    """Seconds until its list is read again, should the reading under way explain nothing."""
    broken_off: int = 0
    """How many readings in a row could not be brought to an end."""
    read_at: float = field(default=0.0)
    """Monotonic time from which its list may be read."""
    walk: ListWalk | None = None
    recovered: int = 0
    elsewhere: int = 0
    corrected: int = 0
    """How much of it was no loss: the whole list was read, and all of it known."""
    last_walk: ListWalk | None = None
    """The last reading that was over."""
    passed_over: frozenset[str] | None = None
    """What the last reading did not look at, if it was whole; None: it was not."""
    is_told: bool = False
    """Whether it was logged that it cannot be explained."""

    def note(self, missing: int, ended_by: float, now: float) -> None:
        """The next comparison says so many. More than before: the list has something new."""
        if missing > self.missing and self.walk is None:
            self.read_at = now
        self.missing = missing
        if self.walk is None:
            self.ended_by = ended_by

    def due_at(self, now: float) -> float:
        """From when on a page of its list should be read; monotonic seconds."""
        if not self.missing:
            return inf
        return now if self.walk is not None else self.read_at

    def end(self, now: float, pace: Pace) -> bool:
        """The reading is over; whether it has shown that what is missing is no loss.

        That is so where the whole list was read, and nothing in it was missed. What its stamps
        call too young is looked at by a second reading: they may be by another clock than we think.
        If something is still missing and may be in the list, it is read again after a while.
        """
        walk, self.walk = self.walk, None
        self.last_walk = walk
        if walk is not None and walk.broken_off:
            self.read_at = now + min(pace.soon * 2**self.broken_off, pace.again)
            self.broken_off += 1
            return False
        self.broken_off = 0
        before, self.passed_over = self.passed_over, None
        if walk is not None and walk.was_whole and self.missing:
            if before is not None or not walk.passed_over:
                return True
            self.passed_over = frozenset(walk.passed_over)
            self.read_at = now + pace.every
            return False
        self.read_at = now + self.wait
        self.wait = min(2 * self.wait, pace.longest_again)
        return False


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """What comparing has shown last, for a scrape."""

    service: Mapping[Status, int] = field(default_factory=dict)
    """How many workflows the service has, by status."""
    differences: Mapping[Status, int] = field(default_factory=dict)
    """How many of those cannot be accounted for, by the final statuses that were compared."""
    completed_at: float | None = None
    """When all that can be compared last was; Unix seconds."""


@dataclass(frozen=True, slots=True)
class Sought:
    """Which rows are looked at again. Unix seconds by the service's clock.

    What ended just now will be found as ever, and who counts it first would be chance. What ended
    longer ago than the listing looks back does not count any more.
    """

    since: float
    """What had ended by then was not ours to count, or is not looked for."""
    oldest: float
    youngest: float

    def is_young(self, workflow: WorkflowSummary) -> bool:
        """Whether it has ended so late that it will be found as ever."""
        # Either may be wrong: an edit moves the one, a runner's clock the other.
        ends = _known(workflow.completed_at, workflow.updated_at)
        return _has_ended(workflow) and bool(ends) and min(ends) > self.youngest

    def is_old(self, workflow: WorkflowSummary) -> bool:
        """Whether it has ended so early that it does not count."""
        stamps = _known(
            workflow.created_at, workflow.started_at, workflow.completed_at, workflow.updated_at
        )
        latest = max(stamps, default=inf)
        ended = latest if workflow.completed_at is None else workflow.completed_at
        return _has_ended(workflow) and (latest < self.oldest or ended < self.since)


def _has_ended(workflow: WorkflowSummary) -> bool:
    status = known_status(workflow.status)
    return status is None or status.final


def _known(*stamps: float | None) -> list[float]:
    return [stamp for stamp in stamps if stamp is not None]


def next_audit(began: float, now: float, pace: Pace, *, broken_off: bool) -> float:
    """When the whole list is read the next time; monotonic seconds.

    Args:
        began: when the last reading did.
        now: when it was over.
        pace: how often.
        broken_off: whether a page of it could not be had.
    """
    return now + pace.again if broken_off else max(now + pace.page, began + pace.audit)


def counts_since(line: float | None, now: float) -> float:
    """Since when outcomes are looked for, where there is no baseline; Unix seconds.

    From the line on, where it was drawn just now. Otherwise from now on: until now the account was
    counted by other rules (not listed, by tags), or its baseline does not hold any more.

    Args:
        line: when the account was first looked at.
        now: the service's clock.
    """
    return now if line is None or now - line > FIRST_SECONDS else line


def contradicts(status: Status, shown: WorkflowPage) -> bool:
    """Whether a page of one status shows others: the service seems not to know this filter.

    One of many may have moved on while the page was made.
    """
    others = sum(known_status(workflow.status) is not status for workflow in shown.workflows)
    return others > (len(shown.workflows) > 1)
