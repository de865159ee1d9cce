"""Renders once what several people look at, and no more often than its cost allows."""

import asyncio
import hashlib
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Final

from starlette.concurrency import run_in_threadpool

from exporter.web.workers import Run

FRESH_SECONDS: Final = 2.0
"""How old a part of a page may be, where rendering costs little."""

OLDEST_SECONDS: Final = 30.0
"""How old it may be, whatever rendering costs."""

PART_OF_A_CORE: Final = 0.01
"""What rendering for pages that are left open may use."""

_MOST: Final = 64
_ASKED_WITHIN_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Rendered:
    """A part of a page.

    Attributes:
        html: What it is now; None: what it was about is not known (any more).
        etag: For conditional requests.
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
        monotonic: Seconds by which ages are measured.
        wall: Unix seconds.
        spent: Seconds of CPU that the calling thread has used.
        run: Calls what takes a while in another thread.
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
        """The part under this key, rendered now unless it was recently.

        Args:
            key: Of what it shows; the same key is the same part.
            render: Makes it; None: there is no such thing.
            fresh: Somebody has just opened the page: what is kept will not do.
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
        # Others wait for it too: it goes on when one of them has gone.
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
        """So long that everything that is being looked at costs no more than it may."""
        cost = sum(
            entry.cost
            for entry in self._entries.values()
            if now - entry.asked < _ASKED_WITHIN_SECONDS
        )
        return min(max(FRESH_SECONDS, cost / PART_OF_A_CORE), OLDEST_SECONDS)
