"""The data of the pages, the JSON interface and `status`, in one form for all three.

The part that fills these (`exporter/history/`) knows nothing of HTML, and the part that renders
them (`exporter/web/`) knows nothing of the ledger. All stamps are Unix seconds, all spans are
seconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

SortKey = Literal["age", "status", "position", "run", "seen", "ended"]
"""The column by which a table is sorted; a leading `-` in a URL means descending."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A present problem, in words."""

    level: Literal["critical", "warning"]
    account: str | None
    """None: it is about the whole exporter."""
    text: str
    """One short sentence."""
    advice: str
    """What to do about it, one short sentence; may be empty."""
    since: float | None = None


@dataclass(frozen=True, slots=True)
class Plot:
    """A small plot of the last hour: one value for each bucket, oldest first."""

    name: str
    unit: Literal["count", "seconds"]
    bucket_seconds: float
    values: tuple[float | None, ...]
    """None: there is no data for that bucket (the exporter did not run, or nothing started)."""


@dataclass(frozen=True, slots=True)
class Failures:
    """Failures of the last hour with one cause."""

    node_type: str
    exception_type: str
    count: int
    share: float
    """Their share (0 to 1) of all workflows that ended in that hour."""
    latest_workflow_id: str | None = None


@dataclass(frozen=True, slots=True)
class SliceView:
    """Open and recently ended workflows with one value of a slice."""

    label: str
    value: str
    open: int
    ended: int
    """How many ended in the last hour."""
    failed: int
    """How many of these are failed or invalid."""


@dataclass(frozen=True, slots=True)
class Budget:
    """The request budget at this moment: how much is allowed and used."""

    address: str
    used: int
    allowed: int
    limit: int
    period_seconds: float
    cooldown_seconds: float
    """Seconds until requests are allowed again; 0: they are allowed now."""


@dataclass(frozen=True, slots=True)
class Belief:
    """Whether the numbers of an account can be trusted."""

    stalest_seconds: float | None
    """Seconds since the open workflow that was seen least recently was seen."""
    listing_lag_seconds: float | None
    """Seconds since the list was last read completely; None: no list is read, or not yet."""
    difference: int | None
    """How many outcomes the service's totals have that are not counted; None: not compared."""
    dropped: int
    """How many workflows were dropped since the ledger was created."""
    compared_seconds: float | None = None
    """Seconds since the totals were compared."""


@dataclass(frozen=True, slots=True)
class AccountView:
    """One account at this moment."""

    name: str
    up: bool
    down_reason: str
    """Why it is down, in words; empty while it is up."""
    down_since: float | None
    last_error: str
    """The code or kind of error of the last failed request, never a message."""
    last_error_at: float | None
    open: Mapping[str, int]
    """How many are open, by documented status and `other`; empty while that is unknown."""
    streams: int
    longest_waiting_id: str | None
    longest_waiting_since: float | None
    outcomes: Mapping[str, int]
    """How many ended in the last hour, by status."""
    failures: tuple[Failures, ...]
    """The failures of the last hour, most frequent first."""
    plots: tuple[Plot, ...]
    budget: Budget | None
    belief: Belief
    unseen: int = 0
    """How many named ids the service has not reported yet."""
    slices: tuple[SliceView, ...] = ()
    """Ordered by label, as in the configuration; within a label, most failures first."""


@dataclass(frozen=True, slots=True)
class WorkflowRow:
    """One workflow in a table."""

    id: str
    account: str
    phase: Literal["open", "settled", "dropped"]
    status: str
    slices: Mapping[str, str] = field(default_factory=dict)
    position: int | None = None
    age_seconds: float | None = None
    """Seconds since it was created, or else since it was first seen."""
    run_seconds: float | None = None
    """Seconds of its run, so far or in total."""
    wait_seconds: float | None = None
    """Seconds from its creation to its start."""
    seen_by: Literal["stream", "list", "poll", ""] = ""
    seen_seconds_ago: float | None = None
    next_step: str = ""
    """What the exporter will do next, in words; empty if nothing."""
    next_step_in_seconds: float | None = None
    ended_at: float | None = None
    node_type: str = ""
    exception_type: str = ""
    run_number: int = 1
    source: str = ""
    """Which source named it first: `configured`, `file`, `listing` or `pushed`."""


@dataclass(frozen=True, slots=True)
class WorkflowQuery:
    """Which workflows a table shows."""

    account: str | None = None
    status: str | None = None
    phase: Literal["open", "settled"] = "open"
    node_type: str | None = None
    slices: Mapping[str, str] = field(default_factory=dict)
    prefix: str = ""
    """The first characters of the id."""
    sort: SortKey = "age"
    descending: bool = True
    page: int = 1
    per_page: int = 100


@dataclass(frozen=True, slots=True)
class WorkflowTable:
    """One page of a table."""

    rows: tuple[WorkflowRow, ...]
    total: int
    page: int
    pages: int


@dataclass(frozen=True, slots=True)
class Event:
    """One entry in the history of a workflow."""

    at: float
    what: Literal["found", "changed", "stream", "counted", "not_counted", "cause", "dropped"]
    text: str
    """One short sentence, made of documented words and cleaned values only."""
    via: Literal["stream", "list", "poll", ""] = ""


@dataclass(frozen=True, slots=True)
class WorkflowStory:
    """The history of one workflow."""

    row: WorkflowRow
    events: tuple[Event, ...]
    """Oldest first."""
    events_left_out: int = 0
    """How many older events were removed, because the number is limited."""
    counted_as: str = ""
    """The outcome as which it was counted; empty: it was not counted, or not yet."""
    not_counted_because: str = ""
    """Why it was not counted, in words; empty if it was, or will be when it ends."""


@dataclass(frozen=True, slots=True)
class Overview:
    """The first page."""

    at: float
    version: str
    revision: str
    started_at: float
    problems: tuple[Problem, ...]
    accounts: tuple[AccountView, ...]
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    """Accounts that other replicas count, each with the replica's name; empty: it is unknown."""


class Views(Protocol):
    """The data for users. Each call returns a consistent snapshot and does not block for long."""

    def overview(self) -> Overview:
        """The content of the first page."""

    def workflows(self, query: WorkflowQuery) -> WorkflowTable:
        """A table of open or settled workflows."""

    def elsewhere(self) -> Mapping[str, str]:
        """Accounts that other replicas count, and that are therefore unknown here.

        Each with the name of the replica; empty if that is unknown.
        """

    def workflow(self, workflow_id: str) -> WorkflowStory | None:
        """The history of one workflow; None: it is unknown."""

    def filters(self) -> Mapping[str, tuple[str, ...]]:
        """The values for each filter: `account`, `status`, `node_type`, and each slice's label."""
