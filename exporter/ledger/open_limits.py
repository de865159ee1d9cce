"""How many workflows of an account may be open at once, and which are kept if there are more. Pure.

A service that invents workflows, or a program that pushes ids without end, must not use up the
memory of the process, nor affect other accounts.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from heapq import heappush, heappushpop
from itertools import count
from typing import Final

from exporter.ledger.workflow import Workflow

DEFAULT_MOST_OPEN: Final = 20_000
"""How many open workflows of an account are held in memory, unless configured otherwise."""


@dataclass(frozen=True, slots=True)
class OpenLimit:
    """The effect of an account's limit of open workflows."""

    limit: int
    reached: bool = False
    """Whether a workflow was turned away, and there was no room again since."""
    beyond: int = 0
    """How often an open workflow was turned away since the start."""


def waits_to_be_seen(workflow: Workflow | None) -> bool:
    """Whether a workflow was pushed and the service has never reported it."""
    return (
        workflow is not None
        and workflow.phase == "open"
        and workflow.source == "pushed"
        and workflow.status is None
        and workflow.unknown_status is None
        and workflow.last_seen is None
    )


class MostWanted:
    """Holds unsettled workflows, with no more open ones in each account than its limit.

    Ids that a user named are kept first, then those that were seen last. Workflows are added one by
    one, so they are never all in memory at once.

    Args:
        most_open: returns the limit of an account.
    """

    def __init__(self, most_open: Callable[[str], int]) -> None:
        self._most_open = most_open
        self._open: dict[str, list[tuple[tuple[bool, float], int, Workflow]]] = {}
        self._others: list[Workflow] = []
        self._number = count()
        self.open = 0
        """How many open workflows were added in all."""

    def add(self, workflow: Workflow) -> None:
        """Add a workflow; if there is no room, the one with the lowest priority is removed."""
        if workflow.phase != "open":
            self._others.append(workflow)
            return
        self.open += 1
        held = self._open.setdefault(workflow.account, [])
        entry = (_wanted(workflow), next(self._number), workflow)
        if len(held) < self._most_open(workflow.account):
            heappush(held, entry)
        else:
            heappushpop(held, entry)

    def __iter__(self) -> Iterator[Workflow]:
        """All workflows that are held."""
        for held in self._open.values():
            # In the order in which they were added.
            yield from (entry[2] for entry in sorted(held, key=lambda entry: entry[1]))
        yield from self._others


def _wanted(workflow: Workflow) -> tuple[bool, float]:
    seen = workflow.last_seen or workflow.first_seen
    return workflow.source != "listing", seen.wall
