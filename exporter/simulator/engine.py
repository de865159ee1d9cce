"""Advances the simulated world with the clock, and counts requests.

Everything here belongs to the simulator's loop; other threads come in through ``Simulator``.
"""

from __future__ import annotations

import random
import secrets
import time
from collections import Counter, defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from exporter.simulator.clock import DayClock
from exporter.simulator.course import Course
from exporter.simulator.fault_plan import FaultPlan
from exporter.simulator.limit import ServiceLimit
from exporter.simulator.listing import Listing
from exporter.simulator.past import Past, reach_of
from exporter.simulator.reporting import Reporting
from exporter.simulator.truth import Truth
from exporter.simulator.world import World

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from exporter.simulator.scenario import Scenario
    from exporter.simulator.traits.chance import Place
    from exporter.simulator.workflow import Workflow, WorkflowTruth


class Tally:
    """What the service was asked and what it answered."""

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self.answers: defaultdict[str, Counter[int]] = defaultdict(Counter)
        self.streams_open = 0
        self.streams_opened = 0
        self.streams_open_most = 0
        self.snapshots_sent = 0

    def stream_opened(self) -> None:
        """Count one stream that opened."""
        self.streams_opened += 1
        self.streams_open += 1
        self.streams_open_most = max(self.streams_open_most, self.streams_open)


class Tokens:
    """Which token opens which account."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self._accounts: dict[str, str] = {}
        self._first: dict[str, str] = {}
        for number, account in enumerate(scenario.accounts):
            made = f"cfc_sim_{seed:x}_{number}_{account.name.encode().hex()[:24]}"
            tokens = account.tokens or (made,)
            self._first[account.name] = tokens[0]
            for token in tokens:
                self._accounts[token] = account.name

    @property
    def current(self) -> dict[str, str]:
        """An account's token: the first, or the newest where it was rotated."""
        return dict(self._first)

    def account(self, authorization: str) -> str | None:
        """The account of a request, by its ``Authorization`` header; None: of no account."""
        scheme, _, token = authorization.partition(" ")
        return self._accounts.get(token.strip()) if scheme.lower() == "bearer" else None

    def revoke(self, account: str) -> None:
        """Refuse all of an account's tokens from now on."""
        self._accounts = {t: name for t, name in self._accounts.items() if name != account}

    def accept(self, account: str, token: str) -> None:
        """Accept one more token for an account, and name it as the current one."""
        self._accounts[token] = account
        self._first[account] = token

    def rotate(self, account: str) -> str:
        """Revoke an account's tokens and make a new one.

        Raises:
            KeyError: no such account.
        """
        self._first[account]
        self.revoke(account)
        token = f"cfc_sim_{secrets.token_hex(16)}"
        self.accept(account, token)
        return token


