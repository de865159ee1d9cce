"""Copies a whole ledger into the database, or out of it, for a migration."""

from collections.abc import Collection, Iterable, Iterator
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from exporter.interfaces.observations import Baseline, Status
from exporter.ledger.postgres.leases import LEASE_SECONDS, know
from exporter.ledger.postgres.link import Cursor
from exporter.ledger.postgres.rows import TOTAL_COLUMNS, read_totals
from exporter.ledger.postgres.schema import COLUMNS
from exporter.ledger.postgres.store import PostgresStore
from exporter.ledger.rows import workflow_of
from exporter.ledger.store import AccountMarks, Batch, RestoredState, StoreError
from exporter.ledger.workflow import Workflow

if TYPE_CHECKING:
    from exporter.ledger.totals import CounterTotal, HistogramTotal

AT_ONCE: Final = 2_000
"""Workflows that are read or written at a time."""


class InUseError(StoreError):
    """Replicas are using the database."""


class NotEmptyError(StoreError):
    """The database already holds a ledger."""


class RehearsedError(Exception):
    """The rehearsal succeeded, and nothing is stored."""

    def __init__(self, workflows: int) -> None:
        super().__init__()
        self.workflows = workflows


def reserve(cursor: Cursor) -> None:
    """Make sure that no replica begins to use the database before the end of the transaction.

    Raises:
        InUseError: a replica is using it.
    """
    cursor.execute("LOCK TABLE comfycontrol_account IN EXCLUSIVE MODE")
    cursor.execute(
        "SELECT (SELECT count(*) FROM comfycontrol_replica "
        "WHERE seen > clock_timestamp() - make_interval(secs => %s)), "
        "(SELECT count(*) FROM comfycontrol_account WHERE until > clock_timestamp())",
        (LEASE_SECONDS,),
    )
    if cursor.fetchone() != (0, 0):
        raise InUseError("replicas are at work on it: stop them all, and wait for 10 s")


def fill(
    cursor: Cursor,
    store: PostgresStore,
    accounts: Collection[str],
    batches: Iterable[Batch],
    *,
    dry_run: bool,
) -> int:
    """Write a whole ledger into an empty database; return the number of its workflows.

    Args:
        cursor: of a transaction in which the database is reserved.
        store: of that database.
        accounts: all of them.
        batches: the content of the ledger. Each total comes once.
        dry_run: end with `RehearsedError`, so that nothing is stored.

    Raises:
        RehearsedError: everything could be written.
        NotEmptyError: the database already holds a ledger.
        StoreError: what was written differs from the source.
    """
    cursor.execute(
        "SELECT EXISTS (SELECT FROM comfycontrol_workflow) "
        "OR EXISTS (SELECT FROM comfycontrol_total) "
        "OR EXISTS (SELECT FROM comfycontrol_account WHERE line IS NOT NULL)"
    )
    if cursor.fetchone() != (False,):
        raise NotEmptyError("it holds a ledger already: name a database, or a schema, without one")
    know(cursor, accounts)
    written = 0
    for batch in batches:
        written += len(batch.workflows)
        store.write_first(cursor, batch)
    cursor.execute("SELECT count(*) FROM comfycontrol_workflow")
    if cursor.fetchone() != (written,):
        raise StoreError("not all workflows have come in")
    if dry_run:
        raise RehearsedError(written)
    return written


def marks_and_totals(cursor: Cursor) -> RestoredState:
    """Everything that is stored except the workflows.

    Series that are not announced have `appeared` set.
    """
    accounts = _accounts(cursor)
    cursor.execute(f"SELECT {TOTAL_COLUMNS} FROM comfycontrol_total")  # noqa: S608 - constants
    totals = read_totals(cursor.fetchall())
    numbers = count(1)
    series: list[CounterTotal | HistogramTotal] = [
        *totals.counters.values(),
        *totals.histograms.values(),
    ]
    for total in series:
        if total.appeared:
            total.appeared = next(numbers)
    cursor.execute("SELECT account, status, value, compared_at, since FROM comfycontrol_baseline")
    return RestoredState(
        accounts=dict(accounts.values()),
        counters=totals.counters,
        histograms=totals.histograms,
        baselines={
            (accounts[number][0], Status(status)): Baseline(int(value), compared_at, since)
            for number, status, value, compared_at, since in cursor.fetchall()
        },
    )


def every_workflow(cursor: Cursor) -> Iterator[Workflow]:
    """All workflows, ordered by their key."""
    names = {number: name for number, (name, _) in _accounts(cursor).items()}
    behind: tuple[Any, ...] = (-1, b"")
    while True:
        rows = cursor.execute(
            f"SELECT {COLUMNS} FROM comfycontrol_workflow "  # noqa: S608 - constants
            "WHERE (account, workflow) > (%s, %s) ORDER BY account, workflow LIMIT %s",
            (*behind, AT_ONCE),
        ).fetchall()
        for row in rows:
            yield workflow_of(names[row[0]], row, 0.0)
        if len(rows) < AT_ONCE:
            return
        behind = rows[-1][:2]


def _accounts(cursor: Cursor) -> dict[int, tuple[str, AccountMarks]]:
    cursor.execute(
        "SELECT account, name, line, frontier, pruned_created, pruned_ended "
        "FROM comfycontrol_account"
    )
    return {
        int(number): (str(name), AccountMarks(*marks)) for number, name, *marks in cursor.fetchall()
    }
