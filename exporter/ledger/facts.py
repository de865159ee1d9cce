"""The conclusions of the tracker. Each fact is counted once; nothing else ever changes a total."""

from dataclasses import dataclass
from typing import ClassVar, Final, Literal

from exporter.interfaces.observations import DropReason, Source, Status

IgnoreReason = Literal["duplicate", "late", "unknown_status", "anomalous_duration"]

PlainCounter = Literal["discovered", "dropped", "recovered", "ignored"]
"""The totals of the plain facts: each plain fact adds 1 to its own total and changes no other."""


@dataclass(frozen=True, slots=True)
class EnteredQueue:
    """A workflow was first seen in the queue, at this position."""

    position: int


@dataclass(frozen=True, slots=True)
class Started:
    """A workflow has started, this many seconds after its creation."""

    seconds: float


@dataclass(frozen=True, slots=True)
class PhasePassed:
    """A workflow has left a phase before its run.

    `seconds` is the length of the phase; None: uncertain.
    """

    phase: Status
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Finished:
    """A workflow ended. `seconds` is how long it ran, if both stamps are known and plausible."""

    status: Status
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Ran:
    """The run duration of a workflow that was counted as finished before both stamps were known."""

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


# Plain facts: their fields are the labels of their total. ----------------------------------------


@dataclass(frozen=True, slots=True)
class Discovered:
    """A workflow was discovered, and is followed from now on."""

    counter: ClassVar[PlainCounter] = "discovered"
    source: Source


@dataclass(frozen=True, slots=True)
class Dropped:
    """A workflow was dropped before its outcome was known."""

    counter: ClassVar[PlainCounter] = "dropped"
    reason: DropReason


@dataclass(frozen=True, slots=True)
class Recovered:
    """A workflow had ended unseen; only the comparison with the service's totals showed it."""

    counter: ClassVar[PlainCounter] = "recovered"


@dataclass(frozen=True, slots=True)
class Ignored:
    """An observation, or a duration in one, that was not counted."""

    counter: ClassVar[PlainCounter] = "ignored"
    reason: IgnoreReason


SLICED: Final = (EnteredQueue, PhasePassed, Started, Finished, Ran, Failed, OutputsMade)
"""The facts that are counted by slice, so they wait until the workflow's slices are decided."""

SlicedFact = EnteredQueue | PhasePassed | Started | Finished | Ran | Failed | OutputsMade

PlainFact = Discovered | Dropped | Recovered | Ignored

Fact = SlicedFact | PlainFact
