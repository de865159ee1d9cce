"""The web side over real sockets: what a scraper, a probe and a pusher get."""

import gzip
import json
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import pytest
import requests
import yaml
from uvicorn.config import Config as UvicornConfig
from uvicorn.server import Server as UvicornServer

from exporter.app.app import App
from exporter.config import Account, Config, Listing, Push
from exporter.interfaces.views import Views
from exporter.ledger import admission
from exporter.ledger.store import MemoryStore, StoreError
from exporter.simulator import Simulator, load_scenario
from exporter.simulator.scenario import ScenarioLimit
from exporter.web.listening import ListenError, listen, listen_on, parse_listen_address
from exporter.web.routes import WebParts, make_app

A = "a1b2c3d4-e5f6-7890-abcd-ef1234567890"
C = "c1b2c3d4-e5f6-7890-abcd-ef1234567890"
B = "b1b2c3d4-e5f6-7890-abcd-ef1234567890"


@contextmanager
def serving(
    app: App, config: Config, telemetry_path: str = "/metrics", views: Views | None = None
) -> Iterator[str]:
    """The web side in a thread; its base URL."""
    parts = WebParts(
        app.page, app.pushed, app.is_ready, telemetry_path, lambda: config, views or app.views
    )
    web = make_app(parts)
    server = UvicornServer(UvicornConfig(web, log_config=None, lifespan="off", server_header=False))
    sock = listen(parse_listen_address("127.0.0.1:0"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    finally:
        server.should_exit = True
        server.force_exit = True
        thread.join(10)
        sock.close()


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    # Each test is a process of its own to the service, and together they ask in a hurry.
    idle = load_scenario("idle").model_copy(update={"limit": ScenarioLimit(enabled=False)})
    with Simulator(idle, seed=1) as simulator:
        yield simulator


@pytest.fixture
def push_token(tmp_path: Path) -> Path:
    file = tmp_path / "push"
    file.write_text("push-me\n")
    return file


@pytest.fixture
def base_url(simulator: Simulator, push_token: Path) -> Iterator[str]:
    with _following(simulator, push_token) as (app, config), serving(app, config) as url:
        yield url


@contextmanager
def _following(simulator: Simulator, push_token: Path) -> Iterator[tuple[App, Config]]:
    account, token = next(iter(simulator.tokens.items()))
    config = Config(
        accounts=(
            Account(
                name=account,
                token=token,
                base_url=simulator.base_url,
                listing=Listing(interval="1s"),
                push=Push(token_file=str(push_token)),
            ),
        )
    )
    app = App(config, fresh_services=True)
    app.start()
    try:
        yield app, config
    finally:
        assert app.stop()


def test_metrics_as_text_and_as_openmetrics(base_url: str) -> None:
    plain = requests.get(f"{base_url}/metrics", timeout=10)
    assert plain.status_code == 200
    assert plain.headers["Content-Type"].startswith("text/plain; version=")
    assert "comfycontrol_exporter_build_info{" in plain.text
    openmetrics = requests.get(
        f"{base_url}/metrics",
        headers={"Accept": "application/openmetrics-text; version=1.0.0"},
        timeout=10,
    )
    assert openmetrics.headers["Content-Type"].startswith("application/openmetrics-text")
    assert openmetrics.text.endswith("# EOF\n")


@pytest.mark.parametrize("accept", ["application/openmetrics-text; version=abc", ";", "\xff"])
def test_an_odd_accept_header_gets_text_and_never_a_500(base_url: str, accept: str) -> None:
    answer = requests.get(
        f"{base_url}/metrics", headers={"Accept": accept.encode("latin-1")}, timeout=10
    )
    assert answer.status_code == 200
    assert "comfycontrol_account_up" in answer.text


def test_metrics_are_gzipped_for_those_who_take_it(base_url: str) -> None:
    taking = requests.get(
        f"{base_url}/metrics", headers={"Accept-Encoding": "gzip"}, timeout=10, stream=True
    )
    assert taking.headers["Content-Encoding"] == "gzip"
    assert b"comfycontrol_account_up" in gzip.decompress(taking.raw.read())
    plain = requests.get(f"{base_url}/metrics", headers={"Accept-Encoding": "identity"}, timeout=10)
    assert "Content-Encoding" not in plain.headers
    for page in ("/metrics", "/config", "/"):
        for header in ("gzip;q=0", "gzip;q=0, identity", "*;q=0"):
            refusing = requests.get(
                base_url + page, headers={"Accept-Encoding": header}, timeout=10
            )
            assert "Content-Encoding" not in refusing.headers


def test_pages_for_people_have_the_headers_of_pages_and_no_token(
    base_url: str, simulator: Simulator
) -> None:
    landing = requests.get(f"{base_url}/", timeout=10)
    config = requests.get(f"{base_url}/config", timeout=10)
    assert landing.headers["Content-Type"] == "text/html; charset=utf-8"
    # As text, whatever stands in it.
    assert config.headers["Content-Type"] == "text/plain; charset=utf-8"
    account, token = next(iter(simulator.tokens.items()))
    for page in (landing, config):
        assert page.status_code == 200
        assert page.headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert page.headers["X-Content-Type-Options"] == "nosniff"
        assert page.headers["Cache-Control"] == "no-store"
        assert account in page.text
        assert token not in page.text
        assert "push-me" not in page.text
        assert requests.head(page.url, timeout=10).status_code == 200
        assert requests.post(page.url, timeout=10).status_code == 405
    shown = yaml.safe_load(config.text)
    assert shown["accounts"][0]["base_url"] == simulator.base_url
    assert shown["accounts"][0]["token"] == "<secret>"


def test_probes_and_landing_page(base_url: str) -> None:
    assert requests.get(f"{base_url}/-/healthy", timeout=10).text == "healthy\n"
    landing = requests.get(f"{base_url}/", timeout=10)
    assert "ComfyControl exporter" in landing.text
    assert landing.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert requests.get(f"{base_url}/nothing", timeout=10).status_code == 404
    assert requests.post(f"{base_url}/metrics", timeout=10).status_code == 405


def test_a_slash_too_many_sends_nobody_elsewhere(base_url: str) -> None:
    for path in ("/metrics/", "/-/healthy/", "/config/"):
        answer = requests.get(
            f"{base_url}{path}",
            headers={"Host": "elsewhere.example"},
            allow_redirects=False,
            timeout=10,
        )
        assert answer.status_code == 404
        assert "Location" not in answer.headers


def test_ready_says_that_every_account_had_its_first_answer(push_token: Path) -> None:
    # Nobody answers there: the port is taken, and never accepted from.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        config = Config(
            accounts=(
                Account(
                    name="studio",
                    token="cfc_a",
                    base_url=f"http://127.0.0.1:{silent.getsockname()[1]}",
                    listing=Listing(),
                ),
            )
        )
        app = App(config, fresh_services=True)
        app.start()
        with serving(app, config) as url:
            assert requests.get(f"{url}/-/ready", timeout=10).status_code == 503
            assert requests.get(f"{url}/-/healthy", timeout=10).status_code == 200
        app.stop()
    only_pushed = Config(
        accounts=(Account(name="studio", token="cfc_a", push=Push(token_file=str(push_token))),)
    )
    app = App(only_pushed, fresh_services=True)
    with serving(app, only_pushed) as url:
        # It asks nothing before somebody pushes an id.
        assert requests.get(f"{url}/-/ready", timeout=10).status_code == 200


def test_a_refused_token_is_an_answer(simulator: Simulator) -> None:
    config = Config(
        accounts=(
            Account(
                name="studio",
                token="cfc_wrong",
                base_url=simulator.base_url,
                listing=Listing(),
            ),
        )
    )
    app = App(config, fresh_services=True)
    app.start()
    with serving(app, config) as url:
        session = requests.Session()
        while session.get(f"{url}/-/ready", timeout=10).status_code != 200:
            pass
        page = session.get(f"{url}/metrics", timeout=10).text
    assert 'comfycontrol_account_up{account="studio"} 0.0' in page
    assert app.stop()


def test_silent_and_slow_clients_delay_nobody(base_url: str) -> None:
    port = int(base_url.rsplit(":", 1)[1])
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(100)]
    for number, client in enumerate(silent):
        if number % 2:
            client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-Slow: ")
    try:
        answer = requests.get(f"{base_url}/metrics", timeout=5)
        assert answer.status_code == 200
    finally:
        for client in silent:
            client.close()


