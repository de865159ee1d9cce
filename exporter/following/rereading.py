"""Passes rows of the list to the ledger again, to find what was missed at their first reading."""

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from exporter.comfycontrol import WorkflowPage, WorkflowSummary
from exporter.following.page_observations import observations_of
from exporter.following.reconciling import ListTerms, ListWalk, Pace, Pages, Sought
from exporter.following.service_clock import ServiceClock
from exporter.interfaces.observations import Baseline, Moment, Observation, Recovery, Status

log = logging.getLogger(__name__)

_T = TypeVar("_T")


class Books(Protocol):
    """The part of the ledger that the search for missing outcomes uses."""

    def finished(self, account: str) -> dict[Status, int]:
        """How many outcomes were ever counted, by documented final status."""

    def counting_cutoff(self, account: str) -> float | None:
        """The counting cutoff: when the account's list was first read.

        Unix seconds by the service's clock.
        """

    def baselines(self, account: str) -> dict[Status, Baseline]:
        """The baselines of the comparisons, by final status."""

    def set_baseline(self, account: str, status: Status, baseline: Baseline | None) -> None:
        """Use this baseline from now on; None: the next comparison sets a new one."""

    def find(self, workflow_id: str) -> Sequence[object]:
        """What is known of this id; empty if it is unknown."""

    def observe(self, observation: Observation) -> bool:
        """Apply a row of the list, as any source of observations does."""

    def recover(self, observation: Observation) -> Recovery:
        """Apply a row that was read again; return what became of it."""


class StatusLists(Protocol):
    """What the search needs of `ListPages`: the list, filtered by one status."""

    @property
    def clock(self) -> ServiceClock:
        """The service's clock."""

    def service_wall(self) -> float:
        """Unix seconds by that clock if it is known, otherwise by our own."""

    async def total(self, status: str) -> WorkflowPage:
        """Read one row of the list of one status, with the number of all its rows.

        Raises:
            StoppedError: the process is ending.
            ServiceError: there was no usable answer.
        """

    def filtered(self, status: str | None, *, is_repeated: bool) -> Pages:
        """The pages of the list of one status, newest first; None: the list of all workflows.

        Unless `is_repeated`, reading continues until the end of the list is certain.
        """


class InThread(Protocol):
    """Calls in another thread what may wait for a disk."""

    async def __call__(self, function: Callable[..., _T], /, *arguments: object) -> _T:
        """Return what the function returns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedAccount:
    """An account whose counts are compared with the service's, and all that this needs.

    Attributes:
        name: as configured.
        lists: the account's lists, read with the spare requests of the budget.
        books: the ledger, which knows what was counted.
        terms: how the account's list is read.
        pace: how often totals are compared, and how fast lists are read.
        list_read_at: returns when the lister's last complete pass began, Unix seconds; None: not
            since the start.
        now: returns the time of both clocks (wall and monotonic).
        in_thread: calls in another thread what may wait for a disk.
    """

    name: str
    lists: StatusLists
    books: Books
    terms: ListTerms
    pace: Pace
    list_read_at: Callable[[], float | None]
    now: Callable[[], Moment]
    in_thread: InThread


async def observe_recent(
    rows: Sequence[WorkflowSummary], account: ComparedAccount, since: float
) -> None:
    """Pass rows that came with a total to the ledger, if they are known and ended after `since`.

    A short run may end and start again between two passes of the lister: then this answer may be
    the only one with the row of its end. What ended before the lister's last pass, or is unknown,
    is not passed on: if the list never shows it, a comparison finds it, and it is called recovered.

    Args:
        rows: the rows of the answer.
        account: whose list it is.
        since: Unix seconds by the service's clock.
    """
    recent = Sought(since=since, oldest=since, youngest=since)
    if any(recent.is_young(row) for row in rows):
        await account.in_thread(_observe_recent, rows, account, recent)


def _observe_recent(
    rows: Sequence[WorkflowSummary], account: ComparedAccount, recent: Sought
) -> None:
    told = observations_of(account.name, rows, account.lists.clock, account.now())
    for workflow, seen in zip(rows, told, strict=True):
        if recent.is_young(workflow) and account.books.find(workflow.id):
            account.books.observe(seen)


async def reread(
    walk: ListWalk,
    rows: Sequence[WorkflowSummary],
    account: ComparedAccount,
    sought: Callable[[WorkflowSummary], Sought],
    however_young: Collection[str] = (),
) -> list[tuple[str, Recovery]]:
    """Pass the rows of a page to the ledger, unless they are too old to count.

    What ended a moment ago is found in the normal way as well, so it is not called recovered. But
    it may be deleted before that, so it is not ignored either.

    Args:
        walk: the reading that the page belongs to; rows that were skipped are added to it.
        rows: the rows of the page.
        account: whose list it is.
        sought: which rows may show a missed outcome.
        however_young: ids of rows that may show one although they seem too young.

    Returns:
        What became of each row that may show one, by id.
    """
    found = await account.in_thread(_reread, walk, rows, account, sought, however_young)
    recovered = sum(recovery == "recovered" for _, recovery in found)
    if recovered:
        log.info(
            "missed outcomes were found and counted",
            extra={"account": account.name, "workflows": recovered},
        )
    return found


def _reread(
    walk: ListWalk,
    rows: Sequence[WorkflowSummary],
    account: ComparedAccount,
    sought: Callable[[WorkflowSummary], Sought],
    however_young: Collection[str],
) -> list[tuple[str, Recovery]]:
    found: list[tuple[str, Recovery]] = []
    told = observations_of(account.name, rows, account.lists.clock, account.now())
    for workflow, seen in zip(rows, told, strict=True):
        terms = sought(workflow)
        if terms.is_young(workflow) and workflow.id not in however_young:
            walk.passed_over.add(workflow.id)
            account.books.observe(seen)
        elif not terms.is_old(workflow):
            recovery = account.books.recover(seen)
            walk.unreadable += recovery == "untold"
            found.append((workflow.id, recovery))
    return found
