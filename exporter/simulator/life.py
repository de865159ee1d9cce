"""What becomes of workflows by themselves: from stage to stage, through a queue, to an end."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from exporter.simulator.workflow import ServiceStatus, SimulatedCause, Workflow

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.simulator.agenda import Agenda
    from exporter.simulator.runner import Runner
    from exporter.simulator.traits.clocks import Clocks
    from exporter.simulator.traits.stamps import StampName


class Life:
    """Moves workflows by their plans.

    Args:
        agenda: on which the next step of each is planned.
        runners: all there are.
        set_status: called for every step.
        stamp: gives the wall-clock stamp, in milliseconds, of a time of the day.
        clocks: which stamps the runners' own clocks give; without it none.
    """

    def __init__(
        self,
        agenda: Agenda,
        runners: list[Runner],
        set_status: Callable[[Workflow, ServiceStatus, float], None],
        stamp: Callable[[float], int],
        clocks: Clocks | None,
    ) -> None:
        self.runners = runners
        self._agenda = agenda
        self._set_status = set_status
        self._stamp = stamp
        self._clocks = clocks
        self._plan_comebacks()

    def enter(self, workflow: Workflow, now: float) -> None:
        """Let the life of an accepted workflow begin."""
        plan = workflow.plan
        if plan.ends_in is ServiceStatus.ACCEPTED:
            self._agenda.later(now + plan.ends_after, workflow, self._end_as_planned)
        else:
            self._agenda.later(now + plan.accepted, workflow, self._upload)

    def _upload(self, workflow: Workflow, now: float) -> None:
        runner = self.runner_for(workflow.tags)
        if runner is None:  # none has its tags, or all that have them are disabled
            self._agenda.later(now + 1.0, workflow, self._upload)
            return
        workflow.runner = runner
        runner.expected.add(workflow)
        self._set_status(workflow, ServiceStatus.UPLOADED, now)
        plan = workflow.plan
        if plan.ends_in is ServiceStatus.UPLOADED:
            self._agenda.later(now + plan.ends_after, workflow, self._end_as_planned)
        else:
            self._agenda.later(now + plan.uploaded, workflow, self._enqueue)

    def runner_for(self, tags: tuple[str, ...]) -> Runner | None:
        """The runner with the least to do among those that take these tags; None if none does."""
        fitting = [runner for runner in self.runners if runner.takes(tags)]
        return min(fitting, key=lambda runner: runner.load, default=None)

    def _enqueue(self, workflow: Workflow, now: float) -> None:
        runner = workflow.runner
        if runner is None or not runner.active:  # disabled meanwhile: the inputs go elsewhere
            self.leave_runner(workflow, now)
            self._upload(workflow, now)
            return
        place = runner.append(workflow)
        if workflow.first_queue_position is None:
            workflow.first_queue_position = place
        workflow.prompt_id = workflow.new_prompt_id()
        self._set_status(workflow, ServiceStatus.QUEUED, now)
        if workflow.plan.ends_in is ServiceStatus.QUEUED:
            self._agenda.later(now + workflow.plan.ends_after, workflow, self._end_in_queue)
        self.serve(runner, now)

    def _end_in_queue(self, workflow: Workflow, now: float) -> None:
        if workflow.status is ServiceStatus.QUEUED:
            self._end_as_planned(workflow, now)

    def serve(self, runner: Runner, now: float) -> None:
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
        if (
            plan.ends_in is ServiceStatus.QUEUED
        ):  # its turn came before the time at which it was to end
            self._end_as_planned(workflow, now)
            return
        workflow.started_ms = self._runner_stamp(workflow, now, "started_at")
        workflow.started_day = now
        self._set_status(workflow, ServiceStatus.RUNNING, now)
        self._agenda.later(now + plan.ends_after, workflow, self._end_as_planned)

    def _end_as_planned(self, workflow: Workflow, now: float) -> None:
        plan = workflow.plan
        self.settle(workflow, plan.outcome, now, cause=plan.cause, outputs=plan.outputs)

    def settle(
        self,
        workflow: Workflow,
        status: ServiceStatus,
        now: float,
        *,
        cause: SimulatedCause | None = None,
        outputs: int = 0,
    ) -> None:
        """End an execution."""
        workflow.epoch += 1
        # What was refused was never executed, so its execution did not end either.
        workflow.completed_ms = None
        if status is not ServiceStatus.INVALID:
            workflow.completed_ms = self._runner_stamp(workflow, now, "completed_at")
        workflow.cause = cause if status is ServiceStatus.FAILED else None
        workflow.outputs = outputs
        self.leave_runner(workflow, now)
        self._set_status(workflow, status, now)

    def _runner_stamp(self, workflow: Workflow, now: float, name: StampName) -> int:
        """A stamp by the clock of the runner that ran it; by the service's own where none did."""
        clocks, stamp = self._clocks, self._stamp(now)
        ran = name == "started_at" or workflow.started_ms is not None
        if clocks is None or workflow.runner is None or not ran or name not in clocks.stamps:
            return stamp
        return stamp + workflow.runner.clock_ms

    def leave_runner(self, workflow: Workflow, now: float) -> None:
        """Take a workflow away from its runner, which then serves the next."""
        if workflow.runner is not None:
            workflow.runner.remove(workflow)
            self.serve(workflow.runner, now)

    def requeue(self, workflow: Workflow, now: float, *, keeps_start: bool) -> None:
        """Take a running workflow back into a queue, where it waits to start once more."""
        workflow.epoch += 1
        workflow.requeued += 1
        self.leave_runner(workflow, now)
        if not keeps_start:
            workflow.started_ms = workflow.started_day = None
        workflow.runner = self.runner_for(workflow.tags)
        self._enqueue(workflow, now)

    def _plan_comebacks(self) -> None:
        """A runner that was stopped looks at its queue again when that is over."""
        for runner in self.runners:
            for window in runner.stopped:
                if window.end is not None:
                    self._agenda.at(window.end, partial(self.serve, runner))

    def track(self, workflow: Workflow, created: float) -> None:
        """Put a workflow that is older than the day where it would be by now."""
        plan = workflow.plan
        early = plan.accepted + plan.uploaded
        runner = self.runner_for(workflow.tags)
        if plan.ends_in is not ServiceStatus.RUNNING or runner is None or -created < early:
            # It goes through its stages from now on, and is only older than it looks.
            self.enter(workflow, 0.0)
            return
        workflow.runner = runner
        workflow.prompt_id = workflow.new_prompt_id()
        if runner.running is None:
            runner.running = workflow
            started = max(created + early, -0.8 * plan.ends_after)
            workflow.started_ms = self._runner_stamp(workflow, started, "started_at")
            workflow.started_day = started
            self._set_status(workflow, ServiceStatus.RUNNING, started)
            self._agenda.later(max(0.0, started + plan.ends_after), workflow, self._end_as_planned)
        else:
            workflow.first_queue_position = runner.append(workflow)
            self._set_status(workflow, ServiceStatus.QUEUED, created + early)
