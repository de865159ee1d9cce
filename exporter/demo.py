"""`comfycontrol-exporter demo`: the exporter at work on a local ComfyControl."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Final, TextIO

from rich.live import Live
from rich.text import Text

from exporter.app import App
from exporter.config import Config
from exporter.logs import shown_by
from exporter.running import WebSide, run
from exporter.signals import EndSignals
from exporter.simulator import Scenario, Simulator
from exporter.status import console
from exporter.terminal import page
from exporter.views import Overview

HOLD_SECONDS: Final = 10.0
"""How long a new series stands at 0 here: nobody watches a demo to wait a minute for the first
failure of a node. The demo's own Prometheus scrapes every 5 s; the rest is for one that is late."""


LIVE_SECONDS: Final = 1.0
PLAIN_SECONDS: Final = 10.0
"""How often the page is shown, in a terminal and elsewhere."""


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
        _say(f"  open   {url}/   (accounts, workflows, and what happened to each)")
        _say(f"  or     curl {url}{web.telemetry_path}")
        _say("  Ctrl-C ends both.")
        run(
            config,
            web,
            None,
            signals,
            meanwhile=_page,
            hold=HOLD_SECONDS,
            fresh_services=True,
        )


@contextmanager
def _page(app: App) -> Iterator[None]:
    """Show the first page until it is left: live in a terminal, else every ten seconds."""
    ended = threading.Event()
    look, out = app.views.overview, sys.stdout
    show = show_live if out.isatty() else _show_plain
    thread = threading.Thread(target=show, args=(look, out, ended), name="page", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(2.0)


def _show_plain(look: Callable[[], Overview], out: TextIO, ended: threading.Event) -> None:
    shown, seconds = console(out), LIVE_SECONDS
    while not ended.wait(seconds):
        shown.print(page(look()))
        seconds = PLAIN_SECONDS


def show_live(look: Callable[[], Overview], out: TextIO, ended: threading.Event) -> None:
    """Show the page in the terminal `out` until `ended`.

    Log lines that go to a terminal too stand above it: written by themselves, they would tear it.
    """
    shown = console(out)

    def show_line(line: str) -> None:
        shown.print(Text(line), soft_wrap=True)

    with ExitStack() as stack:
        live = stack.enter_context(Live(page(look()), console=shown, auto_refresh=False))
        if sys.stderr.isatty():
            stack.enter_context(shown_by(show_line))
        while not ended.wait(LIVE_SECONDS):
            live.update(page(look()), refresh=True)


def _say(text: str) -> None:
    print(text, flush=True, file=sys.stdout)  # noqa: T201 - this is what the demo is for
