"""When workflows arrive: evenly or by Poisson, slowed and quickened by phases, and in bursts."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from exporter.simulator.scenario import Burst, Scenario

# Later than the end of any simulated day, in seconds.
_NEVER = 1e9


class ArrivalPlan:
    """Plans arrivals one after the other.

    Args:
        scenario: rate, spacing, bursts, phases and the accounts' weights.
        rng: the randomness of the stream.
        at: plans an event for a time of the day.
        arrive: lets one workflow of an account arrive.
    """

    def __init__(
        self,
        scenario: Scenario,
        rng: random.Random,
        *,
        at: Callable[[float, Callable[[float], None]], None],
        arrive: Callable[[str, float], None],
    ) -> None:
        self.paused = False
        """While set, what would arrive is left out; times go on as if it had come."""
        self.arrived = 0
        self._scenario = scenario
        self._rng = rng
        self._at = at
        self._hand_over = arrive
        self._plan_next(0.0)
        for burst in scenario.arrivals.bursts:
            self._plan_burst(burst, burst.at)

    def _plan_next(self, now: float) -> None:
        arrivals = self._scenario.arrivals
        if arrivals.rate == 0:
            return
        fixed = arrivals.spacing == "fixed"
        gap = 1.0 / arrivals.rate if fixed else self._rng.expovariate(arrivals.rate)

        def happen(at: float) -> None:
            if self._left():
                self._arrive_one(at)
                self._plan_next(at)

        self._at(self._after(now, gap), happen)

    def _after(self, now: float, gap: float) -> float:
        """The time at which ``gap`` seconds of the base rate have passed, phases considered."""
        phases = self._scenario.phases
        edges = sorted(
            {e for phase in phases for e in (phase.start, phase.end) if e is not None and e > now}
        )
        at = now
        for edge in edges:
            passing = (edge - at) * self._factor(at)
            if passing >= gap:
                break
            gap -= passing
            at = edge
        factor = self._factor(at)
        return _NEVER if factor == 0 else at + gap / factor

    def _factor(self, now: float) -> float:
        factor = 1.0
        for phase in self._scenario.phases:
            if phase.holds(now):
                factor *= phase.rate_factor
        return factor

    def _plan_burst(self, burst: Burst, due: float) -> None:
        def happen(now: float) -> None:
            for _ in range(burst.size):
                if self._left():
                    self._arrive_one(now)
            if burst.every is not None and self._left():
                self._plan_burst(burst, now + burst.every)

        self._at(due, happen)

    def _left(self) -> bool:
        most = self._scenario.arrivals.max_workflows
        return most is None or self.arrived < most

    def _arrive_one(self, now: float) -> None:
        accounts = self._scenario.accounts
        account = self._rng.choices(accounts, [each.weight for each in accounts])[0]
        if not self.paused:
            self.arrived += 1
            self._hand_over(account.name, now)
