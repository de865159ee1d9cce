"""The endpoint that makes a running exporter reload its configuration.

    POST /-/reload        also PUT, as in Prometheus

It answers 200; or 500 with the errors, one per line, and then nothing has changed; 503 while
another reload is under way. Only with `--web.enable-lifecycle`; otherwise 403, as in Prometheus.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

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
            faults = await _in_thread(reload, under_way)
        except NoThreadError:
            return PlainTextResponse(
                "no thread is free for it now: try again\n", 503, {"Retry-After": "10"}
            )
        if faults:
            return PlainTextResponse("".join(f"{line}\n" for line in faults), 500)
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
    loop = asyncio.get_running_loop()
    done: asyncio.Future[tuple[str, ...]] = loop.create_future()

    def set_result(faults: tuple[str, ...] | None, error: Exception | None) -> None:
        if done.cancelled():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(faults or ())

    def run() -> None:
        faults, failed = None, None
        try:
            faults = reload()
        except Exception as error:  # noqa: BLE001 - it is the answer's, not the thread's
            failed = error
        finally:
            under_way.release()
        # The loop may have ended because the process is ending.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(set_result, faults, failed)

    try:
        threading.Thread(target=run, name="reload by HTTP", daemon=True).start()
    except RuntimeError:
        # No thread may be available at the moment.
        under_way.release()
        raise NoThreadError from None
    return await done
