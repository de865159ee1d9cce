"""What holds for every test."""

import sys
import threading
from collections.abc import Iterator

import pytest
from hypothesis import settings

# How long an example takes says nothing on a machine with other work: no deadline, anywhere.
settings.register_profile("without deadline", deadline=None)
settings.load_profile("without deadline")


@pytest.fixture(autouse=True)
def hooks() -> Iterator[None]:
    """Leave pytest's own: commands that run in its process put theirs in place."""
    before = sys.excepthook, threading.excepthook, sys.unraisablehook
    yield
    sys.excepthook, threading.excepthook, sys.unraisablehook = before
