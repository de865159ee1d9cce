"""The words that the ledger stores on disk, and which step of the schema introduced each.

An older version cannot know a word that was added after it. So a word is stored only if a step of
the schema has introduced it: because of that step, an older version refuses the file before it
reads a row. An unknown word in a row with a correct checksum means the same.
"""

from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Final, get_args

from exporter.interfaces.observations import DropReason, Source, Status
from exporter.ledger.facts import SLICED, Finished, IgnoreReason, PhasePassed, Ran
from exporter.ledger.forms import COUNTERS, HISTOGRAMS, Form, Labels, PhaseResult
from exporter.ledger.steps import STEPS
from exporter.ledger.workflow import Held, Phase

_VALUES: Final[Mapping[str, tuple[str, ...]]] = {
    "source": get_args(Source),
    "phase": get_args(Phase),
    "status": tuple(status.value for status in Status),
    "drop reason": get_args(DropReason),
    "ignore reason": get_args(IgnoreReason),
    "capped label": tuple(label for (label,) in COUNTERS["label_overflow"].initial),
    "mark": ("announced",),
    "label": ("slice",),
    "phase result": get_args(PhaseResult),
    "held fact": tuple(fact.__name__ for fact in SLICED),
}


class UnknownWordError(Exception):
    """A row is undamaged, and holds a word that this version does not know."""


@cache
def words_of_workflow(source: Source, phase: Phase, status: Status | None) -> frozenset[str]:
    """The words in a workflow's row, except those in its facts that are not counted yet."""
    words = [f"source {source}", f"phase {phase}"]
    return frozenset(words if status is None else [*words, f"status {status.value}"])


def words_of_held(held: Held | None) -> frozenset[str]:
    """The words in the facts of a workflow's row that are not counted yet."""
    facts = [] if held is None else [fact for fact, _ in held.facts]
    statuses = [fact.status for fact in facts if isinstance(fact, Finished | Ran)]
    statuses += [fact.phase for fact in facts if isinstance(fact, PhasePassed)]
    return frozenset(
        [f"held fact {type(fact).__name__}" for fact in facts]
        + [f"status {status.value}" for status in statuses]
    )


@lru_cache(maxsize=10_000)
def words_of_total(kind: str, name: str, labels: Labels) -> frozenset[str]:
    """The words in a `counter` or a `histogram`.

    The first one is its name with its kinds of labels. If this version does not know the name, only
    this first word is returned.
    """
    form = _FORMS.get((kind, name))
    kinds = () if form is None else tuple(form.labels.values())
    fixed, slices = labels[1 : 1 + len(kinds)], labels[1 + len(kinds) :]
    may_be_sliced = form is not None and form.sliced and all("=" in label for label in slices)
    if form is None or len(kinds) != len(fixed) or (slices and not may_be_sliced):
        return frozenset([f"{kind} {name} with other labels"])
    words = [
        f"{label_kind} {value}"
        for label_kind, value in zip(kinds, fixed, strict=True)
        if label_kind in _VALUES
    ]
    if slices:
        words.append("label slice")
    return frozenset([f"{kind} {_word(name, form)}", *words])


def _word(name: str, form: Form) -> str:
    return f"{name}({', '.join(form.labels.values())})"


_FORMS: Final[Mapping[tuple[str, str], Form]] = {
    **{("counter", name): form for name, form in COUNTERS.items()},
    **{("histogram", name): form for name, form in HISTOGRAMS.items()},
}

WORDS: Final = frozenset(
    [f"{kind} {value}" for kind, values in _VALUES.items() for value in values]
    + [f"{kind} {_word(name, form)}" for (kind, name), form in _FORMS.items()]
)
"""Every word that this version stores, with its kind before it, for example `source pushed`."""


def words_until(step: int) -> frozenset[str]:
    """Every word that a ledger may hold after this many steps of the schema."""
    return frozenset(
        f"{kind} {word}"
        for added in STEPS[:step]
        for kind, words in added.words.items()
        for word in words
    )


def unknown_of(words: frozenset[str]) -> str | None:
    """The first of these words that this version does not know; None: it knows all."""
    return min(words - WORDS, default=None)
