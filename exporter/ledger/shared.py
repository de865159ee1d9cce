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
from exporter.ledger.open_limits import DEFAULT_MOST_OPEN
from exporter.ledger.opening import OpenLedgerError
from exporter.ledger.store import RestoredState, Store

if TYPE_CHECKING:
    from exporter.ledger.lending import Exchange
    from exporter.ledger.postgres.replica import Replica


@dataclass(frozen=True, slots=True)
class Lease:
    """The lease of an account, as recorded in the database."""

    account: str
    holder: str
    epoch: int
    """A number that rises with each change of holder."""


@dataclass(frozen=True, slots=True)
class ReplicasReading:
    """What a replica knows of itself and of the others."""

    replicas: int = 0
    """How many replicas are alive; 0 while the database is unreachable."""
    accounts: frozenset[str] = frozenset()
    """All configured accounts."""
    held: frozenset[str] = frozenset()
    """The accounts that this replica holds."""
    epochs: dict[str, int] = field(default_factory=dict)
    """By account: the number of its current lease."""
    holders: dict[str, str] = field(default_factory=dict)
    """By account: the other replica that holds it; absent if none is known."""
    is_failing: bool = False
    """Whether the database could not be reached when it was last asked."""
    regressions: int = 0
    """How many commits the database acknowledged to this replica and then lost."""

    def holder_of(self, account: str) -> str:
        """Which other replica holds the account; empty if none is known."""
        return self.holders.get(account, "")


class SharedStore(Store, Protocol):
    """Keeps the accounts that this replica holds."""

    def adopt(self, lease: Lease, most_open: int = DEFAULT_MOST_OPEN) -> RestoredState:
        """Read everything stored of an account that is held from now on. Raises StoreError."""

    def release(self, account: str) -> None:
        """Stop writing this account."""


Hold = Callable[[Collection[Lease], Collection[str]], Collection[str]]
"""Begins to count the first accounts, and stops counting the second; returns those that it could
begin."""


@dataclass(frozen=True, slots=True)
class Shared:
    """The store and the leases of one process."""

    store: SharedStore
    replica: "Replica"
    permits: Callable[[str, Limit], SharedWindow]
    """Gives the request slots of a service address, for the egress address of this process."""
    exchange: "Exchange"
    """Through which workflows are lent to replicas at other addresses."""

    def reading(self) -> ReplicasReading:
        """What this replica knows of itself and of the others."""
        return self.replica.reading()


def driver_is_missing(error: ImportError) -> str:
    """The message if the database driver cannot be imported."""
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
    """Open the ledger in a PostgreSQL database as one of its replicas. No account is held yet.

    Args:
        dsn_file: file with the connection string.
        accounts: the accounts that are configured now.
        now: returns the time of both clocks (wall and monotonic).
        hold: called to begin and to stop counting accounts.
        egress: the address from which this process sends requests, as configured.

    Raises:
        OpenLedgerError: the database cannot be used. The text is one line for a person.
    """
    try:
        from exporter.ledger.postgres.joining import joined  # noqa: PLC0415
    except ImportError as error:
        raise OpenLedgerError(driver_is_missing(error)) from error
    return joined(dsn_file, accounts, now, hold, egress)
