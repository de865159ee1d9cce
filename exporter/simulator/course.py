"""Lets happen what a scenario's traits bring: re-runs, edits, deletions, and turns of a run."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, TypeAlias

from exporter.simulator.traits.chance import concerns, draw
from exporter.simulator.traits.picks import Deletions, Edits, Picks, Reruns, Vanishing
from exporter.simulator.workflow import ServiceStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from exporter.simulator.workflow import Workflow
    from exporter.simulator.world import World

    Act: TypeAlias = Callable[[Workflow, float], None]

# Rows that are looked at for one that has ended, before it is left for another time.
_MOST_LOOKED_AT = 100


class Course:
    """What befalls a world's workflows besides the plans of their lives.

    Args:
        world: what it happens to.
        seed: the same seed gives the same course.
    """

    def __init__(self, world: World, *, seed: int) -> None:
        self.paused = False
        """While set, nothing happens to workflows that have ended."""
        self._world = world
        self._agenda = world.agenda
        self._traits = traits = world.scenario.traits
        world.on_status = self._entered
        picks = (*traits.reruns, *traits.edits, *traits.deletions, *traits.vanishing)
        for number, trait in enumerate(picks):
            dice = random.Random(f"{seed}/course/{number}")  # noqa: S311 (a simulation)
            self._plan(trait, dice, trait.start, 0)

    # --- changes of ended workflows -----------------------------------------------------------

    def _plan(self, trait: Picks, rng: random.Random, now: float, done: int) -> None:
        due = now + rng.expovariate(trait.rate)
        is_over = trait.end is not None and due >= trait.end
        if is_over or (trait.times is not None and done >= trait.times):
            return

        def happen(at: float) -> None:
            picked = None if self.paused else self._pick(trait, rng, at)
            if picked is not None:
                self._befall(trait, picked, at, rng)
            self._plan(trait, rng, at, done if picked is None else done + 1)

        self._agenda.at(due, happen)

    def _pick(self, trait: Picks, rng: random.Random, now: float) -> Workflow | None:
        accounts = self._world.scenario.accounts
        weights = [account.weight for account in accounts]
        account = rng.choices(accounts, weights)[0].name
        depth = trait.depth.draw(rng)
        register = self._world.registers[account]
        rows = register.above(depth) if trait.from_bottom else register.below(depth)
        for number, workflow in enumerate(rows):
            if number >= _MOST_LOOKED_AT:
                break
            if self._may_be(trait, workflow, now):
                return workflow
        return None

    @staticmethod
    def _may_be(trait: Picks, workflow: Workflow, now: float) -> bool:
        if isinstance(trait, Vanishing) and not workflow.status.final:
            return True
        ended = workflow.ended_day
        if trait.ended is not None and workflow.reported_status not in trait.ended:
            return False
        return ended is not None and now - ended >= trait.rest

    def _befall(self, trait: Picks, workflow: Workflow, now: float, rng: random.Random) -> None:
        world = self._world
        if isinstance(trait, Reruns):
            duration = None if trait.duration is None else trait.duration.draw(rng)
            world.execute_again(workflow, now, duration=duration, outcomes=trait.outcomes)
        elif isinstance(trait, Edits):
            world.edit(workflow, now, to_top=trait.to_top)
        elif isinstance(trait, Deletions):
            world.delete(workflow)
        elif isinstance(trait, Vanishing):
            world.hide(workflow)
            back = now + trait.lasts.draw(rng)
            self._agenda.at(back, lambda _at: world.show(workflow))

    # --- turns of a life -----------------------------------------------------------------------

    def _entered(self, workflow: Workflow, now: float) -> None:
        """A workflow has come to another status."""
        if workflow.scripted:
            return
        for due, act in self._turns(workflow, now):
            self._agenda.later(due, workflow, act)

    def _turns(self, workflow: Workflow, now: float) -> Iterator[tuple[float, Act]]:
        requeues, late = self._traits.requeues, self._traits.late_starts
        if workflow.status is ServiceStatus.RUNNING:
            is_first = workflow.requeued == 0
            if requeues is not None and is_first and concerns(workflow, "turn", requeues.share):
                keeps = requeues.keeps_start
                part = 0.1 + 0.8 * draw(workflow, "turn/part")
                yield (
                    now + part * workflow.plan.ends_after,
                    lambda each, at: self._world.requeue(each, at, keeps_start=keeps),
                )
        elif (
            late is not None
            and workflow.status in (ServiceStatus.CANCELLED, ServiceStatus.FAILED)
            and workflow.first_queue_position is not None
            and workflow.started_ms is None
            and concerns(workflow, "late", late.share)
        ):
            after = late.after.draw(workflow.dice("late/after"))
            yield now + after, self._world.start_late
