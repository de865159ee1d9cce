"""The form of a refused request: JSON under `/api/`, otherwise a line of text."""

from collections.abc import Mapping
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from exporter.web.paths import API_PREFIX


def refusal(
    path: str, status: int, message: str, headers: Mapping[str, str] | None = None
) -> Response:
    """The answer; `message` is one line without a newline."""
    if is_api(path):
        return JSONResponse({"status": status, "message": message}, status, headers=headers)
    return PlainTextResponse(f"{message}\n", status, headers=headers)


def is_api(path: str) -> bool:
    """Whether every answer at this path is JSON."""
    return path.startswith(API_PREFIX) or path == API_PREFIX.rstrip("/")


async def refused_by_routes(request: Request, error: Exception) -> Response:
    """The answer for an unknown path, or a method that the path does not allow."""
    assert isinstance(error, HTTPException)  # noqa: S101 - as it is registered
    path = request.url.path
    if not is_api(path):
        # The same answer as Starlette's own.
        return PlainTextResponse(error.detail, error.status_code, headers=error.headers)
    message = HTTPStatus(error.status_code).phrase.lower()
    allowed = (error.headers or {}).get("Allow")
    if allowed:
        message = f"{message}: this path takes {allowed}"
    return refusal(path, error.status_code, message, error.headers)
