"""SIGTERM and SIGINT, from the first line of a command to the end of the process."""

import signal
from collections.abc import Callable
from types import FrameType


class EndSignals:
    """Notes that the process is to end, and passes it on to whoever serves.

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
