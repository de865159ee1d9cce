"""The dashboards, as far as they can be checked without a program."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from alerts.build import load
from alerts.recordings import FAILURES_OVER, RECORDINGS
from alerts.rules import ALERTS
from dashboards.build import BOARDS, FOLDER, board_files, main
from dashboards.places import HEALTH_UID, OVERVIEW_UID, USAGE_UID
from exporter.metrics.catalogue import CATALOGUE
from tests import promql, runbooks

Json = dict[str, Any]

ROOT = Path(__file__).parents[2]
SCHEMAS = {
    version: json.loads((ROOT / f"tests/grafana/schema-{version}.json").read_text("utf-8"))
    for version in ("11.6", "13.2")
}
"""What the oldest Grafana takes that the boards are for, and the newest."""
FILES = board_files(load())
DOCUMENTS: dict[str, Json] = {name: json.loads(text) for name, text in FILES.items()}
# That a recording rule is there says that somebody evaluates the rules; only *Usage* shows some.
RECORDED = {recording.name: frozenset({"account", "status"}) for recording in RECORDINGS}
KNOWN = {**RECORDED, **promql.exported()}

NOT_SHOWN: dict[str, str] = dict.fromkeys(
    (
        "comfycontrol_exporter_slice_info",
        "comfycontrol_account_last_usable_answer_timestamp_seconds",
        "comfycontrol_runners_last_success_timestamp_seconds",
        "comfycontrol_workflows_failed_in_a_row",
    ),
    "alerts, their texts, runbooks or variables stand on it",
) | {
    "comfycontrol_open_workflows_limit": "reaching it is what matters",
    "comfycontrol_exporter_streams_held_back": "the log names the limit that does it, and the page",
}
"""Metrics of the catalogue that no panel shows, and why."""


def panels(board: Json) -> Iterator[Json]:
    """Every panel but the headings of rows."""
    for panel in board["panels"]:
        yield from (panel,) if panel["type"] != "row" else panel.get("panels", ())


PANELS = [
    pytest.param(panel, id=f"{board['uid']}: {panel['title']}")
    for board in DOCUMENTS.values()
    for panel in panels(board)
]
TARGETS = [
    pytest.param(panel, target, id=f"{board['uid']}: {panel['title']} {target['refId']}")
    for board in DOCUMENTS.values()
    for panel in panels(board)
    for target in panel["targets"]
]

every_board = pytest.mark.parametrize("name", DOCUMENTS)
USAGE = f"{USAGE_UID}.json"
"""Looks back at weeks, and nobody is paged by it."""
OVERVIEW = f"{OVERVIEW_UID}.json"
boards_of_the_present = pytest.mark.parametrize("name", sorted(DOCUMENTS.keys() - {USAGE}))
every_panel = pytest.mark.parametrize("panel", PANELS)


@every_board
def test_the_json_is_the_output_of_its_source(name: str) -> None:
    committed = (FOLDER / name).read_text("utf-8")

    assert committed == FILES[name], "python -m dashboards.build writes it"


def test_no_board_is_left_over() -> None:
    assert {path.name for path in FOLDER.glob("*.json")} == set(BOARDS)


def test_colours_turn_at_thresholds_of_ones_own(tmp_path: Path) -> None:
    thresholds = load()
    thresholds["alerts"]["ComfyControlFailureRatioHigh"]["fast"]["above"] = 0.4
    mine = tmp_path / "mine.yml"
    mine.write_text(yaml.safe_dump(thresholds))

    assert main([f"--thresholds={mine}", f"--output={tmp_path}"]) == 0

    board = json.loads((tmp_path / "comfycontrol-overview.json").read_text("utf-8"))
    (panel,) = [p for p in panels(board) if p["title"] == "Failure ratio"]
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    assert [step["value"] for step in steps] == [None, 0.2, 0.4]
    assert {path.name for path in tmp_path.glob("*.json")} == set(BOARDS)


def test_wrong_thresholds_make_no_boards(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    thresholds = load()
    thresholds["objective"]["share"] = 2
    mine = tmp_path / "mine.yml"
    mine.write_text(yaml.safe_dump(thresholds))

    assert main([f"--thresholds={mine}", f"--output={tmp_path}"]) == 1

    assert "objective.share is 2; it must be" in capsys.readouterr().err
    assert not list(tmp_path.glob("*.json"))


def test_the_failure_ratio_is_that_of_the_alert_whose_line_is_drawn() -> None:
    board = DOCUMENTS["comfycontrol-overview.json"]
    (panel,) = [p for p in panels(board) if p["title"] == "Failure ratio"]

    for target in panel["targets"]:
        assert set(re.findall(r"\[(\w+)\]", target["expr"])) == {FAILURES_OVER, "6h"}
        assert "sum by (account)" in target["expr"]
    (alert,) = [a for a in ALERTS if a.name == "ComfyControlFailureRatioHigh"]
    assert f"ratio_increase{FAILURES_OVER} >" in alert.rules[0].expr
    assert "ratio_increase6h >" in alert.rules[1].expr


# Grafana's own schema -------------------------------------------------------------------------


@cache
def schema_of(version: str, *path: str) -> jsonschema.Draft7Validator:
    """A part of Grafana's schema, with everything that it refers to."""
    definitions = SCHEMAS[version]["definitions"]
    part: Json = definitions["Schemas"]
    for key in path:
        part = part["properties"][key]
    return jsonschema.Draft7Validator({"definitions": definitions, **part})


