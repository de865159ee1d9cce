"""Rules, runbooks and what they name: complete, and nothing that is not there."""

import ast
import copy
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from alerts import build, needed, recordings, rules
from alerts.build import HelmTemplate, ThresholdsError, Values
from exporter.config import Config
from exporter.metrics.catalogue import CATALOGUE, Metric
from tests import promql, runbooks

ROOT = Path(__file__).parents[2]
RULES = ROOT / "alerts"
THRESHOLDS = build.load()
NAMES = [alert.name for alert in rules.ALERTS]


def with_everything_enabled() -> dict[str, Any]:
    thresholds = copy.deepcopy(THRESHOLDS)
    for alert in thresholds["alerts"].values():
        alert["enabled"] = True
    thresholds["settings"]["slice"] = "team"
    return thresholds


def rules_in(text: str) -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]


ALERTING = rules_in(build.alerting_rules(Values(with_everything_enabled())))


@cache
def known() -> promql.Known:
    """Every series that there is: of the exporter, and of the recording rules."""
    exported = {**promql.exported(), **promql.native()}
    return {**exported, **promql.recorded(ROOT / "alerts" / "recording.yml", exported)}


@cache
def known_with_teams() -> promql.Known:
    """The same, where a slice is called `team`."""
    sliced = {metric.name for metric in CATALOGUE if metric.sliced}
    return {
        name: labels | {"team"} if re.sub("_(bucket|count|sum)$", "", name) in sliced else labels
        for name, labels in known().items()
    }


@cache
def said_by_the_exporter() -> frozenset[str]:
    """Every text in its code, the messages of its log among them."""
    return frozenset(
        node.value
        for path in (ROOT / "exporter").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


# What is committed ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["recording.yml", "alerts.yml"])
def test_rule_files_are_what_the_source_makes(name: str) -> None:
    made = build.rule_files(Values(THRESHOLDS))[name]
    assert (ROOT / "alerts" / name).read_text("utf-8") == made, "run `make alerts`"


def test_the_page_is_what_the_source_makes() -> None:
    committed = build.PAGE.read_text("utf-8")
    assert committed == build.page(committed, THRESHOLDS), "run `make alerts`"
    for name in NAMES:
        assert f"[{name}](runbooks/{name}.md)" in committed


def test_the_command_writes_rule_files_elsewhere(tmp_path: Path) -> None:
    thresholds = copy.deepcopy(THRESHOLDS)
    thresholds["alerts"]["ComfyControlFailureRatioHigh"]["fast"]["above"] = 0.333
    mine = tmp_path / "mine.yml"
    mine.write_text(yaml.safe_dump(thresholds))
    assert build.main(["--thresholds", str(mine), "--output", str(tmp_path)]) == 0
    committed = (ROOT / "alerts" / "alerts.yml").read_text("utf-8").splitlines()
    written = (tmp_path / "alerts.yml").read_text("utf-8").splitlines()
    # One number, one line.
    assert [line for line in written if line not in committed] == [
        "          account:comfycontrol_workflows_failed:ratio_increase30m > 0.333"
    ]


# Thresholds -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "value", "fault"),
    [
        ("objective.share", 1.5, "objective.share is 1.5; it must be a number between 0 and 1"),
        (
            "alerts.ComfyControlFailureRatioHigh.fast.above",
            "0.2",
            (
                "alerts.ComfyControlFailureRatioHigh.fast.above is '0.2'; it must be "
                "a number that is not negative"
            ),
        ),
        (
            "alerts.ComfyControlFailureRatioHigh.fast.for",
            300,
            "alerts.ComfyControlFailureRatioHigh.fast.for is 300; it must be a duration such as 5m",
        ),
        (
            "alerts.ComfyControlFailureRatioHigh.fast.severity",
            "page",
            (
                "alerts.ComfyControlFailureRatioHigh.fast.severity is 'page'; it must be "
                "one of critical, warning, info"
            ),
        ),
        (
            "alerts.ComfyControlFailureRatioHigh.enabled",
            "no",
            "alerts.ComfyControlFailureRatioHigh.enabled is 'no'; it must be true or false",
        ),
        ("alerts.ComfyControlTypo", 1, "alerts.ComfyControlTypo is not known"),
        ("settings.job", "", "settings.job is ''; it must be text"),
        (
            "settings.slice",
            "my team",
            "settings.slice is 'my team'; it must be the label of a slice, or empty",
        ),
        (
            "alerts.ComfyControlTimeToStartTooLong.fast.burn",
            20,
            (
                "alerts.ComfyControlTimeToStartTooLong.fast.burn can never be reached: "
                "20 times 0.05 is more than everything"
            ),
        ),
        (
            "alerts.ComfyControlNothingFinished.from_hour",
            25,
            (
                "alerts.ComfyControlNothingFinished.from_hour is 25; it must be "
                "a whole number from 0 to 22"
            ),
        ),
        (
            "alerts.ComfyControlNothingFinished.first_day",
            1.5,
            (
                "alerts.ComfyControlNothingFinished.first_day is 1.5; it must be "
                "a whole number from 0 to 6"
            ),
        ),
        (
            "alerts.ComfyControlNothingFinished.from_hour",
            22,
            (
                "alerts.ComfyControlNothingFinished.to_hour is 18; it must be at least two hours "
                "after from_hour (22): usual hours over midnight cannot be said"
            ),
        ),
        (
            "alerts.ComfyControlNothingFinished.to_hour",
            10,
            (
                "alerts.ComfyControlNothingFinished.to_hour is 10; it must be at least two hours "
                "after from_hour (9): usual hours over midnight cannot be said"
            ),
        ),
        (
            "alerts.ComfyControlNothingFinished.first_day",
            6,
            (
                "alerts.ComfyControlNothingFinished.last_day is 5; it must not be before first_day "
                "(6): day 0 is Sunday, and days over Saturday cannot be said"
            ),
        ),
    ],
)
def test_wrong_thresholds_are_refused_by_name(path: str, value: object, fault: str) -> None:
    thresholds = copy.deepcopy(THRESHOLDS)
    *sections, key = path.split(".")
    place = thresholds
    for section in sections:
        place = place[section]
    place[key] = value
    with pytest.raises(ThresholdsError) as error:
        build.check(thresholds)
    assert str(error.value) == fault


