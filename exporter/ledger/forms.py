"""The labels of each total: the only definition, for counting, storing and showing.

A series is identified by the names of its labels. The ledger stores only their values, in the order
of these forms, with the account before them and the slices after them; no other part knows that
order. The form of a released total never changes: `exporter.ledger.words` relies on it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

from exporter.interfaces.observations import DOCUMENTED_ENDS, DropReason, Source
from exporter.ledger.facts import Discovered, Dropped, Ignored, IgnoreReason, PlainFact, Recovered
from exporter.ledger.phases import PHASES
from exporter.ledger.slicing import SliceLabels, values_of

CounterName = Literal[
    "discovered",
    "finished",
    "failures",
    "outputs",
    "dropped",
    "recovered",
    "ignored",
    "label_overflow",
    "slice_overflow",
    "failed_in_a_row",
    "phases",
]
HistogramName = Literal["entry_queue_position", "time_to_start", "run_duration", "phase_duration"]
PhaseResult = Literal["measured", "uncertain"]

Labels = tuple[str, ...]
"""Label values as they are stored: the account, those of the form, then `SliceLabels`."""


@dataclass(frozen=True, slots=True)
class Form:
    """The labels by which one total is counted.

    Attributes:
        labels: By label name: the kind of its values (`exporter.ledger.words`), in the order in
            which they are stored.
        known: Values known in advance, in the same order: their series show 0 from the start.
        sliced: Whether the total is divided by slices.
        fact: Each fact of this type counts 1, under the labels that its fields of the same names
            give; None: `exporter.ledger.totals` says what counts.
    """

    labels: Mapping[str, str] = field(default_factory=dict)
    known: Sequence[Labels] = ()
    sliced: bool = False
    fact: type[PlainFact] | None = None

    def labels_of(self, account: str, slices: SliceLabels = (), /, **labels: str) -> Labels:
        """The labels of one series, as they are stored.

        Raises:
            TypeError: these are not the labels of this total.
        """
        if labels.keys() != self.labels.keys() or (slices and not self.sliced):
            raise TypeError(f"counted by {sorted(labels)} in place of {sorted(self.labels)}")
        return (account, *(labels[name] for name in self.labels), *slices)

    def named(self, kept: Labels) -> dict[str, str]:
        """The labels of one series by name, the account among them, without its slices."""
        return dict(zip(("account", *self.labels), kept, strict=False))

    def slices(self, kept: Labels) -> Mapping[str, str]:
        """The slices of one series, by label."""
        return values_of(kept[1 + len(self.labels) :]) if self.sliced else {}


def _each(values: Sequence[str]) -> list[Labels]:
    return [(value,) for value in values]


_ENDS: Final = [status.value for status in DOCUMENTED_ENDS]

COUNTERS: Final[Mapping[CounterName, Form]] = {
    "discovered": Form({"source": "source"}, _each(get_args(Source)), fact=Discovered),
    "finished": Form({"status": "status"}, _each(_ENDS), sliced=True),
    "failures": Form({"node_type": "node_type", "exception_type": "exception_type"}, sliced=True),
    "outputs": Form(known=[()], sliced=True),
    "dropped": Form({"reason": "drop reason"}, _each(get_args(DropReason)), fact=Dropped),
    "recovered": Form(known=[()], fact=Recovered),
    "ignored": Form({"reason": "ignore reason"}, _each(get_args(IgnoreReason)), fact=Ignored),
    "label_overflow": Form({"label": "capped label"}, [("node_type",), ("exception_type",)]),
    "slice_overflow": Form({"label": "slice"}),
    "failed_in_a_row": Form(known=[()]),
    "phases": Form({"result": "phase result"}, _each(get_args(PhaseResult)), sliced=True),
}
HISTOGRAMS: Final[Mapping[HistogramName, Form]] = {
    "entry_queue_position": Form(known=[()], sliced=True),
    "time_to_start": Form(known=[()], sliced=True),
    "run_duration": Form({"status": "status"}, _each(_ENDS), sliced=True),
    "phase_duration": Form(
        {"phase": "status"}, _each([phase.value for phase in PHASES]), sliced=True
    ),
}

COUNTER_OF_FACT: Final = {form.fact: name for name, form in COUNTERS.items() if form.fact}
"""The counter to which each fact of a type adds 1."""


def form_of(name: CounterName | HistogramName) -> Form:
    """The form of a total."""
    return _ALL[name]


_ALL: Final[Mapping[str, Form]] = {
    **{str(name): form for name, form in COUNTERS.items()},
    **{str(name): form for name, form in HISTOGRAMS.items()},
}
