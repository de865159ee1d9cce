"""Turns the registry into the bytes of a scrape."""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from exporter.metrics.collector import ReadingCollector
from exporter.metrics.negotiation import Format, negotiate
from exporter.metrics.reading import Reading
from exporter.metrics.text import TextKind, TextRenderer

PLAIN_TEXT = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Exposition:
    """What a scrape is answered with."""

    content_type: str
    body: bytes
    is_compressed: bool = False
    """Whether the body is gzipped."""


AsAsked = Callable[[Reading], Reading]
"""A reading as it is for somebody who asked at an earlier moment."""


class Page:
    """The metrics page.

    Args:
        registry: the process' own instruments.
        read: gathers everything else.
        asked: notes what is announced at this moment, for a reading that is made later.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        read: Callable[[], Reading],
        asked: Callable[[], AsAsked] = lambda: lambda reading: reading,
    ) -> None:
        self._registry = registry
        self._renderers: Final[Mapping[TextKind, TextRenderer]] = {
            "openmetrics": TextRenderer("openmetrics"),
            "text": TextRenderer("text"),
        }
        self.read: Final = read
        self.asked: Final = asked

    def render(self, accept: str) -> Exposition:
        """The page, in the best format that this `Accept` header names.

        Whatever the header says, there is an answer: text, if nothing else.
        """
        # A reading is gathered once, before any of it is rendered.
        return self.rendered(self.read(), negotiate(accept))

    def families(self, reading: Reading) -> Collector:
        """Everything that the page of one reading shows, for prometheus-client to render."""
        return _Together(self._registry, ReadingCollector(lambda: reading))

    def rendered(self, reading: Reading, kind: Format) -> Exposition:
        """The page of one reading."""
        said = "" if kind.escaping is None else f"; escaping={kind.escaping}"
        match kind.kind:
            case "openmetrics":
                body = self._body(reading, "openmetrics", kind.escaping)
                return Exposition(openmetrics.CONTENT_TYPE_LATEST + said, body)
            case "text":
                body = self._body(reading, "text", kind.escaping)
                return Exposition(CONTENT_TYPE_LATEST + said, body)
            case _:
                return Exposition(PLAIN_TEXT, self._body(reading, "text", None))

    def _body(self, reading: Reading, kind: TextKind, escaping: str | None) -> bytes:
        # Our names are the same with both kinds of escaping that scrapers ask for.
        if escaping in {None, openmetrics.UNDERSCORES, openmetrics.ALLOWUTF8}:
            return self._renderers[kind].render(self._registry, reading)
        families = self.families(reading)
        if kind == "openmetrics":
            body: bytes = openmetrics.generate_latest(families, escaping)  # type: ignore[no-untyped-call]
            return body
        return generate_latest(families, escaping or openmetrics.UNDERSCORES)


class _Together(Collector):
    """The instruments and one reading, as one thing to encode."""

    def __init__(self, *collectors: Collector | CollectorRegistry) -> None:
        self._collectors = collectors

    def collect(self) -> Iterator[Family]:
        """Every family of each."""
        for collector in self._collectors:
            yield from collector.collect()


ALL_COLLECTORS: Final = frozenset({"python", "process", "gc"})


def new_registry(collectors: Collection[str] = ALL_COLLECTORS) -> CollectorRegistry:
    """A registry with these metrics of the process itself, without `_created` lines."""
    disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry(auto_describe=False)
    if "process" in collectors:
        ProcessCollector(registry=registry)
    if "python" in collectors:
        PlatformCollector(registry=registry)
    if "gc" in collectors:
        GCCollector(registry=registry)
    return registry
