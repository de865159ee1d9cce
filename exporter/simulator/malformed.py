"""Documents that are wrong, each in one way: snapshots of a stream and pages of the list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import orjson

from exporter.simulator.faults import MalformedList, MalformedSnapshot

if TYPE_CHECKING:
    from collections.abc import Callable

SNAPSHOT_VARIANTS: tuple[MalformedSnapshot, ...] = get_args(MalformedSnapshot)
LIST_VARIANTS: tuple[MalformedList, ...] = get_args(MalformedList)

_DEPTH = 100_000

# Texts that stand for the whole event, whatever the good one says.
_WHOLE_SNAPSHOTS: dict[str, bytes] = {
    "not_json": b"<html><body>502 Bad Gateway</body></html>",
    "empty_data": b"",
    "null": b"null",
    "number": b"42",
    "string": b'"running"',
    "array": b'[{"status":"running"}]',
    "deep_nesting": b'{"status":"running","prompt":' + b"[" * _DEPTH + b"]" * _DEPTH + b"}",
}

# One field with a value that a serialiser would not write, or that is of another type.
_RAW_FIELDS: dict[str, tuple[str, bytes]] = {
    "status_null": ("status", b"null"),
    "status_number": ("status", b"7"),
    "status_array": ("status", b'["running"]'),
    "status_object": ("status", b'{"name":"running"}'),
    "unknown_status": ("status", b'"hibernating"'),
    "nan": ("queue_number", b"NaN"),
    "infinity": ("queue_number", b"1e999"),
    "queue_number_string": ("queue_number", b'"3"'),
    "queue_number_negative": ("queue_number", b"-1"),
    "queue_number_fraction": ("queue_number", b"1.5"),
    "queue_number_boolean": ("queue_number", b"true"),
    "stamp_text": ("started_at", b'"yesterday"'),
    "stamp_number": ("started_at", b"17053290"),
    "stamp_year_zero": ("started_at", b'"0000-00-00T00:00:00Z"'),
    "cause_string": ("cause", b'"out of memory"'),
    "cause_array": ("cause", b'["KSampler"]'),
    "cause_numbers": (
        "cause",
        b'{"node_type":5,"exception_type":null,"exception_message":[]}',
    ),
    "outputs_null": ("outputs", b"null"),
    "outputs_object": ("outputs", b'{"id":"output-1"}'),
    "outputs_of_numbers": ("outputs", b"[1,2,3]"),
    "prompt_string": ("prompt", b'"abc123"'),
    "lone_surrogate": (
        "cause",
        b'{"node_type":"\\ud800KSampler","exception_type":"\\udfff","exception_message":""}',
    ),
    "control_characters": (
        "cause",
        b'{"node_type":"K\\u0000S\\r\\nampler","exception_type":"\\u001b[31m","exception_message":""}',
    ),
    "invalid_utf8": ("prompt", b'{"prompt_id":"\xff\xfe\xc3("}'),
}


def malformed_snapshot(variant: MalformedSnapshot, good: bytes) -> bytes:
    """Make one malformed snapshot.

    Args:
        variant: what is wrong with it.
        good: the JSON of the snapshot in whose place it is sent.

    Returns:
        The text of the event's data, without framing and without line ends.
    """
    if variant in _WHOLE_SNAPSHOTS:
        return _WHOLE_SNAPSHOTS[variant]
    if variant in _RAW_FIELDS:
        name, value = _RAW_FIELDS[variant]
        return _with_raw_field(good, name, value)
    document: dict[str, Any] = orjson.loads(good)
    if variant == "missing_status":
        del document["status"]
        return orjson.dumps(document)
    if variant == "truncated_json":
        return good[: len(good) // 2]
    if variant == "duplicate_keys":
        return good[:-1] + b',"status":"accepted"}'
    return orjson.dumps(document | {"progress": 0.5, "preview": {"step": [1, 2, {"of": 3}]}})


def _with_raw_field(good: bytes, name: str, value: bytes) -> bytes:
    document: dict[str, Any] = orjson.loads(good)
    fields = (
        b"%b:%b" % (orjson.dumps(key), value if key == name else orjson.dumps(each))
        for key, each in document.items()
    )
    return b"{" + b",".join(fields) + b"}"


def malformed_list(variant: MalformedList, good: bytes) -> bytes:
    """Make one malformed page of the list.

    Args:
        variant: what is wrong with it; where it is an item, it is the first one.
        good: the JSON of the page in whose place it is sent.
    """
    if variant == "not_json":
        return b"<!doctype html><title>Maintenance</title>"
    if variant == "truncated_json":
        return good[: max(1, len(good) // 2)]
    if variant == "deep_nesting":
        return b'{"workflows":' + b"[" * _DEPTH + b"]" * _DEPTH + b',"total":0}'
    document: dict[str, Any] = orjson.loads(good)
    wholes: dict[str, Any] = {
        "array": document["workflows"],
        "null": None,
        "empty_object": {},
        "workflows_null": document | {"workflows": None},
        "workflows_object": document | {"workflows": {"0": document["workflows"]}},
        "total_string": document | {"total": str(document["total"])},
    }
    if variant in wholes:
        return orjson.dumps(wholes[variant])
    items: list[Any] = document["workflows"] or [{"id": "", "status": "running"}]
    if variant == "item_name_surrogate":
        # No serialiser writes half a pair, so a mark is put in and replaced in the text.
        marked = [{**items[0], "name": "@surrogate@"}, *items[1:]]
        text = orjson.dumps(document | {"workflows": marked})
        return text.replace(b"@surrogate@", b"\\ud83d half a pair")
    items[0] = _ITEMS[variant](items[0])
    return orjson.dumps(document | {"workflows": items})


def _without(key: str) -> Callable[[dict[str, Any]], Any]:
    return lambda item: {name: value for name, value in item.items() if name != key}


def _with(key: str, value: object) -> Callable[[dict[str, Any]], Any]:
    return lambda item: item | {key: value}


_ITEMS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "item_null": lambda _item: None,
    "item_without_id": _without("id"),
    "item_id_number": _with("id", 17),
    "item_id_no_uuid": _with("id", "../../admin"),
    "item_without_status": _without("status"),
    "item_status_number": _with("status", 3),
    "item_unknown_status": _with("status", "hibernating"),
    "item_stamp_text": _with("created_at", "last Tuesday"),
    "item_created_null": _with("created_at", None),
    "item_tags_null": _with("tags", None),
}
