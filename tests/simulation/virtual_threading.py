"""`threading` in virtual time, as far as the exporter and the simulator use it."""

from __future__ import annotations

import threading as real
from collections import deque
from itertools import count
from typing import TYPE_CHECKING, Any

from greenlet import getcurrent

from tests.simulation.scheduler import Task, world

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import TracebackType

_numbers = count(1)

ExceptHookArgs = real.ExceptHookArgs
excepthook = real.excepthook


class Lock:
    """A lock that gives way, by chance, before it is taken."""

    def __init__(self) -> None:
        self._is_held = False
        self._waiters: deque[Callable[[], None]] = deque()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        here = world()
        here.give_way()
        due = None if timeout < 0 else here.now + timeout
        while self._is_held:
            if not blocking:
                return False
            waker = here.waker()
            self._waiters.append(waker)
            if not here.park(None if due is None else due - here.now):
                if waker in self._waiters:
                    self._waiters.remove(waker)
                if self._is_held:
                    return False
        self._is_held = True
        return True

    def release(self) -> None:
        if not self._is_held:
            raise RuntimeError("release unlocked lock")
        self._is_held = False
        while self._waiters:
            # A waiter whose time was over is not there any more to take it.
            self._waiters.popleft()()

    def locked(self) -> bool:
        return self._is_held

    __enter__ = acquire

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if self._waiters or not self._is_held:
            self.release()
        else:
            self._is_held = False


class RLock:
    """A lock that its holder may take again."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._owner: object = None
        self._depth = 0

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        me = getcurrent()
        if self._owner is me:
            self._depth += 1
            return True
        if not self._lock.acquire(blocking, timeout):
            return False
        self._owner, self._depth = me, 1
        return True

    def release(self) -> None:
        if self._owner is not getcurrent():
            raise RuntimeError("cannot release un-acquired lock")
        self._depth -= 1
        if self._depth == 0:
            self._owner = None
            self._lock.release()

    def _is_owned(self) -> bool:
        return self._owner is getcurrent()

    def _release_save(self) -> int:
        depth, self._depth, self._owner = self._depth, 0, None
        self._lock.release()
        return depth

    def _acquire_restore(self, depth: int) -> None:
        self._lock.acquire()
        self._owner, self._depth = getcurrent(), depth

    __enter__ = acquire

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.release()


class Condition:
    """A condition."""

    def __init__(self, lock: Lock | RLock | None = None) -> None:
        self._lock = RLock() if lock is None else lock
        self.acquire = self._lock.acquire
        self.release = self._lock.release
        self._waiters: deque[Callable[[], None]] = deque()

    def __enter__(self) -> bool:
        return self._lock.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._lock.__exit__(kind, error, at)

    def wait(self, timeout: float | None = None) -> bool:
        here = world()
        # Noted before the lock is let go: nothing that is told from then on is missed.
        signal = Event()
        self._waiters.append(signal.set)
        depth = 0
        if isinstance(self._lock, RLock):
            depth = self._lock._release_save()
        else:
            self._lock.release()
        try:
            told = signal.wait(timeout)
            if not told and signal.set in self._waiters:
                self._waiters.remove(signal.set)
            return told
        finally:
            if isinstance(self._lock, RLock):
                self._lock._acquire_restore(depth)
            else:
                self._lock.acquire()
            here.give_way()

    def wait_for(self, predicate: Callable[[], Any], timeout: float | None = None) -> Any:
        here = world()
        due = None if timeout is None else here.now + timeout
        result = predicate()
        while not result:
            left = None if due is None else due - here.now
            if left is not None and left <= 0:
                break
            self.wait(left)
            result = predicate()
        return result

    def notify(self, n: int = 1) -> None:
        while n and self._waiters:
            self._waiters.popleft()()
            n -= 1

    def notify_all(self) -> None:
        self.notify(len(self._waiters))


class Event:
    """A flag to wait for."""

    def __init__(self) -> None:
        self._is_set = False
        self._waiters: list[Callable[[], None]] = []

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        self._is_set = True
        waiters, self._waiters = self._waiters, []
        for waker in waiters:
            waker()

    def clear(self) -> None:
        self._is_set = False

    def nudge(self) -> None:
        """End the waits that are under way, as if their time were over."""
        waiters, self._waiters = self._waiters, []
        for waker in waiters:
            waker()

    def wait(self, timeout: float | None = None) -> bool:
        here = world()
        if here.current is None:
            assert self._is_set or timeout == 0, "only a thread can wait"
            return self._is_set
        if self._is_set:
            here.give_way()
            return True
        waker = here.waker()
        self._waiters.append(waker)
        here.park(timeout)
        if waker in self._waiters:
            self._waiters.remove(waker)
        return self._is_set


class Thread:
    """A thread."""

    def __init__(
        self,
        group: None = None,
        target: Callable[..., object] | None = None,
        name: str | None = None,
        args: Iterable[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        daemon: bool | None = None,
    ) -> None:
        self._number = next(_numbers)
        self.name = name or f"thread-{self._number}"
        self.daemon = bool(daemon)
        self._target = target
        self._args, self._kwargs = tuple(args), dict(kwargs or {})
        self._task: Task | None = None
        self._over = Event()

    @property
    def ident(self) -> int | None:
        return None if self._task is None else self._number

    native_id = ident

    def start(self) -> None:
        if self._task is not None:
            raise RuntimeError("threads can only be started once")
        self._task = world().spawn(self._run, self.name)
        _threads[self._task] = self
        world().give_way()

    def _run(self) -> None:
        try:
            self.run()
        finally:
            assert self._task is not None
            _threads.pop(self._task, None)
            self._task.is_over = True
            self._over.set()

    def run(self) -> None:
        if self._target is not None:
            self._target(*self._args, **self._kwargs)

    def join(self, timeout: float | None = None) -> None:
        if self._task is None:
            raise RuntimeError("cannot join thread before it is started")
        self._over.wait(timeout)

    def is_alive(self) -> bool:
        return self._task is not None and not self._over.is_set()


class Timer(Thread):
    """Calls something after a while."""

    def __init__(self, interval: float, function: Callable[..., object]) -> None:
        super().__init__(name=f"timer-{next(_numbers)}")
        self.interval, self.function = interval, function
        self.finished = Event()

    def cancel(self) -> None:
        self.finished.set()

    def run(self) -> None:
        if not self.finished.wait(self.interval):
            self.function()


class _Main(Thread):
    def is_alive(self) -> bool:
        return True


_threads: dict[Task, Thread] = {}
_main = _Main(name="MainThread")


def current_thread() -> Thread:
    task = world().current
    return _main if task is None else _threads.get(task, _main)


def get_ident() -> int:
    return current_thread()._number


def enumerate() -> list[Thread]:  # noqa: A001 - as the real one
    return [_main, *(thread for thread in _threads.values() if thread.is_alive())]


def main_thread() -> Thread:
    return _main


class local:  # noqa: N801 - as the real one
    """Values of each thread's own."""

    def __init__(self) -> None:
        object.__setattr__(self, "_of", {})

    def _values(self) -> dict[str, Any]:
        values: dict[str, Any] = object.__getattribute__(self, "_of").setdefault(getcurrent(), {})
        return values

    def __getattr__(self, name: str) -> Any:
        try:
            return self._values()[name]
        except KeyError:
            raise AttributeError(name) from None

    def __setattr__(self, name: str, value: Any) -> None:
        self._values()[name] = value
