"""The fast text of any page is prometheus-client's own, whatever was shown before it."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from hypothesis import event, given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Enum, Gauge, Histogram, Info, Summary
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from exporter.config.slices import compiled
from exporter.ledger.slicing import SliceRule
from exporter.ledger.totals import Exemplar, HistogramTotal
from exporter.metrics.catalogue import Metric
from exporter.metrics.collector import family_of
from exporter.metrics.exposition import Page
from exporter.metrics.negotiation import negotiate
from exporter.metrics.reading import Reading, Sample
from exporter.metrics.text import TextKind, TextRenderer
from tests.unit.metrics.test_exposition import reading

ODD = 'ab\\"\n{}=, é🙂\x00'
TEXTS = st.text(ODD, max_size=3) | st.sampled_from(["studio", "agency"])
# Few different ones, so that much stays as it was; and those that are equal and look different.
NUMBERS = (
    st.sampled_from([0.0, -0.0, 0, 1, 1.0, 2.5, 999_999.9, 1e6, 12_345_678.9, 1e16, 1e-7, -1e6])
    | st.sampled_from([1_700_000_000.25, float("inf"), float("-inf"), float("nan")])
    | st.floats()
)
EXEMPLARS = st.none() | st.builds(Exemplar, TEXTS, NUMBERS, st.floats(0, 2e9))
SLICES = st.lists(st.sampled_from(["a", "lf", "team", "zone"]), unique=True, max_size=2)
NAMES = st.lists(st.sampled_from(["account", "le_", "ke", "status"]), unique=True, max_size=3)
BOUNDS = st.lists(st.sampled_from([-1.0, 0.0, 1, 2.5, 1e6, 3e7]), unique=True, max_size=4).map(
    lambda bounds: tuple(sorted(bounds))
)


class Given(Collector):
    """These families."""

    def __init__(self, *families: Family) -> None:
        self.families = families

    def collect(self) -> Iterator[Family]:
        yield from self.families


class Many(Collector):
    """A registry, then other families."""

    def __init__(self, *collectors: Collector | CollectorRegistry) -> None:
        self.collectors = collectors

    def collect(self) -> Iterator[Family]:
        for collector in self.collectors:
            yield from collector.collect()


def expected(kind: TextKind, escaping: str, families: Collector) -> bytes:
    if kind == "text":
        return generate_latest(families, escaping)
    body: bytes = openmetrics.generate_latest(families, escaping)  # type: ignore[no-untyped-call]
    return body


@st.composite
def metrics(draw: st.DrawFn) -> list[tuple[Metric, tuple[float, ...]]]:
    """A catalogue, and the bounds of those that are histograms."""
    found = []
    for number in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(["counter", "gauge", "histogram"]))
        name = f"m{number}" + draw(st.sampled_from(["", "_seconds"]))
        metric = Metric(
            name=name + ("_total" if kind == "counter" else ""),
            type=kind,  # type: ignore[arg-type]
            group="workflows",
            labels=tuple(draw(NAMES)),
            help=draw(st.text(ODD, max_size=8)),
            unit="workflows",
            exemplars=kind != "gauge" and draw(st.booleans()),
            sliced=draw(st.booleans()),
        )
        found.append((metric, draw(BOUNDS)))
    return found


@st.composite
def samples(
    draw: st.DrawFn, metric: Metric, bounds: tuple[float, ...], names: tuple[str, ...]
) -> list[Sample]:
    found = {}
    for values in draw(st.lists(st.tuples(*[TEXTS] * len(names)), max_size=4)):
        value = draw(NUMBERS)
        exemplar = draw(EXEMPLARS)
        if metric.type == "histogram":
            many = len(bounds) + 1
            counts = draw(st.lists(st.sampled_from([0, 1, 7]), min_size=many, max_size=many))
            shown = draw(st.lists(EXEMPLARS, min_size=many, max_size=many))
            total = HistogramTotal(bounds, counts, value, shown)
            found[values] = Sample(dict(zip(names, values, strict=True)), total)
        else:
            found[values] = Sample(dict(zip(names, values, strict=True)), value, exemplar)
    return list(found.values())


def _now(now: dict[str, list[Sample]], name: str, _: Reading) -> list[Sample]:
    return now[name]


@given(st.data(), metrics(), st.sampled_from(["underscores", "allow-utf-8"]))
def test_every_page_of_several_is_the_librarys(
    data: st.DataObject, catalogue: list[tuple[Metric, tuple[float, ...]]], escaping: str
) -> None:
    now: dict[str, list[Sample]] = {}
    read = [replace(metric, read=partial(_now, now, metric.name)) for metric, _ in catalogue]
    kinds: tuple[TextKind, ...] = ("text", "openmetrics")
    renderers = {kind: TextRenderer(kind, read) for kind in kinds}
    for page in range(data.draw(st.integers(1, 4))):
        slices = tuple(
            SliceRule(label, "tag", compiled("(.*)"), 9, "none") for label in data.draw(SLICES)
        )
        for metric, bounds in catalogue:
            names = (*metric.labels, *(rule.label for rule in slices if metric.sliced))
            before = now.get(metric.name, [])
            if (
                page
                and before
                and before[0].labels.keys() == set(names)
                and data.draw(st.booleans())
            ):
                event("as it was, but for a count or an exemplar")
                for sample in before:
                    if isinstance(sample.value, HistogramTotal):
                        sample.value.counts[0] += data.draw(st.integers(0, 1))
                        sample.value.exemplars[-1] = data.draw(EXEMPLARS)
                continue
            now[metric.name] = data.draw(samples(metric, bounds, names))
        shown = reading(slices=slices)
        families = Given(*(family_of(m, now[m.name], slices) for m, _ in catalogue))
        for kind, renderer in renderers.items():
            assert renderer.render(Given(), shown) == expected(kind, escaping, families)


@given(st.lists(st.tuples(TEXTS, NUMBERS, st.booleans()), max_size=8))
def test_instruments_of_every_type_are_the_librarys(
    steps: list[tuple[str, float, bool]],
) -> None:
    registry = CollectorRegistry()
    counter = Counter("c", 'C \\ " \n.', ["x", "a"], registry=registry)
    gauge = Gauge("g_seconds", "G.", ["x"], unit="seconds", registry=registry)
    histogram = Histogram("h", "H.", ["x"], buckets=(1.0, 1e7), registry=registry)
    summary = Summary("s", "S.", ["x"], registry=registry)
    Info("i", "I.", registry=registry).info({"version": "1"})
    Enum("e", "E.", states=["on", "off"], registry=registry)
    kinds: tuple[TextKind, ...] = ("text", "openmetrics")
    renderers = {kind: TextRenderer(kind, ()) for kind in kinds}
    for text, number, shows in [("", 0.0, False), *steps]:
        gauge.labels(text).set(number)
        counter.labels(text, "b").inc(max(abs(number), 0), {"id": "x"} if shows else None)
        histogram.labels(text).observe(number, {"id": text} if shows else None)
        summary.labels(text).observe(number)
        if shows:
            gauge.remove_by_labels({"x": text})
        for kind, renderer in renderers.items():
            found = renderer.render(registry, reading())
            assert found == expected(kind, "underscores", registry)


ACCEPTS = [
    f"{kind}{escaping}"
    for kind in (
        "application/openmetrics-text;version=1.0.0",
        "text/plain;version=1.0.0",
        "text/plain;version=0.0.4",
    )
    for escaping in (
        "",
        ";escaping=allow-utf-8",
        ";escaping=underscores",
        ";escaping=dots",
        ";escaping=values",
    )
]


@given(st.lists(st.sampled_from(ACCEPTS), min_size=1, max_size=4))
def test_the_page_is_the_librarys_in_every_format(accepts: list[str]) -> None:
    shown = reading()
    page = Page(CollectorRegistry(), lambda: shown)
    for accept in accepts:
        kind = negotiate(accept)
        named: TextKind = "openmetrics" if kind.kind == "openmetrics" else "text"
        families = page.families(shown)
        body = page.rendered(shown, kind).body
        assert body == expected(named, kind.escaping or "underscores", families)
