"""The event loop on which all streams of the process are followed, in one thread."""

import asyncio
import selectors
import threading
import time
from collections.abc import Callable
from math import inf
from typing import Final

from exporter.following.threads import CallThreads

OPENING_AT_ONCE: Final = 64
"""How many requests for streams may run at once for each account, so that one account's outage does
not delay another. The service's limit allows fewer, so no request that has its turn waits for a
thread."""


REST_SECONDS: Final = 0.035
"""Shortest time in seconds between two checks of the sockets. Everything that arrives in between is
handled together: waking up for each event costs more than handling it."""


class _CalmSelector(selectors.DefaultSelector):
    """Checks the sockets at a limited rate, unless there is already something to do."""

    def __init__(self) -> None:
        super().__init__()
        self._checked_at = -inf

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """See `BaseSelector.select`."""
        if timeout is None or timeout > 0:
            rest = self._checked_at + REST_SECONDS - time.monotonic()
            if rest > 0:
                time.sleep(rest)
                timeout = None if timeout is None else max(0.0, timeout - rest)
        ready = super().select(timeout)
        self._checked_at = time.monotonic()
        return ready


class StreamLoop:
    """The event loop's thread. It runs from `start` to `stop`; any thread may give it work."""

    def __init__(self) -> None:
        self._loop = asyncio.SelectorEventLoop(_CalmSelector())
        self._thread = threading.Thread(target=self._run, name="streams", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def call(self, function: Callable[[], object]) -> None:
        """Make the loop call this function soon.

        Raises:
            RuntimeError: the loop has ended.
        """
        self._loop.call_soon_threadsafe(function)

    def stop(self, timeout: float) -> bool:
        """Cancel all tasks, and wait that many seconds for the end; return whether it came."""
        if self._thread.ident is None:
            self._loop.close()
            return True
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
            left = asyncio.all_tasks(self._loop)
            for task in left:
                task.cancel()
            if left:
                self._loop.run_until_complete(asyncio.wait(left))
        finally:
            self._loop.close()


def opening_threads(account: str) -> CallThreads:
    """The threads that open one account's streams."""
    return CallThreads(OPENING_AT_ONCE, f"opening {account}")
