"""Kept texts: what differs fails, and is written only where that is asked for."""

from pathlib import Path

import pytest

from tests.goldens import REWRITE, check_golden


def test_another_text_fails_and_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(REWRITE, raising=False)
    kept = tmp_path / "kept.txt"
    kept.write_text("as it was\n", "utf-8")
    check_golden(kept, "as it was\n")
    with pytest.raises(AssertionError, match="make goldens"):
        check_golden(kept, "as it is\n")
    assert kept.read_text("utf-8") == "as it was\n"


def test_it_is_written_where_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(REWRITE, "1")
    kept = tmp_path / "kept.txt"
    check_golden(kept, "as it is\n")
    assert kept.read_text("utf-8") == "as it is\n"


def test_the_command_runs_every_test_that_compares_with_a_kept_text() -> None:
    root = Path(__file__).parents[2]
    asking = {
        path.relative_to(root).as_posix()
        for path in (root / "tests").rglob("test_*.py")
        if "import check_golden" in path.read_text("utf-8") and path != Path(__file__)
    }
    (line,) = [li for li in (root / "Makefile").read_text("utf-8").splitlines() if REWRITE in li]
    assert asking == {word for word in line.split() if word.endswith(".py")}