def test_another_path_for_the_metrics(simulator: Simulator) -> None:
    account, token = next(iter(simulator.tokens.items()))
    config = Config(
        accounts=(Account(name=account, token=token, base_url=simulator.base_url, workflows=(A,)),)
    )
    app = App(config, fresh_services=True)
    with serving(app, config, "/comfy/metrics") as url:
        assert requests.get(f"{url}/comfy/metrics", timeout=10).status_code == 200
        assert requests.get(f"{url}/metrics", timeout=10).status_code == 404
        assert '"./comfy/metrics"' in requests.get(f"{url}/", timeout=10).text
        # No account takes pushed ids.
        assert requests.post(f"{url}/api/v1/workflows", timeout=10).status_code in {401, 404}


class TestPush:
    AUTHORIZED: ClassVar = {"Authorization": "Bearer push-me"}

    @pytest.fixture
    def base_url(self, simulator: Simulator, push_token: Path) -> Iterator[str]:
        with (
            _following(simulator, push_token) as (app, config),
            serving(app, config, views=app.views) as url,
        ):
            yield url

    @pytest.mark.parametrize("header", [None, "Bearer wrong", "Basic push-me", "Bearer "])
    def test_without_the_token_nothing_is_told(self, base_url: str, header: str | None) -> None:
        headers = {} if header is None else {"Authorization": header}
        for method, path in (("POST", ""), ("DELETE", f"/{A}")):
            answer = requests.request(
                method, f"{base_url}/api/v1/workflows{path}", headers=headers, timeout=10
            )
            assert answer.status_code == 401
            assert answer.headers["WWW-Authenticate"] == "Bearer"

    def test_push_show_withdraw(self, base_url: str, simulator: Simulator) -> None:
        workflow_id = simulator.create()
        url = f"{base_url}/api/v1/workflows"
        pushed = requests.post(
            url, json={"workflows": [workflow_id, A.upper()]}, headers=self.AUTHORIZED, timeout=10
        )
        assert pushed.status_code == 202
        assert pushed.json()["taken_up"] + pushed.json()["known"] == 2
        again = requests.post(url, json={"workflows": [A]}, headers=self.AUTHORIZED, timeout=10)
        assert again.json() == {"taken_up": 0, "known": 1}
        shown = requests.get(url, headers=self.AUTHORIZED, timeout=10).json()
        assert A in {w["id"] for w in shown["workflows"]}
        gone = requests.delete(f"{url}/{A}", headers=self.AUTHORIZED, timeout=10)
        assert gone.status_code == 204
        assert requests.delete(f"{url}/{A}", headers=self.AUTHORIZED, timeout=10).status_code == 404

    @pytest.mark.parametrize(
        ("body", "status", "says"),
        [
            (b"", 400, "not JSON"),
            (b"[", 400, "not JSON"),
            (b"[]", 400, "right would be"),
            (b'"text"', 400, "not an object"),
            (b"[1]", 400, "workflows.0"),
            (b'{"wonders": 1, "workflows": []}', 400, "workflows"),
            (b'{"workflows": []}', 400, "workflows"),
            (b'{"workflows": "x"}', 400, "workflows"),
            (b'{"workflows": ["nonsense"]}', 400, "[0]"),
            (b'{"workflow": ["x"]}', 400, "workflow"),
            (json.dumps({"workflows": [A], "account": "other"}).encode(), 403, "account"),
            (b" " * (1024 * 1024 + 1), 413, "1 MiB"),
        ],
    )
    def test_a_wrong_body_is_told_what_would_be_right(
        self, base_url: str, body: bytes, status: int, says: str
    ) -> None:
        answer = requests.post(
            f"{base_url}/api/v1/workflows", data=body, headers=self.AUTHORIZED, timeout=10
        )
        assert answer.status_code == status
        assert says in answer.json()["message"]

    def test_a_client_that_leaves_in_the_middle_of_its_body_is_no_fault_of_ours(
        self, base_url: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        host, _, port = base_url.removeprefix("http://").partition(":")
        for _ in range(3):
            with socket.create_connection((host, int(port))) as client:
                client.sendall(
                    b"POST /api/v1/workflows HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n"
                    b"Authorization: Bearer push-me\r\nExpect: 100-continue\r\n\r\n"
                )
                # The endpoint waits for the body now.
                assert b" 100 " in client.recv(1000)
            wrong = requests.post(f"{base_url}/api/v1/workflows", timeout=10)
            assert wrong.status_code == 401
        assert not [r for r in caplog.records if r.levelname == "ERROR"]

    def test_the_ids_alone_will_do(self, base_url: str) -> None:
        url = f"{base_url}/api/v1/workflows"
        pushed = requests.post(url, json=[A, B], headers=self.AUTHORIZED, timeout=10)
        assert pushed.json() == {"taken_up": 2, "known": 0}
        gone = requests.delete(url, json=[A, C], headers=self.AUTHORIZED, timeout=10)
        assert (gone.status_code, gone.json()) == (200, {"withdrawn": 1, "not_open": 1})
        gone = requests.delete(url, json={"workflows": [B]}, headers=self.AUTHORIZED, timeout=10)
        assert gone.json() == {"withdrawn": 1, "not_open": 0}

    def test_a_key_that_only_the_sender_knows_is_not_repeated(self, base_url: str) -> None:
        body = {"workflows": [A], "planted": 1}
        url = f"{base_url}/api/v1/workflows"
        answer = requests.post(url, json=body, headers=self.AUTHORIZED, timeout=10)
        assert answer.status_code == 400
        assert "planted" not in answer.text

    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [
            ("PATCH", "/api/v1/workflows", 405),
            ("PUT", "/api/v1/workflows/x", 405),
            ("GET", "/api/v1/wonders", 404),
            ("GET", "/api/", 404),
            ("GET", "/api", 404),
            ("DELETE", "/api/v1/workflows", 401),
        ],
    )
    def test_every_refusal_is_json(
        self, base_url: str, method: str, path: str, status: int
    ) -> None:
        answer = requests.request(method, base_url + path, timeout=10)
        assert answer.status_code == status
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.json()["status"] == status
        assert answer.json()["message"]

    def test_refused_tokens_leave_a_line_with_the_clients_address(
        self, base_url: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        for _ in range(5):
            requests.get(
                f"{base_url}/api/v1/workflows",
                headers={"Authorization": "Bearer planted"},
                timeout=10,
            )
        (line,) = [r for r in caplog.records if r.message == "a push token was refused"]
        assert line.__dict__["client"] == "127.0.0.1"
        assert "planted" not in str(line.__dict__)

    def test_a_crowd_of_ids_is_refused_once_too_many_wait(
        self, base_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(admission, "MOST_WAITING", 30)
        url = f"{base_url}/api/v1/workflows"
        ids = [str(uuid.uuid4()) for _ in range(100)]
        answer = requests.post(url, json=ids, headers=self.AUTHORIZED, timeout=10)
        assert (answer.status_code, answer.headers["Retry-After"]) == (429, "30")
        assert "30 of these are now tracked" in answer.json()["message"]
        requests.post(url, json=ids[50:], headers=self.AUTHORIZED, timeout=10)
        (line,) = [r for r in caplog.records if "pushed ids were refused" in r.message]
        assert (line.__dict__["client"], line.__dict__["refused"]) == ("127.0.0.1", 1)
        assert line.__dict__["reason"] == "30 pushed ids of the account wait to be seen"
        # What is known already is taken as ever.
        answer = requests.post(url, json=ids[:30], headers=self.AUTHORIZED, timeout=10)
        assert answer.json() == {"taken_up": 0, "known": 30}

    def test_while_the_ledger_cannot_be_read_a_push_is_not_taken_for_done(
        self, base_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def unreadable(*_: object) -> None:
            raise StoreError("disk I/O error")

        url = f"{base_url}/api/v1/workflows"
        monkeypatch.setattr(MemoryStore, "find_closed", unreadable)
        refused = requests.post(url, json={"workflows": [B]}, headers=self.AUTHORIZED, timeout=10)
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "10")
        assert "push them again" in refused.json()["message"]
        monkeypatch.undo()
        taken = requests.post(url, json={"workflows": [B]}, headers=self.AUTHORIZED, timeout=10)
        assert taken.json() == {"taken_up": 1, "known": 0}

    def test_a_push_of_what_has_ended_says_that_it_is_looked_at(
        self, base_url: str, simulator: Simulator
    ) -> None:
        workflow_id = simulator.create(scripted=True)
        url = f"{base_url}/api/v1/workflows"
        body = {"workflows": [workflow_id]}
        taken = requests.post(url, json=body, headers=self.AUTHORIZED, timeout=10)
        # The list may have shown it before.
        assert taken.json() in ({"taken_up": 1, "known": 0}, {"taken_up": 0, "known": 1})
        simulator.wait_until(lambda truth: truth.streams_open >= 1, 10)
        simulator.workflow(workflow_id).advance("completed")
        while workflow_id in requests.get(url, headers=self.AUTHORIZED, timeout=10).text:
            pass
        again = requests.post(url, json=body, headers=self.AUTHORIZED, timeout=10)
        assert again.status_code == 202
        assert again.json() == {"taken_up": 0, "known": 0, "looked_at": 1}

    def test_the_token_is_read_anew_when_its_file_changes(
        self, base_url: str, push_token: Path
    ) -> None:
        push_token.write_text("another")
        url = f"{base_url}/api/v1/workflows"
        assert requests.get(url, headers=self.AUTHORIZED, timeout=10).status_code == 401
        headers = {"Authorization": "Bearer another"}
        assert requests.get(url, headers=headers, timeout=10).status_code == 200


@pytest.mark.parametrize("text", [":0", "127.0.0.1:0", "[::1]:0", "localhost:0"])
def test_listen_addresses(text: str) -> None:
    try:
        sock = listen(parse_listen_address(text))
    except ListenError:
        if "::1" in text:
            pytest.skip("no IPv6 here")
        raise
    with sock:
        assert sock.getsockname()[1] > 0


def test_every_address_is_ipv4_too() -> None:
    with (
        listen(parse_listen_address(":0")) as sock,
        socket.create_connection(("127.0.0.1", sock.getsockname()[1]), 5),
    ):
        pass


@pytest.mark.parametrize("text", ["[::]:0", "[0:0::0]:0"])
def test_every_address_of_ipv6_is_ipv4_too(text: str) -> None:
    try:
        sock = listen(parse_listen_address(text))
    except ListenError:
        pytest.skip("no IPv6 here")
    with sock, socket.create_connection(("127.0.0.1", sock.getsockname()[1]), 5):
        pass


def test_several_addresses_or_none() -> None:
    free = parse_listen_address("127.0.0.1:0")
    sockets = listen_on([free, free])
    taken = sockets[0].getsockname()[1]
    with pytest.raises(ListenError, match=f"127.0.0.1:{taken}"):
        listen_on([free, parse_listen_address(f"127.0.0.1:{taken}")])
    for sock in sockets:
        sock.close()
