"""Servers of raw sockets over loopback: they can do on the wire whatever a test needs."""

import contextlib
import queue
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import Protocol

import pytest
import trustme

from exporter.comfycontrol import Client, RequestRecord, Timeouts

WORKFLOW = "a1b2c3d4-e5f6-7890-abcd-ef1234567890"

_ENVIRONMENT = (
    *("http_proxy", "https_proxy", "all_proxy", "no_proxy"),
    *("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR", "NETRC"),
)


class Peer:
    """The server's end of one connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._buffer = b""

    def read_request(self) -> str:
        """Read up to the end of the headers; empty: the client is gone."""
        while b"\r\n\r\n" not in self._buffer:
            received = self.sock.recv(65536)
            if not received:
                return ""
            self._buffer += received
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        return head.decode("latin-1")

    def send(self, *parts: bytes) -> None:
        self.sock.sendall(b"".join(parts))

    def answer(
        self, body: bytes, *headers: str, status: str = "200 OK", kind: str = "application/json"
    ) -> None:
        self.head(f"Content-Length: {len(body)}", *headers, status=status, kind=kind)
        self.send(body)

    def head(self, *headers: str, status: str = "200 OK", kind: str = "text/event-stream") -> None:
        lines = (f"HTTP/1.1 {status}", f"Content-Type: {kind}", *headers, "", "")
        self.send("\r\n".join(lines).encode("latin-1"))

    def chunk(self, data: bytes) -> None:
        self.send(b"%x\r\n" % len(data), data, b"\r\n")

    def wait_until_gone(self) -> None:
        """Read until the client closes, so that nothing on this side ends the connection."""
        with contextlib.suppress(OSError):
            while self.sock.recv(65536):
                pass

    def reset(self) -> None:
        """Close with a reset in place of an orderly end."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


class Server:
    """Runs a handler for each connection, in a thread of its own."""

    def __init__(
        self, handler: Callable[[Peer], object], tls: ssl.SSLContext | None = None
    ) -> None:
        self.accepted = 0
        self.errors: queue.SimpleQueue[Exception] = queue.SimpleQueue()
        self._handler = handler
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://localhost:{self.port}"
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                self.accepted += 1
                self._sockets.append(sock)
                thread = threading.Thread(target=self._handle, args=(sock,))
                self._threads.append(thread)
                thread.start()

    def _handle(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            if self._tls is not None:
                sock = self._tls.wrap_socket(sock, server_side=True)
                self._sockets.append(sock)
            with sock:
                self._handler(Peer(sock))

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._threads[0].join()
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for sock in self._sockets:
            sock.close()


class Serve(Protocol):
    def __call__(
        self, handler: Callable[[Peer], object], tls: ssl.SSLContext | None = None
    ) -> Server: ...


class MakeClient(Protocol):
    def __call__(
        self, url: str, timeouts: Timeouts | None = None, *, token: str = "cfc_token"
    ) -> Client: ...


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in _ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def serve() -> Iterator[Serve]:
    servers: list[Server] = []

    def start(handler: Callable[[Peer], object], tls: ssl.SSLContext | None = None) -> Server:
        servers.append(Server(handler, tls))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def records() -> list[RequestRecord]:
    return []


@pytest.fixture
def make_client(records: list[RequestRecord]) -> Iterator[MakeClient]:
    clients: list[Client] = []

    def make(url: str, timeouts: Timeouts | None = None, *, token: str = "cfc_token") -> Client:
        client = Client(
            url, lambda: token, max_streams=8, on_request=records.append, timeouts=timeouts
        )
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.close()


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context


@pytest.fixture
def trusted(authority: trustme.CA, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Have the environment name the authority of the tests."""
    with authority.cert_pem.tempfile() as path:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", path)
        yield path


@contextlib.contextmanager
def lasting_at_most(seconds: float) -> Iterator[None]:
    begin = time.monotonic()
    yield
    assert time.monotonic() - begin < seconds


@pytest.fixture
def at_most() -> Callable[[float], contextlib.AbstractContextManager[None]]:
    return lasting_at_most
