"""The addresses of the pages.

    GET /                    the first page
    GET /workflows?…         tables of workflows
    GET /workflows/{id}      the history of one
    GET /static/…            the stylesheet and the script, which never change under their names

With `live=1` in its URL, a page returns only the part that changes, or 304 if the caller already
has that. All links are relative, because a proxy may add a path prefix.
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from email.utils import formatdate
from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from exporter.interfaces.views import Views, WorkflowQuery
from exporter.web.html.addresses import parse
from exporter.web.html.assets import Asset, load_assets
from exporter.web.html.rendering import PageLink, Pages
from exporter.web.html.sharing import Rendered, SharedRendering
from exporter.web.html.words import foreign, path_part
from exporter.web.workers import Run

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""The content security policy of the pages: inline scripts and styles are not executed."""

_LONGEST_ID: Final = 300


@dataclass(frozen=True, slots=True)
class HtmlParts:
    """The parts of the exporter that the pages need.

    Attributes:
        views: What the pages show.
        links: The links in the footer, relative to the first page or to another site.
        home: Whether `/` is the first page; it may show the metrics instead.
        external_url: The base URL of links, without a trailing slash; None: links are relative.
        shared: The rendering that is shared by several requests.
        wall: The clock, in Unix seconds.
        run: Calls a slow function in another thread.
    """

    views: Views
    links: tuple[PageLink, ...] = ()
    home: bool = True
    external_url: str | None = None
    shared: SharedRendering | None = None
    wall: Callable[[], float] = time.time
    run: Run = run_in_threadpool


def html_routes(parts: HtmlParts) -> list[Route]:
    """The routes of the pages."""
    assets = load_assets()
    endpoints = _Endpoints(parts, Pages(parts.views, assets, parts.links, home=parts.home))
    home = [Route("/", endpoints.overview, methods=["GET"])] if parts.home else []
    return [
        *home,
        Route("/workflows", endpoints.workflows, methods=["GET"]),
        Route("/workflows/{workflow_id:path}", endpoints.workflow, methods=["GET"]),
        *(Route(f"/{asset.path}", _asset(asset), methods=["GET"]) for asset in assets.values()),
    ]


class _Endpoints:
    def __init__(self, parts: HtmlParts, pages: Pages) -> None:
        self._views = parts.views
        self._pages = pages
        self._run = parts.run
        self._shared = parts.shared or SharedRendering(wall=parts.wall, run=parts.run)
        self._wall = parts.wall
        self._external_url = parts.external_url

    def _root(self, request: Request) -> str:
        """The prefix of links."""
        return _near(request) if self._external_url is None else f"{self._external_url}/"

    async def overview(self, request: Request) -> Response:
        root = self._root(request)
        part = await self._shared.get(
            ("overview", root), lambda: self._pages.overview(root), fresh=not _is_live(request)
        )
        if _is_live(request):
            return _live(request, part)
        return await self._whole(request, part, "Overview", current="overview")

    async def workflows(self, request: Request) -> Response:
        root, query = self._root(request), parse(request.query_params.multi_items())
        if not _is_live(request) and (found := await self._the_one(query)) is not None:
            # The address is relative, because a proxy's path prefix is unknown here.
            return RedirectResponse(f"{_near(request)}workflows/{found}", 303)
        key = ("workflows", root, str(query))
        part = await self._shared.get(
            key,
            lambda: self._pages.workflows(root, query, self._wall()),
            fresh=not _is_live(request),
        )
        if _is_live(request):
            return _live(request, part)
        above = await self._run(self._pages.filters, root, query)
        return await self._whole(request, part, "Workflows", current="workflows", above=above)

    async def workflow(self, request: Request) -> Response:
        root = self._root(request)
        workflow_id = request.path_params["workflow_id"][:_LONGEST_ID]
        part = await self._shared.get(
            ("workflow", root, workflow_id),
            lambda: self._pages.workflow(root, workflow_id, self._wall()),
            fresh=not _is_live(request),
        )
        if part.html is None:
            body = await self._run(self._pages.unknown, root, workflow_id)
            return await self._whole(request, part, "Unknown workflow", body=body, status=404)
        if _is_live(request):
            return _live(request, part)
        title = f"Workflow {foreign(workflow_id, 40)}"
        return await self._whole(request, part, title)

    async def _the_one(self, query: WorkflowQuery) -> str | None:
        """The URL part of the workflow whose complete id was searched for; None: there is none."""
        if not query.prefix:
            return None
        story = await self._run(self._views.workflow, query.prefix)
        return None if story is None else path_part(story.row.id)

    async def _whole(  # noqa: PLR0913 - what a page is made of
        self,
        request: Request,
        part: Rendered,
        title: str,
        *,
        body: str = "",
        current: str = "",
        above: str = "",
        status: int = 200,
    ) -> Response:
        html = await self._run(
            lambda: self._pages.page(
                part.html or body,
                root=self._root(request),
                near=_near(request),
                at=part.at,
                title=title,
                current=current,
                above=above,
                live=status == 200,
            )
        )
        return HTMLResponse(_encodable(html), status, {"Content-Security-Policy": POLICY})


def _live(request: Request, part: Rendered) -> Response:
    headers = {
        "ETag": part.etag,
        "Last-Modified": formatdate(part.at, usegmt=True),
        "Content-Security-Policy": POLICY,
    }
    if request.headers.get("if-none-match", "").removeprefix("W/") == part.etag:
        return Response(status_code=304, headers=headers)
    return HTMLResponse(_encodable(part.html or ""), headers=headers)


def _asset(asset: Asset) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(_: Request) -> Response:
        headers = {"Cache-Control": "private, max-age=31536000, immutable"}
        return Response(asset.content, media_type=asset.media_type, headers=headers)

    return endpoint


def _is_live(request: Request) -> bool:
    return request.query_params.get("live") == "1"


def _near(request: Request) -> str:
    """The relative path from this page to the first one, independent of a proxy's prefix."""
    raw = request.scope.get("raw_path") or request.scope["path"].encode()
    before = request.scope.get("root_path", "").encode()
    path: bytes = raw.removeprefix(before).partition(b"?")[0]
    return "../" * (path.count(b"/") - 1) or "./"


def _encodable(html: str) -> str:
    # A lone surrogate cannot be encoded; the views should not contain any.
    return html.encode("utf-8", "replace").decode("utf-8")
