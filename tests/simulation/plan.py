"""What happens in one simulated run: all of it follows from the seed.

Each thing that can be left out has a name, so that a failure can be shrunk to what it needs.
To add a fault, add an entry to `TRAITS` or `FAULTS`, or a kind of event to `_events` and what it
does to `Run`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, Final, get_args

from exporter.simulator.faults import MalformedList, MalformedSnapshot
from tests.simulation.scheduler import EPOCH

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

STORM_SECONDS: Final = 480.0
"""For so long everything may go wrong, where a kept plan says nothing else. After that the weather
is fair, and no more work comes."""

HEALING_SECONDS: Final = 3600.0
"""By then everything must be right."""

MOST_STEPS: Final = 3_000_000
MOST_STEPS_A_DAY: Final = 300_000

ACCOUNT: Final = "studio"

_Draw = "Callable[[Random], dict[str, Any]]"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that befalls the exporter, its machine or its network at a time."""

    at: float
    kind: str
    much: float = 0.0
    """How long it lasts, or when exactly it strikes."""


@dataclass(slots=True)
class Plan:
    """One run."""

    seed: int
    service: str = "first"
    scenario: dict[str, Any] = field(default_factory=dict)
    account: dict[str, Any] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    latency: float = 0.02
    eagerness: float = 0.05
    cost: float = 2e-5
    wall_error: float = 0.0
    storm: float = STORM_SECONDS
    """For so many seconds everything may go wrong."""
    settle: float = 150.0
    """So many seconds after all was right it must be so still."""
    paces: list[float] = field(default_factory=lambda: [25.0, 50.0])
    """Seconds between two scrapes of each server."""
    metrics: dict[str, Any] = field(default_factory=dict)
    """The configuration's `metrics`."""
    has_boot_id: bool = True
    """Whether the machine says which of its starts this is."""
    days: float = 0.0
    """For so many days it lives, in a long run; 0: it is a short one."""
    reconciling: dict[str, float] = field(default_factory=dict)
    """The pace at which totals are compared and the list is audited, where it is not ours."""
    epoch: float = EPOCH
    """The service's wall clock at the start, if it is the simulator."""
    patience: float = HEALING_SECONDS
    """By so many seconds of fair weather everything must be right."""
    parts: list[str] = field(default_factory=list)
    """The names of all that was not left out."""

    @property
    def shows_all_rows(self) -> bool:
        """Whether a list that could be read has shown whatever is in it, and there is room."""
        hides = {"trait:broken", "fault:malformed_list"}
        return hides.isdisjoint(self.parts) and self.account.get("max_open_workflows", 0) > 1000

    @property
    def interval(self) -> float:
        """By so much more than in a short run the list may be old."""
        return float(self.account["listing"]["interval"]) if self.days else 0.0

    @property
    def lookback(self) -> float:
        """How far back the list is read."""
        return float(self.account["listing"]["lookback"])

    @property
    def steps(self) -> int:
        """With more steps of threads something goes round in circles."""
        return MOST_STEPS + int(self.days * MOST_STEPS_A_DAY)

    def as_json(self) -> dict[str, Any]:
        """All of it, to be kept: what a seed draws changes with what there is to be drawn."""
        return asdict(self)

    @classmethod
    def from_json(cls, kept: dict[str, Any]) -> Plan:
        """A plan that was kept."""
        return cls(**{**kept, "events": [Event(**event) for event in kept["events"]]})


def _window(random: Random, longest: float, storm: float) -> dict[str, Any]:
    longest = min(longest, storm / 2)
    begin = random.uniform(5, storm - longest)
    return {"from": begin, "to": begin + random.uniform(1, longest)}


# What the service does all the time, in runs that draw it.
TRAITS: Final[dict[str, Any]] = {
    "stamps": lambda r: {
        place: {
            "unit": r.choice(("s", "ms", "us", "ns")),
            "rounding": r.choice(("truncated", "rounded")),
            "zone": r.choice(("Z", "+00:00", "")),
        }
        for place in ("list", "subscribe", "get")
    },
    "missing": lambda r: [
        r.choice(
            (
                {"stamp": "completed_at", "places": ["subscribe"], "share": 0.5, "for": 10.0},
                {"stamp": "updated_at", "places": ["list"], "share": 0.5, "absent": True},
                {"stamp": "completed_at", "places": ["subscribe"], "share": 1.0},
            )
        )
    ],
    "statuses": lambda r: {"case": r.choice(("mixed", "upper", "title")), "share": 0.5},
    "words": lambda r: {"words": [{"word": "preparing", "instead_of": "uploaded", "share": 0.5}]},
    "causes": lambda r: [
        {"form": r.choice(("untold", "nan")), "share": 0.5, "places": ["subscribe"], "for": 20.0}
    ],
    "sizes": lambda r: {"list": 5000, "share": 0.1},
    "broken": lambda r: [{"share": 0.2}],
    "paging": lambda r: {
        "most": r.choice((5, 10, 50)),
        "first": r.choice((0, 1)),
        "beyond": r.choice(("empty", "last")),
    },
    "totals": lambda r: {"total": {"form": r.choice(("stale", "absent", "page")), "share": 0.3}},
    "replicas": lambda r: [
        {
            "share": r.uniform(0.05, 0.5),
            "lag": r.uniform(2, 30),
            "by": r.choice(("request", "workflow")),
        }
    ],
    "dates": lambda r: {"told": False} if r.random() < 0.5 else {"fast_by": r.uniform(-90, 0)},
    "clocks": lambda r: {"share": 0.5, "by": {"min": 60, "max": 600}},
    "requeues": lambda r: {"share": 0.2},
    "late_starts": lambda r: {"share": 0.5},
    "edits": lambda r: [{"rate": 0.02, "depth": {"min": 0, "max": 30}}],
}

