"""Nothing secret comes out, whatever goes wrong: at debug level, over every fault."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import bcrypt
import pytest
import requests
import trustme
import yaml

from exporter.simulator import PLANTED, Fault
from tests.e2e.programs import EXPORTER, Process, Stage
from tests.ports import free_port

TOKEN = "cfc_S3cretT0kenOfTheStudio"
FILE_TOKEN = "cfc_S3cretT0kenOfTheAgency"
PUSH_TOKEN = "S3cretPushT0ken"
PASSWORD = "S3cretPassw0rd"
HASH = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
GIVEN = "S3cretGivenByMistake"
"""Where a secret does not belong, as a person or a client may give one."""

AUTH = ("prometheus", PASSWORD)
OPENMETRICS = {"Accept": "application/openmetrics-text; version=1.0.0"}
PUSH_PATH = "/api/v1/workflows"

KINDS: tuple[str, ...] = tuple(
    model.model_fields["kind"].default for model in get_args(get_args(Fault)[0])
)
"""Every fault that the simulator knows."""

LARGE = {"size": 100 * 1024 * 1024}
DETAILS: Mapping[str, Sequence[Mapping[str, Any]]] = {
    "status": [{"code": 401}, {"code": 500, "body": "html"}],
    "malformed_snapshot": [{"count": 40}],
    "redirect": [{"location": f"https://elsewhere.invalid/?X-Amz-Signature={PLANTED}"}],
    "gzip_bomb": [LARGE],
    "huge_event": [LARGE],
    "endless_header": [LARGE],
}
"""How they are to be, where not as usual."""


class Scene:
    """The exporter with everything secret that it can have, and a simulator that it follows.

    It runs twice, as its log has two formats.
    """

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.seen: list[str] = []
        self.simulator = f"http://127.0.0.1:{(sim := free_port())}"
        scenario = stage.folder / "scenario.yml"
        accounts = [
            {"name": name, "tokens": [token]}
            for name, token in (("studio", TOKEN), ("agency", FILE_TOKEN))
        ]
        scenario.write_text(
            yaml.safe_dump(
                {
                    "arrivals": {"rate": 0.5},
                    "start": {"finished": 50, "open": 20},
                    "runners": [{"name": "gpu", "count": 6}],
                    "outcomes": {"failed": 0.3, "cancelled": 0.05, "invalid": 0.05},
                    "limit": {"enabled": False},
                    "accounts": accounts,
                }
            )
        )
        stage.start(
            "simulator",
            [
                EXPORTER, "simulate", f"--scenario={scenario}", "--speed=10", "--seed=5",
                f"--listen-address=127.0.0.1:{sim}",
            ],
        )  # fmt: skip
        stage.until(
            "the simulator answers", lambda: requests.get(f"{self.simulator}/_simulator").ok
        )
        for name, content in (("push", PUSH_TOKEN), ("token", FILE_TOKEN)):
            (stage.folder / name).write_text(content)
        authority = trustme.CA()
        issued = authority.issue_cert("localhost")
        authority.cert_pem.write_to_path(stage.folder / "ca.crt")
        issued.cert_chain_pems[0].write_to_path(stage.folder / "server.crt")
        issued.private_key_pem.write_to_path(stage.folder / "server.key")
        self.config, self.web = stage.folder / "config.yml", stage.folder / "web.yml"
        self.write_good()
        self.ports = {log_format: free_port() for log_format in ("logfmt", "json")}
        self.processes = {form: self.start(form, port) for form, port in self.ports.items()}

    def start(self, log_format: str, port: int) -> Process:
        folder = self.stage.folder
        return self.stage.start(
            f"exporter-{log_format}",
            [
                EXPORTER, f"--config.file={self.config}", f"--web.listen-address=127.0.0.1:{port}",
                f"--web.config.file={self.web}", "--web.enable-lifecycle",
                f"--storage.path={folder / log_format}", "--log.level=debug",
                f"--log.format={log_format}",
            ],
        )  # fmt: skip

    def write_good(self) -> None:
        common = {"base_url": self.simulator, "listing": {"interval": "1s"}}
        accounts = [
            {"name": "studio", "token": TOKEN, "push": {"token_file": "push"}, **common},
            {"name": "agency", "token_file": "token", **common},
        ]
        self.config.write_text(yaml.safe_dump({"accounts": accounts}))
        tls = {"cert_file": "server.crt", "key_file": "server.key"}
        self.web.write_text(
            yaml.safe_dump({"tls_server_config": tls, "basic_auth_users": {"prometheus": HASH}})
        )

    def ask(self, method: str, path: str, **more: Any) -> requests.Response:
        """Ask both; all of their answers is seen, and one returned."""
        answers = [
            requests.request(
                method,
                f"https://localhost:{port}{path}",
                verify=str(self.stage.folder / "ca.crt"),
                timeout=10,
                **({"auth": AUTH} | more),
            )
            for port in self.ports.values()
        ]
        self.seen += [f"{answer.headers}\n{answer.text}" for answer in answers]
        assert len({answer.status_code for answer in answers}) == 1
        return answers[0]

    def metrics(self) -> str:
        return self.ask("GET", "/metrics", headers=OPENMETRICS).text

    def secrets(self) -> Iterator[str]:
        key = (self.stage.folder / "server.key").read_text("ascii")
        yield from (line for line in key.splitlines() if "-----" not in line)
        yield from (TOKEN, FILE_TOKEN, PUSH_TOKEN, PASSWORD, HASH, GIVEN, PLANTED)
        yield from ("Signature=", "Authorization")


def show_every_fault(scene: Scene) -> None:
    """One kind after the other, on half of what it can strike, so that the rest goes on."""
    faults = f"{scene.simulator}/_simulator/faults"
    for kind in KINDS:
        forms = [
            {"kind": kind, "probability": 0.5, **details} for details in DETAILS.get(kind, [{}])
        ]
        requests.put(faults, json=forms, timeout=10).raise_for_status()

        def has_struck(kind: str = kind) -> bool:
            scene.metrics()
            return bool(requests.get(faults, timeout=10).json()["struck"].get(kind, 0) >= 4)

        scene.stage.until(f"{kind} has struck", has_struck, 30)
    requests.delete(faults, timeout=10).raise_for_status()


def make_mistakes(scene: Scene) -> None:
    """Everything that a client can do wrong, with a secret in it."""
    wrong = ("prometheus", GIVEN)
    assert scene.ask("GET", "/metrics", auth=wrong).status_code == 401
    assert scene.ask("GET", f"/{GIVEN[:3]}", auth=AUTH).status_code == 404
    assert scene.ask("DELETE", "/metrics").status_code == 405
    bearers = {"wrong": f"Bearer {GIVEN}", "right": f"Bearer {PUSH_TOKEN}"}
    for bearer, body, status in (
        ("wrong", "{}", 401),
        ("right", GIVEN, 400),
        ("right", json.dumps({"workflows": [GIVEN]}), 400),
        ("right", json.dumps({GIVEN: []}), 400),
        ("right", json.dumps({"workflows": ["x"], "account": GIVEN}), 403),
    ):
        headers = {"Authorization": bearers[bearer]}
        answer = scene.ask("POST", PUSH_PATH, headers=headers, data=body, auth=None)
        assert answer.status_code == status, body
    headers = {"Authorization": bearers["right"]}
    assert scene.ask("GET", PUSH_PATH, headers=headers, auth=None).status_code == 200


def fail_to_reload(scene: Scene) -> None:
    """Files with secrets where none belongs."""
    for text in (
        f"accounts: [{{name: studio, tokenn: {GIVEN}, listing: {{}}}}]",
        f"accounts: [{{name: studio, token: 'Bearer {GIVEN}', listing: {GIVEN}}}]",
        f"accounts: [{{name: studio, token_file: {GIVEN}, base_url: 'ftp://u:{GIVEN}@x'}}]",
        f"accounts: [{{name: studio, token: '${{{TOKEN}}}', listing: {{}}}}]",
        f"accounts: [{GIVEN}",
    ):
        scene.config.write_text(text)
        assert scene.ask("POST", "/-/reload").status_code == 500, text
    scene.write_good()
    for text in (
        f"basic_auth_users: {{prometheus: {GIVEN}}}",
        f"tls_server_config: {{cert_file: server.crt, key_file: {GIVEN}}}",
        f"tls_server_config: {{cert_file: server.crt, key: {GIVEN}}}",
        f"{TOKEN}: {GIVEN}",
    ):
        scene.web.write_text(text)
        assert scene.ask("POST", "/-/reload").status_code == 500, text
    scene.write_good()
    assert scene.ask("POST", "/-/reload").status_code == 200


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_no_secret_comes_out_at_any_level_over_every_fault(stage: Stage) -> None:
    scene = Scene(stage)
    stage.until("it follows", lambda: "failures_total{" in scene.metrics(), 60)
    show_every_fault(scene)
    make_mistakes(scene)
    fail_to_reload(scene)
    pages = [scene.ask("GET", path).text for path in ("/", "/config")]
    assert "studio" in pages[0]
    assert "token: <secret>" in pages[1]
    for log_format, process in scene.processes.items():
        scene.seen.append(Path(f"/proc/{process.pid}/cmdline").read_text("utf-8"))
        assert process.terminate() == 0
        scene.seen.append(process.output)
        # What is kept on disk, too.
        kept = (stage.folder / log_format).iterdir()
        scene.seen += [path.read_bytes().decode("latin-1") for path in kept]
        assert "Traceback" not in process.output
    assert "level=debug" in scene.processes["logfmt"].output
    assert '"level": "debug"' in scene.processes["json"].output
    everything = "\n".join(scene.seen)
    found = [secret for secret in scene.secrets() if secret in everything]
    assert not found
