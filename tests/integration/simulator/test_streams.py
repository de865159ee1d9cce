"""The subscribe endpoint: what its events say, when they come, and when it closes."""

from __future__ import annotations

import itertools
import json
import time
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import requests

    Service = Any

FIELDS = ["status", "prompt", "queue_number", "outputs", "cause", "started_at", "completed_at"]


def events(answer: requests.Response) -> Iterator[dict[str, Any]]:
    for line in answer.iter_lines(chunk_size=1):
        if line:
            assert line.startswith(b"data: ")
            yield json.loads(line[6:])


def test_a_stream_tells_a_life_and_closes_when_it_is_over(service: Service) -> None:
    identity = service.simulator.create(duration=20, outputs=2, scripted=False)
    with service.subscribe(identity) as answer:
        assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert answer.headers["Transfer-Encoding"] == "chunked"
        told = list(events(answer))
    assert all(list(each) == FIELDS for each in told)
    statuses = list(dict.fromkeys(each["status"] for each in told))
    assert statuses[0] in ("accepted", "uploaded", "queued", "running")
    assert statuses[-1] == "completed"

    last, row = told[-1], service.simulator.workflow(identity).truth()
    assert (last["started_at"], last["completed_at"]) == (row.started_at, row.completed_at)
    assert row.run_seconds == pytest.approx(1.0, abs=0.001)
    assert [each["workflow_id"] for each in last["outputs"]] == [identity] * 2
    assert all("Signature=" in each["src"] for each in last["outputs"])
    assert last["cause"] is last["queue_number"] is None


def test_the_first_snapshot_comes_at_once_and_then_at_the_interval(
    start: Callable[..., Service],
) -> None:
    service = start(speed=10.0)
    identity = service.simulator.create(scripted=True)
    began = time.monotonic()
    with service.subscribe(identity) as answer:
        stream = events(answer)
        next(stream)
        assert time.monotonic() - began < 0.15
        times = [(next(stream), time.monotonic())[1] for _ in range(4)]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert sum(gaps) / len(gaps) == pytest.approx(0.2, abs=0.03)


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
def test_a_final_status_is_told_once_and_closes_and_keeps_the_connection(
    service: Service, status: str
) -> None:
    identity = service.simulator.create(scripted=True)
    service.simulator.workflow(identity).advance(status)
    for _ in range(2):  # the second one over the same connection
        with service.subscribe(identity) as answer:
            (told,) = events(answer)
        assert told["status"] == status
    assert service.simulator.truth().streams_opened == 2


def test_invalid_does_not_close_a_stream(service: Service) -> None:
    identity = service.simulator.create(scripted=True)
    service.simulator.workflow(identity).advance("invalid")
    with service.subscribe(identity) as answer:
        stream = events(answer)
        assert [next(stream)["status"] for _ in range(5)] == ["invalid"] * 5


def test_a_stream_closes_after_120_updates(start: Callable[..., Service]) -> None:
    service = start(speed=1000.0)
    identity = service.simulator.create(scripted=True)
    with service.subscribe(identity) as answer:
        assert len(list(events(answer))) == 120


def test_a_cause_is_told_on_failed_only_and_may_be_null(service: Service) -> None:
    cause = {"node_type": "画像 / x", "exception_type": "ValueError", "exception_message": "m"}
    for given in (cause, None):
        identity = service.simulator.create(scripted=True)
        handle = service.simulator.workflow(identity)
        handle.advance("running")
        assert handle.snapshot()["cause"] is None
        handle.advance("failed", cause=given)
        with service.subscribe(identity) as answer:
            assert [each["cause"] for each in events(answer)] == [given]


@pytest.mark.parametrize(("setting", "shown"), [("1", 1), ("null", None)])
def test_a_queue_number_on_running_is_as_the_scenario_says(
    start: Callable[..., Service], setting: str, shown: int | None
) -> None:
    service = start(f"streams: {{queue_number_on_running: {setting}}}")
    handle = service.simulator.workflow(service.simulator.create(scripted=True))
    handle.advance("queued", queue_position=7)
    assert handle.snapshot()["queue_number"] == 7
    handle.advance("running")
    assert handle.snapshot()["queue_number"] == shown
    handle.advance("completed")
    assert handle.snapshot()["queue_number"] is None


