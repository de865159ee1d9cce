"""Each run of a workflow counts once, whatever stamps, clocks, edits and delays it is told with.

The service here is a small model of its own: runs with their true times, and ways of telling them
that are drawn: precision and rounding for each way of asking, the clock of each runner, stamps that
are left out or come late, edits, replicas that lag, ids that vanish and return.
"""

from collections import Counter
from dataclasses import dataclass, replace
from itertools import pairwise
from math import floor, inf

from hypothesis import assume, given
from hypothesis import strategies as st

from exporter.comfycontrol import Cause
from exporter.interfaces.observations import (
    Moment,
    Observation,
    Removed,
    Tracked,
    Via,
)
from exporter.ledger import tracker
from exporter.ledger.counting import CountingRules
from exporter.ledger.facts import Discovered, Dropped, Fact, Failed, Finished, Ran
from exporter.ledger.runs import is_later, precision_of

T0 = 1_700_000_000.0
CAUSE = Cause("KSampler", "ValueError")


@dataclass(frozen=True)
class Telling:
    """How one way of asking tells stamps."""

    unit: float
    rounded: bool

    def stamp(self, true: float | None) -> float | None:
        if true is None:
            return None
        units = true / self.unit
        return (round(units) if self.rounded else floor(units + 1e-6)) * self.unit


@dataclass(frozen=True)
class RealRun:
    """One execution, by the service's clock; its stamps are by its runner's."""

    queued: float
    started: float | None
    ended: float
    status: str
    runner_ahead: float
    late_start: float | None = None
    """A start that turns up once it has ended, and lies after the end."""


@dataclass(frozen=True)
class Story:
    """The runs of one workflow, and how they are told."""

    runs: tuple[RealRun, ...]
    stream: Telling
    document: Telling
    stamps_late_by: float
    """The end is told without its stamp for so long."""
    edited: bool
    """Somebody edits the row after each end: `updated_at` moves."""
    tells_updated: bool

    def tell(self, now: float, via: Via, lag: float) -> Observation:
        """What is said at this moment (seconds after T0) by a replica that lags so much."""
        then = now - lag
        run = max((r for r in self.runs if r.queued <= then), key=lambda r: r.queued)
        telling = self.stream if via == "stream" else self.document
        over = then >= run.ended
        has_started = run.started is not None and then >= run.started
        status = run.status if over else "running" if has_started else "queued"
        updated = max(s for s in (run.queued, run.started or -inf, run.ended) if s <= then)
        if self.edited and over and then > run.ended + 1:
            updated = then
        # What is invalid was never executed, so its execution has no end.
        complete = over and then >= run.ended + self.stamps_late_by and run.status != "invalid"

        def by_runner(true: float | None) -> float | None:
            return None if true is None else telling.stamp(T0 + true + run.runner_ahead)

        if over and run.started is None and run.late_start is not None:
            has_started, run = then >= run.ended + 0.5, replace(run, started=run.late_start)
        is_document = via != "stream"
        return Observation(
            account="studio",
            workflow_id="w1",
            via=via,
            at=Moment(T0 + now - 5000, 1000 + now),
            status=status,
            created_at=T0 + 1 if is_document else None,
            updated_at=telling.stamp(T0 + updated) if is_document and self.tells_updated else None,
            started_at=by_runner(run.started) if has_started else None,
            completed_at=by_runner(run.ended) if complete else None,
            cause=CAUSE if status == "failed" and is_document else None,
            service_wall=float(floor(T0 + now)),
        )


units = st.sampled_from([1.0, 0.001, 0.000001])
tellings = st.builds(Telling, units, st.booleans())


@st.composite
def stories(
    draw: st.DrawFn, *, one_clock: bool, clocks: tuple[float, ...] = (0.0, -240.0, 240.0)
) -> Story:
    ahead = draw(st.sampled_from(clocks))
    runs: list[RealRun] = []
    free = 1.0
    for _ in range(draw(st.integers(1, 4))):
        queued = free + draw(st.floats(8, 4000))
        started = draw(st.none() | st.floats(0.01, 300))
        started = None if started is None else queued + started
        ended = (queued if started is None else started) + draw(st.floats(0.05, 300))
        statuses = ["completed", "failed", "cancelled"] if started else ["failed", "cancelled"]
        if not one_clock:
            ahead = draw(st.sampled_from(clocks))
        runs.append(RealRun(queued, started, ended, draw(st.sampled_from(statuses)), ahead))
        free = ended
    return Story(
        tuple(runs),
        draw(tellings),
        draw(tellings),
        stamps_late_by=draw(st.sampled_from([0.0, 0.0, 3.0])),
        edited=draw(st.booleans()),
        tells_updated=draw(st.booleans()),
    )


