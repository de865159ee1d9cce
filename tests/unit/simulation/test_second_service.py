"""The second stand-in does what the documents say, and what its plan says where they are silent."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from random import Random
from typing import Any

import pytest

from tests.simulation.second_service import (
    EPOCH,
    FINAL,
    EventStream,
    Plan,
    Response,
    SecondService,
)

TOKEN = {"Authorization": "Bearer cfc_token"}
DONE = 4000.0
"""By then every workflow of these plans has ended."""


def service_of(seed: int = 1, **chosen: Any) -> SecondService:
    return SecondService(Random(seed), replace(Plan.plain(), **chosen))


def get(service: SecondService, now: float, target: str, client: str = "10.0.0.1") -> Response:
    return service.request(now, "GET", target, TOKEN, client)


def json_of(response: Response) -> Any:
    assert response.status == 200, response
    return json.loads(response.body)


def stream_of(service: SecondService, now: float, id_: str) -> EventStream:
    response = get(service, now, f"/v1/workflow/{id_}/subscribe")
    assert response.status == 200
    assert response.stream is not None
    return response.stream


def chunks(stream: EventStream) -> Iterator[tuple[float, bytes]]:
    """What a stream sends, until it ends."""
    while (due := stream.due()) is not None:
        if (sent := stream.take(due)) is None:
            yield due, b"(end)"
            return
        yield due, sent


def snapshots(stream: EventStream) -> list[dict[str, Any]]:
    """The events of a whole stream, parsed by the rules for event streams."""
    text = b"".join(sent for _, sent in chunks(stream) if sent != b"(end)").decode()
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    found: list[dict[str, Any]] = []
    data: list[str] = []
    for line in lines:
        name, _, value = line.partition(":")
        if name == "data":
            data.append(value.removeprefix(" "))
        elif not line and data:
            found.append(json.loads("\n".join(data)))
            data = []
    return found


def first_open(service: SecondService) -> str:
    """The first workflow that arrives."""
    while not service.open_ids():
        due = service.next_due()
        assert due is not None
        service.advance(due)
    return min(service.open_ids())


def everything(seed: int) -> list[object]:
    """All that a client sees which lists, and follows what is open."""
    random = Random(seed)
    plan = Plan.draw(random)
    service = SecondService(random, plan)
    seen: list[object] = [plan]
    streams: dict[str, EventStream] = {}
    for step in range(120):
        now = step * 5.0
        if now == 500.0:
            service.quiet(now)
        answers = [get(service, now, "/v1/workflow?per_page=100")]
        for id_ in sorted(service.open_ids() - set(streams))[:3]:
            answers.append(get(service, now, f"/v1/workflow/{id_}/subscribe"))
            if (stream := answers[-1].stream) is not None:
                streams[id_] = stream
        seen += [(each.status, each.headers, each.body, each.latency) for each in answers]
        for id_, stream in list(streams.items()):
            seen.append((id_, sent := stream.take(now), stream.was_reset))
            if sent is None:
                del streams[id_]
    return [*seen, service.truth()]


@pytest.mark.parametrize("seed", range(25))
def test_same_seed_same_behaviour(seed: int) -> None:
    assert everything(seed) == everything(seed)


def test_what_is_asked_does_not_change_what_happens() -> None:
    idle, asked = service_of(7, reruns=0.3, deletions=0.3), service_of(7, reruns=0.3, deletions=0.3)
    for step in range(400):
        get(asked, step * 10.0, "/v1/workflow")
    idle.advance(DONE)
    asked.advance(DONE)
    assert idle.truth() == asked.truth()


def test_most_seeds_have_a_few_oddities() -> None:
    counts = [len(Plan.draw(Random(seed)).odd()) for seed in range(200)]
    assert Plan.plain().odd() == {}
    assert sum(4 <= count <= 25 for count in counts) > 180
    drawn = {name for seed in range(400) for name in Plan.draw(Random(seed)).odd()}
    assert drawn == set(Plan.__dataclass_fields__)


@pytest.mark.parametrize("seed", range(40))
def test_everything_ends(seed: int) -> None:
    random = Random(seed)
    service = SecondService(random, Plan.draw(random))
    service.quiet(1500.0)
    service.advance(40_000.0)
    assert service.next_due() is None
    assert service.open_ids() == set()
    assert service.truth()


def test_every_end_and_every_stage_occurs() -> None:
    service = service_of(3, run_seconds=20.0)
    statuses: set[str] = set()
    for step in range(300):
        listed = json_of(get(service, step * 4.0, "/v1/workflow?per_page=100"))
        statuses |= {row["status"] for row in listed["workflows"]}
    assert statuses == FINAL | {"accepted", "uploaded", "queued", "running"}


def test_the_list_agrees_with_the_truth() -> None:
    service = service_of(5)
    service.advance(DONE)
    listed = json_of(get(service, DONE, "/v1/workflow?per_page=100"))
    rows = {row["id"]: row for row in listed["workflows"]}
    truth = {each.id: each for each in service.truth()}
    assert set(rows) <= set(truth)
    assert listed["total"] == len(truth)
    for id_, row in rows.items():
        end = truth[id_]
        assert (row["status"], row["created_at"]) == (end.status, end.created_at)
        assert (row["started_at"], row["completed_at"]) == (end.started_at, end.completed_at)
        told = datetime.fromisoformat(row["completed_at"]) - EPOCH
        assert told.total_seconds() == pytest.approx(end.ended, abs=0.002)
        assert 1 <= len(row["name"]) <= 200


def test_pages_are_newest_first_and_hold_each_once() -> None:
    service = service_of(5)
    service.advance(DONE)
    rows: list[dict[str, Any]] = []
    for page in range(1, 100):
        listed = json_of(get(service, DONE + page, f"/v1/workflow?page={page}"))["workflows"]
        if not listed:
            break
        rows += listed
    stamps = [row["created_at"] for row in rows]
    assert stamps == sorted(stamps, reverse=True)
    assert len({row["id"] for row in rows}) == len(rows) == len(service.truth())


def test_filters_and_totals() -> None:
    service = service_of(5)
    service.advance(DONE)
    failed = json_of(get(service, DONE, "/v1/workflow?status=failed&per_page=2"))
    assert [row["status"] for row in failed["workflows"]] == ["failed"] * 2
    assert failed["total"] == sum(each.status == "failed" for each in service.truth())
    page = service_of(5, total_counts="page", page_cap=20, other_filters="refused")
    page.advance(DONE)
    assert json_of(get(page, DONE, "/v1/workflow?per_page=100"))["total"] == 20
    assert get(page, DONE, "/v1/workflow?status=invalid").status == 400


def test_one_workflow_tells_the_cause() -> None:
    service = service_of(5)
    service.advance(DONE)
    failure = next(each for each in service.truth() if each.status == "failed")
    one = json_of(get(service, DONE, f"/v1/workflow/{failure.id}"))
    assert one["error_node"] == failure.node_type
    assert one["exception_type"] == failure.exception_type
    assert one["workflow_json"]
    last = snapshots(stream_of(service, DONE, failure.id))[-1]
    assert last["cause"]["node_type"] == failure.node_type


def test_runners_have_headers_that_are_secret() -> None:
    listed = json_of(get(service_of(), 0.0, "/v1/runner?status=active"))
    assert [row["status"] for row in listed["runners"]] == ["active"] * 3
    assert all("secret" in row["headers"]["X-Api-Key"] for row in listed["runners"])


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/v1/workflow/not-a-uuid", 400),
        ("/v1/workflow/a1b2c3d4-e5f6-7890-abcd-ef1234567890", 404),
        ("/v1/workflow/a1b2c3d4-e5f6-7890-abcd-ef1234567890/subscribe", 404),
        ("/v1/workflow?page=0", 400),
        ("/v1/workflow?per_page=many", 400),
        ("/v2/workflow", 404),
    ],
)
def test_errors(target: str, status: int) -> None:
    answer = get(service_of(), 1.0, target)
    assert answer.status == status
    assert json.loads(answer.body)["status"] == status


def test_tokens() -> None:
    service = service_of(revoked=(10.0, 20.0))
    assert service.request(1.0, "GET", "/v1/workflow", {}, "a").status == 401
    assert [get(service, now, "/v1/workflow").status for now in (9.0, 15.0, 20.0)] == [
        200,
        401,
        200,
    ]
    assert service.request(21.0, "POST", "/v1/workflow", TOKEN, "a").status == 405


def test_a_stream_follows_a_workflow_to_its_end() -> None:
    service = service_of(2)
    id_ = first_open(service)
    now = service.next_due()
    assert now is not None
    told = snapshots(stream_of(service, now, id_))
    end = next(each for each in service.truth() if each.id == id_)
    assert told[-1]["status"] == end.status
    assert all(each["status"] not in FINAL for each in told[:-1])
    assert set(told[0]) == {
        "status", "prompt", "queue_number", "outputs", "cause", "started_at", "completed_at",
    }  # fmt: skip
    assert bool(told[-1]["outputs"]) == (end.status == "completed")


def test_a_stream_closes_after_120_snapshots() -> None:
    service = service_of(2, opened_after_end="repeat")
    service.advance(DONE)
    stream = stream_of(service, DONE, service.truth()[0].id)
    sent = list(chunks(stream))
    assert len(sent) == 121
    assert sent[-1][1] == b"(end)"
    assert sent[-1][0] - DONE == pytest.approx(240, abs=12)
    assert stream.take(DONE * 2) is None
    assert not stream.was_reset


@pytest.mark.parametrize(
    ("habit", "events", "lasts"), [("end", 1, 0), ("empty", 0, 0), ("silent", 1, 240)]
)
def test_a_stream_that_is_opened_after_the_end(habit: str, events: int, lasts: float) -> None:
    service = service_of(2, opened_after_end=habit)
    service.advance(DONE)
    id_ = next(each.id for each in service.truth() if each.status != "invalid")
    assert len(snapshots(stream_of(service, DONE, id_))) == events
    *_, (ended, _) = chunks(stream_of(service, DONE, id_))
    assert ended - DONE == pytest.approx(lasts, abs=1)


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("many_lines", [False, True])
def test_spellings_of_a_stream_say_the_same(newline: str, many_lines: bool) -> None:
    odd = {"bom": True, "ids": True, "retry": 0, "event": "message", "comments": 0.7}
    plain = service_of(2)
    other = service_of(
        2, newline=newline, many_lines=many_lines, space=False, in_parts=0.5, first_delay=0.0, **odd
    )
    told = []
    for service in (plain, other):
        id_ = first_open(service)
        found = snapshots(stream_of(service, service.next_due() or 0.0, id_))
        told.append((found[0], found[-1]))
    assert told[0] == told[1]


def test_a_reset_cuts_an_event() -> None:
    service = service_of(2, resets=1.0)
    id_ = first_open(service)
    stream = stream_of(service, service.next_due() or 0.0, id_)
    sent = [each for _, each in chunks(stream)]
    assert stream.was_reset
    assert not sent[0].endswith(b"\n\n")


def test_a_closed_stream_says_nothing_more() -> None:
    service = service_of(2)
    stream = stream_of(service, service.next_due() or 0.0, first_open(service))
    stream.close()
    assert stream.due() is None
    assert stream.take(DONE) is None


@pytest.mark.parametrize("fixed", [False, True])
def test_the_limit(fixed: bool) -> None:
    service = service_of(fixed_window=fixed)
    answers = [get(service, 100 + step / 10, "/v1/runner") for step in range(41)]
    assert [each.status for each in answers] == [200] * 40 + [429]
    assert dict(answers[-1].headers)["Retry-After"] == "10"
    assert get(service, 113.9, "/v1/runner").status == 429
    assert get(service, 113.9, "/v1/runner", "10.0.0.2").status == 200
    assert get(service, 114.0, "/v1/runner").status == 200
    assert service.refused_by_limit("10.0.0.1") == 2
    assert len(service.requests_in("10.0.0.1")) == 43
    assert service.refused_by_limit("10.0.0.3") == 0


def test_refusals_may_prolong_the_cooldown() -> None:
    service = service_of(refusals_prolong=True)
    for _ in range(41):
        get(service, 100.0, "/v1/runner")
    assert get(service, 109.0, "/v1/runner").status == 429
    assert get(service, 118.9, "/v1/runner").status == 429
    assert get(service, 128.9, "/v1/runner").status == 200


def test_stamps_by_endpoint() -> None:
    service = service_of(5, list_digits=0, one_digits=6, zone="+00:00", runner_clock_error=300.0)
    service.advance(DONE)
    row = json_of(get(service, DONE, "/v1/workflow?status=completed"))["workflows"][0]
    one = json_of(get(service, DONE, f"/v1/workflow/{row['id']}"))
    assert one["started_at"].partition(".")[0] == row["started_at"].removesuffix("+00:00")
    assert len(one["started_at"]) == len(row["started_at"]) + 7
    end = next(each for each in service.truth() if each.id == row["id"])
    told = datetime.fromisoformat(one["completed_at"]) - EPOCH
    assert 1 < abs(told.total_seconds() - end.ended) <= 300


def test_rows_may_lack_stamps_and_be_odd() -> None:
    service = service_of(5, no_created="absent", no_updated="null", status_case="upper")
    service.advance(DONE)
    rows = json_of(get(service, DONE, "/v1/workflow?per_page=100"))["workflows"]
    assert {"created_at" in row for row in rows} == {True, False}
    assert any(row["updated_at"] is None for row in rows)
    assert all(row["status"].isupper() for row in rows)


def test_replicas_lag_until_all_is_quiet() -> None:
    service = service_of(2, lag=8.0)
    id_ = first_open(service)
    now = service._now
    found = {get(service, now + 0.01, f"/v1/workflow/{id_}").status for _ in range(30)}
    assert found == {200, 404}
    service.quiet(now + 20)
    found = {get(service, now + 20, f"/v1/workflow/{id_}").status for _ in range(30)}
    assert found == {200}


def test_reruns_and_deletions() -> None:
    service = service_of(5, reruns=0.3)
    service.advance(DONE * 4)
    again = [each for each in service.truth() if each.run == 2]
    assert again
    for end in again:
        first = next(each for each in service.truth() if (each.id, each.run) == (end.id, 1))
        assert first.created == end.created
        assert first.ended < end.ended
    gone = service_of(5, deletions=1.0)
    gone.advance(DONE)
    assert json_of(get(gone, DONE, "/v1/workflow"))["workflows"] == []
    assert get(gone, DONE, f"/v1/workflow/{gone.truth()[0].id}").status == 404


def test_faults_stop_when_all_is_quiet() -> None:
    service = service_of(2, errors=0.3, edge_refusals=0.3, slow_answers=0.3, outage=(50.0, 60.0))
    before = [get(service, step * 1.0, "/v1/workflow") for step in range(100)]
    statuses = {each.status for each in before}
    assert {200, 403, 503} <= statuses
    assert all(each.status not in {200, 404} for each in before[50:60])
    assert any(each.latency > 4 for each in before)
    assert any(each.body.startswith(b"<!DOCTYPE html>") for each in before if each.status == 403)
    service.quiet(100.0)
    after = [get(service, 100 + step * 1.0, "/v1/workflow") for step in range(100)]
    assert {each.status for each in after} == {200}
    assert all(each.latency < 1 for each in after)


def test_headers() -> None:
    usual = dict(get(service_of(), 0.0, "/v1/runner").headers)
    assert usual["Date"] == "Sun, 01 Mar 2026 12:00:00 GMT"
    odd = dict(get(service_of(date_header=False, lower_headers=True), 0.0, "/v1/runner").headers)
    assert set(odd) == {"server", "content-type", "content-length"}
