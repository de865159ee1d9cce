"""Which slices a workflow belongs to: labels that a user derives from its tags or its name. Pure.

The slices of a workflow are decided once, before anything about it is counted, and stored in its
row by the label's name, so that slices can be added and removed. A label without a decision gets
the default, and so does a label that matched nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from exporter.comfycontrol.text import clean

if TYPE_CHECKING:
    import re2

    from exporter.interfaces.observations import Traits

log = logging.getLogger(__name__)

OTHER: Final = "other"
"""The value for everything beyond the maximum number of values of a slice."""

Cap = Callable[["SliceRule", str], str]
"""Returns a value, or `other` if the account has too many values."""

Slices = tuple[tuple[str, str | None], ...]
"""The decided slices of a workflow: label and value, ordered by label. Value None: nothing
matched."""

SliceLabels = tuple[str, ...]
"""The slices of a total: `label=value`, ordered; only those that matched."""


@dataclass(frozen=True, slots=True)
class SliceRule:
    """One slice, as it is configured."""

    label: str
    origin: Literal["tag", "name"]
    pattern: re2._Regexp
    """A regular expression with one group."""
    values: int
    """How many distinct values an account may have; `default` and `other` come on top."""
    default: str
    """The value that is shown if nothing matched."""

    @property
    def terms(self) -> tuple[str, str, str, int, str]:
        """All its settings, for comparisons: compiled expressions are never equal."""
        return self.label, self.origin, str(self.pattern.pattern), self.values, self.default

    def is_told_by(self, traits: Traits) -> bool:
        """Whether these traits contain what the slice is derived from."""
        return (traits.tags if self.origin == "tag" else traits.name) is not None

    def value_of(self, traits: Traits) -> str | None:
        """The value from the first text that matches.

        None: no text matches, or the value is empty.
        """
        texts = traits.tags if self.origin == "tag" else (traits.name,)
        for text in filter(None, texts or ()):
            found = self.pattern.search(text)
            if found is not None:
                return clean(found.group(1) or "") or None
        return None


def log_changes(
    labels: Collection[str], before: Sequence[SliceRule], now: Sequence[SliceRule]
) -> None:
    """Log how the slices differ from those before; log nothing if they do not differ.

    Args:
        labels: the labels of the slices before.
        before: how they were configured, if that is known.
        now: how they are configured now.
    """
    known = {rule.label: rule.terms for rule in before}
    told = {
        "added": [rule.label for rule in now if rule.label not in labels],
        "removed": sorted(set(labels) - {rule.label for rule in now}),
        "changed": [r.label for r in now if known.get(r.label, r.terms) != r.terms],
    }
    if any(told.values()):
        log.info(
            "slices changed: totals continue under the current labels",
            extra={mark: ",".join(names) for mark, names in told.items() if names},
        )


def is_decided(slices: Slices, rules: Sequence[SliceRule]) -> bool:
    """Whether nothing is left to decide about a workflow."""
    if not rules:
        return True
    decided = {label for label, _ in slices}
    return all(rule.label in decided for rule in rules)


def decide(
    slices: Slices,
    traits: Traits | None,
    rules: Sequence[SliceRule],
    capped: Cap,
) -> Slices:
    """Decide the slices of a workflow. A slice that was decided once stays the same.

    Args:
        slices: the slices that were decided before.
        traits: the name and tags of the workflow; None: they are unknown and will stay so.
        rules: how they are configured now.
        capped: returns a value, or `other` if the account has too many values.
    """
    decided = dict(slices)
    for rule in rules:
        if rule.label not in decided and (traits is None or rule.is_told_by(traits)):
            value = None if traits is None else rule.value_of(traits)
            decided[rule.label] = None if value is None else capped(rule, value)
    return tuple(sorted(decided.items()))


def matched(slices: Slices) -> dict[str, str]:
    """The values by label; only of slices that matched."""
    return {label: value for label, value in slices if value is not None}


def labels_of(slices: Slices) -> SliceLabels:
    """The slices of the totals to which a workflow's facts are added."""
    return tuple(f"{label}={value}" for label, value in slices if value is not None)


def values_of(labels: Sequence[str]) -> Mapping[str, str]:
    """The values of a total's slices by label."""
    return dict(label.split("=", 1) for label in labels)


def shown(slices: Mapping[str, str | None], rules: Sequence[SliceRule]) -> dict[str, str]:
    """The slices that are configured now, by label, in their order.

    A slice that was not decided, or that matched nothing, has the default. Labels that are no
    longer configured are left out.
    """
    return {rule.label: slices.get(rule.label) or rule.default for rule in rules}
