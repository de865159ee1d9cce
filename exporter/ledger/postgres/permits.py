"""The request window that replicas at one address share, timed by the database.

A request keeps its slot from before it is sent until one full period after its answer began, as in
`exporter.budget.sliding_window`. The begin of an answer is reported with the next request, or soon
after: late, but never early. Requests of a replica that died keep their slots for as long as the
service could need to count them. A database that was unreachable may have lost the latest slots:
each replica remembers its own, and takes them again.
"""

import logging
import threading
import time
from collections.abc import Callable
from math import ceil, inf
from typing import Final

from exporter.budget.shared_window import NotYet, SharedSlot, SharedWindowUnavailableError
from exporter.budget.sliding_window import UNDER_WAY_SECONDS, Limit
from exporter.ledger.postgres.link import Cursor, Link
from exporter.ledger.store import StoreError
from exporter.worker import StoppedError, Worker

log = logging.getLogger(__name__)

LONGEST_NOT_YET: Final = 1.0
"""Longest wait in seconds before asking again: a slot may become free unexpectedly."""

SHORTEST_NOT_YET: Final = 0.02

TOLD_WITHIN: Final = 0.25
"""Seconds within which the begin of an answer is reported, if no request follows."""

_ALLOWED: Final = (
    "least(%(share)s, share + greatest(0, extract(epoch FROM clock_timestamp() - closed_until) "
    "/ %(per)s))"
)
"""The number of requests allowed in a period, as SQL: a refusal halves it, and each period without
a refusal adds one."""

_CLOSE: Final = (
    "UPDATE comfycontrol_budget SET "  # noqa: S608 - constants
    f"share = CASE WHEN closed_until < clock_timestamp() THEN greatest(1, {_ALLOWED} / 2) "
    "ELSE share END, closed_until = greatest(closed_until, "
    "clock_timestamp() + make_interval(secs => %(seconds)s)) WHERE address = %(address)s"
)