def test_queue_numbers_are_places_in_a_real_queue(service: Service) -> None:
    made = [service.simulator.create(duration=3600) for _ in range(4)]
    service.simulator.wait_for_status(made[0], "running", 10)
    for identity in made[1:]:
        service.simulator.wait_for_status(identity, "queued", 10)
    places = {i: service.simulator.workflow(i).snapshot()["queue_number"] for i in made[1:]}
    assert sorted(places.values()) == [1, 2, 3]

    first = next(i for i, place in places.items() if place == 1)
    service.simulator.workflow(first).advance("cancelled")
    moved = {i: service.simulator.workflow(i).snapshot()["queue_number"] for i in made[1:]}
    assert moved == {i: None if i == first else place - 1 for i, place in places.items()}


def test_a_change_by_hand_is_told_in_the_open_stream(service: Service) -> None:
    identity = service.simulator.create(scripted=True)
    handle = service.simulator.workflow(identity)
    with service.subscribe(identity) as answer:
        stream = events(answer)
        assert next(stream)["status"] == "accepted"
        handle.advance("running", started_at="2024-01-15T14:30:05Z")
        assert any(each["started_at"] == "2024-01-15T14:30:05.000Z" for each in stream)


def test_http_1_0_gets_an_answer_that_ends_at_eof(
    service: Service, read_all: Callable[..., bytes]
) -> None:
    identity = service.simulator.create(scripted=True)
    service.simulator.workflow(identity).advance("completed")
    head, _, body = read_all(
        service.raw(f"/v1/workflow/{identity}/subscribe", version="1.0")
    ).partition(b"\r\n\r\n")
    assert b"chunked" not in head
    assert body.startswith(b'data: {"status":"completed"')
    assert body.endswith(b"}\n\n")


def test_head_gets_no_body(service: Service) -> None:
    identity = service.simulator.create(scripted=True)
    answer = service.request("HEAD", f"/v1/workflow/{identity}/subscribe")
    assert (answer.status_code, answer.content) == (200, b"")


def test_a_client_that_leaves_is_noticed(service: Service) -> None:
    identity = service.simulator.create(scripted=True)
    service.subscribe(identity).close()
    truth = service.simulator.wait_until(
        lambda truth: truth.streams_opened == 1 and truth.streams_open == 0, 10
    )
    assert truth.streams_open_most == 1


def test_a_stream_ends_when_its_workflow_is_deleted(service: Service) -> None:
    identity = service.simulator.create(scripted=True)
    with service.subscribe(identity) as answer:
        stream = events(answer)
        next(stream)
        service.simulator.workflow(identity).delete()
        assert all(each["status"] == "accepted" for each in stream)


def test_a_client_that_does_not_read_costs_no_memory(start: Callable[..., Service]) -> None:
    service = start("streams: {max_updates: 100000}", speed=5000.0)
    identity = service.simulator.create(scripted=True)
    fault = {"kind": "malformed_snapshot", "variant": "deep_nesting", "count": 10**6, "after": 0}
    service.simulator.set_faults(fault)  # 200 kB each

    def unsent(engine: Any) -> int:
        del engine
        (protocol,) = service.simulator._server.server_state.connections
        return int(protocol.transport.get_write_buffer_size())

    with service.raw(f"/v1/workflow/{identity}/subscribe"):
        service.simulator.wait_until(lambda truth: truth.snapshots_sent >= 5, 10)
        service.session.close()
        deadline = time.monotonic() + 10
        while service.simulator.call(unsent) < 1_000_000:  # until the kernel's buffers are full
            assert time.monotonic() < deadline
        assert max(service.simulator.call(unsent) for _ in range(200)) < 1_500_000


def test_malformed_snapshots_are_updates_too(start: Callable[..., Service]) -> None:
    service = start("streams: {max_updates: 5}")
    service.simulator.set_faults({"kind": "malformed_snapshot", "count": 99, "after": 2})
    with service.subscribe(service.simulator.create(scripted=True)) as answer:
        assert answer.content.count(b"\n\n") == 5


def test_a_hundred_streams_at_once(start: Callable[..., Service]) -> None:
    service = start(speed=1.0)
    socks = [
        service.raw(f"/v1/workflow/{service.simulator.create(scripted=True)}/subscribe")
        for _ in range(100)
    ]
    service.simulator.wait_until(lambda truth: truth.snapshots_sent >= 100, 10)
    assert service.simulator.truth().streams_open == 100
    for sock in socks:
        sock.close()
    service.simulator.wait_until(lambda truth: truth.streams_open == 0, 10)
