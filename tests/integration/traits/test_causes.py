"""Causes that one place does not tell."""

import pytest

from tests.integration.following.exporting import PATIENCE
from tests.integration.traits.comparing import Cases, counted


@pytest.mark.slow
@pytest.mark.parametrize("form", ["too_long", "nan", "too_deep"])
def test_what_cannot_be_read_in_a_snapshot_is_asked_for_another_way(
    cases: Cases, form: str
) -> None:
    simulator = cases.service(f"traits: {{causes: [{{form: {form}}}]}}")
    case = cases.follow(simulator)
    case.ready()
    for _ in range(6):
        simulator.create(outcome="failed", duration="20s")
    case.agrees(6)
    # A stream, some more until the list shows the end (nobody waits between two here), perhaps one
    # for the cause, and one request for it another way.
    requests = simulator.truth().requests
    assert requests["subscribe"] + requests.get("get", 0) <= 6 * 6
    assert requests.get("get", 0) <= 2 * 6


@pytest.mark.slow
def test_a_stream_that_does_not_know_of_the_end_yet_holds_up_no_other_cause(cases: Cases) -> None:
    # Some of the workflows have their streams from a copy of the data that is 30 s behind.
    simulator = cases.service(
        """
        runners: [{name: gpu, stopped: [{from: 0s}]}]
        start: {open: 16, open_age: {min: 1m, max: 5m}}
        # The one that runs must not end by itself.
        jobs: [{name: image, duration: {median: 600, min: 600, max: 600}}]
        traits: {replicas: [{share: 0.7, by: workflow, lag: 300s, places: [subscribe]}]}
        """,
        base="",
    )
    case = cases.follow(simulator, listing={"interval": "2s"}, max_streams=1)
    case.ready()
    ids = [each.id for each in simulator.truth().workflows]
    behind = simulator.call(lambda engine: [each for each in ids if engine.lag("subscribe", each)])
    # More than the places for causes, and not all.
    assert 5 <= len(behind) <= 11
    for each in ids:
        simulator.workflow(each).advance("failed")
    case.exporter.until(
        lambda _: sum(counted(case.exporter).causes.values()) >= 16 - len(behind), PATIENCE
    )
    # By then the streams behind still say that nothing has ended: nobody waited for them.
    row = simulator.call(lambda engine: engine.seen(behind[0], 300.0))
    assert row is not None
    assert not row.status.final
    case.agrees(16)
