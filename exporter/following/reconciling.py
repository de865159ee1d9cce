"""Whether the service has ended workflows that were never counted, and which page to read. Pure.

For a final status the service gives a total T: how many workflows it has in it now. The ledger has
E: how many outcomes it ever counted in it. The part of T that is not in E is the baseline B:
workflows that had ended before counting began. An end adds one to T and to E. A workflow that is
deleted, or runs again, takes one from T alone, so T - E falls and B follows it down. T - E rises
for one reason only: an outcome that was not counted. (Or because a hidden workflow appears again:
then the whole list is read, all of it is known, and B is corrected.)

The two numbers are not from the same moment: an outcome is counted some time after the service has
it in its total, and that total may itself be old. So E is read twice, long enough before the
request and long enough after its answer. T - E was at most T less the first, and at least T less
the second. The first bound only lowers B, the second bound only shows a difference, and both count
only if two comparisons in a row agree. Outcomes that are not counted yet can hide a difference on a
busy account; they never create one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import inf
from typing import Final, Protocol

from exporter.comfycontrol import ServiceError, WorkflowPage, WorkflowSummary
from exporter.interfaces.observations import DOCUMENTED_ENDS, Status, known_status

COMPARED: Final = DOCUMENTED_ENDS
"""The final statuses. The service documents a filter for all of them but `invalid`."""

SHOWN: Final = (Status.QUEUED, Status.RUNNING)
"""Open statuses whose totals are shown but not compared."""

DOCUMENTED: Final = (*SHOWN, Status.COMPLETED, Status.FAILED, Status.CANCELLED)
"""The statuses for which the service documents a filter."""

PASSES: Final = 2
"""Complete passes over the list after which every earlier end was read: the last began after it."""

FIRST_SECONDS: Final = 3600.0
"""Seconds after its counting cutoff for which an account is treated as followed for the first
time."""

UNEXPLAINED_SECONDS: Final = 3600.0
"""Seconds. A difference that is older than this is reported as unexplained."""

MOST_PROVEN: Final = 100_000
"""How many rows of a list are remembered while it is read, to prove that it was read completely.
For a longer list there is no such proof."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How often totals are compared, and how fast lists are read. Seconds."""

    every: float = 120.0
    """From one comparison to the next."""
    settle: float = 30.0
    """The longest time until an outcome is counted and a total is correct, under normal conditions.
    It is extended until two complete passes over the list lie within it."""
    page: float = 6.0
    """The shortest time between two pages that are read again: 600 pages an hour at most."""
    again: float = 900.0
    """From a reading that explained nothing to the next one; doubled after each further one."""
    soon: float = 60.0
    """From an interrupted reading to the next one; doubled after each further one, up to
    `again`."""
    longest_again: float = 6 * 3600.0
    audit: float = 600.0
    """From the start of one reading of the whole list to the start of the next, if nothing is
    missing."""


@dataclass(frozen=True, slots=True)
class ListTerms:
    """How the account's list is read. Seconds."""

    interval: float
    """Between the starts of two passes."""
    lookback: float
    """How far back the list is read; older workflows are not searched for."""


@dataclass(frozen=True, slots=True)
class Sight:
    """The total of one status from one request, and what was counted around it."""

    total: int
    counted_before: int
    """How many outcomes had been counted long enough before the request."""
    counted_after: int
    """How many outcomes had been counted long enough after its answer."""
    asked_at: float = inf
    """Everything in the total had ended by this time; Unix seconds by the service's clock."""

    @property
    def most(self) -> int:
        """Upper bound for the number of uncounted outcomes that the service has."""
        return self.total - self.counted_before

    @property
    def least(self) -> int:
        """Lower bound for the number of uncounted outcomes that the service has."""
        return self.total - self.counted_after


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of a comparison for one status."""

    baseline: int
    missing: int | None
    """How many outcomes were not counted; None: the next comparison must confirm it first."""


def judge(baseline: int | None, sight: Sight, before: Sight | None) -> Verdict:
    """Compare a total with the counts.

    Args:
        baseline: how much of the total is known not to be counted; None: determine it now.
        sight: the present total and counts.
        before: the values of the previous comparison; None: there was none since the start.
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


class Pages(Protocol):
    """The pages of a list, from its top. They may repeat rows."""

    async def next(self) -> WorkflowPage | None:
        """Read the next page; None: the list has ended.

        Raises:
            StoppedError: the process is ending.
            ServiceError: reading cannot continue.
        """


