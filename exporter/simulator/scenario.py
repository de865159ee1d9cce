"""Scenarios: what a simulated ComfyControl is asked to do, written down as YAML.

Every time in a scenario is a time of the simulated day: ``speed`` divides it. The exceptions are
the rate limit (the service's clock does not run faster because our workload does) and delays on
the wire, which are met by clients' real timeouts.
"""

from __future__ import annotations

import importlib.resources
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from exporter.simulator.causes import CAUSES, CauseSpec
from exporter.simulator.faults import Fault  # noqa: TC001 (pydantic needs it at run time)
from exporter.simulator.jobs import Job, Name, Outcomes, Stages, Tags
from exporter.simulator.people import People
from exporter.simulator.schema import (
    PositiveSeconds,
    ScenarioError,
    Seconds,
    Spread,
    StrictModel,
    Window,
    explain,
)
from exporter.simulator.traits import Traits


class Account(StrictModel):
    """Who owns workflows. One account's token does not open another's."""

    name: Name
    tokens: tuple[Annotated[str, Field(min_length=1, pattern=r"^[\x21-\x7e]+$")], ...] = ()
    """Bearer tokens that are accepted; without any, one is made from the seed."""
    weight: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    """Its part of the arrivals."""


class Burst(StrictModel):
    """Many workflows at once."""

    at: Seconds
    size: Annotated[int, Field(ge=1)]
    every: PositiveSeconds | None = None
    """Repeated after this time, without end."""


class Arrivals(StrictModel):
    """How workflows come in."""

    rate: Annotated[float, Field(ge=0, le=10_000, allow_inf_nan=False)] = 0.0
    """Workflows a second of the simulated day, over all accounts."""
    spacing: Literal["poisson", "fixed"] = "poisson"
    bursts: tuple[Burst, ...] = ()
    max_workflows: Annotated[int, Field(ge=0)] | None = None
    """Arrivals after which there are no more; those of the start do not count."""


class Start(StrictModel):
    """What is there already when the simulator starts."""

    finished: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    finished_age: Spread = Spread(min=60.0, max=6 * 3600.0)
    """Time from their creation to the start."""
    open: Annotated[int, Field(ge=0, le=100_000)] = 0
    open_age: Spread = Spread(min=0.0, max=600.0)


class Runners(StrictModel):
    """Equal runners. Each has one slot and a separate first-in, first-out queue."""

    name: Name
    count: Annotated[int, Field(ge=1, le=10_000)] = 1
    tags: Tags = ()
    """A workflow goes only where all of its tags are."""
    managed: bool = True
    status: Literal["active", "disabled"] = "active"
    stopped: tuple[Window, ...] = ()
    """Times in which nothing is started; what runs goes on."""


class Phase(Window):
    """A part of the day in which something differs."""

    rate_factor: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    outcomes: Outcomes | None = None
    causes: tuple[CauseSpec, ...] = ()


class Streams(StrictModel):
    """How the subscribe endpoint behaves."""

    interval: Seconds = 2.0
    max_updates: Annotated[int, Field(ge=1)] = 120
    queue_number_on_running: Literal[1] | None = 1
    """The service's own example still shows 1 on a running workflow; null hides it."""


class ScenarioLimit(StrictModel):
    """The edge's limit for one client address, over all calls. Never scaled by ``speed``."""

    enabled: bool = True
    requests: Annotated[int, Field(ge=1)] = 40
    per: PositiveSeconds = 10.0
    cooldown: Seconds = 10.0
    body: Literal["json", "html"] = "json"


_DEFAULT_JOB = Job(name="image", duration=Spread(median=12.0, sigma=0.5, min=3.0, max=90.0))


