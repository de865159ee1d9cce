"""Who keeps a place while the share of the limit is small."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from exporter.comfycontrol.window import Limit
from exporter.following import supervisor as module
from exporter.following.choosing import StreamCapacity
from exporter.following.supervisor import Supervisor
from exporter.ledger.workflow import Workflow
from exporter.observations import Moment

NOW = Moment(0.0, 0.0)


@dataclass
class StubFollower:
    """Follows nobody, and says what became of it."""

    workflow_id: str
    streaming: bool = True
    opened_at: float = 0.0
    started: bool = False
    stopped: bool = False
    purpose: object = None

    def start(self) -> None:
        self.started = True

    def stop(self) -> None:
        self.stopped = True


@dataclass
class Register:
    """Knows these open workflows, the oldest first, and no debts."""

    ids: list[str] = field(default_factory=list)

    def open_workflows(self, account: str) -> list[Workflow]:
        return [
            Workflow(account, each, "listing", NOW, created_at=float(place))
            for place, each in enumerate(self.ids)
        ]

    def causes_owed(self, _: str) -> list[str]:
        return []


class Access:
    account = "studio"


@pytest.fixture
def share() -> list[int]:
    return [30]


@pytest.fixture
def supervisor(share: list[int], monkeypatch: pytest.MonkeyPatch) -> Supervisor:
    parts: Any = (Access(), Register([str(number) for number in range(8)]), None)
    # A share of 30 bears 8 streams, as configured, one of 1 a period bears 3.
    limit = Limit(per=64.0)
    supervisor = Supervisor(
        *parts,
        capacity=StreamCapacity(8, limit),
        share=lambda: share[0],
        now=lambda: NOW,
        random=lambda: 0.0,
        loop=parts[2],
    )
    monkeypatch.setattr(
        module, "Follower", lambda *parts, **_: StubFollower(parts[3], streaming=False)
    )
    return supervisor


def followers(supervisor: Supervisor) -> dict[str, Any]:
    return dict(supervisor._followers)


def test_with_the_whole_share_all_are_followed(supervisor: Supervisor) -> None:
    supervisor._arrange()
    assert len(followers(supervisor)) == 8
    assert all(follower.started for follower in followers(supervisor).values())


def test_after_refusals_what_is_open_stays_and_what_waits_is_called_off(
    supervisor: Supervisor, share: list[int]
) -> None:
    supervisor._arrange()
    for name, follower in followers(supervisor).items():
        follower.streaming = name in ("1", "4", "6")
    share[0] = 1
    supervisor._arrange()
    stopped = {name for name, each in followers(supervisor).items() if each.stopped}
    # The three that it bears are 0, 1 and 2, whether or not they stream now.
    assert stopped == {"3", "5", "7"}


def test_while_more_are_held_than_the_share_bears_none_is_begun(
    supervisor: Supervisor, share: list[int]
) -> None:
    supervisor._arrange()
    for name, follower in followers(supervisor).items():
        follower.streaming = True
        if name == "0":
            supervisor._ended(follower)
    share[0] = 1
    supervisor._arrange()
    assert len(followers(supervisor)) == 7
    share[0] = 30
    supervisor._arrange()
    assert len(followers(supervisor)) == 8
