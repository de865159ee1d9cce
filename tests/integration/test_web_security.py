"""`--web.config.file` over real sockets: TLS, passwords, and what changes while running."""

import os
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import bcrypt
import pytest
import requests
import trustme
from cryptography import x509

from exporter.app.app import App
from exporter.config import Account, Config, Push
from exporter.web.listening import listen, parse_listen_address
from exporter.web.routes import WebParts, make_app
from exporter.web.security.watching import WatchedSecurity
from exporter.web.server import make_server
from tests.e2e.programs import EXPORTER
from tests.ports import free_port

PATIENCE = 30.0
"""Seconds that a busy machine may take for what is done in a moment."""

PAIR = "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n"
MUTUAL = f"{PAIR}  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: clients.crt\n"
USERS = f"basic_auth_users:\n  alice: {bcrypt.hashpw(b'right', bcrypt.gensalt(4)).decode()}\n"
ALICE = ("alice", "right")
PUSH = {"Authorization": "Bearer push-me"}
A = "a1b2c3d4-e5f6-7890-abcd-ef1234567890"


class Site:
    """A folder with certificates and a file for `--web.config.file`, and anyone who trusts them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "web.yml"
        self.ca = folder / "ca.crt"
        self.authority = trustme.CA()
        self.authority.cert_pem.write_to_path(self.ca)
        self.clients = trustme.CA()
        self.clients.cert_pem.write_to_path(folder / "clients.crt")
        (folder / "push").write_text("push-me")
        self.renew()

    def renew(self) -> int:
        """Put a new certificate and its key in place of the old; its serial number."""
        issued = self.authority.issue_cert("localhost", "127.0.0.1")
        # As renewing programs do: each file is exchanged at once.
        for name, pem in (
            ("server.key", issued.private_key_pem),
            ("server.crt", issued.cert_chain_pems[0]),
        ):
            pem.write_to_path(self.folder / "new")
            (self.folder / "new").rename(self.folder / name)
        return self.expected()

    def expected(self) -> int:
        """The serial number of the certificate in the folder."""
        pem = (self.folder / "server.crt").read_bytes()
        return x509.load_pem_x509_certificate(pem).serial_number

    def client(self, *names: str, authority: trustme.CA | None = None) -> str:
        """The file of a client's certificate and key."""
        file = self.folder / f"client-{'-'.join(names).replace('/', '_')}.pem"
        issued = (authority or self.clients).issue_cert(*names)
        issued.private_key_and_cert_chain_pem.write_to_path(file)
        return str(file)

    def connect(self, port: int, **versions: ssl.TLSVersion) -> ssl.SSLSocket:
        """A handshake that is complete."""
        context = ssl.create_default_context(cafile=str(self.ca))
        for name, version in versions.items():
            setattr(context, name, version)
        raw = socket.create_connection(("127.0.0.1", port), PATIENCE)
        try:
            return context.wrap_socket(raw, server_hostname="localhost")
        except BaseException:
            raw.close()
            raise

    def serial(self, port: int) -> int:
        """The serial number of the certificate that a new connection is shown."""
        with self.connect(port) as connection:
            certificate = connection.getpeercert() or {}
            return int(str(certificate["serialNumber"]), 16)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


class Running:
    """The web side as its own thread serves it."""

    def __init__(self, site: Site, watched: WatchedSecurity, port: int) -> None:
        self.site = site
        self.watched = watched
        self.port = port
        self.scheme = "http" if watched.current().tls is None else "https"

    @property
    def url(self) -> str:
        return f"{self.scheme}://localhost:{self.port}"

    def get(
        self,
        path: str = "/metrics",
        session: requests.Session | None = None,
        headers: Mapping[str, str] | None = None,
        **more: object,
    ) -> requests.Response:
        # Only a session keeps its connection: an answer would do so for as long as it is looked at.
        closing = {} if session else {"Connection": "close"}
        return (session or requests).get(
            f"{self.url}{path}",
            headers={**closing, **(headers or {})},
            **{"verify": str(self.site.ca), "timeout": PATIENCE, **more},  # type: ignore[arg-type]
        )

    def look_twice(self) -> None:
        """What the watching thread does within two seconds."""
        self.watched.check()
        self.watched.check()


