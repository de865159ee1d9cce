"""`comfycontrol-exporter demo`: the exporter at work on a local ComfyControl."""

import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from exporter.app import App
from exporter.config import Config
from exporter.metrics.reading import Reading
from exporter.observations import OPEN_STATUSES, Status
from exporter.running import WebSide, run
from exporter.signals import EndSignals
from exporter.simulator import Scenario, Simulator

HOLD_SECONDS: Final = 10.0
"""How long a new series stands at 0 here: nobody watches a demo to wait a minute for the first
failure of a node. The demo's own Prometheus scrapes every 5 s; the rest is for one that is late."""


def demonstrate(
    scenario: Scenario,
    web: WebSide,
    signals: EndSignals,
    *,
    seed: int,
    speed: float,
) -> None:
    """Run simulator and exporter together until SIGTERM or SIGINT, and say what goes on.

    `speed` is how much faster than in reality everything happens.
    """
    with Simulator(scenario, seed=seed, speed=speed, host="127.0.0.1", port=0) as simulator:
        accounts = [
            {"name": name, "token": token, "base_url": simulator.base_url, "listing": {}}
            for name, token in simulator.tokens.items()
        ]
        config = Config.model_validate({"accounts": accounts})
        scheme = "http" if web.secured().tls is None else "https"
        url = f"{scheme}://localhost:{web.listening[0].getsockname()[1]}"
        _say(f"A local ComfyControl runs at {simulator.base_url}, and the exporter follows it.")
        _say(f"  open   {url}/")
        _say(f"  or     curl {url}{web.telemetry_path}")
        _say("  Ctrl-C ends both.")
        run(
            config,
            web,
            None,
            signals,
            meanwhile=_ticker,
            hold=HOLD_SECONDS,
            fresh_services=True,
        )


@contextmanager
def _ticker(app: App) -> Iterator[None]:
    ended = threading.Event()

    def tick() -> None:
        while not ended.wait(1.0):
            _say(status_line(app.read()))

    thread = threading.Thread(target=tick, name="ticker", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(2.0)


def status_line(reading: Reading) -> str:
    """What is going on, in one line for a person."""
    open_ = Counter(w.status for w in reading.ledger.open_workflows if w.status is not None)
    finished: Counter[str] = Counter()
    for (_, status, *_), total in reading.ledger.totals.counters_named("finished"):
        finished[status] += int(total.value)
    budget = " ".join(f"{b.used}/{b.allowed}" for b in reading.budgets)
    return "  ".join(
        [
            time.strftime("%H:%M:%S", time.localtime(reading.at.wall)),
            "  ".join(f"{status.value} {open_[status]:<3}" for status in OPEN_STATUSES),
            f"streams {sum(a.streams for a in reading.accounts.values()):<3}",
            (
                f"|  {finished[Status.COMPLETED]} completed, {finished[Status.FAILED]} failed, "
                f"{finished[Status.CANCELLED]} cancelled, {finished[Status.INVALID]} invalid"
            ),
            f"|  requests {budget}",
        ]
    )


def _say(text: str) -> None:
    print(text, flush=True, file=sys.stdout)  # noqa: T201 - this is what the demo is for
