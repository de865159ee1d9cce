"""Pages of the list, and workflows in full, by example."""

from __future__ import annotations

import json
from typing import Any

import pytest

from exporter.comfycontrol.documents import MAX_TAGS
from exporter.comfycontrol.listing import (
    MAX_BODY_SIZE,
    MalformedDetailError,
    MalformedListingError,
    WorkflowDetail,
    WorkflowPage,
    WorkflowSummary,
    parse_detail,
    parse_page,
)
from exporter.comfycontrol.text import clean

WORKFLOW = "a1b2c3d4-e5f6-7890-abcd-ef1234567890"


def entry(**fields: Any) -> dict[str, Any]:
    return {"id": WORKFLOW, "name": "secret", "status": "running", **fields}


def page(*entries: Any, **fields: Any) -> WorkflowPage:
    return parse_page(json.dumps({"workflows": entries, **fields}).encode())


def test_a_page() -> None:
    parsed = page(
        entry(
            id=WORKFLOW.upper(),
            tags=["sdxl", " fast\n"],
            created_at="2024-01-15T14:30:00Z",
            updated_at="2024-01-15T14:30:06Z",
            started_at="2024-01-15T14:30:05.250Z",
            completed_at=None,
        ),
        entry(status="completed"),
        total=250,
    )
    assert parsed == WorkflowPage(
        workflows=(
            WorkflowSummary(
                id=WORKFLOW,
                status="running",
                name="secret",
                tags=("sdxl", "fast"),
                created_at=1705329000.0,
                updated_at=1705329006.0,
                started_at=1705329005.25,
            ),
            WorkflowSummary(id=WORKFLOW, status="completed", name="secret"),
        ),
        total=250,
        malformed=0,
        entries=2,
    )
    assert "secret" not in repr(parsed)


@pytest.mark.parametrize(
    "spelling",
    [WORKFLOW.upper(), WORKFLOW.replace("-", ""), f"{{{WORKFLOW}}}", f"urn:uuid:{WORKFLOW}"],
)
def test_an_id_is_the_same_in_each_spelling(spelling: str) -> None:
    parsed = page(entry(id=spelling))
    assert (parsed.workflows[0].id, parsed.malformed) == (WORKFLOW, 0)


@pytest.mark.parametrize(
    "wrong",
    [
        *(None, 3, "x", [], {}, entry(id="x"), entry(id=None), entry(id=f"{{{WORKFLOW}")),
        *(entry(id="../" + WORKFLOW[3:]), entry(status=None), entry(status=3), entry(status="")),
    ],
)
def test_an_entry_without_an_id_or_a_status_is_dropped(wrong: object) -> None:
    parsed = page(wrong, entry())
    assert parsed.workflows == (WorkflowSummary(WORKFLOW, "running", "secret"),)
    assert (parsed.malformed, parsed.entries) == (1, 2)


@pytest.mark.parametrize(
    "wrong",
    [
        {"created_at": "soon"},
        {"updated_at": 3},
        {"tags": "x"},
        {"tags": {}, "started_at": [], "completed_at": True},
    ],
)
def test_a_field_that_is_wrong_costs_no_more_than_itself(wrong: dict[str, Any]) -> None:
    parsed = page(entry(**wrong))
    assert parsed.workflows == (WorkflowSummary(WORKFLOW, "running", "secret"),)
    assert parsed.malformed == 1


def test_tags() -> None:
    assert page(entry(tags=None)).malformed == 0
    assert page(entry(tags=["a", 3, "", "b"])).workflows[0].tags == ("a", "b")
    many = [str(number) for number in range(1000)]
    assert page(entry(tags=many)).workflows[0].tags == tuple(many[:MAX_TAGS])


@pytest.mark.parametrize("total", [None, -1, "3", True, 2.5])
def test_a_total_that_is_none(total: object) -> None:
    assert page(total=total).total is None


@pytest.mark.parametrize(
    "body",
    [b'{"workflows": null}', b'{"workflows": null, "total": 0}', b'{"total": 0, "page": 1}'],
)
def test_an_empty_list_may_be_written_as_null_or_left_out(body: bytes) -> None:
    assert parse_page(body).workflows == ()


@pytest.mark.parametrize("body", [b'{"workflows": null, "total": 3}', b'{"total": 3}', b"{}"])
def test_a_list_that_is_missing_though_there_are_some_is_no_page(body: bytes) -> None:
    with pytest.raises(MalformedListingError):
        parse_page(body)


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b"{}", b'{"workflows":{}}', b"<html>", b"\xff"],
)
def test_what_is_no_page(body: bytes) -> None:
    with pytest.raises(MalformedListingError):
        parse_page(body)


def test_a_name_is_read_and_not_shown() -> None:
    assert page(entry()).workflows[0].name == "secret"
    assert page(entry(name=None)).workflows[0].name == ""
    assert page(entry(name=7)).workflows[0].name == ""


