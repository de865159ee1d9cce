"""Facts added up."""

from typing import get_args

import pytest

from exporter.interfaces.observations import Status
from exporter.ledger.facts import (
    EnteredQueue,
    Fact,
    Failed,
    Finished,
    OutputsMade,
    PhasePassed,
    PlainFact,
    Ran,
    Started,
)
from exporter.ledger.forms import COUNTERS, HISTOGRAMS, CounterName, Labels
from exporter.ledger.totals import Buckets, Exemplar, LabelCaps, Totals

BUCKETS = Buckets(
    entry_queue_position=(1.0, 5.0), time_to_start=(1.0, 10.0), run_duration=(10.0, 60.0)
)
WALL = 1_700_000_000.0


def totals(node_types: int = 200, exception_types: int = 50) -> Totals:
    made = Totals(BUCKETS, LabelCaps(node_types, exception_types))
    made.open_account("studio")
    return made


def test_what_can_be_known_beforehand_stands_at_zero() -> None:
    made = totals()
    shown = {key: total.value for key, total in made.counters.items()}
    assert shown == {
        (name, ("studio", *labels)): 0.0
        for name, form in COUNTERS.items()
        for labels in form.initial
    }
    assert {t.appeared for t in made.counters.values()} == {0}
    assert set(made.histograms) == {
        ("entry_queue_position", ("studio",)),
        ("time_to_start", ("studio",)),
        *(
            ("run_duration", ("studio", status))
            for status in ("completed", "failed", "cancelled", "invalid")
        ),
        *(("phase_duration", ("studio", phase)) for phase in ("accepted", "uploaded", "queued")),
    }


IN_A_ROW: tuple[CounterName, Labels] = ("failed_in_a_row", ("studio",))


def test_failures_in_a_row_end_with_one_that_completes() -> None:
    made, told = totals(), []
    for status in (
        Status.FAILED,
        Status.FAILED,
        Status.CANCELLED,
        Status.OTHER,
        Status.FAILED,
        Status.COMPLETED,
        Status.COMPLETED,
        Status.INVALID,
        Status.FAILED,
    ):
        made.add("studio", "w1", Finished(status, None), WALL)
        told.append(made.counters[IN_A_ROW].value)
    assert told == [1, 2, 2, 2, 3, 0, 0, 0, 1]
    assert "agency" not in {account for _, (account, *_) in made.counters}


def test_failures_in_a_row_are_kept_and_go_on_after_a_restart() -> None:
    made = totals()
    made.add("studio", "w1", Finished(Status.FAILED, None), WALL)
    kept, _ = made.take_changed()
    assert kept[IN_A_ROW].value == 1
    later = Totals(BUCKETS, LabelCaps(200, 50))
    later.restore(kept, {})
    later.open_account("studio")
    later.add("studio", "w2", Finished(Status.FAILED, None), WALL)
    assert later.counters[IN_A_ROW].value == 2
    later.take_changed()
    later.add("studio", "w3", Finished(Status.COMPLETED, None), WALL)
    # Its end is kept as well.
    assert later.take_changed()[0][IN_A_ROW].value == 0


def test_failures_in_a_row_are_bounded() -> None:
    made = totals()
    for _ in range(150):
        made.add("studio", "w1", Finished(Status.FAILED, None), WALL)
    assert made.counters[IN_A_ROW].value == 100


def plain(kind: type[PlainFact]) -> tuple[Fact, dict[tuple[str, Labels], float]]:
    """One plain fact with the last values that are known in advance, and what it adds."""
    *_, labels = COUNTERS[kind.counter].initial
    fact = kind(*labels)  # type: ignore[arg-type]  # each label is one of its values
    return fact, {(kind.counter, ("studio", *labels)): 1}


FACTS: dict[type, tuple[Fact, dict[tuple[str, Labels], float]]] = {
    **{kind: plain(kind) for kind in get_args(PlainFact)},
    EnteredQueue: (EnteredQueue(3), {("entry_queue_position", ("studio",)): 3}),
    PhasePassed: (
        PhasePassed(Status.QUEUED, 1.5),
        {
            ("phases", ("studio", "measured")): 1,
            ("phase_duration", ("studio", "queued")): 1.5,
        },
    ),
    Started: (Started(2.5), {("time_to_start", ("studio",)): 2.5}),
    Finished: (
        Finished(Status.COMPLETED, 12.25),
        {
            ("finished", ("studio", "completed")): 1,
            ("run_duration", ("studio", "completed")): 12.25,
        },
    ),
    Ran: (Ran(Status.FAILED, 7.0), {("run_duration", ("studio", "failed")): 7}),
    Failed: (
        Failed("KSampler", "ValueError"),
        {("failures", ("studio", "KSampler", "ValueError")): 1},
    ),
    OutputsMade: (OutputsMade(4), {("outputs", ("studio",)): 4}),
}
"""One of each kind, and what alone it adds: counts, and sums of what is observed."""


