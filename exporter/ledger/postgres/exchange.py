"""Workflows that replicas lend each other, and the observations of their streams, in the database.

A borrower must be alive, according to `comfycontrol_replica`: if it has not renewed its lease in
time, what it borrowed is lent to others. Holders write in transactions that check their lease, like
every change of an account.

The holder removes observations from the database before it counts them. If the holder dies in
between, they are sent again: its successor lends in its own epoch, and the borrower then asks once
more about workflows that it believed to be over.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import Final
from uuid import UUID

import orjson

from exporter.interfaces.observations import Moment, OpenWorkflow, Status
from exporter.ledger.lending import (
    Borrowed,
    Contribution,
    HandedBack,
    LentStream,
    Received,
    ReplicaRoom,
    WantedStreams,
    free_at,
    lend,
    recalled,
)
from exporter.ledger.postgres.leases import LEASE_SECONDS
from exporter.ledger.postgres.link import Cursor, Link, all_rows
from exporter.ledger.rows import packed
from exporter.ledger.store import StoreError

UNTAKEN_SECONDS: Final = 600.0
"""Seconds. Observations that no holder has fetched for this long are deleted: nobody counts their
account."""

UNHELD_SECONDS: Final = 60.0
"""Seconds. If an account has had no holder for this long, the streams that it has lent are ended:
nobody follows it any more, and others need the room. If its holder died, another takes over sooner.
"""

# This lock lets only one turn run at a time, so that two holders never fill the same room.
_LOCK: Final = 0x6C656E64  # "lend"

_ALIVE: Final = (
    "SELECT replica FROM comfycontrol_replica "  # noqa: S608 - constants
    f"WHERE seen > clock_timestamp() - make_interval(secs => {LEASE_SECONDS})"
)


class PostgresExchange:
    """One replica's part in lending.

    Args:
        link: the connection to the database, used only by this object.
        replica: the name of this replica's process, different after each restart.
        egress: the address from which this process sends requests, as configured.
        now: returns the time of both clocks (wall and monotonic).
    """

    def __init__(self, link: Link, replica: str, egress: str, now: Callable[[], Moment]) -> None:
        self._link = link
        self._replica = replica
        self._egress = egress
        self._now = now

    def exchange(self, contribution: Contribution) -> Received:
        """See `exporter.ledger.lending.Exchange`."""
        with self._link.transaction() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s, hashtext(current_schema()))", (_LOCK,))
            self._say(cursor, contribution)
            numbers = self._held(cursor, contribution.wanted)
            handed_back = self._take(cursor, numbers)
            lent = self._lend(cursor, contribution.wanted, numbers)
            return Received(lent, self._borrowed(cursor), handed_back)

    def leave(self) -> None:
        """See `exporter.ledger.lending.Exchange`."""
        with suppress(StoreError), self._link.transaction() as cursor:
            for table in ("room", "assignment"):
                cursor.execute(
                    f"DELETE FROM comfycontrol_{table} WHERE replica = %s",  # noqa: S608
                    (self._replica,),
                )
        self._link.close()

    # The borrower -----------------------------------------------------------------------------

    def _say(self, cursor: Cursor, contribution: Contribution) -> None:
        cursor.execute(
            "DELETE FROM comfycontrol_room WHERE replica = %s AND service <> ALL(%s)",
            (self._replica, [room.service for room in contribution.rooms]),
        )
        if contribution.rooms:
            cursor.executemany(
                "INSERT INTO comfycontrol_room AS r (replica, service, egress, most, own) "
                "VALUES (%s, %s, %s, %s, %s) ON CONFLICT (replica, service) DO UPDATE SET "
                "egress = excluded.egress, most = excluded.most, own = excluded.own "
                "WHERE (r.egress, r.most, r.own) "
                "IS DISTINCT FROM (excluded.egress, excluded.most, excluded.own)",
                [
                    (self._replica, room.service, self._egress, room.most, room.own)
                    for room in contribution.rooms
                ],
            )
        if contribution.handed_back:
            cursor.executemany(
                "INSERT INTO comfycontrol_told (account, said) "
                "SELECT account, %s FROM comfycontrol_account WHERE name = %s",
                [(said, account) for account, said in contribution.handed_back],
            )
        cursor.execute(
            "UPDATE comfycontrol_assignment s SET is_open = NOT s.is_open "
            "FROM comfycontrol_account a WHERE a.account = s.account AND s.replica = %s "
            "AND s.is_open <> EXISTS (SELECT FROM unnest(%s::text[], %s::bytea[]) o (name, id) "
            "WHERE o.name = a.name AND o.id = s.workflow)",
            (
                self._replica,
                [account for account, _ in sorted(contribution.open)],
                [packed(workflow_id) for _, workflow_id in sorted(contribution.open)],
            ),
        )
        cursor.execute(
            "DELETE FROM comfycontrol_told WHERE at < clock_timestamp() "
            "- make_interval(secs => %s)",
            (UNTAKEN_SECONDS,),
        )
        cursor.execute(
            "DELETE FROM comfycontrol_assignment s USING comfycontrol_account a "
            "WHERE a.account = s.account "
            "AND a.until < clock_timestamp() - make_interval(secs => %s)",
            (UNHELD_SECONDS,),
        )

    def _borrowed(self, cursor: Cursor) -> dict[str, dict[str, Borrowed]]:
        now = self._now()
        found: dict[str, dict[str, Borrowed]] = {}
        for account, workflow, epoch, ranked_by in all_rows(
            cursor,
            "SELECT a.name, s.workflow, s.epoch, s.ranked_by FROM comfycontrol_assignment s "
            "JOIN comfycontrol_account a USING (account) WHERE s.replica = %s",
            self._replica,
        ):
            known = orjson.loads(ranked_by)
            borrowed = Borrowed(
                account=account,
                workflow_id=str(UUID(bytes=bytes(workflow))),
                source=known["source"],
                status=None if known["status"] is None else Status(known["status"]),
                created_at=known["created_at"],
                first_seen=now,
                epoch=int(epoch),
            )
            found.setdefault(account, {})[borrowed.workflow_id] = borrowed
        return found

    # The holder -------------------------------------------------------------------------------

    @staticmethod
    def _held(cursor: Cursor, wanted: Collection[WantedStreams]) -> dict[str, int]:
        """The accounts in `wanted` that this replica really holds, locked against other holders."""
        leases = {(w.lease.account, w.lease.holder, w.lease.epoch) for w in wanted}
        return {
            str(name): int(number)
            for number, name, holder, epoch in all_rows(
                cursor,
                "SELECT account, name, holder, epoch FROM comfycontrol_account "
                "WHERE name = ANY(%s) AND until > clock_timestamp() ORDER BY name FOR SHARE",
                sorted(w.lease.account for w in wanted),
            )
            if (name, holder, epoch) in leases
        }

    @staticmethod
    def _take(cursor: Cursor, numbers: Mapping[str, int]) -> list[HandedBack]:
        names = {number: name for name, number in numbers.items()}
        rows = all_rows(
            cursor,
            "DELETE FROM comfycontrol_told WHERE account = ANY(%s) RETURNING id, account, said, "
            "extract(epoch FROM clock_timestamp() - at)::float8",
            sorted(names),
        )
        return [
            HandedBack(names[number], said, max(0.0, age)) for _, number, said, age in sorted(rows)
        ]

    def _lend(
        self, cursor: Cursor, wanted: Collection[WantedStreams], numbers: Mapping[str, int]
    ) -> dict[str, dict[str, LentStream]]:
        held = [want for want in wanted if want.lease.account in numbers]
        if not held:
            return {}
        cursor.execute(
            f"DELETE FROM comfycontrol_room WHERE replica NOT IN ({_ALIVE})"  # noqa: S608
        )
        return {
            want.lease.account: self._lend_of(cursor, want, numbers[want.lease.account])
            for want in held
        }

    def _lend_of(self, cursor: Cursor, want: WantedStreams, number: int) -> dict[str, LentStream]:
        rooms = [
            ReplicaRoom(*row)
            for row in all_rows(
                cursor,
                "SELECT replica, egress, most, own FROM comfycontrol_room WHERE service = %s "
                # Another replica behind the same address has the same room.
                "AND egress <> %s ORDER BY replica",
                want.service,
                self._egress,
            )
        ]
        taken: Counter[str] = Counter(
            dict(
                all_rows(
                    cursor,
                    "SELECT replica, count(*) FROM comfycontrol_assignment WHERE service = %s "
                    "GROUP BY replica",
                    want.service,
                )
            )
        )
        lent = {
            str(UUID(bytes=bytes(workflow))): (
                LentStream(replica, bool(is_open)),
                service,
                int(epoch),
            )
            for workflow, replica, is_open, service, epoch in all_rows(
                cursor,
                "SELECT workflow, replica, is_open, service, epoch FROM comfycontrol_assignment "
                "WHERE account = %s",
                number,
            )
        }
        egresses = {room.replica: room.egress for room in rooms}
        kept = {
            workflow_id: one
            for workflow_id, (one, service, _) in lent.items()
            if one.replica in egresses and service == want.service and want.is_open(workflow_id)
        }
        taken.subtract(one.replica for name, (one, _, _) in lent.items() if name not in kept)
        given = Counter(egresses[one.replica] for one in kept.values())
        # Too many at an address: for its room, or for what the account may have there.
        free = {
            egress: min(room, want.most - given[egress])
            for egress, room in free_at(rooms, taken).items()
        }
        for workflow_id in recalled(kept.items(), egresses, free):
            taken[kept.pop(workflow_id).replica] -= 1
        self._drop(cursor, number, lent.keys() - kept.keys())
        if any(epoch != want.lease.epoch for _, _, epoch in lent.values()):
            cursor.execute(
                "UPDATE comfycontrol_assignment SET epoch = %s WHERE account = %s AND epoch <> %s",
                (want.lease.epoch, number, want.lease.epoch),
            )
        given = Counter(egresses[one.replica] for one in kept.values())
        new = [one for one in want.workflows if one.workflow_id not in lent]
        waiting = Counter(egresses[one.replica] for one in kept.values() if not one.is_open)
        most = {
            egress: min(want.most - given[egress], want.at_once - waiting[egress])
            for egress in egresses.values()
        }
        replicas = lend(len(new), rooms, taken, most)
        return kept | self._give(cursor, want, number, list(zip(new, replicas, strict=False)))

    @staticmethod
    def _drop(cursor: Cursor, number: int, workflow_ids: Collection[str]) -> None:
        if workflow_ids:
            cursor.execute(
                "DELETE FROM comfycontrol_assignment WHERE account = %s AND workflow = ANY(%s)",
                (number, [packed(workflow_id) for workflow_id in sorted(workflow_ids)]),
            )

    @staticmethod
    def _give(
        cursor: Cursor,
        want: WantedStreams,
        number: int,
        given: Collection[tuple[OpenWorkflow, str]],
    ) -> dict[str, LentStream]:
        if given:
            cursor.executemany(
                "INSERT INTO comfycontrol_assignment "
                "(account, workflow, service, replica, epoch, ranked_by) "
                "VALUES (%s, %s, %s, %s, %s, %s)",
                [
                    (
                        number,
                        packed(workflow.workflow_id),
                        want.service,
                        replica,
                        want.lease.epoch,
                        orjson.dumps(
                            {
                                "source": workflow.source,
                                "status": workflow.status,
                                "created_at": workflow.created_at,
                            }
                        ).decode(),
                    )
                    for workflow, replica in given
                ],
            )
        return {workflow.workflow_id: LentStream(replica, False) for workflow, replica in given}
