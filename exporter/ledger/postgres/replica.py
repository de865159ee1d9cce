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
"""Seconds. A replica that started less than this ago is not given accounts that others hold: while
many replicas start at once, or one restarts again and again, nothing moves. It also does not take
over an account from a holder that is silent. Nor does a replica whose own database connection came
back less than this ago: the holder's connection may be coming back just now as well."""

UNCLAIMED_SECONDS: Final = 4.0
"""Seconds. An account that has had no holder for this long is taken by any replica that sees it,
even if it should belong to another one."""

FORGOTTEN_SECONDS: Final = 3600.0
"""Seconds. Replicas that were not seen for this long are deleted from their table."""


@dataclass(slots=True)
class _Round:
    """What one round of checks in the database has shown and done."""

    replicas: int
    held: dict[str, Lease] = field(default_factory=dict)
    """The leases that were renewed or acquired."""
    unwanted: list[str] = field(default_factory=list)
    """Accounts that this replica holds and should hand over."""
    epochs: dict[str, int] = field(default_factory=dict)
    holders: dict[str, str] = field(default_factory=dict)
    """By account: the other replica that holds it."""
    commits: dict[str, int] = field(default_factory=dict)
    """By account: the number of its commits in the database."""


class Replica:
    """Keeps the leases of one process.

    Args:
        link: the connection to the database, used only by this object.
        name: the name of this process, different from all others and after each restart.
        accounts: the accounts that are configured now.
        now: returns the time of both clocks (wall and monotonic).
        hold: called to begin and to stop counting accounts.
        store: the store, which is told until when each lease is valid.
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
        # By account: the highest number of commits ever seen.
        self._seen: dict[str, int] = {}
        self._regressions = 0
        self._reason = ""
        # Monotonic time at which the database was reachable again after a failure.
        self._back_at = -inf
        self.has_checked = False
        """Whether the database was ever reached."""
        self._worker = Worker(
            "replica", self._one_round, task="lease renewal", retry=RetryPolicy((RENEW_SECONDS,))
        )

    # Life -------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the thread that renews leases."""
        self._worker.start()

    def stop(self, within: float) -> bool:
        """Acquire no more leases; return whether the thread ended within so many seconds."""
        self._worker.stop()
        return self._worker.join(within)

    def leave(self) -> None:
        """Release all leases, after `stop`: these accounts have been counted to the end."""
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
        self.check()
        return RENEW_SECONDS

    # What it knows ----------------------------------------------------------------------------

    def reading(self) -> ReplicasReading:
        """What this replica knows now.

        A lease counts as expired at its end, even if a round of checks is still running.
        """
        reading, monotonic = self._reading, self._now().monotonic
        return replace(
            reading,
            held=frozenset(a for a in reading.held if self._until.get(a, 0.0) > monotonic),
            regressions=self._store.regressions + self._regressions,
        )

    def leases(self) -> dict[str, Lease]:
        """The leases that it believes to have, by account. May be called by any thread."""
        return dict(self._leases)

    def note_lost(self, account: str) -> None:
        """Note that another replica holds this account, as the store has seen.

        Any thread may call it.
        """
        self._fenced.add(account)

    # One look ---------------------------------------------------------------------------------

    def check(self) -> None:
        """Run one round of checks.

        Report that this replica is alive, renew its leases, acquire and hand over.
        """
        began = self._now().monotonic
        fenced, self._fenced = self._fenced, set()
        for account in fenced:
            # No matter who holds the account now: it must be started again here, or given up.
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
        # The lease was acquired again, so what is known of the account may be outdated.
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
        self.has_checked = True
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
            # A replica that was away for longer than its lease counts as started now.
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
            # Accounts move only after the database has received again what it lost.
            moves = settled and not is_ours and commits >= made.get(account, 0)
            if holder == self.name and account in self._leases and in_time and moves:
                # The lease is kept until the account has been counted to the end.
                found.unwanted.append(account)
                wants = True
            elif holder == self.name or (account in self._leases and not in_time):
                # Only this replica knows of the second one, because the database has lost it.
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
        """Release accounts that were counted to the end here, or could not be started."""
        if not accounts:
            return
        try:
            with self._link.transaction() as cursor:
                give_back(cursor, accounts, self.name)
        except StoreError as error:
            log.debug("releasing accounts failed", extra={"reason": str(error)})

    def _note_failure(self, error: StoreError, fenced: Collection[str]) -> None:
        """Note that the database cannot be reached: leases stay valid until they expire.

        After that the accounts are not shown any more, but stay in memory: perhaps no other replica
        can take over.
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
                "accounts no longer shown: their leases have expired",
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
        """Log lost commits that this replica cannot write again."""
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
