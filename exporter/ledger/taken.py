"""What the ledger reports to its listeners: each observation or request that changed something.

Counting does not wait for listeners: they are called under the ledger's lock, and should only
queue it.
"""

from dataclasses import dataclass

from exporter.interfaces.observations import Moment, Observation
from exporter.ledger.facts import Fact, Ignored
from exporter.ledger.store import AccountMarks
from exporter.ledger.workflow import Workflow


@dataclass(frozen=True, slots=True)
class Taken:
    """One change of one workflow."""

    before: Workflow | None
    """The state before the change; None: it was not known."""
    after: Workflow
    facts: tuple[Fact, ...]
    at: Moment
    seen: Observation | None
    """What the service said; None: it was not asked, for example when an id is named or dropped."""
    marks: AccountMarks
    """The marks of its account at that moment."""
    listed: bool
    """Whether the account's list is read."""


def is_news(before: Workflow | None, after: Workflow, facts: tuple[Fact, ...]) -> bool:
    """Whether anything has changed that listeners need to know; being seen once more is not."""
    return (
        before is None
        or before.status is not after.status
        or before.phase != after.phase
        or before.queue_position != after.queue_position
        or before.unknown_status != after.unknown_status
        or before.started_at != after.started_at
        or before.run != after.run
        or before.slices != after.slices
        or any(type(fact) is not Ignored for fact in facts)
    )
