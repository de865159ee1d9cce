"""Writes the ledger's memory to the store, and handles a store that fails."""

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Final

from exporter.interfaces.observations import Moment
from exporter.ledger.memory import Memory
from exporter.ledger.store import (
    Batch,
    HistoryKey,
    HistoryRow,
    NotHeldError,
    Store,
    StoreBehindError,
    StoreError,
    StoreLostError,
    WorkflowKey,
)
from exporter.ledger.totals import Shown
from exporter.ledger.workflow import Workflow
from exporter.retrying import LEDGER_WRITES, Backoff

log = logging.getLogger(__name__)


class Keeping:
    """Has the store keep what has changed in memory, and tries again where it could not.

    A failure loses nothing: it is counted, logged once, and its batch goes back into memory.

    Args:
        store: what nobody else uses from now on.
        memory: what is to be kept.
        lock: guards the memory. Only ever taken after `turn`.
        now: both clocks.
    """

    def __init__(
        self, store: Store, memory: Memory, lock: threading.Lock, now: Callable[[], Moment]
    ) -> None:
        self.turn: Final = threading.Lock()
        """Held while the store is in use. Those who must do more than one thing at once take
        it themselves, the others call a method that does."""
        self.errors = 0
        """How often the store failed."""
        self.history_rows: Callable[[], Mapping[HistoryKey, HistoryRow | None]] = dict
        """Called under the lock when a batch is taken: what the history says of all that is in
        it. What was learnt while others had their turn must not be kept without its story."""
        self._store: Final = store
        self._memory: Final = memory
        self._lock: Final = lock
        self._now = now
        self._is_failing = False
        self._begun: set[str] = set()
        """Accounts whose counting cutoff outlives a power cut."""
        self._backoff = Backoff(policy=LEDGER_WRITES)
        self._retry_at: float | None = None

    @property
    def is_failing(self) -> bool:
        """Whether the store failed when it was last used."""
        return self._is_failing

    # A turn of their own ----------------------------------------------------------------------

    def keep(self, *, at_once: bool = False) -> None:
        """Have the store keep whatever it has not kept yet, and look after what it has.

        At once: be it that it has just failed, for there is no later.
        """
        with self.turn:
            if at_once:
                self._retry_at = None
            if self._flush():
                try:
                    self._store.verify()
                except StoreError as error:
                    self._note_failure(error)

    def created_after(self, account: str, created_at: float) -> int | None:
        """How many of the account's workflows are younger (Unix seconds); None: no telling."""
        with self.turn:
            if self._flush():
                try:
                    return self._store.created_after(account, created_at)
                except StoreError as error:
                    self._note_failure(error)
        return None

    def prune_ended_before(self, account: str, ended_at: float) -> None:
        """Drop closed workflows that ended before this (Unix seconds), unless the store fails."""
        with self.turn:
            if not self._flush():
                return
            try:
                forgotten = self._store.prune_ended_before(account, ended_at)
            except StoreError as error:
                self._note_failure(error)
                return
            if forgotten.rows:
                with self._lock:
                    self._memory.prune_ended_before(account, ended_at, forgotten)

    def close(self) -> None:
        """Keep what is left, and close the store."""
        with self.turn:
            self._retry_at = None
            with self._lock:
                batch = self.take_batch()
            self.write_through(batch)
            self._store.close()

    # Within a turn ----------------------------------------------------------------------------

    def find_closed(self, key: WorkflowKey) -> Workflow | None:
        """A workflow that is settled or dropped, as the store knows it. Within a turn.

        Raises:
            StoreLostError: nothing is known of it any more; ask again.
            StoreError: it is not known.
        """
        try:
            return self._store.find_closed(key)
        except NotHeldError:
            # Nothing has failed: others know.
            raise
        except StoreError as error:
            self._note_failure(error)
            raise

    def take_batch(self) -> Batch | None:
        """What the store is to keep now; None while it is given time after a failure.

        Within a turn, and under the memory's lock: whatever else is read under it is what the
        batch holds.
        """
        if self._retry_at is not None and self._now().monotonic < self._retry_at:
            return None
        self._memory.keep_history(self.history_rows())
        return self._memory.take_batch()

    def write_through(self, batch: Batch | None) -> None:
        """Keep a batch so that it outlives a power cut, or take it back. Within a turn."""
        if self._write(batch):
            self._sync()

    def committed(self) -> Shown | None:
        """What may be shown; None: all that is known. Within a turn."""
        return self._store.committed()

    def _flush(self) -> bool:
        """Have the store keep what has changed; whether everything is kept now."""
        with self._lock:
            batch = self.take_batch()
        return self._write(batch)

    def _write(self, batch: Batch | None) -> bool:
        if batch is None:
            return False
        if batch.empty:
            return True
        try:
            self._store.keep(batch)
        except StoreError as error:
            failure = error
        except Exception as error:  # noqa: BLE001 - whatever it is, no fact may be lost for it
            failure = StoreError(type(error).__name__)
        else:
            was_failing = self._is_failing
            if was_failing:
                log.warning("ledger writes recovered, no data lost")
            with self._lock:
                self._memory.note_kept(batch)
            self._is_failing, self._retry_at = False, None
            self._backoff.worked()
            begun = {name for name, marks in batch.accounts.items() if marks.line is not None}
            if was_failing or not begun <= self._begun:
                # What was shown meanwhile could not be synced before, and no scrape may come
                # before a power cut does. A cutoff that is lost would be drawn again, later.
                self._sync()
                self._begun |= begun
            return True
        with self._lock:
            self._memory.take_back(batch)
        self._note_failure(failure)
        wait = self._backoff.failed()
        is_at_once = isinstance(failure, StoreLostError | StoreBehindError)
        self._retry_at = self._now().monotonic + (0.0 if is_at_once else wait)
        return False

    def _sync(self) -> None:
        try:
            self._store.sync()
        except StoreError as error:
            self._note_failure(error)

    # Failures ---------------------------------------------------------------------------------

    def note_lost_before(self) -> None:
        """The store started over when it was loaded: count that, and give it all that is known."""
        self.errors += 1
        self._memory.keep_everything_again(line=self._now().wall)

    def _note_failure(self, error: StoreError) -> None:
        """Count it, and after a loss have the fresh store keep everything that is in memory."""
        with self._lock:
            first, self._is_failing = not self._is_failing, True
            self.errors += 1
            if isinstance(error, StoreLostError):
                self._memory.keep_everything_again()
            if isinstance(error, StoreBehindError):
                self._memory.keep_again(error.account)
        level = logging.ERROR if first or isinstance(error, StoreLostError) else logging.DEBUG
        log.log(
            level,
            "ledger write failed: continuing in memory, retrying",
            extra={"reason": str(error)},
        )
