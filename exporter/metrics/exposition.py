"""Renders the answer to a scrape."""

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
    """The answer to a scrape."""

    content_type: str
    body: bytes
    is_compressed: bool = False
    """Whether the body is gzipped."""


AsAsked = Callable[[Reading], Reading]
"""Limits a reading to what a scrape that arrived earlier may see."""


class Page:
    """The metrics page.

    Args:
        registry: the instruments of the process.
        read: collects everything else.
        asked: returns a function that limits a later reading to the series announced now.
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
        """Render the page in the best format that this `Accept` header names.

        If it names none that we have, the format is text.
        """
        # Everything is read once, before rendering begins.
        return self.rendered(self.read(), negotiate(accept))

    def families(self, reading: Reading) -> Collector:
        """The page of one reading as metric families of prometheus-client."""
        return _Together(self._registry, ReadingCollector(lambda: reading))

    def rendered(self, reading: Reading, kind: Format) -> Exposition:
        """Render the page of one reading."""
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
        # Our names are the same with each kind of escaping that scrapers may request.
        if escaping in {None, openmetrics.UNDERSCORES, openmetrics.ALLOWUTF8}:
            return self._renderers[kind].render(self._registry, reading)
        families = self.families(reading)
        if kind == "openmetrics":
            body: bytes = openmetrics.generate_latest(families, escaping)  # type: ignore[no-untyped-call]
            return body
        return generate_latest(families, escaping or openmetrics.UNDERSCORES)


class _Together(Collector):
    """The instruments and one reading as one collector."""

    def __init__(self, *collectors: Collector | CollectorRegistry) -> None:
        self._collectors = collectors

    def collect(self) -> Iterator[Family]:
        """All families of both."""
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
