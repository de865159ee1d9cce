"""The simulated service without its network: workflows, runners, queues, and what happens when.

A discrete-event simulation. It has no clock: anyone who drives it says how far the day has come,
and every event happens at the very time for which it was planned, however late the driver is. So a
seed gives the same day at any speed and on any machine.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from exporter.simulator.agenda import Agenda
from exporter.simulator.arrivals import ArrivalPlan
from exporter.simulator.life import Life
from exporter.simulator.maker import Maker
from exporter.simulator.opening import lay_out, make_runners
from exporter.simulator.register import Register
from exporter.simulator.traits.known import known
from exporter.simulator.workflow import ServiceStatus, Workflow, WorkflowTruth

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from exporter.simulator.by_hand import Move
    from exporter.simulator.jobs import Outcomes
    from exporter.simulator.maker import CauseChoice
    from exporter.simulator.runner import Runner
    from exporter.simulator.scenario import Scenario

# A demo that runs for weeks must not grow.
_GONE_KEPT = 100_000


class World:
    """All that exists in the simulated service.

    Args:
        scenario: what the day is like.
        seed: the same seed gives the same day.
        stamp: gives the wall-clock stamp, in milliseconds since the epoch, of a time of the day.

    Not safe for use by several threads.
    """

    def __init__(self, scenario: Scenario, *, seed: int, stamp: Callable[[float], int]) -> None:
        self.scenario = scenario
        self.now = 0.0
        """The time of the day up to which everything has happened, in seconds."""
        self.workflows: dict[str, Workflow] = {}
        self.registers = {account.name: Register() for account in scenario.accounts}
        self.hidden: dict[str, Workflow] = {}
        """Workflows that cannot be found now, and will be again."""
        self.deletions = {account.name: Counter[str]() for account in scenario.accounts}
        """Workflows deleted from the list, by account and by the status in which they went."""
        self.gone: deque[WorkflowTruth] = deque(maxlen=_GONE_KEPT)
        """Every execution of the workflows that were deleted last."""
        self.on_change: Callable[[Workflow], None] = _ignore
        self.on_status: Callable[[Workflow, float], None] = _ignore
        """Called when a workflow has come to a status, with the time of the day."""
        self._stamp = stamp
        self.agenda = Agenda()
        self._sequence = 0
        self._maker = Maker(scenario, seed=seed, stamp=stamp)
        self.runners = make_runners(scenario, self._maker, stamp)
        self._life = Life(
            self.agenda, self.runners, self._set_status, stamp, scenario.traits.clocks
        )
        self._lay_out_start()
        self.arrivals = ArrivalPlan(
            scenario, self._maker.dice("arrivals"), at=self.agenda.at, arrive=self._arrive
        )

    # --- the course of the day -----------------------------------------------------------------

    def next_due(self) -> float | None:
        """When something happens next, in seconds of the day; None if nothing is planned."""
        return self.agenda.next_due()

    def advance_to(self, now: float) -> bool:
        """Let everything happen that is due.

        Args:
            now: the time of the day, in seconds; a time before the last one changes nothing.

        Returns:
            Whether anything happened.
        """
        happened = False
        while (planned := self.agenda.take_due(now)) is not None:
            due, event = planned
            # An event planned for the past (a scripted move at the very moment) happens now.
            self.now = max(self.now, due)
            event(self.now)
            happened = True
        self.now = max(self.now, now)
        return happened

    # --- creation ------------------------------------------------------------------------------

    def create(  # noqa: PLR0913 (a test says what it wants of a workflow, by keyword)
        self,
        now: float,
        account: str,
        *,
        name: str | None = None,
        tags: tuple[str, ...] = (),
        graph: dict[str, Any] | None = None,
        duration: float | None = None,
        outcome: ServiceStatus | None = None,
        ends_in: ServiceStatus = ServiceStatus.RUNNING,
        cause: CauseChoice = "drawn",
        outputs: int | None = None,
        scripted: bool = False,
    ) -> Workflow:
        """Create a workflow, as a POST does.

        Args:
            now: the time of the day, in seconds.
            account: whose it is.
            name: its name; one is made up without it.
            tags: only runners with all of these take it.
            graph: the ComfyUI graph that was posted.
            duration: seconds of the day that it runs; drawn without it.
            outcome: how it ends; drawn without it.
            ends_in: the stage in which a failed or cancelled one ends.
            cause: of a failed one; ``drawn`` takes one of the scenario's.
            outputs: of a completed one; drawn without it.
            scripted: it stays as it is until it is moved by hand.

        Raises:
            KeyError: no such account.
        """
        self.advance_to(now)
        self.registers[account]
        workflow = self._maker.make(account, self.now, "created", tags=tags, graph=graph)
        workflow.name = name or workflow.name
        workflow.scripted = scripted
        self._decide(workflow, duration, outcome, ends_in, cause, outputs)
        self._add(self.now, workflow)
        return workflow

    def _decide(  # noqa: PLR0913, PLR0917 (what can be decided of a plan)
        self,
        workflow: Workflow,
        duration: float | None,
        outcome: ServiceStatus | None,
        ends_in: ServiceStatus,
        cause: CauseChoice,
        outputs: int | None,
    ) -> None:
        if outcome is not None or duration is not None or outputs is not None:
            workflow.plan = self._maker.altered(
                workflow,
                self.now,
                duration=duration,
                outcome=outcome,
                ends_in=ends_in,
                outputs=outputs,
            )
        if workflow.plan.outcome is ServiceStatus.FAILED and not isinstance(cause, str):
            workflow.plan = replace(workflow.plan, cause=cause)

    def _arrive(self, account: str, now: float) -> None:
        self._add(now, self._maker.make(account, now, "arrival"))

    def _register(self, workflow: Workflow) -> None:
        self._sequence += 1
        workflow.sequence = self._sequence
        self.workflows[workflow.id] = workflow
        self.registers[workflow.account].add(workflow)

    def _add(self, now: float, workflow: Workflow) -> None:
        self._register(workflow)
        self._make_room()
        self.on_change(workflow)
        if not workflow.scripted:
            self._life.enter(workflow, now)

    def _make_room(self) -> None:
        if len(self.workflows) <= self.scenario.keep:
            return
        candidates = [r.oldest_final() for r in self.registers.values()]
        settled = [each for each in candidates if each is not None]
        if settled:
            self.delete(min(settled, key=lambda each: each.sequence))

    # --- changes -------------------------------------------------------------------------------

    def _set_status(self, workflow: Workflow, status: ServiceStatus, now: float) -> None:
        before, workflow.status = workflow.reported_status, status
        self.scenario.traits.statuses.name(workflow)
        workflow.updated_ms = self._stamp(now)
        if workflow.started_ms is not None and workflow.started_day is None:
            workflow.started_day = now
        workflow.ended_day = now if status.final else None
        self._place_in_list(workflow, before)
        self._changed(workflow)
        self.on_status(workflow, now)

    def _place_in_list(self, workflow: Workflow, before: str, *, to_top: bool = False) -> None:
        """Update the list after a change of a workflow that was reported as ``before``."""
        if workflow.id not in self.workflows:  # it has vanished, or is not there yet
            return
        register = self.registers[workflow.account]
        if workflow.reported_status != before:
            register.move(workflow, before)
        if to_top or self.scenario.traits.paging.order == "updated":
            register.remove(workflow)
            self._sequence += 1
            workflow.sequence = self._sequence
            register.add(workflow)

    def _changed(self, workflow: Workflow) -> None:
        workflow.version += 1
        self.on_change(workflow)

    # --- what clients ask for ------------------------------------------------------------------

    def place(self, workflow: Workflow) -> int | None:
        """A workflow's place in its queue, 1 being next; None if it is not queued."""
        if workflow.status is not ServiceStatus.QUEUED:
            return None
        if workflow.scripted or workflow.runner is None:
            return workflow.told_position
        return workflow.runner.place(workflow)

    def cancel(self, now: float, workflow: Workflow) -> bool:
        """Ask for a workflow to be cancelled.

        It takes effect some seconds of the day later; until then it may end by itself.

        Returns:
            Whether it was still open.
        """
        self.advance_to(now)
        if workflow.status.final:
            return False
        if not workflow.scripted:
            delay = self.scenario.stages.cancelling.draw(workflow.dice("cancelling"))
            self.agenda.later(
                self.now + delay,
                workflow,
                lambda each, at: self._life.settle(each, ServiceStatus.CANCELLED, at),
            )
        return True

    def execute(  # noqa: PLR0913 (a test says what it wants of the execution, by keyword)
        self,
        now: float,
        workflow: Workflow,
        *,
        duration: float | None = None,
        outcome: ServiceStatus | None = None,
        ends_in: ServiceStatus = ServiceStatus.RUNNING,
        cause: CauseChoice = "drawn",
        outputs: int | None = None,
    ) -> bool:
        """Execute a settled workflow again, under the same id; fields that are not given are drawn.

        Returns:
            Whether it was settled; an open one is left alone.
        """
        self.advance_to(now)
        if not workflow.status.final:
            return False
        self._begin_again(workflow)
        self._decide(workflow, duration, outcome, ends_in, cause, outputs)
        self._enter_again(workflow, self.now)
        return True

    def execute_again(
        self, workflow: Workflow, now: float, *, duration: float | None, outcomes: Outcomes | None
    ) -> None:
        """Execute a settled workflow again, as chance has it."""
        self._begin_again(workflow, outcomes)
        drawn = workflow.plan
        if duration is not None and drawn.ends_in is ServiceStatus.RUNNING:
            part = drawn.ends_after / drawn.duration if drawn.duration else 1.0
            workflow.plan = replace(drawn, duration=duration, ends_after=part * duration)
        self._enter_again(workflow, now)

    def _begin_again(self, workflow: Workflow, outcomes: Outcomes | None = None) -> None:
        workflow.earlier.append(self._over_and_gone(workflow))
        workflow.execution += 1
        workflow.epoch += 1
        workflow.requeued = 0
        workflow.at_start = workflow.final_at_start = False
        workflow.started_ms = workflow.completed_ms = None
        workflow.started_day = workflow.ended_day = None
        workflow.prompt_id = workflow.cause = workflow.runner = None
        workflow.first_queue_position = workflow.told_position = None
        workflow.outputs = 0
        workflow.plan = self._maker.plan_again(workflow, self.now, outcomes)

    def _enter_again(self, workflow: Workflow, now: float) -> None:
        self._set_status(workflow, ServiceStatus.ACCEPTED, now)
        if not workflow.scripted:
            self._life.enter(workflow, now)

    def delete(self, workflow: Workflow) -> None:
        """Delete a workflow: it is removed from the list, and its id is not found any more."""
        workflow.epoch += 1
        self._life.leave_runner(workflow, self.now)
        self.deletions[workflow.account][workflow.status.value] += 1
        self.gone.extend((*workflow.earlier, self._over_and_gone(workflow)))
        self.registers[workflow.account].remove(workflow)
        del self.workflows[workflow.id]
        self._changed(workflow)

    def set_runner(self, runner: Runner, *, active: bool) -> None:
        """Enable or disable a runner; a disabled one starts nothing, and what runs goes on."""
        runner.active = active
        self._life.serve(runner, self.now)

    # --- moves by hand -------------------------------------------------------------------------

    def move(self, now: float, workflow: Workflow, move: Move) -> None:
        """Put a workflow into a status by hand, from whatever status it is in.

        From here on nothing moves it but further calls.
        """
        self.advance_to(now)
        workflow.epoch += 1
        self._life.leave_runner(workflow, self.now)
        workflow.scripted = True
        move.apply(workflow, self._stamp(self.now))
        if move.status is ServiceStatus.FAILED:
            cause = move.cause
            if isinstance(cause, str):
                cause = self._maker.cause(workflow, self.now)
            workflow.cause = cause
        self._set_status(workflow, move.status, self.now)

    # --- what traits bring ---------------------------------------------------------------------

    def requeue(self, workflow: Workflow, now: float, *, keeps_start: bool) -> None:
        """Take a running workflow back into a queue, where it waits to start once more."""
        self._life.requeue(workflow, now, keeps_start=keeps_start)

    def start_late(self, workflow: Workflow, now: float) -> None:
        """Give a workflow that ended in its queue a start, past its end."""
        workflow.started_ms, workflow.started_day = self._stamp(now), now
        self.edit(workflow, now)

    def edit(self, workflow: Workflow, now: float, *, to_top: bool = False) -> None:
        """Move ``updated_at``, and where asked for the row to the top of the list."""
        workflow.updated_ms = self._stamp(now)
        self._place_in_list(workflow, workflow.reported_status, to_top=to_top)
        self._changed(workflow)

    def hide(self, workflow: Workflow) -> None:
        """Let a workflow vanish from the list, and by its id; its life goes on."""
        self.registers[workflow.account].remove(workflow)
        self.hidden[workflow.id] = self.workflows.pop(workflow.id)
        self._changed(workflow)

    def show(self, workflow: Workflow) -> None:
        """Let a workflow that has vanished be there again."""
        self.workflows[workflow.id] = self.hidden.pop(workflow.id)
        self.registers[workflow.account].add(workflow)
        self._changed(workflow)

    # --- the start -----------------------------------------------------------------------------

    def _lay_out_start(self) -> None:
        for each in lay_out(self.scenario, self._maker, self.runners, self._stamp):
            self._register(each.workflow)
            if each.open:
                self._life.track(each.workflow, each.created)

    # --- what is known of it -------------------------------------------------------------------

    def every(self) -> Iterator[Workflow]:
        """All that are not deleted: account by account, oldest first; hidden ones last."""
        for register in self.registers.values():
            yield from register
        yield from self.hidden.values()

    @property
    def deleted(self) -> Counter[str]:
        """Workflows deleted from the list, by the status in which they went."""
        return sum(self.deletions.values(), Counter())

    def truth(self, workflow: Workflow) -> WorkflowTruth:
        """How the present execution of a workflow went so far."""
        return replace(workflow.truth(), told=known(workflow, self.scenario.traits))

    def _over_and_gone(self, workflow: Workflow) -> WorkflowTruth:
        """The same of an execution whose end can no longer be asked for from now on."""
        ended = workflow.ended_day
        stood = None if ended is None else self.now - ended
        return replace(self.truth(workflow), stood_seconds=stood)


def _ignore(_workflow: Workflow, _now: float = 0.0) -> None:
    """Nobody listens yet."""
