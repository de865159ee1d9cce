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

MOST_WAITING: Final = 10_000
"""The largest number of pushed ids of an account that the service has never reported."""

AGAIN_PART: Final = 0.9
"""Part (0 to 1) of the limit. After a workflow was turned away, there is room again only when no
more than this part is used. Then the list is read again as far back as when the limit was reached.
That costs many pages, so it must not happen each time a single workflow ends."""


@dataclass(frozen=True, slots=True)
class OpenLimit:
    """The effect of an account's limit of open workflows."""

    limit: int
    reached: bool = False
    """Whether a workflow was turned away, and there was no room again since."""
    beyond: int = 0
    """How often an open workflow was turned away since the start."""


class OpenLimits:
    """The limits of all accounts. Not safe to share between threads."""

    def __init__(self) -> None:
        self._limits: dict[str, OpenLimit] = {}

    def change(self, account: str, limit: int) -> None:
        """Set how many workflows of this account may be open; those open now are kept."""
        before = self._limits.get(account, OpenLimit(limit))
        self._limits[account] = OpenLimit(limit, before.reached, before.beyond)

    def has_room(self, account: str, open_now: int) -> bool:
        """Whether one more workflow may be open."""
        return open_now < self.of(account).limit

    def turn_away(self, account: str) -> bool:
        """Note that a workflow was turned away.

        Return whether it is the first since there was room.
        """
        before = self.of(account)
        self._limits[account] = OpenLimit(before.limit, reached=True, beyond=before.beyond + 1)
        return not before.reached

    def update(self, account: str, open_now: int) -> bool:
        """Check whether there is room again, if there was none until now."""
        before = self.of(account)
        most = min(before.limit - 1, int(AGAIN_PART * before.limit))
        if not before.reached or open_now > most:
            return False
        self._limits[account] = OpenLimit(before.limit, reached=False, beyond=before.beyond)
        return True

    def is_reached(self, account: str) -> bool:
        """Whether a workflow was turned away, and there was no room again since."""
        return self.of(account).reached

    def of(self, account: str) -> OpenLimit:
        """The effect of the account's limit so far."""
        return self._limits.get(account, OpenLimit(DEFAULT_MOST_OPEN))


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
