"""Reconciles one account in its own thread."""

from collections.abc import Callable
from math import inf

from exporter.budget.sliding_window import Priority
from exporter.following.access import AccountAccess
from exporter.following.list_pages import ListPages
from exporter.following.reconciler import Reconciler
from exporter.following.reconciling import ListTerms, Pace, Reconciliation
from exporter.following.rereading import Books, ComparedAccount
from exporter.interfaces.observations import Moment
from exporter.interfaces.telemetry import Telemetry
from exporter.retrying import Backoff, RetryPolicy
from exporter.worker import Worker


class ReconcilerThread(Worker):
    """Runs a reconciler with the spare requests of the budget.

    Args:
        access: the account's way to the service.
        books: the ledger, which knows what was counted.
        telemetry: is notified of pages.
        terms: how the account's list is read.
        pace: how often totals are compared, and how fast lists are read.
        list_read_at: returns when the list was last read completely, in Unix seconds; None: not
            since the start.
        now: returns the time of both clocks (wall and monotonic).
        backoff: the wait after failed requests.
    """

    def __init__(  # noqa: PLR0913 - the parts it joins
        self,
        access: AccountAccess,
        books: Books,
        telemetry: Telemetry,
        *,
        terms: ListTerms,
        pace: Pace,
        list_read_at: Callable[[], float | None],
        now: Callable[[], Moment],
        backoff: Backoff,
    ) -> None:
        super().__init__(
            f"reconciler {access.account}",
            self._one_step,
            task="comparing totals",
            retry=RetryPolicy((max(1.0, pace.page),)),
            account=access.account,
        )
        # With its own permits, page sizes and page numbers, so it cannot disturb the lister.
        lists = ListPages(
            access,
            telemetry,
            self._cancellation,
            take_top=lambda _: None,
            top_again=inf,
            now=now,
            backoff=backoff,
            turns=(Priority.RECONCILE, Priority.RECONCILE),
        )
        self._reconciler = Reconciler(
            ComparedAccount(
                name=access.account,
                lists=lists,
                books=books,
                terms=terms,
                pace=pace,
                list_read_at=list_read_at,
                now=now,
            )
        )

    def reading(self) -> Reconciliation:
        """The latest results. Any thread may call it."""
        return self._reconciler.reading()

    def _one_step(self) -> float:
        return self._reconciler.step()
