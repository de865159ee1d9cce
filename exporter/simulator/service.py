"""The service's calls over HTTP, and the edge in front of them."""

from __future__ import annotations

import contextlib
import re
import time
from typing import TYPE_CHECKING, Any, cast

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Route

from exporter.simulator import documents
from exporter.simulator.connection import SCOPE_KEY, Connection
from exporter.simulator.control import control_routes
from exporter.simulator.faults import LatencyFault, MalformedList, MalformedListFault
from exporter.simulator.malformed import LIST_VARIANTS, malformed_list
from exporter.simulator.order import execute
from exporter.simulator.schema import ScenarioError
from exporter.simulator.streams import StreamResponse
from exporter.simulator.submission import read_submission
from exporter.simulator.wire import html, response_of, write_raw
from exporter.simulator.workflow import ServiceStatus, Workflow

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from exporter.simulator.engine import Engine
    from exporter.simulator.faults import Endpoint

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_ACCOUNT_KEY = "simulator.account"
_MALFORMED_KEY = "simulator.malformed_list"

# The statuses that the service's list is documented to filter by.
_FILTERS = ("completed", "running", "queued", "failed", "cancelled")
_RUNNER_FILTERS = ("active", "disabled")


def make_app(engine: Engine) -> ASGIApp:
    """The whole service: the edge, the calls, and the simulator's own controls."""
    calls = _Calls(engine)
    routes = [
        Route("/v1/workflow", calls.list, methods=["GET"]),
        Route("/v1/workflow", calls.create, methods=["POST"]),
        Route("/v1/workflow/{id}", calls.get, methods=["GET"]),
        Route("/v1/workflow/{id}/subscribe", calls.subscribe, methods=["GET"]),
        Route("/v1/workflow/{id}/cancel", calls.cancel, methods=["POST"]),
        Route("/v1/workflow/{id}/execute", calls.execute, methods=["POST"]),
        Route("/v1/runner", calls.runners, methods=["GET"]),
        *control_routes(engine),
    ]
    app = Starlette(
        routes=routes,
        exception_handlers={HTTPException: _error_answer, ScenarioError: _mistake_answer},
    )
    return _Edge(engine, app)


async def _error_answer(_request: Request, error: Exception) -> Response:
    refused = cast("HTTPException", error)
    body = documents.error(refused.status_code, refused.detail)
    headers = dict(refused.headers or {})
    return Response(body, refused.status_code, headers, media_type="application/json")


async def _mistake_answer(_request: Request, error: Exception) -> Response:
    return _json(documents.error(400, str(error)), 400)


def _json(body: bytes, code: int = 200) -> Response:
    return Response(body, code, media_type="application/json")


class _Edge:
    """The middleware: rate limit, faults of answers, and counting of requests."""

    def __init__(self, engine: Engine, app: ASGIApp) -> None:
        self._engine = engine
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith("/_simulator"):
            await self._app(scope, receive, send)
            return
        engine, tally = self._engine, self._engine.tally
        endpoint, workflow = _classify(scope["method"], scope["path"])
        tally.requests[endpoint] += 1
        engine.on_activity()

        async def counting_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                date = engine.scenario.traits.dates.header()
                if date is not None:
                    message["headers"] = [*message["headers"], (b"date", date.encode())]
                tally.answers[endpoint][message["status"]] += 1
                engine.on_activity()
            await send(message)

        client = scope.get("client")
        retry_after = engine.limit.ask(client[0] if client else "", time.monotonic())
        if retry_after is not None:
            tally.refusals[endpoint] += 1
            await self._refusal(retry_after)(scope, receive, counting_send)
            return
        authorization = dict(scope["headers"]).get(b"authorization", b"").decode("latin-1")
        scope[_ACCOUNT_KEY] = engine.tokens.account(authorization)
        if await self._unharmed(scope, receive, counting_send, endpoint, workflow):
            await self._app(scope, receive, counting_send)

    async def _unharmed(
        self, scope: Scope, receive: Receive, send: Send, endpoint: Endpoint, workflow: str | None
    ) -> bool:
        """Apply faults to a request.

        Returns:
            Whether the service is still to answer it.
        """
        engine, connection = self._engine, cast("Connection", scope[SCOPE_KEY])
        dice = engine.faults.dice
        for fault in engine.faults.of_answer(engine.now(), endpoint, scope[_ACCOUNT_KEY], workflow):
            if isinstance(fault, LatencyFault):
                if not await connection.sleep(fault.delay.draw(dice)):
                    return False
            elif isinstance(fault, MalformedListFault):
                variant = fault.variant
                scope[_MALFORMED_KEY] = dice.choice(LIST_VARIANTS) if variant == "any" else variant
            else:
                response = response_of(fault)
                if response is None:
                    await write_raw(fault, connection, dice)
                else:
                    await response(scope, receive, send)
                return False
        return True

    def _refusal(self, retry_after: int) -> Response:
        headers = {"Retry-After": str(retry_after)}
        if self._engine.scenario.limit.body == "html":
            return html(429, headers)
        limit = self._engine.scenario.limit
        message = (
            f"Too many requests: at most {limit.requests} in {limit.per:g} s from one address."
        )
        body = documents.error(429, message)
        return Response(body, 429, headers, media_type="application/json")


