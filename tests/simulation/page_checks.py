"""What a page says of itself must be true within its bound. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.simulation.scraper import name_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

BLIND_SECONDS: Final = 180.0
"""An account of which no list came for so long is down: the list is asked for every 20 s, a service
may ask for a minute of patience, the budget may be closed for as long, a request fails after 15 s,
and 30 s of failures are grace."""

CLOCK_SECONDS: Final = 45.0
"""What is said may be so much later than what it rests on: a pass over the list is over when what
it has shown was looked at. That may wait in the budget, and fail after 15 s without an answer."""


@dataclass(frozen=True)
class Around:
    """What is true when the page is made."""

    wall: float
    """The machine's clock."""
    clock_was_put: bool
    """Somebody has put the machine's clock, so that its times do not compare."""
    age: float
    """Seconds since the process began."""
    list_age: float
    """Seconds since a list was answered; infinity: never by this process."""
    interval: float
    """Seconds between two readings of the list, where that is much."""
    has_slices: bool
    share: int
    """Requests a period."""
    silence: float
    """Seconds since anything came from the service, or an id was pushed."""


def faults_of(page: Mapping[str, float], around: Around) -> Iterator[str]:
    """Whatever is not true."""
    by_name: dict[str, list[float]] = {}
    for series, value in page.items():
        by_name.setdefault(name_of(series), []).append(value)

    def total(name: str) -> float:
        return sum(by_name.get(f"comfycontrol_{name}", ()))

    is_up = by_name.get("comfycontrol_account_up", [None])[0]
    discovered, in_gauge = total("workflows_discovered_total"), total("workflows")
    over = total("workflows_finished_total") + total("workflows_dropped_total")
    open_now = page.get('comfycontrol_exporter_ledger_workflows{state="open"}', 0.0)
    # Under slices an outcome may be counted, and its series stand at 0 for a while.
    if not around.has_slices and discovered != over + open_now:
        yield f"discovered {discovered:g} is not finished and dropped {over:g} + open {open_now:g}"
    if in_gauge > open_now:
        yield f"{in_gauge:g} workflows are shown, and {open_now:g} are open"
    if total("request_budget_used") > around.share:
        yield "the page says that more requests are in the window than are allowed"
    is_blind = min(around.age, around.list_age) > around.interval + BLIND_SECONDS
    if is_blind and is_up == 1:
        yield f"no list for {around.list_age:.0f} s, and account_up is 1"
    if is_blind and "comfycontrol_workflow_queue_position" in by_name:
        yield f"no list for {around.list_age:.0f} s, and a queue position is shown"
    if around.clock_was_put:
        return
    for name, age in (
        ("listing_last_success", around.list_age),
        ("stalest_observation", around.silence),
        ("account_last_usable_answer", around.silence),
    ):
        for at in by_name.get(f"comfycontrol_{name}_timestamp_seconds", ()):
            if at > around.wall + CLOCK_SECONDS:
                yield f"{name} is {at - around.wall:.0f} s in the future"
            elif around.age > age and at > around.wall - age + CLOCK_SECONDS:
                yield f"{name} says {around.wall - at:.1f} s ago, and it was {age:.1f} s ago"
