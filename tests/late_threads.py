"""Threads that begin late: finds tests, and code, that depend on the order in which threads start.

    pytest -p tests.late_threads --late-threads SEED tests/integration

Each thread of this process begins to run up to 0.4 s after it was started, by a seeded chance. A
machine with other work does the same, only rarely and never twice alike.
"""

import random
import threading
import time
from typing import Final

import pytest

MOST_SECONDS: Final = 0.4
"""By how much a thread may be late."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    parser.addoption("--late-threads", type=int, metavar="SEED", help="let threads begin late")


def pytest_configure(config: pytest.Config) -> None:
    """Let threads begin late, where that is asked for."""
    seed = config.getoption("--late-threads")
    if seed is None:
        return
    chance = random.Random(seed)
    run = threading.Thread.run

    def late(thread: threading.Thread) -> None:
        time.sleep(chance.uniform(0.0, MOST_SECONDS))
        run(thread)

    threading.Thread.run = late  # type: ignore[method-assign,assignment]
