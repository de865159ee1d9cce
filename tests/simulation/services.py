"""The services that a run may have, as the run sees them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from math import inf
from random import Random
from typing import TYPE_CHECKING, Final, Protocol

from exporter.simulator.scenario import Scenario
from tests.simulation import second_service
from tests.simulation.first_service import FirstService
from tests.simulation.scheduler import MONOTONIC, world
from tests.simulation.second_server import SecondServer
from tests.simulation.second_service import SecondService

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.simulation.network import Network
    from tests.simulation.plan import Plan

CLIENT: Final = "client"


@dataclass(frozen=True)
class Truth:
    """What anyone who follows the service can count."""

    outcomes: dict[str, int]
    causes: dict[tuple[str, str], int] | None
    runs: dict[str, tuple[int, float, float]]
    """Of each outcome: how many durations, and their sum, at least and at most."""
    early: Counter[str] = field(default_factory=Counter)
    """What ended before the exporter had read the list once: nobody's to count, or its."""


class Simulated(Protocol):
    """A service in virtual time."""

    token: str
    secrets: list[str]
    has_neighbours: bool
    """Whether others ask from our address by themselves."""
    epoch: float
    """The service's wall clock at the start."""

    def start(self) -> None:
        """Begin."""

    def open_up(self) -> None:
        """From now on there is work."""

    def truth(self) -> Truth:
        """What happened."""

    def is_idle(self) -> bool:
        """Whether nothing is open."""

    def new_ids(self) -> list[str]:
        """What was submitted since the start."""

    def listed(self) -> Iterator[tuple[str, float, float]]:
        """What was submitted since the start and is in the list: its id, since when, and its end.

        In seconds of the world; infinity: it has not ended.
        """

    def calm(self) -> None:
        """No more faults, and no more work."""

    def ended_since(self, at: float) -> int:
        """How many workflows have ended since then, in seconds of the world, or are open."""

    def latest_end(self, by: float) -> float:
        """The latest end by then, in seconds of the world."""

    def change_token(self) -> str:
        """Refuse the present token from now on; return the next one."""

    def others_ask(self) -> None:
        """Somebody else on our address asks something."""

    def asked_at(self) -> list[float]:
        """When our requests came, by the service's clock."""

    def refused(self) -> int:
        """How many of ours the limit has refused."""


class _First:
    """The simulator."""

    def __init__(self, plan: Plan, network: Network) -> None:
        scenario = Scenario.model_validate(plan.scenario)
        self._service = FirstService(scenario, plan.seed)
        network.addresses["service", 80] = self._service.serve
        engine = self._engine = self._service.engine
        self.token = engine.tokens.current["studio"]
        self.secrets = [self.token, *(f"cfc_sim_next_{n:032}" for n in range(3))]
        self.has_neighbours = False
        self.epoch = plan.epoch
        # What ended so long ago, or ran again, is found later: at the end it must be right.
        self._shows_for = plan.lookback / 2 if plan.days else inf
        self._asked: list[float] = []
        self._refused = 0
        ask = engine.limit.ask

        def noting(address: str, now: float) -> int | None:
            answer = ask(address, now)
            self._asked.append(now)
            self._refused += answer is not None
            return answer

        self._ask = ask
        engine.limit.ask = noting  # type: ignore[method-assign]

    def start(self) -> None:
        self._engine.set_paused(paused=True)
        self._service.start()

    def open_up(self) -> None:
        self._engine.set_paused(paused=False)

    def truth(self) -> Truth:
        found = self._service.truth()
        return Truth(
            found.outcomes(),
            found.causes(),
            {
                status: (each.count, each.least, each.most)
                for status, each in found.run_durations().items()
            },
        )

    def is_idle(self) -> bool:
        self._engine.pump()
        return all(each.status.final for each in self._engine.world.every())

    def new_ids(self) -> list[str]:
        found = self._service.truth().workflows
        return sorted({each.id for each in found if not each.final_at_start})

    def listed(self) -> Iterator[tuple[str, float, float]]:
        self._engine.pump()
        within, now = self._engine.world, world().now
        for each in within.every():
            if not each.final_at_start and each.id not in within.hidden:
                ended = each.ended_day
                over = inf if ended is None else now - (within.now - ended)
                if now - over > self._shows_for or (each.execution and self._shows_for < inf):
                    continue
                yield each.id, each.created_ms / 1000 - self.epoch, over

    def calm(self) -> None:
        self._engine.faults.replace(())
        self._engine.set_paused(paused=True)

    def ended_since(self, at: float) -> int:
        return sum(end > at for end in self._ends()) + len(self._engine.world.gone)

    def latest_end(self, by: float) -> float:
        return max((end for end in self._ends() if end <= by), default=-inf)

    def _ends(self) -> Iterator[float]:
        self._engine.pump()
        within, now = self._engine.world, world().now
        for each in within.every():
            yield inf if each.ended_day is None else now - (within.now - each.ended_day)

    def change_token(self) -> str:
        number = self.secrets.index(self.token) + 1
        self.token = self.secrets[number % len(self.secrets)]
        self._engine.tokens.revoke("studio")
        self._engine.tokens.accept("studio", self.token)
        return self.token

    def others_ask(self) -> None:
        self._ask(CLIENT, MONOTONIC + world().now)

    def asked_at(self) -> list[float]:
        return self._asked

    def refused(self) -> int:
        return self._refused


