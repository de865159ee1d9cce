"""The history: what the ledger has accepted and how streams ended, stored within bounds.

The counting parts only queue entries (`note`, `stream_ended`). Writing the ledger, or reading,
processes the queue (`digest`), and gives the ledger the part that it must store.
"""

import logging
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from typing import Any, Final

from exporter.history.minutes import BUCKETS, Hour, Minute, hour_of, number_of
from exporter.history.story import Story
from exporter.interfaces.observations import Moment
from exporter.interfaces.telemetry import StreamEnd
from exporter.ledger.facts import Failed, Finished, Started
from exporter.ledger.slicing import matched
from exporter.ledger.store import HistoryKey, HistoryRow, WorkflowKey
from exporter.ledger.taken import Taken

log = logging.getLogger(__name__)

MOST_CLOSED: Final = 2_000
"""How many ended workflows are remembered, in memory and in the ledger."""

FAILURES_SURE: Final = 500
"""How many failures are kept while other ended workflows are replaced by newer ones."""

MOST_OPEN: Final = 20_000
"""How many open workflows have their events remembered: the number of open ones has no limit."""

MOST_WAITING: Final = 50_000
"""The largest number of queued entries. If there are more, the oldest are lost, for example while
the disk does not respond."""

_MINUTE: Final = "minute"
_STORY: Final = "story"

_StreamEnded = tuple[WorkflowKey, float, StreamEnd, float | None]


