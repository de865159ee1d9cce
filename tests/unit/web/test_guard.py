"""What the guard lets through, by the answers that a client gets."""

import base64
from collections.abc import Callable
from typing import Any

import bcrypt
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from exporter.web.security import AuthMiddleware, Security
from exporter.web.security.passwords import PasswordChecks, TooManyChecksError, Users
from exporter.web.security.rate import Bucket, RequestRate

USERS = Users({"zoë".encode(): bcrypt.hashpw(b"pass:word", bcrypt.gensalt(4))})


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with what it sees of the header."""
    request = Request(scope)
    headers = {"Referrer-Policy": "origin"} if scope["path"] == "/own" else {}
    await PlainTextResponse(f"inside {request.headers.get('authorization', '')}", headers=headers)(
        scope, receive, send
    )


def guard(security: Callable[[], Security], **more: Any) -> AuthMiddleware:
    return AuthMiddleware(
        app, security, probes=["/-/healthy"], own_tokens=["/api/v1/workflows"], **more
    )


async def ask(
    guarded: AuthMiddleware, path: str = "/metrics", *authorization: str
) -> tuple[int, dict[str, str], str]:
    """Status, headers and body."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"authorization", value.encode("latin-1")) for value in authorization]
    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "query_string": b"",
        "headers": headers,
        "client": ("192.0.2.1", 1),
    }
    await guarded(scope, receive, send)
    got = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], got, b"".join(m.get("body", b"") for m in sent[1:]).decode()


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_nothing_is_asked_where_nothing_is_secured() -> None:
    status, headers, body = await ask(guard(Security))
    assert (status, body) == (200, "inside ")
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert "strict-transport-security" not in headers


async def test_the_right_password_and_nothing_of_it_goes_further() -> None:
    guarded = guard(lambda: Security(users=USERS))
    status, _, body = await ask(guarded, "/metrics", basic("zoë", "pass:word"))
    assert (status, body) == (200, "inside ")
    lower = basic("zoë", "pass:word").replace("Basic", "basic")
    assert (await ask(guarded, "/metrics", lower))[0] == 200


@pytest.mark.parametrize(
    "authorization",
    [
        (),
        ("",),
        ("Basic",),
        ("Basic ",),
        ("Basic !!!",),
        ("Basic em/Dqw==",),
        ("Bearer push-me",),
        (basic("zoë", "word"),),
        (basic("zoë", ""),),
        (basic("", "pass:word"),),
        (basic("nobody", "pass:word"),),
        (basic("zoë", "pass:word"), basic("zoë", "pass:word")),
    ],
)
async def test_without_the_right_password(authorization: tuple[str, ...]) -> None:
    guarded = guard(lambda: Security(users=USERS))
    for path in ("/metrics", "/", "/nothing", "/-/healthy/", "/-/reload", "/api/v1/workflowsx"):
        status, headers, body = await ask(guarded, path, *authorization)
        assert status == 401
        assert headers["www-authenticate"].startswith('Basic realm="')
        assert headers["x-frame-options"] == "DENY"
        assert "inside" not in body


async def test_probes_and_push_need_no_password() -> None:
    guarded = guard(lambda: Security(users=USERS))
    assert (await ask(guarded, "/-/healthy"))[0] == 200
    for path in ("/api/v1/workflows", "/api/v1/workflows/a1b2"):
        status, _, body = await ask(guarded, path, "Bearer push-me")
        assert (status, body) == (200, "inside Bearer push-me")


async def test_what_holds_is_asked_at_each_request() -> None:
    security = Security()
    guarded = guard(lambda: security)
    assert (await ask(guarded))[0] == 200
    security = Security(users=USERS)
    assert (await ask(guarded))[0] == 401


async def test_configured_headers_come_on_top() -> None:
    configured = {"X-Frame-Options": "sameorigin", "X-XSS-Protection": "0"}
    _, headers, _ = await ask(guard(lambda: Security(headers=configured)))
    assert headers["x-frame-options"] == "sameorigin"
    assert headers["x-xss-protection"] == "0"
    assert headers["cache-control"] == "no-store"
    # An empty one takes ours away; a page's own stays.
    _, headers, _ = await ask(guard(lambda: Security(headers={"X-Frame-Options": ""})), "/own")
    assert "x-frame-options" not in headers
    assert headers["referrer-policy"] == "origin"


async def test_too_many_checks_are_a_503() -> None:
    class Busy(PasswordChecks):
        async def is_right(self, users: Users, user: bytes, password: bytes, client: str) -> bool:
            raise TooManyChecksError

    guarded = guard(lambda: Security(users=USERS), passwords=Busy())
    status, headers, _ = await ask(guarded, "/metrics", basic("zoë", "x"))
    assert status == 503
    assert headers["retry-after"] == "1"
    assert (await ask(guarded, "/-/healthy"))[0] == 200


async def test_past_the_rate_limit() -> None:
    limit = RequestRate(interval=3600.0, size=2)
    guarded = guard(lambda: Security(rate_limit=limit, users=USERS))
    assert [(await ask(guarded))[0] for _ in range(3)] == [401, 401, 429]
    status, headers, _ = await ask(guarded, "/metrics", basic("zoë", "pass:word"))
    assert status == 429
    assert headers["retry-after"] == "3600"
    assert (await ask(guarded, "/-/healthy"))[0] == 200


def test_a_bucket_fills_again_and_not_over_its_rim() -> None:
    now = 0.0
    bucket = Bucket(0.5, 2, lambda: now)
    assert [bucket.take() for _ in range(3)] == [True, True, False]
    now = 0.5
    assert [bucket.take() for _ in range(2)] == [True, False]
    now = 100.0
    assert [bucket.take() for _ in range(3)] == [True, True, False]
