"""Looks at what is open, which end where the budget has no more room."""

from collections.abc import Callable, Iterable
from typing import Any

from exporter.budget.sliding_window import Priority
from exporter.comfycontrol import WorkflowSummary
from exporter.following.list_pages import ListPages
from exporter.following.open_checks import OpenChecks
from exporter.retrying import Backoff
from tests.running import at_once
from tests.unit.following.reconciled import Service, Silent, Straight
from tests.unit.ledger.ledgers import Clocks, uuid


class Looked:
    """A service, those who look at it, and which workflows they have seen."""

    def __init__(self) -> None:
        self.clocks = Clocks()
        self.service = Service(lambda: self.clocks.wall, per_page=10)
        self.seen: set[str] = set()
        access: Any = Straight(self.service)
        silent: Any = Silent()
        pages = ListPages(
            access,
            silent,
            take_top=lambda _: None,
            top_again=float("inf"),
            now=self.clocks,
            backoff=Backoff(lambda: 0.5),
            turns=(Priority.RECONCILE, Priority.RECONCILE),
        )
        self.open_checks = OpenChecks(
            pages,
            take=self._take,
            is_new=lambda row: row.id not in self.seen,
            now=self.clocks,
        )

    async def _take(self, rows: Iterable[WorkflowSummary]) -> None:
        self.seen.update(row.id for row in rows)

    def show(self, numbers: range, status: str) -> None:
        """The service shows these."""
        for number in numbers:
            self.service.rows[number] = WorkflowSummary(uuid(number), status, created_at=number)


def loads(*told: float) -> Callable[[], float]:
    """The load of the budget, as it is each time that somebody asks."""
    left = list(told)
    return lambda: left.pop(0) if len(left) > 1 else left[0]


def test_a_look_that_was_cut_short_goes_on_with_the_filter_at_which_it_was() -> None:
    looked = Looked()
    at_once(looked.open_checks.check())
    looked.show(range(1, 5), "queued")
    looked.show(range(11, 15), "running")
    for _ in range(4):
        looked.clocks.pass_(5.0)
        # There is room for one page; then others have taken it.
        at_once(looked.open_checks.check_if_due(loads(0.0, 0.9)))
    assert looked.seen == {uuid(number) for number in (*range(1, 5), *range(11, 15))}


def test_a_look_of_several_parts_counts_from_its_first_page() -> None:
    looked = Looked()
    at_once(looked.open_checks.check())
    looked.clocks.pass_(5.0)
    at_once(looked.open_checks.check_if_due(loads(0.0, 0.9)))
    looked.clocks.pass_(5.0)
    at_once(looked.open_checks.check_if_due(loads(0.0)))
    looked.show(range(1, 5), "running")
    # A little room: a page in 2.5 s, and the last look took four. Its first was ten seconds ago.
    looked.clocks.pass_(5.0)
    at_once(looked.open_checks.check_if_due(loads(0.6)))
    assert looked.seen == {uuid(number) for number in range(1, 5)}
