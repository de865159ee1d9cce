"""One workflow: its states, the plan of its life, and what the service reports about it.

Times come in two kinds. *Day* times are seconds of the simulated day (floats, the scenario's
units); *stamps* are the wall clock's, in whole milliseconds since the epoch, and are the only ones
that the service ever tells.
"""

from __future__ import annotations

import hashlib
import random
import time
import uuid
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from exporter.simulator.causes import CauseSpec
    from exporter.simulator.jobs import Job, Outcomes, Stages
    from exporter.simulator.runner import Runner


class ServiceStatus(StrEnum):
    """A workflow's status, in the order of life."""

    ACCEPTED = "accepted"
    UPLOADED = "uploaded"
    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INVALID = "invalid"

    @property
    def final(self) -> bool:
        """Whether nothing leads out of it, save a new execution."""
        return self in _FINAL


_FINAL = frozenset(
    {ServiceStatus.COMPLETED, ServiceStatus.FAILED, ServiceStatus.CANCELLED, ServiceStatus.INVALID}
)


@dataclass(frozen=True, slots=True)
class SimulatedCause:
    """Why a workflow failed, as in the service's ``cause``."""

    node_type: str
    exception_type: str
    exception_message: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What will become of one execution, drawn when it begins. Lengths in seconds of the day."""

    accepted: float
    uploaded: float
    pickup: float
    duration: float
    outcome: ServiceStatus
    ends_in: ServiceStatus
    """The stage in which it ends: running, save for those that never come so far."""
    ends_after: float
    """Time in that stage until the end; the whole duration where it completes."""
    cause: SimulatedCause | None
    outputs: int


@dataclass(frozen=True, slots=True)
class Reported:
    """What a client can know about an execution from everything that the service reports.

    Only a scenario's traits make a difference between this and what really happened.
    """

    outcome: str | None
    """Its final status, ``other`` for one that the documents do not know; None while it is open,
    or where nobody can tell that it ended."""
    cause: tuple[str, str] | None
    """Node and exception of a failure; None: no endpoint shows them."""
    run_seconds: tuple[float, float] | None
    """The least and the greatest length of its run by the stamps told; None where it never ran,
    where no place tells both stamps, or where it ended before it started."""


@dataclass(frozen=True, slots=True)
class WorkflowTruth:
    """How one execution of a workflow really went.

    Stamps are those the service tells, to the millisecond.
    """

    id: str
    account: str
    execution: int
    """0 for the first; more where the workflow was executed again under the same id."""
    name: str
    status: str
    created_ms: int
    started_ms: int | None
    completed_ms: int | None
    node_type: str | None
    exception_type: str | None
    outputs: int
    first_queue_position: int | None
    """Its place when it was put into a queue; None if it never was."""
    at_start: bool
    """Whether it was there, in any state, when the simulator started."""
    final_at_start: bool
    """Whether it was final already when the simulator started."""
    tags: tuple[str, ...] = ()
    told: Reported = field(default_factory=lambda: Reported(None, None, None))
    """What a client can know about it."""
    shown: bool = False
    """Whether an answer has carried its end, with its stamp if it has one."""
    stood_seconds: float | None = None
    """How long that end could be asked for until the id ran again or was deleted, in seconds of
    the day; None: it still can."""

    @property
    def created_at(self) -> str:
        """When it was created, as the service writes it."""
        return iso(self.created_ms)

    @property
    def started_at(self) -> str | None:
        """When it started to run, as the service writes it."""
        return None if self.started_ms is None else iso(self.started_ms)

    @property
    def completed_at(self) -> str | None:
        """When it ended, as the service writes it."""
        return None if self.completed_ms is None else iso(self.completed_ms)

    @property
    def final(self) -> bool:
        """Whether this execution has ended."""
        return ServiceStatus(self.status).final

    @property
    def run_seconds(self) -> float | None:
        """Seconds of real time from start to end; None if it did not start or has not ended."""
        if self.started_ms is None or self.completed_ms is None:
            return None
        return (self.completed_ms - self.started_ms) / 1000

    @property
    def time_to_start_seconds(self) -> float | None:
        """Created to started, in real seconds; None where it never started."""
        return None if self.started_ms is None else (self.started_ms - self.created_ms) / 1000

    def as_json(self) -> dict[str, Any]:
        """The same for ``GET /_simulator/truth``."""
        return {
            "id": self.id,
            "account": self.account,
            "execution": self.execution,
            "name": self.name,
            "tags": self.tags,
            "status": self.status,
            "created_at": self.created_at,
            "started_at": self.started_at,
            "completed_at": self.completed_at,
            "created_ms": self.created_ms,
            "started_ms": self.started_ms,
            "completed_ms": self.completed_ms,
            "node_type": self.node_type,
            "exception_type": self.exception_type,
            "outputs": self.outputs,
            "first_queue_position": self.first_queue_position,
            "at_start": self.at_start,
            "final_at_start": self.final_at_start,
            "told": {
                "outcome": self.told.outcome,
                "cause": self.told.cause,
                "run_seconds": self.told.run_seconds,
            },
            "shown": self.shown,
            "stood_seconds": self.stood_seconds,
        }


@dataclass(slots=True, eq=False)
class Workflow:
    """The state of one workflow. Only the world changes it."""

    id: str
    sequence: int
    account: str
    name: str
    tags: tuple[str, ...]
    job: Job
    created_ms: int
    updated_ms: int
    plan: Plan
    marks: tuple[str, ...] = ()
    """Tags that place nothing: they say whose it is."""
    graph: dict[str, Any] | None = None
    """The graph that was posted; None: one is generated when it is requested."""
    status: ServiceStatus = ServiceStatus.ACCEPTED
    word: str | None = None
    """The new status that is reported instead of the documented one."""
    closes: bool = True
    """Whether a stream ends on it where it would have ended on the documented one."""
    started_ms: int | None = None
    completed_ms: int | None = None
    started_day: float | None = None
    """When it started and ended by the service's own clock, as times of the day."""
    ended_day: float | None = None
    requeued: int = 0
    """How often this execution was taken back into a queue."""
    runner: Runner | None = None
    prompt_id: str | None = None
    outputs: int = 0
    cause: SimulatedCause | None = None
    first_queue_position: int | None = None
    execution: int = 0
    at_start: bool = False
    final_at_start: bool = False
    scripted: bool = False
    """Moved by hand only; it takes no runner's slot."""
    told_position: int | None = None
    """The place in a queue that a scripted workflow claims."""
    version: int = 0
    """Increases with every change, so that rendered documents can be cached until then."""
    epoch: int = 0
    """Increases when planned events become invalid: events of an older epoch are dropped."""
    earlier: list[WorkflowTruth] = field(default_factory=list)
    rendered: tuple[int, int, bytes] | None = None
    """A snapshot kept by ``documents``: version, version of the queue, text."""

    @property
    def reported_tags(self) -> tuple[str, ...]:
        """All of its tags."""
        return (*self.marks, *self.tags)

    @property
    def reported_status(self) -> str:
        """The status that the service reports. Upper or lower case is decided later."""
        return self.status.value if self.word is None else self.word

    def dice(self, purpose: str) -> random.Random:
        """Random numbers for one event of this execution.

        Made on the spot: one kept for each of 50,000 workflows would be 125 MB.
        """
        text = f"{self.id}/{self.execution}/{purpose}"
        return random.Random(text)  # noqa: S311 (a simulation, not a secret)

    def new_prompt_id(self) -> str:
        """ComfyUI's id for this execution's prompt."""
        digest = hashlib.sha256(f"{self.id}/{self.execution}".encode()).hexdigest()
        return str(uuid.UUID(digest[:32], version=4))

    def truth(self) -> WorkflowTruth:
        """How the present execution went so far."""
        failed = self.cause if self.status is ServiceStatus.FAILED else None
        return WorkflowTruth(
            id=self.id,
            account=self.account,
            execution=self.execution,
            name=self.name,
            status=self.status.value,
            created_ms=self.created_ms,
            started_ms=self.started_ms,
            completed_ms=self.completed_ms,
            node_type=failed.node_type if failed else None,
            exception_type=failed.exception_type if failed else None,
            outputs=self.outputs if self.status is ServiceStatus.COMPLETED else 0,
            first_queue_position=self.first_queue_position,
            at_start=self.at_start,
            final_at_start=self.final_at_start,
            tags=self.reported_tags,
        )


