"""Whether the service has ended workflows that were never counted, and which page to look at. Pure.

For a final status the service tells a total T: how many workflows it has in it now. The ledger
tells E: how many outcomes it ever counted in it. What is in T and not in E is the baseline B:
what was over before anything counted. An end adds one to T and to E. A workflow that is deleted,
or runs again, takes one from T alone, so T - E falls and B follows it down. T - E rises for one
reason only: an outcome that was not counted. (Or for a workflow that was hidden and shows again:
then the whole list is read, all of it is known, and B is put right.)

No clock stands still meanwhile: an outcome is counted a while after the service has it in its
total, and that total may itself be a while old. So E is read twice, long enough before the request
and long enough after its answer. T - E was no more than T less the first, and no less than T less
the second. B only follows the former, a difference only shows by the latter, and either only where
two comparisons in a row agree. What is under way can hide a difference on a busy account; it can
never make one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Final

from exporter.comfycontrol import WorkflowPage, WorkflowSummary
from exporter.following.listing_pass import PER_PAGE, PageToRead
from exporter.observations import DOCUMENTED_ENDS, Status, known_status

COMPARED: Final = DOCUMENTED_ENDS
"""The final statuses. The service documents a filter for all of them but `invalid`."""

SHOWN: Final = (Status.QUEUED, Status.RUNNING)
"""Open statuses whose totals are only shown."""

DOCUMENTED: Final = (*SHOWN, Status.COMPLETED, Status.FAILED, Status.CANCELLED)
"""The statuses for which the service documents a filter."""

PASSES: Final = 2
"""So many complete passes over the list after a total was told, the last of them began after it."""

LONG_PASS: Final = 10
"""No pass over the list takes longer than so many times what it usually takes to find an end."""

FIRST_SECONDS: Final = 3600.0
"""For so long after its line an account is taken for one that is followed for the first time."""

LEAST_EXPECTED: Final = 60
"""Pages that a list is taken to have before it was read to its end; and always twice as many as
were read of it."""

UNEXPLAINED_SECONDS: Final = 3600.0
"""A difference that is older than this is told as one that cannot be explained."""

MOST_TRIES: Final = 5
"""How often in a row a page is tried that is not answered, before the reading ends there."""

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
    round_trip: float = 3600.0
    """The list is read again within this time as far as an outcome can have been missed, page by
    page, unless that takes more than a page each `page`. Infinite: never."""
    again: float = 900.0
    """From a reading that has explained nothing to the next one; twice as long after each more."""
    longest_again: float = 6 * 3600.0


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
    """A list read from its top to its end, in pages of whatever size the service gives.

    Args:
        whole: whether it must be known in the end that all of it was read.
    """

    def __init__(self, *, whole: bool) -> None:
        self._size = self._largest = PER_PAGE
        self._rank = 0
        self._is_too_long = False
        self._failures = 0
        self._total: int | None = None
        self._ids: set[str] | None = set() if whole else None
        self.over = False
        self.unreadable = 0
        """Rows that could not be read, or whose fate could not be told."""
        self.pages = 0
        self.passed_over: set[str] = set()
        """Rows that ended too late to be among those that are looked for, by their stamps."""

    @property
    def next_page(self) -> PageToRead:
        """The page to read."""
        return PageToRead(self._rank // self._size + 1, self._size)

    @property
    def rows(self) -> int | None:
        """How many different rows were read; None where they were not remembered."""
        return None if self._ids is None else len(self._ids)

    @property
    def total(self) -> int | None:
        """How long the list was when it was begun, as the service said."""
        return self._total

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

    def read(self, page: PageToRead, shown: WorkflowPage) -> tuple[WorkflowSummary, ...]:
        """Take a page; those of its rows that were not read before."""
        self.pages += 1
        self.unreadable += shown.entries - len(shown.workflows)
        if self._total is None:
            self._total = shown.total
        end = page.first + shown.entries
        if shown.entries == 0 or (shown.total is not None and end >= shown.total):
            self.over = True
        elif shown.entries < page.size:
            # It never gives more than that at once.
            self._largest = shown.entries
        self._rank = max(end, self._rank)
        self._size = min(self._largest, self._size if self._is_too_long else 2 * self._size)
        self._is_too_long = False
        self._failures = 0
        return self._not_read_before(shown)

    def _not_read_before(self, shown: WorkflowPage) -> tuple[WorkflowSummary, ...]:
        if self._ids is None:
            return shown.workflows
        fresh = tuple(w for w in shown.workflows if w.id not in self._ids)
        self._ids.update(w.id for w in fresh)
        if len(self._ids) > MOST_PROVEN:
            self._ids = None
        return fresh

    def could_not_read(self) -> None:
        """A page came that cannot be used: too long, most likely. Read less at once.

        A single row that cannot be read is left out.
        """
        self._is_too_long = True
        if self._size > 1:
            self._size //= 2
            return
        self.unreadable += 1
        self._rank += 1

    def was_not_answered(self) -> None:
        """The page is tried again, and the reading ends where that does not help."""
        self._failures += 1
        if self._failures >= MOST_TRIES:
            self.unreadable += 1
            self.over = True

    def end(self) -> None:
        """What is further down need not be read."""
        self.over = True


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
    """Whether somebody was told that it cannot be explained."""

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

    def begin(self) -> ListWalk:
        """The reading that is under way, or one that begins now."""
        if self.walk is None:
            self.walk = ListWalk(whole=True)
        return self.walk

    def end(self, now: float, pace: Pace) -> bool:
        """The reading is over; whether it has shown that what is missing is no loss.

        That is so where the whole list was read, and nothing in it was missed. What its stamps
        call too young is looked at by a second reading: they may be by another clock than we think.
        If something is still missing and may be in the list, it is read again after a while.
        """
        walk, self.walk = self.walk, None
        self.last_walk = walk
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
class Reach:
    """Which rows are looked at again. Unix seconds by the service's clock.

    What ended just now will be found as ever, and who counts it first would be chance. What ended
    longer ago than the listing looks back does not count any more.
    """

    since: float
    """What had ended by then was not ours to count, or is not looked for."""
    oldest: float
    youngest: float
    frontier: float | None = None
    """The list was read whole for all that was created up to here; None: do not go by that."""
    youngest_beyond: float = inf
    """Instead of `youngest` for what was created later: it may belong to a pass that takes long."""

    def is_young(self, workflow: WorkflowSummary) -> bool:
        """Whether it has ended so late that it will be found as ever."""
        created = workflow.created_at
        is_beyond = self.frontier is not None and created is not None and created > self.frontier
        youngest = min(self.youngest, self.youngest_beyond) if is_beyond else self.youngest
        # Either may be wrong: an edit moves the one, a runner's clock the other.
        ends = _known(workflow.completed_at, workflow.updated_at)
        return _has_ended(workflow) and bool(ends) and min(ends) > youngest

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


def counts_since(line: float | None, now: float) -> float:
    """Since when outcomes are looked for, where there is no baseline; Unix seconds.

    From the line on, where it was drawn just now. Otherwise from now on: until now the account was
    counted by other rules (not listed, by tags), or its baseline does not hold any more.

    Args:
        line: when the account was first looked at.
        now: the service's clock.
    """
    return now if line is None or now - line > FIRST_SECONDS else line


def page_pause(pages: int | None, read: int, pace: Pace) -> float:
    """Seconds between two pages of the list.

    Args:
        pages: how many it had the last time; None: not known.
        read: how many were read of it this time.
        pace: within how long all of them are to be read.
    """
    if pace.round_trip == inf:
        return inf
    expected = max(LEAST_EXPECTED, 2 * read) if pages is None else max(1, pages)
    return max(pace.page, min(pace.every, pace.round_trip / expected))


def contradicts(status: Status, shown: WorkflowPage) -> bool:
    """Whether a page of one status shows others: the service seems not to know this filter.

    One of many may have moved on while the page was made.
    """
    others = sum(known_status(workflow.status) is not status for workflow in shown.workflows)
    return others > (len(shown.workflows) > 1)
