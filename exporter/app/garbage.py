"""Keeps the pauses of Python's garbage collector short.

CPython now and then checks every object of the process for cycles that nothing uses any more. With
10,000 streams this takes 0.6 to 0.8 s, in which no event is read. But most objects live for hours,
and few of them ever become garbage in that way. So what has survived one such check is frozen: the
next one skips it. Once an hour everything is checked.

CPython checks new objects when there are 700 more than before. Where new objects replace old ones,
this comes late, has a hundred thousand to check, and takes 0.1 s. So they are checked every second.
"""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from exporter.worker import Worker

CHECK_ALL_SECONDS: Final = 3600.0
"""Seconds between two checks of all objects. For so long a cycle of old objects may use memory."""

CHECK_NEW_SECONDS: Final = 1.0
"""Seconds between two checks of new objects."""

FREEZE_SECONDS: Final = 30.0
"""Seconds between two checks of everything that is not frozen."""

_NEW: Final = 0
_OLDEST: Final = 2


class GarbageSchedule:
    """Freezes what has survived a full collection.

    Args:
        monotonic: the clock, in monotonic seconds.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._check_all_at = monotonic() + CHECK_ALL_SECONDS
        self._freeze_at = monotonic() + FREEZE_SECONDS

    def collect(self) -> float:
        """Check new objects; return the seconds until the next call."""
        now = self._monotonic()
        is_due = now >= self._freeze_at
        if is_due:
            self._freeze_at = now + FREEZE_SECONDS
        gc.collect(_OLDEST if is_due else _NEW)
        return CHECK_NEW_SECONDS

    def on_collection(self, phase: str, details: dict[str, int]) -> None:
        """See `gc.callbacks`: called before and after each collection."""
        if details["generation"] != _OLDEST:
            return
        if phase == "stop":
            gc.freeze()
        elif self._monotonic() >= self._check_all_at:
            self._check_all_at = self._monotonic() + CHECK_ALL_SECONDS
            gc.unfreeze()


@contextmanager
def short_collections(monotonic: Callable[[], float]) -> Iterator[None]:
    """Let no garbage collection take long, while this context lasts."""
    schedule = GarbageSchedule(monotonic)
    worker = Worker("garbage", schedule.collect, task="collecting garbage")
    # Modules, models and the catalogue live until the end.
    gc.freeze()
    gc.callbacks.append(schedule.on_collection)
    worker.start()
    try:
        yield
    finally:
        worker.stop()
        gc.callbacks.remove(schedule.on_collection)
        gc.unfreeze()
