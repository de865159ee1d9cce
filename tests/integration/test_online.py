"""`check-config --online`, against a local ComfyControl and against what is none."""

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml

from exporter.cli import main
from exporter.comfycontrol import Timeouts
from exporter.commands.online import ask_each
from exporter.config import Config
from exporter.simulator import Simulator, parse_scenario

NO_LIMIT = {"requests": 100_000, "per": "1s", "reserve": 0.5}
TWO = "limit: {enabled: false}\naccounts: [{name: studio}, {name: farm}]"
WORKFLOW = "a1b2c3d4-e5f6-7890-abcd-ef1234567890"


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxies and authorities but those of a test."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(parse_scenario(TWO), seed=1) as running:
        yield running


def account(simulator: Simulator, name: str = "studio", **given: Any) -> dict[str, Any]:
    """As configured, with what is given in its place."""
    whole = {"name": name, "base_url": simulator.base_url, "listing": {}, **given}
    if "token_file" not in whole:
        whole.setdefault("token", simulator.tokens[name])
    return {key: value for key, value in whole.items() if value is not None}


def asked(*accounts: dict[str, Any]) -> list[tuple[bool, str]]:
    """What is found of them."""
    config = Config.model_validate({"accounts": accounts})
    found = list(ask_each(config, timeouts=Timeouts(2, 2, 2, 2), sleep=lambda _: None))
    return [(each.is_right, each.text) for each in found]


