"""The simulated service without its network: workflows, runners, queues, and what happens when.

A discrete-event simulation. It has no clock: whoever drives it says how far the day has come, and
every event happens at the very time for which it was planned, however late the driver is. So a seed
gives the same day at any speed and on any machine.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from exporter.simulator.agenda import Agenda
from exporter.simulator.arrivals import ArrivalPlan
from exporter.simulator.maker import Maker
from exporter.simulator.opening import lay_out, make_runners
from exporter.simulator.register import Register
from exporter.simulator.workflow import Cause, Status, Workflow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from exporter.simulator.maker import CauseChoice
    from exporter.simulator.runner import Runner
    from exporter.simulator.scenario import Scenario


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
        self.deleted: Counter[str] = Counter()
        """Workflows that are gone from the list, by the status in which they went."""
        self.on_change: Callable[[Workflow], None] = _ignore
        self._stamp = stamp
        self._agenda = Agenda()
        self._sequence = 0
        self._maker = Maker(scenario, seed=seed, stamp=stamp)
        self.runners = make_runners(scenario, self._maker, stamp)
        self._plan_comebacks()
        self._lay_out_start()
        self.arrivals = ArrivalPlan(
            scenario, self._maker.dice("arrivals"), at=self._agenda.at, arrive=self._arrive
        )

    # --- the course of the day -----------------------------------------------------------------

    def next_due(self) -> float | None:
        """When something happens next, in seconds of the day; None if nothing is planned."""
        return self._agenda.next_due()

    def advance_to(self, now: float) -> bool:
        """Let everything happen that is due.

        Args:
            now: the time of the day, in seconds; a time before the last one changes nothing.

        Returns:
            Whether anything happened.
        """
        happened = False
        while (planned := self._agenda.take_due(now)) is not None:
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
        outcome: Status | None = None,
        ends_in: Status = Status.RUNNING,
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
        if outcome is not None or duration is not None or outputs is not None:
            workflow.plan = self._maker.altered(
                workflow,
                self.now,
                duration=duration,
                outcome=outcome,
                ends_in=ends_in,
                outputs=outputs,
            )
        if workflow.plan.outcome is Status.FAILED and not isinstance(cause, str):
            workflow.plan = replace(workflow.plan, cause=cause)
        self._add(self.now, workflow)
        return workflow

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
            self._enter_accepted(workflow, now)

    def _make_room(self) -> None:
        if len(self.workflows) <= self.scenario.keep:
            return
        candidates = [r.oldest_final() for r in self.registers.values()]
        settled = [each for each in candidates if each is not None]
        if settled:
            self.delete(min(settled, key=lambda each: each.sequence))

    # --- life ----------------------------------------------------------------------------------

    def _enter_accepted(self, workflow: Workflow, now: float) -> None:
        plan = workflow.plan
        if plan.ends_in is Status.ACCEPTED:
            self._agenda.later(now + plan.ends_after, workflow, self._end_as_planned)
        else:
            self._agenda.later(now + plan.accepted, workflow, self._upload)

    def _upload(self, workflow: Workflow, now: float) -> None:
        runner = self._runner_for(workflow.tags)
        if runner is None:  # none has its tags, or all that have them are disabled
            self._agenda.later(now + 1.0, workflow, self._upload)
            return
        workflow.runner = runner
        runner.expected.add(workflow)
        self._set_status(workflow, Status.UPLOADED, now)
        plan = workflow.plan
        if plan.ends_in is Status.UPLOADED:
            self._agenda.later(now + plan.ends_after, workflow, self._end_as_planned)
        else:
            self._agenda.later(now + plan.uploaded, workflow, self._enqueue)

    def _runner_for(self, tags: tuple[str, ...]) -> Runner | None:
        fitting = [runner for runner in self.runners if runner.takes(tags)]
        return min(fitting, key=lambda runner: runner.load, default=None)

    def _enqueue(self, workflow: Workflow, now: float) -> None:
        runner = workflow.runner
        if runner is None or not runner.active:  # disabled meanwhile: the inputs go elsewhere
            self._leave_runner(workflow, now)
            self._upload(workflow, now)
            return
        workflow.first_queue_position = runner.append(workflow)
        workflow.prompt_id = workflow.new_prompt_id()
        self._set_status(workflow, Status.QUEUED, now)
        if workflow.plan.ends_in is Status.QUEUED:
            self._agenda.later(now + workflow.plan.ends_after, workflow, self._end_in_queue)
        self._serve(runner, now)

    def _end_in_queue(self, workflow: Workflow, now: float) -> None:
        if workflow.status is Status.QUEUED:
            self._end_as_planned(workflow, now)

    def _serve(self, runner: Runner, now: float) -> None:
        """Start the head of a runner's queue, if the slot is free."""
        if runner.starting or runner.running or not runner.queue or not runner.picks_up(now):
            return
        runner.starting = True

        def start(at: float) -> None:
            runner.starting = False
            self._start(runner, at)

        self._agenda.at(now + runner.queue[0].plan.pickup, start)

    def _start(self, runner: Runner, now: float) -> None:
        if runner.running or not runner.queue or not runner.picks_up(now):
            return
        workflow = runner.pop()
        plan = workflow.plan
        if plan.ends_in is Status.QUEUED:  # its turn came before the time at which it was to end
            self._end_as_planned(workflow, now)
            return
        workflow.started_ms = self._stamp(now)
        self._set_status(workflow, Status.RUNNING, now)
        self._agenda.later(now + plan.ends_after, workflow, self._end_as_planned)

    def _end_as_planned(self, workflow: Workflow, now: float) -> None:
        plan = workflow.plan
        self._settle(workflow, plan.outcome, now, cause=plan.cause, outputs=plan.outputs)

    def _settle(
        self,
        workflow: Workflow,
        status: Status,
        now: float,
        *,
        cause: Cause | None = None,
        outputs: int = 0,
    ) -> None:
        workflow.epoch += 1
        # What was refused was never executed, so its execution did not end either.
        workflow.completed_ms = None if status is Status.INVALID else self._stamp(now)
        workflow.cause = cause if status is Status.FAILED else None
        workflow.outputs = outputs
        self._leave_runner(workflow, now)
        self._set_status(workflow, status, now)

    def _leave_runner(self, workflow: Workflow, now: float) -> None:
        if workflow.runner is not None:
            workflow.runner.remove(workflow)
            self._serve(workflow.runner, now)

    def _set_status(self, workflow: Workflow, status: Status, now: float) -> None:
        before, workflow.status = workflow.status, status
        workflow.updated_ms = self._stamp(now)
        if before is not status:
            self.registers[workflow.account].move(workflow, before)
        self._changed(workflow)

    def _changed(self, workflow: Workflow) -> None:
        workflow.version += 1
        self.on_change(workflow)

    # --- what clients ask for ------------------------------------------------------------------

    def place(self, workflow: Workflow) -> int | None:
        """A workflow's place in its queue, 1 being next; None if it is not queued."""
        if workflow.status is not Status.QUEUED:
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
            self._agenda.later(
                self.now + delay,
                workflow,
                lambda each, at: self._settle(each, Status.CANCELLED, at),
            )
        return True

    def execute(self, now: float, workflow: Workflow) -> bool:
        """Execute a settled workflow again, under the same id.

        Returns:
            Whether it was settled; an open one is left alone.
        """
        self.advance_to(now)
        if not workflow.status.final:
            return False
        workflow.earlier.append(workflow.truth())
        workflow.execution += 1
        workflow.epoch += 1
        workflow.at_start = workflow.final_at_start = False
        workflow.started_ms = workflow.completed_ms = None
        workflow.prompt_id = workflow.cause = workflow.runner = None
        workflow.first_queue_position = workflow.told_position = None
        workflow.outputs = 0
        workflow.plan = self._maker.plan_again(workflow, self.now)
        self._set_status(workflow, Status.ACCEPTED, self.now)
        if not workflow.scripted:
            self._enter_accepted(workflow, self.now)
        return True

    def delete(self, workflow: Workflow) -> None:
        """Delete a workflow: it is gone from the list, and its id is not found any more."""
        workflow.epoch += 1
        self._leave_runner(workflow, self.now)
        self.deleted[workflow.status.value] += 1
        self.registers[workflow.account].remove(workflow)
        del self.workflows[workflow.id]
        self._changed(workflow)

    def set_runner(self, runner: Runner, *, active: bool) -> None:
        """Enable or disable a runner; a disabled one starts nothing, and what runs goes on."""
        runner.active = active
        self._serve(runner, self.now)

    # --- moves by hand -------------------------------------------------------------------------

    def move(  # noqa: PLR0913 (a script says exactly what it wants, by keyword)
        self,
        now: float,
        workflow: Workflow,
        status: Status,
        *,
        queue_position: int | None = None,
        cause: CauseChoice = "drawn",
        outputs: int | None = None,
        created_ms: int | None = None,
        started_ms: int | None = None,
        completed_ms: int | None = None,
    ) -> None:
        """Put a workflow into a status by hand, from whatever status it is in.

        From here on nothing moves it but further calls. Stamps that are not given are taken from
        the present moment where the status calls for them.
        """
        self.advance_to(now)
        workflow.epoch += 1
        self._leave_runner(workflow, self.now)
        workflow.scripted = True
        if status is Status.QUEUED:
            workflow.told_position = 1 if queue_position is None else queue_position
            if workflow.first_queue_position is None:
                workflow.first_queue_position = workflow.told_position
        if status in (Status.QUEUED, Status.RUNNING) and workflow.prompt_id is None:
            workflow.prompt_id = workflow.new_prompt_id()
        if status is Status.FAILED:
            if isinstance(cause, str):
                cause = self._maker.cause(workflow, self.now)
            workflow.cause = cause
        if status is Status.COMPLETED:
            workflow.outputs = 1 if outputs is None else outputs
        self._stamp_by_hand(workflow, status, created_ms, started_ms, completed_ms)
        self._set_status(workflow, status, self.now)

    def _stamp_by_hand(
        self,
        workflow: Workflow,
        status: Status,
        created_ms: int | None,
        started_ms: int | None,
        completed_ms: int | None,
    ) -> None:
        stamp = self._stamp(self.now)
        if created_ms is not None:
            workflow.created_ms = created_ms
        if started_ms is not None:
            workflow.started_ms = started_ms
        elif status in (Status.RUNNING, Status.COMPLETED) and workflow.started_ms is None:
            workflow.started_ms = stamp
        if completed_ms is not None:
            workflow.completed_ms = completed_ms
        elif status.final and status is not Status.INVALID:
            workflow.completed_ms = stamp

    # --- the start -----------------------------------------------------------------------------

    def _plan_comebacks(self) -> None:
        """A runner that was stopped looks at its queue again when that is over."""
        for runner in self.runners:
            for window in runner.stopped:
                if window.end is not None:
                    self._agenda.at(window.end, partial(self._serve, runner))

    def _lay_out_start(self) -> None:
        for each in lay_out(self.scenario, self._maker, self.runners, self._stamp):
            self._register(each.workflow)
            if each.open:
                self._place_open(each.workflow, each.created)

    def _place_open(self, workflow: Workflow, created: float) -> None:
        plan = workflow.plan
        early = plan.accepted + plan.uploaded
        runner = self._runner_for(workflow.tags)
        if plan.ends_in is not Status.RUNNING or runner is None or -created < early:
            # It goes through its stages from now on, and is only older than it looks.
            self._enter_accepted(workflow, 0.0)
            return
        workflow.runner = runner
        workflow.prompt_id = workflow.new_prompt_id()
        if runner.running is None:
            runner.running = workflow
            started = max(created + early, -0.8 * plan.ends_after)
            workflow.started_ms = self._stamp(started)
            self._set_status(workflow, Status.RUNNING, started)
            self._agenda.later(max(0.0, started + plan.ends_after), workflow, self._end_as_planned)
        else:
            workflow.first_queue_position = runner.append(workflow)
            self._set_status(workflow, Status.QUEUED, created + early)

    def every(self) -> Iterator[Workflow]:
        """All workflows that are not deleted, account by account, oldest first."""
        for register in self.registers.values():
            yield from register


def _ignore(_workflow: Workflow) -> None:
    """Nobody listens yet."""
