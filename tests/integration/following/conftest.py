"""Fixtures for tests of following."""

from collections.abc import Iterator

import pytest

from tests.integration.following.exporting import Bench
from tests.integration.following.standin import StandIn


@pytest.fixture
def bench() -> Iterator[Bench]:
    """Starts simulators and exporters, and stops them with the test."""
    bench = Bench()
    yield bench
    bench.close()


@pytest.fixture
def service() -> Iterator[StandIn]:
    """A service that answers as the test tells it to."""
    with StandIn() as service:
        yield service
