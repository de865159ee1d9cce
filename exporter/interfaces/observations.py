"""What the parts that ask the service pass to the part that counts: observations, and nothing else.

The followers and the lister make them, the ledger accepts them. Neither knows the other.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Literal, Protocol

from exporter.comfycontrol import Cause

NamedBy = Literal["configured", "file"]
"""How the configuration names ids."""
Source = Literal[NamedBy, "listing", "pushed"]
"""Where an id came from."""

Via = Literal["stream", "listing", "detail"]
"""How an observation was made. A stream shows causes and outputs, the list does not."""

DropReason = Literal["not_found", "malformed", "forbidden", "expired", "withdrawn", "ended_before"]
"""Why a workflow was dropped before its outcome was known."""

Recovery = Literal["recovered", "counted", "known", "elsewhere", "old", "open", "untold"]
"""The result of checking a row again because an outcome may have been missed.

- `recovered`: its outcome is counted now; without this check it would have been missed;
- `counted`: its outcome is counted now; it was open, so it would have been found anyway;
- `known`: it is already recorded as ended, with this status;
- `elsewhere`: it is recorded with another final status than the service shows now;
- `old`: it had ended before counting began, and nothing is stored about it;
- `open`: it has not ended;
- `untold`: the store cannot be read, so the result is unknown.
"""


class Status(StrEnum):
    """The statuses that the service documents, in the order of a workflow's life."""

    ACCEPTED = "accepted"
    UPLOADED = "uploaded"
    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INVALID = "invalid"
    OTHER = "other"
    """Ended, in a status that this version does not know. The service never sends this word."""

    @property
    def rank(self) -> int:
        """How far along it is; a status never moves to a lower rank. All final ones are equal."""
        return _RANKS[self]

    @property
    def final(self) -> bool:
        """Whether it is final (so is `invalid`, although its stream stays open)."""
        return self in FINAL_STATUSES


OPEN_STATUSES: Final = (Status.ACCEPTED, Status.UPLOADED, Status.QUEUED, Status.RUNNING)
DOCUMENTED_ENDS: Final = (Status.COMPLETED, Status.FAILED, Status.CANCELLED, Status.INVALID)
FINAL_STATUSES: Final = (*DOCUMENTED_ENDS, Status.OTHER)
_RANKS: Final = {status: rank for rank, status in enumerate(OPEN_STATUSES)} | dict.fromkeys(
    FINAL_STATUSES, len(OPEN_STATUSES)
)
_DOCUMENTED: Final = {status.value: status for status in (*OPEN_STATUSES, *DOCUMENTED_ENDS)}


def known_status(text: str) -> Status | None:
    """The documented status of that name in any case, or None where the service has added one."""
    return _DOCUMENTED.get(text.strip().lower())


class TrackError(Exception):
    """It is not known at the moment whether an id is new; try again later."""


class NoRoomError(TrackError):
    """Too many workflows are open, or too many ids wait to be seen. The text says which."""


@dataclass(frozen=True, slots=True)
class Moment:
    """One instant on both clocks, in seconds.

    `wall` is Unix time, for what people and Prometheus read. `monotonic` never steps, for
    measuring how long something took.
    """

    wall: float
    monotonic: float


@dataclass(frozen=True, slots=True)
class Traits:
    """The cleaned values from which a workflow's slices are derived. Never stored."""

    name: str | None = field(default=None, repr=False)
    """Empty if it has none; None: unknown."""
    tags: tuple[str, ...] | None = None
    """None: unknown."""


@dataclass(frozen=True, slots=True)
class Observation:
    """What the service reported about a workflow at one moment.

    Stamps are the service's, in Unix seconds.
    `status` is the service's own word, which may be one that we do not know. `queue_position` is
    the reported one, whatever the status: the tracker decides whether it counts. `outputs` is the
    number of outputs, if a stream reported it.
    """

    account: str
    workflow_id: str
    via: Via
    at: Moment
    status: str
    queue_position: int | None = None
    created_at: float | None = None
    updated_at: float | None = None
    started_at: float | None = None
    completed_at: float | None = None
    cause: Cause | None = None
    outputs: int | None = None
    first_pass: bool = False
    """Whether it comes from the very first reading of the account's list: what this shows as ended
    had ended before we counted."""
    service_wall: float | None = None
    """The service's clock at this answer, if known; Unix seconds."""
    created_no_earlier: float | None = None
    """Where `created_at` is missing: the list is newest first, so it was created no earlier than
    the next row below that has a stamp; Unix seconds."""
    cause_unreadable: bool = False
    """Whether the answer had a cause that could not be read: another request may show it."""
    traits: Traits | None = None
    """Name and tags, if the answer has them: a stream does not."""

    @property
    def said_at(self) -> float:
        """When it was reported: by the service's clock if known, otherwise by ours."""
        return self.at.wall if self.service_wall is None else self.service_wall

    @property
    def is_over(self) -> bool:
        """Whether it says that the run has ended. An unknown status needs an end stamp for that."""
        status = known_status(self.status)
        return self.completed_at is not None if status is None else status.final

    @property
    def ended_at(self) -> float | None:
        """The best stamp of its end, if it has ended and has one; Unix seconds."""
        return self.updated_at if self.completed_at is None else self.completed_at