@cache
def field_of(version: str) -> jsonschema.Draft7Validator:
    """What a field's options are, whatever the panel."""
    definitions = SCHEMAS[version]["definitions"]
    return jsonschema.Draft7Validator({**definitions["FieldConfig"], "definitions": definitions})


every_version = pytest.mark.parametrize("version", SCHEMAS)

EVENT_TEXTS = ("titleFormat", "textFormat", "tagKeys")


def without_extras(board: Json) -> Json:
    """A board without the few things that its schema does not know, and Grafana does."""
    board = json.loads(json.dumps(board))
    for annotation in board["annotations"]["list"]:
        # The schema knows annotations of Grafana itself alone; Prometheus' have their expression
        # and texts here, as Grafana writes them.
        for extra in ("expr", *EVENT_TEXTS):
            annotation.pop(extra, None)
    for variable in board["templating"]["list"]:
        # Of interval variables; the builder gives them to every kind, and Grafana leaves them be.
        for extra in ("auto", "auto_min", "auto_count"):
            variable.pop(extra, None)
    return board


@every_version
@every_board
def test_a_board_is_what_grafana_takes(name: str, version: str) -> None:
    schema_of(version, "dashboard").validate(without_extras(DOCUMENTS[name]))


@every_version
@every_panel
def test_a_panels_options_are_what_its_type_takes(panel: Json, version: str) -> None:
    schema_of(version, panel["type"], "options").validate(panel.get("options", {}))
    custom = panel["fieldConfig"]["defaults"].get("custom", {})
    if custom or panel["type"] != "stat":
        schema_of(version, panel["type"], "custom").validate(custom)


@every_version
@every_panel
def test_overrides_are_of_options_that_there_are(panel: Json, version: str) -> None:
    overrides = panel["fieldConfig"].get("overrides", [])
    for override in (p for o in overrides for p in o["properties"]):
        option = override["id"]
        if option.startswith("custom."):
            part = {option.removeprefix("custom."): override["value"]}
            schema_of(version, panel["type"], "custom").validate(part)
        else:
            field_of(version).validate({option: override["value"]})


@every_version
def test_the_schema_finds_what_is_wrong(version: str) -> None:
    board = without_extras(DOCUMENTS["comfycontrol-overview.json"])
    board["panels"][0]["fieldConfig"]["defaults"]["units"] = "s"

    with pytest.raises(jsonschema.ValidationError, match="is not valid under any"):
        schema_of(version, "dashboard").validate(board)
    with pytest.raises(jsonschema.ValidationError, match="is not one of"):
        schema_of(version, "stat", "options").validate({"colorMode": "backgrond"})


def test_the_newest_schema_has_no_footer_of_tables() -> None:
    """It was there once, and the builder still writes it."""
    with pytest.raises(jsonschema.ValidationError, match="footer"):
        schema_of("13.2", "table", "options").validate({"footer": {"show": False, "reducer": []}})


# A board --------------------------------------------------------------------------------------