def test_a_workflow_in_full() -> None:
    body = {
        "id": WORKFLOW,
        "name": "secret",
        "status": "failed",
        "queue_number": None,
        "error_node": "KSampler",
        "exception_type": "ValueError",
        "exception_message": "secret",
        "workflow_json": {"3": {"inputs": {"text": "secret"}}},
        "tags": ["sdxl"],
        "created_at": "2024-01-15T14:30:00Z",
        "updated_at": "2024-01-15T14:30:09Z",
        "started_at": "2024-01-15T14:30:05Z",
        "completed_at": "2024-01-15T14:30:08Z",
    }
    detail = parse_detail(json.dumps(body).encode())
    assert detail == WorkflowDetail(
        status="failed",
        error_node="KSampler",
        exception_type="ValueError",
        name="secret",
        tags=("sdxl",),
        created_at=1705329000.0,
        updated_at=1705329009.0,
        started_at=1705329005.0,
        completed_at=1705329008.0,
    )
    assert "secret" not in repr(detail)


def test_a_workflow_in_full_with_fields_that_are_wrong() -> None:
    body = b'{"status":"failed","error_node":3,"queue_number":-1,"completed_at":"x"}'
    detail = parse_detail(body)
    assert detail == WorkflowDetail(
        "failed", malformed_fields=("queue_number", "error_node", "completed_at")
    )


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"status":3}', b" " * (MAX_BODY_SIZE + 1)])
def test_what_is_no_workflow(body: bytes) -> None:
    with pytest.raises(MalformedDetailError):
        parse_detail(body)


API_GRAPH = {"3": {"class_type": "LoadImage"}, "17": {"class_type": " KSampler\n", "inputs": {}}}
UI_GRAPH = {"nodes": [None, {"id": 3, "type": "LoadImage"}, {"id": 17, "type": "KSampler"}]}


@pytest.mark.parametrize("named", ["17", 17, " 17 "])
@pytest.mark.parametrize("graph", [API_GRAPH, UI_GRAPH, json.dumps(API_GRAPH)])
def test_the_id_of_the_failed_node_is_looked_up_in_the_graph(named: object, graph: object) -> None:
    detail = failed(named, graph)
    assert (detail.error_node, detail.malformed_fields) == ("KSampler", ())


def test_so_is_the_id_of_a_node_within_a_group() -> None:
    assert failed("12:5", {"12:5": {"class_type": "VAEDecode"}}).error_node == "VAEDecode"


@pytest.mark.parametrize(
    "graph",
    [
        *(None, 7, "17", "{", [], {}, {"17": "KSampler"}, {"17": {"class_type": None}}),
        *({"nodes": {"id": 17}}, {"nodes": [{"id": 18, "type": "KSampler"}]}),
    ],
)
def test_an_id_that_the_graph_does_not_show_is_malformed(graph: object) -> None:
    detail = failed("17", graph)
    assert (detail.error_node, detail.malformed_fields) == (None, ("error_node",))


@pytest.mark.parametrize("named", ["KSampler", "3D Loader", "17b", "Sampler 2"])
def test_a_type_is_taken_as_it_is(named: str) -> None:
    assert failed(named, {named: {"class_type": "Other"}}).error_node == named


@pytest.mark.parametrize("named", [True, 1.5, [], {}])
def test_anything_else_is_malformed(named: object) -> None:
    assert failed(named, API_GRAPH).malformed_fields == ("error_node",)


def failed(error_node: object, graph: object) -> WorkflowDetail:
    """A failed workflow in full."""
    document = {"status": "failed", "error_node": error_node, "workflow_json": graph}
    return parse_detail(json.dumps(document).encode())


@pytest.mark.parametrize(
    "named", ["K\x00S\nampler\u202e", " KSampler ", "x" * 500, "\U0001f3a8\ufffd幅"]
)
def test_names_in_causes_are_cleaned_and_bounded(named: str) -> None:
    document = {"status": "failed", "error_node": named, "exception_type": named}
    detail = parse_detail(json.dumps(document).encode())
    assert detail.error_node == detail.exception_type == clean(named)
    looked_up = failed("17", {"17": {"class_type": named}})
    assert looked_up.error_node == clean(named)


def test_a_name_with_half_a_character_costs_that_field() -> None:
    body = b'{"status":"failed","error_node":"K\\ud83d","exception_type":"ValueError"}'
    detail = parse_detail(body)
    assert (detail.error_node, detail.exception_type) == (None, "ValueError")
    assert detail.malformed_fields == ("error_node",)


UUID = "a1b2c3d4-e5f6-7890-abcd-ef1234567890"


@pytest.mark.parametrize("named", [UUID, UUID.upper(), f"{{{UUID}}}", "17", None, 5])
def test_an_answer_about_the_workflow_that_was_asked_for_is_read(named: object) -> None:
    body = json.dumps({"id": named, "status": "failed"}).encode()
    assert parse_detail(body, about=UUID).status == "failed"


def test_an_answer_about_another_workflow_is_refused() -> None:
    body = json.dumps({"id": UUID.replace("a", "b"), "status": "failed"}).encode()
    assert parse_detail(body).status == "failed"
    with pytest.raises(MalformedDetailError, match="about another workflow"):
        parse_detail(body, about=UUID)
