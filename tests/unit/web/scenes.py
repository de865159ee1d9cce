"""What an exporter may see, invented, for tests of the pages and for anyone who works on them.

`python -m tests.unit.web.scenes busy --port 8000` serves one of them.
"""

import argparse
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from threading import Thread
from typing import Literal

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp
from uvicorn.config import Config as UvicornConfig
from uvicorn.server import Server as UvicornServer

from exporter.interfaces.views import (
    AccountView,
    Belief,
    Budget,
    Event,
    Failures,
    Overview,
    Plot,
    Problem,
    Views,
    WorkflowQuery,
    WorkflowRow,
    WorkflowStory,
    WorkflowTable,
)
from exporter.web.html import HtmlParts, PageLink, html_routes
from exporter.web.listening import listen, parse_listen_address

NOW = 1_700_000_100.0

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "\u202egnp.exe\u2066 right to left",
    "W" * 200,
    "Z" + "\u0335\u0336\u0337\u0338" * 40 + "algo",
    "{{ 7 * 7 }}{% raw %}",
    "../../etc/passwd?a=b#c",
    "עברית العربية",
    "line\nbreak\x00\x1b[31mred\ud800",
    "javascript:alert(1)",
)


@dataclass
class Scene:
    """Views that show what they were given."""

    shown: Overview
    rows: Sequence[WorkflowRow] = ()
    stories: Mapping[str, WorkflowStory] = field(default_factory=dict)
    step: Callable[["Scene"], None] | None = None
    others: Mapping[str, str] = field(default_factory=dict)
    """Accounts that other replicas count."""
    calls: int = 0
    table: WorkflowTable | None = None
    """Shown whatever is asked for: looking among many would be what is measured."""

    def overview(self) -> Overview:
        self.calls += 1
        if self.step:
            self.step(self)
        return self.shown

    def workflows(self, query: WorkflowQuery) -> WorkflowTable:
        self.calls += 1
        if self.table is not None:
            return self.table
        found = [row for row in self.rows if _matches(row, query)]
        found.sort(key=lambda row: (_key(row, query), row.id), reverse=query.descending)
        pages = max(1, math.ceil(len(found) / query.per_page))
        page = min(query.page, pages)
        start = (page - 1) * query.per_page
        return WorkflowTable(tuple(found[start : start + query.per_page]), len(found), page, pages)

    def elsewhere(self) -> Mapping[str, str]:
        return self.others

    def workflow(self, workflow_id: str) -> WorkflowStory | None:
        self.calls += 1
        if workflow_id in self.stories:
            return self.stories[workflow_id]
        row = next((row for row in self.rows if row.id == workflow_id), None)
        return None if row is None else story(row)

    def filters(self) -> Mapping[str, tuple[str, ...]]:
        labels = {label for row in self.rows for label in row.slices}
        return {
            "account": tuple(account.name for account in self.shown.accounts),
            "status": tuple(sorted({row.status for row in self.rows})),
            "node_type": tuple(sorted({row.node_type for row in self.rows if row.node_type})),
            **{
                label: tuple(sorted({row.slices.get(label, "") for row in self.rows} - {""}))
                for label in sorted(labels)
            },
        }


def _matches(row: WorkflowRow, query: WorkflowQuery) -> bool:
    return (
        (row.phase == "open") == (query.phase == "open")
        and query.account in (None, row.account)
        and query.status in (None, row.status)
        and query.node_type in (None, row.node_type)
        and all(row.slices.get(label) == value for label, value in query.slices.items())
        and row.id.startswith(query.prefix)
    )


def _key(row: WorkflowRow, query: WorkflowQuery) -> tuple[bool, float | str]:
    value: float | str | None = {
        "age": row.age_seconds,
        "status": row.status,
        "position": row.position,
        "run": row.run_seconds,
        "seen": row.seen_seconds_ago,
        "ended": row.ended_at,
    }[query.sort]
    return (value is None) != query.descending, value if value is not None else (
        "" if query.sort == "status" else 0.0
    )


def uuid(number: int) -> str:
    digits = f"{random.Random(number).getrandbits(128):032x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def story(row: WorkflowRow) -> WorkflowStory:
    began = NOW - (row.age_seconds or 0.0)
    events = [
        Event(began + 1, "found", "Found in the list as accepted.", "list"),
        Event(began + 2, "stream", "A stream was opened.", "stream"),
        Event(began + 3, "changed", "Queued, place 4.", "stream"),
    ]
    if row.phase == "open":
        return WorkflowStory(row, tuple(events))
    end = row.ended_at or NOW
    events += [
        Event(began + 60, "changed", "Running.", "stream"),
        Event(end + 0.4, "changed", f"Ended as {row.status}.", "stream"),
        Event(end + 0.5, "counted", f"Counted as {row.status}.", ""),
        Event(end + 0.6, "stream", "The stream ended: the workflow has.", "stream"),
    ]
    return WorkflowStory(row, tuple(events), counted_as=row.status)