class PostgresPermits:
    """The slots of one service address, for requests from one egress address.

    Args:
        link: the connection to the database, used only by this object.
        address: the service address and the egress address, combined to one name.
        limit: the request limit of the service address.
        rest: waits for so many seconds; tests do not really wait.
    """

    def __init__(
        self,
        link: Link,
        address: str,
        limit: Limit,
        rest: Callable[[float], object] = time.sleep,
    ) -> None:
        self._link = link
        self._address = address
        self._limit = (limit.requests, limit.share, limit.per, limit.cooldown)
        self._rest = rest
        # Protects the connection: the budget's thread takes permits, and another thread reports
        # answers.
        self._turn = threading.Lock()
        self._lock = threading.Lock()
        self._answered: list[int] = []
        self._unused: list[int] = []
        self._refused: list[float] = []
        # The slots of this replica, by number: the monotonic time until which each is held,
        # infinite while its request is running.
        self._own: dict[int, float] = {}
        self._is_failing = False
        self._is_closed = False
        self._has_news = threading.Event()
        self._worker = Worker("permits", self._tell_all, task="reporting answers", address=address)
        self._worker.start()

    def take(self) -> SharedSlot | NotYet:
        """Take a slot for a request that is about to be sent."""
        with self._turn:
            return self._ask(take=True)

    def answered(self, permit: SharedSlot) -> None:
        """Report that the answer to a request has begun, or that the request failed."""
        with self._lock:
            self._answered.append(permit.number)
            self._own[permit.number] = time.monotonic() + self._limit[2]
        self._has_news.set()

    def unused(self, permit: SharedSlot) -> None:
        """Give back the slot of a request that was never sent."""
        with self._lock:
            self._unused.append(permit.number)
            self._own.pop(permit.number, None)
        self._has_news.set()

    def refused(self, retry_after: float | None) -> None:
        """Report that the service answered 429."""
        with self._lock:
            self._refused.append(self._limit[3] if retry_after is None else retry_after)
        self._has_news.set()

    def change(self, requests: int, share: int, per: float, cooldown: float) -> None:
        """Use another limit from now on."""
        with self._lock:
            self._limit = (requests, share, per, cooldown)

    def close(self) -> None:
        """Close the connection; nothing can be taken any more."""
        self._is_closed = True
        self._has_news.set()

    def _tell_all(self) -> float:
        self._has_news.wait()
        self._rest(TOLD_WITHIN)
        self._has_news.clear()
        if self._is_closed:
            self._link.close()
            raise StoppedError
        try:
            with self._turn:
                self._ask(take=False)
        except SharedWindowUnavailableError:
            self._has_news.set()
        return 0.0

    # One call ---------------------------------------------------------------------------------

    def _ask(self, *, take: bool) -> SharedSlot | NotYet:
        with self._lock:
            answered, self._answered = self._answered, []
            unused, self._unused = self._unused, []
            refused, self._refused = self._refused, []
            requests, share, per, _ = self._limit
            monotonic = time.monotonic()
            self._own = {n: until for n, until in self._own.items() if until > monotonic}
        if not (take or answered or unused or refused):
            return NotYet(LONGEST_NOT_YET)
        try:
            with self._link.transaction() as cursor:
                self._hold_address(cursor, requests, share, per)
                if self._is_failing:
                    self._hold_again(cursor, per)
                self._note(cursor, answered, unused, refused, share, per)
                permit = self._take(cursor, share, per) if take else NotYet(LONGEST_NOT_YET)
        except StoreError as error:
            with self._lock:
                self._answered += answered
                self._unused += unused
                self._refused += refused
            self._note_failure(str(error))
            raise SharedWindowUnavailableError(str(error)) from None
        if self._is_failing:
            self._is_failing = False
            log.info("requests resumed", extra={"address": self._address})
        if isinstance(permit, SharedSlot):
            self._own[permit.number] = inf
        return permit

    def _note_failure(self, reason: str) -> None:
        if not self._is_failing:
            self._is_failing = True
            log.error(
                "cannot reach the database: no requests are sent until it is back",
                extra={"address": self._address, "reason": reason},
            )

    def _hold_address(self, cursor: Cursor, requests: int, share: int, per: float) -> None:
        """Lock the slots of the address until the end of the transaction."""
        lock = "SELECT FROM comfycontrol_budget WHERE address = %s FOR UPDATE"
        cursor.execute(lock, (self._address,))
        if cursor.fetchone() is not None:
            return
        cursor.execute(
            "INSERT INTO comfycontrol_budget (address, share) VALUES (%s, %s) "
            "ON CONFLICT DO NOTHING RETURNING address",
            (self._address, share),
        )
        if cursor.fetchone() is not None:
            # Earlier requests are not known. An earlier exporter may have used its whole share.
            before = max(0, 2 * share - requests)
            cursor.execute(
                "INSERT INTO comfycontrol_permit (address, per, taken, answered) "
                "SELECT %s, %s, clock_timestamp(), clock_timestamp() FROM generate_series(1, %s)",
                (self._address, per, before),
            )
        cursor.execute(lock, (self._address,))

    def _hold_again(self, cursor: Cursor, per: float) -> None:
        """Take again the slots that the database has lost while it was unreachable."""
        monotonic = time.monotonic()
        with self._lock:
            own = [number for number, until in self._own.items() if until > monotonic]
        cursor.execute(
            "INSERT INTO comfycontrol_permit (address, per, taken, answered) "
            "SELECT %s, %s, clock_timestamp(), clock_timestamp() FROM unnest(%s::bigint[]) own "
            "WHERE NOT EXISTS (SELECT FROM comfycontrol_permit WHERE id = own)",
            (self._address, per, own),
        )

    def _note(  # noqa: PLR0913, PLR0917 - all that there is to tell
        self,
        cursor: Cursor,
        answered: list[int],
        unused: list[int],
        refused: list[float],
        share: int,
        per: float,
    ) -> None:
        if answered:
            cursor.execute(
                "UPDATE comfycontrol_permit SET answered = clock_timestamp() WHERE id = ANY(%s)",
                (answered,),
            )
        if unused:
            cursor.execute("DELETE FROM comfycontrol_permit WHERE id = ANY(%s)", (unused,))
        for seconds in refused:
            # Of several refused requests that were running together, only the first says anything
            # new about our share.
            cursor.execute(
                _CLOSE,
                {"seconds": seconds, "address": self._address, "share": share, "per": per},
            )
        cursor.execute(
            "DELETE FROM comfycontrol_permit WHERE address = %s AND (answered < clock_timestamp() "
            "- make_interval(secs => greatest(per, %s)) OR taken < clock_timestamp() "
            "- make_interval(secs => greatest(per, %s) + %s))",
            (self._address, per, per, UNDER_WAY_SECONDS),
        )

    def _take(self, cursor: Cursor, share: int, per: float) -> SharedSlot | NotYet:
        cursor.execute(
            "SELECT extract(epoch FROM closed_until - clock_timestamp())::float8, "  # noqa: S608
            f"{_ALLOWED}, (SELECT count(*) FROM comfycontrol_permit p "
            "WHERE p.address = b.address), (SELECT extract(epoch FROM min(answered) "
            "+ make_interval(secs => %(per)s) - clock_timestamp())::float8 "
            "FROM comfycontrol_permit p WHERE p.address = b.address) "
            "FROM comfycontrol_budget b WHERE address = %(address)s",
            {"address": self._address, "share": share, "per": per},
        )
        closed, allowed, held, frees = cursor.fetchone() or (0.0, 0, 0, None)
        if closed > 0:
            return _not_yet(closed)
        if held >= int(allowed):
            return _not_yet(LONGEST_NOT_YET if frees is None else frees)
        cursor.execute(
            "INSERT INTO comfycontrol_permit (address, per, taken) "
            "VALUES (%s, %s, clock_timestamp()) RETURNING id",
            (self._address, per),
        )
        return SharedSlot(int((cursor.fetchone() or (0,))[0]))


def _not_yet(seconds: float) -> NotYet:
    # Rounded up to a millisecond, and never so short that all waiting replicas ask at once.
    return NotYet(min(max(SHORTEST_NOT_YET, ceil(seconds * 1000) / 1000), LONGEST_NOT_YET))
