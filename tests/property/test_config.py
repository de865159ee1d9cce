"""Whatever a configuration holds, it is read or refused, and no secret comes out."""

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from traceback import format_exception_only
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.config import ConfigError, from_environment, load, parse_workflow_ids
from exporter.config.durations import PATTERN, parse_duration
from exporter.config.environment import BASE_URL, TOKEN
from exporter.config.models import Account, Config, Listing, Metrics, Push, RateLimit
from exporter.config.slices import Slice

ID = "a1b2c3d4-e5f6-7890-abcd-ef1234567890"
VALID = f"""\
accounts:
  - &first
    name: studio
    base_url: https://api.comfycontrol.app
    token: ${{T}}
    rate_limit: {{requests: 40, per: 10s, cooldown: 10s, reserve: 0.25}}
    max_streams: 500
    listing: {{interval: 5s, lookback: 24h, tags: []}}
    workflows: [{ID}]
    workflow_files: ["/etc/comfycontrol/*.yml"]
  - <<: *first
    name: "farm"
metrics:
  per_workflow_series: 500
  run_duration_buckets: [1, 2.5, 5]
"""
KEYS = sorted(
    {
        key
        for section in (Config, Account, RateLimit, Listing, Push, Metrics, Slice)
        for key in section.file_keys()
    }
)
# Files are written and read: how long that takes is the machine's affair.
relaxed = settings(deadline=None)

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

secrets = st.one_of(
    st.text(ALPHABET, min_size=20, max_size=40).map("cfc_{}".format),
    # Tokens for pushing are of the user's making: `openssl rand -hex 16` is usual.
    st.binary(min_size=16, max_size=16)
    .map(bytes.hex)
    .filter(lambda t: sum(map(str.isdigit, t)) > 4),
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.dates(),
    st.binary(max_size=8),
    st.text(max_size=12),
    st.sampled_from(
        ["5s", "24h", "${T}", "${UNSET}", "$", ID, "https://api.comfycontrol.app", "/"]
    ),
)
keys = st.one_of(st.sampled_from(KEYS), st.sampled_from(KEYS), st.text(max_size=8), st.integers())
values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=6),
    max_leaves=12,
)
sections = st.fixed_dictionaries({}, optional=dict.fromkeys(KEYS, values))
documents = st.one_of(
    values,
    st.fixed_dictionaries(
        {"accounts": st.lists(sections, max_size=3)}, optional={"metrics": values}
    ),
)


@pytest.fixture(scope="module")
def path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "config.yml"


def outcome(path: Path, content: bytes, environ: dict[str, str]) -> str:
    """Everything that a program could print after reading this content."""
    path.write_bytes(content)
    refusal: ConfigError | None = None
    try:
        load(path, environ)
    except ConfigError as error:
        refusal = error
    if refusal is None:
        return ""
    assert refusal.errors
    assert refusal.__context__ is None
    return f"{refusal} {refusal!r} {refusal.errors!r} {''.join(format_exception_only(refusal))}"


@relaxed
@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(path: Path, content: bytes) -> None:
    outcome(path, content, {})


@relaxed
@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(path: Path, text: str) -> None:
    outcome(path, text.encode("utf-8", "surrogatepass"), {})


@relaxed
@given(
    st.lists(st.sampled_from([*"[]{}:,-?&*!|>'\"%@`#\n\t ~<=", "a", "- ", ": ", "&a ", "*a", "<<"]))
)
def test_any_yaml_marks_are_read_or_refused(path: Path, marks: list[str]) -> None:
    outcome(path, "".join(marks).encode(), {})


@relaxed
@given(st.data())
def test_a_valid_file_with_anything_put_in(path: Path, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(VALID)))
    end = data.draw(st.integers(start, min(len(VALID), start + 20)))
    piece = data.draw(st.text(max_size=10) | st.sampled_from(KEYS))
    text = VALID[:start] + piece + VALID[end:]
    outcome(path, text.encode("utf-8", "surrogatepass"), {"T": "x"})


@relaxed
@given(documents)
def test_any_document_is_read_or_refused(path: Path, document: object) -> None:
    outcome(path, yaml.safe_dump(document).encode("utf-8", "surrogatepass"), {"T": "x"})


@relaxed
@given(documents, secrets, st.data())
def test_a_secret_in_any_place_stays_unseen(
    path: Path, document: object, secret: str, data: st.DataObject
) -> None:
    def planted(value: object) -> object:
        match value:
            case dict():
                return {
                    (secret if data.draw(st.integers(0, 9)) == 0 else k): planted(v)
                    for k, v in value.items()
                }
            case list():
                return [planted(v) for v in value]
            case _:
                around = st.sampled_from(
                    [secret, f"{secret} x", "${T}", f"${{{secret}}}", f"u:{secret}@h"]
                )
                return data.draw(around) if data.draw(st.booleans()) else value

    content = yaml.safe_dump(planted(document)).encode("utf-8", "surrogatepass")
    assert secret not in outcome(path, content, {"T": f"{secret} in the environment"})


@relaxed
@given(
    secrets, st.integers(0, len(VALID)), st.sampled_from(["", " ", "*", "&", "!", "${", "'", "\n"])
)
def test_a_secret_pasted_anywhere_into_the_text_stays_unseen(
    path: Path, secret: str, place: int, before: str
) -> None:
    text = VALID[:place] + before + secret + VALID[place:]
    assert secret not in outcome(path, text.encode(), {"T": "x"})


@relaxed
@given(st.text(), st.text())
def test_any_environment_is_read_or_refused(token: str, url: str) -> None:
    try:
        config = from_environment({TOKEN: token, BASE_URL: url})
    except ConfigError:
        return
    read = config.accounts[0].token.read()
    assert read == token.strip()
    assert re.fullmatch(r"[!-~]+", read)


@relaxed
@given(st.text())
def test_any_text_gives_ids_or_faults(text: str) -> None:
    ids, errors = parse_workflow_ids(text)
    assert all(re.fullmatch(r"[0-9a-f-]{36}", id_) for id_ in ids)
    assert all(fault.reason and fault.hint for fault in errors)


@relaxed
@given(st.from_regex(PATTERN) | st.text("0123456789dhms", max_size=12))
def test_the_pattern_in_the_schema_agrees_with_the_parser(text: str) -> None:
    # A schema's `$` is the end of the text; Python's also comes before a last newline.
    by_schema = len(text) >= 2 and re.fullmatch(PATTERN.removesuffix("$"), text) is not None
    try:
        parse_duration(text)
    except ValueError:
        assert not by_schema
    else:
        assert by_schema
