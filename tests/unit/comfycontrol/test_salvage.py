"""Pages of which a part cannot be read: what it costs, and how long it takes."""

from __future__ import annotations

import contextlib
import json
import time
from typing import Any

import pytest

from exporter.comfycontrol.documents import MalformedDocumentError
from exporter.comfycontrol.listing import (
    MAX_BODY_SIZE,
    MOST_ROWS,
    MalformedListingError,
    WorkflowPage,
    parse_detail,
    parse_page,
)
from exporter.comfycontrol.salvage import UNREADABLE, salvage_object

WRONG_VALUES = (
    *("NaN", "-Infinity", "1e999", "9" * 400, "01", "undefined", '"\\ud83d"', '"\\udc00 x"'),
    *('"\x01"', '"\\x"', "[" * 99 + "]" * 99, "[" * 50_000 + "]" * 50_000, "[1 2]", '{"a":}'),
)
BROKEN_ROWS = (
    *('{"id" "x"}', '{"id":"x" "status":"running"}', '{"id":"x","name":"a "quote" too many"}'),
    *('{"id":"x","name":"an odd " quote"}', '{"id":"x","tags":["a"}', '{"id":"x"', "{", "}", "x y"),
    *('{"id":"x","name":"never ends}', "[1", '"', ":", "nothing", "[[[[", '{"id":"x"}}'),
)


def workflow_id(number: int) -> str:
    return f"a1b2c3d4-e5f6-7890-abcd-{number:012}"


def row(number: int, **more: str) -> str:
    fields = {"id": json.dumps(workflow_id(number)), "status": '"running"', **more}
    return "{" + ", ".join(f'"{name}": {value}' for name, value in fields.items()) + "}"


def page(*rows: str, total: str = "7") -> WorkflowPage:
    text = f'{{"workflows": [{",".join(rows)}], "total": {total}}}'
    return parse_page(text.encode("utf-8", "surrogateescape"))


def ids(page: WorkflowPage) -> list[str]:
    return [workflow.id for workflow in page.workflows]


@pytest.mark.parametrize("value", WRONG_VALUES, ids=lambda value: repr(value[:12]))
@pytest.mark.parametrize("field", ["name", "created_at", "updated_at", "anything"])
def test_a_value_that_is_no_json_costs_itself(field: str, value: str) -> None:
    whole = '"2024-01-15T14:32:15Z"'
    read = page(row(1), row(2, started_at=whole, **{field: value}, completed_at=whole), row(3))
    assert ids(read) == [workflow_id(1), workflow_id(2), workflow_id(3)]
    assert (read.malformed, read.entries, read.total) == (1, 3, 7)
    assert read.workflows[1].started_at == read.workflows[1].completed_at == 1705329135.0


@pytest.mark.parametrize("value", WRONG_VALUES, ids=lambda value: repr(value[:12]))
@pytest.mark.parametrize("field", ["id", "status"])
def test_without_an_id_or_a_status_it_costs_the_row(field: str, value: str) -> None:
    read = page(row(1), row(2, **{field: value}), row(3))
    assert ids(read) == [workflow_id(1), workflow_id(3)]
    assert (read.malformed, read.entries) == (1, 3)


def test_a_tag_that_is_cut_costs_itself() -> None:
    read = page(row(1, tags='["a", "\\ud83d", "b"]'))
    assert read.workflows[0].tags == ("a", "b")
    assert read.malformed == 1


@pytest.mark.parametrize("broken", BROKEN_ROWS)
@pytest.mark.parametrize("place", ["first", "middle", "last"])
def test_a_row_that_is_broken_costs_itself(broken: str, place: str) -> None:
    rows = [row(n, tags='["x, {y"]', name='"a \\"name\\" ]}"') for n in range(1, 6)]
    rows.insert({"first": 0, "middle": 2, "last": 5}[place], broken)
    read = page(*rows)
    assert ids(read) == [workflow_id(n) for n in range(1, 6)]
    assert read.malformed == read.entries - 5 >= 1
    assert read.total in (7, None)


def test_two_rows_with_a_quote_too_many_cost_no_other() -> None:
    odd = '{"id":"x","name":"an odd " quote"}'
    rows = [row(n) for n in range(10)]
    read = page(*rows[:3], odd, *rows[3:6], odd, *rows[6:])
    assert ids(read) == [workflow_id(n) for n in range(10)]
    assert (read.malformed, read.entries, read.total) == (2, 12, 7)


def test_a_comma_that_is_missing_costs_no_row() -> None:
    assert ids(page(row(1) + " " + row(2), row(3, x="NaN"))) == [workflow_id(n) for n in (1, 2, 3)]


