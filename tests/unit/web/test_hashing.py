"""`hash-password`, through the command."""

import io
import sys

import bcrypt
import pytest

from exporter.cli import main


@pytest.mark.parametrize("typed", ["pass word\n", "pass word\r\n", "pass word"])
def test_the_hash_is_of_the_line(
    typed: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
    assert main(["hash-password"]) == 0
    hashed = capsys.readouterr().out
    assert hashed.count("\n") == 1
    assert bcrypt.checkpw(b"pass word", hashed.strip().encode())


@pytest.mark.parametrize("typed", ["", "\n", "x" * 73, "a\0b"])
def test_what_cannot_be_hashed(
    typed: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
    assert main(["hash-password"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "x" * 10 not in said.err