def test_a_missing_threshold_is_refused_by_name() -> None:
    thresholds = copy.deepcopy(THRESHOLDS)
    del thresholds["alerts"]["ComfyControlRunTooLong"]["times_usual"]
    with pytest.raises(ThresholdsError, match=r"^alerts\.ComfyControlRunTooLong\.times_usual is m"):
        build.check(thresholds)


def test_a_misspelt_alert_is_said_once_with_the_name_that_is_near() -> None:
    thresholds = copy.deepcopy(THRESHOLDS)
    alerts = thresholds["alerts"]
    alerts["ComfyControlFailureRateHigh"] = alerts.pop("ComfyControlFailureRatioHigh")
    with pytest.raises(ThresholdsError) as error:
        build.check(thresholds)
    assert str(error.value) == (
        "alerts.ComfyControlFailureRateHigh is not known; "
        "did you mean alerts.ComfyControlFailureRatioHigh?"
    )


def test_two_misspelt_names_are_told_apart() -> None:
    thresholds = copy.deepcopy(THRESHOLDS)
    thresholds["objectives"] = thresholds.pop("objective")
    burns = thresholds["alerts"]["ComfyControlTimeToStartTooLong"]
    burns["slow_"] = burns.pop("slow")
    with pytest.raises(ThresholdsError) as error:
        build.check(thresholds)
    where = "alerts.ComfyControlTimeToStartTooLong"
    assert str(error.value).splitlines() == [
        f"{where}.slow_ is not known; did you mean {where}.slow?",
        "objectives is not known; did you mean objective?",
    ]


def test_an_alert_that_is_missing_whole_is_said_once() -> None:
    thresholds = copy.deepcopy(THRESHOLDS)
    del thresholds["alerts"]["ComfyControlFailureRatioHigh"]
    with pytest.raises(ThresholdsError) as error:
        build.check(thresholds)
    assert str(error.value) == "alerts.ComfyControlFailureRatioHigh is missing"


def test_an_alert_cannot_be_turned_off_by_a_value_of_its_own() -> None:
    thresholds = copy.deepcopy(THRESHOLDS)
    thresholds["alerts"]["ComfyControlFailureRatioHigh"] = False
    with pytest.raises(ThresholdsError) as error:
        build.check(thresholds)
    assert str(error.value) == (
        "alerts.ComfyControlFailureRatioHigh is False; it must be a section with keys"
    )


