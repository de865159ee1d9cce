"""Totals that are opened, copied, taken over, dropped, or shown as far as they are stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from exporter.config.slices import compiled
from exporter.interfaces.observations import Status
from exporter.ledger.facts import (
    EnteredQueue,
    Fact,
    Failed,
    Finished,
    OutputsMade,
    PhasePassed,
    Ran,
    Started,
)
from exporter.ledger.forms import COUNTERS, HISTOGRAMS, CounterName, HistogramName, Labels
from exporter.ledger.slicing import OTHER, SliceRule
from exporter.ledger.totals import (
    CounterTotal,
    Exemplar,
    HistogramTotal,
    LabelCaps,
    Shown,
    Totals,
)
from tests.unit.ledger.test_totals import BUCKETS, WALL, totals

if TYPE_CHECKING:
    from collections.abc import Mapping

TEAM: Final = SliceRule("team", "tag", compiled("^team[:=](.+)$"), 1, "none")
VIDEO: Final = (("team", "video"),)
LABEL: Final = "team=video"

FINISHED: Final[tuple[CounterName, Labels]] = ("finished", ("studio", "completed"))
RUN: Final[tuple[HistogramName, Labels]] = ("run_duration", ("studio", "completed"))


def failures(account: str, node: str) -> tuple[CounterName, Labels]:
    return "failures", (account, node, "E")


def fail(made: Totals, account: str, node: str) -> None:
    made.add(account, "w", Failed(node, "E"), WALL)


class TestCounting:
    def test_what_is_observed_adds_up(self) -> None:
        made = totals()
        for seconds in (2.5, 4.0, 11.0):
            made.add("studio", "w", Started(seconds), WALL)
        total = made.histograms["time_to_start", ("studio",)]
        assert (total.counts, total.sum, total.count) == ([0, 2, 1], 17.5, 3)

    def test_a_failure_names_the_workflow_that_failed_last(self) -> None:
        made = totals()
        made.add("studio", "w1", Failed("A", "E"), WALL)
        assert made.counters[failures("studio", "A")].exemplar == Exemplar("w1", 1.0, WALL)

    @pytest.mark.parametrize(
        ("fact", "keys"),
        [
            (EnteredQueue(3), {("entry_queue_position", ("studio", LABEL))}),
            (Started(2.5), {("time_to_start", ("studio", LABEL))}),
            (
                PhasePassed(Status.QUEUED, 1.5),
                {("phases", ("studio", "measured", LABEL))}
                | {("phase_duration", ("studio", "queued", LABEL))},
            ),
            (
                Finished(Status.CANCELLED, 2.0),
                {("finished", ("studio", "cancelled", LABEL))}
                | {("run_duration", ("studio", "cancelled", LABEL))},
            ),
            (Ran(Status.FAILED, 7.0), {("run_duration", ("studio", "failed", LABEL))}),
            (Failed("A", "E"), {("failures", ("studio", "A", "E", LABEL))}),
            (OutputsMade(4), {("outputs", ("studio", LABEL))}),
        ],
    )
    def test_a_fact_of_a_slice_goes_to_that_slice(
        self, fact: Fact, keys: set[tuple[str, Labels]]
    ) -> None:
        made = Totals(BUCKETS, LabelCaps(200, 50), [TEAM])
        made.add("studio", "w", fact, WALL, (LABEL,))
        assert {*made.counters, *made.histograms} == keys

    def test_the_series_of_a_histogram_are_found_by_its_name(self) -> None:
        statuses = {labels[1] for labels, _ in totals().histograms_named("run_duration")}
        assert statuses == {"completed", "failed", "cancelled", "invalid"}


class TestOpeningSlices:
    def test_each_series_that_a_slice_will_change_stands_at_zero(self) -> None:
        made = totals()
        made.take_changed()
        made.open_slices("studio", VIDEO)
        counters, histograms = made.take_changed()
        assert {key: total.value for key, total in counters.items()} == {
            (name, ("studio", *labels, LABEL)): 0.0
            for name, form in COUNTERS.items()
            if form.sliced
            for labels in form.initial
        }
        # The run duration gets its series with the first run.
        assert set(histograms) == {
            (name, ("studio", *labels, LABEL))
            for name, form in HISTOGRAMS.items()
            if form.sliced and name != "run_duration"
            for labels in form.initial
        }

    def test_once(self) -> None:
        made = totals()
        made.open_slices("studio", VIDEO)
        made.take_changed()
        made.open_slices("studio", VIDEO)
        assert made.take_changed() == ({}, {})

    def test_a_workflow_of_no_slice_has_none(self) -> None:
        made = Totals(BUCKETS, LabelCaps(200, 50), [TEAM])
        made.open_slices("studio", (("team", None),))
        assert (made.counters, made.histograms) == ({}, {})


class TestTakingOver:
    def test_what_was_announced_is_shown_at_once_and_the_rest_gets_new_numbers(self) -> None:
        made = totals()
        counters = {
            failures("studio", node): CounterTotal(3.0, None, appeared)
            for node, appeared in (("A", 5), ("B", 6), ("C", 7))
        }
        bounds = BUCKETS.run_duration
        histograms: Mapping[tuple[HistogramName, Labels], HistogramTotal] = {
            ("run_duration", ("studio", status)): HistogramTotal(bounds, appeared=appeared)
            for status, appeared in (("x", 6), ("y", 9))
        }
        assert made.adopt(counters, histograms, announced=6) == []
        assert {key: made.counters[key] for key in counters} == {
            failures("studio", node): CounterTotal(3.0, None, appeared)
            for node, appeared in (("A", 0), ("B", 0), ("C", 1))
        }
        assert [made.histograms[key].appeared for key in histograms] == [0, 2]
        assert made.newest_series({"studio"}) == 2
        assert made.announce(1, {"studio"})
        assert made.newest_series({"studio"}) == 2
        assert made.announce(2, {"studio"})
        assert made.newest_series({"studio"}) == 0

    def test_values_that_were_counted_elsewhere_fill_the_cap(self) -> None:
        made = totals(node_types=1)
        made.adopt({failures("studio", "A"): CounterTotal(3.0)}, {}, announced=0)
        fail(made, "studio", "B")
        assert made.counters[failures("studio", OTHER)].value == 1

    def test_histograms_with_other_buckets_begin_again(self) -> None:
        made = totals()
        other = HistogramTotal((1.0,), [1, 2], 9.0)
        assert made.adopt({}, {RUN: other}, announced=0) == ["run_duration"]
        assert made.histograms[RUN] == HistogramTotal(BUCKETS.run_duration)

    def test_of_what_is_restored_only_what_was_not_announced_waits(self) -> None:
        made = totals()
        made.restore(
            {failures("studio", "A"): CounterTotal(1.0, None, 3)},
            {("run_duration", ("studio", "x")): HistogramTotal(BUCKETS.run_duration, appeared=3)},
            announced=3,
        )
        assert made.newest_series({"studio"}) == 0
        fail(made, "studio", "B")
        assert made.newest_series({"studio"}) == 4

    def test_where_nothing_was_announced_all_wait(self) -> None:
        made = totals()
        made.restore({failures("studio", "A"): CounterTotal(1.0, None, 1)}, {})
        assert made.newest_series({"studio"}) == 1
        fresh = totals()
        fresh.restore({}, {})
        fail(fresh, "studio", "A")
        assert fresh.newest_series({"studio"}) == 1

    def test_only_series_with_a_new_number_are_stored_again(self) -> None:
        made = totals()
        for account in ("studio", "agency"):
            fail(made, account, "A")
            made.add(account, "w", Ran(Status.OTHER, 3.0), WALL)
        made.take_changed()
        # Nobody can have seen the series of an account that is not shown at 0.
        assert made.announce(99, {"studio"})
        counters, histograms = made.take_changed()
        assert set(counters) == {failures("agency", "A")}
        assert set(histograms) == {("run_duration", ("agency", "other"))}


class TestDropping:
    def test_nothing_of_the_account_is_left_and_all_of_the_others(self) -> None:
        made, alone = (Totals(BUCKETS, LabelCaps(1, 50), [TEAM]) for _ in range(2))
        for account in ("studio", "agency"):
            for each in (made,) if account == "studio" else (made, alone):
                fail(each, account, "A")
                each.add(account, "w", Ran(Status.OTHER, 3.0), WALL)
        made.drop("studio")
        assert made.counters.keys() == alone.counters.keys()
        assert made.histograms.keys() == alone.histograms.keys()
        assert made.newest_series({"studio"}) == 0
        assert made.newest_series({"agency"}) > 0
        assert [set(each) for each in made.take_changed()] == [
            set(each) for each in alone.take_changed()
        ]

    def test_its_caps_are_free_again_and_those_of_others_are_not(self) -> None:
        made = Totals(BUCKETS, LabelCaps(1, 50), [TEAM])
        for account in ("studio", "agency"):
            fail(made, account, "A")
            assert made.capped_slice(account, TEAM, "video") == "video"
        made.drop("studio")
        fail(made, "studio", "B")
        fail(made, "agency", "B")
        assert {key for key in made.counters if key[0] == "failures"} == {
            failures("studio", "B"),
            failures("agency", "A"),
            failures("agency", OTHER),
        }
        assert made.capped_slice("studio", TEAM, "art") == "art"
        assert made.capped_slice("agency", TEAM, "art") == OTHER


class TestShowing:
    def test_a_copy_has_the_values_and_the_workflows_of_the_original(self) -> None:
        made = totals()
        made.add("studio", "w", Finished(Status.COMPLETED, 12.0), WALL)
        copied = made.copied({"studio"})
        assert copied.counters == made.counters
        assert copied.histograms == made.histograms

    def test_only_what_is_stored_is_shown(self) -> None:
        made = totals()
        for number in range(3):
            made.add("studio", f"w{number}", Finished(Status.COMPLETED, 12.0), WALL)
            made.add("studio", f"w{number}", Started(2.0), WALL)
            made.add("studio", f"w{number}", EnteredQueue(3), WALL)
        copied = made.copied({"studio"})
        stored = CounterTotal(1.0, Exemplar("w0", 1.0, WALL))
        ran = HistogramTotal(
            BUCKETS.run_duration, [0, 1, 0], 12.0, [None, Exemplar("w0", 12.0, WALL), None]
        )
        copied.show_committed(
            Shown(
                counters={FINISHED: stored},
                histograms={
                    RUN: ran,
                    # As before a reload with other buckets.
                    ("time_to_start", ("studio",)): HistogramTotal((1.0,), [1, 2], 9.0),
                },
            )
        )
        assert copied.counters[FINISHED] == stored
        assert {t.value for key, t in copied.counters.items() if key != FINISHED} == {0.0}
        assert {t.exemplar for key, t in copied.counters.items() if key != FINISHED} == {None}
        assert copied.histograms[RUN] == ran
        for name, total in copied.histograms.items():
            assert name == RUN or total == HistogramTotal(BUCKETS.of(name[0]))
        # What is stored later does not change it.
        ran.observe(12.0, Exemplar("w1", 12.0, WALL))
        assert copied.histograms[RUN].count == 1
        assert made.histograms[RUN].count == 3
