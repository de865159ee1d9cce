"""Which workflows have a stream now. Pure.

Only a stream gives live positions, causes, and latencies of seconds. It costs a request every four
minutes. So if there are more open workflows than streams, the others are watched through the list,
and lose only these.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from math import ceil
from typing import Final

from exporter.budget.sliding_window import Limit, Priority
from exporter.interfaces.observations import OpenWorkflow, Status

STREAM_SECONDS: Final = 240.0
"""The service closes a stream after 120 updates of about 2 s."""

SUSTAINED_PART: Final = 0.8
"""Part (0 to 1) of the budget share left after listing that regular reopening may use: broken
streams need the rest."""


@dataclass(frozen=True, slots=True)
class StreamCapacity:
    """How many streams one account may have."""

    most: int
    """The configured maximum."""
    limit: Limit
    """The request limit of the service's address."""
    listing_interval: float | None = None
    """Seconds between two passes over the list; None: the account is not listed."""
    sharing: int = 1
    """How many accounts share the address."""

    @property
    def full(self) -> int:
        """How many streams the whole share of the limit can keep reopening."""
        return self.at(self.limit.share)

    def at(self, share: int) -> int:
        """How many streams so many requests in a period can keep reopening.

        Fewer after refusals.
        """
        per_second = share / self.limit.per / max(1, self.sharing)
        if self.listing_interval is not None:
            per_second -= 1 / self.listing_interval
        return min(self.most, max(1, int(per_second * STREAM_SECONDS * SUSTAINED_PART)))


def listing_costs(interval: float) -> int:
    """How many streams could be reopened with the requests that listing at this interval needs."""
    return ceil(STREAM_SECONDS * SUSTAINED_PART / interval)


UNSEEN_PART: Final = 0.25
"""Part (0 to 1) of all streams that named ids may take before others if the service has never
reported them.

An id that was just pushed is such an id, and gets its stream at once. A large number of them is
most likely wrong, and must not take the streams of workflows that are known to exist."""


_CLASSES: Final = {Status.QUEUED: 0, Status.RUNNING: 1}


def choose_streams(
    workflows: Iterable[OpenWorkflow], streaming: Collection[str], capacity: int
) -> list[str]:
    """The ids that should have a stream, highest priority first.

    Named ids come first, then queued workflows, then running ones, then the oldest. Named ids that
    the service has never reported come last, except for a part of the streams (`UNSEEN_PART`).
    Within a class, a workflow that has a stream keeps it, so that nothing moves without a reason.
    """

    def rank(workflow: OpenWorkflow) -> tuple[bool, int, bool, float]:
        created = workflow.created_at
        return (
            workflow.source == "listing",
            2 if workflow.status is None else _CLASSES.get(workflow.status, 2),
            workflow.workflow_id not in streaming,
            workflow.first_seen.wall if created is None else created,
        )

    ranked = sorted(workflows, key=rank)
    unseen = [workflow for workflow in ranked if _is_unseen(workflow)]
    too_many = {workflow.workflow_id for workflow in unseen[max(1, int(capacity * UNSEEN_PART)) :]}
    if too_many:
        ranked.sort(key=lambda workflow: workflow.workflow_id in too_many)
    return [workflow.workflow_id for workflow in ranked[:capacity]]


def rest_of(workflows: Iterable[OpenWorkflow], besides: Collection[str]) -> list[OpenWorkflow]:
    """Workflows that the service has reported, except the ids in `besides`, by priority."""
    rest = [w for w in workflows if w.workflow_id not in besides and not _is_unseen(w)]
    order = {name: n for n, name in enumerate(choose_streams(rest, (), len(rest)))}
    return sorted(rest, key=lambda workflow: order[workflow.workflow_id])


def priority_of(workflow: OpenWorkflow) -> Priority:
    """The priority of its first stream in the request budget."""
    return Priority.NEW_STREAM if workflow.source == "listing" else Priority.NAMED_STREAM


def _is_unseen(workflow: OpenWorkflow) -> bool:
    return workflow.source != "listing" and workflow.status is None and workflow.last_seen is None
