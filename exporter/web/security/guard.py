"""The middleware in front of every endpoint: headers, the rate limit and passwords."""

import base64
import math
from collections.abc import Callable, Iterable
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from exporter.web.refusals import refusal
from exporter.web.security.passwords import PasswordChecks, TooManyChecksError
from exporter.web.security.rate import Bucket, RequestRate
from exporter.web.security.settings import Security

_CHALLENGE: Final = 'Basic realm="comfycontrol-exporter", charset="UTF-8"'

_DEFAULT_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
"""Headers of every answer that does not set them itself."""


_READING: Final = frozenset({"GET", "HEAD"})


class AuthMiddleware:
    """An ASGI application around the exporter's.

    Args:
        app: The application that it protects.
        security: Returns the settings in use; called for each request.
        probes: Paths without password and rate limit: an orchestrator has no password, and must not
            conclude that the exporter is dead because others send too many requests.
        own_tokens: Paths, including all below them, that accept their own token in the header that
            normally has the password. Reading them without a token needs the password.
        passwords: Checks the passwords.
    """

    def __init__(
        self,
        app: ASGIApp,
        security: Callable[[], Security],
        *,
        probes: Iterable[str],
        own_tokens: Iterable[str],
        passwords: PasswordChecks | None = None,
    ) -> None:
        self._app = app
        self._security = security
        self._probes = frozenset(probes)
        self._own_tokens = tuple(own_tokens)
        self._passwords = passwords or PasswordChecks()
        self._limit = RequestRate()
        self._bucket: Bucket | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on to the application."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        security = self._security()

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                _add_headers(MutableHeaders(scope=message), security)
            await send(message)

        refusal = await self._refusal(scope, security)
        if refusal is not None:
            await refusal(scope, receive, send_with_headers)
        elif security.users and not self._has_own_token(scope):
            # No other part needs the password, so it is removed and cannot leak.
            rest = [pair for pair in scope["headers"] if pair[0] != b"authorization"]
            await self._app({**scope, "headers": rest}, receive, send_with_headers)
        else:
            await self._app(scope, receive, send_with_headers)

    async def _refusal(self, scope: Scope, security: Security) -> Response | None:
        path: str = scope["path"]
        if path in self._probes:
            return None
        limit = security.rate_limit
        if not self._has_token_left(limit):
            return refusal(
                path, 429, "too many requests", {"Retry-After": str(math.ceil(limit.interval))}
            )
        if not security.users or self._has_own_token(scope):
            return None
        given = _credentials(scope)
        if given is not None:
            client = scope["client"][0] if scope.get("client") else ""
            try:
                if await self._passwords.is_right(security.users, *given, client):
                    return None
            except TooManyChecksError:
                return refusal(
                    path, 503, "too many passwords are being checked", {"Retry-After": "1"}
                )
        return refusal(path, 401, "a password is needed", {"WWW-Authenticate": _CHALLENGE})

    def _has_own_token(self, scope: Scope) -> bool:
        path: str = scope["path"]
        if not any(path == own or path.startswith(f"{own}/") for own in self._own_tokens):
            return False
        # To read these paths, a client may send either a token or the password.
        if scope["method"] not in _READING:
            return True
        # If there are several headers, the endpoint might read another one than this check.
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        return len(given) == 1 and given[0][:7].lower() == b"bearer "

    def _has_token_left(self, limit: RequestRate) -> bool:
        if limit != self._limit:
            self._limit = limit
            self._bucket = Bucket(limit.interval, limit.size) if limit.interval else None
        return self._bucket is None or self._bucket.take()


def _add_headers(headers: MutableHeaders, security: Security) -> None:
    for name, value in _DEFAULT_HEADERS.items():
        headers.setdefault(name, value)
    for name, value in security.headers.items():
        # In this file format, an empty value removes the header.
        if value:
            headers[name] = value
        elif name in headers:
            del headers[name]


def _credentials(scope: Scope) -> tuple[bytes, bytes] | None:
    """Name and password; None for a request without a password header, or with several."""
    given = [value for name, value in scope["headers"] if name == b"authorization"]
    if len(given) != 1:
        return None
    scheme, _, encoded = given[0].partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        decoded = base64.b64decode(encoded.strip(), validate=True)
    except ValueError:
        return None
    user, colon, password = decoded.partition(b":")
    return (user, password) if colon else None
