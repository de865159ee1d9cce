"""The JSON interface: reading and pushing, with one description of both."""

from collections.abc import Awaitable, Callable
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from exporter.sources.pushed import PushedIds
from exporter.views import Views
from exporter.web.answers import Refused
from exporter.web.openapi import OPENAPI_PATH, openapi
from exporter.web.push import PUSH_PATH, PushEndpoints
from exporter.web.reading import ACCOUNTS_PATH, Reading

API_PREFIX: Final = "/api/"

_Endpoint = Callable[[Request], Awaitable[Response]]


def api_routes(pushed: PushedIds, views: Views | None) -> list[Route]:
    """The routes; without views there is nothing to read."""
    push = PushEndpoints(pushed)
    reading = None if views is None else Reading(views)

    async def readers_accounts(request: Request) -> list[str] | None:
        """Those of the push token that is shown; None: the web side knows its caller."""
        if request.headers.get("authorization", "")[:7].lower() == "bearer ":
            return await push.accounts_of(request)
        return None

    async def accounts(request: Request) -> Response:
        return await _there(reading).overview(request)

    async def workflows(request: Request) -> Response:
        if request.method == "POST":
            return await push.push(request, await push.accounts_of(request))
        return await _there(reading).workflows(request, await readers_accounts(request))

    async def workflow(request: Request) -> Response:
        if request.method == "DELETE":
            return await push.withdraw(request, await push.accounts_of(request))
        return await _there(reading).workflow(request, await readers_accounts(request))

    async def description(_: Request) -> Response:
        return JSONResponse(openapi())

    return [
        Route(ACCOUNTS_PATH, _refusing(accounts), methods=["GET"]),
        Route(PUSH_PATH, _refusing(workflows), methods=["GET", "POST"]),
        Route(PUSH_PATH + "/{workflow_id}", _refusing(workflow), methods=["GET", "DELETE"]),
        Route(OPENAPI_PATH, description, methods=["GET"]),
    ]


async def http_fault(request: Request, error: Exception) -> Response:
    """What no endpoint answers: in JSON where a program asks, else as text."""
    assert isinstance(error, HTTPException)  # noqa: S101 - it is registered for these alone
    if request.url.path.startswith(API_PREFIX):
        body = {"status": error.status_code, "message": error.detail}
        return JSONResponse(body, error.status_code, headers=error.headers)
    return PlainTextResponse(error.detail, error.status_code, headers=error.headers)


def _there(reading: Reading | None) -> Reading:
    if reading is None:
        raise Refused(404, "there is nothing to read here")
    return reading


def _refusing(endpoint: _Endpoint) -> _Endpoint:
    async def answered(request: Request) -> Response:
        try:
            return await endpoint(request)
        except Refused as refused:
            return refused.answer

    return answered
