"""Threads that do one thing again and again: errors, rests and ends."""

import threading
import time
from collections.abc import Callable

import pytest

from exporter.retrying import RetryPolicy
from exporter.worker import Cancellation, StoppedError, Worker

PATIENCE = 20


def test_asking_wakes_a_sleeper_at_once() -> None:
    stop = Cancellation()
    sleeping, woken = threading.Event(), threading.Event()

    def sleep() -> None:
        sleeping.set()
        try:
            stop.sleep(60)
        except StoppedError:
            woken.set()

    thread = threading.Thread(target=sleep)
    thread.start()
    sleeping.wait()
    stop.request()
    assert woken.wait(5)
    thread.join()


def test_after_asking_nobody_sleeps_any_more() -> None:
    stop = Cancellation()
    stop.request()
    began = time.monotonic()
    with pytest.raises(StoppedError):
        stop.sleep(60)
    assert time.monotonic() - began < 5


def test_a_sleep_that_nobody_interrupts_ends_by_itself() -> None:
    Cancellation().sleep(0.0)


def test_asking_interrupts_what_is_under_way_and_only_that() -> None:
    stop = Cancellation()
    calls: list[str] = []
    with stop.interrupting(lambda: calls.append("over")):
        pass
    with (
        stop.interrupting(lambda: calls.append("outer")),
        stop.interrupting(lambda: calls.append("inner")),
    ):
        stop.request()
    assert sorted(calls) == ["inner", "outer"]


def test_what_begins_after_asking_is_interrupted_at_once() -> None:
    stop = Cancellation()
    stop.request()
    calls: list[str] = []
    with stop.interrupting(lambda: calls.append("late")):
        assert calls == ["late"]


def test_one_interrupt_that_stands_twice_is_taken_off_once_each() -> None:
    stop = Cancellation()
    calls: list[str] = []

    def interrupt() -> None:
        calls.append("called")

    with stop.interrupting(interrupt):
        with stop.interrupting(interrupt):
            pass
        stop.request()
    assert calls == ["called"]


def test_an_interrupt_may_ask_again() -> None:
    stop = Cancellation()
    calls: list[bool] = []

    def interrupt() -> None:
        if not calls:
            calls.append(stop.is_requested)
            stop.request()

    with stop.interrupting(interrupt):
        stop.request()
    assert calls == [True]


def test_no_interrupt_is_lost_however_asking_and_beginning_fall_together() -> None:
    for _ in range(300):
        stop, interrupted = Cancellation(), threading.Event()
        thread = threading.Thread(target=stop.request)
        thread.start()
        with stop.interrupting(interrupted.set):
            assert interrupted.wait(5)
        thread.join()


class Rounds:
    """Does what it is told to, a step a round, and notes each round."""

    def __init__(self, *steps: Callable[[], float]) -> None:
        self._steps = iter(steps)
        self.done = threading.Event()
        self.count = 0

    def __call__(self) -> float:
        self.count += 1
        try:
            step = next(self._steps)
        except StopIteration:
            self.done.set()
            return 60.0
        return step()


def breaks() -> float:
    raise ValueError("cfc_secret")


def ends() -> float:
    raise StoppedError


def at_once(*waits: float) -> RetryPolicy:
    return RetryPolicy(waits or (0.0,))


def test_a_round_that_raises_is_one_line_without_its_text_and_is_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rounds = Rounds(breaks, lambda: 0.0, breaks)
    worker = Worker("one", rounds, task="trying", retry=at_once(), account="studio")
    worker.start()
    assert rounds.done.wait(PATIENCE)
    worker.stop()
    assert worker.join(PATIENCE)
    assert rounds.count == 4
    told = [(r.getMessage(), vars(r)["task"], vars(r)["account"]) for r in caplog.records]
    assert told == [("background task failed, retrying", "trying", "studio")] * 2
    assert "cfc_secret" not in caplog.text


def test_it_backs_off_after_rounds_that_raised_in_a_row() -> None:
    # The second failure in a row waits for longer than the test: it is stopped in that wait.
    rounds = Rounds(breaks, lambda: 0.0, breaks, breaks, breaks)
    worker = Worker("one", rounds, task="trying", retry=at_once(0.0, 3600.0))
    worker.start()
    assert not rounds.done.wait(0.3)
    assert rounds.count == 4
    worker.stop()
    assert worker.join(PATIENCE)


def test_stopping_ends_its_rest_at_once() -> None:
    rounds = Rounds()
    worker = Worker("one", rounds, task="resting")
    worker.start()
    assert rounds.done.wait(PATIENCE)
    worker.stop()
    assert worker.join(PATIENCE)


def test_a_round_can_end_it() -> None:
    worker = Worker("one", Rounds(ends), task="ending")
    worker.start()
    assert worker.join(PATIENCE)
    assert not worker.is_stopping


def test_joining_is_bounded_and_one_that_never_began_has_ended() -> None:
    going_on = threading.Event()

    def wait() -> float:
        going_on.wait()
        return 0.0

    worker = Worker("one", wait, task="waiting")
    assert worker.join(0.0)
    assert not worker.is_started
    worker.start()
    worker.stop()
    assert not worker.join(0.05)
    going_on.set()
    assert worker.join(PATIENCE)