# Not `unknown_status`: with an end, a new word is an outcome, and this one is a lie.
_SNAPSHOTS: Final = tuple(v for v in get_args(MalformedSnapshot) if v != "unknown_status")
_LISTS: Final = tuple(v for v in get_args(MalformedList) if v != "item_unknown_status")

# What breaks answers and streams for a while.
FAULTS: Final[dict[str, Any]] = {
    "framing": lambda r: {"kind": "framing", "probability": 0.5},
    "malformed_snapshot": lambda r: {
        "kind": "malformed_snapshot",
        "variant": r.choice(_SNAPSHOTS),
        "probability": 0.5,
        "count": 3,
        "after": {"min": 0, "max": 5},
    },
    "drop": lambda r: {
        "kind": "drop",
        "probability": 0.5,
        "how": r.choice(("eof", "reset", "clean")),
        "cut": r.choice(("in_event", "between_events", "in_chunk")),
        "framing": r.choice(("chunked", "close")),
        "after": {"min": 1, "max": 8},
    },
    "silence": lambda r: {
        "kind": "silence",
        "probability": 0.5,
        "comments": r.random() < 0.5,
        "after": {"min": 0, "max": 5},
    },
    "garbage": lambda r: {"kind": "garbage", "probability": 0.3},
    "latency": lambda r: {
        "kind": "latency",
        "probability": 0.5,
        "delay": {"min": 0.1, "max": r.choice((2, 20))},
    },
    "status": lambda r: {
        "kind": "status",
        "probability": r.choice((0.1, 0.5, 1.0)),
        "code": r.choice((500, 502, 503, 504)),
        "body": r.choice(("json", "html", "empty")),
        **({"retry_after": r.choice((0, 2, 60))} if r.random() < 0.5 else {}),
    },
    "forbidden": lambda r: {
        "kind": "status",
        "probability": 1.0,
        "code": r.choice((403, 404, 400)),
        "body": "html",
    },
    "refused": lambda r: {
        "kind": "status",
        "probability": r.choice((0.2, 1.0)),
        "code": 401,
        "body": "json",
    },
    "edge_page": lambda r: {"kind": "edge_page", "probability": 0.5, "code": 200},
    "redirect": lambda r: {"kind": "redirect", "probability": 0.3},
    "reset": lambda r: {"kind": "reset", "probability": 0.3},
    "hang_up": lambda r: {"kind": "hang_up", "probability": 0.3},
    "no_answer": lambda r: {"kind": "no_answer", "probability": 0.3},
    "garbage_answer": lambda r: {"kind": "garbage_answer", "probability": 0.3},
    "slow_headers": lambda r: {"kind": "slow_headers", "probability": 0.1, "pause": 0.5},
    "malformed_list": lambda r: {
        "kind": "malformed_list",
        "variant": r.choice(_LISTS),
        "probability": 0.5,
    },
}

_LONGEST: Final = {"status": 120.0, "forbidden": 60.0, "refused": 60.0}
"""Seconds."""


class Parts:
    """Draws the parts of a plan, less what is left out.

    Args:
        plan: to which they are added.
        random: decides whether it has a part.
        without: names of parts that it does not have.
        prefix: of the seeds by which the parts themselves are drawn.
    """

    def __init__(
        self, plan: Plan, random: Random, without: Collection[str], prefix: str = ""
    ) -> None:
        self._plan, self._random, self._without = plan, random, without
        self._prefix = prefix

    def has(self, name: str, chance: float) -> bool:
        """Whether the plan has this part."""
        drawn = self._random.random() < chance
        if not drawn or name in self._without:
            return False
        self._plan.parts.append(name)
        return True

    def draw(self, name: str, make: Any, *arguments: Any) -> Any:
        """What `make` draws, by a generator of its own: what is left out changes nothing else."""
        return make(Random(f"{self._prefix}{self._plan.seed}/{name}"), *arguments)


