"""`comfycontrol-exporter demo`: the exporter with a local ComfyControl."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Final, TextIO

from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from exporter import __version__
from exporter.app.app import App
from exporter.app.running import WebSide, run
from exporter.commands.demo_truth import AgainstTruth, line
from exporter.commands.status import console
from exporter.commands.terminal import page
from exporter.config import Config
from exporter.logs import shown_by
from exporter.revision import revision
from exporter.signals import EndSignals
from exporter.simulator import Scenario, Simulator

HOLD_SECONDS: Final = 10.0
"""Seconds for which a new series shows 0 in the demo: users should not wait a minute for the first
failure of a node. The demo's own Prometheus scrapes every 5 s, so this allows for a late scrape."""


LIVE_SECONDS: Final = 1.0
PLAIN_SECONDS: Final = 10.0
"""Seconds between two updates of the page: in a terminal, and elsewhere."""


SLICES: Final = (
    {"label": "team", "from": "tag", "match": "^team[:=](.+)$"},
    {"label": "template", "from": "name", "match": "^([a-z0-9-]+)"},
)
"""Slices by team and by template, as in docs/slices.md."""


def demonstrate(
    scenario: Scenario,
    web: WebSide,
    signals: EndSignals,
    *,
    seed: int,
    speed: float,
) -> None:
    """Run the simulator and the exporter until SIGTERM or SIGINT, and show what happens.

    `speed` is how much faster than real time everything happens.
    """
    with Simulator(scenario, seed=seed, speed=speed, host="127.0.0.1", port=0) as simulator:
        accounts = [
            {"name": name, "token": token, "base_url": simulator.base_url, "listing": {}}
            for name, token in simulator.tokens.items()
        ]
        config = Config.model_validate({"accounts": accounts, "metrics": {"slices": SLICES}})
        scheme = "http" if web.secured().tls is None else "https"
        url = f"{scheme}://localhost:{web.listening[0].getsockname()[1]}"
        _say(f"comfycontrol-exporter {__version__} (revision {revision()})")
        _say(f"A local ComfyControl runs at {simulator.base_url}, and the exporter follows it.")
        _say(f"  open   {url}/   (accounts, workflows, and the history of each)")
        _say(f"  or     curl {url}{web.telemetry_path}")
        _say("  Ctrl-C ends both.")
        run(
            config,
            web,
            None,
            signals,
            meanwhile=lambda app: _page(app, simulator),
            hold=HOLD_SECONDS,
            fresh_services=True,
        )


@contextmanager
def _page(app: App, simulator: Simulator) -> Iterator[None]:
    """Show the first page within this context: live in a terminal, otherwise every ten seconds.

    Above it, and again at the end, counted outcomes are compared with the real ones.
    """
    ended = threading.Event()
    against = AgainstTruth(app.read, simulator.truth, app.views.workflow)
    out = sys.stdout

    def render() -> RenderableType:
        return Group(line(against.compare()), page(app.views.overview()))

    show = show_live if out.isatty() else _show_plain
    thread = threading.Thread(target=show, args=(render, out, ended), name="page", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(2.0)
        if not thread.is_alive():
            console(out).print(Text("In the end: ").append_text(line(against.compare(again=False))))


def _show_plain(render: Callable[[], RenderableType], out: TextIO, ended: threading.Event) -> None:
    shown, seconds = console(out), LIVE_SECONDS
    while not ended.wait(seconds):
        shown.print(render())
        seconds = PLAIN_SECONDS


def show_live(render: Callable[[], RenderableType], out: TextIO, ended: threading.Event) -> None:
    """Show what `render` returns in the terminal `out`, and update it, until `ended`.

    Log lines for the terminal are printed above it: written directly, they would break the display.
    """
    shown = console(out)

    def show_line(line: str) -> None:
        shown.print(Text(line), soft_wrap=True)

    with ExitStack() as stack:
        live = stack.enter_context(Live(render(), console=shown, auto_refresh=False))
        if sys.stderr.isatty():
            stack.enter_context(shown_by(show_line))
        while not ended.wait(LIVE_SECONDS):
            live.update(render(), refresh=True)


def _say(text: str) -> None:
    print(text, flush=True, file=sys.stdout)  # noqa: T201 - this is what the demo is for
