"""The endpoints."""

import logging
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from exporter.config import Config
from exporter.interfaces.views import Views
from exporter.metrics.exposition import Page
from exporter.metrics.negotiation import accepts_gzip, negotiate
from exporter.sources.pushed import PushedIds
from exporter.web.deferred import DeferredRoutes
from exporter.web.lifecycle import lifecycle_routes
from exporter.web.pages import CONFIG_PATH, DOCUMENTATION_URL, config_page
from exporter.web.paths import PUSH_PATH
from exporter.web.refusals import refusal, refused_by_routes
from exporter.web.scrapes import Scrapes
from exporter.web.security import UNSECURED, AuthMiddleware, Security
from exporter.web.workers import Workers

log = logging.getLogger(__name__)

HEALTHY_PATH = "/-/healthy"
READY_PATH = "/-/ready"

WORKERS = 4
"""How many threads serve pages and pushed ids; scrapes have their own thread."""


@dataclass(frozen=True, slots=True)
class WebParts:
    """What the endpoints read."""

    page: Page
    pushed: PushedIds
    is_ready: Callable[[], bool]
    telemetry_path: str
    config: Callable[[], Config]
    """Returns the configuration in use; a reload changes it."""
    views: Views
    """What the pages and the JSON interface show."""
    external_url: str | None = None
    """The base URL of links in the pages; None: links are relative."""
    reload: Callable[[], tuple[str, ...]] | None = None
    """Reloads the configuration, and returns the errors; None if reloading is not enabled."""


def make_app(parts: WebParts, security: Callable[[], Security] = lambda: UNSECURED) -> ASGIApp:
    """The web application, guarded as `security` says at each request."""
    return AuthMiddleware(
        _endpoints(parts), security, probes=(HEALTHY_PATH, READY_PATH), own_tokens=(PUSH_PATH,)
    )


def _endpoints(parts: WebParts) -> ASGIApp:
    workers = Workers(WORKERS, "web")

    async def healthy(_: Request) -> Response:
        return PlainTextResponse("healthy\n")

    async def ready(_: Request) -> Response:
        if parts.is_ready():
            return PlainTextResponse("ready\n")
        return PlainTextResponse("waiting for the first answer of every account\n", 503)

    async def config(_: Request) -> Response:
        # The answer is plain text, so that it can be read, compared and checked with `check-config`
        # directly.
        return PlainTextResponse(await workers.run(show_config))

    def show_config() -> str:
        return config_page(parts.config())

    routes: list[BaseRoute] = [
        Route(parts.telemetry_path, _metrics(parts.page), methods=["GET"]),
        Route(HEALTHY_PATH, healthy, methods=["GET"]),
        Route(READY_PATH, ready, methods=["GET"]),
        Route(CONFIG_PATH, config, methods=["GET"]),
        *lifecycle_routes(parts.reload),
    ]
    app = Starlette(
        routes=routes,
        exception_handlers={Exception: _fault, HTTPException: refused_by_routes},
    )
    # For a path with an extra slash, it would redirect clients to any host that the path names.
    app.router.redirect_slashes = False
    app.router.default = DeferredRoutes(lambda: _routes_for_people(parts, workers), workers.run)
    return _compressed(app)


def _routes_for_people(parts: WebParts, workers: Workers) -> Sequence[BaseRoute]:
    """The routes of the pages and of the JSON interface.

    They take 8 MiB, so they are imported for the first request. Many exporters are only scraped.
    """
    from exporter.web.api import api_routes  # noqa: PLC0415
    from exporter.web.html import HtmlParts, PageLink, html_routes  # noqa: PLC0415

    # The links are relative, because a proxy may add a path prefix.
    links = (
        PageLink(_relative(parts.telemetry_path), "Metrics", "for Prometheus"),
        PageLink(_relative(CONFIG_PATH), "Configuration", "what is in force, without its secrets"),
        PageLink(_relative(HEALTHY_PATH), "Healthy", "the process lives"),
        PageLink(_relative(READY_PATH), "Ready", "every account had its first answer"),
        PageLink(DOCUMENTATION_URL, "Documentation", "metrics, alerts, runbooks, troubleshooting"),
    )
    pages = HtmlParts(
        parts.views,
        links,
        home=parts.telemetry_path != "/",
        external_url=parts.external_url,
        run=workers.run,
    )
    return [*api_routes(parts.pushed, parts.views, workers), *html_routes(pages)]


def _metrics(page: Page) -> Callable[[Request], Awaitable[Response]]:
    scrapes = Scrapes(page)

    async def metrics(request: Request) -> Response:
        accept = ", ".join(request.headers.getlist("accept"))
        compressed = _takes_gzip(request.headers)
        exposition = await scrapes.answer(negotiate(accept), compressed=compressed)
        headers = {"Content-Type": exposition.content_type, "Vary": "Accept, Accept-Encoding"}
        if exposition.is_compressed:
            headers["Content-Encoding"] = "gzip"
        return Response(exposition.body, headers=headers)

    return metrics


def _takes_gzip(headers: Headers) -> bool:
    return accepts_gzip(", ".join(headers.getlist("accept-encoding")))


def _compressed(app: ASGIApp) -> ASGIApp:
    """Compress answers for clients that accept it. Pages are small, so this needs no thread."""
    compressing = GZipMiddleware(
        app, minimum_size=1000, compresslevel=4, thread_minimum_size=sys.maxsize
    )

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        takes = scope["type"] == "http" and _takes_gzip(Headers(scope=scope))
        await (compressing if takes else app)(scope, receive, send)

    return answer


def _relative(path: str) -> str:
    return path.removeprefix("/")


async def _fault(request: Request, error: Exception) -> Response:
    # Only the type is logged: the text could contain what the service sent.
    log.error("request failed", extra={"error": type(error).__name__})
    return refusal(request.url.path, 500, "internal error")
