"""Virtual time, and the threads that live in it, as greenlets on one thread of the system.

Nothing here waits. While any thread can run, the seed draws which one goes next; when none can,
the clock jumps to what is due next. A thread gives way wherever it would have to wait, and, by
chance, wherever it takes a lock, tells others something, or asks the disk.
"""

from __future__ import annotations

import asyncio
import heapq
import traceback
from itertools import count
from typing import TYPE_CHECKING, Final, NoReturn

from greenlet import getcurrent, greenlet

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

EPOCH: Final = 1_767_225_600.0
"""The wall clock at the start: 2026-01-01."""

MONOTONIC: Final = 5_000.0
"""The monotonic clock at the start: the machine was not started this moment."""


class Stuck(Exception):  # noqa: N818 - says what happened
    """No thread can run, nothing is due, and the end has not come."""


class Timer:
    """Something that is due at a time."""

    __slots__ = ("action", "due")

    def __init__(self, due: float, action: Callable[[], None]) -> None:
        self.due = due
        self.action: Callable[[], None] | None = action

    def cancel(self) -> None:
        self.action = None


class Task:
    """One virtual thread."""

    def __init__(
        self, scheduler: Scheduler, name: str, life: Life, run: Callable[[], None]
    ) -> None:
        self.name = name
        self.life = life
        self.greenlet = greenlet(run, parent=scheduler.hub)
        self.loop: asyncio.AbstractEventLoop | None = None
        self.is_over = False
        self.waits = 0
        """Which of its waits it is in; a waker of an earlier one wakes nobody."""
        self.is_parked = False
        self.was_woken = False


class Life:
    """Threads that end together: a process, from its start to its end or its kill."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_dead = False
        self.tasks: list[Task] = []
        self.steps = 0
        self.dies_at: int | None = None
        """After so many steps of its threads it is killed."""
        self.frozen_until = 0.0
        self.on_death: Callable[[], None] | None = None
        self.booted = -MONOTONIC
        """When its machine was started."""
        self.is_right = False
        """Whether its wall clock is right, whatever befalls that of the exporter's machine."""

    def alive(self) -> list[Task]:
        return [task for task in self.tasks if not task.is_over]


