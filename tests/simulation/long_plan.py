"""What happens in a long run: weeks or months with little work, and a fault now and then.

A short run is a storm, and tries what goes wrong at once. A long one tries what takes days: rows
that are pruned, ids that run again long after, audits, baselines of totals, tokens that change, and
whatever grows or stops.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any, Final

from tests.simulation.plan import FAULTS, TRAITS, Event, Parts, Plan, lasting

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

HOUR: Final = 3600.0
DAY: Final = 24 * HOUR

LONGEST_OUTAGE: Final = 6 * HOUR

EPOCHS: Final = (
    1_767_225_600.0,  # 2026-01-01
    1_772_150_400.0,  # 2026-02-27
    1_792_886_400.0,  # 2026-10-25, the end of summer time
    1_798_675_200.0,  # 2026-12-31
    1_835_222_400.0,  # 2028-02-27, before a leap day
)

_LONG_TRAITS: Final = ("stamps", "statuses", "sizes", "paging", "totals", "replicas", "edits")
"""Those with which whatever ran again long after can be told from what ran before."""

_KINDS: Final = (
    "kill",
    "kill",
    "kill-later",
    "kill-in-commit",
    "power-cut",
    "stop",
    "reload",
    "push",
    "withdraw",
    "id-file",
    "away",
    "disk-full",
    "disk-read-only",
    "disk-failing",
    "others",
    "drop-connections",
    "clock-jumps",
    "standstill",
    "token",
    "token",
)
_SHORT: Final = {"others": 40.0}
"""How long these last at most; a request comes every quarter of a second."""


def draw_long(seed: int, days: float, without: Collection[str] = ()) -> Plan:
    """The long plan of a seed, less what is left out."""
    random = Random(f"long/{seed}")
    plan = Plan(seed, days=days, storm=days * DAY)
    parts = Parts(plan, random, without, prefix="long/")
    has, part = parts.has, parts.draw

    plan.epoch = random.choice(EPOCHS)
    plan.paces = list(random.choice(((1800.0, 7000.0), (3600.0, 5000.0), (7200.0, 10_000.0))))
    plan.latency = random.choice((0.002, 0.02, 0.15))
    plan.eagerness = random.choice((0.0, 0.02))
    plan.cost = random.choice((1e-6, 2e-5, 2e-4))
    plan.wall_error = random.choice((0.0, 0.0, 0.0, -30.0, 30.0, 600.0))
    interval = random.choice((1800.0, 3600.0, 3600.0, 3600.0))
    lookback = random.choice((8 * HOUR, DAY, 2 * DAY, 7 * DAY))
    plan.account = {
        "listing": {"interval": interval, "lookback": lookback},
        "max_streams": random.choice((1, 4, 500)),
        "max_open_workflows": 20_000,
        "rate_limit": {"reserve": random.choice((0.25, 0.25, 0.75))},
    }
    every, audit = random.choice((HOUR, 2 * HOUR)), random.choice((6 * HOUR, DAY))
    plan.reconciling = {"every": every, "audit": audit, "again": 2 * HOUR}
    outage = min(LONGEST_OUTAGE, lookback / 8)
    # What nobody shows any more can be counted by nobody: by then each end was found.
    found_by = 2 * audit + 4 * every + 4 * interval + 2 * outage
    plan.patience = found_by + 12 * HOUR
    plan.settle = random.choice((600.0, DAY))
    plan.scenario = _scenario(random, days)
    if has("trait:reruns", 0.7):
        plan.scenario["traits"]["reruns"] = [part("reruns", _reruns, found_by)]
    if has("trait:deletions", 0.3):
        plan.scenario["traits"]["deletions"] = [part("deletions", _changes, found_by)]
    chance = random.choice((0.0, 0.2, 0.5))
    for name in _LONG_TRAITS:
        if has(f"trait:{name}", chance):
            value = part(name, TRAITS[name])
            if name == "totals":
                plan.scenario["traits"].setdefault("paging", {}).update(value)
            elif name == "edits":
                plan.scenario["traits"][name] = [part("edits/rare", _changes, 0.0)]
            else:
                plan.scenario["traits"][name] = value
    _faults(plan, random.choice((0.0, 0.1, 0.3)), outage, has, part)
    if has("slices", 0.15):
        plan.metrics = {"slices": [{"label": "team", "from": "name", "match": r"^(\w+)"}]}
    _events(plan, random.choice((0.05, 0.15, 0.4)), outage, has, part)
    plan.events.sort(key=lambda event: event.at)
    return plan


def _scenario(random: Random, days: float) -> dict[str, Any]:
    bursts = []
    for _ in range(int(days / 10)):
        at = random.uniform(HOUR, days * DAY - HOUR)
        bursts.append({"at": at, "size": random.choice((5, 20, 60))})
    return {
        "name": "long",
        "arrivals": {"rate": random.choice((1, 1, 3, 10)) / DAY, "bursts": bursts},
        "start": {
            "finished": random.choice((0, 5, 20, 100)),
            "finished_age": {"min": 300, "max": 3600},
        },
        "runners": [{"name": "gpu", "count": random.choice((1, 4))}],
        "jobs": [
            {
                "name": "image",
                "duration": {
                    "median": random.choice((6, 60)),
                    "sigma": 1.5,
                    "min": 1,
                    "max": 4 * HOUR,
                },
            }
        ],
        "outcomes": {
            "failed": 0.2,
            "cancelled": 0.08,
            "invalid": 0.05,
            "without_cause": 0.05,
            "before_running": 0.3,
        },
        "streams": {"interval": 60.0, "max_updates": 120},
        "traits": {},
        "faults": [],
    }


def _reruns(random: Random, found_by: float) -> dict[str, Any]:
    return {
        "rate": random.choice((0.3, 1.0, 3.0)) / DAY,
        "depth": {"min": 0, "max": random.choice((20, 300))},
        "from_bottom": random.random() < 0.5,
        # A row that is `invalid` does not say when it became so: where the row of the run before
        # was pruned, it may have been so then.
        "ended": ["completed", "failed", "cancelled"],
        "outcomes": {"failed": 0.3, "cancelled": 0.1, "invalid": 0.0, "before_running": 0.3},
        "rest": found_by,
    }


def _changes(random: Random, rest: float) -> dict[str, Any]:
    return {
        "rate": random.choice((0.3, 2.0)) / DAY,
        "depth": {"min": 0, "max": random.choice((20, 300))},
        "from_bottom": random.random() < 0.5,
        "rest": rest,
    }


def _faults(
    plan: Plan, often: float, outage: float, has: Callable[[str, float], bool], part: Any
) -> None:
    """Each kind of fault a few times, for minutes or hours."""
    for name, make in FAULTS.items():
        for number in range(1, 1 + max(1, int(plan.days / 10))):
            each = f"fault:{name}:{number}"
            if has(each, often):
                begin = part(f"{each}/begin", lambda r: r.uniform(HOUR, plan.storm - outage))
                lasts = part(f"{each}/lasts", lambda r: 60.0 + lasting(r, outage - 60.0))
                window = {"from": begin, "to": begin + lasts}
                plan.scenario["faults"].append(part(each, make) | window)


def _events(
    plan: Plan, often: float, outage: float, has: Callable[[str, float], bool], part: Any
) -> None:
    """So many events a day, of any kind."""
    for number in range(max(2, int(plan.days))):
        kind = part(f"kind:{number}", lambda r: r.choice(_KINDS))
        name = f"event:{kind}:{number}"
        if has(name, often):
            longest = _SHORT.get(kind, outage)
            event = part(
                name,
                lambda r, most: Event(r.uniform(60, plan.storm - 60), "", lasting(r, most)),
                longest,
            )
            much = 2 * plan.interval + HOUR if kind == "clock-jumps" else event.much
            plan.events.append(Event(event.at, kind, much))
