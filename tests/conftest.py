"""Settings and fixtures for all tests."""

import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings

from tests.e2e.programs import Stage
from tests.postgres import DURABLE, FAST, Server, binaries, serving

# No deadlines: on a busy machine the duration of an example says nothing.
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
    """Restore pytest's hooks, because commands that run in its process replace them."""
    before = sys.excepthook, threading.excepthook, sys.unraisablehook
    yield
    sys.excepthook, threading.excepthook, sys.unraisablehook = before


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """Starts programs; all of them are ended with the test."""
    stage = Stage(tmp_path)
    yield stage
    stage.close()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A PostgreSQL server for all tests of this process; each test uses a separate schema."""
    _need_postgres()
    with serving(FAST) as server:
        yield server


@pytest.fixture
def server() -> Iterator[Server]:
    """A PostgreSQL server for one test, whose commits survive a crash of the server's processes."""
    _need_postgres()
    with serving(DURABLE) as server:
        yield server


def _need_postgres() -> None:
    """Skip the test if PostgreSQL is not installed, unless every tier must run."""
    if binaries() is None:
        if os.environ.get("REQUIRE_EVERY_TIER"):
            pytest.fail("PostgreSQL is not installed")
        pytest.skip("PostgreSQL is not installed")
