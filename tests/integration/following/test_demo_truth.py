"""What the demo compares: an exporter's counts and its simulator's truth."""

import time

import pytest

from exporter.commands.demo_truth import AgainstTruth, Comparison
from exporter.metrics.reading import Reading
from tests.integration.following.exporting import LISTED, PATIENCE, Bench

DAY = """
limit: {enabled: false}
arrivals: {rate: 2}
start: {finished: 40, finished_age: {min: 1s, max: 1h}, open: 8, open_age: {min: 1s, max: 20s}}
runners: [{name: gpu, count: 4}]
jobs: [{name: image, duration: {median: 1s, sigma: 0.5, min: 300ms, max: 4s}}]
outcomes: {failed: 0.2, cancelled: 0.1, invalid: 0.1}
"""


def settled(against: AgainstTruth) -> Comparison:
    """What it comes to once nothing is on its way."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        found = against.compare(again=False)
        if found is not None:
            assert found.too_often == 0
            if not found.on_their_way:
                return found
        time.sleep(0.02)
    pytest.fail("something stays on its way")


def test_all_that_ends_after_the_first_look_is_compared(bench: Bench) -> None:
    # Workflows end all the time, before, at and after the exporter's first look.
    simulator = bench.simulate(DAY, speed=10)
    simulator.wait_until(lambda truth: len(truth.reported()) >= 4, PATIENCE)
    exporter = bench.export(bench.account(simulator, **LISTED))
    against = AgainstTruth(exporter.app.read, simulator.truth, exporter.app.views.workflow)
    first = None
    while first is None:
        first = against.compare()
    over = len(simulator.truth().reported())
    simulator.wait_until(lambda truth: len(truth.reported()) > over + 20, PATIENCE)
    simulator.pause()
    simulator.wait_until(lambda truth: not truth.open(), PATIENCE)
    found = settled(against)
    # Those that were over before are not among them, and all that came later are.
    assert 20 < found.ended <= len(simulator.truth().reported()) - 4
    assert str(found) == f"counted {found.ended} of {found.ended} that ended, none twice"


def test_what_is_counted_twice_or_not_at_all_shows(bench: Bench) -> None:
    simulator = bench.simulate()
    exporter = bench.export(bench.account(simulator, **LISTED))
    exporter.until_listed()
    shown: list[Reading] = []

    def read() -> Reading:
        return shown[-1]

    against = AgainstTruth(read, simulator.truth, exporter.app.views.workflow)
    shown.append(exporter.app.read())
    assert str(against.compare()) == "counted 0 of 0 that ended, none twice"
    simulator.workflow(simulator.create(scripted=True)).advance("failed")
    simulator.wait_until(lambda truth: bool(truth.reported()), PATIENCE)
    found = against.compare(again=False)
    assert str(found) == "counted 0 of 1 that ended, none twice; 1 on the way"
    exporter.until_finished(1)
    shown.append(exporter.app.read())
    assert str(against.compare(again=False)) == "counted 1 of 1 that ended, none twice"
    for total in shown[-1].ledger.totals.counters_named("finished"):
        total[1].value *= 2
    assert str(against.compare(again=False)) == "counted 2 of 1 that ended, 1 too often"


def test_it_takes_little_of_the_time(bench: Bench) -> None:
    simulator = bench.simulate()
    exporter = bench.export(bench.account(simulator, **LISTED))
    clock, looks = [0.0], []

    def read() -> Reading:
        looks.append(clock[0])
        clock[0] += 0.5
        return exporter.app.read()

    against = AgainstTruth(
        read, simulator.truth, exporter.app.views.workflow, monotonic=lambda: clock[0]
    )
    while clock[0] < 25:
        against.compare()
        clock[0] += 1
    assert looks == [0.0, 10.5, 21.0]
    against.compare(again=False)
    assert len(looks) == 4
