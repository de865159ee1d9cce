"""One replica among others: which accounts it holds, takes over and releases.

Every two seconds it renews its own lease on being alive and the leases that it holds, and looks
for accounts without a holder. Its own monotonic clock limits how long it may assume that it holds
one: counted from before the request, so never longer than in the database.

If the database is unreachable for longer than that, nothing is shown, but what is known of an
account stays in memory. If nobody else holds the account when the database is back, its holder
continues from there, and can write to the database what that has lost. A replica that was also cut
off waits a moment before it takes over, so that the last holder comes first.
"""

import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import inf
from typing import Final

from exporter.interfaces.observations import Moment
from exporter.ledger.postgres.leases import LEASE_SECONDS, RENEW_SECONDS, give_back, know, take
from exporter.ledger.postgres.link import Cursor, Link, all_rows
from exporter.ledger.postgres.spreading import spread
from exporter.ledger.postgres.store import PostgresStore
from exporter.ledger.shared import Hold, Lease, ReplicasReading
from exporter.ledger.store import StoreError
from exporter.retrying import RetryPolicy
from exporter.worker import Worker

log = logging.getLogger(__name__)

SETTLED_SECONDS: Final = 6.0
"""A replica that came less than this ago is not given accounts that others hold: while many start
at once, or one starts again and again, nothing moves. Nor does it take one over from a holder that
is silent, nor does one to which the database was back less than this ago: the holder may be back
only now as well."""

UNCLAIMED_SECONDS: Final = 4.0
"""An account that nobody holds for so long is taken by anyone who sees it, no matter who should."""

FORGOTTEN_SECONDS: Final = 3600.0
"""Replicas that were not seen for so long are dropped from their table."""


@dataclass(slots=True)
class _Round:
    """What one look at the database has shown and done."""

    replicas: int
    held: dict[str, Lease] = field(default_factory=dict)
    """Renewed, or taken."""
    unwanted: list[str] = field(default_factory=list)
    """Held, and to be handed on."""
    epochs: dict[str, int] = field(default_factory=dict)
    holders: dict[str, str] = field(default_factory=dict)
    """Other replicas, by the accounts that they hold."""
    commits: dict[str, int] = field(default_factory=dict)
    """As the database has them."""


