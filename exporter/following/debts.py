"""When, and by which way, what ended workflows still lack is asked for. Pure.

A failure that only the list has shown lacks its cause, and an end without its stamps a duration.
A cause is asked for by a stream first, whose first snapshot is small, and then by the two ways in
turn: what cannot be read once is most likely never readable by the same way. A duration is told by
`GET /v1/workflow/{id}` alone, which has all stamps.

Times are seconds of one monotonic clock.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import pairwise
from math import inf
from typing import Final

from exporter.following.asking import Way

CAUSE_WAITS: Final = (2.0, 5.0, 10.0, 60.0, 120.0, 900.0, 1500.0)
"""Seconds from one try for a cause to the next; the last one again and again. So it is asked for at
most 8 times in any hour: after one it is counted as unknown, unless an outage makes that longer."""

JITTER_PART: Final = 0.25
"""So much longer a wait may be: those that failed together are not to be asked for together."""

DURATION_TIMES: Final = (10.0, 60.0, 600.0)
"""Seconds from when a duration was found owed to each try: the stamps may turn up by themselves."""

DURATION_ANSWERS: Final = len(DURATION_TIMES)
"""Answers without the stamps after which a duration is not asked for any more."""


@dataclass(slots=True)
class _Debt:
    """What is known of one workflow that owes something."""

    cause: bool
    not_before: float
    tries: int = 0
    answers: int = 0


class DebtOrder:
    """Remembers what was asked for, and says who is next."""

    def __init__(self) -> None:
        self._debts: dict[str, _Debt] = {}

    def note(self, owed: Iterable[tuple[str, bool]], now: float) -> None:
        """Look at all that is owed, the most urgent first; the others are forgotten.

        Each is an id, and whether it owes its cause; else it owes its duration alone.
        """
        before = self._debts
        self._debts = {}
        for workflow_id, cause in owed:
            debt = before.get(workflow_id)
            if debt is None or debt.cause is not cause:
                debt = _Debt(cause, now if cause else now + DURATION_TIMES[0])
            self._debts[workflow_id] = debt

    def next_due(self, busy: Collection[str], now: float) -> tuple[str, Way] | None:
        """Who is to be asked for now, and how; None: nobody. Not one of the `busy`."""
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
        at_least: float = 0.0,
    ) -> None:
        """One try is over. Nothing, where it is owed no more.

        Args:
            workflow_id: who was asked for.
            now: when it was over.
            answered: whether the service said anything of this one.
            jitter: from 0 to 1.
            at_least: seconds that the service asked us to wait.
        """
        debt = self._debts.get(workflow_id)
        if debt is None:
            return
        debt.tries += 1
        debt.answers += answered
        waits = CAUSE_WAITS if debt.cause else _DURATION_WAITS
        wait = waits[min(debt.tries, len(waits)) - 1]
        debt.not_before = now + max(wait * (1 + JITTER_PART * jitter), at_least)
        if not debt.cause and debt.answers >= DURATION_ANSWERS:
            debt.not_before = inf


_DURATION_WAITS: Final = tuple(later - sooner for sooner, later in pairwise(DURATION_TIMES))


def _way(debt: _Debt) -> Way:
    return "stream" if debt.cause and debt.tries % 2 == 0 else "detail"
