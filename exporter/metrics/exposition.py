"""Turns the registry into the bytes of a scrape."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import choose_encoder, generate_latest
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from exporter.metrics.collector import ReadingCollector
from exporter.metrics.reading import Reading

PLAIN_TEXT = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Exposition:
    """What a scrape is answered with."""

    content_type: str
    body: bytes


class Page:
    """The metrics page.

    Args:
        registry: the process' own instruments.
        read: gathers everything else.
    """

    def __init__(self, registry: CollectorRegistry, read: Callable[[], Reading]) -> None:
        self._registry = registry
        self._read = read

    def render(self, accept: str) -> Exposition:
        """The page, in the best format that this `Accept` header names.

        Whatever the header says, there is an answer: text, if nothing else.
        """
        encode: Callable[[Collector], bytes]
        try:
            encode, content_type = choose_encoder(accept)
        except Exception:  # noqa: BLE001 - the library's negotiation breaks on odd versions
            encode, content_type = generate_latest, PLAIN_TEXT
        # A reading is gathered once, before any of it is rendered.
        reading = self._read()
        families = _Together(self._registry, ReadingCollector(lambda: reading))
        return Exposition(content_type, encode(families))


class _Together(Collector):
    """The instruments and one reading, as one thing to encode."""

    def __init__(self, *collectors: Collector | CollectorRegistry) -> None:
        self._collectors = collectors

    def collect(self) -> Iterator[Family]:
        """Every family of each."""
        for collector in self._collectors:
            yield from collector.collect()


def new_registry() -> CollectorRegistry:
    """A registry with the usual metrics of the process, without `_created` lines."""
    disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry
