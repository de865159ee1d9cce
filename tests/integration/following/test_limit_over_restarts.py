"""Restarts within a period of the service's limit: it remembers what every life asked."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from exporter.simulator import Truth
from tests.integration.following.exporting import PATIENCE, Bench, Exporter

LIMIT = {"requests": 8, "per": "1s", "cooldown": "1s", "reserve": 0.25}
"""The service's, in a hurry; six of it are ours."""

SCENARIO = "limit: {requests: 8, per: 1s, cooldown: 1s}"

WORKFLOWS = 10


def asked(truth: Truth) -> int:
    return sum(truth.requests.values())


def asks_more_than(before: int, truth: Truth) -> bool:
    return asked(truth) > before + 1


def new_folder(folder: Path) -> Path:
    new = folder / f"data-{len(list(folder.iterdir()))}"
    new.mkdir()
    return new


def same_folder(folder: Path) -> Path:
    return folder


def damaged_file(folder: Path) -> Path:
    for file in folder.glob("*.window"):
        file.write_bytes(file.read_bytes()[:-1])
    return folder


@pytest.mark.parametrize("storage", [same_folder, new_folder, damaged_file])
def test_no_restart_draws_a_429(
    bench: Bench, tmp_path: Path, storage: Callable[[Path], Path]
) -> None:
    simulator = bench.simulate(SCENARIO, speed=1)
    workflows = [simulator.create(scripted=True) for _ in range(WORKFLOWS)]
    account = bench.account(simulator, workflows=workflows, rate_limit=LIMIT)

    def start() -> Exporter:
        return bench.export(account, storage=storage(tmp_path), fresh_services=False)

    # One that has used its whole share, and is in need of more.
    first = start()
    simulator.wait_until(lambda truth: asked(truth) >= 8, PATIENCE)
    assert first.app.stop()
    for _ in range(3):
        # And some that end before long, in a hurry.
        before = asked(simulator.truth())
        following = start()
        simulator.wait_until(partial(asks_more_than, before), PATIENCE)
        assert following.app.stop()
    last = start()
    last.until(lambda m: m.total("streams") == WORKFLOWS)
    truth = simulator.truth()
    assert sum(truth.refusals.values()) == 0
    assert truth.busiest_window <= 8


def test_a_reload_that_adds_an_address_knows_nothing_of_it(bench: Bench, tmp_path: Path) -> None:
    simulator, other = (bench.simulate(SCENARIO, speed=1) for _ in range(2))
    account = bench.account(simulator, listing={"interval": "1h"})
    for _ in range(WORKFLOWS):
        other.create(scripted=True)
    added = {
        **bench.account(other, listing={"interval": "1h"}, rate_limit=LIMIT),
        "name": "agency",
    }
    # It was followed by a process of which nothing is left, and which has just ended.
    before = bench.export(added)
    other.wait_until(lambda truth: asked(truth) >= 6, PATIENCE)
    exporter = bench.export(account, storage=tmp_path, fresh_services=False)
    assert before.app.stop()
    exporter.reload(account, added)
    exporter.until(lambda m: m.total("streams", account="agency") == WORKFLOWS)
    assert sum(other.truth().refusals.values()) == 0