@pytest.mark.parametrize(
    ("within", "nearest"),
    [(400, "300 and 600"), (0.1, "0.5"), (20_000, "14400"), (0.75, "0.5 and 1")],
)
def test_an_objective_that_no_bucket_has_is_warned_of(
    within: float, nearest: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    thresholds = copy.deepcopy(THRESHOLDS)
    thresholds["objective"]["starts_within"] = within
    mine = tmp_path / "mine.yml"
    mine.write_text(yaml.safe_dump(thresholds))
    # Buckets may have been changed, so the rules are written all the same.
    assert build.main(["--thresholds", str(mine), "--output", str(tmp_path)]) == 0
    assert f'le=~"{within}(' in (tmp_path / "recording.yml").read_text("utf-8")
    said = capsys.readouterr().err
    assert said.startswith(f"{mine}: warning: objective.starts_within is {within:g}, ")
    assert f"the nearest: {nearest}. " in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(("within", "enabled"), [(600, True), (300.0, True), (400, False)])
def test_an_objective_that_can_be_measured_or_is_not_asked_for_is_not_warned_of(
    within: float, enabled: bool
) -> None:
    thresholds = copy.deepcopy(THRESHOLDS)
    thresholds["objective"]["starts_within"] = within
    thresholds["alerts"]["ComfyControlTimeToStartTooLong"]["enabled"] = enabled
    assert list(build.warnings(thresholds)) == []


def test_the_objective_is_a_bound_of_the_histogram() -> None:
    config = Config.model_validate({"accounts": [{"name": "a", "token": "t", "listing": {}}]})
    assert THRESHOLDS["objective"]["starts_within"] in config.metrics.time_to_start_buckets


@pytest.mark.parametrize(
    "thresholds", [THRESHOLDS, with_everything_enabled()], ids=["as shipped", "everything"]
)
def test_a_chart_with_the_same_values_makes_the_same_rules(thresholds: dict[str, Any]) -> None:
    """What Helm would do with the templates, as far as these use it."""
    found = dict(build.leaves(thresholds))

    def helm(template: str) -> str:
        changed = 1
        while changed:  # the innermost first
            template, changed = re.subn(
                r"\{\{- if \.Values\.rules\.(\S+) \}\}\n((?:(?!\{\{- if).)*?)\{\{- end \}\}\n",
                lambda m: m[2] if found[m[1]] else "",
                template,
                flags=re.DOTALL,
            )
        return re.sub(
            r"\{\{ (?:\.Values\.rules\.(\S+)|\"(..)\") \}\}",
            lambda m: str(found[m[1]]) if m[1] else m[2],
            template,
        )

    templates = build.rule_files(HelmTemplate(".Values.rules"))
    for name, made in build.rule_files(Values(thresholds)).items():
        assert ".Values.rules.alerts" in templates["alerts.yml"]
        assert rules_in(helm(templates[name])) == rules_in(made)


# Rules ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("recording", recordings.RECORDINGS, ids=lambda recording: recording.name)
def test_recording_rules_are_named_by_level_metric_operations(
    recording: recordings.Recording,
) -> None:
    level, metric, operations = recording.name.split(":")
    assert metric.startswith("comfycontrol_")
    assert operations
    if level == "all":
        # Whatever the exporter gives: slices are of the user's choosing.
        assert not re.search(r"\b(by|without|on|ignoring) \(", recording.expr)
        return
    # The level is what is left of the labels; an account is one of an exporter.
    assert known()[recording.name] == promql.TARGET | set(
        re.findall("account|node_type|status", level)
    )


OF_REPLICAS = {"ComfyControlAccountNotHeld", "ComfyControlAccountHeldTwice"}
"""Of an account, whichever replica holds it."""

SHOWN_BY_REPLICAS = {
    "comfycontrol_account_held",
    "comfycontrol_exporter_config_hash",
    "comfycontrol_exporter_ledger_regressions_total",
    "comfycontrol_exporter_replicas",
}
"""One exporter on its own has none of these; `replicas.yml` has them."""


@pytest.mark.parametrize("rule", ALERTING, ids=lambda rule: rule["alert"])
def test_alerts_are_complete_and_name_only_what_there_is(rule: dict[str, Any]) -> None:
    labels = promql.labels_of(rule["expr"], known_with_teams())
    name = rule["alert"]
    of_slice = rule["labels"].get("reason") == "slice"
    assert ("team" in labels) == of_slice, "without slices it is as it was"
    if of_slice:
        assert rule["labels"]["whose"] == "{{ $labels.team }}"
        assert "$labels.team" in rule["annotations"]["summary"]
        assert rule["annotations"]["dashboard_url"].endswith("&var-by=team")
    assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}
    assert build.seconds(rule["for"]) >= 60, "a missed scrape must not be enough"
    assert rule["labels"]["severity"] in build.SEVERITIES
    assert not labels & set(rule["labels"]), "a label of the rule would hide one of the metric"
    annotations = rule["annotations"]
    assert set(annotations) == {"summary", "description", "runbook_url", "dashboard_url"}
    assert annotations["runbook_url"].endswith(f"/docs/runbooks/{name}.md")
    assert "/d/comfycontrol-" in annotations["dashboard_url"]
    if "account" in labels:
        assert "$labels.account" in annotations["summary"]
        # Accounts of two exporters may have one name; replicas are one exporter.
        assert labels >= promql.TARGET or name in OF_REPLICAS
    for query in re.findall(r"printf `([^`%][^`]*)`", str(annotations)):
        assert "job=%q, instance=%q" in query, "of another exporter"
    for text in annotations.values():
        used = set(re.findall(r"\$labels\.(\w+)", text)) - {"account"}
        assert used <= labels, "a label that the alert does not have"
        assert "[[" not in text


