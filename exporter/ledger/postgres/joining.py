"""How a process becomes one of the replicas that share a ledger."""

import socket
from collections.abc import Callable, Collection
from pathlib import Path
from uuid import uuid4

from exporter.budget.sliding_window import Limit
from exporter.config.storage import DsnUnreadableError, read_dsn
from exporter.interfaces.observations import Moment
from exporter.ledger.opening import OpenLedgerError
from exporter.ledger.postgres.exchange import PostgresExchange
from exporter.ledger.postgres.link import ConnectionStringError, Link, place_of
from exporter.ledger.postgres.permits import PostgresPermits
from exporter.ledger.postgres.replica import Replica
from exporter.ledger.postgres.store import PostgresStore
from exporter.ledger.shared import Hold, Shared
from exporter.ledger.store import StoreError


def joined(
    dsn_file: Path,
    accounts: Callable[[], Collection[str]],
    now: Callable[[], Moment],
    hold: Hold,
    egress: str,
) -> Shared:
    """Open this process's parts of the shared ledger; see `exporter.ledger.shared.join`."""

    def dsn() -> str:
        try:
            return read_dsn(dsn_file)
        except DsnUnreadableError as error:
            reason = f"the connection string in {dsn_file} {error}"
        raise StoreError(reason)

    try:
        place = place_of(dsn())
    except (ConnectionStringError, StoreError) as error:
        raise OpenLedgerError(f"cannot use {dsn_file}: {error}") from None
    store = PostgresStore(Link(dsn), place, now)
    # A name that no other process has, including the next one on this machine.
    name = f"{socket.gethostname()[:60]} {uuid4().hex[:12]}"
    replica = Replica(Link(dsn), name, accounts, now, hold, store)
    store.on_lost = replica.note_lost

    def permits(address: str, limit: Limit) -> PostgresPermits:
        # The addresses of services contain no space, so the combined name is unambiguous.
        return PostgresPermits(Link(dsn), f"{address} {egress}".strip(), limit)

    exchange = PostgresExchange(Link(dsn), name, egress, now)
    return Shared(store, replica, permits, exchange)
