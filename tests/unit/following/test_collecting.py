"""The places of those who ask for what is owed: how many, for how long, and for whom."""

import asyncio
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from exporter.budget.sliding_window import Priority
from exporter.comfycontrol import ServerFaultError, UnusableError
from exporter.following.collecting import CAUSE_SECONDS, CAUSES_AT_ONCE, PendingCollector
from exporter.following.loop import end_all
from exporter.following.threads import NoThreadError
from exporter.interfaces.observations import Moment
from tests.running import LoopThread

PATIENCE = 10.0


class Asking:
    """Asks nobody; each question waits until the test says what comes of it."""

    account = "studio"

    def __init__(self) -> None:
        self.asked: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()
        self.answers: dict[str, asyncio.Future[object]] = {}
        self.purposes: set[Priority] = set()

    async def ask(
        self,
        workflow_id: str,
        way: str,
        priority: Priority,
        *,
        wanted: Callable[[], bool],
        at_most: float | None,
    ) -> bool:
        assert wanted()
        assert at_most == CAUSE_SECONDS
        self.purposes.add(priority)
        self.answers[workflow_id] = asyncio.get_running_loop().create_future()
        self.asked.put((workflow_id, way))
        answer = await self.answers[workflow_id]
        if isinstance(answer, BaseException):
            raise answer
        return bool(answer)


class Register:
    """Knows what is owed: by id, whether it is the cause."""

    def __init__(self) -> None:
        self.pending: dict[str, bool] = {}

    def pending_causes(self, account: str) -> list[str]:
        return list(self.pending)

    def is_cause_pending(self, account: str, workflow_id: str) -> bool:
        return self.pending.get(workflow_id, False)


class Bench:
    """A collector with all around it at hand."""

    def __init__(self) -> None:
        self.loop = LoopThread()
        self.asking, self.register = Asking(), Register()
        self.monotonic = 0.0
        self.ended = threading.Semaphore(0)
        parts: Any = (self.asking, self.register)
        self.collector = PendingCollector(
            *parts,
            now=lambda: Moment(0.0, self.monotonic),
            random=lambda: 0.0,
            on_end=self.ended.release,
        )

    def asked(self) -> tuple[str, str]:
        return self.asking.asked.get(timeout=PATIENCE)

    def answer(self, workflow_id: str, answer: object) -> None:
        self.loop.call(self.asking.answers[workflow_id].set_result, answer)
        assert self.ended.acquire(timeout=PATIENCE)

    def at(self, monotonic: float, *followed: str) -> None:
        self.monotonic = monotonic
        self.loop.call(self.collector.collect, followed)


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.loop.close()


def test_a_few_at_a_time_and_the_longest_waiting_first(bench: Bench) -> None:
    bench.register.pending = {str(number): True for number in range(9)}
    bench.at(0.0)
    first = [bench.asked() for _ in range(CAUSES_AT_ONCE)]
    assert sorted(first) == [(str(number), "stream") for number in range(CAUSES_AT_ONCE)]
    bench.at(1.0)
    assert bench.asking.asked.empty()
    # What failed makes room for the next.
    bench.answer("1", ServerFaultError("", code="500"))
    bench.at(1.0)
    assert bench.asked() == ("4", "stream")
    assert bench.asking.purposes == {Priority.CAUSE}


@pytest.mark.parametrize(
    "answer",
    [False, UnusableError("", code="200"), ServerFaultError("", code="404"), ValueError()],
)
def test_what_is_still_owed_is_asked_for_by_the_other_way_later(
    bench: Bench, answer: object
) -> None:
    bench.register.pending = {"a": True}
    bench.at(0.0)
    assert bench.asked() == ("a", "stream")
    bench.answer("a", answer)
    bench.at(1.9)
    assert bench.asking.asked.empty()
    bench.at(2.0)
    assert bench.asked() == ("a", "detail")


def test_a_cause_that_was_left_out_holds_no_place_while_it_waits(bench: Bench) -> None:
    bench.register.pending = {str(number): True for number in range(CAUSES_AT_ONCE)}
    bench.at(0.0)
    for _ in range(CAUSES_AT_ONCE):
        bench.asked()
    for number in range(CAUSES_AT_ONCE):
        bench.answer(str(number), answer=True)
    bench.register.pending["later"] = True
    bench.at(9.9)
    assert bench.asked() == ("later", "stream")
    assert bench.asking.asked.empty()
    bench.at(10.0)
    assert {bench.asked()[1] for _ in range(CAUSES_AT_ONCE - 1)} == {"detail"}


def test_a_wait_that_the_service_asks_for_is_kept(bench: Bench) -> None:
    bench.register.pending = {"a": True}
    bench.at(0.0)
    bench.asked()
    bench.answer("a", ServerFaultError("", code="503", retry_after=70.0))
    bench.at(69.9)
    assert bench.asking.asked.empty()
    bench.at(70.0)
    assert bench.asked() == ("a", "detail")


def test_what_was_paid_is_not_asked_for_again(bench: Bench) -> None:
    bench.register.pending = {"a": True}
    bench.at(0.0)
    bench.asked()
    bench.register.pending = {}
    bench.answer("a", answer=True)
    bench.at(4000.0)
    assert bench.asking.asked.empty()


def test_a_duration_is_asked_for_by_itself_and_not_at_once(bench: Bench) -> None:
    bench.register.pending = {"a": False}
    for at in (0.0, 9.9):
        bench.at(at)
        assert bench.asking.asked.empty()
    for at in (10.0, 60.0, 600.0):
        bench.at(at)
        assert bench.asked() == ("a", "detail")
        bench.answer("a", answer=True)
    bench.at(7200.0)
    assert bench.asking.asked.empty()


def test_those_that_are_followed_are_left_to_their_streams(bench: Bench) -> None:
    bench.register.pending = {"a": True, "b": True}
    bench.at(0.0, "a")
    assert bench.asked() == ("b", "stream")
    assert bench.asking.asked.empty()


def test_who_is_cancelled_makes_room(bench: Bench) -> None:
    bench.register.pending = {str(number): True for number in range(9)}
    bench.at(0.0)
    for _ in range(CAUSES_AT_ONCE):
        bench.asked()
    bench.loop.run(end_all(list(bench.collector.tries.values())))
    assert bench.collector.tries == {}
    bench.at(1.0)
    assert bench.asked() == ("4", "stream")


def test_a_thread_that_cannot_be_had_gives_its_place_back(bench: Bench) -> None:
    bench.register.pending = {"a": True}
    bench.at(0.0)
    assert bench.asked() == ("a", "stream")
    bench.answer("a", NoThreadError("can't start new thread"))
    bench.at(2.0)
    assert bench.asked() == ("a", "detail")
