"""Running totals: facts added up, by account and a bounded set of labels.

The names here are the ledger's own; `exporter.metrics.catalogue` gives them their public ones.
"""

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from exporter.interfaces.observations import Status
from exporter.ledger.facts import (
    EnteredQueue,
    Fact,
    Failed,
    Finished,
    OutputsMade,
    PhasePassed,
    Ran,
    Started,
)
from exporter.ledger.forms import (
    COUNTERS,
    HISTOGRAMS,
    CounterName,
    HistogramName,
    Labels,
    PhaseResult,
    form_of,
)
from exporter.ledger.new_series import NewSeries, SeriesKey
from exporter.ledger.slicing import OTHER, SliceLabels, SliceRule, Slices, labels_of

UNKNOWN: Final = "unknown"
"""The label value if the service gave none."""
MOST_IN_A_ROW: Final = 100
"""Failures in a row are counted up to this number; higher numbers have no use."""


@dataclass(frozen=True, slots=True)
class Buckets:
    """Upper bounds of the histograms' buckets in rising order, without the infinite one."""

    entry_queue_position: tuple[float, ...]
    time_to_start: tuple[float, ...]
    run_duration: tuple[float, ...]

    def of(self, name: HistogramName) -> tuple[float, ...]:
        """The bounds of one histogram.

        Phases are parts of the time to start, so they use its bounds.
        """
        if name == "phase_duration":
            return self.time_to_start
        bounds: tuple[float, ...] = getattr(self, name)
        return bounds


@dataclass(frozen=True, slots=True)
class LabelCaps:
    """How many distinct values a label may have before the rest is counted as `other`."""

    node_types: int
    exception_types: int


@dataclass(frozen=True, slots=True)
class Exemplar:
    """The workflow that last changed a total. It carries the id, which must not be a label."""

    workflow_id: str
    value: float
    wall: float
    """Unix seconds."""


@dataclass(slots=True)
class CounterTotal:
    """One counter series."""

    value: float = 0.0
    exemplar: Exemplar | None = None
    appeared: int = 0
    """Its number among the new series; 0: its labels were known in advance. See `NewSeries`."""

    def copied(self) -> "CounterTotal":
        """A copy that later counts do not change."""
        return CounterTotal(self.value, self.exemplar, self.appeared)

    def at_zero(self) -> "CounterTotal":
        """The same series before anything was counted."""
        return CounterTotal(appeared=self.appeared)


@dataclass(slots=True)
class HistogramTotal:
    """One histogram series.

    `counts` are per bucket, not cumulative; the last one is above all bounds.
    """

    bounds: tuple[float, ...]
    counts: list[int] = field(default_factory=list)
    sum: float = 0.0
    exemplars: list[Exemplar | None] = field(default_factory=list)
    appeared: int = 0
    """Its number among the new series; 0: its labels were known in advance. See `NewSeries`."""

    def __post_init__(self) -> None:
        if not self.counts:
            self.counts = [0] * (len(self.bounds) + 1)
        if not self.exemplars:
            self.exemplars = [None] * (len(self.bounds) + 1)

    @property
    def count(self) -> int:
        """How many values were observed."""
        return sum(self.counts)

    def observe(self, value: float, exemplar: Exemplar) -> None:
        """Add one value to the bucket whose upper bound is the first not below it."""
        bucket = bisect_left(self.bounds, value)
        self.counts[bucket] += 1
        self.sum += value
        self.exemplars[bucket] = exemplar

    def copied(self) -> "HistogramTotal":
        """A copy that later observations do not change."""
        return HistogramTotal(
            self.bounds, list(self.counts), self.sum, list(self.exemplars), self.appeared
        )

    def at_zero(self) -> "HistogramTotal":
        """The same series before anything was observed."""
        return HistogramTotal(self.bounds, appeared=self.appeared)


@dataclass(slots=True)
class Shown:
    """The part of the totals that may be shown if only stored values may be shown."""

    accounts: frozenset[str] = frozenset()
    counters: dict[tuple[CounterName, Labels], CounterTotal] = field(default_factory=dict)
    histograms: dict[tuple[HistogramName, Labels], HistogramTotal] = field(default_factory=dict)