def test_an_account_that_is_right_and_one_that_is_not(
    simulator: Simulator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    simulator.create("studio")
    (tmp_path / "ids.yml").write_text(f"- {WORKFLOW}\n")
    (tmp_path / "token").write_text(f"\n{simulator.tokens['studio']}\n")
    file = tmp_path / "config.yml"
    files = ["*s.yml", "no-*.yml"]
    right = account(simulator, token_file="token", workflow_files=files, rate_limit=NO_LIMIT)
    wrong = account(simulator, "farm", token="'cfc_of_another'", rate_limit=NO_LIMIT)
    file.write_text(yaml.safe_dump({"accounts": [right]}))
    assert main(["check-config", "--online", str(file)]) == 0
    said = capsys.readouterr().out
    assert "studio: 1 id in 1 workflow file" in said
    assert "accounts[0].workflow_files[1] names no file that is there" in said
    assert said.endswith(
        f"  studio: right: {simulator.base_url} accepts its token, and lists 1 workflow\n"
    )

    file.write_text(yaml.safe_dump({"accounts": [wrong, right]}))
    assert main(["check-config", "--online", str(file)]) == 1
    said_of = capsys.readouterr()
    assert "studio: right" in said_of.out
    assert said_of.err == (
        "  farm: wrong: its token is refused (401). The token has quotes or brackets around it. "
        f"Asked: {simulator.base_url}\n"
    )
    assert "of_another" not in said_of.out + said_of.err
    assert simulator.truth().requests == {"list": 3}


def test_accounts_of_one_address_keep_to_what_an_exporter_leaves_of_the_limit(
    simulator: Simulator,
) -> None:
    accounts = [account(simulator, limited) for limited in ("studio", "farm")]
    config = Config.model_validate({"accounts": accounts})
    requests: list[int] = []
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        requests.append(simulator.truth().requests["list"])

    assert [found.is_right for found in ask_each(config, sleep=sleep)] == [True, True]
    # 10 of 40 in 10 s are left, and the second account is asked for after the wait.
    assert (waits, requests) == ([1.0], [1])


class Moved(BaseHTTPRequestHandler):
    """A service that wants a slash at the end of a path."""

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        if path.endswith("/"):
            body = b'{"workflows":[],"total":7}'
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
        else:
            body = b""
            self.send_response(307)
            self.send_header("Location", f"{path}/?{query}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def test_a_redirect_within_the_service_is_followed_after_a_pause() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Moved) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        base_url = f"http://127.0.0.1:{server.server_port}"
        given = {"name": "studio", "base_url": base_url, "token": "cfc_x", "listing": {}}
        waits: list[float] = []
        config = Config.model_validate({"accounts": [given]})
        (found,) = ask_each(config, sleep=waits.append)
        server.shutdown()
        serving.join()
    assert (found.is_right, found.text) == (
        True,
        f"{base_url} accepts its token, and lists 7 workflows",
    )
    assert waits == [1.0]


def test_without_the_flag_nothing_is_asked(simulator: Simulator, tmp_path: Path) -> None:
    file = tmp_path / "config.yml"
    file.write_text(yaml.safe_dump({"accounts": [account(simulator)]}))
    assert main(["check-config", str(file)]) == 0
    assert sum(simulator.truth().requests.values()) == 0


def test_a_faulty_file_asks_nothing(
    simulator: Simulator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "config.yml"
    file.write_text(yaml.safe_dump({"accounts": [account(simulator), {"name": "farm"}]}))
    assert main(["check-config", "--online", str(file)]) == 1
    assert "accounts[1].token is missing" in capsys.readouterr().err
    assert sum(simulator.truth().requests.values()) == 0


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ({"kind": "status", "code": 401}, "its token is refused (401). It is wrong, expired or"),
        ({"kind": "status", "code": 403}, "its list is refused (403). Use a token that may read"),
        ({"kind": "status", "code": 403, "body": "html"}, "something before the service refuses"),
        ({"kind": "status", "code": 404}, "there is no list at its address (404); is base_url"),
        ({"kind": "edge_page", "code": 404}, "refuses (404); is base_url right? Use the service's"),
        ({"kind": "edge_page", "code": 200}, "another content type; is base_url right?"),
        ({"kind": "redirect"}, "sends elsewhere (302), which is not followed; is base_url right?"),
        ({"kind": "status", "code": 503}, "the service fails (503). Address and token may be"),
        ({"kind": "status", "code": 429}, "too many requests (429). Another program uses its"),
        ({"kind": "malformed_list", "variant": "not_json"}, "is base_url right?"),
        ({"kind": "reset"}, "the connection broke"),
        ({"kind": "garbage_answer"}, "what arrived was not HTTP as it should be. Are scheme"),
        ({"kind": "no_answer"}, "took too long"),
    ],
)
def test_each_bad_answer_has_its_words(
    simulator: Simulator, fault: dict[str, Any], says: str
) -> None:
    simulator.set_faults(fault)
    ((is_right, text),) = asked(account(simulator))
    assert not is_right
    assert says in text
    assert text.endswith(f"Asked: {simulator.base_url}")


def test_a_path_too_many(simulator: Simulator) -> None:
    ((is_right, text),) = asked(account(simulator, base_url=f"{simulator.base_url}/v1"))
    assert not is_right
    assert "is base_url right? Use the service's address without a path" in text


def test_a_list_that_is_refused_is_not_needed_by_who_follows_ids(simulator: Simulator) -> None:
    named = account(simulator, listing=None, workflows=[WORKFLOW])
    simulator.set_faults({"kind": "status", "code": 403})
    needless = "refuses its list (403), which is not needed: its ids are followed without it"
    assert asked(named) == [(True, f"{simulator.base_url} answers, but {needless}")]
    simulator.set_faults()
    assert asked(named) == [
        (
            True,
            f"{simulator.base_url} accepts its token; its ids are followed without a list",
        )
    ]
    simulator.revoke_tokens("studio")
    assert not asked(named)[0][0]


def test_after_a_429_nothing_more_is_asked_at_that_address(simulator: Simulator) -> None:
    simulator.set_faults({"kind": "status", "code": 429})
    first, second = asked(account(simulator), account(simulator, "farm"))
    assert not first[0]
    assert not second[0]
    assert second[1].startswith("not checked, because its address refuses more requests for now")
    assert simulator.truth().requests == {"list": 1}


def test_nobody_listens_there(simulator: Simulator) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        ((is_right, text),) = asked(account(simulator, base_url=url))
    assert not is_right
    assert text.startswith("no connection could be made: connection refused. Are host and port")


def test_there_is_no_such_name(simulator: Simulator) -> None:
    url = "https://no-such-host.invalid"
    ((is_right, text),) = asked(account(simulator, base_url=url))
    assert not is_right
    assert text.startswith("the name of the host could not be resolved. Is the host in `base_url`")


def test_the_proxy_of_the_environment_is_used(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        proxy = f"http://me:planted@127.0.0.1:{unused.getsockname()[1]}"
        monkeypatch.setenv("HTTP_PROXY", proxy)
        ((is_right, text),) = asked(account(simulator))
    assert not is_right
    assert text.startswith("the proxy could not be used: connection refused. HTTPS_PROXY")
    assert "planted" not in text


def test_a_certificate_is_verified_by_the_authorities_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    bundle, chain, key = (tmp_path / name for name in ("ca.pem", "chain.pem", "key.pem"))
    authority.cert_pem.write_to_path(str(bundle))
    certificate.cert_chain_pems[0].write_to_path(str(chain))
    certificate.private_key_pem.write_to_path(str(key))
    with Simulator(parse_scenario(TWO), certfile=str(chain), keyfile=str(key)) as simulator:
        ((is_right, text),) = asked(account(simulator))
        assert not is_right
        assert text.startswith("the certificate cannot be verified: ")
        assert "REQUESTS_CA_BUNDLE" in text
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
        assert asked(account(simulator))[0][0]


def test_a_token_file_that_is_gone(simulator: Simulator, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("cfc_planted")
    config = Config.model_validate({"accounts": [account(simulator, token_file=file)]})
    file.unlink()
    (found,) = ask_each(config)
    assert not found.is_right
    assert str(file) in found.text
