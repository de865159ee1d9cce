"""Answers within envelopes: one workflow, and pages of workflows and runners."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.comfycontrol.envelopes import rows_in, workflow_in
from exporter.comfycontrol.listing import (
    MalformedDetailError,
    MalformedListingError,
    parse_detail,
    parse_page,
)
from exporter.comfycontrol.runners import MalformedRunnersError, parse_runners

WORKFLOW = {
    "id": "a1b2c3d4-e5f6-7890-abcd-ef1234567890",
    "status": "failed",
    "error_node": "17",
    "exception_type": "ValueError",
    "tags": ["fast"],
    "workflow_json": {"nodes": [{"id": 17, "type": "KSampler"}]},
    "completed_at": "2024-01-15T14:30:08Z",
}
NO_ID = {name: value for name, value in WORKFLOW.items() if name != "id"}
LONE_SURROGATE = r'"x\ud800"'


@pytest.mark.parametrize(
    "document",
    [
        *({"workflow": WORKFLOW}, {"data": WORKFLOW}, {"workflow": NO_ID}),
        *({"status": 200, "data": NO_ID}, {"status": None, "data": NO_ID}),
        *({"status": "success", "data": WORKFLOW}, {"status": "ok", "workflow": WORKFLOW}),
        *({"data": None, "workflow": WORKFLOW}, {"data": WORKFLOW, "workflow": {"nodes": []}}),
        # A workflow may itself have members with these names.
        *({**WORKFLOW, "workflow": {"status": "queued"}}, {**WORKFLOW, "data": WORKFLOW}),
        {**NO_ID, "data": {"status": "queued"}},
    ],
)
def test_one_workflow(document: dict[str, Any]) -> None:
    assert parse_detail(json.dumps(document).encode()) == parse_detail(
        json.dumps(WORKFLOW).encode()
    )


@pytest.mark.parametrize(
    "document",
    [
        *({"data": {}}, {"data": None}, {"data": [WORKFLOW]}, {"data": {"workflow": WORKFLOW}}),
        *({"workflow": {"id": "x", "status": 3}}, {"error": WORKFLOW}),
    ],
)
def test_no_workflow(document: dict[str, Any]) -> None:
    with pytest.raises(MalformedDetailError):
        parse_detail(json.dumps(document).encode())


def test_a_workflow_in_an_envelope_that_is_broken_keeps_what_can_be_read() -> None:
    text = json.dumps({"data": WORKFLOW})[:-2] + f', "name": {LONE_SURROGATE}}}}}'
    detail = parse_detail(text.encode())
    assert (detail.error_node, detail.tags) == ("KSampler", ("fast",))
    assert detail.malformed_fields == ("name",)


@pytest.mark.parametrize(
    ("document", "count", "total"),
    [
        ({"data": {"workflows": [WORKFLOW], "total": 7}}, 1, 7),
        ({"data": {"workflows": [WORKFLOW]}, "total": 7}, 1, 7),
        ({"data": [WORKFLOW, WORKFLOW], "total": 7}, 2, 7),
        ({"data": [WORKFLOW]}, 1, None),
        ({"status": "success", "data": {"workflows": [], "total": 0}}, 0, 0),
        ({"data": {"workflows": None}}, 0, None),
        ({"data": {"total": 0}}, 0, 0),
        ({"data": [], "total": 0}, 0, 0),
        ({"data": None, "total": 0}, 0, 0),
        # What the service's documents show comes first.
        ({"workflows": [WORKFLOW], "total": 7, "data": []}, 1, 7),
        ({"workflows": [], "data": [WORKFLOW]}, 0, None),
    ],
)
def test_pages(document: dict[str, Any], count: int, total: int | None) -> None:
    page = parse_page(json.dumps(document).encode())
    assert (len(page.workflows), page.entries, page.total) == (count, count, total)
    assert page.malformed == 0
    runners = parse_runners(json.dumps(document).replace("workflows", "runners").encode())
    assert (runners.entries, runners.total) == (count, total)


@pytest.mark.parametrize(
    "document",
    [
        *({"data": []}, {"data": [], "total": 3}, {"data": ["x"], "total": 3}, {"data": {}}),
        *({"data": {"workflows": None, "total": 3}}, {"data": {"data": [WORKFLOW]}}),
        *({"data": "x"}, {"items": [WORKFLOW]}, {"workflows": {}, "data": [WORKFLOW]}),
    ],
)
def test_no_pages(document: dict[str, Any]) -> None:
    body = json.dumps(document).encode()
    with pytest.raises(MalformedListingError):
        parse_page(body)
    with pytest.raises(MalformedRunnersError):
        parse_runners(body.replace(b"workflows", b"runners"))


def test_a_row_in_an_envelope_loses_only_the_field_that_is_no_json() -> None:
    row = json.dumps(WORKFLOW)
    odd = row[:-1] + f', "name": {LONE_SURROGATE}}}'
    page = parse_page(f'{{"data":{{"workflows":[{odd},{row}],"total":2}}}}'.encode())
    assert [workflow.tags for workflow in page.workflows] == [("fast",), ("fast",)]
    assert (page.malformed, page.total) == (1, 2)


ANYTHING = st.recursive(
    st.none() | st.integers(0, 3) | st.sampled_from(["failed", "x", ""]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["data", "workflow", "workflows", "status", "id", "total"]), inner
        )
    ),
    max_leaves=10,
)
OBJECTS = st.dictionaries(
    st.sampled_from(["data", "workflow", "workflows", "status", "id", "total"]), ANYTHING
)


@given(document=OBJECTS)
def test_what_is_found_is_in_the_document(document: dict[str, object]) -> None:
    workflow = workflow_in(document)
    assert any(workflow is each for each in (document, *document.values()))
    rows, _ = rows_in(document, "workflows")
    data = document.get("data")
    within = data.get("workflows") if isinstance(data, dict) else None
    assert not rows or any(rows is each for each in (document.get("workflows"), data, within))


@given(document=OBJECTS, envelope=st.sampled_from(["data", "workflow"]))
def test_a_workflow_with_an_id_is_found_in_each_envelope(
    document: dict[str, object], envelope: str
) -> None:
    workflow = {**document, "id": "x", "status": "failed"}
    assert workflow_in(workflow) is workflow
    assert workflow_in({envelope: workflow}) is workflow
    assert workflow_in({"status": "success", envelope: workflow}) is workflow


@given(rows=st.lists(ANYTHING, max_size=3), total=st.none() | st.integers(0, 9))
def test_rows_are_the_same_in_an_envelope(rows: list[object], total: int | None) -> None:
    page = {"workflows": rows, "total": total}
    assert rows_in({"data": page}, "workflows") == rows_in(page, "workflows") == (rows, total)
