"""The rule of slices, for whatever tags, names and patterns there are."""

from typing import Literal

from hypothesis import given
from hypothesis import strategies as st

from exporter.comfycontrol.text import MAX_LENGTH, clean
from exporter.config.slices import compiled
from exporter.interfaces.observations import Traits
from exporter.ledger.slicing import (
    OTHER,
    SliceRule,
    Slices,
    decide,
    is_decided,
    labels_of,
    shown,
    values_of,
)

PATTERNS = ["^team[:=](.+)$", "^([a-z0-9-]+)", "(.*)", "(a)?", "^(?:v[0-9]+-)?(.*)$", "(=.*)"]
words = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        ["team:video", "team=art", "env=prod", "sdxl-portrait v12", "", "a=b=c", OTHER]
    ),
)
traits = st.builds(
    Traits,
    name=words.map(clean),
    tags=st.lists(words.map(clean), max_size=5).map(tuple),
)
origins: st.SearchStrategy[Literal["tag", "name"]] = st.sampled_from(["tag", "name"])
rule_lists = st.lists(
    st.builds(
        SliceRule,
        label=st.sampled_from(["team", "env", "template", "a"]),
        origin=origins,
        pattern=st.sampled_from(PATTERNS).map(compiled),
        values=st.integers(1, 5),
        default=st.sampled_from(["none", OTHER]),
    ),
    max_size=4,
    unique_by=lambda rule: rule.label,
)


def as_it_is(_: SliceRule, value: str) -> str:
    return value


@given(rules=rule_lists, seen=traits, later=traits)
def test_what_is_decided_stays(rules: list[SliceRule], seen: Traits, later: Traits) -> None:
    first = decide((), seen, rules, as_it_is)
    assert is_decided(first, rules)
    assert decide(first, later, rules, as_it_is) == first


@given(rules=rule_lists, more=rule_lists, seen=traits)
def test_slices_come_and_go_and_leave_what_was_decided(
    rules: list[SliceRule], more: list[SliceRule], seen: Traits
) -> None:
    first = decide((), seen, rules, as_it_is)
    second = decide(first, None, more, as_it_is)
    assert is_decided(second, rules)
    assert is_decided(second, more)
    assert shown(dict(second), rules) == shown(dict(first), rules)


@given(rules=rule_lists, seen=traits)
def test_a_value_is_as_clean_as_any_label(rules: list[SliceRule], seen: Traits) -> None:
    for _, value in decide((), seen, rules, as_it_is):
        if value is not None:
            assert value
            assert value == clean(value)
            assert len(value) <= MAX_LENGTH


@given(rules=rule_lists, seen=traits)
def test_totals_show_what_was_decided(rules: list[SliceRule], seen: Traits) -> None:
    slices = decide((), seen, rules, as_it_is)
    assert shown(values_of(labels_of(slices)), rules) == shown(dict(slices), rules)


@given(rules=rule_lists)
def test_without_traits_all_have_the_default(rules: list[SliceRule]) -> None:
    slices = decide((), None, rules, as_it_is)
    assert labels_of(slices) == ()
    assert shown(dict(slices), rules) == {rule.label: rule.default for rule in rules}


def test_the_first_tag_that_matches_gives_the_value() -> None:
    rule = SliceRule("team", "tag", compiled("^team[:=](.+)$"), 20, "none")
    assert rule.value_of(Traits("team:name", ("gpu", "team:video", "team=art"))) == "video"
    assert rule.value_of(Traits("team:name", ("gpu",))) is None
    assert rule.value_of(Traits(None, ("team: ",))) is None


def test_a_name_gives_the_value() -> None:
    rule = SliceRule("template", "name", compiled("^([a-z0-9-]+)"), 50, OTHER)
    assert rule.value_of(Traits("sdxl-portrait v12", ("gpu",))) == "sdxl-portrait"
    assert rule.value_of(Traits(None, ("sdxl",))) is None


def test_what_is_capped_is_kept_as_it_is_counted() -> None:
    rules = [SliceRule("team", "tag", compiled("(.+)"), 1, "none")]
    slices: Slices = decide((), Traits(tags=("b",)), rules, lambda *_: OTHER)
    assert slices == (("team", OTHER),)
