"""The invented workflows of one account: when they wait, run and end, and how. Pure; in seconds."""

import heapq
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

HOUR: Final = 3600.0
DAY: Final = 24 * HOUR

Span = tuple[float, float]
"""From and to, in seconds after the end of the history; the past is negative."""

USUAL_CAUSES: Final = (
    ("KSampler", "torch.cuda.OutOfMemoryError"),
    ("CheckpointLoaderSimple", "FileNotFoundError"),
    ("LoadImage", "PIL.UnidentifiedImageError"),
    ("VAEDecode", "RuntimeError"),
)


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of work: the median of its duration, and the spread."""

    median: float
    sigma: float = 0.4
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Failing:
    """A time in which this share fails, in one type of node."""

    span: Span
    share: float
    cause: tuple[str, str]


@dataclass(frozen=True, slots=True)
class Account:
    """The load of one account, and its problems."""

    name: str
    per_hour: float
    runners: int = 2
    kinds: Sequence[Kind] = (Kind(18.0, weight=3), Kind(120.0))
    waves: bool = False
    """Whether days are busy and nights are not."""
    quiet: Sequence[Span] = ()
    """When nothing arrives."""
    bursts: Sequence[tuple[float, int]] = ()
    """When several arrive at once, and how many."""
    failing: Sequence[Failing] = ()
    failed: float = 0.02
    stopped: Sequence[Span] = ()
    """When runners start nothing."""
    down: Sequence[tuple[float, float, str]] = ()
    """When its requests are answered with another code than 200."""
    teams: Sequence["Account"] = ()
    """The teams of the account, if the exporter has a slice for them; each has its own runners."""


@dataclass(slots=True)
class Run:
    """One workflow. Times are in seconds after the end of the history."""

    id: str
    created: float
    queued: float
    started: float
    """Infinite if it was cancelled before, or has not started yet."""
    ended: float
    outcome: str
    place: int = 1
    """The position at which it joined the queue."""
    cause: tuple[str, str] | None = None
    outputs: int = field(default=1)
    team: str | None = None
    """Its team, if the exporter has a slice for that."""


def day(account: Account, since: float, until: float, dice: random.Random) -> list[Run]:
    """All workflows that were created in this time, in the order of their creation."""
    if account.teams:
        every = [(team, run) for team in account.teams for run in day(team, since, until, dice)]
        for team, run in every:
            run.team = team.name
        return sorted((run for _, run in every), key=lambda run: run.created)
    free = [since] * account.runners
    heapq.heapify(free)
    waiting: list[float] = []
    runs = []
    for created in sorted(_arrivals(account, since, until, dice)):
        queued = created + dice.uniform(1, 4)
        while waiting and waiting[0] <= queued:
            heapq.heappop(waiting)
        outcome = dice.choices(("completed", "cancelled", "invalid"), (1 - 0.03, 0.02, 0.01))[0]
        run = Run(_uuid(dice), created, queued, math.inf, math.inf, outcome, len(waiting) + 1)
        if outcome == "invalid":
            run.queued = math.inf
            run.ended = created + 1
        else:
            started = _allowed(max(queued, heapq.heappop(free)) + dice.uniform(0.2, 0.8), account)
            kind = dice.choices(account.kinds, [kind.weight for kind in account.kinds])[0]
            took = kind.median * math.exp(dice.gauss(0, kind.sigma))
            run.started, run.ended = started, started + took
            run.outputs = dice.randint(1, 4)
            _maybe_failed(run, account, took, dice)
            heapq.heappush(free, run.ended)
            heapq.heappush(waiting, started)
        runs.append(run)
    return runs


def _maybe_failed(run: Run, account: Account, took: float, dice: random.Random) -> None:
    share, cause = account.failed, dice.choice(USUAL_CAUSES)
    for phase in account.failing:
        if phase.span[0] <= run.started < phase.span[1] and dice.random() < phase.share:
            share, cause = 1.0, phase.cause
    if run.outcome == "completed" and dice.random() < share:
        run.outcome, run.cause, run.outputs = "failed", cause, 0
        run.ended = run.started + took * dice.uniform(0.1, 0.6)


def _arrivals(account: Account, since: float, until: float, dice: random.Random) -> Iterator[float]:
    if account.per_hour:
        at = since
        most = account.per_hour * (1.6 if account.waves else 1)
        while (at := at + dice.expovariate(most / HOUR)) < until:
            usual = 1 + 0.6 * math.sin(2 * math.pi * (at / DAY + 0.2)) if account.waves else 1
            within = dice.random() * most < account.per_hour * usual
            if within and not any(a <= at < b for a, b in account.quiet):
                yield at
    for at, size in account.bursts:
        yield from (at + dice.uniform(0, 20) for _ in range(size))


def _allowed(moment: float, account: Account) -> float:
    for begin, end in account.stopped:
        if begin <= moment < end:
            return end + moment % 1
    return moment


def _uuid(dice: random.Random) -> str:
    digits = f"{dice.getrandbits(128):032x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
