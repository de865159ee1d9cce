"""Persistent stores, for tests that must pass with each of them."""

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Protocol

from exporter.interfaces.observations import Moment
from exporter.ledger.postgres.leases import know, take
from exporter.ledger.postgres.link import Link
from exporter.ledger.postgres.store import PostgresStore
from exporter.ledger.sqlite import SqliteStore
from exporter.ledger.store import RestoredState, Store

ACCOUNTS = ("agency", "studio")


class Keeper(Protocol):
    """A place where successive processes store their ledger."""

    def begin(self) -> tuple[Store, RestoredState]:
        """The store of a new process, and the restored state."""


class SqliteKeeper:
    """A folder with a SQLite ledger."""

    def __init__(self, folder: Path, now: Callable[[], Moment]) -> None:
        self.folder = folder
        self.now = now

    def begin(self) -> tuple[Store, RestoredState]:
        store = SqliteStore(self.folder, self.now)
        return store, store.load()


class PostgresKeeper:
    """A PostgreSQL schema. Each process takes both accounts, whichever process had them."""

    def __init__(self, dsn: str, now: Callable[[], Moment]) -> None:
        self.dsn = dsn
        self.now = now
        self._lives = count(1)

    def make(self) -> PostgresStore:
        """A store that holds no account yet."""
        return PostgresStore(Link(lambda: self.dsn), "the test's", self.now)

    def begin(self) -> tuple[PostgresStore, RestoredState]:
        store = self.make()
        holder = f"replica {next(self._lives)}"
        found = [self.hold(store, account, holder) for account in ACCOUNTS]
        return store, _together(found)

    def hold(self, store: PostgresStore, account: str, holder: str) -> RestoredState:
        """Take an account for a replica, even if another one holds it."""
        self.expire(account)
        with store._link.transaction() as cursor:
            know(cursor, [account])
            lease = take(cursor, account, holder, 3600.0)
        assert lease is not None
        return store.adopt(lease)

    def expire(self, account: str) -> None:
        """Let the lease of an account expire."""
        self.execute("UPDATE comfycontrol_account SET until = '-infinity' WHERE name = %s", account)

    def execute(self, statement: str, *values: object) -> list[tuple[object, ...]]:
        """Run a statement without the store; return its rows."""
        link = Link(lambda: self.dsn)
        try:
            with link.transaction() as cursor:
                cursor.execute(statement.encode(), values)
                return [] if cursor.description is None else cursor.fetchall()
        finally:
            link.close()


def _together(found: list[RestoredState]) -> RestoredState:
    return RestoredState(
        unsettled=[workflow for kept in found for workflow in kept.unsettled],
        accounts={
            name: marks
            for kept in found
            for name, marks in kept.accounts.items()
            if any(
                value is not None for value in (marks.cutoff, marks.watermark, marks.pruned_ended)
            )
        },
        counters={key: total for kept in found for key, total in kept.counters.items()},
        histograms={key: total for kept in found for key, total in kept.histograms.items()},
        closed=sum(kept.closed for kept in found),
        latest_ends={name: end for kept in found for name, end in kept.latest_ends.items()},
        baselines={key: baseline for kept in found for key, baseline in kept.baselines.items()},
        history=[row for kept in found for row in kept.history],
    )
