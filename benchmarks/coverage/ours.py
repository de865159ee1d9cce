"""The exporter itself, which also writes down when it counted what.

Takes the exporter's own command line; the environment names the files.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, Final

import requests

from benchmarks.coverage.counted import CAUSE, DURATION, CountedLog
from exporter.cli import main
from exporter.following.lister import Lister
from exporter.following.open_checks import OpenChecks
from exporter.interfaces.observations import Observation, Recovery
from exporter.ledger import tracker
from exporter.ledger.counting import CountingRules
from exporter.ledger.facts import Fact, Failed, Finished, Ignored, Ran
from exporter.ledger.ledger import Ledger
from exporter.ledger.slicing import SliceLabels
from exporter.ledger.totals import Totals
from exporter.ledger.workflow import Workflow

FILE_VARIABLE: Final = "COUNTED_FILE"
ROWS_VARIABLE: Final = "ROWS_FILE"
ASKED_VARIABLE: Final = "ASKED_FILE"

_WAYS: Final[tuple[tuple[type, str, str], ...]] = (
    (OpenChecks, "check", "open checks"),
    (Lister, "_sweep_on", "sweep"),
    (Ledger, "recover", "reconciling"),
)
"""By method: by what is found all that is observed within it."""

_here: Final = threading.local()


def tell_ways() -> None:
    """From now on, know by what each outcome is found."""
    for owner, name, way in _WAYS:
        setattr(owner, name, _within(way, getattr(owner, name)))
    observe = Ledger.observe

    def observe_by(self: Ledger, observation: Observation) -> bool:
        _here.end = observation.completed_at
        if getattr(_here, "way", ""):
            return observe(self, observation)
        return bool(_within(observation.via, observe)(self, observation))

    Ledger.observe = observe_by  # type: ignore[method-assign]
    recover = Ledger.recover

    def recover_by(self: Ledger, observation: Observation) -> Recovery:
        _here.end = observation.completed_at
        return recover(self, observation)

    Ledger.recover = recover_by  # type: ignore[method-assign]


def _within(way: str, method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def call(owner: object, *arguments: object) -> object:
        _here.way = way
        try:
            return method(owner, *arguments)
        finally:
            _here.way = ""

    return call


def write_down(log: CountedLog) -> None:
    """From now on, write down each outcome, cause and duration when it enters the totals."""
    count = Totals.add

    def add(
        self: Totals,
        account: str,
        workflow_id: str,
        fact: Fact,
        wall: float,
        slices: SliceLabels = (),
    ) -> None:
        count(self, account, workflow_id, fact, wall, slices)
        if isinstance(fact, Finished):
            way, end = getattr(_here, "way", ""), getattr(_here, "end", None)
            log.add(workflow_id, fact.status.value, way, end, fact.seconds)
        elif isinstance(fact, Ran):
            log.add(workflow_id, DURATION, seconds=fact.seconds)
        elif isinstance(fact, Failed):
            log.add(workflow_id, CAUSE)

    Totals.add = add  # type: ignore[method-assign]


def write_requests(path: Path) -> None:
    """From now on, write down when each request was sent, and its URL."""
    file = path.open("w", encoding="ascii", buffering=1)
    send = requests.adapters.HTTPAdapter.send

    @wraps(send)
    def write(
        self: requests.adapters.HTTPAdapter,
        request: requests.PreparedRequest,
        *arguments: Any,  # noqa: ANN401 - as it is
        **named: Any,  # noqa: ANN401 - as it is
    ) -> requests.Response:
        file.write(json.dumps([time.time(), request.url]) + "\n")
        return send(self, request, *arguments, **named)

    requests.adapters.HTTPAdapter.send = write  # type: ignore[method-assign]


def write_rows(path: Path) -> None:
    """From now on, write down what was said of each workflow, and what the tracker made of it.

    What was said again in the same way, and changed nothing, is left out. For anyone who looks for
    the reason of a wrong count.
    """
    file = path.open("w", encoding="utf-8", buffering=1)
    observe = tracker.observe
    last: dict[tuple[str, str], list[Any]] = {}

    def write(workflow: Workflow | None, seen: Observation, rules: CountingRules) -> tracker.Change:
        change = observe(workflow, seen, rules)
        said = [seen.status, seen.updated_at, seen.started_at, seen.completed_at, seen.created_at]
        facts = [type(each).__name__ for each in change.facts if not isinstance(each, Ignored)]
        after = change.workflow
        made = None if after is None else [after.run, after.phase]
        if facts or last.get((seen.workflow_id, seen.via)) != [*said, made]:
            last[seen.workflow_id, seen.via] = [*said, made]
            row = [seen.workflow_id, seen.said_at, seen.via, *said, made, facts]
            file.write(json.dumps(row) + "\n")
        return change

    tracker.observe = write


if __name__ == "__main__":
    tell_ways()
    write_down(CountedLog(Path(os.environ[FILE_VARIABLE])))
    if ROWS_VARIABLE in os.environ:
        write_rows(Path(os.environ[ROWS_VARIABLE]))
    if ASKED_VARIABLE in os.environ:
        write_requests(Path(os.environ[ASKED_VARIABLE]))
    sys.exit(main())
