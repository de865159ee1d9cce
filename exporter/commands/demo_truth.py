"""Compares what the demo's exporter has counted with what its local ComfyControl knows.

Workflows that had ended before the exporter's first start are not counted. Only the exporter knows
the exact moment. So for workflows that ended before the first pass over the list was complete,
and only for those, the exporter is asked whether they count. All that end later must be counted.
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
"""The part of the time (0 to 1) that comparing may take: reading 100,000 workflows is slow, and the
simulator does nothing else meanwhile."""

_BEFORE_US: Final = frozenset(
    NOT_COUNTED[why] for why in ("first_pass", "before_cutoff", "no_cutoff")
)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Counted outcomes, compared with real ones.

    Attributes:
        counted: outcomes that the exporter has counted.
        ended: outcomes that the exporter must count.
        on_their_way: how many have ended, and are not counted yet.
        too_often: how many were counted that have not ended with that status.
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

    `ended` must not be older than `counted`: outcomes in between count as on their way.
    """
    apart = {key: counted.get(key, 0) - ended.get(key, 0) for key in counted.keys() | ended.keys()}
    return Comparison(
        counted=sum(counted.values()),
        ended=sum(ended.values()),
        on_their_way=sum(-each for each in apart.values() if each < 0),
        too_often=sum(each for each in apart.values() if each > 0),
    )


class AgainstTruth:
    """Compares repeatedly. For use by one thread.

    Args:
        read: returns the exporter's present numbers.
        truth: returns the simulator's present numbers.
        story: returns the exporter's history of one workflow.
        monotonic: the clock, in seconds.
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
        # By account: executions that had ended before its first pass was complete.
        self._before_us: dict[str, Collection[tuple[str, int]]] = {}

    def compare(self, *, again: bool = True) -> Comparison | None:
        """Compare now; None: the list of some account was not read yet.

        With `again`, the previous result may be returned, if comparing takes too long to repeat it.
        """
        began = self._monotonic()
        if began >= self._due or not again:
            self._latest = self._compare()
            took = self._monotonic() - began
            self._due = began + took / SHARE
        return self._latest

    def _compare(self) -> Comparison | None:
        reading = self._read()
        # Read later than the counts, so everything counted has ended by then.
        truth = self._truth()
        for account, seen in reading.accounts.items():
            if account not in self._before_us and seen.list_completed_at is not None:
                self._before_us[account] = self._over_before_us(truth, account)
        if len(self._before_us) < len(reading.accounts):
            return None
        return compare(_counted(reading), self._ended(truth))

    def _over_before_us(self, truth: Truth, account: str) -> frozenset[tuple[str, int]]:
        found = set()
        for each in truth.reported(account):
            story = self._story(each.id)
            if story is not None and story.not_counted_because in _BEFORE_US:
                found.add((each.id, each.execution))
        return frozenset(found)

    def _ended(self, truth: Truth) -> Outcomes:
        return Counter(
            (each.account, str(each.told.outcome))
            for each in truth.reported()
            if (each.id, each.execution) not in self._before_us.get(each.account, ())
        )


def _counted(reading: Reading) -> Outcomes:
    counted: Counter[tuple[str, str]] = Counter()
    for kept, total in reading.ledger.totals.counters_named("finished"):
        labels = COUNTERS["finished"].named(kept)
        counted[labels["account"], labels["status"]] += int(total.value)
    return counted


def line(comparison: Comparison | None) -> Text:
    """The comparison as one line for a terminal."""
    if comparison is None:
        return Text("nothing to compare yet: the list is being read", style="dim")
    styles = ("red bold", "yellow", "green")
    style = styles[0 if comparison.too_often else 1 if comparison.on_their_way else 2]
    return Text(str(comparison), style=style)
