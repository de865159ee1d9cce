"""Who holds an account: one replica at a time, for some seconds, by the database's clock.

Every new holder gets its own epoch. Every transaction that changes an account checks both
(`exporter.ledger.postgres.store`), so a holder that comes back late changes nothing.
"""

from collections.abc import Collection
from typing import Final

from exporter.ledger.postgres.link import Cursor
from exporter.ledger.shared import Lease

LEASE_SECONDS: Final = 9.0
"""Seconds for which a lease is valid if its holder does not renew it. Together with the time in
which others check (`RENEW_SECONDS`) and the start of a new holder, a change of holder takes less
than 15 s."""

RENEW_SECONDS: Final = 2.0
"""Seconds between two renewals by a holder, and between two checks by the others."""


def know(cursor: Cursor, accounts: Collection[str]) -> None:
    """Add rows for these accounts, so that they can be held."""
    cursor.executemany(
        "INSERT INTO comfycontrol_account (name) SELECT %s "
        "WHERE NOT EXISTS (SELECT FROM comfycontrol_account WHERE name = %s) "
        "ON CONFLICT DO NOTHING",
        [(name, name) for name in sorted(accounts)],
    )


def take(
    cursor: Cursor,
    account: str,
    holder: str,
    seconds: float = LEASE_SECONDS,
    known: Lease | None = None,
) -> Lease | None:
    """Acquire or renew the lease of an account; return None while another replica has it.

    A replica that already has the lease continues in the same epoch, even after its expiry, unless
    another replica acquired it since.

    Args:
        cursor: of a transaction.
        account: its name.
        holder: the name of this replica's process, different after each restart.
        seconds: duration of the lease from now on, by the database's clock.
        known: the leases that this replica believes to have. A database that has lost commits would
            otherwise give out the same epoch twice, and late writes could not be recognised.
    """
    cursor.execute(
        "UPDATE comfycontrol_account SET epoch = CASE WHEN holder IS DISTINCT FROM %(me)s "
        "THEN greatest(epoch, %(known)s) + 1 ELSE epoch END, "
        "holder = %(me)s, until = clock_timestamp() + make_interval(secs => %(seconds)s) "
        "WHERE name = %(account)s AND (until <= clock_timestamp() OR holder = %(me)s) "
        "RETURNING epoch",
        {
            "me": holder,
            "account": account,
            "seconds": seconds,
            "known": 0 if known is None else known.epoch,
        },
    )
    found = cursor.fetchone()
    return None if found is None else Lease(account, holder, int(found[0]))


def give_back(cursor: Cursor, accounts: Collection[str], holder: str) -> None:
    """Release these accounts; has no effect on those that another replica holds."""
    cursor.execute(
        "UPDATE comfycontrol_account SET holder = NULL, until = clock_timestamp() "
        "WHERE name = ANY(%s) AND holder = %s",
        (sorted(accounts), holder),
    )
