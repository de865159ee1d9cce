"""The endpoint by which a running exporter is told to read its configuration again.

    POST /-/reload        also PUT, as Prometheus takes both

It answers 200, or 500 with what is wrong, one fault a line, and then the old one stays in use.
Only there with `--web.enable-lifecycle`; otherwise 403, as Prometheus has it.
"""

from collections.abc import Callable
from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

RELOAD_PATH: Final = "/-/reload"


def lifecycle_routes(reload: Callable[[], tuple[str, ...]] | None) -> list[Route]:
    """The route; `reload` answers with what is wrong, None: it is not enabled."""

    async def endpoint(_: Request) -> Response:
        if reload is None:
            return PlainTextResponse(
                "not enabled: start the exporter with --web.enable-lifecycle\n", 403
            )
        faults = await run_in_threadpool(reload)
        if faults:
            lines = "".join(f"  {fault}\n" for fault in faults)
            return PlainTextResponse(f"not reloaded, the old one stays in use:\n{lines}", 500)
        return PlainTextResponse("reloaded\n")

    return [Route(RELOAD_PATH, endpoint, methods=["POST", "PUT"])]
