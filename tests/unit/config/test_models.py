"""Defaults, construction in Python, equality, and the JSON schema."""

import ast
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from exporter.budget.sliding_window import Limit
from exporter.config import Account, Config, Listing, Metrics, RateLimit
from exporter.config.accounts import WAYS_IN, WAYS_IN_HINT
from exporter.config.durations import PATTERN
from exporter.config.models import MOST_STREAMS
from exporter.config.section import Section

ID = "a1b2c3d4-e5f6-7890-abcd-ef1234567890"


def test_defaults_are_the_documented_ones() -> None:
    account = Account(name="a", token="x", workflows=(ID,))
    assert account.base_url == "https://api.comfycontrol.app"
    assert account.address == "api.comfycontrol.app"
    assert account.rate_limit == RateLimit(requests=40, per=10.0, cooldown=10.0, reserve=0.25)
    assert account.max_streams == 500
    assert account.listing is None
    assert account.workflow_files == ()
    assert account.push is None
    assert Listing() == Listing(interval=5.0, lookback=86_400.0, tags=())
    metrics = Metrics()
    assert (metrics.per_workflow_series, metrics.node_types, metrics.exception_types) == (
        500,
        200,
        50,
    )
    running = [1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200]
    assert list(metrics.run_duration_buckets) == running
    starting = [0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 14400]
    assert list(metrics.time_to_start_buckets) == starting


def test_defaults_pass_their_own_rules() -> None:
    for model in (RateLimit, Listing, Metrics):
        built = model()
        assert model.model_validate(dict(built)) == built


@pytest.mark.parametrize(
    ("requests", "reserve", "share"), [(40, 0.25, 30), (10, 0.9, 1), (7, 0.5, 3), (1, 0, 1)]
)
def test_the_share_is_what_the_reserve_leaves(requests: int, reserve: float, share: int) -> None:
    limit = RateLimit(requests=requests, reserve=reserve)
    assert Limit(requests=limit.requests, reserve=limit.reserve).share == share


def test_in_python_a_number_is_seconds() -> None:
    assert Listing(interval=5, lookback="1h") == Listing(interval="5s", lookback=3600.0)
    for seconds in (math.nan, math.inf, 0.5, -1):
        with pytest.raises(ValidationError, match="must lie between 1s and 1h"):
            Listing(interval=seconds)


def test_models_are_frozen_and_hashable() -> None:
    first = Account(name="a", token="x", listing=Listing())
    with pytest.raises(ValidationError, match="frozen"):
        first.name = "b"  # type: ignore[misc]
    assert {first, Account(name="a", token="x", listing=Listing())} == {first}
    assert first != Account(name="a", token="y", listing=Listing())


def test_an_absent_section_can_be_none_in_python() -> None:
    assert Account(name="a", token="x", listing=None, push=None, workflows=(ID,)).listing is None


def test_rules_hold_in_python_too() -> None:
    first = Account(name="a", token="x", listing=Listing())
    with pytest.raises(ValidationError, match=r"is also the name of accounts\[0\]"):
        Config(accounts=(first, first))
    other = Account(name="b", token="x", listing=Listing(), rate_limit=RateLimit(requests=2))
    with pytest.raises(ValidationError, match=r"differs from that of accounts\[0\]"):
        Config(accounts=(first, other))
    with pytest.raises(ValidationError, match="has no workflows to follow"):
        Account(name="a", token="x")
    with pytest.raises(ValidationError, match="is missing, and so is `token_file`"):
        Account(name="a", listing=Listing())


def test_a_dump_in_json_is_written_as_a_file_is() -> None:
    dump = Account(name="a", token="x", listing=Listing(interval=90.0)).model_dump(mode="json")
    assert dump["listing"] == {
        "interval": "1m30s",
        "lookback": "24h",
        "tags": [],
        "reconcile": True,
    }
    assert dump["rate_limit"] == {
        "requests": 40,
        "per": "10s",
        "cooldown": "10s",
        "reserve": 0.25,
    }


