"""More clients than there is room for, and more than there are descriptors."""

import asyncio
import errno
import gc
import re
import resource
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from asyncio.sslproto import SSLProtocol
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
import trustme
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from exporter.metrics.process import ProcessCounts
from exporter.web.accepting import Listener
from exporter.web.clients import Clients, WebClient
from exporter.web.connections import Connection
from exporter.web.listening import listen, parse_listen_address
from exporter.web.security.watching import WatchedSecurity
from exporter.web.server import make_server
from tests.ports import free_port

PATIENCE = 30.0
MOST = 8
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Counts(ProcessCounts):
    def __init__(self) -> None:
        super().__init__(lambda: 0)

    def of(self, reason: str) -> float:
        return next(
            sample.value
            for family in self.collect()
            for sample in family.samples
            if sample.labels == {"reason": reason} and sample.name.endswith("_total")
        )


class Served:
    def __init__(self, port: int, counts: Counts, trusting: ssl.SSLContext | None) -> None:
        self.port = port
        self.counts = counts
        self.trusting = trusting
        self.gate = threading.Event()
        self.is_held_up = threading.Event()

    def connect(self, ends: ExitStack) -> socket.socket:
        raw = ends.enter_context(socket.create_connection(("127.0.0.1", self.port)))
        raw.settimeout(PATIENCE)
        return raw

    def client(self, ends: ExitStack) -> socket.socket:
        raw = self.connect(ends)
        if self.trusting is None:
            return raw
        return ends.enter_context(self.trusting.wrap_socket(raw, server_hostname="localhost"))


def pair(folder: Path) -> tuple[Path, ssl.SSLContext]:
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    issued.private_key_pem.write_to_path(folder / "server.key")
    issued.cert_chain_pems[0].write_to_path(folder / "server.crt")
    file = folder / "web.yml"
    file.write_text("tls_server_config: {cert_file: server.crt, key_file: server.key}")
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    return file, trusting


@contextmanager
def serving(context: ssl.SSLContext | None, trusting: ssl.SSLContext | None) -> Iterator[Served]:
    sock = listen(parse_listen_address("127.0.0.1:0"))
    served = Served(sock.getsockname()[1], Counts(), trusting)

    async def small(_: Request) -> Response:
        return PlainTextResponse("small")

    async def slow(_: Request) -> Response:
        while not served.gate.is_set():  # noqa: ASYNC110 - it is another thread's
            await asyncio.sleep(0.01)
        return PlainTextResponse("small")

    async def busy(_: Request) -> Response:
        served.is_held_up.set()
        served.gate.wait(PATIENCE)  # as the loop of a machine that has no time for it
        return PlainTextResponse("small")

    server = make_server(
        Starlette(routes=[Route("/", small), Route("/slow", slow), Route("/busy", busy)]),
        context,
        counts=served.counts,
        most_clients=MOST,
        handshake_seconds=0.5,
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, daemon=True)
    thread.start()
    try:
        yield served
    finally:
        server.end()
        began = time.monotonic()
        thread.join(10)
        assert time.monotonic() - began < 3
        sock.close()


@pytest.fixture(params=["http", "https"])
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Served]:
    if request.param == "http":
        with serving(None, None) as plain:
            yield plain
        return
    file, trusting = pair(tmp_path)
    with serving(WatchedSecurity(file).context(), trusting) as secured:
        yield secured


def answer(client: socket.socket) -> bytes:
    heard = b""
    while not heard.endswith(b"small"):
        more = client.recv(1000)
        assert more, heard
        heard += more
    return heard


def is_ended(client: socket.socket) -> bool:
    try:
        return client.recv(1000) == b""
    except (ConnectionError, ssl.SSLError):
        return True


def until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.01)


