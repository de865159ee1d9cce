"""How the world was a while ago, for the answers of a replica that lags behind."""

from __future__ import annotations

import copy
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from exporter.simulator.traits import Traits
    from exporter.simulator.workflow import Workflow
    from exporter.simulator.world import World


class Past:
    """Keeps what each change has replaced, for as long as anybody may still ask for it.

    Args:
        world: whose past it is; it must not have changed yet.
        reach: how far back anybody asks, in seconds of the day; 0: nobody does.
    """

    def __init__(self, world: World, reach: float) -> None:
        self._world = world
        self._reach = reach
        self._latest: dict[str, Workflow] = {}
        self._replaced: dict[str, deque[tuple[float, Workflow | None]]] = {}
        if reach > 0:
            self._latest = {each.id: self._frozen(each) for each in world.every()}

    def note(self, workflow: Workflow) -> None:
        """Take note of a change; to be called after it."""
        if self._reach <= 0:
            return
        replaced = self._replaced.setdefault(workflow.id, deque())
        replaced.append((self._world.now, self._latest.get(workflow.id)))
        while replaced[0][0] < self._world.now - self._reach and len(replaced) > 1:
            replaced.popleft()
        if workflow.id in self._world.workflows:
            self._latest[workflow.id] = self._frozen(workflow)
        else:
            self._latest.pop(workflow.id, None)

    def workflow(self, identity: str, lag: float) -> Workflow | None:
        """A workflow as it was ``lag`` seconds of the day ago; None if it was not there."""
        at = self._world.now - lag
        for changed, before in self._replaced.get(identity, ()):
            if changed > at:
                return before
        return self._latest.get(identity)

    def listed(self, account: str, status: str | None, lag: float) -> list[Workflow]:
        """An account's workflows as they were listed then, the top one first."""
        self._prune()
        found = [self.workflow(each, lag) for each in self._latest.keys() | self._replaced.keys()]
        shown = [
            each
            for each in found
            if each is not None
            and each.account == account
            and (status is None or each.reported_status == status)
        ]
        return sorted(shown, key=lambda each: -each.sequence)

    def _prune(self) -> None:
        oldest = self._world.now - self._reach
        self._replaced = {
            identity: replaced
            for identity, replaced in self._replaced.items()
            if replaced[-1][0] >= oldest
        }

    def _frozen(self, workflow: Workflow) -> Workflow:
        kept = copy.copy(workflow)
        # It stays in the place that it has now.
        kept.told_position, kept.scripted, kept.rendered = self._world.place(workflow), True, None
        return kept


def reach_of(traits: Traits) -> float:
    """How far back a service of these traits looks, in seconds of the day."""
    total = traits.paging.total
    lags = [replica.lag for replica in traits.replicas]
    if total is not None and total.form == "stale":
        lags.append(total.lag)
    return max(lags, default=0.0)
