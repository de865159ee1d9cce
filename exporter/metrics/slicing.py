"""Totals and workflows by the slices that are configured now. Pure.

Totals are kept by the names of the slices that were configured when they were counted. What was
counted under slices that are configured no more, or before those that are, is added up: so every
series of a metric has the same labels, and no sum changes when slices do.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from math import fsum
from typing import Final, TypeVar

from exporter.ledger.ledger import LedgerSnapshot
from exporter.ledger.slicing import SliceRule, shown, values_of
from exporter.ledger.totals import (
    SLICED_COUNTERS,
    CounterTotal,
    Exemplar,
    HistogramTotal,
    Labels,
)
from exporter.ledger.workflow import Workflow

_TotalT = TypeVar("_TotalT", CounterTotal, HistogramTotal)


def slices_of(workflow: Workflow, rules: Sequence[SliceRule]) -> Labels:
    """The values of a workflow's slices. The default, while nothing is decided."""
    return shown(dict(workflow.slices), rules) if rules else ()


def known_slices(ledger: LedgerSnapshot) -> Iterator[tuple[str, Labels]]:
    """Account and slices of all series that are always there: the defaults, and what was seen."""
    seen = {
        (labels[0], by_configured(labels, _FINISHED_LABELS, ledger.slices)[2:])
        for labels, _ in ledger.totals.counters_named("finished")
    }
    for account in ledger.accounts:
        seen.discard((account, shown({}, ledger.slices)))
        yield account, shown({}, ledger.slices)
    yield from sorted(seen)


_FINISHED_LABELS: Final = SLICED_COUNTERS["finished"]


def by_configured(labels: Labels, fixed: int, rules: Sequence[SliceRule]) -> Labels:
    """The labels of a total, with the slices that are configured now.

    Args:
        labels: as they are kept.
        fixed: how many there are between the account and the slices.
        rules: as they are configured.
    """
    end = 1 + fixed
    return (*labels[:end], *shown(values_of(labels[end:]), rules))


def added_up(
    totals: Iterable[tuple[Labels, _TotalT]],
    fixed: int,
    rules: Sequence[SliceRule],
    together: Callable[[Sequence[_TotalT]], _TotalT],
) -> Iterator[tuple[Labels, _TotalT]]:
    """Totals by the slices that are configured now."""
    parts: dict[Labels, list[_TotalT]] = {}
    for labels, total in totals:
        parts.setdefault(by_configured(labels, fixed, rules), []).append(total)
    for labels, some in parts.items():
        yield labels, some[0] if len(some) == 1 else together(some)


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
