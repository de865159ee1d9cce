"""Who keeps a place while the share of the limit is small."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from exporter.budget.sliding_window import Limit, Priority
from exporter.following import supervisor as module
from exporter.following.choosing import StreamCapacity
from exporter.following.supervisor import Supervisor
from exporter.interfaces.observations import Moment, Status
from exporter.ledger.workflow import Workflow
from exporter.retrying import Backoff
from tests.running import at_once

NOW = Moment(0.0, 0.0)


@dataclass
class StubFollower:
    """Follows nobody, and says what became of it."""

    workflow_id: str
    streaming: bool = True
    opened_at: float = 0.0
    started: bool = False
    stopped: bool = False
    priority: object = None
    waits_for_first_turn: bool = True
    lacks_thread: bool = False

    def start(self) -> None:
        self.started = True

    def stop(self) -> None:
        self.stopped = True


@dataclass
class Register:
    """Knows these open workflows, the oldest first, and no debts."""

    ids: list[str] = field(default_factory=list)
    pushed: set[str] = field(default_factory=set)

    def open_workflows(self, account: str) -> list[Workflow]:
        return [
            Workflow(
                account,
                each,
                "pushed" if each in self.pushed else "listing",
                NOW,
                created_at=float(place),
                status=Status.QUEUED,
            )
            for place, each in enumerate(self.ids)
        ]

    def pending_causes(self, _: str) -> list[str]:
        return []


class Access:
    account = "studio"

    async def for_many(self, _: int, function: Callable[..., Any], *arguments: object) -> Any:
        return function(*arguments)


class Loop:
    """Calls nothing."""

    def call(self, *_: object) -> None:
        """It is called never."""


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
        backoff=Backoff,
        loop=Loop(),  # type: ignore[arg-type]
    )
    monkeypatch.setattr(
        module,
        "Follower",
        lambda *parts, **named: StubFollower(parts[3], streaming=False, priority=named["priority"]),
    )
    return supervisor


def followers(supervisor: Supervisor) -> dict[str, Any]:
    return dict(supervisor._followers)


def test_with_the_whole_share_all_are_followed(supervisor: Supervisor) -> None:
    at_once(supervisor._arrange())
    assert len(followers(supervisor)) == 8
    assert all(follower.started for follower in followers(supervisor).values())


def test_after_refusals_what_is_open_stays_and_what_waits_is_called_off(
    supervisor: Supervisor, share: list[int]
) -> None:
    at_once(supervisor._arrange())
    for name, follower in followers(supervisor).items():
        follower.streaming = name in ("1", "4", "6")
    share[0] = 1
    at_once(supervisor._arrange())
    stopped = {name for name, each in followers(supervisor).items() if each.stopped}
    # The three that it bears are 0, 1 and 2, whether or not they stream now.
    assert stopped == {"3", "5", "7"}


def test_one_that_is_named_while_it_waits_waits_as_one_that_is_named(
    supervisor: Supervisor,
) -> None:
    at_once(supervisor._arrange())
    register: Any = supervisor._register
    register.pushed = {"5", "6", "7"}
    before = followers(supervisor)
    # An open stream is kept, and so is one that is being opened or waits for another try.
    before["6"].streaming, before["6"].waits_for_first_turn = True, False
    before["7"].waits_for_first_turn = False
    at_once(supervisor._arrange())
    assert {name for name, each in before.items() if each.stopped} == {"5"}
    supervisor._ended(before["5"])
    at_once(supervisor._arrange())
    again = followers(supervisor)["5"]
    assert (again.started, again.priority) == (True, Priority.NAMED_STREAM)
    at_once(supervisor._arrange())
    assert not again.stopped


def test_while_more_are_held_than_the_share_bears_none_is_begun(
    supervisor: Supervisor, share: list[int]
) -> None:
    at_once(supervisor._arrange())
    for name, follower in followers(supervisor).items():
        follower.streaming = True
        if name == "0":
            supervisor._ended(follower)
    share[0] = 1
    at_once(supervisor._arrange())
    assert len(followers(supervisor)) == 7
    share[0] = 30
    at_once(supervisor._arrange())
    assert len(followers(supervisor)) == 8


def test_what_another_replica_streams_is_not_streamed_here_as_well(supervisor: Supervisor) -> None:
    """A new holder learns what is lent after it has begun: no stream is young enough to stay."""
    at_once(supervisor._arrange())
    for follower in followers(supervisor).values():
        follower.streaming = True
    supervisor._elsewhere = lambda: {"3": True, "5": False}
    at_once(supervisor._arrange())
    # The other's stream of 5 is not open yet.
    assert {name for name, each in followers(supervisor).items() if each.stopped} == {"3"}
    assert {workflow.workflow_id for workflow in supervisor.beyond} == set()


def test_where_no_thread_can_be_started_there_are_fewer_streams_for_a_while(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "SPARE_THREADS", 2)
    at_once(supervisor._arrange())
    started = list(followers(supervisor).values())
    for follower in started[:5]:
        follower.streaming = True
    for follower in started[5:]:
        follower.lacks_thread = True
        supervisor._ended(follower)
    at_once(supervisor._arrange())
    assert (len(followers(supervisor)), supervisor.without_thread) == (5, 5)
    assert [line.message for line in caplog.records] == ["no thread for another stream"]
    # Those over the number are let go once they have had their time.
    later = Moment(31.0, 31.0)
    supervisor._now = lambda: later
    at_once(supervisor._arrange())
    assert [f.stopped for f in followers(supervisor).values()].count(True) == 2
    # More are tried again, in time.
    for workflow_id in [each for each, f in followers(supervisor).items() if f.stopped]:
        supervisor._ended(supervisor._followers[workflow_id])
    much_later = Moment(61.0, 61.0)
    supervisor._now = lambda: much_later
    at_once(supervisor._arrange())
    assert (len(followers(supervisor)), supervisor.without_thread) == (8, 0)
