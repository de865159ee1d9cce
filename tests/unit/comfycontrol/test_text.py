"""Cleaning of strings by example."""

from __future__ import annotations

import pytest

from exporter.comfycontrol.text import clean


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("KSampler (Efficient)", "KSampler (Efficient)"),
        ("  easy fullLoader ", "easy fullLoader"),
        ("Größe/幅 🎨", "Größe/幅 🎨"),
        ("a\nb\tc\0d\x7fe\x85f", "a b c d e f"),
        ("a\u2028b\u2029c", "a b c"),
        ("a\u202eb\u200bc\ufeffd", "abcd"),
        ("a\ud800b\udfff", "a\ufffdb\ufffd"),
        ("\x00\r\n", ""),
        ("x" * 500, "x" * 128),
        ("x" * 127 + " y", "x" * 127),
        ("\0" * 1_000_000 + "x", ""),
    ],
)
def test_clean(text: str, expected: str) -> None:
    assert clean(text) == expected