@pytest.mark.parametrize("alert", rules.ALERTS, ids=lambda alert: alert.name)
def test_each_way_to_fire_can_be_told_from_the_others(alert: rules.Alert) -> None:
    reasons = [rule.reason for rule in alert.rules]
    assert len(set(reasons)) == len(reasons)
    assert all(reasons) or len(reasons) == 1
    assert re.fullmatch("ComfyControl([A-Z][a-z]+)+", alert.name)


@pytest.mark.parametrize("alert", rules.ALERTS, ids=lambda alert: alert.name)
def test_boards_are_those_of_the_dashboards(alert: rules.Alert) -> None:
    board = yaml.safe_load((ROOT / "dashboards" / f"{alert.board}.json").read_text("utf-8"))
    assert board["uid"] == alert.board
    assert "account" in {variable["name"] for variable in board["templating"]["list"]}


def test_runbooks_are_where_the_dashboards_look_for_them() -> None:
    board = yaml.safe_load((ROOT / "dashboards" / f"{rules.OVERVIEW}.json").read_text("utf-8"))
    place = {v["name"]: v for v in board["templating"]["list"]}["runbooks"]
    assert place["query"] == THRESHOLDS["settings"]["runbooks"]


# Quiet tests ----------------------------------------------------------------------------------

RIGHTLY_ABSENT = {
    "an idle account, day and night": {
        "comfycontrol_oldest_workflow_created_timestamp_seconds",
        "comfycontrol_oldest_workflow_started_timestamp_seconds",
        "comfycontrol_stalest_observation_timestamp_seconds",
    }
}
"""What the exporter itself does not show then, as nothing is open."""


def sources_of(expression: str) -> set[str]:
    """The exporter's own metrics behind an expression, through the recording rules."""
    recorded = {
        rule["record"]: rule["expr"] for rule in rules_in(build.recording_rules(Values(THRESHOLDS)))
    }
    found: set[str] = set()
    for name in promql.metrics_of(expression):
        found |= sources_of(recorded[name]) if name in recorded else {name}
    return found


def test_alerts_stay_quiet_in_the_sight_of_what_they_look_at() -> None:
    """An alert whose metrics are missing in a test is silent whatever its expression says."""
    asked = set[str]().union(*(sources_of(rule["expr"]) for rule in ALERTING))
    quiet = yaml.safe_load((ROOT / "alerts" / "tests" / "quiet.yml").read_text("utf-8"))
    assert [test["name"] for test in quiet["tests"]] == [
        "an idle account, day and night",
        "restarts in the middle of work",
        "a quiet night",
    ]
    for test in quiet["tests"]:
        shown = {series["series"].partition("{")[0] for series in test["input_series"]}
        absent = asked - shown - promql.native().keys() - SHOWN_BY_REPLICAS
        assert absent == RIGHTLY_ABSENT.get(test["name"], set()), test["name"]
        assert not shown & SHOWN_BY_REPLICAS


