"""Making workflows: everything about one that chance decides, drawn from the seed."""

from __future__ import annotations

import random
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from exporter.simulator.workflow import (
    Plan,
    ServiceStatus,
    SimulatedCause,
    Workflow,
    draw_cause,
    draw_plan,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.simulator.causes import CauseSpec
    from exporter.simulator.jobs import Job, Outcomes
    from exporter.simulator.scenario import Scenario

CauseChoice = SimulatedCause | None | Literal["drawn"]
Origin = Literal["arrival", "created", "finished", "open"]
"""What a workflow came from. Each has dice of its own, so that a test that creates one by hand
does not change what arrives by itself."""


class Maker:
    """Creates workflows that are not in the world yet.

    Args:
        scenario: jobs, outcomes, causes and phases.
        seed: the same seed makes the same workflows, whatever else happens in between.
        stamp: gives the wall-clock stamp, in milliseconds, of a time of the day.
    """

    def __init__(self, scenario: Scenario, *, seed: int, stamp: Callable[[float], int]) -> None:
        self._scenario = scenario
        self._seed = seed
        self._stamp = stamp
        self._origins = {origin: self.dice(origin) for origin in get_args(Origin)}

    def dice(self, *names: object) -> random.Random:
        """Randomness for one purpose: what one purpose takes does not shift the others."""
        text = "/".join(str(name) for name in (self._seed, *names))
        return random.Random(text)  # noqa: S311 (a simulation, not a secret)

    def make(  # noqa: PLR0913 (what is known of it, by keyword)
        self,
        account: str,
        now: float,
        origin: Origin,
        *,
        created: float | None = None,
        tags: tuple[str, ...] | None = None,
        graph: dict[str, Any] | None = None,
    ) -> Workflow:
        """Make one workflow with all of its future.

        Args:
            account: whose it is.
            now: the time of the day, which decides the phase.
            origin: what it came from.
            created: when it was created, if not now.
            tags: its tags, if they are not to be its job's own.
            graph: the graph that was posted; it fails in one of that graph's nodes.
        """
        rng = self._origins[origin]
        jobs = self._scenario.jobs
        fitting = [job for job in jobs if set(job.tags) & set(tags or ())] or jobs
        job = rng.choices(fitting, [each.weight for each in fitting])[0]
        identity = new_uuid(rng)
        stamp = self._stamp(now if created is None else created)
        people = self.dice("people", identity)
        name, marks = self._scenario.people.name(people), self._scenario.people.tags(people)
        return Workflow(
            id=identity,
            sequence=0,
            account=account,
            name=f"{job.name}-{identity[:6]}" if name is None else name,
            tags=job.tags if tags is None else tags,
            marks=() if origin == "created" else marks,
            job=job,
            created_ms=stamp,
            updated_ms=stamp,
            plan=self._plan(rng, job, now, graph),
            graph=graph,
        )

    def plan_again(self, workflow: Workflow, now: float, outcomes: Outcomes | None = None) -> Plan:
        """Draw the life of a further execution.

        Args:
            workflow: which one.
            now: the time of the day, which decides the phase.
            outcomes: how it may end, in the place of what its job and the phase say.
        """
        rng = workflow.dice("plan")
        return self._plan(rng, workflow.job, now, workflow.graph, outcomes)

    def altered(  # noqa: PLR0913 (what is decided, by keyword)
        self,
        workflow: Workflow,
        now: float,
        *,
        duration: float | None,
        outcome: ServiceStatus | None,
        ends_in: ServiceStatus,
        outputs: int | None,
    ) -> Plan:
        """Changes of a workflow's plan; fields that are None stay as drawn."""
        drawn = workflow.plan
        outcome = drawn.outcome if outcome is None else outcome
        length = drawn.duration if duration is None else duration
        if outcome is ServiceStatus.INVALID:
            ends_in = ServiceStatus.ACCEPTED
        elif outcome is ServiceStatus.COMPLETED:
            ends_in = ServiceStatus.RUNNING
        ends_after = {
            ServiceStatus.ACCEPTED: drawn.accepted,
            ServiceStatus.UPLOADED: drawn.uploaded,
        }
        count = 0
        if outcome is ServiceStatus.COMPLETED:
            found = drawn.outputs or workflow.job.outputs.draw(workflow.dice("outputs"))
            count = found if outputs is None else outputs
        failed = outcome is ServiceStatus.FAILED
        return replace(
            drawn,
            duration=length,
            outcome=outcome,
            ends_in=ends_in,
            ends_after=ends_after.get(ends_in, length),
            cause=self.cause(workflow, now) if failed else None,
            outputs=count,
        )

    def cause(self, workflow: Workflow, now: float) -> SimulatedCause:
        """Draw a cause that fits a workflow."""
        return draw_cause(workflow.dice("cause"), self._causes(now, workflow.graph))

    def _plan(
        self,
        rng: random.Random,
        job: Job,
        now: float,
        graph: dict[str, Any] | None,
        outcomes: Outcomes | None = None,
    ) -> Plan:
        scenario, causes = self._scenario, self._causes(now, graph)
        outcomes = self._outcomes(job, now) if outcomes is None else outcomes
        return draw_plan(rng, job, scenario.stages, outcomes, causes)

    def _outcomes(self, job: Job, now: float) -> Outcomes:
        for phase in self._scenario.phases:
            if phase.outcomes is not None and phase.holds(now):
                return phase.outcomes
        return self._scenario.outcomes if job.outcomes is None else job.outcomes

    def _causes(self, now: float, graph: dict[str, Any] | None) -> tuple[CauseSpec, ...]:
        causes = self._scenario.causes
        for phase in self._scenario.phases:
            if phase.causes and phase.holds(now):
                causes = phase.causes
                break
        if graph is None:
            return causes
        # A posted graph fails in one of its own nodes, where a cause is known for any of them.
        types = {node.get("class_type") for node in graph.values() if isinstance(node, dict)}
        return tuple(cause for cause in causes if cause.node_type in types) or causes


def new_uuid(rng: random.Random) -> str:
    """A version-4 UUID from the given randomness."""
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))