def draw_plan(
    rng: random.Random,
    job: Job,
    stages: Stages,
    outcomes: Outcomes,
    causes: tuple[CauseSpec, ...],
) -> Plan:
    """Draw the life of one execution.

    All the dice are thrown in one order whatever they show, so that a change of one share in a
    scenario leaves the rest of a seeded run as it was.
    """
    accepted = stages.accepted.draw(rng)
    uploaded = stages.uploaded.draw(rng)
    pickup = stages.pickup.draw(rng)
    duration = job.duration.draw(rng)
    outputs = job.outputs.draw(rng)
    die, early, stage_die, part = rng.random(), rng.random(), rng.random(), rng.random()
    cause_seed = rng.getrandbits(64)
    without_cause = rng.random() < outcomes.without_cause

    outcome = ServiceStatus.COMPLETED
    if die < outcomes.failed:
        outcome = ServiceStatus.FAILED
    elif die < outcomes.failed + outcomes.cancelled:
        outcome = ServiceStatus.CANCELLED
    elif die < outcomes.failed + outcomes.cancelled + outcomes.invalid:
        outcome = ServiceStatus.INVALID
    ends_in, ends_after = ServiceStatus.RUNNING, duration
    if outcome is ServiceStatus.INVALID:
        ends_in, ends_after = ServiceStatus.ACCEPTED, accepted
    elif outcome is not ServiceStatus.COMPLETED and early < outcomes.before_running:
        ends_in = (ServiceStatus.ACCEPTED, ServiceStatus.UPLOADED, ServiceStatus.QUEUED)[
            int(stage_die * 3)
        ]
        ends_after = part * {
            ServiceStatus.ACCEPTED: accepted,
            ServiceStatus.UPLOADED: uploaded,
        }.get(ends_in, duration)
    elif outcome is not ServiceStatus.COMPLETED:
        # A model that is missing fails at once, memory runs out later: anywhere in the run.
        ends_after = part * duration
    cause = None
    if outcome is ServiceStatus.FAILED and not without_cause:
        cause = draw_cause(random.Random(cause_seed), causes)  # noqa: S311 (a simulation)
    return Plan(
        accepted=accepted,
        uploaded=uploaded,
        pickup=pickup,
        duration=duration,
        outcome=outcome,
        ends_in=ends_in,
        ends_after=ends_after,
        cause=cause,
        outputs=outputs if outcome is ServiceStatus.COMPLETED else 0,
    )


