"""When, and how, the pending causes and durations of ended workflows are asked for. Pure.

A failure that only the list has shown lacks its cause, and an end without its stamps a duration.
A cause is asked for by a stream first, whose first snapshot is small, and then by the two ways in
turn: what cannot be read once is most likely never readable by the same way. Only
`GET /v1/workflow/{id}` gives a duration, because it has all stamps.

Times are seconds of one monotonic clock.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from math import inf
from typing import Final

from exporter.following.asking import Way
from exporter.retrying import CAUSES, DURATIONS

FIRST_SECONDS: Final = 10.0
"""Seconds for which a duration is pending before it is asked for: the list may show the stamps
earlier."""

DURATION_ANSWERS: Final = 3
"""Number of answers without the stamps after which a duration is no longer asked for."""


@dataclass(slots=True)
class _Pending:
    """What is known of one workflow with something pending."""

    cause: bool
    not_before: float
    tries: int = 0
    answers: int = 0


class PendingOrder:
    """Remembers what was asked for, and decides which workflow is next."""

    def __init__(self) -> None:
        self._debts: dict[str, _Pending] = {}

    def note(self, owed: Iterable[tuple[str, bool]], now: float) -> None:
        """Take all that is pending, the most urgent first; earlier ones are removed.

        Each is an id, and whether its cause is pending; otherwise it is only its duration.
        """
        before = self._debts
        self._debts = {}
        for workflow_id, cause in owed:
            debt = before.get(workflow_id)
            if debt is None or debt.cause is not cause:
                debt = _Pending(cause, now if cause else now + FIRST_SECONDS)
            self._debts[workflow_id] = debt

    def next_due(self, busy: Collection[str], now: float) -> tuple[str, Way] | None:
        """Which workflow to ask for now, and how; None: none. Not one of the `busy`."""
        for workflow_id, debt in self._debts.items():
            if debt.not_before <= now and workflow_id not in busy:
                return workflow_id, _way(debt)
        return None

    def asked(
        self,
        workflow_id: str,
        now: float,
        *,
        answered: bool,
        jitter: float,
        at_least: float | None = None,
    ) -> None:
        """Note that a try has ended. This has no effect if nothing is pending any more.

        Args:
            workflow_id: the workflow that was asked for.
            now: when it ended.
            answered: whether the service gave an answer about this workflow.
            jitter: a random number from 0 to 1.
            at_least: seconds that the service asked us to wait.
        """
        debt = self._debts.get(workflow_id)
        if debt is None:
            return
        debt.tries += 1
        debt.answers += answered
        policy = CAUSES if debt.cause else DURATIONS
        debt.not_before = now + policy.wait(debt.tries, jitter, at_least)
        if not debt.cause and debt.answers >= DURATION_ANSWERS:
            debt.not_before = inf


def _way(debt: _Pending) -> Way:
    return "stream" if debt.cause and debt.tries % 2 == 0 else "detail"
