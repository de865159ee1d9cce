"""What every end-to-end test stands on."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.programs import Stage


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """A place to start programs; all of them end with the test."""
    stage = Stage(tmp_path)
    yield stage
    stage.close()