def draw_cause(rng: random.Random, causes: tuple[CauseSpec, ...]) -> SimulatedCause:
    """Draw a cause by weight, and fill its message with what a user's graph holds."""
    die = rng.random() * sum(cause.weight for cause in causes)
    chosen = causes[-1]
    for cause in causes:
        die -= cause.weight
        if die < 0:
            chosen = cause
            break
    message = chosen.message.replace("{prompt}", f"{rng.choice(PROMPTS)}, {PLANTED}")
    return SimulatedCause(
        node_type=chosen.node_type,
        exception_type=chosen.exception_type,
        exception_message=message.replace("{path}", f"{rng.choice(PATHS)}{PLANTED}.safetensors"),
    )


PLANTED = "do-not-leak"
"""A word in every secret that the simulator tells: signatures, runners' headers, prompts, paths.

Anyone who finds it in a metric, a page or a log has found a leak.
"""

PROMPTS = (
    "a lighthouse at dusk, volumetric fog, 35mm",
    "portrait of an old sailor, rim light, film grain",
    "isometric kitchen, pastel colours, soft shadows",
    "ein Fuchs im Schnee, Aquarell",
    "桜の下の猫、水彩画",
)
PATHS = (
    "/home/mira/ComfyUI/models/checkpoints/",
    "/workspace/ComfyUI/input/client-",
    "C:\\Users\\jo\\ComfyUI\\input\\",
)


@lru_cache(maxsize=4096)  # a list that is read again shows mostly the same stamps
def iso(stamp_ms: int) -> str:
    """Write a stamp as the service does: ISO 8601, UTC, milliseconds, ``Z``."""
    # Whole seconds only: a float of milliseconds can round to the one beside it. And no strftime,
    # which takes four times as long: a page of the list has four hundred stamps.
    seconds, milliseconds = divmod(stamp_ms, 1000)
    year, month, day, hour, minute, second = time.gmtime(seconds)[:6]
    return f"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milliseconds:03}Z"
