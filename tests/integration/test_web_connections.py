"""Clients that keep the web side waiting, over plain HTTP and over TLS."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import h11
import pytest
import trustme
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from exporter.web.connections import AT_ONCE_BYTES, MOST_PARTS, Connection
from exporter.web.listening import listen, parse_listen_address
from exporter.web.security.watching import WatchedSecurity
from exporter.web.server import make_server

PATIENCE = 30.0
"""Seconds that a busy machine may take for what is done in a moment."""

LARGE = 64 * 1024 * 1024
GET = b"GET /small HTTP/1.1\r\nHost: x\r\n\r\n"


async def _small(request: Request) -> Response:
    await request.body()
    return PlainTextResponse("small")


async def _early(_: Request) -> Response:
    return PlainTextResponse("small")


async def _large(_: Request) -> Response:
    return PlainTextResponse("x" * LARGE)


async def _who(request: Request) -> Response:
    assert request.client is not None
    return PlainTextResponse(f"{request.client.host} {request.url.scheme}\nsmall")


APP = Starlette(
    routes=[
        Route("/small", _small, methods=["GET", "POST"]),
        Route("/early", _early, methods=["POST"]),
        Route("/large", _large),
        Route("/who", _who),
    ]
)


class Served:
    def __init__(self, port: int, trusting: ssl.SSLContext | None, ends: ExitStack) -> None:
        self._port = port
        self._trusting = trusting
        self._ends = ends

    def connect(self) -> socket.socket:
        raw = self._ends.enter_context(socket.create_connection(("127.0.0.1", self._port)))
        raw.settimeout(PATIENCE)
        if self._trusting is None:
            return raw
        return self._ends.enter_context(
            self._trusting.wrap_socket(raw, server_hostname="localhost")
        )


@pytest.fixture(params=["http", "https"])
def served(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Served]:
    monkeypatch.setattr(Connection, "seconds", {"header": 0.3, "body": 0.5, "reading": 0.4})
    security = trusting = None
    if request.param == "https":
        authority = trustme.CA()
        issued = authority.issue_cert("localhost")
        issued.private_key_pem.write_to_path(tmp_path / "server.key")
        issued.cert_chain_pems[0].write_to_path(tmp_path / "server.crt")
        file = tmp_path / "web.yml"
        file.write_text("tls_server_config: {cert_file: server.crt, key_file: server.key}")
        security = WatchedSecurity(file)
        trusting = ssl.create_default_context()
        authority.configure_trust(trusting)
    server = make_server(APP, None if security is None else security.context())
    sock = listen(parse_listen_address("127.0.0.1:0"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, daemon=True)
    thread.start()
    with ExitStack() as ends:
        yield Served(sock.getsockname()[1], trusting, ends)
    server.end()
    thread.join(10)
    sock.close()


def answer(client: socket.socket) -> bytes:
    """One small answer."""
    heard = b""
    while not heard.endswith(b"small"):
        more = client.recv(1000)
        assert more, heard
        heard += more
    return heard


def read(client: socket.socket) -> int:
    """How much there is until the end."""
    length = 0
    try:
        while more := client.recv(1024 * 1024):
            length += len(more)
    except (ConnectionError, ssl.SSLError):
        pass
    return length


def is_ended(client: socket.socket) -> bool:
    """Whether the server ends it, in time, without another word."""
    try:
        return client.recv(1000) == b""
    except (ConnectionError, ssl.SSLError):
        return True


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET /small HTTP/1.1\r\nHost: x\r\nX-Slow: "],
    ids=["nothing", "half a header"],
)
def test_a_first_request_that_does_not_come(served: Served, sent: bytes) -> None:
    client = served.connect()
    client.sendall(sent)
    assert is_ended(client)


def test_a_second_request_that_does_not_come_whole(served: Served) -> None:
    client = served.connect()
    client.sendall(GET)
    assert answer(client)
    client.sendall(GET[:20])
    assert is_ended(client)


def test_half_a_request_that_came_along_with_a_whole_one(served: Served) -> None:
    client = served.connect()
    client.sendall(GET + GET[:20])
    assert answer(client)
    assert is_ended(client)


def test_a_header_that_comes_byte_by_byte(served: Served) -> None:
    client = served.connect()
    client.sendall(b"GET /small HTTP/1.1\r\nX-Slow: ")
    client.settimeout(0.05)
    for _ in range(int(PATIENCE / 0.05)):
        try:
            client.sendall(b"x")
            assert not client.recv(1000)
        except TimeoutError:
            continue
        except (ConnectionError, ssl.SSLError):
            pass
        return
    pytest.fail("it never ends")


def test_a_body_that_does_not_come(served: Served) -> None:
    client = served.connect()
    client.sendall(b"POST /small HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf")
    assert is_ended(client)


def test_an_answer_that_nobody_reads(served: Served) -> None:
    client = served.connect()
    client.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    # Others show that the time is over: of its own end it sees nothing before it reads.
    for _ in range(3):
        assert is_ended(served.connect())
    assert read(client) < LARGE


def test_who_asks_is_who_connects_whatever_it_says(served: Served) -> None:
    client = served.connect()
    client.sendall(
        b"GET /who HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.1\r\n"
        b"X-Forwarded-Proto: gopher\r\n\r\n"
    )
    said = answer(client)
    assert b"127.0.0.1 http" in said
    assert b"gopher" not in said


def test_between_two_requests_a_connection_is_kept(served: Served) -> None:
    scraper = served.connect()
    scraper.sendall(GET)
    assert answer(scraper)
    # For longer than a request may take.
    for _ in range(2):
        assert is_ended(served.connect())
    scraper.sendall(GET)
    assert answer(scraper)


def test_whoever_reads_gets_all_of_a_large_answer(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Connection, "seconds", dict.fromkeys(Connection.seconds, PATIENCE))
    client = served.connect()
    client.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert read(client) > LARGE


def test_chunks_of_one_byte_leave_others_their_turn(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[int] = []
    receive = h11.Connection.receive_data

    def noted(connection: h11.Connection, data: bytes) -> None:
        parsed.append(len(data))
        receive(connection, data)

    monkeypatch.setattr(h11.Connection, "receive_data", noted)
    monkeypatch.setattr(Connection, "seconds", dict.fromkeys(Connection.seconds, PATIENCE))
    client = served.connect()
    for _ in range(2):
        client.sendall(b"POST /small HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        client.sendall(b"1\r\nx\r\n" * MOST_PARTS + b"0\r\n\r\n")
        assert answer(client).startswith(b"HTTP/1.1 200")
    assert max(parsed) <= AT_ONCE_BYTES
    # The next one on the same connection is none the worse for it.
    client.sendall(GET)
    assert answer(client).startswith(b"HTTP/1.1 200")


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The parts of bodies that were parsed."""
    parsed: list[object] = []
    following = h11.Connection.next_event

    def noted(connection: h11.Connection) -> object:
        event = following(connection)
        if isinstance(event, h11.Data):
            parsed.append(event)
        return event

    monkeypatch.setattr(h11.Connection, "next_event", noted)
    monkeypatch.setattr(Connection, "seconds", dict.fromkeys(Connection.seconds, PATIENCE))
    return parsed


def test_a_body_in_too_many_parts_is_refused(served: Served, parts: list[object]) -> None:
    client = served.connect()
    client.sendall(b"POST /small HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    client.sendall(b"1\r\nx\r\n" * (MOST_PARTS + 1))
    refusal = b"".join(iter(lambda: client.recv(1000), b""))
    assert refusal.startswith(b"HTTP/1.1 400")
    assert b"The body of the request comes in too many parts." in refusal
    assert len(parts) == MOST_PARTS + 1


@pytest.mark.parametrize("rest", [b"1\r\nx\r\n" * 3 * MOST_PARTS, b"no chunk\r\n"])
def test_a_body_that_goes_on_after_the_answer(
    served: Served, parts: list[object], rest: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    client = served.connect()
    client.sendall(b"POST /early HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert answer(client)
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        client.sendall(rest)
    assert is_ended(client)
    assert len(parts) <= MOST_PARTS + 1
    assert [r.levelname for r in caplog.records] == ["WARNING"]
