"""Renders the catalogue from one reading: all values of a scrape are from the same moment."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Final

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar as FamilyExemplar
from prometheus_client.utils import floatToGoString

from exporter.ledger.slicing import SliceRule
from exporter.ledger.totals import Exemplar, HistogramTotal
from exporter.metrics.catalogue import CATALOGUE, Metric
from exporter.metrics.reading import Reading, Sample

_UNIT: Final = "seconds"


class ReadingCollector(Collector):
    """Gives prometheus-client the families of one reading.

    A custom collector, because a snapshot is consistent where single gauges are not, and because
    series of workflows that are gone vanish by themselves.
    """

    def __init__(self, read: Callable[[], Reading]) -> None:
        self._read = read

    def describe(self) -> list[Family]:
        """Nothing: the default asks for a whole reading only to register."""
        return []

    def collect(self) -> Iterator[Family]:
        """Every metric of the catalogue that is read at a scrape."""
        reading = self._read()
        for metric in CATALOGUE:
            if metric.read is not None:
                yield family_of(metric, metric.read(reading), reading.ledger.slices)


def family_of(
    metric: Metric, samples: Iterable[Sample], slices: Sequence[SliceRule] = ()
) -> Family:
    """One metric's family with these samples.

    Raises:
        TypeError: a sample has other labels than the catalogue says, or is of another type.
    """
    labels = (*metric.labels, *(rule.label for rule in slices if metric.sliced))
    unit = _UNIT if metric.family.endswith("_" + _UNIT) else ""
    if metric.type == "counter":
        counter = CounterMetricFamily(metric.name, metric.help, labels=labels, unit=unit)
        for sample in samples:
            exemplar = _exemplar(sample.exemplar) if metric.exemplars else None
            counter.add_metric(_values(sample, metric, labels), _number(sample), exemplar=exemplar)
        return counter
    if metric.type == "gauge":
        gauge = GaugeMetricFamily(metric.name, metric.help, labels=labels, unit=unit)
        for sample in samples:
            gauge.add_metric(_values(sample, metric, labels), _number(sample))
        return gauge
    histogram = HistogramMetricFamily(metric.name, metric.help, labels=labels, unit=unit)
    for sample in samples:
        total = sample.value
        if not isinstance(total, HistogramTotal):
            raise TypeError(f"{metric.name} is a histogram and was read as a number")
        histogram.add_metric(
            _values(sample, metric, labels), _buckets(total, metric), sum_value=total.sum
        )
    return histogram


def _values(sample: Sample, metric: Metric, labels: Sequence[str]) -> list[str]:
    """The values of a sample's labels, in the order of its family."""
    if len(sample.labels) != len(labels) or not all(name in sample.labels for name in labels):
        raise TypeError(f"{metric.name} has {sorted(labels)}, not {sorted(sample.labels)}")
    return [sample.labels[name] for name in labels]


def _number(sample: Sample) -> float:
    if isinstance(sample.value, HistogramTotal):
        raise TypeError("a histogram was read where a number belongs")
    return sample.value


def _buckets(
    total: HistogramTotal, metric: Metric
) -> list[tuple[str, float] | tuple[str, float, FamilyExemplar]]:
    buckets: list[tuple[str, float] | tuple[str, float, FamilyExemplar]] = []
    bounds = [*total.bounds, float("inf")]
    cumulative = accumulate(total.counts)
    for bound, count, exemplar in zip(bounds, cumulative, total.exemplars, strict=True):
        name: str = floatToGoString(bound)  # type: ignore[no-untyped-call]
        shown = _exemplar(exemplar) if metric.exemplars else None
        buckets.append((name, count) if shown is None else (name, count, shown))
    return buckets


def _exemplar(exemplar: Exemplar | None) -> FamilyExemplar | None:
    if exemplar is None:
        return None
    return FamilyExemplar({"workflow_id": exemplar.workflow_id}, exemplar.value, exemplar.wall)
