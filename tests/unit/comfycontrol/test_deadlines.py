"""The watchdog, with things that only say when they were ended."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from exporter.comfycontrol.deadlines import Watchdog

if TYPE_CHECKING:
    from collections.abc import Iterator


PATIENCE = 20.0
"""Seconds that a busy machine may take for what is done in a moment."""


class Thing:
    def __init__(self) -> None:
        self.due: float | None = None
        self.ticket = 0
        self.ended = threading.Event()
        self.was_due = self.ended_at = 0.0
        self.ends = 0

    def expire(self, now: float) -> None:
        assert self.due is not None
        assert self.due <= now
        self.was_due = self.due
        self.due = None
        self.ended_at = now
        self.ends += 1
        self.ended.set()


@pytest.fixture
def watchdog() -> Iterator[Watchdog]:
    watchdog = Watchdog()
    yield watchdog
    watchdog.stop()


def test_things_end_when_they_are_due_in_any_order(watchdog: Watchdog) -> None:
    things = [Thing() for _ in range(5)]
    begin = time.monotonic()
    for number in (3, 0, 4, 1, 2):
        watchdog.watch(things[number], 0.05 + 0.02 * number)
    for number, thing in enumerate(things):
        assert thing.ended.wait(PATIENCE)
        assert thing.ended_at - begin >= 0.05 + 0.02 * number
    # Not by their numbers: a busy machine may pause between two of the calls above.
    ends = [thing.ended_at for thing in sorted(things, key=lambda thing: thing.was_due)]
    assert ends == sorted(ends)


def test_a_deadline_is_put_off_by_writing_it(watchdog: Watchdog) -> None:
    thing = Thing()
    begin = time.monotonic()
    watchdog.watch(thing, 0.05)
    thing.due = begin + 0.2
    assert thing.ended.wait(PATIENCE)
    assert thing.ended_at - begin >= 0.2


def test_a_deadline_is_brought_forward_by_watching_again(watchdog: Watchdog) -> None:
    thing = Thing()
    watchdog.watch(thing, 60)
    watchdog.watch(thing, 0.05)
    assert thing.ended.wait(PATIENCE)


def test_a_deadline_that_is_lifted_does_not_come(watchdog: Watchdog) -> None:
    lifted, other = Thing(), Thing()
    watchdog.watch(lifted, 0.02)
    lifted.due = None
    watchdog.watch(other, 0.1)
    assert other.ended.wait(PATIENCE)
    assert not lifted.ended.is_set()


def test_watching_again_and_again_gathers_nothing(watchdog: Watchdog) -> None:
    thing, other = Thing(), Thing()
    for _ in range(100):
        watchdog.watch(thing, 0.05)
    thing.due = time.monotonic() + 60
    watchdog.watch(other, 0.2)
    assert other.ended.wait(PATIENCE)
    assert len(watchdog._schedule) == 1


def test_what_was_lifted_is_let_go_without_being_waited_for(watchdog: Watchdog) -> None:
    for _ in range(100):
        thing = Thing()
        watchdog.watch(thing, 60)
        thing.due = None
    other = Thing()
    watchdog.watch(other, 0.05)
    assert other.ended.wait(PATIENCE)
    give_up = time.monotonic() + PATIENCE
    while watchdog._schedule and time.monotonic() < give_up:
        time.sleep(0.001)
    assert not watchdog._schedule


def test_nothing_ends_once_it_is_stopped() -> None:
    watchdog = Watchdog()
    thing = Thing()
    watchdog.watch(thing, 0.1)
    watchdog.stop()
    watchdog.stop()
    watchdog.watch(Thing(), 0)
    assert not thing.ended.wait(0.2)


def test_one_thread_serves_all(watchdog: Watchdog) -> None:
    before = threading.active_count()
    for _ in range(50):
        watchdog.watch(Thing(), 60)
    assert threading.active_count() == before + 1
