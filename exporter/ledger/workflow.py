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
"""Seconds between two writes of the time when a workflow was last seen, if nothing else has
changed."""


@dataclass(frozen=True, slots=True)
class Held:
    """Facts that are not counted yet, because the workflow's slices are not decided."""

    since: Moment
    """When the first of these facts became known."""
    facts: tuple[tuple[SlicedFact, float], ...]
    """Each with the Unix time at which it became known."""


@dataclass(frozen=True, slots=True)
class Workflow:
    """A row of the ledger. All stamps are Unix seconds by the service's clock.

    Immutable: for each observation the tracker returns a new object, so each object is consistent.
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
    """The status last seen, if it is not a documented one."""
    last_seen: Moment | None = None
    last_via: str = ""
    """How the workflow was last seen (list, stream, single answer); empty before the first time and
    after a restart, because it is not stored."""
    created_at: float | None = None
    started_at: float | None = None
    ended_at: float | None = None
    """When the last settled run ended, by the best available stamp (Unix seconds)."""
    stream_ended_at: float | None = None
    """The latest end that a stream has shown: its stamps may have another precision and clock
    than those of the list."""
    stream_ended_run: int = 0
    """The number of the run with that end; 0: none."""
    listed_ended_at: float | None = None
    """The latest end that the list, or a single answer, has shown."""
    listed_ended_run: int = 0
    """The number of the run with that end; 0: none."""
    earlier_ends: tuple[float, ...] = ()
    """The last few ends of earlier runs, as they were shown. With these, an outdated row of a
    lagging replica is recognised, whatever its clock."""
    earlier_starts: tuple[float, ...] = ()
    """The last few starts of earlier runs, as they were shown."""
    settled_at: float | None = None
    """When the service first reported that the last settled run had ended, by the service's clock;
    None if it did not give its time."""
    slow_by: float = 0.0
    """By how many seconds, at least, its rows have shown the clock of the answers to be slow; 0
    after a restart, because it is not stored."""
    our_clock_slow_by: float = 0.0
    """The same, of our own clock."""
    queue_position: int | None = None
    """The position in the queue; None unless queued."""
    position_at: float | None = None
    """Monotonic time at which the position was last seen (the list does not show it)."""
    entered_queue: bool = False
    """Whether the first queue position was already counted."""
    waiting_from: float | None = None
    """Monotonic time at which we first saw it before it ran."""
    waiting_until: float | None = None
    """Monotonic time at which we last saw it before it ran."""
    waiting_lost: bool = False
    """Whether it waited during an earlier process, whose monotonic times are useless now."""
    entered: Entry | None = None
    """When it entered its present phase, until it runs; None: uncertain."""
    start_wait: float | None = None
    """Seconds from when we first saw it to its start, kept while `created_at` may still arrive."""
    start_observed: bool = False
    """Whether the time to start is settled: it was observed, or it is known that it never will
    be."""
    outputs_counted: bool = False
    """Whether the number of outputs was counted from a stream, or is not needed."""
    cause_pending_since: Moment | None = None
    """When it was counted as failed without its cause; None: no cause is pending."""
    duration_pending_since: Moment | None = None
    """When it was counted without the stamps needed for the run's duration; None: no duration is
    pending."""
    slices: Slices = ()
    """The decided slices; a slice that is missing here is not decided."""
    held: Held | None = None
    """The facts that are counted as soon as its slices are decided."""
    ask_from: float = -inf
    """Monotonic time before which the pending cause or duration is not asked for: it will probably
    arrive by itself."""

    @property
    def pending_since(self) -> Moment | None:
        """Since when a cause or a duration is pending; None: nothing is pending."""
        return self.cause_pending_since or self.duration_pending_since

    @property
    def is_unsettled(self) -> bool:
        """Whether anything is left to do for this workflow."""
        return self.phase == "open" or self.pending_since is not None or self.held is not None

    @property
    def age_from(self) -> float:
        """When it was created, or first seen if that is unknown; Unix seconds."""
        return self.first_seen.wall if self.created_at is None else self.created_at

    def is_stored_like(self, other: "Workflow") -> bool:
        """Whether both would be stored alike, or differ only in something not worth a write.

        Each snapshot of each stream updates `last_seen`. Writing it every time would be a thousand
        rows in two seconds, for a time that the next observation after a restart updates anyway.
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
            and self.cause_pending_since == other.cause_pending_since
            and self.duration_pending_since == other.duration_pending_since
            and self.stream_ended_at == other.stream_ended_at
            and self.listed_ended_at == other.listed_ended_at
            and self.stream_ended_run == other.stream_ended_run
            and self.listed_ended_run == other.listed_ended_run
            and self.earlier_ends == other.earlier_ends
            and self.earlier_starts == other.earlier_starts
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
