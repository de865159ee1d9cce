"""Which workflows exist, in the order of the list, and quickly by page and by status."""

from __future__ import annotations

import bisect
from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from exporter.simulator.workflow import Workflow


class Register:
    """The workflows of one account.

    A page costs what it holds and nothing for what lies before it: an ordered list of numbers for
    all workflows and one for each status as it is told. The numbers are given in the order of
    creation; a workflow that goes to the top has a new one.
    """

    def __init__(self) -> None:
        self._all: list[int] = []
        self._of_status: defaultdict[str, list[int]] = defaultdict(list)
        self._workflows: dict[int, Workflow] = {}

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Workflow]:
        """All workflows, oldest first."""
        return iter([self._workflows[number] for number in self._all])

    def add(self, workflow: Workflow) -> None:
        """Add a workflow, at the place of its number."""
        self._workflows[workflow.sequence] = workflow
        bisect.insort(self._all, workflow.sequence)
        bisect.insort(self._of_status[workflow.reported_status], workflow.sequence)

    def move(self, workflow: Workflow, before: str) -> None:
        """Take note that a workflow's status is no longer what it was before."""
        _drop(self._of_status[before], workflow.sequence)
        bisect.insort(self._of_status[workflow.reported_status], workflow.sequence)

    def remove(self, workflow: Workflow) -> None:
        """Forget a workflow."""
        del self._workflows[workflow.sequence]
        _drop(self._all, workflow.sequence)
        _drop(self._of_status[workflow.reported_status], workflow.sequence)

    def count(self, status: str | None = None) -> int:
        """How many there are, of one status or of all."""
        return len(self._all if status is None else self._of_status[status])

    def page(self, page: int, per_page: int, status: str | None = None) -> list[Workflow]:
        """One page, newest first; the first page is 1, and one past the last is empty."""
        numbers = self._all if status is None else self._of_status[status]
        last = len(numbers) - (page - 1) * per_page
        if last <= 0:
            return []
        return [
            self._workflows[number] for number in reversed(numbers[max(0, last - per_page) : last])
        ]

    def below(self, depth: int) -> Iterator[Workflow]:
        """The workflows with at least this many above them in the list, downwards."""
        for index in range(len(self._all) - 1 - depth, -1, -1):
            yield self._workflows[self._all[index]]

    def above(self, height: int) -> Iterator[Workflow]:
        """The workflows with at least this many below them in the list, upwards."""
        for index in range(height, len(self._all)):
            yield self._workflows[self._all[index]]

    def oldest_final(self) -> Workflow | None:
        """The lowest settled workflow in the list."""
        first = [self._workflows[numbers[0]] for numbers in self._of_status.values() if numbers]
        settled = [each for each in first if each.status.final]
        return min(settled, key=lambda each: each.sequence, default=None)


def _drop(numbers: list[int], number: int) -> None:
    index = bisect.bisect_left(numbers, number)
    if index < len(numbers) and numbers[index] == number:
        del numbers[index]