class History:
    """Remembers what happened to workflows. Safe to use from any thread.

    Args:
        now: returns the time of both clocks (wall and monotonic).
        kept: the rows that an earlier process stored, the oldest first.
    """

    def __init__(
        self, now: Callable[[], Moment], kept: Iterable[tuple[HistoryKey, HistoryRow]] = ()
    ) -> None:
        self._now = now
        self._inbox: deque[Taken | _StreamEnded] = deque(maxlen=MOST_WAITING)
        # Always acquired after the ledger's lock, if both are needed. It protects all fields below.
        self._lock = threading.Lock()
        self._open: OrderedDict[WorkflowKey, Story] = OrderedDict()
        self._others: OrderedDict[WorkflowKey, Story] = OrderedDict()
        self._failures: OrderedDict[WorkflowKey, Story] = OrderedDict()
        self._minutes: dict[str, dict[int, Minute]] = {}
        self._progress: dict[str, float] = {}
        # Stories that were not given to the ledger yet.
        self._changed_stories: dict[WorkflowKey, Story] = {}
        self._changed_minutes: dict[tuple[str, int], Minute] = {}
        self._pending: dict[HistoryKey, HistoryRow | None] = {}
        # The minute of the last digest, if no minute has come since that may be too far from it.
        self._looked_over: int | None = None
        self._numbers = 0
        for key, content in kept:
            self._restore(key, content)
        self._make_room()

    # Accounts that come from other replicas, and go to them -----------------------------------

    def adopt(self, account: str, kept: Iterable[tuple[HistoryKey, HistoryRow]]) -> None:
        """Replace what is known of an account by its stored rows."""
        with self._lock:
            self._digest(())
            self._drop_account(account)
            for key, content in kept:
                self._restore(key, content)
            for crowd in (self._others, self._failures):
                by_end = sorted(crowd.items(), key=lambda item: item[1].closed_at or 0.0)
                crowd.clear()
                crowd.update(by_end)
            self._make_room()

    def release_account(self, account: str) -> None:
        """Remove an account that another replica counts from now on; its stored rows stay."""
        with self._lock:
            self._digest(())
            self._drop_account(account)

    def _drop_account(self, account: str) -> None:
        rows: tuple[MutableMapping[Any, Any], ...] = (
            self._open, self._others, self._failures, self._changed_stories, self._changed_minutes,
            self._pending,
        )  # fmt: skip
        for of in rows:
            for key in [key for key in of if key[0] == account]:
                del of[key]
        self._minutes.pop(account, None)
        self._progress.pop(account, None)

    def _restore(self, key: HistoryKey, content: bytes) -> None:
        _, kind, number = key
        self._numbers = max(self._numbers, number)
        try:
            if kind == _MINUTE:
                minute = Minute.unpacked(content)
                minute.key = number
                self._minutes.setdefault(minute.account, {})[minute.number] = minute
                self._looked_over = None
                return
            story = Story.unpacked(content)
            story.number = number
            self._place_closed((story.account, story.workflow_id), story)
        except (ValueError, TypeError, LookupError):
            self._pending[key] = None

    # Called by the counting parts ------------------------------------------------------------

    def note(self, taken: Taken) -> None:
        """Queue a change that the ledger has accepted. Never blocks."""
        self._inbox.append(taken)

    def stream_ended(
        self, account: str, reason: StreamEnd, workflow_id: str, seconds: float | None
    ) -> None:
        """Queue the end of a stream after so many seconds, or None if it was not opened.

        Never blocks.
        """
        self._inbox.append(((account, workflow_id), self._now().wall, reason, seconds))

    # Called while the ledger is written -------------------------------------------------------

    def digest(self, accounts: Iterable[str] = ()) -> None:
        """Process the queue. These accounts also get minutes without events."""
        with self._lock:
            self._digest(accounts)

    def take_pending(self) -> Mapping[HistoryKey, HistoryRow | None]:
        """Return the rows to store since the last call; None: the row must be deleted."""
        with self._lock:
            pending, self._pending = self._pending, {}
            return pending

    def _digest(self, accounts: Iterable[str]) -> None:
        while self._inbox:
            try:
                told = self._inbox.popleft()
            except IndexError:
                break
            try:
                if isinstance(told, Taken):
                    self._take(told)
                else:
                    key, at, reason, seconds = told
                    self._note_stream(key, at, reason, seconds)
            except Exception as error:  # noqa: BLE001 - a bug must not end the writing
                log.error(  # noqa: TRY400 - a traceback shows values as well
                    "recording the history failed", extra={"error": type(error).__name__}
                )
        now = number_of(self._now().wall)
        for account in accounts:
            if now not in self._minutes.get(account, {}):
                self._minute(account, now)
        self._forget_minutes(now)
        changed_stories = list(self._changed_stories.values())
        changed_minutes = list(self._changed_minutes.values())
        # This is cleared first: a story that cannot be packed must not be tried again for ever.
        self._changed_stories.clear()
        self._changed_minutes.clear()
        for story in changed_stories:
            self._pending[story.account, _STORY, story.number] = story.packed()
        for minute in changed_minutes:
            self._pending[minute.account, _MINUTE, minute.key] = minute.packed()

    # Growing, under the lock ------------------------------------------------------------------

    def _take(self, taken: Taken) -> None:
        key = taken.after.account, taken.after.workflow_id
        story = self._find(key)
        if story is None:
            story = Story(*key)
        story.take(taken)
        if taken.after.phase == "open":
            self._forget_closed(key)
            self._open[key] = story
            if len(self._open) > MOST_OPEN:
                self._open.popitem(last=False)
        else:
            self._open.pop(key, None)
            if not story.number:
                story.number = self._next_number()
            self._place_closed(key, story)
            self._changed_stories[key] = story
            self._make_room()
        self._count(taken)

    def _note_stream(
        self, key: WorkflowKey, at: float, reason: StreamEnd, seconds: float | None
    ) -> None:
        story = self._find(key)
        if story is None:
            return
        story.stream_ended(at, reason, seconds)
        if key not in self._open:
            self._changed_stories[key] = story

    def _count(self, taken: Taken) -> None:
        account, workflow_id = taken.after.account, taken.after.workflow_id
        number = number_of(taken.at.wall)
        for fact in taken.facts:
            if isinstance(fact, Started | Finished):
                self._progress[account] = taken.at.wall
            if isinstance(fact, Started | Finished | Failed):
                slices = matched(taken.after.slices)
                self._minute(account, number).take(workflow_id, fact, slices)

    def _minute(self, account: str, number: int) -> Minute:
        """The minute with this number, which is about to change."""
        minutes = self._minutes.setdefault(account, {})
        if number not in minutes:
            minutes[number] = Minute(account, number, self._next_number())
            self._looked_over = None
        self._changed_minutes[account, number] = minutes[number]
        return minutes[number]

    def _next_number(self) -> int:
        self._numbers += 1
        return self._numbers

    def _forget_minutes(self, now: int) -> None:
        if now == self._looked_over:
            return  # this is called several times a second
        self._looked_over = now
        for account, minutes in self._minutes.items():
            # If the clock was set back, there are minutes in the future.
            for number in [n for n in minutes if not now - BUCKETS < n <= now + BUCKETS]:
                self._pending[account, _MINUTE, minutes.pop(number).key] = None
                self._changed_minutes.pop((account, number), None)

    def _find(self, key: WorkflowKey) -> Story | None:
        return self._open.get(key) or self._others.get(key) or self._failures.get(key)

    def _place_closed(self, key: WorkflowKey, story: Story) -> None:
        self._others.pop(key, None)
        self._failures.pop(key, None)
        (self._failures if story.is_failure else self._others)[key] = story

    def _forget_closed(self, key: WorkflowKey) -> None:
        """Remove the story of an ended workflow that is open again."""
        story = self._others.pop(key, None) or self._failures.pop(key, None)
        if story is not None:
            self._drop(key, story)

    def _make_room(self) -> None:
        while len(self._others) + len(self._failures) > MOST_CLOSED:
            crowd = self._failures if len(self._failures) > FAILURES_SURE else self._others
            self._drop(*crowd.popitem(last=False))

    def _drop(self, key: WorkflowKey, story: Story) -> None:
        self._changed_stories.pop(key, None)
        self._pending[key[0], _STORY, story.number] = None
        story.number = 0

    # Called by readers ------------------------------------------------------------------------

    def closed(self) -> list[Story]:
        """The stories of ended workflows. They must not be changed."""
        with self._lock:
            self._digest(())
            return [*self._others.values(), *self._failures.values()]

    def story(self, key: WorkflowKey) -> Story | None:
        """A copy of everything that is remembered of one workflow; None: nothing is."""
        with self._lock:
            self._digest(())
            story = self._find(key)
            return None if story is None else Story.unpacked(story.packed())

    def hour(self, account: str) -> Hour:
        """The last hour of an account."""
        with self._lock:
            self._digest(())
            return hour_of(self._minutes.get(account, {}), self._now().wall)

    def progress(self, account: str) -> float | None:
        """When the last start or end became known, in Unix seconds; None: not since the start."""
        with self._lock:
            return self._progress.get(account)
