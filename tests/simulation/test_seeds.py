"""Seeds that anybody's change must pass. `make simulate SEEDS=10000` runs many more."""

import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.simulation.long_plan import draw_long
from tests.simulation.mutations import record
from tests.simulation.mutations.planted import PLANTED
from tests.simulation.plan import Plan, draw
from tests.simulation.scraper import Scraper

ROOT = Path(__file__).parents[2]

SEEDS = 25
"""New ones, besides those that failed once. A run takes less than a second of a core."""


def simulate(*arguments: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: once the exporter is in virtual time, nothing else is."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return subprocess.run(
        [sys.executable, "-m", "tests.simulation", "--processes", "1", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_seeds_that_failed_once_and_some_new_ones_pass() -> None:
    done = simulate("--kept", "--seeds", str(SEEDS))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_seed_repeats_itself() -> None:
    done = simulate("--twice", "--seeds", "1", "--first", "5")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_long_life_passes() -> None:
    """`make simulate ARGS="--long"` runs longer ones."""
    done = simulate("--long", "--days", "4", "--seeds", "1", "--first", "1")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("drawn", [draw, partial(draw_long, days=20.0)], ids=["short", "long"])
def test_what_is_left_out_changes_nothing_else(drawn: Callable[..., Plan]) -> None:
    whole = drawn(4)
    assert whole.parts
    for part in whole.parts:
        less = drawn(4, without=[part])
        assert [each for each in whole.parts if each != part] == less.parts
        assert set(less.events) <= set(whole.events)


def test_what_a_rare_scraper_leaves_out_changes_no_increase() -> None:
    name, values = "ended_total", [0, 0, 0, 1, 1, 1, 1, 3, 3, 3]
    frequent, rare = Scraper((), 60.0), Scraper((), 3600.0)
    for number, value in enumerate(values):
        for each in (frequent, rare):
            each.take(3600.0 * number, 1, f"{name} {value}\n")
    assert len(rare.series[name]) < len(frequent.series[name])
    assert rare.increase(name, -1e-9, 32_400.0) == frequent.increase(name, -1e-9, 32_400.0) == 3


@pytest.mark.parametrize("mutation", PLANTED, ids=lambda mutation: mutation.name)
def test_what_is_planted_has_its_place(mutation: object) -> None:
    """A fault whose text is gone would be planted nowhere, and seem to be found by nothing."""
    planted = next(each for each in PLANTED if each is mutation)
    text = (ROOT / "exporter" / planted.file).read_text("utf-8")
    assert text.count(planted.old) == 1
    assert planted.new != planted.old


def test_each_planted_fault_has_a_seed_that_finds_it() -> None:
    """`make mutations` tries these seeds; one that finds its fault no more is found there."""
    found = record.read()
    assert [each.name for each in PLANTED if each.name not in found] == []
    assert all(each["seed"] < 1000 for each in found.values())
    assert record.table(found) in record.PAGE.read_text("utf-8")