@every_board
def test_a_board_works_wherever_it_is_loaded(name: str) -> None:
    board = DOCUMENTS[name]

    assert board["uid"] == name.removesuffix(".json")
    assert "id" not in board, "Grafana gives it"
    assert board["timezone"] == "utc"
    since = "now-7d" if name == USAGE else "now-6h"
    assert (board["time"]["from"], board["time"]["to"]) == (since, "now")
    # No moment of the day on which it was made, in any notation.
    assert not re.search(r"\b\d{4}-\d\d-\d\d|\b1\d{9,12}\b", json.dumps(board))
    sources = set(re.findall(r'"uid": "([^"]+)"', json.dumps(board))) - {board["uid"]}
    assert sources == {"${datasource}", "-- Grafana --"}
    # Those that Grafana ships.
    assert {p["type"] for p in panels(board)} <= {
        "timeseries", "stat", "table", "heatmap", "state-timeline",
    }  # fmt: skip


@every_board
def test_variables_are_the_source_and_the_accounts(name: str) -> None:
    variables = {v["name"]: v for v in DOCUMENTS[name]["templating"]["list"]}

    own = {USAGE: ["by"], OVERVIEW: ["by", "window"]}.get(name, ["window"])
    assert list(variables) == ["datasource", "account", *own, "runbooks", "exporter_url"]
    assert variables["datasource"]["type"] == "datasource"
    assert variables["datasource"]["query"] == "prometheus"
    account = variables["account"]
    assert (account["multi"], account["includeAll"], account["allValue"]) == (True, True, ".*")
    assert account["current"]["value"] == "$__all"
    of = re.fullmatch(r"label_values\((\w+), (\w+)\)", account["query"]["query"])
    assert of is not None
    assert of[2] in KNOWN[of[1]]


@every_board
def test_ids_are_unique(name: str) -> None:
    counts = Counter(panel["id"] for panel in DOCUMENTS[name]["panels"])

    assert [id_ for id_, count in counts.items() if count > 1] == []


@every_board
def test_no_panel_lies_on_another(name: str) -> None:
    def cells(panel: Json) -> set[tuple[int, int]]:
        at = panel["gridPos"]
        return {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}

    placed = DOCUMENTS[name]["panels"]
    for one, other in combinations(placed, 2):
        assert not cells(one) & cells(other), (one["title"], other["title"])
    assert all(p["gridPos"]["x"] + p["gridPos"]["w"] <= 24 for p in placed)


def test_the_boards_link_to_each_other() -> None:
    for board in DOCUMENTS.values():
        others = {OVERVIEW_UID, HEALTH_UID, USAGE_UID} - {board["uid"]}
        assert {f"/d/{uid}" for uid in others} <= {link["url"] for link in board["links"]}


@pytest.mark.parametrize("name", [OVERVIEW, USAGE])
def test_a_board_is_by_the_first_slice_and_by_the_account_without_any(name: str) -> None:
    (by,) = [v for v in DOCUMENTS[name]["templating"]["list"] if v["name"] == "by"]
    query = re.fullmatch(r"query_result\((.*)\)", by["query"]["query"])

    assert query is not None
    assert promql.labels_of(query[1], KNOWN) == {"slice"}
    assert (by["sort"], by["regex"]) == (0, '/slice="([^"]+)"/'), "slices stand before accounts"


@every_board
def test_links_lead_somewhere(name: str) -> None:
    board = DOCUMENTS[name]
    urls = set(re.findall(r'"url": "([^"]*)"', json.dumps(board)))
    # The name in this cell is an alert's, without what all names begin with.
    urls -= {"${runbooks}/ComfyControl${__value.raw}.md"}
    urls -= {url for url in urls if url.startswith("${exporter_url}/workflows/")}
    assert all(alert.name.startswith("ComfyControl") for alert in ALERTS)
    runbooks = {url for url in urls if url.startswith("${runbooks}/")}
    names = {url.removeprefix("${runbooks}/").removesuffix(".md") for url in runbooks}

    assert names <= {alert.name for alert in ALERTS}
    assert all((ROOT / "docs/runbooks" / f"{alert}.md").is_file() for alert in names)
    others = {url.partition("?")[0] for url in urls - runbooks}
    assert others <= {
        "${runbooks}",
        *(f"/d/{uid}" for uid in (OVERVIEW_UID, HEALTH_UID, USAGE_UID)),
    }


