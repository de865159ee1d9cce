"""The endpoints for pushed ids.

    POST /api/v1/workflows            {"workflows": ["<id>", …], "account": "<name>"}
    GET  /api/v1/workflows            what is open
    DELETE /api/v1/workflows/{id}     follow it no more

Each needs `Authorization: Bearer <push token>`. The account may be left out where the token is
that of one account only.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from exporter.config import parse_workflow_id
from exporter.observations import CannotTakeUp
from exporter.sources.pushed import PushedIds
from exporter.web.workers import Workers

PUSH_PATH: Final = "/api/v1/workflows"

MAX_BODY_BYTES: Final = 1024 * 1024
MAX_IDS: Final = 10_000


_HEADERS: Final = {401: {"WWW-Authenticate": "Bearer"}, 503: {"Retry-After": "10"}}


class _Push(BaseModel):
    """The body of a push."""

    model_config = ConfigDict(extra="forbid")

    workflows: Annotated[list[str], Field(min_length=1, max_length=MAX_IDS)]
    account: str | None = None


class _Refused(Exception):  # noqa: N818 - an answer, not an error of ours
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.answer = JSONResponse(
            {"status": status, "message": message},
            status,
            headers=_HEADERS.get(status),
        )


def push_routes(pushed: PushedIds, workers: Workers) -> list[Route]:
    """The routes. They answer 404 while no account allows pushing: a reload may change that."""
    endpoints = _Endpoints(pushed, workers)
    return [
        Route(PUSH_PATH, endpoints.answering(endpoints.push), methods=["POST"]),
        Route(PUSH_PATH, endpoints.answering(endpoints.show), methods=["GET"]),
        Route(
            PUSH_PATH + "/{workflow_id}",
            endpoints.answering(endpoints.withdraw),
            methods=["DELETE"],
        ),
    ]


_Handler = Callable[[Request, list[str]], Awaitable[Response]]


class _Endpoints:
    def __init__(self, pushed: PushedIds, workers: Workers) -> None:
        self._pushed = pushed
        self._workers = workers

    def answering(self, handle: _Handler) -> Callable[[Request], Awaitable[Response]]:
        """An endpoint that knows for which accounts its caller may speak."""

        async def endpoint(request: Request) -> Response:
            if not self._pushed.allowed:
                return _Refused(404, "no account takes pushed ids").answer
            # Comparing reads the tokens' files.
            accounts = await self._workers.run(self._pushed.accounts_of, _token(request))
            if not accounts:
                return _Refused(401, "missing or wrong push token").answer
            try:
                return await handle(request, accounts)
            except _Refused as refused:
                return refused.answer

        return endpoint

    async def push(self, request: Request, accounts: list[str]) -> Response:
        body = _parsed(await _body(request))
        account = _account(body.account, accounts)
        ids, wrong = _ids(body.workflows)
        if wrong:
            raise _Refused(400, f"not workflow ids, at these places of the list: {wrong[:20]}")
        try:
            result = await self._workers.run(self._pushed.push, account, ids)
        except CannotTakeUp as error:
            raise _Refused(503, f"{error}; push them again in a moment") from None
        answer = {"taken_up": result.taken_up, "known": result.known}
        if result.looked_at:
            answer["looked_at"] = result.looked_at
        return JSONResponse(answer, 202)

    async def show(self, request: Request, accounts: list[str]) -> Response:
        account = _account(request.query_params.get("account"), accounts)
        workflows = await self._workers.run(self._pushed.open_workflows, account)
        shown = [
            {
                "id": workflow.workflow_id,
                "status": None if workflow.status is None else workflow.status.value,
                "source": workflow.source,
            }
            for workflow in workflows
        ]
        return JSONResponse({"account": account, "workflows": shown})

    async def withdraw(self, request: Request, accounts: list[str]) -> Response:
        account = _account(request.query_params.get("account"), accounts)
        ids, wrong = _ids([request.path_params["workflow_id"]])
        if wrong:
            raise _Refused(400, "not a workflow id")
        if not await self._workers.run(self._pushed.withdraw, account, ids[0]):
            raise _Refused(404, "no such open workflow")
        return Response(status_code=204)


def _token(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


async def _body(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise _Refused(413, "the body is larger than 1 MiB")
    return body


def _parsed(body: bytes) -> _Push:
    try:
        return _Push.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        reason = f"{place}: {first['msg']}" if place else "the body is not JSON"
        raise _Refused(
            400, f'{reason}; right would be {{"workflows": ["<id>"], "account": "<name>"}}'
        ) from None


def _account(named: str | None, allowed: list[str]) -> str:
    if named is None and len(allowed) == 1:
        return allowed[0]
    if named is None:
        raise _Refused(400, "name the account: the token is that of several")
    if named not in allowed:
        raise _Refused(403, "this token is not that of the account")
    return named


def _ids(texts: list[str]) -> tuple[list[str], list[int]]:
    ids: list[str] = []
    wrong: list[int] = []
    for place, text in enumerate(texts):
        try:
            ids.append(parse_workflow_id(text))
        except ValueError:
            wrong.append(place)
    return ids, wrong