def draw(seed: int, without: Collection[str] = ()) -> Plan:
    """The plan of a seed, less what is left out.

    Each seed turns on another part of all that can go wrong (swarm testing): where everything is
    always a little wrong, what one fault does hides behind what the others do.
    """
    random = Random(f"plan/{seed}")
    plan = Plan(seed)
    parts = Parts(plan, random, without)
    has, part = parts.has, parts.draw

    plan.storm = random.choice((45.0, 60.0, 60.0, 90.0, 90.0, 150.0))
    # A failure's series stands at 0 for 65 s, and what is counted twice may come late.
    plan.settle = random.choice((10.0, 10.0, 20.0, 100.0))
    plan.paces = list(random.choice(((25.0, 50.0), (25.0, 50.0), (6.0, 17.0))))
    plan.latency = random.choice((0.002, 0.02, 0.15))
    plan.eagerness = random.choice((0.0, 0.02, 0.2))
    plan.cost = random.choice((1e-6, 2e-5, 2e-4))
    plan.wall_error = random.choice((0.0, 0.0, 0.0, -30.0, 30.0, 600.0, -600.0))
    if seed % 3 == 2:
        plan.service = "second"
    traits: dict[str, Any] = {}
    chance = random.choice((0.0, 0.1, 0.2, 0.5))
    for name, make in TRAITS.items():
        if has(f"trait:{name}", chance):
            value = part(name, make)
            if name in ("words", "totals"):
                traits.setdefault({"words": "statuses", "totals": "paging"}[name], {}).update(value)
            else:
                traits[name] = value
    faults: list[dict[str, Any]] = []
    chance = random.choice((0.0, 0.05, 0.15, 0.4))
    for name, make in FAULTS.items():
        if has(f"fault:{name}", chance):
            longest = _LONGEST.get(name, plan.storm / 2)
            window = part(f"{name}/window", _window, longest, plan.storm)
            faults.append(part(name, make) | window)
    plan.scenario = _scenario(random, traits, faults)
    if has("burst", 0.25):
        at = random.uniform(5, plan.storm - 10)
        plan.scenario["arrivals"]["bursts"] = [{"at": at, "size": random.choice((10, 25, 60))}]
    plan.account = {
        "listing": {"interval": random.choice((5, 10, 20)), "lookback": 7200},
        "max_streams": random.choice((1, 4, 500)),
        "max_open_workflows": random.choice((6, 20_000, 20_000)),
        "rate_limit": {"reserve": random.choice((0.25, 0.25, 0.75, 0.0))},
    }
    if has("slices", 0.15):
        plan.metrics = {"slices": [{"label": "team", "from": "name", "match": r"^(\w+)"}]}
        plan.settle = 100.0  # a value that is seen for the first time stands at 0 for 65 s
    _events(plan, random.choice((0.0, 0.5, 1.0, 2.0)), has, part)
    # What is new is drawn last, so that it changes nothing that was drawn before.
    plan.has_boot_id = not has("no-boot-id", 0.2)
    plan.events.sort(key=lambda event: event.at)
    return plan


def _scenario(random: Random, traits: Any, faults: Any) -> dict[str, Any]:
    """What the simulator is told."""
    return {
        "name": "simulated",
        "arrivals": {"rate": random.choice((0.05, 0.1, 0.3, 1.0))},
        "start": {
            "finished": random.choice((0, 5, 40)),
            "finished_age": {"min": 300, "max": 3600},
        },
        "runners": [{"name": "gpu", "count": random.choice((1, 2, 4))}],
        "jobs": [
            {
                "name": "image",
                "duration": {"median": random.choice((2, 6)), "sigma": 0.7, "min": 1, "max": 40},
            }
        ],
        "outcomes": {
            "failed": 0.2,
            "cancelled": 0.08,
            "invalid": 0.05,
            "without_cause": 0.05,
            "before_running": 0.3,
        },
        "streams": {"interval": random.choice((2.0, 5.0)), "max_updates": random.choice((10, 120))},
        "traits": traits,
        "faults": faults,
    }


_KINDS: Final = {
    # What it is, how likely, and how long it lasts at most.
    "kill": (0.35, 60.0),
    "kill-later": (0.2, 60.0),
    "kill-in-commit": (0.35, 60.0),
    "power-cut": (0.25, 60.0),
    "stop": (0.2, 60.0),
    "reload": (0.25, 0.0),
    "push": (0.3, 0.0),
    "withdraw": (0.15, 0.0),
    "id-file": (0.3, 0.0),
    "away": (0.25, 60.0),
    "disk-full": (0.15, 60.0),
    "disk-read-only": (0.1, 60.0),
    "disk-failing": (0.15, 60.0),
    "others": (0.2, 40.0),
    "drop-connections": (0.25, 0.0),
    "clock-jumps": (0.1, 0.0),
    "standstill": (0.1, 60.0),
}
_SHORTEST: Final = 0.2


def lasting(random: Random, most: float) -> float:
    """A moment as often as a minute: each finds other things."""
    return float(_SHORTEST * (max(most, 1.0) / _SHORTEST) ** random.random())


def _events(plan: Plan, often: float, has: Callable[[str, float], bool], part: Any) -> None:
    for kind, (chance, longest) in _KINDS.items():
        for number in (1, 2):
            name = f"event:{kind}:{number}"
            if has(name, often * (chance if number == 1 else chance / 2)):
                plan.events.append(
                    part(
                        name,
                        lambda r, k, most: Event(r.uniform(5, plan.storm - 5), k, lasting(r, most)),
                        kind,
                        longest,
                    )
                )
