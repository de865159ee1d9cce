"""What really happened, for tests and benchmarks to compare with what an exporter says."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from exporter.simulator.workflow import WorkflowTruth


@dataclass(frozen=True, slots=True)
class Truth:
    """One consistent moment of the simulator: nothing in it is later than the rest."""

    taken_ms: int
    """The wall clock at that moment, in milliseconds since the epoch."""
    workflows: tuple[WorkflowTruth, ...]
    """Every execution of every workflow that is not deleted: account by account, oldest first."""
    deleted: dict[str, int]
    """Workflows deleted from the list, by the status in which they went."""
    requests: dict[str, int]
    """Requests by endpoint, refused ones included."""
    refusals: dict[str, int]
    """Of those, the ones that the rate limit refused."""
    answers: dict[str, dict[int, int]]
    """Answers by endpoint and status; requests that a fault left without one have none."""
    busiest_window: int
    """The most requests of one address in one window of the rate limit."""
    streams_open: int
    streams_opened: int
    streams_open_most: int
    snapshots_sent: int
    faults: dict[str, int]
    """How often each kind of fault struck."""

    def final(self, account: str | None = None) -> list[WorkflowTruth]:
        """Executions that ended, of one account or of all."""
        return [
            each
            for each in self.workflows
            if each.final and (account is None or each.account == account)
        ]

    def open(self, account: str | None = None) -> list[WorkflowTruth]:
        """Executions that have not ended, of one account or of all."""
        return [
            each
            for each in self.workflows
            if not each.final and (account is None or each.account == account)
        ]

    def counts(self, account: str | None = None, *, after_start: bool = False) -> dict[str, int]:
        """Executions by status.

        Args:
            account: only this one's.
            after_start: leave out what was final already when the simulator started.
        """
        return dict(
            Counter(
                each.status
                for each in self.workflows
                if (account is None or each.account == account)
                and not (after_start and each.final_at_start)
            )
        )

    def workflow(self, identity: str) -> WorkflowTruth:
        """The latest execution of one workflow.

        Raises:
            KeyError: there is none of this id.
        """
        found = [each for each in self.workflows if each.id == identity]
        if not found:
            raise KeyError(identity)
        return max(found, key=lambda each: each.execution)

    def as_json(self) -> dict[str, Any]:
        """The same for ``GET /_simulator/truth``."""
        return {
            "taken_ms": self.taken_ms,
            "counts": self.counts(),
            "deleted": self.deleted,
            "requests": self.requests,
            "refusals": self.refusals,
            "answers": {
                endpoint: {str(code): count for code, count in codes.items()}
                for endpoint, codes in self.answers.items()
            },
            "busiest_window": self.busiest_window,
            "streams": {
                "open": self.streams_open,
                "opened": self.streams_opened,
                "open_most": self.streams_open_most,
                "snapshots_sent": self.snapshots_sent,
            },
            "faults": self.faults,
            "workflows": [each.as_json() for each in self.workflows],
        }
