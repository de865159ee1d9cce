"""Which seed finds each planted fault, and what notices it; kept as JSON, told as a table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypedDict

from tests.simulation.mutations.planted import PLANTED

if TYPE_CHECKING:
    from collections.abc import Mapping

FILE: Final = Path(__file__).parent / "found.json"
PAGE: Final = Path(__file__).parents[3] / "docs/reliability.md"

HEAD: Final = "| planted | file | found by seed | what notices it |\n| --- | --- | --- | --- |\n"

_SAID: Final = (
    ("stepped back", "a counter steps back"),
    ("ago, it says", "the list is not read any more"),
    ("the list was read", "what the list shows is not known"),
    ("outcomes are", "the outcomes are not the service's"),
    ("causes are", "the causes are not the service's"),
    ("are still open", "workflows stay open"),
    ("in truth", "the durations are not the service's"),
    ("in the window than are allowed", "the page shows more requests than are allowed"),
    ("that knew of none", "a start that knows nothing sends too many requests"),
    ("in the period until", "more requests than our share"),
    ("requests were refused", "the service refuses requests"),
    ("the service wants none", "a request before `Retry-After` is over"),
    ("wait for a thread", "streams wait for a thread for ever"),
    ("did not stop", "the stop takes too long"),
    ("threads are left", "threads are left after the stop"),
    ("a secret", "a secret is logged"),
    ("began at", "a failure's series does not begin at 0"),
    ("increase of", "`increase()` is not what was counted"),
    ("is not finished", "discovered is not finished, dropped and open"),
    ("account_up", "`account_up` is wrong"),
    ("no end after", "it goes round in circles"),
    ("nothing can happen", "everything waits"),
    ("a traceback", "a traceback is logged"),
)
"""What a check says, in short. The first that fits is told."""


class Found(TypedDict):
    """What is known of one planted fault."""

    seed: int
    noticed: str


def in_short(said: str) -> str:
    """What noticed it, without the numbers of the run."""
    return next((short for part, short in _SAID if part in said), said[:60])


def read() -> dict[str, Found]:
    """What was found, by the names of the faults."""
    found: dict[str, Found] = json.loads(FILE.read_text("utf-8"))
    return found


def write(found: Mapping[str, Found]) -> None:
    """Keep what was found, and put the table on its page."""
    names = [each.name for each in PLANTED if each.name in found]
    ordered = {name: found[name] for name in names}
    FILE.write_text(json.dumps(ordered, indent=1, ensure_ascii=False) + "\n", "utf-8")
    page = PAGE.read_text("utf-8")
    before, rest = page.split(HEAD)
    after = rest.partition("\n\n")[2]
    PAGE.write_text(f"{before}{table(ordered)}\n{after}", "utf-8")


def table(found: Mapping[str, Found]) -> str:
    """The table, one line for each planted fault."""
    rows = []
    for each in PLANTED:
        known = found.get(each.name)
        seed, noticed = ("none", "nothing") if known is None else (known["seed"], known["noticed"])
        rows.append(f"| {each.name} | `{each.file}` | {seed} | {noticed} |\n")
    return HEAD + "".join(rows)
