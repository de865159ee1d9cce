"""The configuration that is in force, as it is shown."""

from pathlib import Path

import pytest
import yaml

from exporter.config import Config, load
from exporter.web.pages import config_page, masked


def config_of(*accounts: str, **more: object) -> Config:
    return Config.model_validate(
        {
            "accounts": [
                {"name": name, "token": "cfc_S3cret", "listing": {}, **more} for name in accounts
            ]
        }
    )


def test_the_configuration_in_force_is_one_that_can_be_loaded(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("cfc_InTheFile")
    (tmp_path / "push").write_text("PushS3cret")
    file = tmp_path / "config.yml"
    file.write_text(
        """
accounts:
  - name: studio
    token: ${TOKEN}
    listing: {interval: 90s, tags: [a]}
  - name: second
    token_file: token
    workflow_files: [ids/*.yml]
    push: {token_file: push}
metrics: {time_to_start_buckets: [0.5, 10]}
"""
    )
    config = load(file, {"TOKEN": "cfc_S3cret"})
    text = config_page(config)
    for secret in ("cfc_S3cret", "cfc_InTheFile", "PushS3cret"):
        assert secret not in text
    shown = yaml.safe_load(text)
    first, second = shown["accounts"]
    assert first["token"] == "<secret>"
    assert "token_file" not in first
    assert first["listing"] == {
        "interval": "1m30s",
        "lookback": "24h",
        "tags": ["a"],
        "reconcile": True,
    }
    assert "token" not in second
    assert second["token_file"] == str(tmp_path / "token")
    assert second["push"] == {"token_file": str(tmp_path / "push")}
    assert "listing" not in second
    assert "time_to_start_buckets: [0.5, 10" in text
    assert shown["metrics"]["node_types"] == 200
    # Read as a file, it says the same once more.
    again = tmp_path / "again.yml"
    again.write_text(text)
    assert config_page(load(again, {})) == text


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        ({"token": "x"}, {"token": "<secret>"}),
        ({"push_token": "x", "Password": 7}, {"push_token": "<secret>", "Password": "<secret>"}),
        ({"secret": ["x", "y"]}, {"secret": ["<secret>", "<secret>"]}),
        ({"api_key": {"a": "x"}}, {"api_key": {"a": "x"}}),
        ({"token_file": "/run/token", "keys": 3}, {"token_file": "/run/token", "keys": 3}),
        ({"token": None}, {"token": None}),
        (
            [{"url": "redis://user:p@ss@host:1/0?x=a@b"}],
            [{"url": "redis://<secret>@host:1/0?x=a@b"}],
        ),
        ({"url": "https://host/a@b"}, {"url": "https://host/a@b"}),
    ],
)
def test_what_is_masked(data: object, shown: object) -> None:
    assert masked(data) == shown
