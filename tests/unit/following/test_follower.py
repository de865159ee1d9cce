"""What a stream's events become, and in which order."""

from types import SimpleNamespace
from typing import Any

import pytest

from exporter.budget.sliding_window import Priority
from exporter.following.follower import Follower
from exporter.retrying import Backoff
from tests.running import at_once, called

WORKFLOW = "00000000-0000-4000-8000-000000000001"
WORDS = ("seen again", "final")


class Register:
    """Has settled the workflow already: what was seen before is not wanted."""

    def __init__(self, *, wanted: dict[str, bool]) -> None:
        self.wanted = wanted
        self.told: list[str] = []

    def is_open(self, _account: str, _workflow_id: str) -> bool:
        return False

    def observe(self, seen: Any) -> bool:
        self.told.append(seen.workflow_id)
        return self.wanted[seen.workflow_id]


@pytest.mark.parametrize("last", [True, False])
def test_all_that_an_event_says_is_told_and_the_last_of_it_decides(last: bool) -> None:
    register: Any = Register(wanted={"seen again": False, "final": last})
    around: Any = SimpleNamespace(account="studio", in_thread=called)
    follower = Follower(
        around,
        register,
        around,
        WORKFLOW,
        priority=Priority.NEW_STREAM,
        now=around,
        backoff=Backoff(lambda: 0.5),
        on_end=lambda _: None,
    )
    again, final = (SimpleNamespace(account="studio", workflow_id=word) for word in WORDS)
    seen: Any = [again, None, final]
    assert at_once(follower._tell(seen)) is last
    assert register.told == list(WORDS)