def account(name: str = "studio", **changes: object) -> AccountView:
    calm = AccountView(
        name=name,
        up=True,
        down_reason="",
        down_since=None,
        last_error="",
        last_error_at=None,
        open={"accepted": 0, "uploaded": 0, "queued": 0, "running": 0, "other": 0},
        streams=0,
        longest_waiting_id=None,
        longest_waiting_since=None,
        outcomes={"completed": 0, "failed": 0, "cancelled": 0, "invalid": 0},
        failures=(),
        plots=plots(0),
        budget=Budget("api.comfycontrol.app", 4, 30, 40, 10.0, 0.0),
        belief=Belief(None, 2.0, 0, 0, 41.0),
    )
    return replace(calm, **changes)  # type: ignore[arg-type]


def plots(scale: float, *, unknown: int = 0) -> tuple[Plot, ...]:
    drawn = random.Random(7)

    def values(most: float) -> tuple[float | None, ...]:
        return tuple(
            None if place < unknown else float(round(drawn.random() * most * scale))
            for place in range(60)
        )

    starts = tuple(
        None if place < unknown or not scale else 4 + 30 * drawn.random() for place in range(60)
    )
    return (
        Plot("Completed", "count", 60.0, values(12)),
        Plot("Failed or invalid", "count", 60.0, values(2)),
        Plot("Time to start, p95", "seconds", 60.0, starts),
    )


def overview(*accounts: AccountView, problems: tuple[Problem, ...] = ()) -> Overview:
    return Overview(
        at=NOW,
        version="1.2.3",
        revision="0123456789abcdef0123456789abcdef01234567",
        started_at=NOW - 90_000,
        problems=problems,
        accounts=accounts,
    )


def open_rows(number: int, accounts: Sequence[str] = ("studio", "agency")) -> list[WorkflowRow]:
    drawn = random.Random(1)
    rows = []
    for place in range(number):
        running = place % 5 == 0
        streamed = place % 3 != 2
        rows.append(
            WorkflowRow(
                id=uuid(place),
                account=accounts[place % len(accounts)],
                phase="open",
                status="running" if running else "queued",
                slices={"team": ("film", "web", "lab")[place % 3]} if place % 4 else {},
                position=None if running else place + 1,
                age_seconds=5.0 + place * 3.7,
                run_seconds=drawn.random() * 90 if running else None,
                wait_seconds=5.0 + place * 2.0,
                seen_by="stream" if streamed else "list",
                seen_seconds_ago=drawn.random() * 8,
                next_step="next list pass" if not streamed else "stream is read",
                next_step_in_seconds=None if streamed else drawn.random() * 5,
            )
        )
    return rows


def ended_rows(number: int, accounts: Sequence[str] = ("studio", "agency")) -> list[WorkflowRow]:
    rows = []
    for place in range(number):
        failed = place % 7 == 0
        rows.append(
            WorkflowRow(
                id=uuid(100_000 + place),
                account=accounts[place % len(accounts)],
                phase="settled",
                status="failed" if failed else "completed",
                slices={"team": ("film", "web")[place % 2]},
                age_seconds=100.0 + place * 11,
                run_seconds=8.0 + place % 40,
                wait_seconds=3.0 + place % 20,
                seen_by="stream",
                seen_seconds_ago=place * 9.0,
                ended_at=NOW - place * 9.0,
                node_type="KSampler" if failed else "",
                exception_type="torch.OutOfMemoryError" if failed else "",
            )
        )
    return rows


def idle() -> Scene:
    return Scene(overview(account()), ended_rows(3, ["studio"]))


def busy() -> Scene:
    failures = (
        Failures("KSampler", "torch.OutOfMemoryError", 31, 31 / 690, uuid(100_000)),
        Failures("LoadImage", "FileNotFoundError", 9, 9 / 690, uuid(100_007)),
        Failures("VAEDecode", "RuntimeError", 1, 1 / 690, uuid(100_014)),
    )
    studio = account(
        open={"accepted": 1, "uploaded": 0, "queued": 86, "running": 12, "other": 0},
        streams=40,
        longest_waiting_id=uuid(7),
        longest_waiting_since=NOW - 4_390,
        outcomes={"completed": 641, "failed": 41, "cancelled": 8, "invalid": 0},
        failures=failures,
        plots=plots(1),
        budget=Budget("api.comfycontrol.app", 27, 30, 40, 10.0, 0.0),
        belief=Belief(6.0, 4.0, 0, 2, 73.0),
        last_error="503",
        last_error_at=NOW - 1_260,
    )
    agency = account(
        "agency",
        open={"accepted": 0, "uploaded": 0, "queued": 3, "running": 2, "other": 0},
        streams=5,
        longest_waiting_id=uuid(21),
        longest_waiting_since=NOW - 48,
        outcomes={"completed": 58, "failed": 0, "cancelled": 0, "invalid": 0},
        plots=plots(0.2, unknown=20),
        belief=Belief(3.0, 2.0, 0, 0, 20.0),
    )
    problem = Problem(
        "warning",
        "studio",
        "86 workflows are queued and the oldest has waited for more than an hour.",
        "See whether the runners of this account are up.",
        NOW - 4_390,
    )
    return Scene(overview(studio, agency, problems=(problem,)), open_rows(104) + ended_rows(300))


