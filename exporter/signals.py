"""Signals, from the first line of a command to the end of the process."""

import queue
import signal
from collections.abc import Callable
from types import FrameType


class EndSignals:
    """Handles SIGTERM and SIGINT: notes that the process must end, and tells what is running.

    The handlers stay until the end of the process: a Ctrl-C during start or stop must not end it
    with a traceback. Create it in the main thread.
    """

    def __init__(self) -> None:
        self.asked = False
        """Whether the process must end."""
        self._pass_on: Callable[[], None] | None = None
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note)

    def pass_on(self, end: Callable[[], None]) -> None:
        """Call `end` when a signal arrives; at once if one has arrived already."""
        self._pass_on = end
        if self.asked:
            end()

    def _note(self, _: int, __: FrameType | None) -> None:
        self.asked = True
        if self._pass_on is not None:
            self._pass_on()


class ReloadSignal:
    """Handles SIGHUP, which requests a reload. Create it in the main thread.

    A signal that arrives while nothing waits for it is not lost.
    """

    def __init__(self) -> None:
        # A signal handler may call `put` of this queue only, because it is reentrant.
        self._asked: queue.SimpleQueue[bool] = queue.SimpleQueue()
        signal.signal(signal.SIGHUP, self._note)

    def wait(self) -> bool:
        """Wait for the next signal and return True; return False after `stop`.

        Several signals that arrived in the meantime count as one.
        """
        asked = self._asked.get()
        while asked and not self._asked.empty():
            asked = self._asked.get()
        return asked

    def stop(self) -> None:
        """End `wait`."""
        self._asked.put(False)

    def _note(self, _: int, __: FrameType | None) -> None:
        self._asked.put(True)
