"""What a stream's events become, and in which order."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from exporter.budget.sliding_window import Priority
from exporter.following.follower import Follower
from exporter.retrying import Backoff

WORKFLOW = "00000000-0000-4000-8000-000000000001"


class Register:
    """Has settled the workflow already: what was seen before is not wanted."""

    def __init__(self, *, wanted: dict[str, bool]) -> None:
        self.wanted = wanted
        self.told: list[str] = []

    def is_open(self, _account: str, _workflow_id: str) -> bool:
        return False

    def observe(self, seen: str) -> bool:
        self.told.append(seen)
        return self.wanted[seen]


@pytest.mark.parametrize("last", [True, False])
def test_all_that_an_event_says_is_told_and_the_last_of_it_decides(last: bool) -> None:
    register: Any = Register(wanted={"seen again": False, "final": last})
    around: Any = SimpleNamespace(account="studio")
    with ThreadPoolExecutor(1) as pool:
        follower = Follower(
            around,
            register,
            around,
            WORKFLOW,
            priority=Priority.NEW_STREAM,
            now=around,
            backoff=Backoff(lambda: 0.5),
            on_end=lambda _: None,
            loop=around,
            pool=pool,  # type: ignore[arg-type]
        )
        seen: Any = ["seen again", None, "final"]
        assert asyncio.run(follower._tell(seen)) is last
    assert register.told == ["seen again", "final"]
