"""The accounts that the ledger follows, and the rules for counting their workflows."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import inf

from exporter.interfaces.observations import Observation
from exporter.ledger.counting import CountingRules
from exporter.ledger.memory import Memory
from exporter.ledger.open_limits import DEFAULT_MOST_OPEN


@dataclass(frozen=True, slots=True)
class AccountTerms:
    """The settings of an account that matter for counting."""

    lookback: float
    """How far back its list is read, in seconds."""
    listed: bool
    most_open: int = DEFAULT_MOST_OPEN
    """How many of its workflows may be open at once."""


class Accounts:
    """Which accounts are followed, since when, and by which terms.

    Changed and read under the ledger's lock, except where values are replaced as a whole.

    Args:
        memory: has what an earlier process knew of them.
    """

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self.names: tuple[str, ...] = ()
        """Those that are followed now."""
        # For every account that was ever followed: the last observation of a removed account may
        # arrive after its removal, and is still valid.
        self._terms: dict[str, AccountTerms] = {}
        self._followed_since: dict[str, float] = {}

    def follow(self, accounts: Mapping[str, AccountTerms], monotonic: float) -> None:
        """Follow these accounts from now on, with these terms, and no others."""
        self._terms = {**self._terms, **accounts}
        for account in accounts:
            if account not in self.names:
                self._followed_since[account] = monotonic
                self._memory.open_account(account, monotonic)
            self._memory.totals.open_overflows(account)
        self.names = tuple(accounts)

    def terms(self) -> dict[str, AccountTerms]:
        """The terms of the accounts that are followed now."""
        return {account: self._terms[account] for account in self.names}

    def is_listed(self, account: str) -> bool:
        """Whether the account's list is read."""
        return self._terms[account].listed

    def rules(self, observation: Observation) -> CountingRules:
        """The rules for counting, as they are at this moment."""
        account = observation.account
        marks, listed = self._memory.marks(account), self.is_listed(account)
        cutoff = marks.cutoff
        if cutoff is None and listed:
            # The first reading of its list will set the counting cutoff, by the service's clock. A
            # workflow that a stream shows as ended before that was never seen open.
            cutoff = inf
        elif cutoff is None:
            # When we began to follow it, by the service's clock.
            cutoff = observation.said_at - (
                observation.at.monotonic - self._followed_since[account]
            )
            self.set_cutoff(account, cutoff)
        return CountingRules(
            cutoff=cutoff,
            listed=listed,
            pruned_created=marks.pruned_created,
            pruned_ended=marks.pruned_ended,
        )

    def set_cutoff(self, account: str, wall: float) -> bool:
        """Set the counting cutoff, unless it is set; return whether it was not."""
        marks = self._memory.marks(account)
        if marks.cutoff is not None:
            return False
        self._memory.mark(account, replace(marks, cutoff=wall))
        return True
