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
"""For rounds that raised what nobody expected: a fault of ours."""


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


class Worker:
    """Does one round after another in a thread of its own, from `start` until it is stopped, once.

    A round that raises does not end it. The log names the task and the type of the error, never
    its text, which may hold values of the user; then the round is tried again, with backoff.

    Args:
        name: of its thread.
        one_round: does one; returns how many seconds to wait before the next. `StoppedError` ends
            the work.
        task: what a round does, for the log.
        retry: how long to wait after rounds that raised.
        marks: more for the line in the log, such as the account.
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
        self._stop = Stop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def is_started(self) -> bool:
        """Whether it has ever begun."""
        return self._thread.ident is not None

    @property
    def is_stopping(self) -> bool:
        """Whether it is to end."""
        return self._stop.asked

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End soon, from any thread, without waiting for it."""
        self._stop.ask()

    def join(self, timeout: float) -> bool:
        """Wait that many seconds for the end; whether it came. One that never began has ended."""
        if self.is_started:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        with suppress(StoppedError):
            while True:
                self._stop.sleep(self._guarded_round())

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
