"""Snapshots by example: the service's own, and those that are wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest

from exporter.comfycontrol.documents import MAX_DEPTH
from exporter.comfycontrol.snapshot import (
    MAX_SNAPSHOT_SIZE,
    Cause,
    MalformedSnapshot,
    Snapshot,
    parse_snapshot,
)


def parse(**fields: Any) -> tuple[Snapshot, tuple[str, ...]]:
    parsed = parse_snapshot(json.dumps({"status": "running", **fields}))
    return parsed.snapshot, parsed.malformed_fields


QUEUED = """{"status":"queued","prompt":null,"queue_number":3,"outputs":[],"cause":null,
"started_at":null,"completed_at":null}"""
RUNNING = """{"status":"running","prompt":{"prompt_id":"abc123"},"queue_number":1,"outputs":[],
"cause":null,"started_at":"2024-01-15T14:30:05Z","completed_at":null}"""
COMPLETED = """{"status":"completed","prompt":{"prompt_id":"abc123"},"queue_number":null,"outputs":[
{"id":"output-1","workflow_id":"a1b2c3d4-e5f6-7890-abcd-ef1234567890",
"src":"https://storage.comfycontrol.app/outputs/..."}],"cause":null,
"started_at":"2024-01-15T14:30:05Z","completed_at":"2024-01-15T14:32:15Z"}"""
FAILED = """{"status":"failed","cause":{"node_type":"KSampler (Efficient)",
"exception_type":"torch.OutOfMemoryError","exception_message":"secret"}}"""


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (QUEUED, Snapshot("queued", queue_number=3, outputs=0)),
        (RUNNING, Snapshot("running", queue_number=1, outputs=0, started_at=1705329005.0)),
        (COMPLETED, Snapshot("completed", None, 1, None, 1705329005.0, 1705329135.0)),
        (
            FAILED,
            Snapshot("failed", cause=Cause("KSampler (Efficient)", "torch.OutOfMemoryError")),
        ),
        ('{"status":"dreaming","new":[1]}', Snapshot("dreaming")),
    ],
)
def test_snapshots_of_the_service(data: str, expected: Snapshot) -> None:
    for given in (data, data.encode()):
        parsed = parse_snapshot(given)
        assert parsed.snapshot == expected
        assert parsed.malformed_fields == ()


@pytest.mark.parametrize(
    "data",
    [
        *("", "null", "[]", '"running"', "1", "{", "{}", '{"status":null}', '{"status":1}'),
        *('{"status":""}', '{"status":" \\u0000"}', '{"status":["running"]}', "<html></html>"),
        *('{"status":"running","x":NaN}', '{"status":"running","x":1e999}'),
        *('{"status":"running","x":"\\ud800"}', '{"status":"running"} {}', "\ud800"),
    ],
)
def test_what_is_no_snapshot(data: str) -> None:
    with pytest.raises(MalformedSnapshot):
        parse_snapshot(data)


WRONG: dict[str, tuple[object, ...]] = {
    "queue_number": (-1, True, 1.0, 1.5, "3", [3], 2**31, 2**63, 10**30),
    "outputs": ("x", 3, {}, True),
    "cause": ("KSampler", [], 3, False),
    "started_at": ("", "soon", 1705329005, [], "0001-01-01T00:00:00Z"),
    "completed_at": ("2024-02-30T00:00:00Z", {}, True),
}


@pytest.mark.parametrize(
    ("field", "value"), [(field, value) for field, values in WRONG.items() for value in values]
)
def test_a_field_that_is_wrong_is_left_out(field: str, value: object) -> None:
    snapshot, malformed = parse(**{field: value})
    assert snapshot == Snapshot("running")
    assert malformed == (field,)


def test_outputs_that_are_null_or_absent_are_not_told() -> None:
    assert parse(outputs=None) == (Snapshot("running"), ())
    assert parse() == (Snapshot("running"), ())


def test_of_outputs_only_objects_are_counted() -> None:
    assert parse(outputs=[{}, None, "x", {}]) == (Snapshot("running", outputs=2), ("outputs",))


def test_parts_of_a_cause() -> None:
    assert parse(cause={}) == (Snapshot("running", cause=Cause(None, None)), ())
    assert parse(cause={"node_type": 3, "exception_type": "ValueError"}) == (
        Snapshot("running", cause=Cause(None, "ValueError")),
        ("cause.node_type",),
    )
    cause = {"node_type": "easy\x00 fullLoader\u202e", "exception_type": "x" * 999}
    assert parse(cause=cause)[0].cause == Cause("easy  fullLoader", "x" * 128)


def nested(levels: int, *, siblings: int = 0) -> str:
    inner = '{"a":' * (levels - 1) + "1" + "}" * (levels - 1)
    return f'{{"status":"running","prompt":{inner},"wide":[{",".join(["[]"] * siblings)}]}}'


def test_depth_is_capped_and_width_is_not() -> None:
    assert parse_snapshot(nested(MAX_DEPTH, siblings=500)).snapshot.status == "running"
    for levels in (MAX_DEPTH + 1, 1000, 100_000):
        with pytest.raises(MalformedSnapshot):
            parse_snapshot(nested(levels))


def test_size_is_capped() -> None:
    frame = '{"status":"running","x":"%s"}'
    fits = frame % ("x" * (MAX_SNAPSHOT_SIZE - len(frame) + 2))
    assert parse_snapshot(fits).snapshot.status == "running"
    with pytest.raises(MalformedSnapshot):
        parse_snapshot(fits + " ")
