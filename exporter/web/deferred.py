"""Routes that are made, and their code imported, when the first request for one of them comes."""

import asyncio
from collections.abc import Callable, Sequence

from starlette.routing import BaseRoute, Router
from starlette.types import Receive, Scope, Send

from exporter.web.workers import Run


class DeferredRoutes:
    """An ASGI application that passes every request on to routes that it makes for the first one.

    Args:
        make: Imports the code and makes the routes. It is called in another thread. If it fails,
            the request fails, and the next one calls it again.
        run: Calls a slow function in another thread.
    """

    def __init__(self, make: Callable[[], Sequence[BaseRoute]], run: Run) -> None:
        self._make = make
        self._run = run
        self._router: Router | None = None
        self._one_at_a_time = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; raise what Starlette raises for an unknown path."""
        router = self._router
        if router is None:
            async with self._one_at_a_time:
                if self._router is None:
                    # An extra slash is no redirect: it would lead to any host that the path names.
                    self._router = Router(await self._run(self._make), redirect_slashes=False)
                router = self._router
        await router(scope, receive, send)
