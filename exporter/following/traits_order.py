"""Which workflow's name and tags to ask for next, and when. Pure.

The list shows both within seconds, if it shows a workflow at all: an account that is listed
waits for that. Times are seconds of one monotonic clock.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from exporter.retrying import TRAITS

LISTED_SECONDS: Final = 10.0
"""Seconds for which the list may show name and tags before they are asked for."""


@dataclass(slots=True)
class _Wanted:
    not_before: float
    tries: int = 0


class TraitsOrder:
    """Remembers what was asked for, and decides which workflow is next.

    Args:
        listed: whether the account's list is read.
    """

    def __init__(self, *, listed: bool) -> None:
        self._first_wait = LISTED_SECONDS if listed else 0.0
        self._wanted: dict[str, _Wanted] = {}

    def note(self, pending: Iterable[str], now: float) -> None:
        """Take all ids whose traits are needed, the most urgent first; others are removed."""
        before = self._wanted
        self._wanted = {
            workflow_id: before.get(workflow_id) or _Wanted(now + self._first_wait)
            for workflow_id in pending
        }

    def next_due(self, now: float) -> str | None:
        """The id to ask for now; None: no id is due."""
        due = (one for one, wanted in self._wanted.items() if wanted.not_before <= now)
        return next(due, None)

    def asked(self, workflow_id: str, now: float, *, at_least: float | None = None) -> None:
        """Note that a try has ended.

        `at_least` is how many seconds the service asked us to wait.
        """
        wanted = self._wanted.get(workflow_id)
        if wanted is not None:
            wanted.tries += 1
            wanted.not_before = now + TRAITS.wait(wanted.tries, at_least=at_least)
