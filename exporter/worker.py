"""A thread that repeats one task until it is stopped. Every background part uses it.

Stopping never waits for the thread: it wakes the thread from any wait, and `join` says whether it
has ended within a time limit.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from exporter.retrying import Backoff, RetryPolicy, doubling

log = logging.getLogger(__name__)

ROUNDS: Final = RetryPolicy(doubling(1.0, 30.0))
"""For rounds that raised an unexpected error, which is a bug of ours."""


class StoppedError(Exception):
    """The end of the work was requested."""


class Cancellation:
    """A request to end, which interrupts the waits of the thread that must end."""

    def __init__(self) -> None:
        self._requested = threading.Event()
        self._lock = threading.Lock()
        self._interrupts: list[Callable[[], None]] = []

    @property
    def is_requested(self) -> bool:
        """Whether the thread must end."""
        return self._requested.is_set()

    def request(self) -> None:
        """Request the end, from any thread; never blocks for long."""
        with self._lock:
            self._requested.set()
            interrupts = list(self._interrupts)
        for interrupt in interrupts:
            interrupt()

    def sleep(self, seconds: float) -> None:
        """Sleep.

        Raises:
            StoppedError: the end was requested, before or meanwhile.
        """
        if self._requested.wait(seconds):
            raise StoppedError

    @contextmanager
    def interrupting(self, interrupt: Callable[[], None]) -> Iterator[None]:
        """In this context a request also calls `interrupt`; at once if there was one already."""
        with self._lock:
            self._interrupts.append(interrupt)
            requested = self._requested.is_set()
        if requested:
            interrupt()
        try:
            yield
        finally:
            with self._lock:
                self._interrupts.remove(interrupt)


class Worker:
    """Runs one round after another in a separate thread, from `start` to `stop`; it cannot restart.

    A round that raises does not end it. The log shows the task and the type of the error, never
    its text, which may contain a user's values. Then the round is tried again, with backoff.

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
        self._marks = {"task": task, **marks}
        self._after_errors = Backoff(policy=retry)
        self._cancellation = Cancellation()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def is_started(self) -> bool:
        """Whether it was ever started."""
        return self._thread.ident is not None

    @property
    def is_stopping(self) -> bool:
        """Whether the end was requested."""
        return self._cancellation.is_requested

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End soon, from any thread, without waiting for it."""
        self._cancellation.request()

    def join(self, timeout: float) -> bool:
        """Wait for the end, for that many seconds; return whether it has ended.

        A worker that was never started counts as ended.
        """
        if self.is_started:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        with suppress(StoppedError):
            while True:
                self._cancellation.sleep(self._guarded_round())

    def _guarded_round(self) -> float:
        try:
            rest = self._do_round()
        except StoppedError:
            raise
        except Exception as error:  # noqa: BLE001 - a bug must not end the work
            log.error(  # noqa: TRY400 - a traceback shows values as well
                "background task failed, retrying",
                extra={**self._marks, "error": type(error).__name__},
            )
            return self._after_errors.failed()
        self._after_errors.worked()
        return rest
