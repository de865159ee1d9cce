"""The data of the pages, the JSON interface and `status`, in one form for all three.

The part that fills these (`exporter/history/`) knows nothing of HTML, and the part that renders
them (`exporter/web/`) knows nothing of the ledger. All stamps are Unix seconds, all spans are
seconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

SortKey = Literal["age", "status", "position", "run", "seen", "ended"]
"""By what a table of workflows is sorted; a leading `-` in an address means descending."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is wrong now, in words, most urgent first."""

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
    """None: nothing is known of that bucket (the exporter did not run, or nothing started)."""


@dataclass(frozen=True, slots=True)
class Failures:
    """Failures of the last hour with one cause."""

    node_type: str
    exception_type: str
    count: int
    share: float
    """Of all that ended in that hour, 0 to 1."""
    latest_workflow_id: str | None = None


@dataclass(frozen=True, slots=True)
class SliceView:
    """What is open and has ended recently of one value of a slice."""

    label: str
    value: str
    open: int
    ended: int
    """In the last hour."""
    failed: int
    """Of these, failed or invalid."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What the service's limit allows and what is used, at this instant."""

    address: str
    used: int
    allowed: int
    limit: int
    period_seconds: float
    cooldown_seconds: float
    """Until something may be asked again; 0: at once."""


@dataclass(frozen=True, slots=True)
class Belief:
    """Whether the numbers of an account can be believed."""

    stalest_seconds: float | None
    """How long ago the workflow that was not seen for longest was seen."""
    listing_lag_seconds: float | None
    """Since the last complete pass over the list; None: no list is read, or never yet."""
    difference: int | None
    """Outcomes that the service's totals have and ours lack; None: not compared."""
    dropped: int
    """Dropped since the ledger began."""
    compared_seconds: float | None = None
    """Since the totals were compared."""


@dataclass(frozen=True, slots=True)
class AccountView:
    """One account, at this instant."""

    name: str
    up: bool
    down_reason: str
    """In words; empty while it is up."""
    down_since: float | None
    last_error: str
    """Of the last request that failed: the code or the class of fault, never a message."""
    last_error_at: float | None
    open: Mapping[str, int]
    """By status, the documented ones and `other`; empty where we cannot see."""
    streams: int
    longest_waiting_id: str | None
    longest_waiting_since: float | None
    outcomes: Mapping[str, int]
    """Of the last hour, by status."""
    failures: tuple[Failures, ...]
    """Of the last hour, most frequent first."""
    plots: tuple[Plot, ...]
    budget: Budget | None
    belief: Belief
    unseen: int = 0
    """Open ones that somebody named, and that the service has not reported yet."""
    slices: tuple[SliceView, ...] = ()
    """By label, in the order of the configuration; most failures first."""


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
    """Since it was created, or first seen."""
    run_seconds: float | None = None
    """So far, or in all."""
    wait_seconds: float | None = None
    """From its creation to its start."""
    seen_by: Literal["stream", "list", "poll", ""] = ""
    seen_seconds_ago: float | None = None
    next_step: str = ""
    """What the exporter will do next, in words; empty where it is done with it."""
    next_step_in_seconds: float | None = None
    ended_at: float | None = None
    node_type: str = ""
    exception_type: str = ""
    run_number: int = 1
    source: str = ""
    """Who named it first: `configured`, `file`, `listing` or `pushed`."""


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
    """Something that happened to a workflow, or that the exporter did about it."""

    at: float
    what: Literal["found", "changed", "stream", "counted", "not_counted", "cause", "dropped"]
    text: str
    """One short sentence, made of documented words and cleaned values only."""
    via: Literal["stream", "list", "poll", ""] = ""


@dataclass(frozen=True, slots=True)
class WorkflowStory:
    """What is known of one workflow."""

    row: WorkflowRow
    events: tuple[Event, ...]
    """Oldest first."""
    events_left_out: int = 0
    """Older ones than the bound allows."""
    counted_as: str = ""
    """The outcome it was counted as; empty: not (yet)."""
    not_counted_because: str = ""
    """In words; empty where it was counted, or will be when it ends."""


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
    """Accounts that other replicas count, each with the replica's name; empty: none is known to."""


class Views(Protocol):
    """Everything that can be looked at. Each call is one consistent snapshot; none blocks long."""

    def overview(self) -> Overview:
        """The first page."""

    def workflows(self, query: WorkflowQuery) -> WorkflowTable:
        """A table of open or settled workflows."""

    def elsewhere(self) -> Mapping[str, str]:
        """Accounts that other replicas count, so that nothing is known of them here.

        By name, which replica; empty where none is known to.
        """

    def workflow(self, workflow_id: str) -> WorkflowStory | None:
        """All of one; None: nothing is known of it."""

    def filters(self) -> Mapping[str, tuple[str, ...]]:
        """The values to filter by: `account`, `status`, `node_type`, and each slice's label."""