@contextmanager
def running(site: Site, text: str) -> Iterator[Running]:
    site.file.write_text(text)
    watched = WatchedSecurity(site.file)
    push = Push(token_file=str(site.folder / "push"))
    config = Config(accounts=(Account(name="studio", token="cfc_a", push=push),))
    app = App(config, fresh_services=True)
    parts = WebParts(app.page, app.pushed, app.is_ready, "/metrics", lambda: config, app.views)
    server = make_server(make_app(parts, watched.current), watched.context())
    sock = listen(parse_listen_address("127.0.0.1:0"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, daemon=True)
    thread.start()
    try:
        yield Running(site, watched, sock.getsockname()[1])
    finally:
        server.end()
        thread.join(10)
        sock.close()


def refused(request: Callable[[], object]) -> bool:
    """Whether it came to no answer. TLS 1.3 tells a client only after its own handshake."""
    try:
        request()
    except requests.exceptions.ConnectionError:
        return True
    return False


def said(client: socket.socket) -> bytes:
    """What the server says until it ends."""
    heard = b""
    try:
        while more := client.recv(100):
            heard += more
    except ConnectionResetError:
        pass
    return heard


class TestTls:
    def test_scrape_over_tls(self, site: Site) -> None:
        with running(site, PAIR) as web:
            answer = web.get()
            assert answer.status_code == 200
            assert "comfycontrol_account_up" in answer.text
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert refused(lambda: web.get(verify=True))

    @pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
    def test_both_versions(self, site: Site, version: ssl.TLSVersion) -> None:
        with (
            running(site, PAIR) as web,
            site.connect(web.port, minimum_version=version, maximum_version=version) as connection,
        ):
            assert connection.version() == version.name.replace("_", ".")

    def test_a_least_version(self, site: Site) -> None:
        with (
            running(site, f"{PAIR}  min_version: TLS13\n") as web,
            pytest.raises((ssl.SSLError, ConnectionError)),
        ):
            site.connect(web.port, maximum_version=ssl.TLSVersion.TLSv1_2)

    def test_plain_http_is_told_that_this_is_https(self, site: Site) -> None:
        with running(site, PAIR) as web:
            answer = requests.get(f"http://localhost:{web.port}/metrics", timeout=PATIENCE)
            assert answer.status_code == 400
            assert "HTTPS" in answer.text
            assert "comfycontrol_" not in answer.text

    def test_plain_http_is_told_once(self, site: Site) -> None:
        with (
            running(site, PAIR) as web,
            socket.create_connection(("127.0.0.1", web.port), PATIENCE) as client,
        ):
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert client.recv(1000).startswith(b"HTTP/1.0 400")
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert not said(client)

    def test_what_is_neither_ends(self, site: Site) -> None:
        with running(site, PAIR) as web:
            with socket.create_connection(("127.0.0.1", web.port), PATIENCE) as client:
                client.sendall(b"\0\1\2nonsense nonsense")
                assert not said(client)
            assert web.get().status_code == 200

    def test_clients_silent_in_the_handshake_delay_nobody(self, site: Site) -> None:
        with running(site, PAIR) as web, ExitStack() as stack:
            hello = _client_hello()
            for number in range(100):
                client = stack.enter_context(socket.create_connection(("127.0.0.1", web.port)))
                # Nothing, the beginning of it, or all of it and then nothing.
                client.sendall((b"", hello[:20], hello)[number % 3])
            assert web.get(timeout=10).status_code == 200

    def test_a_renewed_certificate_without_a_restart(self, site: Site) -> None:
        with running(site, PAIR) as web, requests.Session() as session:
            assert web.get(session=session).status_code == 200
            before = site.serial(web.port)
            expected = site.renew()
            web.look_twice()
            assert site.serial(web.port) == expected != before
            # Who is connected stays so.
            assert web.get(session=session).status_code == 200

    def test_versions_and_authorities_change_as_well(self, site: Site) -> None:
        """Which an SNI callback would not do."""
        with running(site, PAIR) as web:
            assert web.get().status_code == 200
            site.file.write_text(f"{MUTUAL}  min_version: TLS13\n")
            web.look_twice()
            assert refused(web.get)
            assert web.get(cert=site.client("prometheus")).status_code == 200
            with pytest.raises((ssl.SSLError, ConnectionError)):
                site.connect(web.port, maximum_version=ssl.TLSVersion.TLSv1_2)

    @pytest.mark.parametrize("spoil", ["server.crt", "server.key", "web.yml"])
    def test_a_bad_new_file_keeps_the_old(self, site: Site, spoil: str) -> None:
        with running(site, PAIR + USERS) as web:
            before = site.serial(web.port)
            (site.folder / spoil).write_text("")
            web.look_twice()
            assert not web.watched.last_reload_successful
            assert site.serial(web.port) == before
            assert web.get().status_code == 401
            assert web.get(auth=ALICE).status_code == 200

    def test_tls_stays_on_when_the_file_says_no_more_of_it(self, site: Site) -> None:
        with running(site, PAIR) as web:
            site.file.write_text("{}")
            web.look_twice()
            assert web.get().status_code == 200
            assert not web.watched.last_reload_successful


class TestClientCertificates:
    def test_required(self, site: Site) -> None:
        with running(site, MUTUAL) as web:
            assert web.get(cert=site.client("prometheus")).status_code == 200
            assert refused(web.get)
            # One of the server's own authority is one of a stranger here.
            strange = site.client("stranger", authority=site.authority)
            assert refused(lambda: web.get(cert=strange))
            # An orchestrator needs one as well.
            assert refused(lambda: web.get("/-/healthy"))

    def test_verified_if_given(self, site: Site) -> None:
        text = MUTUAL.replace("RequireAndVerifyClientCert", "VerifyClientCertIfGiven")
        with running(site, text) as web:
            assert web.get().status_code == 200
            assert web.get(cert=site.client("prometheus")).status_code == 200
            strange = site.client("stranger", authority=trustme.CA())
            assert refused(lambda: web.get(cert=strange))

    @pytest.mark.parametrize("version", ["TLS12", "TLS13"])
    def test_names_that_are_allowed(self, site: Site, version: str) -> None:
        sans = "[prometheus.example.org, '2001:db8::1', scraper@example.org]"
        text = f"{MUTUAL}  client_allowed_sans: {sans}\n  max_version: {version}\n"
        with running(site, text) as web:
            for name in ("prometheus.example.org", "2001:DB8:0:0::1", "scraper@example.org"):
                assert web.get(cert=site.client("other.example.org", name)).status_code == 200
            for name in ("other.example.org", "2001:db8::2", "x@example.org"):
                assert refused(partial(web.get, cert=site.client(name)))

    def test_an_intermediate_authority_is_enough(self, site: Site) -> None:
        root = trustme.CA()
        intermediate = root.create_child_ca()
        intermediate.cert_pem.write_to_path(site.folder / "clients.crt")
        with running(site, MUTUAL) as web:
            certificate = site.client("prometheus", authority=intermediate)
            assert web.get(cert=certificate).status_code == 200
            assert refused(lambda: web.get(cert=site.client("other", authority=root)))

    def test_a_certificate_that_is_no_longer_trusted_is_no_longer_resumed(self, site: Site) -> None:
        with running(site, MUTUAL) as web:
            context = ssl.create_default_context(cafile=str(site.ca))
            context.load_cert_chain(site.client("prometheus"))

            def request(session: ssl.SSLSession | None) -> ssl.SSLSession | None:
                raw = socket.create_connection(("127.0.0.1", web.port), PATIENCE)
                with context.wrap_socket(
                    raw, server_hostname="localhost", session=session
                ) as connection:
                    connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
                    assert connection.recv(100).startswith(b"HTTP/1.1 200")
                    return connection.session

            session = request(None)
            trustme.CA().cert_pem.write_to_path(site.folder / "clients.crt")
            web.look_twice()
            with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
                request(session)


class TestPasswords:
    @pytest.mark.parametrize("tls", [PAIR, ""], ids=["tls", "plain"])
    def test_who_needs_one(self, site: Site, tls: str) -> None:
        with running(site, tls + USERS) as web:
            for path in ("/metrics", "/", "/config", "/no-such-page"):
                answer = web.get(path)
                assert answer.status_code == 401
                assert answer.headers["WWW-Authenticate"].startswith("Basic realm=")
                assert answer.headers["X-Frame-Options"] == "DENY"
                assert web.get(path, auth=("alice", "wrong")).status_code == 401
                assert web.get(path, auth=("nobody", "right")).status_code == 401
            assert web.get(auth=ALICE).status_code == 200
            assert web.get("/no-such-page", auth=ALICE).status_code == 404
            assert web.get("/-/healthy").status_code == 200
            assert web.get("/-/ready").status_code == 200

    def test_push_keeps_its_own_token(self, site: Site) -> None:
        with running(site, USERS) as web:
            assert web.get("/api/v1/workflows", headers=PUSH).status_code == 200
            wrong = {"Authorization": "Bearer right"}
            assert web.get("/api/v1/workflows", headers=wrong).status_code == 401
            for path in ("/metrics", "/api/v1/accounts", "/api/v1/openapi.json"):
                assert web.get(path, headers=PUSH).status_code == 401

    def test_who_reads_shows_the_password_of_the_pages(self, site: Site) -> None:
        with running(site, USERS) as web:
            for path in ("/api/v1/workflows", "/api/v1/accounts", f"/api/v1/workflows/{A}"):
                for auth in (None, ("alice", "wrong")):
                    answer = web.get(path, auth=auth)
                    assert answer.status_code == 401
                    assert answer.headers["WWW-Authenticate"].startswith("Basic realm=")
                assert web.get(path, auth=ALICE).status_code in {200, 404}

    @pytest.mark.parametrize("path", ["/api/v1/workflows", f"/api/v1/workflows/{A}"])
    @pytest.mark.parametrize("first", ["Basic eDp4", "Bearer x", "", "Bearer push-me"])
    @pytest.mark.parametrize("second", ["Basic eDp4", "Bearer x", "Bearer push-me"])
    def test_two_answers_to_who_asks_are_none(
        self, site: Site, path: str, first: str, second: str
    ) -> None:
        given = f"Authorization: {first}\r\nAuthorization: {second}\r\n"
        with (
            running(site, USERS) as web,
            socket.create_connection(("127.0.0.1", web.port), PATIENCE) as client,
        ):
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n{given}\r\n".encode())
            assert client.recv(100).startswith(b"HTTP/1.1 401")

    @pytest.mark.parametrize(
        "path", ["/%6detrics", "//metrics", "/-/healthy/../../metrics", "/metrics/", "/metrics?a"]
    )
    def test_no_way_around(self, site: Site, path: str) -> None:
        with (
            running(site, USERS) as web,
            socket.create_connection(("127.0.0.1", web.port), PATIENCE) as client,
        ):
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert client.recv(100).startswith(b"HTTP/1.1 401")

    def test_a_changed_password(self, site: Site) -> None:
        with running(site, USERS) as web:
            assert web.get(auth=ALICE).status_code == 200
            changed = bcrypt.hashpw(b"changed", bcrypt.gensalt(4)).decode()
            site.file.write_text(f"basic_auth_users: {{alice: {changed}}}")
            web.look_twice()
            assert web.get(auth=ALICE).status_code == 401
            assert web.get(auth=("alice", "changed")).status_code == 200

    def test_a_flood_of_wrong_passwords_delays_no_known_scraper(self, site: Site) -> None:
        slow = bcrypt.hashpw(b"right", bcrypt.gensalt(10)).decode()
        with running(site, f"basic_auth_users: {{alice: {slow}}}") as web:
            assert web.get(auth=ALICE).status_code == 200
            statuses: list[int] = []

            def flood(number: int) -> None:
                statuses.append(web.get(auth=("alice", f"wrong {number}")).status_code)

            threads = [threading.Thread(target=flood, args=(n,), daemon=True) for n in range(30)]
            for thread in threads:
                thread.start()
            assert web.get(auth=ALICE).status_code == 200
            for thread in threads:
                thread.join(PATIENCE)
            assert set(statuses) <= {401, 503}
            assert len(statuses) == 30


class Program:
    """The real program, with what it wrote."""

    def __init__(self, site: Site, stack: ExitStack, *arguments: str) -> None:
        self.port = free_port()
        self._log = site.folder / "log"
        config = site.folder / "config.yml"
        config.write_text(
            "accounts: [{name: studio, token: cfc_planted, push: {token_file: push}}]\n"
        )
        with self._log.open("wb") as log:
            self.process = stack.enter_context(
                subprocess.Popen(
                    [
                        EXPORTER,
                        f"--config.file={config}",
                        f"--web.listen-address=127.0.0.1:{self.port}",
                        f"--storage.path={site.folder / 'data'}",
                        f"--web.config.file={site.file}",
                        "--log.level=debug",
                        *arguments,
                    ],
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env={k: v for k, v in os.environ.items() if k != "COMFYCONTROL_TOKEN"},
                )
            )
        stack.callback(self.process.kill)

    @property
    def output(self) -> str:
        return self._log.read_text("utf-8", "replace")

    def until(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not holds():
            assert self.process.poll() is None, self.output
            assert time.monotonic() < deadline, self.output
            time.sleep(0.05)


class TestProgram:
    def test_from_start_over_renewal_to_end(self, site: Site) -> None:
        site.file.write_text(PAIR + USERS)
        before = site.expected()
        url = "https://localhost:{}/metrics"
        with ExitStack() as stack:
            program = Program(site, stack)
            program.until(lambda: " msg=started " in program.output)
            assert 'security="TLS, 1 user"' in program.output
            assert site.serial(program.port) == before

            def status(**more: object) -> int:
                return requests.get(
                    url.format(program.port),
                    **{"verify": str(site.ca), "timeout": PATIENCE, **more},  # type: ignore[arg-type]
                ).status_code

            assert status() == 401
            assert status(auth=ALICE) == 200
            assert status(auth=("alice", "planted-guess")) == 401
            renewed = site.renew()
            program.until(lambda: site.serial(program.port) == renewed)
            site.file.write_text("basic_auth_users: {alice: planted-password}\n")
            program.until(lambda: "keeping the previous" in program.output)
            assert "line 1: basic_auth_users.alice is not a bcrypt hash" in program.output
            assert status(auth=ALICE) == 200
            # One that is connected and one that is in its handshake do not hold up the end.
            stack.enter_context(site.connect(program.port))
            stack.enter_context(socket.create_connection(("127.0.0.1", program.port)))
            program.process.send_signal(signal.SIGTERM)
            began = time.monotonic()
            assert program.process.wait(PATIENCE) == 0
            assert time.monotonic() - began < 3
        for secret in ("planted", "PRIVATE KEY", "$2b$", "right", "push-me", "Traceback"):
            assert secret not in program.output, secret

    def test_a_bad_file_is_exit_code_1_with_every_fault(self, site: Site) -> None:
        site.file.write_text(f"{PAIR}  min_version: TLS10\nbasic_auth_users: {{alice: planted}}\n")
        with ExitStack() as stack:
            program = Program(site, stack)
            assert program.process.wait(PATIENCE) == 1
        lines = program.output.splitlines()
        assert lines[0] == f"{site.file}: 2 errors"
        assert lines[1].startswith("  line 4: tls_server_config.min_version is a version")
        assert lines[2].startswith("  line 5: basic_auth_users.alice is not a bcrypt hash")
        assert "comfycontrol-exporter hash-password" in lines[2]
        assert "planted" not in program.output
        assert not (site.folder / "data").exists()


def _client_hello() -> bytes:
    """What a client sends first."""
    outgoing = ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(
        ssl.MemoryBIO(), outgoing, server_hostname="localhost"
    )
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()
