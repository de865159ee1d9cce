"""How totals are stored in the tables of PostgreSQL, and read from them.

Only differences are written. The value there is a decimal number without limit, so that adding is
exact: the sum of the differences equals the number in memory.
"""

import json
from dataclasses import astuple, dataclass, field
from decimal import Decimal
from hashlib import blake2b
from typing import Any, Final, Literal, get_args

from exporter.ledger.forms import CounterName, HistogramName, Labels
from exporter.ledger.rows import Row
from exporter.ledger.totals import CounterTotal, Exemplar, HistogramTotal
from exporter.ledger.words import UnknownWordError, unknown_of, words_of_total

Kind = Literal["counter", "histogram"]
SeriesKey = tuple[Kind, str, Labels]

_json: Final = json.JSONEncoder(separators=(",", ":")).encode
"""Only ASCII: characters that the database cannot store in text are escaped."""

TOTAL_COLUMNS: Final = (
    "account, series, kind, name, labels, waiting, value, bounds, counts, exemplars"
)

ADD: Final = f"""
    INSERT INTO comfycontrol_total AS t ({TOTAL_COLUMNS})
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s::float8[], %s::bigint[], %s)
    ON CONFLICT (account, series) DO UPDATE SET
        value = CASE WHEN t.bounds IS NOT DISTINCT FROM excluded.bounds
            THEN t.value + excluded.value ELSE excluded.value END,
        counts = CASE WHEN t.bounds = excluded.bounds
            THEN (SELECT array_agg(a + b ORDER BY i)
                FROM unnest(t.counts, excluded.counts) WITH ORDINALITY AS u (a, b, i))
            ELSE excluded.counts END,
        bounds = excluded.bounds,
        exemplars = excluded.exemplars,
        waiting = excluded.waiting
"""  # noqa: S608 - constants
"""Adds to a total. A histogram whose buckets have changed starts at 0."""


@dataclass(slots=True)
class StoredTotals:
    """An account's totals in the database, as this replica last wrote them."""

    counters: dict[tuple[CounterName, Labels], CounterTotal] = field(default_factory=dict)
    histograms: dict[tuple[HistogramName, Labels], HistogramTotal] = field(default_factory=dict)


def series_of(kind: Kind, name: str, labels: Labels) -> bytes:
    """The key of a total, a hash: labels may be longer than an index allows."""
    return blake2b(_json([kind, name, labels]).encode(), digest_size=16).digest()


def counter_added(  # noqa: PLR0913
    account: int,
    name: CounterName,
    labels: Labels,
    total: CounterTotal,
    before: CounterTotal | None,
    *,
    waiting: bool,
) -> Row:
    """The difference between a counter and its earlier state `before`."""
    added = Decimal(total.value) - Decimal(0 if before is None else before.value)
    exemplar = None if total.exemplar is None else _json(astuple(total.exemplar))
    return (
        account, series_of("counter", name, labels), "counter", name, _json(labels), waiting,
        added, None, None, exemplar,
    )  # fmt: skip


def histogram_added(  # noqa: PLR0913
    account: int,
    name: HistogramName,
    labels: Labels,
    total: HistogramTotal,
    before: HistogramTotal | None,
    *,
    waiting: bool,
) -> Row:
    """The difference between a histogram and its earlier state `before`.

    All of it if its buckets changed.
    """
    if before is None or before.bounds != total.bounds:
        before = HistogramTotal(total.bounds)
    return (
        account,
        series_of("histogram", name, labels),
        "histogram",
        name,
        _json(labels),
        waiting,
        Decimal(total.sum) - Decimal(before.sum),
        list(map(float, total.bounds)),
        [now - then for now, then in zip(total.counts, before.counts, strict=True)],
        _json([None if e is None else astuple(e) for e in total.exemplars]),
    )


def read_totals(rows: list[tuple[Any, ...]]) -> StoredTotals:
    """Totals from their rows.

    `appeared` is 1 for series that are not announced, and 0 for the others.

    Raises:
        UnknownWordError: a newer version wrote one of them.
        ValueError, TypeError, LookupError: a row is damaged.
    """
    found = StoredTotals()
    for _, _, kind, name, labels, waiting, value, bounds, counts, exemplars in rows:
        key = tuple(map(str, json.loads(labels)))
        unknown = unknown_of(words_of_total(kind, name, key))
        if unknown is not None:
            raise UnknownWordError(unknown)
        told = json.loads(exemplars or "null")
        if kind == "counter":
            (counter,) = (known for known in get_args(CounterName) if known == name)
            exemplar = None if told is None else Exemplar(*told)
            found.counters[counter, key] = CounterTotal(float(value), exemplar, int(waiting))
        else:
            (histogram,) = (known for known in get_args(HistogramName) if known == name)
            found.histograms[histogram, key] = HistogramTotal(
                tuple(map(float, bounds)),
                list(map(int, counts)),
                float(value),
                [None if e is None else Exemplar(*e) for e in told or ()],
                int(waiting),
            )
    return found


def plain(row: Row) -> Row:
    """A row without the characters that the database cannot store in text."""
    return tuple(_plain(value) if isinstance(value, str) else value for value in row)


def _plain(text: str) -> str:
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()