def test_without_a_slice_no_rule_is_by_slice() -> None:
    made = rules_in(build.alerting_rules(Values(THRESHOLDS)))
    assert THRESHOLDS["settings"]["slice"] == ""
    assert all(rule["labels"].get("reason") != "slice" for rule in made)
    with_teams = rules_in(build.alerting_rules(Values(with_everything_enabled())))
    others = [rule for rule in with_teams if rule["labels"].get("reason") != "slice"]
    assert [rule["expr"] for rule in made] == [
        rule["expr"] for rule in others if rule["alert"] != "ComfyControlNothingFinished"
    ]


# Inhibitions ----------------------------------------------------------------------------------


def test_the_example_silences_exactly_what_follows_from_an_account_that_is_down() -> None:
    example = yaml.safe_load(build.EXAMPLE.read_text("utf-8"))
    named = set(re.findall(r"ComfyControl[A-Z]\w+", str(example)))
    assert named <= set(NAMES)
    (rule,) = (
        rule
        for rule in example["inhibit_rules"]
        if rule["source_matchers"] == ['alertname="ComfyControlAccountDown"']
    )
    assert rule["equal"] == ["job", "instance", "account"]
    assert set(re.findall(r"ComfyControl[A-Z]\w+", str(rule["target_matchers"]))) == {
        alert.name for alert in rules.ALERTS if alert.follows_account_down
    }


# Runbooks -------------------------------------------------------------------------------------


def test_every_alert_has_a_runbook_and_every_runbook_an_alert() -> None:
    assert runbooks.names() == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_runbooks_can_be_followed(name: str) -> None:
    text = runbooks.text_of(name)
    headings = re.findall(r"^## (.+)$", text, flags=re.MULTILINE)
    assert text.startswith(f"# {name}\n")
    assert headings == ["Meaning", "Impact", "Diagnosis", "Mitigation"]
    for alert in rules.ALERTS:
        if alert.name == name:
            for rule in alert.rules:
                assert f"`{rule.reason}`" in text or not rule.reason, "each reason is explained"

    queries = runbooks.queries_of(name)
    assert queries, "something to paste"
    for query in queries:
        promql.labels_of(query, known())

    for quoted, bare in re.findall(r'msg=(?:"([^"]*)"|(\w+))', text):
        message = quoted or bare
        assert message in said_by_the_exporter(), f"the exporter never logs {message!r}"
        assert bare or " " in message, "logfmt quotes only what needs it"
    for link in re.findall(r"\]\(([^)#]+\.md)[^)]*\)", text):
        assert (runbooks.FOLDER / link).exists(), link


# What alerts cannot do without ----------------------------------------------------------------


def test_whatever_alerts_are_made_of_and_is_always_there_is_missed_where_it_is_not() -> None:
    """The rule names every series that no state of an exporter explains the absence of."""
    others = [rule["expr"] for rule in ALERTING if rule["alert"] != "ComfyControlSeriesMissing"]
    asked = set[str]().union(*(sources_of(expression) for expression in others))
    metrics = {name: metric for metric in CATALOGUE for name in (metric.name, *_classic(metric))}
    always = {metrics[name].name for name in asked & metrics.keys() if not metrics[name].absent}
    there = set[str]().union(*(promql.metrics_of(there) for _, there in filled_needs()))
    missed = {metrics[name].name for name in there}
    assert always <= missed
    # An account that is asked has one, and so has one that can be seen.
    assert {"comfycontrol_account_up", "comfycontrol_workflows"} <= missed


def filled_needs() -> list[tuple[str, str]]:
    values = Values(THRESHOLDS)
    return [
        (name, build.fill(there, values))
        for name, there in [*needed.OF_ACCOUNTS, *((name, name) for name in needed.OF_EXPORTERS)]
    ]


def _classic(metric: Metric) -> list[str]:
    return [f"{metric.name}_bucket", f"{metric.name}_count"] if metric.type == "histogram" else []


# Where the rules lie --------------------------------------------------------------------------


def test_every_yaml_file_in_the_folder_of_the_rules_holds_rules() -> None:
    """`rule_files: alerts/*.yml` is what anyone would write."""
    found = {path.name: yaml.safe_load(path.read_text("utf-8")) for path in RULES.glob("*.y*ml")}
    assert set(found) == set(build.rule_files(Values(THRESHOLDS)))
    assert all(set(document) == {"groups"} for document in found.values())
