"""Names and tags as people give them."""

import random

from exporter.simulator import parse_scenario
from exporter.simulator.people import HOSTILE_NAMES, HOSTILE_TAGS, People

DICE = [random.Random(number) for number in range(500)]


def test_without_people_names_are_made_of_jobs() -> None:
    people = parse_scenario("{}").people
    assert {people.name(dice) for dice in DICE} == {None}
    assert {people.tags(dice) for dice in DICE} == {()}


def test_teams_and_environments_are_tags_in_any_order_and_spelling() -> None:
    people = People(teams=("video", "art"), environments=("prod",), untagged=0.2)
    seen = {people.tags(dice) for dice in DICE}
    assert {(), ("team:video", "env:prod"), ("env:prod", "team=art")} <= seen


def test_templates_have_versions() -> None:
    names = {People(templates=("sdxl-portrait",)).name(dice) for dice in DICE}
    assert {f"sdxl-portrait v{number}" for number in range(1, 31)} == names


def test_many_distinct_names_and_hostile_ones() -> None:
    assert len({People(distinct=10_000).name(dice) for dice in DICE}) > 400
    assert {People(hostile=1).name(dice) for dice in DICE} == set(HOSTILE_NAMES)
    assert {people for dice in DICE for people in People(hostile=1).tags(dice)} == set(HOSTILE_TAGS)
    assert all(0 < len(name) <= 200 for name in HOSTILE_NAMES)