def are_told_apart(runs: tuple[RealRun, ...]) -> bool:
    """Whether no two ends, and no two starts, are told alike to the second, by whatever clocks."""
    ends = sorted(run.ended + run.runner_ahead for run in runs)
    starts = sorted(run.started + run.runner_ahead for run in runs if run.started is not None)
    return all(late - early > 3 for told in (ends, starts) for early, late in pairwise(told))


def watched(data: st.DataObject, story: Story, *, open_ones: bool) -> list[Observation]:
    """What is seen: a glance of each run's end by the list at least, and any amount of the rest.

    A replica that lags shows what was true up to half a minute ago. Where clocks of runners differ
    by more than that, nobody can tell which end is the later one: there, none lags.
    """
    lags = st.just(0.0) if open_ones else st.sampled_from([0.0, 0.0, 0.5, 5.0, 30.0])
    vias: list[Via] = ["stream", "listing", "detail"]
    glances: list[tuple[float, Via, float]] = []
    for number, run in enumerate(story.runs):
        later = [r.queued for r in story.runs[number + 1 :]]
        until = min(later, default=run.ended + 60)
        seen_over = run.ended + story.stamps_late_by + data.draw(st.floats(0.01, 5.0))
        assume(seen_over < until - 3)
        glances.append((seen_over, "listing", 0.0))
        if open_ones:
            glances.append(((run.queued + run.ended) / 2, "listing", 0.0))
        for _ in range(data.draw(st.integers(0, 5))):
            at = data.draw(st.floats(run.queued, until))
            lag = data.draw(lags)
            if at - lag >= story.runs[0].queued:
                glances.append((at, data.draw(st.sampled_from(vias)), lag))
    return [story.tell(at, via, lag) for at, via, lag in sorted(glances)]


def follow(observations: list[Observation], *, listed: bool = True) -> list[Fact]:
    rules = CountingRules(cutoff=T0, listed=listed)
    first = observations[0]
    change = tracker.track(None, Tracked("studio", "w1", "configured", first.at))
    facts: list[Fact] = [*change.facts]
    for observation in observations:
        change = tracker.observe(change.workflow, observation, rules)
        facts.extend(change.facts)
    assert change.workflow is not None
    facts.extend(tracker.forgive(change.workflow).facts)
    return facts


def outcomes(facts: list[Fact]) -> list[str]:
    return [f.status.value for f in facts if isinstance(f, Finished)]


@given(st.data())
def test_runs_on_one_clock_count_once_each(data: st.DataObject) -> None:
    story = data.draw(stories(one_clock=True))
    facts = follow(watched(data, story, open_ones=False))
    assert outcomes(facts) == [run.status for run in story.runs]
    assert not any(isinstance(f, Dropped) for f in facts)
    assert sum(isinstance(f, Discovered) for f in facts) == len(story.runs)
    failed = sum(run.status == "failed" for run in story.runs)
    assert sum(isinstance(f, Failed) for f in facts) == failed


@given(st.data())
def test_runs_that_the_list_never_shows_count_once_each_where_a_stream_tells_their_ends(
    data: st.DataObject,
) -> None:
    story = data.draw(stories(one_clock=True))
    assume(all(late.queued - early.ended > 12 for early, late in pairwise(story.runs)))
    looks: list[tuple[float, Via]] = [(2.0, "stream"), (4.0, "listing"), (6.0, "stream")]
    ends = [
        story.tell(run.ended + story.stamps_late_by + after, via, 0.0)
        for number, run in enumerate(story.runs)
        for after, via in looks
        # What nobody has seen open waits for the list, once.
        if via == "stream" or number == 0 or data.draw(st.booleans())
    ]
    assert outcomes(follow(ends)) == [run.status for run in story.runs]


@given(st.data())
def test_runs_on_clocks_minutes_apart_count_once_each_where_the_list_shows_them_open(
    data: st.DataObject,
) -> None:
    story = data.draw(stories(one_clock=False))
    assume(story.tells_updated)
    assume(are_told_apart(story.runs))
    facts = follow(watched(data, story, open_ones=True))
    assert outcomes(facts) == [run.status for run in story.runs]
    assert sum(isinstance(f, Discovered) for f in facts) == len(story.runs)