@pytest.mark.parametrize(
    ("title", "value"),
    [
        ("Queued workflows", "${__value.raw}"),
        ("Queue positions over time", "${__field.labels.workflow_id}"),
    ],
)
def test_a_workflow_leads_to_its_page_on_the_exporter(title: str, value: str) -> None:
    (panel,) = [p for p in panels(DOCUMENTS[OVERVIEW]) if p["title"] == title]

    assert f'"${{exporter_url}}/workflows/{value}"' in json.dumps(panel)
    variables = {v["name"]: v for v in DOCUMENTS[OVERVIEW]["templating"]["list"]}
    assert variables["exporter_url"]["query"] == load()["settings"]["exporter"]
    assert "/workflows/{workflow_id:path}" in (ROOT / "exporter/web/html/routes.py").read_text()


def test_exemplars_lead_there_as_well_where_the_example_is_used() -> None:
    example = ROOT / "examples/monitoring/grafana/datasources.yml"
    (source,) = yaml.safe_load(example.read_text("utf-8"))["datasources"]
    (link,) = source["jsonData"]["exemplarTraceIdDestinations"]

    assert link["name"] == "workflow_id"
    # Doubled: Grafana puts environment variables in for single ones.
    assert link["url"] == load()["settings"]["exporter"] + "/workflows/$${__value.raw}"


# A panel --------------------------------------------------------------------------------------


@every_panel
def test_a_panel_says_what_it_is(panel: Json) -> None:
    assert panel["title"]
    assert len(panel["description"]) > 40, "what to look for"
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    if panel["type"] == "heatmap":
        return  # its colours are a scale
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    assert steps[0]["value"] is None, "the least has no bound"


@every_panel
def test_no_data_means_something(panel: Json) -> None:
    """Every panel says what it means that there is none, in place of Grafana's `No data`."""
    assert panel["fieldConfig"]["defaults"]["noValue"].lower() not in {"", "no data"}


@boards_of_the_present
def test_what_fires_comes_first(name: str) -> None:
    first, second = list(panels(DOCUMENTS[name]))[:2]

    assert (first["title"], second["title"]) == ("Alerts", "What fires")
    assert first["gridPos"]["y"] == second["gridPos"]["y"] == 0
    assert all("ALERTS" in target["expr"] for p in (first, second) for target in p["targets"])
    # A page's link chooses an account, and another one may burn.
    assert not re.search(r"ALERTS\w*\{[^}]*\$account", json.dumps([first, second]))
    links = [p["value"] for o in second["fieldConfig"]["overrides"] for p in o["properties"]]
    assert "${runbooks}/ComfyControl${__value.raw}.md" in json.dumps(links)


def test_beside_it_is_what_is_about_to_fire() -> None:
    _, _, third, *_ = panels(DOCUMENTS["comfycontrol-overview.json"])

    assert third["title"] == "Stands still"
    assert third["gridPos"]["y"] == 0


NOT_OF_ACCOUNTS = {
    "Open workflows": "a sum by status; what is wrong with one account is beside it",
    "Alerts": "counts",
    "Exporters": "of exporters, which are named",
    "Budget used": "of addresses, the worst of which is named",
    "Refused in 24 h": "any is worth a look, and the runbook tells whose",
    "Faults in 24 h": "any is worth a look, and the runbook tells whose",
}


@boards_of_the_present
def test_a_figure_over_several_accounts_is_the_worst_of_them_and_named(name: str) -> None:
    board = DOCUMENTS[name]
    below = min(p["gridPos"]["y"] for p in board["panels"] if p["type"] == "row")
    for panel in (p for p in panels(board) if p["gridPos"]["y"] < below and p["type"] == "stat"):
        if panel["title"] not in NOT_OF_ACCOUNTS:
            named = [
                target
                for target in panel["targets"]
                if re.search(r"\{\{(account|whose)\}\}", target.get("legendFormat", ""))
            ]
            assert named, panel["title"]
            worst = r"(label_replace\()?(top|bottom)k\(\d, "
            assert all(re.match(worst, target["expr"]) for target in named), panel["title"]


def test_a_tile_is_green_where_nothing_fires_and_nowhere_else() -> None:
    """A row of green tiles would say that all is well while runners stand still."""
    for board in DOCUMENTS.values():
        for panel in (p for p in panels(board) if p["type"] == "stat"):
            looks = json.dumps([panel["fieldConfig"], panel["options"]])
            assert looks.count('"green"') == (panel["title"] == "Alerts"), panel["title"]


