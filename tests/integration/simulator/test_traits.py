"""Traits as a client sees them over a socket."""

import json
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
import requests

Service = Any
Start = Callable[..., Service]

QUIET = "limit: {enabled: false}\nstart: {finished: 130}\ntraits:\n"


def ids(answer: requests.Response) -> list[str]:
    return [each["id"] for each in answer.json()["workflows"]]


def events(answer: requests.Response, count: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for line in answer.iter_lines():
        if line.startswith(b"data: "):
            found.append(json.loads(line.removeprefix(b"data: ")))
        if len(found) == count:
            break
    return found


@pytest.mark.parametrize(("paging", "rows"), [("{most: 50}", 50), ("{always: 10}", 10)])
def test_pages_are_cut_as_the_service_likes(start: Start, paging: str, rows: int) -> None:
    service = start(f"{QUIET}  paging: {paging}")
    seen: list[str] = []
    for page in range(1, 200):
        shown = ids(service.get(f"/v1/workflow?page={page}&per_page=100"))
        seen += shown
        if not shown:
            break
        assert len(shown) <= rows
    assert len(seen) == len(set(seen)) == 130


def test_the_first_page_may_be_0_and_a_page_too_far_the_last(start: Start) -> None:
    service = start(f"{QUIET}  paging: {{first: 0, beyond: last}}")
    first = ids(service.get("/v1/workflow?page=0&per_page=100"))
    assert len(first) == 100
    assert ids(service.get("/v1/workflow?per_page=100")) == first
    last = ids(service.get("/v1/workflow?page=1&per_page=100"))
    assert len(last) == 30
    assert ids(service.get("/v1/workflow?page=77&per_page=100")) == last


@pytest.mark.parametrize(
    ("form", "told"),
    [("absent", ["workflows"]), ("empty", None), ("stale", 130), ("wrong", range(128, 137))],
)
def test_totals_that_are_not_the_truth(start: Start, form: str, told: Any) -> None:
    service = start(f"{QUIET}  paging: {{total: {{form: {form}, lag: 1h}}}}")
    for _ in range(3):
        service.simulator.create(scripted=True)
    document = service.get("/v1/workflow").json()
    if form == "absent":
        assert list(document) == told
    elif form == "wrong":
        assert document["total"] in told
        assert document["total"] != 133
    else:
        assert document["total"] == told


@pytest.mark.parametrize(
    ("form", "told"), [("page", [50, 50, 30, 0]), ("so_far", [50, 100, 130, 130])]
)
def test_totals_that_count_what_was_shown(start: Start, form: str, told: list[int]) -> None:
    service = start(f"{QUIET}  paging: {{most: 50, total: {{form: {form}}}}}")
    pages = [service.get(f"/v1/workflow?page={n}&per_page=100") for n in (1, 2, 3, 4)]
    assert [page.json()["total"] for page in pages] == told


def test_a_filter_takes_documented_statuses_only_and_knows_none_of_the_new_ones(
    start: Start,
) -> None:
    service = start(f"{QUIET}  statuses: {{words: [{{word: timed_out, instead_of: failed}}]}}")
    workflow = service.simulator.create(scripted=True)
    service.simulator.workflow(workflow).advance("failed")
    assert service.get("/v1/workflow?status=failed&per_page=1").json()["total"] == 0
    assert service.get("/v1/workflow?status=timed_out").status_code == 400
    assert service.get("/v1/workflow?per_page=1").json()["workflows"][0]["status"] == "timed_out"


def test_a_replica_tells_what_was_in_pages_and_streams(start: Start) -> None:
    service = start(
        f"{QUIET}  replicas: [{{share: 1, lag: 20s}}]\nstreams: {{interval: 500ms}}", speed=20.0
    )
    simulator = service.simulator
    workflow = simulator.create(scripted=True)
    assert service.get(f"/v1/workflow/{workflow}").status_code == 404
    assert workflow not in ids(service.get("/v1/workflow"))
    simulator.wait_until(lambda _: service.get(f"/v1/workflow/{workflow}").ok, 10)
    simulator.workflow(workflow).advance("failed")
    with service.subscribe(workflow) as stream:
        told = [each["status"] for each in events(stream, 100)]
    # It says so once it knows of it, and ends then.
    assert set(told[:-1]) == {"accepted"}
    assert told[-1] == "failed"


def test_a_replica_may_answer_for_some_workflows_always_and_for_no_page(start: Start) -> None:
    service = start(f"{QUIET}  replicas: [{{share: 0.5, by: workflow, lag: 1h}}]")
    simulator = service.simulator
    made = [simulator.create(scripted=True) for _ in range(20)]
    found = {each: service.get(f"/v1/workflow/{each}").ok for each in made}
    assert 3 <= sum(found.values()) <= 17
    assert found == {each: service.get(f"/v1/workflow/{each}").ok for each in made}
    assert set(made) <= set(ids(service.get("/v1/workflow?per_page=20")))


def test_a_hidden_one_is_not_found_until_it_is_shown(start: Start) -> None:
    service = start(f"{QUIET}  {{}}")
    workflow = service.simulator.create(scripted=True)
    handle = service.simulator.workflow(workflow)
    handle.hide()
    assert service.get(f"/v1/workflow/{workflow}").status_code == 404
    assert service.get("/v1/workflow").json()["total"] == 130
    assert service.simulator.truth().workflow(workflow).status == "accepted"
    with pytest.raises(KeyError):
        handle.truth()
    handle.show()
    assert service.get(f"/v1/workflow/{workflow}").ok
    assert ids(service.get("/v1/workflow"))[0] == workflow


def test_an_end_in_a_new_status_may_leave_its_stream_open(start: Start) -> None:
    service = start(
        f"{QUIET}  statuses: {{words: [{{word: lost, instead_of: failed, closes: false}}]}}"
    )
    workflow = service.simulator.create(scripted=True)
    service.simulator.workflow(workflow).advance("failed")
    with service.subscribe(workflow) as stream:
        assert [each["status"] for each in events(stream, 3)] == ["lost"] * 3


def test_answers_may_have_no_date_or_a_wrong_one(start: Start) -> None:
    path = "/v1/workflow?per_page=1"
    assert "Date" not in start(f"{QUIET}  dates: {{told: false}}").get(path).headers
    wrong = start(f"{QUIET}  dates: {{fast_by: 7200}}").get(path).headers["Date"]
    right = start().get(path).headers["Date"]
    ahead = parsedate_to_datetime(wrong) - parsedate_to_datetime(right)
    assert 7190 < ahead.total_seconds() <= 7200


def test_one_row_that_cannot_be_read_leaves_the_others_readable(start: Start) -> None:
    service = start(f"{QUIET}  broken: [{{how: [invalid_utf8], share: 0.02}}]", seed=3)
    body = service.get("/v1/workflow?per_page=100").content
    with pytest.raises(UnicodeDecodeError):
        body.decode()
    assert len(json.loads(body.decode(errors="replace"))["workflows"]) == 100


def test_an_edge_that_refuses_for_a_while_and_again(start: Start) -> None:
    service = start(
        f"{QUIET}  {{}}\nfaults: [{{kind: status, code: 403, body: html, to: 2s, every: 4s}}]",
        speed=10.0,
    )
    answers: list[int] = []
    while len(answers) < 4:
        code = service.get("/v1/workflow").status_code
        if not answers or answers[-1] != code:
            answers.append(code)
    assert answers in ([403, 200, 403, 200], [200, 403, 200, 403])


def test_the_truth_of_an_account_is_what_a_follower_should_have_counted(start: Start) -> None:
    service = start(
        f"{QUIET}  stamps: {{subscribe: s}}\nstages: {{accepted: 100ms, uploaded: 100ms}}"
    )
    simulator = service.simulator
    workflow = simulator.create(outcome="failed", duration="1s", cause=None)
    simulator.wait_for_status(workflow, "failed", 10)
    path = f"/_simulator/workflows/{workflow}/execute"
    wanted = {"outcome": "cancelled", "ends_in": "accepted"}
    assert service.post(path, json=wanted).json()["execution"] == 1
    assert service.post(path, json={"outcome": "lost"}).status_code == 400
    simulator.wait_for_status(workflow, "cancelled", 10)
    service.request("DELETE", f"/_simulator/workflows/{workflow}")
    account = service.get("/_simulator/truth").json()["accounts"]["studio"]
    assert account["outcomes"] == {"failed": 1, "cancelled": 1}
    assert account["causes"] == [["unknown", "unknown", 1]]
    runs = account["run_durations"]["failed"]
    assert runs["count"] == 1
    assert 0 <= runs["least"] <= runs["most"] <= 1.0
    assert account["deleted"] == {"cancelled": 1}
    truth = simulator.truth()
    assert truth.outcomes("studio") == account["outcomes"]
    assert truth.run_durations()["failed"].count == 1
