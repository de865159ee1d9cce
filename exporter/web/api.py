"""The JSON interface: reading and pushing, with one description of both."""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from exporter.interfaces.views import Views
from exporter.sources.pushed import PushedIds
from exporter.web.answers import RefusedError
from exporter.web.openapi import OPENAPI_PATH, openapi
from exporter.web.paths import PUSH_PATH
from exporter.web.push import PushEndpoints
from exporter.web.reading import ACCOUNTS_PATH, RequestBody
from exporter.web.workers import Workers

_Endpoint = Callable[[Request], Awaitable[Response]]


def api_routes(pushed: PushedIds, views: Views, workers: Workers) -> list[Route]:
    """The routes."""
    push = PushEndpoints(pushed, workers, views.elsewhere)
    reading = RequestBody(views, workers)

    async def readers_accounts(request: Request) -> list[str] | None:
        """The accounts of the push token in the request.

        None: there is no push token in it, so the password applies, if there is one.
        """
        if request.headers.get("authorization", "")[:7].lower() == "bearer ":
            return await push.accounts_of(request)
        return None

    async def accounts(request: Request) -> Response:
        return await reading.overview(request)

    async def workflows(request: Request) -> Response:
        if request.method == "POST":
            return await push.push(request, await push.accounts_of(request))
        if request.method == "DELETE":
            return await push.withdraw_several(request, await push.accounts_of(request))
        return await reading.workflows(request, await readers_accounts(request))

    async def workflow(request: Request) -> Response:
        if request.method == "DELETE":
            return await push.withdraw(request, await push.accounts_of(request))
        return await reading.workflow(request, await readers_accounts(request))

    async def description(_: Request) -> Response:
        return JSONResponse(openapi())

    return [
        Route(ACCOUNTS_PATH, _refusing(accounts), methods=["GET"]),
        Route(PUSH_PATH, _refusing(workflows), methods=["GET", "POST", "DELETE"]),
        Route(PUSH_PATH + "/{workflow_id}", _refusing(workflow), methods=["GET", "DELETE"]),
        Route(OPENAPI_PATH, description, methods=["GET"]),
    ]


def _refusing(endpoint: _Endpoint) -> _Endpoint:
    async def answered(request: Request) -> Response:
        try:
            return await endpoint(request)
        except RefusedError as refused:
            return refused.answer

    return answered
