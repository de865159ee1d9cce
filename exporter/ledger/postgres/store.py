"""The ledger in PostgreSQL: reads and writes the accounts that this replica holds.

Each account is written only by its holder, in its own transactions. Each transaction first locks
the account's row and checks it: is it still held by this replica in this epoch, and has it as many
commits as this replica has made? A late writer gets an error, and changes nothing.

Totals are added as differences to the last commit. If a connection breaks during a commit, the
count of commits shows afterwards whether it was made, before anything is added again.
"""

import logging
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from math import inf
from typing import Any, Final

from exporter.interfaces.observations import Baseline, Moment, Status
from exporter.ledger.forms import Labels
from exporter.ledger.open_limits import DEFAULT_MOST_OPEN, MostWanted
from exporter.ledger.opening import OpenLedgerError
from exporter.ledger.postgres.history_rows import read_history, write_history
from exporter.ledger.postgres.link import CommitUnknownError, Cursor, Link, all_rows
from exporter.ledger.postgres.rows import (
    ADD,
    TOTAL_COLUMNS,
    Kind,
    StoredTotals,
    counter_added,
    histogram_added,
    read_totals,
    series_of,
)
from exporter.ledger.postgres.schema import COLUMNS, MIGRATIONS, UNSETTLED, migrate
from exporter.ledger.postgres.workflow_rows import differing, write_workflows
from exporter.ledger.rows import WORKFLOW_COLUMNS, packed, workflow_of, workflow_row
from exporter.ledger.shared import Lease
from exporter.ledger.store import (
    AccountMarks,
    BaselineKey,
    Batch,
    NotHeldError,
    Pruned,
    RestoredState,
    StoreBehindError,
    StoreError,
    WorkflowKey,
)
from exporter.ledger.totals import Shown
from exporter.ledger.words import UnknownWordError, words_of_held, words_of_total, words_of_workflow
from exporter.ledger.workflow import Workflow

log = logging.getLogger(__name__)

PRUNE_AT_ONCE: Final = 2_000
"""How many old rows one transaction deletes at most: others wait for it."""

_PRUNE: Final = (
    "DELETE FROM comfycontrol_workflow w USING (SELECT account, workflow "  # noqa: S608
    "FROM comfycontrol_workflow WHERE account = %s AND phase <> 'open' "
    "AND ended_at < %s AND cause_owed_since IS NULL AND duration_owed_since IS NULL "
    "AND held IS NULL ORDER BY ended_at LIMIT %s) o "
    "WHERE w.account = o.account AND w.workflow = o.workflow "
    f"RETURNING {', '.join(f'w.{name}' for name in WORKFLOW_COLUMNS)}"
)


class NotInTimeError(StoreError):
    """The account's lease has expired, and no other replica has it: this one may renew it."""


@dataclass(slots=True)
class _Doubt:
    """A commit whose result is unknown."""

    batch: Batch = field(default_factory=Batch)
    pruned: Pruned | None = None


@dataclass(slots=True)
class _Held:
    """An account that this replica holds."""

    lease: Lease
    number: int
    commits: int
    totals: StoredTotals
    waiting: dict[tuple[Kind, str, Labels], int] = field(default_factory=dict)
    """The numbers, in this process, of series that are not announced in the database."""
    until: float = inf
    """Monotonic time at which the lease expires unless it is renewed."""
    shown: StoredTotals | None = None
    """The totals shown before the database lost commits; kept until it has received everything
    again."""
    doubt: _Doubt | None = None
    pruned: Pruned | None = None
    """What was pruned and not reported to the caller yet."""


