"""Which workflows may become open, and how far the list is read again for those that may not."""

import logging
from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from exporter.interfaces.observations import NoRoomError, Tracked
from exporter.ledger.memory import Memory
from exporter.ledger.open_limits import DEFAULT_MOST_OPEN, OpenLimit
from exporter.ledger.store import WorkflowKey
from exporter.ledger.tracker import Change

log = logging.getLogger(__name__)

MOST_WAITING: Final = 10_000
"""The largest number of pushed ids of an account that the service has never reported."""

AGAIN_PART: Final = 0.9
"""Part (0 to 1) of the limit. After a workflow was turned away, there is room again only when no
more than this part is used. Then the list is read again as far back as when the limit was reached.
That costs many pages, so it must not happen each time a single workflow ends."""


class Admission:
    """Turns workflows away if their account has no room, and has their rows read again later.

    All methods but `log_news` are called under the ledger's lock.

    Args:
        memory: has the open workflows, and the watermarks of the lists.
    """

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._limits: dict[str, OpenLimit] = {}
        # Accounts with an observation that could not be accepted.
        self._missed: set[str] = set()
        # For each account that reached its limit of open workflows: how far the list was read
        # since. The stored watermark stays where it was at that moment.
        self._watermarks: dict[str, float] = {}
        # Lines for the log: level, message, account, limit.
        self._news: deque[tuple[int, str, str, int]] = deque()

    def change(self, account: str, limit: int) -> None:
        """Set how many workflows of this account may be open; those open now are kept."""
        self._limits[account] = replace(self.limit_of(account), limit=limit)

    def forget(self, account: str) -> None:
        """Forget how far the list of an account was read: it is no longer held."""
        self._watermarks.pop(account, None)
        self._missed.discard(account)

    def limit_of(self, account: str) -> OpenLimit:
        """The effect of the account's limit so far."""
        return self._limits.get(account, OpenLimit(DEFAULT_MOST_OPEN))

    def full(self, accounts: Iterable[str]) -> dict[str, int]:
        """The limits of those accounts that have no room."""
        limits = {account: self.limit_of(account) for account in accounts}
        return {account: limit.limit for account, limit in limits.items() if limit.reached}

    def log_news(self) -> None:
        """Log what has changed since the last call.

        Call it without the lock: a log that is read slowly must not stop what uses the ledger.
        """
        while self._news:
            try:
                level, message, account, limit = self._news.popleft()
            except IndexError:
                return  # another thread was faster
            log.log(level, message, extra={"account": account, "limit": limit})

    # Workflows --------------------------------------------------------------------------------

    def admitted(self, key: WorkflowKey, change: Change) -> Change:
        """The change to apply: an empty one if the account has no room for it."""
        if not self._opens(key, change) or self._has_room(key[0]):
            return change
        self._turn_away(key[0])
        return Change(None)

    def refuse_what_is_beyond(self, tracked: Tracked, change: Change) -> None:
        """Raise `NoRoomError` if the account has no room for an id that was named."""
        account = tracked.account
        if not self._opens((account, tracked.workflow_id), change):
            return
        if not self._has_room(account):
            self._turn_away(account)
            raise NoRoomError(f"{self.limit_of(account).limit:,} workflows of the account are open")
        waiting = self._memory.waiting_counts[account]
        if tracked.source == "pushed" and waiting >= MOST_WAITING:
            raise NoRoomError(f"{waiting:,} pushed ids of the account wait to be seen")

    def miss(self, account: str) -> None:
        """Note that an observation could not be accepted: the list must be read again."""
        self._missed.add(account)

    def _opens(self, key: WorkflowKey, change: Change) -> bool:
        """Whether this change makes one more workflow open."""
        after = change.workflow
        return after is not None and after.phase == "open" and not self._memory.is_open(key)

    def _has_room(self, account: str) -> bool:
        return self._memory.open_counts[account] < self.limit_of(account).limit

    def _turn_away(self, account: str) -> None:
        before = self.limit_of(account)
        self._limits[account] = replace(before, reached=True, beyond=before.beyond + 1)
        if not before.reached:
            line = "limit of open workflows reached: more are tracked when there is room"
            self._news.append((logging.WARNING, line, account, before.limit))

    # The list ---------------------------------------------------------------------------------

    def list_watermark(self, account: str) -> float | None:
        """See `Ledger.list_watermark`."""
        limit = self.limit_of(account)
        most = min(limit.limit - 1, int(AGAIN_PART * limit.limit))
        if limit.reached and self._memory.open_counts[account] <= most:
            self._limits[account] = replace(limit, reached=False)
            # Workflows that were turned away in the meantime are among the rows that are now read
            # again.
            self._watermarks.pop(account, None)
            line = "room for open workflows again: reading the list back to where it stopped"
            self._news.append((logging.INFO, line, account, limit.limit))
        watermark = self._memory.marks(account).watermark
        meanwhile = self._watermarks.get(account)
        return watermark if meanwhile is None or watermark is None else max(meanwhile, watermark)

    def advance_list_watermark(self, account: str, created_at: float) -> None:
        """See `Ledger.advance_list_watermark`."""
        if account in self._missed:
            # Not every row could be accepted, so the list must be read again.
            self._missed.discard(account)
            return
        marks = self._memory.marks(account)
        if self.limit_of(account).reached:
            # Rows that were turned away must be read again later. The first reading is complete
            # nevertheless: what ends from now on counts.
            self._watermarks[account] = max(created_at, self._watermarks.get(account, created_at))
            created_at = 0.0
        if marks.watermark is None or created_at > marks.watermark:
            self._memory.mark(account, replace(marks, watermark=created_at))
