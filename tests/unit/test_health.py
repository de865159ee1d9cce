"""`comfycontrol-exporter health`, against servers that answer, refuse, hang and talk nonsense."""

import http.server
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from exporter.cli import main
from exporter.commands import health
from exporter.web.listening import listen, parse_listen_address
from exporter.web.security.watching import WatchedSecurity
from exporter.web.server import make_server


async def _healthy(_: Request) -> Response:
    return PlainTextResponse("healthy\n")


healthy = Starlette(routes=[Route("/-/healthy", _healthy)])


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        code = {"/-/healthy": 200, "/-/ready": 503, "/bad": 400}.get(self.path, 404)
        self.send_response(code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def serving(context: ssl.SSLContext | None = None) -> Iterator[int]:
    with http.server.HTTPServer(("127.0.0.1", 0), _Handler) as server:
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def answering(answer: bytes) -> Iterator[int]:
    """A server that sends these bytes to the first who comes, and keeps the connection open."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        ended = threading.Event()

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(answer)
                ended.wait(10)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            ended.set()
            thread.join()


def test_healthy(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    # A proxy for the way to the service does not know this machine.
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with serving() as port:
        url = f"http://localhost:{port}/-/healthy"
        assert main(["health", f"--url={url}"]) == 0
    assert capsys.readouterr().out == f"{url}: 200\n"


@pytest.mark.parametrize(("path", "code"), [("/-/ready", 503), ("/nowhere", 404)])
def test_any_other_answer_is_not_healthy(
    path: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving() as port:
        assert main(["health", f"--url=http://127.0.0.1:{port}{path}"]) == 1
    assert capsys.readouterr().err.endswith(f"{path}: {code}\n")


def test_a_certificate_for_another_name_is_good_enough_on_this_machine() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority = trustme.CA()
    authority.issue_cert("exporter.example").configure_cert(context)
    with serving(context) as port:
        assert health.check_health(f"https://127.0.0.1:{port}/-/healthy")[0]


@contextmanager
def exporter_with_tls(folder: Path, *, more: str = "") -> Iterator[int]:
    """The exporter's own web side, whose port answers plain HTTP with a 400."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.crt")
    issued = authority.issue_cert("exporter.example")
    issued.private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    client = authority.issue_cert("probe.example")
    client.private_key_and_cert_chain_pem.write_to_path(folder / "client.pem")
    client.cert_chain_pems[0].write_to_path(folder / "client.crt")
    client.private_key_pem.write_to_path(folder / "client.key")
    file = folder / "web.yml"
    pair = f"{{cert_file: server.pem, key_file: server.pem{more}}}"
    file.write_text(f"tls_server_config: {pair}\n")
    watched = WatchedSecurity(file)
    server = make_server(healthy, watched.context())
    with listen(parse_listen_address("127.0.0.1:0")) as sock:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
        thread.start()
        try:
            yield sock.getsockname()[1]
        finally:
            server.end()
            thread.join()


MUTUAL = ", client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.crt"


def test_a_port_with_tls_is_asked_over_tls(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with exporter_with_tls(tmp_path) as port:
        # As the image's own health check does, which knows no more than the port.
        assert main(["health", f"--url=http://localhost:{port}/-/healthy"]) == 0
        assert capsys.readouterr().out == f"https://localhost:{port}/-/healthy: 200\n"
        assert main(["health", f"--url=https://localhost:{port}/-/healthy"]) == 0
        # What is wrong behind TLS stays wrong.
        assert main(["health", f"--url=http://localhost:{port}/nowhere"]) == 1
    said = capsys.readouterr().err
    assert said == (
        f"http://localhost:{port}/nowhere: 400; https://localhost:{port}/nowhere: 404\n"
    )


def test_another_machine_is_asked_once_as_it_was_told(monkeypatch: pytest.MonkeyPatch) -> None:
    # To what is not loopback, TLS has no certificate that would be taken on trust.
    monkeypatch.setattr(health, "_is_loopback", lambda _: False)
    with serving() as port:
        assert health.check_health(f"http://127.0.0.1:{port}/bad") == (
            False,
            f"http://127.0.0.1:{port}/bad: 400",
        )


def test_a_400_without_tls_behind_it_is_told_with_both_tries() -> None:
    with serving() as port:
        is_healthy, text = health.check_health(f"http://127.0.0.1:{port}/bad")
    assert not is_healthy
    first, second = text.split("; ")
    assert first == f"http://127.0.0.1:{port}/bad: 400"
    assert second.startswith(f"https://127.0.0.1:{port}/bad: no answer: TLS: ")


@pytest.mark.parametrize("version", ["TLS12", "TLS13"])
def test_a_certificate_that_is_asked_for(
    tmp_path: Path, version: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with exporter_with_tls(tmp_path, more=f"{MUTUAL}, max_version: {version}") as port:
        url = f"http://localhost:{port}/-/healthy"
        assert main(["health", f"--url={url}"]) == 1
        assert "a client certificate is required: give one with --cert" in (capsys.readouterr().err)
        assert main(["health", f"--url={url}", f"--cert={tmp_path / 'client.pem'}"]) == 0
        apart = [f"--cert={tmp_path / 'client.crt'}", f"--key={tmp_path / 'client.key'}"]
        assert main(["health", f"--url={url}", *apart]) == 0
        stranger = tmp_path / "stranger.pem"
        trustme.CA().issue_cert("x.example").private_key_and_cert_chain_pem.write_to_path(stranger)
        assert main(["health", f"--url={url}", f"--cert={stranger}"]) == 1
        assert "no answer: TLS: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("cert", "key", "says"),
    [
        ("missing.pem", None, "missing.pem: No such file or directory"),
        ("a.key", None, "a.key: no certificate with its key: "),
        ("a.crt", "b.key", "a.crt and .*b.key: no certificate with its key: key values mismatch"),
    ],
)
def test_a_certificate_that_cannot_be_shown(
    tmp_path: Path, cert: str, key: str | None, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    authority = trustme.CA()
    for name in ("a", "b"):
        issued = authority.issue_cert("x.example")
        issued.cert_chain_pems[0].write_to_path(tmp_path / f"{name}.crt")
        issued.private_key_pem.write_to_path(tmp_path / f"{name}.key")
    arguments = [f"--cert={tmp_path / cert}", *([f"--key={tmp_path / key}"] if key else [])]
    assert main(["health", "--url=http://127.0.0.1:1/", *arguments]) == 1
    said = capsys.readouterr().err
    assert re.search(says, said)
    assert said.count("\n") == 1


def test_the_environment_says_where_to_ask(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving() as port:
        url = f"http://127.0.0.1:{port}/-/healthy"
        monkeypatch.setenv("COMFYCONTROL_EXPORTER_HEALTH_URL", url)
        assert main(["health"]) == 0
        assert capsys.readouterr().out == f"{url}: 200\n"
        # The flag is nearer.
        assert main(["health", f"--url=http://127.0.0.1:{port}/-/ready"]) == 1
    monkeypatch.setenv("COMFYCONTROL_EXPORTER_HEALTH_URL", "localhost:10871")
    capsys.readouterr()
    assert main(["health"]) == 1
    assert capsys.readouterr().err.startswith("COMFYCONTROL_EXPORTER_HEALTH_URL: 'localhost:10871'")


def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def note(url: str, *_: object) -> tuple[bool, str]:
        asked.append(url)
        return True, ""

    monkeypatch.setenv("COMFYCONTROL_EXPORTER_HEALTH_URL", "")
    monkeypatch.setattr(health, "check_health", note)
    assert main(["health"]) == 0
    assert asked == ["http://localhost:10871/-/healthy"]


def test_nobody_there(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert main(["health", f"--url=http://127.0.0.1:{port}/"]) == 1
    assert "Connection refused" in capsys.readouterr().err


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200", b"SSH-2.0-x\r\n"])
def test_no_answer_in_time_or_no_http(answer: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "TIMEOUT_SECONDS", 0.2)
    with answering(answer) as port:
        is_healthy, text = health.check_health(f"http://127.0.0.1:{port}/-/healthy")
    assert not is_healthy
    assert "no answer" in text


@pytest.mark.parametrize(
    "url",
    [
        "localhost:10871",
        "file:///etc/passwd",
        "http://a b/",
        "http://[::1/",
        "http://",
        "http://a:x",
    ],
)
def test_a_url_that_is_none_is_exit_code_1(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["health", f"--url={url}"])
    assert ended.value.code == 1
    assert "is not an http:// or https:// URL" in capsys.readouterr().err