@dataclass(frozen=True, slots=True)
class Baseline:
    """How many workflows the service has in a final status that are not among those counted."""

    value: int
    """Below zero if counted workflows were deleted since."""
    compared_at: float
    """When the service's total was last compared with it; Unix seconds."""
    since: float
    """It includes everything that had ended by then, counted or not. No search looks further back;
    Unix seconds."""


@dataclass(frozen=True, slots=True)
class Tracked:
    """A source named this id: follow it from now on."""

    account: str
    workflow_id: str
    source: Source
    at: Moment
    again: bool = False
    """Whether it is named now and was not before: then a dropped workflow gets another try."""
    traits: Traits | None = None
    """Name and tags, if the source gives them."""


@dataclass(frozen=True, slots=True)
class Removed:
    """This id is not followed any more, before its outcome was known."""

    account: str
    workflow_id: str
    reason: DropReason
    at: Moment


class OpenWorkflow(Protocol):
    """What the following parts need to know about a workflow that is not settled."""

    @property
    def account(self) -> str:
        """The configured name of its account."""

    @property
    def workflow_id(self) -> str:
        """Its UUID."""

    @property
    def source(self) -> Source:
        """Which source named it first."""

    @property
    def status(self) -> Status | None:
        """The furthest documented status seen; None before the first."""

    @property
    def created_at(self) -> float | None:
        """When it was created, Unix seconds, if the list has shown it."""

    @property
    def first_seen(self) -> Moment:
        """When we first knew of it."""

    @property
    def last_seen(self) -> Moment | None:
        """When the service last reported it; None before the first observation."""


class WorkflowRegister(Protocol):
    """The ledger, as seen by the parts that ask the service."""

    def track(self, tracked: Tracked) -> bool:
        """Begin to track an id; return False if it was known already.

        Raises:
            TrackError: nothing has changed.
        """

    def observe(self, observation: Observation) -> bool:
        """Apply an observation; return True while the workflow is open or its cause is pending."""

    def drop(self, removed: Removed) -> None:
        """Stop tracking an id that cannot be followed."""

    def untrack(self, removed: Removed) -> None:
        """Stop tracking an id that its source no longer names."""

    def set_counting_cutoff(
        self, account: str, wall: float, shown: Iterable[Observation] = ()
    ) -> bool:
        """Set the counting cutoff (Unix seconds), and store what the list showed then.

        Only the first call ever has an effect; return whether this was the first.
        """

    def is_open(self, account: str, workflow_id: str) -> bool:
        """Whether this id is tracked and not settled."""

    def open_workflow(self, account: str, workflow_id: str) -> OpenWorkflow | None:
        """This workflow, if it is tracked and not settled; otherwise None."""

    def open_workflows(self, account: str) -> list[OpenWorkflow]:
        """Every workflow of the account that is not settled."""

    def pending_causes(self, account: str) -> list[str]:
        """Ids whose cause or duration is pending, and may be asked for now.

        Longest waiting first.
        """

    def needed_traits(self, account: str) -> list[str]:
        """Ids whose name and tags are needed. Those with facts that wait for them come first."""

    def needs_traits(self, account: str, workflow_id: str) -> bool:
        """Whether the name and the tags of this id are needed."""

    def is_cause_pending(self, account: str, workflow_id: str) -> bool:
        """Whether this id is settled and its cause is not known yet."""

    def created_after(self, account: str, created_at: float) -> int:
        """How many known workflows of the account were created after this (Unix seconds)."""

    def list_watermark(self, account: str) -> float | None:
        """The creation time (Unix seconds) down to which the list was read completely.

        None: never yet.
        """

    def advance_list_watermark(self, account: str, created_at: float) -> None:
        """Note that the list was read completely up to this creation time (Unix seconds)."""
