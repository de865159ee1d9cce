"""The tracker under any order, duplication and loss of what it is shown."""

from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from exporter.comfycontrol import Cause
from exporter.interfaces.observations import Moment, Observation, Status, Via
from exporter.ledger import tracker
from exporter.ledger.counting import CountingRules
from exporter.ledger.facts import Discovered, Fact, Failed, Finished, OutputsMade, Started
from exporter.ledger.workflow import Workflow

T0 = 1_700_000_000.0
RULES = CountingRules(cutoff=T0, listed=True)
CAUSE = Cause("KSampler", "ValueError")

VIAS: list[Via] = ["stream", "listing"]
stamps = st.integers(1, 600).map(lambda n: n / 8)


@st.composite
def lives(draw: st.DrawFn) -> list[Observation]:
    """What one workflow's life looks like to anyone who sees all of it; the last one is final."""
    created = draw(stamps)
    started = created + draw(stamps)
    completed = started + draw(stamps)
    final = draw(st.sampled_from(["completed", "failed", "cancelled", "invalid"]))
    ran = final in {"completed", "failed"} or draw(st.booleans())
    path = ["accepted", "uploaded", "queued", "queued"] + (["running", "running"] if ran else [])
    observations = []
    for number, status in enumerate([*path, final]):
        has_started = ran and status in {"running", final}
        observations.append(
            Observation(
                account="studio",
                workflow_id="w1",
                via=draw(st.sampled_from(VIAS)),
                at=Moment(T0 + 1000 + number, 1000.0 + number),
                status=status,
                queue_position=draw(st.integers(0, 9)) if status == "queued" else None,
                created_at=T0 + created,
                started_at=T0 + started if has_started else None,
                completed_at=T0 + completed if status == final else None,
                cause=CAUSE if status == "failed" else None,
                outputs=2 if status == "completed" else None,
            )
        )
    return observations


@st.composite
def views(draw: st.DrawFn) -> tuple[list[Observation], list[Observation]]:
    """A life, and what somebody with a bad connection saw of it: at least one final."""
    life = draw(lives())
    final = life[-1]
    kept = draw(st.lists(st.sampled_from(life), max_size=20))
    seen = draw(st.permutations([*kept, final]))
    return life, list(seen)


def run(
    observations: list[Observation], rules: CountingRules = RULES
) -> tuple[list[Fact], list[Workflow]]:
    workflow: Workflow | None = None
    facts: list[Fact] = []
    states = []
    for observation in observations:
        change = tracker.observe(workflow, observation, rules)
        workflow = change.workflow
        facts.extend(change.facts)
        assert workflow is not None
        states.append(workflow)
    return facts, states


def outcomes(facts: list[Fact]) -> Counter[Fact]:
    return Counter(f for f in facts if isinstance(f, Finished | Started | Discovered))


@given(views())
def test_outcomes_do_not_depend_on_order_duplication_or_loss(
    view: tuple[list[Observation], list[Observation]],
) -> None:
    life, seen = view
    whole, _ = run(life)
    partial, _ = run(seen)
    assert outcomes(partial) == outcomes(whole)


@given(views())
def test_every_outcome_exactly_once(view: tuple[list[Observation], list[Observation]]) -> None:
    life, seen = view
    facts, _ = run(seen)
    finished = [f for f in facts if isinstance(f, Finished)]
    assert [f.status.value for f in finished] == [life[-1].status]
    assert sum(isinstance(f, Failed) for f in facts) <= 1
    assert sum(isinstance(f, OutputsMade) for f in facts) <= 1


@given(views())
def test_a_status_only_moves_forward_and_the_end_is_the_end(
    view: tuple[list[Observation], list[Observation]],
) -> None:
    _, states = run(view[1])
    ranks = [-1 if s.status is None else s.status.rank for s in states]
    assert ranks == sorted(ranks)
    settled = [s.phase == "settled" for s in states]
    assert settled == sorted(settled)
    assert all(s.run == 1 for s in states)
    for state in states:
        assert state.queue_position is None or state.status is Status.QUEUED


@given(views())
def test_a_failure_has_its_cause_or_owes_it(
    view: tuple[list[Observation], list[Observation]],
) -> None:
    life, seen = view
    facts, states = run(seen)
    causes = [f for f in facts if isinstance(f, Failed)]
    owes = states[-1].cause_pending_since is not None
    assert len(causes) + owes == (life[-1].status == "failed")
    assert all(c == Failed("KSampler", "ValueError") for c in causes)


@given(st.lists(st.sampled_from(["completed", "failed", "cancelled"]), min_size=2, max_size=5))
def test_two_different_ends_of_one_run_count_once(statuses: list[str]) -> None:
    facts, states = run(
        [
            Observation(
                account="studio",
                workflow_id="w1",
                via="stream",
                at=Moment(T0 + 100 + n, 100.0 + n),
                status=status,
                started_at=T0 + 50,
                completed_at=T0 + 99 + n,
            )
            for n, status in enumerate(statuses)
        ]
    )
    assert [f.status.value for f in facts if isinstance(f, Finished)] == statuses[:1]
    assert states[-1].status == statuses[0]


@given(lives(), lives())
def test_each_run_of_a_workflow_counts_once(
    first: list[Observation], second: list[Observation]
) -> None:
    later = 10_000.0

    def shifted(o: Observation) -> Observation:
        return Observation(
            account=o.account,
            workflow_id=o.workflow_id,
            via=o.via,
            at=Moment(o.at.wall + later, o.at.monotonic + later),
            status=o.status,
            created_at=first[0].created_at,
            started_at=None if o.started_at is None else o.started_at + later,
            completed_at=None if o.completed_at is None else o.completed_at + later,
            cause=o.cause,
            outputs=o.outputs,
        )

    # Where there is a list, a stream alone may leave it to the list to tell of a new run.
    facts, _ = run(first + [shifted(o) for o in second], replace(RULES, listed=False))
    ends = [f.status.value for f in facts if isinstance(f, Finished)]
    assert ends == [first[-1].status, second[-1].status]


@given(
    st.lists(
        st.tuples(st.sampled_from(["stream", "detail", "listing"]), st.floats(0, 19)), max_size=12
    ),
    st.sampled_from(["stream", "detail"]),
    st.integers(0, 3600),
)
def test_a_cause_is_taken_whenever_it_is_first_shown_before_an_absence_is_believed(
    left_out: list[tuple[Via, float]], shown_by: Via, shown_after: int
) -> None:
    end = Observation(
        account="studio",
        workflow_id="w1",
        via="listing",
        at=Moment(T0 + 100, 100.0),
        status="failed",
        created_at=T0 + 1,
        started_at=T0 + 50,
        completed_at=T0 + 99,
    )

    def later(via: Via, seconds: float) -> Observation:
        return replace(end, via=via, at=Moment(T0 + 100 + seconds, 100.0 + seconds))

    answers = [later(*each) for each in sorted(left_out, key=lambda each: each[1])]
    told = replace(later(shown_by, 20.0 + shown_after), cause=CAUSE)
    facts, states = run([end, *answers, told, told])
    assert [f for f in facts if isinstance(f, Failed)] == [Failed("KSampler", "ValueError")]
    assert states[-1].cause_pending_since is None
