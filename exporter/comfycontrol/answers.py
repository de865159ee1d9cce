"""Whether an answer can be used; if not, which error it means.

This is decided by its status and headers, and for a refusal by the beginning of its body: a proxy
in front of the service also refuses requests, with its own pages and the same statuses.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from exporter.comfycontrol.documents import MalformedDocumentError, load_object
from exporter.comfycontrol.errors import (
    BadRequestError,
    ForbiddenError,
    NotFoundError,
    RateLimitedError,
    RedirectedError,
    ServerFaultError,
    ServiceError,
    UnauthorizedError,
    UnusableError,
)
from exporter.comfycontrol.stamps import parse_http_date

if TYPE_CHECKING:
    from collections.abc import Callable

    import requests

Endpoint = Literal["subscribe", "list", "get", "runners"]
"""The endpoint of a request."""

MAX_RETRY_AFTER = 3600.0
"""In seconds: no answer makes us wait longer than this."""

MAX_REFUSAL_SIZE = 4096
"""How many bytes of a refusal's body are read. The service's own refusals have about fifty."""

_JSON_TYPE = re.compile(r"application/json|text/json|application/[\w.+-]+\+json", re.ASCII)
# JSON under a general label. A page of a proxy is "text/html" too: its content decides.
_DOCUMENT_TYPE = re.compile(
    rf"{_JSON_TYPE.pattern}|text/plain|application/octet-stream|binary/octet-stream|text/html",
    re.ASCII,
)
_STREAM_TYPE = re.compile(r"text/event-stream", re.ASCII)

# The encodings that the reader can decompress within limits. It would treat data in an unknown
# encoding as plain data.
_ENCODINGS = frozenset({"", "identity", "gzip", "x-gzip", "deflate"})

_SECONDS = re.compile(r"\d{1,18}(?:\.\d{1,18})?", re.ASCII)


_USABLE = frozenset({200, 203})
"""203 is a 200 that a proxy has passed on, and perhaps changed: its content is checked like that of
any other answer."""


def judge(
    endpoint: Endpoint,
    response: requests.Response,
    now: Callable[[], float],
    read_start: Callable[[], bytes],
) -> ServiceError | None:
    """Return the error that an unusable answer means; None: it is usable.

    Args:
        endpoint: which endpoint was requested.
        response: the answer; its body is not read.
        now: the clock for comparisons with dates, in seconds since the epoch.
        read_start: reads the beginning of its body, up to ``MAX_REFUSAL_SIZE``. Called at most
            once, and never for an answer that can be read.
    """
    failure = _failure(endpoint, response, read_start)
    if failure is not None:
        failure.retry_after = retry_after(response, now)
    return failure


def _failure(
    endpoint: Endpoint, response: requests.Response, read_start: Callable[[], bytes]
) -> ServiceError | None:
    status = response.status_code
    code = str(status)
    if status not in _USABLE:
        return _refusal(endpoint, response, read_start)
    content_type = _content_type(response)
    expected = _STREAM_TYPE if endpoint == "subscribe" else _DOCUMENT_TYPE
    # Without a content type, a document is checked by its content; but a stream could be anything.
    if expected.fullmatch(content_type) is None and (content_type or endpoint == "subscribe"):
        return another_type(endpoint, code)
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    if encoding not in _ENCODINGS:
        return UnusableError(f"{endpoint}: an answer in an encoding not asked for", code=code)
    return None


def another_type(endpoint: Endpoint, code: str) -> UnusableError:
    """The error that an answer of another content type means."""
    return UnusableError(f"{endpoint}: an answer of another content type", code=code)


def is_page(response: requests.Response) -> bool:
    """Whether an answer says that it is a page, as a proxy's is."""
    return _content_type(response) == "text/html"


def is_of_service(content_type: str, start: bytes) -> bool:
    """Whether the body of a refusal comes from the service, not from a proxy in front of it.

    The service refuses with a JSON object. A proxy sends a page, a line of plain text, or nothing.
    The JSON need not be complete: it may be long, or truncated.

    Args:
        content_type: without parameters, in lower case; empty if there is none.
        start: the body, or as much of it as was read.
    """
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not text.startswith(b"{"):
        return False
    if _JSON_TYPE.fullmatch(content_type) is not None:
        return True
    try:
        load_object(text, MAX_REFUSAL_SIZE)
    except MalformedDocumentError:
        return False
    return True


def _content_type(response: requests.Response) -> str:
    return response.headers.get("Content-Type", "").partition(";")[0].strip().lower()


def _refusal(
    endpoint: Endpoint, response: requests.Response, read_start: Callable[[], bytes]
) -> ServiceError:
    status = response.status_code
    code = str(status)
    message = f"{endpoint}: answered with status {status}"
    if status in {401, 429}:
        return (UnauthorizedError if status == 401 else RateLimitedError)(message, code=code)
    plain = {400: BadRequestError, 403: ForbiddenError, 404: NotFoundError}.get(status)
    if plain is not None:
        if is_of_service(_content_type(response), read_start()):
            return plain(message, code=code)
        message += ", not by the service itself"
    if 200 < status < 300:
        return UnusableError(message, code=code)
    if 300 <= status < 400:
        return RedirectedError(message, code=code)
    return ServerFaultError(message, code=code)


def retry_after(response: requests.Response, now: Callable[[], float]) -> float | None:
    """Read Retry-After, seconds or a date, as seconds from 0 to ``MAX_RETRY_AFTER``."""
    value = response.headers.get("Retry-After", "").strip()
    if _SECONDS.fullmatch(value):
        seconds = float(value)
    else:
        date = parse_http_date(value)
        if date is None:
            return None
        # The date is compared with the time in the Date header, which is from the same clock.
        told = parse_http_date(response.headers.get("Date"))
        seconds = date - (now() if told is None else told)
    return min(max(seconds, 0.0), MAX_RETRY_AFTER)
