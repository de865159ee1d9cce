"""How many series a configuration can make."""

from typing import Any

import pytest

from exporter.app.app import App
from exporter.config import Config
from exporter.metrics.catalogue import CATALOGUE
from exporter.metrics.negotiation import Format
from exporter.metrics.series import combinations, most_series, series_at_first, table

TEAM = {"label": "team", "from": "tag", "match": "^team:(.+)", "values": 20, "default": "none"}
TEMPLATE = {"label": "template", "from": "name", "match": "(.+)", "values": 50, "default": "other"}


def config(*names: str, **metrics: Any) -> Config:
    accounts = [{"name": name, "token": "x", "listing": {}} for name in names or ("studio",)]
    return Config.model_validate({"accounts": accounts, "metrics": metrics})


def most(given: Config) -> dict[str, int]:
    return {
        metric.name.removeprefix("comfycontrol_"): series for metric, series in most_series(given)
    }


def test_every_metric_has_a_number() -> None:
    assert most(config()).keys() == {m.name.removeprefix("comfycontrol_") for m in CATALOGUE}


def test_what_there_is_at_first_is_what_a_start_shows() -> None:
    given = config("a", "b", slices=[TEAM])
    app = App(given)
    try:
        shown = app.page.rendered(app.page.read(), Format("text of old")).body.decode()
    finally:
        app.stop(0.0)
    lines = [
        line
        for line in shown.splitlines()
        if line.startswith("comfycontrol_") and "_created{" not in line
    ]
    bound = series_at_first(given)
    assert 0.8 * bound < len(lines) <= bound
    assert f"{bound:,}  of these at first" in table(given)


def test_without_slices() -> None:
    found = most(config("a", "b"))
    assert found["workflows"] == 2 * 5
    assert found["workflow_failures_total"] == 2 * 202 * 52
    assert found["workflow_queue_position"] == 2 * 500
    assert found["workflow_run_duration_seconds"] == 2 * 5 * (14 + 3)
    assert found["request_budget_limit"] == 1
    assert found["runners_by_tag"] == 0
    assert found["exporter_build_info"] == 1


def test_slices_multiply_what_is_of_workflows_and_nothing_else() -> None:
    plain, sliced = most(config()), most(config(slices=[TEAM, TEMPLATE]))
    times = (20 + 2) * (50 + 1)
    for metric in CATALOGUE:
        name = metric.name.removeprefix("comfycontrol_")
        if metric.sliced and name != "workflow_queue_position":
            assert sliced[name] == plain[name] * times, name
        elif name in {"label_overflow_total", "exporter_label_values_cap", "exporter_slice_info"}:
            assert sliced[name] == plain[name] + 2
        else:
            assert sliced[name] == plain[name], name


@pytest.mark.parametrize(("slices", "many"), [([], 1), ([TEAM], 22), ([TEAM, TEMPLATE], 22 * 51)])
def test_combinations(slices: list[dict[str, Any]], many: int) -> None:
    assert combinations(config(slices=slices)) == many


def test_the_table_has_the_largest_first_and_a_sum() -> None:
    lines = table(config(slices=[TEAM])).splitlines()
    assert lines[0].endswith("with 22 combinations of slices in each account:")
    assert lines[1].split() == ["231,088", "comfycontrol_workflow_failures_total"]
    numbers = [int(line.split()[0].replace(",", "")) for line in lines[1:]]
    assert numbers[-2] == sum(numbers[:-2])
