"""Ending a thread's work at once."""

import threading
import time

import pytest

from exporter.following.stop import Stop, StoppedError


def test_asking_wakes_a_sleeper_at_once() -> None:
    stop = Stop()
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
    stop.ask()
    assert woken.wait(5)
    thread.join()


def test_after_asking_nobody_sleeps_any_more() -> None:
    stop = Stop()
    stop.ask()
    began = time.monotonic()
    with pytest.raises(StoppedError):
        stop.sleep(60)
    assert time.monotonic() - began < 5


def test_a_sleep_that_nobody_interrupts_ends_by_itself() -> None:
    Stop().sleep(0.0)


def test_asking_interrupts_what_is_under_way_and_only_that() -> None:
    stop = Stop()
    calls: list[str] = []
    with stop.interrupting(lambda: calls.append("over")):
        pass
    with (
        stop.interrupting(lambda: calls.append("outer")),
        stop.interrupting(lambda: calls.append("inner")),
    ):
        stop.ask()
    assert sorted(calls) == ["inner", "outer"]


def test_what_begins_after_asking_is_interrupted_at_once() -> None:
    stop = Stop()
    stop.ask()
    calls: list[str] = []
    with stop.interrupting(lambda: calls.append("late")):
        assert calls == ["late"]


def test_one_interrupt_that_stands_twice_is_taken_off_once_each() -> None:
    stop = Stop()
    calls: list[str] = []

    def interrupt() -> None:
        calls.append("called")

    with stop.interrupting(interrupt):
        with stop.interrupting(interrupt):
            pass
        stop.ask()
    assert calls == ["called"]


def test_an_interrupt_may_ask_again() -> None:
    stop = Stop()
    calls: list[bool] = []

    def interrupt() -> None:
        if not calls:
            calls.append(stop.asked)
            stop.ask()

    with stop.interrupting(interrupt):
        stop.ask()
    assert calls == [True]


def test_no_interrupt_is_lost_however_asking_and_beginning_fall_together() -> None:
    for _ in range(300):
        stop, interrupted = Stop(), threading.Event()
        thread = threading.Thread(target=stop.ask)
        thread.start()
        with stop.interrupting(interrupted.set):
            assert interrupted.wait(5)
        thread.join()
