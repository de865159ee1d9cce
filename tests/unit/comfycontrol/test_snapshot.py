"""Snapshots by example: the service's own, and those that are wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest

from exporter.comfycontrol.documents import MAX_DEPTH
from exporter.comfycontrol.snapshot import (
    MAX_SNAPSHOT_SIZE,
    Cause,
    MalformedSnapshotError,
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
        *('{"status":NaN}', '{"status":"run\\ud800ning"}', '{"status":"running"} {}', "\ud800"),
        *('{"status":"running"', '{"status":"running","x":', '{"status":"running","x":[}'),
    ],
)
def test_what_is_no_snapshot(data: str) -> None:
    with pytest.raises(MalformedSnapshotError):
        parse_snapshot(data)


WRONG: dict[str, tuple[object, ...]] = {
    "queue_number": (-1, True, 1.0, 1.5, "3", [3], 2**31, 2**63, 10**30),
    "outputs": ("x", 3, {}, True),
    "cause": ("KSampler", [], 3, False),
    "started_at": ("", "soon", 0, 7.5, -1, 17053290, [], "0001-01-01T00:00:00Z"),
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
    cause = {"node_type": "easy fullLoader\u202e", "exception_type": "x" * 999}
    assert parse(cause=cause)[0].cause == Cause("easy fullLoader", "x" * 128)


@pytest.mark.parametrize("damaged", ["K\x00S\r\nampler", "\x1b[31m", "KSampler\n", "\x7f"])
def test_a_part_of_a_cause_with_control_characters_was_damaged(damaged: str) -> None:
    # Found in simulated time (seeds 65976, 81063): such a cause was counted, and `GET` had the
    # right one.
    assert parse(cause={"node_type": damaged, "exception_type": "ValueError"}) == (
        Snapshot("running", cause=Cause(None, "ValueError")),
        ("cause.node_type",),
    )
    assert parse(cause={"node_type": "KSampler", "exception_type": damaged}) == (
        Snapshot("running", cause=Cause("KSampler", None)),
        ("cause.exception_type",),
    )


def nested(levels: int, *, siblings: int = 0) -> str:
    inner = '{"a":' * (levels - 1) + "1" + "}" * (levels - 1)
    return f'{{"status":"running","prompt":{inner},"wide":[{",".join(["[]"] * siblings)}]}}'


def test_depth_is_capped_and_width_is_not() -> None:
    deepest = parse_snapshot(nested(MAX_DEPTH, siblings=500))
    assert (deepest.snapshot.status, deepest.malformed_fields) == ("running", ())
    for levels in (MAX_DEPTH + 1, 1000, 100_000):
        deeper = parse_snapshot(nested(levels, siblings=500))
        assert (deeper.snapshot.status, deeper.malformed_fields) == ("running", ("unread",))


BROKEN = (
    *("NaN", "-Infinity", "1e999", "9" * 400, "9" * 5000, "01", "undefined", "tru"),
    *(
        r'"\ud83d"',
        r'"\udc00 x"',
        r'"\x"',
        '"\x01"',
        '"a\nb"',
        "[" * 99 + "]" * 99,
        '{"a":}',
        "[1 2]",
    ),
)


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize(
    ("field", "malformed"),
    [
        *(("queue_number", "queue_number"), ("started_at", "started_at"), ("cause", "cause")),
        *(("outputs", "outputs"), ("prompt", "unread")),
    ],
)
def test_a_field_that_is_no_json_costs_that_field(broken: str, field: str, malformed: str) -> None:
    whole = {"status": '"failed"', "completed_at": '"2024-01-15T14:32:15Z"', field: broken}
    data = "{" + ",".join(f'"{name}": {value}' for name, value in whole.items()) + "}"
    for given in (data, data.encode()):
        parsed = parse_snapshot(given)
        assert parsed.snapshot.status == "failed"
        assert parsed.snapshot.completed_at == 1705329135.0
        assert parsed.malformed_fields == (malformed,)


def test_a_message_that_is_cut_in_a_character_costs_no_cause() -> None:
    cause = r"""{"node_type":"KSampler","exception_type":"x\udc00","exception_message":"\ud83d"}"""
    data = f'{{"status":"failed","cause":{cause}}}'
    assert parse_snapshot(data).snapshot.cause == Cause("KSampler", None)
    assert parse_snapshot(data).malformed_fields == ("cause.exception_type", "cause.unread")


def test_bytes_that_are_no_text_cost_their_field() -> None:
    data = b'\xef\xbb\xbf{"status":"running","prompt":"\xff","queue_number":3}'
    parsed = parse_snapshot(data)
    assert parsed.snapshot == Snapshot("running", queue_number=3)
    assert parsed.malformed_fields == ("unread",)


def test_size_is_capped() -> None:
    frame = '{"status":"running","x":"%s"}'
    fits = frame % ("x" * (MAX_SNAPSHOT_SIZE - len(frame) + 2))
    assert parse_snapshot(fits).snapshot.status == "running"
    with pytest.raises(MalformedSnapshotError):
        parse_snapshot(fits + " ")
