"""Renders a reading as text, byte for byte as prometheus-client does, in a fraction of the time.

Between two scrapes most of a page does not change: the labels never, and most histograms do not.
So the text of labels is rendered once for each series, and that of a histogram's buckets once for
each change. The text of a series that is not shown any more is removed, so the page itself bounds
the memory.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, Literal

from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from exporter.ledger.slicing import SliceRule
from exporter.ledger.totals import Exemplar, HistogramTotal
from exporter.metrics.catalogue import CATALOGUE, Metric
from exporter.metrics.collector import family_of
from exporter.metrics.reading import Reading, Sample

TextKind = Literal["openmetrics", "text"]

_EOF: Final = "# EOF\n"
_EXPONENT_FROM: Final = 1e6
"""From this value on, Go writes an exponent, and so does prometheus-client."""
_SEPARATE: Final = ("_created", "_gsum", "_gcount")
"""In the text format these samples have separate families."""
_Values = tuple[str, ...]
_Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class _Buckets:
    """The buckets of a histogram as they were last shown."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    exemplars: tuple[Exemplar | None, ...]
    text: str


@dataclass(slots=True)
class _Series:
    """The cached text of a histogram.

    Attributes:
        before: its labels that come before `le`, by name.
        after: those that come after it.
        alone: all of them, for samples that are not buckets.
        buckets: their text; None: not rendered yet.
    """

    before: str
    after: str
    alone: str
    buckets: _Buckets | None = None


class TextRenderer:
    """Renders readings in one of the formats, one after another.

    Args:
        kind: the format. Names must be traditional ones, which need no escaping: those of the
            catalogue are, and the configuration accepts no others for slices.
        catalogue: the metrics that are read at a scrape.
    """

    def __init__(self, kind: TextKind, catalogue: Sequence[Metric] = CATALOGUE) -> None:
        self._catalogue: Final = catalogue
        self._is_openmetrics: Final = kind == "openmetrics"
        self._headers: dict[tuple[str, str, str, str], str] = {}
        self._starts: dict[str, dict[_Labels, str]] = {}
        self._metrics: dict[str, _CachedText] = {}

    def render(self, instruments: Collector, reading: Reading) -> bytes:
        """The page: the process' own instruments, then one reading."""
        parts: list[str] = []
        starts: dict[str, dict[_Labels, str]] = {}
        for family in instruments.collect():
            self._add_family(parts, family, starts)
        self._starts = starts
        for metric in self._catalogue:
            if metric.read is not None:
                self._add_metric(parts, metric, metric.read(reading), reading.ledger.slices)
        if self._is_openmetrics:
            parts.append(_EOF)
        return "".join(parts).encode()

    # Instruments ------------------------------------------------------------------------------

    def _add_family(
        self, parts: list[str], family: Family, starts: dict[str, dict[_Labels, str]]
    ) -> None:
        begun = len(parts)
        key = family.name, family.documentation, family.type, family.unit
        header = self._headers.get(key)
        if header is None:
            empty = Family(family.name, family.documentation, family.type, family.unit)
            header = self._headers[key] = self._by_the_library(empty)
        parts.append(header)
        for sample in family.samples:
            name, labels, value, timestamp, exemplar, *native = sample
            if (
                timestamp is not None
                or exemplar is not None
                or any(native)
                or name.endswith(_SEPARATE)
            ):
                # None of our metrics has these. If one had, the result would still be right.
                parts[begun:] = [self._by_the_library(family)]
                return
            items = tuple(labels.items())
            start = self._starts.get(name, {}).get(items)
            if start is None:
                start = _start(name, labels)
            starts.setdefault(name, {})[items] = start
            parts.append(f"{start}{_number(value)}\n")

    # The catalogue ----------------------------------------------------------------------------

    def _add_metric(
        self,
        parts: list[str],
        metric: Metric,
        samples: Iterable[Sample],
        slices: Sequence[SliceRule],
    ) -> None:
        names = (*metric.labels, *(rule.label for rule in slices if metric.sliced))
        cached = self._metrics.get(metric.name)
        if cached is None or cached.names != names or cached.metric is not metric:
            header = self._by_the_library(family_of(metric, (), slices))
            cached = self._metrics[metric.name] = _CachedText(metric, names, header)
        parts.append(cached.header)
        shows_exemplars = self._is_openmetrics and metric.exemplars
        if metric.type == "histogram":
            parts.extend(cached.histograms(samples, shows_exemplars=shows_exemplars))
        else:
            parts.extend(cached.numbers(samples, shows_exemplars=shows_exemplars))

    def _by_the_library(self, family: Family) -> str:
        if self._is_openmetrics:
            text = openmetrics.generate_latest(_One(family))  # type: ignore[no-untyped-call]
            return str(text.decode()).removesuffix(_EOF)
        return generate_latest(_One(family)).decode()


