"""The time to start by its phases, and how many phases were measured."""

from typing import Final

from dashboards import places
from dashboards.panels import (
    CLOCK,
    GREY,
    SHARE,
    STATUS_COLORS,
    About,
    AnyPanel,
    Query,
    lines,
)

_METRIC: Final = "comfycontrol_workflow_phase_duration_seconds"
_PHASES: Final = (("accepted", "upload"), ("uploaded", "placing"), ("queued", "queue"))
"""The last one is on top of the stack, because it is the one that grows."""


def panels() -> list[AnyPanel]:
    """For the row of the queue."""
    return [
        lines(
            About(
                "Where the wait goes",
                "The mean time to start, split by what workflows waited for: *upload* until the "
                "inputs are on a runner (accepted), *placing* until the runner queues them "
                "(uploaded), *queue* until it runs them. A thick yellow band: too few runners "
                "for the workflows that arrive. A thick blue one: uploads are slow, or no runner "
                "has the tags. It uses only measured phases; the panel beside it shows how many "
                "were measured.",
                CLOCK,
                width=12,
                height=7,
                links=[places.runbook("ComfyControlTimeToStartTooLong")],
            ),
            *(Query(_mean(phase), name) for phase, name in _PHASES),
            stacked=True,
            colors={name: STATUS_COLORS[phase] for phase, name in _PHASES},
            no_value="None measured",
        ),
        lines(
            About(
                "Measured phases",
                "The share of phases whose start and end were both seen closely enough, within 5 "
                "s. It falls if there are more workflows than streams, and after restarts. Below "
                "a half, *Where the wait goes* is not reliable.",
                SHARE,
                width=12,
                height=7,
            ),
            Query(
                f"{_phases('measured')} / ({_phases('measured|uncertain')} > 0)",
                "measured",
            ),
            colors={"measured": GREY},
            maximum=1,
            no_value="None passed",
        ),
    ]


def _mean(phase: str) -> str:
    selector = f'{{account=~"$account", phase="{phase}"}}[$window]'
    return f"sum(rate({_METRIC}_sum{selector})) / (sum(rate({_METRIC}_count{selector})) > 0)"


def _phases(results: str) -> str:
    return (
        "sum(rate(comfycontrol_workflow_phases_total"
        f'{{account=~"$account", result=~"{results}"}}[$window]))'
    )
