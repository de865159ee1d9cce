"""Whether an answer can be read, by its status and headers alone; if not, the error that it is."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from exporter.comfycontrol.errors import (
    BadRequest,
    Forbidden,
    NotFound,
    RateLimited,
    Redirected,
    ServerFault,
    ServiceError,
    Unauthorized,
    Unusable,
)
from exporter.comfycontrol.stamps import parse_http_date

if TYPE_CHECKING:
    from collections.abc import Callable

    import requests

Endpoint = Literal["subscribe", "list", "get"]
"""What was asked."""

MAX_RETRY_AFTER = 3600.0
"""Seconds: no answer makes us wait longer."""

_JSON_TYPE = re.compile(r"application/json|text/json|application/[\w.+-]+\+json", re.ASCII)
_STREAM_TYPE = re.compile(r"text/event-stream", re.ASCII)

# What the reader unpacks within bounds. An encoding that it does not know it would take for data.
_ENCODINGS = frozenset({"", "identity", "gzip", "x-gzip", "deflate"})

_SECONDS = re.compile(r"\d{1,18}(?:\.\d{1,18})?", re.ASCII)


def judge(
    endpoint: Endpoint, response: requests.Response, now: Callable[[], float]
) -> ServiceError | None:
    """Say why an answer cannot be read; None: it can.

    Args:
        endpoint: what was asked.
        response: its body is not touched.
        now: the clock that dates are compared with, in seconds since the epoch.
    """
    failure = _failure(endpoint, response)
    if failure is not None:
        failure.retry_after = retry_after(response, now)
    return failure


def _failure(endpoint: Endpoint, response: requests.Response) -> ServiceError | None:
    status = response.status_code
    code = str(status)
    if status != 200:
        return _refusal(endpoint, status)
    content_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    expected = _STREAM_TYPE if endpoint == "subscribe" else _JSON_TYPE
    # Without a type, a document is judged by itself; a stream could be anything.
    if expected.fullmatch(content_type) is None and (content_type or endpoint == "subscribe"):
        return Unusable(f"{endpoint}: an answer of another content type", code=code)
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    if encoding not in _ENCODINGS:
        return Unusable(f"{endpoint}: an answer in an encoding not asked for", code=code)
    return None


def _refusal(endpoint: Endpoint, status: int) -> ServiceError:
    code = str(status)
    message = f"{endpoint}: answered with status {status}"
    plain = {400: BadRequest, 401: Unauthorized, 403: Forbidden, 404: NotFound, 429: RateLimited}
    if status in plain:
        return plain[status](message, code=code)
    if 200 < status < 300:
        return Unusable(message, code=code)
    if 300 <= status < 400:
        return Redirected(message, code=code)
    return ServerFault(message, code=code)


def retry_after(response: requests.Response, now: Callable[[], float]) -> float | None:
    """Read Retry-After, seconds or a date, as seconds from 0 to ``MAX_RETRY_AFTER``."""
    value = response.headers.get("Retry-After", "").strip()
    if _SECONDS.fullmatch(value):
        seconds = float(value)
    else:
        date = parse_http_date(value)
        if date is None:
            return None
        # By the clock that wrote the date, where it tells the time.
        told = parse_http_date(response.headers.get("Date"))
        seconds = date - (now() if told is None else told)
    return min(max(seconds, 0.0), MAX_RETRY_AFTER)
