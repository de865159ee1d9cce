"""Replicas with the same configuration have the same number, and others have another."""

from pathlib import Path

import pytest
import yaml

from exporter.config import load
from exporter.config.fingerprint import fingerprint


def of(tmp_path: Path, text: str) -> int:
    path = tmp_path / "config.yml"
    path.write_text(yaml.safe_dump(yaml.safe_load(text)), "utf-8")
    return fingerprint(load(path, {"TOKEN": "first", "OTHER": "second"}))


WRITTEN = """
accounts:
  - {name: studio, token: "${TOKEN}", listing: {}}
  - {name: agency, token: "${TOKEN}", listing: {interval: 30s}}
"""


@pytest.mark.parametrize(
    "text",
    [
        WRITTEN.replace("TOKEN", "OTHER"),
        f"{WRITTEN}egress: {{address: nat-b}}",
        f"{WRITTEN}metrics: {{}}",
        """
        accounts:
          - {name: agency, listing: {interval: 30000ms}, token: "${TOKEN}"}
          - {name: studio, listing: {}, token: "${TOKEN}"}
        """,
    ],
)
def test_what_is_counted_alike_has_one_number(tmp_path: Path, text: str) -> None:
    assert of(tmp_path, text) == of(tmp_path, WRITTEN)


@pytest.mark.parametrize(
    "text",
    [
        WRITTEN.replace("30s", "31s"),
        WRITTEN.replace("agency", "agents"),
        f"{WRITTEN}metrics: {{per_workflow_series: 7}}",
    ],
)
def test_another_configuration_has_another_number(tmp_path: Path, text: str) -> None:
    assert of(tmp_path, text) != of(tmp_path, WRITTEN)


def test_a_sample_holds_it_exactly(tmp_path: Path) -> None:
    number = of(tmp_path, WRITTEN)
    assert int(float(number)) == number > 0
