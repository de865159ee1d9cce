"""Runs coroutines for tests that are no coroutines themselves."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")

PATIENCE = 30.0


def at_once(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never has to wait, because everything around it answers at once."""
    try:
        work.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    work.close()
    raise AssertionError("it waits")


async def called(function: Callable[..., T], /, *arguments: object) -> T:
    """In the place of what calls a function in a thread."""
    return function(*arguments)


class LoopThread:
    """An event loop in a thread of its own, until `close`."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Begin; the future's `cancel` cancels the task."""
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what comes of it."""
        return self.submit(work).result(PATIENCE)

    def call(self, function: Callable[..., T], /, *arguments: object) -> T:
        """Call a function on the loop; return what it returns."""
        return self.run(called(function, *arguments))

    def close(self) -> None:
        """Cancel what is left, and end the thread."""

        async def end() -> None:
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks)

        self.run(end())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(PATIENCE)
        self.loop.close()
