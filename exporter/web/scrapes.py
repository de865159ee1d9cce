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
"""After a rendering nothing is rendered for so many times as long as it
took: Python runs one thread at a time, and the other half is for following."""

MOST_REST_SECONDS: Final = 0.25

COMPRESSED_FROM: Final = 1000
"""Bytes; less is not worth it."""

_Wanted = tuple[Format, bool]


class _Rendering:
    """One reading, and who waits for it.

    It begins after the last of them asked, so that nobody gets what is older than the question. It
    shows what was announced when the first asked, so that each who was in time to see the 0 of a
    new series does.
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
    """Of one event loop.

    Args:
        page: what is rendered.
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
        """The page as it is once this was asked."""
        if self._next is None:
            self._next = _Rendering(self._page)
        loop = asyncio.get_running_loop()
        answer = self._next.answers.setdefault((kind, compressed), loop.create_future())
        if self._task is None:
            self._task = loop.create_task(self._render())
        # Who goes takes nothing from the others.
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
                # The client may be gone: then the result is not needed.
                future.exception()
            return
        for wanted, future in rendering.answers.items():
            future.set_result(answers[wanted])
