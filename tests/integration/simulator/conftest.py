from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import requests

from exporter.simulator import Simulator, parse_scenario

# Quick stages, no limit, and nothing that happens by itself: a test says what it wants.
QUIET = """
limit: {enabled: false}
runners: [{name: gpu, tags: [image]}]
stages: {accepted: 100ms, uploaded: 100ms, pickup: 100ms, cancelling: 500ms}
"""


@dataclass
class Service:
    """A running simulator, and a client of its first account."""

    simulator: Simulator
    session: requests.Session

    def get(self, path: str, **options: Any) -> requests.Response:
        return self.session.get(f"{self.simulator.base_url}{path}", timeout=10, **options)

    def post(self, path: str, **options: Any) -> requests.Response:
        return self.session.post(f"{self.simulator.base_url}{path}", timeout=10, **options)

    def request(self, method: str, path: str, **options: Any) -> requests.Response:
        url = f"{self.simulator.base_url}{path}"
        return self.session.request(method, url, timeout=10, **options)

    def subscribe(self, identity: str) -> requests.Response:
        return self.get(f"/v1/workflow/{identity}/subscribe", stream=True)

    def raw(self, path: str, version: str = "1.1") -> socket.socket:
        """A request written by hand; the answer is read by hand too."""
        host, _, port = self.simulator.base_url.removeprefix("http://").rpartition(":")
        sock = socket.create_connection((host, int(port)), timeout=10)
        token = next(iter(self.simulator.tokens.values()))
        head = f"GET {path} HTTP/{version}\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n"
        sock.sendall(head.encode())
        return sock


def read_all(sock: socket.socket, most: int = 1 << 30) -> bytes:
    """Everything until the end of the connection, or a little more than ``most`` bytes."""
    with sock:
        parts, size = [], 0
        while size < most and (data := sock.recv(65536)):
            parts.append(data)
            size += len(data)
    return b"".join(parts)


@pytest.fixture(name="read_all")
def read_all_fixture() -> Callable[..., bytes]:
    return read_all


Start = Callable[..., Service]


@pytest.fixture
def start() -> Iterator[Start]:
    running: list[Service] = []

    def begin(scenario: str = QUIET, *, speed: float = 20.0, seed: int = 1) -> Service:
        simulator = Simulator(parse_scenario(scenario), seed=seed, speed=speed)
        simulator.start()
        session = requests.Session()
        session.trust_env = False
        token = next(iter(simulator.tokens.values()))
        session.headers["Authorization"] = f"Bearer {token}"
        service = Service(simulator, session)
        running.append(service)
        return service

    yield begin
    for service in running:
        service.session.close()
        service.simulator.stop()


@pytest.fixture
def service(start: Start) -> Service:
    return start()
