"""The documents about a workflow, as modified by the scenario's traits."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from exporter.simulator import documents
from exporter.simulator.traits.stamps import Stamps
from exporter.simulator.traits.statuses import Statuses

if TYPE_CHECKING:
    from collections.abc import Iterator

    from exporter.simulator.traits import Traits
    from exporter.simulator.traits.chance import Place
    from exporter.simulator.workflow import Workflow
    from exporter.simulator.world import World


class _Manner(Protocol):
    """A trait that changes the documents about a workflow."""

    def apply(self, document: dict[str, Any], workflow: Workflow, place: Place, now: float) -> None:
        """Change a document; ``now`` is the time of the day."""


class Reporting:
    """Writes the documents of a world's workflows."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._manners = tuple(_manners(world.scenario.traits))
        self.ends_shown: set[tuple[str, int]] = set()
        """Executions, by id and number, whose end an answer has carried, with its stamp if any."""

    @contextmanager
    def reaching_nobody(self) -> Iterator[None]:
        """What is told in this context is spoilt afterwards, so it shows no end."""
        shown, self.ends_shown = self.ends_shown, set()
        try:
            yield
        finally:
            self.ends_shown = shown

    def row(self, workflow: Workflow) -> dict[str, Any]:
        """A workflow as a page of the list shows it."""
        return self._report(documents.listed(workflow), workflow, "list")

    def snapshot(self, workflow: Workflow) -> dict[str, Any]:
        """One event of a stream."""
        return self._report(documents.snapshot(self._world, workflow), workflow, "subscribe")

    def snapshot_json(self, workflow: Workflow) -> bytes:
        """The same as text."""
        if not self._manners:  # then it changes with the workflow only, and is written once
            self._note_end(workflow, is_stamped=True)
            return documents.snapshot_json(self._world, workflow)
        return orjson.dumps(self.snapshot(workflow))

    def detail_json(self, workflow: Workflow) -> bytes:
        """A workflow in full."""
        return orjson.dumps(self._report(documents.detail(self._world, workflow), workflow, "get"))

    def _report(self, document: dict[str, Any], workflow: Workflow, place: Place) -> dict[str, Any]:
        for each in self._manners:
            each.apply(document, workflow, place, self._world.now)
        self._note_end(workflow, is_stamped=document.get("completed_at") is not None)
        return document

    def _note_end(self, workflow: Workflow, *, is_stamped: bool) -> None:
        """Note that an answer carries the end of this execution: without a stamp it may be any.

        What is invalid has none.
        """
        if workflow.status.final and (is_stamped or workflow.completed_ms is None):
            self.ends_shown.add((workflow.id, workflow.execution))


def _manners(traits: Traits) -> Iterator[_Manner]:
    # In this order: what is written, what is left out, and last what nobody can read any more.
    if traits.stamps != Stamps():
        yield traits.stamps
    if traits.statuses.case != Statuses().case:
        yield traits.statuses
    yield from traits.missing
    yield from traits.causes
    if traits.sizes is not None:
        yield traits.sizes
    yield from traits.broken
