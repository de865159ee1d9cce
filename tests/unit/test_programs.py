"""What tests that start programs rely on."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
import requests

from tests.e2e.programs import metrics_page
from tests.ports import free_port

ANY_PORT = Path("/proc/sys/net/ipv4/ip_local_port_range")


class Elsewhere(BaseHTTPRequestHandler):
    """Another program, which has no metrics."""

    def do_GET(self) -> None:
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def elsewhere() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", free_port()), Elsewhere) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_an_answer_that_is_no_page_of_metrics_is_no_answer(elsewhere: str) -> None:
    with pytest.raises(requests.RequestException):
        metrics_page(elsewhere)


def test_a_port_is_given_once() -> None:
    ports = [free_port() for _ in range(200)]
    assert len(set(ports)) == len(ports)


@pytest.mark.skipif(not ANY_PORT.exists(), reason="only Linux tells the range there")
def test_no_connection_takes_a_port_that_was_given() -> None:
    first, last = map(int, ANY_PORT.read_text().split())
    assert not any(first <= free_port() <= last for _ in range(50))