def test_no_fact_is_left_out_here() -> None:
    assert FACTS.keys() == set(get_args(Fact))
    # Of the others, two count what was too much, and one is not a sum.
    counted = {name for _, adds in FACTS.values() for name, _ in adds}
    apart = {"label_overflow", "slice_overflow", "failed_in_a_row"}
    assert counted | apart == {*COUNTERS, *HISTOGRAMS}


@pytest.mark.parametrize("kind", FACTS)
def test_every_fact_goes_to_its_total_and_to_no_other(kind: type) -> None:
    made = totals()
    fact, adds = FACTS[kind]
    made.add("studio", "w1", fact, WALL)
    added: dict[tuple[str, Labels], float] = {k: t.value for k, t in made.counters.items()}
    added |= {key: t.sum for key, t in made.histograms.items()}
    assert {key: value for key, value in added.items() if value} == adds


def test_a_total_remembers_the_workflow_that_was_counted_last() -> None:
    made = totals()
    made.add("studio", "w1", Finished(Status.COMPLETED, 12.25), WALL)
    finished = made.counters["finished", ("studio", "completed")]
    assert finished.exemplar == Exemplar("w1", 1.0, WALL)
    ran = made.histograms["run_duration", ("studio", "completed")]
    assert ran.exemplars == [None, Exemplar("w1", 12.25, WALL), None]


@pytest.mark.parametrize(("value", "bucket"), [(0.0, 0), (1.0, 0), (1.001, 1), (10.0, 1), (11, 2)])
def test_a_value_on_a_bound_belongs_to_its_bucket(value: float, bucket: int) -> None:
    made = totals()
    made.add("studio", "w1", Started(value), WALL)
    assert made.histograms["time_to_start", ("studio",)].counts.index(1) == bucket


def test_an_end_without_a_duration_is_counted_and_not_observed() -> None:
    made = totals()
    made.add("studio", "w1", Finished(Status.CANCELLED, None), WALL)
    assert made.counters["finished", ("studio", "cancelled")].value == 1
    assert sum(made.histograms["run_duration", ("studio", "cancelled")].counts) == 0


def test_missing_parts_of_a_cause_are_unknown() -> None:
    made = totals()
    made.add("studio", "w1", Failed(None, None), WALL)
    made.add("studio", "w2", Failed("KSampler", None), WALL)
    assert {labels for labels, _ in made.counters_named("failures")} == {
        ("studio", "unknown", "unknown"),
        ("studio", "KSampler", "unknown"),
    }


def test_beyond_the_cap_values_are_counted_as_other_and_the_overflow_is_told() -> None:
    made = totals(node_types=2, exception_types=1)
    for node in ("A", "B", "C", "D", "A"):
        made.add("studio", "w", Failed(node, "E1"), WALL)
    made.add("studio", "w", Failed("A", "E2"), WALL)
    made.add("studio", "w", Failed(None, None), WALL)
    assert {labels: t.value for labels, t in made.counters_named("failures")} == {
        ("studio", "A", "E1"): 2,
        ("studio", "B", "E1"): 1,
        ("studio", "other", "E1"): 2,
        ("studio", "A", "other"): 1,
        ("studio", "unknown", "unknown"): 1,
    }
    assert made.counters["label_overflow", ("studio", "node_type")].value == 2
    assert made.counters["label_overflow", ("studio", "exception_type")].value == 1


def test_the_cap_is_each_accounts_own() -> None:
    made = totals(node_types=1)
    made.open_account("agency")
    made.add("studio", "w", Failed("A", "E"), WALL)
    made.add("agency", "w", Failed("B", "E"), WALL)
    assert ("failures", ("agency", "B", "E")) in made.counters


def test_caps_that_change_hold_for_what_comes_and_keep_what_was_shown() -> None:
    made = totals(node_types=1)
    for node in ("A", "B"):
        made.add("studio", "w", Failed(node, "E"), WALL)
    made.change(BUCKETS, LabelCaps(2, 50))
    made.add("studio", "w", Failed("C", "E"), WALL)
    made.change(BUCKETS, LabelCaps(1, 50))
    for node in ("C", "D"):
        made.add("studio", "w", Failed(node, "E"), WALL)
    assert {labels[1]: t.value for labels, t in made.counters_named("failures")} == {
        "A": 1,
        "other": 2,
        "C": 2,
    }


def test_new_series_are_numbered_as_they_appear() -> None:
    made = totals()
    made.add("studio", "w", Failed("A", "E"), WALL)
    made.add("studio", "w", Failed("B", "E"), WALL)
    made.add("studio", "w", Failed("A", "E"), WALL)
    assert [t.appeared for _, t in made.counters_named("failures")] == [1, 2]
    assert made.newest_series({"studio"}) == 2


def test_a_copy_is_left_alone_by_what_follows() -> None:
    made = totals()
    before = made.copied({"studio"})
    made.add("studio", "w", Finished(Status.FAILED, 3.0), WALL)
    made.add("studio", "w", Failed("A", "E"), WALL)
    assert before.counters["finished", ("studio", "failed")].value == 0
    assert before.histograms["run_duration", ("studio", "failed")].counts == [0, 0, 0]
    assert not list(before.counters_named("failures"))
