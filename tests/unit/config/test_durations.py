"""Durations as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.config.durations import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("5s", 5.0),
        ("2m", 120.0),
        ("1h30m", 5400.0),
        ("24h", 86_400.0),
        ("7d", 604_800.0),
        ("1d2h3m4s5ms", 93_784.005),
        ("0s", 0.0),
        ("090s", 90.0),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "5", "s", "5 s", "5S", "-5s", "+5s", "1.5s", "1s1s", "30s1m", "5sec", "1y"),
        *("\u0663s", "5s\n", "9999999999s", "1e3s", "inf", "5s "),
    ],
)
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match=r"^not a duration$"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0s"),
        (0.0004, "0s"),
        (0.5, "500ms"),
        (5.0, "5s"),
        (90.0, "1m30s"),
        (86_400.0, "24h"),
        (90_000.0, "25h"),
        (172_800.0, "2d"),
        (180_000.0, "50h"),
    ],
)
def test_written(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.integers(min_value=0, max_value=10**12))
def test_what_is_written_reads_the_same(milliseconds: int) -> None:
    assert parse_duration(format_duration(milliseconds / 1000)) == milliseconds / 1000
