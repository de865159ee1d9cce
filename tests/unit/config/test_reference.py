"""The reference page is fresh, and its examples work."""

from pathlib import Path

import pytest

from exporter.config import (
    Account,
    Config,
    Listing,
    Metrics,
    Push,
    RateLimit,
    Slice,
    load,
    reference,
)

PAGE = Path(__file__).parents[3] / "docs" / "configuration.md"


def test_the_page_is_fresh() -> None:
    assert PAGE.read_text("utf-8") == reference.page(), (
        "run: python -m exporter.config.reference > docs/configuration.md"
    )


def examples() -> list[str]:
    return [part.split("```")[0] for part in PAGE.read_text("utf-8").split("```yaml\n")[1:]]


@pytest.mark.parametrize("text", examples())
def test_examples_are_valid(tmp_path: Path, text: str) -> None:
    for name in ("comfycontrol", "push"):
        (tmp_path / name).write_text("a-secret")
    path = tmp_path / "config.yml"
    path.write_text(text.replace("/run/secrets", str(tmp_path)))
    config = load(path, {"COMFYCONTROL_TOKEN": "x", "RENDER_FARM_TOKEN": "y"})
    assert config.warnings() == ()


def test_the_example_shows_every_section_and_the_defaults(tmp_path: Path) -> None:
    for name in ("comfycontrol", "push"):
        (tmp_path / name).write_text("a-secret")
    path = tmp_path / "config.yml"
    path.write_text(reference.EXAMPLE.replace("/run/secrets", str(tmp_path)))
    config = load(path, {"RENDER_FARM_TOKEN": "y"})
    assert config.metrics == Metrics(slices=config.metrics.slices)
    assert config.accounts[0].rate_limit == RateLimit()
    assert config.accounts[0].listing == Listing()
    assert config.accounts[1].push is not None


def test_every_key_is_on_the_page() -> None:
    text = PAGE.read_text("utf-8")
    for section in (Config, Account, RateLimit, Listing, Push, Metrics, Slice):
        for name, field in section.file_keys().items():
            assert f"| `{name}` |" in text
            assert field.description
            assert field.description in text
