"""The endpoints."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from exporter.config import Config
from exporter.metrics.exposition import Page
from exporter.metrics.reading import Reading
from exporter.sources.pushed import PushedIds
from exporter.views import Views
from exporter.web.api import api_routes, http_fault
from exporter.web.lifecycle import lifecycle_routes
from exporter.web.pages import CONFIG_PATH, DOCUMENTATION_URL, Link, config_page, landing_page
from exporter.web.push import PUSH_PATH
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
    read: Callable[[], Reading]
    """What a scrape would show."""
    config: Callable[[], Config]
    """The configuration in force now: a reload gives another."""
    reload: Callable[[], tuple[str, ...]] | None = None
    """Reads it again, and answers with what is wrong; None where that is not allowed."""
    views: Views | None = None
    """What pages and programs read of accounts and workflows."""


def make_app(parts: WebParts, security: Callable[[], Security] = lambda: UNSECURED) -> ASGIApp:
    """The web application, guarded as `security` says at each request."""
    return Guard(
        _endpoints(parts), security, probes=(HEALTHY_PATH, READY_PATH), own_tokens=(PUSH_PATH,)
    )


def _endpoints(parts: WebParts) -> Starlette:

    async def metrics(request: Request) -> Response:
        accept = ", ".join(request.headers.getlist("accept"))
        # Rendering takes milliseconds of CPU: not in the loop that serves everybody.
        exposition = await run_in_threadpool(parts.page.render, accept)
        return Response(exposition.body, headers={"Content-Type": exposition.content_type})

    async def healthy(_: Request) -> Response:
        return PlainTextResponse("healthy\n")

    async def ready(_: Request) -> Response:
        if parts.is_ready():
            return PlainTextResponse("ready\n")
        return PlainTextResponse("waiting for the first answer of every account\n", 503)

    async def landing(_: Request) -> Response:
        # The ledger is read, which waits for its lock.
        return HTMLResponse(await run_in_threadpool(show_landing))

    def show_landing() -> str:
        return landing_page(parts.read(), parts.config(), links)

    async def config(_: Request) -> Response:
        # As text: it can be read, compared and checked with `check-config` as it is.
        return PlainTextResponse(await run_in_threadpool(show_config))

    def show_config() -> str:
        return config_page(parts.config())

    links = (
        Link(parts.telemetry_path, "Metrics", "for Prometheus"),
        Link(CONFIG_PATH, "Configuration", "what is in force, without its secrets"),
        Link(HEALTHY_PATH, "Healthy", "the process lives"),
        Link(READY_PATH, "Ready", "every account had its first answer"),
        Link(DOCUMENTATION_URL, "Documentation", "metrics, alerts, runbooks, troubleshooting"),
    )

    routes: list[BaseRoute] = [
        Route(parts.telemetry_path, metrics, methods=["GET"]),
        Route(HEALTHY_PATH, healthy, methods=["GET"]),
        Route(READY_PATH, ready, methods=["GET"]),
        Route(CONFIG_PATH, config, methods=["GET"]),
        *lifecycle_routes(parts.reload),
        *api_routes(parts.pushed, parts.views),
    ]
    if parts.telemetry_path != "/":
        routes.append(Route("/", landing, methods=["GET"]))
    app = Starlette(
        routes=routes,
        middleware=[Middleware(GZipMiddleware, minimum_size=1000, compresslevel=4)],
        exception_handlers={Exception: _fault, HTTPException: http_fault},
    )
    # For a path with a slash too many it would send clients to whatever host they name.
    app.router.redirect_slashes = False
    return app


async def _fault(_: Request, error: Exception) -> Response:
    # Only the type: the text could hold what the service sent.
    log.error("request failed", extra={"error": type(error).__name__})
    return PlainTextResponse("internal error\n", 500)
