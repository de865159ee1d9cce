"""The endpoints."""

import html
import logging
from collections.abc import Callable
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from exporter import __version__
from exporter.metrics.exposition import Page
from exporter.sources.pushed import PushedIds
from exporter.web.push import PUSH_PATH, push_routes
from exporter.web.security import UNSECURED, Guard, Security

log = logging.getLogger(__name__)

HEALTHY_PATH = "/-/healthy"
READY_PATH = "/-/ready"


@dataclass(frozen=True, slots=True)
class WebParts:
    """What the endpoints read."""

    page: Page
    pushed: PushedIds
    is_ready: Callable[[], bool]
    telemetry_path: str


def make_app(parts: WebParts, security: Callable[[], Security] = lambda: UNSECURED) -> ASGIApp:
    """The web application, guarded as `security` says at each request."""
    return Guard(
        _endpoints(parts), security, probes=(HEALTHY_PATH, READY_PATH), own_tokens=(PUSH_PATH,)
    )


def _endpoints(parts: WebParts) -> Starlette:

    async def metrics(request: Request) -> Response:
        accept = ", ".join(request.headers.getlist("accept"))
        # Rendering takes milliseconds of CPU: not in the loop that serves everybody.
        exposition = await run_in_threadpool(parts.page.render, accept, _scraper(request))
        return Response(exposition.body, headers={"Content-Type": exposition.content_type})

    async def healthy(_: Request) -> Response:
        return PlainTextResponse("healthy\n")

    async def ready(_: Request) -> Response:
        if parts.is_ready():
            return PlainTextResponse("ready\n")
        return PlainTextResponse("waiting for the first answer of every account\n", 503)

    async def landing(_: Request) -> Response:
        return HTMLResponse(_landing_page(parts))

    routes: list[BaseRoute] = [
        Route(parts.telemetry_path, metrics, methods=["GET"]),
        Route(HEALTHY_PATH, healthy, methods=["GET"]),
        Route(READY_PATH, ready, methods=["GET"]),
        *push_routes(parts.pushed),
    ]
    if parts.telemetry_path != "/":
        routes.append(Route("/", landing, methods=["GET"]))
    return Starlette(
        routes=routes,
        middleware=[Middleware(GZipMiddleware, minimum_size=1000, compresslevel=4)],
        exception_handlers={Exception: _fault},
    )


def _scraper(request: Request) -> str:
    """Who asks: the same Prometheus comes from the same address with the same name."""
    host = request.client.host if request.client is not None else ""
    return f"{host} {request.headers.get('user-agent', '')[:200]}"


async def _fault(_: Request, error: Exception) -> Response:
    # Only the type: the text could hold what the service sent.
    log.error("request failed", extra={"error": type(error).__name__})
    return PlainTextResponse("internal error\n", 500)


def _landing_page(parts: WebParts) -> str:
    links = [
        (parts.telemetry_path, "Metrics", "for Prometheus"),
        (HEALTHY_PATH, "Healthy", "the process lives"),
        (READY_PATH, "Ready", "every account had its first answer"),
    ]
    items = "\n".join(
        f'    <li><a href="{html.escape(path)}">{title}</a>: {meaning}</li>'
        for path, title, meaning in links
    )
    return f"""<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width">
  <title>ComfyControl exporter</title>
  <style>body {{ font: 16px/1.5 sans-serif; margin: 3rem auto; max-width: 40rem; }}</style>
</head>
<body>
  <h1>ComfyControl exporter</h1>
  <p>Prometheus exporter for workflows hosted on ComfyControl, version {__version__}.</p>
  <ul>
{items}
  </ul>
</body>
</html>
"""