def test_a_colour_means_the_same_on_both_boards() -> None:
    """Of what has a name of its own; what an account is called decides on its colour everywhere."""
    colours: dict[str, set[str]] = {}
    for board in DOCUMENTS.values():
        for panel in panels(board):
            for override in panel["fieldConfig"].get("overrides", []):
                if override["matcher"]["id"] != "byName" or panel["type"] == "stat":
                    continue
                for option in (o for o in override["properties"] if o["id"] == "color"):
                    if "fixedColor" in option["value"]:
                        name = str(override["matcher"]["options"])
                        colours.setdefault(name, set()).add(option["value"]["fixedColor"])

    assert {name: seen for name, seen in colours.items() if len(seen) > 1} == {}
    for name, (colour,) in colours.items():
        if colour == "red":
            assert name in {"failed", "failed, median", "refused", "forbidden", "503"}


def bars(panel: Json) -> bool:
    style: str | None = panel["fieldConfig"]["defaults"].get("custom", {}).get("drawStyle")
    return style == "bars"


@pytest.mark.parametrize(
    "title",
    [
        "Outcomes",
        "Queue positions when joining",
        "Failures by node type",
        "Failures by exception type",
    ],
)
def test_what_happens_now_and_then_is_counted_in_bars(title: str) -> None:
    (panel,) = [p for p in panels(DOCUMENTS["comfycontrol-overview.json"]) if p["title"] == title]

    assert bars(panel)
    assert panel["interval"] == "5m"
    assert panel["maxDataPoints"] <= 100, "a bar is some pixels wide, whatever the range"
    assert "sum" in panel["options"]["legend"]["calcs"]


@every_panel
def test_bars_are_counts_and_legends_have_no_means(panel: Json) -> None:
    """A mean of what is there only since its first failure is above that of the whole."""
    assert "mean" not in panel.get("options", {}).get("legend", {}).get("calcs", [])
    if bars(panel) and "increase1h" not in json.dumps(panel["targets"]):
        assert all("$__interval_ms / 1000" in target["expr"] for target in panel["targets"])


def test_places_are_not_interpolated() -> None:
    for board in DOCUMENTS.values():
        for panel in panels(board):
            for target in panel["targets"]:
                if "histogram_quantile" in target["expr"]:
                    assert "queue_position" not in target["expr"], panel["title"]


@every_panel
def test_no_tick_of_a_clock_repeats(panel: Json) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    if panel["type"] == "timeseries" and defaults["unit"] == "dthms":
        assert defaults["custom"]["axisSoftMax"] >= 10, "ticks would be parts of a second"


@pytest.mark.parametrize(("panel", "target"), TARGETS)
def test_recording_rules_are_asked_by_usage_alone(panel: Json, target: Json) -> None:
    for name in promql.metrics_of(promql.filled(target["expr"])) & RECORDED.keys():
        if name.endswith(":increase1h") and panel in panels(DOCUMENTS[USAGE]):
            # Whole hours, each once.
            assert re.search(rf"{name}\{{[^}}]*\}}\[\$__(range|interval):1h\]", target["expr"])
            continue
        assert panel["title"] == "Alerts"
        assert f"count(last_over_time({name}[15m]))" in target["expr"]


@every_panel
def test_what_fails_leads_to_a_runbook(panel: Json) -> None:
    asked = " ".join(target["expr"] for target in panel["targets"])
    if "comfycontrol_workflow_failures_total" in asked or 'status="failed"' in asked:
        assert any("${runbooks}" in link["url"] for link in panel["links"])


EXEMPLARY = {metric.name for metric in CATALOGUE if metric.exemplars}


@pytest.mark.parametrize(
    "title",
    [
        "Time to start",
        "Time to start, quantiles",
        "Outcomes",
        "Run duration",
        "Run duration, quantiles by outcome",
        "Failures by node type",
        "Failures by exception type",
    ],
)
def test_exemplars_are_asked_for(title: str) -> None:
    board = DOCUMENTS["comfycontrol-overview.json"]
    (panel,) = [p for p in panels(board) if p["title"] == title]

    assert [target for target in panel["targets"] if target.get("exemplar")]


@pytest.mark.parametrize(("panel", "target"), TARGETS)
def test_exemplars_are_asked_for_where_there_are_some(panel: Json, target: Json) -> None:
    asked = promql.metrics_of(promql.filled(target["expr"]))
    if target.get("exemplar"):
        assert {name.removesuffix("_bucket") for name in asked} <= EXEMPLARY
        assert "exemplars" in panel["description"] or "quantiles" in panel["title"]


