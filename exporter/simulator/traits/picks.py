"""Changes of workflows that have already ended, anywhere in the list."""

from typing import Annotated

from pydantic import Field

from exporter.simulator.jobs import Outcomes
from exporter.simulator.schema import Between, Seconds, Spread, Window


class Picks(Window):
    """When a settled workflow changes, and how deep in the list it is."""

    rate: Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)]
    """How often, in a second of the day; at random times."""
    times: Annotated[int, Field(ge=1)] | None = None
    """How often at the most."""
    depth: Between = Between(min=0, max=100)
    """Rows above it in the list; the next settled one below is taken."""
    from_bottom: bool = False
    """Whether that many rows are below it instead, and the next settled one above is taken."""
    ended: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Only workflows that are reported with one of these statuses."""
    rest: Seconds = 0.0
    """How long ago its end must be."""


class Reruns(Picks):
    """Settled workflows are executed again, under the same id, in the same place of the list."""

    duration: Spread | None = None
    """In the place of the job's own."""
    outcomes: Outcomes | None = None
    """In the place of the job's own; ``before_running`` says how many end before they start."""


class Edits(Picks):
    """Settled workflows are edited: ``updated_at`` moves, and nothing else."""

    to_top: bool = True
    """Whether the row is then on the first page."""


class Deletions(Picks):
    """Settled workflows are deleted."""


class Vanishing(Picks):
    """Workflows are gone, from the list and by their id, and come back; open ones among them."""

    lasts: Spread = Field(default=Spread(min=5.0, max=60.0), alias="for")