class _CachedText:
    """The cached text of one metric.

    Its methods raise a TypeError if a sample has other labels or another type than the catalogue.
    """

    def __init__(self, metric: Metric, names: tuple[str, ...], header: str) -> None:
        self.metric: Final = metric
        self.names: Final = names
        self.header: Final = header
        self._starts: dict[_Values, str] = {}
        self._series: dict[_Values, _Series] = {}

    def numbers(self, samples: Iterable[Sample], *, shows_exemplars: bool) -> Iterator[str]:
        """The lines of counters or gauges."""
        starts: dict[_Values, str] = {}
        for sample in samples:
            labels, value = sample.labels, sample.value
            key = self._key(labels)
            if isinstance(value, HistogramTotal):
                raise TypeError("a histogram was read where a number belongs")
            start = self._starts.get(key)
            if start is None:
                start = _start(self.metric.name, labels)
            starts[key] = start
            shown = _exemplar(sample.exemplar) if shows_exemplars else ""
            yield f"{start}{_number(value)}{shown}\n"
        self._starts = starts

    def histograms(self, samples: Iterable[Sample], *, shows_exemplars: bool) -> Iterator[str]:
        """The lines of histograms."""
        name = self.metric.name
        all_series: dict[_Values, _Series] = {}
        for sample in samples:
            total = sample.value
            if not isinstance(total, HistogramTotal):
                raise TypeError(f"{name} is a histogram and was read as a number")
            key = self._key(sample.labels)
            series = self._series.get(key)
            if series is None:
                series = _series(sample.labels)
            all_series[key] = series
            yield self._buckets(series, total, shows_exemplars=shows_exemplars)
            # As in the library: a sum of values that may be negative is not a counter.
            if not total.bounds or total.bounds[0] >= 0:
                yield f"{name}_count{series.alone}{_number(total.count)}\n"
                yield f"{name}_sum{series.alone}{_number(total.sum)}\n"
        self._series = all_series

    def _key(self, labels: Mapping[str, str]) -> _Values:
        """The values of a series' labels, which identify it."""
        if len(labels) == len(self.names):
            try:
                return tuple([labels[name] for name in self.names])
            except KeyError:
                pass
        raise TypeError(f"{self.metric.name} has {sorted(self.names)}, not {sorted(labels)}")

    def _buckets(self, series: _Series, total: HistogramTotal, *, shows_exemplars: bool) -> str:
        cached = series.buckets
        counts = tuple(total.counts)
        exemplars = tuple(total.exemplars) if shows_exemplars else ()
        if (
            cached is not None
            and cached.counts == counts
            and cached.bounds == total.bounds
            and cached.exemplars == exemplars
        ):
            return cached.text
        begin = f'{self.metric.name}_bucket{{{series.before}le="'
        end = f'"{series.after}}} '
        lines = []
        bounds = (*total.bounds, float("inf"))
        for at, (bound, count) in enumerate(zip(bounds, accumulate(counts), strict=True)):
            shown = _exemplar(exemplars[at]) if shows_exemplars else ""
            lines.append(f"{begin}{_number(bound)}{end}{_number(count)}{shown}\n")
        text = "".join(lines)
        series.buckets = _Buckets(total.bounds, counts, exemplars, text)
        return text


class _One(Collector):
    """A collector of one family, to be rendered by the library."""

    def __init__(self, family: Family) -> None:
        self._family = family

    def collect(self) -> Iterator[Family]:
        """Return the family."""
        yield self._family


def _start(name: str, labels: Mapping[str, str]) -> str:
    """The beginning of a line, up to its value."""
    return f"{name}{{{_text(labels)}}} " if labels else f"{name} "


def _series(labels: Mapping[str, str]) -> _Series:
    before = _text({name: value for name, value in labels.items() if name < "le"})
    after = _text({name: value for name, value in labels.items() if name > "le"})
    return _Series(
        before=f"{before}," if before else "",
        after=f",{after}" if after else "",
        alone=f"{{{_text(labels)}}} " if labels else " ",
    )


def _text(labels: Mapping[str, str]) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in sorted(labels.items()))


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _exemplar(exemplar: Exemplar | None) -> str:
    if exemplar is None:
        return ""
    workflow_id = _escaped(exemplar.workflow_id)
    return f' # {{workflow_id="{workflow_id}"}} {_number(exemplar.value)} {exemplar.wall}'


def _number(value: float) -> str:
    if -_EXPONENT_FROM < value < _EXPONENT_FROM:
        return repr(float(value))
    return str(floatToGoString(value))  # type: ignore[no-untyped-call]