@given(st.data())
def test_runs_on_a_clock_in_a_wrong_time_zone_count_once_each_where_the_list_shows_them_open(
    data: st.DataObject,
) -> None:
    """If it ends 2 s after it was first seen, or sooner, it counts once no replica can lag."""
    story = data.draw(stories(one_clock=True, clocks=(-7200.0, 7200.0, -28800.0)))
    assume(story.tells_updated)
    assume(all(run.ended - run.queued > 8 for run in story.runs))
    facts = follow(watched(data, story, open_ones=True))
    assert outcomes(facts) == [run.status for run in story.runs]
    assert sum(isinstance(f, Discovered) for f in facts) == len(story.runs)


@given(st.data())
def test_each_duration_is_observed_once_and_is_that_of_its_run(data: st.DataObject) -> None:
    story = data.draw(stories(one_clock=True))
    facts = follow(watched(data, story, open_ones=False))
    lasted = Counter(
        run.status
        for run in story.runs
        if run.started is not None and run.ended - run.started >= 1.0
    )
    told = [f for f in facts if isinstance(f, Finished | Ran) and f.seconds is not None]
    counted = Counter(f.status.value for f in told)
    assert counted <= Counter(run.status for run in story.runs if run.started is not None)
    assert lasted <= counted
    for fact in told:
        assert fact.seconds is not None
        assert any(
            run.started is not None
            and run.status == fact.status.value
            # Two stamps, each off by less than a unit of the coarser way of telling.
            and abs(run.ended - run.started - fact.seconds) <= 2.0
            for run in story.runs
        )


@given(
    end=st.floats(T0, T0 + 1000),
    via=st.sampled_from(["stream", "listing", "detail"]),
    moved=st.floats(0, 100_000),
    status=st.sampled_from(["completed", "cancelled", "invalid", "archived"]),
)
def test_an_edit_is_no_run(end: float, via: Via, moved: float, status: str) -> None:
    first = Observation(
        account="studio",
        workflow_id="w1",
        via="listing",
        at=Moment(T0, 1.0),
        status="completed",
        created_at=T0 + 1,
        started_at=end - 5,
        completed_at=end,
        updated_at=end,
        service_wall=end + 1,
    )
    edit = Observation(
        account="studio",
        workflow_id="w1",
        via=via,
        at=Moment(T0 + moved, 1.0 + moved),
        status=status,
        created_at=T0 + 1,
        started_at=end - 5,
        completed_at=end,
        updated_at=end + moved,
        service_wall=end + 1 + moved,
    )
    assert outcomes(follow([first, edit])) == ["completed"]


@given(created=st.floats(T0 - 1000, T0 + 5000), moved=st.floats(0, 1e6), told=st.booleans())
def test_a_row_that_was_pruned_and_shows_itself_again_is_not_counted(
    created: float, moved: float, *, told: bool
) -> None:
    rules = CountingRules(cutoff=T0, listed=True, pruned_created=T0 + 5000, pruned_ended=T0 + 6000)
    seen = Observation(
        account="studio",
        workflow_id="w1",
        via="listing",
        at=Moment(T0, 1.0),
        status="completed",
        created_at=created,
        started_at=created + 1 if told else None,
        completed_at=created + 2 if told else None,
        updated_at=T0 + 6000 + moved,
    )
    assert outcomes(list(tracker.observe(None, seen, rules).facts)) == []


@given(
    created=st.none() | st.floats(T0 + 1, T0 + 1000),
    no_earlier=st.floats(T0 + 1, T0 + 1000),
    ended=st.none() | st.floats(T0 - 4000, T0 + 4000),
    updated=st.none() | st.floats(T0, T0 + 4000),
)
def test_what_was_created_after_the_line_is_ours(
    created: float | None, no_earlier: float, ended: float | None, updated: float | None
) -> None:
    seen = Observation(
        account="studio",
        workflow_id="w1",
        via="listing",
        at=Moment(T0 - 3600, 1.0),
        status="completed",
        created_at=created,
        created_no_earlier=no_earlier,
        completed_at=ended,
        updated_at=updated,
    )
    assert outcomes(follow([seen])) == ["completed"]


@given(st.data())
def test_an_id_that_vanishes_and_returns_is_counted_once_a_run(data: st.DataObject) -> None:
    story = data.draw(stories(one_clock=True))
    rules = CountingRules(cutoff=T0, listed=True)
    given = Tracked("studio", "w1", "configured", Moment(T0, 0.0))
    change = tracker.track(None, given)
    facts: list[Fact] = [*change.facts]
    for seen in watched(data, story, open_ones=False):
        change = tracker.observe(change.workflow, seen, rules)
        facts.extend(change.facts)
        if data.draw(st.booleans()):
            lost = Removed("studio", "w1", "not_found", seen.at)
            change = tracker.drop(change.workflow, lost)
            facts.extend(change.facts)
    dropped = sum(isinstance(f, Dropped) for f in facts)
    assert outcomes(facts) == [run.status for run in story.runs]
    assert sum(isinstance(f, Discovered) for f in facts) == len(story.runs) + dropped


