"""A few threads that exist from the start, so that work continues when no thread can be started."""

import asyncio
import contextlib
import queue
import threading
from collections.abc import Awaitable, Callable
from typing import Any, Final, ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")


Run = Callable[..., Awaitable[Any]]
"""Calls a function with its arguments in another thread, and returns its result."""


def promised(function: Callable[[], _T]) -> tuple[asyncio.Future[_T], Callable[[], None]]:
    """A future of the running loop, and what a thread calls to run the function and fill it."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[_T] = loop.create_future()

    def set_result(result: _T | None, error: Exception | None) -> None:
        if done.cancelled():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]  # None is of _T then

    def work() -> None:
        result, failed = None, None
        try:
            result = function()
        except Exception as error:  # noqa: BLE001 - it is for who asked
            failed = error
        # The loop may have ended because the process is ending.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(set_result, result, failed)

    return done, work


class Workers:
    """Runs functions that would block the event loop.

    Its threads are daemons, so they do not delay the end of the process if they wait for a disk.

    Args:
        count: how many threads.
        name: the name of the threads.
    """

    def __init__(self, count: int, name: str) -> None:
        self._work: Final[queue.SimpleQueue[Callable[[], None]]] = queue.SimpleQueue()
        for _ in range(count):
            threading.Thread(target=self._run, name=name, daemon=True).start()

    async def run(self, function: Callable[_P, _T], *arguments: _P.args, **named: _P.kwargs) -> _T:
        """Call the function in one of the threads, after earlier calls."""
        done, work = promised(lambda: function(*arguments, **named))
        self._work.put(work)
        return await done

    def _run(self) -> None:
        while True:
            self._work.get()()
