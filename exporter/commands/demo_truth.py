"""Compares what the demo's exporter has counted with what its local ComfyControl knows.

What had ended before the first start of an account is not counted. Nobody outside knows that exact
moment. So for workflows that ended before the end of the first pass over the list, and only for
those, the exporter is asked whether they had ended before. Everything that ends later must be
counted.
"""

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from math import inf
from typing import Final

from rich.text import Text

from exporter.history.words import NOT_COUNTED
from exporter.interfaces.views import WorkflowStory
from exporter.ledger.forms import COUNTERS
from exporter.metrics.reading import Reading
from exporter.simulator import Truth

Outcomes = Mapping[tuple[str, str], int]
"""How many ended, by account and status."""

SHARE: Final = 0.05
"""The most of the time that looking takes: a day of 100,000 workflows is long to tell, and the
simulator does nothing else meanwhile."""

_BEFORE_US: Final = frozenset(
    NOT_COUNTED[why] for why in ("first_pass", "before_cutoff", "no_cutoff")
)


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was counted, beside what ended.

    Attributes:
        counted: outcomes that the exporter has counted.
        ended: outcomes that are its to count.
        on_their_way: have ended, and are not counted yet.
        too_often: are counted, and have not ended so.
    """

    counted: int
    ended: int
    on_their_way: int
    too_often: int

    def __str__(self) -> str:
        text = f"counted {self.counted:,} of {self.ended:,} that ended"
        text += f", {self.too_often:,} too often" if self.too_often else ", none twice"
        if self.on_their_way:
            text += f"; {self.on_their_way:,} on the way"
        return text


def compare(counted: Outcomes, ended: Outcomes) -> Comparison:
    """Compare account by account and status by status.

    `ended` must not be older than `counted`: what ends in between is on its way.
    """
    apart = {key: counted.get(key, 0) - ended.get(key, 0) for key in counted.keys() | ended.keys()}
    return Comparison(
        counted=sum(counted.values()),
        ended=sum(ended.values()),
        on_their_way=sum(-each for each in apart.values() if each < 0),
        too_often=sum(each for each in apart.values() if each > 0),
    )


class AgainstTruth:
    """Compares again and again. For one thread.

    Args:
        read: the exporter's numbers at this instant.
        truth: the simulator's, at this instant.
        story: what the exporter knows of one workflow.
        monotonic: seconds.
    """

    def __init__(
        self,
        read: Callable[[], Reading],
        truth: Callable[[], Truth],
        story: Callable[[str], WorkflowStory | None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read = read
        self._truth = truth
        self._story = story
        self._monotonic = monotonic
        self._latest: Comparison | None = None
        self._due = -inf
        # By account, the executions that were over before its first pass.
        self._before_us: dict[str, Collection[tuple[str, int]]] = {}

    def compare(self, *, again: bool = True) -> Comparison | None:
        """Compare now; None: the list of an account was not read yet.

        `again`: the latest will do, where comparing takes so long that it must not be done often.
        """
        began = self._monotonic()
        if began >= self._due or not again:
            self._latest = self._compare()
            took = self._monotonic() - began
            self._due = began + took / SHARE
        return self._latest

    def _compare(self) -> Comparison | None:
        reading = self._read()
        # Later than that: what is counted has ended.
        truth = self._truth()
        for account, seen in reading.accounts.items():
            if account not in self._before_us and seen.list_completed_at is not None:
                self._before_us[account] = self._over_before_us(truth, account)
        if len(self._before_us) < len(reading.accounts):
            return None
        return compare(_counted(reading), self._ended(truth))

    def _over_before_us(self, truth: Truth, account: str) -> frozenset[tuple[str, int]]:
        found = set()
        for each in truth.told(account):
            story = self._story(each.id)
            if story is not None and story.not_counted_because in _BEFORE_US:
                found.add((each.id, each.execution))
        return frozenset(found)

    def _ended(self, truth: Truth) -> Outcomes:
        return Counter(
            (each.account, str(each.told.outcome))
            for each in truth.told()
            if (each.id, each.execution) not in self._before_us.get(each.account, ())
        )


def _counted(reading: Reading) -> Outcomes:
    counted: Counter[tuple[str, str]] = Counter()
    for kept, total in reading.ledger.totals.counters_named("finished"):
        labels = COUNTERS["finished"].named(kept)
        counted[labels["account"], labels["status"]] += int(total.value)
    return counted


def line(comparison: Comparison | None) -> Text:
    """It, as one line for a terminal."""
    if comparison is None:
        return Text("nothing to compare yet: the list is being read", style="dim")
    styles = ("red bold", "yellow", "green")
    style = styles[0 if comparison.too_often else 1 if comparison.on_their_way else 2]
    return Text(str(comparison), style=style)
