"""How long a backlog takes to be read and counted, while requests fail. See docs/performance.md.

python -m benchmarks.backlog

The exporter believes that it was last here a day ago; since then all of the list has ended. Both
run in this process, the service with its real limit.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from prometheus_client.parser import text_string_to_metric_families

from exporter.app.app import App
from exporter.config import Config
from exporter.simulator import Simulator, parse_scenario

DAY: Final = 86_400.0
LONGEST_SECONDS: Final = 600.0

SCENARIO: Final = """
start: {{finished: {count}, finished_age: {{min: 600, max: 70000}}}}
outcomes: {{failed: 0}}
"""


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.backlog", description=__doc__)
    parser.add_argument("--count", type=int, default=20_000, help="workflows that have ended")
    parser.add_argument("--failing", type=float, nargs="*", default=[0.0, 0.02, 0.1])
    parser.add_argument("--seconds", type=float, default=LONGEST_SECONDS, help="at most")
    parser.add_argument("--seed", type=int, default=2)
    arguments = parser.parse_args()
    for failing in arguments.failing:
        _read_backlog(arguments.count, failing, arguments.seconds, arguments.seed)


def _read_backlog(count: int, failing: float, at_most: float, seed: int) -> None:
    simulator = Simulator(parse_scenario(SCENARIO.format(count=count)), seed=seed, speed=1)
    with simulator, tempfile.TemporaryDirectory() as folder:
        if failing:
            simulator.set_faults(
                {"kind": "status", "code": 503, "endpoints": ["list"], "probability": failing}
            )
        ((name, token),) = simulator.tokens.items()
        account = {"name": name, "token": token, "base_url": simulator.base_url, "listing": {}}
        app = App(
            Config.model_validate({"accounts": [account]}),
            storage=Path(folder),
            fresh_services=True,
        )
        app._ledger.set_counting_cutoff(name, time.time() - DAY)  # noqa: SLF001 - as an earlier run would
        app._ledger.advance_list_watermark(name, time.time() - DAY)  # noqa: SLF001
        app.start()
        began = time.monotonic()
        counted = 0.0
        while counted < count and time.monotonic() - began < at_most:
            time.sleep(1.0)
            counted = _finished(app)
        took = time.monotonic() - began
        truth = simulator.truth()
        print(
            f"{failing:.0%} of pages fail: {counted:,.0f} of {count:,} counted after {took:.0f} s, "
            f"{truth.requests['list']} requests for pages, {sum(truth.faults.values())} failed, "
            f"{sum(truth.refusals.values())} refusals",
            flush=True,
        )
        app.stop()


def _finished(app: App) -> float:
    page: Any = app.page.render("text/plain")
    return sum(
        sample.value
        for family in text_string_to_metric_families(page.body.decode())
        for sample in family.samples
        if sample.name == "comfycontrol_workflows_finished_total"
    )


if __name__ == "__main__":
    main()
