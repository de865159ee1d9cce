"""`comfycontrol-exporter health`, against servers that answer, refuse, hang and talk nonsense."""

import http.server
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import trustme

from exporter import health
from exporter.cli import main


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        code = {"/-/healthy": 200, "/-/ready": 503}.get(self.path, 404)
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
