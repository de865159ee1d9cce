"""Routes that are made for the first request."""

import asyncio

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import Message, Scope

from exporter.web.deferred import DeferredRoutes
from exporter.web.workers import Workers

SCOPE: Scope = {
    "type": "http",
    "method": "GET",
    "path": "/page",
    "headers": [],
    "query_string": b"",
}


async def page(_: Request) -> Response:
    return PlainTextResponse("the page")


async def ask(routes: DeferredRoutes) -> bytes:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    await routes(dict(SCOPE), receive, send)
    return b"".join(message.get("body", b"") for message in sent)


def test_two_requests_at_once_make_the_routes_once() -> None:
    made: list[None] = []

    def make() -> list[BaseRoute]:
        made.append(None)
        return [Route("/page", page)]

    async def scene() -> list[bytes]:
        routes = DeferredRoutes(make, Workers(2, "test").run)
        assert not made
        return [*await asyncio.gather(ask(routes), ask(routes)), await ask(routes)]

    assert asyncio.run(scene()) == [b"the page"] * 3
    assert len(made) == 1


def test_if_they_cannot_be_made_the_next_request_tries_again() -> None:
    tries: list[None] = []

    def make() -> list[BaseRoute]:
        tries.append(None)
        if len(tries) == 1:
            raise OSError
        return [Route("/page", page)]

    async def scene() -> bytes:
        routes = DeferredRoutes(make, Workers(1, "test").run)
        with pytest.raises(OSError):  # noqa: PT011 - the only one
            await ask(routes)
        return await ask(routes)

    assert asyncio.run(scene()) == b"the page"
