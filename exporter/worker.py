"""A thread that repeats one task until it is stopped, for parts that wait for a disk or a database.

What asks the service is a task of the event loop instead (`following/loop.py`). Stopping never
waits for the thread: it wakes the thread from its rest, and `join` says whether it has ended within
a time limit.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Final

from exporter.retrying import Backoff, RetryPolicy, doubling

log = logging.getLogger(__name__)

ROUNDS: Final = RetryPolicy(doubling(1.0, 30.0))
"""For rounds that raised an unexpected error, which is a bug of ours."""


class StoppedError(Exception):
    """The end of the work was requested."""


class RoundErrors:
    """What becomes of a round that raised: a line in the log, and a wait before the next round.

    The log shows the task and the type of the error, never its text, which may contain a user's
    values.

    Args:
        task: what a round does.
        retry: how long to wait after rounds that raised.
        marks: more fields for the log line, such as the account.
    """

    def __init__(self, task: str, retry: RetryPolicy, marks: Mapping[str, str]) -> None:
        self._marks = {"task": task, **marks}
        self._after_errors = Backoff(policy=retry)

    def raised(self, error: Exception) -> float:
        """Note that a round raised; return the seconds to wait."""
        log.error(
            "background task failed, retrying",
            extra={**self._marks, "error": type(error).__name__},
        )
        return self._after_errors.failed()

    def worked(self) -> None:
        """Note that a round did not raise."""
        self._after_errors.worked()


class Worker:
    """Runs one round after another in a separate thread, from `start` to `stop`; it cannot restart.

    A round that raises does not end it: it is logged, and tried again with backoff.

    Args:
        name: the name of its thread.
        one_round: runs one round; returns the seconds to wait before the next. `StoppedError` ends
            the work.
        task: what a round does, for the log.
        retry: how long to wait after rounds that raised.
        marks: more fields for the log line, such as the account.
    """

    def __init__(
        self,
        name: str,
        one_round: Callable[[], float],
        *,
        task: str,
        retry: RetryPolicy = ROUNDS,
        **marks: str,
    ) -> None:
        self._do_round = one_round
        self._round_errors = RoundErrors(task, retry, marks)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def is_started(self) -> bool:
        """Whether it was ever started."""
        return self._thread.ident is not None

    @property
    def is_stopping(self) -> bool:
        """Whether the end was requested."""
        return self._stopping.is_set()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End soon, from any thread, without waiting for it."""
        self._stopping.set()

    def join(self, timeout: float) -> bool:
        """Wait for the end, for that many seconds; return whether it has ended.

        A worker that was never started counts as ended.
        """
        if self.is_started:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            try:
                rest = self._do_round()
            except StoppedError:
                return
            except Exception as error:  # noqa: BLE001 - a bug must not end the work
                rest = self._round_errors.raised(error)
            else:
                self._round_errors.worked()
            if self._stopping.wait(rest):
                return
