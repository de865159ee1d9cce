"""Lends workflows that get no stream here to replicas on other addresses, and borrows theirs.

Only the holder of an account counts: observations of a borrowed stream enter its ledger like those
of its own streams.
"""

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from exporter.app.account import FollowedAccount
from exporter.app.dependencies import Dependencies, way_to_service
from exporter.app.handing_back import read, written
from exporter.budget.budget import RequestBudget
from exporter.config import Account, TokenUnreadableError
from exporter.following.borrowing import BorrowedWorkflows
from exporter.following.choosing import StreamCapacity
from exporter.following.supervisor import Supervisor
from exporter.interfaces.observations import Moment, Observation
from exporter.ledger.lending import Borrowed, Contribution, Exchange, Received, Room, WantedStreams
from exporter.ledger.shared import Lease
from exporter.ledger.store import StoreError
from exporter.retrying import RetryPolicy
from exporter.worker import Worker

log = logging.getLogger(__name__)

ROUND_SECONDS: Final = 0.25
"""Seconds between two exchanges of a replica that lends or borrows."""

IDLE_SECONDS: Final = 1.0
"""Seconds between two exchanges of other replicas."""

MOST_LENT_AT_ONCE: Final = 500
"""How many workflows an account offers in one exchange at most."""

BORROWED_SECONDS: Final = 9.0
"""Seconds for which borrowed workflows are streamed without contact to the database. After this
time they are lent to others."""


class BorrowedAccount:
    """Streams borrowed workflows of one account that another replica holds.

    Raises:
        TokenUnreadableError: its token cannot be read.
    """

    def __init__(
        self,
        config: Account,
        budget: RequestBudget,
        capacity: StreamCapacity,
        around: Dependencies,
    ) -> None:
        self.config = config
        self.workflows: Final = BorrowedWorkflows(config.name, around.now)
        self._around = around
        self._credentials, self._client, self._access = way_to_service(config, budget, around)
        self._supervisor = Supervisor(
            self._access,
            self.workflows,
            around.instruments,
            capacity=capacity,
            share=budget.allowed,
            now=around.now,
            random=around.jitter,
            backoff=around.backoff,
            loop=around.loop,
            pool=around.pool,
            name=f"{config.name}, lent",
        )

    def start(self) -> None:
        """Begin to stream."""
        self._supervisor.start()

    def stop(self) -> None:
        """End soon, from any thread, without waiting for it."""
        self._supervisor.stop()

    def join(self, timeout: float) -> bool:
        """Wait for the end, for that many seconds; return whether everything has ended."""
        ended = self._supervisor.join(timeout)
        if ended:
            self._access.close()
            self._client.close()
        return ended

    def streaming(self) -> set[str]:
        """Ids whose stream is open now."""
        return self._supervisor.streaming()

    def lend(self, workflows: Mapping[str, Borrowed]) -> None:
        """Set which workflows are streamed here."""
        epoch = max((borrowed.epoch for borrowed in workflows.values()), default=0)
        before = {w.workflow_id for w in self.workflows.open_workflows(self.config.name)}
        self.workflows.lend(workflows, epoch)
        if workflows.keys() != before:
            self._supervisor.check_soon()

    def can_become(self, config: Account) -> bool:
        """Whether this change can be applied without starting over."""
        return config.base_url == self.config.base_url

    def change(self, config: Account, capacity: StreamCapacity) -> None:
        """Apply a changed configuration; streams of ids that stay are not interrupted.

        Raises:
            TokenUnreadableError: its token cannot be read. Then nothing was changed.
        """
        if config.token != self.config.token:
            token = config.token.read()
            if self._credentials.change(config.token, token):
                self._around.loop.call(self._access.token_changed)
        self.config = config
        self._supervisor.change(capacity)

    def check_token(self) -> None:
        """Read the token again if its file has changed."""
        if self._credentials.reload_if_changed():
            self._around.loop.call(self._access.token_changed)


class Accounts(Protocol):
    """What lending needs to know about the process. No method blocks."""

    def held(self) -> Mapping[str, tuple[FollowedAccount, Account, StreamCapacity]]:
        """The accounts that this replica holds."""

    def rooms(self) -> Collection[Room]:
        """How many streams this process can hold at each service address."""

    def terms(self, account: str) -> tuple[Account, StreamCapacity] | None:
        """The settings for streaming an account of another replica; None: not configured here."""

    def borrow(self, config: Account, capacity: StreamCapacity) -> BorrowedAccount:
        """Create what streams an account of another replica. Raises TokenUnreadableError."""

    def open_ids(self, account: str) -> frozenset[str]:
        """The ids of an account's workflows that are not settled."""

    def observe(self, observation: Observation) -> object:
        """Apply an observation, as if it came from a stream of our own."""


@dataclass(slots=True)
class _Out:
    """Observations that are being handed back to the holder of an account."""

    account: str
    untold: list[Observation]


