"""How long phases lasted, whatever was seen of them and however often the process began again."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from exporter.interfaces.observations import Moment, Observation, Status
from exporter.ledger import tracker
from exporter.ledger.counting import CountingRules
from exporter.ledger.facts import PhasePassed
from exporter.ledger.phases import APART_SECONDS, PHASES
from exporter.ledger.rows import workflow_of, workflow_row

if TYPE_CHECKING:
    from exporter.ledger.workflow import Workflow

T0 = 1_700_000_000.0
ID = str(UUID(int=1))
RULES = CountingRules(cutoff=T0, listed=True)
ORDER = (*PHASES, Status.RUNNING, Status.COMPLETED)
DATE_ERROR = 0.5
"""The Date header is to the second, and we take the middle of it."""
NOISE = 1e-3

GAPS = [0.25, 1.0, 2.0, 2.0, 3.0, 4.0, 4.75, 5.0, 5.25, 6.0, 9.0]
"""Between two looks, in seconds: around the limit."""

spans = st.integers(0, 240).map(lambda n: n / 8)


@dataclass(frozen=True)
class Life:
    """When a workflow came into each status, in seconds after T0."""

    entries: tuple[float, ...]

    def at(self, time: float) -> Status:
        return ORDER[sum(entry <= time for entry in self.entries) - 1]

    def length(self, phase: Status) -> float:
        return self.entries[phase.rank + 1] - self.entries[phase.rank]


@dataclass(frozen=True)
class View:
    """A life, and when we looked; a restart lies before the looks that have these numbers."""

    life: Life
    looks: tuple[float, ...]
    restarts: frozenset[int]
    listed: bool

    def gap(self, time: float) -> float | None:
        """From the last look before this time to the first after it; None: there is none."""
        before = max((look for look in self.looks if look < time), default=None)
        after = min((look for look in self.looks if look >= time), default=None)
        if after is None:
            return None
        if before is None:
            return after - self.life.entries[0] if self.listed else None
        return None if self.looks.index(after) in self.restarts else after - before


@st.composite
def views(draw: st.DrawFn) -> View:
    entries = tuple(itertools.accumulate(draw(spans) for _ in ORDER))
    gaps = draw(st.lists(st.sampled_from(GAPS), min_size=1, max_size=30))
    looks = tuple(itertools.accumulate(gaps, initial=entries[0]))[draw(st.integers(0, 1)) :]
    restarts = draw(st.frozensets(st.integers(1, max(1, len(looks) - 1)), max_size=3))
    return View(Life(entries), looks, restarts, draw(st.booleans()))


def facts_of(view: View) -> Iterator[PhasePassed]:
    workflow: Workflow | None = None
    life = 0
    for number, look in enumerate(view.looks):
        # Another process has another monotonic clock.
        life += number in view.restarts
        at = Moment(T0 + look, 1000.0 * life + look)
        if number in view.restarts and workflow is not None:
            workflow = workflow_of("studio", workflow_row(1, ID, workflow), at.monotonic)
        status = view.life.at(look)
        seen = Observation(
            account="studio",
            workflow_id=ID,
            via="listing" if view.listed else "stream",
            at=at,
            status=status.value,
            created_at=T0 + view.life.entries[0] if view.listed else None,
            completed_at=T0 + view.life.entries[-1] if status.final else None,
            service_wall=float(int(T0 + look)),
        )
        change = tracker.observe(workflow, seen, RULES)
        workflow = change.workflow
        yield from (fact for fact in change.facts if isinstance(fact, PhasePassed))


def ran(view: View) -> bool:
    return view.life.at(view.looks[-1]) in {Status.RUNNING, Status.COMPLETED}


@given(views())
def test_each_phase_counts_once(view: View) -> None:
    passed = [fact.phase for fact in facts_of(view)]
    assert passed == list(PHASES[: len(passed)])
    if ran(view) and view.listed:
        assert passed == list(PHASES)


@given(views())
def test_a_phase_is_measured_if_both_its_ends_were_seen_closely(view: View) -> None:
    for fact in facts_of(view):
        length, rank = view.life.length(fact.phase), fact.phase.rank
        begun, ended = (view.gap(view.life.entries[one]) for one in (rank, rank + 1))
        if fact.phase is Status.ACCEPTED:
            begun = 0.0 if view.listed else None
        slack = DATE_ERROR if view.listed and view.life.entries[rank] <= view.looks[0] else 0.0
        if fact.seconds is not None:
            assert begun is not None
            assert begun <= APART_SECONDS + slack
            assert ended is not None
            assert ended <= APART_SECONDS + slack
            assert abs(fact.seconds - length) <= begun + ended + slack + NOISE
        elif begun is not None and ended is not None:
            assert max(begun, ended) + slack > APART_SECONDS


@given(views())
def test_phases_add_up_to_the_wait(view: View) -> None:
    passed = list(facts_of(view))
    if len(passed) == len(PHASES) and all(fact.seconds is not None for fact in passed):
        told = sum(fact.seconds or 0.0 for fact in passed)
        wait = view.life.entries[3] - view.life.entries[0]
        assert abs(told - wait) <= APART_SECONDS + DATE_ERROR + NOISE
