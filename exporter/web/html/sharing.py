"""Renders what several users view only once, and only as often as its cost allows."""

import asyncio
import hashlib
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Final

from starlette.concurrency import run_in_threadpool

from exporter.web.workers import Run

FRESH_SECONDS: Final = 2.0
"""Seconds for which a part of a page is reused if rendering costs little."""

OLDEST_SECONDS: Final = 30.0
"""The largest age of a part in seconds, whatever rendering costs."""

PART_OF_A_CORE: Final = 0.01
"""The part of a CPU core (0 to 1) that rendering for open pages may use."""

_MOST: Final = 64
_ASKED_WITHIN_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Rendered:
    """A part of a page.

    Attributes:
        html: The present content; None: its subject is unknown (now).
        etag: The ETag for conditional requests.
        at: When it was rendered, in Unix seconds.
    """

    html: str | None
    etag: str
    at: float


@dataclass(slots=True)
class _Entry:
    rendered: Rendered
    made: float
    cost: float
    asked: float


class SharedRendering:
    """Parts that were rendered recently.

    Used from one event loop; only `render` runs in another thread.

    Args:
        monotonic: The clock for ages, in seconds.
        wall: The clock, in Unix seconds.
        spent: Returns the CPU seconds that the calling thread has used.
        run: Calls a slow function in another thread.
    """

    def __init__(
        self,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        spent: Callable[[], float] = time.thread_time,
        run: Run = run_in_threadpool,
    ) -> None:
        self._run = run
        self._monotonic = monotonic
        self._wall = wall
        self._spent = spent
        self._entries: dict[Hashable, _Entry] = {}
        self._under_way: dict[Hashable, asyncio.Task[Rendered]] = {}

    async def get(
        self, key: Hashable, render: Callable[[], str | None], *, fresh: bool = False
    ) -> Rendered:
        """The part with this key, rendered now unless it was rendered recently.

        Args:
            key: Identifies the part.
            render: Creates the part; returns None if its subject does not exist.
            fresh: The user has just opened the page, so a stored part must not be used.
        """
        now = self._monotonic()
        entry = self._entries.get(key)
        if entry is not None:
            entry.asked = now
            if not fresh and now - entry.made < self._lifetime(now):
                return entry.rendered
        task = self._under_way.get(key)
        if task is None:
            task = asyncio.create_task(self._render(key, render))
            self._under_way[key] = task
            task.add_done_callback(lambda _: self._under_way.pop(key, None))
        # Other requests wait for the task too, so it continues if one of them is cancelled.
        return await asyncio.shield(task)

    async def _render(self, key: Hashable, render: Callable[[], str | None]) -> Rendered:
        def measured() -> tuple[str | None, float]:
            began = self._spent()
            return render(), self._spent() - began

        html, cost = await self._run(measured)
        digest = hashlib.sha256((html or "").encode("utf-8", "replace")).hexdigest()[:20]
        rendered = Rendered(html, f'"{digest}"', self._wall())
        if html is None:
            self._entries.pop(key, None)
            return rendered
        now = self._monotonic()
        self._entries.pop(key, None)
        self._entries[key] = _Entry(rendered, now, cost, now)
        while len(self._entries) > _MOST:
            del self._entries[next(iter(self._entries))]
        return rendered

    def _lifetime(self, now: float) -> float:
        """Seconds to reuse a part, so that all viewed parts together cost no more than allowed."""
        cost = sum(
            entry.cost
            for entry in self._entries.values()
            if now - entry.asked < _ASKED_WITHIN_SECONDS
        )
        return min(max(FRESH_SECONDS, cost / PART_OF_A_CORE), OLDEST_SECONDS)
