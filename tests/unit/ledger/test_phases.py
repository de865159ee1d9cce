"""How long a workflow stayed in a phase: what is measured, and what is uncertain."""

from math import inf

import pytest

from exporter.interfaces.observations import Moment, Status
from exporter.ledger.facts import PhasePassed
from exporter.ledger.phases import APART_SECONDS, Entry, PhaseSight, created_by_clocks, follow

ACCEPTED, UPLOADED, QUEUED, RUNNING = (
    Status.ACCEPTED, Status.UPLOADED, Status.QUEUED, Status.RUNNING,
)  # fmt: skip
AT = Moment(1_700_000_000.0, 100.0)


def entry(seconds_ago: float) -> Entry:
    return Entry(AT.wall - seconds_ago, AT.monotonic - seconds_ago)


def test_a_change_lies_halfway_between_the_sights_around_it() -> None:
    before = PhaseSight(QUEUED, entry(30.0), last_seen=AT.monotonic - 2.0)
    progress = follow(before, RUNNING, AT, None)
    assert progress.facts == (PhasePassed(QUEUED, 29.0),)


def test_the_next_phase_begins_where_the_last_one_ended() -> None:
    before = PhaseSight(ACCEPTED, entry(30.0), last_seen=AT.monotonic - 4.0)
    progress = follow(before, UPLOADED, AT, None)
    assert progress.entered == entry(2.0)


def test_changes_between_the_same_two_sights_are_spread_evenly() -> None:
    before = PhaseSight(ACCEPTED, entry(10.0), last_seen=AT.monotonic - 4.0)
    progress = follow(before, RUNNING, AT, None)
    assert progress.facts == (
        PhasePassed(ACCEPTED, 7.0),
        PhasePassed(UPLOADED, 1.0),
        PhasePassed(QUEUED, 1.0),
    )


@pytest.mark.parametrize("ago", [APART_SECONDS + 0.1, inf])
def test_sights_too_far_apart_make_both_phases_uncertain(ago: float) -> None:
    before = PhaseSight(ACCEPTED, entry(30.0), None if ago == inf else AT.monotonic - ago)
    progress = follow(before, UPLOADED, AT, None)
    assert progress.facts == (PhasePassed(ACCEPTED, None),)
    assert progress.entered is None
    later = Moment(AT.wall + 1.0, AT.monotonic + 1.0)
    passed = follow(PhaseSight(UPLOADED, None, AT.monotonic), QUEUED, later, None)
    assert passed.facts == (PhasePassed(UPLOADED, None),)
    assert passed.entered is not None


def test_the_first_phase_begins_with_the_creation_however_late_it_is_seen() -> None:
    created = entry(40.0)
    progress = follow(PhaseSight(None), ACCEPTED, AT, created)
    assert progress.entered == created
    assert not progress.facts


def test_the_creation_may_be_told_later() -> None:
    before = PhaseSight(ACCEPTED, None, AT.monotonic - 1.0)
    assert follow(before, ACCEPTED, AT, entry(3.0)).entered == entry(3.0)
    known = PhaseSight(ACCEPTED, entry(4.0), AT.monotonic - 1.0)
    assert follow(known, ACCEPTED, AT, entry(3.0)).entered == entry(4.0)


def test_what_was_over_before_the_first_sight_counts_by_the_creation() -> None:
    soon = follow(PhaseSight(None), QUEUED, AT, entry(3.0))
    assert soon.facts == (PhasePassed(ACCEPTED, 1.0), PhasePassed(UPLOADED, 1.0))
    assert soon.entered == entry(1.0)
    late = follow(PhaseSight(None), QUEUED, AT, entry(6.0))
    assert late.facts == (PhasePassed(ACCEPTED, None), PhasePassed(UPLOADED, None))
    unknown = follow(PhaseSight(None), QUEUED, AT, None)
    assert unknown.facts == late.facts


def test_a_phase_that_began_before_a_restart_is_measured_by_the_wall_clock() -> None:
    before = PhaseSight(QUEUED, Entry(AT.wall - 600.0, None), last_seen=AT.monotonic - 2.0)
    assert follow(before, RUNNING, AT, None).facts == (PhasePassed(QUEUED, 599.0),)


@pytest.mark.parametrize("wall", [AT.wall + 60.0, AT.wall - 40 * 86_400])
def test_a_wall_clock_that_stepped_meanwhile_measures_nothing(wall: float) -> None:
    before = PhaseSight(QUEUED, Entry(wall, None), last_seen=AT.monotonic - 2.0)
    assert follow(before, RUNNING, AT, None).facts == (PhasePassed(QUEUED, None),)


def test_the_creation_is_told_by_the_clock_of_the_service() -> None:
    # Ours is an hour ahead. Theirs is told in whole seconds, cut off.
    theirs = AT.wall - 3600.0
    assert created_by_clocks(theirs - 9.5, theirs, AT) == entry(10.0)
    assert created_by_clocks(theirs + 1.0, theirs, AT) == entry(0.0)
    assert created_by_clocks(theirs + 60.0, theirs, AT) is None
    assert created_by_clocks(None, theirs, AT) is None
    assert created_by_clocks(theirs, None, AT) is None
