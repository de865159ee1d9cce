"""The endpoint that makes a running exporter reload its configuration.

    POST /-/reload        also PUT, as in Prometheus

It answers 200; or 500 with the errors, one per line, and then nothing has changed; 503 while
another reload is under way. Only with `--web.enable-lifecycle`; otherwise 403, as in Prometheus.
"""

import threading
from collections.abc import Callable
from typing import Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from exporter.web.workers import promised

RELOAD_PATH: Final = "/-/reload"


class NoThreadError(Exception):
    """No thread can be started at the moment."""


def lifecycle_routes(reload: Callable[[], tuple[str, ...]] | None) -> list[Route]:
    """The route; `reload` returns the errors, one per line; None: reloading is not enabled."""
    under_way = threading.Lock()

    async def endpoint(_: Request) -> Response:
        if reload is None:
            return PlainTextResponse(
                "not enabled: start the exporter with --web.enable-lifecycle\n", 403
            )
        if not under_way.acquire(blocking=False):
            return PlainTextResponse(
                "another reload is under way: ask again when it has ended\n",
                503,
                {"Retry-After": "1"},
            )
        try:
            errors = await _in_thread(reload, under_way)
        except NoThreadError:
            return PlainTextResponse(
                "no thread is free for it now: try again\n", 503, {"Retry-After": "10"}
            )
        if errors:
            return PlainTextResponse("".join(f"{line}\n" for line in errors), 500)
        return PlainTextResponse("reloaded\n")

    return [Route(RELOAD_PATH, endpoint, methods=["POST", "PUT"])]


async def _in_thread(
    reload: Callable[[], tuple[str, ...]], under_way: threading.Lock
) -> tuple[str, ...]:
    """Run a reload in its own thread, which releases the lock at the end.

    The reload may wait for a disk that does not answer. A separate daemon thread then delays
    neither the scrapes, which use the other threads, nor the end of the process. The client may go
    before the reload has finished, so the thread releases the lock.
    """

    def run() -> tuple[str, ...]:
        try:
            return reload()
        finally:
            under_way.release()

    done, work = promised(run)
    try:
        threading.Thread(target=work, name="reload by HTTP", daemon=True).start()
    except RuntimeError:
        # No thread may be available at the moment.
        under_way.release()
        raise NoThreadError from None
    return await done
