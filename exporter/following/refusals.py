"""Refusals of single ids by the service, and their consequences.

Every request about a single id reports its refusals here. The rule is in `ending.py`; earlier
refusals are shared by streams, polls and checks.
"""

from typing import Final

from exporter.comfycontrol import ServiceError
from exporter.following.ending import (
    Answering,
    Next,
    Refusal,
    after_refusal,
    answered_usably,
    is_believed,
    refused_again,
    refused_because,
)
from exporter.interfaces.observations import WorkflowRegister

PRUNE_AT: Final = 1000
"""When there are this many records, those of ids that are no longer open are removed."""


class Refusals:
    """Remembers for one account which ids are refused, and whether other requests are answered.

    Nothing is stored over a restart: after it, the time that a refusal must last starts again. Used
    on the event loop only.
    """

    def __init__(self) -> None:
        self._by_id: dict[str, Refusal] = {}
        self._answering: Answering | None = None
        self._prune_at = PRUNE_AT

    def answered(self, now: float) -> None:
        """Note a usable answer to a request of the account (monotonic seconds)."""
        self._answering = answered_usably(self._answering, now)

    def told(self, workflow_id: str) -> None:
        """Note that the service knows this id, so earlier refusals are void."""
        self._by_id.pop(workflow_id, None)

    def is_quiet(self, workflow_id: str, now: float) -> bool:
        """Whether an id was refused a moment ago, and should not be asked for again yet."""
        refusal = self._by_id.get(workflow_id)
        return refusal is not None and now < refusal.quiet_until()

    def judge(
        self,
        register: WorkflowRegister,
        account: str,
        workflow_id: str,
        error: ServiceError,
        now: float,
    ) -> Next:
        """Decide what follows a failed request about one id (`now` in monotonic seconds)."""
        if refused_because(error) is None:
            return after_refusal(error, believed=False)
        workflow = register.open_workflow(account, workflow_id)
        last_seen = None if workflow is None else workflow.last_seen
        refusal = self._by_id[workflow_id] = refused_again(
            self._by_id.get(workflow_id), None if last_seen is None else last_seen.monotonic, now
        )
        then = after_refusal(
            error,
            believed=is_believed(
                refusal,
                # None: it is settled, so it was seen at some time.
                seen=workflow is None or last_seen is not None,
                answering=self._answering,
                now=now,
            ),
        )
        if then.drop_reason is not None:
            self.told(workflow_id)
        if len(self._by_id) >= self._prune_at:
            self._by_id = {w: r for w, r in self._by_id.items() if register.is_open(account, w)}
            self._prune_at = max(PRUNE_AT, 2 * len(self._by_id))
        return then
