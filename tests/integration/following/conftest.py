"""What every test of following stands on."""

from collections.abc import Iterator

import pytest

from tests.integration.following.exporting import Bench


@pytest.fixture
def bench() -> Iterator[Bench]:
    """Starts simulators and exporters, and stops them with the test."""
    bench = Bench()
    yield bench
    bench.close()
