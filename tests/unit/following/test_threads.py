"""Threads for calls that block: bounded, there when needed, gone when not."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError

import pytest

from exporter.following.threads import CallThreads

SOON = 10.0


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SOON
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def go_on() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def test_each_call_is_answered_with_its_result_or_its_error() -> None:
    threads = CallThreads(2, "test")
    assert threads.submit(divmod, 7, 2).result(SOON) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        threads.submit(divmod, 7, 0).result(SOON)
    assert threads.submit(sorted, "ba", reverse=True).result(SOON) == ["b", "a"]


def test_there_are_as_many_threads_as_calls_at_once_up_to_the_most(
    go_on: threading.Event,
) -> None:
    threads = CallThreads(3, "test")
    assert threads.alive == 0
    jobs = [threads.submit(go_on.wait, SOON)]
    until(lambda: threads.alive == 1)
    jobs += [threads.submit(go_on.wait, SOON) for _ in range(9)]
    assert threads.alive == 3
    go_on.set()
    assert [job.result(SOON) for job in jobs] == [True] * 10


def test_threads_that_are_not_needed_end() -> None:
    threads = CallThreads(3, "test", idle=0.05)
    threads.submit(int).result(SOON)
    until(lambda: threads.alive == 0)
    assert threads.submit(int).result(SOON) == 0


def test_a_call_that_was_cancelled_is_not_made(go_on: threading.Event) -> None:
    threads = CallThreads(1, "test")
    made: list[str] = []
    busy = threads.submit(go_on.wait, SOON)
    waiting = threads.submit(made.append, "cancelled")
    assert waiting.cancel()
    go_on.set()
    assert busy.result(SOON)
    threads.submit(made.append, "later").result(SOON)
    assert made == ["later"]
    with pytest.raises(CancelledError):
        waiting.result(0)


def test_a_call_without_a_thread_is_refused_and_never_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads = CallThreads(2, "test")
    made: list[str] = []

    def no_thread(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_thread)
        with pytest.raises(RuntimeError):
            threads.submit(made.append, "refused")
    threads.submit(made.append, "later").result(SOON)
    assert made == ["later"]


def test_shut_down_it_refuses_and_its_threads_end(go_on: threading.Event) -> None:
    threads = CallThreads(1, "test")
    jobs = [threads.submit(go_on.wait, SOON) for _ in range(2)]
    threads.shutdown(wait=False)
    with pytest.raises(RuntimeError):
        threads.submit(int)
    go_on.set()
    assert all(job.result(SOON) for job in jobs)
    threads.shutdown()
    assert threads.alive == 0