class Lending:
    """Lends and borrows for one replica, in a separate thread.

    Args:
        exchange: connects to the other replicas.
        accounts: the accounts of this process.
        leases: returns the leases of the accounts that this replica holds.
        now: returns the time of both clocks (wall and monotonic).
    """

    def __init__(
        self,
        exchange: Exchange,
        accounts: Accounts,
        leases: Callable[[], Mapping[str, Lease]],
        now: Callable[[], Moment],
    ) -> None:
        self._exchange = exchange
        self._accounts = accounts
        self._leases = leases
        self._now = now
        self._borrowed: dict[str, BorrowedAccount] = {}
        self._ending: list[BorrowedAccount] = []
        self._exchanged_at = now().monotonic
        self._is_failing = False
        self._worker = Worker(
            "lending", self._one_round, task="lending streams", retry=RetryPolicy((IDLE_SECONDS,))
        )

    # Life -------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the thread."""
        self._worker.start()

    def stop(self, within: float) -> bool:
        """End, and return borrowed workflows, within this many seconds; return whether it did."""
        self._worker.stop()
        if not self._worker.join(within):
            return False
        self._end(self._borrowed)
        if self._worker.is_started:
            self._exchange.leave()
        return self._join(within)

    def streams(self) -> dict[str, int]:
        """How many streams of other replicas' accounts are open here, by account."""
        return {name: len(each.streaming()) for name, each in list(self._borrowed.items())}

    def check_tokens(self) -> None:
        """Read tokens again if their files have changed."""
        for borrowed in list(self._borrowed.values()):
            borrowed.check_token()

    def _one_round(self) -> float:
        return ROUND_SECONDS if self.run_round() else IDLE_SECONDS

    # One round --------------------------------------------------------------------------------

    def run_round(self) -> bool:
        """Exchange once; return whether anything is lent or borrowed."""
        began = self._now()
        held = self._accounts.held()
        self._end({name for name in self._borrowed if name in held})
        self._apply_reload()
        self._join(0.0)
        outs = [
            _Out(name, untold)
            for name, borrowed in self._borrowed.items()
            if (untold := borrowed.workflows.take_untold())
        ]
        try:
            received = self._exchange.exchange(self._mine(held, outs, began))
        except StoreError as error:
            self._note_failure(error, outs)
            return bool(self._borrowed)
        self._is_failing, self._exchanged_at = False, began.monotonic
        now = self._now()
        for observations in received.handed_back:
            for seen in read(observations.account, observations.said, observations.age, now):
                self._accounts.observe(seen)
        for name, (account, _, _) in held.items():
            before, account.lent = account.lent, received.lent.get(name, account.lent)
            if account.lent.keys() != before.keys():
                account.check_streams()
        self._borrow(received, held)
        return bool(self._borrowed) or any(received.lent.values())

    def _apply_reload(self) -> None:
        """Apply a reload, which may have changed or removed borrowed accounts."""
        for name, borrowed in list(self._borrowed.items()):
            terms = self._accounts.terms(name)
            if terms is None or not borrowed.can_become(terms[0]):
                self._end([name])
            elif terms[0] != borrowed.config:
                try:
                    borrowed.change(*terms)
                except TokenUnreadableError as error:
                    # Tried again in the next round. Until then the old settings stay.
                    self._note_unreadable(name, error)

    def _mine(
        self,
        held: Mapping[str, tuple[FollowedAccount, Account, StreamCapacity]],
        outs: Collection[_Out],
        now: Moment,
    ) -> Contribution:
        leases = self._leases()
        wanted = [
            WantedStreams(
                lease=leases[name],
                service=config.address,
                most=config.max_streams,
                at_once=capacity.limit.share,
                workflows=account.without_stream[:MOST_LENT_AT_ONCE],
                is_open=self._accounts.open_ids(name).__contains__,
            )
            for name, (account, config, capacity) in held.items()
            if name in leases
        ]
        return Contribution(
            rooms=tuple(self._accounts.rooms()),
            wanted=wanted,
            handed_back=[(out.account, written(out.untold, now)) for out in outs],
            open=frozenset(
                (name, workflow_id)
                for name, borrowed in self._borrowed.items()
                for workflow_id in borrowed.streaming()
            ),
        )

    def _borrow(
        self,
        received: Received,
        held: Mapping[str, tuple[FollowedAccount, Account, StreamCapacity]],
    ) -> None:
        self._end({name for name in self._borrowed if name not in received.borrowed})
        for name, workflows in received.borrowed.items():
            if name in held or self._worker.is_stopping:
                continue
            borrowed = self._borrowed.get(name) or self._begin(name)
            if borrowed is not None:
                borrowed.lend(workflows)

    def _begin(self, name: str) -> BorrowedAccount | None:
        terms = self._accounts.terms(name)
        if terms is None:
            return None
        try:
            borrowed = self._borrowed[name] = self._accounts.borrow(*terms)
        except TokenUnreadableError as error:
            self._note_unreadable(name, error)
            return None
        borrowed.start()
        log.info("streaming for another replica", extra={"account": name})
        return borrowed

    @staticmethod
    def _note_unreadable(name: str, error: TokenUnreadableError) -> None:
        log.error(
            "streams of an account cannot be held for another replica",
            extra={"account": name, "reason": str(error)},
        )

    def _note_failure(self, error: StoreError, outs: Collection[_Out]) -> None:
        for out in outs:
            self._borrowed[out.account].workflows.put_back(out.untold)
        if not self._is_failing:
            self._is_failing = True
            log.warning("streams cannot be lent or borrowed now", extra={"reason": str(error)})
        if self._now().monotonic - self._exchanged_at >= BORROWED_SECONDS:
            self._end(set(self._borrowed))

    def _end(self, accounts: Collection[str]) -> None:
        for name in list(accounts):
            borrowed = self._borrowed.pop(name, None)
            if borrowed is not None:
                borrowed.stop()
                self._ending.append(borrowed)

    def _join(self, within: float) -> bool:
        self._ending = [borrowed for borrowed in self._ending if not borrowed.join(within)]
        return not self._ending
