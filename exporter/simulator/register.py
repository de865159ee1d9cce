"""Which workflows exist, in the order of their creation, and quickly by page and by status."""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING

from exporter.simulator.workflow import Status

if TYPE_CHECKING:
    from collections.abc import Iterator

    from exporter.simulator.workflow import Workflow


class Register:
    """The workflows of one account.

    A page costs what it holds and nothing for what lies before it: an ordered list of numbers for
    all workflows and one for each status, the numbers being given in the order of creation.
    """

    def __init__(self) -> None:
        self._all: list[int] = []
        self._of_status: dict[Status, list[int]] = {status: [] for status in Status}
        self._workflows: dict[int, Workflow] = {}

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Workflow]:
        """All workflows, oldest first."""
        return iter([self._workflows[number] for number in self._all])

    def add(self, workflow: Workflow) -> None:
        """Add a workflow that was created after all others."""
        self._workflows[workflow.sequence] = workflow
        self._all.append(workflow.sequence)
        self._of_status[workflow.status].append(workflow.sequence)

    def move(self, workflow: Workflow, before: Status) -> None:
        """Take note that a workflow's status is no longer what it was before."""
        _drop(self._of_status[before], workflow.sequence)
        bisect.insort(self._of_status[workflow.status], workflow.sequence)

    def remove(self, workflow: Workflow) -> None:
        """Forget a workflow."""
        del self._workflows[workflow.sequence]
        _drop(self._all, workflow.sequence)
        _drop(self._of_status[workflow.status], workflow.sequence)

    def count(self, status: Status | None = None) -> int:
        """How many there are, of one status or of all."""
        return len(self._all if status is None else self._of_status[status])

    def page(self, page: int, per_page: int, status: Status | None = None) -> list[Workflow]:
        """One page, newest first; the first page is 1, and one past the last is empty."""
        numbers = self._all if status is None else self._of_status[status]
        last = len(numbers) - (page - 1) * per_page
        if last <= 0:
            return []
        return [
            self._workflows[number] for number in reversed(numbers[max(0, last - per_page) : last])
        ]

    def oldest_final(self) -> Workflow | None:
        """The settled workflow that was created first."""
        first = [numbers[0] for s, numbers in self._of_status.items() if s.final and numbers]
        return self._workflows[min(first)] if first else None


def _drop(numbers: list[int], number: int) -> None:
    index = bisect.bisect_left(numbers, number)
    if index < len(numbers) and numbers[index] == number:
        del numbers[index]
