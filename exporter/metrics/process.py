"""Metrics of the process itself: its clients and its log."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final, Literal, get_args

from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from exporter.metrics.catalogue import BY_NAME
from exporter.metrics.collector import family_of
from exporter.metrics.reading import Sample

Reason = Literal["idle", "handshake", "limit", "slow"]
"""Why a client was disconnected."""


class ProcessCounts(Collector):
    """Counters of the web side, read at a scrape. For one event loop.

    Args:
        lines_suppressed: returns how many log lines were not written.
    """

    def __init__(self, lines_suppressed: Callable[[], int]) -> None:
        self.connections: Callable[[], int] = lambda: 0
        """Returns how many clients are connected."""
        self._closed: Final[Counter[Reason]] = Counter()
        self._lines_suppressed: Final = lines_suppressed

    def closed(self, reason: Reason) -> None:
        """Count that a client was disconnected."""
        self._closed[reason] += 1

    def describe(self) -> list[Family]:
        """Return nothing: the catalogue has the names."""
        return []

    def collect(self) -> Iterator[Family]:
        """The families, with all reasons from the start."""
        connections = [Sample({}, float(self.connections()))]
        yield family_of(BY_NAME["comfycontrol_exporter_web_connections"], connections)
        closed = [Sample({"reason": r}, float(self._closed[r])) for r in get_args(Reason)]
        yield family_of(BY_NAME["comfycontrol_exporter_web_connections_closed_total"], closed)
        lines = [Sample({}, float(self._lines_suppressed()))]
        yield family_of(BY_NAME["comfycontrol_exporter_log_lines_suppressed_total"], lines)