def outage() -> Scene:
    seen = busy()
    studio, agency = seen.shown.accounts
    agency = replace(
        agency,
        up=False,
        down_reason="The service answers 503",
        down_since=NOW - 410,
        last_error="503",
        last_error_at=NOW - 4,
        open={},
        streams=0,
        longest_waiting_id=None,
        longest_waiting_since=None,
        belief=Belief(412.0, 411.0, None, 0, None),
    )
    studio = replace(
        studio,
        budget=Budget("api.comfycontrol.app", 15, 15, 40, 10.0, 6.0),
        last_error="429",
        last_error_at=NOW - 4,
    )
    problems = (
        Problem(
            "critical",
            "agency",
            "The account is down: the service answers 503.",
            "Nothing to do here: ids are kept, and what ended meanwhile is counted afterwards.",
            NOW - 410,
        ),
        Problem(
            "warning",
            "studio",
            "The service refuses requests (429), so fewer are sent.",
            "See what else uses this address, or raise the reserve.",
            NOW - 40,
        ),
    )
    return replace(seen, shown=overview(studio, agency, problems=problems))


def blind() -> Scene:
    unseen = account(
        up=False,
        down_reason="The token was refused (401)",
        down_since=NOW - 7_260,
        last_error="401",
        last_error_at=NOW - 9,
        open={},
        outcomes={},
        plots=plots(0, unknown=60),
        budget=None,
        belief=Belief(7_262.0, 7_263.0, 14, 3, 7_300.0),
    )
    problem = Problem(
        "critical",
        "studio",
        "The account is down: its token was refused (401).",
        "Put a valid token into its token file: it is read again by itself.",
        NOW - 7_260,
    )
    return Scene(overview(unseen, problems=(problem,)))


_PHASES: tuple[Literal["open", "settled"], ...] = ("open", "settled")


def hostile() -> Scene:
    rows = [
        WorkflowRow(
            id=text,
            account=text,
            phase=phase,
            status=text,
            slices={text: text},
            age_seconds=place * 1e9,
            run_seconds=-5.0,
            seen_seconds_ago=math.nan,
            next_step=text,
            next_step_in_seconds=-1.0,
            ended_at=1e18,
            node_type=text,
            exception_type=text,
        )
        for place, text in enumerate(HOSTILE)
        for phase in _PHASES
    ]
    accounts = [
        account(
            text,
            up=False,
            down_reason=text,
            down_since=NOW + 100,
            last_error=text,
            last_error_at=NOW,
            open={text: 1},
            outcomes={text: 1},
            failures=(Failures(text, text, 1, 1.0, text),),
            longest_waiting_id=text,
            longest_waiting_since=NOW - 10,
            plots=(Plot(text, "count", 60.0, (None, 0.0, 1e300)), Plot(text, "seconds", 60.0, ())),
            budget=Budget(text, 99, 0, 0, 0.0, 1.0),
        )
        for text in HOSTILE
    ]
    problems = tuple(Problem("critical", text, text, text, NOW) for text in HOSTILE)
    told = {
        row.id: WorkflowStory(
            row, (Event(NOW, "changed", row.id, ""),), 3, not_counted_because=row.id
        )
        for row in rows
    }
    return Scene(overview(*accounts, problems=problems), rows, told)


SCENES: Mapping[str, Callable[[], Scene]] = {
    "idle": idle,
    "busy": busy,
    "outage": outage,
    "blind": blind,
    "hostile": hostile,
}

LINKS = (
    PageLink("metrics", "Metrics", "for Prometheus"),
    PageLink("config", "Configuration", "what is in force, without its secrets"),
    PageLink("-/healthy", "Healthy", "the process lives"),
    PageLink("-/ready", "Ready", "every account had its first answer"),
    PageLink("https://example.com/docs", "Documentation", "metrics, alerts, runbooks"),
)


def pages_app(views: Views, wall: Callable[[], float] = lambda: NOW) -> Starlette:
    """The pages alone."""
    return Starlette(
        routes=html_routes(HtmlParts(views, LINKS, wall=wall)),
        middleware=[Middleware(GZipMiddleware, minimum_size=1000, compresslevel=4)],
    )


@contextmanager
def serving(app: ASGIApp, address: str = "127.0.0.1:0") -> Iterator[str]:
    """An application in a thread of its own; its base URL."""
    server = UvicornServer(
        UvicornConfig(app, log_config=None, lifespan="off", timeout_keep_alive=60)
    )
    sock = listen(parse_listen_address(address))
    thread = Thread(target=server.run, kwargs={"sockets": [sock]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    finally:
        server.should_exit = True
        server.force_exit = True
        thread.join(10)
        sock.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Serve an invented scene.")
    parser.add_argument("scene", choices=SCENES)
    parser.add_argument("--port", type=int, default=8000)
    arguments = parser.parse_args()
    with serving(pages_app(SCENES[arguments.scene]()), f"127.0.0.1:{arguments.port}") as url:
        print(url)  # noqa: T201
        input("Enter ends it. ")
