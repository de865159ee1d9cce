"""`migrate-storage`: a whole ledger from SQLite into PostgreSQL, or back, exactly or not at all."""

import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from exporter.config.storage import DsnUnreadableError, read_dsn
from exporter.interfaces.observations import Moment
from exporter.ledger.opening import OpenLedgerError
from exporter.ledger.postgres.copying import (
    AT_ONCE,
    RehearsedError,
    every_workflow,
    fill,
    marks_and_totals,
    reserve,
)
from exporter.ledger.postgres.link import ConnectionStringError, Link, place_of
from exporter.ledger.postgres.store import PostgresStore
from exporter.ledger.sqlite import FILE_NAME, SqliteStore
from exporter.ledger.store import Batch, RestoredState, StoreError
from exporter.ledger.witness import LOCK_NAME
from exporter.ledger.workflow import Workflow

LONGEST_SECONDS: Final = 3600.0
"""Seconds that a statement may take: building an index over millions of rows is slow."""

_SCRATCH: Final = "migrating"


class MigrationError(Exception):
    """Nothing was changed. The text is one line for a person."""


@dataclass(frozen=True, slots=True)
class Migrated:
    """What was copied."""

    accounts: int
    workflows: int
    series: int


def into_postgres(
    folder: Path, dsn_file: Path, now: Callable[[], Moment], *, dry_run: bool
) -> Migrated:
    """Copy the ledger of a folder into an empty database.

    Args:
        folder: the folder of the SQLite ledger; no process may have it open.
        dsn_file: file with the connection string of the database.
        now: returns the time of both clocks (wall and monotonic).
        dry_run: do everything, but store nothing.

    Raises:
        MigrationError: one of the two ledgers is in use, cannot be read, or is not as expected.
        LedgerInUseError, OpenLedgerError: the same problems with the ledger in the folder.
    """
    if not (folder / FILE_NAME).exists():
        raise MigrationError(f"there is no ledger in {folder}")
    source = SqliteStore(folder, now)
    try:
        kept = source.load(lambda _: AT_ONCE)
        # A ledger without a record is copied: nothing says that it is not whole.
        if kept.lost or kept.contradicted:
            raise MigrationError(f"the ledger in {folder} is damaged, as the log says")
        place, link, target = _open(dsn_file, now)
        batches = _batches(kept, source.everything())
        try:
            with link.transaction() as cursor:
                reserve(cursor)
                workflows = fill(cursor, target, kept.accounts, batches, dry_run=dry_run)
        except RehearsedError as rehearsed:
            workflows = rehearsed.workflows
        except StoreError as error:
            raise MigrationError(f"cannot copy the ledger into {place}: {error}") from None
        finally:
            target.close()
        return _counted(kept, workflows)
    finally:
        source.close()


def into_sqlite(
    dsn_file: Path, folder: Path, now: Callable[[], Moment], *, dry_run: bool
) -> Migrated:
    """Copy the ledger of a database into a folder without one.

    Args:
        dsn_file: file with the connection string of the database; no replica may be running.
        folder: created if it does not exist.
        now: returns the time of both clocks (wall and monotonic).
        dry_run: do everything, but store nothing.

    Raises:
        MigrationError: one of the two ledgers is in use, cannot be read, or is not as expected.
        LedgerInUseError, OpenLedgerError: the same problems with the ledger in the folder.
    """
    if (folder / FILE_NAME).exists():
        raise MigrationError(f"there is a ledger in {folder} already")
    place, link, source = _open(dsn_file, now)
    scratch = folder / _SCRATCH
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        target = SqliteStore(scratch, now)
        try:
            with link.transaction() as cursor:
                reserve(cursor)
                kept = marks_and_totals(cursor)
                workflows = 0
                for batch in _batches(kept, every_workflow(cursor)):
                    workflows += len(batch.workflows)
                    target.persist(batch)
            target.sync()
        finally:
            target.close()
        if not dry_run:
            # The witness file is moved first: it shows to which ledger the file belongs.
            for name in (LOCK_NAME, FILE_NAME):
                if (scratch / name).exists():
                    (scratch / name).replace(folder / name)
        return _counted(kept, workflows)
    except StoreError as error:
        raise MigrationError(f"cannot copy the ledger from {place}: {error}") from None
    except OSError as error:
        raise MigrationError(f"cannot write to {folder}: {error.strerror}") from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        source.close()


def _open(dsn_file: Path, now: Callable[[], Moment]) -> tuple[str, Link, PostgresStore]:
    try:
        dsn = read_dsn(dsn_file)
        place = place_of(dsn)
        link = Link(lambda: dsn, LONGEST_SECONDS)
        return place, link, PostgresStore(link, place, now)
    except (DsnUnreadableError, ConnectionStringError, OpenLedgerError) as error:
        reason = f"{dsn_file}: {error}" if not isinstance(error, OpenLedgerError) else str(error)
    raise MigrationError(reason)


def _batches(kept: RestoredState, workflows: Iterable[Workflow]) -> Iterator[Batch]:
    """Marks and totals first, and then the workflows."""
    yield Batch(
        accounts=dict(kept.accounts),
        counters=dict(kept.counters),
        histograms=dict(kept.histograms),
        baselines=dict(kept.baselines),
        announced=kept.announced,
    )
    rest = iter(workflows)
    while some := list(islice(rest, AT_ONCE)):
        yield Batch(workflows={(w.account, w.workflow_id): w for w in some})


def _counted(kept: RestoredState, workflows: int) -> Migrated:
    return Migrated(len(kept.accounts), workflows, len(kept.counters) + len(kept.histograms))
