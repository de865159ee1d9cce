"""The services that a run may have, as the run sees them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from exporter.simulator.scenario import Scenario
from tests.simulation.first_service import FirstService
from tests.simulation.scheduler import world

if TYPE_CHECKING:
    from tests.simulation.network import Network
    from tests.simulation.plan import Plan

CLIENT: Final = "client"


@dataclass(frozen=True)
class Truth:
    """What whoever follows the service can count."""

    outcomes: dict[str, int]
    causes: dict[tuple[str, str], int] | None
    runs: dict[str, tuple[int, float, float]]
    """Of each outcome: how many durations, and their sum, at least and at most."""


class Simulated(Protocol):
    """A service in virtual time."""

    token: str
    secrets: list[str]

    def start(self) -> None:
        """Begin."""

    def open_up(self) -> None:
        """From now on there is work."""

    def truth(self) -> Truth:
        """What happened."""

    def is_idle(self) -> bool:
        """Whether nothing is open."""

    def calm(self) -> None:
        """No more faults, and no more work."""

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
        self.secrets = [self.token]
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
        return not self._service.truth().open()

    def calm(self) -> None:
        self._engine.faults.replace(())
        self._engine.set_paused(paused=True)

    def others_ask(self) -> None:
        self._ask(CLIENT, world().monotonic())

    def asked_at(self) -> list[float]:
        return self._asked

    def refused(self) -> int:
        return self._refused


def make_service(plan: Plan, network: Network) -> Simulated:
    """The service of a plan."""
    return _First(plan, network)
