"""What holds for every test."""

import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings

from tests.e2e.programs import Stage
from tests.postgres import DURABLE, FAST, Server, binaries, serving

# How long an example takes says nothing on a machine with other work: no deadline, anywhere.
settings.register_profile("without deadline", deadline=None)
settings.load_profile("without deadline")
# For mutation tests: a mutant is found or not, whatever the smallest example, and always the same.
settings.register_profile(
    "mutants",
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=40,
    suppress_health_check=tuple(HealthCheck),
    phases=(Phase.explicit, Phase.generate),
)


@pytest.fixture(autouse=True)
def hooks() -> Iterator[None]:
    """Leave pytest's own: commands that run in its process put theirs in place."""
    before = sys.excepthook, threading.excepthook, sys.unraisablehook
    yield
    sys.excepthook, threading.excepthook, sys.unraisablehook = before


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """A place to start programs; all of them end with the test."""
    stage = Stage(tmp_path)
    yield stage
    stage.close()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A PostgreSQL for all tests of this process: each takes a schema of its own."""
    _need_postgres()
    with serving(FAST) as server:
        yield server


@pytest.fixture
def server() -> Iterator[Server]:
    """One of the test's own, whose commits outlive a crash of its processes."""
    _need_postgres()
    with serving(DURABLE) as server:
        yield server


def _need_postgres() -> None:
    """Skip the test without one, unless every tier must run."""
    if binaries() is None:
        if os.environ.get("REQUIRE_EVERY_TIER"):
            pytest.fail("PostgreSQL is not installed")
        pytest.skip("PostgreSQL is not installed")
