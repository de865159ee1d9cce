"""The endpoints for pushed ids.

    POST /api/v1/workflows            {"workflows": ["<id>", …], "account": "<name>"}
    DELETE /api/v1/workflows/{id}     follow it no more

Each needs `Authorization: Bearer <push token>`. The account may be left out where the token is
that of one account only.
"""

from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from exporter.config import parse_workflow_id
from exporter.observations import CannotTakeUp
from exporter.sources.pushed import PushedIds
from exporter.web.answers import Refused

PUSH_PATH: Final = "/api/v1/workflows"

MAX_BODY_BYTES: Final = 1024 * 1024
MAX_IDS: Final = 10_000


ID_SCHEMA: Final = {
    "type": "string",
    "format": "uuid",
    "pattern": "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$",
}
"""As a workflow's id is described. It is checked elsewhere, for all of a push at once."""

_Id = Annotated[str, WithJsonSchema(ID_SCHEMA)]


class Push(BaseModel):
    """The body of a push."""

    model_config = ConfigDict(extra="forbid")

    workflows: Annotated[list[_Id], Field(min_length=1, max_length=MAX_IDS)]
    account: str | None = None


class Taken(BaseModel):
    """The answer to a push."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    taken_up: int
    """So many are followed from now on that were not."""
    known: int
    """So many were known and are open."""
    looked_at: int | None = None
    """So many were known and have ended: the service is asked whether they run again. Not there
    where it would be 0."""


class PushEndpoints:
    """The handlers; each is given the accounts for which its caller may speak."""

    def __init__(self, pushed: PushedIds) -> None:
        self._pushed = pushed

    async def accounts_of(self, request: Request) -> list[str]:
        """For which accounts the caller may speak; raises `Refused`.

        404 while no account allows pushing: a reload may change that.
        """
        if not self._pushed.allowed:
            raise Refused(404, "no account takes pushed ids")
        # Comparing reads the tokens' files.
        accounts = await run_in_threadpool(self._pushed.accounts_of, _token(request))
        if not accounts:
            raise Refused(401, "missing or wrong push token")
        return accounts

    async def push(self, request: Request, accounts: list[str]) -> Response:
        """Take ids up."""
        body = _parsed(await _body(request))
        account = _account(body.account, accounts)
        ids, wrong = _ids(body.workflows)
        if wrong:
            raise Refused(400, f"not workflow ids, at these places of the list: {wrong[:20]}")
        try:
            result = await run_in_threadpool(self._pushed.push, account, ids)
        except CannotTakeUp as error:
            raise Refused(503, f"{error}; push them again in a moment") from None
        answer = {"taken_up": result.taken_up, "known": result.known}
        if result.looked_at:
            answer["looked_at"] = result.looked_at
        return JSONResponse(answer, 202)

    async def withdraw(self, request: Request, accounts: list[str]) -> Response:
        """Follow an id no more."""
        account = _account(request.query_params.get("account"), accounts)
        ids, wrong = _ids([request.path_params["workflow_id"]])
        if wrong:
            raise Refused(400, "not a workflow id")
        if not await run_in_threadpool(self._pushed.withdraw, account, ids[0]):
            raise Refused(404, "no such open workflow")
        return Response(status_code=204)


def _token(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


async def _body(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise Refused(413, "the body is larger than 1 MiB")
    return body


def _parsed(body: bytes) -> Push:
    try:
        return Push.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        reason = f"{place}: {first['msg']}" if place else "the body is not JSON"
        raise Refused(
            400, f'{reason}; right would be {{"workflows": ["<id>"], "account": "<name>"}}'
        ) from None


def _account(named: str | None, allowed: list[str]) -> str:
    if named is None and len(allowed) == 1:
        return allowed[0]
    if named is None:
        raise Refused(400, "name the account: the token is that of several")
    if named not in allowed:
        raise Refused(403, "this token is not that of the account")
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