class _Second:
    """The stand-in that was written by somebody who has not seen the simulator."""

    def __init__(self, plan: Plan, network: Network) -> None:
        drawn = second_service.Plan.draw(Random(f"{plan.seed}/second/plan"))
        # What may befall a workflow while nobody can look cannot be counted by anybody.
        behaviour = replace(
            drawn,
            arrivals_end=plan.storm,
            run_seconds=min(drawn.run_seconds, plan.storm / 8),
            reruns=0.0,
            deletions=0.0,
            deletions_before_end=0.0,
        )
        self._plan = behaviour
        self._service = SecondService(Random(f"{plan.seed}/second"), behaviour)
        chunked = Random(f"{plan.seed}/chunked")
        network.addresses["service", 80] = lambda line: SecondServer(
            self._service, line, CLIENT, chunked=chunked.random() < 0.7
        )
        self.token = "cfc_second_0123456789abcdef"
        self.secrets = [self.token, "sig=secret", "a secret of the user"]
        self.has_neighbours = behaviour.neighbours > 0
        self.epoch = second_service.EPOCH.timestamp()
        self._opened_at = 0.0
        self._others: list[float] = []

    def start(self) -> None:
        pass

    def open_up(self) -> None:
        self._opened_at = world().now

    def truth(self) -> Truth:
        self._service.advance(world().now)
        outcomes, early, runs = Counter[str](), Counter[str](), Counter[str]()
        seconds = dict.fromkeys(("completed", "failed", "cancelled", "invalid"), 0.0)
        for each in self._service.truth():
            if each.ended <= self._opened_at:
                early[each.status] += 1
                continue
            outcomes[each.status] += 1
            if each.started is not None and each.completed_at is not None:
                runs[each.status] += 1
                seconds[each.status] += each.ended - each.started
        return Truth(
            dict(outcomes),
            None,
            {
                status: (count, seconds[status] - 1.001 * count, seconds[status] + 1.001 * count)
                for status, count in runs.items()
            },
            early,
        )

    def is_idle(self) -> bool:
        self._service.advance(world().now)
        return not self._service.open_ids()

    def new_ids(self) -> list[str]:
        self._service.advance(world().now)
        # What has ended may have done so before the cutoff.
        return sorted(self._service.open_ids())

    def listed(self) -> Iterator[tuple[str, float, float]]:
        # Only that of the simulator is looked at: in this one stamps and order are drawn as well.
        return iter(())

    def calm(self) -> None:
        self._service.quiet(world().now)

    def ended_since(self, at: float) -> int:
        self._service.advance(world().now)
        return sum(each.ended > at for each in self._service.truth())

    def latest_end(self, by: float) -> float:
        self._service.advance(world().now)
        ends = (each.ended for each in self._service.truth())
        return max((end for end in ends if end <= by), default=-inf)

    def change_token(self) -> str:
        return self.token  # it has one only

    def others_ask(self) -> None:
        runner = "/v1/runner"
        self._service.request(world().now, "GET", runner, {}, CLIENT)
        self._others.append(world().now)

    def asked_at(self) -> list[float]:
        others = set(self._others)
        return [MONOTONIC + at for at in self._service.requests_in(CLIENT) if at not in others]

    def refused(self) -> int:
        return self._service.refused_by_limit(CLIENT)


def make_service(plan: Plan, network: Network) -> Simulated:
    """The service of a plan."""
    return (_Second if plan.service == "second" else _First)(plan, network)
