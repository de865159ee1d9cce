"""The endpoints for pushed ids.

    POST /api/v1/workflows            {"workflows": ["<id>", …], "account": "<name>"}
                                      instead of an id: {"id": …, "name": …, "tags": [ … ]}
    DELETE /api/v1/workflows/{id}     stop following it
    DELETE /api/v1/workflows          the same for several, with a body like that of POST

Each needs `Authorization: Bearer <push token>`. The account may be left out if the token belongs
to one account only.
"""

import logging
import time
from collections.abc import Callable, Mapping
from math import inf
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema
from pydantic_core import from_json
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from exporter.comfycontrol.text import clean
from exporter.config import parse_workflow_id
from exporter.interfaces.observations import TrackError, Traits
from exporter.sources.pushed import PushedIds, TooManyPushedError
from exporter.web.answers import RefusedError
from exporter.web.elsewhere import refuse_those
from exporter.web.workers import Workers

log = logging.getLogger(__name__)

MAX_BODY_BYTES: Final = 1024 * 1024
MAX_IDS: Final = 10_000
MAX_TAGS: Final = 64


ID_SCHEMA: Final = {
    "type": "string",
    "format": "uuid",
    "pattern": "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$",
}
"""How the API describes a workflow's id. Ids are checked elsewhere, all ids of a push at once."""

_Id = Annotated[str, WithJsonSchema(ID_SCHEMA)]

LOG_AGAIN_SECONDS: Final = 60.0
"""Seconds in which refused tokens cause only one log line, however many there are."""


_RIGHT: Final = 'right would be {"workflows": ["<id>"], "account": "<name>"}, or ["<id>"]'


class Named(BaseModel):
    """An id with the name and tags that its sender knows, for its slices."""

    model_config = ConfigDict(extra="forbid")

    id: _Id
    name: str | None = None
    tags: Annotated[list[str], Field(max_length=MAX_TAGS)] | None = None


class PushBody(BaseModel):
    """The body of a push. Its name and tags apply to all ids that have none of their own."""

    model_config = ConfigDict(extra="forbid")

    workflows: Annotated[list[_Id | Named], Field(min_length=1, max_length=MAX_IDS)]
    account: str | None = None
    name: str | None = None
    tags: Annotated[list[str], Field(max_length=MAX_TAGS)] | None = None

    def named(self) -> list[Named]:
        """All ids, each with its name and tags if given."""
        return [self._whole(one) for one in self.workflows]

    def _whole(self, one: str | Named) -> Named:
        named = Named(id=one) if isinstance(one, str) else one
        return Named(
            id=named.id,
            name=self.name if named.name is None else named.name,
            tags=self.tags if named.tags is None else named.tags,
        )


def _traits(named: Named) -> Traits | None:
    if named.name is None and named.tags is None:
        return None
    tags = None if named.tags is None else tuple(filter(None, map(clean, named.tags)))
    return Traits(None if named.name is None else clean(named.name), tags)


class PushAnswer(BaseModel):
    """The answer to a push."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    taken_up: int
    """How many ids were not followed before and are followed from now on."""
    known: int
    """How many ids were known and are open."""
    looked_at: int | None = None
    """How many ids were known and have ended: the service is asked whether they run again. Left out
    if it is 0."""


class Withdrawn(BaseModel):
    """The answer to `DELETE` with a list."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    withdrawn: int
    """How many ids were open and are no longer followed."""
    not_open: int
    """How many ids were not open."""


class RefusalLog:
    """Logs refusals of one kind at a limited rate.

    Args:
        message: The text of the log line.
        monotonic: The clock, in seconds.
    """

    def __init__(self, message: str, monotonic: Callable[[], float]) -> None:
        self._message = message
        self._monotonic = monotonic
        self._logged_at = -inf
        self._refused = 0

    def note(self, request: Request, **more: str) -> None:
        """Note a refusal; `more` is added to its log line."""
        self._refused += 1
        now = self._monotonic()
        if now - self._logged_at < LOG_AGAIN_SECONDS:
            return
        client = request.client.host if request.client else "unknown"
        log.warning(self._message, extra={"client": client, "refused": self._refused, **more})
        self._logged_at, self._refused = now, 0