class Replica:
    """Keeps the leases of one process.

    Args:
        link: to the database; the replica's alone.
        name: of this process in this life, unlike any other.
        accounts: those that are configured now.
        now: both clocks.
        hold: begins and ends to count accounts.
        store: knows until when they are held.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - the parts it joins
        self,
        link: Link,
        name: str,
        accounts: Callable[[], Collection[str]],
        now: Callable[[], Moment],
        hold: Hold,
        store: PostgresStore,
    ) -> None:
        self.name: Final = name
        self._link = link
        self._accounts = accounts
        self._now = now
        self._hold = hold
        self._store = store
        self._leases: dict[str, Lease] = {}
        self._until: dict[str, float] = {}
        self._fenced: set[str] = set()
        self._reading = ReplicasReading()
        # By account, the most commits that were ever seen of it.
        self._seen: dict[str, int] = {}
        self._regressions = 0
        self._reason = ""
        # Monotonic time at which the database was back after a failure.
        self._back_at = -inf
        self.has_looked = False
        """Whether the database was reached, ever."""
        self._worker = Worker(
            "replica", self._one_round, task="lease renewal", retry=RetryPolicy((RENEW_SECONDS,))
        )

    # Life -------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to take part."""
        self._worker.start()

    def stop(self, within: float) -> bool:
        """Take no more, within so many seconds; whether it has ended. Nothing is handed on yet."""
        self._worker.stop()
        return self._worker.join(within)

    def leave(self) -> None:
        """Hand on everything that is held: it was counted to the end. After `stop`."""
        try:
            with self._link.transaction() as cursor:
                give_back(cursor, self._leases, self.name)
                cursor.execute("DELETE FROM comfycontrol_replica WHERE replica = %s", (self.name,))
        except StoreError as error:
            log.warning(
                "could not release accounts, other replicas take over when their leases expire",
                extra={"reason": str(error)},
            )
        self._link.close()

    def _one_round(self) -> float:
        self.look()
        return RENEW_SECONDS

    # What it knows ----------------------------------------------------------------------------

    def reading(self) -> ReplicasReading:
        """What it knows now.

        A lease is over at its time, be it that a look has not come to an end since.
        """
        reading, monotonic = self._reading, self._now().monotonic
        return replace(
            reading,
            held=frozenset(a for a in reading.held if self._until.get(a, 0.0) > monotonic),
            regressions=self._store.regressions + self._regressions,
        )

    def leases(self) -> dict[str, Lease]:
        """What it holds, as far as it knows. From any thread."""
        return dict(self._leases)

    def note_lost(self, account: str) -> None:
        """The store has seen that another replica holds this account. From any thread."""
        self._fenced.add(account)

    # One look ---------------------------------------------------------------------------------

    def look(self) -> None:
        """Say that it lives, renew what it holds, and take and hand on what is due."""
        began = self._now().monotonic
        fenced, self._fenced = self._fenced, set()
        for account in fenced:
            # Whoever holds it now, and whatever has happened: start the account again, or leave it.
            self._leases.pop(account, None)
        made = self._store.commits()
        try:
            with self._link.transaction() as cursor:
                if self._reading.is_failing:
                    self._back_at = began
                found = self._round(cursor, made)
        except StoreError as error:
            self._note_failure(error, fenced)
            return
        lost = [name for name in (*self._leases, *fenced) if name not in found.held]
        gained = [lease for name, lease in found.held.items() if self._leases.get(name) != lease]
        # Taken afresh: what is known of it is from before.
        known = {*self._leases, *fenced}
        lost += [lease.account for lease in gained if lease.account in known]
        until = began + LEASE_SECONDS
        renewed = [name for name, lease in found.held.items() if self._leases.get(name) == lease]
        for account in renewed:
            if found.commits.get(account, 0) < made.get(account, 0):
                self._store.suspect(account)
        self._extend(renewed, until)
        self._tell(found, gained, lost)
        self._note_commits(found, gained)
        if self._reading.is_failing:
            log.info("the database is back")
        self._change(gained, [*lost, *found.unwanted], until)
        left = {*lost, *found.unwanted, *(lease.account for lease in gained)} - self._leases.keys()
        self._give_back(left)
        self.has_looked = True
        self._reading = ReplicasReading(
            replicas=found.replicas,
            accounts=frozenset(found.epochs),
            held=frozenset(self._leases),
            epochs=found.epochs,
            holders=found.holders,
        )

    def _round(self, cursor: Cursor, made: Mapping[str, int]) -> _Round:
        accounts = sorted(set(self._accounts()))
        cursor.execute(
            "INSERT INTO comfycontrol_replica AS r (replica, seen) "
            "VALUES (%s, clock_timestamp()) ON CONFLICT (replica) DO UPDATE "
            # One that was away for longer than the others believed in it has come only now.
            "SET since = CASE WHEN r.seen < clock_timestamp() - make_interval(secs => %s) "
            "THEN clock_timestamp() ELSE r.since END, seen = clock_timestamp()",
            (self.name, LEASE_SECONDS),
        )
        rows = all_rows(
            cursor,
            "SELECT replica, since < clock_timestamp() - make_interval(secs => %s) "
            "FROM comfycontrol_replica "
            "WHERE seen > clock_timestamp() - make_interval(secs => %s)",
            SETTLED_SECONDS,
            LEASE_SECONDS,
        )
        alive = [str(replica) for replica, _ in rows]
        settled = [str(replica) for replica, is_settled in rows if is_settled]
        plan = spread(accounts, settled or alive)
        is_back = self._now().monotonic >= self._back_at + SETTLED_SECONDS
        takes_over = self.name in settled and is_back
        known = {
            str(name): (holder, bool(in_time), bool(is_unclaimed), int(epoch), int(commits))
            for name, holder, in_time, is_unclaimed, epoch, commits in all_rows(
                cursor,
                "SELECT name, holder, until > clock_timestamp(), "
                "until < clock_timestamp() - make_interval(secs => %s), epoch, commits "
                "FROM comfycontrol_account WHERE name = ANY(%s) ORDER BY name",
                UNCLAIMED_SECONDS,
                accounts,
            )
        }
        know(cursor, set(accounts) - known.keys())
        found = _Round(len(alive))
        for account in accounts:
            holder, in_time, is_unclaimed, epoch, commits = known.get(
                account, (None, False, True, 0, 0)
            )
            found.epochs[account], found.commits[account] = epoch, commits
            is_ours = plan.get(account) == self.name
            # Not before the database has been given again what it has lost.
            moves = settled and not is_ours and commits >= made.get(account, 0)
            if holder == self.name and account in self._leases and in_time and moves:
                # Kept until it was counted to the end.
                found.unwanted.append(account)
                wants = True
            elif holder == self.name or (account in self._leases and not in_time):
                # Of the second nobody but this replica knows, for the database has lost it.
                wants = True
            else:
                is_free = holder is None or takes_over
                wants = not in_time and is_free and (is_ours or is_unclaimed)
            known_lease = self._leases.get(account)
            lease = take(cursor, account, self.name, known=known_lease) if wants else None
            if lease is None and in_time and holder is not None and holder != self.name:
                found.holders[account] = str(holder)
            if lease is not None:
                found.held[account] = lease
                found.epochs[account] = lease.epoch
        cursor.execute(
            "DELETE FROM comfycontrol_replica "
            "WHERE seen < clock_timestamp() - make_interval(secs => %s)",
            (FORGOTTEN_SECONDS,),
        )
        return found

    def _change(self, gained: Collection[Lease], lost: Iterable[str], until: float) -> None:
        gone = sorted(set(lost))
        if not gained and not gone:
            return
        begun = self._hold(gained, gone)
        for account in gone:
            self._leases.pop(account, None)
            self._until.pop(account, None)
        for lease in gained:
            if lease.account in begun:
                self._leases[lease.account] = lease
        self._extend([lease.account for lease in gained if lease.account in begun], until)

    def _extend(self, accounts: Collection[str], until: float) -> None:
        self._until.update(dict.fromkeys(accounts, until))
        self._store.extend(accounts, until)

    def _give_back(self, accounts: Collection[str]) -> None:
        """What was counted to the end here, or could not be begun, others may begin at once."""
        if not accounts:
            return
        try:
            with self._link.transaction() as cursor:
                give_back(cursor, accounts, self.name)
        except StoreError as error:
            log.debug("releasing accounts failed", extra={"reason": str(error)})

    def _note_failure(self, error: StoreError, fenced: Collection[str]) -> None:
        """While the database is away, what is held is held to the end of its time.

        After that it is shown no more, and remembered: maybe nobody else can come.
        """
        monotonic = self._now().monotonic
        in_time = {name for name in self._leases if self._until.get(name, 0.0) > monotonic}
        over = (self._reading.held - in_time) | set(fenced)
        if not self._reading.is_failing:
            log.error(
                "cannot reach the database: counting continues until the leases expire",
                extra={"reason": str(error), "accounts": ",".join(sorted(self._leases))},
            )
        elif str(error) != self._reason:
            log.warning("still cannot reach the database", extra={"reason": str(error)})
        self._reason = str(error)
        if over:
            log.error(
                "accounts are shown no more: their leases are over",
                extra={"accounts": ",".join(sorted(over))},
            )
        self._change((), fenced, 0.0)
        self._reading = replace(
            self._reading,
            replicas=0,
            held=frozenset(in_time),
            holders={},
            is_failing=True,
        )

    def _note_commits(self, found: _Round, gained: Collection[Lease]) -> None:
        """Tell of those that are gone, and were not this replica's to give again."""
        for lease in gained:
            lost = self._seen.get(lease.account, 0) - found.commits[lease.account]
            if lost > 0:
                self._regressions += lost
                log.error(
                    "the database has lost commits that another replica had made: counters step "
                    "back, and the list shows what is missing",
                    extra={"account": lease.account, "commits": lost},
                )
        self._seen.update(found.commits)

    def _tell(self, found: _Round, gained: Collection[Lease], lost: Collection[str]) -> None:
        told = {
            "gained": sorted(lease.account for lease in gained),
            "lost": sorted(set(lost)),
            "handed_on": found.unwanted,
        }
        if any(told.values()):
            log.info(
                "the accounts of this replica changed",
                extra={
                    **{mark: ",".join(names) for mark, names in told.items() if names},
                    "replica": self.name,
                    "replicas": found.replicas,
                },
            )
