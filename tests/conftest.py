"""What holds for every test."""

import os
import sys
import threading
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.postgres import FAST, Server, binaries, serving

# How long an example takes says nothing on a machine with other work: no deadline, anywhere.
settings.register_profile("without deadline", deadline=None)
settings.load_profile("without deadline")


@pytest.fixture(autouse=True)
def hooks() -> Iterator[None]:
    """Leave pytest's own: commands that run in its process put theirs in place."""
    before = sys.excepthook, threading.excepthook, sys.unraisablehook
    yield
    sys.excepthook, threading.excepthook, sys.unraisablehook = before


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A PostgreSQL for all tests of this process: each takes a schema of its own."""
    if binaries() is None:
        if os.environ.get("REQUIRE_EVERY_TIER"):
            pytest.fail("PostgreSQL is not installed")
        pytest.skip("PostgreSQL is not installed")
    with serving(FAST) as server:
        yield server
