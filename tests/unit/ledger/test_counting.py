"""Which ends are ours to count, at the edges of each rule.

What is counted though it was over before the first start, or a second time, is wrong for ever; so
is what is never counted.
"""

from dataclasses import replace
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.interfaces.observations import Moment, Observation, Source
from exporter.ledger.counting import (
    FIRST_PASS_SECONDS,
    CountingRules,
    is_past_keeping,
    must_wait_for_list,
    why_not_counted,
)
from exporter.ledger.runs import CLOCK_SLACK_SECONDS, SLOW_CLOCK_SECONDS
from exporter.ledger.workflow import Workflow

LINE = 1_700_000_000.0
RULES = CountingRules(cutoff=LINE, listed=True)
PRUNED = replace(RULES, pruned_created=LINE + 1000, pruned_ended=LINE + 2000)
NOW = Moment(LINE + 5000, 5000.0)
LONG_AGO = LINE - 10 * FIRST_PASS_SECONDS


def workflow(source: Source = "listing", run: int = 1) -> Workflow:
    """One that nobody has seen open."""
    return Workflow("studio", "w1", source, NOW, run=run)


def over(
    created: float | None = None, completed: float | None = None, updated: float | None = None
) -> Observation:
    """A row of the list that tells an end, and these stamps."""
    return Observation(
        account="studio",
        workflow_id="w1",
        via="listing",
        at=NOW,
        status="completed",
        created_at=created,
        completed_at=completed,
        updated_at=updated,
    )


class TestTheLine:
    def test_what_was_created_long_ago_and_tells_no_end_is_not_counted(self) -> None:
        assert why_not_counted(workflow(), over(LONG_AGO), RULES) == "before_cutoff"

    def test_an_edit_of_an_old_row_without_an_end_does_not_count_it(self) -> None:
        row = over(LONG_AGO, updated=LINE + 100)
        assert why_not_counted(workflow(), row, RULES) == "before_cutoff"

    def test_an_old_row_counts_where_both_its_end_and_its_edit_are_after_the_line(self) -> None:
        assert why_not_counted(workflow(), over(LONG_AGO, LINE + 9, LINE + 10), RULES) is None
        assert why_not_counted(workflow(), over(LONG_AGO, LINE + 9), RULES) is None
        late_edit = over(LONG_AGO, LINE - 9, LINE + 10)
        assert why_not_counted(workflow(), late_edit, RULES) == "before_cutoff"
        fast_clock = over(LONG_AGO, LINE + 9, LINE - 10)
        assert why_not_counted(workflow(), fast_clock, RULES) == "before_cutoff"

    def test_only_what_the_first_look_has_read_is_known_to_have_been_open(self) -> None:
        # By a runner's slow clock it ended before the line; the service wrote its row after it.
        edge = LINE - FIRST_PASS_SECONDS
        read, unread = over(edge + 1, LINE - 60, LINE + 5), over(edge, LINE - 60, LINE + 5)
        assert why_not_counted(workflow(), read, RULES) is None
        assert why_not_counted(workflow(), unread, RULES) == "before_cutoff"

    @pytest.mark.parametrize("unit", [1.0, 0.1, 0.01])
    def test_a_coarse_stamp_may_be_its_whole_unit_too_early(self, unit: float) -> None:
        created = LINE if unit == 1.0 else LINE + unit
        rules = replace(RULES, cutoff=created + unit / 2)
        assert why_not_counted(workflow(), over(created), rules) is None

    def test_a_stamp_to_the_millisecond_that_has_drawn_the_line_is_not_after_it(self) -> None:
        line = LINE + 0.125
        assert (
            why_not_counted(workflow(), over(line, line), replace(RULES, cutoff=line)) is not None
        )

    def test_the_creation_that_a_row_tells_is_believed_of_an_id_that_was_named(self) -> None:
        assert why_not_counted(workflow("configured"), over(LINE + 10), RULES) is None

    def test_without_a_line_only_a_pushed_id_counts(self) -> None:
        unknown = replace(RULES, cutoff=inf)
        row = over(LINE, LINE + 1)
        assert why_not_counted(workflow("pushed"), row, unknown) is None
        assert why_not_counted(workflow("configured"), row, unknown) == "no_cutoff"
        assert why_not_counted(workflow("listing"), row, unknown) == "no_cutoff"

    @given(st.integers(2, 9))
    def test_a_later_run_counts_whatever_its_stamps(self, run: int) -> None:
        row = over(LONG_AGO, LONG_AGO + 1)
        assert why_not_counted(workflow(run=run), row, RULES) is None
        assert why_not_counted(workflow(run=1), row, RULES) == "before_cutoff"