@pytest.mark.parametrize("runbook", runbooks.names())
def test_a_runbook_names_panels_that_there_are(runbook: str) -> None:
    named = runbooks.panels_in(runbooks.text_of(runbook))

    assert named <= {panel["title"] for board in DOCUMENTS.values() for panel in panels(board)}


def test_panels_in_runbooks_are_found() -> None:
    text = "Look at the panel *A b*, *not here*, and the\n  panels *C*, *D* and *E, f*."

    assert runbooks.panels_in(text) == {"A b", "C", "D", "E, f"}
    assert runbooks.panels_in(runbooks.text_of("ComfyControlNodeTypeFailing"))


# An expression --------------------------------------------------------------------------------


@pytest.mark.parametrize(("panel", "target"), TARGETS)
def test_an_expression_names_what_there_is(panel: Json, target: Json) -> None:
    labels = promql.labels_of(promql.filled(target["expr"]), KNOWN)

    shown = set(re.findall(r"\{\{(\w+)\}\}", target.get("legendFormat", "")))
    assert shown <= labels, "the legend has a label that the result has not"
    if panel["type"] == "heatmap":
        assert "le" in labels
    if panel["type"] == "table":
        (chosen,) = [t for t in panel["transformations"] if t["id"] == "filterFieldsByName"]
        values = {f"Value #{t['refId']}" for t in panel["targets"]} | {"Value"}
        everywhere = labels.union(
            *(promql.labels_of(promql.filled(t["expr"]), KNOWN) for t in panel["targets"])
        )
        assert set(chosen["options"]["include"]["names"]) <= everywhere | values


SLICED = {
    name: labels | {"team"}
    for metric in CATALOGUE
    if metric.sliced
    for name, labels in KNOWN.items()
    if name.removesuffix("_bucket").removesuffix("_count").removesuffix("_sum") == metric.name
}


@pytest.mark.parametrize(("panel", "target"), TARGETS)
def test_an_expression_can_be_by_a_slice(panel: Json, target: Json) -> None:
    recorded = {name: KNOWN[name] | {"team"} for name in RECORDED}
    known = {**KNOWN, **SLICED, **recorded}
    labels = promql.labels_of(promql.filled(target["expr"], by="team"), known)

    if "{{whose}}" in target.get("legendFormat", ""):
        assert {"team", "whose"} <= labels, panel["title"]


def test_without_slices_tiles_are_by_account() -> None:
    """One that has none sees what it saw before there were slices."""
    board = DOCUMENTS[OVERVIEW]
    below = min(p["gridPos"]["y"] for p in board["panels"] if p["type"] == "row")
    for panel in (p for p in panels(board) if p["gridPos"]["y"] < below):
        for target in panel["targets"]:
            if "{{whose}}" in target.get("legendFormat", ""):
                expression = promql.filled(target["expr"], by="account")
                assert "account" in promql.labels_of(expression, KNOWN), panel["title"]


@every_board
def test_expressions_of_annotations_name_what_there_is(name: str) -> None:
    for annotation in DOCUMENTS[name]["annotations"]["list"]:
        if "expr" in annotation:
            labels = promql.labels_of(promql.filled(annotation["expr"]), KNOWN)
            title, text, tags = (annotation[key] for key in EVENT_TEXTS)
            assert title
            assert set(re.findall(r"\{\{(\w+)\}\}", title + text)) | set(tags.split(",")) <= labels


@pytest.mark.parametrize(("panel", "target"), TARGETS)
def test_an_account_is_always_the_chosen_one(panel: Json, target: Json) -> None:
    """A metric with accounts shows those that were chosen, on every panel."""
    expression = target["expr"]
    for name in promql.metrics_of(promql.filled(expression)):
        if "account" in KNOWN[name] and not name.startswith("ALERTS") and name not in RECORDED:
            uses = re.findall(rf"\b{name}\b(\{{[^}}]*\}})?", expression)
            assert all('account=~"$account"' in use for use in uses), name


def test_every_metric_is_on_a_board() -> None:
    asked = {
        name
        for board in DOCUMENTS.values()
        for panel in panels(board)
        for target in panel["targets"]
        for name in promql.metrics_of(promql.filled(target["expr"]))
    }
    families = {re.sub("_(bucket|count|sum)$", "", name) for name in asked}

    assert {metric.name for metric in CATALOGUE} - families == set(NOT_SHOWN)