class PushEndpoints:
    """The handlers; each receives the accounts that its caller may use."""

    def __init__(
        self,
        pushed: PushedIds,
        workers: Workers,
        elsewhere: Callable[[], Mapping[str, str]] = dict,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pushed = pushed
        self._elsewhere = elsewhere
        self._refused_tokens = RefusalLog("a push token was refused", monotonic)
        self._refused_ids = RefusalLog("pushed ids were refused: no room", monotonic)
        self._workers = workers

    async def accounts_of(self, request: Request) -> list[str]:
        """The accounts that the caller may use; raises `RefusedError`.

        It is a 404 while no account allows pushing; a reload may change that.
        """
        if not self._pushed.allowed:
            raise RefusedError(404, "no account accepts pushed ids")
        # This comparison reads the tokens' files, so it runs in a worker thread.
        accounts = await self._workers.run(self._pushed.accounts_of, _token(request))
        if not accounts:
            self._refused_tokens.note(request)
            raise RefusedError(401, "missing or wrong push token")
        return accounts

    async def push(self, request: Request, accounts: list[str]) -> Response:
        """Track the ids in the request."""
        account, named = await _named(request, accounts)
        refuse_those(self._elsewhere(), [account])
        given = {one.id: _traits(one) for one in named}
        traits = {one: known for one, known in given.items() if known is not None}
        ids = [one.id for one in named]
        try:
            result = await self._workers.run(self._pushed.push, account, ids, traits)
        except TooManyPushedError as error:
            self._refused_ids.note(request, account=account, reason=str(error))
            raise RefusedError(
                429,
                f"{error}; {error.taken_up} of these are now tracked: push the same again later",
            ) from None
        except TrackError as error:
            raise RefusedError(503, f"{error}; push them again in a moment") from None
        answer = {"taken_up": result.taken_up, "known": result.known}
        if result.looked_at:
            answer["looked_at"] = result.looked_at
        return JSONResponse(answer, 202)

    async def withdraw(self, request: Request, accounts: list[str]) -> Response:
        """Stop following an id."""
        account = _account(request.query_params.get("account"), accounts)
        ids, wrong = _ids([request.path_params["workflow_id"]])
        if wrong:
            raise RefusedError(400, "not a workflow id")
        refuse_those(self._elsewhere(), [account])
        if not await self._workers.run(self._pushed.untrack, account, ids[0]):
            raise RefusedError(404, "no such open workflow")
        return Response(status_code=204)

    async def withdraw_several(self, request: Request, accounts: list[str]) -> Response:
        """Stop following several ids."""
        account, named = await _named(request, accounts)
        refuse_those(self._elsewhere(), [account])
        ids = [one.id for one in named]
        withdrawn = await self._workers.run(self._withdraw_all, account, ids)
        return JSONResponse({"withdrawn": withdrawn, "not_open": len(ids) - withdrawn})

    def _withdraw_all(self, account: str, ids: list[str]) -> int:
        return sum(self._pushed.untrack(account, workflow_id) for workflow_id in ids)


async def _named(request: Request, accounts: list[str]) -> tuple[str, list[Named]]:
    """The account and the ids in the body, each with its name and tags if given."""
    body = _parsed(await _body(request))
    account = _account(body.account or request.query_params.get("account"), accounts)
    named = body.named()
    ids, wrong = _ids([one.id for one in named])
    if wrong:
        raise RefusedError(400, f"not workflow ids, at these positions of the list: {wrong[:20]}")
    return account, [
        one.model_copy(update={"id": known}) for one, known in zip(named, ids, strict=True)
    ]


def _token(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


async def _body(request: Request) -> bytes:
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise RefusedError(413, "the body is larger than 1 MiB")
    except ClientDisconnect:
        # The client has gone, so nobody reads this answer.
        raise RefusedError(400, "the body is not complete") from None
    return bytes(body)


def _parsed(body: bytes) -> PushBody:
    try:
        document = from_json(body)
    except ValueError:
        raise RefusedError(400, f"the body is not JSON; {_RIGHT}") from None
    if isinstance(document, list):
        # A plain list of ids is accepted too.
        document = {"workflows": document}
    if not isinstance(document, dict):
        raise RefusedError(400, f"the body is not an object; {_RIGHT}")
    try:
        return PushBody.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise RefusedError(400, f"{_known_place(place)}: {first['msg']}; {_RIGHT}") from None


def _known_place(place: str) -> str:
    """A place in the body, without names chosen by the sender: no message repeats those."""
    return place if place.partition(".")[0] in PushBody.model_fields else "a key"


def _account(named: str | None, allowed: list[str]) -> str:
    if named is None and len(allowed) == 1:
        return allowed[0]
    if named is None:
        raise RefusedError(400, "name the account: the token belongs to several accounts")
    if named not in allowed:
        raise RefusedError(403, "this token does not belong to the account")
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
