"""What the service is still to be asked about workflows. Pure."""

from collections.abc import Iterable, Sequence

from exporter.ledger.slicing import SliceRule, is_decided
from exporter.ledger.workflow import Workflow


def causes(pending: Iterable[Workflow], account: str, monotonic: float) -> list[str]:
    """Ids of the account whose cause or duration may be asked for now, longest waiting first."""
    waiting = [
        (workflow.pending_since.wall, workflow.workflow_id)
        for workflow in pending
        if workflow.account == account
        and workflow.pending_since is not None
        and workflow.ask_from <= monotonic
    ]
    return [workflow_id for _, workflow_id in sorted(waiting)]


def traits(
    held: Iterable[Workflow],
    open_ones: Iterable[Workflow],
    account: str,
    rules: Sequence[SliceRule],
) -> list[str]:
    """Ids of the account whose name and tags are needed for their slices.

    Those with facts that wait for them come first.
    """
    waiting = sorted(
        (w.held.since.wall, w.workflow_id)
        for w in held
        if w.account == account and w.held is not None
    )
    others = sorted(
        (w.first_seen.wall, w.workflow_id)
        for w in open_ones
        if w.account == account and w.held is None and not is_decided(w.slices, rules)
    )
    return [workflow_id for _, workflow_id in (*waiting, *others)]


def has_needed_traits(workflow: Workflow | None, rules: Sequence[SliceRule]) -> bool:
    """Whether the name and the tags of a workflow are needed."""
    if workflow is None or is_decided(workflow.slices, rules):
        return False
    return workflow.phase == "open" or workflow.held is not None