class PostgresStore:
    """Keeps the accounts that this replica holds. Called by only one thread at a time.

    Args:
        link: the connection to the database, used only by the store.
        place: the location of the database, for messages.
        now: returns the time of both clocks (wall and monotonic).
        on_lost: called with the name of an account that is no longer held.

    Raises:
        OpenLedgerError: the database cannot be reached or cannot hold a ledger, or a newer
            version of the exporter wrote it.
    """

    def __init__(
        self,
        link: Link,
        place: str,
        now: Callable[[], Moment],
        on_lost: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._link = link
        self._place = place
        self._now = now
        self._held: dict[str, _Held] = {}
        self._words: set[str] = set()
        self._announced = 0
        self._suspects: set[str] = set()
        self.on_lost = on_lost
        self.regressions = 0
        """How many commits the database acknowledged to this replica and then lost."""
        try:
            with link.transaction() as cursor:
                self.is_new = migrate(cursor, place)
        except StoreError as error:
            link.close()
            raise OpenLedgerError(f"cannot use the ledger at {place}: {error}") from None
        except OpenLedgerError:
            link.close()
            raise

    # Accounts ---------------------------------------------------------------------------------

    def adopt(self, lease: Lease, most_open: int = DEFAULT_MOST_OPEN) -> RestoredState:
        """Read everything stored of an account that this replica holds from now on.

        Settled workflows are left out, and open ones beyond `most_open`. Series that were not
        announced yet have `appeared` set.

        Raises:
            NotHeldError: this replica does not hold it.
            StoreError: it cannot be read, or a newer version of the exporter wrote it.
        """
        name = lease.account
        self._held.pop(name, None)
        with self._link.transaction() as cursor:
            number, commits = self._lock(cursor, lease)
            cursor.execute(
                "SELECT line, frontier, pruned_created, pruned_ended FROM comfycontrol_account "
                "WHERE account = %s",
                (number,),
            )
            marks = AccountMarks(*(cursor.fetchone() or ()))
            with _reading():
                totals = self._totals(cursor, number)
                unsettled = MostWanted(lambda _: most_open)
                for row in all_rows(
                    cursor,
                    f"SELECT {COLUMNS} FROM comfycontrol_workflow "  # noqa: S608 - constants
                    f"WHERE account = %s AND {UNSETTLED}",
                    number,
                ):
                    unsettled.add(workflow_of(name, row, self._now().monotonic))
                baselines: dict[BaselineKey, Baseline] = {
                    (name, Status(status)): Baseline(int(value), compared_at, since)
                    for status, value, compared_at, since in all_rows(
                        cursor,
                        "SELECT status, value, compared_at, since FROM comfycontrol_baseline "
                        "WHERE account = %s",
                        number,
                    )
                }
            ((rows, latest_end),) = all_rows(
                cursor,
                "SELECT count(*), max(ended_at) FILTER (WHERE phase = 'settled') "
                "FROM comfycontrol_workflow WHERE account = %s",
                number,
            )
            history = read_history(cursor, name, number)
        self._held[name] = _Held(lease, number, commits, totals)
        return RestoredState(
            unsettled=tuple(unsettled),
            accounts={name: marks},
            counters={key: total.copied() for key, total in totals.counters.items()},
            histograms={key: total.copied() for key, total in totals.histograms.items()},
            closed=rows - unsettled.open,
            latest_ends={} if latest_end is None else {name: latest_end},
            baselines=baselines,
            history=history,
        )

    def release(self, account: str) -> None:
        """Stop writing this account."""
        self._held.pop(account, None)

    def extend(self, accounts: Collection[str], until: float) -> None:
        """Note that these leases are valid until then (monotonic seconds).

        Any thread may call it.
        """
        for account in accounts:
            held = self._held.get(account)
            if held is not None:
                held.until = until

    def commits(self) -> dict[str, int]:
        """By account: how many commits are certain. Any thread may call it."""
        return {name: held.commits for name, held in list(self._held.items())}

    def suspect(self, account: str) -> None:
        """Note that commits of an account seem lost; `verify` will check.

        Any thread may call it.
        """
        self._suspects.add(account)

    def committed(self) -> Shown:
        """The held accounts, and their totals as they are in the database.

        Accounts whose lease has expired are left out: another replica may be showing them.
        """
        monotonic = self._now().monotonic
        in_time = [held for held in list(self._held.values()) if held.until > monotonic]
        shown = Shown(frozenset(held.lease.account for held in in_time))
        for held in in_time:
            totals = held.totals if held.shown is None else held.shown
            shown.counters.update(totals.counters)
            shown.histograms.update(totals.histograms)
        return shown

    def _lose(self, account: str) -> None:
        if self._held.pop(account, None) is not None:
            log.warning(
                "lost the lease of an account: its unsaved changes are left to the new holder",
                extra={"account": account},
            )
            self.on_lost(account)

    @staticmethod
    def _totals(cursor: Cursor, number: int) -> StoredTotals:
        return read_totals(
            all_rows(
                cursor,
                f"SELECT {TOTAL_COLUMNS} FROM comfycontrol_total WHERE account = %s",  # noqa: S608
                number,
            )
        )

    # Reading ----------------------------------------------------------------------------------

    def load(self, most_open: Callable[[str], int] = lambda _: DEFAULT_MOST_OPEN) -> RestoredState:
        """Return nothing.

        Accounts are adopted one by one, when this replica acquires their leases.
        """
        del most_open
        return RestoredState()

    def find_closed(self, key: WorkflowKey) -> Workflow | None:
        """A workflow that is settled or dropped, or that `adopt` left in the database."""
        held = self._held.get(key[0])
        if held is None:
            raise NotHeldError("the account is not held")
        with self._link.transaction() as cursor, _reading():
            rows = all_rows(
                cursor,
                f"SELECT {COLUMNS} FROM comfycontrol_workflow "  # noqa: S608 - constants
                "WHERE account = %s AND workflow = %s",
                held.number,
                packed(key[1]),
            )
            return workflow_of(key[0], rows[0], self._now().monotonic) if rows else None

    def created_after(self, account: str, created_at: float) -> int:
        """How many workflows of an account were created after this time (Unix seconds)."""
        held = self._held.get(account)
        if held is None:
            raise NotHeldError("the account is not held")
        with self._link.transaction() as cursor:
            ((younger,),) = all_rows(
                cursor,
                "SELECT count(*) FROM comfycontrol_workflow WHERE account = %s AND created_at > %s",
                held.number,
                created_at,
            )
            return int(younger)

    def verify(self) -> None:
        """Check accounts that seem to have lost commits.

        Raises:
            StoreBehindError: commits were lost, and the database must receive everything again.
        """
        while self._suspects:
            held = self._held.get(self._suspects.pop())
            if held is not None:
                # If this check fails, the next batch finds out.
                with suppress(NotHeldError), self._changing(held, _Doubt()):
                    pass

    # Writing ----------------------------------------------------------------------------------

    def persist(self, batch: Batch) -> None:
        """Store a batch, each account in its own transaction.

        Data of accounts that are not held is left out: their holder will see it from the service.

        Raises:
            StoreBehindError: the database has lost commits, and must receive everything again.
            StoreError: not all accounts were stored.
        """
        if batch.announced is not None:
            self._announced = max(self._announced, batch.announced)
        parts = _by_account(batch)
        for held in list(self._held.values()):
            if any(number <= self._announced for number in held.waiting.values()):
                parts.setdefault(held.lease.account, Batch())
        late: NotInTimeError | None = None
        for name, part in parts.items():
            try:
                if name in self._held:
                    self._keep(self._held[name], part)
            except NotInTimeError as error:
                late = error
        if late is not None:
            raise late

    def sync(self) -> None:
        """Do nothing.

        Each commit waits for the disk or a standby, as the database is configured.
        """

    def prune_ended_before(self, account: str, ended_at: float) -> Pruned:
        """Delete closed workflows that ended before this (Unix seconds), except pending ones."""
        held = self._held.get(account)
        if held is None:
            return Pruned()
        told = Pruned()
        doubt = _Doubt()
        with self._changing(held, doubt) as cursor, _reading():
            earlier, held.pruned = held.pruned, None
            rows = all_rows(
                cursor,
                _PRUNE,
                held.number,
                ended_at,
                PRUNE_AT_ONCE,
            )
            told = doubt.pruned = _joined(earlier, _pruned_in(account, rows))
            cursor.execute(
                "UPDATE comfycontrol_account SET pruned_created = greatest(pruned_created, %s), "
                "pruned_ended = greatest(pruned_ended, %s) WHERE account = %s",
                (told.latest_created, told.latest_end, held.number),
            )
        return told

    def close(self) -> None:
        """Close the connection."""
        self._held.clear()
        self._link.close()

    def write_first(self, cursor: Cursor, batch: Batch) -> None:
        """Write the content of another ledger; this one must hold nothing of its accounts yet.

        Each total comes once. The caller's transaction must make sure that nobody else writes.
        """
        if batch.announced is not None:
            self._announced = max(self._announced, batch.announced)
        for name, part in _by_account(batch).items():
            ((number,),) = all_rows(
                cursor, "SELECT account FROM comfycontrol_account WHERE name = %s", name
            )
            self._words |= self._write(
                cursor, _Held(Lease(name, "", 0), int(number), 0, StoredTotals()), part
            )

    # A transaction of an account --------------------------------------------------------------

    def _keep(self, held: _Held, part: Batch) -> None:
        due = {key: n for key, n in held.waiting.items() if n <= self._announced}
        try:
            with self._changing(held, _Doubt(part)) as cursor:
                words = self._write(cursor, held, part)
                if due:
                    cursor.execute(
                        "UPDATE comfycontrol_total SET waiting = false "
                        "WHERE account = %s AND series = ANY(%s)",
                        (held.number, [series_of(*key) for key in due]),
                    )
        except NotHeldError:
            self._lose(held.lease.account)
            return
        self._words |= words
        self._note_kept(held, part, self._announced)
        # The first batch after a loss contains all known data.
        held.shown = None
        for key in due:
            held.waiting.pop(key, None)

    @staticmethod
    def _note_kept(held: _Held, part: Batch, announced: int) -> None:
        """Note that this part is now in the database, with series announced up to `announced`."""
        held.totals.counters.update(part.counters)
        held.totals.histograms.update(part.histograms)
        for (counter, labels), total in part.counters.items():
            if total.appeared > announced:
                held.waiting["counter", counter, labels] = total.appeared
        for (histogram, labels), observed in part.histograms.items():
            if observed.appeared > announced:
                held.waiting["histogram", histogram, labels] = observed.appeared

    @contextmanager
    def _changing(self, held: _Held, doubt: _Doubt) -> Iterator[Cursor]:
        """Run a transaction that changes an account; it commits only while this replica holds it.

        Raises:
            NotHeldError: the account is not held. Nothing was changed.
            StoreBehindError: the database has lost commits. Nothing was changed.
            CommitUnknownError: it may have been changed. The next transaction finds out, and
                continues from there.
        """
        lost = 0
        try:
            with self._link.transaction() as cursor:
                _, commits = self._lock(cursor, held.lease)
                self._settle_doubt(held, commits)
                lost = held.commits - commits
                if lost > 0:
                    with _reading():
                        totals = self._totals(cursor, held.number)
                elif lost < 0:
                    # No other replica may write in this epoch.
                    raise NotHeldError("the account was changed by somebody else")
                else:
                    totals = held.totals
                    yield cursor
                    cursor.execute(
                        "UPDATE comfycontrol_account SET commits = commits + 1 WHERE account = %s",
                        (held.number,),
                    )
        except CommitUnknownError:
            if lost == 0:
                held.doubt = doubt
            raise
        if lost > 0:
            self._note_regression(held, lost, totals)
        held.commits += 1

    def _note_regression(self, held: _Held, lost: int, totals: StoredTotals) -> None:
        held.commits -= lost
        if held.shown is None:
            held.shown = held.totals
        held.totals, held.waiting = totals, {}
        self.regressions += lost
        log.error(
            "the database lost acknowledged commits: writing again what is still known",
            extra={"account": held.lease.account, "commits": lost},
        )
        raise StoreBehindError(f"{lost} commits are gone", held.lease.account)

    def _settle_doubt(self, held: _Held, commits: int) -> None:
        """Find out by the number of commits whether the uncertain commit was made."""
        doubt, held.doubt = held.doubt, None
        if doubt is not None and commits == held.commits + 1:
            held.commits = commits
            # It is unknown what that commit announced, so all series are announced again.
            self._note_kept(held, doubt.batch, 0)
            held.pruned = _joined(held.pruned, doubt.pruned)

    @staticmethod
    def _lock(cursor: Cursor, lease: Lease) -> tuple[int, int]:
        """Lock the account's row until the end of the transaction; return its number and commits.

        Raises:
            NotHeldError: this replica does not hold it.
        """
        cursor.execute(
            "SELECT a.account, a.commits, a.holder, a.epoch, a.until > clock_timestamp(), "
            "m.writes_from FROM comfycontrol_account a, comfycontrol_meta m WHERE a.name = %s "
            "FOR UPDATE OF a",
            (lease.account,),
        )
        found = cursor.fetchone()
        if found is None:
            raise NotHeldError("the account is not there")
        number, commits, holder, epoch, in_time, writes_from = found
        if (holder, epoch) != (lease.holder, lease.epoch):
            raise NotHeldError("another replica holds the account")
        if not in_time:
            raise NotInTimeError("the lease of the account is over")
        if writes_from > len(MIGRATIONS):
            raise StoreError("a newer version of the exporter has changed the tables")
        return int(number), int(commits)

    # Rows -------------------------------------------------------------------------------------

    def _write(self, cursor: Cursor, held: _Held, part: Batch) -> set[str]:
        """Write the part of a batch that belongs to an account; return the words in it."""
        words = _words_of(part)
        new = words - self._words
        if new:
            cursor.executemany(
                "INSERT INTO comfycontrol_word VALUES (%s) ON CONFLICT DO NOTHING",
                [(word,) for word in sorted(new)],
            )
        for marks in part.accounts.values():
            cursor.execute(
                "UPDATE comfycontrol_account SET line = greatest(line, %s), frontier = %s, "
                "pruned_created = greatest(pruned_created, %s), "
                "pruned_ended = greatest(pruned_ended, %s) WHERE account = %s",
                (
                    marks.cutoff,
                    marks.watermark,
                    marks.pruned_created,
                    marks.pruned_ended,
                    held.number,
                ),
            )
        rows = [
            workflow_row(held.number, key[1], workflow)
            for key, workflow in sorted(part.workflows.items())
        ]
        if held.shown is not None:
            # The batch contains all known data again, and most of it was not lost.
            rows = differing(cursor, held.number, rows)
        write_workflows(cursor, rows)
        added = [
            *(
                counter_added(
                    held.number,
                    *key,
                    total,
                    held.totals.counters.get(key),
                    waiting=total.appeared > self._announced,
                )
                for key, total in part.counters.items()
            ),
            *(
                histogram_added(
                    held.number,
                    *name,
                    observed,
                    held.totals.histograms.get(name),
                    waiting=observed.appeared > self._announced,
                )
                for name, observed in part.histograms.items()
            ),
        ]
        if added:
            cursor.executemany(ADD, added)
        for (_, status), baseline in part.baselines.items():
            _write_baseline(cursor, held.number, status, baseline)
        write_history(cursor, held.number, part.history)
        return words


def _write_baseline(cursor: Cursor, number: int, status: Status, baseline: Baseline | None) -> None:
    if baseline is None:
        cursor.execute(
            "DELETE FROM comfycontrol_baseline WHERE account = %s AND status = %s",
            (number, status.value),
        )
        return
    cursor.execute(
        "INSERT INTO comfycontrol_baseline (account, status, value, compared_at, since) "
        "VALUES (%s, %s, %s, %s, %s) ON CONFLICT (account, status) DO UPDATE SET "
        "value = excluded.value, compared_at = excluded.compared_at, since = excluded.since",
        (number, status.value, baseline.value, baseline.compared_at, baseline.since),
    )


def _by_account(batch: Batch) -> dict[str, Batch]:
    """Split a batch by account."""
    parts: dict[str, Batch] = {}

    def part(account: str) -> Batch:
        return parts.setdefault(account, Batch())

    for key, workflow in batch.workflows.items():
        part(key[0]).workflows[key] = workflow
    for account, marks in batch.accounts.items():
        part(account).accounts[account] = marks
    for counter, total in batch.counters.items():
        part(counter[1][0]).counters[counter] = total
    for histogram, observed in batch.histograms.items():
        part(histogram[1][0]).histograms[histogram] = observed
    for baseline_key, baseline in batch.baselines.items():
        part(baseline_key[0]).baselines[baseline_key] = baseline
    for row_key, row in batch.history.items():
        part(row_key[0]).history[row_key] = row
    return parts


def _words_of(part: Batch) -> set[str]:
    words: set[str] = set()
    for workflow in part.workflows.values():
        words |= words_of_workflow(workflow.source, workflow.phase, workflow.status)
        words |= words_of_held(workflow.held)
    for counter, labels in part.counters:
        words |= words_of_total("counter", counter, labels)
    for histogram, labels in part.histograms:
        words |= words_of_total("histogram", histogram, labels)
    words |= {f"status {status.value}" for _, status in part.baselines}
    return words


def _pruned_in(account: str, rows: Collection[tuple[Any, ...]]) -> Pruned:
    settled = [w for w in (workflow_of(account, row, 0.0) for row in rows) if w.phase == "settled"]
    return Pruned(
        len(rows),
        max((inf if w.created_at is None else w.created_at for w in settled), default=None),
        max((w.ended_at for w in settled if w.ended_at is not None), default=None),
    )


def _joined(earlier: Pruned | None, later: Pruned | None) -> Pruned:
    first, second = earlier or Pruned(), later or Pruned()
    return Pruned(
        first.rows + second.rows,
        _latest(first.latest_created, second.latest_created),
        _latest(first.latest_end, second.latest_end),
    )


def _latest(*stamps: float | None) -> float | None:
    return max((stamp for stamp in stamps if stamp is not None), default=None)


@contextmanager
def _reading() -> Iterator[None]:
    """Raise StoreError for rows that this version cannot read.

    Then this replica does not take the account.
    """
    try:
        yield
    except UnknownWordError as error:
        raise StoreError(
            f"a newer version of the exporter wrote it: this one does not know {str(error)[:100]!r}"
        ) from None
    except (ValueError, TypeError, LookupError) as error:
        raise StoreError(f"a row cannot be read ({type(error).__name__})") from error
