"""The simulated service without its network: workflows, runners, queues, and what happens when.

A discrete-event simulation. It has no clock: whoever drives it says how far the day has come, and
every event happens at the very time for which it was planned, however late the driver is. So a seed
gives the same day at any speed and on any machine.
"""

from __future__ import annotations

import heapq
import random
import uuid
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from exporter.simulator.register import Register
from exporter.simulator.runner import Runner
from exporter.simulator.workflow import Cause, Plan, Status, Workflow, draw_cause, draw_plan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from exporter.simulator.causes import CauseSpec
    from exporter.simulator.scenario import Burst, Job, Outcomes, Scenario

CauseChoice = Cause | None | Literal["drawn"]


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
        self.seed = seed
        self.now = 0.0
        """The time of the day up to which everything has happened, in seconds."""
        self.paused = False
        """While set, nothing arrives; what is there goes on."""
        self.workflows: dict[str, Workflow] = {}
        self.registers = {account.name: Register() for account in scenario.accounts}
        self.deleted: Counter[str] = Counter()
        """Workflows that are gone from the list, by the status in which they went."""
        self.arrived = 0
        self.on_change: Callable[[Workflow], None] = _ignore
        self._stamp = stamp
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._event_number = 0
        self._sequence = 0
        self._drawn: Counter[str] = Counter()
        self._arrivals = self._random("arrivals")
        self.runners = self._make_runners()
        self._lay_out_start()
        self._plan_arrivals()

    # --- the course of the day -----------------------------------------------------------------

    def next_due(self) -> float | None:
        """When something happens next, in seconds of the day; None if nothing is planned."""
        return self._events[0][0] if self._events else None

    def advance_to(self, now: float) -> bool:
        """Let everything happen that is due.

        Args:
            now: the time of the day, in seconds; a time before the last one changes nothing.

        Returns:
            Whether anything happened.
        """
        happened = False
        while self._events and self._events[0][0] <= now:
            due, _, event = heapq.heappop(self._events)
            # An event planned for the past (a scripted move at the very moment) happens now.
            self.now = max(self.now, due)
            event(self.now)
            happened = True
        self.now = max(self.now, now)
        return happened

    def _at(self, due: float, event: Callable[[float], None]) -> None:
        self._event_number += 1
        heapq.heappush(self._events, (due, self._event_number, event))

    def _later(
        self, due: float, workflow: Workflow, event: Callable[[Workflow, float], None]
    ) -> None:
        epoch = workflow.epoch

        def happen(now: float) -> None:
            if workflow.epoch == epoch:
                event(workflow, now)

        self._at(due, happen)

    def _random(self, *names: object) -> random.Random:
        # A stream of its own for each purpose: what one takes does not shift the others.
        text = "/".join(str(name) for name in (self.seed, *names))
        return random.Random(text)  # noqa: S311 (a simulation, not a secret)

    # --- arrivals ------------------------------------------------------------------------------

    def _plan_arrivals(self) -> None:
        self._plan_next_arrival(0.0)
        for burst in self.scenario.arrivals.bursts:
            self._plan_burst(burst, burst.at)

    def _plan_next_arrival(self, now: float) -> None:
        arrivals = self.scenario.arrivals
        if arrivals.rate == 0:
            return
        if arrivals.spacing == "fixed":
            gap = 1.0 / arrivals.rate
        else:
            gap = self._arrivals.expovariate(arrivals.rate)
        self._at(now + self._stretched(now, gap), self._arrive)

    def _stretched(self, now: float, gap: float) -> float:
        """The time in which ``gap`` of the base rate passes, given the phases' factors."""
        passed, at = 0.0, now
        edges = {
            edge for p in self.scenario.phases for edge in (p.start, p.end) if edge is not None
        }
        for edge in sorted(edge for edge in edges if edge > now):
            factor = self._rate_factor(at)
            if passed + (edge - at) * factor >= gap:
                break
            passed += (edge - at) * factor
            at = edge
        factor = self._rate_factor(at)
        if factor == 0:  # nothing comes any more; a day is longer than anybody watches
            return at - now + 1e9
        return at - now + (gap - passed) / factor

    def _rate_factor(self, now: float) -> float:
        factor = 1.0
        for phase in self.scenario.phases:
            if phase.holds(now):
                factor *= phase.rate_factor
        return factor

    def _arrive(self, now: float) -> None:
        if self._arrivals_left():
            self._arrive_one(now)
            self._plan_next_arrival(now)

    def _plan_burst(self, burst: Burst, due: float) -> None:
        def happen(now: float) -> None:
            for _ in range(burst.size):
                if not self._arrivals_left():
                    return
                self._arrive_one(now)
            if burst.every is not None:
                self._plan_burst(burst, now + burst.every)

        self._at(due, happen)

    def _arrivals_left(self) -> bool:
        most = self.scenario.arrivals.max_workflows
        return most is None or self.arrived < most

    def _arrive_one(self, now: float) -> None:
        accounts = self.scenario.accounts
        account = self._arrivals.choices(accounts, [a.weight for a in accounts])[0]
        if self.paused:
            return
        self.arrived += 1
        self._add(now, self._draw(account.name, now, "arrival"))

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
        workflow = self._draw(account, self.now, "created")
        workflow.name = name or workflow.name
        workflow.tags = tags
        workflow.graph = graph
        workflow.scripted = scripted
        if outcome is not None or duration is not None or outputs is not None:
            workflow.plan = self._altered(
                workflow, duration=duration, outcome=outcome, ends_in=ends_in, outputs=outputs
            )
        if workflow.plan.outcome is Status.FAILED and cause != "drawn":
            workflow.plan = replace(workflow.plan, cause=cause)
        self._add(self.now, workflow)
        return workflow

    def _altered(
        self,
        workflow: Workflow,
        *,
        duration: float | None,
        outcome: Status | None,
        ends_in: Status,
        outputs: int | None,
    ) -> Plan:
        drawn, rng = workflow.plan, workflow.rng
        outcome = drawn.outcome if outcome is None else outcome
        length = drawn.duration if duration is None else duration
        if outcome is Status.INVALID:
            ends_in = Status.ACCEPTED
        elif outcome is Status.COMPLETED:
            ends_in = Status.RUNNING
        ends_after = {Status.ACCEPTED: drawn.accepted, Status.UPLOADED: drawn.uploaded}.get(
            ends_in, length
        )
        count = 0
        if outcome is Status.COMPLETED:
            count = (
                (drawn.outputs or workflow.job.outputs.draw(rng)) if outputs is None else outputs
            )
        return replace(
            drawn,
            duration=length,
            outcome=outcome,
            ends_in=ends_in,
            ends_after=ends_after,
            cause=draw_cause(rng, self._causes(self.now)) if outcome is Status.FAILED else None,
            outputs=count,
        )

    def _draw(
        self, account: str, now: float, origin: str, created: float | None = None
    ) -> Workflow:
        number = self._drawn[origin]
        self._drawn[origin] += 1
        rng = self._random(origin, number)
        jobs = self.scenario.jobs
        job = rng.choices(jobs, [each.weight for each in jobs])[0]
        identity = _uuid(rng)
        stamp = self._stamp(now if created is None else created)
        return Workflow(
            id=identity,
            sequence=0,
            account=account,
            name=f"{job.name}-{identity[:6]}",
            tags=job.tags,
            job=job,
            created_ms=stamp,
            updated_ms=stamp,
            plan=draw_plan(
                rng, job, self.scenario.stages, self._outcomes(job, now), self._causes(now)
            ),
            rng=rng,
        )

    def _outcomes(self, job: Job, now: float) -> Outcomes:
        for phase in self.scenario.phases:
            if phase.outcomes is not None and phase.holds(now):
                return phase.outcomes
        return self.scenario.outcomes if job.outcomes is None else job.outcomes

    def _causes(self, now: float) -> tuple[CauseSpec, ...]:
        for phase in self.scenario.phases:
            if phase.causes and phase.holds(now):
                return phase.causes
        return self.scenario.causes

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
            self._later(now + plan.ends_after, workflow, self._end_as_planned)
        else:
            self._later(now + plan.accepted, workflow, self._upload)

    def _upload(self, workflow: Workflow, now: float) -> None:
        runner = self._runner_for(workflow.tags)
        if runner is None:  # none has its tags, or all that have them are disabled
            self._later(now + 1.0, workflow, self._upload)
            return
        workflow.runner = runner
        self._set_status(workflow, Status.UPLOADED, now)
        plan = workflow.plan
        if plan.ends_in is Status.UPLOADED:
            self._later(now + plan.ends_after, workflow, self._end_as_planned)
        else:
            self._later(now + plan.uploaded, workflow, self._enqueue)

    def _runner_for(self, tags: tuple[str, ...]) -> Runner | None:
        fitting = [runner for runner in self.runners if runner.takes(tags)]
        return min(fitting, key=lambda runner: runner.load, default=None)

    def _enqueue(self, workflow: Workflow, now: float) -> None:
        runner = workflow.runner
        if runner is None or not runner.active:
            self._upload(workflow, now)
            return
        workflow.first_queue_position = runner.append(workflow)
        workflow.prompt_id = _uuid(workflow.rng)
        self._set_status(workflow, Status.QUEUED, now)
        if workflow.plan.ends_in is Status.QUEUED:
            self._later(now + workflow.plan.ends_after, workflow, self._end_in_queue)
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

        self._at(now + runner.queue[0].plan.pickup, start)

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
        self._later(now + plan.ends_after, workflow, self._end_as_planned)

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
            delay = self.scenario.stages.cancelling.draw(workflow.rng)
            self._later(
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
        workflow.plan = draw_plan(
            workflow.rng,
            workflow.job,
            self.scenario.stages,
            self._outcomes(workflow.job, self.now),
            self._causes(self.now),
        )
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
        stamp = self._stamp(self.now)
        if created_ms is not None:
            workflow.created_ms = created_ms
        if status is Status.QUEUED:
            workflow.told_position = 1 if queue_position is None else queue_position
            if workflow.first_queue_position is None:
                workflow.first_queue_position = workflow.told_position
        if status in (Status.QUEUED, Status.RUNNING) and workflow.prompt_id is None:
            workflow.prompt_id = _uuid(workflow.rng)
        if started_ms is not None:
            workflow.started_ms = started_ms
        elif status in (Status.RUNNING, Status.COMPLETED) and workflow.started_ms is None:
            workflow.started_ms = stamp
        if completed_ms is not None:
            workflow.completed_ms = completed_ms
        elif status.final and status is not Status.INVALID:
            workflow.completed_ms = stamp
        if status is Status.FAILED:
            drawn = cause == "drawn"
            workflow.cause = draw_cause(workflow.rng, self._causes(self.now)) if drawn else cause
        if status is Status.COMPLETED:
            workflow.outputs = 1 if outputs is None else outputs
        self._set_status(workflow, status, self.now)

    # --- the start -----------------------------------------------------------------------------

    def _make_runners(self) -> list[Runner]:
        rng = self._random("runners")
        made = []
        for group in self.scenario.runners:
            for number in range(1, group.count + 1):
                runner = Runner(
                    identity=_uuid(rng),
                    name=group.name if group.count == 1 else f"{group.name}-{number}",
                    tags=group.tags,
                    managed=group.managed,
                    active=group.status == "active",
                    stopped=group.stopped,
                    created_ms=self._stamp(-30 * 86400.0),
                )
                for window in group.stopped:
                    if window.end is not None:
                        self._at(window.end, lambda now, each=runner: self._serve(each, now))  # type: ignore[misc]
                made.append(runner)
        return made

    def _lay_out_start(self) -> None:
        start, rng = self.scenario.start, self._random("start")
        accounts = self.scenario.accounts
        weights = [account.weight for account in accounts]
        laid: list[tuple[float, Workflow, bool]] = []
        for is_open in (False, True):
            age = start.open_age if is_open else start.finished_age
            for _ in range(start.open if is_open else start.finished):
                account = rng.choices(accounts, weights)[0].name
                created = -age.draw(rng)
                origin = "open" if is_open else "finished"
                workflow = self._draw(account, 0.0, origin, created)
                if not is_open:
                    created = self._lay_out_finished(workflow, created)
                laid.append((created, workflow, is_open))
        laid.sort(key=lambda each: each[0])
        for created, workflow, is_open in laid:
            workflow.at_start = True
            self._register(workflow)
            if is_open:
                self._lay_out_open(workflow, created)

    def _lay_out_finished(self, workflow: Workflow, created: float) -> float:
        """Give a settled workflow its past.

        Returns:
            When it was created: earlier than asked for, where its life would not have fitted.
        """
        plan = workflow.plan
        started, length = None, plan.ends_after
        if plan.ends_in is Status.RUNNING:
            wait = plan.accepted + plan.uploaded + workflow.rng.expovariate(1 / 10)
            started, length = wait, wait + plan.ends_after
            workflow.first_queue_position = 1
            workflow.prompt_id = _uuid(workflow.rng)
            workflow.runner = workflow.rng.choice(self.runners)
        created = min(created, -length - 0.001)
        workflow.created_ms = self._stamp(created)
        workflow.started_ms = None if started is None else self._stamp(created + started)
        ended = self._stamp(created + length)
        workflow.updated_ms = ended
        workflow.completed_ms = None if plan.outcome is Status.INVALID else ended
        workflow.status = plan.outcome
        workflow.cause, workflow.outputs = plan.cause, plan.outputs
        workflow.final_at_start = True
        return created

    def _lay_out_open(self, workflow: Workflow, created: float) -> None:
        plan = workflow.plan
        early = plan.accepted + plan.uploaded
        runner = self._runner_for(workflow.tags)
        if plan.ends_in is not Status.RUNNING or runner is None or -created < early:
            # It goes through its stages from now on, and is only older than it looks.
            self._enter_accepted(workflow, 0.0)
            return
        workflow.runner = runner
        workflow.prompt_id = _uuid(workflow.rng)
        if runner.running is None:
            runner.running = workflow
            started = max(created + early, -0.8 * plan.ends_after)
            workflow.started_ms = self._stamp(started)
            self._set_status(workflow, Status.RUNNING, started)
            self._later(max(0.0, started + plan.ends_after), workflow, self._end_as_planned)
        else:
            workflow.first_queue_position = runner.append(workflow)
            self._set_status(workflow, Status.QUEUED, created + early)

    def every(self) -> Iterator[Workflow]:
        """All workflows that are not deleted, account by account, oldest first."""
        for register in self.registers.values():
            yield from register


def _uuid(rng: random.Random) -> str:
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


def _ignore(_workflow: Workflow) -> None:
    """Nobody listens yet."""
