"""Stamps and dates by example."""

from __future__ import annotations

import pytest

from exporter.comfycontrol.stamps import parse_http_date, parse_stamp


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-01-15T14:30:05Z", 1705329005.0),
        ("2024-01-15t14:30:05z", 1705329005.0),
        ("2024-01-15 14:30:05", 1705329005.0),
        ("2024-01-15T14:30:05", 1705329005.0),
        ("2024-01-15T14:30:05.1Z", 1705329005.1),
        ("2024-01-15T14:30:05,123Z", 1705329005.123),
        ("2024-01-15T14:30:05.123456", 1705329005.123456),
        ("2024-01-15T14:30:05.123456789Z", 1705329005.123456789),
        ("2024-01-15T14:30:05." + "9" * 1000 + "Z", 1705329006.0),
        ("2024-01-15T16:30:05+02:00", 1705329005.0),
        ("2024-01-15T09:00:05-0530", 1705329005.0),
        ("2024-01-15T16:30:05.5+02", 1705329005.5),
        ("2016-12-31T23:59:60Z", 1483228800.0),
        ("2024-02-29T00:00:00Z", 1709164800.0),
    ],
)
def test_times(text: str, expected: float) -> None:
    assert parse_stamp(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", "now", "2024-01-15", "14:30:05", "1705329005", "2024-01-15T14:30Z"),
        *("2024-13-01T00:00:00Z", "2023-02-29T00:00:00Z", "2024-01-15T24:00:00Z"),
        *("2024-01-15T14:60:05Z", "2024-01-15T14:30:61Z", "2024-01-15T14:30:05.Z"),
        *("2024-01-15T14:30:05+24:00", "2024-01-15T14:30:05+01:60", "2024-01-15T14:30:05 Z"),
        *("0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "9999-12-31T23:59:59Z"),
        *("\u0662\u0660\u0662\u0664-01-15T14:30:05Z", "2024-01-15T14:30:05Z\n"),
    ],
)
def test_no_times(text: str) -> None:
    with pytest.raises(ValueError, match="not a"):
        parse_stamp(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Mon, 15 Jan 2024 14:30:05 GMT", 1705329005.0),
        ("Mon, 15 Jan 2024 16:30:05 +0200", 1705329005.0),
        ("Mon, 15 Jan 2024 14:30:05 -0000", 1705329005.0),
        *((text, None) for text in (None, "", "soon", "Mon, 99 Jan 2024 14:30:05 GMT", "0")),
    ],
)
def test_dates_of_headers(text: str | None, expected: float | None) -> None:
    assert parse_http_date(text) == expected