@given(st.floats(T0, T0 + 1e6), st.sampled_from([1.0, 0.1, 0.01, 0.001, 1e-6]))
def test_precision_is_never_taken_for_finer_than_it_is(stamp: float, unit: float) -> None:
    told = round(stamp / unit) * unit
    assert precision_of(told) >= unit * 0.999
    assert not is_later(told, told - unit)


@st.composite
def runs_of_other_lengths(draw: st.DrawFn) -> tuple[RealRun, ...]:
    runs: list[RealRun] = []
    free = 1.0
    for number in range(draw(st.integers(1, 4))):
        started = free + draw(st.floats(10, 4000))
        # A run that is as long as another, by stamps that have all moved, was perhaps put right.
        ended = started + 4 * number + draw(st.floats(0.5, 1.0))
        status = draw(st.sampled_from(["completed", "failed", "cancelled"]))
        ahead = draw(st.sampled_from([0.0, -240.0, 240.0, -600.0, 600.0]))
        runs.append(RealRun(started - 1, started, ended, status, ahead))
        free = ended
    return tuple(runs)


@given(st.data())
def test_runs_on_clocks_minutes_apart_count_once_each_though_none_is_seen_open(
    data: st.DataObject,
) -> None:
    story = replace(
        data.draw(stories(one_clock=False)),
        runs=data.draw(runs_of_other_lengths()),
        tells_updated=True,
    )
    assume(are_told_apart(story.runs))
    watching = watched(data, story, open_ones=False)
    if data.draw(st.booleans()):
        watching = [replace(seen, service_wall=None) for seen in watching]
    ends = [seen for seen in watching if seen.completed_at is not None]
    assert outcomes(follow(ends)) == [run.status for run in story.runs]


@given(st.data())
def test_one_run_that_a_stream_and_the_list_tell_by_clocks_apart_counts_once(
    data: st.DataObject,
) -> None:
    """Whatever `updated_at` there is, and in whichever order they tell it."""
    queued = 1000.0 + data.draw(st.floats(1, 4000))  # after the line, by any clock
    started = queued + data.draw(st.floats(0.01, 300))
    ended = started + data.draw(st.floats(0.05, 300))
    status = data.draw(st.sampled_from(["completed", "failed", "cancelled"]))
    clocks = st.sampled_from([0.0, 10.0, -10.0, 60.0, -60.0, 240.0, -600.0, 600.0])
    ahead: dict[Via, float] = {"stream": data.draw(clocks), "listing": data.draw(clocks)}
    ahead["detail"] = ahead["listing"]
    run = RealRun(queued, started, ended, status, 0.0)
    story = Story(
        (run,), data.draw(tellings), data.draw(tellings), 0.0, edited=False, tells_updated=True
    )
    tells_updated = data.draw(st.booleans())
    tells_time = data.draw(st.booleans())
    vias: st.SearchStrategy[Via] = st.sampled_from(["stream", "listing", "detail"])
    # Our first sight of it is while it is open, or soon after.
    times = [ended + 0.1, *sorted(data.draw(st.lists(st.floats(queued, ended + 2000))))]
    seen = []
    for at in sorted(times):
        via: Via = data.draw(vias)
        told = replace(story, runs=(replace(run, runner_ahead=ahead[via]),)).tell(at, via, 0.0)
        seen.append(
            replace(
                told,
                updated_at=told.updated_at if tells_updated else None,
                service_wall=told.service_wall if tells_time else None,
            )
        )
    assert outcomes(follow(seen, listed=data.draw(st.booleans()))) == [status]


@st.composite
def runs_some_invalid(draw: st.DrawFn) -> tuple[RealRun, ...]:
    """None is invalid after another that was: nothing but `updated_at` tells them apart."""
    runs: list[RealRun] = []
    free = 1.0
    for _ in range(draw(st.integers(2, 4))):
        queued = free + draw(st.floats(130, 4000))  # longer than a replica lags
        ended = queued + draw(st.floats(5, 60))
        was_invalid = bool(runs) and runs[-1].status == "invalid"
        match draw(st.sampled_from(["started", "never"] + ["invalid"] * (not was_invalid))):
            case "invalid":
                runs.append(RealRun(queued, None, ended, "invalid", 0.0))
            case "never":
                status = draw(st.sampled_from(["failed", "cancelled"]))
                late = draw(st.none() | st.floats(1.5, 5.0))
                late = None if late is None else ended + late
                runs.append(RealRun(queued, None, ended, status, 0.0, late))
            case _:
                status = draw(st.sampled_from(["completed", "failed", "cancelled"]))
                started = queued + draw(st.floats(0.01, 4))
                runs.append(RealRun(queued, started, ended, status, 0.0))
        free = ended
    return tuple(runs)


