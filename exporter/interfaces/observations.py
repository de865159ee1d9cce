"""What the parts that ask the service pass to the part that counts: observations, and nothing else.

The followers and the lister make them, the ledger accepts them. Neither knows the other.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Literal, Protocol

from exporter.comfycontrol import Cause

NamedBy = Literal["configured", "file"]
"""By what the configuration names ids."""
Source = Literal[NamedBy, "listing", "pushed"]
"""Where an id came from."""

Via = Literal["stream", "listing", "detail"]
"""How an observation was made. A stream shows causes and outputs, the list does not."""

DropReason = Literal["not_found", "malformed", "forbidden", "expired", "withdrawn"]
"""Why a workflow was dropped before its outcome was known."""

Recovery = Literal["recovered", "counted", "known", "elsewhere", "old", "open", "untold"]
"""What became of a row that was looked at again because something may have been missed.

- `recovered`: its outcome is counted now, and nobody was going to find it;
- `counted`: its outcome is counted now; it was open, so it would have been found;
- `known`: it is on record as over, in this status;
- `elsewhere`: it is recorded with another final status than the service shows now;
- `old`: it was over before anything counted, and nothing is kept of it;
- `open`: it is not over;
- `untold`: the store cannot be read, so nobody knows.
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
    """Ended, in a status that this version does not know. Never the service's own word."""

    @property
    def rank(self) -> int:
        """How far along it is; a status never moves to a lower rank. All final ones are equal."""
        return _RANKS[self]

    @property
    def final(self) -> bool:
        """Whether nothing leads out of it (`invalid` included, though its stream stays open)."""
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
    """As many workflows are open, or ids wait to be seen, as may at once. The text says which."""


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
    """What a workflow's slices are derived from, cleaned. Never kept."""

    name: str | None = field(default=None, repr=False)
    """Empty if it has none; None: not given."""
    tags: tuple[str, ...] | None = None
    """None: not given."""


@dataclass(frozen=True, slots=True)
class Observation:
    """At this moment the service said this of a workflow. Stamps are the service's, Unix seconds.

    `status` is the service's own word, which may be one that we do not know. `queue_position` is
    what was said, whatever the status: the tracker decides whether it counts. `outputs` is how
    many, where a stream told.
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
    first_look: bool = False
    """Whether this is from the account's very first look, ever: what it shows as over, was."""
    service_wall: float | None = None
    """The service's clock at this answer, if it was given; Unix seconds."""
    created_no_earlier: float | None = None
    """Where `created_at` is missing: the list is newest first, so it was created no earlier than
    the next row below that has a stamp; Unix seconds."""
    cause_unreadable: bool = False
    """Whether a cause was there and could not be read: another way may tell it."""
    traits: Traits | None = None
    """Name and tags, if the answer has them: a stream does not."""

    @property
    def said_at(self) -> float:
        """When it was said, by the service's clock where that is known, else by ours."""
        return self.at.wall if self.service_wall is None else self.service_wall

    @property
    def is_over(self) -> bool:
        """Whether it says that the run has ended: a status nobody knows needs a stamp."""
        status = known_status(self.status)
        return self.completed_at is not None if status is None else status.final

    @property
    def ended_at(self) -> float | None:
        """The best stamp of its end, where it has ended and there is one; Unix seconds."""
        return self.updated_at if self.completed_at is None else self.completed_at


@dataclass(frozen=True, slots=True)
class Baseline:
    """How many workflows the service has in a final status that are not among those counted."""

    value: int
    """Below zero where counted ones were deleted since."""
    compared_at: float
    """When the service's total was last compared with it; Unix seconds."""
    since: float
    """What had ended by then is in it, counted or not, and is not looked for; Unix seconds."""


@dataclass(frozen=True, slots=True)
class Tracked:
    """A source named this id: follow it from now on."""

    account: str
    workflow_id: str
    source: Source
    at: Moment
    again: bool = False
    """Whether it is named now and was not before: a dropped one gets another try."""
    traits: Traits | None = None
    """Name and tags, if the source gives them."""


@dataclass(frozen=True, slots=True)
class Removed:
    """Nothing more will be learnt of this id; it never settled."""

    account: str
    workflow_id: str
    reason: DropReason
    at: Moment


class OpenWorkflow(Protocol):
    """What those who follow need to know of a workflow that is not settled."""

    @property
    def account(self) -> str:
        """The configured name of its account."""

    @property
    def workflow_id(self) -> str:
        """Its UUID."""

    @property
    def source(self) -> Source:
        """Who named it first."""

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
        """When the service last gave news of it; None before the first observation."""


class WorkflowRegister(Protocol):
    """The ledger, as those see it who ask the service."""

    def track(self, taken: Tracked) -> bool:
        """Begin to keep an id; False when it was known already.

        Raises:
            TrackError: nothing was kept.
        """

    def observe(self, observation: Observation) -> bool:
        """Take what was seen; True while the workflow is open or owes its cause."""

    def drop(self, given: Removed) -> None:
        """Drop an id that cannot be followed."""

    def untrack(self, withdrawn: Removed) -> None:
        """Its source no longer names this id."""

    def draw_line(self, account: str, wall: float, shown: Iterable[Observation] = ()) -> bool:
        """Say when this account was first looked at (Unix seconds), and what was shown then.

        Only the first call ever counts, and takes what was shown; whether this was it.
        """

    def is_open(self, account: str, workflow_id: str) -> bool:
        """Whether this id is kept and not settled."""

    def open_workflow(self, account: str, workflow_id: str) -> OpenWorkflow | None:
        """This workflow, where it is kept and not settled."""

    def open_workflows(self, account: str) -> list[OpenWorkflow]:
        """Every workflow of the account that is not settled."""

    def causes_owed(self, account: str) -> list[str]:
        """Ids that owe their cause or their duration, and may be asked for now.

        Longest waiting first.
        """

    def traits_owed(self, account: str) -> list[str]:
        """Ids whose name and tags are wanted, those that hold facts back for them first."""

    def owes_traits(self, account: str, workflow_id: str) -> bool:
        """Whether the name and the tags of this id are wanted."""

    def owes_cause(self, account: str, workflow_id: str) -> bool:
        """Whether this id is settled and its cause is not known yet."""

    def created_after(self, account: str, created_at: float) -> int:
        """How many of the account's workflows are known to be younger (Unix seconds)."""

    def list_watermark(self, account: str) -> float | None:
        """The list was read whole down to this creation time (Unix seconds); None: never yet."""

    def advance_list_watermark(self, account: str, created_at: float) -> None:
        """The list was now read whole for all that was created up to this time."""
