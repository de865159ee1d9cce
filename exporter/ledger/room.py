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
"""Open workflows of an account that are held in memory, where nothing else is said."""

MOST_WAITING: Final = 10_000
"""Pushed ids of an account that nobody ever saw, at most."""

AGAIN_PART: Final = 0.9
"""Once a workflow was turned away, there is room again when no more of the limit (0 to 1) than
this is used. Then the list is read again as far back as when the limit was reached, which costs
many pages: not each time when a single workflow has ended."""


@dataclass(frozen=True, slots=True)
class Room:
    """What an account's limit of open workflows has done."""

    limit: int
    reached: bool = False
    """Something was turned away, and there was not room again since."""
    beyond: int = 0
    """How often an open workflow was turned away since the start."""


class Rooms:
    """The limits of all accounts. Not safe to share between threads."""

    def __init__(self) -> None:
        self._rooms: dict[str, Room] = {}

    def change(self, account: str, limit: int) -> None:
        """So many workflows of this account may be open from now on; those that are stay so."""
        before = self._rooms.get(account, Room(limit))
        self._rooms[account] = Room(limit, before.reached, before.beyond)

    def has_room(self, account: str, open_now: int) -> bool:
        """Whether one more may be open."""
        return open_now < self._room(account).limit

    def turn_away(self, account: str) -> bool:
        """There was no room for one; whether it is the first since there was room."""
        before = self._room(account)
        self._rooms[account] = Room(before.limit, reached=True, beyond=before.beyond + 1)
        return not before.reached

    def look(self, account: str, open_now: int) -> bool:
        """Whether there is room again, where there was none until now."""
        room = self._room(account)
        if not room.reached or open_now > min(room.limit - 1, int(AGAIN_PART * room.limit)):
            return False
        self._rooms[account] = Room(room.limit, reached=False, beyond=room.beyond)
        return True

    def is_reached(self, account: str) -> bool:
        """Whether something was turned away, and there was not room again since."""
        return self._room(account).reached

    def room(self, account: str) -> Room:
        """What the account's limit has done."""
        return self._room(account)

    def _room(self, account: str) -> Room:
        return self._rooms.get(account, Room(DEFAULT_MOST_OPEN))


def waits_to_be_seen(workflow: Workflow | None) -> bool:
    """Whether it was pushed, and the service has never reported it."""
    return (
        workflow is not None
        and workflow.phase == "open"
        and workflow.source == "pushed"
        and workflow.status is None
        and workflow.unknown_status is None
        and workflow.last_seen is None
    )


class MostWanted:
    """Holds unsettled workflows, of which no more are open in each account than its limit.

    Ids that somebody named are held first, then those that were seen last. Workflows come one
    after the other, so that all that there are need never be in memory at once.

    Args:
        most_open: the limit of an account.
    """

    def __init__(self, most_open: Callable[[str], int]) -> None:
        self._most_open = most_open
        self._open: dict[str, list[tuple[tuple[bool, float], int, Workflow]]] = {}
        self._others: list[Workflow] = []
        self._number = count()
        self.open = 0
        """How many open ones there were in all."""

    def add(self, workflow: Workflow) -> None:
        """Hold it, or the one that is wanted least gives way."""
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
        """All that are held."""
        for held in self._open.values():
            # As they came.
            yield from (entry[2] for entry in sorted(held, key=lambda entry: entry[1]))
        yield from self._others


def _wanted(workflow: Workflow) -> tuple[bool, float]:
    seen = workflow.last_seen or workflow.first_seen
    return workflow.source != "listing", seen.wall
