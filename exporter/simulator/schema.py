"""What every part of a scenario's schema is made of: a strict model, times and spreads.

A scenario is read by people who write YAML by hand, so every fault in it is told with its key, its
reason and its hint, all of them at once.
"""

from __future__ import annotations

import difflib
import math
import re
import typing
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

if TYPE_CHECKING:
    import random

_DURATION = re.compile(r"(?P<number>\d+(?:\.\d+)?)(?P<unit>ms|s|m|h|d)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class ScenarioError(ValueError):
    """A scenario, or a fault given at run time, that cannot be used.

    The text has one line per mistake, each naming the key, the reason and the hint.
    """


class StrictModel(BaseModel):
    """A part of a scenario: unknown keys are refused, and nothing changes after it was checked."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


def parse_seconds(value: object) -> object:
    """Read a time as people write it: ``250ms``, ``5s``, ``2m``, ``1.5h``, ``1d``, or seconds.

    Returns:
        Seconds as a float; anything that is neither text nor a number is returned as it came,
        for pydantic to refuse.

    Raises:
        ValueError: a text that is no time.
    """
    if isinstance(value, bool):
        raise ValueError("not a time; write it as 5s, 2m or 24h")  # noqa: TRY004 (pydantic's way)
    if not isinstance(value, str):
        return value
    match = _DURATION.fullmatch(value.strip())
    if match is None:
        raise ValueError(f"{value!r} is not a time; write it as 250ms, 5s, 2m, 24h or 1d")
    return float(match["number"]) * _UNITS[match["unit"]]


Seconds = Annotated[float, BeforeValidator(parse_seconds), Field(ge=0, allow_inf_nan=False)]
"""A duration: a float in seconds, or a text such as ``2m``."""

PositiveSeconds = Annotated[float, BeforeValidator(parse_seconds), Field(gt=0, allow_inf_nan=False)]
"""The same, and more than nothing."""

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
"""A part of a whole, from 0 to 1."""


class Spread(StrictModel):
    """Random lengths of time.

    Three forms: a plain time (always that), ``{min, max}`` (uniform), and
    ``{median, sigma, min, max}`` (lognormal, cut to the limits), which is what run times of real
    queues look like.
    """

    median: Seconds | None = None
    sigma: Annotated[float, Field(ge=0, le=5)] = 0.0
    min: Seconds = 0.0
    max: Seconds | None = None

    @model_validator(mode="before")
    @classmethod
    def _plain_time(cls, value: object) -> object:
        return {"median": value} if isinstance(value, str | int | float) else value

    @model_validator(mode="after")
    def _bounds(self) -> Spread:
        if self.max is not None and self.max < self.min:
            raise ValueError("max is below min; swap them")
        if self.median is None and self.max is None:
            raise ValueError("neither median nor max is set; write 12s, {min, max} or {median, …}")
        return self

    def draw(self, rng: random.Random) -> float:
        """Draw one length of time, in seconds."""
        upper = math.inf if self.max is None else self.max
        if self.median is None:
            return rng.uniform(self.min, upper)
        if self.sigma == 0:
            return max(self.min, min(upper, self.median))
        return max(self.min, min(upper, self.median * math.exp(rng.gauss(0.0, self.sigma))))


class Between(StrictModel):
    """A whole number drawn evenly; a plain number means always that one."""

    min: Annotated[int, Field(ge=0)]
    max: Annotated[int, Field(ge=0)]

    @model_validator(mode="before")
    @classmethod
    def _plain_number(cls, value: object) -> object:
        if isinstance(value, int) and not isinstance(value, bool):
            return {"min": value, "max": value}
        return value

    @model_validator(mode="after")
    def _bounds(self) -> Between:
        if self.max < self.min:
            raise ValueError("max is below min; swap them")
        return self

    def draw(self, rng: random.Random) -> int:
        """Draw one number, both ends included."""
        return rng.randint(self.min, self.max)


class Window(StrictModel):
    """A part of the simulated day: offsets from the simulator's start, scaled by ``speed``."""

    start: Seconds = Field(default=0.0, alias="from")
    end: Seconds | None = Field(default=None, alias="to")

    @model_validator(mode="after")
    def _order(self) -> Window:
        if self.end is not None and self.end <= self.start:
            raise ValueError("to is not after from; swap them")
        return self

    def holds(self, now: float) -> bool:
        """Whether the window is open, at ``now`` seconds after the simulator's start."""
        return self.start <= now and (self.end is None or now < self.end)


def explain(error: ValidationError, model: type[BaseModel], *, source: str) -> str:
    """Describe the errors of a document for its author.

    Args:
        error: what pydantic found.
        model: the model that the document was read as; it knows the keys that do exist.
        source: the document's name, put in front of every line.
    """
    lines = []
    problems = error.errors(include_url=False, include_context=False)
    for problem in problems:
        location = problem["loc"]
        if problem["type"] == "too_short" and any(
            other["loc"][: len(location)] == location for other in problems if other is not problem
        ):
            continue  # only looks empty, because each of its items is reported on its own
        key = _dotted(location) or "(document)"
        if problem["type"] == "extra_forbidden":
            lines.append(f"{source}: {key}: unknown key; {_suggest(location, model)}")
        elif problem["type"] == "missing":
            lines.append(f"{source}: {key}: missing; add it")
        else:
            reason = problem["msg"].removeprefix("Value error, ")
            lines.append(f"{source}: {key}: {reason[:1].lower()}{reason[1:]}")
    return "\n".join(lines)


def _dotted(location: tuple[int | str, ...]) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _suggest(location: tuple[int | str, ...], model: type[BaseModel]) -> str:
    owners = [model]
    for part in location[:-1]:
        if isinstance(part, int):
            continue
        # In a union told apart by `kind`, pydantic puts the kind into the location.
        tagged = [owner for owner in owners if _kind(owner) == part]
        if len(owners) > 1 and tagged:
            owners = tagged
            continue
        fields = owners[0].model_fields.items()
        owners = [
            found
            for name, info in fields
            if part in (name, info.alias)
            for found in _models_in(info.annotation)
        ]
        if not owners:
            return "remove it"
    known = [info.alias or name for name, info in owners[0].model_fields.items()]
    near = difflib.get_close_matches(str(location[-1]), known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"remove it; known here: {', '.join(known)}"


def _kind(model: type[BaseModel]) -> object:
    field = model.model_fields.get("kind")
    return None if field is None else field.default


def _models_in(annotation: object) -> list[type[BaseModel]]:
    # `tuple[Model, ...]` passes for a class as well, so what is within it is looked for first.
    within = typing.get_args(annotation)
    if not within and isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in within for model in _models_in(argument)]
