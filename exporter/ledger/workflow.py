"""The stored state of one workflow."""

from dataclasses import dataclass
from math import inf
from typing import Final, Literal

from exporter.interfaces.observations import Moment, Source, Status
from exporter.ledger.facts import SlicedFact
from exporter.ledger.phases import Entry
from exporter.ledger.slicing import Slices

Phase = Literal["open", "settled", "dropped"]

SIGHT_KEPT_SECONDS: Final = 60.0
"""How often it is kept when a workflow was last seen, where nothing else has changed."""


@dataclass(frozen=True, slots=True)
class Held:
    """Facts that are not counted yet, because the workflow's slices are not decided."""

    since: Moment
    """When the first of them became known."""
    facts: tuple[tuple[SlicedFact, float], ...]
    """Each with the Unix time at which it became known."""


@dataclass(frozen=True, slots=True)
class Workflow:
    """A row of the ledger. All stamps are Unix seconds by the service's clock.

    Immutable: the tracker answers an observation with a new one, so the one who holds a workflow
    holds a consistent one.
    """

    account: str
    workflow_id: str
    source: Source
    first_seen: Moment
    phase: Phase = "open"
    run: int = 1
    """Counts re-executions; the first run is 1."""
    status: Status | None = None
    """The furthest documented status seen; the outcome once settled."""
    unknown_status: str | None = None
    """The status last seen, while it is one that we do not know."""
    last_seen: Moment | None = None
    last_via: str = ""
    """By which way that was; empty before, and after a restart. It is not kept."""
    created_at: float | None = None
    started_at: float | None = None
    ended_at: float | None = None
    """When the last settled run ended, by the best stamp there was."""
    stream_ended_at: float | None = None
    """The latest end that a stream has shown: its stamps may have another precision and clock
    than those of the list."""
    stream_ended_run: int = 0
    """Which run that was the end of; 0: of none."""
    listed_ended_at: float | None = None
    """The latest end that the list, or a single answer, has shown."""
    listed_ended_run: int = 0
    """Which run that was the end of; 0: of none."""
    earlier_ends: tuple[float, ...] = ()
    """The ends of earlier runs, as they were shown: by these, the row of a replica that lags is
    known for an old one, whatever its clock. The last few of them."""
    settled_at: float | None = None
    """When the service first said that the last settled run was over, by the service's clock; None
    where it did not tell the time."""
    queue_position: int | None = None
    """Only while queued."""
    position_at: float | None = None
    """Monotonic time at which the position was last seen: the list does not show it."""
    entered_queue: bool = False
    """Whether the position at which it was first seen queued was observed."""
    waiting_from: float | None = None
    """Monotonic time of our first sight of it before it ran."""
    waiting_until: float | None = None
    """Monotonic time of our last sight of it before it ran."""
    waiting_lost: bool = False
    """It was waiting in an earlier process, whose monotonic clock means nothing to this one."""
    entered: Entry | None = None
    """When it came into the phase that it is in, until it runs; None: uncertain."""
    start_wait: float | None = None
    """Seconds from our first sight to its start, kept while `created_at` can still turn up."""
    start_observed: bool = False
    """Whether time to start is dealt with: observed, or known never to be."""
    outputs_counted: bool = False
    """Whether a stream has shown how many outputs it made, or that is not needed."""
    cause_owed_since: Moment | None = None
    """When it was counted as failed without its cause; None: nothing owed."""
    duration_owed_since: Moment | None = None
    """When it was counted without the stamps that its run's duration takes; None: nothing owed."""
    slices: Slices = ()
    """What was decided of its slices; those that are not in it are not decided."""
    held: Held | None = None
    """What is counted as soon as its slices are decided."""
    ask_from: float = -inf
    """Monotonic time before which nobody need ask for what is owed: it is likely to turn up."""

    @property
    def owed_since(self) -> Moment | None:
        """Since when anything that a settled workflow still lacks is owed; None: nothing is."""
        return self.cause_owed_since or self.duration_owed_since

    @property
    def is_unsettled(self) -> bool:
        """Whether there is anything left to do about it."""
        return self.phase == "open" or self.owed_since is not None or self.held is not None

    @property
    def age_from(self) -> float:
        """When it was created, or first seen where that is unknown; Unix seconds."""
        return self.first_seen.wall if self.created_at is None else self.created_at

    def is_kept_like(self, other: "Workflow") -> bool:
        """Whether a store would keep the same of both, or what differs is not worth a write.

        Each snapshot of each stream refreshes `last_seen`: kept every time, that would be a
        thousand rows in two seconds, for a stamp that the next observation after a restart
        refreshes anyway.
        """
        return (
            self.phase == other.phase
            and self.status is other.status
            and self.started_at == other.started_at
            and self.created_at == other.created_at
            and self.ended_at == other.ended_at
            and self.run == other.run
            and self.source == other.source
            and self.unknown_status == other.unknown_status
            and self.entered_queue == other.entered_queue
            and self.has_waited == other.has_waited
            and self.entered == other.entered
            and self.start_wait == other.start_wait
            and self.start_observed == other.start_observed
            and self.outputs_counted == other.outputs_counted
            and self.cause_owed_since == other.cause_owed_since
            and self.duration_owed_since == other.duration_owed_since
            and self.stream_ended_at == other.stream_ended_at
            and self.listed_ended_at == other.listed_ended_at
            and self.stream_ended_run == other.stream_ended_run
            and self.listed_ended_run == other.listed_ended_run
            and self.earlier_ends == other.earlier_ends
            and self.settled_at == other.settled_at
            and self.first_seen == other.first_seen
            and self.slices == other.slices
            and self.held == other.held
            and _period_of(self.last_seen) == _period_of(other.last_seen)
        )

    @property
    def has_waited(self) -> bool:
        """Whether it was seen before it ran, by this process or an earlier one."""
        return self.waiting_lost or self.waiting_from is not None


def _period_of(seen: Moment | None) -> float | None:
    return None if seen is None else seen.wall // SIGHT_KEPT_SECONDS
