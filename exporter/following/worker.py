"""A part of an account that works in a thread of its own."""

import threading
from contextlib import suppress

from exporter.following.stop import Stop, StoppedError


class Worker:
    """Works from `start` on until it is stopped, once.

    Args:
        name: of its thread.
    """

    def __init__(self, name: str) -> None:
        self._stop = Stop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End soon, from any thread, without waiting for it."""
        self._stop.ask()

    def join(self, timeout: float) -> bool:
        """Wait that many seconds for the end; whether it came."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        with suppress(StoppedError):
            self._work()

    def _work(self) -> None:
        """Work until `StoppedError` is raised by whatever waits."""
        raise NotImplementedError