_ENDPOINTS: dict[tuple[str, ...], Endpoint] = {
    ("GET", "v1", "workflow"): "list",
    ("POST", "v1", "workflow"): "create",
    ("GET", "v1", "workflow", "*"): "get",
    ("GET", "v1", "workflow", "*", "subscribe"): "subscribe",
    ("POST", "v1", "workflow", "*", "cancel"): "cancel",
    ("POST", "v1", "workflow", "*", "execute"): "execute",
    ("GET", "v1", "runner"): "runners",
}


def _classify(method: str, path: str) -> tuple[Endpoint, str | None]:
    """Which call a request is, and of which workflow, by its path alone, as an edge sees it."""
    parts = path.strip("/").split("/")
    identity = parts[2] if len(parts) > 2 else None
    shape = [*parts[:2], *(["*"] if identity else []), *parts[3:]]
    key = ("GET" if method == "HEAD" else method, *shape)
    return _ENDPOINTS.get(key, "other"), identity


class _Calls:
    """The calls themselves, each as the service's page has it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def list(self, request: Request) -> Response:
        account = _authorised(request)
        self._engine.pump()
        paging = self._engine.listing.paging
        page, per_page = _paging(request, first=paging.first)
        name = request.query_params.get("status")
        if name is not None and name not in _FILTERS:
            raise HTTPException(400, f"Invalid status: use one of {', '.join(_FILTERS)}.")
        lag = self._engine.lag("list")
        variant: MalformedList | None = request.scope.get(_MALFORMED_KEY)
        whole = contextlib.nullcontext()
        with whole if variant is None else self._engine.reporting.reaching_nobody():
            body = self._engine.listing.page(account, page, per_page, name, lag)
        if variant is not None:
            # A row that the trait `broken` has spoilt makes the page malformed by itself.
            with contextlib.suppress(orjson.JSONDecodeError):
                body = malformed_list(variant, body)
        return _json(body)

    async def get(self, request: Request) -> Response:
        workflow = self._workflow(request, self._engine.lag("get", _identity(request)))
        return _json(self._engine.reporting.detail_json(workflow))

    async def subscribe(self, request: Request) -> Response:
        lag = self._engine.lag("subscribe", _identity(request))
        return StreamResponse(self._engine, self._workflow(request, lag), lag)

    async def create(self, request: Request) -> Response:
        account = _authorised(request)
        submission = await read_submission(request)
        workflow = self._engine.world.create(
            self._engine.now(),
            account,
            name=submission.name,
            tags=submission.tags,
            graph=submission.graph,
            outcome=None if submission.valid else ServiceStatus.INVALID,
        )
        self._engine.pump()
        return self._row(workflow, 201)

    async def cancel(self, request: Request) -> Response:
        workflow = self._workflow(request)
        if not self._engine.cancel(workflow):
            raise HTTPException(400, f"The workflow is already {workflow.status.value}.")
        return self._row(workflow)

    async def execute(self, request: Request) -> Response:
        workflow = self._workflow(request)
        if not execute(self._engine, workflow, {}):
            raise HTTPException(400, f"The workflow is still {workflow.status.value}.")
        return self._row(workflow)

    async def runners(self, request: Request) -> Response:
        _authorised(request)
        page, per_page = _paging(request)
        status = request.query_params.get("status")
        if status is not None and status not in _RUNNER_FILTERS:
            raise HTTPException(400, f"Invalid status: use one of {', '.join(_RUNNER_FILTERS)}.")
        found = [
            runner
            for runner in self._engine.world.runners
            if status is None or runner.active == (status == "active")
        ]
        shown = found[(page - 1) * per_page : page * per_page]
        told: dict[str, Any] = {
            "runners": [documents.runner(each) for each in shown],
            "total": len(found),
        }
        return _json(orjson.dumps(told))

    def _row(self, workflow: Workflow, code: int = 200) -> Response:
        return _json(orjson.dumps(self._engine.reporting.row(workflow)), code)

    def _workflow(self, request: Request, lag: float = 0.0) -> Workflow:
        account = _authorised(request)
        identity = _identity(request)
        if _UUID.fullmatch(identity) is None:
            raise HTTPException(400, "Invalid workflow ID: must be a UUID.")
        self._engine.pump()
        workflow = self._engine.seen(identity, lag)
        # Another account's is not told apart from one that never was.
        if workflow is None or workflow.account != account:
            raise HTTPException(404, "Workflow not found.")
        return workflow


def _identity(request: Request) -> str:
    identity: str = request.path_params["id"]
    return identity.lower()


def _authorised(request: Request) -> str:
    account: str | None = request.scope[_ACCOUNT_KEY]
    if account is None:
        raise HTTPException(401, "Unauthorized: invalid or missing authentication token.")
    return account


def _paging(request: Request, first: int = 1) -> tuple[int, int]:
    return (
        _number(request, "page", default=first, least=first, most=1_000_000_000),
        _number(request, "per_page", default=10, least=1, most=100),
    )


def _number(request: Request, name: str, *, default: int, least: int, most: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    if not re.fullmatch(r"[0-9]{1,12}", text) or not least <= int(text) <= most:
        raise HTTPException(400, f"Invalid {name}: must be a number from {least} to {most}.")
    return int(text)
