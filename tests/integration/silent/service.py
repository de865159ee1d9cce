"""A service over loopback sockets that does what its documents leave open, one account a case.

Written from the service's public pages only, not from the simulator. Its time is its own: a minute
passes with each step, and a step ends when the account's list was read a few times.
"""

import json
import threading
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Self
from urllib.parse import parse_qs, urlsplit

Row = Any
"""As the list shows it; most are objects."""

BASE: Final = datetime.now(UTC).timestamp() // 60 * 60 - 3600
"""When step 0 begins, by the service's clock: Unix seconds."""
STEP_SECONDS: Final = 60
FINAL: Final = {"completed", "failed", "cancelled"}


def iso(seconds: float, *, digits: int = 3, offset: int | None = None) -> str:
    """A stamp so many seconds after step 0 began.

    Args:
        seconds: after that.
        digits: of the fraction of a second.
        offset: hours east of Greenwich; None: UTC, written `Z`.
    """
    zone = UTC if offset is None else timezone(timedelta(hours=offset))
    moment = datetime.fromtimestamp(round(BASE + seconds, digits), zone)
    specs = {0: "seconds", 3: "milliseconds", 6: "microseconds"}
    return moment.isoformat(timespec=specs[digits]).replace("+00:00", "Z")


def identity(case: str, number: int = 0) -> str:
    """The id of a workflow of a case."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{case}/{number}"))


@dataclass
class Case:
    """One account, and what its service does."""

    name: str
    steps: list[list[Row]]
    """What the list shows in each step, newest first. The first is from before the line."""
    expected: dict[str, int]
    """Outcomes, by status, as they are counted."""
    causes: dict[tuple[str, str], int] | None = None
    """Failures by node and exception, where the case is about that."""
    seconds: float | None = None
    """All runs together, where the case is about that."""
    measured: int | None = None
    """How many runs have a duration, where the case is about that."""
    most: int = 100
    """Rows of a page at the most."""
    first: int = 1
    """The number of the first page."""
    total: Callable[[int], Any] = lambda rows: rows
    """What it tells as the total of so many rows."""
    tells_time: bool = True
    snapshots: dict[int, list[Any]] = field(default_factory=dict)
    """By step, what a stream says instead of what the list shows: objects, or bytes as they are."""
    details: dict[int, dict[str, Any]] = field(default_factory=dict)
    """By step, what the workflow by itself says beyond its row."""
    refuses: dict[int, tuple[int, str, str]] = field(default_factory=dict)
    """By step: status, kind and body of every answer. Endpoints of one workflow only, where the
    kind ends in a star."""
    step: int = 0

    def page(self, number: int, size: int, status: str | None) -> dict[str, Any]:
        """One page of the list."""
        shown = [
            row
            for row in self.steps[self.step]
            if status is None or (isinstance(row, dict) and row.get("status") == status)
        ]
        size, number = min(size, self.most), number - self.first + 1
        total = self.total(len(shown))
        given = {"workflows": shown[(number - 1) * size : number * size]}
        return given if total is None else {**given, "total": total}

    def row(self, workflow: str) -> dict[str, Any] | None:
        """One workflow, as the list shows it."""
        for row in self.steps[self.step]:
            if isinstance(row, dict) and row.get("id") == workflow:
                return row
        return None


class Service:
    """Answers for every case, each known by its token: `cfc_a` and its number."""

    def __init__(self, cases: list[Case]) -> None:
        self._cases = {f"cfc_a{number}": case for number, case in enumerate(cases)}
        self.listed: Counter[str] = Counter()
        """How often the first page of the whole list was asked for, by case."""
        self.ended = threading.Event()

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def base_url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def case(self, authorization: str) -> Case:
        """Whose token this is."""
        return self._cases[authorization.removeprefix("Bearer ")]


def _handler(service: Service) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            case = service.case(self.headers["Authorization"])
            url = urlsplit(self.path)
            asked = {name: values[0] for name, values in parse_qs(url.query).items()}
            workflow = url.path.removeprefix("/v1/workflow").strip("/")
            refused = case.refuses.get(case.step)
            if refused is not None and (workflow or not refused[1].endswith("*")):
                self._answer(case, refused[0], refused[2].encode(), refused[1].rstrip("*"))
            elif not workflow:
                self._list(case, asked)
            elif workflow.endswith("/subscribe"):
                self._follow(case, workflow.removesuffix("/subscribe"))
            else:
                row = case.row(workflow)
                told = {} if row is None else {**row, **case.details.get(case.step, {})}
                self._answer(case, 200 if told else 404, json.dumps(told).encode())

        def _list(self, case: Case, asked: dict[str, str]) -> None:
            page, size = int(asked.get("page", 1)), int(asked.get("per_page", 10))
            step = case.step
            body = json.dumps(case.page(page, size, asked.get("status"))).encode()
            self._answer(case, 200, body)
            if page <= 1 and "status" not in asked and step == case.step:
                service.listed[case.name] += 1

        def _answer(
            self, case: Case, status: int, body: bytes, kind: str = "application/json"
        ) -> None:
            self._begin(case, status, kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _begin(self, case: Case, status: int, kind: str) -> None:
            self.send_response_only(status)
            if case.tells_time:
                self.send_header(
                    "Date", formatdate(BASE + (case.step + 1) * STEP_SECONDS, usegmt=True)
                )
            self.send_header("Content-Type", kind)

        def _follow(self, case: Case, workflow: str) -> None:
            if case.row(workflow) is None and case.step not in case.snapshots:
                self._answer(case, 404, b'{"status": 404, "message": "no"}')
                return
            self._begin(case, 200, "text/event-stream")
            self.end_headers()
            try:
                self._say_all(case, workflow)
            except OSError:
                self.close_connection = True

        def _say_all(self, case: Case, workflow: str) -> None:
            while not service.ended.wait(0.05):
                row = case.row(workflow)
                said = case.snapshots.get(case.step)
                if said is None:
                    if row is None:
                        return
                    stamps = {name: row.get(name) for name in ("started_at", "completed_at")}
                    cause = case.details.get(case.step, {}).get("cause")
                    said = [{"status": row.get("status"), "cause": cause, **stamps}]
                for each in said:
                    if isinstance(each, bytes):
                        self.wfile.write(each)
                    else:
                        self.wfile.write(b"data: " + json.dumps(each).encode() + b"\n\n")
                self.wfile.flush()
                last = said[-1]
                if isinstance(last, dict) and str(last["status"]).strip().lower() in FINAL:
                    return

        def log_message(self, *_: object) -> None:
            pass

    return Handler