class Scenario(StrictModel):
    """One simulated day. See ``docs/simulator.md`` for all of its keys."""

    name: str = "custom"
    description: str = ""
    accounts: Annotated[tuple[Account, ...], Field(min_length=1)] = (Account(name="studio"),)
    arrivals: Arrivals = Arrivals()
    start: Start = Start()
    runners: Annotated[tuple[Runners, ...], Field(min_length=1)] = (Runners(name="gpu"),)
    jobs: Annotated[tuple[Job, ...], Field(min_length=1)] = (_DEFAULT_JOB,)
    stages: Stages = Stages()
    outcomes: Outcomes = Outcomes()
    causes: Annotated[tuple[CauseSpec, ...], Field(min_length=1)] = CAUSES
    phases: tuple[Phase, ...] = ()
    people: People = People()
    streams: Streams = Streams()
    limit: ScenarioLimit = ScenarioLimit()
    faults: tuple[Fault, ...] = ()
    traits: Traits = Traits()
    """What the service's documents leave open."""
    keep: Annotated[int, Field(ge=1)] = 250_000
    """How many workflows the list holds; above this number, the oldest settled ones are deleted."""

    @model_validator(mode="after")
    def _fits_together(self) -> Scenario:
        for what, names in (
            ("accounts", [a.name for a in self.accounts]),
            ("runners", [r.name for r in self.runners]),
            ("jobs", [j.name for j in self.jobs]),
        ):
            if len(set(names)) < len(names):
                raise ValueError(f"two {what} of one name; rename one")
        tokens = [token for account in self.accounts for token in account.tokens]
        if len(set(tokens)) < len(tokens):
            raise ValueError("a token is given twice; each belongs to one account")
        if sum(account.weight for account in self.accounts) <= 0:
            raise ValueError("all accounts have weight 0; give one a weight")
        for job in self.jobs:
            if not any(set(job.tags) <= set(runners.tags) for runners in self.runners):
                raise ValueError(
                    f"no runner has all tags of job {job.name!r} ({', '.join(job.tags)}); "
                    "add them to a runner, or its workflows wait for ever"
                )
        known = {account.name for account in self.accounts}
        for fault in self.faults:
            if fault.account is not None and fault.account not in known:
                raise ValueError(f"a fault is for account {fault.account!r}, which does not exist")
        return self


def bundled_scenarios() -> dict[str, str]:
    """The scenarios that come with the package: name to description, sorted by name."""
    return {name: load_scenario(name).description for name in _bundled_names()}


def load_scenario(source: str | Path) -> Scenario:
    """Read a scenario.

    Args:
        source: the name of a bundled scenario, or the path of a YAML file. A text with a slash or
            the ending ``.yml`` or ``.yaml`` is a path.

    Raises:
        ScenarioError: no such scenario, an unreadable file, or mistakes in it; one line for each.
    """
    text, name = _read(source)
    return parse_scenario(text, source=str(source), name=name)


def parse_scenario(text: str, *, source: str = "scenario", name: str = "custom") -> Scenario:
    """Read a scenario from YAML text.

    Raises:
        ScenarioError: with one line per mistake, each beginning with ``source``.
    """
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        problem = " ".join(str(error).split())
        raise ScenarioError(f"{source}: not YAML: {problem}") from None
    if document is None:
        document = {}
    if not isinstance(document, dict):
        raise ScenarioError(f"{source}: must be a mapping of keys, such as `arrivals: {{rate: 1}}`")
    try:
        return Scenario.model_validate({"name": name, **document})
    except ValidationError as error:
        raise ScenarioError(explain(error, Scenario, source=source)) from None


def _bundled_names() -> list[str]:
    folder = importlib.resources.files(__package__) / "scenarios"
    return sorted(
        entry.name.removesuffix(".yml") for entry in folder.iterdir() if entry.name.endswith(".yml")
    )


def _read(source: str | Path) -> tuple[str, str]:
    if isinstance(source, str) and "/" not in source and not source.endswith((".yml", ".yaml")):
        if source not in _bundled_names():
            known = ", ".join(_bundled_names())
            raise ScenarioError(
                f"{source}: no such scenario; bundled ones: {known}; or give a path to a YAML file"
            )
        entry = importlib.resources.files(__package__) / "scenarios" / f"{source}.yml"
        return entry.read_text(encoding="utf-8"), source
    path = Path(source)
    try:
        return path.read_text(encoding="utf-8"), path.stem
    except OSError as error:
        raise ScenarioError(f"{source}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise ScenarioError(f"{source}: is not UTF-8 text; save it as UTF-8") from None
