"""Answers scrapes: waiting scrapes share one rendering, and rendering leaves time for following."""

import asyncio
import gzip
import time
from collections.abc import Callable
from typing import Final

from exporter.metrics.exposition import Exposition, Page
from exporter.metrics.negotiation import Format
from exporter.web.workers import Workers

REST: Final = 1.0
"""After a rendering, nothing is rendered for this many times its duration: Python runs one thread
at a time, and the rest of the time is for following workflows."""

MOST_REST_SECONDS: Final = 0.25

COMPRESSED_FROM: Final = 1000
"""The smallest size in bytes that is compressed."""

_Wanted = tuple[Format, bool]


class _Rendering:
    """One rendering, and the scrapes that wait for it.

    It begins after the last of them arrived, so that no scrape gets a result older than its
    request. It uses the announced series of the moment at which the first arrived, so that each
    scrape that came in time to see a new series at 0 does see that.
    """

    def __init__(self, page: Page) -> None:
        self._page = page
        self._as_asked = page.asked()
        self.answers: Final[dict[_Wanted, asyncio.Future[Exposition]]] = {}

    def render(self, wanted: list[_Wanted]) -> dict[_Wanted, Exposition]:
        reading = self._as_asked(self._page.read())
        plain: dict[Format, Exposition] = {}
        answers: dict[_Wanted, Exposition] = {}
        for kind, is_compressed in wanted:
            if kind not in plain:
                plain[kind] = self._page.rendered(reading, kind)
            answer = plain[kind]
            if is_compressed and len(answer.body) >= COMPRESSED_FROM:
                body = gzip.compress(answer.body, 4, mtime=0)
                answer = Exposition(answer.content_type, body, is_compressed=True)
            answers[kind, is_compressed] = answer
        return answers


class Scrapes:
    """The scrapes of one event loop.

    Args:
        page: renders the metrics.
        monotonic: a clock that measures durations.
    """

    def __init__(self, page: Page, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._page = page
        self._monotonic = monotonic
        self._worker = Workers(1, "rendering")
        self._not_before = self._monotonic()
        self._next: _Rendering | None = None
        self._task: asyncio.Task[None] | None = None

    async def answer(self, kind: Format, *, compressed: bool) -> Exposition:
        """Return the page, rendered after this call."""
        if self._next is None:
            self._next = _Rendering(self._page)
        loop = asyncio.get_running_loop()
        answer = self._next.answers.setdefault((kind, compressed), loop.create_future())
        if self._task is None:
            self._task = loop.create_task(self._render())
        # If one scrape is cancelled, the others still get the answer.
        return await asyncio.shield(answer)

    async def _render(self) -> None:
        try:
            while self._next is not None:
                # Scrapes that arrive now join this rendering.
                await asyncio.sleep(max(0.0, self._not_before - self._monotonic()))
                rendering, self._next = self._next, None
                began = self._monotonic()
                await self._answer(rendering)
                ended = self._monotonic()
                self._not_before = ended + min((ended - began) * REST, MOST_REST_SECONDS)
        finally:
            self._task = None

    async def _answer(self, rendering: _Rendering) -> None:
        try:
            answers = await self._worker.run(rendering.render, list(rendering.answers))
        except Exception as error:  # noqa: BLE001 - it is for all who asked
            for future in rendering.answers.values():
                future.set_exception(error)
                # The client may have gone, and then the result is not needed.
                future.exception()
            return
        for wanted, future in rendering.answers.items():
            future.set_result(answers[wanted])