class Totals:
    """Every counter and histogram that comes from facts. Not safe to share between threads."""

    def __init__(self, buckets: Buckets, caps: LabelCaps, slices: Sequence[SliceRule] = ()) -> None:
        self._buckets = buckets
        self._caps = caps
        self._slices = tuple(slices)
        self._new = NewSeries()
        # By account and label: the values that count towards the cap.
        self._values: dict[tuple[str, str], set[str]] = {}
        # By account and slice: the values that count towards the cap.
        self._slice_values: dict[tuple[str, str], set[str]] = {}
        self.counters: dict[tuple[CounterName, Labels], CounterTotal] = {}
        self.histograms: dict[tuple[HistogramName, Labels], HistogramTotal] = {}
        self._changed_counters: set[tuple[CounterName, Labels]] = set()
        self._changed_histograms: set[tuple[HistogramName, Labels]] = set()

    def restore(
        self,
        counters: Mapping[tuple[CounterName, Labels], CounterTotal],
        histograms: Mapping[tuple[HistogramName, Labels], HistogramTotal],
        *,
        appeared: int = 0,
        announced: int = 0,
    ) -> list[HistogramName]:
        """Continue from stored totals; return the names of histograms that restart from 0.

        These are the histograms whose configured buckets have changed: old counts cannot be
        converted to the new buckets. The numbers of new series continue after `appeared`, which may
        belong to a series that is not restored. Series with numbers above `announced` are not
        announced yet.
        """
        self._new = NewSeries(max(appeared, announced))
        self.counters.update(counters)
        self.histograms.update(histograms)
        for key, counter in counters.items():
            self._note_values(*key)
            if counter.appeared > announced:
                self._new.restore(key, counter)
        for name, histogram in histograms.items():
            self._note_slice_labels(*name)
            if histogram.appeared > announced:
                self._new.restore(name, histogram)
        return self._restart()

    def adopt(
        self,
        counters: Mapping[tuple[CounterName, Labels], CounterTotal],
        histograms: Mapping[tuple[HistogramName, Labels], HistogramTotal],
        announced: int,
    ) -> list[HistogramName]:
        """Continue from the stored totals of an account.

        Return the names of histograms that restart from 0. Series with numbers above `announced`
        are not announced yet, and get new numbers.
        """
        self.counters.update(counters)
        self.histograms.update(histograms)
        for key, counter in counters.items():
            self._note_values(*key)
            self._number(key, counter, announced)
        for name, histogram in histograms.items():
            self._note_slice_labels(*name)
            self._number(name, histogram, announced)
        return self._restart()

    def _number(self, key: SeriesKey, total: CounterTotal | HistogramTotal, announced: int) -> None:
        if total.appeared > announced:
            self._new.appear(key, total)
        else:
            total.appeared = 0

    def drop(self, account: str) -> None:
        """Remove all totals of an account."""
        self.counters = {k: t for k, t in self.counters.items() if k[1][0] != account}
        self.histograms = {k: t for k, t in self.histograms.items() if k[1][0] != account}
        self._changed_counters = {k for k in self._changed_counters if k[1][0] != account}
        self._changed_histograms = {k for k in self._changed_histograms if k[1][0] != account}
        self._values = {k: v for k, v in self._values.items() if k[0] != account}
        self._slice_values = {k: v for k, v in self._slice_values.items() if k[0] != account}
        self._new.forget(account)

    def change(
        self, buckets: Buckets, caps: LabelCaps, slices: Sequence[SliceRule] = ()
    ) -> list[HistogramName]:
        """Use other settings from now on.

        Return the names of histograms that restart from 0 because of that.
        """
        self._buckets, self._caps, self._slices = buckets, caps, tuple(slices)
        return self._restart()

    def open_account(self, account: str) -> None:
        """Create all series of an account whose labels are known in advance, with the value 0.

        Its other series that are not announced become visible from now on.
        """
        for counter, form in COUNTERS.items():
            for labels in form.initial:
                self.counters.setdefault((counter, (account, *labels)), CounterTotal())
        for histogram, form in HISTOGRAMS.items():
            for labels in form.initial:
                key = histogram, (account, *labels)
                self.histograms.setdefault(key, HistogramTotal(self._buckets.of(histogram)))
        self._note_numbered(self._new.appear_again(account))

    # Slices -----------------------------------------------------------------------------------

    def capped_slice(self, account: str, rule: SliceRule, value: str) -> str:
        """The slice's value, or `other` if the account already has too many other values."""
        known = self._slice_values.setdefault((account, rule.label), set())
        if value in known or value in {OTHER, rule.default}:
            return value
        if len(known - {rule.default}) < rule.values:
            known.add(value)
            return value
        self._count("slice_overflow", account, label=rule.label)
        return OTHER

    def open_overflows(self, account: str) -> None:
        """Create the series `other` of every slice of an account, with the value 0."""
        for rule in self._slices:
            labels = COUNTERS["slice_overflow"].labels_of(account, label=rule.label)
            self.counters.setdefault(("slice_overflow", labels), CounterTotal())

    def open_slices(self, account: str, slices: Slices) -> None:
        """Create the series that a workflow with these slices will change, with the value 0."""
        self._note_slices(account, dict(slices))
        labels = labels_of(slices)
        if (
            not labels
            or ("outputs", COUNTERS["outputs"].labels_of(account, labels)) in self.counters
        ):
            return
        for counter, form in COUNTERS.items():
            for known in form.initial if form.sliced else ():
                self._add(counter, (account, *known, *labels), 0.0)
        for histogram, form in HISTOGRAMS.items():
            # The run duration by slice gets its series only after the first run.
            for known in form.initial if form.sliced and histogram != "run_duration" else ():
                self._histogram(histogram, (account, *known, *labels))

    def sliced_by(self) -> set[str]:
        """The labels of all slices by which anything was ever counted."""
        return {label for _, label in self._slice_values}

    def _note_slices(self, account: str, values: Mapping[str, str | None]) -> None:
        for label, value in values.items():
            if value not in {None, OTHER}:
                self._slice_values.setdefault((account, label), set()).add(str(value))

    def _note_slice_labels(self, name: CounterName | HistogramName, labels: Labels) -> None:
        self._note_slices(labels[0], form_of(name).slices(labels))

    # Counting ---------------------------------------------------------------------------------

    def add(
        self,
        account: str,
        workflow_id: str,
        fact: Fact,
        wall: float,
        slices: SliceLabels = (),
    ) -> None:
        """Count one fact of a workflow in these slices.

        It has been known since `wall` (Unix seconds).
        """

        def exemplar(value: float) -> Exemplar:
            return Exemplar(workflow_id, value, wall)

        match fact:
            case EnteredQueue(position):
                self._observe("entry_queue_position", account, slices, exemplar(position))
            case PhasePassed():
                self._phase(account, fact, slices, exemplar)
            case Started(seconds):
                self._observe("time_to_start", account, slices, exemplar(seconds))
            case Finished(status, ran):
                self._count("finished", account, slices, exemplar(1.0), status=status.value)
                self._note_row(account, status)
                if ran is not None:
                    self._observe(
                        "run_duration", account, slices, exemplar(ran), status=status.value
                    )
            case Ran(status, ran):
                self._observe("run_duration", account, slices, exemplar(ran), status=status.value)
            case Failed():
                self._failure(account, fact, slices, exemplar(1.0))
            case OutputsMade(count):
                self._count("outputs", account, slices, amount=count)
            case _:
                labels = {label: getattr(fact, label) for label in COUNTERS[fact.counter].labels}
                self._count(fact.counter, account, **labels)

    def copied(self, accounts: Collection[str]) -> "Totals":
        """A copy that later facts do not change; a scrape can render it without a lock."""
        copy_ = Totals(self._buckets, self._caps)
        copy_.counters = {
            key: total.copied() for key, total in self.counters.items() if key[1][0] in accounts
        }
        copy_.histograms = {
            key: total.copied() for key, total in self.histograms.items() if key[1][0] in accounts
        }
        return copy_

    def take_changed(
        self,
    ) -> tuple[
        dict[tuple[CounterName, Labels], CounterTotal],
        dict[tuple[HistogramName, Labels], HistogramTotal],
    ]:
        """Copies of the series that have changed since this was last called."""
        counters = {key: self.counters[key].copied() for key in self._changed_counters}
        histograms = {key: self.histograms[key].copied() for key in self._changed_histograms}
        self._changed_counters.clear()
        self._changed_histograms.clear()
        return counters, histograms

    def show_committed(self, shown: "Shown") -> None:
        """Reduce this to what the store has recorded. Only call it on a copy."""
        for key, counter in self.counters.items():
            kept = shown.counters.get(key, CounterTotal())
            counter.value, counter.exemplar = kept.value, kept.exemplar
        for name, histogram in self.histograms.items():
            observed = shown.histograms.get(name)
            if observed is None or observed.bounds != histogram.bounds:
                observed = HistogramTotal(histogram.bounds)
            histogram.counts, histogram.sum = list(observed.counts), observed.sum
            histogram.exemplars = list(observed.exemplars)

    def take_back(
        self,
        counters: Iterable[tuple[CounterName, Labels]],
        histograms: Iterable[tuple[HistogramName, Labels]],
    ) -> None:
        """Mark these series as changed, so that the next call returns them again."""
        self._changed_counters.update(counters)
        self._changed_histograms.update(histograms)

    def newest_series(self, accounts: Collection[str]) -> int:
        """The highest number of a series of these accounts that is not announced.

        If there is none, the result is 0.
        """
        return self._new.newest(accounts)

    def announce(self, series: int, accounts: Collection[str]) -> bool:
        """Announce the series of these accounts up to this number.

        Return False if there are none.
        """
        renumbered = self._new.announce(series, accounts)
        if renumbered is None:
            return False
        self._note_numbered(renumbered)
        return True

    def counters_named(self, name: CounterName) -> Iterator[tuple[Labels, CounterTotal]]:
        """The series of one counter; its `Form` defines the labels."""
        return ((labels, t) for (of, labels), t in self.counters.items() if of == name)

    def histograms_named(self, name: HistogramName) -> Iterator[tuple[Labels, HistogramTotal]]:
        """The series of one histogram."""
        return ((labels, t) for (of, labels), t in self.histograms.items() if of == name)

    def _note_row(self, account: str, status: Status) -> None:
        """Note how many workflows failed since the last completed one.

        Only this total can decrease. The order is that of counting. Other outcomes do not change
        it: they do not show whether workflows fail.
        """
        if status not in {Status.COMPLETED, Status.FAILED}:
            return
        key: tuple[CounterName, Labels] = (
            "failed_in_a_row",
            COUNTERS["failed_in_a_row"].labels_of(account),
        )
        total = self.counters.setdefault(key, CounterTotal())
        value = min(total.value + 1, MOST_IN_A_ROW) if status is Status.FAILED else 0.0
        if value != total.value:
            total.value = value
            self._changed_counters.add(key)

    def _failure(
        self, account: str, cause: Failed, slices: SliceLabels, exemplar: Exemplar
    ) -> None:
        node = self._capped(account, "node_type", cause.node_type or UNKNOWN, self._caps.node_types)
        exception = self._capped(
            account, "exception_type", cause.exception_type or UNKNOWN, self._caps.exception_types
        )
        self._count("failures", account, slices, exemplar, node_type=node, exception_type=exception)

    def _phase(
        self,
        account: str,
        passed: PhasePassed,
        slices: SliceLabels,
        exemplar: Callable[[float], Exemplar],
    ) -> None:
        result: PhaseResult = "uncertain" if passed.seconds is None else "measured"
        self._count("phases", account, slices, result=result)
        if passed.seconds is not None:
            seen = exemplar(passed.seconds)
            self._observe("phase_duration", account, slices, seen, phase=passed.phase.value)

    def _capped(self, account: str, label: str, value: str, cap: int) -> str:
        """The value itself, or `other` if the account already has `cap` other values."""
        known = self._values.get((account, label), ())
        if value in known or value in {UNKNOWN, OTHER} or len(known) < cap:
            return value
        self._count("label_overflow", account, label=label)
        return OTHER

    def _note_values(self, name: CounterName, labels: Labels) -> None:
        self._note_slice_labels(name, labels)
        if name != "failures":
            return
        named = COUNTERS["failures"].named(labels)
        for label in ("node_type", "exception_type"):
            if named[label] not in {UNKNOWN, OTHER}:
                self._values.setdefault((named["account"], label), set()).add(named[label])

    def _count(
        self,
        name: CounterName,
        account: str,
        slices: SliceLabels = (),
        exemplar: Exemplar | None = None,
        amount: float = 1.0,
        **labels: str,
    ) -> None:
        self._add(name, COUNTERS[name].labels_of(account, slices, **labels), amount, exemplar)

    def _add(
        self, name: CounterName, labels: Labels, amount: float, exemplar: Exemplar | None = None
    ) -> None:
        total = self.counters.get((name, labels))
        if total is None:
            total = self.counters[name, labels] = CounterTotal()
            self._new.appear((name, labels), total)
            self._note_values(name, labels)
        self._changed_counters.add((name, labels))
        total.value += amount
        if exemplar is not None:
            total.exemplar = exemplar

    def _observe(
        self,
        name: HistogramName,
        account: str,
        slices: SliceLabels,
        exemplar: Exemplar,
        **labels: str,
    ) -> None:
        total = self._histogram(name, HISTOGRAMS[name].labels_of(account, slices, **labels))
        total.observe(exemplar.value, exemplar)

    def _histogram(self, name: HistogramName, labels: Labels) -> HistogramTotal:
        total = self.histograms.get((name, labels))
        if total is None:
            total = self.histograms[name, labels] = HistogramTotal(self._buckets.of(name))
            self._new.appear((name, labels), total)
        self._changed_histograms.add((name, labels))
        return total

    def _restart(self) -> list[HistogramName]:
        """Reset histograms whose buckets differ from the configured ones; return their names."""
        restarted: dict[HistogramName, None] = {}
        for (name, labels), total in self.histograms.items():
            if total.bounds != self._buckets.of(name):
                restarted[name] = None
                fresh = self.histograms[name, labels] = HistogramTotal(self._buckets.of(name))
                if total.appeared:
                    self._new.appear((name, labels), fresh)
                # The old counts must not come back if the buckets are changed back later.
                self._changed_histograms.add((name, labels))
        return list(restarted)

    def _note_numbered(self, keys: Collection[SeriesKey]) -> None:
        """Note that these series have new numbers, which must be stored."""
        self._changed_counters.update(key for key in self.counters if key in keys)
        self._changed_histograms.update(key for key in self.histograms if key in keys)
