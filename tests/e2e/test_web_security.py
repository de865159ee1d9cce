"""A real Prometheus scrapes over TLS with a client certificate and a password."""

import subprocess
from typing import Any

import bcrypt
import pytest
import requests
import trustme
import yaml

from tests.e2e.programs import EXPORTER, Stage, program
from tests.ports import free_port

USERS = {"prometheus": bcrypt.hashpw(b"right", bcrypt.gensalt(10)).decode()}

WEB: dict[str, Any] = {
    "tls_server_config": {
        "cert_file": "server.crt",
        "key_file": "server.key",
        "client_auth_type": "RequireAndVerifyClientCert",
        "client_ca_file": "ca.crt",
        "client_allowed_sans": ["prometheus.example.org"],
        "min_version": "TLS12",
        "cipher_suites": ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256"],
        "curve_preferences": ["X25519"],
        "prefer_server_cipher_suites": True,
    },
    "http_server_config": {"http2": True, "headers": {"X-Frame-Options": "deny"}},
    "basic_auth_users": USERS,
}
"""Every key that both know."""


@pytest.mark.timeout(180)
def test_prometheus_scrapes_as_it_does_other_exporters(stage: Stage) -> None:
    prometheus, promtool = program("prometheus"), program("promtool")
    folder = stage.folder
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.crt")
    for name, host in (("server", "localhost"), ("client", "prometheus.example.org")):
        issued = authority.issue_cert(host)
        issued.cert_chain_pems[0].write_to_path(folder / f"{name}.crt")
        issued.private_key_pem.write_to_path(folder / f"{name}.key")
    # Older tools do not know this key yet.
    known = {k: v for k, v in WEB["tls_server_config"].items() if k != "client_allowed_sans"}
    (folder / "known.yml").write_text(yaml.safe_dump({**WEB, "tls_server_config": known}))
    (folder / "web.yml").write_text(yaml.safe_dump(WEB))
    for command in (
        [promtool, "check", "web-config", "known.yml"],
        [EXPORTER, "check-web-config", "known.yml"],
        [EXPORTER, "check-web-config", "web.yml"],
    ):
        checked = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=60, check=False
        )
        assert checked.returncode == 0, checked.stdout + checked.stderr

    exported, prom = free_port(), free_port()
    (folder / "push").write_text("push-me")
    (folder / "config.yml").write_text(
        "accounts: [{name: studio, token: cfc_a, push: {token_file: push}}]\n"
    )
    stage.start(
        "exporter",
        [
            EXPORTER,
            f"--config.file={folder / 'config.yml'}",
            f"--web.config.file={folder / 'web.yml'}",
            f"--web.listen-address=127.0.0.1:{exported}",
            f"--storage.path={folder / 'data'}",
        ],
    )
    tls = {"ca_file": "ca.crt", "cert_file": "client.crt", "key_file": "client.key"}
    jobs = {
        "right": {"tls_config": tls, "basic_auth": {"username": "prometheus", "password": "right"}},
        "wrong": {"tls_config": tls, "basic_auth": {"username": "prometheus", "password": "wrong"}},
        "stranger": {
            "tls_config": {"ca_file": "ca.crt"},
            "basic_auth": {"username": "prometheus", "password": "right"},
        },
    }
    (folder / "prometheus.yml").write_text(
        yaml.safe_dump(
            {
                "global": {"scrape_interval": "1s"},
                "scrape_configs": [
                    {
                        "job_name": name,
                        "scheme": "https",
                        "static_configs": [{"targets": [f"localhost:{exported}"]}],
                        **how,
                    }
                    for name, how in jobs.items()
                ],
            }
        )
    )
    stage.start(
        "prometheus",
        [
            prometheus,
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{prom}",
        ],
    )

    def targets() -> dict[str, tuple[str, str]]:
        answer = requests.get(f"http://127.0.0.1:{prom}/api/v1/targets", timeout=10).json()
        return {
            target["labels"]["job"]: (target["health"], target["lastError"])
            for target in answer["data"]["activeTargets"]
        }

    healths = {"right": "up", "wrong": "down", "stranger": "down"}
    stage.until(
        "every job was tried",
        lambda: {name: health for name, (health, _) in targets().items()} == healths,
    )
    assert targets()["wrong"] == ("down", "server returned HTTP status 401 Unauthorized")
