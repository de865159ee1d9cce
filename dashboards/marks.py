"""The thresholds of the colours: those of the alerts. A panel is red if its alert would fire."""

from dataclasses import dataclass
from typing import Final

from alerts.build import Thresholds
from dashboards.panels import Limits

STILL: Final = 300
"""Seconds after which it is orange that nothing starts or ends while something waits."""


@dataclass(frozen=True, slots=True)
class Marks:
    """The thresholds of the alerts."""

    failing: Limits
    success: Limits
    time_to_start: Limits
    oldest_queued: Limits
    stalest: Limits
    listing_lag: Limits
    missing: Limits
    still: Limits
    node: Limits
    enough: int
    """How many workflows must have ended before a share of them is meaningful."""


def marks(thresholds: Thresholds) -> Marks:
    """Red from the alert's threshold on; orange from half of it, for ages from a fifth."""
    alerts = thresholds["alerts"]
    failing = alerts["ComfyControlFailureRatioHigh"]["fast"]["above"]
    starts_within = thresholds["objective"]["starts_within"]
    stale = alerts["ComfyControlObservationsStale"]["above_seconds"]
    behind = alerts["ComfyControlListingBehind"]["above_seconds"]
    return Marks(
        failing=Limits(worrying=failing / 2, bad=failing),
        success=Limits(worrying=1 - failing / 2, bad=1 - failing, falling=True),
        time_to_start=Limits(worrying=starts_within / 2, bad=starts_within),
        oldest_queued=Limits(
            worrying=starts_within, bad=alerts["ComfyControlQueueStuck"]["too_old"]["above_seconds"]
        ),
        stalest=Limits(worrying=stale / 5, bad=stale),
        listing_lag=Limits(worrying=behind / 5, bad=behind),
        missing=Limits(worrying=None, bad=alerts["ComfyControlTotalsDiffer"]["above"] + 1),
        # The alerts evaluate 15 minutes, and wait for 15 more.
        still=Limits(worrying=STILL, bad=1800),
        node=Limits(worrying=alerts["ComfyControlNodeTypeFailing"]["fast"]["at_least"], bad=None),
        enough=alerts["ComfyControlFailureRatioHigh"]["fast"]["at_least"],
    )
