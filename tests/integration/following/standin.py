"""A small service on loopback sockets, whose answers a test defines."""

import json
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, Self
from urllib.parse import urlsplit

Endpoint = Literal["list", "get", "subscribe"]

FINAL = {"completed", "failed", "cancelled"}
CAUSE = {"node_type": "KSampler", "exception_type": "ValueError", "exception_message": "no"}


@dataclass(frozen=True)
class Reply:
    """One answer."""

    body: bytes = b""
    status: int = 200
    kind: str = "application/json"
    events: Iterable[bytes] | None = None
    """The data of each event of a stream, instead of a body."""


def refusal(status: int) -> Reply:
    """A refusal by the service itself."""
    return Reply(json.dumps({"status": status, "message": "no"}).encode(), status)


def page(status: int) -> Reply:
    """An error page of a proxy."""
    return Reply(b"<!DOCTYPE html><title>Just a moment...</title>", status, "text/html")


def stamp(ago: float = 0.0) -> str:
    """A stamp of the service, this many seconds ago."""
    moment = datetime.fromtimestamp(datetime.now(UTC).timestamp() - ago, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass
class StandIn:
    """Answers according to its rows, unless a test replaces the answer of an endpoint."""

    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Workflows by id, the oldest first."""
    instead: dict[Endpoint, Callable[[str], Reply | None]] = field(default_factory=dict)
    """By endpoint: returns the answer about an id (empty: the list); None: the normal answer."""
    asked: Counter[tuple[str, str]] = field(default_factory=Counter)
    """How many requests there were, by endpoint and id."""
    date: Callable[[], float | None] = lambda: datetime.now(UTC).timestamp()
    """The time in its answers in Unix seconds; None: they have none."""

    def __enter__(self) -> Self:
        self._ended = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = False
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def account(self, **more: Any) -> dict[str, Any]:
        """The configuration of one account, without a limit and without ids."""
        return {
            "name": "studio",
            "token": "cfc_token",
            "base_url": self.base_url,
            "rate_limit": {"requests": 100_000, "per": "1s", "reserve": 0},
            **more,
        }

    def create(self, status: str = "running", **fields: Any) -> str:
        """Create a workflow; by default it has just started."""
        workflow = str(uuid.uuid4())
        self.rows[workflow] = {
            "id": workflow,
            "status": status,
            "tags": [],
            "created_at": stamp(),
            "updated_at": stamp(),
            "started_at": stamp(),
            "completed_at": None,
            **fields,
        }
        return workflow

    def end(self, workflow: str, status: str, **fields: Any) -> None:
        """End a workflow."""
        self.rows[workflow] |= {
            "status": status,
            "completed_at": stamp(),
            "error_node": CAUSE["node_type"] if status.lower() == "failed" else None,
            "exception_type": CAUSE["exception_type"] if status.lower() == "failed" else None,
            **fields,
        }

    def snapshot(self, workflow: str, **fields: Any) -> bytes:
        """The present event of its stream."""
        row = self.rows[workflow]
        said = {name: row[name] for name in ("status", "started_at", "completed_at")}
        cause = CAUSE if row["status"].lower() == "failed" else None
        return json.dumps({**said, "queue_number": None, "cause": cause, **fields}).encode()

    def _answer(self, endpoint: Endpoint, workflow: str) -> Reply:
        instead = self.instead.get(endpoint)
        reply = None if instead is None else instead(workflow)
        if reply is not None:
            return reply
        if endpoint == "list":
            rows = list(reversed(self.rows.values()))
            return Reply(json.dumps({"workflows": rows, "total": len(rows)}).encode())
        if workflow not in self.rows:
            return refusal(404)
        if endpoint == "get":
            return Reply(json.dumps(self.rows[workflow]).encode())
        return Reply(kind="text/event-stream", events=self._follow(workflow))

    def _follow(self, workflow: str) -> Iterator[bytes]:
        while (row := self.rows.get(workflow)) is not None:
            yield self.snapshot(workflow)
            if row["status"].lower() in FINAL:
                return

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                workflow = urlsplit(self.path).path.removeprefix("/v1/workflow").strip("/")
                endpoint: Endpoint = "get" if workflow else "list"
                if workflow.endswith("/subscribe"):
                    endpoint, workflow = "subscribe", workflow.removesuffix("/subscribe")
                service.asked[endpoint, workflow] += 1
                reply = service._answer(endpoint, workflow)
                self.send_response_only(reply.status)
                date = service.date()
                if date is not None:
                    self.send_header("Date", formatdate(date, usegmt=True))
                self.send_header("Content-Type", reply.kind)
                if reply.events is None:
                    self.send_header("Content-Length", str(len(reply.body)))
                self.end_headers()
                try:
                    self._send(reply)
                except OSError:
                    self.close_connection = True

            def _send(self, reply: Reply) -> None:
                if reply.events is None:
                    self.wfile.write(reply.body)
                    return
                for event in reply.events:
                    self.wfile.write(b"data: " + event + b"\n\n")
                    self.wfile.flush()
                    if service._ended.wait(0.02):
                        return

            def log_message(self, *_: object) -> None:
                pass

        return Handler
