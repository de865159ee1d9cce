"""What really happened, so that tests and benchmarks can compare it with an exporter."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from exporter.simulator.workflow import WorkflowTruth


@dataclass(frozen=True, slots=True)
class RunDurations:
    """How long some runs took together, in seconds.

    A range, because two places may tell the stamps of one run in different precision.
    """

    count: int = 0
    least: float = 0.0
    most: float = 0.0

    def with_run(self, seconds: tuple[float, float]) -> RunDurations:
        """The same with one more."""
        return RunDurations(self.count + 1, self.least + seconds[0], self.most + seconds[1])


@dataclass(frozen=True, slots=True)
class Truth:
    """One consistent moment of the simulator: nothing in it is later than the rest."""

    taken_ms: int
    """The wall clock at that moment, in milliseconds since the epoch."""
    workflows: tuple[WorkflowTruth, ...]
    """Every execution of every workflow that is not deleted: account by account, oldest first."""
    gone: tuple[WorkflowTruth, ...]
    """Every execution of the workflows that were deleted, the last 100,000 of them."""
    deletions: dict[str, dict[str, int]]
    """Workflows deleted from the list, by account and by the status in which they went."""
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
    """How often each kind of fault happened."""

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

    @property
    def deleted(self) -> dict[str, int]:
        """Workflows deleted from the list, by the status in which they went."""
        return dict(sum((Counter(each) for each in self.deletions.values()), Counter[str]()))

    def reported(self, account: str | None = None) -> list[WorkflowTruth]:
        """Executions that a client of the service can count.

        They ended after the simulator's start, the service tells that they did, and they may be
        of workflows that were deleted since.
        """
        return [
            each
            for each in (*self.workflows, *self.gone)
            if (account is None or each.account == account)
            and each.told.outcome is not None
            and not each.final_at_start
        ]

    def outcomes(self, account: str | None = None) -> dict[str, int]:
        """How those ended, ``other`` being every status that the documents do not know."""
        return dict(Counter(str(each.told.outcome) for each in self.reported(account)))

    def slices(
        self, account: str | None, *, origin: Literal["tag", "name"], match: str
    ) -> dict[str, dict[str, int]]:
        """How those ended, by what a regular expression with one group finds.

        In the first tag that it finds, or in the name; under the empty text where it finds none.
        """
        found: dict[str, Counter[str]] = {}
        for each in self.reported(account):
            texts = each.tags if origin == "tag" else (each.name,)
            hits = (re.search(match, text) for text in texts)
            value = next((hit[1] or "" for hit in hits if hit), "")
            found.setdefault(value, Counter())[str(each.told.outcome)] += 1
        return {value: dict(counts) for value, counts in found.items()}

    def causes(self, account: str | None = None) -> dict[tuple[str, str], int]:
        """Causes of the failures: node and exception; ``unknown`` if they are never shown."""
        return dict(
            Counter(
                each.told.cause or ("unknown", "unknown")
                for each in self.reported(account)
                if each.told.outcome == "failed"
            )
        )

    def run_durations(self, account: str | None = None) -> dict[str, RunDurations]:
        """How long they ran, by outcome, according to the service's stamps."""
        found: dict[str, RunDurations] = {}
        for each in self.reported(account):
            if each.told.run_seconds is not None:
                outcome = str(each.told.outcome)
                found[outcome] = found.get(outcome, RunDurations()).with_run(each.told.run_seconds)
        return found

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
            "accounts": {
                name: {
                    "outcomes": self.outcomes(name),
                    "causes": [[*cause, count] for cause, count in self.causes(name).items()],
                    "run_durations": {
                        outcome: {"count": runs.count, "least": runs.least, "most": runs.most}
                        for outcome, runs in self.run_durations(name).items()
                    },
                    "deleted": self.deletions[name],
                }
                for name in self.deletions
            },
            "streams": {
                "open": self.streams_open,
                "opened": self.streams_opened,
                "open_most": self.streams_open_most,
                "snapshots_sent": self.snapshots_sent,
            },
            "faults": self.faults,
            "workflows": [each.as_json() for each in self.workflows],
            "gone": [each.as_json() for each in self.gone],
        }
