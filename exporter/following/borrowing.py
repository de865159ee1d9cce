"""The workflows of one account that another replica counts, and that are streamed here.

Nothing is counted or decided here: observations are collected, to be handed back.
"""

import threading
from collections.abc import Callable, Iterable, Mapping
from math import inf
from typing import Final

from exporter.interfaces.observations import (
    Moment,
    Observation,
    OpenWorkflow,
    Removed,
    Tracked,
)

AGAIN_SECONDS: Final = 10.0
"""Seconds. If a stream has shown the end and the workflow is still lent after this time, its holder
has not received it, or knows better. The service is asked once more."""

REFUSED_SECONDS: Final = 600.0
"""Seconds for which an id is left to its holder after the service has finally refused it."""

MOST_UNTOLD: Final = 20_000
"""How many observations may wait to be handed back. Above this number, only the latest of each
workflow is kept."""


class BorrowedWorkflows:
    """A `WorkflowRegister` of borrowed workflows. Any thread may use it."""

    def __init__(self, account: str, now: Callable[[], Moment]) -> None:
        self._account = account
        self._now = now
        self._lock = threading.Lock()
        self._lent: Mapping[str, OpenWorkflow] = {}
        self._epoch: int | None = None
        self._quiet_until: dict[str, float] = {}
        self._untold: list[Observation] = []

    def lend(self, workflows: Mapping[str, OpenWorkflow], epoch: int) -> None:
        """Set which workflows are lent now, by the holder of this epoch."""
        with self._lock:
            self._lent = workflows
            if epoch != self._epoch:
                # A new holder may not have the observations of the previous one.
                self._quiet_until.clear()
            self._epoch = epoch
            self._quiet_until = {
                known: until for known, until in self._quiet_until.items() if known in workflows
            }

    def take_untold(self) -> list[Observation]:
        """Return the observations since the last call."""
        with self._lock:
            untold, self._untold = self._untold, []
            return untold

    def put_back(self, untold: list[Observation]) -> None:
        """Put back observations that could not be handed back yet."""
        with self._lock:
            self._untold = untold + self._untold
            if len(self._untold) > MOST_UNTOLD:
                self._untold = list({seen.workflow_id: seen for seen in self._untold}.values())

    # Called by followers ---------------------------------------------------------------------

    def observe(self, observation: Observation) -> bool:
        """Collect an observation; return whether more are wanted."""
        with self._lock:
            self._untold.append(observation)
            if observation.is_over:
                self._be_quiet(observation.workflow_id, AGAIN_SECONDS)
            return not observation.is_over and observation.workflow_id in self._lent

    def drop(self, removed: Removed) -> None:
        """Leave an id to its holder, which will find out by itself."""
        with self._lock:
            self._be_quiet(removed.workflow_id, REFUSED_SECONDS)

    def is_open(self, account: str, workflow_id: str) -> bool:
        """Whether this workflow must be streamed."""
        return self.open_workflow(account, workflow_id) is not None

    def open_workflow(self, account: str, workflow_id: str) -> OpenWorkflow | None:
        """This workflow, if it must be streamed; otherwise None."""
        del account
        with self._lock:
            return None if self._is_quiet(workflow_id) else self._lent.get(workflow_id)

    def open_workflows(self, account: str) -> list[OpenWorkflow]:
        """All workflows that must be streamed."""
        del account
        with self._lock:
            return [w for known, w in self._lent.items() if not self._is_quiet(known)]

    def _be_quiet(self, workflow_id: str, seconds: float) -> None:
        self._quiet_until[workflow_id] = self._now().monotonic + seconds

    def _is_quiet(self, workflow_id: str) -> bool:
        return self._now().monotonic < self._quiet_until.get(workflow_id, -inf)

    # Only the holder does these ---------------------------------------------------------------

    def track(self, tracked: Tracked) -> bool:  # noqa: ARG002, D102
        return False

    def untrack(self, removed: Removed) -> None:  # noqa: D102
        pass

    def set_counting_cutoff(  # noqa: D102
        self,
        account: str,  # noqa: ARG002
        wall: float,  # noqa: ARG002
        shown: Iterable[Observation] = (),  # noqa: ARG002
    ) -> bool:
        return False

    def pending_causes(self, account: str) -> list[str]:  # noqa: ARG002, D102
        return []

    def needed_traits(self, account: str) -> list[str]:  # noqa: ARG002, D102
        return []

    def needs_traits(self, account: str, workflow_id: str) -> bool:  # noqa: ARG002, D102
        return False

    def is_cause_pending(self, account: str, workflow_id: str) -> bool:  # noqa: ARG002, D102
        return False

    def created_after(self, account: str, created_at: float) -> int:  # noqa: ARG002, D102
        return 0

    def list_watermark(self, account: str) -> float | None:  # noqa: ARG002, D102
        return None

    def advance_list_watermark(self, account: str, created_at: float) -> None:  # noqa: D102
        pass
