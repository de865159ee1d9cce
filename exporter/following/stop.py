"""Ending a thread's work at once, whatever it is blocked in."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class StoppedError(Exception):
    """The work was asked to end."""


class Stop:
    """A request to end, which can wake its thread from any wait that can be interrupted."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._lock = threading.Lock()
        self._interrupts: list[Callable[[], None]] = []

    @property
    def asked(self) -> bool:
        """Whether the work is to end."""
        return self._asked.is_set()

    def ask(self) -> None:
        """Ask for the end, from any thread; never blocks for long."""
        with self._lock:
            self._asked.set()
            interrupts = list(self._interrupts)
        for interrupt in interrupts:
            interrupt()

    def sleep(self, seconds: float) -> None:
        """Wait that long.

        Raises:
            StoppedError: asked to end, before or meanwhile.
        """
        if self._asked.wait(seconds):
            raise StoppedError

    @contextmanager
    def interrupting(self, interrupt: Callable[[], None]) -> Iterator[None]:
        """While inside, asking for the end calls this too; at once when already asked."""
        with self._lock:
            self._interrupts.append(interrupt)
            asked = self._asked.is_set()
        if asked:
            interrupt()
        try:
            yield
        finally:
            with self._lock:
                self._interrupts.remove(interrupt)
