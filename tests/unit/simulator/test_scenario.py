"""Scenarios: what is read, and what is said about mistakes."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from exporter.simulator import ScenarioError, bundled_scenarios, load_scenario, parse_scenario
from exporter.simulator.faults import DropFault, StatusFault, parse_faults
from exporter.simulator.schema import parse_seconds


def mistakes(text: str) -> list[str]:
    with pytest.raises(ScenarioError) as caught:
        parse_scenario(text, source="day.yml")
    return str(caught.value).splitlines()


def test_the_bundled_scenarios_are_sound_and_described() -> None:
    found = bundled_scenarios()
    assert {
        "studio",
        "steady",
        "busy",
        "burst",
        "outage",
        "idle",
        "failing-node",
        "stuck-queue",
        "backlog",
        "hostile",
        "traits",
    } <= set(found)
    assert all(found.values())
    assert all(load_scenario(name).name == name for name in found)


def test_an_empty_scenario_is_the_service_with_nothing_going_on() -> None:
    scenario = parse_scenario("")
    assert scenario.arrivals.rate == 0
    assert (scenario.limit.requests, scenario.limit.per, scenario.limit.cooldown) == (40, 10, 10)
    assert (scenario.streams.interval, scenario.streams.max_updates) == (2, 120)
    assert [account.name for account in scenario.accounts] == ["studio"]


def test_a_file_is_read_and_named_by_its_stem(tmp_path: Path) -> None:
    path = tmp_path / "night.yml"
    path.write_text("arrivals: {rate: 2}", encoding="utf-8")
    scenario = load_scenario(path)
    assert (scenario.name, scenario.arrivals.rate) == ("night", 2)
    assert load_scenario(str(path)) == scenario


def test_every_mistake_is_told_at_once_with_its_key_and_remedy() -> None:
    assert mistakes(
        """
        arivals: {rate: 1}
        runners: [{name: gpu, tgas: [x]}]
        jobs: [{name: a, duration: x}]
        faults: [{kind: drop, hwo: eof}, {kind: status, from: 2m, to: 1m}]
        arrivals: {rate: -1}
        """
    ) == [
        "day.yml: arrivals.rate: input should be greater than or equal to 0",
        "day.yml: runners[0].tgas: unknown key; did you mean 'tags'?",
        "day.yml: jobs[0].duration.median: 'x' is not a time; write it as 250ms, 5s, 2m, 24h or 1d",
        "day.yml: faults[0].drop.hwo: unknown key; did you mean 'how'?",
        "day.yml: faults[1].status: to is not after from; swap them",
        "day.yml: arivals: unknown key; did you mean 'arrivals'?",
    ]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[1]", "must be a mapping"),
        ("a: [", "not YAML"),
        ("xyzzy: 1", "remove it; known here: name, description, accounts"),
        ("jobs: [{name: a}]", "jobs[0].duration: missing; add it"),
        ("jobs: [{name: a, duration: {min: 5s}}]", "neither median nor max"),
        ("jobs: [{name: a, duration: {min: 5s, max: 1s}}]", "max is below min"),
        ("jobs: [{name: a, duration: true}]", "not a time"),
        ("jobs: [{name: a, duration: 1s, tags: [x]}]", "no runner has all tags of job 'a' (x)"),
        ("jobs: [{name: a, duration: 1s, outputs: {min: 2, max: 1}}]", "max is below min"),
        ("jobs: []", "at least 1 item"),
        ("outcomes: {failed: 0.7, cancelled: 0.7}", "more than 1 together"),
        ("accounts: [{name: a}, {name: a}]", "two accounts of one name"),
        ("accounts: [{name: a, tokens: [x]}, {name: b, tokens: [x]}]", "token is given twice"),
        ("accounts: [{name: a, weight: 0}]", "all accounts have weight 0"),
        ("accounts: [{name: a, tokens: ['x y']}]", "accounts[0].tokens[0]"),
        ("faults: [{kind: reset, account: nobody}]", "account 'nobody', which does not exist"),
        ("faults: [{kind: warp}]", "'warp'"),
        ("limit: {requests: 0}", "limit.requests"),
    ],
)
def test_a_mistake_names_its_reason(text: str, reason: str) -> None:
    (line,) = mistakes(text)
    assert line.startswith("day.yml: ")
    assert reason in line


def test_a_scenario_that_is_not_there() -> None:
    with pytest.raises(ScenarioError, match="no such scenario; bundled ones: backlog, burst"):
        load_scenario("studoi")
    with pytest.raises(ScenarioError, match="cannot be read: No such file"):
        load_scenario("no/such/file.yml")


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "x.yml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ScenarioError, match="save it as UTF-8"):
        load_scenario(path)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("250ms", 0.25), ("5s", 5), ("1.5m", 90), ("24h", 86400), ("1d", 86400), (3, 3)],
)
def test_times(text: object, seconds: float) -> None:
    assert parse_seconds(text) == seconds


@given(st.text())
def test_no_text_breaks_the_reading_of_times(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert isinstance(parse_seconds(text), float)


def test_faults_are_taken_as_models_and_as_mappings() -> None:
    model = DropFault.model_validate({"cut": "in_chunk", "from": "5s", "after": 3})
    faults = parse_faults([model, {"kind": "status", "code": 502}])
    assert faults == (model, StatusFault(code=502))
    assert faults[0].start == 5


def test_a_dumped_scenario_reads_back_as_itself() -> None:
    for name in bundled_scenarios():
        scenario = load_scenario(name)
        assert type(scenario).model_validate(scenario.model_dump(by_alias=True)) == scenario


def test_the_documented_defaults_are_the_real_ones() -> None:
    text = (Path(__file__).parents[3] / "docs" / "simulator.md").read_text(encoding="utf-8")
    block, traits = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    block = block.replace("causes: [] ", "# causes: [] ")  # said in words there
    assert parse_scenario(block) == parse_scenario("")
    shown = parse_scenario(traits).traits
    assert {*yaml.safe_load(traits)["traits"]} == {*type(shown).model_fields}
    assert (
        shown
        == parse_scenario(
            """
        traits:
          missing: [{stamp: completed_at}]
          causes: [{}]
          sizes: {}
          broken: [{}]
          replicas: [{}]
          clocks: {}
          requeues: {}
          late_starts: {}
          reruns: [{rate: 0.01}]
        """
        ).traits
    )
