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


class LedgerWriter:
    """Writes changes in memory to the store, and tries again if that fails.

    A failure loses nothing: it is counted, logged once, and its batch goes back into memory.

    Args:
        store: the store; nothing else uses it from now on.
        memory: the data to be stored.
        lock: protects the memory. Always acquired after `store_lock`.
        now: returns the time of both clocks (wall and monotonic).
    """

    def __init__(
        self, store: Store, memory: Memory, lock: threading.Lock, now: Callable[[], Moment]
    ) -> None:
        self.store_lock: Final = threading.Lock()
        """The lock that is held while the store is in use. Code that needs several steps acquires
        it itself; other code calls a method that does."""
        self.errors = 0
        """How often the store failed."""
        self.history_rows: Callable[[], Mapping[HistoryKey, HistoryRow | None]] = dict
        """Called under the lock when a batch is taken. It returns the history rows for everything
        in the batch, so that no change is stored without its history."""
        self._store: Final = store
        self._memory: Final = memory
        self._lock: Final = lock
        self._now = now
        self._is_failing = False
        self._begun: set[str] = set()
        """Accounts whose counting cutoff is safe on disk, even after a power cut."""
        self._backoff = Backoff(policy=LEDGER_WRITES)
        self._retry_at: float | None = None

    @property
    def is_failing(self) -> bool:
        """Whether the store failed when it was last used."""
        return self._is_failing

    # These acquire the store_lock --------------------------------------------------------------

    def persist(self, *, at_once: bool = False) -> None:
        """Store everything that is not stored yet, and continue the check of stored rows.

        With `at_once`, try even if the store has just failed, because there is no later chance.
        """
        with self.store_lock:
            if at_once:
                self._retry_at = None
            if self._flush():
                try:
                    self._store.verify()
                except StoreError as error:
                    self._note_failure(error)

    def created_after(self, account: str, created_at: float) -> int:
        """How many known workflows were created after this time (Unix seconds).

        If the store cannot be used, the answer comes from memory, and is an estimate.
        """
        with self.store_lock:
            if self._flush():
                try:
                    return self._store.created_after(account, created_at)
                except StoreError as error:
                    self._note_failure(error)
        with self._lock:
            known = self._memory.open_or_recent()
        return sum(
            w.account == account and w.created_at is not None and w.created_at > created_at
            for w in known
        )

    def find_closed_within(self, seconds: float, key: WorkflowKey) -> Workflow | None:
        """A settled or dropped workflow, if the store can be read within this time."""
        if not self.store_lock.acquire(timeout=seconds):
            return None
        try:
            return self.find_closed(key)
        except StoreError:
            return None
        finally:
            self.store_lock.release()

    def prune_ended_before(self, account: str, ended_at: float) -> None:
        """Delete closed workflows that ended before this (Unix seconds), unless the store fails."""
        with self.store_lock:
            if not self._flush():
                return
            try:
                pruned = self._store.prune_ended_before(account, ended_at)
            except StoreError as error:
                self._note_failure(error)
                return
            if pruned.rows:
                with self._lock:
                    self._memory.prune_ended_before(account, ended_at, pruned)

    def close(self) -> None:
        """Store what is not stored yet, and close the store."""
        with self.store_lock:
            self._retry_at = None
            with self._lock:
                batch = self.take_batch()
            self.write_through(batch)
            self._store.close()

    # Call these while holding the store_lock ---------------------------------------------------

    def find_closed(self, key: WorkflowKey) -> Workflow | None:
        """A settled or dropped workflow from the store. Call it while holding `store_lock`.

        Raises:
            StoreLostError: the stored data is lost; ask again.
            StoreError: the store cannot be read.
        """
        try:
            return self._store.find_closed(key)
        except NotHeldError:
            # This is not a failure of the store: another replica holds the account.
            raise
        except StoreError as error:
            self._note_failure(error)
            raise

    def take_batch(self) -> Batch | None:
        """What to store now; None while the store rests after a failure.

        Call it while holding `store_lock` and the memory's lock. Whatever else is read under that
        lock agrees with the batch.
        """
        if self._retry_at is not None and self._now().monotonic < self._retry_at:
            return None
        self._memory.add_history(self.history_rows())
        return self._memory.take_batch()

    def write_through(self, batch: Batch | None) -> None:
        """Store a batch safely against a power cut, or put it back.

        Call it while holding `store_lock`.
        """
        if self._write(batch):
            self._sync()

    def committed(self) -> Shown | None:
        """What may be shown; None: everything known. Call it while holding `store_lock`."""
        return self._store.committed()

    def _flush(self) -> bool:
        """Store all changes; return whether everything is stored now."""
        with self._lock:
            batch = self.take_batch()
        return self._write(batch)

    def _write(self, batch: Batch | None) -> bool:
        if batch is None:
            return False
        if batch.empty:
            return True
        try:
            self._store.persist(batch)
        except StoreError as error:
            failure = error
        except Exception as error:  # noqa: BLE001 - whatever it is, no fact may be lost for it
            failure = StoreError(type(error).__name__)
        else:
            was_failing = self._is_failing
            if was_failing:
                log.warning("ledger writes recovered, no data lost")
            with self._lock:
                self._memory.note_stored(batch)
            self._is_failing, self._retry_at = False, None
            self._backoff.worked()
            begun = {name for name, marks in batch.accounts.items() if marks.cutoff is not None}
            if was_failing or not begun <= self._begun:
                # What was shown during the failure is not synced yet, and a power cut may come
                # before the next scrape. If a counting cutoff were lost, a later one would be set.
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
        """Count that the store started over when it was loaded, and give it all known data."""
        self.errors += 1
        self._memory.store_everything_again(cutoff=self._now().wall)

    def _note_failure(self, error: StoreError) -> None:
        """Count a failure; after a loss, store everything that is in memory again."""
        with self._lock:
            first, self._is_failing = not self._is_failing, True
            self.errors += 1
            if isinstance(error, StoreLostError):
                self._memory.store_everything_again()
            if isinstance(error, StoreBehindError):
                self._memory.store_account_again(error.account)
        level = logging.ERROR if first or isinstance(error, StoreLostError) else logging.DEBUG
        log.log(
            level,
            "ledger write failed: continuing in memory, retrying",
            extra={"reason": str(error)},
        )
