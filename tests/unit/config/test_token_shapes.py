"""Tokens that look like none, and those that two accounts have."""

from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from exporter.config import Config, check
from exporter.config.token_shapes import shape_of

TOKEN = "cfc_planted0123456789"


@pytest.mark.parametrize(
    ("token", "says"),
    [
        (f'"{TOKEN}"', "quotes"),
        (f"'{TOKEN}'", "quotes"),
        (f"<{TOKEN}>", "brackets"),
        (f'"{TOKEN}', "begins with a quote"),
        (f"{TOKEN}'", "ends with a quote"),
        (f"COMFYCONTROL_TOKEN={TOKEN}", "KEY=value"),
        (f'TOKEN="{TOKEN}"', "KEY=value"),
        (f"token:{TOKEN}", "key: value"),
        (f'{{"token":"{TOKEN}"}}', "JSON"),
        (f'["{TOKEN}"]', "JSON"),
        ("${COMFYCONTROL_TOKEN}", "variable"),
        ("$COMFYCONTROL_TOKEN", "variable"),
        ("%COMFYCONTROL_TOKEN%", "variable"),
        (f"https://api.example.com/{TOKEN}", "URL"),
        ("/run/secrets/comfycontrol", "path"),
        (rf"{TOKEN}\n", "backslash"),
        (f"{TOKEN}\nsecond", "line break"),
        (f"{TOKEN} second", "white space"),
    ],
)
def test_a_shape_that_is_no_tokens_is_named(token: str, says: str) -> None:
    shape = shape_of(token)
    assert shape is not None
    assert says in shape
    assert "planted" not in shape


@given(
    st.from_regex(r"[A-Za-z0-9_.~+-]{1,200}={0,2}", fullmatch=True)
    | st.from_regex(r"[A-Za-z0-9+][A-Za-z0-9+/]{20,80}={0,2}", fullmatch=True)
)
def test_what_may_be_a_token_is_none_of_these(token: str) -> None:
    assume(not token.startswith("-----"))  # a PEM file
    assert shape_of(token) is None


def accounts(tmp_path: Path, *more: str) -> tuple[int, str]:
    """What check-config says of accounts with one token and these other keys."""
    (tmp_path / "token").write_text(TOKEN)
    entries = "".join(
        f"  - {{name: name{n}, token_file: token, {keys}}}\n" for n, keys in enumerate(more)
    )
    path = tmp_path / "config.yml"
    path.write_text(f"accounts:\n{entries}")
    return check(path, {})


@pytest.mark.parametrize(
    ("one", "other", "is_told"),
    [
        ("listing: {}", "listing: {}", True),
        ("listing: {}", "listing: {tags: [a]}", True),
        ("listing: {tags: [a]}", "listing: {tags: [a, b]}", True),
        ("listing: {tags: [a]}", "listing: {tags: [b]}", False),
        ("listing: {}", "workflow_files: [x.yml]", True),
        ("listing: {}", "listing: {}, base_url: 'https://other.example.com'", False),
    ],
)
def test_two_accounts_with_one_token_are_named(
    tmp_path: Path, one: str, other: str, is_told: bool
) -> None:
    code, text = accounts(tmp_path, one, other)
    assert code == 0
    assert ("'name0'" in text and "'name1'" in text and "counted twice" in text) == is_told
    assert "planted" not in text


def test_a_token_of_an_odd_shape_is_a_warning() -> None:
    account = {"name": "studio", "token": f'"{TOKEN}"', "listing": {}}
    (warning,) = Config.model_validate({"accounts": [account]}).warnings()
    assert warning.key == "accounts[0].token"
    assert "quotes" in warning.reason
    assert "planted" not in str(warning)
