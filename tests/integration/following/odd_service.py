"""A service that does otherwise than the simulator: small, and each manner plain to see."""

import contextlib
import json
import threading
import time
import uuid
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Literal, Self
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable

FINAL = ("completed", "failed", "cancelled", "invalid")

Row = dict[str, Any]


def iso(seconds: float) -> str:
    """A stamp, as the service writes it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


class OddService:
    """One account's workflows over HTTP, as a context manager. Newest first.

    All that it does otherwise is an attribute, and may be changed while it runs.
    """

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.most: int | None = None
        """More rows are never given."""
        self.always: int | None = None
        """So many rows are given, whatever is asked."""
        self.first_page: Literal[0, 1] = 1
        self.beyond: Literal["empty", "last", 400, 404] = "empty"
        self.total: Callable[[int], Any] = lambda total: total
        """What is told of a total, if anything but null."""
        self.tells_date = True
        self.filters: tuple[str, ...] = ("completed", "running", "queued", "failed", "cancelled")
        self.ignores_filters = False
        self.is_down = False
        self.spoil: Callable[[bytes], bytes] = lambda body: body
        """Changes the body of each page."""
        self.stalls: Callable[[bytes], bool] = lambda _: False
        """Whether the sending of a body stops in its middle."""
        self.over = threading.Event()
        self.asked: list[tuple[str, int, int, str | None]] = []
        """Of each request what, and of a list its number, size and filter."""
        self.lock = threading.Lock()
        service = self

        class Handler(_Handler):
            odd = service

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.base_url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()

    def add(self, status: str = "completed", *, age: float = 0.0, **fields: Any) -> Row:
        """A workflow that was created so many seconds ago; a final one has ended at once."""
        stamp = iso(time.time() - age)
        row: Row = {
            "id": str(uuid.uuid4()),
            "name": "n",
            "status": status,
            "tags": [],
            "created_at": stamp,
            "updated_at": stamp,
            "started_at": None,
            "completed_at": stamp if status in FINAL else None,
            **fields,
        }
        with self.lock:
            self.rows.insert(0, row)
        return row

    def change(self, row: Row, **fields: Any) -> None:
        """Change it where it stands."""
        with self.lock:
            row.update(fields)

    def count(self, what: str = "list") -> int:
        """How many requests of one kind there were."""
        with self.lock:
            return sum(each[0] == what for each in self.asked)

    def page(self, number: int, size: int, status: str | None) -> tuple[int, bytes]:
        """The answer to a request for a page: its code and body."""
        with self.lock:
            self.asked.append(("list", number, size, status))
            if status is not None and not self.ignores_filters:
                if status not in self.filters:
                    return 400, b'{"status":400,"message":"no such filter"}'
                rows = [row for row in self.rows if row["status"] == status]
            else:
                rows = self.rows
            given = self.always or min(size, self.most or size)
            first = (number - self.first_page) * given
            if first < 0:
                return 400, b'{"status":400,"message":"no such page"}'
            if first and first >= len(rows):
                if isinstance(self.beyond, int):
                    return self.beyond, b'{"status":404,"message":"no such page"}'
                if self.beyond == "last":
                    first = max(0, len(rows) - 1) // given * given
            document: dict[str, Any] = {"workflows": rows[first : first + given]}
            total = self.total(len(rows))
            if total is not None:
                document["total"] = total
            return 200, self.spoil(json.dumps(document).encode())

    def one(self, workflow_id: str) -> Row | None:
        """The workflow of this id."""
        with self.lock:
            self.asked.append(("get", 0, 0, None))
            return next((dict(row) for row in self.rows if row["id"] == workflow_id), None)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    odd: OddService

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        path = parts.path.strip("/").split("/")
        if self.odd.is_down:
            self._answer(503, b'{"status":503,"message":"down"}')
        elif len(path) == 2:
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            number, size = int(query.get("page", "1")), int(query.get("per_page", "10"))
            self._answer(*self.odd.page(number, size, query.get("status")))
        else:
            row = self.odd.one(path[2])
            if row is None:
                self._answer(404, b'{"status":404,"message":"none"}')
            elif len(path) == 3:
                self._answer(200, json.dumps(row).encode())
            else:
                event = f"data: {json.dumps(row)}\n\n".encode()
                self._answer(200, event, "text/event-stream")

    def _answer(self, code: int, body: bytes, kind: str = "application/json") -> None:
        self.send_response_only(code)
        if self.odd.tells_date:
            self.send_header("Date", self.date_time_string())
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        half = len(body) // 2 if self.odd.stalls(body) else len(body)
        with contextlib.suppress(ConnectionError):
            self.wfile.write(body[:half])
            if half < len(body):
                self.odd.over.wait(5.0)
            self.wfile.write(body[half:])

    def log_message(self, *_: object) -> None:
        """Nothing is said."""