SCHEMA: dict[str, Any] = Config.model_json_schema()


def sections() -> list[dict[str, Any]]:
    return [SCHEMA, *SCHEMA["$defs"].values()]


def test_the_schema_refuses_unknown_keys_and_describes_every_key() -> None:
    for section in sections():
        assert section["additionalProperties"] is False
        for name, field in section["properties"].items():
            assert field["description"].endswith("."), name


def test_durations_in_the_schema_are_as_in_a_file() -> None:
    definitions = SCHEMA["$defs"]
    for section, key, default in (
        ("Listing", "interval", "5s"),
        ("Listing", "lookback", "24h"),
        ("RateLimit", "per", "10s"),
        ("RateLimit", "cooldown", "10s"),
    ):
        field = definitions[section]["properties"][key]
        assert (field["type"], field["default"]) == ("string", default)
        assert re.search(field["pattern"], default)
        assert field["pattern"] == PATTERN


def test_the_schema_knows_the_rules_over_several_keys() -> None:
    account = SCHEMA["$defs"]["Account"]
    assert account["required"] == ["name"]
    assert account["oneOf"] == [{"required": ["token"]}, {"required": ["token_file"]}]
    assert {"required": ["listing"]} in account["anyOf"]


def test_the_schema_has_no_null_and_no_secret_in_clear() -> None:
    assert "null" not in str(SCHEMA)
    assert "None" not in str(SCHEMA)
    token = SCHEMA["$defs"]["Account"]["properties"]["token"]
    assert token["writeOnly"] is True
    assert "default" not in token


def test_the_schema_of_numbers_has_their_bounds() -> None:
    streams = SCHEMA["$defs"]["Account"]["properties"]["max_streams"]
    assert (streams["minimum"], streams["maximum"]) == (1, MOST_STREAMS)
    reserve = SCHEMA["$defs"]["RateLimit"]["properties"]["reserve"]
    assert (reserve["minimum"], reserve["exclusiveMaximum"]) == (0, 1)


def test_examples_and_defaults_in_the_schema_have_the_type_that_it_says() -> None:
    types: dict[str, type | tuple[type, ...]] = {
        "string": str,
        "integer": int,
        "number": (int, float),
        "array": list,
        "boolean": bool,
    }
    for section in sections():
        for name, field in section["properties"].items():
            values = [*field["examples"], *([field["default"]] if "default" in field else [])]
            for value in values:
                assert isinstance(value, types.get(field.get("type", ""), dict)), name


def test_in_python_paths_are_taken_as_they_are() -> None:
    built = Account(name="a", token_file="t", workflow_files=["ids/*.yml"])
    assert (str(built.token_file), built.workflow_files) == ("t", ("ids/*.yml",))


def test_an_integer_past_every_float_is_not_finite() -> None:
    with pytest.raises(ValidationError, match="is not a finite number"):
        Metrics(run_duration_buckets=[10**400])


def test_all_that_name_the_ways_in_name_the_same() -> None:
    assert all(f"`{way}`" in str(Account.__doc__) for way in WAYS_IN)
    assert all(f"`{way}" in WAYS_IN_HINT for way in WAYS_IN)


def models(base: type[Section] = Section) -> Iterator[type[Section]]:
    """All sections of the file."""
    for section in base.__subclasses__():
        if section.__module__.startswith("exporter.config."):
            yield section
            yield from models(section)


READ = {
    node.attr
    for path in Path("exporter").rglob("*.py")
    if path.parts[1] not in {"config", "simulator"}
    for node in ast.walk(ast.parse(path.read_text("utf-8")))
    if isinstance(node, ast.Attribute)
}
"""What any part of the exporter reads of any object."""

ONLY_CHECKED = {"max_slice_combinations"}
"""What only the configuration itself uses."""


@pytest.mark.parametrize("section", [*models()], ids=lambda section: section.__name__)
def test_every_key_is_read_by_some_part(section: type[Section]) -> None:
    assert set(section.model_fields) - READ - ONLY_CHECKED == set()
