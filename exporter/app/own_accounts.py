"""What lending needs to know about this process; see `exporter.app.lending.Accounts`."""

from exporter.app import from_config
from exporter.app.account import FollowedAccount
from exporter.app.accounts import FollowedAccounts
from exporter.app.budgets import Budgets
from exporter.app.dependencies import Dependencies
from exporter.app.lending import BorrowedAccount
from exporter.config import Account
from exporter.config.models import MOST_STREAMS
from exporter.following.choosing import StreamCapacity, listing_costs
from exporter.interfaces.observations import Observation
from exporter.ledger.lending import Room


class OwnAccounts:
    """Implements `exporter.app.lending.Accounts`."""

    def __init__(self, accounts: FollowedAccounts, budgets: Budgets, around: Dependencies) -> None:
        self._accounts = accounts
        self._budgets = budgets
        self._around = around

    def held(self) -> dict[str, tuple[FollowedAccount, Account, StreamCapacity]]:
        """The accounts that this replica holds, with their present configuration."""
        followed, config = self._accounts.followed, self._accounts.held_config
        return {
            account.name: (
                followed[account.name],
                account,
                from_config.capacity(account, config),
            )
            for account in config.accounts
            if account.name in followed
        }

    def rooms(self) -> list[Room]:
        """How many streams this process can hold at each service address."""
        held = self.held()
        rooms = []
        for address, limit in from_config.limits(self._accounts.config).items():
            there = [one for one in held.values() if one[1].address == address]
            most = StreamCapacity(MOST_STREAMS, limit).full
            for _, account, _ in there:
                if account.listing is not None:
                    most -= listing_costs(account.listing.interval)
            if self._around.pool.most is not None:
                most = min(most, self._around.pool.most)
            own = sum(followed.needed_streams for followed, _, _ in there)
            rooms.append(Room(address, max(0, most), own))
        return rooms

    def terms(self, account: str) -> tuple[Account, StreamCapacity] | None:
        """The settings for streaming an account of another replica; None: not configured here."""
        for each in self._accounts.config.accounts:
            if each.name == account:
                limit = from_config.limit(each.rate_limit)
                return each, StreamCapacity(each.max_streams, limit)
        return None

    def borrow(self, config: Account, capacity: StreamCapacity) -> BorrowedAccount:
        """Create what streams an account of another replica.

        Raises:
            TokenUnreadableError: its token cannot be read.
        """
        self._around.instruments.open_accounts([config.name])
        return BorrowedAccount(config, self._budgets.of(config), capacity, self._around)

    def open_ids(self, account: str) -> frozenset[str]:
        """The ids of an account's workflows that are not settled."""
        return frozenset(w.workflow_id for w in self._around.ledger.open_workflows(account))

    def observe(self, observation: Observation) -> None:
        """Apply an observation from another replica's stream."""
        self._around.ledger.observe(observation)