@given(st.data())
def test_what_was_invalid_and_runs_again_counts_once_a_run(data: st.DataObject) -> None:
    """Replicas may lag where the service tells the time."""
    runs = data.draw(runs_some_invalid())
    tells_time = data.draw(st.booleans())
    story = Story(
        runs,
        data.draw(tellings),
        data.draw(tellings),
        data.draw(st.sampled_from([0.0, 3.0])),
        edited=False,
        tells_updated=True,
    )
    told: list[tuple[float, Observation]] = []

    def look(at: float, via: Via, lag: float, *, dated: bool) -> None:
        seen = story.tell(at, via, lag)
        if not tells_time:
            seen = replace(seen, service_wall=None)
        told.append((at, seen if dated else replace(seen, updated_at=None)))

    for number, run in enumerate(runs):
        until = min((later.queued for later in runs[number + 1 :]), default=run.ended + 300)
        if tells_time:
            # The list shows it open; what else is seen may be some time old.
            look(run.queued + 3, "listing", 0.0, dated=True)
        look(run.ended + 4, "listing", 0.0, dated=tells_time or data.draw(st.booleans()))
        for _ in range(data.draw(st.integers(0, 4))):
            at = data.draw(st.floats(run.queued, until))
            via: Via = data.draw(st.sampled_from(["stream", "listing", "detail"]))
            lag = data.draw(st.sampled_from([0.0, 5.0, 30.0])) if tells_time else 0.0
            if at - lag >= runs[0].queued:
                look(at, via, lag, dated=data.draw(st.booleans()))
    told.sort(key=lambda each: each[0])
    seen = [each for _, each in told]
    if not tells_time:
        # And nobody sees it open.
        seen = [each for each in seen if each.is_over]
    assert outcomes(follow(seen)) == [run.status for run in runs]


@given(
    st.lists(st.sampled_from([0.0, -240.0, 240.0, -600.0, 600.0]), min_size=2, max_size=2),
    tellings,
    st.tuples(st.booleans(), st.booleans(), st.booleans()),
    st.booleans(),
)
def test_a_run_after_an_invalid_one_counts_by_whatever_clocks(
    ahead: list[float], telling: Telling, dated: tuple[bool, bool, bool], tells_time: bool
) -> None:
    """The list shows the end of each, and nobody sees any of them open."""
    first = RealRun(1000, 1001, 1004, "completed", ahead[0])
    invalid = RealRun(1200, None, 1202, "invalid", 0.0)
    last = RealRun(1400, 1401, 1407, "completed", ahead[1])
    story = Story((first, invalid, last), telling, telling, 0.0, edited=False, tells_updated=True)
    seen = [
        replace(
            told,
            updated_at=told.updated_at if is_dated else None,
            service_wall=told.service_wall if tells_time else None,
        )
        for run, is_dated in zip(story.runs, dated, strict=True)
        for told in (story.tell(run.ended + 2, "listing", 0.0),) * 2
    ]
    assert outcomes(follow(seen)) == ["completed", "invalid", "completed"]


@given(runs_of_other_lengths(), tellings, st.booleans(), st.booleans())
def test_rows_of_earlier_runs_are_known_for_old_ones_by_whatever_clock(
    runs: tuple[RealRun, ...], telling: Telling, dated: bool, streamed: bool
) -> None:
    assume(are_told_apart(runs))
    story = Story(runs, Telling(1.0, rounded=False), telling, 0.0, False, True)
    ends: list[Observation] = []
    for number, run in enumerate(runs):
        if streamed:
            ends.append(story.tell(run.ended + 0.5, "stream", 0.0))
        ends.append(story.tell(run.ended + 1, "listing", 0.0))
        ends += [
            replace(
                story.tell(earlier.ended + 1, "listing", 0.0),
                at=Moment(T0 + run.ended - 4990, 1010 + run.ended),
                service_wall=T0 + floor(run.ended) + 10,
            )
            for earlier in runs[:number]
        ]
    if not dated:
        ends = [replace(seen, service_wall=None) for seen in ends]
    assert outcomes(follow(ends)) == [run.status for run in runs]
