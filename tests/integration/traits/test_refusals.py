"""One kind of answer to everything, for a while: nothing that was ever seen is lost by it."""

from pathlib import Path
from typing import Any

import pytest

from exporter.simulator import Simulator
from tests.integration.following.exporting import PATIENCE
from tests.integration.traits.comparing import LISTING, Case, Cases

STORMS = [
    ({"kind": "status", "code": 403, "body": "html"}, 12),
    ({"kind": "status", "code": 404}, 45),
    ({"kind": "status", "code": 400}, 12),
    ({"kind": "status", "code": 404, "body": "html", "endpoints": ["subscribe", "get"]}, 12),
]
LONGEST_BACKOFF_SECONDS = 60.0
"""After a storm: the one who backed off in it comes back no later."""


def through(simulator: Simulator, storm: dict[str, Any], seconds: float) -> None:
    """Let a storm pass, in real seconds, and see that it struck."""
    simulator.set_faults(storm)
    began = simulator.truth().taken_ms
    simulator.wait_until(lambda truth: truth.taken_ms - began >= seconds * 1000, seconds + PATIENCE)
    assert simulator.truth().faults["status"] > 0
    simulator.set_faults()


def seen(case: Case, count: int) -> None:
    """Wait until the exporter knows so many that are open."""
    case.exporter.until(lambda m: m.total("workflows") == count, PATIENCE)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("named", ["listed", "configured"])
@pytest.mark.parametrize(("storm", "seconds"), STORMS)
def test_ids_that_were_seen_outlast_a_storm(
    cases: Cases, storm: dict[str, Any], seconds: float, named: str
) -> None:
    simulator = cases.service("")
    made = [simulator.create(scripted=True) for _ in range(6)]
    case = cases.follow(simulator, **(LISTING if named == "listed" else {"workflows": made}))
    seen(case, 6)
    simulator.drop_connections()  # those that have a stream have to ask as well
    through(simulator, storm, seconds)
    for each in made:
        simulator.workflow(each).advance("completed")
    case.agrees(6, LONGEST_BACKOFF_SECONDS)
    assert case.exporter.scrape().total("workflows_dropped_total") == 0


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_they_outlast_it_over_a_restart_too(cases: Cases, tmp_path: Path) -> None:
    simulator = cases.service("")
    made = [simulator.create(scripted=True) for _ in range(6)]
    more = {"storage": tmp_path}
    first = cases.follow(simulator, workflows=made, more=more)
    seen(first, 6)
    simulator.drop_connections()
    through(simulator, {"kind": "status", "code": 403, "body": "html"}, 12)
    assert first.exporter.app.stop()
    again = cases.follow(simulator, workflows=made, more=more)
    for each in made:
        simulator.workflow(each).advance("completed")
    again.agrees(6, LONGEST_BACKOFF_SECONDS)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_id_that_is_gone_for_a_while_is_counted_when_it_is_back(cases: Cases) -> None:
    simulator = cases.service("")
    made = [simulator.create(scripted=True) for _ in range(4)]
    case = cases.follow(simulator)
    seen(case, 4)
    hidden = [simulator.workflow(each) for each in made[:2]]
    for each in hidden:
        each.hide()
    simulator.drop_connections()
    simulator.workflow(made[2]).advance("completed")
    case.exporter.until_finished(1)
    began = simulator.truth().taken_ms
    simulator.wait_until(lambda truth: truth.taken_ms - began >= 35_000, 2 * PATIENCE)
    for each in hidden:
        each.show()
    for each in (*hidden, simulator.workflow(made[3])):
        each.advance("cancelled")
    case.agrees(4, LONGEST_BACKOFF_SECONDS)
