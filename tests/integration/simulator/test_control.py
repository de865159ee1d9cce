"""The simulator's own calls, and the program in the foreground."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import requests

from exporter.simulator import Simulator, load_scenario

if TYPE_CHECKING:
    from collections.abc import Callable

    Service = Any


def test_controls_need_no_token_and_count_nowhere(service: Service) -> None:
    service.session.headers.pop("Authorization")
    identity = service.simulator.create(scripted=True)
    truth = service.get("/_simulator/truth").json()
    assert truth["requests"] == {}
    assert truth["counts"] == {"accepted": 1}
    (row,) = truth["workflows"]
    assert row["id"] == identity
    assert row["created_at"].endswith("Z")


def test_the_scenario_and_the_state_are_told(service: Service) -> None:
    assert service.get("/_simulator/scenario").json()["runners"][0]["name"] == "gpu"
    told = service.get("/_simulator").json()
    assert (told["seed"], told["speed"], told["paused"]) == (1, 20.0, False)
    assert told["accounts"] == service.simulator.tokens


def test_faults_are_switched(service: Service) -> None:
    added = service.post("/_simulator/faults", json={"kind": "status", "code": 500})
    assert [each["code"] for each in added.json()["faults"]] == [500]
    service.post("/_simulator/faults", json=[{"kind": "redirect"}])
    assert len(service.get("/_simulator/faults").json()["faults"]) == 2
    assert service.get("/v1/workflow").status_code == 500
    replaced = service.request("PATCH", "/_simulator/faults", json={"faults": []})
    assert replaced.json() == {"faults": [], "struck": {"status": 1}}
    assert service.get("/v1/workflow").status_code == 200
    service.post("/_simulator/faults", json={"kind": "reset"})
    assert service.request("DELETE", "/_simulator/faults").json()["faults"] == []


@pytest.mark.parametrize("body", [{"kind": "drop", "hwo": 1}, {"kind": "x"}, [1], 3])
def test_bad_faults_are_400_and_change_nothing(service: Service, body: object) -> None:
    answer = service.post("/_simulator/faults", json=body)
    assert answer.status_code == 400
    assert answer.json()["message"]
    assert service.get("/_simulator/faults").json()["faults"] == []


def test_workflows_are_created_moved_and_deleted(service: Service) -> None:
    order = {"name": "mine", "scripted": True}
    made = service.post("/_simulator/workflows", json=order).json()
    path = f"/_simulator/workflows/{made['id']}"
    moved = service.post(
        f"{path}/advance", json={"status": "running", "started_at": "2024-01-15T14:30:05.250Z"}
    )
    assert moved.json()["started_at"] == "2024-01-15T14:30:05.250Z"
    assert service.post(f"{path}/advance", json={"status": "gone"}).status_code == 400
    assert service.post("/_simulator/workflows", json={"acount": "x"}).status_code == 400
    assert service.post("/_simulator/workflows", json={"account": "x"}).status_code == 400
    assert service.request("DELETE", path).status_code == 200
    assert service.request("DELETE", path).status_code == 404
    assert service.post(f"{path}/advance", json={"status": "running"}).status_code == 404


def test_pausing_stops_arrivals(start: Callable[..., Service]) -> None:
    service = start("arrivals: {rate: 100, spacing: fixed}")
    service.simulator.wait_until(lambda truth: len(truth.workflows) > 5, 10)
    assert service.post("/_simulator/pause").json() == {"paused": True}
    count = len(service.simulator.truth().workflows)
    service.simulator.set_runner("gpu", active=True)
    assert len(service.simulator.truth().workflows) == count
    service.post("/_simulator/resume")
    service.simulator.wait_until(lambda truth: len(truth.workflows) > count, 10)


def test_runners_and_tokens_are_switched(service: Service) -> None:
    answer = service.request("PATCH", "/_simulator/runners/gpu", json={"active": False})
    assert answer.json() == {"name": "gpu", "active": False}
    assert service.request("PATCH", "/_simulator/runners/x", json={"active": 1}).status_code == 400
    gone = service.request("PATCH", "/_simulator/runners/x", json={"active": True})
    assert gone.status_code == 404
    assert service.post("/_simulator/accounts/studio/revoke").status_code == 200
    assert service.get("/v1/workflow").status_code == 401
    token = service.post("/_simulator/accounts/studio/rotate").json()["token"]
    service.session.headers["Authorization"] = f"Bearer {token}"
    assert service.get("/v1/workflow").status_code == 200
    assert service.post("/_simulator/accounts/nobody/rotate").status_code == 404


def test_waiting_in_vain_says_so(service: Service) -> None:
    service.simulator.create(scripted=True)
    with pytest.raises(TimeoutError, match="accepted"):
        service.simulator.wait_until(lambda truth: truth.requests.get("list", 0) > 0, 0.05)


def test_a_simulator_starts_once_and_only_where_it_can_listen() -> None:
    with Simulator(load_scenario("idle"), seed=1) as simulator:
        with pytest.raises(RuntimeError, match="only once"):
            simulator.start()
        port = int(simulator.base_url.rpartition(":")[2])
        with pytest.raises(OSError, match="in use"):
            Simulator(load_scenario("idle"), port=port).start()
    simulator.stop()  # a second time does no harm
    with pytest.raises(RuntimeError, match="not started"):
        Simulator(load_scenario("idle")).truth()


def test_tls(tmp_path: Any) -> None:
    trustme = pytest.importorskip("trustme")
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    chain, key, root = tmp_path / "chain.pem", tmp_path / "key.pem", tmp_path / "root.pem"
    chain.write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    key.write_bytes(certificate.private_key_pem.bytes())
    root.write_bytes(authority.cert_pem.bytes())
    scenario = load_scenario("idle")
    with Simulator(scenario, certfile=str(chain), keyfile=str(key)) as simulator:
        assert simulator.base_url.startswith("https://")
        identity = simulator.create(scripted=True)
        simulator.workflow(identity).advance("completed")
        answer = requests.get(
            f"{simulator.base_url}/v1/workflow/{identity}/subscribe",
            headers={"Authorization": f"Bearer {simulator.tokens['studio']}"},
            verify=str(root),
            timeout=10,
        )
        assert answer.text.startswith('data: {"status":"completed"')


PROGRAM = """
import sys
from exporter.simulator import load_scenario, serve
sys.exit(serve(load_scenario("idle"), seed=1, speed=1.0, host="127.0.0.1", port=int(sys.argv[1])))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_in_the_foreground_until_a_signal(number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as program:
        assert program.stdout is not None
        assert program.stderr is not None
        first = program.stdout.readline()
        assert first.startswith("ComfyControl simulator → http://127.0.0.1:")
        program.send_signal(number)
        told, problems = program.stdout.read(), program.stderr.read()
        assert (program.wait(10), problems) == (0, "")
    assert "curl" in told
    assert "token cfc_sim_" in told


def test_it_says_in_one_line_that_it_cannot_listen() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(taken.getsockname()[1])],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("simulator: cannot listen on 127.0.0.1:")
    assert done.stderr.count("\n") == 1
