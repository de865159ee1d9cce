"""Threads that do one thing again and again: errors, rests and ends."""

import threading
from collections.abc import Callable

import pytest

from exporter.retrying import RetryPolicy
from exporter.worker import StoppedError, Worker

PATIENCE = 20


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
