"""The labels of each total: the only definition, for counting, storing and showing.

A series is identified by the names of its labels. The ledger stores only their values, in the order
of these forms, with the account before them and the slices after them; no other part knows that
order. The form of a released total never changes: `exporter.ledger.words` relies on it.

The forms of plain facts (`exporter.ledger.facts`) follow from their fields.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import product
from typing import Any, Final, Literal, get_args, get_type_hints

from exporter.interfaces.observations import DOCUMENTED_ENDS, DropReason, Source
from exporter.ledger.facts import IgnoreReason, PlainCounter, PlainFact
from exporter.ledger.phases import PHASES
from exporter.ledger.slicing import SliceLabels, values_of

CounterName = Literal[
    PlainCounter,
    "finished",
    "failures",
    "outputs",
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
        initial: Values that are known in advance, in the same order: their series show 0 from the
            start.
        sliced: Whether the total is divided by slices.
    """

    labels: Mapping[str, str] = field(default_factory=dict)
    initial: Sequence[Labels] = ()
    sliced: bool = False

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

_KINDS: Final[Mapping[Any, str]] = {
    Source: "source",
    DropReason: "drop reason",
    IgnoreReason: "ignore reason",
}
"""The kind of word (`exporter.ledger.words`) that the values of each type are."""


def _form_of_plain(fact: type[PlainFact]) -> Form:
    """The form of the total of a plain fact: its fields are the labels."""
    hints = get_type_hints(fact)
    types = {field_.name: hints[field_.name] for field_ in fields(fact)}
    return Form(
        {name: _KINDS[kind] for name, kind in types.items()},
        [*product(*(get_args(kind) for kind in types.values()))],
    )


COUNTERS: Final[Mapping[CounterName, Form]] = {
    **{fact.counter: _form_of_plain(fact) for fact in get_args(PlainFact)},
    "finished": Form({"status": "status"}, _each(_ENDS), sliced=True),
    "failures": Form({"node_type": "node_type", "exception_type": "exception_type"}, sliced=True),
    "outputs": Form(initial=[()], sliced=True),
    "label_overflow": Form({"label": "capped label"}, [("node_type",), ("exception_type",)]),
    "slice_overflow": Form({"label": "slice"}),
    "failed_in_a_row": Form(initial=[()]),
    "phases": Form({"result": "phase result"}, _each(get_args(PhaseResult)), sliced=True),
}
HISTOGRAMS: Final[Mapping[HistogramName, Form]] = {
    "entry_queue_position": Form(initial=[()], sliced=True),
    "time_to_start": Form(initial=[()], sliced=True),
    "run_duration": Form({"status": "status"}, _each(_ENDS), sliced=True),
    "phase_duration": Form(
        {"phase": "status"}, _each([phase.value for phase in PHASES]), sliced=True
    ),
}


def form_of(name: CounterName | HistogramName) -> Form:
    """The form of a total."""
    return _ALL[name]


_ALL: Final[Mapping[str, Form]] = {
    **{str(name): form for name, form in COUNTERS.items()},
    **{str(name): form for name, form in HISTOGRAMS.items()},
}
