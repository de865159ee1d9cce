"""TLS, proxies, the pool, and what goes over the wire."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import threading
from typing import TYPE_CHECKING, Any

import pytest
import urllib3.connection
import urllib3.util.ssl_

from exporter.comfycontrol import (
    Client,
    RedirectedError,
    RequestRecord,
    StreamEnding,
    UnreachableError,
    connections,
)
from tests.integration.comfycontrol.on_a_loop import OnALoop

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.comfycontrol.conftest import MakeClient, Peer, Serve, Server

WORKFLOW = "a1b2c3d4-e5f6-7890-abcd-ef1234567890"
PAGE = b'{"workflows":[],"total":0}'


def answer_pages(peer: Peer) -> None:
    while peer.read_request():
        peer.answer(PAGE)


def test_interim_answers_are_skipped(serve: Serve, make_client: MakeClient) -> None:
    def answer(peer: Peer) -> None:
        while peer.read_request():
            peer.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n")
            peer.send(b"HTTP/1.1 102 Processing\r\nContent-Length: 9\r\n\r\n")
            peer.answer(PAGE)

    server = serve(answer)
    client = make_client(server.url)
    for _ in range(2):  # the second over the same connection
        assert client.list_workflows(page=1).total == 0


class Recorder:
    """Answers pages, and keeps what was asked."""

    def __init__(self) -> None:
        self.requests: list[str] = []

    def __call__(self, peer: Peer) -> None:
        while request := peer.read_request():
            self.requests.append(request)
            peer.answer(PAGE)


def forward(one: socket.socket, other: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := one.recv(65536):
            other.sendall(data)
    with contextlib.suppress(OSError):
        socket.socket.shutdown(other, socket.SHUT_RDWR)


class Tunnel:
    """A proxy that opens tunnels, all to one server, whatever name was asked for."""

    def __init__(self, server: Server) -> None:
        self.requests: list[str] = []
        self._server = server

    def __call__(self, peer: Peer) -> None:
        self.requests.append(peer.read_request())
        with socket.create_connection(("127.0.0.1", self._server.port)) as onward:
            peer.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
            thread = threading.Thread(target=forward, args=(onward, peer.sock))
            thread.start()
            forward(peer.sock, onward)
            thread.join()


@pytest.fixture
def contexts_built(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Whatever builds a context, or reads certificates into one, from now on."""
    built: list[str] = []

    def counting(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            built.append(name)
            return original(*args, **kwargs)

        return counted

    for module in (connections, urllib3.connection, urllib3.util.ssl_):
        name = "create_urllib3_context"
        monkeypatch.setattr(module, name, counting("build", getattr(module, name)))
    for name in ("load_verify_locations", "load_default_certs"):
        original = getattr(ssl.SSLContext, name)
        monkeypatch.setattr(ssl.SSLContext, name, counting("read", original))
    return built


def test_one_context_serves_all_connections(
    serve: Serve,
    make_client: MakeClient,
    server_tls: ssl.SSLContext,
    trusted: str,
    contexts_built: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def handler(peer: Peer) -> None:
        peer.read_request()
        peer.answer(PAGE, "Connection: close")

    server = serve(handler, server_tls)
    client = make_client(server.url)
    for _ in range(3):
        client.list_workflows(page=1)
    assert server.accepted == 3
    proxy = serve(Tunnel(server), server_tls)
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    for _ in range(2):
        client.list_workflows(page=1)
    assert server.accepted == 5
    assert contexts_built == ["build", "read"]


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
def test_authorities_come_from_the_environment(
    name: str,
    serve: Serve,
    make_client: MakeClient,
    server_tls: ssl.SSLContext,
    trusted: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    monkeypatch.setenv(name, trusted)
    client = make_client(serve(answer_pages, server_tls).url)
    assert client.list_workflows(page=1).total == 0


def test_an_authority_that_is_not_trusted_is_refused(
    serve: Serve, make_client: MakeClient, server_tls: ssl.SSLContext
) -> None:
    client = make_client(serve(answer_pages, server_tls).url)
    with pytest.raises(UnreachableError, match="certificate cannot be verified") as caught:
        client.list_workflows(page=1)
    assert caught.value.reason == "tls"


def test_a_certificate_of_another_host_is_refused(
    serve: Serve, make_client: MakeClient, server_tls: ssl.SSLContext, trusted: str
) -> None:
    url = serve(answer_pages, server_tls).url.replace("localhost", "127.0.0.1")
    with pytest.raises(UnreachableError) as caught:
        make_client(url).list_workflows(page=1)
    assert caught.value.reason == "tls"


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
def test_authorities_that_cannot_be_read_are_named(
    name: str, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "/nowhere/bundle.pem")
    with pytest.raises(ValueError, match=f"{name} names '/nowhere/bundle.pem', which does not"):
        make_client("https://service.test")


def test_a_service_that_speaks_no_tls(serve: Serve, make_client: MakeClient) -> None:
    def handler(peer: Peer) -> None:
        peer.sock.recv(65536)
        peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    url = serve(handler).url.replace("http:", "https:")
    with pytest.raises(UnreachableError) as caught:
        make_client(url).list_workflows(page=1)
    assert caught.value.reason == "tls"


def test_connections_are_used_again(
    serve: Serve, make_client: MakeClient, server_tls: ssl.SSLContext, trusted: str
) -> None:
    server = serve(answer_pages, server_tls)
    client = make_client(server.url)
    for page in range(1, 6):
        client.list_workflows(page=page)
    assert server.accepted == 1


def test_a_connection_that_the_service_has_closed_is_replaced(
    serve: Serve, make_client: MakeClient
) -> None:
    closed = threading.Event()

    def handler(peer: Peer) -> None:
        peer.read_request()
        peer.answer(PAGE)
        peer.sock.close()
        closed.set()

    server = serve(handler)
    client = make_client(server.url)
    for _ in range(3):
        closed.clear()
        client.list_workflows(page=1)
        assert closed.wait(5)
    assert server.accepted == 3


def test_what_is_asked(serve: Serve, make_client: MakeClient) -> None:
    recorder = Recorder()
    client = make_client(serve(recorder).url + "/prefix/")
    client.list_workflows(page=2, per_page=50, status="failed & more")
    with pytest.raises(Exception, match="status"):
        client.get_workflow(WORKFLOW.upper())
    with pytest.raises(Exception, match="content type"):
        client.subscribe(WORKFLOW)
    first, second, third = (request.split("\r\n") for request in recorder.requests)
    assert first[0] == (
        "GET /prefix/v1/workflow?page=2&per_page=50&status=failed+%26+more HTTP/1.1"
    )
    assert second[0] == f"GET /prefix/v1/workflow/{WORKFLOW} HTTP/1.1"
    assert third[0] == f"GET /prefix/v1/workflow/{WORKFLOW}/subscribe HTTP/1.1"
    for request in (first, second, third):
        assert "Authorization: Bearer cfc_token" in request
        assert "Accept-Encoding: identity" in request
        agents = [line for line in request if line.startswith("User-Agent: ")]
        assert re.fullmatch(
            r"User-Agent: comfycontrol-exporter/\S+ \(\+python-requests/\S+\)", agents[0]
        )
    assert "Accept: application/json" in first
    assert "Accept: text/event-stream" in third
    assert "Cache-Control: no-store" in third


def test_the_token_may_change_between_calls(serve: Serve, records: list[RequestRecord]) -> None:
    recorder = Recorder()
    tokens = iter(["cfc_first", "cfc_second"])
    url = serve(recorder).url
    with Client(url, lambda: next(tokens), max_streams=1, on_request=records.append) as client:
        client.list_workflows(page=1)
        client.list_workflows(page=1)
    assert ["cfc_first" in request for request in recorder.requests] == [True, False]
    assert ["cfc_second" in request for request in recorder.requests] == [False, True]


def test_a_redirect_is_not_followed(serve: Serve, make_client: MakeClient) -> None:
    elsewhere = serve(answer_pages)

    def handler(peer: Peer) -> None:
        peer.read_request()
        peer.answer(b"", f"Location: {elsewhere.url}/v1/workflow", status="307 Moved")

    with pytest.raises(RedirectedError) as caught:
        make_client(serve(handler).url).list_workflows(page=1)
    assert caught.value.code == "307"
    assert elsewhere.accepted == 0


def test_a_plain_proxy_from_the_environment(
    serve: Serve, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder()
    proxy = serve(recorder)
    monkeypatch.setenv("HTTP_PROXY", f"http://user:secret@localhost:{proxy.port}")
    client = make_client("http://service.test")
    client.list_workflows(page=1)
    request = recorder.requests[0]
    assert request.startswith("GET http://service.test/v1/workflow?")
    assert "Proxy-Authorization: Basic " in request
    assert "Authorization: Bearer cfc_token" in request


def test_the_pool_begins_empty_and_keeps_a_connection(
    serve: Serve, make_client: MakeClient
) -> None:
    """urllib3 begins with a placeholder for each connection that the pool may hold."""
    server = serve(answer_pages)
    client = make_client(server.url)
    client.list_workflows(page=1)
    (pool,) = client._adapter.poolmanager.pools._container.values()
    assert pool.pool.qsize() == 1
    assert pool.pool.maxsize > 1
    client.list_workflows(page=2)
    assert server.accepted == 1


def test_an_address_for_which_the_environment_wants_no_proxy(
    serve: Serve, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(answer_pages)
    proxy = serve(answer_pages)
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    monkeypatch.setenv("NO_PROXY", "localhost")
    make_client(server.url).list_workflows(page=1)
    assert (server.accepted, proxy.accepted) == (1, 0)


@pytest.mark.parametrize("proxy_over_tls", [False, True], ids=["plain proxy", "TLS proxy"])
def test_a_tunnel_through_a_proxy_from_the_environment(
    proxy_over_tls: bool,
    serve: Serve,
    make_client: MakeClient,
    server_tls: ssl.SSLContext,
    trusted: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def handler(peer: Peer) -> None:
        while "subscribe" not in peer.read_request():
            peer.answer(PAGE)
        peer.head("Transfer-Encoding: chunked")
        peer.chunk(b'data: {"status":"running"}\n\n')
        peer.send(b"0\r\n\r\n")

    server = serve(handler, server_tls)
    tunnel = Tunnel(server)
    proxy = serve(tunnel, server_tls if proxy_over_tls else None)
    monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace("://", "://user:secret@"))
    client = make_client("https://localhost")
    client.list_workflows(page=1)
    client.list_workflows(page=2)
    stream = OnALoop(client.subscribe(WORKFLOW))
    assert len(list(stream)) == 1
    assert stream.ending is StreamEnding.EOF
    assert server.accepted == 1
    (request,) = tunnel.requests
    assert request.startswith("CONNECT localhost:443 ")
    assert "Proxy-Authorization: Basic " in request
    assert "Bearer" not in request


def test_a_tunnel_that_the_proxy_refuses(
    serve: Serve, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def handler(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 407 Go away, user:secret\r\n\r\n")

    monkeypatch.setenv("HTTPS_PROXY", serve(handler).url)
    with pytest.raises(UnreachableError, match=r"refused a tunnel with status 407$") as caught:
        make_client("https://service.test").list_workflows(page=1)
    assert caught.value.reason == "proxy"


@pytest.mark.parametrize(
    ("proxy", "reason"), [("socks5://localhost:1080", "proxy"), ("http://localhost:1", "proxy")]
)
def test_a_proxy_that_cannot_be_used(
    proxy: str, reason: str, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    with pytest.raises(UnreachableError) as caught:
        make_client("https://service.test").list_workflows(page=1)
    assert caught.value.reason == reason


def test_nobody_listens(make_client: MakeClient, records: list[RequestRecord]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with pytest.raises(UnreachableError, match=r"connection refused$") as caught:
        make_client(url).list_workflows(page=1)
    assert caught.value.reason == "connect"
    assert [record.code for record in records] == ["error"]


def test_the_service_hangs_up_instead_of_answering(serve: Serve, make_client: MakeClient) -> None:
    client = make_client(serve(lambda peer: peer.read_request()).url)
    with pytest.raises(UnreachableError) as caught:
        client.list_workflows(page=1)
    assert caught.value.reason == "broken"


def test_the_service_does_not_speak_http(serve: Serve, make_client: MakeClient) -> None:
    def handler(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"220 mail.example ESMTP\r\n")

    with pytest.raises(UnreachableError) as caught:
        make_client(serve(handler).url).list_workflows(page=1)
    assert caught.value.reason == "protocol"


@pytest.mark.parametrize("proxied", [False, True], ids=["direct", "through a proxy"])
def test_requests_come_from_the_address_that_is_bound(
    proxied: bool, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def answer(peer: Peer) -> None:
        seen.append(peer.sock.getpeername()[0])
        answer_pages(peer)

    url = serve(answer).url
    if proxied:
        monkeypatch.setenv("HTTP_PROXY", url)
        url = "http://service.test"
    with Client(
        url, lambda: "cfc_token", max_streams=1, on_request=lambda _: None, bind="127.0.0.3"
    ) as client:
        client.list_workflows(page=1)
    assert seen == ["127.0.0.3"]
