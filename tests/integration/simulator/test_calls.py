"""Each call of the service, its answers and its refusals, over loopback."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import pytest
import requests

from exporter.simulator import PLANTED

if TYPE_CHECKING:
    from collections.abc import Callable

    Service = Any

TWO_ACCOUNTS = """
limit: {enabled: false}
accounts: [{name: studio, tokens: [cfc_studio, cfc_spare]}, {name: agency, tokens: [cfc_agency]}]
"""
GRAPH = b'{"1": {"class_type": "KSampler", "inputs": {}}}'


def test_an_answer_has_a_true_date(service: Service) -> None:
    stamp = parsedate_to_datetime(service.get("/v1/workflow").headers["Date"])
    assert abs(datetime.now(UTC) - stamp) < timedelta(seconds=3)


@pytest.mark.parametrize("authorization", [None, "Bearer nobody", "Basic Zm9v", "Bearer ", "x"])
@pytest.mark.parametrize(
    "path",
    [
        "/v1/workflow",
        "/v1/runner",
        "/v1/workflow/no-uuid",
        "/v1/workflow/6d0b1c5a-2f0e-4e7a-9a35-5f0c4b0e8a11",
        "/v1/workflow/6d0b1c5a-2f0e-4e7a-9a35-5f0c4b0e8a11/subscribe",
    ],
)
def test_without_a_right_token_the_answer_is_401(
    service: Service, authorization: str | None, path: str
) -> None:
    service.session.headers.pop("Authorization")
    headers = {} if authorization is None else {"Authorization": authorization}
    answer = service.get(path, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json()["status"] == 401
    assert isinstance(answer.json()["message"], str)


@pytest.mark.parametrize(
    "query",
    [
        "page=0",
        "page=-1",
        "page=x",
        "page=",
        "page=1.5",
        "per_page=0",
        "per_page=101",
        "per_page=ten",
        "status=accepted",
        "status=invalid",
        "status=nonsense",
        "status=",
    ],
)
def test_a_bad_parameter_of_the_list_is_400(service: Service, query: str) -> None:
    answer = service.get(f"/v1/workflow?{query}")
    assert answer.status_code == 400
    assert answer.json()["status"] == 400


def test_the_list_is_newest_first_by_page_and_by_status(service: Service) -> None:
    made = [service.simulator.create(scripted=True, name=f"n{n}") for n in range(25)]
    service.simulator.workflow(made[3]).advance("completed")
    service.simulator.workflow(made[20]).advance("completed")

    pages = [service.get(f"/v1/workflow?page={n}").json() for n in (1, 2, 3, 4)]
    assert [len(page["workflows"]) for page in pages] == [10, 10, 5, 0]
    assert {page["total"] for page in pages} == {25}
    told = [each["id"] for page in pages for each in page["workflows"]]
    assert told == made[::-1]

    done = service.get("/v1/workflow?status=completed&per_page=100").json()
    assert [each["id"] for each in done["workflows"]] == [made[20], made[3]]
    assert done["total"] == 2
    assert service.get("/v1/workflow?status=queued").json() == {"workflows": [], "total": 0}


def test_a_listed_workflow_has_the_documented_fields(service: Service) -> None:
    identity = service.simulator.create(scripted=True, name="one", tags=["image"])
    (item,) = service.get("/v1/workflow").json()["workflows"]
    assert list(item) == [
        "id",
        "name",
        "status",
        "tags",
        "created_at",
        "updated_at",
        "started_at",
        "completed_at",
    ]
    assert (item["id"], item["name"], item["tags"]) == (identity, "one", ["image"])
    assert item["started_at"] is item["completed_at"] is None
    assert item["created_at"].endswith("Z")


def test_one_account_never_sees_another_ones(start: Callable[..., Service]) -> None:
    service = start(TWO_ACCOUNTS)
    theirs = service.simulator.create("agency", scripted=True)
    assert service.get("/v1/workflow").json()["total"] == 0
    for path in (f"/v1/workflow/{theirs}", f"/v1/workflow/{theirs}/subscribe"):
        refused = service.get(path)
        never = service.get(path.replace(theirs, str(uuid.uuid4())))
        assert refused.status_code == never.status_code == 404
        assert refused.json() == never.json()
    service.session.headers["Authorization"] = "Bearer cfc_agency"
    assert service.get(f"/v1/workflow/{theirs}").status_code == 200
    service.session.headers["Authorization"] = "Bearer cfc_spare"
    assert service.get("/v1/workflow").status_code == 200


@pytest.mark.parametrize("identity", ["x", "123", "g" * 36, "a1b2c3d4e5f67890abcdef1234567890"])
@pytest.mark.parametrize("tail", ["", "/subscribe"])
def test_a_malformed_id_is_400(service: Service, identity: str, tail: str) -> None:
    assert service.get(f"/v1/workflow/{identity}{tail}").status_code == 400


def test_an_id_may_be_written_in_capitals(service: Service) -> None:
    identity = service.simulator.create(scripted=True)
    assert service.get(f"/v1/workflow/{identity.upper()}").json()["id"] == identity


def test_one_workflow_in_full(service: Service) -> None:
    identity = service.simulator.create(scripted=True)
    handle = service.simulator.workflow(identity)
    handle.advance("queued", queue_position=4)
    told = service.get(f"/v1/workflow/{identity}").json()
    assert told["queue_number"] == 4
    assert told["prompt_id"]
    assert told["error_node"] is told["exception_type"] is told["exception_message"] is None
    assert told["workflow_json"]["5"]["class_type"] == "KSampler"

    cause = {"node_type": "VAEDecode", "exception_type": "OSError", "exception_message": "m"}
    handle.advance("failed", cause=cause)
    told = service.get(f"/v1/workflow/{identity}").json()
    assert told["queue_number"] is None
    assert (told["error_node"], told["exception_type"]) == ("VAEDecode", "OSError")
    assert told["exception_message"] == "m"


def test_a_workflow_is_created_by_a_multipart_form(service: Service) -> None:
    answer = service.post(
        "/v1/workflow",
        files={"workflow": ("graph.json", GRAPH, "application/json")},
        data={"name": "first", "tags": ["image", "fast,image"]},
    )
    assert answer.status_code == 201
    told = answer.json()
    assert (told["name"], told["status"], told["tags"]) == ("first", "accepted", ["image", "fast"])
    full = service.get(f"/v1/workflow/{told['id']}").json()
    assert full["workflow_json"] == {"1": {"class_type": "KSampler", "inputs": {}}}


def test_a_workflow_is_created_by_json_too(service: Service) -> None:
    body = {"workflow": {"1": {"class_type": "A"}}, "tags": ["image"]}
    told = service.post("/v1/workflow", json=body).json()
    assert told["tags"] == ["image"]
    service.simulator.wait_for_status(told["id"], "completed", 10)


def test_a_graph_that_validation_refuses_becomes_invalid(service: Service) -> None:
    files = {"workflow": b'{"1": {"inputs": {}}}'}
    told = service.post("/v1/workflow", files=files).json()
    row = service.simulator.wait_for_status(told["id"], "invalid", 10)
    assert row.started_at is row.completed_at is None


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"data": b"x", "headers": {"Content-Type": "text/plain"}},
        {"files": {"name": (None, "n")}},
        {"files": {"workflow": b"not json"}},
        {"files": {"workflow": b"[1]"}},
        {"files": {"workflow": GRAPH, "name": (None, "n" * 201)}},
        {"files": {"workflow": GRAPH, "tags": (None, "t" * 101)}},
        {"data": b"--x", "headers": {"Content-Type": "multipart/form-data"}},
        {"json": {"workflow": {}, "name": 3}},
        {"json": [1]},
    ],
)
def test_a_bad_creation_is_400(service: Service, options: dict[str, Any]) -> None:
    answer = service.post("/v1/workflow", **options)
    assert answer.status_code == 400
    assert answer.json()["status"] == 400
    assert not service.simulator.truth().workflows


def test_a_cancellation_takes_effect_later(service: Service) -> None:
    identity = service.simulator.create(duration=3600)
    service.simulator.wait_for_status(identity, "running", 10)
    answer = service.post(f"/v1/workflow/{identity}/cancel")
    assert (answer.status_code, answer.json()["status"]) == (200, "running")
    row = service.simulator.wait_for_status(identity, "cancelled", 10)
    assert row.completed_ms is not None
    assert row.started_ms is not None
    assert service.post(f"/v1/workflow/{identity}/cancel").status_code == 400


def test_a_workflow_can_complete_before_its_cancellation(start: Callable[..., Service]) -> None:
    service = start("stages: {accepted: 0s, uploaded: 0s, pickup: 0s, cancelling: 1h}")
    identity = service.simulator.create(duration=10)
    service.simulator.wait_for_status(identity, "running", 10)
    assert service.post(f"/v1/workflow/{identity}/cancel").status_code == 200
    service.simulator.wait_for_status(identity, "completed", 10)


def test_a_settled_workflow_is_executed_again_under_its_id(service: Service) -> None:
    identity = service.simulator.create(duration=1)
    first = service.simulator.wait_for_status(identity, "completed", 10)
    assert service.post(f"/v1/workflow/{identity}/execute").json()["status"] == "accepted"
    assert service.post(f"/v1/workflow/{identity}/execute").status_code == 400
    truth = service.simulator.wait_until(lambda truth: len(truth.final()) == 2, 10)
    earlier, later = truth.workflows
    # How long it stood is known once it runs again.
    assert replace(earlier, stood_seconds=None) == first
    assert (earlier.execution, later.execution) == (0, 1)
    assert later.created_ms == earlier.created_ms
    assert later.started_ms is not None
    assert earlier.completed_ms is not None
    assert later.started_ms > earlier.completed_ms


def test_runners_tell_secrets_in_their_headers(service: Service) -> None:
    told = service.get("/v1/runner").json()
    (runner,) = told["runners"]
    assert told["total"] == 1
    assert (runner["name"], runner["tags"], runner["status"]) == ("gpu", ["image"], "active")
    assert PLANTED in runner["headers"]["Authorization"]
    assert service.get("/v1/runner?status=disabled").json() == {"runners": [], "total": 0}
    assert service.get("/v1/runner?status=gone").status_code == 400
    service.simulator.set_runner("gpu", active=False)
    assert service.get("/v1/runner?status=disabled").json()["total"] == 1


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [("GET", "/nowhere", 404), ("DELETE", "/v1/workflow", 405), ("PUT", "/v1/runner", 405)],
)
def test_what_is_no_call_has_an_error_body_too(
    service: Service, method: str, path: str, code: int
) -> None:
    answer = service.request(method, path)
    assert (answer.status_code, answer.json()["status"]) == (code, code)


def test_tokens_can_be_revoked_and_rotated(service: Service) -> None:
    old = service.simulator.tokens["studio"]
    service.simulator.revoke_tokens("studio")
    assert service.get("/v1/workflow").status_code == 401
    service.simulator.accept_token("studio", old)
    assert service.get("/v1/workflow").status_code == 200
    new = service.simulator.rotate_token("studio")
    assert service.simulator.tokens["studio"] == new != old
    assert service.get("/v1/workflow").status_code == 401
    service.session.headers["Authorization"] = f"Bearer {new}"
    assert service.get("/v1/workflow").status_code == 200


def test_a_deleted_workflow_is_not_found(service: Service) -> None:
    identity = service.simulator.create(scripted=True)
    service.simulator.workflow(identity).delete()
    assert service.get(f"/v1/workflow/{identity}").status_code == 404
    assert service.get("/v1/workflow").json()["total"] == 0
    assert service.simulator.truth().deleted == {"accepted": 1}


def test_the_truth_counts_requests_and_answers(service: Service) -> None:
    service.get("/v1/workflow")
    service.get("/v1/workflow?page=x")
    service.get(f"/v1/workflow/{uuid.uuid4()}/subscribe")
    truth = service.simulator.truth()
    assert truth.requests == {"list": 2, "subscribe": 1}
    assert truth.answers == {"list": {200: 1, 400: 1}, "subscribe": {404: 1}}
    assert truth.refusals == {}


def test_stopping_is_quick_and_ends_streams(start: Callable[..., Service]) -> None:
    service = start()
    identity = service.simulator.create(scripted=True)
    with service.subscribe(identity) as answer:
        assert answer.raw.read1(100)
        service.simulator.stop()
        with pytest.raises(requests.RequestException):
            for _ in answer.iter_content(1):
                pass
    assert not service.simulator.running
    assert service.simulator.truth().streams_open == 0
