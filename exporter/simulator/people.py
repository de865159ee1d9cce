"""Names and tags as people give them: whose a workflow is, and of which template.

They place nothing: no runner asks for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

from pydantic import Field

from exporter.simulator.jobs import Name, Tags  # noqa: TC001 (pydantic needs it at run time)
from exporter.simulator.schema import Share, StrictModel

if TYPE_CHECKING:
    import random

HOSTILE_NAMES: Final = (
    "\u202eevil \u0000name\n# HELP x",
    '"} 1\ncomfycontrol_workflows_finished_total{account="studio"} 9',
    "ü" * 200,
    " ",
    "🦄" * 50,
    "../../etc/passwd",
    "a=b,c=d",
)
HOSTILE_TAGS: Final = (
    "team:\u202edaed",
    "team:" + "x" * 95,
    'team:"\\\n',
    "team:",
    "team:other",
    "team=a=b",
    "team: \t ",
)
"""Content that should not occur, but does."""


class People(StrictModel):
    """The users who send workflows. Without these fields, names are derived from the jobs."""

    teams: Tags = ()
    """Workflows are tagged `team:NAME`, every fourth `team=NAME`. The first sends the most."""
    environments: Tags = ()
    """Workflows are tagged `env:NAME`."""
    templates: Annotated[tuple[Name, ...], Field()] = ()
    """Named `TEMPLATE vN`."""
    untagged: Share = 0.0
    """The part (0 to 1) of workflows without such tags."""
    distinct: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """The number of distinct names, if they do not come from templates."""
    hostile: Share = 0.0
    """Of all workflows, those with a hostile name and a hostile tag."""

    def name(self, dice: random.Random) -> str | None:
        """A name; None: one is made of its job."""
        if dice.random() < self.hostile:
            return dice.choice(HOSTILE_NAMES)
        if self.distinct:
            return f"render-{dice.randrange(self.distinct)}"
        if self.templates:
            return f"{_rising(dice, self.templates)} v{dice.randint(1, 30)}"
        return None

    def tags(self, dice: random.Random) -> tuple[str, ...]:
        """Tags that say whose it is, in any order."""
        if dice.random() < self.hostile:
            return (dice.choice(HOSTILE_TAGS),)
        if dice.random() < self.untagged:
            return ()
        tags = []
        if self.teams:
            mark = "=" if dice.random() < 0.25 else ":"
            tags.append(f"team{mark}{_rising(dice, self.teams)}")
        if self.environments:
            tags.append(f"env:{dice.choice(self.environments)}")
        dice.shuffle(tags)
        return tuple(tags)


def _rising(dice: random.Random, names: tuple[str, ...]) -> str:
    """One of some, the first twice as likely as the second, and so on down to the fifth."""
    weights = [2.0 ** -min(place, 4) for place in range(len(names))]
    return dice.choices(names, weights)[0]
