"""The simulator in the foreground, for ``comfycontrol-exporter simulate``."""

from __future__ import annotations

import signal
import sys
import threading
from typing import TYPE_CHECKING

from exporter.simulator.simulator import Simulator

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import FrameType

    from exporter.simulator.scenario import Scenario


def serve(
    scenario: Scenario,
    *,
    seed: int | None = None,
    speed: float = 1.0,
    host: str = "127.0.0.1",
    port: int = 0,
) -> int:
    """Run a simulator until SIGTERM or SIGINT; must be called in the main thread.

    Says on the standard output where it listens, the tokens, and what to try.

    Returns:
        The exit code: 0 after a signal; 2 if it cannot listen, with one line on the standard
        error.
    """
    ended = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        ended.set()

    simulator = Simulator(scenario, seed=seed, speed=speed, host=host, port=port)
    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        try:
            simulator.start()
        except OSError as error:
            reason = error.strerror or str(error)
            sys.stderr.write(f"simulator: cannot listen on {host}:{port}: {reason}\n")
            return 2
        sys.stdout.write("\n".join(describe(simulator)) + "\n")
        sys.stdout.flush()
        ended.wait()
        simulator.stop()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 0


def describe(simulator: Simulator, *, arrow: str = "→") -> Iterable[str]:
    """Lines that tell a new user what runs and what to type."""
    account, token = next(iter(simulator.tokens.items()))
    url = simulator.base_url
    authorization = f'-H "Authorization: Bearer {token}"'
    yield f"ComfyControl simulator {arrow} {url}"
    yield (
        f"  scenario {simulator.scenario.name}, seed {simulator.seed}, "
        f"speed {simulator.speed:g}; limit {_limit(simulator.scenario)}"
    )
    for name, each in simulator.tokens.items():
        yield f"  account {name}: token {each}"
    yield "Try:"
    yield f"  curl {authorization} '{url}/v1/workflow?per_page=5'"
    yield f"  curl -N {authorization} {url}/v1/workflow/ID/subscribe"
    yield (
        f"  curl {authorization} -F workflow=@graph.json -F name=first "
        f"{url}/v1/workflow   # as {account}"
    )
    yield f"  curl {url}/_simulator/truth"


def _limit(scenario: Scenario) -> str:
    limit = scenario.limit
    return f"{limit.requests} requests in {limit.per:g} s" if limit.enabled else "off"
