"""A ledger that several replicas share: its parts, opened together.

The modules for the database are imported only when they are used: `psycopg` is an extra.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from exporter.budget.shared_window import SharedWindow
from exporter.budget.sliding_window import Limit
from exporter.interfaces.observations import Moment
from exporter.ledger.opening import OpenLedgerError
from exporter.ledger.room import DEFAULT_MOST_OPEN
from exporter.ledger.store import RestoredState, Store

if TYPE_CHECKING:
    from exporter.ledger.lending import Exchange
    from exporter.ledger.postgres.replica import Replica


@dataclass(frozen=True, slots=True)
class Lease:
    """That a replica holds an account, as the database has it."""

    account: str
    holder: str
    epoch: int
    """Rises with each other holder."""


@dataclass(frozen=True, slots=True)
class ReplicasReading:
    """What a replica knows of itself and of the others."""

    replicas: int = 0
    """Seen alive; 0 while the database is away."""
    accounts: frozenset[str] = frozenset()
    """All that are configured."""
    held: frozenset[str] = frozenset()
    """Those that this one holds."""
    epochs: dict[str, int] = field(default_factory=dict)
    """By account, how many holders there were."""
    holders: dict[str, str] = field(default_factory=dict)
    """By account, which other replica holds it; absent where none is known to."""
    is_failing: bool = False
    """Whether the database could not be reached when it was last asked."""
    regressions: int = 0
    """Commits that the database had acknowledged to this one, and lost."""

    def holder_of(self, account: str) -> str:
        """Which other replica holds it; empty where none is known to."""
        return self.holders.get(account, "")


class SharedStore(Store, Protocol):
    """Keeps the accounts that this replica holds."""

    def adopt(self, lease: Lease, most_open: int = DEFAULT_MOST_OPEN) -> RestoredState:
        """Everything that is kept of an account that is held from now on. Raises StoreError."""

    def release(self, account: str) -> None:
        """Write nothing of it any more."""


Hold = Callable[[Collection[Lease], Collection[str]], Collection[str]]
"""Begins to count some accounts, and ends to count others; gives those that were begun."""


@dataclass(frozen=True, slots=True)
class Shared:
    """The store and the leases of one process."""

    store: SharedStore
    replica: "Replica"
    permits: Callable[[str, Limit], SharedWindow]
    """The places of a service address, as asked from the egress address of this process."""
    exchange: "Exchange"
    """Where workflows are lent to replicas on other addresses."""

    def reading(self) -> ReplicasReading:
        """What this replica knows of itself and of the others."""
        return self.replica.reading()


def driver_is_missing(error: ImportError) -> str:
    """What to say where what speaks to the database cannot be imported."""
    return (
        "a ledger in PostgreSQL needs psycopg: pip install 'comfycontrol-exporter[postgres]' "
        f"({error.name} cannot be imported)"
    )


def join(
    dsn_file: Path,
    accounts: Callable[[], Collection[str]],
    now: Callable[[], Moment],
    hold: Hold,
    egress: str = "",
) -> Shared:
    """Open the ledger in a PostgreSQL, and be one of its replicas. Nothing is held yet.

    Args:
        dsn_file: file with the connection string.
        accounts: those that are configured now.
        now: both clocks.
        hold: begins and ends to count accounts.
        egress: the address from which this process asks, as the configuration names it.

    Raises:
        OpenLedgerError: the database cannot be used. The text is one line for a person.
    """
    try:
        from exporter.ledger.postgres.joining import joined  # noqa: PLC0415
    except ImportError as error:
        raise OpenLedgerError(driver_is_missing(error)) from error
    return joined(dsn_file, accounts, now, hold, egress)
