"""Totals and workflows by the slices that are configured now. Pure.

Totals are stored by the names of the slices that were configured when they were counted. Values of
slices that are not configured any more, or were not yet, are added up. So every series of a metric
has the same labels, and no sum changes when slices do.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from math import fsum
from typing import TypeVar

from exporter.ledger.forms import COUNTERS, Form, Labels
from exporter.ledger.slicing import SliceRule, shown
from exporter.ledger.snapshot import LedgerSnapshot
from exporter.ledger.totals import CounterTotal, Exemplar, HistogramTotal
from exporter.ledger.workflow import Workflow

_TotalT = TypeVar("_TotalT", CounterTotal, HistogramTotal)


def slices_of(workflow: Workflow, rules: Sequence[SliceRule]) -> dict[str, str]:
    """A workflow's slices, by label. The default, while nothing is decided."""
    return shown(dict(workflow.slices), rules) if rules else {}


def known_slices(ledger: LedgerSnapshot) -> Iterator[dict[str, str]]:
    """Account and slices of all series that are always there: the defaults, and what was seen."""
    finished = COUNTERS["finished"]
    default = tuple(shown({}, ledger.slices).items())
    always = [(account, default) for account in ledger.accounts]
    seen = {
        (labels[0], tuple(shown(finished.slices(labels), ledger.slices).items()))
        for labels, _ in ledger.totals.counters_named("finished")
    }
    for account, slices in (*always, *sorted(seen.difference(always))):
        yield {"account": account, **dict(slices)}


def added_up(
    totals: Iterable[tuple[Labels, _TotalT]],
    form: Form,
    rules: Sequence[SliceRule],
    together: Callable[[Sequence[_TotalT]], _TotalT],
) -> Iterator[tuple[dict[str, str], _TotalT]]:
    """Totals by their labels and the slices that are configured now.

    Args:
        totals: by their labels, as they are kept.
        form: theirs.
        rules: as they are configured.
        together: several series as one.
    """
    if not form.sliced:
        for kept, total in totals:
            yield form.named(kept), total
        return
    parts: dict[tuple[tuple[str, str], ...], list[_TotalT]] = {}
    for kept, total in totals:
        labels = {**form.named(kept), **shown(form.slices(kept), rules)}
        parts.setdefault(tuple(labels.items()), []).append(total)
    for key, some in parts.items():
        yield dict(key), some[0] if len(some) == 1 else together(some)


def counters_together(totals: Sequence[CounterTotal]) -> CounterTotal:
    """Several series of a counter as one."""
    return CounterTotal(
        fsum(total.value for total in totals), _latest(total.exemplar for total in totals)
    )


def histograms_together(totals: Sequence[HistogramTotal]) -> HistogramTotal:
    """Several series of a histogram as one. All have the same buckets.

    The sum is rounded once, so it is the same in whatever order they come, and never steps back.
    """
    return HistogramTotal(
        totals[0].bounds,
        [sum(counts) for counts in zip(*(t.counts for t in totals), strict=True)],
        fsum(total.sum for total in totals),
        [_latest(some) for some in zip(*(t.exemplars for t in totals), strict=True)],
    )


def _latest(exemplars: Iterable[Exemplar | None]) -> Exemplar | None:
    return max((e for e in exemplars if e is not None), key=lambda e: e.wall, default=None)