class Engine:
    """The simulated service at work."""

    def __init__(
        self, scenario: Scenario, *, seed: int, speed: float, tokens: Tokens | None = None
    ) -> None:
        self.scenario = scenario
        self.seed = seed
        self.clock = DayClock(speed)
        self.world = World(scenario, seed=seed, stamp=self.clock.stamp)
        self.world.on_change = self._workflow_changed
        self.course = Course(self.world, seed=seed)
        self.past = Past(self.world, reach_of(scenario.traits))
        self.reporting = Reporting(self.world)
        self.listing = Listing(self.world, self.past, self.reporting, _dice(seed, "totals"))
        self._replica_dice = _dice(seed, "replicas")
        self.faults = FaultPlan(scenario.faults, seed=seed)
        self.limit = ServiceLimit(scenario.limit)
        self.tokens = Tokens(scenario, seed) if tokens is None else tokens
        self.tally = Tally()
        self.on_activity: Callable[[], None] = _ignore
        """Called after every change of a workflow, every request, snapshot and stream's end."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0.0
        self._pumping = False

    def run_on(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let the day go on by itself, on this loop, which must be the running one."""
        self._loop = loop
        self.pump()

    def halt(self) -> None:
        """Let the day stand still."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop = None

    def pump(self) -> None:
        """Let everything happen that is due, and set the alarm for what comes next."""
        if self._pumping:
            return
        self._pumping = True
        try:
            self.world.advance_to(self.clock.now())
        finally:
            self._pumping = False
        self._arm()

    def _arm(self) -> None:
        due = self.world.next_due()
        if self._loop is None or due is None:
            return
        if self._timer is not None:
            if due == self._timer_due and not self._timer.cancelled():
                return
            self._timer.cancel()
        self._timer_due = due
        # The loop's clock is the monotonic one, as the day's is.
        wait = max(0.0, self.clock.monotonic(due) - time.monotonic())
        self._timer = self._loop.call_at(self._loop.time() + wait, self._alarm)

    def _alarm(self) -> None:
        self._timer = None
        self.pump()

    def now(self) -> float:
        """The present time of day, after all due events have happened."""
        self.pump()
        return self.world.now

    def lag(self, place: Place, identity: str | None = None) -> float:
        """How far behind the copy of the data is that answers a request, in seconds of the day.

        Args:
            place: what is asked for.
            identity: of which workflow; None for a page of the list.
        """
        for replica in self.scenario.traits.replicas:
            if replica.answers(place, identity, self._replica_dice):
                return replica.lag
        return 0.0

    def seen(self, identity: str, lag: float) -> Workflow | None:
        """A workflow as it is, or as a copy of the data has it; None if it is not there."""
        if lag > 0:
            return self.past.workflow(identity, lag)
        return self.world.workflows.get(identity)

    def cancel(self, workflow: Workflow) -> bool:
        """Ask for a workflow to be cancelled; whether it was still open."""
        found = self.world.cancel(self.clock.now(), workflow)
        self.pump()
        return found

    def edit(self, workflow: Workflow, *, to_top: bool) -> None:
        """Move a workflow's ``updated_at``, and where asked for its row to the top."""
        self.pump()
        self.world.edit(workflow, self.world.now, to_top=to_top)

    def hide(self, workflow: Workflow) -> None:
        """Let a workflow vanish, until it is shown."""
        self.pump()
        self.world.hide(workflow)

    def show(self, identity: str) -> None:
        """Let a hidden workflow be there again.

        Raises:
            KeyError: there is no such hidden one.
        """
        self.pump()
        self.world.show(self.world.hidden[identity])

    def delete(self, workflow: Workflow) -> None:
        """Delete a workflow."""
        self.pump()
        self.world.delete(workflow)
        self.pump()

    def set_paused(self, *, paused: bool) -> None:
        """Stop arrivals and changes of settled workflows, or allow them again."""
        self.pump()
        self.world.arrivals.paused = self.course.paused = paused

    def set_runner(self, name: str, *, active: bool) -> None:
        """Enable or disable a runner.

        Raises:
            KeyError: no such runner.
        """
        runner = next((each for each in self.world.runners if each.name == name), None)
        if runner is None:
            raise KeyError(name)
        self.pump()
        self.world.set_runner(runner, active=active)
        self.pump()

    def truth(self) -> Truth:
        """What really happened, up to this moment."""
        self.pump()
        rows = [
            row
            for workflow in self.world.every()
            for row in (*workflow.earlier, self.world.truth(workflow))
        ]
        tally = self.tally
        return Truth(
            taken_ms=self.clock.stamp(self.world.now),
            workflows=tuple(map(self._with_sights, rows)),
            gone=tuple(map(self._with_sights, self.world.gone)),
            deletions={name: dict(found) for name, found in self.world.deletions.items()},
            requests=dict(tally.requests),
            refusals=dict(tally.refusals),
            answers={endpoint: dict(codes) for endpoint, codes in tally.answers.items()},
            busiest_window=self.limit.busiest,
            streams_open=tally.streams_open,
            streams_opened=tally.streams_opened,
            streams_open_most=tally.streams_open_most,
            snapshots_sent=tally.snapshots_sent,
            faults=dict(self.faults.struck),
        )

    def _with_sights(self, row: WorkflowTruth) -> WorkflowTruth:
        return replace(row, shown=(row.id, row.execution) in self.reporting.ends_shown)

    def _workflow_changed(self, workflow: Workflow) -> None:
        self.past.note(workflow)
        self.on_activity()


def _dice(seed: int, purpose: str) -> random.Random:
    return random.Random(f"{seed}/{purpose}")  # noqa: S311 (a simulation, not a secret)


def _ignore() -> None:
    """Nobody listens yet."""
