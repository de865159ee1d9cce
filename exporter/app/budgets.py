"""The request budgets of all service addresses."""

from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import quote

from exporter.app import from_config
from exporter.budget.budget import BudgetReading, RequestBudget
from exporter.budget.journal import RequestJournal
from exporter.budget.sliding_window import Limit
from exporter.config import Account
from exporter.interfaces.observations import Moment
from exporter.ledger.shared import Shared


class Budgets:
    """One budget for each address that was ever used.

    If a reload brings an address back, the service still counts the earlier requests.

    Args:
        now: returns the time of both clocks (wall and monotonic).
        storage: the folder of the journals; None: there are none.
        shared: the database with which replicas share their windows; None: there is none.
        fresh: see `App`.
    """

    def __init__(
        self,
        now: Callable[[], Moment],
        storage: Path | None,
        shared: Shared | None,
        *,
        fresh: bool,
    ) -> None:
        self._now = now
        self._storage = storage
        self._shared = shared
        self._fresh = fresh
        self._budgets: dict[str, RequestBudget] = {}

    def of(self, account: Account) -> RequestBudget:
        """The budget of an account's address; a new one if it was never used."""
        budget = self._budgets.get(account.address)
        if budget is None:
            limit, shared = from_config.limit(account.rate_limit), self._shared
            budget = self._budgets[account.address] = RequestBudget(
                account.address,
                limit,
                monotonic=lambda: self._now().monotonic,
                wall=lambda: self._now().wall,
                file=self._journal(account.address),
                # The database has recorded earlier requests.
                fresh=self._fresh or shared is not None,
                shared_window=None if shared is None else shared.permits(account.address, limit),
            )
        return budget

    def change(self, limits: Mapping[str, Limit]) -> None:
        """Use these limits from now on."""
        for address, limit in limits.items():
            if address in self._budgets:
                self._budgets[address].change(limit)

    def readings(self) -> dict[str, BudgetReading]:
        """The state of each budget now, by address."""
        return {address: budget.reading() for address, budget in list(self._budgets.items())}

    def close(self) -> None:
        """Let nobody wait any more, and close the journals."""
        for budget in list(self._budgets.values()):
            budget.close()

    def _journal(self, address: str) -> RequestJournal | None:
        if self._storage is None or self._shared is not None:
            return None
        name = f"requests-{quote(address, safe='')}.window"
        return RequestJournal.on_this_machine(self._storage / name)