# The check itself -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "fault"),
    [
        ("sum(", "unclosed left parenthesis"),
        ("comfycontrol_workflow", "there is no metric comfycontrol_workflow,"),
        ("comfycontrol_workflow_run_duration_seconds", "there is no metric"),
        ('comfycontrol_workflows{state="queued"}', "comfycontrol_workflows has no label state"),
        ("sum by (stauts) (comfycontrol_workflows)", "sum over what has no label stauts"),
        (
            "sum by (account) (comfycontrol_workflows) / on (status) comfycontrol_workflows",
            "left of / there is no label status",
        ),
        (
            "comfycontrol_streams and on (address) comfycontrol_request_budget_used",
            "left of and there is no label address",
        ),
        (
            "comfycontrol_streams * on (account) group_left (reason) comfycontrol_account_up",
            "right of * there is no label reason",
        ),
        (
            "histogram_quantile(0.5, sum by (account) (comfycontrol_streams))",
            "histogram_quantile over what has no label le",
        ),
        (
            'label_replace(sum(comfycontrol_streams), "a", "$1", "account", "(.*)")',
            "label_replace from what has no label account",
        ),
        ('{account="studio"}', "a selector without a metric's name"),
    ],
)
def test_what_is_wrong_is_found(expression: str, fault: str) -> None:
    with pytest.raises(promql.WrongExpressionError, match=re.escape(fault)):
        promql.labels_of(expression, KNOWN)


def test_labels_are_followed_through_an_expression() -> None:
    def labels(expression: str) -> set[str]:
        return set(promql.labels_of(expression, KNOWN))

    streams = {"account", "job", "instance"}
    assert labels("comfycontrol_streams") == streams
    assert labels("topk(3, comfycontrol_streams)") == streams
    assert labels("sum without (job) (comfycontrol_streams)") == {"account", "instance"}
    assert labels("sum(comfycontrol_streams)") == set()
    assert labels("max_over_time(timestamp(comfycontrol_streams)[1h:1m])") == streams
    assert labels("time() - comfycontrol_streams") == streams
    assert labels("sum(comfycontrol_streams) or on () comfycontrol_workflows") == {
        *streams, "status",
    }  # fmt: skip
    assert labels(
        "comfycontrol_streams * on (job, instance) group_left (version)"
        " comfycontrol_exporter_build_info"
    ) == {*streams, "version"}
    assert labels(
        'label_replace(sum(comfycontrol_streams), "node_type", "nothing failed", "", "")'
    ) == {"node_type"}


def test_recording_rules_can_be_used_once_they_are_made(tmp_path: Path) -> None:
    rules = tmp_path / "recording.yml"
    rules.write_text(
        """
        groups:
          - name: any
            rules:
              - {record: "account:streams:sum", expr: sum by (account) (comfycontrol_streams)}
              - {record: "streams:max", expr: "max(account:streams:sum)", labels: {kind: any}}
        """
    )

    made = promql.recorded(rules, KNOWN)

    assert made == {"account:streams:sum": {"account"}, "streams:max": {"kind"}}
    assert promql.labels_of("account:streams:sum > 1", {**KNOWN, **made}) == {"account"}


@pytest.mark.parametrize(
    ("expression", "without"),
    [
        ("sum(up) > 3", "sum(up)"),
        ("up > bool 3", "up > bool 3"),
        ('absent(up{job="a"} == 1)', 'up{job="a"}'),
        ("up > 1 unless on (job) process_open_fds > 2", "up"),
        (
            "max(up == 1) > 0 and on (job) process_open_fds > 2",
            "max(up) and on (job) process_open_fds",
        ),
        ("up > on (job) (2 * process_open_fds)", "up and on (job) (2 * process_open_fds)"),
    ],
)
def test_what_an_alert_looks_at_is_told_from_its_thresholds(expression: str, without: str) -> None:
    def one_line(text: str) -> str:
        return re.sub(r"\s+", " ", text).replace("(up)", "up").replace("( ", "(").strip()

    loosened = one_line(promql.unfiltered(expression).replace("((", "(").replace("))", ")"))
    assert loosened.replace("(", "").replace(")", "") == one_line(without).replace("(", "").replace(
        ")", ""
    )


def test_every_side_of_an_alert_is_found() -> None:
    expression = "up > 1 and on (job) process_open_fds == 0 unless process_max_fds > 5"

    assert [re.sub(r"\s+", " ", side) for side in promql.sides(expression)] == [
        "up and on (job) process_open_fds", "process_max_fds", "up", "process_open_fds",
    ]  # fmt: skip