@pytest.mark.parametrize(
    ("rows", "tail"),
    [
        (3, ""),
        (3, ","),
        (3, ',{"id":'),
        (3, ',{"id":"x","tags":["a"]}'),
        (3, ',{"id":"x","name":"cut of'),
        (0, ""),
    ],
)
def test_a_page_that_breaks_off_is_none(rows: int, tail: str) -> None:
    text = '{"workflows": [' + ",".join(row(n) for n in range(rows)) + tail
    with pytest.raises(MalformedListingError):
        parse_page(text.encode())


def test_a_byte_order_mark_and_bytes_that_are_no_text() -> None:
    read = parse_page(b"\xef\xbb\xbf" + f'{{"workflows":[{row(1)}]}}'.encode())
    assert (ids(read), read.malformed) == ([workflow_id(1)], 0)
    read = page(row(1, name='"cut \udcf0\udc9f off"'), row(2))
    assert (ids(read), read.malformed) == ([workflow_id(1), workflow_id(2)], 1)


def test_of_two_members_of_one_name_the_last_counts() -> None:
    for more in ({}, {"x": "NaN"}):
        text = row(1, **more)[:-1] + ', "status": "failed"}'
        assert page(text).workflows[0].status == "failed"


def test_more_rows_than_are_taken_are_counted() -> None:
    rows = [row(n) for n in range(MOST_ROWS + 50)]
    for read in (page(*rows), page(*rows[:-1], row(MOST_ROWS + 49, x="NaN"))):
        assert ids(read) == [workflow_id(n) for n in range(MOST_ROWS)]
        assert (read.malformed, read.entries) == (50, MOST_ROWS + 50)


def test_what_lies_deep_is_not_kept() -> None:
    found = salvage_object('{"x": NaN, "a": [[[[{"b": "secret"}, [1e9]]]]]}', max_depth=64)
    assert found == {"x": UNREADABLE, "a": [[[[{}, []]]]]}
    assert found is not None
    assert found.damaged == {"x"}


@pytest.mark.parametrize("deep", ["[" * 61 + "]" * 61, '{"a":' * 60 + "[]" + "}" * 60])
def test_depth_is_that_of_the_document(deep: str) -> None:
    assert salvage_object(f'{{"x":NaN,"y":[[{deep}]]}}', max_depth=64)["y"] != UNREADABLE  # type: ignore[index]
    found = salvage_object(f'{{"y":[[[{deep}]]]}}', max_depth=64)
    assert found is not None
    assert found.damaged == {"y"}


HOSTILE: dict[str, tuple[bytes, bytes, bytes]] = {
    # what it begins with, what is repeated, what it ends with
    "arrays": (b'{"workflows":', b"[", b""),
    "objects": (b'{"workflows":[', b'{"":', b""),
    "pairs": (b'{"workflows":[NaN,', b"[],", b"1]}"),
    "numbers": (b'{"workflows":[NaN,', b"1,", b"1]}"),
    "members": (b'{"x":NaN,', b'"a":1,', b'"status":NaN}'),
    "quotes": (b'{"workflows":[{"id":', b'"', b"]}"),
    "escapes": (b'{"workflows":["', b'\\"', b"]}"),
    "backslashes": (b'{"workflows":["', b"\\", b"]}"),
    "surrogates": (b'{"workflows":[{"name":"', b"\\ud800", b'"}]}'),
    "no text": (b'{"workflows":[{"name":"', b"\xff", b'"}]}'),
    "rows that begin": (b'{"workflows":[{', b',{"id":', b""),
    "rows that do not end": (b'{"workflows":[{', b',{"id":"x","y":[', b""),
    "rows with a quote too many": (b'{"workflows":[{', b',{"id":"a" ","y":1}', b"]}"),
    "rows without a colon": (b'{"workflows":[{', b',{"id" 1}', b"]}"),
    "commas": (b'{"workflows":[', b",", b"]}"),
    "tails": (b'{"workflows":[{', b'],"x":1', b"]}"),
    "digits": (b'{"x":', b"9", b"}"),
    "spaces": (b'{"x":NaN', b" ", b"}"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_the_largest_document_is_read_or_refused_in_bounded_time(kind: str) -> None:
    head, middle, tail = HOSTILE[kind]
    times = (MAX_BODY_SIZE - len(head) - len(tail)) // len(middle)
    body = head + middle * times + tail
    parse: Any = parse_page if b"workflows" in head else parse_detail
    began = time.process_time()
    with contextlib.suppress(MalformedDocumentError):
        parse(body)
    # Measured: 4 s at the most, on a busy machine. Of anything quadratic it would be hours.
    assert time.process_time() - began < 30
