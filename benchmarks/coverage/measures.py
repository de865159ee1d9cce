"""What follows from the truth and from what was counted. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.coverage.counted import CAUSE, Counted

STEP_SECONDS: Final = 1.0
"""Between two points of a curve."""


@dataclass(frozen=True)
class Spread:
    """How something was spread; None where there was nothing."""

    median: float | None
    p95: float | None
    most: float | None


@dataclass(frozen=True)
class Measures:
    """How one follower did."""

    finished: int
    """Workflows that ended."""
    counted: int
    """Of those, the ones that were counted with the right outcome, once."""
    wrong: int
    """Counted twice, or otherwise than they ended, or never there at all."""
    lateness: Spread
    """Seconds from the end to its counting."""
    failed: int
    causes: int
    """Of the failed, those with a cause known."""
    cause_lateness: Spread
    last_cause: float | None
    """Seconds from the last arrival to the last cause."""
    requests: Mapping[str, int]
    refusals: int
    busiest_window: int
    """The most requests within 10 s."""
    requests_per_finished: float
    over_time: Sequence[tuple[float, int, int]]
    """Seconds since the first arrival, finished by then, counted by then."""


def measure(truth: Mapping[str, Any], counted: Sequence[Counted]) -> Measures:
    """Compare what happened with what was counted."""
    final = {w["id"]: w for w in truth["workflows"] if w["completed_at"] is not None}
    ended = {i: w["completed_ms"] / 1000 for i, w in final.items()}
    arrived = [w["created_ms"] / 1000 for w in truth["workflows"]]
    outcomes = [c for c in counted if c.is_end]
    times = Counter(c.workflow_id for c in outcomes)
    right = {
        c.workflow_id: c.wall
        for c in outcomes
        if times[c.workflow_id] == 1
        and c.workflow_id in final
        and final[c.workflow_id]["status"] == c.what
    }
    failed = {i for i, w in final.items() if w["status"] == "failed"}
    causes = {c.workflow_id: c.wall for c in counted if c.what == CAUSE}
    asked = sum(truth["requests"].values())
    return Measures(
        finished=len(final),
        counted=len(right),
        wrong=len(times) - len(right),
        lateness=_spread([wall - ended[i] for i, wall in right.items()]),
        failed=len(failed),
        causes=len(failed & causes.keys()),
        cause_lateness=_spread([causes[i] - ended[i] for i in failed & causes.keys()]),
        last_cause=max(causes.values()) - max(arrived) if causes and arrived else None,
        requests=truth["requests"],
        refusals=sum(truth["refusals"].values()),
        busiest_window=truth["busiest_window"],
        requests_per_finished=asked / max(1, len(final)),
        over_time=_over_time(min(arrived, default=0.0), list(ended.values()), list(right.values())),
    )


def _spread(values: list[float]) -> Spread:
    if not values:
        return Spread(None, None, None)
    values = sorted(values)

    def at(part: float) -> float:
        return values[min(len(values) - 1, int(part * len(values)))]

    return Spread(at(0.5), at(0.95), values[-1])


def _over_time(
    began: float, ended: Sequence[float], counted: Sequence[float]
) -> list[tuple[float, int, int]]:
    last = max([*ended, *counted], default=began)
    points = []
    for step in range(int((last - began) / STEP_SECONDS) + 2):
        now = began + step * STEP_SECONDS
        points.append(
            (
                step * STEP_SECONDS,
                sum(moment <= now for moment in ended),
                sum(moment <= now for moment in counted),
            )
        )
    return points
