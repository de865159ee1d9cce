"""The conclusions of the tracker. Each fact is counted once; nothing else ever changes a total."""

from dataclasses import dataclass
from typing import Final, Literal

from exporter.interfaces.observations import DropReason, Source, Status

IgnoreReason = Literal["duplicate", "late", "unknown_status", "anomalous_duration"]


@dataclass(frozen=True, slots=True)
class Discovered:
    """A workflow is followed from now on."""

    source: Source


@dataclass(frozen=True, slots=True)
class EnteredQueue:
    """It was first seen queued, at this place."""

    position: int


@dataclass(frozen=True, slots=True)
class Started:
    """It has started, this many seconds after its creation."""

    seconds: float


@dataclass(frozen=True, slots=True)
class PhasePassed:
    """It has left a phase before its run. `seconds` is how long that took; None: uncertain."""

    phase: Status
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Finished:
    """It ended. `seconds` is how long it ran, where both stamps are known and make sense."""

    status: Status
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Ran:
    """How long a workflow ran that was counted as finished before both stamps were known."""

    status: Status
    seconds: float


@dataclass(frozen=True, slots=True)
class Failed:
    """The cause of a failure; `None` is a part that the service did not give."""

    node_type: str | None
    exception_type: str | None


@dataclass(frozen=True, slots=True)
class OutputsMade:
    """A completed workflow had this many outputs."""

    count: int


@dataclass(frozen=True, slots=True)
class Dropped:
    """It was dropped before its outcome was known."""

    reason: DropReason


@dataclass(frozen=True, slots=True)
class Recovered:
    """It had ended unseen, and only comparing with the service's own totals has shown it."""


@dataclass(frozen=True, slots=True)
class Ignored:
    """An observation, or a duration in one, that was not counted."""

    reason: IgnoreReason


SLICED: Final = (EnteredQueue, PhasePassed, Started, Finished, Ran, Failed, OutputsMade)
"""What is counted under the slices of its workflow, and so waits until they are decided."""

SlicedFact = EnteredQueue | PhasePassed | Started | Finished | Ran | Failed | OutputsMade

PlainFact = Discovered | Dropped | Recovered | Ignored
"""What only adds 1 to a counter of its own, by labels that are its fields."""

Fact = SlicedFact | PlainFact