class TestPruned:
    def test_the_very_row_that_was_pruned_last_is_not_counted_again(self) -> None:
        assert PRUNED.pruned_created is not None
        row = over(PRUNED.pruned_created, PRUNED.pruned_ended)
        assert why_not_counted(workflow(), row, PRUNED) == "pruned"

    @given(st.integers(1, 10_000), st.integers(0, 10_000))
    def test_what_was_created_after_all_that_is_gone_counts(self, after: int, lasted: int) -> None:
        assert PRUNED.pruned_created is not None
        created = PRUNED.pruned_created + after
        assert why_not_counted(workflow(), over(created, created + lasted), PRUNED) is None

    @given(st.integers(1, 10_000))
    def test_what_ended_after_all_that_is_gone_counts(self, after: int) -> None:
        assert PRUNED.pruned_created is not None
        assert PRUNED.pruned_ended is not None
        row = over(PRUNED.pruned_created, PRUNED.pruned_ended + after)
        assert why_not_counted(workflow(), row, PRUNED) is None

    def test_an_end_without_a_stamp_may_be_that_of_a_row_that_is_gone(self) -> None:
        assert why_not_counted(workflow(), over(LINE + 10), PRUNED) == "pruned"

    def test_where_nothing_was_pruned_nothing_is_taken_for_it(self) -> None:
        assert why_not_counted(workflow(), over(LINE + 10, LINE + 20), RULES) is None

    def test_a_row_is_kept_no_more_where_all_of_its_time_are_gone(self) -> None:
        assert PRUNED.pruned_ended is not None
        last = over(LINE + 1000, PRUNED.pruned_ended)
        assert is_past_keeping(last, PRUNED)
        assert not is_past_keeping(over(LINE + 1000, PRUNED.pruned_ended + 1), PRUNED)
        assert not is_past_keeping(over(LINE + 1001, PRUNED.pruned_ended), PRUNED)
        assert not is_past_keeping(last, RULES)

    def test_a_row_that_tells_no_end_is_kept(self) -> None:
        assert not is_past_keeping(over(LINE + 10), PRUNED)

    def test_rows_are_kept_where_others_were_lost(self) -> None:
        lost = replace(PRUNED, pruned_created=inf)
        assert not is_past_keeping(over(LINE + 10, LINE + 20), lost)


class TestWaitingForTheList:
    @staticmethod
    def told_by_stream(completed: float | None) -> Observation:
        return replace(over(completed=completed), via="stream")

    def test_an_end_that_a_slow_clock_may_have_stamped_waits(self) -> None:
        just = self.told_by_stream(LINE - SLOW_CLOCK_SECONDS + 1)
        assert must_wait_for_list(workflow("configured"), just, RULES)
        older = self.told_by_stream(LINE - SLOW_CLOCK_SECONDS)
        assert not must_wait_for_list(workflow("configured"), older, RULES)

    def test_an_end_without_a_stamp_waits_only_once_there_is_a_line(self) -> None:
        unstamped = self.told_by_stream(None)
        assert must_wait_for_list(workflow("configured"), unstamped, RULES)
        unknown = replace(RULES, cutoff=inf)
        assert not must_wait_for_list(workflow("configured"), unstamped, unknown)


class TestANamedWorkflow:
    """The service may not have answered since a source named it: then nobody saw it open."""

    NAMED = NOW.wall - 3000.0

    def _judged(self, source: Source, *, monotonic: float, **stamps: float) -> str | None:
        known = replace(workflow(source), first_seen=Moment(self.NAMED, monotonic))
        told = replace(over(**stamps), first_pass=True, service_wall=NOW.wall + 600)
        return why_not_counted(known, told, replace(RULES, cutoff=NOW.wall + 600))

    @pytest.mark.parametrize("monotonic", [NOW.monotonic - 3000, NOW.monotonic - 5])
    def test_one_that_ended_since_is_counted_also_after_a_restart(self, monotonic: float) -> None:
        # By the service's clock, which is ten minutes ahead of ours.
        edge = self.NAMED + 600 + CLOCK_SLACK_SECONDS
        for later in ({"completed": edge + 1}, {"completed": edge + 9, "updated": edge + 1}):
            assert self._judged("configured", monotonic=monotonic, **later) is None
        for before in (
            {"completed": edge},
            {"completed": edge + 9, "updated": edge},
            {"completed": edge, "updated": edge + 9},
        ):
            assert self._judged("configured", monotonic=monotonic, **before) == "first_pass"

    def test_the_list_names_nothing(self) -> None:
        later = self.NAMED + 2000
        assert self._judged("listing", monotonic=2000.0, completed=later) == "first_pass"

    def test_without_the_services_time_nothing_is_compared(self) -> None:
        known = replace(workflow("configured"), first_seen=Moment(self.NAMED, 2000.0))
        told = replace(over(completed=NOW.wall), first_pass=True)
        assert why_not_counted(known, told, RULES) == "first_pass"
