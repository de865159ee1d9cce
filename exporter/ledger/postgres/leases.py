"""Who holds an account: one replica at a time, for some seconds, by the database's clock.

Every new holder gets its own epoch. Every transaction that changes an account checks both
(`exporter.ledger.postgres.store`), so a holder that comes back late changes nothing.
"""

from collections.abc import Collection
from typing import Final

from exporter.ledger.postgres.link import Cursor
from exporter.ledger.shared import Lease

LEASE_SECONDS: Final = 9.0
"""How long an account is held without a word from its holder. With the time in which others look
(`RENEW_SECONDS`) and the start of another holder it is less than 15 s."""

RENEW_SECONDS: Final = 2.0
"""How often a holder renews, and the others look."""


def know(cursor: Cursor, accounts: Collection[str]) -> None:
    """Let these accounts be there, to be held."""
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
    """Hold an account for so long from now on; None while another replica does.

    The one who holds it already goes on in the same epoch, even after its time, as long as nobody
    else came.

    Args:
        cursor: of a transaction.
        account: by its name.
        holder: this replica, in this life.
        seconds: from the database's now on.
        known: what this replica believes to hold. A database that has lost commits would give its
            epoch once more, and nobody could tell what was written between the two.
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
    """Hold these accounts no more; nothing of those that another replica holds."""
    cursor.execute(
        "UPDATE comfycontrol_account SET holder = NULL, until = clock_timestamp() "
        "WHERE name = ANY(%s) AND holder = %s",
        (sorted(accounts), holder),
    )
