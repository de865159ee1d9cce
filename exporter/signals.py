"""Signals, from the first line of a command to the end of the process."""

import queue
import signal
from collections.abc import Callable
from types import FrameType


class EndSignals:
    """Notes that the process is to end, and passes it on to anyone who serves.

    The handlers stay to the very end: a second Ctrl-C while it stops, or one while it starts,
    must not cut it short with a traceback. To be made in the main thread.
    """

    def __init__(self) -> None:
        self.asked = False
        """Whether the process is to end."""
        self._pass_on: Callable[[], None] | None = None
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note)

    def pass_on(self, end: Callable[[], None]) -> None:
        """Call this too when a signal comes; at once when one has come already."""
        self._pass_on = end
        if self.asked:
            end()

    def _note(self, _: int, __: FrameType | None) -> None:
        self.asked = True
        if self._pass_on is not None:
            self._pass_on()


class ReloadSignal:
    """SIGHUP: read the configuration again. To be made in the main thread.

    One that comes before anybody waits is not lost.
    """

    def __init__(self) -> None:
        # The one queue of the standard library whose `put` a signal handler may call, even while
        # it interrupts itself.
        self._asked: queue.SimpleQueue[bool] = queue.SimpleQueue()
        signal.signal(signal.SIGHUP, self._note)

    def wait(self) -> bool:
        """Wait for the next one: True; False once there is an end.

        Those that have come meanwhile are one.
        """
        asked = self._asked.get()
        while asked and not self._asked.empty():
            asked = self._asked.get()
        return asked

    def stop(self) -> None:
        """Let the waiting come to an end."""
        self._asked.put(False)

    def _note(self, _: int, __: FrameType | None) -> None:
        self._asked.put(True)
