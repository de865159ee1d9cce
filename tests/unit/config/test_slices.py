"""What `metrics.slices` takes and refuses."""

import re
from pathlib import Path

import pytest
import yaml

from exporter.config import Config, ConfigError, load
from exporter.config.slices import MADE_LABELS, RESERVED_LABELS
from exporter.metrics.catalogue import CATALOGUE

TEAM = '{label: team, from: tag, match: "^team[:=](.+)$", values: 20, default: none}'


def read(tmp_path: Path, *slices: str, more: str = "") -> Config:
    path = tmp_path / "config.yml"
    lines = "".join(f"    - {entry}\n" for entry in slices)
    path.write_text(
        "accounts:\n  - {name: a, token: x, listing: {}}\n"
        f"metrics:\n  per_workflow_series: 5\n{more}  slices:\n{lines}"
    )
    return load(path, {})


def faults(tmp_path: Path, *slices: str, more: str = "") -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, *slices, more=more)
    return [f"{f.key} {f.reason}" for f in caught.value.errors]


def test_a_slice_is_read_as_it_is_written(tmp_path: Path) -> None:
    (team,) = read(tmp_path, TEAM).metrics.slices
    assert (team.label, team.origin, team.match) == ("team", "tag", "^team[:=](.+)$")
    assert (team.values, team.default) == (20, "none")


def test_defaults(tmp_path: Path) -> None:
    (template,) = read(tmp_path, '{label: template, from: name, match: "(a)"}').metrics.slices
    assert (template.values, template.default) == (20, "none")


@pytest.mark.parametrize(
    ("entry", "fault"),
    [
        ('{label: le, from: tag, match: "(a)"}', "label clashes with a label"),
        ('{label: __a, from: tag, match: "(a)"}', "label begins with `__`"),
        ('{label: "a b", from: tag, match: "(a)"}', "label is no name of a label"),
        ('{label: été, from: tag, match: "(a)"}', "label is no name of a label"),
        ('{label: "", from: tag, match: "(a)"}', "label is no name of a label"),
        ('{label: a, from: id, match: "(a)"}', "from is neither `tag` nor `name`"),
        ('{label: a, match: "(a)"}', "from is missing"),
        ('{label: a, from: tag, match: "a"}', "match does not have exactly one group"),
        ('{label: a, from: tag, match: "(a)(b)"}', "match does not have exactly one group"),
        ('{label: a, from: tag, match: "(?=a)(b)"}', "match is no regular expression"),
        ('{label: a, from: tag, match: "(a"}', "match is no regular expression"),
        ('{label: a, from: tag, match: "(a)", values: 0}', "values must be at least 1"),
        ('{label: a, from: tag, match: "(a)", default: ""}', "default is empty"),
        ('{label: a, from: tag, match: "(a)", default: " b"}', "default is empty"),
        ('{label: a, from: tag, match: "(a)", origin: tag}', "origin is an unknown key"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, entry: str, fault: str) -> None:
    (told,) = faults(tmp_path, entry)
    assert told.startswith(f"metrics.slices[0].{fault}")


def test_two_slices_cannot_have_one_label(tmp_path: Path) -> None:
    assert faults(tmp_path, TEAM, TEAM) == [
        "metrics.slices[1].label is also the label of slices[0]"
    ]


def test_there_are_four_at_most(tmp_path: Path) -> None:
    entries = [f'{{label: l{n}, from: tag, match: "(a)", values: 2}}' for n in range(5)]
    assert len(read(tmp_path, *entries[:4]).metrics.slices) == 4
    assert faults(tmp_path, *entries) == ["metrics.slices has more than 4 entries"]


def test_combinations_are_limited_unless_one_says_so(tmp_path: Path) -> None:
    fitting = [
        '{label: a, from: tag, match: "(a)", values: 40}',
        '{label: b, from: tag, match: "(a)", values: 50}',
    ]
    assert len(read(tmp_path, *fitting).metrics.slices) == 2
    more = [*fitting, '{label: c, from: tag, match: "(a)", values: 2}']
    assert faults(tmp_path, *more) == [
        "metrics.slices can have 4,000 combinations of values, more than 2,000"
    ]
    assert read(tmp_path, *more, more="  max_slice_combinations: 4000\n").metrics.slices


def test_every_label_of_ours_is_refused() -> None:
    sliced = {label for metric in CATALOGUE if metric.sliced for label in metric.labels}
    assert sliced <= RESERVED_LABELS


def test_every_label_that_queries_make_is_refused(tmp_path: Path) -> None:
    root = Path(__file__).parents[3]
    made: set[str] = set()
    for file in [*(root / "dashboards").glob("*.json"), *(root / "alerts").glob("*.yml")]:
        text = file.read_text("utf-8").replace('\\"', '"')
        made.update(re.findall(r', "([a-z_]+)", "[^"]*", "[^"]*", "[^"]*"\)', text))
        for rule in yaml.safe_load(text)["groups"] if file.suffix == ".yml" else ():
            made.update(*(each.get("labels", {}) for each in rule["rules"]))
    assert {"whose", "reason"} <= made
    assert made <= RESERVED_LABELS | MADE_LABELS
    (told,) = faults(tmp_path, '{label: whose, from: tag, match: "(a)"}')
    assert told == (
        "metrics.slices[0].label clashes with a label that the dashboards and alerts make"
    )


def test_a_pattern_holds_no_variables(tmp_path: Path) -> None:
    (entry,) = read(tmp_path, '{label: a, from: tag, match: "^(.+)${HOME}$"}').metrics.slices
    assert entry.match == "^(.+)${HOME}$"