def test_past_the_cap_who_waits_longest_makes_room(served: Served) -> None:
    with ExitStack() as ends:
        silent = [served.connect(ends) for _ in range(3 * MOST)]
        scraper = served.client(ends)
        scraper.sendall(GET)
        assert answer(scraper)
        assert served.counts.connections() <= MOST
        assert served.counts.of("limit") >= 2 * MOST
        assert is_ended(silent[0])
        # One that was just answered is not the oldest.
        silent += [served.connect(ends) for _ in range(MOST // 2)]
        scraper.sendall(GET)
        assert answer(scraper)


def test_one_that_is_being_answered_never_goes(served: Served) -> None:
    with ExitStack() as ends:
        asking = [served.client(ends) for _ in range(MOST)]
        for client in asking:
            client.sendall(GET.replace(b"/", b"/slow", 1))
        until(lambda: served.counts.connections() == MOST)
        time.sleep(0.2)  # their requests arrive
        for _ in range(5):
            assert is_ended(served.connect(ends))
        assert served.counts.of("limit") == 5
        served.gate.set()
        assert all(answer(client) for client in asking)


def test_one_whose_request_has_arrived_but_is_not_read_yet_never_goes(served: Served) -> None:
    with ExitStack() as ends:
        scraper = served.client(ends)
        scraper.sendall(GET)
        assert answer(scraper)
        others = [served.client(ends) for _ in range(MOST - 1)]
        others[-1].sendall(GET.replace(b"/", b"/busy", 1))
        assert served.is_held_up.wait(PATIENCE)
        # They are found first, and the scraper waits the longest.
        silent = [served.connect(ends) for _ in range(MOST // 2)]
        scraper.sendall(GET)
        served.gate.set()
        assert answer(scraper)
        assert answer(others[-1])
        assert all(is_ended(client) for client in others[: len(silent)])
        assert served.counts.of("limit") == len(silent)


def test_those_that_send_all_the_time_make_room_as_well() -> None:
    async def run() -> bool:
        clients = Clients(asyncio.get_running_loop(), MOST, Counts())
        with ExitStack() as ends:
            for _ in range(MOST):
                ours, theirs = map(ends.enter_context, socket.socketpair())
                theirs.sendall(b"G")
                client = clients.accept_client()
                assert client is not None
                client.socket = ours
            return clients.accept_client() is not None

    assert asyncio.run(run())


def silent_one(served: Served, ends: ExitStack) -> None:
    served.connect(ends)


def answered_one(served: Served, ends: ExitStack) -> None:
    client = served.client(ends)
    client.sendall(GET)
    assert answer(client)


def reset_one(served: Served, ends: ExitStack) -> None:
    client = served.client(ends)
    client.sendall(GET)
    assert answer(client)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def garbage_one(served: Served, ends: ExitStack) -> None:
    client = served.connect(ends)
    client.sendall(b"\x00" * 400)
    with suppress(ConnectionError):
        while client.recv(1000):
            pass


@pytest.mark.parametrize("visit", [silent_one, answered_one, reset_one, garbage_one])
def test_a_client_that_has_gone_leaves_nothing(
    served: Served, visit: Callable[[Served, ExitStack], None]
) -> None:
    def held() -> int:
        kinds = (Connection, SSLProtocol, WebClient)
        return sum(isinstance(known, kinds) for known in gc.get_objects())

    with ExitStack() as ends:
        answered_one(served, ends)
    until(lambda: served.counts.connections() == 0)
    gc.collect()
    before = held()
    gc.disable()
    try:
        for _ in range(3):
            with ExitStack() as ends:
                visit(served, ends)
        until(lambda: held() <= before)
    finally:
        gc.enable()


def test_a_handshake_that_takes_too_long(tmp_path: Path) -> None:
    file, trusting = pair(tmp_path)
    with (
        serving(WatchedSecurity(file).context(), trusting) as served,
        ExitStack() as ends,
    ):
        began = time.monotonic()
        silent = served.connect(ends)
        assert is_ended(silent)
        assert time.monotonic() - began < 5
        assert served.counts.of("handshake") == 1
        until(lambda: served.counts.connections() == 0)


def test_accepting_that_fails_pauses_and_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> int:
        loop = asyncio.get_running_loop()
        failed = 0

        def accept() -> tuple[socket.socket, object]:
            nonlocal failed
            failed += 1
            raise OSError(errno.EMFILE, "too many")

        sock = listen(parse_listen_address("127.0.0.1:0"))
        with sock, socket.create_connection(sock.getsockname()):
            clients = Clients(loop, MOST, Counts())
            listener = Listener(sock, clients, lambda _: pytest.fail("none"), None, accept)
            await asyncio.sleep(2.5)
            listener.close()
        return failed

    failed = asyncio.run(run())
    assert 2 <= failed <= 3
    assert len(caplog.records) == 1
    assert vars(caplog.records[0])["reason"] == "EMFILE"


PROGRAM = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv.pop(1)),) * 2)
from exporter.cli import main
sys.exit(main())
"""


@contextmanager
def exporting(folder: Path, *flags: str, descriptors: int = 4096) -> Iterator[tuple[int, int]]:
    """The real program; its port and pid. It must end within 3 s of SIGTERM."""
    port = free_port()
    config = folder / "config.yml"
    config.write_text(
        'accounts: [{name: studio, token: cfc_t, base_url: "http://127.0.0.1:9", listing: {}}]'
    )
    log = folder / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                PROGRAM,
                str(descriptors),
                f"--config.file={config}",
                f"--storage.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
                *flags,
            ],
            stderr=out,
        )
    try:
        until(lambda: b"started" in log.read_bytes())
        yield port, process.pid
        process.terminate()
        assert process.wait(3) == 0
    finally:
        process.kill()
        process.wait()


def resident(pid: int) -> float:
    """MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+)", status)
    assert found
    return int(found[1]) / 1024


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_1500_silent_clients_cost_little_and_delay_no_scrape(tmp_path: Path) -> None:
    file, trusting = pair(tmp_path)
    with exporting(tmp_path, f"--web.config.file={file}") as (port, pid), ExitStack() as ends:
        served = Served(port, Counts(), trusting)

        def scrape() -> bytes:
            with ExitStack() as end:
                client = served.client(end)
                client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                return b"".join(iter(lambda: client.recv(65536), b""))

        scrape()
        before = resident(pid)
        slowest, page = 0.0, b""
        for number in range(1500):
            served.connect(ends)
            if number % 250 == 249:
                began = time.monotonic()
                page = scrape()
                slowest = max(slowest, time.monotonic() - began)
        assert slowest < 1.0
        found = re.search(rb"\ncomfycontrol_exporter_web_connections (\d+)", page)
        assert found
        assert int(found[1]) <= 512
        assert resident(pid) - before < 60


@pytest.mark.skipif(sys.platform != "linux", reason="sets the limit of another process")
def test_out_of_descriptors_a_scrape_is_still_answered(tmp_path: Path) -> None:
    with exporting(tmp_path) as (port, pid), ExitStack() as ends:
        # Lowered under a running process, as nothing else takes what its shares leave free.
        most = len(list(Path(f"/proc/{pid}/fd").iterdir())) + 7
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (most, most))
        for _ in range(3):
            for _ in range(150):
                ends.enter_context(socket.create_connection(("127.0.0.1", port)))
            # At once: the others are not all accepted yet.
            client = ends.enter_context(socket.create_connection(("127.0.0.1", port)))
            client.settimeout(PATIENCE)
            client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert b" 200 OK" in client.recv(65536)
    log = (tmp_path / "log").read_text()
    assert log.count("cannot accept connections") == 1
    assert "EMFILE" in log
