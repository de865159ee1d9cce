"""The situations in which the dashboards are drawn."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from dashboards.pictures.day import DAY, HOUR, Account, Failing, Kind

MINUTE: Final = 60.0
_NODE: Final = ("VHS_VideoCombine", "FileNotFoundError")
_LATEST: Final = math.inf
_IMAGES: Final = (Kind(15.0),)
_STUDIO: Final = Account("studio", 55, runners=2, kinds=(Kind(18.0, weight=4), Kind(150.0)))
_FARM: Final = Account("farm", 120, runners=3, kinds=(Kind(25.0),), waves=True)
_TEAMS: Final = Account(
    "studio",
    per_hour=0,
    runners=9,
    teams=(
        Account("art", 120, runners=3, kinds=_IMAGES, waves=True),
        Account("ads", 60, runners=2, kinds=(Kind(18.0, weight=4), Kind(60.0))),
        Account(
            "video",
            50,
            runners=3,
            kinds=(Kind(90.0),),
            failing=[Failing((-40 * MINUTE, _LATEST), 0.75, _NODE)],
        ),
        Account("research", 16, runners=1, kinds=(Kind(150.0),), bursts=[(-50 * MINUTE, 22)]),
    ),
)


@dataclass(frozen=True, slots=True)
class Scene:
    """One situation, and the time range of its pictures."""

    name: str
    shows: str
    """A description, for the page that shows the picture."""
    accounts: Sequence[Account]
    minutes: int = 360
    history: float = 8 * DAY + HOUR
    """How far back Prometheus has data, in seconds."""
    first_screen: bool = False
    """Whether only the first screen of a dashboard is drawn."""
    boards: Sequence[str] = ("overview", "exporter-health")
    """Which dashboards are drawn, by the middle part of their names."""
    blind_since: float = _LATEST
    """When the exporter stopped, in seconds after the end of the history."""


_LIGHT: Final = Account(
    "studio",
    0.9,
    runners=1,
    kinds=(Kind(90.0, sigma=0.6),),
    bursts=((-3.2 * HOUR, 3), (-30 * HOUR, 3), (-80 * HOUR, 2)),
    failed=0.06,
)

SCENES: Final = (
    Scene(
        "idle",
        "nothing has arrived for two days",
        [Account("studio", 6, quiet=[(-2 * DAY, _LATEST)])],
    ),
    Scene("light-6h", "about one workflow an hour, over six hours", [_LIGHT]),
    Scene("light-7d", "the same account, over seven days", [_LIGHT], minutes=7 * 24 * 60),
    Scene(
        "busy",
        "two accounts at work, with a burst an hour and a half ago",
        [
            Account(
                "studio",
                130,
                runners=3,
                kinds=(Kind(18.0, weight=4), Kind(150.0)),
                waves=True,
                bursts=[(-90 * MINUTE, 60)],
            ),
            Account("farm", 220, runners=4, kinds=(Kind(25.0),), waves=True),
        ],
    ),
    Scene(
        "stopping",
        "runners have started nothing for six minutes: nothing fires yet",
        [
            Account(
                "studio",
                170,
                runners=3,
                kinds=_IMAGES,
                stopped=[(-6.5 * MINUTE, _LATEST)],
                bursts=[(-5 * MINUTE, 6)],
            ),
            Account("farm", 60, runners=2, kinds=_IMAGES),
        ],
        first_screen=True,
    ),
    Scene(
        "stuck",
        "the runners of one account have started nothing for 45 minutes",
        [
            Account(
                "studio",
                55,
                runners=2,
                kinds=(Kind(18.0, weight=4), Kind(90.0)),
                stopped=[(-45 * MINUTE, _LATEST)],
            ),
            _FARM,
        ],
    ),
    Scene(
        "failing",
        "one type of node has failed in one account for half an hour",
        [
            Account(
                "studio",
                110,
                runners=3,
                kinds=(Kind(20.0),),
                failing=[Failing((-32 * MINUTE, _LATEST), 0.45, _NODE)],
            ),
            _FARM,
        ],
    ),
    Scene(
        "teams",
        "an account with a slice for its teams: the workflows of one fail in one type of node, and "
        "those of another wait for its runners",
        [_TEAMS],
        boards=("overview",),
    ),
    Scene(
        "one-team",
        "the same, as one sees it first",
        [_TEAMS],
        first_screen=True,
        boards=("overview",),
    ),
    Scene(
        "outage",
        "the service has answered with 503 for 14 minutes, and the token of one account was "
        "refused before that",
        [
            Account(
                "studio",
                55,
                runners=2,
                kinds=_STUDIO.kinds,
                down=[(-26 * MINUTE, -14 * MINUTE, "401"), (-14 * MINUTE, _LATEST, "503")],
            ),
            Account(
                "farm",
                120,
                runners=3,
                kinds=(Kind(25.0),),
                waves=True,
                down=[(-14 * MINUTE, _LATEST, "503")],
            ),
        ],
    ),
    Scene(
        "blind",
        "the exporter has not been reached for 12 minutes",
        [_STUDIO, _FARM],
        first_screen=True,
        blind_since=-12 * MINUTE,
    ),
    Scene(
        "twelve",
        "twelve accounts: one fails always, and the token of another is refused",
        [
            Account(
                f"brand-{number:02}",
                14 + number,
                runners=1,
                kinds=_IMAGES,
                failing=[Failing((-DAY, _LATEST), 1.0, ("UNETLoader", "ValueError"))]
                if number == 7
                else [],
                down=[(-20 * MINUTE, _LATEST, "401")] if number == 4 else [],
            )
            for number in range(1, 13)
        ],
        history=30 * HOUR,
    ),
    Scene(
        "week",
        "three accounts over a week, one of which wastes more than the others",
        [
            _STUDIO,
            Account("farm", 60, runners=3, kinds=(Kind(25.0),), waves=True),
            Account(
                "lab",
                20,
                runners=2,
                kinds=(Kind(120.0),),
                failed=0.05,
                failing=[Failing((-3 * DAY, _LATEST), 0.35, _NODE)],
            ),
        ],
        minutes=7 * 24 * 60,
        history=14 * DAY + 2 * HOUR,
        boards=("usage",),
    ),
    Scene(
        "week-teams",
        "the teams of one account over a week, one of which has wasted more than the others since "
        "three days",
        [
            Account(
                "studio",
                per_hour=0,
                runners=8,
                teams=(
                    Account("art", 40, runners=3, kinds=_IMAGES, waves=True),
                    Account("ads", 25, runners=2, kinds=_STUDIO.kinds),
                    Account(
                        "video",
                        20,
                        runners=3,
                        kinds=(Kind(120.0),),
                        failing=[Failing((-3 * DAY, _LATEST), 0.4, _NODE)],
                    ),
                ),
            )
        ],
        minutes=7 * 24 * 60,
        history=14 * DAY + 2 * HOUR,
        boards=("usage",),
    ),
)