class Scheduler:
    """Runs tasks, one at a time, by seed."""

    def __init__(self, random: random.Random, *, eagerness: float, cost: float) -> None:
        """Begin at 0.

        Args:
            random: draws who goes next.
            eagerness: how often a thread gives way where it need not.
            cost: what a step takes on average, in seconds.
        """
        self.random = random
        self.hub = getcurrent()
        self.now = 0.0
        self.epoch = EPOCH
        self.wall_error = 0.0
        self.steps = 0
        self.trace = 0
        """What happened, in short: equal for equal seeds."""
        self.failures: list[str] = []
        self.current: Task | None = None
        self.on_step: Callable[[Task], None] | None = None
        """Told of each thread that goes on."""
        self._eagerness = eagerness
        self._cost = cost
        self._ready: list[Task] = []
        self._timers: list[tuple[float, int, Timer]] = []
        self._numbers = count()
        # Killed ones are kept: a greenlet that is let go runs its `finally` clauses.
        self._graveyard: list[Task] = []
        self._frozen: dict[Life, list[Task]] = {}

    # Clocks -----------------------------------------------------------------------------------

    def monotonic(self) -> float:
        """Seconds since the machine was started whose thread runs; else since the service's was."""
        return self.now + MONOTONIC if self.current is None else self.now - self.current.life.booted

    def wall(self) -> float:
        """What the wall clock of the machine says whose thread runs."""
        is_right = self.current is not None and self.current.life.is_right
        return self.epoch + self.now + (0.0 if is_right else self.wall_error)

    def at(self, due: float, action: Callable[[], None]) -> Timer:
        """Have something happen at a time, outside of all threads. It must not wait."""
        timer = Timer(due, action)
        heapq.heappush(self._timers, (due, next(self._numbers), timer))
        return timer

    def after(self, seconds: float, action: Callable[[], None]) -> Timer:
        return self.at(self.now + max(0.0, seconds), action)

    # Threads ----------------------------------------------------------------------------------

    def spawn(self, function: Callable[[], object], name: str, life: Life | None = None) -> Task:
        """Begin a thread, in the life of the one that begins it unless another is named."""
        if life is None:
            assert self.current is not None
            life = self.current.life

        def run() -> None:
            try:
                function()
            except Exception:  # noqa: BLE001 - whatever it is, it is a finding
                self.failures.append(f"the thread {name!r} has failed:\n{traceback.format_exc()}")
            finally:
                task.is_over = True

        task = Task(self, name, life, run)
        life.tasks.append(task)
        self._ready.append(task)
        return task

    def park(self, seconds: float | None = None) -> bool:
        """Wait until somebody wakes this thread; False: the time was over first."""
        task = self._me()
        task.waits += 1
        task.is_parked, task.was_woken = True, False
        timer = None
        if seconds is not None:
            wait = task.waits
            timer = self.after(seconds, lambda: self._wake(task, wait, woken=False))
        self.hub.switch()
        if timer is not None:
            timer.cancel()
        return task.was_woken

    def waker(self) -> Callable[[], None]:
        """What ends the next wait of this thread, and no later one."""
        task = self._me()
        wait = task.waits + 1
        return lambda: self._wake(task, wait, woken=True)

    def give_way(self) -> None:
        """Let others go first, by chance."""
        if self.current is not None and self.random.random() < self._eagerness:
            self.pause()

    def pause(self) -> None:
        """Let others go first."""
        task = self._me()
        task.is_parked = False
        self._ready.append(task)
        self.hub.switch()

    def sleep(self, seconds: float) -> None:
        self.park(max(0.0, seconds))

    def kill(self, life: Life) -> None:
        """End all threads of a life where they stand: nothing of theirs runs any more."""
        life.is_dead = True
        self._graveyard += life.tasks
        self._frozen.pop(life, None)
        self._ready = [task for task in self._ready if task.life is not life]
        self.note("killed", life.name)
        if life.on_death is not None:
            life.on_death()

    def freeze(self, life: Life, until: float) -> None:
        """Let nothing of a life run until then; its clocks go on."""
        life.frozen_until = until
        self.at(until, lambda: self._thaw(life))

    def _thaw(self, life: Life) -> None:
        self._ready += self._frozen.pop(life, [])

    def die_here(self) -> NoReturn:
        """Kill the life of the thread that calls."""
        self.kill(self._me().life)
        self.hub.switch()
        raise AssertionError("the dead do not come back")

    def _me(self) -> Task:
        assert self.current is not None, "only a thread can wait"
        return self.current

    def _wake(self, task: Task, wait: int, *, woken: bool) -> None:
        if task.is_parked and task.waits == wait and not task.life.is_dead:
            task.is_parked, task.was_woken = False, woken
            self._ready.append(task)

    # Running ----------------------------------------------------------------------------------

    def note(self, *what: object) -> None:
        """Add to the trace."""
        self.trace = hash((self.trace, round(self.now * 1e6), *map(str, what)))

    def run(self, is_over: Callable[[], bool]) -> None:
        """Go on until it is over.

        Raises:
            Stuck: nothing can happen any more.
        """
        draw = self.random.random
        timers = self._timers
        while not is_over():
            while timers and timers[0][0] <= self.now:
                action = heapq.heappop(timers)[2].action
                if action is not None:
                    action()
            ready = self._ready
            if ready:
                index = int(draw() * len(ready)) if len(ready) > 1 else 0
                ready[index], ready[-1] = ready[-1], ready[index]
                self._step(ready.pop())
                self.now += draw() * 2 * self._cost
            elif timers:
                self.now = max(self.now, timers[0][0])
            else:
                raise Stuck

    def _step(self, task: Task) -> None:
        life = task.life
        if life.dies_at is not None and life.steps >= life.dies_at:
            life.dies_at = None
            self.kill(life)
            return
        if life.frozen_until > self.now:
            self._frozen.setdefault(life, []).append(task)
            return
        life.steps += 1
        self.steps += 1
        if self.on_step is not None:
            self.on_step(task)
        self.trace = hash((self.trace, round(self.now * 1e6), task.name))
        asyncio._set_running_loop(task.loop)
        self.current = task
        task.greenlet.switch()
        self.current = None
        task.loop = asyncio._get_running_loop()
        asyncio._set_running_loop(None)
        if task.is_over:
            life.tasks.remove(task)


_current: Scheduler | None = None


def begin(scheduler: Scheduler) -> None:
    """From now on this is the world."""
    global _current  # noqa: PLW0603 - modules that were made virtual find their world by it
    _current = scheduler


def world() -> Scheduler:
    """The world that all virtual modules speak of."""
    assert _current is not None, "no world was begun"
    return _current


def wall() -> float:
    """In the place of `time.time`."""
    return world().wall()


def monotonic() -> float:
    """In the place of `time.monotonic`."""
    here = world()
    task = here.current
    return here.now + MONOTONIC if task is None else here.now - task.life.booted