class ListWalk:
    """A list read from its top to its end, page by page.

    Args:
        pages: the pages of the list.
        is_proof: whether it must be provable that the list was read completely. That needs the ids
            of its rows.
    """

    def __init__(self, pages: Pages, *, is_proof: bool = True) -> None:
        self._pages = pages
        self._ids: set[str] | None = set() if is_proof else None
        self.total: int | None = None
        """The length of the list when the reading began, according to the service."""
        self.over = False
        self.broken_off = False
        """Whether the reading ended because a page could not be read."""
        self.unreadable = 0
        """How many rows could not be read or decided."""
        self.passed_over: set[str] = set()
        """Ids of rows whose stamps say that they ended too late to be searched for."""
        self._is_first = True

    @property
    def rows(self) -> int | None:
        """How many different rows were read; None if there were too many to remember."""
        return None if self._ids is None else len(self._ids)

    @property
    def was_whole(self) -> bool:
        """Whether all workflows were read that were in the list when its first page was read.

        If rows are deleted, others move up, and a row may be missed between two pages. Then fewer
        rows were read than the list had.
        """
        return (
            self.over
            and self.unreadable == 0
            and self.rows is not None
            and self.total is not None
            and self.rows >= self.total
        )

    async def read(self) -> WorkflowPage | None:
        """The next page, without the rows that were read before; None: the list has ended.

        Raises:
            StoppedError: the process is ending.
            ServiceError: reading cannot continue.
        """
        try:
            shown = await self._pages.next()
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
    """Outcomes of one status that the service has but the ledger does not."""

    status: Status
    missing: int
    since: float
    """Monotonic time at which the shortfall was first seen."""
    ended_by: float
    """All missing outcomes had ended by this time; Unix seconds by the service's clock."""
    wait: float
    """Seconds until the list is read again if the present reading explains nothing."""
    broken_off: int = 0
    """How many readings in a row were interrupted."""
    read_at: float = field(default=0.0)
    """Monotonic time from which the list may be read."""
    walk: ListWalk | None = None
    recovered: int = 0
    elsewhere: int = 0
    corrected: int = 0
    """How many of the missing outcomes were no loss: the whole list was read, and all of it was
    known."""
    last_walk: ListWalk | None = None
    """The last reading that has ended."""
    passed_over: frozenset[str] | None = None
    """Ids that the last reading skipped, if it was complete; None: it was not complete."""
    is_told: bool = False
    """Whether it was logged that the shortfall cannot be explained."""

    def note(self, missing: int, ended_by: float, now: float) -> None:
        """Note the number from the next comparison. If it has grown, the list has something new."""
        if missing > self.missing and self.walk is None:
            self.read_at = now
        self.missing = missing
        if self.walk is None:
            self.ended_by = ended_by

    def due_at(self, now: float) -> float:
        """When the next page of its list should be read; monotonic seconds."""
        if not self.missing:
            return inf
        return now if self.walk is not None else self.read_at

    def end(self, now: float, pace: Pace) -> bool:
        """Note the end of a reading; return whether it showed that the difference is no loss.

        It is no loss if the whole list was read and nothing in it was missing. A second reading
        also checks rows that seem too young by their stamps: the stamps may come from another clock
        than we think. If something is still missing and may be in the list, it is read again after
        a while.
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
    """The latest results of the comparison, for a scrape."""

    service: Mapping[Status, int] = field(default_factory=dict)
    """How many workflows the service has, by status."""
    differences: Mapping[Status, int] = field(default_factory=dict)
    """How many of these were not counted, by final status that was compared."""
    completed_at: float | None = None
    """When everything that can be compared was last compared; Unix seconds."""


@dataclass(frozen=True, slots=True)
class Sought:
    """Which rows are checked again. Unix seconds by the service's clock.

    Outcomes of the last moments will be found in the normal way, so they are skipped. Outcomes that
    ended before the lookback do not count any more.
    """

    since: float
    """Outcomes before this time must not be counted, or are not searched for."""
    oldest: float
    youngest: float

    def is_young(self, workflow: WorkflowSummary) -> bool:
        """Whether it ended so late that it will be found in the normal way."""
        # Either stamp may be wrong: an edit changes `updated_at`, and a runner's clock gives
        # `completed_at`.
        ends = _known(workflow.completed_at, workflow.updated_at)
        return _has_ended(workflow) and bool(ends) and min(ends) > self.youngest

    def is_old(self, workflow: WorkflowSummary) -> bool:
        """Whether it ended so early that it does not count."""
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
    """When to read the whole list next; monotonic seconds.

    Args:
        began: when the last reading began.
        now: when the last reading ended.
        pace: how often lists are read.
        broken_off: whether a page of it could not be read.
    """
    return now + pace.again if broken_off else max(now + pace.page, began + pace.audit)


def counts_since(cutoff: float | None, now: float) -> float:
    """The time from which outcomes are searched for if there is no baseline; Unix seconds.

    It is the counting cutoff, if that was set just now. Otherwise it is the present: until now the
    account was counted by other rules (not listed, or by tags), or its baseline is no longer valid.

    Args:
        cutoff: the counting cutoff.
        now: the service's clock.
    """
    return now if cutoff is None or now - cutoff > FIRST_SECONDS else cutoff


def contradicts(status: Status, shown: WorkflowPage) -> bool:
    """Whether a page of one status shows others: the service seems not to know this filter.

    One of many rows may have changed its status while the page was created.
    """
    others = sum(known_status(workflow.status) is not status for workflow in shown.workflows)
    return others > (len(shown.workflows) > 1)
