"""Skips the rounds of the exporter in which nothing can happen: a long life has millions of them.

Several parts look several times a second whether there is anything to do. While nothing is open,
nothing is pending and everything is stored, a round finds nothing, and neither do those after it,
until something happens: a request, a scrape, a reload, a push. So in a long run a part rests until
then, or for half an hour. Whatever happens wakes all parts, and for some seconds each goes at its
own pace again. Parts with a purpose of their own (the list, comparisons, requests) are not delayed.
"""

from __future__ import annotations

import asyncio
import importlib
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from tests.simulation import network
from tests.simulation.scheduler import world

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.app.app import App
    from tests.simulation.scheduler import Task

AWAKE_SECONDS: Final = 2.0
"""After anything has happened, each part goes at its own pace for so long."""

LONGEST_REST: Final = 1800.0
"""Whatever has not happened, each part has a round then."""

SHORT_REST: Final = 6.0
"""A part that rests for longer than this is not delayed: it knows when it has something to do."""

_THREADS: Final = ("loop", "ledger", "tokens", "requests ", "budget ", "comfycontrol-deadlines")
"""Threads that go round by themselves, or wait for an answer: that they go on is nothing that has
happened. Whatever reaches a socket is."""

_DROWSY: Final = frozenset({
    "ledger writes",
    "checking files for changes",
    "stream scheduling",
    "reading names and tags",
    "polling",
    "comparing totals",
})  # fmt: skip
"""Tasks of the parts that may rest."""


class Quiet:
    """Knows when nothing happens in a run, and wakes the parts that rest when something does.

    Args:
        app: returns the exporter, if it runs.
        account: the name of its account.
    """

    def __init__(self, app: Callable[[], App | None], account: str) -> None:
        self._app, self._account = app, account
        self._happened_at = 0.0
        self._sleepers: list[Callable[[], object]] = []

    def stepped(self, task: Task) -> None:
        """Note that a thread goes on."""
        if task.life.name.startswith("exporter") and not task.name.startswith(_THREADS):
            self.stir()

    def stir(self) -> None:
        """Something has happened."""
        self._happened_at = world().now
        if self._sleepers:
            sleepers, self._sleepers = self._sleepers, []
            for wake in sleepers:
                wake()

    def holds(self) -> bool:
        """Whether no round can find anything."""
        app = self._app()
        if app is None or world().now - self._happened_at < AWAKE_SECONDS:
            return False
        ledger = app._ledger
        memory = ledger._memory
        return not (
            memory.open_workflows()
            or memory.pending()
            or memory.holding()
            or ledger._writer.is_failing
            # A long rest of the ledger's thread would look like a standstill of the process.
            or ledger.newest_series()
            or ledger.needed_traits(self._account)
        )

    def sleeps(self, wake: Callable[[], object]) -> None:
        """A part rests: wake it when something happens."""
        self._sleepers.append(wake)


_quiet: Quiet | None = None


def begin(quiet: Quiet | None) -> None:
    """From now on the parts rest by this; None: they never do."""
    global _quiet  # noqa: PLW0603 - parts of the exporter find it by it
    _quiet = quiet
    world().on_step = None if quiet is None else quiet.stepped
    network.NETWORK.on_news = None if quiet is None else quiet.stir


def let_rest() -> None:
    """Have the parts that are created from now on rest while nothing happens."""
    worker: Any = importlib.import_module("exporter.worker").Worker
    repeated: Any = importlib.import_module("exporter.following.loop").RepeatedTask
    begin_worker, begin_task = worker.__init__, repeated.__init__

    def of_worker(self: Any, name: str, one_round: Any, *, task: str, **more: Any) -> None:
        def rested() -> float:
            rest: float = one_round()
            if _quiet is not None and rest <= SHORT_REST and _quiet.holds():
                _quiet.sleeps(self._stopping.nudge)
                self._stopping.wait(LONGEST_REST)
            return rest

        begin_worker(self, name, rested if task in _DROWSY else one_round, task=task, **more)

    def of_task(self: Any, loop: Any, one_round: Any, *, task: str, **more: Any) -> None:
        async def rested() -> float:
            rest: float = await one_round()
            if _quiet is not None and rest <= SHORT_REST and _quiet.holds():
                stirred = asyncio.Event()
                here = asyncio.get_running_loop()
                _quiet.sleeps(partial(_tell, here, stirred))
                with suppress(TimeoutError):
                    async with asyncio.timeout(LONGEST_REST):
                        await stirred.wait()
            return rest

        begin_task(self, loop, rested if task in _DROWSY else one_round, task=task, **more)

    worker.__init__, repeated.__init__ = of_worker, of_task


def _tell(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> None:
    with suppress(RuntimeError):  # the loop has ended
        loop.call_soon_threadsafe(event.set)
