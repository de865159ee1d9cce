"""The gate of an account for tasks of an event loop: who waits holds no thread and is cancelled."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from exporter.budget.budget import RequestBudget
from exporter.budget.sliding_window import Limit, Priority
from exporter.comfycontrol import Call, Client, ServerFaultError, UnauthorizedError
from exporter.following.access import AccountAccess
from exporter.following.threads import CallThreads
from exporter.retrying import Backoff
from exporter.worker import StoppedError

REFUSED = UnauthorizedError("subscribe: answered with status 401", code="401")
SOON = 10.0


class Clock:
    """Time that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Bench:
    """An account's access, and tasks that ask through it."""

    def __init__(self, *, requests: int = 10_000) -> None:
        self.clock = Clock()
        self.pool = CallThreads(2, "test")
        self.budget = RequestBudget(
            "localhost",
            Limit(requests=requests, reserve=0.0),
            monotonic=self.clock,
            wall=self.clock,
        )
        self.access = AccountAccess(
            "studio",
            Client("http://localhost", lambda: "token", max_streams=1, on_request=lambda _: None),
            self.budget,
            self.pool,
            reload_token=lambda: True,
            monotonic=self.clock,
            backoff=Backoff(lambda: 1.0),
            token_shape=lambda: None,
        )
        self.discarded: list[object] = []

    @property
    def used(self) -> int:
        """Requests that count now."""
        return self.budget.reading().used

    def threads(self) -> int:
        return self.pool.alive

    async def ask(
        self,
        answer: object = "answer",
        *,
        wanted: bool = True,
        meanwhile: Callable[[], object] = lambda: None,
    ) -> object:
        def request(_: Call) -> object:
            meanwhile()
            if isinstance(answer, BaseException):
                raise answer
            return answer

        return await self.access.ask(
            Priority.NEW_STREAM,
            request,
            still_wanted=lambda: wanted,
            discard=self.discarded.append,
        )

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(SOON):
            while not condition():  # noqa: ASYNC110 - other threads bring it about
                await asyncio.sleep(0.01)


MakeBench = Callable[..., Bench]


@pytest.fixture
def make_bench() -> Iterator[MakeBench]:
    benches: list[Bench] = []

    def make(**parts: int) -> Bench:
        benches.append(Bench(**parts))
        return benches[-1]

    yield make
    for bench in benches:
        bench.budget.close()
        bench.pool.shutdown()


@pytest.fixture
def bench(make_bench: MakeBench) -> Bench:
    return make_bench()


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 2 * SOON))


async def cancelled(*tasks: "asyncio.Task[object]") -> bool:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    return all(task.cancelled() for task in tasks)


def test_an_answer_is_handed_back_and_an_error_raised(bench: Bench) -> None:
    async def work() -> None:
        assert await bench.ask("here") == "here"
        with pytest.raises(ServerFaultError):
            await bench.ask(ServerFaultError("subscribe: answered with status 500", code="500"))
        with pytest.raises(StoppedError):
            await bench.ask(wanted=False)
        assert bench.used == 2

    run(work())


def test_five_hundred_that_wait_for_their_turn_hold_no_thread_and_leave_together(
    make_bench: MakeBench,
) -> None:
    bench = make_bench(requests=1)

    async def work() -> None:
        await bench.ask()
        before = bench.threads()
        tasks = [asyncio.create_task(bench.ask()) for _ in range(500)]
        await bench.wait_until(lambda: sum(map(len, bench.budget._waiting.values())) == 500)
        assert bench.threads() == before
        assert await cancelled(*tasks)
        assert bench.used == 1
        bench.clock.now += 100
        assert await bench.ask("later") == "later"

    run(work())


def test_closing_the_budget_ends_those_who_wait(make_bench: MakeBench) -> None:
    bench = make_bench(requests=1)

    async def work() -> None:
        await bench.ask()
        task = asyncio.create_task(bench.ask())
        await asyncio.sleep(0)
        bench.budget.close()
        with pytest.raises(StoppedError):
            await task

    run(work())


def test_an_answer_that_comes_too_late_is_discarded(bench: Bench) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def meanwhile() -> None:
        begun.set()
        go_on.wait(SOON)

    async def work() -> None:
        task = asyncio.create_task(bench.ask("late", meanwhile=meanwhile))
        await bench.wait_until(begun.is_set)
        assert await cancelled(task)
        go_on.set()
        await bench.wait_until(lambda: bench.discarded == ["late"])

    run(work())


def test_who_leaves_while_the_threads_are_busy_gives_the_place_back(bench: Bench) -> None:
    go_on = threading.Event()

    async def work() -> None:
        busy = [asyncio.create_task(bench.ask(meanwhile=go_on.wait)) for _ in range(2)]
        await bench.wait_until(lambda: bench.used == 2)
        third = asyncio.create_task(bench.ask())
        await bench.wait_until(lambda: bench.used == 3)
        assert await cancelled(third)
        assert bench.used == 2
        go_on.set()
        assert await asyncio.gather(*busy) == ["answer", "answer"]

    run(work())


def test_where_no_thread_is_to_be_had_the_place_is_given_back(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_thread(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def work() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", no_thread)
            with pytest.raises(RuntimeError):
                await bench.ask("never sent")
        assert bench.used == 0
        # A thread that is there later comes to it in the end, and must not send it.
        assert await bench.ask("sent") == "sent"
        assert bench.used == 1

    run(work())


def test_one_tries_a_refused_token_for_all_and_then_all_pass(bench: Bench) -> None:
    async def work() -> None:
        with pytest.raises(UnauthorizedError):
            await bench.ask(REFUSED)
        tasks = [asyncio.create_task(bench.ask()) for _ in range(20)]
        await asyncio.sleep(0.05)
        assert not any(task.done() for task in tasks)
        left, *others = tasks
        assert await cancelled(left)
        bench.access.token_changed()
        assert await asyncio.gather(*others) == ["answer"] * 19

    run(work())
