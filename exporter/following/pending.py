"""When, and how, the pending causes and durations of ended workflows are asked for. Pure.

A failure that only the list has shown lacks its cause, and an end without its stamps a duration.
A cause is asked for by a stream first, whose first snapshot is small, and then by the two ways in
turn: what cannot be read once is most likely never readable by the same way. If the service answers
without the cause, it may show it later: the waits are longer then, and workflows that it has not
answered about go first. Only `GET /v1/workflow/{id}` gives a duration, because it has all stamps.

Times are seconds of one monotonic clock.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from math import inf
from typing import Final

from exporter.following.asking import Way
from exporter.retrying import CAUSES, DURATIONS, LEFT_OUT

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
        self._pending: dict[str, _Pending] = {}

    def note(self, wanted: Iterable[tuple[str, bool]], now: float) -> None:
        """Take all that is pending, the most urgent first; earlier ones are removed.

        Each is an id, and whether its cause is pending; otherwise it is only its duration.
        """
        before = self._pending
        self._pending = {}
        for workflow_id, cause in wanted:
            pending = before.get(workflow_id)
            if pending is None or pending.cause is not cause:
                pending = _Pending(cause, now if cause else now + FIRST_SECONDS)
            self._pending[workflow_id] = pending

    def next_due(self, busy: Collection[str], now: float) -> tuple[str, Way] | None:
        """Which workflow to ask for now, and how; None: none. Not one of the `busy`.

        The one with the fewest answers; of these the most urgent.
        """
        chosen: tuple[str, _Pending] | None = None
        for workflow_id, pending in self._pending.items():
            if pending.not_before > now or workflow_id in busy:
                continue
            if chosen is None or pending.answers < chosen[1].answers:
                chosen = workflow_id, pending
            if not pending.answers:
                break  # nothing goes before it, and thousands may follow
        return None if chosen is None else (chosen[0], _way(chosen[1]))

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
            answered: whether the service gave an answer about this workflow, without what is
                pending.
            jitter: a random number from 0 to 1.
            at_least: seconds that the service asked us to wait.
        """
        pending = self._pending.get(workflow_id)
        if pending is None:
            return
        pending.tries += 1
        pending.answers += answered
        policy = CAUSES if pending.cause else DURATIONS
        wait = policy.wait(pending.tries, jitter, at_least)
        if pending.cause and answered:
            wait = max(wait, LEFT_OUT.wait(pending.answers, jitter))
        pending.not_before = now + wait
        if not pending.cause and pending.answers >= DURATION_ANSWERS:
            pending.not_before = inf


def _way(pending: _Pending) -> Way:
    return "stream" if pending.cause and pending.tries % 2 == 0 else "detail"
