"""What the ledger shows to its readers: values that later changes do not affect."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from exporter.ledger.open_limits import OpenLimit
from exporter.ledger.slicing import SliceRule
from exporter.ledger.totals import Shown, Totals
from exporter.ledger.workflow import Workflow


@dataclass(frozen=True, slots=True)
class LedgerSnapshot:
    """Everything at one moment, without anything that a crash could undo."""

    accounts: tuple[str, ...]
    open_workflows: tuple[Workflow, ...]
    settled: int
    totals: Totals
    announced: int = 0
    """New series are numbered as they appear. Those up to this number show their value; later ones
    show 0."""
    errors: int = 0
    """How often the store failed."""
    open_limits: Mapping[str, OpenLimit] = field(default_factory=dict)
    """By account: how many workflows may be open, and how many were turned away."""
    slices: tuple[SliceRule, ...] = ()
    """The configured slices: all totals are divided by these."""

    def shown(self, committed: Shown | None, errors: int) -> "LedgerSnapshot":
        """The part of it that may be shown, after its changes were given to the store.

        Args:
            committed: the stored data; None: everything may be shown.
            errors: how often the store failed.
        """
        accounts, totals = self.accounts, self.totals
        if committed is not None:
            accounts = tuple(account for account in accounts if account in committed.accounts)
            totals = totals.copied(accounts)
            totals.show_committed(committed)
        return replace(
            self,
            accounts=accounts,
            open_workflows=tuple(w for w in self.open_workflows if w.account in accounts),
            totals=totals,
            errors=errors,
        )


@dataclass(frozen=True, slots=True)
class Glance:
    """What is open at one moment; a crash may undo the newest changes."""

    accounts: tuple[str, ...]
    open_workflows: tuple[Workflow, ...]
    dropped: Mapping[str, int]
    """By account: how many workflows were dropped since the ledger was created."""
    errors: int
    """How often the store failed."""
    is_failing: bool
    """Whether the store is failing now."""
    full: Mapping[str, int]
    """The limit of open workflows, for each account that turned workflows away and still has no
    room."""
