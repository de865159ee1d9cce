"""The event loop, in one thread, on which everything runs that asks the service."""

import asyncio
import selectors
import threading
import time
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from functools import partial
from math import inf
from typing import Any, Final

from exporter.retrying import RetryPolicy
from exporter.worker import ROUNDS, RoundErrors, StoppedError

REST_SECONDS: Final = 0.05
"""Shortest time in seconds between two checks of the sockets. Everything that arrives in between is
handled together: waking up for each event costs more than handling it."""


class _CalmSelector(selectors.DefaultSelector):
    """Checks the sockets at a limited rate, unless there is already something to do.

    Without streams nothing is gained by that: then only other threads wake the loop.
    """

    def __init__(self) -> None:
        super().__init__()
        self._checked_at = -inf

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """See `BaseSelector.select`."""
        if (timeout is None or timeout > 0) and len(self.get_map()) > 1:
            rest = self._checked_at + REST_SECONDS - time.monotonic()
            if rest > 0:
                time.sleep(rest)
                timeout = None if timeout is None else max(0.0, timeout - rest)
        ready = super().select(timeout)
        self._checked_at = time.monotonic()
        return ready


class ServiceLoop:
    """The event loop's thread. It runs from `start` to `stop`; any thread may give it work."""

    def __init__(self) -> None:
        # The loop is created at the start: it holds sockets, which somebody must close.
        self._loop: asyncio.AbstractEventLoop | None = None
        self._calls_before: list[Callable[[], object]] = []
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread."""
        with self._lock:
            loop = self._loop = asyncio.SelectorEventLoop(_CalmSelector())
            for call in self._calls_before:
                loop.call_soon_threadsafe(call)
            self._calls_before.clear()
        self._thread = threading.Thread(target=_run, args=(loop,), name="loop", daemon=True)
        self._thread.start()

    def call(self, function: Callable[..., object], *arguments: object) -> None:
        """Make the loop call this function soon, after what it was told to call before.

        Before `start` it is called once the loop runs; after the end it is not called.
        """
        with self._lock:
            if self._loop is None:
                self._calls_before.append(partial(function, *arguments))
                return
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(function, *arguments)

    def stop(self, timeout: float) -> bool:
        """Cancel all tasks, and wait that many seconds for the end; return whether it came."""
        if self._loop is None or self._thread is None:
            return True
        self.call(self._loop.stop)
        self._thread.join(timeout)
        return not self._thread.is_alive()


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.wait(left))
    finally:
        loop.close()


class RepeatedTask:
    """Runs one round after another on the loop, from `start` to `stop`; it cannot restart.

    Any thread may start, stop and join it. Stopping cancels the round: what a round has begun is
    cleaned up in its `finally` clauses, and in `clean_up`. A round that raises does not end it: it
    is logged, and tried again with backoff.

    Args:
        loop: the loop on which it runs.
        one_round: runs one round; returns the seconds to wait before the next. `StoppedError` ends
            the work.
        task: what a round does, for the log.
        retry: how long to wait after rounds that raised.
        marks: more fields for the log line, such as the account.
    """

    def __init__(
        self,
        loop: ServiceLoop,
        one_round: Callable[[], Awaitable[float]],
        *,
        task: str,
        retry: RetryPolicy = ROUNDS,
        **marks: str,
    ) -> None:
        self._loop = loop
        self._do_round = one_round
        self._round_errors = RoundErrors(task, retry, marks)
        self._is_started = self._is_stopping = False
        self._task: asyncio.Task[None] | None = None
        self._has_ended = threading.Event()

    def start(self) -> None:
        """Begin with the first round."""
        self._is_started = True
        self._loop.call(self._begin)

    def stop(self) -> None:
        """End soon, without waiting for it."""
        self._is_stopping = True
        self._loop.call(self._cancel)

    def join(self, timeout: float) -> bool:
        """Wait for the end, for that many seconds; return whether it has ended.

        A task that was never started counts as ended.
        """
        return not self._is_started or self._has_ended.wait(timeout)

    async def clean_up(self) -> None:
        """End what the rounds have begun and left running."""

    def _begin(self) -> None:
        if self._is_stopping:
            self._has_ended.set()
            return
        self._task = asyncio.get_running_loop().create_task(self._run())
        self._task.add_done_callback(lambda _: self._has_ended.set())

    def _cancel(self) -> None:
        # A second one would interrupt `clean_up`.
        if self._task is not None and not self._task.cancelling():
            self._task.cancel()

    async def _run(self) -> None:
        try:
            with suppress(StoppedError):
                while True:  # noqa: ASYNC110 - it is not waiting for something, but repeating it
                    await asyncio.sleep(await self._guarded_round())
        finally:
            await self.clean_up()

    async def _guarded_round(self) -> float:
        try:
            rest = await self._do_round()
        except StoppedError:
            raise
        except Exception as error:  # noqa: BLE001 - a bug must not end the work
            return self._round_errors.raised(error)
        self._round_errors.worked()
        return rest


async def end_all(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel these tasks, and wait until they have ended."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
