"""What is there when the day begins: runners, settled workflows with a past, open ones mid life."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from exporter.simulator.maker import new_uuid
from exporter.simulator.runner import Runner
from exporter.simulator.workflow import ServiceStatus

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from exporter.simulator.maker import Maker, Origin
    from exporter.simulator.scenario import Scenario
    from exporter.simulator.traits.statuses import Statuses
    from exporter.simulator.workflow import Workflow

# How long a workflow of the past had waited in its queue, on average, in seconds of the day.
_MEAN_WAIT = 10.0


# How long before the day the runners were made, in seconds.
_AGE_OF_RUNNERS = 30 * 86400.0


@dataclass(frozen=True, slots=True)
class Laid:
    """One workflow of the start."""

    workflow: Workflow
    created: float
    """When it was created: a time of the day, before 0."""
    open: bool
    """Whether it is yet to be put in its place."""


def make_runners(scenario: Scenario, maker: Maker, stamp: Callable[[float], int]) -> list[Runner]:
    """Make the runners of all groups, in the order of the scenario, with nothing in them."""
    rng, clock_dice = maker.dice("runners"), maker.dice("clocks")
    clocks = scenario.traits.clocks
    return [
        Runner(
            identity=new_uuid(rng),
            name=group.name if group.count == 1 else f"{group.name}-{number}",
            tags=group.tags,
            managed=group.managed,
            active=group.status == "active",
            stopped=group.stopped,
            created_ms=stamp(-_AGE_OF_RUNNERS),
            clock_ms=0 if clocks is None else clocks.draw(clock_dice),
        )
        for group in scenario.runners
        for number in range(1, group.count + 1)
    ]


def lay_out(
    scenario: Scenario, maker: Maker, runners: list[Runner], stamp: Callable[[float], int]
) -> list[Laid]:
    """Make the workflows of the start, in the order of their creation.

    The settled ones are whole; they are made up one by one, not simulated, so that 20,000 take no
    longer than a moment. The open ones are new, and the world has to put them in their places.
    """
    start, rng = scenario.start, maker.dice("start")
    weights = [account.weight for account in scenario.accounts]
    laid = []
    wanted: tuple[tuple[Origin, int], ...] = (("finished", start.finished), ("open", start.open))
    for origin, count in wanted:
        ages = start.open_age if origin == "open" else start.finished_age
        for _ in range(count):
            account = rng.choices(scenario.accounts, weights)[0].name
            created = -ages.draw(rng)
            workflow = maker.make(account, 0.0, origin, created=created)
            if origin == "finished":
                created = _finish(workflow, created, runners, stamp, rng, scenario.traits.statuses)
            workflow.at_start = True
            laid.append(Laid(workflow, created, open=origin == "open"))
    return sorted(laid, key=lambda each: each.created)


def _finish(  # noqa: PLR0913, PLR0917 (all that the start is made from)
    workflow: Workflow,
    created: float,
    runners: list[Runner],
    stamp: Callable[[float], int],
    rng: random.Random,
    statuses: Statuses,
) -> float:
    """Give a settled workflow its past.

    Returns:
        When it was created: earlier than asked for, where its life would not have fitted.
    """
    plan = workflow.plan
    started, length = None, plan.ends_after
    if plan.ends_in is ServiceStatus.RUNNING:
        started = plan.accepted + plan.uploaded + rng.expovariate(1 / _MEAN_WAIT)
        length = started + plan.ends_after
        workflow.first_queue_position = 1
        workflow.prompt_id = workflow.new_prompt_id()
        workflow.runner = rng.choice(runners)
    created = min(created, -length - 0.001)
    ended = stamp(created + length)
    workflow.created_ms = stamp(created)
    workflow.updated_ms = ended
    workflow.started_ms = None if started is None else stamp(created + started)
    workflow.completed_ms = None if plan.outcome is ServiceStatus.INVALID else ended
    workflow.started_day = None if started is None else created + started
    workflow.ended_day = created + length
    workflow.status = plan.outcome
    statuses.name(workflow)
    workflow.cause, workflow.outputs = plan.cause, plan.outputs
    workflow.final_at_start = True
    return created
