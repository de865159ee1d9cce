"""Threads for blocking calls: as many as are needed at once, and none while there are no calls."""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from typing import Final, ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")

IDLE_SECONDS: Final = 2.0
"""How long a thread waits for more to do before it ends."""


class CallThreads(Executor):
    """Runs calls in the order in which they come, so many at once.

    Its threads are daemons: one that waits for the resolver of names holds up no end. Unlike a
    `ThreadPoolExecutor`, it lets threads go that are not needed, and a call for which there is no
    thread is available is not kept.

    Args:
        most: threads at once.
        name: theirs.
        idle: seconds that a thread waits for more to do.
    """

    def __init__(self, most: int, name: str, idle: float = IDLE_SECONDS) -> None:
        self._most = most
        self._name = name
        self._idle_seconds = idle
        self._changed = threading.Condition()
        self._jobs: deque[Callable[[], None]] = deque()
        self._alive = 0
        self._idle = 0
        self._is_closed = False

    @property
    def alive(self) -> int:
        """How many threads there are now."""
        return self._alive

    def submit(
        self, function: Callable[_P, _T], /, *arguments: _P.args, **named: _P.kwargs
    ) -> Future[_T]:
        """Have the function called as soon as a thread is free.

        Raises:
            RuntimeError: there is no thread is available, or the pool has been shut down. The
                function will not be called.
        """
        future: Future[_T] = Future()
        job = partial(_work, future, partial(function, *arguments, **named))
        with self._changed:
            if self._is_closed:
                raise RuntimeError("the threads have ended")
            self._jobs.append(job)
            if self._idle < len(self._jobs) and self._alive < self._most:
                self._add_thread()
            self._changed.notify()
        return future

    def _add_thread(self) -> None:
        try:
            threading.Thread(target=self._run, name=self._name, daemon=True).start()
        except RuntimeError:
            if self._alive == 0:
                self._jobs.pop()
                raise
        else:
            self._alive += 1

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as inherited
        """Take no more calls, and let the threads end once those that were taken are done.

        With `cancel_futures` those that have not begun are never called, nor are their futures
        told: the one who shuts down knows that nobody waits for them.
        """
        with self._changed:
            self._is_closed = True
            if cancel_futures:
                self._jobs.clear()
            self._changed.notify_all()
            if wait:
                self._changed.wait_for(lambda: self._alive == 0)

    def _run(self) -> None:
        while (job := self._next()) is not None:
            job()
            del job  # what it was about may be large

    def _next(self) -> Callable[[], None] | None:
        """Wait for the next one; None: nothing more is asked of this thread."""
        with self._changed:
            self._idle += 1
            self._changed.wait_for(lambda: self._jobs or self._is_closed, self._idle_seconds)
            self._idle -= 1
            if self._jobs:
                return self._jobs.popleft()
            self._alive -= 1
            self._changed.notify_all()
            return None


def _work(future: Future[_T], call: Callable[[], _T]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = call()
    except BaseException as error:  # noqa: BLE001 - it belongs to the caller
        future.set_exception(error)
    else:
        future.set_result(result)
