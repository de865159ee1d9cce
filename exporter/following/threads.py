"""Threads for blocking calls: as many as are needed at once, and none while there are no calls."""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from typing import Final, ParamSpec, TypeVar

REQUESTS_AT_ONCE: Final = 64
"""How many threads each account may have, so that one account's outage does not delay another. The
service's limit allows fewer requests, so none that has its turn waits for a thread."""

_P = ParamSpec("_P")
_T = TypeVar("_T")

IDLE_SECONDS: Final = 6.0
"""Seconds for which a thread waits for more work before it ends: a little longer than the usual
interval of a list, so that an account with nothing to do need not start a thread for each pass."""


class NoThreadError(RuntimeError):
    """No thread can be started, or the threads have ended; the call will not be made."""


class CallThreads(Executor):
    """Runs calls in the order in which they come, with a limited number at once.

    Its threads are daemons, so a thread that waits for name resolution does not delay the end of
    the process. Unlike a `ThreadPoolExecutor`, it ends threads that are not needed, and rejects a
    call if no thread can be started for it.

    Args:
        most: the largest number of threads at once.
        name: the name of the threads.
        idle: seconds for which a thread waits for more work.
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
            NoThreadError: no thread is available, or the pool has been shut down.
        """
        future: Future[_T] = Future()
        job = partial(_work, future, partial(function, *arguments, **named))
        with self._changed:
            if self._is_closed:
                raise NoThreadError("the threads have ended")
            self._jobs.append(job)
            if self._idle < len(self._jobs) and self._alive < self._most:
                self._add_thread()
            self._changed.notify()
        return future

    def _add_thread(self) -> None:
        try:
            threading.Thread(target=self._run, name=self._name, daemon=True).start()
        except RuntimeError as error:
            if self._alive == 0:
                self._jobs.pop()
                raise NoThreadError(str(error)) from None
        else:
            self._alive += 1

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as inherited
        """Accept no more calls; the threads end when the accepted calls are done.

        With `cancel_futures`, calls that have not begun are never made, and their futures never
        complete: the caller knows that nothing waits for them.
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
            del job  # its arguments may be large

    def _next(self) -> Callable[[], None] | None:
        """Wait for the next call; None: this thread should end."""
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
