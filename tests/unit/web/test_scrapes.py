"""Scrapes that wait share one rendering, which begins after each of them asked."""

import asyncio
import gzip
import threading
from collections.abc import Callable

import pytest
from prometheus_client import CollectorRegistry

from exporter.metrics.exposition import Exposition, Page
from exporter.metrics.negotiation import Format, negotiate
from exporter.metrics.reading import Reading
from exporter.web.scrapes import Scrapes

PLAIN = negotiate("text/plain")
OPENMETRICS = negotiate("application/openmetrics-text; version=1.0.0")


class Shown(Page):
    """Shows which reading it is of, and what was announced when it was asked for."""

    def __init__(self) -> None:
        self.readings = 0
        self.renderings = 0
        self.announced = 0
        self.go_on = threading.Event()
        self.go_on.set()

        def read() -> Reading:
            self.readings += 1
            assert self.go_on.wait(10)
            return self.readings, self.announced  # type: ignore[return-value]

        def asked() -> Callable[[Reading], Reading]:
            announced = self.announced
            return lambda r: (r[0], min(r[1], announced))  # type: ignore[index,return-value]

        super().__init__(CollectorRegistry(), read, asked)

    def rendered(self, reading: Reading, kind: Format) -> Exposition:
        self.renderings += 1
        if self.renderings == 666:
            raise ArithmeticError
        return Exposition(kind.kind, f"{reading}".encode() + b" " * 2000)


def body(answer: Exposition) -> str:
    return (gzip.decompress(answer.body) if answer.is_compressed else answer.body).decode().strip()


async def ask(scrapes: Scrapes, kind: Format = PLAIN, *, compressed: bool = False) -> str:
    return body(await scrapes.answer(kind, compressed=compressed))


def test_those_who_wait_share_one() -> None:
    async def run() -> None:
        page = Shown()
        scrapes = Scrapes(page)
        page.go_on.clear()
        first = asyncio.create_task(ask(scrapes))
        await asyncio.sleep(0.05)
        # Its reading has begun: for those who ask now it is too old.
        others = [asyncio.create_task(ask(scrapes)) for _ in range(50)]
        others += [asyncio.create_task(ask(scrapes, compressed=True)) for _ in range(50)]
        others += [asyncio.create_task(ask(scrapes, OPENMETRICS)) for _ in range(50)]
        await asyncio.sleep(0.05)
        page.go_on.set()
        assert await first == "(1, 0)"
        assert set(await asyncio.gather(*others)) == {"(2, 0)"}
        assert (page.readings, page.renderings) == (2, 3)
        assert await ask(scrapes) == "(3, 0)"

    asyncio.run(run())


def test_who_asked_before_a_series_was_announced_still_sees_its_zero() -> None:
    async def run() -> None:
        page = Shown()
        scrapes = Scrapes(page)
        page.go_on.clear()
        first = asyncio.create_task(ask(scrapes))
        await asyncio.sleep(0.05)
        early = asyncio.create_task(ask(scrapes))
        await asyncio.sleep(0.01)
        page.announced = 7
        late = asyncio.create_task(ask(scrapes))
        await asyncio.sleep(0.01)
        page.go_on.set()
        assert await first == "(1, 0)"
        # The two share one: the earlier decides.
        assert await early == await late == "(2, 0)"
        assert await ask(scrapes) == "(3, 7)"

    asyncio.run(run())


def test_who_goes_takes_nothing_from_the_others_and_a_fault_is_for_all_who_asked() -> None:
    async def run() -> None:
        page = Shown()
        scrapes = Scrapes(page)
        going = asyncio.create_task(ask(scrapes))
        staying = asyncio.create_task(ask(scrapes))
        await asyncio.sleep(0)
        going.cancel()
        assert await staying == "(1, 0)"
        page.renderings = 665
        with pytest.raises(ArithmeticError):
            await ask(scrapes)
        assert await ask(scrapes) == "(3, 0)"

    asyncio.run(run())


class Slow(Shown):
    """Takes 50 ms to render."""

    def rendered(self, reading: Reading, kind: Format) -> Exposition:
        threading.Event().wait(0.05)
        return super().rendered(reading, kind)


def test_rendering_leaves_as_much_time_as_it_takes() -> None:
    async def run() -> float:
        page = Slow()
        scrapes = Scrapes(page)
        loop = asyncio.get_running_loop()
        began = loop.time()

        async def scrape() -> None:
            while loop.time() - began < 1.0:
                await scrapes.answer(PLAIN, compressed=False)

        await asyncio.gather(*(scrape() for _ in range(10)))
        return page.renderings * 0.05 / (loop.time() - began)

    assert asyncio.run(run()) < 0.75
