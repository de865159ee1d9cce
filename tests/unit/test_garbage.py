"""What the garbage collector checks, and when."""

import gc
import threading
import time
import weakref
from collections.abc import Iterator

import pytest

from exporter.app.garbage import (
    CHECK_ALL_SECONDS,
    CHECK_NEW_SECONDS,
    FREEZE_SECONDS,
    GarbageSchedule,
    short_collections,
)


class Node:
    """Refers to itself, so that only the collector frees it."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def nothing_frozen() -> Iterator[None]:
    yield
    gc.unfreeze()
    gc.collect()


def test_what_has_survived_is_checked_again_only_after_an_hour() -> None:
    now = 1000.0
    with short_collections(lambda: now):
        node = Node()
        ref = weakref.ref(node)
        gc.collect()
        assert gc.get_freeze_count() > 0
        del node
        now += CHECK_ALL_SECONDS - 1
        gc.collect()
        assert ref() is not None
        now += 1
        gc.collect()
        assert ref() is None
        # And again from then on.
        late = Node()
        late_ref = weakref.ref(late)
        gc.collect()
        del late
        gc.collect()
        assert late_ref() is not None


def test_what_is_new_is_collected_as_ever() -> None:
    with short_collections(lambda: 1000.0):
        ref = weakref.ref(Node())
        gc.collect()
        assert ref() is None
        young = weakref.ref(Node())
        gc.collect(0)
        assert young() is None


def test_a_full_check_costs_nothing_for_what_was_there_before() -> None:
    with short_collections(lambda: 1000.0):
        gc.collect()
        many = [Node() for _ in range(1000)]
        assert len(gc.get_objects()) >= len(many)
        gc.collect()
        assert len(gc.get_objects()) < len(many)


def test_new_objects_are_checked_every_second_though_none_is_more() -> None:
    checked = threading.Event()

    def note(phase: str, details: dict[str, int]) -> None:
        if phase == "stop" and threading.current_thread().name == "garbage":
            checked.set()

    gc.callbacks.append(note)
    try:
        with short_collections(time.monotonic):
            assert checked.wait(10)
    finally:
        gc.callbacks.remove(note)


def test_everything_that_is_not_frozen_is_checked_every_half_minute() -> None:
    now = 1000.0
    schedule = GarbageSchedule(lambda: now)
    node = Node()
    gc.collect()  # now it is among the oldest
    ref = weakref.ref(node)
    del node
    now += FREEZE_SECONDS - 1
    schedule.collect()
    assert ref() is not None
    now += 1
    schedule.collect()
    assert ref() is None
    node = Node()
    gc.collect()
    ref = weakref.ref(node)
    del node
    now += FREEZE_SECONDS - 1
    assert schedule.collect() == CHECK_NEW_SECONDS
    assert ref() is not None


def test_nothing_is_left_of_it_afterwards() -> None:
    before = list(gc.callbacks)
    with short_collections(lambda: 1000.0):
        pass
    assert gc.callbacks == before
    assert gc.get_freeze_count() == 0
