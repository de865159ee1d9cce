"""What the exporter will do next about one workflow, and when, in words. Pure.

Times are seconds of one monotonic clock.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from exporter.interfaces.observations import Moment
from exporter.ledger.workflow import Workflow

STREAM_READ: Final = "its stream is read"
STREAM_AGAIN: Final = "reconnect its stream"
STREAM_TURN: Final = "open its stream when the request budget allows it"
READ_LIST: Final = "read the list"
READS_LIST: Final = "the list is being read"
POLL: Final = "request it individually"
CAUSE: Final = "ask for its cause"
DURATION: Final = "ask for the time stamps of its run"
GIVEN_UP: Final = ""
ACCOUNT_DOWN: Final = "try the account again"


@dataclass(frozen=True, slots=True)
class Plan:
    """What the parts that follow one account will do next."""

    streaming: frozenset[str] = frozenset()
    """Ids whose stream is open."""
    lent: Mapping[str, str] = field(default_factory=dict)
    """Ids whose stream another replica has open, by the replica's name."""
    opening: Mapping[str, float | None] = field(default_factory=dict)
    """Ids that wait for a stream, with the time of the next try; None: it waits for its turn."""
    listed: bool = False
    lookback: float = 0.0
    """How far back the list is read, in seconds."""
    next_pass: float | None = None
    """When the list is read next; None: it is being read now."""
    poll_due: Callable[[str], float | None] = lambda _: None
    """When a workflow is due for a single request; None: that is not planned yet."""
    is_down: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """The next step, in words; empty if there is none."""

    text: str
    seconds: float | None = None
    """Seconds until that step; None: it is happening now, or the time is unknown."""


def next_step(workflow: Workflow, plan: Plan, now: Moment) -> Step:
    """The next step for this workflow."""
    if workflow.phase != "open":
        return _for_pending(workflow, now.monotonic)
    if plan.is_down:
        return Step(ACCOUNT_DOWN)
    name = workflow.workflow_id
    if name in plan.streaming:
        return Step(STREAM_READ)
    if name in plan.lent:
        return Step(f"{STREAM_READ} by {plan.lent[name]}")
    if plan.listed and _is_in_list(workflow, plan.lookback, now.wall):
        steps = [
            Step(READS_LIST) if plan.next_pass is None else _at(READ_LIST, plan.next_pass, now)
        ]
    else:
        due = plan.poll_due(name)
        steps = [Step(POLL) if due is None else _at(POLL, due, now)]
    if name in plan.opening:
        again = plan.opening[name]
        # A workflow that waits for its turn for a stream waits longer than reading any list takes.
        steps.append(Step(STREAM_TURN) if again is None else _at(STREAM_AGAIN, again, now))
    return min(steps, key=lambda step: (step.seconds is None, step.seconds or 0.0))


def _is_in_list(workflow: Workflow, lookback: float, wall: float) -> bool:
    return workflow.created_at is not None and workflow.created_at >= wall - lookback


def _for_pending(workflow: Workflow, monotonic: float) -> Step:
    if workflow.pending_since is None:
        return Step(GIVEN_UP)
    text = DURATION if workflow.cause_pending_since is None else CAUSE
    seconds = workflow.ask_from - monotonic
    # Later, the answers so far and the request budget decide.
    return Step(text, seconds if seconds > 0 else None)


def _at(text: str, when: float, now: Moment) -> Step:
    return Step(text, max(0.0, when - now.monotonic))
