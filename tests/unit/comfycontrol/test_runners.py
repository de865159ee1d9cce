"""Pages of runners, by example."""

import json
from typing import Any

import pytest

from exporter.comfycontrol.runners import MalformedRunnersError, Runner, RunnerPage, parse_runners


def page(*entries: Any, **fields: Any) -> RunnerPage:
    return parse_runners(json.dumps({"runners": entries, **fields}).encode())


def test_a_page_holds_status_and_tags_and_nothing_of_a_runners_secrets() -> None:
    parsed = page(
        {
            "id": "r1",
            "name": "gpu-1",
            "status": "Active",
            "tags": ["sdxl", " sdxl\n", "a100"],
            "endpoint": "https://secret.example",
            "headers": {"Authorization": "Bearer secret"},
        },
        {"id": "r2", "status": "disabled"},
        total=2,
    )
    runners = (Runner("r1", "active", ("sdxl", "a100")), Runner("r2", "disabled"))
    assert parsed == RunnerPage(runners, entries=2, total=2)
    assert "secret" not in repr(parsed)


@pytest.mark.parametrize("entry", [None, 7, "r", [], {}, {"id": "r"}, {"id": "r", "status": 7}])
def test_an_entry_without_a_status_costs_itself_alone(entry: object) -> None:
    assert page(entry, {"id": "r2", "status": "active"}) == RunnerPage(
        (Runner("r2", "active"),), entries=2, total=None
    )


@pytest.mark.parametrize("fields", [{"runners": None}, {"total": 0}, {"runners": [], "total": 0}])
def test_an_empty_list_has_several_forms(fields: dict[str, Any]) -> None:
    parsed = parse_runners(json.dumps(fields).encode())
    assert (parsed.runners, parsed.entries) == ((), 0)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"runners": 7}', b'{"runners"', b"<html>"])
def test_what_is_no_list_of_runners_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedRunnersError):
        parse_runners(body)
