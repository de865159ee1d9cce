"""Passes rows of the list to the ledger again, to find what was missed at their first reading."""

import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Protocol

from exporter.comfycontrol import WorkflowPage, WorkflowSummary
from exporter.following.page_observations import observations_of
from exporter.following.reconciling import ListWalk, Sought
from exporter.following.service_clock import ServiceClock
from exporter.interfaces.observations import Baseline, Moment, Observation, Recovery, Status

log = logging.getLogger(__name__)


class Books(Protocol):
    """The ledger, as those see it who look for what is missing in it."""

    def finished(self, account: str) -> dict[Status, int]:
        """How many outcomes were ever counted, by the documented final statuses."""

    def line(self, account: str) -> float | None:
        """When the account was first looked at, by the service's clock; Unix seconds."""

    def baselines(self, account: str) -> dict[Status, Baseline]:
        """What comparisons stand on, by final status."""

    def keep_baseline(self, account: str, status: Status, baseline: Baseline | None) -> None:
        """Compare with this from now on; None: with whatever the next comparison draws."""

    def recover(self, observation: Observation) -> Recovery:
        """Take a row that was looked at again; what became of it."""


class StatusLists(Protocol):
    """The lists of single statuses, as `ListPages` has them."""

    @property
    def clock(self) -> ServiceClock:
        """The service's."""

    def service_wall(self) -> float:
        """Unix seconds by that clock if it is known, otherwise by our own."""

    def total(self, status: str) -> WorkflowPage:
        """One row of the list of one status, and how many it has.

        Raises:
            Stopped: asked to end.
            ServiceError: no answer.
        """

    def filtered(self, status: str | None, *, is_repeated: bool) -> Iterator[WorkflowPage]:
        """The pages of the list of one status, from its newest on. They may show rows again.

        None: the list of all.

        Unless it is repeated over and over, it goes on until the end is certain.

        Raises:
            Stopped: asked to end.
            ServiceError: there is no going on.
        """


def reread(  # noqa: PLR0913 - all but two by name
    walk: ListWalk,
    rows: Sequence[WorkflowSummary],
    *,
    account: str,
    books: Books,
    clock: ServiceClock,
    now: Callable[[], Moment],
    sought: Callable[[WorkflowSummary], Sought],
    however_young: Collection[str] = (),
) -> list[tuple[str, Recovery]]:
    """Have the ledger look at the rows of a page that can tell of something missed.

    Args:
        walk: the reading that the page belongs to; rows that were skipped are added to it.
        rows: of the page.
        account: its configured name.
        books: takes the rows.
        clock: the service's.
        now: both clocks.
        sought: what a row must be like.
        however_young: ids of rows that are looked at though they seem too young.

    Returns:
        What became of each, by id.
    """
    found: list[tuple[str, Recovery]] = []
    for workflow, seen in zip(rows, observations_of(account, rows, clock, now()), strict=True):
        terms = sought(workflow)
        if terms.is_young(workflow) and workflow.id not in however_young:
            walk.passed_over.add(workflow.id)
        elif not terms.is_old(workflow):
            recovery = books.recover(seen)
            walk.unreadable += recovery == "untold"
            found.append((workflow.id, recovery))
    recovered = sum(recovery == "recovered" for _, recovery in found)
    if recovered:
        log.info(
            "missed outcomes were found and counted",
            extra={"account": account, "workflows": recovered},
        )
    return found
