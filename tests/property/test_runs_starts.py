"""Each run counts once where starts, ends and creation times are told in other ways than usual.

The ends may never be stamped, a start may be kept until the next run starts, and the creation time
may be renewed with each run. Every end is seen in the list before the next run is queued.
"""

from dataclasses import dataclass, replace
from math import floor

from hypothesis import assume, given
from hypothesis import strategies as st

from exporter.interfaces.observations import Moment, Observation, Via
from exporter.ledger.facts import Finished, Ran
from exporter.ledger.runs import CLOCK_SLACK_SECONDS
from tests.property.test_runs import T0, follow, outcomes


@dataclass(frozen=True)
class Row:
    """How one run is shown: its times in seconds after T0, and when it was looked at."""

    queued: float
    started: float | None
    ended: float
    status: str
    open_looks: tuple[float, ...]
    looks: tuple[float, ...]


@st.composite
def rows(
    draw: st.DrawFn, *, always_starts: bool, sees_open: bool = False, apart: float = 10
) -> tuple[Row, ...]:
    runs: list[Row] = []
    free = 1.0
    for number in range(draw(st.integers(1, 4))):
        queued = free + draw(st.floats(apart, 4000))
        # The first one starts: it is the start that later ones may show.
        starts = always_starts or number == 0 or draw(st.booleans())
        started = queued + draw(st.floats(2, 300)) if starts else None
        ended = (started or queued) + draw(st.floats(2, 300))
        words = ["completed", "failed", "cancelled"] if starts else ["failed", "cancelled"]
        looks = tuple(ended + each for each in draw(st.lists(st.floats(0.1, 9), min_size=1)))
        open_looks: tuple[float, ...] = ()
        if sees_open:
            open_looks = ((queued + (started or ended)) / 2,)
            if started is not None and draw(st.booleans()):
                open_looks = (*open_looks, (started + ended) / 2)
        runs.append(Row(queued, started, ended, draw(st.sampled_from(words)), open_looks, looks))
        free = ended
    return tuple(runs)


@dataclass(frozen=True)
class Manner:
    """How this service tells its stamps."""

    unit: float
    stamps_ends: bool = True
    keeps_starts: bool = False
    renews_creation: bool = False
    tells_time: bool = True
    updates: bool = True
    """Whether `updated_at` changes with a run."""
    ahead: float = 0.0
    """Seconds by which the Date header is ahead of the service's stamps."""

    def stamp(self, seconds: float) -> float:
        return T0 + floor(seconds / self.unit + 1e-6) * self.unit


manners = st.sampled_from([1.0, 0.001, 0.000001])


def shown(runs: tuple[Row, ...], manner: Manner, via: Via = "listing") -> list[Observation]:
    """What the list shows at each look."""
    seen: list[Observation] = []
    kept: float | None = None
    for run in runs:
        for at in sorted((*run.open_looks, *run.looks)):
            over = at >= run.ended
            begun = run.ended if run.started is None else run.started
            started = run.started if run.started is not None and at >= run.started else None
            if started is not None:
                kept = started
            elif manner.keeps_starts:
                started = kept
            updated = run.ended if over else run.queued
            if not manner.updates:
                updated = runs[0].queued
            created = run.queued if manner.renews_creation else runs[0].queued
            seen.append(
                Observation(
                    account="studio",
                    workflow_id="w1",
                    via=via,
                    at=Moment(T0 + at, 1000 + at),
                    status=run.status if over else "queued" if at < begun else "running",
                    created_at=manner.stamp(created),
                    updated_at=manner.stamp(updated),
                    started_at=None if started is None else manner.stamp(started),
                    completed_at=manner.stamp(run.ended) if over and manner.stamps_ends else None,
                    service_wall=float(floor(T0 + at + manner.ahead))
                    if manner.tells_time
                    else None,
                )
            )
    return seen


@given(rows(always_starts=True), manners, st.booleans())
def test_runs_whose_ends_are_never_stamped_count_once_each(
    runs: tuple[Row, ...],
    unit: float,
    tells_time: bool,
) -> None:
    told = shown(runs, Manner(unit, stamps_ends=False, tells_time=tells_time))
    assert outcomes(follow(told)) == [run.status for run in runs]


@given(rows(always_starts=False, sees_open=True), manners)
def test_a_run_that_ends_in_its_queue_with_the_start_of_the_run_before_has_no_duration(
    runs: tuple[Row, ...], unit: float
) -> None:
    facts = follow(shown(runs, Manner(unit, keeps_starts=True)))
    assert outcomes(facts) == [run.status for run in runs]
    lengths = [run.ended - run.started for run in runs if run.started is not None]
    told = [f.seconds for f in facts if isinstance(f, Finished | Ran) and f.seconds is not None]
    assert len(told) == len(lengths)
    assert all(abs(seconds - length) <= 2 for seconds, length in zip(told, lengths, strict=True))


@given(
    rows(always_starts=True),
    manners,
    # A shift by time zones is a correction.
    st.floats(10, 800) | st.floats(1000, 1700) | st.floats(2000, 2600),
    st.integers(1, 3),
)
def test_runs_that_renew_the_creation_time_count_once_each(
    runs: tuple[Row, ...], unit: float, apart: float, more: int
) -> None:
    """Even if each is exactly as long as the one before."""
    first = runs[0]
    length = first.ended - first.queued
    while not 10 < (length + apart) % 900 < 890:
        apart += 15
    again = []
    for number in range(more + 1):
        by = number * (length + apart)
        looks = tuple(min(each, first.ended + apart - 0.5) + by for each in first.looks)
        ended, started = first.ended + by, (first.started or 0.0) + by
        again.append(Row(first.queued + by, started, ended, first.status, (), looks))
    told = shown(tuple(again), Manner(unit, renews_creation=True))
    assert outcomes(follow(told)) == [run.status for run in again]


@given(
    rows(always_starts=True, apart=10) | rows(always_starts=False, sees_open=True, apart=10),
    manners,
    # An end that is an hour old waits until no replica can lag any more.
    st.sampled_from([3000.0, 600.0, -86_400.0, -3600.0, -60.0, 3.0]),
    st.sampled_from(["no", "first", "only"]),
)
def test_runs_count_once_each_by_a_date_header_that_is_wrong(
    runs: tuple[Row, ...], unit: float, ahead: float, by_stream: str
) -> None:
    """Whether a stream shows no end, each end first, or all but the last before the list does.

    If the list shows none of the ends before, only the Date header says when they were seen. If it
    is fast, the next run looks like the last one; docs/reliability.md says so.
    """
    assume(by_stream != "only" or ahead < CLOCK_SLACK_SECONDS + 2)
    seen = shown(runs, Manner(unit, ahead=ahead))
    if by_stream != "no":
        last = T0 + runs[-1].queued
        seen = [
            each
            for told in seen
            for each in (
                # A stream has no such stamps.
                replace(told, via="stream", created_at=None, updated_at=None),
                told,
            )
            if (each.via == "listing") or told.is_over
            if by_stream == "first" or (each.via == "stream") == (told.at.wall < last)
        ]
    assert outcomes(follow(seen)) == [run.status for run in runs]


@given(rows(always_starts=True, sees_open=True), manners)
def test_runs_that_do_not_change_updated_at_count_once_each(
    runs: tuple[Row, ...], unit: float
) -> None:
    told = shown(runs, Manner(unit, updates=False))
    assert outcomes(follow(told)) == [run.status for run in runs]
